/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_init(struct json *json, struct buf *out)
{
	*json = (struct json){.out = out};
}

/* Comma and line break before a value or key; nothing after a key. Documents
 * are read by people too, hence two spaces a level. */
static void separate(struct json *json)
{
	if (json->after_key) {
		json->after_key = false;
		return;
	}
	if (json->depth == 0)
		return;
	if (!json->first[json->depth - 1])
		buf_append_str(json->out, ",");
	json->first[json->depth - 1] = false;
	buf_printf(json->out, "\n%*s", json->depth * 2, "");
}

static void value(struct json *json)
{
	assert(json->depth == 0 || json->kind[json->depth - 1] == '[' || json->after_key);
	separate(json);
}

static void begin(struct json *json, char kind)
{
	value(json);
	assert(json->depth < JSON_DEPTH_MAX);
	json->kind[json->depth] = kind;
	json->first[json->depth] = true;
	json->depth++;
	buf_append(json->out, &kind, 1);
}

static void end(struct json *json, char kind)
{
	assert(json->depth > 0 && json->kind[json->depth - 1] == kind && !json->after_key);
	json->depth--;
	if (!json->first[json->depth])
		buf_printf(json->out, "\n%*s", json->depth * 2, "");
	buf_append_str(json->out, kind == '{' ? "}" : "]");
	if (json->depth == 0)
		buf_append_str(json->out, "\n");
}

void json_object_begin(struct json *json)
{
	begin(json, '{');
}

void json_object_end(struct json *json)
{
	end(json, '{');
}

void json_array_begin(struct json *json)
{
	begin(json, '[');
}

void json_array_end(struct json *json)
{
	end(json, '[');
}

/* Bytes of the well-formed UTF-8 sequence at s (Unicode 15, table 3-7: no
 * overlong forms, no surrogates), or 0. */
static size_t utf8_length(struct str s)
{
	const unsigned char *b = (const unsigned char *)s.bytes;
	if (b[0] < 0x80)
		return 1;
	size_t length = b[0] >= 0xc2 && b[0] <= 0xdf   ? 2
			: b[0] >= 0xe0 && b[0] <= 0xef ? 3
			: b[0] >= 0xf0 && b[0] <= 0xf4 ? 4
						       : 0;
	if (length == 0 || length > s.length)
		return 0;
	unsigned char low = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;
	if (b[1] < low || b[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

static void escape(struct buf *out, struct str s)
{
	buf_append_str(out, "\"");
	while (s.length > 0) {
		size_t length = utf8_length(s);
		unsigned char c = (unsigned char)s.bytes[0];
		if (length == 0) {
			buf_append_str(out, "\xef\xbf\xbd");
			length = 1;
		} else if (c == '"' || c == '\\') {
			buf_append(out, (char[]){'\\', (char)c}, 2);
		} else if (c == '\n') {
			buf_append_str(out, "\\n");
		} else if (c == '\t') {
			buf_append_str(out, "\\t");
		} else if (c == '\r') {
			buf_append_str(out, "\\r");
		} else if (c < 0x20 || c == 0x7f) {
			buf_printf(out, "\\u%04x", c);
		} else {
			buf_append(out, s.bytes, length);
		}
		s.bytes += length;
		s.length -= length;
	}
	buf_append_str(out, "\"");
}

void json_key(struct json *json, const char *key)
{
	assert(json->depth > 0 && json->kind[json->depth - 1] == '{' && !json->after_key);
	separate(json);
	escape(json->out, str_of(key));
	buf_append_str(json->out, ": ");
	json->after_key = true;
}

/* A scalar that is a document of its own ends its line as well. */
static void scalar_done(struct json *json)
{
	if (json->depth == 0)
		buf_append_str(json->out, "\n");
}

void json_str(struct json *json, struct str text)
{
	value(json);
	escape(json->out, text);
	scalar_done(json);
}

void json_text(struct json *json, const char *text)
{
	if (text)
		json_str(json, str_of(text));
	else
		json_null(json);
}

static void literal(struct json *json, const char *text)
{
	value(json);
	buf_append_str(json->out, text);
	scalar_done(json);
}

void json_u64(struct json *json, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	literal(json, text);
}

void json_i64(struct json *json, int64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRId64, number);
	literal(json, text);
}

void json_double(struct json *json, double number)
{
	if (!isfinite(number)) {
		json_null(json);
		return;
	}
	char text[40];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	/* A locale's decimal comma is no JSON. */
	char *comma = strchr(text, ',');
	if (comma)
		*comma = '.';
	literal(json, text);
}

void json_bool(struct json *json, bool truth)
{
	literal(json, truth ? "true" : "false");
}

void json_null(struct json *json)
{
	literal(json, "null");
}

void json_pair_text(struct json *json, const char *key, const char *text)
{
	json_key(json, key);
	json_text(json, text);
}

void json_pair_u64(struct json *json, const char *key, uint64_t number)
{
	json_key(json, key);
	json_u64(json, number);
}

void json_pair_double(struct json *json, const char *key, double number)
{
	json_key(json, key);
	json_double(json, number);
}

void json_pair_bool(struct json *json, const char *key, bool truth)
{
	json_key(json, key);
	json_bool(json, truth);
}
