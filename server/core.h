/* SPDX-License-Identifier: MIT */
/*
 * What all threads of the server share: the plan, the region, the handler, the
 * listener. Written by the main thread before the workers start and only read
 * after that, but for what stands at the end, which is atomic. Everything else
 * belongs to one worker.
 */
#ifndef PAIL_SERVER_CORE_H
#define PAIL_SERVER_CORE_H

#include "base/limits.h"
#include "server/connection/address.h"
#include "server/connection/balance.h"
#include "server/handler.h"
#include "server/memory/region.h"
#include "server/operation/supervise.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { CORE_THREADS_MAX = LIMITS_THREADS_MAX };

struct worker;

struct core {
	struct plan plan;
	struct region region;
	struct handler handler;
	int listen_fd;
	int tls_fd;    /* -1: no TLS */
	int admin_fd;  /* -1: no admin address */
	int log_fd;    /* -1: no access log */
	int error_fd;  /* for lines with a cause; -1: they are in the access log, or nowhere */
	int record_fd; /* -1: nothing is recorded */
	pid_t recorder;
	void *log_memory; /* workers' rings (log.h); NULL: what is logged is dropped */
	struct worker *worker[CORE_THREADS_MAX];

	struct supervised supervised;
	struct addresses addresses; /* of clients; unused without limits of them */
	struct balance balance[CORE_THREADS_MAX]; /* how loaded each worker is */

	_Atomic uint32_t app_generation; /* goes up with each pail_reload() */
	_Atomic bool draining;           /* no new connections; those that are idle close */
	_Atomic bool halting;            /* the grace is over */
};

extern struct core core;

#endif
