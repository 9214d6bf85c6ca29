/* SPDX-License-Identifier: MIT */
#include "cli/pages/report_plots.h"

#include "simulator/sim.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	POINTS = 400,    /* of a line of shares */
	BINS = 600,      /* of time */
	NEED_BINS = 200, /* of time, with a median each */
	BAND_POINTS = 60,
	RESAMPLES = 200, /* of the tail, for its band */
	BARS = 12,
};

/* Told apart by colour-blind people and at least 3:1 against white and against
 * the dark ground of the pages, both. */
static const char *const colour[] = {"#0072b2", "#c2571a", "#00876c", "#b0588f",
				     "#8a7300", "#5b6ee1", "#d0453e", "#6f7780"};

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void common(struct buf *body)
{
	buf_append_str(body, "set border 3\nset tics nomirror\nset grid lc rgb 'gray' lw 0.5\n"
			     "set key below\n");
}

/* ---- needs -------------------------------------------------------------------- */

struct routes {
	uint32_t *order; /* routes, most requests first */
	size_t *count;   /* by route */
	uint64_t *need;  /* scratch: needs of one line, ascending */
	size_t needs;
};

static const size_t *order_count;

static int by_count(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	if (order_count[x] != order_count[y])
		return order_count[x] > order_count[y] ? -1 : 1;
	return (x > y) - (x < y);
}

static void routes_release(struct routes *r)
{
	free(r->order);
	free(r->count);
	free(r->need);
}

static int routes_init(struct routes *r, const struct trace_columns *c, struct err *err)
{
	size_t n = c->route_count + 1;
	*r = (struct routes){
		.order = calloc(n, sizeof(*r->order)),
		.count = calloc(n, sizeof(*r->count)),
		.need = calloc(c->count + 1, sizeof(*r->need)),
	};
	if (!r->order || !r->count || !r->need) {
		routes_release(r);
		return err_set(err, "out of memory for %zu requests", c->count);
	}
	for (size_t i = 0; i < c->count; i++)
		r->count[c->route_index[i]]++;
	for (size_t i = 0; i < c->route_count; i++)
		r->order[i] = (uint32_t)i;
	order_count = r->count;
	qsort(r->order, c->route_count, sizeof(*r->order), by_count);
	return 0;
}

/* Fills r->need with the needs of the `rank`-th route, or, at the first rank
 * without a line of its own, of all the rest. */
static void needs_of(struct routes *r, const struct trace_columns *c, size_t rank)
{
	r->needs = 0;
	for (size_t i = 0; i < c->count; i++) {
		bool own = rank < REPORT_ROUTES_MAX && c->route_index[i] == r->order[rank];
		bool rest = rank == REPORT_ROUTES_MAX;
		for (size_t k = 0; rest && k < REPORT_ROUTES_MAX; k++)
			rest = c->route_index[i] != r->order[k];
		if (own || rest)
			r->need[r->needs++] = c->need_bytes[i];
	}
	qsort(r->need, r->needs, sizeof(*r->need), ascending);
}

/* Rows "need share": so great a share needs more than that. The shares are
 * apart by equal factors, since the axis is logarithmic. None needs more than the
 * greatest: there the line leaves the picture. */
static void put_shares(struct buf *data, const uint64_t *need, size_t n, uint64_t least)
{
	double last = INFINITY, step = pow((double)n + 1, 1.0 / POINTS);
	buf_printf(data, "%" PRIu64 " 1\n", least);
	for (size_t i = 0; i < n; i++) {
		double above = (double)(n - i - 1);
		bool repeats = i + 1 < n && need[i + 1] == need[i];
		if (repeats || (above * step > last && above > 0))
			continue;
		last = above;
		buf_printf(data, "%" PRIu64 " %.9g\n", need[i] > 0 ? need[i] : 1,
			   above > 0 ? above / (double)n : 1e-12);
	}
}

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The tail fitted again to resamples of the same excesses (the bootstrap): at
 * each level the shares between which 95 of 100 fits lie. The values below the
 * threshold are all as good as it is, since the fit looks at the top alone. */
