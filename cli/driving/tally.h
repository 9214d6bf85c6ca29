/* SPDX-License-Identifier: MIT */
/*
 * What came of a load, counted: per label and for all. Quantiles are exact
 * (nearest rank over every sample, none binned). Latency is that of requests
 * that were served, status below 400, from the moment they were due: a refusal
 * that comes fast must not make a server look quick.
 */
#ifndef PAIL_CLI_TALLY_H
#define PAIL_CLI_TALLY_H

#include "base/json.h"
#include "cli/driving/openloop.h"

enum { TALLY_STATUS_MAX = 1000 };

struct tally {
	size_t requests;
	size_t outcome[OPENLOOP_OUTCOMES];
	size_t status[TALLY_STATUS_MAX];
	size_t served;       /* answered with a status below 400 */
	int64_t *latency_ns; /* of the served, ascending */
	size_t sent;
	int64_t *late_ns; /* how long after they were due requests went out, ascending */
};

/* Counts the results whose request has this label; UINT32_MAX means all. */
int tally_init(struct tally *tally, const struct load_request *requests,
	       const struct openloop_result *results, size_t count, uint32_t label,
	       struct err *err);
void tally_release(struct tally *tally);

/* The q-quantile of ascending values by nearest rank; 0 if there are none. */
int64_t tally_quantile(const int64_t *ascending, size_t count, double q);

/* The keys of a tally into an open object: requests, served, status{},
 * failed{}, latency_ns_p50, _p90, _p99, _p999, _max. */
void tally_json(const struct tally *tally, struct json *json);
/* "200: 5990, 503: 10, closed: 1" */
void tally_text(const struct tally *tally, struct buf *out);

#endif
