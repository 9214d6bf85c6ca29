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
	while (place > 1 && timers->heap[place / 2]->at_ns > timer->at_ns) {
		timer_place(timers, timers->heap[place / 2], place);
		place /= 2;
	}
	for (;;) {
		uint32_t child = 2 * place;
		if (child > timers->count)
			break;
		if (child < timers->count &&
		    timers->heap[child + 1]->at_ns < timers->heap[child]->at_ns)
			child++;
		if (timers->heap[child]->at_ns >= timer->at_ns)
			break;
		timer_place(timers, timers->heap[child], place);
		place = child;
	}
	timer_place(timers, timer, place);
}

void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns)
{
	timer->at_ns = at_ns;
	if (timer->place == 0) {
		assert(timers->count < timers->room);
		timer->place = ++timers->count;
		timers->heap[timer->place] = timer;
	}
	timer_sift(timers, timer, timer->place);
}

void timer_clear(struct timers *timers, struct timer *timer)
{
	uint32_t place = timer->place;

	if (place == 0)
		return;
	assert(timers->heap[place] == timer);
	timer->place = 0;
	struct timer *last = timers->heap[timers->count--];
	if (last != timer) {
		last->place = place;
		timers->heap[place] = last;
		timer_sift(timers, last, place);
	}
}

void timers_check(const struct timers *timers)
{
	for (uint32_t i = 1; i <= timers->count; i++) {
		assert(timers->heap[i]->place == i);
		assert(i == 1 || timers->heap[i / 2]->at_ns <= timers->heap[i]->at_ns);
	}
}
