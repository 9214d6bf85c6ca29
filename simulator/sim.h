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

/*
 * The same traffic `factor` times as dense. SHIFT superposes the trace with
 * copies of itself, moved by an equal part of the span each and wrapped round;
 * of a fraction the last copy keeps each request with that probability, by a
 * fixed hash. COMPRESS makes the clock faster, services as they were: right for
 * Poisson arrivals alone, too pessimistic for sessions.
 */
enum load_method { LOAD_SHIFT, LOAD_COMPRESS };
int load_scale(const struct sim_trace *trace, double factor, enum load_method method,
	       struct sim_columns *out, struct err *err);

/*
 * What if: changes laid over a trace. Which requests a share means is a fixed
 * hash of the row, so the same question has the same answer.
 */
enum overlay_kind {
	OVERLAY_INFLATE, /* service and need of a share of a route's requests, times a factor */
	OVERLAY_BURST,   /* `count` more requests at one instant, copies of the trace's own */
	OVERLAY_MAXIMAL, /* a share of requests with the greatest need and service seen */
};
struct overlay {
	enum overlay_kind kind;
	const bool *route; /* by route: those meant; NULL: all */
	double service, need, share;
	uint64_t count, at_ns; /* of a burst: after the first arrival */
};
int overlay_apply(const struct sim_trace *trace, const struct overlay *overlays, size_t count,
		  struct sim_columns *out, struct err *err);

/* ---- grid: every size and count at once, without queue ------------------ */

enum { GRID_BATCHES = 32, GRID_COUNTS_MAX = 1 << 20, GRID_SIZES_MAX = 4096 };

