/* SPDX-License-Identifier: MIT */
/*
 * What a hook does when it has something to tell, and nothing else: the shim's
 * writer (compiled in) writes into a ring that nobody reads meanwhile. It has room
 * for HOT_RING_EVENTS_MAX, so that no writer waits.
 */
#ifndef PAIL_BENCH_HOT_RING_H
#define PAIL_BENCH_HOT_RING_H

enum { HOT_RING_EVENTS_MAX = 1000000 };

/* Half of them of a block taken (16 bytes), half of one given back (8). 0, or 3
 * if there is no ring to be had, or events were dropped. */
int hot_ring(long events);

#endif
