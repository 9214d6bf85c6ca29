/* SPDX-License-Identifier: MIT */
/* pail simulate --plan: one whole plan, with its classes, routes, queue and
 * retries, event by event. */
#ifndef PAIL_CLI_SIMULATE_PLAN_H
#define PAIL_CLI_SIMULATE_PLAN_H

#include "cli/planning/traffic.h"
#include "base/buf.h"

struct simulate_plan {
	const struct traffic *traffic;
	const struct plan *plan;
	double load, confidence;
	bool early, overflow, json;
	uint64_t page_bytes; /* not 0: the same memory as one pool of pages */
};

int simulate_plan(const struct simulate_plan *ask, struct buf *out, struct err *err);

#endif
