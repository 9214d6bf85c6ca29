/* SPDX-License-Identifier: MIT */
/* pail simulate: the exact outcome of every candidate asked for. */
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/planning/sim_options.h"
#include "cli/planning/simulate_plan.h"
#include "cli/planning/stream.h"
#include "cli/planning/sweep.h"
#include "cli/planning/traffic.h"

#include "base/conf.h"
#include "simulator/sim.h"

#include <assert.h>
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_OVERSIZE = 0x200,
	KEY_BY_ROUTE,
	KEY_SHARD,
	KEY_STREAM,
	KEY_PLAN,
	KEY_OVERFLOW,
	KEY_PAGES,
	KEY_JSON,
	KEY_CSV,
};

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV };

struct options {
	struct sim_options sim; /* first: its parser is handed the same input */
	const char *sizes, *counts, *plan;
	bool early, overflow, by_route, stream;
	uint64_t page_bytes;
	struct shard shard;
	enum format format;
};

static const struct argp_option argp_options[] = {
	{"size", 's', "S,...", 0, "bucket sizes to try (default: from the needs)", 0},
	{"count", 'n', "N,...", 0, "bucket counts to try (default: from the overlap)", 0},
	{"oversize", KEY_OVERSIZE, "hold|early", 0,
	 "an oversize request holds its bucket to its end (default), or leaves early", 0},
	{"plan", KEY_PLAN, "FILE", 0,
	 "instead of a grid, the whole plan in this pail.conf: classes, routes, queue, retry",
	 0},
	{"overflow", KEY_OVERFLOW, NULL, 0,
	 "with --plan: a full class hands on to the next bigger one", 0},
	{"pages", KEY_PAGES, "SIZE", 0,
	 "with --plan: its bucket memory as one pool of pages, taken as requests grow", 0},
	{"shard", KEY_SHARD, "I/N", 0,
	 "only the I-th of N parts of the sweep, written as pail combine reads it", 0},
	{"stream", KEY_STREAM, NULL, 0,
	 "for traces larger than memory: the same numbers in bounded memory; needs --size "
	 "and --count",
	 0},
	{"by-route", KEY_BY_ROUTE, NULL, 0, "also the outcome of each route", 0},
	{"json", KEY_JSON, NULL, 0, "one JSON document", 0},
	{"csv", KEY_CSV, NULL, 0, "comma-separated values", 0},
	{0},
};

static int oversize_parse(struct options *o, const char *arg, struct err *err)
{
	o->early = strcmp(arg, "early") == 0;
	if (!o->early && strcmp(arg, "hold") != 0)
		return err_usage(err, "--oversize: '%s' is neither early nor hold", arg);
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	struct err *err = sim_options_err(&o->sim);
	int result = 0;
	switch (key) {
	case ARGP_KEY_INIT: state->child_inputs[0] = &o->sim; break;
	case 's': o->sizes = arg; break;
	case 'n': o->counts = arg; break;
	case KEY_OVERSIZE: result = oversize_parse(o, arg, err); break;
	case KEY_PLAN: o->plan = arg; break;
	case KEY_OVERFLOW: o->overflow = true; break;
	case KEY_PAGES: result = cli_parse_size("--pages", arg, &o->page_bytes, err); break;
	case KEY_SHARD: result = shard_parse(arg, &o->shard, err); break;
	case KEY_STREAM: o->stream = true; break;
	case KEY_BY_ROUTE: o->by_route = true; break;
	case KEY_JSON: o->format = FORMAT_JSON; break;
	case KEY_CSV: o->format = FORMAT_CSV; break;
	case ARGP_KEY_ARG:
		if (o->sim.traffic.path)
			argp_error(state, "'%s' is one trace too many", arg);
		o->sim.traffic.path = arg;
		break;
	case ARGP_KEY_NO_ARGS: argp_error(state, "name the trace to simulate"); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	sim_options_keep(&o->sim, result);
	return 0;
}

/* ---- what to ask ---------------------------------------------------------- */

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static size_t sort_distinct(uint64_t *values, size_t count)
{
	size_t kept = 0;
	qsort(values, count, sizeof(*values), by_u64);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || values[kept - 1] != values[i])
			values[kept++] = values[i];
	}
	return kept;
}

struct question {
	uint64_t *sizes;
	uint32_t *counts;
	size_t size_count, count_count;
};

static void question_release(struct question *q)
{
	free(q->sizes);
	free(q->counts);
}

