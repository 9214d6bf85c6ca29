/* SPDX-License-Identifier: MIT */
/* pail plan: the least memory that meets a target, why, and pail.conf. */
#include "cli/certificate.h"
#include "cli/cli.h"
#include "cli/plan_text.h"
#include "cli/traffic.h"

#include "base/conf.h"
#include "base/file.h"
#include "base/units.h"
#include "simulator/sim.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_TARGET = 0x200,
	KEY_CONFIDENCE,
	KEY_LOAD,
	KEY_MAX_MEMORY,
	KEY_CLASSES,
	KEY_POLICY,
	KEY_HEADROOM,
	KEY_INFLATE,
	KEY_BURST,
	KEY_MAXIMAL,
	KEY_CONNECTIONS,
	KEY_QUEUE,
	KEY_WAIT,
	KEY_PROVISIONAL,
	KEY_CERTIFICATE,
	KEY_CHECK,
	KEY_THREADS,
	KEY_JSON,
};

struct options {
	struct traffic_ask traffic;
	const char *config, *output, *certificate, *check;
	double target, confidence;
	uint64_t memory_bytes, classes, threads, connections, queue, wait_ns;
	bool policy_given, target_given, provisional, json;
	struct err err;
	bool failed;
};

static const struct argp_option argp_options[] = {
	{"target", KEY_TARGET, "P", 0, "highest share of rejections (default 1e-4)", 0},
	{"confidence", KEY_CONFIDENCE, "P", 0,
	 "of the interval whose upper end meets it (default 0.95)", 0},
	{"load", KEY_LOAD, "X", 0, "for X times the traffic, by shifted copies (default 1)", 0},
	{"max-memory", KEY_MAX_MEMORY, "SIZE", 0,
	 "the bound may not be above this; without --target: the best service within it", 0},
	{"classes", KEY_CLASSES, "K", 0, "at most K sizes of buckets, by route (default 1)", 0},
	{"policy", KEY_POLICY, "bump|reuse", 0, "the allocator (default reuse)", 0},
	{"headroom", KEY_HEADROOM, "SIZE", 0, "added to every need (default 0)", 0},
	{"queue", KEY_QUEUE, "Q", 0, "requests that may wait for a bucket (default 0)", 0},
	{"wait", KEY_WAIT, "T", 0, "longest wait, with --queue (default 1s)", 0},
	{"connections", KEY_CONNECTIONS, "N", 0, "connections of the server (default 1024)", 0},
	{"provisional", KEY_PROVISIONAL, NULL, 0,
	 "write the best plan even where the trace is too short to promise the target", 0},
	{"inflate", KEY_INFLATE, "SPEC", 0,
	 "what if: route=PATTERN,service=X,need=X,share=P (factors; repeatable)", 0},
	{"burst", KEY_BURST, "N[@T]", 0, "what if: N more requests at one instant", 0},
	{"maximal", KEY_MAXIMAL, "P", 0,
	 "what if: a share P of requests is as greedy and as slow as the worst seen", 0},
	{"config", 'c', "FILE", 0, "start from this pail.conf instead of the defaults", 0},
	{"output", 'o', "FILE", 0, "write the plan as pail.conf", 0},
	{"certificate", KEY_CERTIFICATE, "FILE", 0,
	 "write the overlapping requests that prove a count minimal", 0},
	{"check", KEY_CHECK, "FILE", 0, "check such a certificate against the trace", 0},
	{"threads", KEY_THREADS, "N", 0, "threads (default: one per processor)", 0},
	{"json", KEY_JSON, NULL, 0, "one JSON document", 0},
	{0},
};

