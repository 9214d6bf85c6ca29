/* SPDX-License-Identifier: MIT */
/*
 * What a worker counts, for whoever looks at the server while it runs.
 *
 * Every number has one writer, the worker, and any reader: the admin address
 * (admin.h) adds up over workers when it is asked. Numbers are written and
 * read whole (relaxed atomics, which cost what plain ones do); two of them may
 * be a request apart. They only rise, but for pools' state, until the process
 * ends.
 *
 * By route: each rule of the plan in its order, then METRICS_OTHER for requests
 * that no rule names, then METRICS_NONE for those without a complete head. By
 * class: as in the plan.
 *
 * The memory is a piece of the system region, of the plan's size, from start.
 */
#ifndef PAIL_SERVER_METRICS_H
#define PAIL_SERVER_METRICS_H

#include "base/err.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	METRICS_NEED_BINS = 22,  /* up to 1 KiB, 2 KiB, ... 1 GiB, and more */
	METRICS_STACK_BINS = 10, /* up to 4 KiB, 8 KiB, ... 1 MiB, and more */
	METRICS_TIME_BINS = 17,  /* up to 100 us ... 10 s, and more: metrics_time_edge() */
	METRICS_STATUSES = 6,    /* nothing sent, 1xx ... 5xx */
	METRICS_CAUSES = 32,
};

struct metrics_route {
	uint64_t status[METRICS_STATUSES];
	uint64_t cause[METRICS_CAUSES]; /* metrics_cause_name() */
	/* Of requests that had a bucket. */
	uint64_t need[METRICS_NEED_BINS], need_bytes_sum, need_bytes_max;
	uint64_t service[METRICS_TIME_BINS], service_ns_sum;
	uint64_t stack_bytes_max, bytes_in, bytes_out;
};

struct metrics_class {
	/* From the complete head to the bucket or the 503. */
	uint64_t wait[METRICS_TIME_BINS], wait_ns_sum, wait_ns_max;
	uint64_t waited; /* those that had to stand in line */
	uint64_t stack[METRICS_STACK_BINS], stack_bytes_sum, stack_bytes_max;
	uint64_t need_bytes_max;
	uint64_t in_use_max;
};

struct metrics {
	struct metrics_class class[LIMITS_CLASSES_MAX];
	struct metrics_route route[]; /* metrics_routes() of them */
};

/* One writer. */
static inline void metrics_add(uint64_t *number, uint64_t more)
{
	__atomic_store_n(number, *number + more, __ATOMIC_RELAXED);
}

static inline void metrics_rise(uint64_t *number, uint64_t to)
{
	if (to > *number)
		__atomic_store_n(number, to, __ATOMIC_RELAXED);
}

static inline uint64_t metrics_read(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_RELAXED);
}

/* A count that falls, too. */
static inline void metrics_set(uint32_t *number, uint32_t to)
{
	__atomic_store_n(number, to, __ATOMIC_RELAXED);
}
static inline uint32_t metrics_get(const uint32_t *number)
{
	return __atomic_load_n(number, __ATOMIC_RELAXED);
}

/* How many a plan has, and the indices of the last two. */
static inline uint32_t metrics_routes(const struct plan *plan)
{
	return plan->route_count + 2;
}
static inline uint32_t metrics_other(const struct plan *plan)
{
	return plan->route_count;
}
static inline uint32_t metrics_none(const struct plan *plan)
{
	return plan->route_count + 1;
}

/* NULL: the system region has no room for it. */
struct metrics *metrics_new(const struct plan *plan);

/* One that had a bucket. */
struct metrics_request {
	int route; /* of the plan, or -1 */
	uint32_t class_index;
	int status;
	const char *cause; /* NULL: none */
	bool queued;       /* it had to stand in line */
	/* stack_bytes, if not 0, is of requests of this route only. */
	bool stack_of_route;
	uint64_t wait_ns, service_ns, need_bytes, stack_bytes, bytes_in, bytes_out;
};
void metrics_request(struct metrics *metrics, const struct plan *plan,
		     const struct metrics_request *request);
/* One that was answered without. class_index -1: it did not come to wait for one. */
void metrics_refused(struct metrics *metrics, const struct plan *plan, uint32_t route,
		     int class_index, int status, const char *cause, bool queued,
		     uint64_t wait_ns);

/* The upper edge of a bin, and 0 for the last, which has none. */
uint64_t metrics_need_edge(uint32_t bin);
uint64_t metrics_stack_edge(uint32_t bin);
uint64_t metrics_time_edge(uint32_t bin); /* ns */
/* "oversize"; the last is "other"; NULL beyond. */
const char *metrics_cause_name(uint32_t cause);

#endif
