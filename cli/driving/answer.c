/* SPDX-License-Identifier: MIT */
#include "cli/driving/answer.h"
#include "base/str.h"

#include <string.h>

void answer_clear(struct answer *r, bool head_request)
{
	r->state = ANSWER_HEAD;
	r->no_body = head_request;
	r->keep_alive = false;
	r->chunk_digits = false;
	r->line_empty = true;
	r->status = 0;
	r->body_left = r->bytes = 0;
	r->head_length = 0;
}

static bool number_of(struct str text, uint64_t *value)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < text.length; i++) {
		char c = text.bytes[i];
		if (c < '0' || c > '9' || sum > (UINT64_MAX - 9) / 10)
			return false;
		sum = sum * 10 + (uint64_t)(c - '0');
	}
	*value = sum;
	return text.length > 0;
}

/* Is `word` one of a comma-separated list? */
static bool list_has(struct str list, struct str word)
{
	struct str item;
	do {
		struct str rest;
		str_cut(list, ',', &item, &rest);
		if (str_equal_nocase(str_trim(item), word))
			return true;
		list = rest;
	} while (list.length > 0);
	return false;
}

static bool status_line(struct answer *r, struct str line)
{
	uint64_t status;
	if (line.length < 12 || memcmp(line.bytes, "HTTP/1.", 7) != 0 || line.bytes[8] != ' ' ||
	    !number_of((struct str){line.bytes + 9, 3}, &status) || status < 100 ||
	    (line.length > 12 && line.bytes[12] != ' '))
		return false;
	r->status = (int)status;
	r->keep_alive = line.bytes[7] != '0';
	return true;
}

/* Everything up to the empty line is in r->head: says how the body is framed. */
static enum answer_state head_parse(struct answer *r)
{
	struct str rest = {r->head, r->head_length}, line, name, value;
	bool chunked = false, has_length = false;
	uint64_t length = 0;

	str_cut(rest, '\n', &line, &rest);
	if (!status_line(r, (struct str){line.bytes, line.length - (line.length > 0)}))
		return ANSWER_BAD;
	while (rest.length > 0) {
		str_cut(rest, '\n', &line, &rest);
		if (line.length > 0 && line.bytes[line.length - 1] == '\r')
			line.length--;
		if (line.length == 0)
			break;
		if (!str_cut(line, ':', &name, &value))
			return ANSWER_BAD;
		value = str_trim(value);
		if (str_equal_nocase(name, STR("content-length"))) {
			uint64_t before = length;
			if (!number_of(value, &length) || (has_length && length != before))
				return ANSWER_BAD;
			has_length = true;
		} else if (str_equal_nocase(name, STR("transfer-encoding"))) {
			if (!str_equal_nocase(value, STR("chunked")))
				return ANSWER_BAD;
			chunked = true;
		} else if (str_equal_nocase(name, STR("connection"))) {
			if (list_has(value, STR("close")))
				r->keep_alive = false;
			else if (list_has(value, STR("keep-alive")))
				r->keep_alive = true;
		}
	}
	if (r->status < 200)
		return ANSWER_HEAD;
	if (r->no_body || r->status == 204 || r->status == 304)
		return ANSWER_DONE;
	if (chunked)
		return has_length ? ANSWER_BAD : ANSWER_CHUNK_SIZE;
	if (has_length) {
		r->body_left = length;
		return length > 0 ? ANSWER_LENGTH : ANSWER_DONE;
	}
	r->keep_alive = false;
	return ANSWER_UNTIL_CLOSE;
}

static size_t feed_head(struct answer *r, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (r->head_length == sizeof r->head) {
			r->state = ANSWER_BAD;
			return i;
		}
		r->head[r->head_length++] = bytes[i];
		if (bytes[i] != '\n' || r->head_length < 4 ||
		    memcmp(r->head + r->head_length - 4, "\r\n\r\n", 4) != 0)
			continue;
		r->state = head_parse(r);
		r->head_length = 0;
		return i + 1;
	}
	return length;
}

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1f;name=value\r\n": body_left becomes the chunk and the CRLF behind it. */
static size_t feed_chunk_size(struct answer *r, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\n') {
			if (!r->chunk_digits) {
				r->state = ANSWER_BAD;
				return i;
			}
			r->state = r->body_left > 0 ? ANSWER_CHUNK : ANSWER_TRAILER;
			r->body_left += 2;
			r->chunk_digits = r->line_empty = false;
			if (r->state == ANSWER_TRAILER)
				r->line_empty = true;
			return i + 1;
		}
		int digit = r->line_empty ? hex_of(bytes[i]) : -1;
		if (digit < 0) {
			/* what follows the digits is an extension or the CR */
			r->line_empty = false;
			continue;
		}
		if (r->body_left > UINT64_MAX / 32) {
			r->state = ANSWER_BAD;
			return i;
		}
		r->body_left = r->body_left * 16 + (uint64_t)digit;
		r->chunk_digits = true;
	}
	return length;
}

static size_t feed_trailer(struct answer *r, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\n') {
			if (r->line_empty) {
				r->state = ANSWER_DONE;
				return i + 1;
			}
			r->line_empty = true;
		} else if (bytes[i] != '\r') {
			r->line_empty = false;
		}
	}
	return length;
}

size_t answer_feed(struct answer *r, const char *bytes, size_t length)
{
	size_t taken = 0;
	while (taken < length && r->state != ANSWER_DONE && r->state != ANSWER_BAD) {
		const char *at = bytes + taken;
		size_t left = length - taken, step = 0;
		switch (r->state) {
		case ANSWER_HEAD: step = feed_head(r, at, left); break;
		case ANSWER_CHUNK_SIZE: step = feed_chunk_size(r, at, left); break;
		case ANSWER_LENGTH:
		case ANSWER_CHUNK:
			step = left < r->body_left ? left : (size_t)r->body_left;
			r->body_left -= step;
			if (r->body_left == 0) {
				r->line_empty = true;
				r->state = r->state == ANSWER_LENGTH ? ANSWER_DONE
								     : ANSWER_CHUNK_SIZE;
			}
			break;
		case ANSWER_TRAILER: step = feed_trailer(r, at, left); break;
		case ANSWER_UNTIL_CLOSE: step = left; break;
		case ANSWER_DONE:
		case ANSWER_BAD: break;
		}
		taken += step;
		r->bytes += step;
	}
	return taken;
}

bool answer_ended(struct answer *r)
{
	if (r->state == ANSWER_UNTIL_CLOSE)
		r->state = ANSWER_DONE;
	return r->state == ANSWER_DONE;
}
