/* SPDX-License-Identifier: MIT */
/* pail plan: the least memory that meets a target, why, and pail.conf. */
#include "cli/planning/certificate.h"
#include "cli/cli.h"
#include "cli/pages/plan_look.h"
#include "cli/planning/plan_text.h"
#include "cli/progress.h"
#include "cli/planning/sim_options.h"

#include "base/conf.h"
#include "base/file.h"
#include "base/units.h"
#include "simulator/sim.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_TARGET = 0x200,
	KEY_MAX_MEMORY,
	KEY_CLASSES,
	KEY_CONNECTIONS,
	KEY_PROVISIONAL,
	KEY_LEND_STACKS,
	KEY_CERTIFICATE,
	KEY_CHECK,
	KEY_HTML,
	KEY_PLOTS,
	KEY_TERM,
	KEY_JSON,
};

enum { QUEUE_AUTO = 256 }; /* the longest queue that a search tries */

struct options {
	struct sim_options sim; /* first: its parser is handed the same input */
	const char *output, *certificate, *check;
	double target;
	uint64_t memory_bytes, classes, connections;
	bool target_given, provisional, lend_stacks, json;
	struct plan_look look;
};

static const struct argp_option argp_options[] = {
	{"target", KEY_TARGET, "P", 0,
	 "highest share of rejections, at the upper end of its interval (default 1e-4)", 0},
	{"max-memory", KEY_MAX_MEMORY, "SIZE", 0,
	 "the bound may not be above this; without --target: the best service within it", 0},
	{"classes", KEY_CLASSES, "K", 0, "at most K sizes of buckets, by route (default 1)", 0},
	{"connections", KEY_CONNECTIONS, "N", 0, "connections of the server (default 1024)", 0},
	{"lend-stacks", KEY_LEND_STACKS, NULL, 0,
	 "choose [stack] for handlers that go deep on lent stacks (pail_on_big_stack)", 0},
	{"provisional", KEY_PROVISIONAL, NULL, 0,
	 "write the best plan even where the trace is too short to promise the target", 0},
	{"output", 'o', "FILE", 0, "write the plan as pail.conf", 0},
	{"certificate", KEY_CERTIFICATE, "FILE", 0,
	 "write the overlapping requests that prove a count minimal", 0},
	{"check", KEY_CHECK, "FILE", 0, "check such a certificate against the trace", 0},
	{"html", KEY_HTML, "FILE", 0,
	 "write one page with plots, reasons and the configuration", 0},
	{"plots", KEY_PLOTS, "DIR", 0, "write gnuplot scripts and their data into a folder", 0},
	{"term", KEY_TERM, NULL, 0, "draw the plots in the terminal", 0},
	{"json", KEY_JSON, NULL, 0, "one JSON document", 0},
	{0},
};

