/* SPDX-License-Identifier: MIT */
#include "server/operation/log_line.h"

#include "server/http/date.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

static_assert(8 * (6 * LOG_TEXT_MAX + 16) + 24 * 40 < LOG_LINE_MAX, "the longest line");

struct log_address log_address(const struct sockaddr *from)
{
	struct log_address address = {{0}};

	if (from->sa_family == AF_INET) {
		address.bytes[10] = address.bytes[11] = 0xff;
		memcpy(address.bytes + 12,
		       &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
	} else if (from->sa_family == AF_INET6) {
		memcpy(address.bytes,
		       &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
	}
	return address;
}

struct writer {
	char *at;
};

static void put_raw(struct writer *w, const char *text, size_t length)
{
	memcpy(w->at, text, length);
	w->at += length;
}

#define PUT(w, literal) put_raw((w), (literal), sizeof(literal) - 1)

static void put_u64(struct writer *w, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n > 0)
		*w->at++ = digits[--n];
}

/* `escape` stands before two hexadecimal digits: "\u00", "\x". */
static void put_text(struct writer *w, struct str text, const char *escape)
{
	static const char hex[] = "0123456789abcdef";
	size_t length = text.length < LOG_TEXT_MAX ? text.length : LOG_TEXT_MAX;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text.bytes[i];
		if (c == '"' || c == '\\') {
			*w->at++ = '\\';
			*w->at++ = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			/* In JSON, bytes that may be no UTF-8 are told as Latin-1. */
			put_raw(w, escape, strlen(escape));
			*w->at++ = hex[c >> 4];
			*w->at++ = hex[c & 15];
		} else {
			*w->at++ = (char)c;
		}
	}
}

