/* SPDX-License-Identifier: MIT */
/*
 * The response of a request on its way out: buffered in the bucket's meta piece
 * up to REQUEST_OUT_BYTES, then streamed. A response that fits goes out with
 * its head in one system call. All of it runs on the request's own stack and
 * lets others run while the client's socket is full.
 *
 * Answers to pipelined requests that were read together go out together: while
 * more input is there, one that is whole joins the worker's batch, which is
 * sent when the last of them is answered, one of them waits, or the connection's
 * turn is over. It is begun only when the socket has nothing unsent, and is no
 * longer than half the socket's buffer, so the socket takes it in one piece.
 *
 * Slow readers: each write_timeout must move OUTPUT_PROGRESS_BYTES or all that
 * is left, or the connection is closed; sooner while others wait (patience.h).
 */
#ifndef PAIL_SERVER_OUTPUT_H
#define PAIL_SERVER_OUTPUT_H

#include "server/request/request.h"

#include <sys/uio.h>

enum {
	OUTPUT_PROGRESS_BYTES = 4096,
	OUTPUT_UNREAD_MAX = 64 << 10,
	OUTPUT_BATCH_BYTES = 16 << 10
};

struct connection;
struct worker;

struct output_batch {
	struct connection *of; /* NULL: it is empty */
	uint32_t length;
	char bytes[OUTPUT_BATCH_BYTES];
};

/* Sends what has been put together for that connection, if anything. */
void output_flush(struct connection *connection);

/* Sends the rest, or the failure's answer, or nothing; says in connection->stays
 * whether the connection may serve another request. Never jumps. */
void output_finish(struct pail_request *r);
/* Sends bytes as they are. 0, or -1 if the client went away or is too slow. */
int output_send(struct pail_request *r, struct iovec *iov, int count, int flags);

#endif