static int band(const uint64_t *need, size_t n, const struct gpd *tail, const double *level,
		double (*share)[RESAMPLES], size_t *fits, struct err *err)
{
	size_t excesses = n / 20;
	uint64_t seed = 1, *sample = malloc(n * sizeof(*sample));
	if (!sample)
		return err_set(err, "out of memory for %zu needs", n);
	*fits = 0;
	for (int round = 0; round < RESAMPLES; round++) {
		struct gpd again;
		for (size_t i = 0; i < n - excesses; i++)
			sample[i] = (uint64_t)tail->threshold;
		for (size_t i = n - excesses; i < n; i++)
			sample[i] = need[n - excesses + splitmix(&seed) % excesses];
		int fitted = tail_fit(sample, n, &again, err);
		if (fitted < 0) {
			free(sample);
			return -1;
		}
		for (size_t k = 0; fitted == 1 && k < BAND_POINTS; k++)
			share[k][*fits] = gpd_exceed(&again, level[k]);
		*fits += fitted == 1;
	}
	free(sample);
	return 0;
}

/* Rows "need share low high" of the tail, from where it begins to `end`. 1; 0
 * if it cannot be fitted. `n` at most 1 in 20 of which are used. */
static int put_tail(struct buf *data, const uint64_t *need, size_t n, double end,
		    struct gpd *tail, struct err *err)
{
	double level[BAND_POINTS];
	int fitted = tail_fit(need, n, tail, err);
	if (fitted != 1 || !(tail->threshold > 0))
		return fitted < 0 ? -1 : 0;
	double(*share)[RESAMPLES] = calloc(BAND_POINTS, sizeof(*share));
	size_t fits = 0;
	if (!share)
		return err_set(err, "out of memory for a band");
	for (size_t k = 0; k < BAND_POINTS; k++)
		level[k] = tail->threshold *
			   pow(end / tail->threshold, (double)k / (BAND_POINTS - 1));
	if (band(need, n, tail, level, share, &fits, err) < 0) {
		free(share);
		return -1;
	}
	for (size_t k = 0; k < BAND_POINTS; k++) {
		qsort(share[k], fits, sizeof(double), compare_double);
		double low = fits ? share[k][fits / 40] : 0;
		double high = fits ? share[k][fits - 1 - fits / 40] : 1;
		/* Below the axis is out of sight, but a logarithm wants a number. */
		buf_printf(data, "%.9g %.9g %.9g %.9g\n", level[k],
			   fmax(gpd_exceed(tail, level[k]), 1e-12), fmax(low, 1e-12),
			   fmax(high, 1e-12));
	}
	free(share);
	return 1;
}

static void put_size_lines(const struct plan *plan, bool upright, struct buf *body)
{
	char text[64];
	for (uint32_t k = 0; plan && k < plan->class_count; k++) {
		const struct plan_class *class = &plan->class[k];
		buf_printf(body,
			   upright ? "set arrow from %" PRIu64 ",graph 0 to %" PRIu64
				     ",graph 1 nohead lw 1.5 dt 2 lc rgb '#d0453e'\n"
				   : "set arrow from graph 0,first %" PRIu64
				     " to graph 1,first %" PRIu64
				     " nohead lw 1.5 dt 2 lc rgb '#d0453e'\n",
			   class->size_bytes, class->size_bytes);
		snprintf(text, sizeof(text), "%.40s", class->name);
		buf_append_str(body, "set label ");
		plot_quote(body, str_of(text));
		if (upright)
			buf_printf(body, " at %" PRIu64 ",graph 0.03 offset 0.5,0 front\n",
				   class->size_bytes);
		else
			buf_printf(body,
				   " at graph 0.01,first %" PRIu64 " offset 0,0.5 front\n",
				   class->size_bytes);
	}
}

