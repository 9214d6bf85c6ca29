/* SPDX-License-Identifier: MIT */
/*
 * The admin address, [server] admin: for people and programs that watch.
 *
 *	GET /          one page that shows the numbers as they change (page.h)
 *	GET /stats     the numbers as JSON, pail.stats/1
 *	GET /metrics   the same for Prometheus
 *	GET /health    200 "ready", or 503 "draining"
 *
 * A thread of its own, with a listener, ADMIN_CLIENTS slots and buffers of fixed
 * size in the region, all counted in the bound; so it answers while every
 * worker computes, and a client that does not read holds up nobody: each has
 * ADMIN_CLIENT_NS for everything, and when all slots are taken the oldest
 * gives way. It reads what workers count (metrics.h), and asks none of them.
 *
 * Loopback and unix: addresses only, unless [server] admin_remote = yes.
 */
#ifndef PAIL_SERVER_ADMIN_H
#define PAIL_SERVER_ADMIN_H

#include "base/err.h"
#include "base/limits.h"
#include "server/connection/listen.h"

#include <stdint.h>

enum { ADMIN_CLIENTS = LIMITS_ADMIN_CLIENTS };

/* The listener, made anew or (inherited >= 0) taken over; -1: it can't be. In the
 * supervisor, as the other one. */
int admin_listen(const struct plan *plan, int inherited, char name[LISTEN_NAME_MAX],
		 struct err *err);
/* Starts the thread, when the workers serve. It goes on to the process's end. */
int admin_start(int listen_fd, struct err *err);

#endif
