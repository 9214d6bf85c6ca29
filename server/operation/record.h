/* SPDX-License-Identifier: MIT */
/*
 * --record: one message (base/record_message.h) for each answer, to a process
 * that makes a trace of them, which `pail serve` started before it became the
 * server. The pipe between the two is the bounded ring: the kernel keeps it
 * outside both, so it outlives a process that fails, and its writes do not wait
 * (O_NONBLOCK). A worker gathers messages and writes them when they fill a piece
 * of PIPE_BUF or RECORD_NS have passed. What finds no room is dropped and
 * counted, and the next message says how many were.
 *
 * The recorder is not ours to keep alive: when it is gone, messages are dropped
 * and the server goes on.
 *
 * Threads: each worker its own struct record.
 */
#ifndef PAIL_SERVER_RECORD_H
#define PAIL_SERVER_RECORD_H

#include "base/err.h"
#include "base/record_message.h"
#include "server/operation/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { RECORD_BUFFER_BYTES = 128 << 10, RECORD_NS = 20 * 1000 * 1000 };

struct record {
	uint32_t length;
	bool gone; /* nobody reads the pipe any more */
	uint64_t flushed_ns;
	uint64_t dropped; /* not yet told */
	char bytes[RECORD_BUFFER_BYTES];
};

void record_init(struct record *record);
void record_request(struct record *record, const struct log_line *line);
/* Writes what is due, as far as there is room. */
void record_flush(struct record *record, uint64_t now_ns);
/* Writes all of it; waits for room no longer than that. */
void record_drain(struct record *record, int patience_ms);
/* Writes what there is room for now, in a process that is about to end. */
void record_salvage(struct record *record);

/* -- the main thread ---------------------------------------------------------- */

/* "FD:PID" into core.record_fd and core.recorder; "-:0": only to count it in the
 * bound. -1: it is no such word. */
int record_parse(const char *word, struct err *err);
void record_begin(void);
/* Once no worker turns any more; `untold` is what they dropped and did not tell. */
void record_end(uint64_t untold);
/* In the process that started the recorder: closes the pipe and waits for it,
 * so that the trace is whole when this process ends. */
void record_wait(void);

#endif
