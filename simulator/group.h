/* SPDX-License-Identifier: MIT */
/*
 * A group of routes that shares one class of buckets, played on its own: the
 * sizes and counts worth trying for it, with what each would refuse. The
 * planner puts groups together.
 */
#ifndef PAIL_SIMULATOR_GROUP_H
#define PAIL_SIMULATOR_GROUP_H

#include "simulator/sim.h"

enum { GROUP_SIZES = 40, GROUP_COUNTS = 96, GROUP_LINES = 24, GROUP_LINE_COUNTS = 24 };

/* How long a line may form before the buckets. All classes of a plan have the same
 * one: it is one number of the server. */
struct line {
	uint32_t queue; /* 0: no request waits */
	uint64_t wait_ns;
};
/* The lines to try: the one asked for, or none and a grid of them. Returns how many. */
size_t lines_of(const struct planner_ask *ask, struct line line[GROUP_LINES]);

struct options {
	struct option *option; /* those that nothing cheaper beats, cost ascending */
	size_t count;
};

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
	struct line line[GROUP_LINES];
	size_t line_count;
	/* When requests may wait: candidates by line, and within a line by row. */
	struct queue queue;
	struct queue_ask queue_ask;
	struct queue_candidate *candidate;
	uint32_t row[GROUP_COUNTS]; /* indices of count[] that are played with a line */
	size_t row_count;
	struct options options[GROUP_LINES]; /* by line */
};

struct option {
	uint32_t count_index, size_index, line;
	uint32_t candidate; /* of the queue's, when the line is one */
	uint64_t bytes;     /* count x (size + stack + meta), with page tables */
	struct rate rate;
	double rejected, above; /* requests: the estimate, and its upper end less it */
};

/* `member[route]` says which routes belong. Keeps no reference to `trace`. */
int group_init(struct group *group, const struct sim_trace *trace, const bool *member,
	       const struct planner_ask *ask, struct err *err);
void group_release(struct group *group);
int group_describe(const struct group *group, const struct option *option,
		   struct planner_class *class, struct err *err);

#endif
