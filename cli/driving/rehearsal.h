/* SPDX-License-Identifier: MIT */
/*
 * A recorded traffic made ready to be run again: which request is due when, as
 * a load for the driver, and what each allocates, as a file for the server's
 * builtin:replay. Request ID of the trace becomes GET /replay/ID, or /replay/rK/ID
 * where rule K of the plan says what bucket its route gets: rehearsal_plan() is
 * the plan in which these paths meet the same rules.
 *
 * A request that outgrows its bucket dies there, so its list ends with the call
 * that does it, at the time at which that call was due. What the trace knows
 * only by its need (imported, or recorded without events) becomes one block of
 * that need.
 */
#ifndef PAIL_CLI_REHEARSAL_H
#define PAIL_CLI_REHEARSAL_H

#include "base/limits.h"
#include "cli/driving/forecast.h"
#include "cli/driving/load.h"
#include "libtrace/trace.h"

struct rehearsal_options {
	double speed; /* 2: arrivals and services in half the time */
	enum arena_policy policy;
	const struct plan *plan; /* its classes */
	const struct forecast_routes
		*routes; /* of the columns; NULL: the first class for all */
};

/* The plan for the server that replays: rules by number instead of by route. */
void rehearsal_plan(const struct plan *plan, struct plan *replaying);

/* Writes the replay file for rows [0, count) of the columns and fills `load`,
 * whose request i is row i. Frees nothing of the columns; the caller releases
 * the load. `without_events` counts the rows made of their need alone. */
int rehearsal_make(struct trace *trace, const struct trace_columns *columns, size_t count,
		   const struct rehearsal_options *options, const char *replay_path,
		   struct load *load, size_t *without_events, struct err *err);

/* The load alone, with the methods and targets that were recorded, for a server
 * that is no replay. Bodies were not recorded: a POST, PUT or PATCH gets one of as
 * many bytes as came in. What was not HTTP is an error that names the row. */
int rehearsal_targets(struct trace *trace, const struct trace_columns *columns, size_t count,
		      double speed, struct load *load, struct err *err);

#endif
