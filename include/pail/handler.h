/* SPDX-License-Identifier: MIT */
/*
 * pail/handler.h: what a handler for `pail serve --app lib.so` is written
 * against. There is nothing to link: the server provides every pail_ function.
 *
 * A handler runs on a small stack of its own, inside one bucket: malloc and
 * its family allocate from that bucket, and all of it is taken back when the
 * request ends, so nothing need be freed and nothing may outlive the request
 * (see pail_outside_begin). A request that wants more than its bucket is left
 * by a jump out of malloc: the handler's frames are gone, the client gets 500,
 * and pail_defer()ed functions and pail_request_end() still run. Calls that
 * would block (body reads, large writes, sleeps, and reads, writes, connects and
 * polls of descriptors of the handler's own) let other requests run on the same
 * thread meanwhile; docs/handlers-waiting.md has the list.
 *
 * Build: cc -shared -fPIC $(pkg-config --cflags pail) -o lib.so handler.c
 */
#ifndef PAIL_HANDLER_H
#define PAIL_HANDLER_H

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAIL_HANDLER_VERSION 1

struct pail_request;

/* -- what the plug-in defines -------------------------------------------- */

/* Required. Returns the HTTP status, 200 to 599; anything else is a 500, and
 * drops what was written if the head was not sent yet. */
int pail_handle(struct pail_request *r);
/* Optional: once, before the first request, outside any bucket. Not 0 stops the server. */
int pail_start(int argc, char **argv);
/* Optional: on every worker thread before it serves, outside any bucket. Not 0 stops the
 * server. */
int pail_thread_start(void);
/* Optional: once in every bucket; its allocations are there, fresh, at the
 * start of every request of that bucket. Not 0 stops the server. */
int pail_bucket_start(void);
/* Optional: on SIGHUP, outside any bucket, while requests are served. After 0
 * pail_bucket_start() runs again in every bucket before its next request; not 0
 * leaves all as it was. */
int pail_reload(void);
/* Optional: at every end of a request, also when it was jumped out of.
 * Runs in the bucket, before it is cleared. */
void pail_request_end(struct pail_request *r);

/* -- what the server provides -------------------------------------------- */

/* Strings are NUL-terminated and live as long as the request. */
const char *pail_method(const struct pail_request *r);
const char *pail_path(const struct pail_request *r);  /* as sent, without the query */
const char *pail_query(const struct pail_request *r); /* behind the '?', or "" */
/* The value of the first field of that name (case does not matter), or NULL. */
const char *pail_header(const struct pail_request *r, const char *name);
/* The i-th field, 0..: 1, or 0 past the last. */
int pail_header_at(const struct pail_request *r, size_t i, const char **name,
		   const char **value);

/* The whole body, in the bucket; gives its length. Yields until it is there. */
size_t pail_body(struct pail_request *r, const void **bytes);
/* The next piece of the body: > 0 bytes, 0 at its end, -1 if the client went
 * away. Yields. Not to be mixed with pail_body(). */
ssize_t pail_body_read(struct pail_request *r, void *buf, size_t n);

/* Before the first byte is sent: 0, or -1 if the field can't be sent (bad
 * characters, a field that the server sets itself, head already sent, no room). */
int pail_set_header(struct pail_request *r, const char *name, const char *value);
/* The status for a response that streams before pail_handle returns it. */
int pail_set_status(struct pail_request *r, int status);
/* Appends to the response; buffered up to one socket buffer, then streamed.
 * Yields. 0, or -1 if the client went away. */
int pail_write(struct pail_request *r, const void *buf, size_t n);

/* malloc by another name; never returns NULL (it jumps). */
void *pail_alloc(struct pail_request *r, size_t n);
size_t pail_bucket_size(const struct pail_request *r);
size_t pail_bucket_used(const struct pail_request *r);

/* In pail_bucket_start(): what pail_bucket_data() gives in every request of
 * this bucket, such as the interpreter that was made in it. */
void pail_bucket_data_set(void *data);
void *pail_bucket_data(const struct pail_request *r);

/* Why it failed, for the log's "detail" (its first 95 bytes); with NULL for a
 * request, why pail_start() or its kin are about to return not 0. */
void pail_explain(struct pail_request *r, const char *text);

/* fn(arg) at the end of the request, last deferred first, jumps included. */
void pail_defer(struct pail_request *r, void (*fn)(void *), void *arg);
/* fn(arg) on a big stack, lent for the call. Waits, at most [stack] big_wait,
 * until one is free. Gives what fn returned and *err = 0, or NULL and *err =
 * EAGAIN (none came free: answer 503) or ENOTSUP (the plan has none). */
void *pail_on_big_stack(struct pail_request *r, void *(*fn)(void *), void *arg, int *err);

/* Between these two, malloc gives memory that outlives the request, from the
 * server's fixed system region. They nest. Full region: malloc returns NULL. */
void pail_outside_begin(void);
void pail_outside_end(void);

#ifdef __cplusplus
}
#endif
#endif
