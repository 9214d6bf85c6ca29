/* SPDX-License-Identifier: MIT */
/*
 * A group of routes that shares one class of buckets, played on its own: the
 * sizes and counts worth trying for it, with what each would refuse. The
 * planner puts groups together.
 */
#ifndef PAIL_SIMULATOR_GROUP_H
#define PAIL_SIMULATOR_GROUP_H

#include "simulator/sim.h"

enum { GROUP_SIZES = 40, GROUP_COUNTS = 96 };

struct group {
	struct sim_columns columns; /* the group's requests */
	struct sim_trace trace;
	struct sim_load load;
	uint32_t overlap;
	double peakedness;
	uint64_t stack_bytes; /* of a bucket's stack */
	uint64_t size[GROUP_SIZES];
	uint32_t count[GROUP_COUNTS];
	struct grid_ask ask, slot_ask; /* point into the above */
	struct grid grid;
	struct evidence evidence;
	struct queue queue; /* when requests may wait: one candidate per count */
	struct queue_ask queue_ask;
	struct queue_candidate *candidate;
	/* The candidates that nothing cheaper beats, cost ascending. */
	struct option *option;
	size_t option_count;
};

struct option {
	uint32_t count_index, size_index;
	uint64_t bytes; /* count x (size + stack + meta), with page tables */
	struct rate rate;
	double rejected, above; /* requests: the estimate, and its upper end less it */
};

/* `member[route]` says which routes belong. Keeps no reference to `trace`. */
int group_init(struct group *group, const struct sim_trace *trace, const bool *member,
	       const struct planner_ask *ask, struct err *err);
void group_release(struct group *group);
void group_describe(const struct group *group, const struct option *option,
		    struct planner_class *class);

#endif
