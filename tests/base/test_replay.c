/* SPDX-License-Identifier: MIT */
#include "tests/base/sequence.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	assert_non_null(replay);
	assert_int_equal(replay_init(replay, (size_t)1 << 32), 0);
	*state = replay;
	return 0;
}

static int teardown(void **state)
{
	replay_release(*state);
	free(*state);
	return 0;
}

static struct replay_op take(uint32_t slot, uint64_t size)
{
	return (struct replay_op){.slot = slot, .kind = REPLAY_ALLOC, .size_bytes = size};
}

static struct replay_op give(uint32_t slot)
{
	return (struct replay_op){.slot = slot, .kind = REPLAY_FREE};
}

static struct replay_op grow(uint32_t slot, uint64_t size)
{
	return (struct replay_op){.slot = slot, .kind = REPLAY_REALLOC, .size_bytes = size};
}

static void test_replay__counts_what_was_asked_for(void **state)
{
	const struct replay_op ops[] = {take(0, 100), take(1, 50), give(0),
					take(0, 20),  grow(1, 80), grow(1, 10)};
	struct replay_need need;
	assert_int_equal(replay_run(*state, ops, 6, ARENA_REUSE, &need), 0);
	assert_int_equal(need.requested_bytes, 100 + 50 + 20 + 30);
	assert_int_equal(need.live_peak_bytes, 150);
	assert_int_equal(need.largest_bytes, 100);
	/* 8 unused, then blocks of 112 and 64; the rest fits in the first */
	assert_int_equal(need.need_bytes, 8 + 112 + 64 + 32);
}

static void test_replay__an_empty_list_needs_nothing(void **state)
{
	struct replay_need need;
	assert_int_equal(replay_run(*state, NULL, 0, ARENA_BUMP, &need), 0);
	assert_int_equal(need.need_bytes, 0);
}

static void test_replay__bump_needs_the_sum_and_reuse_the_peak(void **state)
{
	struct replay_op ops[2000];
	for (int i = 0; i < 1000; i++) {
		ops[2 * i] = take(0, 1000);
		ops[2 * i + 1] = give(0);
	}
	struct replay_need need;
	assert_int_equal(replay_run(*state, ops, 2000, ARENA_REUSE, &need), 0);
	assert_int_equal(need.need_bytes, 8 + 1008);
	assert_int_equal(replay_run(*state, ops, 2000, ARENA_BUMP, &need), 0);
	assert_int_equal(need.need_bytes, 8 + 1000 * 1008);
}

static void test_replay__one_run_leaves_no_trace_in_the_next(void **state)
{
	struct sequence a = sequence_make(SEQUENCE_MIXED, 1, 3000);
	struct sequence b = sequence_make(SEQUENCE_GROWING, 2, 3000);
	struct replay_need first, other, again;
	assert_int_equal(replay_run(*state, a.ops, a.count, ARENA_REUSE, &first), 0);
	assert_int_equal(replay_run(*state, b.ops, b.count, ARENA_REUSE, &other), 0);
	assert_int_equal(replay_run(*state, a.ops, a.count, ARENA_REUSE, &again), 0);
	assert_memory_equal(&first, &again, sizeof(first));
	sequence_free(&a);
	sequence_free(&b);
}

static void test_replay__lists_that_cannot_be_are_refused(void **state)
{
	const struct {
		struct replay_op ops[3];
		size_t count;
	} bad[] = {
		{{take(0, 1), take(0, 1)}, 2},       /* allocated while live */
		{{take(0, 1), give(0), give(0)}, 3}, /* freed twice */
		{{give(0)}, 1},                      /* freed before */
		{{grow(0, 5)}, 1},                   /* no block to grow */
		{{take(7, 1)}, 1},                   /* slots are dense */
		{{take(UINT32_MAX, 1)}, 1},
		{{{.kind = 77}}, 1},
		{{{.kind = REPLAY_ALLOC, .align_log2 = 64}}, 1},
	};
	struct replay_need need;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		assert_int_equal(
			replay_run(*state, bad[i].ops, bad[i].count, ARENA_REUSE, &need), -1);
		assert_int_equal(errno, EINVAL);
	}
	const struct replay_op good = take(0, 1);
	assert_int_equal(replay_run(*state, &good, 1, ARENA_REUSE, &need), 0);
}

static void test_replay__more_than_the_span_is_told(void **state)
{
	const struct replay_op ops[] = {take(0, (uint64_t)1 << 32)};
	const struct replay_op huge[] = {take(0, UINT64_MAX)};
	struct replay_need need;
	assert_int_equal(replay_run(*state, ops, 1, ARENA_REUSE, &need), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(replay_run(*state, huge, 1, ARENA_BUMP, &need), -1);
	assert_int_equal(errno, ENOMEM);
}

static size_t resident_pages(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t size = 0, resident = 0;
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%zu %zu", &size, &resident), 2);
	fclose(file);
	return resident;
}

static void test_replay__gigabytes_cost_only_their_headers(void **state)
{
	static struct replay_op ops[3000];
	for (uint32_t i = 0; i < 3000; i++)
		ops[i] = take(i, 1 << 20);
	size_t before = resident_pages();
	struct replay_need need;
	assert_int_equal(replay_run(*state, ops, 3000, ARENA_REUSE, &need), 0);
	assert_true(need.need_bytes > UINT64_C(3000) << 20);
	/* 12 MB of pages were touched, and most were given back */
	assert_true(resident_pages() - before < 1000);
}

/* The need at an alignment is the least span in which the same list can be played. */
static void test_replay__the_need_at_another_alignment_is_exact(void **state)
{
	struct replay *wide = *state;
	for (unsigned k = 0; k < 4 * SEQUENCE_SHAPES; k++) {
		struct sequence s =
			sequence_make((enum sequence_shape)(k / 4), k + 1, 200 * (k % 4 + 1));
		for (unsigned power = 5; power <= REPLAY_ALIGN_LOG2_MAX; power += 7) {
			uint8_t log2 = (uint8_t)power;
			enum arena_policy policy = k % 2 ? ARENA_REUSE : ARENA_BUMP;
			struct replay tight;
			struct replay_need need, again;
			wide->align_log2 = log2;
			assert_int_equal(replay_run(wide, s.ops, s.count, policy, &need), 0);
			assert_int_equal(replay_init(&tight, need.need_bytes), 0);
			tight.align_log2 = log2;
			assert_int_equal(replay_run(&tight, s.ops, s.count, policy, &again), 0);
			assert_int_equal(again.need_bytes, need.need_bytes);
			replay_release(&tight);
			assert_int_equal(replay_init(&tight, need.need_bytes - 1), 0);
			tight.align_log2 = log2;
			assert_int_equal(replay_run(&tight, s.ops, s.count, policy, &again),
					 -1);
			assert_int_equal(errno, ENOMEM);
			replay_release(&tight);
		}
		sequence_free(&s);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_replay__counts_what_was_asked_for),
		TEST(test_replay__an_empty_list_needs_nothing),
		TEST(test_replay__bump_needs_the_sum_and_reuse_the_peak),
		TEST(test_replay__one_run_leaves_no_trace_in_the_next),
		TEST(test_replay__lists_that_cannot_be_are_refused),
		TEST(test_replay__more_than_the_span_is_told),
		TEST(test_replay__gigabytes_cost_only_their_headers),
		TEST(test_replay__the_need_at_another_alignment_is_exact),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
