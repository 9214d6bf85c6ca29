/* SPDX-License-Identifier: MIT */
/*
 * What answers requests, as the core sees it: a plug-in's exported functions,
 * a built-in's, a folder's, all in one struct. A handler uses pail/handler.h
 * and libc, and from the core nothing but what is declared here.
 *
 * Seam to the static files: handler_send_file(). It hands a descriptor over;
 * the core sends the head, with Content-Length = length, then the bytes by
 * sendfile(2) from the request's coroutine, and closes the descriptor on every
 * end of the request, jumps included. A descriptor that a handler opens and
 * does not hand over is closed by the handler itself (pail_defer()).
 * The core treats HEAD (the handler runs as for GET; its body is dropped), 204
 * and 304 (no body), Date, Connection, Transfer-Encoding and the framing.
 * Content-Length may be set by a handler that streams; it is then held to it.
 *
 * Seam to the heads (response.h, written beside parse.h). The core needs:
 *	struct response {
 *		int status;
 *		int minor;             of the request: 0 or 1
 *		bool keep_alive;
 *		bool chunked;
 *		int64_t length;        Content-Length, or -1 for none
 *		struct str date;       29 bytes, cached per second
 *		struct str fields;     "Name: value\r\n"... that the handler set
 *	};
 *	size_t response_head(char *out, size_t size, const struct response *);
 *	                               bytes written, 0 if it does not fit
 *	size_t response_field(char *out, size_t size, const char *name, const char *value);
 *	                               "Name: value\r\n", 0 if it can't be sent: bad
 *	                               bytes, no room, or one that the core sets
 *	                               itself (not Content-Length)
 *	void response_date(char out[30], time_t now);
 *	const char *response_reason(int status);
 * all allocation-free, and none larger on the stack than 1 KiB.
 */
#ifndef PAIL_SERVER_HANDLER_H
#define PAIL_SERVER_HANDLER_H

#include "base/str.h"
#include "pail/handler.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct handler {
	const char *name; /* of a built-in: "csv-svg-path" */
	int (*handle)(struct pail_request *r);
	/* Each may be NULL; pail/handler.h says when they run. start() gets
	 * argv[0] = the word of --app (for a folder: its path), then the ARGs. */
	int (*start)(int argc, char **argv);
	int (*thread_start)(void);
	int (*bucket_start)(void);
	int (*reload)(void);
	void (*request_end)(struct pail_request *r);
};

/* Why a handler's start(), bucket_start() or reload() failed on this thread, in
 * words as an err has them (pail_explain() fills it); the core puts it into its
 * one line. Empty: errno says it. */
extern _Thread_local char handler_message[256];

/* builtin.c: the built-in of that name, or NULL; all of them, NULL-terminated,
 * for the message that lists them. */
const struct handler *builtin_find(const char *name);
extern const struct handler *const builtin_all[];
/* files.c: a folder; its start() opens argv[0] and fails with a message in errno's words. */
extern const struct handler files_handler;

/* The body of the response is `length` bytes of `fd` from `offset`; replaces
 * whatever pail_write() buffered. The core owns fd from here on. 0, or -1 (fd is
 * closed) if the head was sent already. */
int handler_send_file(struct pail_request *r, int fd, off_t offset, uint64_t length);

#endif
