/* SPDX-License-Identifier: MIT */
/* The one-pass grid against the naive reference, on thousands of traces. */
#include "tests/simulator/reference.h"
#include "simulator/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *const kernels[] = {"portable", "neon", "avx2", "avx512"};

static void count_fates(const enum fate *fate, size_t count, struct grid_outcome *out)
{
	*out = (struct grid_outcome){.offered = count};
	for (size_t i = 0; i < count; i++) {
		out->rejected_500 += fate[i] == FATE_500;
		out->rejected_503 += fate[i] == FATE_503;
	}
}

static void assert_outcome(struct grid_outcome got, struct grid_outcome want)
{
	assert_int_equal(got.offered, want.offered);
	assert_int_equal(got.rejected_500, want.rejected_500);
	assert_int_equal(got.rejected_503, want.rejected_503);
}

/* Every kernel, and the sums over batches, against the reference. */
static void compare(const struct sim_trace *trace, const uint64_t *sizes, size_t size_count,
		    const uint32_t *counts, size_t count_count, bool early)
{
	enum fate *fate = calloc(trace->count + 1, sizeof(*fate));
	uint64_t *waited = calloc(trace->count + 1, sizeof(*waited));
	for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++) {
		if (!slots_kernel_choose(kernels[k]))
			continue;
		struct grid_ask ask = {sizes, size_count,           counts, count_count, 1, 7,
				       true,  early ? sizes[0] : 0, 0,      kernels[k]};
		struct grid grid;
		struct err err;
		assert_int_equal(grid_run(trace, &ask, &grid, &err), 0);
		for (size_t c = 0; c < count_count; c++) {
			for (size_t s = 0; s < size_count; s++) {
				struct reference_class class = {sizes[s], counts[c]};
				struct reference_ask reference = {
					.class = &class, .class_count = 1, .early = early};
				struct grid_outcome want;
				reference_run(trace, &reference, fate, waited);
				count_fates(fate, trace->count, &want);
				assert_outcome(grid_at(&grid, c, s), want);
				for (size_t i = 0; i < trace->count; i++)
					assert_int_equal(grid.slot[i] > counts[c],
							 fate[i] == FATE_503);
			}
		}
		grid_release(&grid);
	}
	free(fate);
	free(waited);
}

static void test_grid__equals_the_reference_on_thousands_of_random_traces(void **state)
{
	(void)state;
	struct random random = {20260101};
	const uint64_t sizes[] = {999, 1000, 3500, 8000};
	for (int round = 0; round < 2000; round++) {
		struct sim_columns columns;
		size_t count = 1 + random_below(&random, 40);
		random_trace(&random, (enum shape)(round % SHAPES), count, &columns, 1);
		struct err err;
		assert_int_equal(sim_trace_check(&columns.trace, &err), 0);
		uint32_t counts[] = {1, 2, 3, 5, 9};
		compare(&columns.trace, sizes, 1 + random_below(&random, 4), counts,
			1 + random_below(&random, 5), false);
		sim_columns_release(&columns);
	}
}

static void test_grid__oversize_requests_that_leave_early_equal_the_reference(void **state)
{
	(void)state;
	struct random random = {77};
	for (int round = 0; round < 1000; round++) {
		struct sim_columns columns;
		random_trace(&random, (enum shape)(round % SHAPES),
			     1 + random_below(&random, 40), &columns, 1);
		uint64_t size = 1 + random_below(&random, 6000);
		uint32_t counts[] = {1, 2, 4};
		compare(&columns.trace, &size, 1, counts, 3, true);
		sim_columns_release(&columns);
	}
}

static void test_grid__an_empty_trace_offers_nothing(void **state)
{
	(void)state;
	const uint64_t size = 4096;
	const uint32_t count = 3;
	struct sim_trace trace = {0};
	compare(&trace, &size, 1, &count, 1, false);
}

