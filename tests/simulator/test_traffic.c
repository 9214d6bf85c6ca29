/* SPDX-License-Identifier: MIT */
/* What is made of a trace: more load, overlays, tails, warnings. */
#include "tests/simulator/synthetic.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static double loss(const struct sim_trace *trace, uint32_t count)
{
	const uint64_t size = UINT64_MAX;
	struct grid_ask ask = {
		.sizes = &size, .size_count = 1, .counts = &count, .count_count = 1};
	struct grid grid;
	struct err err;
	assert_int_equal(grid_run(trace, &ask, &grid, &err), 0);
	double rate = (double)grid_at(&grid, 0, 0).rejected_503 / (double)trace->count;
	grid_release(&grid);
	return rate;
}

static void test_load__twice_a_poisson_trace_is_erlang_b_of_twice_the_load(void **state)
{
	(void)state;
	struct random random = {21};
	struct sim_columns columns, twice;
	struct err err;
	poisson_trace(&random, 200000, 20, SERVICE_EXPONENTIAL, &columns);
	double want = erlang_b(40, 45);
	for (int method = LOAD_SHIFT; method <= LOAD_COMPRESS; method++) {
		assert_int_equal(
			load_scale(&columns.trace, 2, (enum load_method)method, &twice, &err),
			0);
		assert_int_equal(sim_trace_check(&twice.trace, &err), 0);
		assert_true(fabs(sim_trace_load(&twice.trace).offered / 40 - 1) < 0.02);
		double got = loss(&twice.trace, 45);
		assert_true(fabs(got - want) <= 4 * sqrt(9 * want / 200000));
		sim_columns_release(&twice);
	}
	sim_columns_release(&columns);
}

static void test_load__copies_keep_every_request_and_parts_their_share(void **state)
{
	(void)state;
	struct random random = {22};
	struct sim_columns columns, more;
	struct err err;
	random_trace(&random, SHAPE_LATE, 5000, &columns, 3);
	assert_int_equal(load_scale(&columns.trace, 3, LOAD_SHIFT, &more, &err), 0);
	assert_int_equal(more.trace.count, 15000);
	uint32_t seen[5000] = {0};
	for (size_t i = 0; i < 15000; i++) {
		uint32_t row = more.origin[i];
		seen[row]++;
		assert_int_equal(more.need_bytes[i], columns.need_bytes[row]);
		assert_int_equal(more.service_ns[i], columns.service_ns[row]);
		assert_int_equal(more.route[i], columns.route[row]);
	}
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal(seen[i], 3);
	sim_columns_release(&more);
	assert_int_equal(load_scale(&columns.trace, 0.3, LOAD_SHIFT, &more, &err), 0);
	assert_true(fabs((double)more.trace.count / 5000 - 0.3) < 0.04);
	sim_columns_release(&more);
	assert_int_equal(load_scale(&columns.trace, 0, LOAD_SHIFT, &more, &err), -1);
	assert_int_equal(load_scale(&columns.trace, 1e-200, LOAD_COMPRESS, &more, &err), -1);
	sim_columns_release(&columns);
}

/* Shifted copies of sessions come near the truth; a faster clock is far off. */
static void test_load__shifted_copies_of_sessions_beat_compression(void **state)
{
	(void)state;
	struct random random = {23};
	double shifted = 0, compressed = 0;
	enum { ROUNDS = 6, ROWS = 100000 };
	for (int round = 0; round < ROUNDS; round++) {
		struct sim_columns columns, twice;
		struct err err;
		session_trace(&random, ROWS, 15, 8, &columns);
		assert_int_equal(load_scale(&columns.trace, 2, LOAD_SHIFT, &twice, &err), 0);
		shifted += loss(&twice.trace, 58) / ROUNDS;
		sim_columns_release(&twice);
		assert_int_equal(load_scale(&columns.trace, 2, LOAD_COMPRESS, &twice, &err), 0);
		compressed += loss(&twice.trace, 58) / ROUNDS;
		sim_columns_release(&twice);
		sim_columns_release(&columns);
	}
	double truth = long_run_loss(&random, 30, 58, 8, 3000000);
	assert_true(shifted > 0.6 * truth && shifted < 1.6 * truth);
	assert_true(compressed > 1.5 * truth);
}

static void test_overlay__inflates_only_what_is_meant(void **state)
{
	(void)state;
	struct random random = {24};
	struct sim_columns columns, out;
	struct err err;
	random_trace(&random, SHAPE_POISSON, 4000, &columns, 2);
	const bool second[] = {false, true};
	struct overlay overlay = {OVERLAY_INFLATE, second, 3, 2, 0.5, 0, 0};
	assert_int_equal(overlay_apply(&columns.trace, &overlay, 1, &out, &err), 0);
	size_t changed = 0, of = 0;
	for (size_t i = 0; i < 4000; i++) {
		if (out.route[i] == 0) {
			assert_int_equal(out.service_ns[i], columns.service_ns[i]);
			continue;
		}
		of++;
		if (out.need_bytes[i] == columns.need_bytes[i] &&
		    out.service_ns[i] == columns.service_ns[i])
			continue;
		changed++;
		assert_int_equal(out.need_bytes[i], 2 * columns.need_bytes[i]);
		assert_int_equal(out.service_ns[i], 3 * columns.service_ns[i]);
	}
	assert_true(fabs((double)changed / (double)of - 0.5) < 0.06);
	sim_columns_release(&out);
	sim_columns_release(&columns);
}

