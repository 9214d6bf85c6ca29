/* SPDX-License-Identifier: MIT */
/*
 * --record: one message (base/record_message.h) for each answer, to a process
 * that makes a trace of them, which `pail serve` started before it became the
 * server. A message goes the way of a line of the log (log.h): into a ring of the
 * worker's, from which the log's thread writes it to the recorder's pipe, in
 * pieces of whole messages that the pipe takes at once (PIPE_BUF). What finds no
 * room in the ring is dropped and counted, and the next message says how many were.
 *
 * The recorder is not ours to keep alive: when it is gone, messages are dropped
 * and the server goes on.
 */
#ifndef PAIL_SERVER_RECORD_H
#define PAIL_SERVER_RECORD_H

#include "base/err.h"
#include "base/record_message.h"
#include "server/operation/log.h"

#include <stdint.h>

/* In a worker. */
void record_request(struct log *log, const struct log_line *line);

/* -- the main thread ---------------------------------------------------------- */

/* "FD:PID" into core.record_fd and core.recorder; "-:0": only to count it in the
 * bound. -1: it is no such word. */
int record_parse(const char *word, struct err *err);
/* Before any message: that this process serves. */
void record_begin(void);
/* Once no worker turns any more and all is written; `untold` is what was dropped
 * and no message tells. */
void record_end(uint64_t untold);
/* In the process that started the recorder: closes the pipe and waits for it,
 * so that the trace is whole when this process ends. */
void record_wait(void);

#endif
