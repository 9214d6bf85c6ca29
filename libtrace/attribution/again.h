/* SPDX-License-Identifier: MIT */
/*
 * Attributes the raw events of a trace again, by today's rules, into a trace
 * of its own: what the recorder does with events as they come, done with those
 * that were kept. With the same rules and options the requests are the same.
 *
 * The new trace appears when it is whole, and may take the place of the old one.
 * It holds the raw events, too. What cannot follow from them (when, on what
 * machine, what was dropped, names of sites) is taken over.
 */
#ifndef PAIL_LIBTRACE_AGAIN_H
#define PAIL_LIBTRACE_AGAIN_H

#include "libtrace/attribution/rows.h"

struct again_options {
	const char *trace_path; /* to write */
	enum attribute_split split;
	enum rows_detail detail; /* no more than was recorded */
	bool no_conditions;      /* as if condition variables had not been recorded */
	/* Called now and then with the events done so far; not 0 ends it. May be NULL. */
	int (*step)(int64_t events, void *context);
	void *context;
};

struct again_summary {
	struct attribute_totals totals;
	int64_t events;
	int64_t missing; /* events that the trace does not hold, as far as known */
	bool cut;        /* the recorder did not get to the end */
};

/* What the trace was recorded with. */
int again_recorded(struct trace *from, enum attribute_split *split, enum rows_detail *detail,
		   struct err *err);
int again_attribute(struct trace *from, const struct again_options *options,
		    struct again_summary *summary, struct err *err);

#endif
