/* SPDX-License-Identifier: MIT */
#include "cli/pages/plan_look.h"

#include "base/file.h"
#include "base/units.h"
#include "cli/pages/page.h"
#include "cli/pages/plan_plots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PLOTS_MAX = 3 + PLANNER_CLASSES_MAX };

enum {
	PART_PLAN,
	PART_PARETO,
	PART_HEAT,
	PART_ROUTES,
	PART_LOAD,
	PART_WHY,
	PART_CONFIG,
	PARTS
};

static const struct page_part part[PARTS] = {
	{"plan", "Plan"},
	{"pareto", "Memory against rejections"},
	{"heat", "Size and count"},
	{"routes", "Rejections"},
	{"load", "Other loads"},
	{"why", "Why"},
	{"config", "Configuration"},
};

/* One plot, with what is said of it. */
struct figure {
	struct plot plot;
	char name[32], alt[160];
	const char *caption;
	int part;
};

struct view {
	const struct plan_look *look;
	const struct plan_text *text;
	struct figure figure[PLOTS_MAX];
	size_t figures;
	struct plan_route_fate *fates;
	size_t routes;
	bool drawn; /* there is a gnuplot */
};

/* ---- the plots ----------------------------------------------------------------- */

static struct figure *figure_new(struct view *v, int which, const char *alt,
				 const char *caption)
{
	struct figure *f = &v->figure[v->figures++];
	f->part = which;
	f->caption = caption;
	snprintf(f->name, sizeof(f->name), "plan-%s", part[which].id);
	snprintf(f->alt, sizeof(f->alt), "%s", alt);
	plot_init(&f->plot, f->name);
	return f;
}

static int heats_make(struct view *v, struct err *err)
{
	const struct plan_text *t = v->text;
	for (uint32_t k = 0; k < t->result->class_count; k++) {
		char alt[160];
		snprintf(alt, sizeof(alt),
			 "Rejection rate of class %.40s by size and count of its buckets, as a "
			 "map of heat",
			 t->plan->class[k].name);
		struct figure *f = figure_new(
			v, PART_HEAT, alt,
			"Rejections without a queue, by the size and the number of buckets. On "
			"and above the solid line this traffic's rate is within the target, above "
			"the dashed one also the upper end of its interval. The ring is the plan.");
		if (t->result->class_count > 1)
			snprintf(f->name, sizeof(f->name), "plan-heat-%u", k + 1);
		if (plan_plot_heat(t, k, &f->plot, err) < 0)
			return -1;
	}
	return 0;
}

static int plots_make(struct view *v, struct err *err)
{
	const struct plan_text *t = v->text;
	struct figure *f;
	if (t->result->pareto_count > 0) {
		f = figure_new(
			v, PART_PARETO, "Bound in bytes against the rate of rejections",
			"Each step is a plan that no other beats: less memory costs more "
			"rejections. The target is met where the upper line is below it. "
			"The lowest value drawn stands for none.");
		if (plan_plot_pareto(t, &f->plot, err) < 0)
			return -1;
	}
	if (t->result->class_count == 0)
		return 0;
	if (heats_make(v, err) < 0)
		return -1;
	f = figure_new(v, PART_ROUTES, "Rejections by route and cause, as bars",
		       "The routes with most rejections; the table has all.");
	if (plan_plot_routes(t, v->fates, v->routes, &f->plot, err) < 0)
		return -1;
	f = figure_new(v, PART_LOAD, "Rejections of this plan at other loads",
		       "The same plan under more traffic and less, by shifted copies of the "
		       "recording. The lowest value drawn stands for none.");
	return plan_plot_load(t, &f->plot, err);
}

/* ---- the page -------------------------------------------------------------------- */

static int put_figures(struct view *v, int which, struct buf *out, struct err *err)
{
	bool any = false;
	int result = 0;
	for (size_t i = 0; result == 0 && i < v->figures; i++) {
		struct figure *f = &v->figure[i];
		if (f->part != which)
			continue;
		any = true;
		if (!v->drawn) {
			page_paragraph(out,
				       "No plot: gnuplot was not installed where this page "
				       "was made.");
			continue;
		}
		struct buf svg;
		buf_init(&svg);
		result = plot_svg(&f->plot, &svg, err);
		if (result == 0)
			page_figure(out, f->name, f->alt, f->caption,
				    (struct str){svg.bytes, svg.length});
		buf_release(&svg);
	}
	if (!any && which != PART_PLAN)
		page_paragraph(out, "There is no plan to show this of.");
	return result;
}

