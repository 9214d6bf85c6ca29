/* SPDX-License-Identifier: MIT */
/*
 * pail verify: the plan's promise, tried. The recorded requests run again in a
 * real server under the plan, at the recorded times, and what comes is held
 * against what the simulator said.
 */
#include "cli/cli.h"
#include "base/conf.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cli/forecast.h"
#include "cli/guest.h"
#include "cli/openloop.h"
#include "cli/rehearsal.h"
#include "cli/tally.h"
#include "libtrace/trace.h"
#include "server/server.h"

#include <argp.h>
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_SPEED = 256, OPTION_LIMIT, OPTION_FOR, OPTION_JSON, OPTION_CONFIDENCE };
enum { TIMEOUT_SECONDS_LEAST = 30, WHY_MAX = 8, WHY_BYTES = 256 };

struct arguments {
	const char *argv0, *trace, *conf;
	double speed, confidence;
	uint64_t limit, for_ns;
	bool json;
};

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0, "The plan, pail.conf", 0},
	{"speed", OPTION_SPEED, "X", 0, "Arrivals and services X times as fast (1)", 0},
	{"limit", OPTION_LIMIT, "N", 0, "Only the first N requests of the trace", 0},
	{"for", OPTION_FOR, "TIME", 0, "Only the requests of the first TIME of the trace", 0},
	{"confidence", OPTION_CONFIDENCE, "P", 0, "Of the interval (0.95)", 0},
	{"json", OPTION_JSON, NULL, 0,
	 "Print one JSON document (pail.verify/1) instead of a table", 0},
	{0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;
	struct err err = {0};
	int bad = 0;
	switch (key) {
	case 'c': a->conf = text; break;
	case OPTION_SPEED:
		bad = cli_parse_double("--speed", text, 0.001, 1000, &a->speed, &err);
		break;
	case OPTION_LIMIT: bad = cli_parse_count("--limit", text, &a->limit, &err); break;
	case OPTION_FOR: bad = cli_parse_time("--for", text, &a->for_ns, &err); break;
	case OPTION_CONFIDENCE:
		bad = cli_parse_double("--confidence", text, 0.5, 0.999999, &a->confidence,
				       &err);
		break;
	case OPTION_JSON: a->json = true; break;
	case ARGP_KEY_ARG:
		if (a->trace != NULL)
			argp_error(state, "'%s' is one trace too many", text);
		a->trace = text;
		break;
	case ARGP_KEY_END:
		if (a->trace == NULL)
			argp_error(state, "wants a trace");
		if (a->conf == NULL)
			argp_error(state, "wants a plan: -c pail.conf");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	if (bad)
		argp_error(state, "%s", err.text);
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "TRACE -c FILE",
	.doc = "Runs the recorded requests again in a server under the plan, and holds what "
	       "comes against what was predicted."
	       "\vExit: 0 within the interval, 1 outside of it, 2 usage, 3 bad input or "
	       "environment.",
};

/* One verification, from the files to the verdict. */
struct verification {
	const struct arguments *arguments;
	struct plan plan;
	struct trace *trace;
	struct trace_columns columns;
	size_t count; /* rows that are used */
	size_t without_events;
	struct load load;
	struct guest guest;
	struct openloop_result *result;
	struct openloop_stats stats;
	struct tally tally;
	struct forecast predicted;
	struct forecast again;            /* with the times as they really came */
	uint64_t peak_bytes, bound_bytes; /* bound: with the replay file */
	/* observed */
	size_t rejected_500, rejected_503, other;
	double rate;
	int64_t *overrun_ns; /* of the served: longer than recorded by, ascending */
	size_t overruns;
	char why[WHY_MAX][WHY_BYTES];
	size_t whys;
	bool late; /* arrivals so late that this was another load */
	bool inside;
};

static volatile sig_atomic_t stop;

static void stop_now(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

/* -- before ---------------------------------------------------------------- */

static int read_inputs(struct verification *v, struct err *err)
{
	const struct arguments *a = v->arguments;
	if (conf_read(a->conf, &v->plan, err) == -1 || forecast_possible(&v->plan, err) == -1 ||
	    trace_open(a->trace, &v->trace, err) == -1 ||
	    trace_columns_load(v->trace, v->plan.policy, &v->columns, err) == -1)
		return -1;
	v->count = v->columns.count;
	if (a->limit > 0 && v->count > a->limit)
		v->count = a->limit;
	while (a->for_ns > 0 && v->count > 0 &&
	       v->columns.arrival_ns[v->count - 1] - v->columns.arrival_ns[0] >=
		       (int64_t)a->for_ns)
		v->count--;
	if (v->count == 0)
		return err_set(err, "'%s' holds no request", a->trace);
	return 0;
}

static int predict(struct verification *v, struct err *err)
{
	struct sim_trace trace = {
		.count = v->count,
		.arrival_ns = v->columns.arrival_ns,
		.service_ns = v->columns.service_ns,
		.need_bytes = v->columns.need_bytes,
	};
	struct plan plan = v->plan;
	/* At twice the speed a wait of one second covers what two did. */
	plan.wait_ns = (uint64_t)((double)plan.wait_ns * v->arguments->speed);
	return forecast_make(&trace, &plan, v->arguments->confidence, &v->predicted, err);
}

/* -- the run --------------------------------------------------------------- */

struct progress {
	size_t total;
	int64_t span_ns;
};

static void show_progress(void *arg, size_t sent, int64_t now_ns)
{
	const struct progress *p = arg;
	double left = (double)(p->span_ns - now_ns) / 1e9;
	fprintf(stderr, "\rpail verify: %zu of %zu sent, %.0f/s, %.0f s left  ", sent, p->total,
		(double)sent * 1e9 / (double)now_ns, left > 0 ? left : 0);
}

/* What the replay needs beyond the plan. Deadlines are for handlers that hang,
 * and a replay sleeps as long as it must; the file that it reads is mapped, and
 * so counts as image. The bound grows by that much. */
static int allow_replay(struct verification *v, const char *replay, struct plan *plan,
			int64_t service_ns_max, struct err *err)
{
	struct stat stat_of_file;
	struct bound bound;
	uint64_t enough = (uint64_t)service_ns_max * 2 + 10000000000u;
	if (plan->wall_deadline_ns != 0 && plan->wall_deadline_ns < enough)
		plan->wall_deadline_ns = enough;
	if (stat(replay, &stat_of_file) == -1)
		return err_errno(err, "cannot read '%s'", replay);
	uint64_t pages =
		((uint64_t)stat_of_file.st_size + LIMITS_PAGE_BYTES - 1) / LIMITS_PAGE_BYTES;
	plan->image_bytes += pages * LIMITS_PAGE_BYTES;
	limits_bound(plan, &bound);
	v->bound_bytes = bound.total_bytes;
	return 0;
}

static int64_t service_max(const struct verification *v)
{
	int64_t most = 0;
	for (size_t i = 0; i < v->count; i++)
		if (v->columns.service_ns[i] > most)
			most = v->columns.service_ns[i];
	return (int64_t)((double)most / v->arguments->speed);
}

static int start_server(struct verification *v, struct err *err)
{
	char program[4096], replay[512];
	struct rehearsal_options how = {
		.speed = v->arguments->speed,
		.bucket_bytes = v->plan.class[0].size_bytes,
		.policy = v->plan.policy,
	};
	if (cli_locate(SERVER_PROGRAM, program, sizeof program, err) == -1 ||
	    guest_prepare(&v->guest, err) == -1)
		return -1;
	guest_path(&v->guest, "replay", replay, sizeof replay);
	if (rehearsal_make(v->trace, &v->columns, v->count, &how, replay, &v->load,
			   &v->without_events, err) == -1)
		return -1;
	struct plan plan = v->plan;
	if (allow_replay(v, replay, &plan, service_max(v), err) == -1)
		return -1;
	const char *const words[] = {"--replay", replay, NULL};
	return guest_start(&v->guest, program, &plan, "builtin:replay", words, err);
}

static int drive(struct verification *v, struct err *err)
{
	char url[64];
	struct openloop_server server;
	bool terminal = isatty(STDERR_FILENO) == 1;
	struct progress progress = {v->count, v->load.request[v->count - 1].at_ns};
	struct openloop_options how = {
		.connections_max = v->plan.connections,
		.timeout_ns = (int64_t)v->plan.wait_ns + 2 * service_max(v) +
			      TIMEOUT_SECONDS_LEAST * INT64_C(1000000000),
		.stop = &stop,
		.progress = terminal ? show_progress : NULL,
		.progress_arg = &progress,
	};
	snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)v->guest.port);
	v->result = calloc(v->count, sizeof *v->result);
	if (v->result == NULL)
		return err_set(err, "out of memory for %zu requests", v->count);
	if (openloop_resolve(url, &server, NULL, err) == -1)
		return -1;
	int result = openloop_run(&server, v->load.request, v->count, &how, v->result,
				  &v->stats, err);
	if (terminal)
		fputs("\r\033[K", stderr);
	if (result == 0 && v->stats.stopped)
		return err_set(err, "stopped before the end, so there is no verdict");
	v->peak_bytes = guest_peak_bytes(&v->guest);
	if (result == 0 && v->peak_bytes == 0)
		return err_set(err, "the server died under the load");
	return result;
}

