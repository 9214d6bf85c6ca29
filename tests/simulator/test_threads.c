/* SPDX-License-Identifier: MIT */
/* All that the simulator does with threads, on traces just long enough to be cut: small,
 * so that it can be run under TSan. */
#include "tests/simulator/synthetic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_threads__a_grid_is_the_same(void **state)
{
	(void)state;
	struct random random = {3};
	struct sim_columns columns;
	poisson_trace(&random, 150000, 12, SERVICE_EXPONENTIAL, &columns);
	const uint64_t sizes[] = {20000, 80000};
	const uint32_t counts[] = {8, 12, 20};
	struct grid_ask ask = {.sizes = sizes,
			       .size_count = 2,
			       .counts = counts,
			       .count_count = 3,
			       .batches = 32,
			       .keep_slots = true};
	struct grid one, many;
	struct err err;
	assert_int_equal(grid_run(&columns.trace, &ask, &one, &err), 0);
	ask.threads = 3;
	assert_int_equal(grid_run(&columns.trace, &ask, &many, &err), 0);
	assert_memory_equal(one.slot, many.slot, columns.trace.count * sizeof(uint32_t));
	assert_memory_equal(one.served, many.served, 32 * 6 * sizeof(uint64_t));
	grid_release(&one);
	grid_release(&many);
	sim_columns_release(&columns);
}

static void test_threads__a_queue_is_the_same(void **state)
{
	(void)state;
	struct random random = {4};
	struct sim_columns columns;
	poisson_trace(&random, 8000, 12, SERVICE_EXPONENTIAL, &columns);
	struct queue_candidate candidates[7];
	for (uint32_t k = 0; k < 7; k++)
		candidates[k] = (struct queue_candidate){9 + k, k, 30000000};
	const uint64_t size = 30000;
	struct queue_ask ask = {.candidates = candidates,
				.candidate_count = 7,
				.sizes = &size,
				.size_count = 1,
				.batches = 4};
	struct queue one, many;
	struct err err;
	assert_int_equal(queue_run(&columns.trace, &ask, &one, &err), 0);
	ask.threads = 3;
	assert_int_equal(queue_run(&columns.trace, &ask, &many, &err), 0);
	for (size_t k = 0; k < 7; k++) {
		struct grid_outcome a = queue_at(&one, k, 0), b = queue_at(&many, k, 0);
		assert_memory_equal(&a, &b, sizeof(a));
		assert_int_equal(one.outcome[k].wait_ns_p99, many.outcome[k].wait_ns_p99);
	}
	queue_release(&one);
	queue_release(&many);
	sim_columns_release(&columns);
}

static void test_threads__a_plan_is_the_same(void **state)
{
	(void)state;
	struct random random = {5};
	struct sim_columns columns;
	static struct plan base;
	limits_defaults(&base);
	poisson_trace(&random, 6000, 10, SERVICE_LOGNORMAL, &columns);
	columns.trace.route_count = 3;
	for (size_t i = 0; i < columns.trace.count; i++) {
		columns.route[i] = (uint32_t)random_below(&random, 3);
		columns.need_bytes[i] *= 1 + 5 * columns.route[i];
	}
	struct planner_ask ask = {.trace = &columns.trace,
				  .base = &base,
				  .target = 2e-2,
				  .confidence = 0.95,
				  .classes = 2,
				  .threads = 1,
				  .queue = 4,
				  .wait_ns = 20000000};
	struct planner_result one, many;
	struct err err;
	assert_int_equal(planner_run(&ask, &one, &err), 0);
	ask.threads = 3;
	assert_int_equal(planner_run(&ask, &many, &err), 0);
	assert_int_equal(one.bound_bytes, many.bound_bytes);
	assert_int_equal(one.class_count, many.class_count);
	assert_memory_equal(&one.outcome, &many.outcome, sizeof(one.outcome));
	planner_release(&one);
	planner_release(&many);
	sim_columns_release(&columns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads__a_grid_is_the_same),
		cmocka_unit_test(test_threads__a_queue_is_the_same),
		cmocka_unit_test(test_threads__a_plan_is_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