static void keep(struct options *o, int result)
{
	o->failed |= result < 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	struct err scratch, *err = o->failed ? &scratch : &o->err;
	switch (key) {
	case 'c': o->config = arg; break;
	case 'o': o->output = arg; break;
	case KEY_TARGET:
		o->target_given = true;
		keep(o, cli_parse_double("--target", arg, 1e-9, 0.999, &o->target, err));
		break;
	case KEY_CONFIDENCE:
		keep(o,
		     cli_parse_double("--confidence", arg, 0.5, 0.999999, &o->confidence, err));
		break;
	case KEY_LOAD:
		keep(o, cli_parse_double("--load", arg, 0.001, 1000, &o->traffic.load, err));
		break;
	case KEY_MAX_MEMORY:
		keep(o, cli_parse_size("--max-memory", arg, &o->memory_bytes, err));
		break;
	case KEY_CLASSES:
		keep(o, cli_parse_count("--classes", arg, &o->classes, err));
		if (!o->failed && (o->classes < 1 || o->classes > PLANNER_CLASSES_MAX))
			keep(o, err_usage(err, "--classes: '%s' is not 1 to %d", arg,
					  PLANNER_CLASSES_MAX));
		break;
	case KEY_POLICY:
		o->policy_given = true;
		if (arena_policy_parse(arg, &o->traffic.policy) < 0)
			keep(o,
			     err_usage(err, "--policy: '%s' is neither bump nor reuse", arg));
		break;
	case KEY_INFLATE:
		keep(o, traffic_overlay_add(&o->traffic, OVERLAY_INFLATE, arg, err));
		break;
	case KEY_BURST:
		keep(o, traffic_overlay_add(&o->traffic, OVERLAY_BURST, arg, err));
		break;
	case KEY_MAXIMAL:
		keep(o, traffic_overlay_add(&o->traffic, OVERLAY_MAXIMAL, arg, err));
		break;
	case KEY_HEADROOM:
		keep(o, cli_parse_size("--headroom", arg, &o->traffic.headroom_bytes, err));
		break;
	case KEY_QUEUE:
		keep(o, cli_parse_count("--queue", arg, &o->queue, err));
		if (!o->failed && o->queue > 1 << 20)
			keep(o, err_usage(err, "--queue: '%s' is not 0 to %d", arg, 1 << 20));
		break;
	case KEY_WAIT: keep(o, cli_parse_time("--wait", arg, &o->wait_ns, err)); break;
	case KEY_CONNECTIONS:
		keep(o, cli_parse_count("--connections", arg, &o->connections, err));
		if (!o->failed && (o->connections == 0 || o->connections > 1 << 24))
			keep(o, err_usage(err, "--connections: '%s' is not 1 to %d", arg,
					  1 << 24));
		break;
	case KEY_CERTIFICATE: o->certificate = arg; break;
	case KEY_CHECK: o->check = arg; break;
	case KEY_PROVISIONAL: o->provisional = true; break;
	case KEY_THREADS: keep(o, cli_parse_count("--threads", arg, &o->threads, err)); break;
	case KEY_JSON: o->json = true; break;
	case ARGP_KEY_ARG:
		if (o->traffic.path)
			argp_error(state, "'%s' is one trace too many", arg);
		o->traffic.path = arg;
		break;
	case ARGP_KEY_NO_ARGS: argp_error(state, "name the trace to plan for"); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int base_make(struct options *o, struct plan *base, struct err *err)
{
	limits_defaults(base);
	if (o->config && conf_read(o->config, base, err) < 0)
		return -1;
	if (o->policy_given)
		base->policy = o->traffic.policy;
	else
		o->traffic.policy = base->policy;
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
		.confidence = o->confidence,
		.memory_bytes = o->memory_bytes,
		.best_service = o->memory_bytes && !o->target_given,
		.classes = (unsigned)o->classes,
		.threads = (unsigned)o->threads,
		.queue = (uint32_t)o->queue,
		.wait_ns = o->wait_ns,
	};
	struct planner_result result;
	int code = -1;
	if (planner_run(&ask, &result, err) < 0) {
		stacks_release(&stacks);
		return -1;
	}
	const char *const *names = (const char *const *)traffic->columns.route;
	if (result.class_count == 0 || planner_plan(&ask, &result, names, plan, err) == 0) {
		struct plan_text text = {traffic,         &ask,          &result, &stacks, plan,
					 o->traffic.load, o->provisional};
		bool promised = result.verdict == PLANNER_MET ||
				(o->provisional && result.class_count > 0);
		code = promised ? EXIT_DONE : EXIT_NO;
		if (o->json)
			plan_text_json(&text, out);
		else
			plan_text_table(&text, promised ? o->output : NULL, out);
		if (promised && o->output && config_write(o, &text, err) < 0)
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
		NULL,
		NULL,
		NULL};
	struct options options = {
		.traffic = {.policy = ARENA_REUSE, .load = 1},
		.target = 1e-4,
		.confidence = 0.95,
		.classes = 1,
		.wait_ns = UINT64_C(1000000000),
		.threads = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN),
	};
	if (cli_argp_parse(&argp, argc, argv, 0, &options) != 0)
		return EXIT_USAGE;
	if (options.failed)
		return cli_fail(argv[0], &options.err);
	struct err err = {0};
	struct traffic traffic = {0};
	struct buf out;
	buf_init(&out);
	struct plan *plans = calloc(2, sizeof(*plans));
	int code = -1;
	if (!plans)
		err_set(&err, "out of memory");
	else if (base_make(&options, &plans[0], &err) == 0 &&
		 traffic_open(&options.traffic, &traffic, &err) == 0)
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