static void test_grid__all_oversize_are_500_or_503(void **state)
{
	(void)state;
	int64_t arrival[] = {0, 0, 5, 5, 6}, service[] = {5, 9, 0, 1, 4};
	uint64_t need[] = {10, 10, 10, 10, 10};
	struct sim_trace trace = {5, arrival, service, need, NULL, 0};
	const uint64_t size = 9;
	const uint32_t counts[] = {1, 2};
	struct grid_ask ask = {
		.sizes = &size, .size_count = 1, .counts = counts, .count_count = 2};
	struct grid grid;
	struct err err;
	assert_int_equal(grid_run(&trace, &ask, &grid, &err), 0);
	/* One bucket: 0 until 5, then the zero service, the 1, and at 6 the last. */
	assert_outcome(grid_at(&grid, 0, 0), (struct grid_outcome){5, 4, 1});
	assert_outcome(grid_at(&grid, 1, 0), (struct grid_outcome){5, 5, 0});
	grid_release(&grid);
}

/* Many slots: trees of two, three and four levels, against each other and
 * against a plain first-fit list. */
static void test_grid__many_slots_are_the_lowest_free_ones(void **state)
{
	(void)state;
	const uint32_t widths[] = {15, 16, 17, 64, 65, 256, 257, 3000, 5000};
	struct random random = {99};
	for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++) {
		uint32_t width = widths[w];
		struct sim_columns columns;
		size_t n = 20000;
		struct err err;
		assert_int_equal(sim_columns_init(&columns, n, &err), 0);
		for (size_t i = 0; i < n; i++) {
			columns.arrival_ns[i] =
				(int64_t)(i * 1000 + (i / 5000) * UINT64_C(3000000000));
			columns.service_ns[i] =
				(int64_t)random_exponential(&random, 1000.0 * width);
		}
		uint64_t *until = calloc(width, sizeof(*until));
		uint32_t *want = calloc(n, sizeof(*want));
		for (size_t i = 0; i < n; i++) {
			uint32_t s = 0;
			uint64_t t = (uint64_t)columns.arrival_ns[i];
			while (s < width && until[s] > t)
				s++;
			want[i] = s + 1;
			if (s < width)
				until[s] = t + (uint64_t)columns.service_ns[i];
		}
		const uint64_t size = 1;
		for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++) {
			if (!slots_kernel_choose(kernels[k]))
				continue;
			struct grid_ask ask = {&size, 1,    &width, 1, 1,
					       1,     true, 0,      0, kernels[k]};
			struct grid grid;
			assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
			assert_memory_equal(grid.slot, want, n * sizeof(*want));
			grid_release(&grid);
		}
		free(until);
		free(want);
		sim_columns_release(&columns);
	}
}

static void same_with_threads(struct sim_columns *columns, bool *repaired)
{
	const uint64_t sizes[] = {1000, 2000, 4000};
	const uint32_t counts[] = {4, 20, 40, 60, 63};
	struct grid one, many;
	struct err err;
	/* The reference: one segment, because a single thread of a short trace is
	 * not cut; here that is had by playing it in pieces of a batch each. */
	struct grid_ask ask = {sizes, 3, counts, 5, 1, 32, true, 0, 0, "portable"};
	assert_int_equal(grid_run(&columns->trace, &ask, &one, &err), 0);
	for (unsigned threads = 2; threads <= 8; threads++) {
		for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++) {
			if (!slots_kernel_choose(kernels[k]))
				continue;
			ask.threads = threads;
			ask.kernel = kernels[k];
			assert_int_equal(grid_run(&columns->trace, &ask, &many, &err), 0);
			*repaired |= many.repaired > 0;
			assert_memory_equal(one.slot, many.slot,
					    columns->trace.count * sizeof(uint32_t));
			assert_memory_equal(one.served, many.served,
					    32 * 15 * sizeof(uint64_t));
			assert_memory_equal(one.accepted, many.accepted,
					    32 * 5 * sizeof(uint64_t));
			assert_memory_equal(one.offered, many.offered, 32 * sizeof(uint64_t));
			grid_release(&many);
		}
	}
	grid_release(&one);
}

