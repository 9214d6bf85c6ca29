/* SPDX-License-Identifier: MIT */
/*
 * What the simulator says that a traffic meets under a plan, of one class or of
 * several: the exact outcome of this very traffic, and the intervals in which
 * the rates and times of traffic like it lie.
 *
 * Intervals of rates are the simulator's (by clusters or by batches); those of
 * quantiles are between order statistics, whose ranks are the binomial's by its
 * normal approximation, and take requests for independent.
 */
#ifndef PAIL_CLI_FORECAST_H
#define PAIL_CLI_FORECAST_H

#include "base/limits.h"
#include "simulator/sim.h"

/* Which rule of the plan, and so which class, each of a trace's routes meets. */
struct forecast_routes {
	int32_t *rule;            /* index of plan.route, or -1: none, the first class */
	uint32_t *class_of_route; /* where its requests begin */
	bool *retry_of_route;     /* once more in the next bigger class */
	size_t count;
};
int forecast_routes_init(struct forecast_routes *routes, const struct plan *plan,
			 char *const *names, size_t count, struct err *err);
void forecast_routes_release(struct forecast_routes *routes);

struct forecast_rate {
	double rate, low, high;
};
struct forecast_time { /* a quantile of the served, and its interval */
	int64_t ns, low_ns, high_ns;
};
enum { FORECAST_P50, FORECAST_P99, FORECAST_QUANTILES };
extern const double forecast_quantile[FORECAST_QUANTILES];

struct forecast {
	uint64_t offered, served, rejected_500, rejected_503, retried;
	double confidence;
	struct forecast_rate all, oversize, busy;         /* 500s and 503s; 500s; 503s */
	struct forecast_time wait[FORECAST_QUANTILES];    /* for a bucket */
	struct forecast_time latency[FORECAST_QUANTILES]; /* wait and service */
	struct world world; /* each request's fate; of forecast_release() */
};

/* `routes` belong to trace.route; NULL: all requests go to the first class. */
int forecast_make(const struct sim_trace *trace, const struct plan *plan,
		  const struct forecast_routes *routes, double confidence,
		  struct forecast *forecast, struct err *err);
void forecast_release(struct forecast *forecast);

/* The interval of the q-quantile of `count` ascending values. */
struct forecast_time forecast_time_of(const int64_t *ascending, size_t count, double q,
				      double confidence);

#endif
