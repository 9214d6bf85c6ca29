/* SPDX-License-Identifier: MIT */
#include "server/operation/metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 64 };

/* As docs/man/pail-serve.1 lists them, in its order. */
static const char *const causes[] = {
	"oversize",      "busy",           "busy-wait",   "per-address",   "escape",
	"segv",          "stack-overflow", "bus",         "fpe",           "ill",
	"trap",          "abort",          "assert",      "stack-smashed", "exit",
	"deadline-cpu",  "deadline-wall",  "bad-status",  "handler-error", "body-too-large",
	"bad-body",      "body-timeout",   "slow-body",   "head-timeout",  "bad-request",
	"write-timeout", "slow-reader",    "client-gone", "short-body",    "short-file",
	"other",
};
enum { CAUSE_COUNT = sizeof(causes) / sizeof(causes[0]), CAUSE_OTHER = CAUSE_COUNT - 1 };
static_assert(CAUSE_COUNT + 0 <= METRICS_CAUSES + 0, "causes");

const char *metrics_cause_name(uint32_t cause)
{
	return cause < CAUSE_COUNT ? causes[cause] : NULL;
}

static uint32_t cause_index(const char *cause)
{
	uint32_t i = 0;

	while (i < CAUSE_OTHER && strcmp(causes[i], cause) != 0)
		i++;
	return i;
}

/* -- bins ---------------------------------------------------------------------- */

uint64_t metrics_need_edge(uint32_t bin)
{
	return bin < METRICS_NEED_BINS - 1 ? UINT64_C(1024) << bin : 0;
}

uint64_t metrics_stack_edge(uint32_t bin)
{
	return bin < METRICS_STACK_BINS - 1 ? UINT64_C(4096) << bin : 0;
}

static const uint32_t time_edges_us[METRICS_TIME_BINS] = {
	100,    250,    500,    1000,    2500,    5000,    10000,    25000, 50000,
	100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 0};

uint64_t metrics_time_edge(uint32_t bin)
{
	return bin < METRICS_TIME_BINS ? time_edges_us[bin] * UINT64_C(1000) : 0;
}

/* The bin of sizes that double from `first`, a power of two. */
static uint32_t size_bin(uint64_t bytes, uint64_t first, uint32_t bins)
{
	if (bytes <= first)
		return 0;
	uint32_t bin = (uint32_t)(__builtin_clzll(first) - __builtin_clzll(bytes - 1)) + 1;
	return bin < bins ? bin : bins - 1;
}

static uint32_t time_bin(uint64_t ns)
{
	uint32_t bin = 0;

	while (bin < METRICS_TIME_BINS - 1 && ns > time_edges_us[bin] * UINT64_C(1000))
		bin++;
	return bin;
}

/* -- counting --------------------------------------------------------------------- */

struct metrics *metrics_new(const struct plan *plan)
{
	size_t bytes =
		sizeof(struct metrics) + metrics_routes(plan) * sizeof(struct metrics_route);

	/* Whole cache lines, so that no other worker's are in them. */
	bytes = (bytes + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1);
	struct metrics *metrics = aligned_alloc(LINE_BYTES, bytes);
	if (metrics)
		memset(metrics, 0, bytes);
	return metrics;
}

static void count_wait(struct metrics_class *class, bool queued, uint64_t wait_ns)
{
	metrics_add(&class->wait[time_bin(wait_ns)], 1);
	metrics_add(&class->waited, queued);
	metrics_add(&class->wait_ns_sum, wait_ns);
	metrics_rise(&class->wait_ns_max, wait_ns);
}

static void count_stack(struct metrics_class *class, uint64_t bytes)
{
	metrics_add(&class->stack[size_bin(bytes, 4096, METRICS_STACK_BINS)], 1);
	metrics_add(&class->stack_bytes_sum, bytes);
	metrics_rise(&class->stack_bytes_max, bytes);
}

static void count_status(struct metrics_route *route, int status, const char *cause)
{
	uint32_t hundreds = status >= 100 && status < 600 ? (uint32_t)status / 100 : 0;

	metrics_add(&route->status[hundreds], 1);
	if (cause)
		metrics_add(&route->cause[cause_index(cause)], 1);
}

void metrics_request(struct metrics *metrics, const struct plan *plan,
		     const struct metrics_request *request)
{
	uint32_t index = request->route >= 0 ? (uint32_t)request->route : metrics_other(plan);
	struct metrics_route *route = &metrics->route[index];
	struct metrics_class *class = &metrics->class[request->class_index];

	count_status(route, request->status, request->cause);
	metrics_add(&route->need[size_bin(request->need_bytes, 1024, METRICS_NEED_BINS)], 1);
	metrics_add(&route->need_bytes_sum, request->need_bytes);
	metrics_rise(&route->need_bytes_max, request->need_bytes);
	metrics_rise(&class->need_bytes_max, request->need_bytes);
	metrics_add(&route->service[time_bin(request->service_ns)], 1);
	metrics_add(&route->service_ns_sum, request->service_ns);
	if (request->stack_of_route)
		metrics_rise(&route->stack_bytes_max, request->stack_bytes);
	metrics_add(&route->bytes_in, request->bytes_in);
	metrics_add(&route->bytes_out, request->bytes_out);
	if (request->stack_bytes)
		count_stack(class, request->stack_bytes);
	count_wait(class, request->queued, request->wait_ns);
}

void metrics_refused(struct metrics *metrics, const struct plan *plan, uint32_t route,
		     int class_index, int status, const char *cause, bool queued,
		     uint64_t wait_ns)
{
	assert(route < metrics_routes(plan));
	count_status(&metrics->route[route], status, cause);
	if (class_index >= 0)
		count_wait(&metrics->class[class_index], queued, wait_ns);
}
