/* SPDX-License-Identifier: MIT */
/*
 * The trace of a server of ours, from what it tells itself (base/record_message.h):
 * nothing is guessed, so every request is exact, and none has events. A row is what
 * `pail record` would write of the same request:
 *
 *	start_ns	its arrival, before it waited for a bucket
 *	end_ns		start_ns and as long as it held the bucket: the wait is the queue's
 *	needs		the most its bucket ever held; of one that was refused memory, what
 *			it would have come to at the least, and the row is incomplete
 *	target, route	redacted and named by the same functions
 *
 * One that found no bucket has neither need nor service: it is stored, incomplete.
 * How long one waited, for a bucket or for nothing, is a row of request_wait.
 *
 * Until the first message nothing is in the trace's place. Rows are committed every
 * second. When the disk fills up it goes on, counts what could not be stored (meta
 * lost_requests, with what the server dropped) and tries again each second. Memory
 * is bounded. One thread.
 */
#ifndef PAIL_LIBTRACE_SERVED_H
#define PAIL_LIBTRACE_SERVED_H

#include "base/err.h"
#include "libtrace/attribution/redact.h"

#include <stdint.h>

struct served_options {
	const char *trace_path;
	const char *command; /* for the trace's meta */
	enum redact redact;
};

struct served_summary {
	int64_t requests;  /* stored */
	int64_t refused;   /* of them: found no bucket */
	uint64_t dropped;  /* by the server: the pipe was full */
	int64_t unstored;  /* a full disk */
	int64_t processes; /* that served, one after another */
};

struct served;
int served_open(const struct served_options *options, struct served **served, struct err *err);
/* Reads messages until all who write them are gone, and completes the trace. -1: it
 * could not be written, or not all of it. */
int served_run(struct served *served, int fd, struct err *err);
void served_summary(const struct served *served, struct served_summary *summary);
void served_close(struct served *served); /* NULL is fine */

#endif
