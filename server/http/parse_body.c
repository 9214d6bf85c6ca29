/* SPDX-License-Identifier: MIT */
#include "server/http/parse.h"

#include "server/http/parse_class.h"

#include <assert.h>
#include <string.h>

enum body_state {
	ENDED,
	LENGTH,     /* left_bytes of a body with Content-Length */
	SIZE_FIRST, /* at the first digit of a chunk's size */
	SIZE,
	EXT_BEFORE, /* whitespace between size or value and ';' */
	EXT_NAME_FIRST,
	EXT_NAME,
	EXT_AFTER_NAME, /* whitespace between a name and '=' or ';' */
	EXT_VALUE_FIRST,
	EXT_VALUE,
	EXT_QUOTED,
	EXT_ESCAPED,
	EXT_AFTER_QUOTED,
	SIZE_LF,
	CHUNK,
	CHUNK_CR,
	CHUNK_LF,
	TRAILER,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	TRAILER_END_LF,
	BROKEN,
};

enum { CHUNK_DIGITS_MAX = 16 };

static void body_fail(struct parse_body *body, uint16_t status, const char *reason)
{
	body->status = status;
	body->reason = reason;
	body->state = BROKEN;
}

void parse_body_init(struct parse_body *body, const struct parse_head *head)
{
	memset(body, 0, sizeof(*body));
	switch (head->framing) {
	case PARSE_BODY_NONE: body->state = ENDED; break;
	case PARSE_BODY_LENGTH:
		body->state = LENGTH;
		body->left_bytes = head->content_length;
		break;
	case PARSE_BODY_CHUNKED: body->state = SIZE_FIRST; break;
	}
}