int report_plot_needs(const struct report_series *series, struct plot *plot, struct buf *note,
		      struct err *err)
{
	const struct trace_columns *c = series->columns;
	struct routes r;
	uint64_t least = UINT64_MAX, most = 1;
	if (routes_init(&r, c, err) < 0)
		return -1;
	for (size_t i = 0; i < c->count; i++) {
		uint64_t need = c->need_bytes[i] > 0 ? c->need_bytes[i] : 1;
		least = need < least ? need : least;
		most = need > most ? need : most;
	}
	uint64_t end = most * 2;
	for (uint32_t k = 0; series->plan && k < series->plan->class_count; k++)
		if (series->plan->class[k].size_bytes * 2 > end)
			end = series->plan->class[k].size_bytes * 2;
	struct buf *body = &plot->body;
	common(body);
	plot_bytes_axis(body, 'x', least, end, true);
	buf_printf(body,
		   "set logscale y\nset format y '%%g'\nset xrange [%" PRIu64 "*0.8:%" PRIu64
		   "]\nset yrange [%g:1.2]\n"
		   "set xlabel 'need of a request'\nset ylabel 'share that needs more'\n",
		   least, end, 0.3 / (double)(c->count + 1));
	put_size_lines(series->plan, true, body);

	size_t lines =
		c->route_count < REPORT_ROUTES_MAX ? c->route_count : REPORT_ROUTES_MAX + 1;
	if (c->route_count == REPORT_ROUTES_MAX)
		lines = REPORT_ROUTES_MAX;
	/* The tail is of the route with the greatest need that has requests enough. */
	struct buf tail_data, plots;
	struct gpd tail;
	size_t tail_rank = SIZE_MAX;
	uint64_t tail_most = 0;
	buf_init(&tail_data);
	buf_init(&plots);
	int result = 0;
	for (size_t rank = 0; result == 0 && rank < lines; rank++) {
		needs_of(&r, c, rank);
		if (rank > 0)
			buf_append_str(&plot->data, "\n\n");
		put_shares(&plot->data, r.need, r.needs, least / 2);
		buf_printf(&plots,
			   "%s '%s.dat' index %zu using 1:2 with steps lw 2 lc rgb '%s' title ",
			   rank > 0 ? "," : "", plot->name, rank, colour[rank]);
		if (rank == REPORT_ROUTES_MAX)
			plot_quote(&plots, STR("all others"));
		else
			plot_quote(&plots, str_of(c->route[r.order[rank]]));
		if (r.needs >= 20 * TAIL_EXCESSES_LEAST && r.need[r.needs - 1] > tail_most) {
			struct buf data;
			buf_init(&data);
			int fitted = put_tail(&data, r.need, r.needs, (double)end, &tail, err);
			if (fitted == 1) {
				struct buf swap = tail_data;
				tail_data = data;
				data = swap;
				tail_rank = rank;
				tail_most = r.need[r.needs - 1];
			}
			buf_release(&data);
			result = fitted < 0 ? -1 : 0;
		}
	}
	if (result == 0 && tail_rank != SIZE_MAX) {
		buf_append_str(&plot->data, "\n\n");
		buf_append(&plot->data, tail_data.bytes, tail_data.length);
		buf_printf(
			body,
			"plot '%s.dat' index %zu using 1:3:4 with filledcurves fs transparent "
			"solid 0.25 noborder lc rgb '%s' title 'fitted tail, 95 %%', "
			"'' index %zu using 1:2 with lines dt 3 lw 2 lc rgb '%s' notitle,",
			plot->name, lines, colour[tail_rank], lines, colour[tail_rank]);
		buf_append_str(note, "The shaded tail is fitted to the largest twentieth of ");
		buf_append_str(note, tail_rank == REPORT_ROUTES_MAX
					     ? "the requests of all other routes"
					     : c->route[r.order[tail_rank]]);
		buf_append_str(note, " (generalised Pareto; the band holds 95 of 100 fits to "
				     "resamples of the same requests).");
	} else if (result == 0) {
		buf_append_str(body, "plot");
		buf_printf(note,
			   "No tail is drawn: no route has %d requests that differ enough.",
			   20 * TAIL_EXCESSES_LEAST);
	}
	if (plots.length > 0)
		buf_append(body, plots.bytes, plots.length);
	buf_append_str(body, "\n");
	body->failed |= plots.failed || tail_data.failed;
	buf_release(&plots);
	buf_release(&tail_data);
	routes_release(&r);
	return result;
}

