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

static const struct timer *earliest(const struct timer *timer)
{
	const struct timer *first = NULL;

	for (int i = 0; i < TIMERS; i++)
		if (timer_is_set(&timer[i]) && (!first || timer[i].at_ns < first->at_ns))
			first = &timer[i];
	return first;
}

static void test_timer__the_earliest_is_taken_through_any_changes(void **context)
{
	static struct timer timer[TIMERS];
	static struct timer *heap[TIMERS + 1];
	struct timers timers;
	uint64_t now_ns = 0;
	int taken = 0;

	(void)context;
	timers_init(&timers, heap, TIMERS);
	assert_null(timers_take(&timers, UINT64_MAX - 1));
	for (int step = 0; step < STEPS; step++) {
		struct timer *one = &timer[next_random() % TIMERS];
		if (next_random() % 3 == 0)
			timer_clear(one);
		else
			timer_set(&timers, one, now_ns + next_random() % 1000);
		timers_check(&timers);
		const struct timer *first = earliest(timer);
		if (first)
			assert_true(timers_next_ns(&timers) <= first->at_ns);
		now_ns += next_random() % 10;
		while ((first = earliest(timer)) != NULL && first->at_ns <= now_ns) {
			uint64_t due_ns = first->at_ns;
			struct timer *due = timers_take(&timers, now_ns);
			assert_non_null(due);
			assert_int_equal(due - timer >= 0 && due - timer < TIMERS, 1);
			assert_false(timer_is_set(due));
			/* Of several due at the same time any may be first. */
			const struct timer *after = earliest(timer);
			assert_true(!after || after->at_ns >= due_ns);
			taken++;
		}
		assert_null(timers_take(&timers, now_ns));
		timers_check(&timers);
	}
	assert_true(taken > STEPS / 100);
}

static void test_timer__one_that_was_put_off_wakes_once_early_and_once_in_time(void **context)
{
	struct timer timer = {0}, *heap[2];
	struct timers timers;

	(void)context;
	timers_init(&timers, heap, 1);
	assert_int_equal(timers_next_ns(&timers), UINT64_MAX);
	timer_set(&timers, &timer, 10);
	for (uint64_t at_ns = 20; at_ns <= 100; at_ns += 10)
		timer_set(&timers, &timer, at_ns);
	assert_int_equal(timers_next_ns(&timers), 10);
	assert_null(timers_take(&timers, 10));
	assert_int_equal(timers_next_ns(&timers), 100);
	assert_null(timers_take(&timers, 99));
	assert_ptr_equal(timers_take(&timers, 100), &timer);
	assert_int_equal(timers_next_ns(&timers), UINT64_MAX);

	timer_set(&timers, &timer, 200);
	timer_clear(&timer);
	timer_clear(&timer); /* twice is none */
	assert_null(timers_take(&timers, 300));
	timer_set(&timers, &timer, 400);
	timer_set(&timers, &timer, 350); /* sooner */
	assert_ptr_equal(timers_take(&timers, 350), &timer);
	assert_int_equal(timers.count, 0);
}

static void test_timer__taking_in_order_empties_it(void **context)
{
	static struct timer timer[TIMERS];
	static struct timer *heap[TIMERS + 1];
	struct timers timers;

	(void)context;
	timers_init(&timers, heap, TIMERS);
	for (int i = 0; i < TIMERS; i++)
		timer_set(&timers, &timer[i], next_random() % 50);
	for (const struct timer *first; (first = earliest(timer)) != NULL;) {
		uint64_t due_ns = first->at_ns;
		const struct timer *due = timers_take(&timers, 50);
		assert_non_null(due);
		for (int i = 0; i < TIMERS; i++)
			assert_true(!timer_is_set(&timer[i]) || timer[i].at_ns >= due_ns);
	}
	assert_int_equal(timers.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer__the_earliest_is_taken_through_any_changes),
		cmocka_unit_test(
			test_timer__one_that_was_put_off_wakes_once_early_and_once_in_time),
		cmocka_unit_test(test_timer__taking_in_order_empties_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
