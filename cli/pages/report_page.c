/* SPDX-License-Identifier: MIT */
#include "cli/pages/report_page.h"

#include "base/conf.h"
#include "base/file.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/pages/flame.h"
#include "cli/groups.h"
#include "cli/pages/page.h"
#include "cli/places.h"
#include "cli/pages/report_plots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS_MAX = 500 /* in their table: those with the greatest need */ };

enum {
	PART_NEEDS,
	PART_TIME,
	PART_ROUTES,
	PART_ARENA,
	PART_SITES,
	PART_FLAME,
	PART_REQUESTS,
	PARTS
};

static const struct page_part part[PARTS] = {
	{"needs", "Needs"},       {"time", "Over time"}, {"routes", "Routes"},
	{"arena", "Escapes"},     {"sites", "Sites"},    {"flame", "Flame graph"},
	{"requests", "Requests"},
};

struct look {
	const struct report_page *ask;
	struct trace *trace;
	struct trace_columns columns;
	int64_t *live_bytes;
	struct groups routes, requests;
	struct places places;
	struct plan *plan; /* NULL: none */
	bool plots;
};

/* ---- reading --------------------------------------------------------------- */

static int read_live(struct look *l, struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	size_t i = 0;
	int got;
	l->live_bytes = calloc(l->columns.count + 1, sizeof(*l->live_bytes));
	if (!l->live_bytes)
		return err_set(err, "out of memory for %zu requests", l->columns.count);
	if (trace_requests(l->trace, &cursor, err) != 0)
		return -1;
	/* Both are in order of (start_ns, id); a recorder may have added rows since. */
	while ((got = trace_next(cursor, &r, err)) == 1)
		if (i < l->columns.count && l->columns.id[i] == r.id)
			l->live_bytes[i++] = r.live_peak_bytes;
	trace_cursor_close(cursor);
	return got;
}

static int read_all(struct look *l, struct err *err)
{
	const struct report_page *ask = l->ask;
	if (ask->config) {
		l->plan = malloc(sizeof(*l->plan));
		if (!l->plan)
			return err_set(err, "out of memory");
		if (conf_read(ask->config, l->plan, err) != 0)
			return -1;
	}
	if (trace_columns_load(l->trace, ask->policy, &l->columns, err) != 0 ||
	    read_live(l, err) != 0 ||
	    groups_load(&l->routes, l->trace, GROUP_ROUTE, ask->policy, err) != 0 ||
	    groups_load(&l->requests, l->trace, GROUP_REQUEST, ask->policy, err) != 0 ||
	    places_load(&l->places, l->trace, err) != 0)
		return -1;
	groups_sort(&l->routes, "need_max");
	groups_sort(&l->requests, "need_max");
	places_sort(&l->places, "requested_bytes");
	return 0;
}

static void release(struct look *l)
{
	groups_release(&l->routes);
	groups_release(&l->requests);
	places_release(&l->places);
	trace_columns_release(&l->columns);
	free(l->live_bytes);
	free(l->plan);
}

/* ---- plots -------------------------------------------------------------------- */

/* Draws what was put into the plot, and forgets it. */
static int put_plot(struct buf *out, struct plot *plot, const char *alt, const char *caption,
		    struct err *err)
{
	struct buf svg;
	buf_init(&svg);
	int result = plot_svg(plot, &svg, err);
	if (result == 0)
		page_figure(out, plot->name, alt, caption, (struct str){svg.bytes, svg.length});
	buf_release(&svg);
	return result;
}

static int put_needs(struct look *l, const struct report_series *series, struct buf *out,
		     struct err *err)
{
	struct plot plot;
	struct buf note;
	plot_init(&plot, "plot-needs");
	buf_init(&note);
	buf_printf(&note,
		   "The share of a route's requests that need so much or more, both axes "
		   "logarithmic.%s ",
		   l->plan ? " The dashed lines are the sizes of the plan's buckets: what lies "
			     "to the right of its line would be a 500."
			   : "");
	int result = report_plot_needs(series, &plot, &note, err);
	if (result == 0)
		result =
			put_plot(out, &plot,
				 "Share of requests that need so many bytes or more, by route, "
				 "on logarithmic axes; the table of routes has the same as "
				 "percentiles",
				 buf_text(&note), err);
	buf_release(&note);
	plot_release(&plot);
	return result;
}

