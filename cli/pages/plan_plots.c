/* SPDX-License-Identifier: MIT */
#include "cli/pages/plan_plots.h"

#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAT_SIZES = 28, HEAT_COUNTS = 32, BARS = 12 };

#define BLUE   "#0072b2"
#define ORANGE "#c2571a"
#define RED    "#d0453e"

static void common(struct buf *body)
{
	buf_append_str(body, "set border 3\nset tics nomirror\nset grid lc rgb 'gray' lw 0.5\n"
			     "set key below\n");
}

/* A logarithm has no room for a rate of zero: it is drawn at this, a tenth of
 * what one rejection would make. */
static double none(const struct plan_text *t)
{
	return 0.1 / (double)(t->ask->trace->count + 1);
}

static double drawn(const struct plan_text *t, double rate)
{
	return fmax(rate, none(t));
}

static void rate_axis(const struct plan_text *t, struct buf *body)
{
	buf_printf(body, "set logscale y\nset format y '%%g'\nset yrange [%g:1]\n",
		   none(t) * 0.7);
}

/* ---- bound against rejections --------------------------------------------------- */

/* Most of a bound is the same for all plans (the server itself, connections):
 * what they differ in is drawn, above a whole number of MiB that all take. */
static uint64_t common_bytes(const struct planner_result *r)
{
	uint64_t least = UINT64_MAX, mib = 1 << 20;
	for (size_t i = 0; i < r->pareto_count; i++)
		if (r->pareto[i].bound_bytes < least)
			least = r->pareto[i].bound_bytes;
	return (least - 1) / mib * mib;
}

int plan_plot_pareto(const struct plan_text *t, struct plot *plot, struct err *err)
{
	const struct planner_result *r = t->result;
	struct buf *body = &plot->body;
	uint64_t most = 1, least = UINT64_MAX, same = common_bytes(r);
	char text[UNITS_TEXT_MAX];
	(void)err;
	common(body);
	rate_axis(t, body);
	for (size_t i = 0; i < r->pareto_count; i++) {
		const struct planner_point *p = &r->pareto[i];
		uint64_t own = p->bound_bytes - same;
		buf_printf(&plot->data, "%" PRIu64 " %.9g %.9g\n", own,
			   drawn(t, p->rejection_rate), drawn(t, p->rate_high));
		most = own > most ? own : most;
		least = own < least ? own : least;
	}
	if (r->class_count > 0)
		buf_printf(&plot->data, "\n\n%" PRIu64 " %.9g %.9g\n", r->bound_bytes - same,
			   drawn(t, r->rate.rate), drawn(t, r->rate.high));
	plot_bytes_axis(body, 'x', least, most, most / 16 > least);
	buf_printf(
		body,
		"set xlabel 'bound, above the %s that every plan takes'\n"
		"set ylabel 'share of rejections'\n"
		"plot '%s.dat' index 0 using 1:3 with steps lw 2 lc rgb '" ORANGE
		"' title 'at most (%g %%)', '' index 0 using 1:2 with steps lw 2 lc rgb '" BLUE
		"' title 'in this traffic', %g with lines dt 2 lw 1.5 lc rgb '" RED
		"' title 'target'",
		units_write_size(same, text), plot->name, 100 * t->ask->confidence,
		t->ask->target);
	if (r->class_count > 0)
		buf_append_str(body, ", '' index 1 using 1:3 with points pt 7 ps 1 lc rgb '" RED
				     "' title 'chosen'");
	buf_append_str(body, "\n");
	return 0;
}

/* ---- size and count ----------------------------------------------------------------- */

/* The requests of one class, as columns of their own. */
static int class_traffic(const struct plan_text *t, uint32_t k, struct sim_columns *own,
			 struct err *err)
{
	const struct sim_trace *from = t->ask->trace;
	size_t n = 0;
	if (sim_columns_init(own, from->count, err) < 0)
		return -1;
	for (size_t i = 0; i < from->count; i++) {
		if (t->result->class_of_route[from->route ? from->route[i] : 0] != k)
			continue;
		own->arrival_ns[n] = from->arrival_ns[i];
		own->service_ns[n] = from->service_ns[i];
		own->need_bytes[n] = from->need_bytes[i];
		own->route[n] = 0;
		own->origin[n] = (uint32_t)i;
		n++;
	}
	if (sim_columns_sort(own, n, err) == 0)
		return 0;
	sim_columns_release(own);
	return -1;
}

