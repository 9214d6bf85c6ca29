/* SPDX-License-Identifier: MIT */
/* pail report: who needs what. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cli/groups.h"
#include "cli/pages/report_page.h"
#include "cli/pages/report_sites.h"
#include "libtrace/trace.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum key {
	KEY_BY = 256,
	KEY_SORT,
	KEY_LIMIT,
	KEY_JSON,
	KEY_CSV,
	KEY_POLICY,
	KEY_HTML,
	KEY_PLAN
};

static const char *const by_names[] = {"route", "status", "request", "confidence", "site"};
static const enum group_by by_values[] = {GROUP_ROUTE, GROUP_STATUS, GROUP_REQUEST,
					  GROUP_CONFIDENCE};

struct words {
	const char *trace, *sort, *html, *plan;
	size_t by;
	uint64_t limit;
	enum arena_policy policy;
	bool json, csv;
};

static const struct argp_option options[] = {
	{"by", KEY_BY, "route|status|request|confidence|site", 0,
	 "what a line stands for (route)", 0},
	{"sort", KEY_SORT, "COLUMN", 0, "a column of --json, greatest first (need_max)", 0},
	{"limit", KEY_LIMIT, "N", 0, "the first N lines", 0},
	{"policy", KEY_POLICY, "bump|reuse", 0, "the need under this policy of arena (reuse)",
	 0},
	{"json", KEY_JSON, NULL, 0, "one JSON document, pail.report/1", 0},
	{"csv", KEY_CSV, NULL, 0, "comma-separated values, with a header line", 0},
	{"html", KEY_HTML, "FILE", 0,
	 "write one page with plots, tables and a flame graph; it needs no network", 0},
	{"plan", KEY_PLAN, "FILE", 0, "with --html: draw in the buckets of this pail.conf", 0},
	{0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct words *w = state->input;
	struct err err = {0};
	switch (key) {
	case KEY_BY:
		for (w->by = 0; w->by < sizeof(by_names) / sizeof(*by_names); w->by++)
			if (strcmp(by_names[w->by], text) == 0)
				return 0;
		argp_error(state,
			   "--by is one of route, status, request, confidence, site, not '%s'",
			   text);
		break;
	case KEY_SORT: w->sort = text; break;
	case KEY_LIMIT:
		if (cli_parse_count("limit", text, &w->limit, &err) != 0)
			argp_error(state, "%s", err.text);
		break;
	case KEY_POLICY:
		if (arena_policy_parse(text, &w->policy) != 0)
			argp_error(state, "--policy is bump or reuse, not '%s'", text);
		break;
	case KEY_JSON: w->json = true; break;
	case KEY_CSV: w->csv = true; break;
	case KEY_HTML: w->html = text; break;
	case KEY_PLAN: w->plan = text; break;
	case ARGP_KEY_ARG:
		if (w->trace)
			argp_error(state, "'%s' is one trace too many", text);
		w->trace = text;
		break;
	case ARGP_KEY_END:
		if (!w->trace)
			argp_error(state, "wants a trace");
		if (w->json && w->csv)
			argp_error(state, "--json and --csv exclude each other");
		if (w->html && (w->json || w->csv))
			argp_error(state, "--html excludes --json and --csv");
		if (w->plan && !w->html)
			argp_error(state, "--plan is for --html");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"TRACE",
	"Says what the requests of a trace need, put into groups.\v"
	"Percentiles are by nearest rank. The need of a request is the least bucket in which all of"
	" it succeeds, headers included.",
	NULL,
	NULL,
	NULL};

struct report {
	const struct words *words;
	struct trace *trace;
	struct groups groups;
	size_t rows;
};

/* -- JSON ---------------------------------------------------------------- */

static void pair_i64(struct json *j, const char *key, int64_t value)
{
	json_key(j, key);
	json_i64(j, value);
}

static void write_json_row(struct json *j, const struct group *g)
{
	json_object_begin(j);
	json_pair_text(j, "key", g->key);
	pair_i64(j, "requests", g->requests);
	pair_i64(j, "need_p50", g->need_p50);
	pair_i64(j, "need_p90", g->need_p90);
	pair_i64(j, "need_p99", g->need_p99);
	pair_i64(j, "need_max", g->need_max);
	pair_i64(j, "requested_bytes", g->requested_bytes);
	pair_i64(j, "live_peak_max", g->live_peak_max);
	pair_i64(j, "allocations", g->allocations);
	pair_i64(j, "escapes", g->escapes);
	pair_i64(j, "escaped_bytes", g->escaped_bytes);
	pair_i64(j, "service_ns_p50", g->service_ns_p50);
	pair_i64(j, "service_ns_p99", g->service_ns_p99);
	pair_i64(j, "stack_peak_max", g->stack_peak_max);
	pair_i64(j, "cpu_ns_p50", g->cpu_ns_p50);
	pair_i64(j, "cpu_ns_p99", g->cpu_ns_p99);
	pair_i64(j, "incomplete", g->incomplete);
	json_key(j, "confidence");
	json_object_begin(j);
	pair_i64(j, "exact", g->confidence[TRACE_EXACT]);
	pair_i64(j, "inferred", g->confidence[TRACE_INFERRED]);
	pair_i64(j, "ambiguous", g->confidence[TRACE_AMBIGUOUS]);
	json_object_end(j);
	json_object_end(j);
}

