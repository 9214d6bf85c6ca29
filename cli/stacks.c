/* SPDX-License-Identifier: MIT */
#include "cli/plan_text.h"

#include <stdlib.h>
#include <string.h>

/*
 * Stack peaks were taken where the program allocated, so a call below the last
 * allocation may have gone deeper: half as much again, and a page for a signal
 * frame and the server's own entry.
 */
static uint64_t stack_for(uint64_t peak_bytes)
{
	uint64_t want = peak_bytes + peak_bytes / 2 + 16384;
	return (want + LIMITS_PAGE_BYTES - 1) / LIMITS_PAGE_BYTES * LIMITS_PAGE_BYTES;
}

struct reader {
	struct stacks *stacks;
	struct sim_columns big; /* requests that need more than the plan's stack */
	size_t big_count;
	uint64_t stack_bytes;
	size_t row;
};

static int request_read(struct reader *r, struct traffic *traffic,
			const struct trace_request *request)
{
	struct stacks *s = r->stacks;
	s->requests++;
	s->escapes += request->escapes > 0;
	s->ambiguous += request->confidence == TRACE_AMBIGUOUS;
	s->incomplete += request->incomplete;
	uint32_t route = traffic->columns.route_index[r->row++];
	uint64_t peak = request->stack_peak_bytes > 0 ? (uint64_t)request->stack_peak_bytes : 0;
	if (peak > s->peak_bytes) {
		s->peak_bytes = peak;
		s->peak_route = route;
	}
	uint64_t want = peak ? stack_for(peak) : 0;
	if (want > s->by_route[route])
		s->by_route[route] = want;
	if (want > r->stack_bytes) {
		r->big.arrival_ns[r->big_count] = request->start_ns;
		r->big.service_ns[r->big_count] = request->end_ns - request->start_ns;
		r->big_count++;
	}
	return 0;
}

int stacks_read(struct traffic *traffic, uint64_t stack_bytes, struct stacks *stacks,
		struct err *err)
{
	*stacks = (struct stacks){0};
	struct reader reader = {.stacks = stacks, .stack_bytes = stack_bytes};
	size_t count = traffic->columns.count;
	stacks->by_route = calloc(traffic->columns.route_count + 1, sizeof(uint64_t));
	struct trace_cursor *cursor = NULL;
	if (!stacks->by_route || sim_columns_init(&reader.big, count, err) < 0) {
		stacks_release(stacks);
		return err_set(err, "no memory for the stacks of %zu requests", count);
	}
	int step = trace_requests(traffic->trace, &cursor, err);
	struct trace_request request;
	while (step >= 0 && reader.row < count &&
	       (step = trace_next(cursor, &request, err)) == 1)
		request_read(&reader, traffic, &request);
	if (cursor)
		trace_cursor_close(cursor);
	size_t at;
	if (step >= 0) {
		reader.big.trace.count = stacks->big_requests = reader.big_count;
		step = grid_overlap(&reader.big.trace, &stacks->big_overlap, &at, err);
	}
	sim_columns_release(&reader.big);
	if (step < 0)
		stacks_release(stacks);
	return step < 0 ? -1 : 0;
}

void stacks_release(struct stacks *stacks)
{
	free(stacks->by_route);
	*stacks = (struct stacks){0};
}