/* Sizes by equal factors, whole pages, from the median's surroundings to what
 * holds all; the chosen one among them. */
static size_t heat_sizes(const struct sim_trace *trace, uint64_t chosen,
			 uint64_t sizes[HEAT_SIZES + 1])
{
	uint64_t most = chosen, page = LIMITS_PAGE_BYTES, least = chosen / 4;
	size_t n = 0;
	for (size_t i = 0; i < trace->count; i++)
		most = trace->need_bytes[i] > most ? trace->need_bytes[i] : most;
	/* What is far above the chosen size says nothing new on the way there. */
	if (most > chosen * 64)
		most = chosen * 64;
	least = least < page ? page : least;
	bool seen = false;
	for (int i = 0; i < HEAT_SIZES; i++) {
		double at = (double)least * pow((double)most * 1.1 / (double)least,
						(double)i / (HEAT_SIZES - 1));
		uint64_t size = ((uint64_t)at + page - 1) / page * page;
		if (!seen && size >= chosen) {
			seen = true;
			if (size > chosen && (n == 0 || sizes[n - 1] < chosen))
				sizes[n++] = chosen;
		}
		if (n == 0 || size > sizes[n - 1])
			sizes[n++] = size;
	}
	return n;
}

static size_t heat_counts(uint32_t chosen, uint32_t overlap, uint32_t counts[HEAT_COUNTS])
{
	uint32_t most = overlap + 2 > chosen * 2 ? overlap + 2 : chosen * 2;
	uint32_t step = (most + HEAT_COUNTS - 1) / HEAT_COUNTS, n = 0;
	/* So that the chosen one is among them. */
	uint32_t first = chosen % step == 0 ? step : chosen % step;
	for (uint32_t c = first; c <= most && n < HEAT_COUNTS; c += step)
		counts[n++] = c;
	return n;
}

/* The least count's index whose rate, or its upper end, meets the target. */
static double contour(const struct grid *grid, const struct grid_ask *ask,
		      const struct evidence *evidence, const struct plan_text *t, size_t size,
		      bool upper)
{
	for (size_t c = 0; c < ask->count_count; c++) {
		struct rate rate = rate_of(grid, ask, evidence, c, size, t->ask->confidence);
		if ((upper ? rate.high : rate.rate) <= t->ask->target)
			return (double)c - 0.5;
	}
	return NAN;
}

static void put_cells(const struct plan_text *t, const struct grid *grid,
		      const struct grid_ask *ask, const struct evidence *evidence,
		      struct buf *data)
{
	for (size_t s = 0; s < ask->size_count; s++)
		for (size_t c = 0; c < ask->count_count; c++) {
			struct grid_outcome o = grid_at(grid, c, s);
			double rate = (double)(o.rejected_500 + o.rejected_503) /
				      (double)(o.offered ? o.offered : 1);
			buf_printf(data, "%zu %zu %.6g %" PRIu64 " %u\n", s, c, drawn(t, rate),
				   ask->sizes[s], ask->counts[c]);
		}
	for (int upper = 0; upper < 2; upper++) {
		buf_append_str(data, "\n\n");
		for (size_t s = 0; s < ask->size_count; s++) {
			double at = contour(grid, ask, evidence, t, s, upper);
			/* Not a number, and the line has a gap there. */
			buf_printf(data, "%g %g\n%g %g\n", (double)s - 0.5, at, (double)s + 0.5,
				   at);
		}
	}
}

static void heat_axes(const struct grid_ask *ask, uint64_t size, uint32_t count,
		      struct buf *body, struct buf *data)
{
	buf_append_str(body, "set xtics rotate by -45 (");
	for (size_t s = 0; s < ask->size_count; s++) {
		char text[UNITS_TEXT_MAX];
		if (s % 3 == 0)
			buf_printf(body, "%s'%s' %zu", s > 0 ? ", " : "",
				   units_format_size(ask->sizes[s], text), s);
		for (size_t c = 0; c < ask->count_count; c++)
			if (ask->sizes[s] == size && ask->counts[c] == count)
				buf_printf(data, "\n\n%zu %zu\n", s, c);
	}
	buf_append_str(body, ")\nset ytics (");
	size_t step = ask->count_count > 16 ? 2 : 1;
	for (size_t c = 0; c < ask->count_count; c += step)
		buf_printf(body, "%s'%u' %zu", c > 0 ? ", " : "", ask->counts[c], c);
	buf_printf(body, ")\nset xrange [-0.5:%zu.5]\nset yrange [-0.5:%zu.5]\n",
		   ask->size_count - 1, ask->count_count - 1);
}

