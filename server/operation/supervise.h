/* SPDX-License-Identifier: MIT */
/*
 * Two processes: a supervisor, which holds the listening socket and does
 * nothing else, and the one that serves, its child. A server that ends without
 * having been asked to is followed by a new one, so what can't be contained
 * (fail.h) costs the requests that it hits and a restart; whoever connects
 * meanwhile waits in the socket's backlog, which the supervisor keeps open.
 *
 *	- SIGTERM, SIGINT and SIGHUP are passed on as signals of their own: a
 *	  terminal sends the former to both, and two of a kind would count as one.
 *	- At most one process serves, so the bound holds at every moment: the new
 *	  one starts when the old one is gone. With [server] overlap, which counts a
 *	  second one in the bound, it starts when the old one begins to drain.
 *	- One that ends within SUPERVISE_STEADY_NS of its start is followed after a
 *	  pause, doubled each time: crash loops cost no CPU. The first follows at once.
 *	- One that does not get to serve at the very start ends the supervisor with
 *	  its own exit code; a server that did not start is not tried again.
 *	- The supervisor dies: the child drains.
 *
 * The supervisor has mapped nothing but its image, whose data is counted in the
 * allowance for text, data and libraries, SUPERVISE_BYTES of it, and what it shares.
 */
#ifndef PAIL_SERVER_SUPERVISE_H
#define PAIL_SERVER_SUPERVISE_H

#include "base/err.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SUPERVISE_BYTES = 1 << 20 };

/* Not the highest two, which emulators of other processors keep for themselves. */
#define SUPERVISE_SIGNAL_END    (SIGRTMAX - 2) /* for SIGTERM and SIGINT */
#define SUPERVISE_SIGNAL_REOPEN (SIGRTMAX - 3) /* for SIGHUP */

/* What the child knows of its supervisor; all 0 and -1 in a server without. */
struct supervised {
	pid_t supervisor;
	int report_fd;        /* -1: nobody to tell */
	uint32_t generation;  /* 0: the first that serves */
	uint64_t watchdog_ns; /* how often supervised_lives() is wanted; 0: never */
	void *memory;         /* its own of those that are shared */
};

/* Memory that a child shares with the supervisor, who looks at what is left in it
 * when the child has ended, before another has it: the second is for overlap. */
struct supervise_memory {
	void *piece[2];
	void (*ended)(void *piece);
};

/* 1 in each child, which goes on to serve. 0 in the supervisor once all is
 * over, with what to exit with. -1: it can't be. */
int supervise(bool overlap, const struct supervise_memory *memory, struct supervised *child,
	      int *exit_code, struct err *err);

/* The child serves; it drains because of a failure; all its workers turn. What
 * the service manager is to know (activation.h) goes on to it: from the
 * supervisor, which is the process that it watches, or from the only one. */
void supervised_serves(const struct supervised *child);
/* After all: its start fails. */
void supervised_does_not(const struct supervised *child);
void supervised_drains(const struct supervised *child);
void supervised_lives(const struct supervised *child);

#endif
