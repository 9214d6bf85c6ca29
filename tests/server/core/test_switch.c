/* SPDX-License-Identifier: MIT */
#include "server/request/switch.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

enum { STACK = 64 << 10 };

static _Alignas(16) unsigned char stack[STACK], other_stack[STACK];
static void *home, *away;
static int count;

static void ping(void *arg)
{
	assert_int_equal((uintptr_t)__builtin_frame_address(0) % 16, 0);
	for (;;) {
		count += *(int *)arg;
		switch_to(&away, home);
	}
}

static void test_switch__goes_there_and_back_and_keeps_registers(void **context)
{
	int step = 3;
	register long kept __asm__("r12") = 42;

	(void)context;
	__asm__ volatile("" : "+r"(kept));
	switch_start(&home, stack + STACK, ping, &step);
	for (int i = 0; i < 1000; i++)
		switch_to(&home, away);
	__asm__ volatile("" : "+r"(kept));
	assert_int_equal(kept, 42);
	assert_int_equal(count, 3003);
}

static void round_up(void *arg)
{
	(void)arg;
	fesetround(FE_UPWARD);
	for (;;)
		switch_to(&away, home);
}

static void test_switch__each_side_has_its_own_rounding(void **context)
{
	(void)context;
	switch_start(&home, stack + STACK, round_up, NULL);
	assert_int_equal(fegetround(), FE_TONEAREST);
	switch_to(&home, away);
	assert_int_equal(fegetround(), FE_TONEAREST);
}

static void ended(void *arg)
{
	*(int *)arg = fegetround() == FE_TONEAREST ? 1 : 2;
	switch_to(&away, home);
}

static void falls(void *arg)
{
	fesetround(FE_UPWARD);
	switch_abandon(stack + STACK, ended, arg);
}

static void test_switch__what_is_abandoned_goes_on_at_the_top_afresh(void **context)
{
	int end = 0;

	(void)context;
	switch_start(&home, stack + STACK, falls, &end);
	assert_int_equal(end, 1);
}

static void *where(void *arg)
{
	(void)arg;
	return __builtin_frame_address(0);
}

static void test_switch__a_call_runs_on_the_stack_lent_and_returns(void **context)
{
	(void)context;
	unsigned char *frame = switch_call(other_stack + STACK, where, NULL);
	assert_true(frame > other_stack && frame <= other_stack + STACK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch__goes_there_and_back_and_keeps_registers),
		cmocka_unit_test(test_switch__each_side_has_its_own_rounding),
		cmocka_unit_test(test_switch__what_is_abandoned_goes_on_at_the_top_afresh),
		cmocka_unit_test(test_switch__a_call_runs_on_the_stack_lent_and_returns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
