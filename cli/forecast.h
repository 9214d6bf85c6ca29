/* SPDX-License-Identifier: MIT */
/*
 * What the simulator says that a traffic meets under a plan of one class: the
 * exact outcome of this very traffic, and the interval in which the rate of
 * such traffic lies.
 */
#ifndef PAIL_CLI_FORECAST_H
#define PAIL_CLI_FORECAST_H

#include "base/limits.h"
#include "simulator/sim.h"

struct forecast {
	uint64_t offered, served, rejected_500, rejected_503;
	double confidence;
	double rate, rate_low, rate_high; /* of rejections, 500s and 503s together */
};

/* Refuses what the prediction does not know: more than one class. */
int forecast_possible(const struct plan *plan, struct err *err);
int forecast_make(const struct sim_trace *trace, const struct plan *plan, double confidence,
		  struct forecast *forecast, struct err *err);

#endif
