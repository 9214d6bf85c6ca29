/* SPDX-License-Identifier: MIT */
/*
 * Recognises HTTP/1.x messages in what a server was seen to read and write. It
 * judges nothing and serves nobody: the recorded bytes have holes (the shim
 * keeps the first bytes of each call, and those where another head begins), so
 * it follows a message by its Content-Length where it can, and where it can't
 * it is lost until something that begins like a message stands at the start of
 * a piece.
 *
 * One scan per connection and direction; it holds at most one line. Feed it
 * pieces and holes in order; each call consumes up to the next event.
 */
#ifndef PAIL_LIBTRACE_HTTP_H
#define PAIL_LIBTRACE_HTTP_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_LINE_MAX = 512 };

enum http_event_kind {
	HTTP_NONE,  /* all consumed, nothing happened */
	HTTP_BEGIN, /* the first byte of a message */
	HTTP_HEAD,  /* its first line is complete */
	HTTP_END,   /* its last byte has passed */
	HTTP_OTHER, /* what began is not HTTP */
};

struct http_event {
	enum http_event_kind kind;
	struct str method, target; /* HEAD of a request: views into scan or bytes */
	int status;                /* HEAD of a response */
};

enum http_state {
	HTTP_START,
	HTTP_LINE,
	HTTP_FIELDS,
	HTTP_BODY,
	HTTP_LOST,
};

struct http_scan {
	bool response;
	bool no_body; /* response: it answers a HEAD; the caller sets it before feeding */
	uint8_t state;
	bool length_known, unknown_length, bodiless; /* of the message at hand */
	uint16_t line_bytes;
	uint64_t body_left;
	char line[HTTP_LINE_MAX];
};

void http_scan_init(struct http_scan *scan, bool response);
/* Consumes bytes up to and including the next event's last; `piece_start`: the
 * bytes are the first of a piece. Gives how many were consumed; call again
 * with the rest until the event is HTTP_NONE, even when no bytes are left. */
size_t http_scan_feed(struct http_scan *scan, struct str bytes, bool piece_start,
		      struct http_event *event);
/* `count` bytes passed unseen. May give HTTP_END. */
void http_scan_skip(struct http_scan *scan, uint64_t count, struct http_event *event);
/* Between two messages, as far as can be known. */
bool http_scan_idle(const struct http_scan *scan);

/* Whether bytes begin like a request line; an incomplete one counts. */
bool http_looks_like_request(struct str bytes);

/* The command of a RESP array ("*1\r\n$4\r\nPING\r\n"), or an empty view. */
struct str http_resp_command(struct str bytes);

#endif
