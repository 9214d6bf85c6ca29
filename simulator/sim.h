/* SPDX-License-Identifier: MIT */
/*
 * The simulator: what a recorded traffic would have met under a plan.
 *
 * Everything here is pure: it reads columns, computes, and gives numbers; no
 * clock, no files, no sockets. A run with the same input gives the same output
 * whatever the number of threads or the machine's vector width. Counts are
 * exact integers; doubles are only in formulas, rates and intervals.
 *
 * Words
 *   arrival, service  when a request came and how long it holds its bucket
 *   need              the most bytes its arena ever holds
 *   slot              a bucket's number; arrivals take the lowest free one
 *   rejected_503      no bucket was free; rejected_500: need > size
 *   offered load      arrivals x mean service / span, in buckets ("Erlang")
 *   cluster           rejections with gaps of less than 3 mean services
 *
 * Ownership: a struct sim_trace points at the caller's columns, which must
 * outlive every call; results are released by the *_release() of their noun.
 * Functions that can fail for want of memory or for bad input return -1 and
 * write a struct err. docs/simulator.md has the mathematics and its sources.
 */
#ifndef PAIL_SIMULATOR_SIM_H
#define PAIL_SIMULATOR_SIM_H

#include "base/err.h"
#include "base/limits.h"
#include "simulator/formulas.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- traces ------------------------------------------------------------ */

struct sim_trace {
	size_t count;
	const int64_t *arrival_ns; /* ascending, >= 0 */
	const int64_t *service_ns; /* >= 0 */
	const uint64_t *need_bytes;
	const uint32_t *route; /* index below route_count, or NULL: all the same */
	size_t route_count;
};

/* Refuses columns that are out of order or negative, naming the row. */
int sim_trace_check(const struct sim_trace *trace, struct err *err);

/* Sums that describe a trace. */
struct sim_load {
	double span_ns; /* first arrival to last departure */
	double service_mean_ns;
	double offered; /* Erlang */
	uint64_t service_max_ns, need_max_bytes;
};
struct sim_load sim_trace_load(const struct sim_trace *trace);

/* Columns that the simulator made itself (scaled, filtered, overlaid). */
struct sim_columns {
	struct sim_trace trace; /* points into the arrays below */
	int64_t *arrival_ns, *service_ns;
	uint64_t *need_bytes;
	uint32_t *route;
	uint32_t *origin; /* the row of the source trace that each came from */
};
int sim_columns_init(struct sim_columns *columns, size_t count, struct err *err);
void sim_columns_release(struct sim_columns *columns);
/* Brings rows into order of arrival (ties: as they were) and sets trace. */
int sim_columns_sort(struct sim_columns *columns, size_t count, struct err *err);

/* ---- grid: every size and count at once, without queue ------------------ */

enum { GRID_BATCHES = 32, GRID_COUNTS_MAX = 1 << 20, GRID_SIZES_MAX = 4096 };

struct grid_ask {
	const uint64_t *sizes; /* ascending, distinct, > 0 */
	size_t size_count;
	const uint32_t *counts; /* ascending, distinct, 1..GRID_COUNTS_MAX */
	size_t count_count;
	unsigned threads;    /* 0 is 1 */
	unsigned batches;    /* consecutive parts counted apart; 0 is 1 */
	bool keep_slots;     /* fill grid.slot */
	uint64_t early_size; /* not 0: a request that needs more frees its bucket early */
	const char *kernel;  /* "portable", "avx2", "avx512"; NULL: the best */
};

struct grid_outcome {
	uint64_t offered, rejected_500, rejected_503;
};

struct grid {
	size_t size_count, count_count, batches;
	uint64_t requests;
	uint64_t *served;   /* [batch][count][size]: got a bucket and fitted */
	uint64_t *accepted; /* [batch][count]: got a bucket */
	uint64_t *offered;  /* [batch] */
	uint32_t *slot;     /* by request, 1-based; greatest count + 1: none */
	uint64_t repaired;  /* requests played twice to join segments */
	const char *kernel;
};

/*
 * One pass. An oversize request holds its bucket for its whole service, unless
 * early_size is set: then it is taken to grow evenly and leaves when it passes
 * that size, and `sizes` must hold that size alone.
 */
int grid_run(const struct sim_trace *trace, const struct grid_ask *ask, struct grid *grid,
	     struct err *err);
void grid_release(struct grid *grid);
struct grid_outcome grid_at(const struct grid *grid, size_t count_index, size_t size_index);
struct grid_outcome grid_batch_at(const struct grid *grid, size_t batch, size_t count_index,
				  size_t size_index);

/* Most requests at one time, a departure at t before an arrival at t: the least
 * count without a 503. *at is the row whose arrival reaches it first. */
int grid_overlap(const struct sim_trace *trace, uint32_t *overlap, size_t *at, struct err *err);

#endif