static unsigned hex_value(char c)
{
	return is_digit(c) ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* Where a chunk's size line may end, or its extensions begin or go on. */
static void size_end(struct parse_body *body, char c)
{
	if (c == '\r')
		body->state = SIZE_LF;
	else if (c == ';')
		body->state = EXT_NAME_FIRST;
	else if (c == ' ' || c == '\t')
		body->state = EXT_BEFORE;
	else
		body_fail(body, 400, "a chunk size that is no hexadecimal number");
}

static void size_step(struct parse_body *body, char c)
{
	if (!is(c, XCHAR)) {
		if (body->state == SIZE_FIRST)
			body_fail(body, 400, "a chunk without a size");
		else
			size_end(body, c);
		return;
	}
	/* 63 bits: room for sums, and a size that nobody reads as negative. */
	if (++body->line_bytes > CHUNK_DIGITS_MAX || body->left_bytes > (INT64_MAX >> 4)) {
		body_fail(body, 400, "a chunk size of too many digits");
		return;
	}
	body->left_bytes = body->left_bytes << 4 | hex_value(c);
	body->state = SIZE;
}

/* chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) */
static void extension_step(struct parse_body *body, char c)
{
	static const char wrong[] = "a chunk extension that is not valid";
	bool space = c == ' ' || c == '\t';

	if (++body->extension_bytes > PARSE_EXTENSION_MAX) {
		body_fail(body, 400, "chunk extensions longer than they may be");
		return;
	}
	switch ((enum body_state)body->state) {
	case EXT_BEFORE:
		if (c == ';')
			body->state = EXT_NAME_FIRST;
		else if (!space)
			body_fail(body, 400, "whitespace behind a chunk size");
		break;
	case EXT_NAME_FIRST:
		if (is(c, TCHAR))
			body->state = EXT_NAME;
		else if (!space)
			body_fail(body, 400, wrong);
		break;
	case EXT_NAME:
		if (is(c, TCHAR))
			break;
		if (c == '=')
			body->state = EXT_VALUE_FIRST;
		else if (space)
			body->state = EXT_AFTER_NAME;
		else if (c == ';' || c == '\r')
			size_end(body, c);
		else
			body_fail(body, 400, wrong);
		break;
	case EXT_AFTER_NAME:
		if (c == '=')
			body->state = EXT_VALUE_FIRST;
		else if (c == ';')
			body->state = EXT_NAME_FIRST;
		else if (!space)
			body_fail(body, 400, wrong);
		break;
	case EXT_VALUE_FIRST:
		if (c == '"')
			body->state = EXT_QUOTED;
		else if (is(c, TCHAR))
			body->state = EXT_VALUE;
		else if (!space)
			body_fail(body, 400, wrong);
		break;
	case EXT_VALUE:
		if (is(c, TCHAR))
			break;
		/* fall through */
	case EXT_AFTER_QUOTED:
		if (space || c == ';' || c == '\r')
			size_end(body, c);
		else
			body_fail(body, 400, wrong);
		break;
	case EXT_QUOTED:
		if (c == '"')
			body->state = EXT_AFTER_QUOTED;
		else if (c == '\\')
			body->state = EXT_ESCAPED;
		else if (!is(c, FCHAR))
			body_fail(body, 400, wrong);
		break;
	case EXT_ESCAPED:
		body->state = EXT_QUOTED;
		if (!is(c, FCHAR))
			body_fail(body, 400, wrong);
		break;
	default: assert(!"a state of extensions");
	}
}

/* Trailer fields are read as strictly as header fields, and dropped: nothing
 * that comes behind a body may change what was decided before it. */
static void trailer_step(struct parse_body *body, char c)
{
	if (++body->line_bytes > PARSE_TRAILER_MAX) {
		body_fail(body, 431, "a trailer section longer than it may be");
		return;
	}
	switch ((enum body_state)body->state) {
	case TRAILER:
		if (c == '\r')
			body->state = TRAILER_END_LF;
		else if (is(c, TCHAR))
			body->state = TRAILER_NAME;
		else
			body_fail(body, 400, "a trailer line without a name");
		break;
	case TRAILER_NAME:
		if (c == ':')
			body->state = TRAILER_VALUE;
		else if (!is(c, TCHAR))
			body_fail(body, 400, "a trailer name that is no token");
		break;
	case TRAILER_VALUE:
		if (c == '\r')
			body->state = TRAILER_LF;
		else if (!is(c, FCHAR))
			body_fail(body, 400, "a control character in a trailer field");
		break;
	case TRAILER_LF:
	case TRAILER_END_LF:
		if (c != '\n')
			body_fail(body, 400, "a CR without LF in the trailer section");
		else
			body->state = body->state == TRAILER_LF ? TRAILER : ENDED;
		break;
	default: assert(!"a state of trailers");
	}
}

/* What stands between runs of content. */
static void framing_step(struct parse_body *body, char c)
{
	switch ((enum body_state)body->state) {
	case SIZE_FIRST:
	case SIZE: size_step(body, c); break;
	case SIZE_LF:
		if (c != '\n') {
			body_fail(body, 400, "a CR without LF behind a chunk size");
			break;
		}
		body->line_bytes = 0;
		body->state = body->left_bytes ? CHUNK : TRAILER;
		break;
	case CHUNK_CR:
		body->state = CHUNK_LF;
		if (c != '\r')
			body_fail(body, 400, "a chunk longer than its size");
		break;
	case CHUNK_LF:
		body->state = SIZE_FIRST;
		if (c != '\n')
			body_fail(body, 400, "a chunk longer than its size");
		break;
	case TRAILER:
	case TRAILER_NAME:
	case TRAILER_VALUE:
	case TRAILER_LF:
	case TRAILER_END_LF: trailer_step(body, c); break;
	default: extension_step(body, c); break;
	}
}

/* The run of content at the front of the input. */
static size_t content_take(struct parse_body *body, size_t length)
{
	if (length > body->left_bytes)
		length = (size_t)body->left_bytes;
	body->left_bytes -= length;
	body->content_bytes += length;
	if (body->left_bytes == 0)
		body->state = body->state == LENGTH ? ENDED : CHUNK_CR;
	return length;
}

enum parse_result parse_body(struct parse_body *body, const char *bytes, size_t length,
			     size_t *consumed, struct parse_span *data)
{
	size_t at = 0;

	assert(length <= UINT32_MAX);
	*data = (struct parse_span){0, 0};
	for (;;) {
		*consumed = at;
		if (body->state == ENDED)
			return PARSE_DONE;
		if (body->state == BROKEN)
			return PARSE_ERROR;
		if (at == length)
			return PARSE_MORE;
		if (body->state == LENGTH || body->state == CHUNK) {
			size_t run = content_take(body, length - at);
			*data = (struct parse_span){(uint32_t)at, (uint32_t)run};
			*consumed = at + run;
			return PARSE_DATA;
		}
		framing_step(body, bytes[at++]);
	}
}

enum parse_result parse_body_compact(struct parse_body *body, char *bytes, size_t length,
				     size_t *consumed, size_t *produced)
{
	*consumed = *produced = 0;
	for (;;) {
		struct parse_span data;
		size_t step;
		char *from = bytes + *consumed;
		enum parse_result result =
			parse_body(body, from, length - *consumed, &step, &data);

		*consumed += step;
		if (result != PARSE_DATA)
			return result;
		if (from + data.offset != bytes + *produced)
			memmove(bytes + *produced, from + data.offset, data.length);
		*produced += data.length;
	}
}
