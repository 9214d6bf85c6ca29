/* SPDX-License-Identifier: MIT */
/* Pools' blocks become allocations and frees. */
#include "libtrace/attribution/pools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char told[4096];

static void tell(void *context, const struct ring_event *e)
{
	const char *name = e->kind == EVENT_ALLOC           ? "alloc"
			   : e->kind == EVENT_FREE          ? "free"
			   : e->kind == EVENT_PROCESS_START ? "start"
							    : "other";
	size_t used = strlen(told);
	assert_null(context);
	assert_int_equal(e->pool, 0);
	snprintf(told + used, sizeof(told) - used, "%s%s %llx", used ? ", " : "", name,
		 (unsigned long long)e->value);
}

static void give(struct pools *pools, struct ring_event e)
{
	if (e.process == 0)
		e.process = 1;
	pools_event(pools, &e, tell, NULL);
}

static void alloc_in(struct pools *pools, uint64_t pool, uint64_t address)
{
	give(pools,
	     (struct ring_event){
		     .kind = EVENT_ALLOC, .value = address, .size_bytes = 8, .pool = pool});
}

static void make(struct pools *pools, uint64_t pool, uint64_t parent)
{
	give(pools,
	     (struct ring_event){.kind = EVENT_POOL_MAKE, .value = pool, .a = (int64_t)parent});
}

static void clear(struct pools *pools, uint64_t pool, unsigned flags)
{
	give(pools, (struct ring_event){
			    .kind = EVENT_POOL_CLEAR, .value = pool, .flags = (uint8_t)flags});
}

static void was_told(const char *expected)
{
	assert_string_equal(told, expected);
	*told = '\0';
}

static int setup(void **state)
{
	*told = '\0';
	*state = pools_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	assert_false(pools_failed(*state));
	pools_free(*state);
	return 0;
}

static void test_pools__blocks_go_when_their_pool_is_cleared(void **state)
{
	make(*state, 0x10, 0);
	alloc_in(*state, 0x10, 0xa);
	alloc_in(*state, 0x10, 0xb);
	was_told("alloc a, alloc b");
	clear(*state, 0x10, 0);
	was_told("free b, free a");
	clear(*state, 0x10, EVENT_DESTROY);
	clear(*state, 0x10, EVENT_DESTROY);
	was_told("");
}

static void test_pools__what_is_within_a_pool_goes_with_it(void **state)
{
	make(*state, 0x10, 0);
	make(*state, 0x20, 0x10);
	make(*state, 0x30, 0x20);
	make(*state, 0x40, 0x10);
	make(*state, 0x50, 0x40);
	alloc_in(*state, 0x10, 0xa);
	alloc_in(*state, 0x20, 0xb);
	alloc_in(*state, 0x30, 0xc);
	alloc_in(*state, 0x40, 0xd);
	alloc_in(*state, 0x50, 0xe);
	*told = '\0';
	clear(*state, 0x40, EVENT_DESTROY);
	was_told("free e, free d");
	clear(*state, 0x10, 0);
	was_told("free c, free b, free a");
	alloc_in(*state, 0x10, 0xa);
	*told = '\0';
	clear(*state, 0x30, 0);
	was_told("");
	clear(*state, 0x10, EVENT_DESTROY);
	was_told("free a");
}

static void test_pools__a_block_that_another_pool_hands_out_has_left_its_own(void **state)
{
	make(*state, 0x10, 0);
	make(*state, 0x20, 0);
	alloc_in(*state, 0x10, 0xa);
	alloc_in(*state, 0x10, 0xb);
	alloc_in(*state, 0x20, 0xa);
	was_told("alloc a, alloc b, free a, alloc a");
	clear(*state, 0x10, EVENT_DESTROY);
	was_told("free b");
	clear(*state, 0x20, EVENT_DESTROY);
	was_told("free a");
}

static void test_pools__a_pool_that_is_made_anew_is_empty(void **state)
{
	make(*state, 0x10, 0);
	make(*state, 0x20, 0x10);
	alloc_in(*state, 0x20, 0xa);
	make(*state, 0x20, 0);
	was_told("alloc a, free a");
	alloc_in(*state, 0x20, 0xa);
	*told = '\0';
	clear(*state, 0x10, 0);
	was_told("");
}

