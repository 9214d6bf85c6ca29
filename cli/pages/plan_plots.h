/* SPDX-License-Identifier: MIT */
/*
 * The plots of a plan, as gnuplot's words and data. Each works its numbers out of
 * the traffic that the plan was made for; all but the first want a plan.
 */
#ifndef PAIL_CLI_PLAN_PLOTS_H
#define PAIL_CLI_PLAN_PLOTS_H

#include "cli/driving/forecast.h"
#include "cli/planning/plan_text.h"
#include "cli/pages/plot.h"

/* Bound against rejections: the rate and the upper end of its interval. */
int plan_plot_pareto(const struct plan_text *text, struct plot *plot, struct err *err);
/* The rate by size and count of one class, and where the target is met: by the
 * rate, and by the upper end of its interval. */
int plan_plot_heat(const struct plan_text *text, uint32_t class_index, struct plot *plot,
		   struct err *err);
/* The rate at other loads, with its interval. */
int plan_plot_load(const struct plan_text *text, struct plot *plot, struct err *err);

/* What came of each route's requests under the plan. */
struct plan_route_fate {
	uint32_t route;
	uint64_t requests, rejected_500, rejected_503;
};
/* malloc'd, most rejections first. */
int plan_route_fates(const struct plan_text *text, struct plan_route_fate **fates,
		     size_t *count, struct err *err);
int plan_plot_routes(const struct plan_text *text, const struct plan_route_fate *fates,
		     size_t count, struct plot *plot, struct err *err);

#endif
