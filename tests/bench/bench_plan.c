/* SPDX-License-Identifier: MIT */
/*
 * How long a plan takes: up to four classes for four routes, at several times
 * the recorded load, each with its shifted copies made anew. Prints wall and
 * processor time of each load, and what was planned, which is to be the same
 * whatever the number of threads.
 *
 *	bench_plan [REQUESTS [THREADS [LOAD...]]]
 */
#include "simulator/sim.h"
#include "tests/simulator/reference.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const struct kind {
	double share, need, spread, service_ns;
} kinds[] = {
	{0.6, 6000, 0.3, 20e6},
	{0.3, 40000, 0.5, 50e6},
	{0.09, 300000, 0.4, 60e6},
	{0.01, 1500000, 0.4, 120e6},
};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

static double now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void traffic_make(struct sim_columns *columns, size_t requests)
{
	const double offered = 20;
	double mean = 0, t = 0;
	for (size_t k = 0; k < KINDS; k++)
		mean += kinds[k].share * kinds[k].service_ns;
	struct random random = {1};
	for (size_t i = 0; i < requests; i++) {
		double pick = random_unit(&random);
		uint32_t k = 0;
		while (k + 1 < KINDS && pick >= kinds[k].share)
			pick -= kinds[k++].share;
		t += random_exponential(&random, mean / offered);
		columns->arrival_ns[i] = (int64_t)t;
		columns->service_ns[i] =
			(int64_t)random_exponential(&random, kinds[k].service_ns);
		columns->need_bytes[i] =
			(uint64_t)(kinds[k].need *
				   exp(kinds[k].spread * random_normal(&random)));
		columns->route[i] = k;
	}
	columns->trace.route_count = KINDS;
}

static int plan_one(const struct sim_trace *trace, double load, unsigned threads,
		    struct err *err)
{
	static struct plan base;
	limits_defaults(&base);
	base.queue = 0;
	struct sim_columns scaled = {0};
	double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	if (load != 1 && load_scale(trace, load, LOAD_SHIFT, &scaled, err) < 0)
		return -1;
	struct planner_ask ask = {.trace = load != 1 ? &scaled.trace : trace,
				  .base = &base,
				  .target = 1e-4,
				  .confidence = 0.95,
				  .classes = 4,
				  .threads = threads};
	struct planner_result result;
	if (planner_run(&ask, &result, err) < 0)
		return -1;
	wall = now(CLOCK_MONOTONIC) - wall;
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("load %-4g %9zu requests  %6.2f s wall  %6.2f s of processor  bound %" PRIu64
	       ", at most %.3g:",
	       load, ask.trace->count, wall, cpu, result.bound_bytes, result.rate.high);
	for (uint32_t k = 0; k < result.class_count; k++)
		printf(" %" PRIu32 " x %" PRIu64, result.class[k].count,
		       result.class[k].size_bytes);
	printf("\n");
	planner_release(&result);
	sim_columns_release(&scaled);
	return 0;
}

int main(int argc, char **argv)
{
	size_t requests = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
	unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
	static const double usual[] = {1, 1.25, 1.5};
	size_t loads = argc > 3 ? (size_t)argc - 3 : 3;
	struct sim_columns columns;
	struct err err = {0};
	if (requests == 0 || sim_columns_init(&columns, requests, &err) < 0) {
		fprintf(stderr, "usage: bench_plan [REQUESTS [THREADS [LOAD...]]] %s\n",
			err.text);
		return 2;
	}
	traffic_make(&columns, requests);
	double begin = now(CLOCK_MONOTONIC);
	for (size_t i = 0; i < loads; i++) {
		double load = argc > 3 ? strtod(argv[3 + i], NULL) : usual[i];
		if (plan_one(&columns.trace, load, threads, &err) < 0) {
			fprintf(stderr, "bench_plan: %s\n", err.text);
			return 3;
		}
	}
	printf("%zu loads, %u threads: %.2f s\n", loads, threads, now(CLOCK_MONOTONIC) - begin);
	sim_columns_release(&columns);
	return 0;
}
