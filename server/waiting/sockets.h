/* SPDX-License-Identifier: MIT */
/*
 * Sockets that handlers make: counted, and limited to [server] outgoing, since
 * their buffers are memory that the bound has to name. Each gets the plan's
 * buffer sizes when it is made, and no larger ones later (setsockopt cuts a
 * larger wish, as the kernel does at rmem_max).
 *
 *	socket, accept   one each
 *	socketpair       one for both ends, whose buffers are half as large
 *	dup and kin      one more: which of the two lives longer is not known
 *
 * Who finds none left waits, at most [server] outgoing_wait, for another request
 * to close one, then the call fails with ENOBUFS. A number comes free when the
 * descriptor is closed: by the handler, by fclose() of its stream, or for it
 * when its request is left.
 *
 * Sockets of the core's own (listener, clients, epoll) are not counted here:
 * the caller's address tells. Sockets that a plug-in makes in pail_start() and
 * pail_thread_start() are. In sanitizer builds, where nothing bounds anything, no
 * socket is counted. Threads: any.
 */
#ifndef PAIL_SERVER_SOCKETS_H
#define PAIL_SERVER_SOCKETS_H

#include "base/err.h"
#include "base/limits.h"

#include <stdint.h>
#include <sys/socket.h>

struct socket_counts {
	uint32_t now, peak;
	uint64_t refused;
};

/* The table, from the system region; once, before the app is started. */
int sockets_open(const struct plan *plan, struct err *err);
/* The descriptor is closed, or about to be. */
void sockets_closed(int fd);
void sockets_count(struct socket_counts *counts);

#endif