static void put_classes(const struct plan_text *t, struct buf *out)
{
	static const char *const heads[] = {"Bucket",   ">Size",          ">Count",
					    ">Stack",   ">Requests",      ">Offered load",
					    ">Overlap", ">Too big (500)", ">No bucket (503)"};
	struct page_table table;
	page_table_begin(&table, out, "table-classes", "Classes of buckets", heads,
			 sizeof(heads) / sizeof(*heads), -1);
	for (uint32_t k = 0; k < t->result->class_count; k++) {
		const struct planner_class *c = &t->result->class[k];
		char load[32];
		snprintf(load, sizeof(load), "%.2f", c->load.offered);
		page_cell_cstr(&table, t->plan->class[k].name);
		page_cell_size(&table, (int64_t)c->size_bytes);
		page_cell_count(&table, c->count);
		page_cell_size(&table, (int64_t)c->stack_bytes);
		page_cell_count(&table, (int64_t)c->outcome.offered);
		page_cell_value(&table, c->load.offered, load);
		page_cell_count(&table, c->overlap);
		page_cell_count(&table, (int64_t)c->outcome.rejected_500);
		page_cell_count(&table, (int64_t)c->outcome.rejected_503);
	}
	page_table_end(&table);
}

static void put_pareto(const struct plan_text *t, struct buf *out)
{
	static const char *const heads[] = {">Bound", ">Rate", ">At most", "Buckets"};
	struct page_table table;
	page_table_begin(&table, out, "table-pareto", "Plans that no other beats", heads, 4,
			 -1);
	for (size_t i = 0; i < t->result->pareto_count; i++) {
		const struct planner_point *p = &t->result->pareto[i];
		char rate[32], high[32], size[UNITS_TEXT_MAX], classes[512];
		size_t used = 0;
		snprintf(rate, sizeof(rate), "%.3g", p->rejection_rate);
		snprintf(high, sizeof(high), "%.3g", p->rate_high);
		classes[0] = '\0';
		for (uint32_t k = 0; k < p->class_count && used < sizeof(classes); k++)
			used += (size_t)snprintf(classes + used, sizeof(classes) - used,
						 "%s%u x %s", k ? " + " : "", p->count[k],
						 units_format_size(p->size_bytes[k], size));
		if (p->queue > 0 && used < sizeof(classes))
			snprintf(classes + used, sizeof(classes) - used, ", %u may wait %s",
				 p->queue, units_format_time(p->wait_ns, size));
		page_cell_size(&table, (int64_t)p->bound_bytes);
		page_cell_value(&table, p->rejection_rate, rate);
		page_cell_value(&table, p->rate_high, high);
		page_cell_cstr(&table, classes);
	}
	page_table_end(&table);
}

static void put_routes(const struct view *v, struct buf *out)
{
	static const char *const heads[] = {"Route",          "Bucket",           ">Requests",
					    ">Too big (500)", ">No bucket (503)", ">Share"};
	const struct plan_text *t = v->text;
	struct page_table table;
	page_table_begin(&table, out, "table-routes", "Rejections by route", heads, 6, -1);
	for (size_t i = 0; i < v->routes; i++) {
		const struct plan_route_fate *f = &v->fates[i];
		const char *name = traffic_route(t->traffic, f->route);
		double share = (double)(f->rejected_500 + f->rejected_503) /
			       (double)(f->requests ? f->requests : 1);
		char text[32];
		snprintf(text, sizeof(text), "%.3g %%", 100 * share);
		page_cell_cstr(&table, name[0] ? name : "(no route)");
		page_cell_cstr(&table,
			       t->plan->class[t->result->class_of_route[f->route]].name);
		page_cell_count(&table, (int64_t)f->requests);
		page_cell_count(&table, (int64_t)f->rejected_500);
		page_cell_count(&table, (int64_t)f->rejected_503);
		page_cell_value(&table, share, text);
	}
	page_table_end(&table);
}

static void put_sentence(void *arg, const char *sentence)
{
	struct buf *out = arg;
	buf_append_str(out, "<li>");
	page_cstr(out, sentence);
	buf_append_str(out, "</li>\n");
}

static void put_why(const struct plan_text *t, struct buf *out)
{
	struct buf warnings;
	buf_init(&warnings);
	plan_text_sentences(t, true, put_sentence, &warnings);
	buf_append_str(out, "<ul>\n");
	plan_text_sentences(t, false, put_sentence, out);
	buf_append_str(out, "</ul>\n");
	if (warnings.length > 0) {
		buf_append_str(out, "<div class=\"warn\">\n<h3>Warnings</h3>\n<ul>\n");
		buf_append(out, warnings.bytes, warnings.length);
		buf_append_str(out, "</ul>\n</div>\n");
	}
	buf_release(&warnings);
}

