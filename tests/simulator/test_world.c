/* SPDX-License-Identifier: MIT */
/* Classes, overflow, retry, queues and early leaving against the reference; a
 * pool of pages against sums that can be made by hand. */
#include "tests/simulator/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROUTES = 4 };

static void compare(const struct sim_trace *trace, const struct world_ask *ask)
{
	struct reference_class class[WORLD_CLASSES_MAX];
	for (size_t c = 0; c < ask->class_count; c++)
		class[c] = (struct reference_class){ask->size_bytes[c], ask->count[c]};
	struct reference_ask reference = {
		.class = class,
		.class_count = ask->class_count,
		.class_of_route = ask->class_of_route,
		.queue = ask->queue,
		.wait_ns = ask->wait_ns,
		.early = ask->early,
		.overflow = ask->overflow,
		.retry = ask->retry_of_route != NULL,
	};
	enum fate *fate = calloc(trace->count + 1, sizeof(*fate));
	uint64_t *waited = calloc(trace->count + 1, sizeof(*waited));
	struct world world;
	struct err err;
	reference_run(trace, &reference, fate, waited);
	assert_int_equal(world_run(trace, ask, &world, &err), 0);
	for (size_t i = 0; i < trace->count; i++) {
		assert_int_equal(world.fate[i], (int)fate[i]);
		if (fate[i] != FATE_503)
			assert_int_equal(world.waited_ns[i], waited[i]);
	}
	world_release(&world);
	free(fate);
	free(waited);
}

static void test_world__equals_the_reference_on_thousands_of_random_traces(void **state)
{
	(void)state;
	static const bool all[ROUTES] = {true, true, true, true};
	struct random random = {123};
	for (int round = 0; round < 4000; round++) {
		struct sim_columns columns;
		random_trace(&random, (enum shape)(round % SHAPES),
			     1 + random_below(&random, 40), &columns, ROUTES);
		uint32_t class_of_route[ROUTES];
		struct world_ask ask = {.class_count = 1 + random_below(&random, 3),
					.class_of_route = class_of_route};
		uint64_t size = 0;
		for (size_t c = 0; c < ask.class_count; c++) {
			size += 1 + random_below(&random, 3000);
			ask.size_bytes[c] = size;
			ask.count[c] = 1 + (uint32_t)random_below(&random, 4);
		}
		for (size_t r = 0; r < ROUTES; r++)
			class_of_route[r] = (uint32_t)random_below(&random, ask.class_count);
		ask.queue = (uint32_t)random_below(&random, 4);
		ask.wait_ns = random_below(&random, 8);
		ask.overflow = random_below(&random, 2);
		ask.early = random_below(&random, 2);
		ask.retry_of_route = random_below(&random, 2) ? all : NULL;
		compare(&columns.trace, &ask);
		sim_columns_release(&columns);
	}
}

static void test_world__one_class_is_the_grid(void **state)
{
	(void)state;
	struct random random = {6};
	struct sim_columns columns;
	random_trace(&random, SHAPE_POISSON, 5000, &columns, 1);
	const uint64_t size = 4000;
	const uint32_t count = 5;
	struct grid_ask grid_ask = {
		.sizes = &size, .size_count = 1, .counts = &count, .count_count = 1};
	struct world_ask ask = {.class_count = 1, .size_bytes = {size}, .count = {count}};
	struct grid grid;
	struct world world;
	struct err err;
	assert_int_equal(grid_run(&columns.trace, &grid_ask, &grid, &err), 0);
	assert_int_equal(world_run(&columns.trace, &ask, &world, &err), 0);
	struct grid_outcome want = grid_at(&grid, 0, 0);
	assert_memory_equal(&want, &world.outcome, sizeof(want));
	assert_int_equal(world.peak_bytes, size * count);
	grid_release(&grid);
	world_release(&world);
	sim_columns_release(&columns);
}

static uint64_t refused_with(const struct sim_trace *trace, const uint32_t *class_of_route,
			     uint32_t first)
{
	struct world_ask ask = {.class_count = 2,
				.size_bytes = {10, 20},
				.count = {first, 1},
				.class_of_route = class_of_route,
				.overflow = true};
	struct world world;
	struct err err;
	assert_int_equal(world_run(trace, &ask, &world, &err), 0);
	uint64_t refused = world.outcome.rejected_503;
	world_release(&world);
	return refused;
}

/* One more bucket in the first pool can mean one more rejection: searched for
 * among small traces, since it must exist. */
static void test_world__overflow_is_not_monotone(void **state)
{
	(void)state;
	static const uint32_t class_of_route[2] = {0, 1};
	struct random random = {2};
	bool found = false;
	for (int round = 0; round < 20000 && !found; round++) {
		struct sim_columns columns;
		random_trace(&random, SHAPE_SMALL_TIES, 8, &columns, 2);
		found = refused_with(&columns.trace, class_of_route, 2) >
			refused_with(&columns.trace, class_of_route, 1);
		sim_columns_release(&columns);
	}
	assert_true(found);
}

static void test_world__pages_are_taken_as_a_request_grows(void **state)
{
	(void)state;
	/* Needs of 4 pages over 40 ns: at 0, 10, 20, 30; of 1 page at 5, 15, 25. */
	int64_t arrival[] = {0, 5, 15, 25, 41}, service[] = {40, 100, 100, 100, 1};
	uint64_t need[] = {400, 100, 100, 100, 100};
	struct sim_trace trace = {5, arrival, service, need, NULL, 0};
	struct world_ask ask = {.class_count = 1, .count = {4}, .page_bytes = 100};
	struct world world;
	struct err err;
	assert_int_equal(world_run(&trace, &ask, &world, &err), 0);
	/* At 15: pages 2 + 1 + 1, full. At 20 the first can't grow: it dies and gives
	 * back its two, so the one at 25 and the one at 41 are served. */
	const uint8_t want[] = {WORLD_500, WORLD_SERVED, WORLD_SERVED, WORLD_SERVED,
				WORLD_SERVED};
	assert_memory_equal(world.fate, want, sizeof(want));
	assert_int_equal(world.peak_bytes, 400);
	world_release(&world);

	ask.count[0] = 5;
	assert_int_equal(world_run(&trace, &ask, &world, &err), 0);
	/* One page more: at 25 it is full, so that arrival is refused or the first
	 * dies at 30, whichever comes first. */
	assert_int_equal(world.fate[0], WORLD_500);
	assert_int_equal(world.outcome.rejected_503, 1);
	world_release(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_world__equals_the_reference_on_thousands_of_random_traces),
		cmocka_unit_test(test_world__one_class_is_the_grid),
		cmocka_unit_test(test_world__overflow_is_not_monotone),
		cmocka_unit_test(test_world__pages_are_taken_as_a_request_grows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