static int put_times(const struct report_series *series, struct buf *out, struct err *err)
{
	static const struct {
		const char *name, *alt, *caption;
		int (*fill)(const struct report_series *series, struct plot *plot,
			    struct err *err);
	} figure[] = {
		{"plot-occupancy", "Requests under way at one time, over the recording",
		 "Occupancy: how many requests were under way, the most in each slice of time.",
		 report_plot_occupancy},
		{"plot-need-time", "Median and greatest need of requests over the recording",
		 "Need, by the time at which requests came.", report_plot_need_time},
		{"plot-live", "Live bytes of requests under way, over the recording",
		 "Live bytes: the sum of what the requests under way held at their own peaks, "
		 "so at least what was alive at any moment.",
		 report_plot_live},
	};
	buf_append_str(out, "<div class=\"pair\">\n");
	int result = 0;
	for (size_t i = 0; result == 0 && i < sizeof(figure) / sizeof(*figure); i++) {
		struct plot plot;
		plot_init(&plot, figure[i].name);
		plot.width = 620;
		plot.height = 360;
		result = figure[i].fill(series, &plot, err);
		if (result == 0)
			result = put_plot(out, &plot, figure[i].alt, figure[i].caption, err);
		plot_release(&plot);
	}
	buf_append_str(out, "</div>\n");
	return result;
}

static int put_places_plot(struct look *l, struct buf *out, struct err *err)
{
	struct plot plot;
	plot_init(&plot, "plot-sites");
	report_plot_places(&l->places, &plot);
	int result = put_plot(out, &plot, "The sites that ask for most bytes, as bars",
			      "The sites that ask for most; the table has all.", err);
	plot_release(&plot);
	return result;
}

/* ---- tables ---------------------------------------------------------------------- */

static void put_routes(struct look *l, struct buf *out)
{
	static const char *const heads[] = {"Route",        ">Requests", ">Need p50",
					    ">Need p90",    ">Need p99", ">Need max",
					    ">Requested",   ">Escapes",  ">Service p50",
					    ">Service p99", ">Stack",    ">Not sure (share)"};
	struct page_table t;
	page_table_begin(&t, out, "table-routes", "Routes", heads,
			 sizeof(heads) / sizeof(*heads), 5);
	for (size_t i = 0; i < l->routes.count; i++) {
		const struct group *g = &l->routes.group[i];
		char text[32];
		double unsure = (double)(g->confidence[TRACE_INFERRED] +
					 g->confidence[TRACE_AMBIGUOUS]) /
				(double)g->requests;
		page_cell_cstr(&t, g->key[0] ? g->key : "(no route)");
		page_cell_count(&t, g->requests);
		page_cell_size(&t, g->need_p50);
		page_cell_size(&t, g->need_p90);
		page_cell_size(&t, g->need_p99);
		page_cell_size(&t, g->need_max);
		page_cell_size(&t, g->requested_bytes);
		page_cell_count(&t, g->escapes);
		page_cell_time(&t, g->service_ns_p50);
		page_cell_time(&t, g->service_ns_p99);
		page_cell_size(&t, g->stack_peak_max);
		snprintf(text, sizeof(text), "%.0f %%", 100 * unsure);
		page_cell_value(&t, unsure, text);
	}
	page_table_end(&t);
}

static void put_requests(struct look *l, struct buf *out)
{
	static const char *const heads[] = {">Request",     ">Need",    ">Requested",
					    ">Allocations", ">Escapes", ">Service"};
	struct page_table t;
	size_t n = l->requests.count < REQUESTS_MAX ? l->requests.count : REQUESTS_MAX;
	if (n < l->requests.count)
		page_paragraph(out,
			       "The 500 that need most; pail report --by request has all.");
	page_table_begin(&t, out, "table-requests", "Requests", heads,
			 sizeof(heads) / sizeof(*heads), 1);
	for (size_t i = 0; i < n; i++) {
		const struct group *g = &l->requests.group[i];
		page_cell_value(&t, strtod(g->key, NULL), g->key);
		page_cell_size(&t, g->need_max);
		page_cell_size(&t, g->requested_bytes);
		page_cell_count(&t, g->allocations);
		page_cell_count(&t, g->escapes);
		page_cell_time(&t, g->service_ns_p50);
	}
	page_table_end(&t);
}

static void put_arena(struct look *l, struct buf *out)
{
	static const char *const heads[] = {"Route",         "Arena-safe?", ">Requests",
					    ">Unclean",      ">Escapes",    ">Escaped bytes",
					    ">Foreign frees"};
	static const char *const verdict[] = {"yes", "warm it up first", "no"};
	struct page_table t;
	page_paragraph(out,
		       "An escape is memory that outlives its request: code that leaves any "
		       "cannot live in a bucket as it is. A route is warm where only its first "
		       "requests do so.");
	page_table_begin(&t, out, "table-arena", "Escapes by route", heads,
			 sizeof(heads) / sizeof(*heads), -1);
	for (size_t i = 0; i < l->places.routes; i++) {
		const struct arena_route *r = &l->places.route[i];
		page_cell(&t, r->name);
		page_cell_cstr(&t, verdict[r->verdict]);
		page_cell_count(&t, r->requests);
		page_cell_count(&t, r->unclean);
		page_cell_count(&t, r->escapes);
		page_cell_size(&t, r->escaped_bytes);
		page_cell_count(&t, r->foreign_frees);
	}
	page_table_end(&t);
}