static void test_grid__results_do_not_depend_on_threads_or_kernel(void **state)
{
	(void)state;
	struct random random = {4711};
	bool repaired = false;
	for (int round = 0; round < 4; round++) {
		struct sim_columns columns;
		size_t n = 150000 + (size_t)round * 131071;
		struct err err;
		assert_int_equal(sim_columns_init(&columns, n, &err), 0);
		double t = 0;
		for (size_t i = 0; i < n; i++) {
			t += random_exponential(&random, 1e6);
			columns.arrival_ns[i] = (int64_t)t;
			/* The last round has services longer than any warm-up. */
			double mean = round == 3 && i % 50 == 0 ? 5e9 : 4e7;
			columns.service_ns[i] = (int64_t)random_exponential(&random, mean);
			columns.need_bytes[i] = random_below(&random, 5000);
		}
		same_with_threads(&columns, &repaired);
		sim_columns_release(&columns);
	}
	assert_true(repaired); /* or the joining of segments was never tried */
}

static void test_grid__from_slots_found_before_is_the_same(void **state)
{
	(void)state;
	struct random random = {99};
	for (int round = 0; round < 200; round++) {
		struct sim_columns columns;
		struct err err;
		random_trace(&random, (enum shape)(round % SHAPES),
			     1 + random_below(&random, 2000), &columns, 1);
		const uint64_t sizes[] = {500, 1000, 3000};
		const uint32_t counts[] = {1, 2, 5, 9}, more = 40;
		struct grid_ask all = {.sizes = sizes,
				       .size_count = 3,
				       .counts = &more,
				       .count_count = 1,
				       .keep_slots = true};
		struct grid_ask ask = {.sizes = sizes,
				       .size_count = 3,
				       .counts = counts,
				       .count_count = 4,
				       .batches = 7};
		struct grid slots, grid, again;
		assert_int_equal(grid_run(&columns.trace, &all, &slots, &err), 0);
		assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
		assert_int_equal(grid_of_slots(&columns.trace, &ask, slots.slot, &again, &err),
				 0);
		assert_int_equal(again.batches, grid.batches);
		assert_int_equal(again.requests, grid.requests);
		size_t cells = grid.batches * 4;
		assert_memory_equal(again.offered, grid.offered,
				    grid.batches * sizeof(uint64_t));
		assert_memory_equal(again.accepted, grid.accepted, cells * sizeof(uint64_t));
		assert_memory_equal(again.served, grid.served, cells * 3 * sizeof(uint64_t));
		grid_release(&slots);
		grid_release(&grid);
		grid_release(&again);
		sim_columns_release(&columns);
	}
}

static void stream_in_parts(struct random *random, const struct sim_trace *trace,
			    const struct grid_ask *ask, struct grid *grid)
{
	struct grid_stream *stream;
	struct err err;
	assert_int_equal(grid_stream_open(ask, &stream, &err), 0);
	for (size_t row = 0, n; row < trace->count; row += n) {
		n = random_below(random, 1500); /* empty parts too */
		n = n < trace->count - row ? n : trace->count - row;
		/* A copy of its own, gone afterwards: nothing may be kept. */
		struct sim_columns part;
		assert_int_equal(sim_columns_init(&part, n, &err), 0);
		memcpy(part.arrival_ns, trace->arrival_ns + row, n * sizeof(int64_t));
		memcpy(part.service_ns, trace->service_ns + row, n * sizeof(int64_t));
		memcpy(part.need_bytes, trace->need_bytes + row, n * sizeof(uint64_t));
		assert_int_equal(grid_stream_add(stream, &part.trace, &err), 0);
		sim_columns_release(&part);
	}
	assert_int_equal(grid_stream_close(stream, grid, &err), 0);
}

static void test_grid__streamed_in_parts_is_one_run(void **state)
{
	(void)state;
	struct random random = {123};
	for (int round = 0; round < 200; round++) {
		struct sim_columns columns;
		struct err err;
		random_trace(&random, (enum shape)(round % SHAPES),
			     1 + random_below(&random, 6000), &columns, 1);
		const uint64_t sizes[] = {500, 1000, 3000};
		const uint32_t counts[] = {1, 5, round % 3 ? 40 : 300};
		struct grid_ask ask = {.sizes = sizes + round % 2 * 2,
				       .size_count = round % 2 ? 1 : 3,
				       .counts = counts,
				       .count_count = 3,
				       .early_size = round % 2 ? 3000 : 0};
		struct grid grid, streamed;
		assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
		stream_in_parts(&random, &columns.trace, &ask, &streamed);
		assert_int_equal(streamed.requests, grid.requests);
		for (size_t c = 0; c < 3; c++) {
			for (size_t s = 0; s < ask.size_count; s++) {
				struct grid_outcome a = grid_at(&grid, c, s);
				struct grid_outcome b = grid_at(&streamed, c, s);
				assert_memory_equal(&a, &b, sizeof(a));
			}
		}
		grid_release(&grid);
		grid_release(&streamed);
		sim_columns_release(&columns);
	}
}

