/* SPDX-License-Identifier: MIT */
/*
 * The options that `pail simulate` and `pail plan` share: which traffic, under
 * which allocator, how much of it, how long may be waited, how sure, how many threads.
 * A command puts struct sim_options first in its own options and sim_options_argp
 * among its argp children (cli_argp_parse() hands the child the same input).
 */
#ifndef PAIL_CLI_SIM_OPTIONS_H
#define PAIL_CLI_SIM_OPTIONS_H

#include "cli/planning/traffic.h"
#include "base/err.h"

#include <argp.h>

struct sim_options {
	struct traffic_ask traffic;
	const char *config;
	uint64_t queue, wait_ns, threads;
	double confidence;
	bool policy_given, confidence_given;
	bool queue_auto; /* --queue auto: only of a command that looks at it */
	struct err err;  /* the first mistake */
	bool failed;
};

enum { SIM_QUEUE_MAX = 1 << 20 };

extern const struct argp sim_options_argp;
/* One element and the end, for struct argp.children. */
extern const struct argp_child sim_options_child[2];

/* One trace, all threads, 95 %, nobody waits. */
void sim_options_init(struct sim_options *o);
/* Where the next mistake is written: only the first is told. */
struct err *sim_options_err(struct sim_options *o);
void sim_options_keep(struct sim_options *o, int result);

#endif
