/* SPDX-License-Identifier: MIT */
/*
 * pail drive: a plain open-loop load generator. Recording a server wants a load
 * that does not slow down with it; this is one.
 */
#include "cli/cli.h"
#include "base/file.h"
#include "base/table.h"
#include "base/units.h"
#include "cli/driving/load.h"
#include "cli/driving/openloop.h"
#include "cli/progress.h"
#include "cli/driving/tally.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OPTION_FOR = 256, OPTION_SEED, OPTION_RATE, OPTION_JSON, OPTION_CSV, OPTION_TIMEOUT };
enum { FILES_MAX = 16, CONNECTIONS_DEFAULT = 1000, CONNECTIONS_MAX = 60000 };

struct arguments {
	const char *argv0, *url, *csv;
	const char *file[FILES_MAX];
	size_t files;
	double rate;
	uint64_t for_ns, timeout_ns, seed, connections;
	bool json;
};

static volatile sig_atomic_t stop;

static void stop_now(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

static const struct argp_option options[] = {
	{"load", 'l', "FILE", 0,
	 "Streams of requests, one a line: RATE[xBATCH] LABEL METHOD TARGET [@BODY]; may be given more than once",
	 0},
	{"rate", OPTION_RATE, "N", 0, "Without --load: N requests a second of GET URL (100)",
	 0},
	{"for", OPTION_FOR, "TIME", 0, "How long requests arrive (10s)", 0},
	{"seed", OPTION_SEED, "N", 0,
	 "Seed of the arrivals (1): the same seed and load give the same requests at the same times",
	 0},
	{"connections", 'c', "N", 0,
	 "At most N connections; a request that finds none waits, and that counts (1000)", 0},
	{"timeout", OPTION_TIMEOUT, "TIME", 0,
	 "Give a request up this long after it was due (30s)", 0},
	{"csv", OPTION_CSV, "FILE", 0,
	 "Write one line per request: due, sent, done, label, outcome, status, bytes", 0},
	{"json", OPTION_JSON, NULL, 0,
	 "Print one JSON document (pail.drive/1) instead of a table", 0},
	{0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;
	struct err err = {0};
	int bad = 0;
	switch (key) {
	case 'l':
		if (a->files == FILES_MAX)
			argp_error(state, "more than %d load files", FILES_MAX);
		a->file[a->files++] = text;
		break;
	case 'c':
		bad = cli_parse_count("--connections", text, &a->connections, &err);
		if (!bad && (a->connections < 1 || a->connections > CONNECTIONS_MAX))
			argp_error(state, "--connections is not within 1 and %d",
				   CONNECTIONS_MAX);
		break;
	case OPTION_RATE:
		bad = cli_parse_double("--rate", text, 1e-3, 1e7, &a->rate, &err);
		break;
	case OPTION_FOR: bad = cli_parse_time("--for", text, &a->for_ns, &err); break;
	case OPTION_SEED: bad = cli_parse_count("--seed", text, &a->seed, &err); break;
	case OPTION_TIMEOUT:
		bad = cli_parse_time("--timeout", text, &a->timeout_ns, &err);
		if (!bad && a->timeout_ns == 0)
			argp_error(state, "--timeout is 0");
		break;
	case OPTION_CSV: a->csv = text; break;
	case OPTION_JSON: a->json = true; break;
	case ARGP_KEY_ARG:
		if (a->url != NULL)
			argp_error(state, "'%s' is one address too many", text);
		a->url = text;
		break;
	case ARGP_KEY_END:
		if (a->url == NULL)
			argp_error(state, "wants an address, http://HOST:PORT");
		if (a->files > 0 && a->rate > 0)
			argp_error(state, "--rate and --load exclude each other");
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
	.args_doc = "http://HOST:PORT[/PATH]",
	.doc = "Sends requests at the times at which they are due, whether or not earlier ones "
	       "were answered, and measures each from that time."
	       "\vEvery stream is a Poisson process. Latency is that of served requests "
	       "(status below 400). Exit: 0 done, 2 usage, 3 nothing could be sent.",
};

static void show_progress(void *arg, size_t sent, int64_t now_ns)
{
	(void)now_ns;
	progress_at(arg, sent);
}

/* Every socket is a descriptor; take what the hard limit gives. */
static void descriptors_raise(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int load_build(const struct arguments *a, struct str path, struct load *load,
		      struct err *err)
{
	char line[9000];
	if (a->files == 0) {
		snprintf(line, sizeof line, "%.17g all GET %.*s", a->rate > 0 ? a->rate : 100.0,
			 STR_ARG(path));
		if (load_add(load, line, ".", err) == -1)
			return -1;
	}
	for (size_t i = 0; i < a->files; i++)
		if (load_read(load, a->file[i], err) == -1)
			return -1;
	return load_schedule(load, (int64_t)a->for_ns, a->seed, err);
}

static int csv_write(const struct arguments *a, const struct load *load,
		     const struct openloop_result *results, struct err *err)
{
	struct buf out;
	buf_init(&out);
	buf_append_str(&out, "due_ns,sent_ns,done_ns,label,outcome,status,bytes\n");
	for (size_t i = 0; i < load->request_count; i++) {
		const struct openloop_result *r = &results[i];
		buf_printf(&out, "%lld,%lld,%lld,%s,%s,%u,%llu\n", (long long)r->due_ns,
			   (long long)r->sent_ns, (long long)r->done_ns,
			   load->label[load->request[i].label],
			   openloop_outcome_name((enum openloop_outcome)r->outcome), r->status,
			   (unsigned long long)r->bytes);
	}
	int result = out.failed ? err_set(err, "out of memory for '%s'", a->csv)
				: file_write_atomic(a->csv, out.bytes, out.length, 0644, err);
	buf_release(&out);
	return result;
}

static void json_write(const struct arguments *a, const struct load *load,
		       const struct openloop_stats *stats, const struct tally *all,
		       const struct tally *labels, struct buf *out)
{
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.drive/1");
	json_pair_text(&json, "url", a->url);
	json_pair_u64(&json, "seed", a->seed);
	json_pair_u64(&json, "for_ns", a->for_ns);
	json_pair_u64(&json, "took_ns", (uint64_t)stats->took_ns);
	json_pair_bool(&json, "stopped", stats->stopped);
	json_pair_u64(&json, "connections_peak", stats->connections_peak);
	json_pair_u64(&json, "connections_opened", stats->connections_opened);
	json_pair_u64(&json, "waited", stats->waited);
	json_pair_u64(&json, "resent", stats->resent);
	json_pair_u64(&json, "late_ns_p99",
		      (uint64_t)tally_quantile(all->late_ns, all->sent, 0.99));
	json_pair_u64(&json, "late_ns_max",
		      (uint64_t)tally_quantile(all->late_ns, all->sent, 1));
	json_key(&json, "all");
	json_object_begin(&json);
	tally_json(all, &json);
	json_object_end(&json);
	json_key(&json, "labels");
	json_array_begin(&json);
	for (size_t i = 0; i < load->label_count; i++) {
		json_object_begin(&json);
		json_pair_text(&json, "label", load->label[i]);
		tally_json(&labels[i], &json);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	buf_append_str(out, "\n");
}

static void table_row(struct table *table, const char *name, const struct tally *tally)
{
	static const double q[] = {0.5, 0.99, 0.999, 1};
	struct buf text;
	char time[UNITS_TEXT_MAX];
	buf_init(&text);
	tally_text(tally, &text);
	table_cell(table, "%s", name);
	table_cell(table, "%zu", tally->requests);
	for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
		int64_t ns = tally_quantile(tally->latency_ns, tally->served, q[i]);
		table_cell(table, "%s",
			   tally->served ? units_format_time((uint64_t)ns, time) : "-");
	}
	table_cell(table, "%s", buf_text(&text));
	buf_release(&text);
}

static int table_print(const struct load *load, const struct openloop_stats *stats,
		       const struct tally *all, const struct tally *labels, struct buf *out)
{
	static const char *const heads[] = {"label",  ">requests", ">p50",   ">p99",
					    ">p99.9", ">max",      "outcome"};
	char late[UNITS_TEXT_MAX], took[UNITS_TEXT_MAX];
	struct table *table = table_new(sizeof heads / sizeof *heads, heads);
	if (table == NULL)
		return -1;
	for (size_t i = 0; i < load->label_count; i++)
		table_row(table, load->label[i], &labels[i]);
	if (load->label_count > 1)
		table_row(table, "all", all);
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	buf_printf(
		out, "%s%zu requests in %s, up to %u connections, sent at most %s late\n",
		stats->stopped ? "stopped: " : "", all->sent,
		units_format_time((uint64_t)stats->took_ns, took), stats->connections_peak,
		units_format_time((uint64_t)tally_quantile(all->late_ns, all->sent, 1), late));
	if (stats->waited > 0)
		buf_printf(out, "%llu requests waited for a connection\n",
			   (unsigned long long)stats->waited);
	return 0;
}

static int show(const struct arguments *a, const struct load *load,
		const struct openloop_result *results, const struct openloop_stats *stats,
		struct err *err)
{
	struct tally all = {0}, *labels = calloc(load->label_count, sizeof *labels);
	int result = labels ? tally_init(&all, load->request, results, load->request_count,
					 UINT32_MAX, err)
			    : err_set(err, "out of memory");
	for (size_t i = 0; result == 0 && i < load->label_count; i++)
		result = tally_init(&labels[i], load->request, results, load->request_count,
				    (uint32_t)i, err);
	struct buf out;
	buf_init(&out);
	if (result == 0 && a->json)
		json_write(a, load, stats, &all, labels, &out);
	else if (result == 0 && table_print(load, stats, &all, labels, &out) == -1)
		result = err_set(err, "out of memory");
	int code = result == 0 ? cli_print(a->argv0, &out) : cli_fail(a->argv0, err);
	if (code == EXIT_DONE && all.outcome[OPENLOOP_ANSWERED] == 0 && all.requests > 0 &&
	    !stats->stopped) {
		err_set(err, "'%s' answered none of %zu requests: is a server listening there?",
			a->url, all.requests);
		code = cli_fail(a->argv0, err);
	}
	buf_release(&out);
	for (size_t i = 0; labels != NULL && i < load->label_count; i++)
		tally_release(&labels[i]);
	free(labels);
	tally_release(&all);
	return code;
}

int cmd_drive(int argc, char **argv)
{
	struct arguments a = {
		.argv0 = argv[0],
		.for_ns = 10000000000u,
		.timeout_ns = 30000000000u,
		.seed = 1,
		.connections = CONNECTIONS_DEFAULT,
	};
	argp_err_exit_status = EXIT_USAGE;
	cli_argp_parse(&argp, argc, argv, 0, &a);

	struct err err = {0};
	struct openloop_server server;
	struct str path;
	struct load load;
	load_init(&load);
	if (openloop_resolve(a.url, &server, &path, &err) == -1 ||
	    load_build(&a, path, &load, &err) == -1) {
		load_release(&load);
		return cli_fail(a.argv0, &err);
	}
	descriptors_raise();
	openloop_hurry();
	struct sigaction action = {.sa_handler = stop_now};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	struct progress progress;
	progress_begin(&progress, a.argv0, "requests sent", load.request_count);
	struct openloop_options run = {
		.connections_max = (uint32_t)a.connections,
		.timeout_ns = (int64_t)a.timeout_ns,
		.stop = &stop,
		.progress = show_progress,
		.progress_arg = &progress,
	};
	struct openloop_stats stats = {0};
	struct openloop_result *results = calloc(load.request_count + 1, sizeof *results);
	int result =
		results ? openloop_run(&server, load.request, load.request_count, &run, results,
				       &stats, &err)
			: err_set(&err, "out of memory for %zu requests", load.request_count);
	progress_end(&progress);
	if (result == 0 && a.csv != NULL)
		result = csv_write(&a, &load, results, &err);
	int code =
		result == 0 ? show(&a, &load, results, &stats, &err) : cli_fail(a.argv0, &err);
	free(results);
	load_release(&load);
	return code;
}
