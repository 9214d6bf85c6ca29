/* SPDX-License-Identifier: MIT */
/* The queue with a timeout, by excursions, against the naive reference. */
#include "tests/simulator/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { CANDIDATES_MAX = 12 };

static void compare(const struct sim_trace *trace, const struct queue_candidate *candidates,
		    size_t count, unsigned threads)
{
	const uint64_t sizes[] = {999, 3500};
	struct queue_ask ask = {.candidates = candidates,
				.candidate_count = count,
				.sizes = sizes,
				.size_count = 2,
				.threads = threads,
				.batches = 5,
				.keep_fates = true};
	struct queue queue;
	struct err err;
	enum fate *fate = calloc(trace->count + 1, sizeof(*fate));
	uint64_t *waited = calloc(trace->count + 1, sizeof(*waited));
	assert_int_equal(queue_run(trace, &ask, &queue, &err), 0);
	for (size_t k = 0; k < count; k++) {
		for (size_t s = 0; s < 2; s++) {
			struct reference_class class = {sizes[s], candidates[k].count};
			struct reference_ask reference = {.class = &class,
							  .class_count = 1,
							  .queue = candidates[k].queue,
							  .wait_ns = candidates[k].wait_ns};
			reference_run(trace, &reference, fate, waited);
			struct grid_outcome got = queue_at(&queue, k, s), want = {0};
			for (size_t i = 0; i < trace->count; i++) {
				want.rejected_500 += fate[i] == FATE_500;
				want.rejected_503 += fate[i] == FATE_503;
				uint64_t expect = fate[i] == FATE_503 ? UINT64_MAX : waited[i];
				assert_int_equal(queue.outcome[k].wait_of[i], expect);
			}
			assert_int_equal(got.offered, trace->count);
			assert_int_equal(got.rejected_500, want.rejected_500);
			assert_int_equal(got.rejected_503, want.rejected_503);
		}
	}
	queue_release(&queue);
	free(fate);
	free(waited);
}

static void test_queue__equals_the_reference_on_thousands_of_random_traces(void **state)
{
	(void)state;
	struct random random = {42};
	for (int round = 0; round < 3000; round++) {
		struct sim_columns columns;
		enum shape shape = (enum shape)(round % SHAPES);
		random_trace(&random, shape, 1 + random_below(&random, 40), &columns, 1);
		struct queue_candidate candidates[CANDIDATES_MAX];
		size_t count = 1 + random_below(&random, CANDIDATES_MAX);
		static const uint64_t scale[SHAPES] = {5, 5000000, 2000000, 100, 3000000000};
		for (size_t k = 0; k < count; k++) {
			candidates[k].count = 1 + (uint32_t)random_below(&random, 6);
			candidates[k].queue = (uint32_t)random_below(&random, 5);
			candidates[k].wait_ns =
				random_below(&random, 3)
					? random_below(&random, scale[shape])
					: (random_below(&random, 2) ? 0 : UINT64_MAX);
		}
		/* The naive one counts deadlines in 64 bits too. */
		for (size_t k = 0; k < count; k++) {
			if (candidates[k].wait_ns == UINT64_MAX)
				candidates[k].wait_ns = UINT64_C(1) << 60;
		}
		compare(&columns.trace, candidates, count, 1 + (unsigned)round % 3);
		sim_columns_release(&columns);
	}
}

static void test_queue__one_bucket_more_can_serve_other_requests(void **state)
{
	(void)state;
	/* Not nested: one bucket accepts {0, 3}, two accept {0, 1, 2}. */
	int64_t arrival[] = {2, 2, 4, 6}, service[] = {5, 5, 6, 3};
	uint64_t need[] = {1, 1, 1, 1};
	const uint64_t size = 1;
	struct sim_trace trace = {4, arrival, service, need, NULL, 0};
	struct queue_candidate candidates[] = {{1, 1, 4}, {2, 1, 4}};
	struct queue_ask ask = {.candidates = candidates,
				.candidate_count = 2,
				.sizes = &size,
				.size_count = 1,
				.keep_fates = true};
	struct queue queue;
	struct err err;
	assert_int_equal(queue_run(&trace, &ask, &queue, &err), 0);
	const bool one[] = {true, false, false, true}, two[] = {true, true, true, false};
	for (int i = 0; i < 4; i++) {
		assert_int_equal(queue.outcome[0].wait_of[i] != UINT64_MAX, one[i]);
		assert_int_equal(queue.outcome[1].wait_of[i] != UINT64_MAX, two[i]);
	}
	queue_release(&queue);
}