static void write_json(struct report *r, struct buf *out)
{
	struct json j;
	json_init(&j, out);
	json_object_begin(&j);
	json_pair_text(&j, "schema", "pail.report/1");
	json_pair_text(&j, "by", by_names[r->words->by]);
	json_key(&j, "rows");
	json_array_begin(&j);
	for (size_t i = 0; i < r->rows; i++)
		write_json_row(&j, &r->groups.group[i]);
	json_array_end(&j);
	json_key(&j, "unattributed");
	json_object_begin(&j);
	pair_i64(&j, "allocations", trace_meta_int(r->trace, "unattributed_allocations", 0));
	pair_i64(&j, "bytes", trace_meta_int(r->trace, "unattributed_bytes", 0));
	json_object_end(&j);
	pair_i64(&j, "dropped_events", trace_meta_int(r->trace, "dropped_events", 0));
	pair_i64(&j, "lost_requests", trace_meta_int(r->trace, "lost_requests", 0));
	pair_i64(&j, "requests", r->groups.requests);
	pair_i64(&j, "groups", (int64_t)r->groups.count);
	json_pair_text(&j, "policy", arena_policy_name(r->words->policy));
	json_pair_bool(&j, "complete", trace_meta_int(r->trace, "complete", 1) != 0);
	json_object_end(&j);
}

/* -- CSV ----------------------------------------------------------------- */

static void write_csv_text(struct buf *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		buf_append_str(out, text);
		return;
	}
	buf_append_str(out, "\"");
	for (; *text; text++)
		buf_printf(out, *text == '"' ? "\"\"" : "%c", *text);
	buf_append_str(out, "\"");
}

static void write_csv(struct report *r, struct buf *out)
{
	buf_append_str(out, "key,requests,need_p50,need_p90,need_p99,need_max,requested_bytes,"
			    "live_peak_max,allocations,escapes,escaped_bytes,service_ns_p50,"
			    "service_ns_p99,stack_peak_max,cpu_ns_p50,cpu_ns_p99\n");
	for (size_t i = 0; i < r->rows; i++) {
		const struct group *g = &r->groups.group[i];
		write_csv_text(out, g->key);
		const int64_t value[] = {
			g->requests,       g->need_p50,       g->need_p90,
			g->need_p99,       g->need_max,       g->requested_bytes,
			g->live_peak_max,  g->allocations,    g->escapes,
			g->escaped_bytes,  g->service_ns_p50, g->service_ns_p99,
			g->stack_peak_max, g->cpu_ns_p50,     g->cpu_ns_p99};
		for (size_t v = 0; v < sizeof(value) / sizeof(*value); v++)
			buf_printf(out, ",%" PRId64, value[v]);
		buf_append_str(out, "\n");
	}
}

/* -- the table ----------------------------------------------------------- */

static void cell_size(struct table *table, int64_t bytes)
{
	char text[UNITS_TEXT_MAX];
	table_cell(table, "%s", units_format_size((uint64_t)bytes, text));
}

static void cell_time(struct table *table, int64_t ns)
{
	char text[UNITS_TEXT_MAX];
	table_cell(table, "%s", units_format_time((uint64_t)ns, text));
}

static void cell_cpu(struct table *table, int64_t ns)
{
	if (ns < 0)
		table_cell(table, "?");
	else
		cell_time(table, ns);
}

static void cell_confidence(struct table *table, const struct group *g)
{
	static const char *const name[] = {"exact", "inferred", "ambiguous"};
	int worst = g->confidence[2] > 0 ? 2 : g->confidence[1] > 0 ? 1 : 0;
	if (g->confidence[worst] == g->requests)
		table_cell(table, "%s", name[worst]);
	else
		table_cell(table, "%.0f%% %s",
			   100.0 * (double)g->confidence[worst] / (double)g->requests,
			   name[worst]);
}

