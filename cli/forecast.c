/* SPDX-License-Identifier: MIT */
#include "cli/forecast.h"

int forecast_possible(const struct plan *plan, struct err *err)
{
	if (plan->class_count == 1)
		return 0;
	return err_set(err,
		       "the plan has %u classes of buckets, and the prediction knows one: "
		       "verify a plan of one class",
		       plan->class_count);
}

static void forecast_fill(struct forecast *forecast, struct grid_outcome outcome,
			  struct rate rate)
{
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
}

static int with_queue(const struct sim_trace *trace, const struct plan *plan,
		      const struct evidence *evidence, double confidence,
		      struct forecast *forecast, struct err *err)
{
	const struct queue_candidate candidate = {
		.count = plan->class[0].count,
		.queue = plan->queue,
		.wait_ns = plan->wait_ns,
	};
	const struct queue_ask ask = {
		.candidates = &candidate,
		.candidate_count = 1,
		.sizes = &plan->class[0].size_bytes,
		.size_count = 1,
		.threads = 1,
		.batches = GRID_BATCHES,
		.gap_ns = evidence->gap_ns,
	};
	struct queue queue;
	if (queue_run(trace, &ask, &queue, err) == -1)
		return -1;
	forecast_fill(forecast, queue_at(&queue, 0, 0),
		      queue_rate_of(&queue, &ask, evidence, 0, 0, confidence));
	queue_release(&queue);
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
	int result = 0;
	if (plan->queue > 0)
		result = with_queue(trace, plan, &evidence, confidence, forecast, err);
	else
		forecast_fill(forecast, grid_at(&grid, 0, 0),
			      rate_of(&grid, &ask, &evidence, 0, 0, confidence));
	evidence_release(&evidence);
	grid_release(&grid);
	return result;
}