/* ---- over time ------------------------------------------------------------------ */

/* Something that begins or ends, and what it adds. */
struct change {
	int64_t at_ns, add;
};

/* Departures of an instant before its arrivals. */
static int in_time(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return (x->add > y->add) - (x->add < y->add);
}

static double seconds(const struct trace_columns *c, int64_t at_ns)
{
	return (double)(at_ns - c->arrival_ns[0]) / 1e9;
}

/* Rows "seconds most", the most within each bin, of a sum over requests under
 * way: of `weight`, or of ones if that is NULL. */
static int put_sum(struct buf *data, const struct trace_columns *c, const int64_t *weight,
		   uint64_t *highest, struct err *err)
{
	struct change *change = calloc(2 * c->count + 1, sizeof(*change));
	if (!change)
		return err_set(err, "out of memory for %zu requests", c->count);
	for (size_t i = 0; i < c->count; i++) {
		int64_t add = weight ? weight[i] : 1;
		change[2 * i] = (struct change){c->arrival_ns[i], add};
		change[2 * i + 1] = (struct change){c->arrival_ns[i] + c->service_ns[i], -add};
	}
	/* A service of zero would end before it began. */
	qsort(change, 2 * c->count, sizeof(*change), in_time);
	int64_t begin = c->arrival_ns[0], span = change[2 * c->count - 1].at_ns - begin + 1;
	int64_t now = 0;
	size_t next = 0;
	for (int bin = 0; bin < BINS; bin++) {
		int64_t end = begin + (int64_t)((double)span * (bin + 1) / BINS);
		int64_t most = now;
		for (; next < 2 * c->count && (change[next].at_ns < end || bin == BINS - 1);
		     next++) {
			now += change[next].add;
			most = now > most ? now : most;
		}
		buf_printf(data, "%.6g %" PRId64 "\n", seconds(c, end), most);
		if (most > 0 && (uint64_t)most > *highest)
			*highest = (uint64_t)most;
	}
	free(change);
	return 0;
}

static void time_axis(struct buf *body)
{
	buf_append_str(body, "set xlabel 'seconds since the first request'\n");
}

int report_plot_occupancy(const struct report_series *series, struct plot *plot,
			  struct err *err)
{
	struct buf *body = &plot->body;
	uint64_t buckets = 0;
	common(body);
	time_axis(body);
	buf_append_str(body, "set ylabel 'requests under way'\nset yrange [0:*]\n");
	for (uint32_t k = 0; series->plan && k < series->plan->class_count; k++)
		buckets += series->plan->class[k].count;
	buf_printf(body,
		   "plot '%s.dat' with fillsteps fs transparent solid 0.3 lc rgb '%s' notitle,"
		   " '' with steps lw 1.2 lc rgb '%s' title 'most within %s'",
		   plot->name, colour[0], colour[0], "1/600 of the time");
	if (buckets > 0)
		buf_printf(body,
			   ", %" PRIu64
			   " with lines lw 1.5 dt 2 lc rgb '%s' title 'buckets of the plan: "
			   "%" PRIu64 "'",
			   buckets, colour[6], buckets);
	buf_append_str(body, "\n");
	return put_sum(&plot->data, series->columns, NULL, &buckets, err);
}

