/* SPDX-License-Identifier: MIT */
/*
 * Failures that no jump can make good, and what they cost:
 *
 *	fail_stop    the core's own state can't be trusted on this thread (a fault
 *	             outside of handlers, in the core's own doings, in ld.so). The
 *	             thread does nothing more: its connections are closed, its share
 *	             of the listener passes on. The other workers answer what they
 *	             have, then the process ends by that signal
 *	fail_taint   a request was left while libc may have held a lock of its own
 *	             (libc_lock.h). Everything goes on to its end, this thread's
 *	             other requests too, but nothing new begins: the process drains
 *	             and ends with FAIL_EXIT_TAINTED
 *	fail_now     no thread can go on (the lock of the system region was held, no
 *	             worker's thread, a signal that someone sent): the process ends
 *
 * After each of them the supervisor starts anew (supervise.h), or whoever
 * watches a server without one. The thread that stopped stays in its signal
 * handler until the end, so a core dump shows where it was.
 */
#ifndef PAIL_SERVER_FAIL_H
#define PAIL_SERVER_FAIL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum { FAIL_SIGNAL = SIGSTKFLT, FAIL_EXIT_TAINTED = 75 };

__attribute__((noreturn)) void fail_stop(int signal, uintptr_t pc, const char *what);
__attribute__((noreturn)) void fail_now(int signal, uintptr_t pc, const char *what);
void fail_taint(uintptr_t pc, const char *what);

/* Whether one has come, and as what. */
bool fail_pending(void);
/* The end of a process that has failed and drained. */
__attribute__((noreturn)) void fail_end(void);

#endif