struct grid_ask {
	const uint64_t *sizes; /* ascending, distinct, > 0 */
	size_t size_count;
	const uint32_t *counts; /* ascending, distinct, 1..GRID_COUNTS_MAX */
	size_t count_count;
	unsigned threads;         /* 0 is 1 */
	unsigned batches;         /* consecutive parts counted apart; 0 is 1 */
	bool keep_slots;          /* fill grid.slot */
	uint64_t early_size;      /* not 0: a request that needs more frees its bucket early */
	uint64_t stream_requests; /* of a stream with batches: how many will come */
	const char *kernel;       /* "portable", "neon", "avx2", "avx512"; NULL: the best */
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
/* The same from slots found before, of a grid with at least the greatest count;
 * threads, keep_slots and early_size are not looked at. */
int grid_of_slots(const struct sim_trace *trace, const struct grid_ask *ask,
		  const uint32_t *slot, struct grid *grid, struct err *err);
void grid_release(struct grid *grid);
struct grid_outcome grid_at(const struct grid *grid, size_t count_index, size_t size_index);
struct grid_outcome grid_batch_at(const struct grid *grid, size_t batch, size_t count_index,
				  size_t size_index);

/*
 * The same pass for a trace that is too large for memory: parts are added in
 * order of time, each forgotten when it is done, on one thread. It keeps the
 * departures of the greatest count and the cells, whatever the length. Batches can be
 * had when it is known how many requests will come (stream_requests).
 */
struct grid_stream;
int grid_stream_open(const struct grid_ask *ask, struct grid_stream **stream, struct err *err);
int grid_stream_add(struct grid_stream *stream, const struct sim_trace *part, struct err *err);
/* The same, and the slots of this part's requests, as in grid.slot. */
int grid_stream_add_slots(struct grid_stream *stream, const struct sim_trace *part,
			  uint32_t *slot, struct err *err);
/* Fills the grid, unless it is NULL. Frees the stream in any case. */
int grid_stream_close(struct grid_stream *stream, struct grid *grid, struct err *err);

/*
 * The same pass over one slice of the trace, for many machines: each runs its
 * own rows from a guess of what came before, then takes the true departures of
 * its left neighbour and repairs its head. The cells of all slices add up to the
 * grid's. batches and keep_slots are not for slices.
 */
struct grid_slice;
int grid_slice_run(const struct sim_trace *trace, const struct grid_ask *ask, size_t begin,
		   size_t end, struct grid_slice **slice, struct err *err);
/* `departure`: greatest count of them, as the left neighbour's state. */
int grid_slice_join(struct grid_slice *slice, const uint64_t *departure, struct err *err);
/* The departures at the slice's end; valid until it is freed. */
const uint64_t *grid_slice_state(struct grid_slice *slice);
/* (counts + 1) x (sizes + 1) cells, row by row: requests by slot and need. */
const uint64_t *grid_slice_cells(const struct grid_slice *slice, size_t *count);
void grid_slice_free(struct grid_slice *slice);
/* A grid of one batch from the sum of all cells. */
int grid_of_cells(const struct grid_ask *ask, const uint64_t *cells, struct grid *grid,
		  struct err *err);

/* Most requests at one time, a departure at t before an arrival at t: the least
 * count without a 503. *at is the row whose arrival reaches it first. */
int grid_overlap(const struct sim_trace *trace, uint32_t *overlap, size_t *at, struct err *err);

/* ---- evidence and intervals --------------------------------------------- */

/*
 * What a rejection rate rests on: how many rejections each count and size had,
 * and in how many clusters they came. Rejections cluster, because a system that
 * is full stays full for a while; clusters are near enough independent, single
 * rejections are not.
 */
struct evidence {
	uint64_t requests;
	double gap_ns;                 /* rejections further apart than this are two clusters */
	uint32_t count_max;            /* counts 0..count_max have entries */
	uint64_t *rejected, *clusters; /* 503s, by count; see below */
	size_t size_count;
	uint64_t *sizes; /* those asked for, and eight to a doubling; ascending */
	uint64_t *oversize, *oversize_clusters; /* needs above, by size */
};
/* Clusters are counted for the counts (and sizes) asked for, one less than each,
 * and below them for those that refuse at most a tenth: nothing else is used.
 * Entries further down are 0. */

/* From slots as grid_run() keeps them, in a grid with at least those counts. */
int evidence_of_slots(struct evidence *evidence, const struct sim_trace *trace,
		      const uint32_t *slot, const struct grid_ask *ask, struct err *err);
/* From a grid run with keep_slots over the same trace; sizes as asked there. */
int evidence_init(struct evidence *evidence, const struct sim_trace *trace,
		  const struct grid *grid, const struct grid_ask *ask, struct err *err);
void evidence_release(struct evidence *evidence);

/*
 * The same from parts of a trace with the slots of a grid_stream, in memory that
 * depends on counts and sizes alone. `load` is of the whole trace (mean service and
 * greatest need are looked at), so who streams reads the trace twice.
 */
struct evidence_stream;
int evidence_stream_open(const struct grid_ask *ask, const struct sim_load *load,
			 uint64_t requests, struct evidence_stream **stream, struct err *err);
void evidence_stream_add(struct evidence_stream *stream, const struct sim_trace *part,
			 const uint32_t *slot);
/* Fills the evidence, unless it is NULL. Frees the stream in any case. */
void evidence_stream_close(struct evidence_stream *stream, struct evidence *evidence);

enum { INTERVAL_CLUSTERS_LEAST = 30 };

struct rate {
	double rate, low, high, confidence;
	uint64_t clusters;   /* of the candidate: 503s and 500s */
	double cluster_size; /* mean, in rejections, as it was used */
	bool by_batches;     /* else by a bound on the number of clusters */
	bool thin;           /* no count or size had clusters enough to tell their size */
};

/*
 * Two-sided interval of a candidate's rejection rate. With at least 30 clusters
 * from the variance of the means of the grid's batches; with fewer from exact
 * Poisson bounds on the number of clusters, times their mean size at the
 * greatest count (and size) at or below the candidate's that has 30.
 */
struct rate rate_of(const struct grid *grid, const struct grid_ask *ask,
		    const struct evidence *evidence, size_t count_index, size_t size_index,
		    double confidence);
/* The same from other engines' counts. Either kind of cluster size is the mean
 * that the caller trusts. */
struct rate_basis {
	uint64_t offered, rejected;
	const uint64_t *batch_offered, *batch_rejected; /* of `batches` parts */
	size_t batches;
	uint64_t busy_clusters, big_clusters;
	double busy_size, big_size;
	bool thin;
};
struct rate rate_from(const struct rate_basis *basis, double confidence);
/* Fills the cluster sizes of a basis from the evidence at a count and size. */
void rate_basis_sizes(const struct evidence *evidence, uint32_t count, uint64_t size,
		      struct rate_basis *basis);
/* Of a simulation that tells each request's fate: refused[i] is 0 for one that
 * was served. Clusters are its own; with fewer than 30 their size is a guess. */
struct rate rate_of_fates(const struct sim_trace *trace, const uint8_t *refused,
			  double confidence);
/* Requests that would have to be seen, without any rejection, for the upper end
 * to reach `target`; cluster_size as in struct rate. */
double rate_requests_needed(double target, double confidence, double cluster_size);

/* ---- needs beyond the trace ------------------------------------------------- */

enum { TAIL_EXCESSES_LEAST = 30 };

/* Fits a generalised Pareto tail to the largest twentieth of the values, by
 * probability-weighted moments (Hosking, Wallis 1987), which are stable for the
 * few hundred excesses that there are. 1; 0 if there are fewer than 30 excesses
 * or they are all alike; -1 with err. Estimates of exceedances below 10/n lean
 * on the shape alone: say so. */
int tail_fit(const uint64_t *values, size_t count, struct gpd *tail, struct err *err);

/* ---- what a trace may not be used for ---------------------------------------- */

enum { DIAGNOSIS_SLICES = 16 };

struct diagnosis {
	/* Share of arrivals that come within a twentieth of a mean gap after some
	 * departure; independent arrivals do so in one case of twenty. */
	double after_departure;
	bool closed_loop;
	/* Share of arrivals that find the greatest occupancy, or all but one. */
	double at_ceiling;
	uint32_t ceiling;
	bool saturated;
	/* Offered load by slice of time, over the mean: greatest and least. */
	double load_most, load_least;
	bool drifting;
	/* Routes whose first request needs more than any later one, by half. */
	uint32_t first_routes, first_route;
	uint64_t first_need, later_need;
};
int diagnose(const struct sim_trace *trace, struct diagnosis *diagnosis, struct err *err);

/* ---- queue with a timeout --------------------------------------------------- */

enum { QUEUE_WAIT_BINS = 7296 };

struct queue_candidate {
	uint32_t count;   /* buckets, >= 1 */
	uint32_t queue;   /* requests that may wait; 0: none */
	uint64_t wait_ns; /* longest wait */
};

struct queue_ask {
	const struct queue_candidate *candidates;
	size_t candidate_count;
	const uint64_t *sizes; /* ascending, distinct */
	size_t size_count;
	unsigned threads, batches;
	double gap_ns; /* between clusters, as in struct evidence */
	bool keep_fates;
};

struct queue_outcome {
	uint64_t offered, delayed, rejected_503, clusters;
	uint64_t excursion_arrivals; /* arrivals that had to be played in detail */
	uint64_t wait_ns_p99;        /* of those that got a bucket; to 1 %, upwards */
	uint64_t wait_ns_max;
	uint64_t *rejected; /* [batch][size_count + 1]: 503s by size bin */
	uint64_t *wait_bin; /* QUEUE_WAIT_BINS: of those that waited > 0 */
	uint64_t *wait_of;  /* keep_fates: by request; UINT64_MAX: rejected */
};

struct queue {
	size_t batches, size_count, candidate_count;
	uint64_t *total;               /* [batch][size_count + 1]: requests by size bin */
	struct queue_outcome *outcome; /* by candidate */
};

/*
 * Exact, for all candidates in one pass. A system of c buckets does what one
 * without limit does until c are taken; only from there until the last rejected
 * or delayed request would have gone is it played in detail.
 */
int queue_run(const struct sim_trace *trace, const struct queue_ask *ask, struct queue *queue,
	      struct err *err);
void queue_release(struct queue *queue);
struct grid_outcome queue_at(const struct queue *queue, size_t candidate, size_t size_index);
struct grid_outcome queue_batch_at(const struct queue *queue, size_t batch, size_t candidate,
				   size_t size_index);

/* evidence: of the grid over the same trace, for the sizes of clusters. */
struct rate queue_rate_of(const struct queue *queue, const struct queue_ask *ask,
			  const struct evidence *evidence, size_t candidate, size_t size_index,
			  double confidence);

/* ---- whole plans, event by event -------------------------------------------- */

enum { WORLD_CLASSES_MAX = 16 };

/*
 * Rules under which more memory can mean more rejections, so that no grid can be
 * read off one pass: each candidate is a simulation of its own.
 */
struct world_ask {
	size_t class_count;
	uint64_t size_bytes[WORLD_CLASSES_MAX]; /* ascending */
	uint32_t count[WORLD_CLASSES_MAX];
	const uint32_t *class_of_route; /* NULL: all to class 0 */
	const bool *retry_of_route;     /* NULL: none */
	uint32_t queue;                 /* of each class */
	uint64_t wait_ns;
	bool overflow; /* a full class hands on to the next bigger one */
	bool early;    /* an oversize request grows evenly and leaves when it passes its size;
			* one that retries always does */
	/* Not 0: no classes but a pool of count[0] pages of that size, of which a
	 * request takes one after the other as it grows evenly to its need. */
	uint64_t page_bytes;
};

enum world_fate { WORLD_SERVED, WORLD_500, WORLD_503 };

struct world {
	uint8_t *fate;       /* enum world_fate, by request */
	uint8_t *class;      /* the one that had it last */
	uint64_t *waited_ns; /* 0 for those that never waited */
	struct grid_outcome outcome;
	uint64_t retried, overflowed;
	uint64_t peak_bytes; /* most memory of buckets in use at one time */
};

int world_run(const struct sim_trace *trace, const struct world_ask *ask, struct world *world,
	      struct err *err);
void world_release(struct world *world);

/* ---- choosing a plan ------------------------------------------------------ */

enum { PLANNER_GROUPS_MAX = 16, PLANNER_CLASSES_MAX = 8 };

struct planner_ask {
	const struct sim_trace *trace;
	const struct plan *base;     /* everything but classes and routes */
	const uint64_t *stack_bytes; /* by route, what it needs; or NULL: the base's */
	double target;               /* highest share of rejections, at its upper end */
	double confidence;
	uint64_t memory_bytes; /* the bound may not pass it; 0: no limit */
	bool best_service; /* the fewest rejections within memory_bytes, whatever the target */
	unsigned classes;  /* at most that many */
	unsigned threads;
	uint32_t queue;   /* requests that may wait for a bucket of each class */
	uint64_t wait_ns; /* and how long */
	/* Those two are the most: lines of less are tried too, and none. The shortest wait,
	 * and then the shortest queue, is taken with which the bound is within a hundredth
	 * of the least. */
	bool queue_search;
};

/* One class of a plan, with what its numbers rest on. */
struct planner_class {
	uint64_t size_bytes, stack_bytes;
	uint32_t count;
	uint64_t requests;
	struct grid_outcome outcome;
	struct rate rate; /* of this class's requests */
	struct sim_load load;
	double peakedness;                     /* variance / mean of the unlimited occupancy */
	uint32_t overlap;                      /* most requests at one time */
	uint64_t less_rejected, less_clusters; /* 503s with one bucket fewer */
	uint64_t wait_ns_p99;                  /* with a queue, of those that got a bucket */
	double used;         /* mean share of a bucket that its served requests need */
	uint64_t size_need;  /* the greatest need that fits */
	uint32_t size_route; /* whose it is */
	uint64_t need_max;
	uint32_t need_max_route;
};

struct planner_point {
	uint64_t bound_bytes;
	double rejection_rate, rate_high;
	uint32_t class_count;
	uint64_t size_bytes[PLANNER_CLASSES_MAX]; /* ascending */
	uint32_t count[PLANNER_CLASSES_MAX];
	uint32_t queue;
	uint64_t wait_ns;
};

enum planner_verdict {
	PLANNER_MET,
	PLANNER_TOO_LITTLE_DATA, /* even the largest candidate's upper end is above the target
				  */
	PLANNER_OVER_MEMORY,     /* the target costs more than memory_bytes */
};

struct planner_result {
	enum planner_verdict verdict;
	/* What meets the target; when nothing does, what has the lowest upper end
	 * within memory_bytes; class_count 0 when not even that exists. */
	uint32_t class_count;
	struct planner_class class[PLANNER_CLASSES_MAX]; /* ascending size */
	uint32_t *class_of_route;
	struct rate rate;
	struct grid_outcome outcome;
	uint64_t bound_bytes;
	uint32_t queue; /* who may wait for a bucket of each class, and how long */
	uint64_t wait_ns;
	/* Of a search, bounds that meet the target (0: nothing does): without any line,
	 * and with the best of all. */
	uint64_t no_queue_bytes, any_queue_bytes;
	uint64_t least_bytes;         /* bound of what meets the target, when over memory */
	double requests_needed;       /* in all, when the data is too little */
	struct planner_point *pareto; /* bound ascending, rate_high descending */
	size_t pareto_count;
};

int planner_run(const struct planner_ask *ask, struct planner_result *result, struct err *err);
void planner_release(struct planner_result *result);
/* The result's classes and routes put into the base: what to write as pail.conf.
 * names[] are the route patterns. Class of most routes gets "*". */
int planner_plan(const struct planner_ask *ask, const struct planner_result *result,
		 const char *const *names, struct plan *plan, struct err *err);

#endif
