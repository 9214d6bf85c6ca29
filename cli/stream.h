/* SPDX-License-Identifier: MIT */
/*
 * pail simulate --stream: a trace that is larger than memory, read request by
 * request in order of time and played in parts of fixed size. The counts are
 * those of a run in memory. What needs the whole trace at once can't be had:
 * intervals, queues, shifted copies, overlays, outcomes by route.
 */
#ifndef PAIL_CLI_STREAM_H
#define PAIL_CLI_STREAM_H

#include "cli/traffic.h"

struct stream {
	struct grid grid;
	uint64_t span_ns; /* first arrival to last departure */
	double offered;   /* load, in buckets */
};

/* Of `from` path, policy and headroom_bytes are looked at. */
int stream_run(const struct traffic_ask *from, const struct grid_ask *ask,
	       struct stream *stream, struct err *err);
void stream_release(struct stream *stream);

#endif
