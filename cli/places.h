/* SPDX-License-Identifier: MIT */
/*
 * The sites of a trace as a person asks for them: one row per place, by the
 * name of its innermost frame that is not an allocator's own, with all the
 * stacks that lead there; and for each route whether it could live in an arena.
 *
 * A route can if nothing that its requests allocate outlives them, and they
 * free nothing that was there before: `safe`. If only its first requests do so
 * (the caches fill), it is `warm`: in an arena, warm up outside of it.
 */
#ifndef PAIL_CLI_PLACES_H
#define PAIL_CLI_PLACES_H

#include "libtrace/trace.h"

struct place {
	struct str name;
	int64_t allocations, requested_bytes;       /* in requests */
	int64_t outside_allocations, outside_bytes; /* of no request */
	int64_t requests;                           /* that came by here: at least so many */
	int64_t live_peak_bytes;                    /* at most: peaks of its stacks, together */
	int64_t left_bytes;
	int64_t escapes, escaped_bytes;
	int64_t freed_by_request, freed_by_connection, freed_by_other;
	int64_t kept_ns_sum, kept_ns_max;
	int64_t routes, stacks;
	size_t site; /* the stack with most bytes: index of trace_sites.site */
	int64_t site_bytes;
};

enum verdict { ROUTE_SAFE, ROUTE_WARM, ROUTE_UNSAFE };

struct arena_route {
	struct str name;
	enum verdict verdict;
	int64_t requests, unclean; /* that left or freed what is not theirs */
	int64_t escapes, escaped_bytes, foreign_frees;
	int64_t first_clean_after; /* requests until the last unclean one */
};

struct places {
	struct trace_sites sites;
	struct place *place;
	size_t count;
	uint32_t *place_of; /* by index of sites.site; NULL once sorted */
	struct arena_route *route;
	size_t routes;
};

int places_load(struct places *places, struct trace *trace, struct err *err);
void places_release(struct places *places);
/* By a column's JSON name; descending, ties and "key" by name. -1: no such. */
int places_sort(struct places *places, const char *column);
const char *places_columns(void);

#endif
