/* SPDX-License-Identifier: MIT */
/*
 * Requests marked by functions of the program, which is not changed: the kernel
 * stops at their first instruction (a uprobe) and notes thread, time and first
 * argument. What is noted becomes MARK_BEGIN and MARK_END events, put among the
 * ring's by time; so the ring's events must each have a stamp of the same clock
 * (ring_options.stamped).
 *
 * Which end belongs to which begin: the end's first argument is what the begin
 * was called with, or what it returned (an object made by the one and freed by
 * the other); else the last begin of the thread that has no end. The
 * connection is the one that the thread read from last.
 *
 * Takes root, or CAP_PERFMON, and a kernel with CONFIG_UPROBE_EVENTS. Each
 * call costs the program a trap, some 0.5 us. One thread.
 */
#ifndef PAIL_LIBTRACE_PROBES_H
#define PAIL_LIBTRACE_PROBES_H

#include "base/err.h"
#include "libtrace/ring/ring.h"

/* A function by the file that holds it, program or library. */
struct probe_function {
	const char *path, *name;
};

struct probes;
/* Watched are all processes that run the file, and those count that the ring
 * knows: an inherited probe would be made anew at each fork of the program, out
 * of its own memory and with its own rights, and make the fork fail. A request on a
 * connection keeps the name that it has there; if it has none, because nothing but
 * marks makes requests (`alone`), then it has that of the function, as others do. */
int probes_open(const struct probe_function *begin, const struct probe_function *end,
		bool alone, struct probes **probes, struct err *err);
void probes_close(struct probes *probes);

/* Gives the marks that come before `event`, an event of the ring, to the
 * callback. */
void probes_before(struct probes *probes, const struct ring *ring,
		   const struct ring_event *event, ring_callback *callback, void *context);
/* After each ring_poll(): what was noted from now on is looked for again. */
void probes_poll_ended(struct probes *probes);
/* Calls that the kernel had no room to note. */
uint64_t probes_lost(const struct probes *probes);

#endif
