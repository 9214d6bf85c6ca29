/* SPDX-License-Identifier: MIT */
/*
 * What a recording (collect.h) and an attribution of kept events (again.h) put
 * into a trace alike: what a request needs, and the sums over all of them.
 */
#ifndef PAIL_LIBTRACE_ROWS_H
#define PAIL_LIBTRACE_ROWS_H

#include "base/replay.h"
#include "libtrace/attribution/attribute.h"
#include "libtrace/trace.h"

enum rows_detail { ROWS_SUMMARY, ROWS_EVENTS, ROWS_STACKS };
extern const char *const rows_detail_name[3];
extern const char *const rows_split_name[5]; /* by enum attribute_split */

/* A short list of operations that was replayed, and what it needs: one request
 * is much like another, and most of them are exactly alike. */
enum { ROWS_KNOWN = 64, ROWS_KNOWN_OPS = 64 };
struct rows_known {
	size_t count; /* 0: none */
	struct replay_op ops[ROWS_KNOWN_OPS];
	struct replay_need bump, reuse;
};
struct rows_replay {
	struct replay replay;
	struct rows_known known[ROWS_KNOWN]; /* by hash */
};

/* Address space for replays, less of it where a process limit leaves less; -1
 * with errno. All zero is a released one. */
int rows_reserve(struct rows_replay *replay);
void rows_release(struct rows_replay *replay);
/* Sets what follows from the operations; the row is incomplete if they need
 * more than the replay has. */
void rows_need(struct rows_replay *replay, const struct replay_op *ops, size_t count,
	       struct trace_request *row);
int rows_put_number(struct trace *trace, const char *key, int64_t value, struct err *err);
int rows_put_totals(struct trace *trace, const struct attribute_totals *totals,
		    struct err *err);
/* lost_requests keeps room for any number: it may have to be changed in place
 * on a full disk. */
void rows_lost_text(int64_t lost, char text[32]);

#endif
