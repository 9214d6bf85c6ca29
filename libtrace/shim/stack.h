/* SPDX-License-Identifier: MIT */
/*
 * The call stack of an allocation, as one number: its entry in the region's
 * table (shim/region.h).
 *
 * Four things make it cheap. A stack that ends in the same place and in the same
 * call as one before is not walked at all, if nothing that its walk read has
 * changed: a few of these are kept, as servers come the same way again and again.
 * A step outwards is a rule (shim/unwind.h), kept by code address in a table of
 * this process. A walk remembers the frames that the thread's last walk found:
 * where one is met again, all outer return addresses are re-read where they lay,
 * and if none has changed, nor an rbp that a rule went by, then the rest of the
 * stack is the same and was numbered before. And what is new is numbered by one
 * look into the table per frame.
 *
 * Never a lock, never an allocation, never the loader's: modules are found by
 * glibc's _dl_find_object, which is made for signal handlers. No memory is read
 * but the stack that the thread runs on, between its own stack pointer and the
 * end that is known or was probed by the kernel. A handler that interrupts a
 * walk gets no stack (counted), as do threads past WALKERS_MAX.
 */
#ifndef PAIL_SHIM_STACK_H
#define PAIL_SHIM_STACK_H

#include "libtrace/shim/writer.h"

enum {
	STACK_FRAMES_MAX = 384, /* of one stack; of a deeper one the innermost */
	WALKERS_POOL = 64,      /* made at a time */
	WALKERS_POOLS = 64,
};

/* The stack is that of a hook's caller: what takes it must be part of the hook. */
#define PART_OF_HOOK static inline __attribute__((always_inline))

/* The stack whose innermost frame is the caller of the function with this
 * frame address (__builtin_frame_address(0)); 0: none. */
uint32_t stack_take(const void *frame_address) HIDDEN;

/* Of this process, at attach: maps the table. False: no stacks. */
bool stack_attach(const char *path) HIDDEN;
/* This thread ends. */
void stack_leave(void) HIDDEN;

#endif