static void test_overlay__a_burst_raises_the_overlap_by_itself(void **state)
{
	(void)state;
	struct random random = {25};
	struct sim_columns columns, out;
	struct err err;
	poisson_trace(&random, 5000, 5, SERVICE_CONSTANT, &columns);
	uint32_t before, after;
	size_t at;
	assert_int_equal(grid_overlap(&columns.trace, &before, &at, &err), 0);
	struct overlay overlay = {OVERLAY_BURST, NULL, 1, 1, 1, 100, 1000000};
	assert_int_equal(overlay_apply(&columns.trace, &overlay, 1, &out, &err), 0);
	assert_int_equal(out.trace.count, 5100);
	assert_int_equal(grid_overlap(&out.trace, &after, &at, &err), 0);
	assert_true(after >= 100 && after <= before + 100);
	sim_columns_release(&out);
	sim_columns_release(&columns);
}

static void test_tail__finds_the_shape_it_was_drawn_from(void **state)
{
	(void)state;
	struct random random = {26};
	enum { ROWS = 200000 };
	uint64_t *values = calloc(ROWS, sizeof(*values));
	const double shapes[] = {0.3, 0.001, -0.2};
	for (size_t s = 0; s < 3; s++) {
		for (size_t i = 0; i < ROWS; i++)
			values[i] =
				(uint64_t)(10000 +
					   50000 / shapes[s] *
						   (pow(random_unit(&random), -shapes[s]) - 1));
		struct gpd tail;
		struct err err;
		assert_int_equal(tail_fit(values, ROWS, &tail, &err), 1);
		assert_true(fabs(tail.shape - shapes[s]) < 0.06);
		/* One in 2000 is in the sample: the fit must know it. */
		double level = gpd_level(&tail, 2000), above = 0;
		for (size_t i = 0; i < ROWS; i++)
			above += (double)values[i] > level;
		assert_true(above > 70 && above < 140);
	}
	struct gpd tail;
	struct err err;
	assert_int_equal(tail_fit(values, 599, &tail, &err), 0);
	for (size_t i = 0; i < 5000; i++)
		values[i] = 7;
	assert_int_equal(tail_fit(values, 5000, &tail, &err), 0);
	free(values);
}

static struct diagnosis diagnosis_of(const struct sim_columns *columns)
{
	struct diagnosis d;
	struct err err;
	assert_int_equal(diagnose(&columns->trace, &d, &err), 0);
	return d;
}

static void test_diagnosis__is_silent_on_open_steady_traffic(void **state)
{
	(void)state;
	struct random random = {27};
	for (int round = 0; round < 10; round++) {
		struct sim_columns columns;
		poisson_trace(&random, 20000, 3 + 4 * round, SERVICE_EXPONENTIAL, &columns);
		struct diagnosis d = diagnosis_of(&columns);
		assert_false(d.closed_loop);
		assert_false(d.saturated);
		assert_false(d.drifting);
		sim_columns_release(&columns);
	}
}

static void test_diagnosis__knows_a_closed_loop_and_saturation(void **state)
{
	(void)state;
	struct random random = {28};
	struct sim_columns columns;
	struct err err;
	enum { ROWS = 5000, CLIENTS = 8 };
	assert_int_equal(sim_columns_init(&columns, ROWS, &err), 0);
	int64_t ready[CLIENTS] = {0};
	for (size_t i = 0; i < ROWS; i++) {
		size_t client = 0;
		for (size_t k = 1; k < CLIENTS; k++)
			client = ready[k] < ready[client] ? k : client;
		columns.arrival_ns[i] = ready[client];
		columns.service_ns[i] = 1000 + (int64_t)random_exponential(&random, 1e7);
		ready[client] += columns.service_ns[i] + 500;
	}
	struct diagnosis d = diagnosis_of(&columns);
	assert_true(d.closed_loop);
	assert_true(d.saturated);
	assert_int_equal(d.ceiling, CLIENTS);
	sim_columns_release(&columns);
}

static void test_diagnosis__knows_drift_and_first_requests(void **state)
{
	(void)state;
	struct random random = {29};
	struct sim_columns columns;
	poisson_trace(&random, 20000, 10, SERVICE_EXPONENTIAL, &columns);
	for (size_t i = 0; i < 20000; i++) {
		if (i > 10000) /* slower and slower */
			columns.service_ns[i] *= 3;
		columns.need_bytes[i] = i == 0 ? 900000 : 50000 + i % 7;
	}
	struct diagnosis d = diagnosis_of(&columns);
	assert_true(d.drifting);
	assert_int_equal(d.first_routes, 1);
	assert_int_equal(d.first_need, 900000);
	assert_int_equal(d.later_need, 50006);
	sim_columns_release(&columns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_load__twice_a_poisson_trace_is_erlang_b_of_twice_the_load),
		cmocka_unit_test(test_load__copies_keep_every_request_and_parts_their_share),
		cmocka_unit_test(test_load__shifted_copies_of_sessions_beat_compression),
		cmocka_unit_test(test_overlay__inflates_only_what_is_meant),
		cmocka_unit_test(test_overlay__a_burst_raises_the_overlap_by_itself),
		cmocka_unit_test(test_tail__finds_the_shape_it_was_drawn_from),
		cmocka_unit_test(test_diagnosis__is_silent_on_open_steady_traffic),
		cmocka_unit_test(test_diagnosis__knows_a_closed_loop_and_saturation),
		cmocka_unit_test(test_diagnosis__knows_drift_and_first_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
