/* SPDX-License-Identifier: MIT */
/*
 * Response heads, written into a buffer of the caller's: status line, Date,
 * Connection, framing, then the fields that a handler set. Allocation-free.
 *
 * Framing, so that a client always knows where the body ends: a length gives
 * Content-Length, chunked gives Transfer-Encoding (never to HTTP/1.0), neither
 * means that the close of the connection ends the body. 1xx and 204 have
 * neither field; 304 may have the length that a 200 would have had.
 *
 * A handler can't split the response: response_field() takes no byte that is
 * not allowed in a field, and no field that says how the message is framed or
 * how long the connection lives.
 */
#ifndef PAIL_SERVER_RESPONSE_H
#define PAIL_SERVER_RESPONSE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum {
	RESPONSE_DATE_BYTES = 30,   /* with its NUL */
	RESPONSE_ERROR_BYTES = 512, /* any response_error() fits */
};

struct response {
	int status; /* 100 to 599 */
	int minor;  /* of the request: 0 or 1; the answer always says HTTP/1.1 */
	bool keep_alive;
	bool chunked;
	int64_t length;    /* Content-Length, or -1 for none */
	struct str date;   /* 29 bytes, cached per second */
	struct str fields; /* what response_field() wrote, one behind the other */
};

/* Whether an answer to a request of that method has a body at all. */
static inline bool response_has_body(int status, bool is_head)
{
	return !is_head && status >= 200 && status != 204 && status != 304;
}
/* Chunks can be sent to this client, and the status may have them. */
static inline bool response_is_chunked(const struct response *response)
{
	return response->chunked && response->minor >= 1 &&
	       response_has_body(response->status, false);
}
/* Whether the connection can stay open behind it: the client asked for that
 * and the body's end is told by the head. response_head() says so to the client. */
static inline bool response_stays(const struct response *response)
{
	return response->keep_alive &&
	       (response->length >= 0 || response_is_chunked(response) ||
		!response_has_body(response->status, false));
}

/* Status line through empty line: bytes written, 0 if it does not fit. */
size_t response_head(char *out, size_t size, const struct response *response);
/* "Name: value\r\n": bytes written, or 0 if it can't be sent: a name that is
 * no token, a control byte in the value, no room, or a field that the core
 * sets itself (Connection, Date, Transfer-Encoding and their like; not
 * Content-Length, which is the core's to judge). */
size_t response_field(char *out, size_t size, const char *name, const char *value);
/* A whole answer of the core's own: the head of `response` (whose length and
 * chunked are not looked at), then one line of text, `detail` or else the
 * reason phrase; only the head to HEAD. Further fields ("Retry-After: 1\r\n")
 * come by response->fields. Bytes written, 0 if it does not fit. */
size_t response_error(char *out, size_t size, const struct response *response, bool is_head,
		      const char *detail);

/* IMF-fixdate. */
void response_date(char out[RESPONSE_DATE_BYTES], time_t now);
/* "Not Found"; "" for a status without a name of its own. */
const char *response_reason(int status);

#endif
