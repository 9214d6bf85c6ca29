/* SPDX-License-Identifier: MIT */
/* pail report --by site: where allocations come from, and what they leave. */
#ifndef PAIL_CLI_REPORT_SITES_H
#define PAIL_CLI_REPORT_SITES_H

#include "libtrace/trace.h"

struct report_sites {
	const char *sort; /* NULL: requested_bytes */
	uint64_t limit;
	bool json, csv;
};

/* Gives the exit code. */
int report_sites(const char *argv0, const struct report_sites *words, struct trace *trace);

#endif
