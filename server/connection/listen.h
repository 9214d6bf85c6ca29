/* SPDX-License-Identifier: MIT */
/*
 * The listening socket: "127.0.0.1:8080", "[::1]:0", "unix:/path". Its buffer
 * sizes are set before listen(2), so every accepted socket has them from its
 * first byte.
 */
#ifndef PAIL_SERVER_LISTEN_H
#define PAIL_SERVER_LISTEN_H

#include "base/err.h"
#include "base/limits.h"

enum { LISTEN_NAME_MAX = 160 };

/* `where`: plan->listen or plan->admin. The descriptor, or -1. `name` gets the address with the
 * port the kernel gave, *port that port, or 0 for a unix socket. */
int listen_open(const struct plan *plan, const char *where, char name[LISTEN_NAME_MAX],
		unsigned *port, struct err *err);

/* The same for a socket that was inherited. */
int listen_adopt(const struct plan *plan, int fd, char name[LISTEN_NAME_MAX], unsigned *port,
		 struct err *err);

#endif
