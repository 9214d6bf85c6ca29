/* SPDX-License-Identifier: MIT */
/*
 * The recorder: drains the ring, has the events attributed, works out what
 * each request needs, and stores it.
 *
 *	collect_open() -> start the program with collect_environment()
 *	-> collect_begin() once it runs -> collect_step() again and again
 *	-> collect_finish() when all of it is dead -> collect_close()
 *
 * Until collect_begin() nothing is in the trace's place. When the disk fills
 * up, the program goes on and so does the recording: what could not be stored
 * is counted (summary.lost_requests, meta lost_requests), and tried again each
 * second. Memory is bounded by what the program has in flight.
 */
#ifndef PAIL_LIBTRACE_COLLECT_H
#define PAIL_LIBTRACE_COLLECT_H

#include "base/err.h"
#include "libtrace/attribution/attribute.h"
#include "libtrace/symbols/probes.h"
#include "libtrace/ring/ring.h"
#include "libtrace/attribution/rows.h"
#include "libtrace/trace.h"

struct collect_options {
	const char *trace_path;
	enum rows_detail detail; /* ROWS_STACKS sets ring.stacks */
	bool keep_raw;           /* events as they came, too: to be attributed again */
	enum attribute_split split;
	enum redact redact; /* keep_raw wants REDACT_NONE: raw events hold heads as they came */
	struct ring_options ring;
	/* Requests begin and end with calls of these; name NULL: no. Sets ring.stamped. */
	struct probe_function begin, end;
	const char *command;      /* for the trace's meta */
	const char *library_path; /* of libpailtrace.so */
};

struct collect_summary {
	struct attribute_totals totals;
	struct ring_stats ring;
	int64_t lost_requests;
	uint64_t lost_marks; /* calls of begin and end that could not be noted */
	int64_t sites;       /* places that allocate; 0 without ROWS_STACKS */
	int64_t span_ns;     /* since collect_open() */
	bool cut;            /* a program has truncated the shared memory */
	char lost_because[512];
};

struct collect;
int collect_open(const struct collect_options *options, struct collect **collect,
		 struct err *err);
/* As ring_environment(). */
char **collect_environment(const struct collect *collect, char *const environment[]);
int collect_begin(struct collect *collect, struct err *err);
/* Waits up to timeout_ms for events and works them off. Call it at least every
 * 100 ms: the program may be waiting. */
void collect_step(struct collect *collect, int timeout_ms);
/* The program is dead: works off the rest and completes the trace. -1 if that
 * could not be written. */
int collect_finish(struct collect *collect, struct err *err);
void collect_summary(const struct collect *collect, struct collect_summary *summary);
void collect_close(struct collect *collect);

#endif