static void put_config(const struct plan_text *t, struct buf *out)
{
	struct buf config;
	buf_init(&config);
	plan_text_config(t, &config);
	/* Lines are what a configuration is made of, so they are escaped one by one. */
	struct str rest = {config.bytes, config.length}, line;
	buf_append_str(out,
		       "<div class=\"tools\"><button type=\"button\" data-copy=\"config-text\">"
		       "Copy pail.conf</button> <span role=\"status\"></span></div>\n"
		       "<pre id=\"config-text\" tabindex=\"0\" role=\"region\" "
		       "aria-label=\"pail.conf\">");
	while (rest.length > 0) {
		str_cut(rest, '\n', &line, &rest);
		page_text(out, line);
		buf_append_str(out, "\n");
	}
	buf_append_str(out, "</pre>\n");
	out->failed |= config.failed;
	buf_release(&config);
}

static void put_facts(const struct plan_text *t, struct buf *out)
{
	char text[160], size[UNITS_TEXT_MAX];
	const struct planner_result *r = t->result;
	static const char *const verdict[] = {
		[PLANNER_MET] = "the target is met",
		[PLANNER_TOO_LITTLE_DATA] = "not enough data to promise the target",
		[PLANNER_OVER_MEMORY] = "the target takes more memory than allowed",
	};
	page_fact(out, "Answer", verdict[r->verdict]);
	if (r->class_count > 0) {
		page_fact(out, "Bound", units_format_size(limits_bound_bytes(t->plan), size));
		snprintf(text, sizeof(text), "%.3g, at %g %% confidence %.3g to %.3g",
			 r->rate.rate, 100 * r->rate.confidence, r->rate.low, r->rate.high);
		page_fact(out, "Rejections", text);
	}
	snprintf(text, sizeof(text), "%g", t->ask->target);
	page_fact(out, "Target", text);
	snprintf(text, sizeof(text), "%zu requests, %g times the load", t->ask->trace->count,
		 t->load);
	page_fact(out, "Traffic", text);
}

static int put_page(struct view *v, struct buf *out, struct err *err)
{
	const struct plan_text *t = v->text;
	int result = 0;
	page_begin(out, "plan", str_of(trace_path(t->traffic->trace)));
	put_facts(t, out);
	page_main(out, part, PARTS);
	for (int which = 0; result == 0 && which < PARTS; which++) {
		bool plan = t->result->class_count > 0;
		page_section(out, &part[which]);
		if (which != PART_WHY && which != PART_CONFIG)
			result = put_figures(v, which, out, err);
		if (which == PART_PLAN && plan)
			put_classes(t, out);
		else if (which == PART_PLAN)
			page_paragraph(out, "Nothing fits into the memory allowed.");
		else if (which == PART_PARETO && t->result->pareto_count > 0)
			put_pareto(t, out);
		else if (which == PART_ROUTES && plan)
			put_routes(v, out);
		else if (which == PART_WHY)
			put_why(t, out);
		else if (which == PART_CONFIG && plan)
			put_config(t, out);
		else if (which == PART_CONFIG)
			page_paragraph(out, "There is no plan to write down.");
		page_section_end(out);
	}
	page_end(out);
	if (result == 0 && out->failed)
		return err_set(err, "out of memory for the page");
	return result;
}

/* ---- all of it --------------------------------------------------------------------- */

static int page_write(struct view *v, struct err *err)
{
	struct buf page;
	buf_init(&page);
	int result = put_page(v, &page, err);
	if (result == 0)
		result = file_write_atomic(v->look->html, page.bytes, page.length, 0644, err);
	buf_release(&page);
	return result;
}

static int show(struct view *v, struct buf *out, struct err *err)
{
	const struct plan_look *look = v->look;
	int result = 0;
	for (size_t i = 0; result == 0 && look->folder && i < v->figures; i++)
		result = plot_save(&v->figure[i].plot, look->folder, err);
	for (size_t i = 0; result == 0 && look->term && v->drawn && i < v->figures; i++) {
		buf_printf(out, "\n%s\n", v->figure[i].alt);
		result = plot_terminal(&v->figure[i].plot, STDOUT_FILENO, out, err);
	}
	if (result == 0 && look->html)
		result = page_write(v, err);
	return result;
}

int plan_look(const struct plan_look *look, const struct plan_text *text, struct buf *out,
	      struct err *err)
{
	struct view view = {.look = look, .text = text};
	struct err missing;
	int result = 0;
	view.drawn = plot_possible(&missing);
	/* Scripts and data are written without it too. */
	if (!view.drawn)
		fprintf(stderr, "%s: %s\n", look->argv0, missing.text);
	if (text->result->class_count > 0)
		result = plan_route_fates(text, &view.fates, &view.routes, err);
	if (result == 0)
		result = plots_make(&view, err);
	if (result == 0)
		result = show(&view, out, err);
	for (size_t i = 0; i < view.figures; i++)
		plot_release(&view.figure[i].plot);
	if (text->result->class_count > 0)
		free(view.fates);
	return result;
}
