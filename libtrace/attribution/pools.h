/* SPDX-License-Identifier: MIT */
/*
 * What pools hand out, as allocations like any other. The shim tells of each
 * block (ALLOC with a pool) and of each pool's beginning and end (POOL_MAKE,
 * POOL_CLEAR); pools_event() passes the ALLOC on and gives a FREE for every
 * block that is still there when its pool, or one that the pool is within, is
 * cleared. It stands between the ring and all who read its events, so that they
 * know nothing of pools.
 *
 * - What a pool took from malloc to hand out (EVENT_POOLED) is not passed on, and
 *   neither is its free: it is the same memory as the blocks.
 * - Pools are passed from thread to thread, and threads' events may come in
 *   another order than they happened in: a block that is handed out while it is
 *   still in a pool has left it, and its FREE comes first.
 * - A forked child's pools are its own. Those that it has of its parent hold
 *   nothing here: what it does with them is not the parent's doing.
 *
 * Memory is proportional to the blocks and pools that live in the program. One
 * thread.
 */
#ifndef PAIL_LIBTRACE_POOLS_H
#define PAIL_LIBTRACE_POOLS_H

#include "libtrace/ring/ring.h"

struct pools;
struct pools *pools_new(void); /* NULL: out of memory */
void pools_free(struct pools *pools);
/* Calls `next` with the event, with what it stands for, or not at all. Out of
 * memory: blocks pass and their FREEs are missing (pools_failed()). */
void pools_event(struct pools *pools, const struct ring_event *event, ring_callback *next,
		 void *context);
bool pools_failed(const struct pools *pools);

#endif