static void put_sites(struct look *l, struct buf *out)
{
	static const char *const heads[] = {"Site",       ">Allocations",     ">Bytes",
					    ">Live peak", ">Escapes",         ">Escaped bytes",
					    ">Left",      ">Outside requests"};
	struct page_table t;
	page_table_begin(&t, out, "table-sites", "Sites", heads, sizeof(heads) / sizeof(*heads),
			 2);
	for (size_t i = 0; i < l->places.count; i++) {
		const struct place *p = &l->places.place[i];
		page_cell(&t, p->name);
		page_cell_count(&t, p->allocations);
		page_cell_size(&t, p->requested_bytes);
		page_cell_size(&t, p->live_peak_bytes);
		page_cell_count(&t, p->escapes);
		page_cell_size(&t, p->escaped_bytes);
		page_cell_size(&t, p->left_bytes);
		page_cell_size(&t, p->outside_bytes);
	}
	page_table_end(&t);
}

/* ---- the page ------------------------------------------------------------------------ */

static void fact_count(struct buf *out, const char *name, int64_t value)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	page_fact(out, name, text);
}

static void put_facts(struct look *l, struct buf *out)
{
	char text[UNITS_TEXT_MAX];
	const char *command = trace_meta(l->trace, "command");
	if (command)
		page_fact(out, "Recorded from", command);
	fact_count(out, "Requests", (int64_t)l->columns.count);
	fact_count(out, "Routes", (int64_t)l->routes.count);
	page_fact(out, "Over", units_format_time((uint64_t)l->columns.span_ns, text));
	page_fact(out, "Needs under", arena_policy_name(l->ask->policy));
	if (l->ask->config)
		page_fact(out, "Plan", l->ask->config);
	int64_t loose = trace_meta_int(l->trace, "unattributed_allocations", 0);
	if (loose > 0)
		fact_count(out, "Allocations of no request", loose);
	int64_t dropped = trace_meta_int(l->trace, "dropped_events", 0);
	if (dropped > 0)
		fact_count(out, "Events dropped while recording", dropped);
	if (trace_meta_int(l->trace, "complete", 1) == 0)
		page_fact(out, "Complete", "no: the recorder did not get to its end");
}

static int put_page(struct look *l, struct buf *out, struct err *err)
{
	const struct report_series series = {&l->columns, l->live_bytes, l->plan};
	static const char no_sites[] =
		"This trace has no call stacks: record with --detail stacks to see which code "
		"allocates, and what it leaves behind.";
	page_begin(out, "report", str_of(trace_path(l->trace)));
	put_facts(l, out);
	page_main(out, part, PARTS);
	bool drawn = l->plots && l->columns.count > 0;
	int result = 0;
	page_section(out, &part[PART_NEEDS]);
	if (drawn)
		result = put_needs(l, &series, out, err);
	else
		page_paragraph(out, l->plots ? "The trace holds no requests."
					     : "No plots: gnuplot was not installed where this "
					       "page was made.");
	page_section_end(out);
	page_section(out, &part[PART_TIME]);
	if (result == 0 && drawn)
		result = put_times(&series, out, err);
	else
		page_paragraph(out, "No plots.");
	page_section_end(out);
	page_section(out, &part[PART_ROUTES]);
	put_routes(l, out);
	page_section_end(out);
	page_section(out, &part[PART_ARENA]);
	put_arena(l, out);
	page_section_end(out);
	page_section(out, &part[PART_SITES]);
	if (l->places.count > 0) {
		if (result == 0 && l->plots)
			result = put_places_plot(l, out, err);
		put_sites(l, out);
	} else {
		page_paragraph(out, no_sites);
	}
	page_section_end(out);
	page_section(out, &part[PART_FLAME]);
	if (result == 0 && l->places.sites.sites > 0)
		result = flame_write(out, &l->places.sites, err);
	else
		page_paragraph(out, no_sites);
	page_section_end(out);
	page_section(out, &part[PART_REQUESTS]);
	put_requests(l, out);
	page_section_end(out);
	page_end(out);
	if (result == 0 && out->failed)
		return err_set(err, "out of memory for the page");
	return result;
}

int report_page(const struct report_page *ask, struct trace *trace)
{
	struct look look = {.ask = ask, .trace = trace};
	struct err err = {0}, missing;
	struct buf out;
	buf_init(&out);
	look.plots = plot_possible(&missing);
	if (!look.plots)
		fprintf(stderr, "%s: %s\n", ask->argv0, missing.text);
	int result = read_all(&look, &err);
	if (result == 0)
		result = put_page(&look, &out, &err);
	if (result == 0)
		result = file_write_atomic(ask->html, out.bytes, out.length, 0644, &err);
	release(&look);
	buf_release(&out);
	return result == 0 ? EXIT_DONE : cli_fail(ask->argv0, &err);
}
