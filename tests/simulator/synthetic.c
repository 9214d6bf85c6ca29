/* SPDX-License-Identifier: MIT */
#include "tests/simulator/synthetic.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static const double MEAN_NS = 1e7;

static double service_of(struct random *random, enum service_law law)
{
	switch (law) {
	case SERVICE_LOGNORMAL: return MEAN_NS * exp(random_normal(random) - 0.5);
	case SERVICE_CONSTANT: return MEAN_NS;
	case SERVICE_EXPONENTIAL: break;
	}
	return random_exponential(random, MEAN_NS);
}

static void columns_make(struct sim_columns *columns, size_t count)
{
	struct err err;
	int result = sim_columns_init(columns, count, &err);
	assert(result == 0);
	(void)result;
}

static void row_set(struct random *random, struct sim_columns *columns, size_t i, double t,
		    double service)
{
	columns->arrival_ns[i] = (int64_t)t;
	columns->service_ns[i] = (int64_t)service;
	columns->need_bytes[i] = (uint64_t)(16384 * exp(0.8 * random_normal(random)));
	columns->origin[i] = (uint32_t)i;
}

void poisson_trace(struct random *random, size_t count, double load, enum service_law law,
		   struct sim_columns *columns)
{
	columns_make(columns, count);
	double t = 0;
	for (size_t i = 0; i < count; i++) {
		t += random_exponential(random, MEAN_NS / load);
		row_set(random, columns, i, t, service_of(random, law));
	}
}

void session_trace(struct random *random, size_t count, double load, double length,
		   struct sim_columns *columns)
{
	columns_make(columns, count);
	double start = 0, gap = MEAN_NS / 4;
	for (size_t i = 0; i < count;) {
		start += random_exponential(random, MEAN_NS * length / load);
		double t = start;
		do {
			row_set(random, columns, i, t, random_exponential(random, MEAN_NS));
			t += random_exponential(random, gap);
			i++;
		} while (i < count && random_unit(random) > 1 / length);
	}
	struct err err;
	int result = sim_columns_sort(columns, count, &err);
	assert(result == 0);
	(void)result;
}

double long_run_loss(struct random *random, double load, uint32_t count, double session_length,
		     size_t requests)
{
	struct sim_columns columns;
	if (session_length > 1)
		session_trace(random, requests, load, session_length, &columns);
	else
		poisson_trace(random, requests, load, SERVICE_EXPONENTIAL, &columns);
	const uint64_t size = UINT64_MAX;
	struct grid_ask ask = {
		.sizes = &size, .size_count = 1, .counts = &count, .count_count = 1};
	struct grid grid;
	struct err err;
	int result = grid_run(&columns.trace, &ask, &grid, &err);
	assert(result == 0);
	(void)result;
	double loss = (double)grid_at(&grid, 0, 0).rejected_503 / (double)requests;
	grid_release(&grid);
	sim_columns_release(&columns);
	return loss;
}
