/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous input and output inside handlers: calls of libc that would
 * block let the other requests of the thread run until they can go on.
 * connect, accept, read, write, recv, send and their kin are defined here
 * (aio_calls.c), poll, select and epoll_wait too (aio_poll.c); outside of
 * requests, and on descriptors that the handler made non-blocking itself, they
 * are what the kernel does.
 *
 * No descriptor's flags are kept changed, so what dup(2) made of one, or a
 * process that shares it, sees no difference: sockets are asked with
 * MSG_DONTWAIT, pipes and terminals looked at with poll(2) first, files read
 * at once. Only connect(2) sets O_NONBLOCK, for its own length.
 *
 * One wait is one entry in the worker's epoll, put there and removed for it; a
 * wait for several descriptors, or for one that another request waits for too,
 * goes through an epoll of its own. Removal happens before the request can be
 * left, so a deadline or a client that is gone leaves nothing behind. Wakes
 * may be spurious: whoever waits tries again.
 *
 * A mutex that is held meanwhile stops nobody but who wants it (locks.h).
 * Threads: the worker's own.
 */
#ifndef PAIL_SERVER_AIO_H
#define PAIL_SERVER_AIO_H

#include "server/request/request.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	AIO_PIPE_BYTES = 4096, /* POSIX: a pipe that has room takes that much at once */
	AIO_STACK_BYTES = 3072,
};

struct worker;

/* The request whose handler runs and may wait, or NULL. */
struct pail_request *aio_request(void);
/* Until one of them is ready or the time is come, or earlier. May jump. */
void aio_wait(struct pail_request *r, const struct pollfd *fds, nfds_t count,
	      uint64_t until_ns);
/* The core of it, in a critical stretch: until io_ready, or the time, or there is
 * something in r->pending. */
void aio_suspend(struct pail_request *r, uint64_t until_ns);
/* poll(2) until then: the number of those that are ready, 0 at the time, -1. */
int aio_poll(struct pail_request *r, struct pollfd *fds, nfds_t count, uint64_t until_ns);
/* After a call that gave EAGAIN: true if it is to be tried again. False: errno
 * is EAGAIN (a non-blocking descriptor, or its SO_RCVTIMEO or SO_SNDTIMEO is
 * over). *until_ns is 0 before the first of them. */
bool aio_again(struct pail_request *r, int fd, short events, uint64_t *until_ns);

/* Until a call on it would not block: a listener. 0, or -1 with EAGAIN. */
int aio_await(int fd);

/* epoll's data for an entry of a request of that connection, and whether it is
 * one; connections are aligned, so the lowest bit is free. */
static inline void *aio_tag(struct connection *connection)
{
	return (void *)((uintptr_t)connection | 1);
}
static inline struct connection *aio_tagged(void *data)
{
	uintptr_t bits = (uintptr_t)data;
	return bits & 1 ? (struct connection *)(bits - 1) : NULL;
}
/* The loop: an entry of that kind is ready. */
void aio_event(struct connection *connection);

#endif
