/* SPDX-License-Identifier: MIT */
#include "tests/simulator/coverage.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* A few seeded traces; the table in docs/simulator.md has the thousands. */
static void test_interval__holds_the_truth_where_a_binomial_does_not(void **state)
{
	(void)state;
	static const struct coverage_case cases[] = {
		{"Poisson", 50, 70, 1, 50000},
		{"Poisson", 10, 16, 1, 10000},
		{"Poisson", 10, 21, 1, 10000},
	};
	size_t binomial = 0;
	for (size_t i = 0; i < 3; i++) {
		struct coverage c = coverage_run(&cases[i], 60, 7 + i);
		assert_true(c.inside >= 52); /* 95 % of 60 is 57; 52 has odds of 1:100 */
		binomial += c.inside_binomial;
	}
	assert_true(binomial < 150); /* of 180; it claims 171 */
}

static void naive_clusters(const struct sim_trace *trace, const struct grid *grid,
			   uint32_t count, double gap, uint64_t *rejected, uint64_t *clusters)
{
	int64_t last = 0;
	*rejected = *clusters = 0;
	for (size_t i = 0; i < trace->count; i++) {
		if (grid->slot[i] <= count)
			continue;
		*clusters += *rejected == 0 || (double)(trace->arrival_ns[i] - last) > gap;
		(*rejected)++;
		last = trace->arrival_ns[i];
	}
}

static uint64_t naive_oversize_clusters(const struct sim_trace *trace, uint64_t size,
					double gap)
{
	uint64_t clusters = 0;
	int64_t last = 0;
	for (size_t i = 0; i < trace->count; i++) {
		if (trace->need_bytes[i] <= size)
			continue;
		clusters += clusters == 0 || (double)(trace->arrival_ns[i] - last) > gap;
		last = trace->arrival_ns[i];
	}
	return clusters;
}

static void test_evidence__counts_the_clusters_of_every_count_at_once(void **state)
{
	(void)state;
	struct random random = {17};
	for (int round = 0; round < 200; round++) {
		struct sim_columns columns;
		struct err err;
		random_trace(&random, (enum shape)(round % SHAPES),
			     1 + random_below(&random, 300), &columns, 1);
		const uint64_t sizes[] = {1000, 3000};
		const uint32_t counts[] = {2, 12};
		struct grid_ask ask = {.sizes = sizes,
				       .size_count = 2,
				       .counts = counts,
				       .count_count = 2,
				       .keep_slots = true};
		struct grid grid;
		struct evidence evidence;
		assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
		assert_int_equal(evidence_init(&evidence, &columns.trace, &grid, &ask, &err),
				 0);
		uint64_t gap = (uint64_t)evidence.gap_ns;
		for (uint32_t c = 0; c <= 12; c++) {
			uint64_t rejected, clusters;
			naive_clusters(&columns.trace, &grid, c, (double)gap, &rejected,
				       &clusters);
			assert_int_equal(evidence.rejected[c], rejected);
			/* Below what was asked for, only while few are refused. */
			bool wanted =
				c + 1 >= counts[0] || rejected <= columns.trace.count / 10;
			assert_int_equal(evidence.clusters[c], wanted ? clusters : 0);
		}
		for (size_t s = 0; s < evidence.size_count; s++) {
			uint64_t above = 0;
			for (size_t i = 0; i < columns.trace.count; i++)
				above += columns.need_bytes[i] > evidence.sizes[s];
			assert_int_equal(evidence.oversize[s], above);
			bool wanted = evidence.sizes[s] >= sizes[0] ||
				      above <= columns.trace.count / 10;
			uint64_t clusters = naive_oversize_clusters(
				&columns.trace, evidence.sizes[s], (double)gap);
			assert_int_equal(evidence.oversize_clusters[s], wanted ? clusters : 0);
		}
		evidence_release(&evidence);
		grid_release(&grid);
		sim_columns_release(&columns);
	}
}

static void test_interval__without_rejections_ends_at_the_rule_of_three(void **state)
{
	(void)state;
	struct rate_basis basis = {.offered = 100000, .busy_size = 1, .big_size = 1};
	struct rate rate = rate_from(&basis, 0.95);
	assert_true(rate.low == 0 && rate.rate == 0);
	assert_true(fabs(rate.high - poisson_upper(0, 0.975) / 100000) < 1e-12);
	assert_true(fabs(rate_requests_needed(rate.high, 0.95, 1) - 100000) < 2);
	/* Clusters four times as large make it four times as wide. */
	basis.busy_size = basis.big_size = 4;
	assert_true(fabs(rate_from(&basis, 0.95).high - 4 * rate.high) < 1e-12);
}

static void test_interval__of_nothing_says_nothing(void **state)
{
	(void)state;
	struct rate_basis basis = {0};
	struct rate rate = rate_from(&basis, 0.95);
	assert_true(rate.low == 0 && rate.high == 1 && rate.thin);
}

static void test_erlang__a_poisson_trace_agrees_for_any_service_law(void **state)
{
	(void)state;
	struct random random = {3};
	const enum service_law laws[] = {SERVICE_EXPONENTIAL, SERVICE_LOGNORMAL,
					 SERVICE_CONSTANT};
	for (size_t l = 0; l < 3; l++) {
		struct sim_columns columns;
		enum { ROWS = 200000 };
		poisson_trace(&random, ROWS, 50, laws[l], &columns);
		const uint64_t size = UINT64_MAX;
		const uint32_t counts[] = {55, 60, 65, 70};
		struct grid_ask ask = {
			.sizes = &size, .size_count = 1, .counts = counts, .count_count = 4};
		struct grid grid;
		struct err err;
		assert_int_equal(grid_run(&columns.trace, &ask, &grid, &err), 0);
		for (size_t c = 0; c < 4; c++) {
			double b = erlang_b(50, counts[c]);
			double r = (double)grid_at(&grid, c, 0).rejected_503 / ROWS;
			assert_true(fabs(r - b) <= 4 * sqrt(9 * b / ROWS));
		}
		grid_release(&grid);
		sim_columns_release(&columns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interval__holds_the_truth_where_a_binomial_does_not),
		cmocka_unit_test(test_evidence__counts_the_clusters_of_every_count_at_once),
		cmocka_unit_test(test_interval__without_rejections_ends_at_the_rule_of_three),
		cmocka_unit_test(test_interval__of_nothing_says_nothing),
		cmocka_unit_test(test_erlang__a_poisson_trace_agrees_for_any_service_law),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
