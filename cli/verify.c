/* SPDX-License-Identifier: MIT */
/*
 * pail verify: the plan's promise, tried. The recorded requests run again in a
 * real server under the plan, at the recorded times, and what comes is held
 * against what the simulator said.
 */
#include "cli/cli.h"
#include "base/conf.h"
#include "base/units.h"
#include "cli/progress.h"
#include "cli/driving/rehearsal.h"
#include "cli/driving/verification.h"
#include "server/server.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	OPTION_SPEED = 256,
	OPTION_LIMIT,
	OPTION_FOR,
	OPTION_JSON,
	OPTION_CONFIDENCE,
	OPTION_URL,
	OPTION_APP,
	OPTION_SLACK,
};
enum { TIMEOUT_SECONDS_LEAST = 30 };

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0, "The plan, pail.conf", 0},
	{"speed", OPTION_SPEED, "X", 0, "Arrivals and services X times as fast (1)", 0},
	{"limit", OPTION_LIMIT, "N", 0, "Only the first N requests of the trace", 0},
	{"for", OPTION_FOR, "TIME", 0, "Only the requests of the first TIME of the trace", 0},
	{"app", OPTION_APP, "APP", 0,
	 "Run this handler instead of the recorded allocations, as pail serve does", 0},
	{"url", OPTION_URL, "URL", 0,
	 "Ask this server, which runs already under the plan: http://HOST:PORT", 0},
	{"confidence", OPTION_CONFIDENCE, "P", 0, "Of the intervals (0.95)", 0},
	{"slack", OPTION_SLACK, "TIME", 0,
	 "Waits and latencies count too, and may be this far outside of their intervals", 0},
	{"json", OPTION_JSON, NULL, 0,
	 "Print one JSON document (pail.verify/1) instead of a table", 0},
	{0},
};