/* Needs at quantiles that people ask for, in whole pages. */
static int default_sizes(const struct sim_trace *trace, struct question *q, struct err *err)
{
	static const double quantile[] = {0.5, 0.9, 0.99, 0.999, 1};
	enum { QUANTILES = sizeof(quantile) / sizeof(*quantile) };
	uint64_t *sorted = malloc(trace->count * sizeof(*sorted));
	q->sizes = calloc(QUANTILES, sizeof(*q->sizes));
	if (!sorted || !q->sizes) {
		free(sorted);
		return err_set(err, "no memory to sort %zu needs", trace->count);
	}
	memcpy(sorted, trace->need_bytes, trace->count * sizeof(*sorted));
	qsort(sorted, trace->count, sizeof(*sorted), by_u64);
	for (size_t i = 0; i < QUANTILES; i++) {
		uint64_t need = sorted[(size_t)(quantile[i] * (double)(trace->count - 1))];
		uint64_t pages = (need + LIMITS_PAGE_BYTES - 1) / LIMITS_PAGE_BYTES;
		q->sizes[i] = (pages ? pages : 1) * LIMITS_PAGE_BYTES;
	}
	free(sorted);
	q->size_count = sort_distinct(q->sizes, QUANTILES);
	return 0;
}

static int default_counts(const struct sim_trace *trace, uint64_t **counts, size_t *count,
			  struct err *err)
{
	uint32_t overlap;
	size_t at;
	if (grid_overlap(trace, &overlap, &at, err) < 0)
		return -1;
	enum { STEPS = 5 };
	*counts = calloc(STEPS, sizeof(**counts));
	if (!*counts)
		return err_set(err, "out of memory");
	for (uint64_t i = 0; i < STEPS; i++)
		(*counts)[i] = (overlap * (6 + i) + 9) / 10;
	*count = STEPS;
	return 0;
}

static int question_make(const struct options *o, const struct sim_trace *trace,
			 struct question *q, struct err *err)
{
	*q = (struct question){0};
	int result =
		o->sizes ? cli_parse_sizes("--size", o->sizes, &q->sizes, &q->size_count, err)
			 : default_sizes(trace, q, err);
	if (result < 0)
		return -1;
	q->size_count = sort_distinct(q->sizes, q->size_count);
	uint64_t *counts = NULL;
	result = o->counts
			 ? cli_parse_counts("--count", o->counts, &counts, &q->count_count, err)
			 : default_counts(trace, &counts, &q->count_count, err);
	if (result == 0) {
		q->count_count = sort_distinct(counts, q->count_count);
		q->counts = calloc(q->count_count, sizeof(*q->counts));
		if (!q->counts)
			result = err_set(err, "out of memory");
		for (size_t i = 0; result == 0 && i < q->count_count; i++) {
			if (counts[i] == 0 || counts[i] > GRID_COUNTS_MAX)
				result = err_usage(err, "--count: %" PRIu64 " is not 1 to %d",
						   counts[i], GRID_COUNTS_MAX);
			q->counts[i] = (uint32_t)counts[i];
		}
	}
	free(counts);
	/* A shard has every N-th count, so that each has some of the slow, low ones. */
	size_t kept = 0;
	for (size_t i = 0; result == 0 && o->shard.of && i < q->count_count; i++) {
		if (i % o->shard.of == o->shard.index - 1)
			q->counts[kept++] = q->counts[i];
	}
	if (o->shard.of)
		q->count_count = kept;
	for (size_t i = 0; result == 0 && i < q->size_count; i++) {
		if (q->sizes[i] == 0)
			result = err_usage(err, "--size: a bucket of 0 bytes holds nothing");
	}
	return result;
}

/* ---- what came out --------------------------------------------------------- */

struct result {
	struct sweep_candidate *candidate;
	size_t count, route_count;
};

static void result_release(struct result *result)
{
	for (size_t i = 0; i < result->count; i++)
		free(result->candidate[i].route);
	free(result->candidate);
}

static uint64_t bound_of(const struct plan *base, uint64_t size, uint32_t count,
			 const struct options *o)
{
	struct plan plan = *base;
	plan.class_count = 1;
	plan.route_count = 0;
	snprintf(plan.class[0].name, sizeof(plan.class[0].name), "main");
	plan.class[0].size_bytes = size;
	plan.class[0].count = count;
	plan.queue = (uint32_t)o->sim.queue;
	plan.wait_ns = o->sim.wait_ns;
	return limits_bound_bytes(&plan);
}

