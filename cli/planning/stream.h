/* SPDX-License-Identifier: MIT */
/*
 * pail simulate --stream: a trace that is larger than memory, read in parts of fixed
 * size in order of time, twice: once for its sums (mean service, greatest need), once
 * to be played. Counts and intervals are those of a run in memory. What needs the whole
 * trace at once can't be had: queues, shifted copies, overlays, outcomes by route.
 */
#ifndef PAIL_CLI_STREAM_H
#define PAIL_CLI_STREAM_H

#include "cli/planning/traffic.h"

struct stream {
	struct grid grid; /* in batches, for rate_of() */
	struct evidence evidence;
	struct sim_load load;
	uint64_t requests;
};

/* Of `from` path, policy and headroom_bytes are looked at. `ask` is to hold batches. */
int stream_run(const struct traffic_ask *from, struct grid_ask *ask, struct stream *stream,
	       struct err *err);
void stream_release(struct stream *stream);

#endif