/* -- after ----------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

static int observe(struct verification *v, struct err *err)
{
	if (tally_init(&v->tally, v->load.request, v->result, v->count, UINT32_MAX, err) == -1)
		return -1;
	v->overrun_ns = calloc(v->count, sizeof *v->overrun_ns);
	if (v->overrun_ns == NULL)
		return err_set(err, "out of memory for %zu requests", v->count);
	v->rejected_500 = v->tally.status[500];
	v->rejected_503 = v->tally.status[503];
	v->other = v->count - v->rejected_500 - v->rejected_503 - v->tally.status[200];
	v->rate = (double)(v->rejected_500 + v->rejected_503) / (double)v->count;
	for (size_t i = 0; i < v->count; i++) {
		const struct openloop_result *r = &v->result[i];
		if (r->outcome != OPENLOOP_ANSWERED || r->status != 200)
			continue;
		v->overrun_ns[v->overruns++] =
			r->done_ns - r->sent_ns -
			(int64_t)((double)v->columns.service_ns[i] / v->arguments->speed);
	}
	qsort(v->overrun_ns, v->overruns, sizeof *v->overrun_ns, ascending);
	return 0;
}

/* The same requests with the times as they were measured. If this tells what
 * was observed and the prediction does not, the times are the reason. */
static int predict_again(struct verification *v, struct err *err)
{
	struct sim_columns columns;
	if (sim_columns_init(&columns, v->count, err) == -1)
		return -1;
	for (size_t i = 0; i < v->count; i++) {
		const struct openloop_result *r = &v->result[i];
		bool held = r->outcome == OPENLOOP_ANSWERED && r->status != 503;
		columns.arrival_ns[i] = r->sent_ns >= 0 ? r->sent_ns : r->due_ns;
		columns.service_ns[i] = held ? r->done_ns - r->sent_ns
					     : (int64_t)((double)v->columns.service_ns[i] /
							 v->arguments->speed);
		columns.need_bytes[i] = v->columns.need_bytes[i];
		columns.route[i] = 0;
		columns.origin[i] = (uint32_t)i;
	}
	int result = sim_columns_sort(&columns, v->count, err);
	if (result == 0)
		result = forecast_make(&columns.trace, &v->plan, v->arguments->confidence,
				       &v->again, err);
	sim_columns_release(&columns);
	return result;
}