static void test_queue__without_waiting_it_is_the_grid(void **state)
{
	(void)state;
	struct random random = {8};
	struct sim_columns columns;
	random_trace(&random, SHAPE_POISSON, 20000, &columns, 1);
	const uint64_t sizes[] = {2000, 5000};
	const uint32_t counts[] = {3, 6, 9, 12};
	struct queue_candidate candidates[4];
	for (int k = 0; k < 4; k++)
		candidates[k] = (struct queue_candidate){counts[k], k % 2 ? 5 : 0, 0};
	struct queue_ask ask = {.candidates = candidates,
				.candidate_count = 4,
				.sizes = sizes,
				.size_count = 2,
				.batches = 32};
	struct grid_ask grid_ask = {.sizes = sizes,
				    .size_count = 2,
				    .counts = counts,
				    .count_count = 4,
				    .batches = 32};
	struct queue queue;
	struct grid grid;
	struct err err;
	assert_int_equal(queue_run(&columns.trace, &ask, &queue, &err), 0);
	assert_int_equal(grid_run(&columns.trace, &grid_ask, &grid, &err), 0);
	for (size_t b = 0; b < 32; b++) {
		for (size_t c = 0; c < 4; c++) {
			for (size_t s = 0; s < 2; s++) {
				struct grid_outcome x = queue_batch_at(&queue, b, c, s);
				struct grid_outcome y = grid_batch_at(&grid, b, c, s);
				assert_memory_equal(&x, &y, sizeof(x));
			}
		}
	}
	assert_true(queue_at(&queue, 0, 0).rejected_503 > 1000);
	queue_release(&queue);
	grid_release(&grid);
	sim_columns_release(&columns);
}

static void test_queue__p99_of_the_wait_is_right_to_one_percent(void **state)
{
	(void)state;
	struct random random = {9};
	struct sim_columns columns;
	random_trace(&random, SHAPE_POISSON, 20000, &columns, 1);
	const uint64_t size = 1 << 20;
	struct queue_candidate candidate = {6, 50, 100000000};
	struct queue_ask ask = {.candidates = &candidate,
				.candidate_count = 1,
				.sizes = &size,
				.size_count = 1,
				.keep_fates = true};
	struct queue queue;
	struct err err;
	assert_int_equal(queue_run(&columns.trace, &ask, &queue, &err), 0);
	const struct queue_outcome *out = &queue.outcome[0];
	uint64_t got = out->offered - out->rejected_503, shorter = 0, much_shorter = 0;
	for (size_t i = 0; i < columns.trace.count; i++) {
		if (out->wait_of[i] == UINT64_MAX)
			continue;
		shorter += out->wait_of[i] <= out->wait_ns_p99;
		much_shorter += (double)out->wait_of[i] <= 0.99 * (double)out->wait_ns_p99;
	}
	assert_true(out->wait_ns_p99 > 0);
	assert_true(shorter >= got - got / 100);
	assert_true(much_shorter <= got - got / 100);
	assert_true(out->excursion_arrivals < columns.trace.count);
	queue_release(&queue);
	sim_columns_release(&columns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_queue__equals_the_reference_on_thousands_of_random_traces),
		cmocka_unit_test(test_queue__one_bucket_more_can_serve_other_requests),
		cmocka_unit_test(test_queue__without_waiting_it_is_the_grid),
		cmocka_unit_test(test_queue__p99_of_the_wait_is_right_to_one_percent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
