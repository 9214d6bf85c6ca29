/* SPDX-License-Identifier: MIT */
/*
 * The response of a request on its way out: buffered in the bucket's meta piece
 * up to REQUEST_OUT_BYTES, then streamed. A response that fits goes out with
 * its head in one system call. All of it runs on the request's own stack and
 * lets others run while the client's socket is full.
 *
 * Slow readers: each write_timeout must move OUTPUT_PROGRESS_BYTES or all that
 * is left, or the connection is closed.
 */
#ifndef PAIL_SERVER_OUTPUT_H
#define PAIL_SERVER_OUTPUT_H

#include "server/request.h"

#include <sys/uio.h>

enum { OUTPUT_PROGRESS_BYTES = 4096, OUTPUT_UNREAD_MAX = 64 << 10 };

/* Sends the rest, or the failure's answer, or nothing; says in connection->stays
 * whether the connection may serve another request. Never jumps. */
void output_finish(struct pail_request *r);
/* Sends bytes as they are. 0, or -1 if the client went away or is too slow. */
int output_send(struct pail_request *r, struct iovec *iov, int count, int flags);

#endif
