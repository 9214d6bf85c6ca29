/* SPDX-License-Identifier: MIT */
#include "cli/driving/forecast.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const double forecast_quantile[FORECAST_QUANTILES] = {0.5, 0.99};

/* -- routes ------------------------------------------------------------------ */

/* The rule for what was recorded under a name: a request's by its method and path,
 * anything else (a command, a marker's label) by the rule that names it. */
static int rule_of(const struct plan *plan, struct str name)
{
	struct str method, path;
	char pattern[LIMITS_PATTERN_MAX];
	if (str_cut(name, ' ', &method, &path) && path.length > 0 && path.bytes[0] == '/')
		return limits_route(plan, method, path);
	if (limits_pattern_of(name, pattern) == 0)
		for (uint32_t i = 0; i < plan->route_count; i++)
			if (strcmp(plan->route[i].pattern, pattern) == 0)
				return (int)i;
	return limits_route(plan, STR(""), name);
}

int forecast_routes_init(struct forecast_routes *routes, const struct plan *plan,
			 char *const *names, size_t count, struct err *err)
{
	*routes = (struct forecast_routes){
		.rule = calloc(count + 1, sizeof *routes->rule),
		.class_of_route = calloc(count + 1, sizeof *routes->class_of_route),
		.retry_of_route = calloc(count + 1, sizeof *routes->retry_of_route),
		.count = count,
	};
	if (routes->rule == NULL || routes->class_of_route == NULL ||
	    routes->retry_of_route == NULL) {
		forecast_routes_release(routes);
		return err_set(err, "out of memory for %zu routes", count);
	}
	for (size_t i = 0; i < count; i++) {
		int rule = rule_of(plan, str_of(names[i]));
		routes->rule[i] = rule;
		if (rule < 0)
			continue;
		routes->class_of_route[i] = plan->route[rule].class_index;
		routes->retry_of_route[i] = plan->route[rule].retry;
	}
	return 0;
}

void forecast_routes_release(struct forecast_routes *routes)
{
	free(routes->rule);
	free(routes->class_of_route);
	free(routes->retry_of_route);
	*routes = (struct forecast_routes){0};
}

/* -- rates --------------------------------------------------------------------- */

static struct forecast_rate rate_taken(struct rate rate)
{
	return (struct forecast_rate){rate.rate, rate.low, rate.high};
}

/* Of one cause alone. `scratch` has room for each request. */
static struct forecast_rate rate_of_fate(const struct sim_trace *trace, const uint8_t *fate,
					 uint8_t which, double confidence, uint8_t *scratch)
{
	for (size_t i = 0; i < trace->count; i++)
		scratch[i] = fate[i] == which;
	return rate_taken(rate_of_fates(trace, scratch, confidence));
}

/* One class without a queue is what the grid knows best: it has the clusters of
 * every count to learn from, where a single simulation has its own alone. */
static int rate_by_grid(const struct sim_trace *trace, const struct plan *plan,
			double confidence, struct forecast *forecast, struct err *err)
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
	forecast->all = rate_taken(rate_of(&grid, &ask, &evidence, 0, 0, confidence));
	evidence_release(&evidence);
	grid_release(&grid);
	return 0;
}

/* -- times ----------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

static int64_t at_rank(const int64_t *values, size_t count, double rank)
{
	if (rank < 1)
		return values[0];
	return values[rank < (double)count ? (size_t)rank - 1 : count - 1];
}

struct forecast_time forecast_time_of(const int64_t *values, size_t count, double q,
				      double confidence)
{
	if (count == 0)
		return (struct forecast_time){0};
	double n = (double)count, apart = student_t(confidence, 1e6) * sqrt(n * q * (1 - q));
	return (struct forecast_time){
		.ns = at_rank(values, count, ceil(q * n)),
		.low_ns = at_rank(values, count, floor(q * n - apart)),
		.high_ns = at_rank(values, count, ceil(q * n + apart) + 1),
	};
}

static int times_fill(const struct sim_trace *trace, struct forecast *forecast, struct err *err)
{
	const struct world *world = &forecast->world;
	int64_t *wait = malloc((trace->count + 1) * sizeof *wait);
	int64_t *latency = malloc((trace->count + 1) * sizeof *latency);
	size_t n = 0;
	if (wait == NULL || latency == NULL) {
		free(wait);
		free(latency);
		return err_set(err, "out of memory for %zu requests", trace->count);
	}
	for (size_t i = 0; i < trace->count; i++) {
		if (world->fate[i] != WORLD_SERVED)
			continue;
		wait[n] = (int64_t)world->waited_ns[i];
		latency[n] = wait[n] + trace->service_ns[i];
		n++;
	}
	qsort(wait, n, sizeof *wait, ascending);
	qsort(latency, n, sizeof *latency, ascending);
	for (int q = 0; q < FORECAST_QUANTILES; q++) {
		forecast->wait[q] =
			forecast_time_of(wait, n, forecast_quantile[q], forecast->confidence);
		forecast->latency[q] = forecast_time_of(latency, n, forecast_quantile[q],
							forecast->confidence);
	}
	free(wait);
	free(latency);
	return 0;
}

/* -- the whole ----------------------------------------------------------------------- */

static int run_world(const struct sim_trace *trace, const struct plan *plan,
		     const struct forecast_routes *routes, struct world *world, struct err *err)
{
	static_assert((int)WORLD_CLASSES_MAX >= (int)LIMITS_CLASSES_MAX, "a plan fits");
	struct world_ask ask = {
		.class_count = plan->class_count,
		.class_of_route = routes != NULL ? routes->class_of_route : NULL,
		.retry_of_route = routes != NULL ? routes->retry_of_route : NULL,
		.queue = plan->queue,
		.wait_ns = plan->wait_ns,
	};
	for (uint32_t k = 0; k < plan->class_count; k++) {
		ask.size_bytes[k] = plan->class[k].size_bytes;
		ask.count[k] = plan->class[k].count;
	}
	return world_run(trace, &ask, world, err);
}

int forecast_make(const struct sim_trace *trace, const struct plan *plan,
		  const struct forecast_routes *routes, double confidence,
		  struct forecast *forecast, struct err *err)
{
	assert(plan->class_count > 0);
	*forecast = (struct forecast){.confidence = confidence};
	uint8_t *scratch = malloc(trace->count + 1);
	if (scratch == NULL)
		return err_set(err, "out of memory for %zu requests", trace->count);
	if (run_world(trace, plan, routes, &forecast->world, err) == -1) {
		free(scratch);
		return -1;
	}
	const struct world *world = &forecast->world;
	forecast->offered = world->outcome.offered;
	forecast->rejected_500 = world->outcome.rejected_500;
	forecast->rejected_503 = world->outcome.rejected_503;
	forecast->served = forecast->offered - forecast->rejected_500 - forecast->rejected_503;
	forecast->retried = world->retried;
	forecast->oversize = rate_of_fate(trace, world->fate, WORLD_500, confidence, scratch);
	forecast->busy = rate_of_fate(trace, world->fate, WORLD_503, confidence, scratch);
	int result = 0;
	if (plan->class_count == 1 && plan->queue == 0)
		result = rate_by_grid(trace, plan, confidence, forecast, err);
	else
		forecast->all = rate_taken(rate_of_fates(trace, world->fate, confidence));
	if (result == 0)
		result = times_fill(trace, forecast, err);
	free(scratch);
	if (result == -1)
		forecast_release(forecast);
	return result;
}

void forecast_release(struct forecast *forecast)
{
	world_release(&forecast->world);
	forecast->world = (struct world){0};
}
