/* SPDX-License-Identifier: MIT */
/*
 * Deadlines of one worker: a binary heap over storage of the caller's, made
 * once for the most timers that can be set. A timer is embedded in what it
 * wakes; it is set at most once at a time, and setting it again moves it.
 */
#ifndef PAIL_SERVER_TIMER_H
#define PAIL_SERVER_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
	uint64_t at_ns;
	uint32_t place; /* in the heap, from 1; 0: not set */
};

struct timers {
	struct timer **heap; /* [1, count] */
	uint32_t count, room;
};

/* `heap` has room for room + 1 pointers. */
void timers_init(struct timers *timers, struct timer **heap, uint32_t room);
void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns);
void timer_clear(struct timers *timers, struct timer *timer); /* may be clear */
/* The earliest, or NULL. */
static inline struct timer *timers_first(const struct timers *timers)
{
	return timers->count ? timers->heap[1] : NULL;
}
void timers_check(const struct timers *timers);

#endif
