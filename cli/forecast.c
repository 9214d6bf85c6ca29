/* SPDX-License-Identifier: MIT */
#include "cli/forecast.h"

int forecast_possible(const struct plan *plan, struct err *err)
{
	if (plan->class_count != 1)
		return err_set(
			err,
			"the plan has %u classes of buckets, and the prediction knows one: "
			"verify a plan of one class",
			plan->class_count);
	if (plan->queue > 0)
		return err_set(err,
			       "the plan has [server] queue = %u, and the prediction knows no "
			       "queue: verify with queue = 0",
			       plan->queue);
	return 0;
}

int forecast_make(const struct sim_trace *trace, const struct plan *plan, double confidence,
		  struct forecast *forecast, struct err *err)
{
	const struct grid_ask ask = {
		.sizes = &plan->class[0].size_bytes,
		.size_count = 1,
		.counts = &plan->class[0].count,
		.count_count = 1,
		.threads = 1,
		.batches = GRID_BATCHES,
		.keep_slots = true,
	};
	struct grid grid;
	struct evidence evidence;
	if (grid_run(trace, &ask, &grid, err) == -1)
		return -1;
	if (evidence_init(&evidence, trace, &grid, &ask, err) == -1) {
		grid_release(&grid);
		return -1;
	}
	struct grid_outcome outcome = grid_at(&grid, 0, 0);
	struct rate rate = rate_of(&grid, &ask, &evidence, 0, 0, confidence);
	*forecast = (struct forecast){
		.offered = outcome.offered,
		.served = outcome.offered - outcome.rejected_500 - outcome.rejected_503,
		.rejected_500 = outcome.rejected_500,
		.rejected_503 = outcome.rejected_503,
		.confidence = rate.confidence,
		.rate = rate.rate,
		.rate_low = rate.low,
		.rate_high = rate.high,
	};
	evidence_release(&evidence);
	grid_release(&grid);
	return 0;
}
