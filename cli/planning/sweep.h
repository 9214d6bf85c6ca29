/* SPDX-License-Identifier: MIT */
/*
 * A sweep: many candidates of one trace, and how they are told. And one sweep over
 * many machines: each simulates the counts whose turn it is and
 * writes a part, a few lines of text; `pail combine` puts the parts of all
 * together again, to the same numbers as one run. A part names the sweep it
 * belongs to, so that parts of different ones can't be mixed.
 *
 *	pail.part/1
 *	sweep TRACE-SHA256 LOAD POLICY QUEUE WAIT_NS CONFIDENCE REQUESTS SPAN_NS ALIGN QUESTION
 *	shard I N CANDIDATES
 *	candidate SIZE COUNT BOUND OFFERED R500 R503 RATE LOW HIGH P99 CLUSTERS BATCHES
 *	end
 */
#ifndef PAIL_CLI_SWEEP_H
#define PAIL_CLI_SWEEP_H

#include "base/buf.h"
#include "base/err.h"
#include "simulator/sim.h"

#include <stdint.h>

/* What every output of a sweep is made of. */
struct sweep {
	char sha256[65], policy[16];
	double load, confidence;
	uint64_t queue, wait_ns, requests, span_ns, align;
	uint64_t question; /* a hash of headroom, overlays and the like */
	/* not in parts: */
	bool streamed; /* the trace was never whole: no hash of it, no load but 1 */
	uint64_t view_requests;
	double offered, view_span_ns;
	const char *const *route_names;
	size_t route_count;
};

struct route_outcome {
	uint64_t offered, rejected_500, rejected_503;
};

struct sweep_candidate {
	uint64_t size, count, bound_bytes, wait_ns_p99;
	struct grid_outcome outcome;
	struct rate rate;
	struct route_outcome *route; /* by route, malloc'd; or NULL */
};

struct shard {
	uint64_t index, of; /* index from 1 */
};

int shard_parse(const char *text, struct shard *shard, struct err *err);
void part_write(const struct sweep *sweep, const struct shard *shard,
		const struct sweep_candidate *candidates, size_t count, struct buf *out);
/* Reads a part; appends to *candidates (malloc'd, *count of them). The first,
 * with shard.of 0, sets sweep and shard; later ones must agree. */
int part_read(const char *path, struct sweep *sweep, struct shard *shard,
	      struct sweep_candidate **candidates, size_t *count, struct err *err);

/* For people; outcomes by route below it, where there are any. */
void sweep_table(const struct sweep *sweep, const struct sweep_candidate *candidates,
		 size_t count, struct buf *out);
void sweep_json(const struct sweep *sweep, const struct sweep_candidate *candidates,
		size_t count, struct buf *out);
void sweep_csv(const struct sweep *sweep, const struct sweep_candidate *candidates,
	       size_t count, struct buf *out);

#endif
