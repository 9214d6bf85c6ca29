/* SPDX-License-Identifier: MIT */
/*
 * Deadlines of one worker: a binary heap over storage of the caller's, made
 * once for the most timers that there can be. A timer is embedded in what it
 * wakes; setting it again moves it.
 *
 * Most timers are moved on or cleared long before they are due, several times
 * in a request, so that costs two stores: the timer keeps its place in the heap
 * under its old key, which is not after its time, and is put right when the key
 * is due. timers_next_ns() may therefore be early, once for each such timer.
 */
#ifndef PAIL_SERVER_TIMER_H
#define PAIL_SERVER_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static const uint64_t TIMER_NEVER = UINT64_MAX;

struct timer {
	uint64_t at_ns;  /* TIMER_NEVER: not set */
	uint64_t key_ns; /* that it is in the heap by, at_ns or before */
	uint32_t place;  /* in the heap, from 1; 0: it is not, and not set */
};

struct timers {
	struct timer **heap; /* [1, count] */
	uint32_t count, room;
};

/* `heap` has room for room + 1 pointers. */
void timers_init(struct timers *timers, struct timer **heap, uint32_t room);
void timer_place_at(struct timers *timers, struct timer *timer, uint64_t at_ns);
static inline void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns)
{
	if (timer->place != 0 && at_ns >= timer->key_ns)
		timer->at_ns = at_ns;
	else
		timer_place_at(timers, timer, at_ns);
}

static inline void timer_clear(struct timer *timer) /* may be clear */
{
	timer->at_ns = TIMER_NEVER;
}

static inline bool timer_is_set(const struct timer *timer)
{
	return timer->place != 0 && timer->at_ns != TIMER_NEVER;
}

/* Nothing is due before that; UINT64_MAX: nothing at all. */
static inline uint64_t timers_next_ns(const struct timers *timers)
{
	return timers->count ? timers->heap[1]->key_ns : UINT64_MAX;
}

/* The earliest of those due by then, cleared, or NULL. */
struct timer *timers_take(struct timers *timers, uint64_t now_ns);
void timers_check(const struct timers *timers);

#endif
