/* SPDX-License-Identifier: MIT */
/*
 * One client connection, a slot of the connection table.
 *
 *	HEAD     idle, or a head is coming; no bucket. On the worker's list `idle`,
 *	         the one that has been there longest first: it is closed when the
 *	         table is full and someone new comes
 *	BODY     the head is complete, and the body is to come here, into the header
 *	         buffer, wholly or until that is full, before a bucket is taken: who
 *	         sends it slowly holds none. On the list `idle` like HEAD. Not for a
 *	         client that asks first (Expect)
 *	WAIT     the request is to have a bucket and none is free: in its pool's line
 *	RUN      has a bucket and a coroutine
 *	DISCARD  answered; the rest of the request's body is read and dropped
 *	LINGER   our side is shut; reads and drops for a moment, so that the answer
 *	         is not lost in a reset
 *
 * Input lies in the header buffer: [start, at) is the current head (and what
 * was used of the body), [at, filled) is unread input: body, then pipelined
 * requests. The table of fields lies at the buffer's end until the request
 * has a bucket. Nothing is read while output is pending.
 *
 * epoll is edge-triggered and never changed: readable and writable say what is
 * known, and are cleared by EAGAIN.
 */
#ifndef PAIL_SERVER_CONNECTION_H
#define PAIL_SERVER_CONNECTION_H

#include "base/limits.h"
#include "server/http/parse.h"
#include "server/connection/timer.h"
#include "server/operation/log_line.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct address;
struct bucket;
struct pool;
struct worker;

enum connection_state {
	CONNECTION_FREE,
	CONNECTION_HEAD,
	CONNECTION_BODY,
	CONNECTION_WAIT,
	CONNECTION_RUN,
	CONNECTION_DISCARD,
	CONNECTION_LINGER,
};

struct connection {
	struct timer timer; /* first: the heap's entries are connections */
	int fd;
	uint8_t state; /* enum connection_state */
	bool readable, writable, ended /* the client's side is shut */, broken;
	bool stays;    /* after this response */
	bool secure;   /* speaks TLS */
	bool tls_done; /* and its handshake is over */
	bool ready;    /* on one of the worker's two ready lists */
	bool later;    /* the second */
	bool retry;    /* the request was too large for its class, and the next is to try */
	uint8_t class_index;                /* of the current request */
	int16_t route;                      /* that chose it, or -1 */
	bool queued;                        /* it had to wait in its pool's line */
	bool claimed;                       /* one of its address's requests is its own */
	bool armed;                         /* the head's timer runs since its first byte */
	struct connection *previous, *next; /* idle list or free list */
	struct connection *ready_next;
	struct connection *queue_previous, *queue_next; /* in a pool's line */
	struct pool *pool;                              /* that it waits for */
	struct bucket *given;                           /* by a pool, to start with */
	struct worker *worker;
	struct address *address; /* of the client, or NULL: not counted */
	struct log_address client;
	struct bucket *bucket;
	char *bytes; /* header buffer */
	uint32_t room, start, at, filled;
	uint32_t body_from;  /* BODY: filled - start when its timer was set */
	uint64_t arrival_ns; /* of the current request's complete head */
	uint64_t discarded;  /* bytes; in BODY: of chunks that were looked at */
	void *tls;           /* its session, from the first byte on */
	uint32_t tls_bytes;  /* what that holds (tls.h) */
	struct parse_head head;
	struct parse_body body;
};

static_assert(sizeof(struct connection) + sizeof(void *) <= LIMITS_CONNECTION_BYTES,
	      "a connection and its place in the heap");

enum {
	CONNECTION_FIELDS_BYTES = PARSE_FIELDS_MAX * sizeof(struct parse_field),
	CONNECTION_HEAD_SLACK_BYTES = 256, /* behind the longest head: input of bodies */
	BODY_PROGRESS_BYTES = 1024,        /* in each body_timeout, or the end */
};

/* A new client on an empty slot. */
void connection_open(struct connection *connection, int fd, struct address *address,
		     bool secure);
/* Does all that can be done now. */
void connection_advance(struct connection *connection);
/* What epoll said. */
void connection_event(struct connection *connection, uint32_t events);
/* Its timer is due. */
void connection_timeout(struct connection *connection);
/* Its request, which waits for the client, is ended for the sake of others. */
void connection_give_up(struct connection *connection);
/* Drops it where it stands; not in RUN. */
void connection_close(struct connection *connection);

/* recv() into the header buffer behind `filled`: bytes, 0 at the end of input,
 * -1 with EAGAIN, or -1 when broken. */
ssize_t connection_fill(struct connection *connection);
/* sendmsg() to the client. */
ssize_t connection_send(struct connection *connection, const struct iovec *pieces, int count,
			int flags);
/* recv() elsewhere, by the same rules. */
ssize_t connection_recv(struct connection *connection, void *to, size_t bytes);

#endif