static int heat_fill(const struct plan_text *t, uint32_t k, const struct sim_trace *trace,
		     struct plot *plot, struct err *err)
{
	const struct planner_class *class = &t->result->class[k];
	uint64_t sizes[HEAT_SIZES + 1];
	uint32_t counts[HEAT_COUNTS];
	struct grid_ask ask = {
		.sizes = sizes,
		.size_count = heat_sizes(trace, class->size_bytes, sizes),
		.counts = counts,
		.count_count = heat_counts(class->count, class->overlap, counts),
		.threads = t->ask->threads,
		.batches = GRID_BATCHES,
		.keep_slots = true,
	};
	struct grid grid;
	struct evidence evidence;
	struct buf *body = &plot->body;
	if (grid_run(trace, &ask, &grid, err) < 0)
		return -1;
	if (evidence_init(&evidence, trace, &grid, &ask, err) < 0) {
		grid_release(&grid);
		return -1;
	}
	put_cells(t, &grid, &ask, &evidence, &plot->data);
	buf_append_str(body,
		       "set border 3\nset tics nomirror out\nset key below\nset logscale cb\n"
		       "set format cb '%g'\nset style fill solid noborder\n"
		       "set palette defined (0 '#ffea46', 0.35 '#b8a86d', 0.65 '#5c6a80', "
		       "1 '#00204d')\n"
		       "set xlabel 'size of a bucket'\nset ylabel 'buckets'\n"
		       "set cblabel 'share of rejections'\nset rmargin at screen 0.8\n");
	buf_printf(body, "set cbrange [%g:1]\n", none(t));
	heat_axes(&ask, class->size_bytes, class->count, body, &plot->data);
	buf_printf(body,
		   "plot '%s.dat' index 0 using 1:2:(0.5):(0.5):3 with boxxyerror fc palette "
		   "notitle, '' index 1 with lines lw 3 lc rgb '#ffffff' notitle, "
		   "'' index 1 with lines lw 2 lc rgb '" BLUE "' title 'the rate is %g', "
		   "'' index 2 with lines lw 3 lc rgb '#ffffff' notitle, "
		   "'' index 2 with lines lw 2 dt 2 lc rgb '" RED
		   "' title 'its upper end is %g', "
		   "'' index 3 with points pt 6 ps 1.6 lw 6 lc rgb '#ffffff' notitle, "
		   "'' index 3 with points pt 6 ps 1.6 lw 3 lc rgb '" RED "' title 'chosen'\n",
		   plot->name, t->ask->target, t->ask->target);
	evidence_release(&evidence);
	grid_release(&grid);
	return 0;
}

int plan_plot_heat(const struct plan_text *t, uint32_t k, struct plot *plot, struct err *err)
{
	struct sim_columns own;
	if (class_traffic(t, k, &own, err) < 0)
		return -1;
	int result = heat_fill(t, k, &own.trace, plot, err);
	sim_columns_release(&own);
	return result;
}

/* ---- load ---------------------------------------------------------------------------- */

static int put_load(const struct plan_text *t, double factor, struct buf *data, struct err *err)
{
	const struct forecast_routes routes = {.class_of_route = t->result->class_of_route};
	struct sim_columns scaled;
	struct forecast f;
	if (load_scale(t->ask->trace, factor, LOAD_SHIFT, &scaled, err) < 0)
		return -1;
	int result =
		forecast_make(&scaled.trace, t->plan, &routes, t->ask->confidence, &f, err);
	if (result == 0) {
		buf_printf(data, "%g %.9g %.9g %.9g %.9g %.9g\n", factor * t->load,
			   drawn(t, f.all.rate), drawn(t, f.all.low), drawn(t, f.all.high),
			   drawn(t, f.oversize.rate), drawn(t, f.busy.rate));
		forecast_release(&f);
	}
	sim_columns_release(&scaled);
	return result;
}

