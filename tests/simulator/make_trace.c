/* SPDX-License-Identifier: MIT */
/*
 * Writes a trace of an invented service, for tests and benchmarks of the
 * commands: Poisson arrivals, exponential services, three routes with lognormal
 * needs, of which one is rare and hungry. The same seed gives the same trace.
 *
 *	make_trace OUT REQUESTS OFFERED SEED [HUNGRY_SHARE]
 *
 * OUT "-": as the CSV that pail import reads, on standard output.
 */
#include "libtrace/trace.h"
#include "tests/simulator/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kind {
	const char *method, *route;
	double need, spread, service_ns;
};

static const struct kind kinds[] = {
	{"GET", "GET /lookup", 6000, 0.3, 20e6},
	{"POST", "POST /sort", 40000, 0.5, 50e6},
	{"POST", "POST /upload", 1500000, 0.4, 120e6},
};

static double mean_service(double hungry)
{
	return (1 - hungry) * (0.7 * kinds[0].service_ns + 0.3 * kinds[1].service_ns) +
	       hungry * kinds[2].service_ns;
}

/* To `trace`, or without one as CSV. */
static int write_requests(struct trace *trace, size_t requests, double offered, uint64_t seed,
			  double hungry, struct err *err)
{
	struct random random = {seed * 2 + 1};
	for (int i = 0; i < 8; i++)
		random_next(&random);
	double gap = mean_service(hungry) / offered, t = 0;
	for (size_t i = 0; i < requests; i++) {
		t += random_exponential(&random, gap);
		double pick = random_unit(&random);
		const struct kind *kind = &kinds[pick < hungry         ? 2
						 : pick < hungry + 0.3 ? 1
								       : 0];
		double service = random_exponential(&random, kind->service_ns);
		double need = kind->need * exp(kind->spread * random_normal(&random));
		if (!trace) {
			printf("%lld,%lld,%lld,%s\n", (long long)t, (long long)service,
			       (long long)need, kind->route);
			continue;
		}
		struct trace_request request = {
			.process = 1,
			.connection = (int64_t)(i % 64) + 1,
			.sequence = (int64_t)(i / 64),
			.start_ns = (int64_t)t,
			.end_ns = (int64_t)(t + service),
			.cpu_ns = (int64_t)(service / 2),
			.method = str_of(kind->method),
			.target = str_of(kind->route + (kind->method[0] == 'G' ? 4 : 5)),
			.route = str_of(kind->route),
			.status = 200,
			.allocations = 10,
			.frees = 10,
			.requested_bytes = (int64_t)need,
			.need_bump_bytes = (int64_t)(need * 1.5),
			.need_reuse_bytes = (int64_t)need,
			.live_peak_bytes = (int64_t)(need * 0.9),
			.largest_bytes = (int64_t)(need * 0.5),
			.stack_peak_bytes = 6000 + (int64_t)random_below(&random, 9000) +
					    (random_below(&random, 200) == 0 ? 90000 : 0),
			.ended_by = STR("response"),
		};
		int64_t id;
		if (trace_put_request(trace, &request, NULL, 0, &id, err) < 0)
			return -1;
		if (i % 65536 == 65535 && trace_commit(trace, err) < 0)
			return -1;
	}
	return trace ? trace_commit(trace, err) : 0;
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc > 6) {
		fprintf(stderr, "usage: make_trace OUT REQUESTS OFFERED SEED [HUNGRY_SHARE]\n");
		return 2;
	}
	struct trace *trace = NULL;
	struct err err = {0};
	double hungry = argc > 5 ? strtod(argv[5], NULL) : 0.003;
	bool csv = strcmp(argv[1], "-") == 0;
	int result = 0;
	if (csv)
		puts("arrival_ns,service_ns,need_bytes,route");
	else
		result = trace_create(argv[1], &trace, &err);
	if (result == 0) {
		result = write_requests(trace, strtoull(argv[2], NULL, 10),
					strtod(argv[3], NULL), strtoull(argv[4], NULL, 10),
					hungry, &err);
		if (trace)
			trace_close(trace);
	}
	if (csv && (fflush(stdout) != 0 || ferror(stdout)))
		return 3;
	if (result < 0) {
		fprintf(stderr, "make_trace: %s\n", err.text);
		return 3;
	}
	return 0;
}