/* By slots of a grid, or by the waits that a queue kept. */
static int routes_fill(const struct sim_trace *trace, const uint32_t *slot,
		       const uint64_t *wait, struct sweep_candidate *c, struct err *err)
{
	c->route = calloc(trace->route_count ? trace->route_count : 1, sizeof(*c->route));
	if (!c->route)
		return err_set(err, "out of memory");
	for (size_t i = 0; i < trace->count; i++) {
		struct route_outcome *r = &c->route[trace->route ? trace->route[i] : 0];
		r->offered++;
		if (slot ? slot[i] > c->count : wait[i] == UINT64_MAX)
			r->rejected_503++;
		else if (trace->need_bytes[i] > c->size)
			r->rejected_500++;
	}
	return 0;
}

/* The candidates with a queue, once the grid has told how rejections cluster. */
static int queue_part(const struct options *o, const struct sim_trace *trace,
		      const struct grid_ask *grid_ask, const struct evidence *evidence,
		      const struct plan *base, struct result *result, struct err *err)
{
	size_t counts = grid_ask->count_count;
	struct queue_candidate *candidates = calloc(counts, sizeof(*candidates));
	if (!candidates)
		return err_set(err, "out of memory");
	for (size_t c = 0; c < counts; c++)
		candidates[c] = (struct queue_candidate){
			grid_ask->counts[c], (uint32_t)o->sim.queue, o->sim.wait_ns};
	struct queue_ask ask = {
		.candidates = candidates,
		.candidate_count = counts,
		.sizes = grid_ask->sizes,
		.size_count = grid_ask->size_count,
		.threads = (unsigned)o->sim.threads,
		.batches = GRID_BATCHES,
		.gap_ns = evidence->gap_ns,
		.keep_fates = o->by_route,
	};
	struct queue queue;
	int status = queue_run(trace, &ask, &queue, err);
	for (size_t s = 0; status == 0 && s < ask.size_count; s++) {
		for (size_t c = 0; status == 0 && c < counts; c++) {
			struct sweep_candidate *out = &result->candidate[result->count++];
			*out = (struct sweep_candidate){
				.size = ask.sizes[s],
				.count = candidates[c].count,
				.bound_bytes =
					bound_of(base, ask.sizes[s], candidates[c].count, o),
				.outcome = queue_at(&queue, c, s),
				.rate = queue_rate_of(&queue, &ask, evidence, c, s,
						      o->sim.confidence),
				.wait_ns_p99 = queue.outcome[c].wait_ns_p99,
			};
			if (o->by_route)
				status = routes_fill(trace, NULL, queue.outcome[c].wait_of, out,
						     err);
		}
	}
	if (status == 0)
		queue_release(&queue);
	free(candidates);
	return status;
}