__attribute__((format(printf, 2, 3))) static void because(struct verification *v,
							  const char *format, ...)
{
	va_list args;
	if (v->whys == WHY_MAX)
		return;
	va_start(args, format);
	vsnprintf(v->why[v->whys++], WHY_BYTES, format, args);
	va_end(args);
}

static void explain_times(struct verification *v)
{
	char late[UNITS_TEXT_MAX], over[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
	int64_t late_p99 = tally_quantile(v->tally.late_ns, v->tally.sent, 0.99);
	int64_t over_p50 = tally_quantile(v->overrun_ns, v->overruns, 0.5);
	int64_t over_p99 = tally_quantile(v->overrun_ns, v->overruns, 0.99);
	const struct sim_trace trace = {
		.count = v->count,
		.arrival_ns = v->columns.arrival_ns,
		.service_ns = v->columns.service_ns,
		.need_bytes = v->columns.need_bytes,
	};
	struct sim_load load = sim_trace_load(&trace);
	double service = load.service_mean_ns / v->arguments->speed;
	v->late = (double)late_p99 > service;
	if ((double)late_p99 > service / 10)
		because(v, "arrivals went out late: 1 in 100 by more than %s",
			units_format_time((uint64_t)late_p99, late));
	if ((double)over_p50 > service / 20 || (double)over_p99 > service)
		because(v,
			"requests took longer than recorded: half by more than %s, 1 in 100 by "
			"more than %s",
			units_format_time(over_p50 > 0 ? (uint64_t)over_p50 : 0, over),
			units_format_time(over_p99 > 0 ? (uint64_t)over_p99 : 0, most));
}

static void judge(struct verification *v)
{
	const struct forecast *p = &v->predicted;
	double rejected = (double)(v->rejected_500 + v->rejected_503), n = (double)v->count;
	/* Rejections are whole: an expectation of 0.2 is met by none. */
	v->inside = rejected >= floor(p->rate_low * n) && rejected <= ceil(p->rate_high * n) &&
		    v->other == 0 && v->peak_bytes <= v->bound_bytes;
	if (v->other > 0) {
		struct buf text;
		buf_init(&text);
		tally_text(&v->tally, &text);
		because(v, "%zu requests got neither 200 nor 500 nor 503: %s", v->other,
			buf_text(&text));
		buf_release(&text);
	}
	if (v->stats.waited > 0)
		because(v,
			"%" PRIu64 " requests waited for one of the %u connections of the plan",
			v->stats.waited, v->plan.connections);
	if (v->peak_bytes > v->bound_bytes)
		because(v, "the server's peak is above its bound");
	if (v->rejected_500 != p->rejected_500 || v->rejected_503 != p->rejected_503) {
		explain_times(v);
		because(v,
			"with arrivals and services as they were measured the simulator says "
			"%" PRIu64 " x 500 and %" PRIu64 " x 503",
			v->again.rejected_500, v->again.rejected_503);
	}
	if (v->without_events > 0)
		because(v,
			"%zu requests have no events in the trace: each ran as one block of its "
			"need",
			v->without_events);
}

/* -- telling --------------------------------------------------------------- */

static void forecast_json(struct json *json, const char *key, const struct forecast *f)
{
	json_key(json, key);
	json_object_begin(json);
	json_pair_u64(json, "served", f->served);
	json_pair_u64(json, "rejected_500", f->rejected_500);
	json_pair_u64(json, "rejected_503", f->rejected_503);
	json_pair_double(json, "rejection_rate", f->rate);
	json_pair_double(json, "rate_low", f->rate_low);
	json_pair_double(json, "rate_high", f->rate_high);
	json_pair_double(json, "confidence", f->confidence);
	json_object_end(json);
}

static void json_i64_pair(struct json *json, const char *key, int64_t value)
{
	json_key(json, key);
	json_i64(json, value);
}

static void print_json(const struct verification *v, struct buf *out)
{
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.verify/1");
	json_key(&json, "trace");
	json_object_begin(&json);
	json_pair_u64(&json, "requests", v->count);
	json_pair_u64(&json, "without_events", v->without_events);
	json_pair_text(&json, "sha256", v->columns.sha256);
	json_object_end(&json);
	json_pair_double(&json, "speed", v->arguments->speed);
	json_pair_u64(&json, "size", v->plan.class[0].size_bytes);
	json_pair_u64(&json, "count", v->plan.class[0].count);
	json_pair_u64(&json, "queue", v->plan.queue);
	json_pair_u64(&json, "wait_ns", v->plan.wait_ns);
	forecast_json(&json, "predicted", &v->predicted);
	forecast_json(&json, "predicted_with_observed_times", &v->again);
	json_key(&json, "observed");
	json_object_begin(&json);
	tally_json(&v->tally, &json);
	json_pair_u64(&json, "rejected_500", v->rejected_500);
	json_pair_u64(&json, "rejected_503", v->rejected_503);
	json_pair_u64(&json, "other", v->other);
	json_pair_double(&json, "rejection_rate", v->rate);
	json_i64_pair(&json, "late_ns_p99",
		      tally_quantile(v->tally.late_ns, v->tally.sent, 0.99));
	json_i64_pair(&json, "overrun_ns_p50", tally_quantile(v->overrun_ns, v->overruns, 0.5));
	json_i64_pair(&json, "overrun_ns_p99",
		      tally_quantile(v->overrun_ns, v->overruns, 0.99));
	json_pair_u64(&json, "connections_peak", v->stats.connections_peak);
	json_pair_u64(&json, "peak_bytes", v->peak_bytes);
	json_object_end(&json);
	json_pair_u64(&json, "bound_bytes", v->bound_bytes);
	json_pair_bool(&json, "inside", v->inside);
	json_key(&json, "why");
	json_array_begin(&json);
	for (size_t i = 0; i < v->whys; i++)
		json_text(&json, v->why[i]);
	json_array_end(&json);
	json_object_end(&json);
	buf_append_str(out, "\n");
}

static void row(struct table *table, const char *name, uint64_t predicted, const char *interval,
		uint64_t observed)
{
	table_cell(table, "%s", name);
	table_cell(table, "%" PRIu64, predicted);
	table_cell(table, "%s", interval);
	table_cell(table, "%" PRIu64, observed);
}

static int print_table(const struct verification *v, struct buf *out)
{
	char head[32], interval[64], size[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX],
		over[2][UNITS_TEXT_MAX];
	const struct forecast *p = &v->predicted;
	snprintf(head, sizeof head, ">%.4g %% interval", p->confidence * 100);
	const char *heads[] = {"", ">predicted", head, ">observed"};
	struct table *table = table_new(sizeof heads / sizeof *heads, heads);
	if (table == NULL)
		return -1;
	buf_printf(out, "%zu requests, %u buckets of %s, queue %u, speed %g\n\n", v->count,
		   v->plan.class[0].count, units_format_size(v->plan.class[0].size_bytes, size),
		   v->plan.queue, v->arguments->speed);
	row(table, "served (200)", p->served, "", v->tally.status[200]);
	row(table, "oversize (500)", p->rejected_500, "", v->rejected_500);
	row(table, "busy (503)", p->rejected_503, "", v->rejected_503);
	snprintf(interval, sizeof interval, "%.3f .. %.3f %%", p->rate_low * 100,
		 p->rate_high * 100);
	table_cell(table, "rejected");
	table_cell(table, "%.3f %%", p->rate * 100);
	table_cell(table, "%s", interval);
	table_cell(table, "%.3f %%", v->rate * 100);
	table_cell(table, "peak memory");
	table_cell(table, "-");
	table_cell(table, "up to %s", units_format_size(v->bound_bytes, size));
	table_cell(table, "%s", units_format_size(v->peak_bytes, peak));
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	int64_t p50 = tally_quantile(v->overrun_ns, v->overruns, 0.5);
	int64_t p99 = tally_quantile(v->overrun_ns, v->overruns, 0.99);
	if (v->overruns > 0)
		buf_printf(
			out,
			"\nserved requests took longer than recorded by %s (p50), %s (p99)\n",
			units_format_time(p50 > 0 ? (uint64_t)p50 : 0, over[0]),
			units_format_time(p99 > 0 ? (uint64_t)p99 : 0, over[1]));
	for (size_t i = 0; i < v->whys; i++)
		buf_printf(out, "note: %s\n", v->why[i]);
	buf_printf(
		out, "%s\n",
		v->inside ? "within the predicted interval"
		: v->late
			? "NOT as predicted, and the load that came was not the recorded one: try "
			  "again on a machine with less to do, or with a lower --speed"
			: "NOT as predicted: see the notes above");
	return 0;
}

static void release(struct verification *v)
{
	guest_close(&v->guest);
	load_release(&v->load);
	if (v->columns.count > 0 || v->columns.route != NULL)
		trace_columns_release(&v->columns);
	if (v->trace != NULL)
		trace_close(v->trace);
	tally_release(&v->tally);
	free(v->overrun_ns);
	free(v->result);
	free(v);
}

int cmd_verify(int argc, char **argv)
{
	struct arguments a = {.argv0 = argv[0], .speed = 1, .confidence = 0.95};
	cli_argp_parse(&argp, argc, argv, 0, &a);

	struct err err = {0};
	struct buf out;
	struct verification *v = calloc(1, sizeof *v);
	if (v == NULL) {
		err_set(&err, "out of memory");
		return cli_fail(a.argv0, &err);
	}
	v->arguments = &a;
	struct sigaction action = {.sa_handler = stop_now};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	buf_init(&out);
	openloop_hurry();
	int result = read_inputs(v, &err);
	if (result == 0)
		result = predict(v, &err);
	if (result == 0)
		result = start_server(v, &err);
	if (result == 0)
		result = drive(v, &err);
	guest_close(&v->guest);
	if (result == 0)
		result = observe(v, &err);
	if (result == 0)
		result = predict_again(v, &err);
	if (result == 0) {
		judge(v);
		if (a.json)
			print_json(v, &out);
		else if (print_table(v, &out) == -1)
			result = err_set(&err, "out of memory");
	}
	int code = result == 0 ? cli_print(a.argv0, &out) : cli_fail(a.argv0, &err);
	if (code == EXIT_DONE && !v->inside)
		code = EXIT_NO;
	buf_release(&out);
	release(v);
	return code;
}
