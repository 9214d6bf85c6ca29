/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 requests as RFC 9110 and 9112 have them: a head parser and a body
 * decoder. Strict, allocation-free, resumable; the result is a pure function
 * of the bytes and never of how they were cut into reads (tests/fuzz/fuzz_http.c
 * asserts it). No clock, no I/O, no memory but the caller's.
 *
 * Head. The caller keeps the bytes of one request head in one piece and calls
 * parse_head() with all of them whenever more have come: it goes on where it
 * was, and no byte is looked at more than a constant number of times. Everything found is a
 * span, an offset and a length from the first byte of that piece, so the piece may move between
 * calls. What follows the head starts at head_bytes: the body, then the next pipelined request.
 *
 * Body. parse_body() walks over framing and hands out runs of content that
 * lie in the caller's own buffer; parse_body_compact() moves them together.
 *
 * Refused, since two parties could disagree about where a message ends: any
 * line end but CRLF, bare CR, NUL and other controls, folded lines, whitespace
 * before a colon or at a line's start, Content-Length beside
 * Transfer-Encoding, more than one Content-Length (equal or not, list or not),
 * a last coding other than chunked, Transfer-Encoding in HTTP/1.0, sloppy
 * chunk sizes. docs/http-conformance.md has the clauses one by one.
 * After an error the connection can't be used: answer and close.
 *
 * Percent-decoding and dot segments are not the parser's: see server/content/files.h.
 */
#ifndef PAIL_SERVER_PARSE_H
#define PAIL_SERVER_PARSE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PARSE_METHOD_MAX = 32,      /* bytes of a method; longer is 501 */
	PARSE_EMPTY_LINES_MAX = 2,  /* CRLFs taken before a request line */
	PARSE_FIELDS_MAX = 100,     /* what callers usually give as room */
	PARSE_EXTENSION_MAX = 1024, /* bytes of chunk extensions of one body; more is 400 */
	PARSE_TRAILER_MAX = 8192,   /* bytes of one trailer section; more is 431 */
};

enum parse_result {
	PARSE_MORE,  /* all that is there was fine; more bytes are needed */
	PARSE_DONE,  /* the head is complete; the body has ended */
	PARSE_DATA,  /* parse_body() only: a run of content; call again behind it */
	PARSE_ERROR, /* see status and reason; stays so */
};

struct parse_span {
	uint32_t offset, length;
};

struct parse_field {
	struct parse_span name, value; /* value without the whitespace around it */
};

enum parse_framing { PARSE_BODY_NONE, PARSE_BODY_LENGTH, PARSE_BODY_CHUNKED };

enum parse_form { PARSE_ORIGIN, PARSE_ABSOLUTE, PARSE_ASTERISK, PARSE_AUTHORITY };

struct parse_head {
	/* Given to parse_head_init(). */
	struct parse_field *fields;
	uint32_t fields_max, head_bytes_max;
	bool secure; /* the connection is TLS: an https:// target is at home here */

	/* Valid from PARSE_DONE on. The byte behind method, target, path, query,
	 * a field's name and its value is a delimiter that is no longer needed,
	 * so a caller that wants C strings may put a NUL there. */
	struct parse_span method, target;
	struct parse_span path;  /* of an absolute target too; "*" is a path; may be
				    empty ("http://host?q"): use parse_path() */
	struct parse_span query; /* behind the '?'; length 0 if there is none */
	struct parse_span host; /* authority of the target, else the Host field; may be empty */
	uint64_t content_length; /* of PARSE_BODY_LENGTH */
	uint32_t field_count;
	uint32_t head_bytes; /* through the empty line; the body starts here */
	enum parse_form form;
	enum parse_framing framing; /* NONE also for Content-Length: 0 */
	uint8_t minor;              /* 0 or 1; HTTP/1.2 to 1.9 are read as 1.1 */
	bool keep_alive;            /* the client lets the connection stay */
	bool expect_continue; /* wants a 100 before it sends the body; never if there is none */
	bool has_query;       /* "/a?" has an empty one, "/a" has none */
	bool is_head;         /* HEAD: no body in the answer. Valid after an error as well */

	/* Valid after PARSE_ERROR. */
	uint16_t status;    /* 400, 413, 414, 417, 421, 431, 501 or 505 */
	const char *reason; /* one line, static, lower case */

	/* Where it was. */
	uint32_t at, mark;
	struct parse_span host_field;
	uint16_t flags;
	uint8_t state, empty_lines;
};

/* Ready for the first byte of a request. `fields` has room for fields_max and
 * stays the caller's; a head of more than head_bytes_max bytes is 414 or 431. */
void parse_head_init(struct parse_head *head, struct parse_field *fields, uint32_t fields_max,
		     uint32_t head_bytes_max, bool secure);

/* bytes[0..length) is all of the head that has come so far, from its first
 * byte; those seen in earlier calls must be the same. What lies behind
 * head_bytes changes nothing. PARSE_MORE, PARSE_DONE or PARSE_ERROR. */
enum parse_result parse_head(struct parse_head *head, const char *bytes, size_t length);

/* No byte of a request line has come: the connection is idle, and its buffer
 * can be given back (empty lines before a request may be forgotten with it). */
bool parse_head_idle(const struct parse_head *head);

static inline struct str parse_str(const char *bytes, struct parse_span span)
{
	return (struct str){bytes + span.offset, span.length};
}
/* The path. For an absolute target without one: "/", or "*" of OPTIONS if it
 * has no query either (RFC 9112, 3.2.4). */
struct str parse_path(const struct parse_head *head, const char *bytes);
/* The first field of that name from index `from` on: its index, or -1. */
int parse_field_find(const struct parse_head *head, const char *bytes, struct str name,
		     uint32_t from);

/* -- bodies --------------------------------------------------------------- */

struct parse_body {
	uint64_t left_bytes;    /* of the body, or of the chunk */
	uint64_t content_bytes; /* handed out so far */
	const char *reason;
	uint32_t line_bytes, extension_bytes;
	uint16_t status;
	uint8_t state;
};

/* The body that a complete head announces. */
void parse_body_init(struct parse_body *body, const struct parse_head *head);

/*
 * Reads from bytes[0..length), which start where the last call's *consumed
 * ended. PARSE_DATA: bytes[data->offset, + data->length) is content, never
 * empty, and *consumed ends right behind it. PARSE_MORE: all was consumed.
 * PARSE_DONE: what is behind *consumed belongs to the next request; every
 * later call gives PARSE_DONE with 0. PARSE_ERROR: status and reason.
 */
enum parse_result parse_body(struct parse_body *body, const char *bytes, size_t length,
			     size_t *consumed, struct parse_span *data);

/*
 * Decodes in place: content moves to the front of bytes, *produced bytes of
 * it, and the first *consumed bytes of the input are used up. Stops at the
 * body's end. PARSE_MORE, PARSE_DONE or PARSE_ERROR.
 */
enum parse_result parse_body_compact(struct parse_body *body, char *bytes, size_t length,
				     size_t *consumed, size_t *produced);

/* Of PARSE_BODY_LENGTH: how much is still to come. 0 when chunked. */
static inline uint64_t parse_body_expected(const struct parse_body *body,
					   const struct parse_head *head)
{
	return head->framing == PARSE_BODY_LENGTH ? body->left_bytes : 0;
}

#endif