static int grid_part(const struct options *o, const struct sim_trace *trace,
		     const struct grid_ask *ask, const struct grid *grid,
		     const struct evidence *evidence, const struct plan *base,
		     struct result *result, struct err *err)
{
	for (size_t s = 0; s < ask->size_count; s++) {
		for (size_t c = 0; c < ask->count_count; c++) {
			struct sweep_candidate *out = &result->candidate[result->count++];
			*out = (struct sweep_candidate){
				.size = ask->sizes[s],
				.count = ask->counts[c],
				.bound_bytes = bound_of(base, ask->sizes[s], ask->counts[c], o),
				.outcome = grid_at(grid, c, s),
				.rate = rate_of(grid, ask, evidence, c, s, o->sim.confidence),
			};
			if (o->by_route && routes_fill(trace, grid->slot, NULL, out, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* Sizes [first, first + n) against all counts. */
static int sizes_part(const struct options *o, const struct sim_trace *trace,
		      const struct question *q, size_t first, size_t n, const struct plan *base,
		      struct result *result, struct err *err)
{
	struct grid_ask ask = {
		.sizes = q->sizes + first,
		.size_count = n,
		.counts = q->counts,
		.count_count = q->count_count,
		.threads = (unsigned)o->sim.threads,
		.batches = GRID_BATCHES,
		.keep_slots = true,
		.early_size = o->early ? q->sizes[first] : 0,
	};
	struct grid grid;
	struct evidence evidence;
	if (grid_run(trace, &ask, &grid, err) < 0)
		return -1;
	int status = evidence_init(&evidence, trace, &grid, &ask, err);
	if (status == 0) {
		status = o->sim.queue ? queue_part(o, trace, &ask, &evidence, base, result, err)
				      : grid_part(o, trace, &ask, &grid, &evidence, base,
						  result, err);
		evidence_release(&evidence);
	}
	grid_release(&grid);
	return status;
}

static int simulate(const struct options *o, const struct sim_trace *trace,
		    const struct question *q, const struct plan *base, struct result *result,
		    struct err *err)
{
	if (q->count_count == 0) { /* more shards than counts */
		*result = (struct result){0};
		return 0;
	}
	*result = (struct result){.route_count = trace->route_count};
	result->candidate = calloc(q->size_count * q->count_count, sizeof(*result->candidate));
	if (!result->candidate)
		return err_set(err, "out of memory");
	if (o->early && o->sim.queue)
		return err_usage(err,
				 "--oversize early can't be had with --queue: where a request "
				 "leaves early, who waits for it depends on the size");
	if (!o->early)
		return sizes_part(o, trace, q, 0, q->size_count, base, result, err);
	for (size_t s = 0; s < q->size_count; s++) {
		if (sizes_part(o, trace, q, s, 1, base, result, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- how to tell it --------------------------------------------------------- */

static uint64_t hash_add(uint64_t hash, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) /* FNV-1a */
		hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* Of all that changes the numbers and is not told by itself: parts of different
 * questions must not be joined. */
static uint64_t question_hash(const struct options *o)
{
	const struct traffic_ask *traffic = &o->sim.traffic;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	hash = hash_add(hash, &traffic->headroom_bytes, sizeof(traffic->headroom_bytes));
	hash = hash_add(hash, &o->early, sizeof(o->early));
	for (size_t i = 0; i < traffic->overlay_count; i++) {
		const struct traffic_overlay *overlay = &traffic->overlay[i];
		hash = hash_add(hash, &overlay->kind, sizeof(overlay->kind));
		hash = hash_add(hash, overlay->text, strlen(overlay->text) + 1);
	}
	return hash;
}

static void sweep_make(const struct options *o, const struct traffic *traffic,
		       struct sweep *sweep)
{
	struct sim_load load = sim_trace_load(&traffic->view);
	*sweep = (struct sweep){
		.load = o->sim.traffic.load,
		.confidence = o->sim.confidence,
		.align = o->sim.traffic.align,
		.question = question_hash(o),
		.queue = o->sim.queue,
		.wait_ns = o->sim.queue ? o->sim.wait_ns : 0,
		.requests = traffic->columns.count,
		.span_ns = (uint64_t)traffic->columns.span_ns,
		.route_names = (const char *const *)traffic->columns.route,
		.route_count = o->by_route ? traffic->columns.route_count : 0,
		.view_requests = traffic->view.count,
		.view_span_ns = load.span_ns,
		.offered = load.offered,
	};
	snprintf(sweep->sha256, sizeof(sweep->sha256), "%s", traffic->columns.sha256);
	snprintf(sweep->policy, sizeof(sweep->policy), "%s",
		 arena_policy_name(o->sim.traffic.policy));
}

static void sweep_write(const struct options *o, const struct sweep *sweep,
			const struct result *result, struct buf *out)
{
	if (o->shard.of)
		part_write(sweep, &o->shard, result->candidate, result->count, out);
	else if (o->format == FORMAT_JSON)
		sweep_json(sweep, result->candidate, result->count, out);
	else if (o->format == FORMAT_CSV)
		sweep_csv(sweep, result->candidate, result->count, out);
	else
		sweep_table(sweep, result->candidate, result->count, out);
}

/* ---- in bounded memory ---------------------------------------------------------- */

static int stream_check(const struct options *o, struct err *err)
{
	if (!o->sizes || !o->counts)
		return err_usage(err, "--stream needs --size and --count: to choose them the "
				      "whole trace would have to be in memory");
	const char *without = NULL;
	if (o->sim.queue)
		without = "--queue";
	else if (o->sim.traffic.align != ARENA_ALIGN)
		without = "--align";
	else if (o->sim.traffic.load != 1)
		without = "--load";
	else if (o->sim.traffic.overlay_count)
		without = "--inflate, --burst and --maximal";
	else if (o->by_route)
		without = "--by-route";
	else if (o->shard.of)
		without = "--shard";
	else if (o->early)
		without = "--oversize early";
	else if (o->plan)
		without = "--plan";
	if (without)
		return err_usage(err,
				 "--stream can't do %s: that needs the whole trace in memory",
				 without);
	return 0;
}

static int answer_stream(const struct options *o, const struct plan *base, struct buf *out,
			 struct err *err)
{
	struct question q = {0};
	struct stream stream = {0};
	struct result result = {0};
	int status = stream_check(o, err);
	if (status == 0)
		status = question_make(o, NULL, &q, err);
	struct grid_ask ask = {.sizes = q.sizes,
			       .size_count = q.size_count,
			       .counts = q.counts,
			       .count_count = q.count_count,
			       .batches = GRID_BATCHES};
	if (status == 0)
		status = stream_run(&o->sim.traffic, &ask, &stream, err);
	if (status == 0) {
		assert(q.size_count > 0 && q.count_count > 0); /* stream_check() */
		result.candidate =
			calloc(q.size_count * q.count_count, sizeof(*result.candidate));
		status = result.candidate ? grid_part(o, NULL, &ask, &stream.grid,
						      &stream.evidence, base, &result, err)
					  : err_set(err, "out of memory");
	}
	struct sweep sweep = {
		.streamed = true,
		.align = ARENA_ALIGN,
		.load = 1,
		.confidence = o->sim.confidence,
		.requests = stream.requests,
		.span_ns = (uint64_t)stream.load.span_ns,
		.offered = stream.load.offered,
		.view_requests = stream.requests,
		.view_span_ns = stream.load.span_ns,
	};
	snprintf(sweep.policy, sizeof(sweep.policy), "%s",
		 arena_policy_name(o->sim.traffic.policy));
	if (status == 0)
		sweep_write(o, &sweep, &result, out);
	result_release(&result);
	stream_release(&stream);
	question_release(&q);
	return status;
}

static int base_plan(const struct options *o, struct plan *plan, struct err *err)
{
	if ((o->overflow || o->page_bytes) && !o->plan)
		return err_usage(err,
				 "--overflow and --pages are of a whole plan: give --plan");
	if (o->plan && (o->sizes || o->counts || o->sim.config || o->sim.queue))
		return err_usage(err, "--plan brings its own sizes, counts and queue");
	limits_defaults(plan);
	const char *path = o->plan ? o->plan : o->sim.config;
	return path ? conf_read(path, plan, err) : 0;
}

static int answer_plan(const struct options *o, const struct traffic *traffic,
		       const struct plan *plan, struct buf *out, struct err *err)
{
	struct simulate_plan ask = {
		.traffic = traffic,
		.plan = plan,
		.load = o->sim.traffic.load,
		.confidence = o->sim.confidence,
		.early = o->early,
		.overflow = o->overflow,
		.json = o->format == FORMAT_JSON,
		.page_bytes = o->page_bytes,
	};
	return simulate_plan(&ask, out, err);
}

static int answer(struct options *o, struct buf *out, struct err *err)
{
	struct plan *base = malloc(sizeof(*base));
	if (!base)
		return err_set(err, "out of memory");
	struct traffic traffic;
	struct question question = {0};
	struct result result = {0};
	int status = base_plan(o, base, err);
	if (status == 0 && !o->sim.policy_given)
		o->sim.traffic.policy = base->policy;
	if (status == 0 && o->stream) {
		status = answer_stream(o, base, out, err);
		free(base);
		return status;
	}
	if (status == 0)
		status = traffic_open(&o->sim.traffic, &traffic, err);
	if (status == 0 && o->plan) {
		status = answer_plan(o, &traffic, base, out, err);
		traffic_close(&traffic);
	} else if (status == 0) {
		status = question_make(o, &traffic.view, &question, err);
		if (status == 0)
			status = simulate(o, &traffic.view, &question, base, &result, err);
		struct sweep sweep;
		sweep_make(o, &traffic, &sweep);
		if (status == 0)
			sweep_write(o, &sweep, &result, out);
		result_release(&result);
		question_release(&question);
		traffic_close(&traffic);
	}
	free(base);
	return status;
}

int cmd_simulate(int argc, char **argv)
{
	static const struct argp argp = {
		argp_options,
		parse,
		"TRACE",
		"Tells exactly what buckets of given sizes and counts would have refused.",
		sim_options_child,
		NULL,
		NULL};
	struct options options = {0};
	sim_options_init(&options.sim);
	if (cli_argp_parse(&argp, argc, argv, 0, &options) != 0)
		return EXIT_USAGE;
	if (options.sim.queue_auto)
		sim_options_keep(&options.sim,
				 err_usage(sim_options_err(&options.sim),
					   "--queue: 'auto' is for pail plan; give a number"));
	if (options.sim.failed)
		return cli_fail(argv[0], &options.sim.err);
	struct err err = {0};
	struct buf out;
	buf_init(&out);
	struct progress progress;
	progress_watch(&progress, argv[0], "simulating");
	int told = answer(&options, &out, &err);
	progress_end(&progress);
	int code = told < 0 ? cli_fail(argv[0], &err) : cli_print(argv[0], &out);
	buf_release(&out);
	return code;
}