static void test_grid__a_stream_refuses_to_go_back_in_time(void **state)
{
	(void)state;
	const int64_t late[] = {5, 9}, early[] = {8, 10}, service[] = {1, 1};
	const uint64_t need[] = {1, 1}, size = 1;
	const uint32_t count = 1;
	struct grid_ask ask = {
		.sizes = &size, .size_count = 1, .counts = &count, .count_count = 1};
	struct sim_trace first = {2, late, service, need, NULL, 1}, second = first;
	second.arrival_ns = early;
	struct grid_stream *stream;
	struct err err;
	assert_int_equal(grid_stream_open(&ask, &stream, &err), 0);
	assert_int_equal(grid_stream_add(stream, &first, &err), 0);
	assert_int_equal(grid_stream_add(stream, &second, &err), -1);
	assert_non_null(strstr(err.text, "begins before"));
	assert_int_equal(grid_stream_close(stream, NULL, &err), 0);
}

/* What machines do with slices, in one process: a chain of states, then a sum. */
static void test_grid__slices_joined_from_left_to_right_are_one_run(void **state)
{
	(void)state;
	struct random random = {71};
	for (int round = 0; round < 40; round++) {
		struct sim_columns columns;
		struct err err;
		size_t rows = 1 + random_below(&random, round % 2 ? 60 : 20000);
		random_trace(&random, (enum shape)(round % SHAPES), rows, &columns, 1);
		const uint64_t sizes[] = {1000, 4000};
		const uint32_t counts[] = {2, 5, 9};
		struct grid_ask ask = {
			.sizes = sizes, .size_count = 2, .counts = counts, .count_count = 3};
		size_t slices = 1 + random_below(&random, 7), cell_count = 0;
		uint64_t departure[9] = {0}, sum[12] = {0};
		for (size_t k = 0; k < slices; k++) {
			struct grid_slice *slice;
			assert_int_equal(grid_slice_run(&columns.trace, &ask, rows * k / slices,
							rows * (k + 1) / slices, &slice, &err),
					 0);
			if (k > 0)
				assert_int_equal(grid_slice_join(slice, departure, &err), 0);
			memcpy(departure, grid_slice_state(slice), sizeof(departure));
			const uint64_t *cells = grid_slice_cells(slice, &cell_count);
			assert_int_equal(cell_count, 12);
			for (size_t i = 0; i < cell_count; i++)
				sum[i] += cells[i];
			grid_slice_free(slice);
		}
		struct grid one, many;
		assert_int_equal(grid_run(&columns.trace, &ask, &one, &err), 0);
		assert_int_equal(grid_of_cells(&ask, sum, &many, &err), 0);
		for (size_t c = 0; c < 3; c++) {
			for (size_t s = 0; s < 2; s++)
				assert_outcome(grid_at(&many, c, s), grid_at(&one, c, s));
		}
		grid_release(&one);
		grid_release(&many);
		sim_columns_release(&columns);
	}
}

/* A plain loop over slots, to hold a whole long run against. */
static void test_grid__a_long_run_in_segments_equals_a_plain_loop(void **state)
{
	(void)state;
	enum { ROWS = 300000, SLOTS = 50 };
	struct random random = {5};
	struct sim_columns columns;
	struct err err;
	assert_int_equal(sim_columns_init(&columns, ROWS, &err), 0);
	uint64_t until[SLOTS] = {0}, rejected = 0;
	double t = 0;
	for (size_t i = 0; i < ROWS; i++) {
		t += random_exponential(&random, 1e6);
		columns.arrival_ns[i] = (int64_t)t;
		columns.service_ns[i] = (int64_t)random_exponential(&random, 4.5e7);
		uint32_t s = 0;
		while (s < SLOTS && until[s] > (uint64_t)columns.arrival_ns[i])
			s++;
		if (s < SLOTS)
			until[s] = (uint64_t)(columns.arrival_ns[i] + columns.service_ns[i]);
		else
			rejected++;
	}
	const uint64_t size = 1;
	const uint32_t count = SLOTS;
	struct grid_ask ask = {.sizes = &size,
			       .size_count = 1,
			       .counts = &count,
			       .count_count = 1,
			       .threads = 2};
	struct grid grid;
	assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
	assert_int_equal(grid_at(&grid, 0, 0).rejected_503, rejected);
	assert_true(rejected > 1000);
	grid_release(&grid);
	sim_columns_release(&columns);
}