int report_plot_live(const struct report_series *series, struct plot *plot, struct err *err)
{
	struct buf *body = &plot->body;
	uint64_t bytes = 0, most = 1;
	for (uint32_t k = 0; series->plan && k < series->plan->class_count; k++)
		bytes += series->plan->class[k].count * series->plan->class[k].size_bytes;
	most = bytes > 0 ? bytes : most;
	if (put_sum(&plot->data, series->columns, series->live_bytes, &most, err) < 0)
		return -1;
	common(body);
	time_axis(body);
	plot_bytes_axis(body, 'y', 0, most, false);
	buf_printf(body,
		   "plot '%s.dat' with fillsteps fs transparent solid 0.3 lc rgb '%s' notitle,"
		   " '' with steps lw 1.2 lc rgb '%s' title 'peaks of those under way'",
		   plot->name, colour[2], colour[2]);
	if (bytes > 0)
		buf_printf(body,
			   ", %" PRIu64
			   " with lines lw 1.5 dt 2 lc rgb '%s' title 'buckets of the plan'",
			   bytes, colour[6]);
	buf_append_str(body, "\n");
	return 0;
}

/* Rows "seconds median most", by arrival; bins without any are left out. */
static int put_need_bins(struct buf *data, const struct trace_columns *c, struct err *err)
{
	uint64_t *need = malloc((c->count + 1) * sizeof(*need));
	if (!need)
		return err_set(err, "out of memory for %zu requests", c->count);
	int64_t begin = c->arrival_ns[0], span = c->arrival_ns[c->count - 1] - begin + 1;
	size_t next = 0;
	for (int bin = 0; bin < NEED_BINS; bin++) {
		int64_t end = begin + (int64_t)((double)span * (bin + 1) / NEED_BINS);
		size_t n = 0;
		for (; next < c->count && (c->arrival_ns[next] < end || bin == NEED_BINS - 1);
		     next++)
			need[n++] = c->need_bytes[next] > 0 ? c->need_bytes[next] : 1;
		if (n == 0)
			continue;
		qsort(need, n, sizeof(*need), ascending);
		buf_printf(data, "%.6g %" PRIu64 " %" PRIu64 "\n", seconds(c, end),
			   need[(n - 1) / 2], need[n - 1]);
	}
	free(need);
	return 0;
}

int report_plot_need_time(const struct report_series *series, struct plot *plot,
			  struct err *err)
{
	const struct trace_columns *c = series->columns;
	struct buf *body = &plot->body;
	uint64_t least = UINT64_MAX, most = 1;
	for (size_t i = 0; i < c->count; i++) {
		uint64_t need = c->need_bytes[i] > 0 ? c->need_bytes[i] : 1;
		least = need < least ? need : least;
		most = need > most ? need : most;
	}
	common(body);
	time_axis(body);
	plot_bytes_axis(body, 'y', least, most, true);
	buf_append_str(body, "set ylabel 'need'\n");
	put_size_lines(series->plan, false, body);
	buf_printf(
		body,
		"plot '%s.dat' using 1:3 with points pt 7 ps 0.4 lc rgb '%s' title 'greatest', "
		"'' using 1:2 with lines lw 1.5 lc rgb '%s' title 'median'\n",
		plot->name, colour[1], colour[0]);
	return put_need_bins(&plot->data, c, err);
}

/* ---- places ------------------------------------------------------------------------ */

void report_plot_places(const struct places *places, struct plot *plot)
{
	struct buf *body = &plot->body;
	size_t n = places->count < BARS ? places->count : BARS;
	common(body);
	plot_bytes_axis(body, 'x', 0, n > 0 ? (uint64_t)places->place[0].requested_bytes : 1,
			false);
	buf_append_str(body, "unset key\nset xlabel 'bytes asked for in requests'\n"
			     "set style fill solid 0.6 noborder\nset lmargin 34\nset ytics (");
	for (size_t i = 0; i < n; i++) {
		struct str name = places->place[i].name;
		if (name.length > 32)
			name.length = 32;
		buf_append_str(body, i > 0 ? ", " : "");
		plot_quote(body, name);
		buf_printf(body, " %zu", n - i);
		buf_printf(&plot->data, "%" PRId64 " %zu\n", places->place[i].requested_bytes,
			   n - i);
	}
	buf_printf(
		body,
		")\nset yrange [0.4:%zu.6]\n"
		"plot '%s.dat' using (0.5*$1):2:(0.5*$1):(0.35) with boxxyerror lc rgb '%s'\n",
		n, plot->name, colour[0]);
}