static void test_pools__what_they_take_from_malloc_does_not_count_twice(void **state)
{
	give(*state,
	     (struct ring_event){.kind = EVENT_ALLOC, .value = 0xf0, .flags = EVENT_POOLED});
	alloc_in(*state, 0x10, 0xf8);
	give(*state, (struct ring_event){.kind = EVENT_ALLOC, .value = 0x99});
	was_told("alloc f8, alloc 99");
	clear(*state, 0x10, 0);
	give(*state, (struct ring_event){.kind = EVENT_FREE, .value = 0xf0});
	give(*state, (struct ring_event){.kind = EVENT_FREE, .value = 0x99});
	was_told("free f8, free 99");
	/* the address is anyone's from here on, as when the free was missed */
	give(*state, (struct ring_event){.kind = EVENT_ALLOC, .value = 0xf0});
	give(*state, (struct ring_event){.kind = EVENT_FREE, .value = 0xf0});
	was_told("alloc f0, free f0");
}

static void test_pools__processes_have_their_own(void **state)
{
	make(*state, 0x10, 0);
	alloc_in(*state, 0x10, 0xa);
	give(*state, (struct ring_event){
			     .kind = EVENT_PROCESS_START, .process = 2, .pid = 7, .value = 7});
	give(*state,
	     (struct ring_event){.kind = EVENT_POOL_CLEAR, .process = 2, .value = 0x10});
	was_told("alloc a, start 7");
	clear(*state, 0x10, 0);
	was_told("free a");
}

static void test_pools__a_loop_of_parents_is_not_believed(void **state)
{
	make(*state, 0x20, 0x10);
	make(*state, 0x10, 0x20);
	make(*state, 0x30, 0x30);
	alloc_in(*state, 0x10, 0xa);
	alloc_in(*state, 0x30, 0xb);
	*told = '\0';
	clear(*state, 0x10, 0);
	clear(*state, 0x30, 0);
	was_told("free a, free b");
}

static void count(void *context, const struct ring_event *e)
{
	int64_t *live = context;
	*live += e->kind == EVENT_ALLOC ? 1 : e->kind == EVENT_FREE ? -1 : 0;
	assert_true(*live >= 0);
}

static void test_pools__many_blocks_in_many_pools_come_and_go(void **state)
{
	int64_t live = 0;
	for (uint64_t round = 0; round < 200; round++) {
		for (uint32_t pool = 0; pool < 50; pool++) {
			struct ring_event e = {.kind = EVENT_POOL_MAKE,
					       .process = 1 + pool % 3,
					       .value = 0x1000 + pool,
					       .a = pool < 3 ? 0
							     : 0x1000 + (int64_t)(pool % 3)};
			pools_event(*state, &e, count, &live);
			for (uint64_t i = 0; i < pool; i++) {
				e = (struct ring_event){.kind = EVENT_ALLOC,
							.process = e.process,
							.value = 0x100000 * (pool + 1) + i * 16,
							.size_bytes = 9,
							.pool = 0x1000 + pool};
				pools_event(*state, &e, count, &live);
			}
		}
		assert_int_equal(live, 50 * 49 / 2);
		for (uint32_t pool = 0; pool < 3; pool++) {
			struct ring_event e = {.kind = EVENT_POOL_CLEAR,
					       .process = pool + 1,
					       .flags = EVENT_DESTROY,
					       .value = 0x1000 + pool};
			pools_event(*state, &e, count, &live);
		}
		assert_int_equal(live, 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pools__blocks_go_when_their_pool_is_cleared),
		TEST(test_pools__what_is_within_a_pool_goes_with_it),
		TEST(test_pools__a_block_that_another_pool_hands_out_has_left_its_own),
		TEST(test_pools__a_pool_that_is_made_anew_is_empty),
		TEST(test_pools__what_they_take_from_malloc_does_not_count_twice),
		TEST(test_pools__processes_have_their_own),
		TEST(test_pools__a_loop_of_parents_is_not_believed),
		TEST(test_pools__many_blocks_in_many_pools_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