int plan_plot_load(const struct plan_text *t, struct plot *plot, struct err *err)
{
	static const double factor[] = {0.5, 0.7, 0.85, 1, 1.15, 1.3, 1.5, 1.75, 2};
	struct buf *body = &plot->body;
	for (size_t i = 0; i < sizeof(factor) / sizeof(*factor); i++)
		if (put_load(t, factor[i], &plot->data, err) < 0)
			return -1;
	common(body);
	rate_axis(t, body);
	buf_printf(
		body,
		"set xlabel 'load, times what was recorded'\n"
		"set ylabel 'share of rejections'\n"
		"set arrow from %g,graph 0 to %g,graph 1 nohead dt 3 lc rgb 'gray'\n"
		"plot '%s.dat' using 1:3:4 with filledcurves fs transparent solid 0.25 "
		"noborder lc rgb '" BLUE "' title '%g %% interval', "
		"'' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '" BLUE
		"' title 'rejections', '' using 1:5 with lines dt 3 lw 1.5 lc rgb '" ORANGE
		"' title 'too big (500)', '' using 1:6 with lines dt 4 lw 1.5 lc rgb '#00876c'"
		" title 'no bucket (503)', %g with lines dt 2 lw 1.5 lc rgb '" RED
		"' title 'target'\n",
		t->load, t->load, plot->name, 100 * t->ask->confidence, t->ask->target);
	return 0;
}

/* ---- causes and routes ------------------------------------------------------------------ */

static int by_rejections(const void *a, const void *b)
{
	const struct plan_route_fate *x = a, *y = b;
	uint64_t left = x->rejected_500 + x->rejected_503,
		 right = y->rejected_500 + y->rejected_503;
	if (left != right)
		return left > right ? -1 : 1;
	if (x->requests != y->requests)
		return x->requests > y->requests ? -1 : 1;
	return (x->route > y->route) - (x->route < y->route);
}

int plan_route_fates(const struct plan_text *t, struct plan_route_fate **fates, size_t *count,
		     struct err *err)
{
	const struct forecast_routes routes = {.class_of_route = t->result->class_of_route};
	const struct sim_trace *trace = t->ask->trace;
	struct forecast f;
	*count = trace->route_count ? trace->route_count : 1;
	*fates = calloc(*count, sizeof(**fates));
	if (!*fates)
		return err_set(err, "out of memory for %zu routes", *count);
	if (forecast_make(trace, t->plan, &routes, t->ask->confidence, &f, err) < 0) {
		free(*fates);
		return -1;
	}
	for (size_t i = 0; i < *count; i++)
		(*fates)[i].route = (uint32_t)i;
	for (size_t i = 0; i < trace->count; i++) {
		struct plan_route_fate *fate = &(*fates)[trace->route ? trace->route[i] : 0];
		fate->requests++;
		fate->rejected_500 += f.world.fate[i] == WORLD_500;
		fate->rejected_503 += f.world.fate[i] == WORLD_503;
	}
	forecast_release(&f);
	qsort(*fates, *count, sizeof(**fates), by_rejections);
	return 0;
}

int plan_plot_routes(const struct plan_text *t, const struct plan_route_fate *fates,
		     size_t count, struct plot *plot, struct err *err)
{
	struct buf *body = &plot->body;
	size_t n = count < BARS ? count : BARS;
	(void)err;
	common(body);
	buf_append_str(body, "set xlabel 'rejections'\nset xrange [0:*]\n"
			     "set style fill solid 0.7 noborder\nset lmargin 34\nset ytics (");
	for (size_t i = 0; i < n; i++) {
		struct str name = str_of(traffic_route(t->traffic, fates[i].route));
		if (name.length > 32)
			name.length = 32;
		buf_append_str(body, i > 0 ? ", " : "");
		plot_quote(body, name.length > 0 ? name : STR("(no route)"));
		buf_printf(body, " %zu", n - i);
		buf_printf(&plot->data, "%zu %" PRIu64 " %" PRIu64 "\n", n - i,
			   fates[i].rejected_500, fates[i].rejected_503);
	}
	buf_printf(
		body,
		")\nset yrange [0.4:%zu.6]\n"
		"plot '%s.dat' using (0.5*$2):1:(0.5*$2):(0.35) with boxxyerror lc rgb '" ORANGE
		"' title 'too big (500)', '' using ($2+0.5*$3):1:(0.5*$3):(0.35) with "
		"boxxyerror lc rgb '#00876c' title 'no bucket (503)'\n",
		n, plot->name);
	return 0;
}
