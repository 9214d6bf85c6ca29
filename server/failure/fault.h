/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong in a handler's code, turned into the end of its request:
 *
 *	SIGSEGV in a guard zone     "stack-overflow"
 *	SIGSEGV, SIGBUS elsewhere   "segv", "bus"
 *	SIGFPE, SIGILL              "fpe", "ill"
 *	abort(), a failed assert(), a smashed stack, exit()
 *	                            "abort", "assert", "stack-smashed", "exit"
 *	too much CPU time           "deadline-cpu"  a tick of each thread's CPU clock
 *	too long in one stretch     "deadline-wall" the main thread's watch
 *
 * The signal handler runs on the worker's signal stack, edits the interrupted
 * registers so that the code goes on in request_abandoned() at the top of the
 * request's own stack, and returns. A deadline lets code that is inside libc
 * or ld.so leave it first, step by step, so that no lock of theirs is left
 * held; locks of stdio streams that a fault left held are released; where libc
 * may hold another (libc_lock.h), the process is replaced.
 *
 * Not contained (fail.h): a fault outside a request, in the core's own doings
 * (request.h, critical), in ld.so other than by stack overflow, and a signal
 * that someone sent.
 */
#ifndef PAIL_SERVER_FAULT_H
#define PAIL_SERVER_FAULT_H

#include "base/err.h"

#include <signal.h>

enum {
	FAULT_TICK_SIGNAL = SIGPROF,
	FAULT_WATCH_SIGNAL = SIGVTALRM,
	FAULT_TICK_NS = 10 * 1000 * 1000,
};

struct worker;

/* Handlers for the whole process; once. */
int fault_open(struct err *err);
/* The signal stack and the CPU tick of the calling worker's thread. */
int fault_thread_open(struct worker *worker, struct err *err);
/* Looks whether a handler keeps its thread too long, and says so to it. Any thread. */
void fault_watch(struct worker *worker);
/* After a jump: streams that the abandoned code had locked. */
void fault_release_streams(void);
void fault_release_stream(void *stream); /* a FILE */

#endif
