/* SPDX-License-Identifier: MIT */
#include "server/connection/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { TIMERS = 200, STEPS = 20000 };

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void test_timer__the_first_is_the_earliest_through_any_changes(void **context)
{
	static struct timer timer[TIMERS];
	static struct timer *heap[TIMERS + 1];
	struct timers timers;

	(void)context;
	timers_init(&timers, heap, TIMERS);
	assert_null(timers_first(&timers));
	for (int step = 0; step < STEPS; step++) {
		struct timer *one = &timer[next_random() % TIMERS];
		if (next_random() % 3 == 0)
			timer_clear(&timers, one);
		else
			timer_set(&timers, one, next_random() % 1000);
		timers_check(&timers);
		uint64_t earliest = UINT64_MAX;
		uint32_t set = 0;
		for (int i = 0; i < TIMERS; i++) {
			set += timer[i].place != 0;
			if (timer[i].place != 0 && timer[i].at_ns < earliest)
				earliest = timer[i].at_ns;
		}
		assert_int_equal(set, timers.count);
		if (set > 0)
			assert_int_equal(timers_first(&timers)->at_ns, earliest);
	}
}

static void test_timer__clearing_in_order_empties_it(void **context)
{
	static struct timer timer[TIMERS];
	static struct timer *heap[TIMERS + 1];
	struct timers timers;
	uint64_t last = 0;

	(void)context;
	timers_init(&timers, heap, TIMERS);
	for (int i = 0; i < TIMERS; i++)
		timer_set(&timers, &timer[i], next_random() % 50);
	for (struct timer *first; (first = timers_first(&timers)) != NULL;) {
		assert_true(first->at_ns >= last);
		last = first->at_ns;
		timer_clear(&timers, first);
		timer_clear(&timers, first); /* twice is none */
	}
	assert_int_equal(timers.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer__the_first_is_the_earliest_through_any_changes),
		cmocka_unit_test(test_timer__clearing_in_order_empties_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
