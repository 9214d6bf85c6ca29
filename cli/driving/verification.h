/* SPDX-License-Identifier: MIT */
/*
 * One verification, from the files to the verdict: verify.c reads, predicts and
 * runs; verify_judge.c holds what came against what was said; verify_tell.c puts
 * it into words.
 */
#ifndef PAIL_CLI_VERIFICATION_H
#define PAIL_CLI_VERIFICATION_H

#include "base/limits.h"
#include "cli/driving/forecast.h"
#include "cli/driving/guest.h"
#include "cli/driving/load.h"
#include "cli/driving/openloop.h"
#include "cli/driving/tally.h"
#include "libtrace/trace.h"

enum { WHY_MAX = 12, WHY_BYTES = 256, APP_ARGUMENTS_MAX = 16 };

struct verify_ask {
	const char *argv0, *trace, *conf;
	const char *url; /* of a server that runs already; or NULL */
	const char *app; /* a handler to start instead of the replay; or NULL */
	const char *app_argument[APP_ARGUMENTS_MAX + 1]; /* ends with NULL */
	size_t app_arguments;
	double speed, confidence;
	uint64_t limit, for_ns, slack_ns;
	bool json, slack_given;
};

struct verification {
	const struct verify_ask *ask;
	struct plan plan;
	struct trace *trace;
	struct trace_columns columns;
	struct forecast_routes routes;
	size_t count; /* rows that are used */
	size_t without_events;
	bool replay; /* the server plays the recording, so services are as recorded */
	struct load load;
	struct guest guest;
	struct openloop_result *result;
	struct openloop_stats stats;
	struct tally tally;
	struct sim_columns traffic; /* as it is to come: arrivals at the speed asked for */
	struct forecast predicted;
	struct forecast again;            /* with the times as they really came */
	uint64_t peak_bytes, bound_bytes; /* bound: with the replay file; 0: not ours to see */
	/* Observed. Of the served, ascending: */
	int64_t *latency_ns, *wait_ns; /* from when they were due; for a bucket */
	size_t latencies, waits;       /* waits: 0 where the server's log is not ours */
	int64_t *overrun_ns;           /* longer than recorded by */
	size_t overruns;
	int64_t *held_ns; /* by row: how long its bucket was taken; -1: not known */
	size_t rejected_500, rejected_503, other, status_differs;
	double rate;
	char why[WHY_MAX][WHY_BYTES];
	size_t whys;
	bool late; /* arrivals so late that this was another load */
	bool rates_inside, times_inside, memory_inside, inside;
};

/* Reads the server's log in the guest's folder, before that is removed. */
int verify_read_log(struct verification *v, struct err *err);
/* Fills what is observed, and the verdict with its reasons. */
int verify_judge(struct verification *v, struct err *err);

int verify_print_table(const struct verification *v, struct buf *out);
void verify_print_json(const struct verification *v, struct buf *out);

#endif
