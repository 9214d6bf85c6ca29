/* SPDX-License-Identifier: MIT */
/* pail report --html: all that a trace tells, on one page. */
#ifndef PAIL_CLI_REPORT_PAGE_H
#define PAIL_CLI_REPORT_PAGE_H

#include "base/arena.h"
#include "libtrace/trace.h"

struct report_page {
	const char *argv0;
	const char *html;   /* where to */
	const char *config; /* a plan whose sizes are drawn in; or NULL */
	enum arena_policy policy;
};

/* Gives the exit code. */
int report_page(const struct report_page *ask, struct trace *trace);

#endif
