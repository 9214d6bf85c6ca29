/* SPDX-License-Identifier: MIT */
/*
 * Whether code that is about to be left by a jump may hold a lock inside libc
 * or ld.so: the time zone's, the name service's, the list of streams. Such a
 * lock has no owner that could be asked and nobody else could ever take it.
 *
 * Told by the frames of the abandoned stack: where handler code called into
 * libc, the function called is either one of LIBC_LOCK_NONE's (strings, sorting,
 * printing, plain system calls), which lock nothing but streams, and streams are
 * released (fault_release_streams); or it is not, and then the process is
 * tainted (fail_taint) and will be replaced.
 *
 * Cheap where it matters: frames are only walked if some word of the stack that
 * is in use points into libc's code. A stack that can't be walked to its end (a
 * wild jump, frames overwritten) is judged by the program counter alone.
 */
#ifndef PAIL_SERVER_LIBC_LOCK_H
#define PAIL_SERVER_LIBC_LOCK_H

#include <stdbool.h>
#include <stdint.h>

struct pail_request;

enum { LIBC_LOCK_FRAMES_MAX = 4096 };

/* Looks the functions up; once, before requests are served. */
void libc_lock_open(void);
/* In a signal handler (in_signal), or on the request's own stack: r is left at
 * pc, with its stack pointer at sp. Taints the process if need be. */
void libc_lock_left(struct pail_request *r, uintptr_t pc, uintptr_t sp, bool in_signal);
/* A fault came while frames were walked: goes on behind the walk. Returns if none was. */
void libc_lock_walk_failed(void);

#endif
