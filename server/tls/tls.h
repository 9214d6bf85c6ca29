/* SPDX-License-Identifier: MIT */
/*
 * TLS for clients that come by [tls] listen. All that the library allocates for
 * it lies in one fixed pool, a term of the bound:
 *
 *	pool = LIMITS_TLS_BASE_BYTES
 *	     + connections x LIMITS_TLS_CONNECTION_BYTES
 *	     + handshakes x (LIMITS_TLS_HANDSHAKE_BYTES - LIMITS_TLS_CONNECTION_BYTES)
 *
 * and what one connection allocates is charged to it: one that wants more than
 * its share (LIMITS_TLS_HANDSHAKE_BYTES until its handshake is done,
 * LIMITS_TLS_CONNECTION_BYTES after) is refused memory and closed, so no client
 * can take another's. The library's memory in handlers (libcurl, libpq) is
 * malloc's, as ever: the pool serves only what is called from here.
 *
 * A connection has a session from its first byte on, not before. Each worker
 * has its share of `connections` and of `handshakes`. A newcomer for whom none
 * is left takes that of the handshake which began first, or of the connection
 * that has idled longest; if there is none, it is closed.
 *
 * The certificate is read again on SIGHUP; connections that are there keep the
 * one they have. Calls run on whatever stack asks and need up to
 * TLS_STACK_BYTES of it: who is on a request's calls tls_touch_stack() first.
 */
#ifndef PAIL_SERVER_TLS_H
#define PAIL_SERVER_TLS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { TLS_STACK_BYTES = 12 << 10 };

struct connection;

/* Loads the library, the certificate, the key. Once, before the app is loaded. */
int tls_open(struct err *err);
/* The certificate and key anew; on failure the old ones stay. Main thread. */
int tls_reload(struct err *err);

/* The most bytes of the pool that were ever in use. */
uint64_t tls_pool_peak(void);

/* 1 the handshake is done, 0 it waits for the client, -1 close it. */
int tls_handshake(struct connection *connection);
/* As recv(2) and sendmsg(2) on a non-blocking socket. */
ssize_t tls_receive(struct connection *connection, void *to, size_t bytes);
ssize_t tls_send(struct connection *connection, const struct iovec *pieces, int count);
/* Our side's end, before the socket's. */
void tls_goodbye(struct connection *connection);
void tls_close(struct connection *connection);

void tls_touch_stack(void);

#endif
