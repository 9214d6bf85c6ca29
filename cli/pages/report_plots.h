/* SPDX-License-Identifier: MIT */
/*
 * The plots of `pail report --html`: needs as shares beyond a size, and what was
 * going on over time. Pure: columns in, gnuplot's words and data out.
 */
#ifndef PAIL_CLI_REPORT_PLOTS_H
#define PAIL_CLI_REPORT_PLOTS_H

#include "base/limits.h"
#include "cli/places.h"
#include "cli/pages/plot.h"
#include "libtrace/trace.h"

enum { REPORT_ROUTES_MAX = 7 /* with a line of their own; the rest is one */ };

struct report_series {
	const struct trace_columns *columns;
	const int64_t *live_bytes; /* by row: the peak of what the request held */
	const struct plan *plan;   /* NULL: none */
};

/* The share of requests that need more than so much, by route, with the plan's
 * sizes and a fitted tail where there are requests enough. `note` says, for the
 * caption, what the tail is of, or why there is none. */
int report_plot_needs(const struct report_series *series, struct plot *plot, struct buf *note,
		      struct err *err);
int report_plot_occupancy(const struct report_series *series, struct plot *plot,
			  struct err *err);
int report_plot_need_time(const struct report_series *series, struct plot *plot,
			  struct err *err);
int report_plot_live(const struct report_series *series, struct plot *plot, struct err *err);
/* Bars: the places that ask for most. Only for a trace that has sites. */
void report_plot_places(const struct places *places, struct plot *plot);

#endif
