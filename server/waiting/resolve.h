/* SPDX-License-Identifier: MIT */
/*
 * getaddrinfo() inside handlers. libc's own waits for its name servers by
 * calls inside libc, which nobody can make yield, holds locks meanwhile, and
 * keeps what it learns beyond the request; so it is libc's own, with all that
 * /etc/nsswitch.conf, /etc/hosts and /etc/resolv.conf say, but it runs on one
 * of [server] resolvers threads, while the request yields. Those threads are
 * made at start, their stacks counted in the bound; what they allocate comes
 * from the system region. The answer is copied into the request's bucket, where
 * freeaddrinfo() frees it as any other.
 *
 * Numeric addresses with numeric ports need no thread, and nothing of libc's
 * that locks: they are answered here. At most RESOLVE_JOBS look-ups
 * are under way or in line, in the order of their coming; who finds no place
 * waits for one. A request that is left while it waits leaves its look-up to
 * its own end.
 *
 * libcurl looks names up on a thread that it starts for it. Inside a request
 * there are no threads (locks.h), but for this: the thread's function is run
 * to its end by pthread_create() itself, and yields there.
 *
 * gethostbyname(), getnameinfo() and the res_ functions are libc's own still,
 * and keep their thread for as long as they take.
 */
#ifndef PAIL_SERVER_RESOLVE_H
#define PAIL_SERVER_RESOLVE_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

enum { RESOLVE_JOBS = 32, RESOLVE_ADDRESSES = 32 };

/* Starts the threads; once the signals are blocked that are the main thread's. */
int resolve_open(struct err *err);
/* On a worker that was woken: requests whose answer has come are made ready. */
void resolve_deliver(struct worker *worker);

/* pthread_create() in a request, called from `caller`: true if the function has
 * been run, and *thread stands for it. */
bool resolve_inline(const void *caller, pthread_t *thread, void *(*start)(void *),
		    void *argument);

#endif