static int range_parse(const char *option, const char *arg, uint64_t most, uint64_t *value,
		       struct err *err)
{
	if (cli_parse_count(option, arg, value, err) < 0)
		return -1;
	if (*value < 1 || *value > most)
		return err_usage(err, "%s: '%s' is not 1 to %" PRIu64, option, arg, most);
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	struct err *err = sim_options_err(&o->sim);
	int result = 0;
	switch (key) {
	case ARGP_KEY_INIT: state->child_inputs[0] = &o->sim; break;
	case 'o': o->output = arg; break;
	case KEY_TARGET:
		o->target_given = true;
		result = cli_parse_double("--target", arg, 1e-9, 0.999, &o->target, err);
		break;
	case KEY_MAX_MEMORY:
		result = cli_parse_size("--max-memory", arg, &o->memory_bytes, err);
		break;
	case KEY_CLASSES:
		result = range_parse("--classes", arg, PLANNER_CLASSES_MAX, &o->classes, err);
		break;
	case KEY_CONNECTIONS:
		result = range_parse("--connections", arg, 1 << 24, &o->connections, err);
		break;
	case KEY_CERTIFICATE: o->certificate = arg; break;
	case KEY_CHECK: o->check = arg; break;
	case KEY_PROVISIONAL: o->provisional = true; break;
	case KEY_LEND_STACKS: o->lend_stacks = true; break;
	case KEY_HTML: o->look.html = arg; break;
	case KEY_PLOTS: o->look.folder = arg; break;
	case KEY_TERM: o->look.term = true; break;
	case KEY_JSON: o->json = true; break;
	case ARGP_KEY_ARG:
		if (o->sim.traffic.path)
			argp_error(state, "'%s' is one trace too many", arg);
		o->sim.traffic.path = arg;
		break;
	case ARGP_KEY_END:
		if (o->json && o->look.term)
			argp_error(state, "--json and --term exclude each other");
		break;
	case ARGP_KEY_NO_ARGS: argp_error(state, "name the trace to plan for"); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	sim_options_keep(&o->sim, result);
	return 0;
}

static int base_make(struct options *o, struct plan *base, struct err *err)
{
	limits_defaults(base);
	if (o->sim.config && conf_read(o->sim.config, base, err) < 0)
		return -1;
	if (o->sim.policy_given)
		base->policy = o->sim.traffic.policy;
	else
		o->sim.traffic.policy = base->policy;
	if (o->connections)
		base->connections = (uint32_t)o->connections;
	/* What is counted below is a system without a queue. */
	base->queue = 0;
	return 0;
}

/* Writes the file, unless the answer is no. */
static int config_write(const struct options *o, const struct plan_text *text, struct err *err)
{
	struct buf file;
	buf_init(&file);
	plan_text_config(text, &file);
	int status = file.failed
			     ? err_set(err, "out of memory")
			     : file_write_atomic(o->output, file.bytes, file.length, 0644, err);
	buf_release(&file);
	return status;
}

static int proof_write(const struct options *o, const struct plan_text *text, struct err *err)
{
	struct buf file;
	buf_init(&file);
	int status = certificate_write(text->traffic, text->result, text->plan, &file, err);
	if (status == 0 && file.failed)
		status = err_set(err, "out of memory");
	if (status == 0)
		status = file_write_atomic(o->certificate, file.bytes, file.length, 0644, err);
	buf_release(&file);
	return status;
}

/* The exit code, or -1 with err. */
static int check(const struct options *o, const struct traffic *traffic, struct buf *out,
		 struct err *err)
{
	int holds = certificate_check(traffic, o->check, out, err);
	return holds < 0 ? -1 : holds ? EXIT_DONE : EXIT_NO;
}

static int search(const struct options *o, const struct planner_ask *ask,
		  struct planner_result *result, struct err *err)
{
	struct progress progress;
	progress_watch(&progress, o->look.argv0, "searching for the least memory");
	int status = planner_run(ask, result, err);
	progress_end(&progress);
	return status;
}

/* Chooses [stack] for a plan without deep stacks of its own, and puts it into the base. */
static int lend(const struct options *o, struct traffic *traffic, struct planner_ask *ask,
		struct plan *base, struct plan *plan, struct stacks *stacks, struct err *err)
{
	const char *const *names = (const char *const *)traffic->columns.route;
	struct planner_result result;
	ask->stack_bytes = NULL;
	if (search(o, ask, &result, err) < 0)
		return -1;
	int status = 0;
	if (result.class_count > 0)
		status = planner_plan(ask, &result, names, plan, err);
	else
		*plan = *base; /* what is left then is said by the plan itself */
	planner_release(&result);
	if (status == 0)
		status = lending_choose(traffic, plan, o->sim.traffic.load, &stacks->lending,
					err);
	if (status < 0)
		return -1;
	if (status == 0)
		return err_set(
			err, "--lend-stacks: '%s' holds no stacks; record it with pail record",
			o->sim.traffic.path);
	stacks->lent = true;
	base->stack_bytes = stacks->lending.stack_bytes;
	base->big_stack_bytes = stacks->lending.big_stack_bytes;
	base->big_stack_count = stacks->lending.big_stack_count;
	return 0;
}

/* Returns the exit code, or -1 with err. */
static int answer(struct options *o, struct traffic *traffic, struct plan *base,
		  struct plan *plan, struct buf *out, struct err *err)
{
	struct stacks stacks;
	if (stacks_read(traffic, base->stack_bytes, &stacks, err) < 0)
		return -1;
	struct planner_ask ask = {
		.trace = &traffic->view,
		.base = base,
		.stack_bytes = stacks.by_route,
		.target = o->target,
		.confidence = o->sim.confidence,
		.memory_bytes = o->memory_bytes,
		.best_service = o->memory_bytes && !o->target_given,
		.classes = (unsigned)o->classes,
		.threads = (unsigned)o->sim.threads,
		.queue = o->sim.queue_auto ? QUEUE_AUTO : (uint32_t)o->sim.queue,
		.wait_ns = o->sim.wait_ns,
		.queue_search = o->sim.queue_auto,
	};
	struct planner_result result;
	int code = -1;
	if ((o->lend_stacks && lend(o, traffic, &ask, base, plan, &stacks, err) < 0) ||
	    search(o, &ask, &result, err) < 0) {
		stacks_release(&stacks);
		return -1;
	}
	const char *const *names = (const char *const *)traffic->columns.route;
	if (result.class_count == 0 || planner_plan(&ask, &result, names, plan, err) == 0) {
		struct plan_text text = {traffic,       &ask, &result,
					 &stacks,       plan, o->sim.traffic.load,
					 o->provisional};
		bool promised = result.verdict == PLANNER_MET ||
				(o->provisional && result.class_count > 0);
		code = promised ? EXIT_DONE : EXIT_NO;
		if (o->json)
			plan_text_json(&text, out);
		else
			plan_text_table(&text, promised ? o->output : NULL, out);
		if (promised && o->output && config_write(o, &text, err) < 0)
			code = -1;
		bool looked = o->look.html || o->look.folder || o->look.term;
		if (code >= 0 && looked && plan_look(&o->look, &text, out, err) < 0)
			code = -1;
		if (code == EXIT_DONE && o->certificate && proof_write(o, &text, err) < 0)
			code = -1;
	}
	planner_release(&result);
	stacks_release(&stacks);
	return code;
}

int cmd_plan(int argc, char **argv)
{
	static const struct argp argp = {
		argp_options,
		parse,
		"TRACE",
		"Chooses the least memory that meets a target, says why, and writes pail.conf.",
		sim_options_child,
		NULL,
		NULL};
	struct options options = {.target = 1e-4, .classes = 1, .look.argv0 = argv[0]};
	sim_options_init(&options.sim);
	if (cli_argp_parse(&argp, argc, argv, 0, &options) != 0)
		return EXIT_USAGE;
	if (options.sim.failed)
		return cli_fail(argv[0], &options.sim.err);
	struct err err = {0};
	struct traffic traffic = {0};
	struct buf out;
	buf_init(&out);
	struct plan *plans = calloc(2, sizeof(*plans));
	int code = -1;
	if (!plans)
		err_set(&err, "out of memory");
	else if (base_make(&options, &plans[0], &err) == 0 &&
		 traffic_open(&options.sim.traffic, &traffic, &err) == 0)
		code = options.check
			       ? check(&options, &traffic, &out, &err)
			       : answer(&options, &traffic, &plans[0], &plans[1], &out, &err);
	if (code < 0) {
		code = cli_fail(argv[0], &err);
	} else {
		int printed = cli_print(argv[0], &out);
		code = printed ? printed : code;
	}
	traffic_close(&traffic);
	free(plans);
	buf_release(&out);
	return code;
}
