/* SPDX-License-Identifier: MIT */
/*
 * A plan to look at: `pail plan --html`, `--plots` and `--term`. The same plots
 * on a page, as files for gnuplot, and in the terminal.
 */
#ifndef PAIL_CLI_PLAN_LOOK_H
#define PAIL_CLI_PLAN_LOOK_H

#include "cli/planning/plan_text.h"

struct plan_look {
	const char *argv0;
	const char *html;   /* a file to write, or NULL */
	const char *folder; /* for scripts and data, or NULL */
	bool term;          /* draw on standard output */
};

/* Does what is asked. Plots for the terminal go to the end of `out`. Where there
 * is no gnuplot it says so in one line on stderr and does all else. */
int plan_look(const struct plan_look *look, const struct plan_text *text, struct buf *out,
	      struct err *err);

#endif