static void put_address(struct writer *w, const struct log_address *address)
{
	static const uint8_t none[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *bytes = address->bytes;

	if (memcmp(bytes, none, sizeof(none)) == 0) {
		*w->at++ = '-';
		return;
	}
	if (memcmp(bytes, mapped, sizeof(mapped)) != 0) {
		char text[INET6_ADDRSTRLEN];
		inet_ntop(AF_INET6, bytes, text, sizeof(text));
		put_raw(w, text, strlen(text));
		return;
	}
	for (int i = 12; i < 16; i++) {
		if (i > 12)
			*w->at++ = '.';
		put_u64(w, bytes[i]);
	}
}

/* Who asked: the one that the proxy before us names, the last of its list. */
static void put_client(struct writer *w, const struct log_line *line, const char *escape)
{
	struct str last = str_trim(line->forwarded);

	for (size_t i = last.length; i > 0; i--) {
		if (last.bytes[i - 1] == ',') {
			last = str_trim((struct str){last.bytes + i, last.length - i});
			break;
		}
	}
	bool plain = last.length > 0 && last.length <= INET6_ADDRSTRLEN;
	for (size_t i = 0; i < last.length && plain; i++)
		plain = last.bytes[i] > ' ' && last.bytes[i] < 0x7f;
	if (plain)
		put_text(w, last, escape);
	else
		put_address(w, &line->client);
}

/* -- JSON -------------------------------------------------------------------------- */

#define JSON_ESCAPE "\\u00"

static void put_pair(struct writer *w, const char *key, uint64_t value)
{
	PUT(w, ",\"");
	put_raw(w, key, strlen(key));
	PUT(w, "\":");
	put_u64(w, value);
}

static void put_pair_text(struct writer *w, const char *key, struct str value)
{
	PUT(w, ",\"");
	put_raw(w, key, strlen(key));
	PUT(w, "\":\"");
	put_text(w, value, JSON_ESCAPE);
	PUT(w, "\"");
}

size_t log_line_json(char *out, const struct log_line *line)
{
	struct writer w = {out};

	PUT(&w, "{\"start_ns\":");
	put_u64(&w, line->start_unix_ns);
	put_pair(&w, "worker", line->worker);
	put_pair(&w, "status", (uint64_t)line->status);
	PUT(&w, ",\"client\":\"");
	put_client(&w, line, JSON_ESCAPE);
	PUT(&w, "\"");
	put_pair_text(&w, "method", line->method);
	put_pair_text(&w, "path", line->path);
	put_pair_text(&w, "route", line->route);
	put_pair_text(&w, "bucket", line->bucket);
	put_pair(&w, "wait_ns", line->wait_ns);
	put_pair(&w, "service_ns", line->service_ns);
	put_pair(&w, "need_bytes", line->need_bytes);
	put_pair(&w, "bucket_bytes", line->bucket_bytes);
	put_pair(&w, "stack_peak_bytes", line->stack_bytes);
	put_pair(&w, "bytes_in", line->body_in_bytes);
	put_pair(&w, "bytes_out", line->body_out_bytes);
	if (line->wanted_bytes)
		put_pair(&w, "wanted_bytes", line->wanted_bytes);
	if (line->foreign_frees)
		put_pair(&w, "foreign_frees", line->foreign_frees);
	if (line->system_blocks > 0)
		put_pair(&w, "system_blocks_left", (uint64_t)line->system_blocks);
	if (line->cause)
		put_pair_text(&w, "cause", str_of(line->cause));
	if (line->detail && *line->detail)
		put_pair_text(&w, "detail", str_of(line->detail));
	if (line->site)
		put_pair_text(&w, "site", str_of(line->site));
	PUT(&w, "}\n");
	return (size_t)(w.at - out);
}

size_t log_line_dropped(char *out, uint64_t count)
{
	struct writer w = {out};

	PUT(&w, "{\"dropped_lines\":");
	put_u64(&w, count);
	PUT(&w, "}\n");
	return (size_t)(w.at - out);
}

/* -- common and combined ------------------------------------------------------------- */

#define COMMON_ESCAPE "\\x"

/* "Sun, 06 Nov 1994 08:49:37 GMT" as "06/Nov/1994:08:49:37 +0000" */
static void put_date(struct writer *w, uint64_t unix_ns)
{
	char date[DATE_TEXT_BYTES];

	date_format(date, (int64_t)(unix_ns / 1000000000));
	put_raw(w, date + 5, 2);
	PUT(w, "/");
	put_raw(w, date + 8, 3);
	PUT(w, "/");
	put_raw(w, date + 12, 4);
	PUT(w, ":");
	put_raw(w, date + 17, 8);
	PUT(w, " +0000");
}

static void put_quoted(struct writer *w, struct str text)
{
	PUT(w, " \"");
	if (text.length > 0)
		put_text(w, text, COMMON_ESCAPE);
	else
		PUT(w, "-");
	PUT(w, "\"");
}

size_t log_line_common(char *out, const struct log_line *line, bool combined)
{
	struct writer w = {out};

	put_client(&w, line, COMMON_ESCAPE);
	PUT(&w, " - - [");
	put_date(&w, line->start_unix_ns - line->wait_ns);
	PUT(&w, "] \"");
	if (line->method.length > 0) {
		put_text(&w, line->method, COMMON_ESCAPE);
		PUT(&w, " ");
		put_text(&w, line->path, COMMON_ESCAPE);
		if (line->query.length > 0) {
			PUT(&w, "?");
			put_text(&w, line->query, COMMON_ESCAPE);
		}
		PUT(&w, " HTTP/1.");
		put_u64(&w, line->minor);
	} else {
		PUT(&w, "-");
	}
	PUT(&w, "\" ");
	put_u64(&w, line->status ? (uint64_t)line->status : 499);
	PUT(&w, " ");
	if (line->body_out_bytes)
		put_u64(&w, line->body_out_bytes);
	else
		PUT(&w, "-");
	if (combined) {
		put_quoted(&w, line->referer);
		put_quoted(&w, line->agent);
	}
	PUT(&w, "\n");
	return (size_t)(w.at - out);
}
