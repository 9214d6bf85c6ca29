/* SPDX-License-Identifier: MIT */
#include "tests/simulator/coverage.h"

#include <assert.h>
#include <stdlib.h>

static struct rate rate_of_one(const struct coverage_case *c, struct random *random,
			       struct interval *binomial)
{
	struct sim_columns columns;
	if (c->session_length > 1)
		session_trace(random, c->requests, c->load, c->session_length, &columns);
	else
		poisson_trace(random, c->requests, c->load, SERVICE_EXPONENTIAL, &columns);
	const uint64_t size = UINT64_C(1) << 40; /* no 500s: the truth is of 503s */
	struct grid_ask ask = {.sizes = &size,
			       .size_count = 1,
			       .counts = &c->count,
			       .count_count = 1,
			       .batches = GRID_BATCHES,
			       .keep_slots = true};
	struct grid grid;
	struct evidence evidence;
	struct err err;
	int result = grid_run(&columns.trace, &ask, &grid, &err);
	assert(result == 0);
	result = evidence_init(&evidence, &columns.trace, &grid, &ask, &err);
	assert(result == 0);
	(void)result;
	/* Needs play no part here: as if there were none above any size. */
	for (size_t s = 0; s < evidence.size_count; s++)
		evidence.oversize[s] = evidence.oversize_clusters[s] = 0;
	struct rate rate = rate_of(&grid, &ask, &evidence, 0, 0, 0.95);
	*binomial = clopper_pearson(grid_at(&grid, 0, 0).rejected_503, c->requests, 0.95);
	evidence_release(&evidence);
	grid_release(&grid);
	sim_columns_release(&columns);
	return rate;
}

struct coverage coverage_run(const struct coverage_case *c, size_t replications, uint64_t seed)
{
	struct random random = {seed * 2 + 1};
	for (int i = 0; i < 16; i++)
		random_next(&random);
	struct coverage out = {0};
	out.truth = c->session_length > 1 ? long_run_loss(&random, c->load, c->count,
							  c->session_length, 30000000)
					  : erlang_b(c->load, c->count);
	for (size_t i = 0; i < replications; i++) {
		struct interval binomial;
		struct rate rate = rate_of_one(c, &random, &binomial);
		out.inside += rate.low <= out.truth && out.truth <= rate.high;
		out.below_high += out.truth <= rate.high;
		out.inside_binomial += binomial.low <= out.truth && out.truth <= binomial.high;
		out.by_batches += rate.by_batches;
	}
	return out;
}
