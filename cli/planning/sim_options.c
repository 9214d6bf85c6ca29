/* SPDX-License-Identifier: MIT */
#include "cli/planning/sim_options.h"

#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

enum {
	KEY_QUEUE = 0x400, /* far from the commands' own */
	KEY_WAIT,
	KEY_LOAD,
	KEY_POLICY,
	KEY_CONFIDENCE,
	KEY_THREADS,
	KEY_HEADROOM,
	KEY_INFLATE,
	KEY_BURST,
	KEY_ALIGN,
	KEY_MAXIMAL, /* the last */
};

static const struct argp_option argp_options[] = {
	{"queue", KEY_QUEUE, "Q", 0, "requests that may wait for a bucket (default 0)", 0},
	{"wait", KEY_WAIT, "T", 0, "longest wait, with --queue (default 1s)", 0},
	{"load", KEY_LOAD, "X", 0, "X times the traffic, by shifted copies (default 1)", 0},
	{"policy", KEY_POLICY, "bump|reuse", 0, "the allocator (default reuse)", 0},
	{"align", KEY_ALIGN, "A", 0,
	 "every block aligned to A, 16 to 4096: plays the events again (default 16)", 0},
	{"headroom", KEY_HEADROOM, "SIZE", 0, "added to every need (default 0)", 0},
	{"inflate", KEY_INFLATE, "SPEC", 0,
	 "what if: route=PATTERN,service=X,need=X,share=P (factors; repeatable)", 0},
	{"burst", KEY_BURST, "N[@T]", 0, "what if: N more requests at one instant", 0},
	{"maximal", KEY_MAXIMAL, "P", 0,
	 "what if: a share P of requests is as greedy and as slow as the worst seen", 0},
	{"config", 'c', "FILE", 0, "start from this pail.conf instead of the defaults", 0},
	{"confidence", KEY_CONFIDENCE, "P", 0, "of the intervals (default 0.95)", 0},
	{"threads", KEY_THREADS, "N", 0, "threads (default: one per processor)", 0},
	{0},
};

void sim_options_init(struct sim_options *o)
{
	*o = (struct sim_options){
		.traffic = {.policy = ARENA_REUSE, .align = ARENA_ALIGN, .load = 1},
		.wait_ns = UINT64_C(1000000000),
		.threads = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN),
		.confidence = 0.95,
	};
}

struct err *sim_options_err(struct sim_options *o)
{
	static struct err later;
	return o->failed ? &later : &o->err;
}

void sim_options_keep(struct sim_options *o, int result)
{
	o->failed |= result < 0;
}

static int queue_parse(struct sim_options *o, const char *arg, struct err *err)
{
	o->queue_auto = strcmp(arg, "auto") == 0;
	if (o->queue_auto)
		return 0;
	if (cli_parse_count("--queue", arg, &o->queue, err) < 0)
		return -1;
	if (o->queue > SIM_QUEUE_MAX)
		return err_usage(err, "--queue: '%s' is not 0 to %d", arg, SIM_QUEUE_MAX);
	return 0;
}

static int policy_parse(struct sim_options *o, const char *arg, struct err *err)
{
	o->policy_given = true;
	if (arena_policy_parse(arg, &o->traffic.policy) < 0)
		return err_usage(err, "--policy: '%s' is neither bump nor reuse", arg);
	return 0;
}

static int align_parse(struct sim_options *o, const char *arg, struct err *err)
{
	uint64_t align;
	if (cli_parse_size("--align", arg, &align, err) < 0)
		return -1;
	if (align < ARENA_ALIGN || align > ARENA_ALIGN_BASE || (align & (align - 1)) != 0)
		return err_usage(err, "--align: '%s' is no power of two from %d to %d", arg,
				 ARENA_ALIGN, ARENA_ALIGN_BASE);
	o->traffic.align = (uint32_t)align;
	return 0;
}

static int option_take(struct sim_options *o, int key, char *arg, struct err *err)
{
	struct traffic_ask *traffic = &o->traffic;
	switch (key) {
	case 'c': o->config = arg; return 0;
	case KEY_QUEUE: return queue_parse(o, arg, err);
	case KEY_WAIT: return cli_parse_time("--wait", arg, &o->wait_ns, err);
	case KEY_LOAD: return cli_parse_double("--load", arg, 0.001, 1000, &traffic->load, err);
	case KEY_POLICY: return policy_parse(o, arg, err);
	case KEY_ALIGN: return align_parse(o, arg, err);
	case KEY_CONFIDENCE:
		o->confidence_given = true;
		return cli_parse_double("--confidence", arg, 0.5, 0.999999, &o->confidence,
					err);
	case KEY_THREADS: return cli_parse_count("--threads", arg, &o->threads, err);
	case KEY_INFLATE: return traffic_overlay_add(traffic, OVERLAY_INFLATE, arg, err);
	case KEY_BURST: return traffic_overlay_add(traffic, OVERLAY_BURST, arg, err);
	case KEY_MAXIMAL: return traffic_overlay_add(traffic, OVERLAY_MAXIMAL, arg, err);
	default: return cli_parse_size("--headroom", arg, &traffic->headroom_bytes, err);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct sim_options *o = state->input;
	if (key != 'c' && (key < KEY_QUEUE || key > KEY_MAXIMAL))
		return ARGP_ERR_UNKNOWN;
	sim_options_keep(o, option_take(o, key, arg, sim_options_err(o)));
	return 0;
}

const struct argp sim_options_argp = {argp_options, parse, NULL, NULL, NULL, NULL, NULL};
const struct argp_child sim_options_child[2] = {{&sim_options_argp, 0, NULL, 0}, {0}};
