/* SPDX-License-Identifier: MIT */
#include "cli/planning/lending.h"

#include "cli/planning/plan_text.h"

#include <stdlib.h>
#include <string.h>

enum { SIZES_TRIED = 24, STACK_LEAST = 16384 };

/* Requests with a measured stack: need_bytes of a row is the stack it wants. */
static int wants_read(struct traffic *traffic, struct sim_columns *wants, struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	size_t n = 0;
	int more;
	if (sim_columns_init(wants, traffic->columns.count, err) < 0)
		return -1;
	if (trace_remarkable(traffic->trace, 0, &cursor, err) < 0)
		return -1;
	while ((more = trace_next(cursor, &r, err)) == 1 && n < traffic->columns.count) {
		if (r.stack_peak_bytes <= 0)
			continue;
		wants->arrival_ns[n] = r.start_ns;
		wants->service_ns[n] = r.end_ns - r.start_ns;
		wants->need_bytes[n++] = stack_for((uint64_t)r.stack_peak_bytes);
	}
	trace_cursor_close(cursor);
	return more < 0 ? -1 : sim_columns_sort(wants, n, err);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Distinct wanted sizes, the deepest last; few of the shallow ones, which many want to
 * pass, and all where few do. */
static size_t sizes_choose(const struct sim_trace *wants, uint64_t size[SIZES_TRIED],
			   struct err *err)
{
	uint64_t *sorted = malloc(wants->count * sizeof(*sorted));
	size_t n = 0, kept = 0;
	if (!sorted) {
		err_set(err, "out of memory");
		return 0;
	}
	memcpy(sorted, wants->need_bytes, wants->count * sizeof(*sorted));
	qsort(sorted, wants->count, sizeof(*sorted), by_value);
	for (size_t i = 0; i < wants->count; i++) {
		if (n == 0 || sorted[n - 1] != sorted[i])
			sorted[n++] = sorted[i];
	}
	for (size_t i = 0; i < SIZES_TRIED; i++) {
		uint64_t s =
			sorted[n * (i + 1) / SIZES_TRIED > 0 ? n * (i + 1) / SIZES_TRIED - 1
							     : 0];
		if (kept == 0 || size[kept - 1] < s)
			size[kept++] = s;
	}
	free(sorted);
	return kept;
}

/* Most requests at one time that want more than `bytes`, at that load. */
static int overlap_above(const struct sim_trace *wants, uint64_t bytes, double load,
			 uint64_t *requests, uint32_t *overlap, struct err *err)
{
	struct sim_columns above, scaled = {0};
	size_t n = 0, at;
	*overlap = 0;
	if (sim_columns_init(&above, wants->count, err) < 0)
		return -1;
	for (size_t i = 0; i < wants->count; i++) {
		if (wants->need_bytes[i] <= bytes)
			continue;
		above.arrival_ns[n] = wants->arrival_ns[i];
		above.service_ns[n++] = wants->service_ns[i];
	}
	above.trace.count = n;
	*requests = n;
	int status = 0;
	if (load != 1 && n > 0)
		status = load_scale(&above.trace, load, LOAD_SHIFT, &scaled, err);
	if (status == 0)
		status = grid_overlap(load != 1 && n > 0 ? &scaled.trace : &above.trace,
				      overlap, &at, err);
	sim_columns_release(&above);
	sim_columns_release(&scaled);
	return status;
}

static uint64_t bound_with(struct plan *plan, const struct lending *l)
{
	plan->stack_bytes = l->stack_bytes;
	plan->big_stack_bytes = l->big_stack_bytes;
	plan->big_stack_count = l->big_stack_count;
	return limits_bound_bytes(plan);
}

static int size_try(const struct sim_trace *wants, uint64_t size, double load,
		    struct plan *plan, struct lending *best, struct err *err)
{
	struct lending l = *best;
	l.stack_bytes = size > STACK_LEAST ? size : STACK_LEAST;
	if (overlap_above(wants, l.stack_bytes, load, &l.big_requests, &l.big_stack_count,
			  err) < 0)
		return -1;
	l.bound_bytes = bound_with(plan, &l);
	/* Of equal bounds the deeper stack: less has to be lent. */
	if (best->stack_bytes == 0 || l.bound_bytes <= best->bound_bytes)
		*best = l;
	best->flat_bytes = l.bound_bytes; /* the deepest comes last */
	return 0;
}

int lending_choose(struct traffic *traffic, const struct plan *plan, double load,
		   struct lending *lending, struct err *err)
{
	struct sim_columns wants = {0};
	uint64_t size[SIZES_TRIED];
	size_t sizes = 0;
	struct plan *trial = malloc(sizeof(*trial));
	int status = trial ? wants_read(traffic, &wants, err) : err_set(err, "out of memory");
	*lending = (struct lending){.requests = wants.trace.count};
	if (status == 0 && wants.trace.count > 0) {
		sizes = sizes_choose(&wants.trace, size, err);
		status = sizes ? 0 : -1;
	}
	if (sizes) {
		*trial = *plan;
		for (uint32_t i = 0; i < trial->route_count; i++)
			trial->route[i].stack_bytes = 0;
		lending->big_stack_bytes = size[sizes - 1];
	}
	for (size_t i = 0; status == 0 && i < sizes; i++)
		status = size_try(&wants.trace, size[i], load, trial, lending, err);
	free(trial);
	sim_columns_release(&wants);
	return status < 0 ? -1 : sizes > 0;
}
