/* SPDX-License-Identifier: MIT */
#include "simulator/sim.h"
#include "simulator/columns.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int sim_trace_check(const struct sim_trace *trace, struct err *err)
{
	if (trace->count >= UINT32_MAX)
		return err_set(err, "%zu requests are more than the simulator can number",
			       trace->count);
	int64_t before = 0;
	for (size_t i = 0; i < trace->count; i++) {
		if (trace->arrival_ns[i] < 0 || trace->service_ns[i] < 0)
			return err_set(err,
				       "request %zu has a negative arrival or service time",
				       i + 1);
		if (trace->arrival_ns[i] < before)
			return err_set(err, "request %zu arrives before the one ahead of it",
				       i + 1);
		if (trace->route && trace->route[i] >= trace->route_count)
			return err_set(err, "request %zu names a route that does not exist",
				       i + 1);
		before = trace->arrival_ns[i];
	}
	return 0;
}

struct sim_load sim_trace_load(const struct sim_trace *trace)
{
	struct sim_load load = {0};
	if (trace->count == 0)
		return load;
	uint64_t last = 0;
	/* Whole nanoseconds of 2^32 requests overflow 64 bits, not 128. */
	unsigned __int128 service = 0;
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t s = (uint64_t)trace->service_ns[i];
		uint64_t departure = (uint64_t)trace->arrival_ns[i] + s;
		service += s;
		if (departure > last)
			last = departure;
		if (s > load.service_max_ns)
			load.service_max_ns = s;
		if (trace->need_bytes[i] > load.need_max_bytes)
			load.need_max_bytes = trace->need_bytes[i];
	}
	load.span_ns = (double)(last - (uint64_t)trace->arrival_ns[0]);
	load.service_mean_ns = (double)service / (double)trace->count;
	load.offered = load.span_ns > 0 ? (double)service / load.span_ns : 0;
	return load;
}

int sim_columns_init(struct sim_columns *columns, size_t count, struct err *err)
{
	*columns = (struct sim_columns){0};
	columns->arrival_ns = column_alloc(count, sizeof(int64_t));
	columns->service_ns = column_alloc(count, sizeof(int64_t));
	columns->need_bytes = column_alloc(count, sizeof(uint64_t));
	columns->route = column_alloc(count, sizeof(uint32_t));
	columns->origin = column_alloc(count, sizeof(uint32_t));
	if (!columns->arrival_ns || !columns->service_ns || !columns->need_bytes ||
	    !columns->route || !columns->origin) {
		sim_columns_release(columns);
		return err_set(err, "no memory for the columns of %zu requests", count);
	}
	columns->trace = (struct sim_trace){
		.count = count,
		.arrival_ns = columns->arrival_ns,
		.service_ns = columns->service_ns,
		.need_bytes = columns->need_bytes,
		.route = columns->route,
		.route_count = 1,
	};
	return 0;
}

void sim_columns_release(struct sim_columns *columns)
{
	free(columns->arrival_ns);
	free(columns->service_ns);
	free(columns->need_bytes);
	free(columns->route);
	free(columns->origin);
	*columns = (struct sim_columns){0};
}

struct order {
	int64_t arrival_ns;
	uint32_t row;
};

/* Two neighbouring runs into one; of equal arrivals the left run's come first. */
static void runs_merge(const struct order *from, struct order *to, size_t begin, size_t middle,
		       size_t end)
{
	size_t a = begin, b = middle;
	for (size_t at = begin; at < end; at++) {
		bool left =
			b == end || (a < middle && from[a].arrival_ns <= from[b].arrival_ns);
		to[at] = left ? from[a++] : from[b++];
	}
}

/* A merge sort of the runs that there are: columns made of shifted copies have a
 * handful, and those cost a pass or two. Leaves the result in *order. */
static int order_sort(struct order **order, size_t count)
{
	size_t runs = 1;
	for (size_t i = 1; i < count; i++)
		runs += (*order)[i].arrival_ns < (*order)[i - 1].arrival_ns;
	size_t *bound = malloc((runs + 1) * sizeof(*bound));
	struct order *other = column_alloc(count, sizeof(*other));
	if (!bound || !other) {
		free(bound);
		free(other);
		return -1;
	}
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || (*order)[i].arrival_ns < (*order)[i - 1].arrival_ns)
			bound[n++] = i;
	}
	bound[n] = count;
	while (n > 1) {
		size_t merged = 0;
		for (size_t r = 0; r < n; r += 2) {
			size_t middle = bound[r + 1], end = r + 2 <= n ? bound[r + 2] : middle;
			runs_merge(*order, other, bound[r], middle, end);
			bound[merged++] = bound[r];
		}
		bound[merged] = count;
		n = merged;
		struct order *swap = *order;
		*order = other;
		other = swap;
	}
	free(bound);
	free(other);
	return 0;
}

static void permute(void *column, const struct order *order, size_t count, size_t width,
		    void *scratch)
{
	memcpy(scratch, column, count * width);
	for (size_t i = 0; i < count; i++)
		memcpy((char *)column + i * width, (const char *)scratch + order[i].row * width,
		       width);
}

int sim_columns_sort(struct sim_columns *columns, size_t count, struct err *err)
{
	assert(count < UINT32_MAX);
	columns->trace.count = count;
	bool sorted = true;
	for (size_t i = 1; i < count && sorted; i++)
		sorted = columns->arrival_ns[i - 1] <= columns->arrival_ns[i];
	if (sorted)
		return 0;
	struct order *order = column_alloc(count, sizeof(*order));
	void *scratch = column_alloc(count, sizeof(uint64_t));
	for (size_t i = 0; order && i < count; i++)
		order[i] = (struct order){columns->arrival_ns[i], (uint32_t)i};
	if (!order || !scratch || order_sort(&order, count) < 0) {
		free(order);
		free(scratch);
		return err_set(err, "no memory to sort %zu requests", count);
	}
	permute(columns->arrival_ns, order, count, sizeof(int64_t), scratch);
	permute(columns->service_ns, order, count, sizeof(int64_t), scratch);
	permute(columns->need_bytes, order, count, sizeof(uint64_t), scratch);
	permute(columns->route, order, count, sizeof(uint32_t), scratch);
	permute(columns->origin, order, count, sizeof(uint32_t), scratch);
	free(order);
	free(scratch);
	return 0;
}
