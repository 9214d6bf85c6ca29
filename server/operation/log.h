/* SPDX-License-Identifier: MIT */
/*
 * What a worker has to tell: lines of the access log, lines of the error log (those
 * with a cause), and with --record messages for the recorder. It puts each whole
 * into a ring of its own and goes on; a thread (log_writer.h) writes out what the
 * rings of all workers hold. No worker ever waits for a file, nor makes a system
 * call for a line: what finds no room in its ring is dropped and counted, and the
 * next line that finds some says how many were ({"dropped_lines":N}; of the access
 * log in a format that has no place for it, in the error log).
 *
 * The rings lie in memory that the supervisor shares: what a process that is
 * killed leaves in them the supervisor writes out. It is mapped once, before
 * there are two processes, and counted in the bound (term "log").
 *
 * Threads: each worker its own struct log.
 */
#ifndef PAIL_SERVER_LOG_H
#define PAIL_SERVER_LOG_H

#include "base/limits.h"
#include "server/operation/log_line.h"
#include "server/operation/ring.h"

#include <stdbool.h>
#include <stdint.h>

enum log_stream { LOG_ACCESS, LOG_ERRORS, LOG_RECORDS, LOG_STREAMS };

struct log_counts {
	uint64_t told, dropped; /* lines, or messages */
};

struct log {
	struct ring ring[LOG_STREAMS];
	bool fresh;                                /* something was put in this turn */
	uint64_t untold[LOG_STREAMS];              /* dropped, and not said yet */
	struct log_counts count[LOG_STREAMS];      /* written by metrics_add() */
	char line[LOG_LINE_MAX + LOG_DROPPED_MAX]; /* while it is made */
};

/* -- the memory of all workers' rings ------------------------------------------- */

size_t log_memory_bytes(const struct plan *plan);
/* A ring in it; zeroed memory has empty ones. */
struct ring log_memory_ring(void *memory, const struct plan *plan, uint32_t worker,
			    enum log_stream stream);

/* -- the worker's side ------------------------------------------------------------ */

/* `memory` NULL: nothing fits, and all is counted as dropped. */
void log_init(struct log *log, void *memory, const struct plan *plan, uint32_t worker);
/* To the access log, the error log, or both: what the plan says. */
void log_request(struct log *log, const struct log_line *line);
/* A message for the recorder; false: dropped. */
bool log_put(struct log *log, enum log_stream stream, const void *piece, size_t length);
/* At the end of a turn: wakes the thread if there is something for it. */
void log_wake(struct log *log);

#endif
