/* SPDX-License-Identifier: MIT */
/*
 * A recorded traffic made ready to be run again: which request is due when, as
 * a load for the driver, and what each allocates, as a file for the server's
 * builtin:replay. Request ID of the trace becomes GET /replay/ID.
 *
 * A request that outgrows its bucket dies there, so its list ends with the call
 * that does it, at the time at which that call was due. What the trace knows
 * only by its need (imported, or recorded without events) becomes one block of
 * that need.
 */
#ifndef PAIL_CLI_REHEARSAL_H
#define PAIL_CLI_REHEARSAL_H

#include "base/limits.h"
#include "cli/load.h"
#include "libtrace/trace.h"

struct rehearsal_options {
	double speed;          /* 2: arrivals and services in half the time */
	uint64_t bucket_bytes; /* of the one class */
	enum arena_policy policy;
};

/* Writes the replay file for rows [0, count) of the columns and fills `load`,
 * whose request i is row i. Frees nothing of the columns; the caller releases
 * the load. `without_events` counts the rows made of their need alone. */
int rehearsal_make(struct trace *trace, const struct trace_columns *columns, size_t count,
		   const struct rehearsal_options *options, const char *replay_path,
		   struct load *load, size_t *without_events, struct err *err);

#endif