static void write_notes(struct report *r, struct buf *out)
{
	char text[UNITS_TEXT_MAX];
	if (r->rows < r->groups.count)
		buf_printf(out, "%zu more (--limit)\n", r->groups.count - r->rows);
	int64_t loose = trace_meta_int(r->trace, "unattributed_allocations", 0);
	if (loose > 0)
		buf_printf(out, "of no request: %" PRId64 " allocations, %s\n", loose,
			   units_format_size(
				   (uint64_t)trace_meta_int(r->trace, "unattributed_bytes", 0),
				   text));
	int64_t blind = trace_meta_int(r->trace, "http2_connections", 0);
	if (blind > 0)
		buf_printf(out,
			   "HTTP/2: %" PRId64
			   " connections count as one request each (mark requests, or record"
			   " HTTP/1.1)\n",
			   blind);
	blind = trace_meta_int(r->trace, "tls_connections", 0);
	if (blind > 0)
		buf_printf(out,
			   "TLS: %" PRId64
			   " connections could not be looked into (use markers)\n",
			   blind);
	int64_t dropped = trace_meta_int(r->trace, "dropped_events", 0);
	if (dropped > 0)
		buf_printf(out, "dropped while recording: %" PRId64 " events\n", dropped);
	int64_t lost = trace_meta_int(r->trace, "lost_requests", 0);
	if (lost > 0)
		buf_printf(out, "could not be stored: %" PRId64 " requests\n", lost);
	else if (trace_meta_int(r->trace, "complete", 1) == 0)
		buf_append_str(out,
			       "the recorder did not get to its end: this is what it had\n");
}

/* What a terminal has no room for is left out, so that routes keep their names. */
enum { COLUMNS_FOR_TIMES = 100 };

static bool any_cpu(const struct report *r)
{
	for (size_t i = 0; i < r->groups.count; i++)
		if (r->groups.group[i].cpu_ns_p50 >= 0)
			return true;
	return false;
}

static void write_table(struct report *r, struct buf *out)
{
	int width = table_width_of(STDOUT_FILENO);
	bool times = width >= COLUMNS_FOR_TIMES, cpu = times && any_cpu(r);
	const char *heads[11] = {
		by_names[r->words->by], ">requests", ">need p50", ">p99", ">max", ">escapes"};
	size_t columns = 6;
	if (times) {
		heads[columns++] = ">time p50";
		heads[columns++] = ">p99";
	}
	if (cpu) {
		heads[columns++] = ">CPU p50";
		heads[columns++] = ">p99";
	}
	heads[columns++] = "confidence";
	struct table *table = table_new(columns, heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < r->rows; i++) {
		const struct group *g = &r->groups.group[i];
		table_cell(table, "%s", g->key);
		table_cell(table, "%" PRId64, g->requests);
		cell_size(table, g->need_p50);
		cell_size(table, g->need_p99);
		cell_size(table, g->need_max);
		table_cell(table, "%" PRId64, g->escapes);
		if (times) {
			cell_time(table, g->service_ns_p50);
			cell_time(table, g->service_ns_p99);
		}
		if (cpu) {
			cell_cpu(table, g->cpu_ns_p50);
			cell_cpu(table, g->cpu_ns_p99);
		}
		cell_confidence(table, g);
	}
	table_style_for(table, STDOUT_FILENO);
	table_write(table, out, width);
	table_free(table);
	if (!times)
		buf_printf(out, "times: in a terminal of %d columns, or --csv\n",
			   COLUMNS_FOR_TIMES);
	write_notes(r, out);
}

static int report(const char *argv0, const struct words *w, struct trace *trace)
{
	struct err err = {0};
	struct report r = {.words = w, .trace = trace};
	struct buf out;
	if (groups_load(&r.groups, trace, by_values[w->by], w->policy, &err) != 0) {
		groups_release(&r.groups);
		return cli_fail(argv0, &err);
	}
	if (groups_sort(&r.groups, w->sort) != 0) {
		groups_release(&r.groups);
		err_usage(&err, "--sort has no column '%s': %s", w->sort, groups_columns());
		return cli_fail(argv0, &err);
	}
	r.rows = w->limit < r.groups.count ? (size_t)w->limit : r.groups.count;
	buf_init(&out);
	if (w->json)
		write_json(&r, &out);
	else if (w->csv)
		write_csv(&r, &out);
	else
		write_table(&r, &out);
	int code = cli_print(argv0, &out);
	buf_release(&out);
	groups_release(&r.groups);
	return code;
}

int cmd_report(int argc, char **argv)
{
	struct words w = {.limit = UINT64_MAX, .policy = ARENA_REUSE};
	struct err err = {0};
	struct trace *trace;
	if (cli_argp_parse(&argp, argc, argv, 0, &w) != 0)
		return EXIT_USAGE;
	if (trace_open(w.trace, &trace, &err) != 0)
		return cli_fail(argv[0], &err);
	struct report_sites sites = {w.sort, w.limit, w.json, w.csv};
	if (!w.sort)
		w.sort = "need_max";
	struct report_page page = {argv[0], w.html, w.plan, w.policy};
	int code = w.html                                ? report_page(&page, trace)
		   : strcmp(by_names[w.by], "site") == 0 ? report_sites(argv[0], &sites, trace)
							 : report(argv[0], &w, trace);
	trace_close(trace);
	return code;
}