static void test_grid__impossible_questions_are_refused(void **state)
{
	(void)state;
	struct sim_trace trace = {0};
	const uint64_t sizes[] = {2, 1};
	const uint32_t counts[] = {1, 0};
	struct grid grid;
	struct err err;
	struct grid_ask ask = {
		.sizes = sizes, .size_count = 2, .counts = counts, .count_count = 1};
	assert_int_equal(grid_run(&trace, &ask, &grid, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	ask.size_count = 1;
	ask.count_count = 2;
	assert_int_equal(grid_run(&trace, &ask, &grid, &err), -1);
	ask.count_count = 1;
	ask.kernel = "abacus";
	assert_int_equal(grid_run(&trace, &ask, &grid, &err), -1);
	assert_non_null(strstr(err.text, "abacus"));
}

static void test_overlap__is_the_least_count_without_a_rejection(void **state)
{
	(void)state;
	struct random random = {31};
	for (int round = 0; round < 500; round++) {
		struct sim_columns columns;
		struct err err;
		random_trace(&random, (enum shape)(round % SHAPES),
			     1 + random_below(&random, 60), &columns, 1);
		uint32_t overlap;
		size_t at;
		assert_int_equal(grid_overlap(&columns.trace, &overlap, &at, &err), 0);
		const uint64_t size = 100000;
		uint32_t counts[2] = {overlap - 1, overlap};
		struct grid_ask ask = {.sizes = &size,
				       .size_count = 1,
				       .counts = counts + (overlap == 1),
				       .count_count = overlap == 1 ? 1 : 2,
				       .keep_slots = true};
		struct grid grid;
		assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
		assert_int_equal(grid_at(&grid, ask.count_count - 1, 0).rejected_503, 0);
		if (overlap > 1)
			assert_true(grid_at(&grid, 0, 0).rejected_503 > 0);
		assert_int_equal(grid.slot[at], overlap);
		grid_release(&grid);
		sim_columns_release(&columns);
	}
}

static void test_trace__columns_out_of_order_are_refused_by_row(void **state)
{
	(void)state;
	int64_t arrival[] = {5, 4}, service[] = {1, 1};
	uint64_t need[] = {1, 1};
	struct sim_trace trace = {2, arrival, service, need, NULL, 0};
	struct err err;
	assert_int_equal(sim_trace_check(&trace, &err), -1);
	assert_non_null(strstr(err.text, "request 2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grid__equals_the_reference_on_thousands_of_random_traces),
		cmocka_unit_test(
			test_grid__oversize_requests_that_leave_early_equal_the_reference),
		cmocka_unit_test(test_grid__an_empty_trace_offers_nothing),
		cmocka_unit_test(test_grid__all_oversize_are_500_or_503),
		cmocka_unit_test(test_grid__many_slots_are_the_lowest_free_ones),
		cmocka_unit_test(test_grid__results_do_not_depend_on_threads_or_kernel),
		cmocka_unit_test(test_grid__from_slots_found_before_is_the_same),
		cmocka_unit_test(test_grid__streamed_in_parts_is_one_run),
		cmocka_unit_test(test_grid__a_stream_refuses_to_go_back_in_time),
		cmocka_unit_test(test_grid__slices_joined_from_left_to_right_are_one_run),
		cmocka_unit_test(test_grid__a_long_run_in_segments_equals_a_plain_loop),
		cmocka_unit_test(test_grid__impossible_questions_are_refused),
		cmocka_unit_test(test_overlap__is_the_least_count_without_a_rejection),
		cmocka_unit_test(test_trace__columns_out_of_order_are_refused_by_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
