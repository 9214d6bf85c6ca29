/* SPDX-License-Identifier: MIT */
#include "simulator/sim.h"

#include <assert.h>
#include <math.h>

/* splitmix64's finish: a fixed, well mixed function of the row. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void row_copy(const struct sim_trace *trace, size_t row, uint64_t arrival,
		     struct sim_columns *out, size_t at)
{
	out->arrival_ns[at] = (int64_t)arrival;
	out->service_ns[at] = trace->service_ns[row];
	out->need_bytes[at] = trace->need_bytes[row];
	out->route[at] = trace->route ? trace->route[row] : 0;
	out->origin[at] = (uint32_t)row;
}

static void compress(const struct sim_trace *trace, double factor, struct sim_columns *out)
{
	uint64_t first = trace->count ? (uint64_t)trace->arrival_ns[0] : 0;
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t since = (uint64_t)trace->arrival_ns[i] - first;
		row_copy(trace, i, (uint64_t)((long double)since / factor), out, i);
	}
}

static size_t superpose(const struct sim_trace *trace, double factor, struct sim_columns *out)
{
	size_t n = trace->count, kept = 0;
	size_t copies = (size_t)ceil(factor);
	double part = factor - floor(factor);
	if (n == 0)
		return 0;
	uint64_t first = (uint64_t)trace->arrival_ns[0];
	uint64_t span = (uint64_t)trace->arrival_ns[n - 1] - first;
	/* Wrapped, the last arrival is followed by the first after a mean gap. */
	unsigned __int128 period = (unsigned __int128)span + span / n + 1;
	for (size_t copy = 0; copy < copies; copy++) {
		double keep = copy + 1 == copies && part > 0 ? part : 1;
		unsigned __int128 shift = period * copy / copies;
		for (size_t i = 0; i < n; i++) {
			if (keep < 1 && (double)(mix(i) >> 11) * 0x1p-53 >= keep)
				continue;
			unsigned __int128 at = (uint64_t)trace->arrival_ns[i] - first + shift;
			at = at >= period ? at - period : at;
			row_copy(trace, i, (uint64_t)at, out, kept++);
		}
	}
	return kept;
}

int load_scale(const struct sim_trace *trace, double factor, enum load_method method,
	       struct sim_columns *out, struct err *err)
{
	if (!(factor > 0) || !(factor <= 1000))
		return err_usage(err, "a load of %g times is out of range: above 0, up to 1000",
				 factor);
	/* Stretched, arrivals must still be times: 2^62 ns are 146 years. */
	if (method == LOAD_COMPRESS && trace->count > 0 &&
	    (double)(trace->arrival_ns[trace->count - 1] - trace->arrival_ns[0]) / factor >
		    0x1p62)
		return err_usage(err, "a load of %g times would make this trace last centuries",
				 factor);
	double rows = method == LOAD_SHIFT ? ceil(factor) * (double)trace->count
					   : (double)trace->count;
	if (rows >= (double)UINT32_MAX)
		return err_usage(err, "%g times %zu requests are more than the simulator takes",
				 factor, trace->count);
	if (sim_columns_init(out, (size_t)rows, err) < 0)
		return -1;
	out->trace.route_count = trace->route_count ? trace->route_count : 1;
	size_t kept = trace->count;
	if (method == LOAD_SHIFT)
		kept = superpose(trace, factor, out);
	else
		compress(trace, factor, out);
	if (sim_columns_sort(out, kept, err) < 0) {
		sim_columns_release(out);
		return -1;
	}
	return 0;
}
