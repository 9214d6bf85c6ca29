/* SPDX-License-Identifier: MIT */
#include "cli/planning/plan_text.h"

#include <stdlib.h>
#include <string.h>

/*
 * Stack peaks were taken where the program allocated, so a call below the last
 * allocation may have gone deeper: half as much again, and a page for a signal
 * frame and the server's own entry.
 */
uint64_t stack_for(uint64_t peak_bytes)
{
	uint64_t want = peak_bytes + peak_bytes / 2 + 16384;
	return (want + LIMITS_PAGE_BYTES - 1) / LIMITS_PAGE_BYTES * LIMITS_PAGE_BYTES;
}

struct reader {
	struct stacks *stacks;
	const struct traffic *traffic;
	struct sim_columns big; /* requests that need more than the plan's stack */
	size_t big_count;
	uint64_t stack_bytes;
};

static uint32_t route_find(const struct traffic *t, struct str name)
{
	for (size_t r = 0; r < t->columns.route_count; r++) {
		if (str_equal(str_of(t->columns.route[r]), name))
			return (uint32_t)r;
	}
	return 0;
}

static void request_read(struct reader *r, const struct trace_request *request)
{
	struct stacks *s = r->stacks;
	s->escapes += request->escapes > 0;
	s->ambiguous += request->confidence == TRACE_AMBIGUOUS;
	s->incomplete += request->incomplete;
	uint64_t peak = request->stack_peak_bytes > 0 ? (uint64_t)request->stack_peak_bytes : 0;
	uint64_t want = peak ? stack_for(peak) : 0;
	if (want <= r->stack_bytes)
		return;
	uint32_t route = route_find(r->traffic, request->route);
	if (peak > s->peak_bytes) {
		s->peak_bytes = peak;
		s->peak_route = route;
	}
	if (want > s->by_route[route])
		s->by_route[route] = want;
	r->big.arrival_ns[r->big_count] = request->start_ns;
	r->big.service_ns[r->big_count] = request->end_ns - request->start_ns;
	r->big_count++;
}

static int requests_read(struct reader *r, struct traffic *traffic, struct err *err)
{
	struct trace_cursor *cursor = NULL;
	struct trace_request request;
	if (trace_remarkable(traffic->trace, (int64_t)r->stacks->enough_bytes, &cursor, err) <
	    0)
		return -1;
	int step;
	while ((step = trace_next(cursor, &request, err)) == 1 &&
	       r->big_count < traffic->columns.count)
		request_read(r, &request);
	trace_cursor_close(cursor);
	return step < 0 ? -1 : sim_columns_sort(&r->big, r->big_count, err);
}

int stacks_read(struct traffic *traffic, uint64_t stack_bytes, struct stacks *stacks,
		struct err *err)
{
	*stacks = (struct stacks){.requests = traffic->columns.count};
	struct reader reader = {
		.stacks = stacks, .traffic = traffic, .stack_bytes = stack_bytes};
	/* The highest peak that the plan's stack is enough for. */
	if (stack_bytes > 16384)
		stacks->enough_bytes = (stack_bytes - 16384) * 2 / 3;
	stacks->by_route = calloc(traffic->columns.route_count + 1, sizeof(uint64_t));
	if (!stacks->by_route)
		return err_set(err, "no memory for the stacks of the routes");
	if (sim_columns_init(&reader.big, traffic->columns.count, err) < 0) {
		stacks_release(stacks);
		return -1;
	}
	int status = requests_read(&reader, traffic, err);
	size_t at;
	stacks->big_requests = reader.big_count;
	if (status == 0)
		status = grid_overlap(&reader.big.trace, &stacks->big_overlap, &at, err);
	sim_columns_release(&reader.big);
	if (status < 0)
		stacks_release(stacks);
	return status;
}

void stacks_release(struct stacks *stacks)
{
	free(stacks->by_route);
	*stacks = (struct stacks){0};
}