static void check_words(const struct verify_ask *a, struct argp_state *state)
{
	if (a->trace == NULL)
		argp_error(state, "wants a trace");
	if (a->conf == NULL)
		argp_error(state, "wants a plan: -c pail.conf");
	if (a->url != NULL && a->app != NULL)
		argp_error(state, "--url and --app exclude each other");
	if (a->app_arguments > 0 && a->app == NULL)
		argp_error(state, "'%s' is one trace too many", a->app_argument[0]);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct verify_ask *a = state->input;
	struct err err = {0};
	int bad = 0;
	switch (key) {
	case 'c': a->conf = text; break;
	case OPTION_SPEED:
		bad = cli_parse_double("--speed", text, 0.001, 1000, &a->speed, &err);
		break;
	case OPTION_LIMIT: bad = cli_parse_count("--limit", text, &a->limit, &err); break;
	case OPTION_FOR: bad = cli_parse_time("--for", text, &a->for_ns, &err); break;
	case OPTION_SLACK:
		a->slack_given = true;
		bad = cli_parse_time("--slack", text, &a->slack_ns, &err);
		break;
	case OPTION_CONFIDENCE:
		bad = cli_parse_double("--confidence", text, 0.5, 0.999999, &a->confidence,
				       &err);
		break;
	case OPTION_URL: a->url = text; break;
	case OPTION_APP: a->app = text; break;
	case OPTION_JSON: a->json = true; break;
	case ARGP_KEY_ARG:
		if (a->trace == NULL)
			a->trace = text;
		else if (a->app_arguments < APP_ARGUMENTS_MAX)
			a->app_argument[a->app_arguments++] = text;
		else
			argp_error(state, "more than %d arguments for the handler",
				   APP_ARGUMENTS_MAX);
		break;
	case ARGP_KEY_END: check_words(a, state); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	if (bad)
		argp_error(state, "%s", err.text);
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "TRACE -c FILE [--app APP [-- ARG...]]",
	.doc = "Runs the recorded requests again in a server under the plan, and holds what "
	       "comes against what was predicted."
	       "\vExit: 0 within the intervals, 1 outside of them, 2 usage, 3 bad input or "
	       "environment.",
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
	const struct verify_ask *a = v->ask;
	v->replay = a->url == NULL && a->app == NULL;
	if (conf_read(a->conf, &v->plan, err) == -1 ||
	    trace_open(a->trace, &v->trace, err) == -1 ||
	    trace_columns_load(v->trace, v->plan.policy, &v->columns, err) == -1 ||
	    forecast_routes_init(&v->routes, &v->plan, v->columns.route, v->columns.route_count,
				 err) == -1)
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

/* The traffic that is to come: a replay sleeps at the speed asked for, a handler
 * takes the time that it takes. */
static int predict(struct verification *v, struct err *err)
{
	double speed = v->ask->speed;
	if (sim_columns_init(&v->traffic, v->count, err) == -1)
		return -1;
	for (size_t i = 0; i < v->count; i++) {
		int64_t at = v->columns.arrival_ns[i] - v->columns.arrival_ns[0];
		int64_t service = v->columns.service_ns[i];
		v->traffic.arrival_ns[i] = (int64_t)((double)at / speed);
		v->traffic.service_ns[i] =
			v->replay ? (int64_t)((double)service / speed) : service;
		v->traffic.need_bytes[i] = v->columns.need_bytes[i];
		v->traffic.route[i] = v->columns.route_index[i];
		v->traffic.origin[i] = (uint32_t)i;
	}
	if (sim_columns_sort(&v->traffic, v->count, err) == -1)
		return -1;
	return forecast_make(&v->traffic.trace, &v->plan, &v->routes, v->ask->confidence,
			     &v->predicted, err);
}

/* -- the run --------------------------------------------------------------- */

/* What the replay needs beyond the plan. Deadlines are for handlers that hang,
 * and a replay sleeps as long as it must; the file that it reads is mapped, and
 * so counts as image. The bound grows by that much. */
static int allow_replay(const char *replay, struct plan *plan, int64_t service_ns_max,
			struct err *err)
{
	struct stat stat_of_file;
	uint64_t enough = (uint64_t)service_ns_max * 2 + 10000000000u;
	if (plan->wall_deadline_ns != 0 && plan->wall_deadline_ns < enough)
		plan->wall_deadline_ns = enough;
	if (stat(replay, &stat_of_file) == -1)
		return err_errno(err, "cannot read '%s'", replay);
	uint64_t pages =
		((uint64_t)stat_of_file.st_size + LIMITS_PAGE_BYTES - 1) / LIMITS_PAGE_BYTES;
	plan->image_bytes += pages * LIMITS_PAGE_BYTES;
	return 0;
}

static int64_t service_max(const struct verification *v)
{
	int64_t most = 0;
	for (size_t i = 0; i < v->count; i++)
		if (v->traffic.service_ns[i] > most)
			most = v->traffic.service_ns[i];
	return most;
}

static int start_replay(struct verification *v, const char *program, struct plan *plan,
			struct err *err)
{
	char replay[512];
	struct rehearsal_options how = {
		.speed = v->ask->speed,
		.policy = v->plan.policy,
		.plan = &v->plan,
		.routes = &v->routes,
	};
	guest_path(&v->guest, "replay", replay, sizeof replay);
	rehearsal_plan(&v->plan, plan);
	if (rehearsal_make(v->trace, &v->columns, v->count, &how, replay, &v->load,
			   &v->without_events, err) == -1 ||
	    allow_replay(replay, plan, service_max(v), err) == -1)
		return -1;
	const char *const words[] = {"--replay", replay, NULL};
	return guest_start(&v->guest, program, plan, "builtin:replay", words, err);
}

static int start_server(struct verification *v, struct err *err)
{
	char program[4096];
	struct bound bound;
	if (v->ask->url != NULL)
		return rehearsal_targets(v->trace, &v->columns, v->count, v->ask->speed,
					 &v->load, err);
	struct plan *plan = malloc(sizeof *plan);
	if (plan == NULL)
		return err_set(err, "out of memory");
	*plan = v->plan;
	int result = cli_locate(SERVER_PROGRAM, program, sizeof program, err);
	if (result == 0)
		result = guest_prepare(&v->guest, err);
	if (result == 0 && v->ask->app == NULL)
		result = start_replay(v, program, plan, err);
	else if (result == 0)
		result = rehearsal_targets(v->trace, &v->columns, v->count, v->ask->speed,
					   &v->load, err);
	if (result == 0 && v->ask->app != NULL)
		result = guest_start(&v->guest, program, plan, v->ask->app,
				     v->ask->app_argument, err);
	limits_bound(plan, &bound);
	v->bound_bytes = bound.total_bytes;
	free(plan);
	return result;
}

static void show_progress(void *arg, size_t sent, int64_t now_ns)
{
	(void)now_ns;
	progress_at(arg, sent);
}

static int drive(struct verification *v, struct err *err)
{
	char url[64];
	struct openloop_server server;
	struct progress progress;
	struct openloop_options how = {
		.connections_max = v->plan.connections,
		.timeout_ns = (int64_t)v->plan.wait_ns + 2 * service_max(v) +
			      TIMEOUT_SECONDS_LEAST * INT64_C(1000000000),
		.stop = &stop,
		.progress = show_progress,
		.progress_arg = &progress,
	};
	snprintf(url, sizeof url, "http://127.0.0.1:%u", (unsigned)v->guest.port);
	v->result = calloc(v->count, sizeof *v->result);
	if (v->result == NULL)
		return err_set(err, "out of memory for %zu requests", v->count);
	if (openloop_resolve(v->ask->url != NULL ? v->ask->url : url, &server, NULL, err) == -1)
		return -1;
	progress_begin(&progress, v->ask->argv0, "requests sent", v->count);
	int result = openloop_run(&server, v->load.request, v->count, &how, v->result,
				  &v->stats, err);
	progress_end(&progress);
	if (result == 0 && v->stats.stopped)
		return err_set(err, "stopped before the end, so there is no verdict");
	if (v->ask->url == NULL) {
		v->peak_bytes = guest_peak_bytes(&v->guest);
		if (result == 0 && v->peak_bytes == 0)
			return err_set(err, "the server died under the load");
	}
	return result;
}

static void release(struct verification *v)
{
	guest_close(&v->guest);
	load_release(&v->load);
	if (v->columns.count > 0 || v->columns.route != NULL)
		trace_columns_release(&v->columns);
	if (v->trace != NULL)
		trace_close(v->trace);
	forecast_routes_release(&v->routes);
	forecast_release(&v->predicted);
	forecast_release(&v->again);
	sim_columns_release(&v->traffic);
	tally_release(&v->tally);
	free(v->latency_ns);
	free(v->wait_ns);
	free(v->overrun_ns);
	free(v->held_ns);
	free(v->result);
	free(v);
}

static int verify(struct verification *v, struct err *err)
{
	openloop_hurry();
	if (read_inputs(v, err) == -1 || predict(v, err) == -1 || start_server(v, err) == -1 ||
	    drive(v, err) == -1)
		return -1;
	/* Drained, so that its log is whole. */
	guest_stop(&v->guest);
	int result = verify_read_log(v, err);
	guest_close(&v->guest);
	return result == 0 ? verify_judge(v, err) : -1;
}

int cmd_verify(int argc, char **argv)
{
	struct verify_ask a = {.argv0 = argv[0], .speed = 1, .confidence = 0.95};
	cli_argp_parse(&argp, argc, argv, 0, &a);

	struct err err = {0};
	struct buf out;
	struct verification *v = calloc(1, sizeof *v);
	if (v == NULL) {
		err_set(&err, "out of memory");
		return cli_fail(a.argv0, &err);
	}
	v->ask = &a;
	struct sigaction action = {.sa_handler = stop_now};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	buf_init(&out);
	int result = verify(v, &err);
	if (result == 0 && a.json)
		verify_print_json(v, &out);
	else if (result == 0 && verify_print_table(v, &out) == -1)
		result = err_set(&err, "out of memory");
	int code = result == 0 ? cli_print(a.argv0, &out) : cli_fail(a.argv0, &err);
	if (code == EXIT_DONE && !v->inside)
		code = EXIT_NO;
	buf_release(&out);
	release(v);
	return code;
}
