/* SPDX-License-Identifier: MIT */
#include "server/connection/timer.h"

#include <assert.h>

void timers_init(struct timers *timers, struct timer **heap, uint32_t room)
{
	timers->heap = heap;
	timers->count = 0;
	timers->room = room;
}

static void timer_place(struct timers *timers, struct timer *timer, uint32_t place)
{
	timers->heap[place] = timer;
	timer->place = place;
}

static void timer_sift(struct timers *timers, struct timer *timer, uint32_t place)
{
	while (place > 1 && timers->heap[place / 2]->key_ns > timer->key_ns) {
		timer_place(timers, timers->heap[place / 2], place);
		place /= 2;
	}
	for (;;) {
		uint32_t child = 2 * place;
		if (child > timers->count)
			break;
		if (child < timers->count &&
		    timers->heap[child + 1]->key_ns < timers->heap[child]->key_ns)
			child++;
		if (timers->heap[child]->key_ns >= timer->key_ns)
			break;
		timer_place(timers, timers->heap[child], place);
		place = child;
	}
	timer_place(timers, timer, place);
}

void timer_place_at(struct timers *timers, struct timer *timer, uint64_t at_ns)
{
	timer->at_ns = timer->key_ns = at_ns;
	if (timer->place == 0) {
		assert(timers->count < timers->room);
		timer->place = ++timers->count;
		timers->heap[timer->place] = timer;
	}
	timer_sift(timers, timer, timer->place);
}

static void timer_drop(struct timers *timers, struct timer *timer)
{
	uint32_t place = timer->place;

	assert(timers->heap[place] == timer);
	timer->place = 0;
	struct timer *last = timers->heap[timers->count--];
	if (last != timer) {
		last->place = place;
		timers->heap[place] = last;
		timer_sift(timers, last, place);
	}
}

struct timer *timers_take(struct timers *timers, uint64_t now_ns)
{
	while (timers_next_ns(timers) <= now_ns) {
		struct timer *first = timers->heap[1];
		if (first->at_ns == TIMER_NEVER) {
			timer_drop(timers, first);
		} else if (first->at_ns != first->key_ns) {
			timer_place_at(timers, first, first->at_ns);
		} else {
			timer_drop(timers, first);
			timer_clear(first);
			return first;
		}
	}
	return NULL;
}

void timers_check(const struct timers *timers)
{
	for (uint32_t i = 1; i <= timers->count; i++) {
		const struct timer *timer = timers->heap[i];
		assert(timer->place == i && timer->key_ns <= timer->at_ns);
		assert(i == 1 || timers->heap[i / 2]->key_ns <= timer->key_ns);
	}
}
