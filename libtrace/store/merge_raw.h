/* SPDX-License-Identifier: MIT */
/*
 * Raw events of several traces in one: those of one trace after those of another,
 * numbered anew like everything else of a merge, so that all of it can be attributed
 * again (attribution/again.h). Whatever is alive where one recording ended has
 * ended there, so meta says where that is, for each recording K from 1:
 *
 *	raw_source.K.events	how many numbers of events it has, lost ones included
 *	raw_source.K.end_ns	when it ended, in the time of the merged trace
 *	raw_source.K.cut	1: its recorder did not get to the end
 *
 * A trace that was merged itself brings its own list.
 */
#ifndef PAIL_LIBTRACE_MERGE_RAW_H
#define PAIL_LIBTRACE_MERGE_RAW_H

#include "base/err.h"
#include "libtrace/trace.h"

#include <stdbool.h>
#include <stdint.h>

struct merge_raw {
	bool wanted;             /* all traces have raw events */
	int64_t process, thread; /* the greatest numbers so far */
	int64_t events;          /* numbers of events given out */
	int recordings;
};

/* How much is added to a trace's times and numbers of sites. */
struct merge_raw_shift {
	int64_t time_ns, site;
};

/* Whether to merge any: one trace without would lose its requests. */
int merge_raw_look(struct merge_raw *m, struct trace *const *in, size_t count, struct err *err);
int merge_raw_add(struct merge_raw *m, struct trace *out, struct trace *in,
		  const struct merge_raw_shift *shift, struct err *err);

/* A recording of a trace: its events are [first, first + events). */
struct raw_source {
	int64_t events, end_ns;
	bool cut;
};
/* The K-th, from 1; false if there is none, as in a trace that was not merged. */
bool raw_source_of(struct trace *trace, int k, struct raw_source *source);

#endif
