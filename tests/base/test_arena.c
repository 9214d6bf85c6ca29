/* SPDX-License-Identifier: MIT */
#include "tests/base/sequence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { SIZE = 1 << 20 };

/* An arena in memory of its own. */
struct place {
	struct arena arena;
	void *memory;
};

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	assert_non_null(place);
	place->memory =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(place->memory != MAP_FAILED);
	arena_init(&place->arena, place->memory, SIZE, ARENA_REUSE);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;
	munmap(place->memory, SIZE);
	free(place);
	return 0;
}

static struct arena *arena_of(void **state)
{
	return &((struct place *)*state)->arena;
}

static void test_arena__a_block_costs_eight_bytes_and_rounds_to_sixteen(void **state)
{
	struct arena *arena = arena_of(state);
	size_t before = arena->top_bytes;
	assert_non_null(arena_alloc(arena, 24, 0));
	assert_int_equal(arena->top_bytes - before, 32);
	/* large blocks as well: nothing rounds up to a power of two or a page */
	before = arena->top_bytes;
	void *p = arena_alloc(arena, 100001, 0);
	assert_int_equal(arena->top_bytes - before, 100016);
	assert_int_equal(arena_usable_bytes(arena, p), 100008);
	arena_check(arena);
}

static void test_arena__a_size_of_zero_gives_distinct_blocks(void **state)
{
	struct arena *arena = arena_of(state);
	void *a = arena_alloc(arena, 0, 0), *b = arena_alloc(arena, 0, 0);
	assert_non_null(a);
	assert_non_null(b);
	assert_ptr_not_equal(a, b);
	assert_int_equal(arena_usable_bytes(arena, a), 8);
}

static void test_arena__freed_blocks_are_reused(void **state)
{
	struct arena *arena = arena_of(state);
	for (size_t size = 1; size < 20000; size = size * 3 + 1) {
		void *p = arena_alloc(arena, size, 0);
		void *fence = arena_alloc(arena, 1, 0);
		arena_free(arena, p);
		size_t peak = arena->peak_bytes;
		assert_ptr_equal(arena_alloc(arena, size, 0), p);
		assert_int_equal(arena->peak_bytes, peak);
		assert_non_null(fence);
	}
	arena_check(arena);
}

static void test_arena__frees_in_any_order_leave_an_empty_arena(void **state)
{
	struct arena *arena = arena_of(state);
	uint64_t random = 7;
	for (int round = 0; round < 50; round++) {
		void *p[200];
		for (int i = 0; i < 200; i++)
			p[i] = arena_alloc(arena, sequence_random(&random) % 3000, 0);
		for (int left = 200; left > 0; left--) {
			int i = (int)(sequence_random(&random) % (uint64_t)left);
			arena_free(arena, p[i]);
			p[i] = p[left - 1];
		}
		/* what is cached is merged before the peak would rise */
		assert_non_null(arena_alloc(arena, arena->peak_bytes, 0));
		arena_check(arena);
		assert_int_equal(arena->cached_units, 0);
		arena_clear(arena);
	}
}

static void test_arena__merging_comes_before_a_higher_peak(void **state)
{
	struct arena *arena = arena_of(state);
	void *p[64];
	for (int i = 0; i < 64; i++)
		p[i] = arena_alloc(arena, 56, 0);
	arena_alloc(arena, 1, 0);
	size_t peak = arena->peak_bytes;
	for (int i = 0; i < 64; i++)
		arena_free(arena, p[i]);
	assert_ptr_equal(arena_alloc(arena, 64 * 64 - 8, 0), p[0]);
	assert_int_equal(arena->peak_bytes, peak);
}

static void test_arena__the_block_at_top_grows_and_shrinks_in_place(void **state)
{
	struct arena *arena = arena_of(state);
	arena_alloc(arena, 100, 0);
	void *p = arena_alloc(arena, 100, 0);
	size_t top = arena->top_bytes;
	assert_ptr_equal(arena_realloc(arena, p, 50000), p);
	assert_ptr_equal(arena_realloc(arena, p, 100), p);
	assert_int_equal(arena->top_bytes, top);
	assert_true(arena->peak_bytes > 50000);
	arena_check(arena);
}

static void test_arena__a_block_grows_into_a_free_one_behind_it(void **state)
{
	struct arena *arena = arena_of(state);
	char *p = arena_alloc(arena, 6000, 0);
	void *q = arena_alloc(arena, 10000, 0);
	arena_alloc(arena, 1, 0);
	memset(p, 'x', 6000);
	arena_free(arena, q);
	assert_ptr_equal(arena_realloc(arena, p, 14000), p);
	assert_int_equal(p[5999], 'x');
	arena_check(arena);
	/* and gives back what it does not need */
	assert_ptr_equal(arena_realloc(arena, p, 3000), p);
	assert_true((char *)arena_alloc(arena, 10000, 0) < p + 6000);
	arena_check(arena);
}

static void test_arena__realloc_that_fails_leaves_the_block(void **state)
{
	struct arena *arena = arena_of(state);
	char *p = arena_alloc(arena, 100, 0);
	memset(p, 'x', 100);
	arena_alloc(arena, 1, 0);
	assert_null(arena_realloc(arena, p, SIZE));
	assert_int_equal(p[99], 'x');
	assert_true(arena->wanted_bytes > SIZE);
	assert_null(arena_realloc(arena, p, SIZE_MAX));
	assert_null(arena_realloc(arena, p, SIZE_MAX - 7));
	arena_check(arena);
}

static void test_arena__impossible_sizes_are_refused(void **state)
{
	struct arena *arena = arena_of(state);
	const size_t sizes[] = {SIZE_MAX,    SIZE_MAX - 8,          SIZE_MAX / 2,
				PTRDIFF_MAX, ARENA_REUSE_BYTES_MAX, ARENA_REUSE_BYTES_MAX - 1,
				SIZE};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t align = 1; align != 0; align <<= 1) {
			assert_null(arena_alloc(arena, sizes[i], align));
			assert_true(arena->wanted_bytes > SIZE);
		}
	}
	assert_null(arena_alloc(arena, 1, (size_t)1 << 63));
	assert_int_equal(arena->peak_bytes, 0);
	arena_check(arena);
}

static void test_arena__alignments_are_met_and_the_gap_is_used(void **state)
{
	struct arena *arena = arena_of(state);
	arena_alloc(arena, 1, 0);
	for (size_t align = 1; align <= 4096; align *= 2) {
		void *p = arena_alloc(arena, 100, align);
		assert_int_equal((uintptr_t)p & (align - 1), 0);
	}
	arena_check(arena);
	size_t peak = arena->peak_bytes;
	for (int i = 0; i < 10; i++)
		assert_non_null(arena_alloc(arena, 100, 0));
	assert_int_equal(arena->peak_bytes, peak);
}

static void test_arena__an_aligned_block_is_aligned_where_it_moves(void **state)
{
	struct arena *arena = arena_of(state);
	for (size_t align = 32; align <= ARENA_ALIGN_BASE; align *= 2) {
		arena_clear(arena);
		unsigned char *p = arena_alloc(arena, 100, align);
		memset(p, 7, 100);
		assert_non_null(arena_alloc(arena, 8000, 0)); /* above p */
		unsigned char *q = arena_realloc_aligned(arena, p, 9000, align);
		assert_non_null(q);
		assert_ptr_not_equal(p, q);
		assert_int_equal((uintptr_t)q % align, 0);
		assert_int_equal(q[99], 7);
		arena_check(arena);
	}
}

static void test_arena__a_far_alignment_costs_its_size_wherever_base_lies(void **state)
{
	struct place *place = *state;
	size_t peak[4];
	for (size_t i = 0; i < 4; i++) {
		struct arena arena;
		arena_init(&arena, (char *)place->memory + i * 4096, SIZE / 2, ARENA_REUSE);
		char *p = arena_alloc(&arena, 5000, 16384);
		assert_int_equal((uintptr_t)p & 16383, 0);
		memset(p, 1, arena_usable_bytes(&arena, p));
		assert_true(arena_usable_bytes(&arena, p) >= 5000);
		assert_true(p + 5000 <= (char *)arena.base + arena.top_bytes);
		peak[i] = arena.peak_bytes;
		char *q = arena_realloc(&arena, p, 9000);
		assert_int_equal(q[4999], 1);
		arena_free(&arena, q);
		assert_int_equal(arena.faults, 0);
		arena_check(&arena);
	}
	assert_int_equal(peak[0], 8 + (8 + 5000 + 16384));
	assert_memory_equal(&peak[0], &peak[1], sizeof(peak[0]));
	assert_memory_equal(&peak[0], &peak[2], 2 * sizeof(peak[0]));
}

static void test_arena__clear_touches_no_block(void **state)
{
	struct place *place = *state;
	struct arena *arena = &place->arena;
	for (int i = 0; i < 1000; i++) {
		void *p = arena_alloc(arena, (size_t)i, 0);
		if (i % 3)
			arena_free(arena, p);
	}
	assert_int_equal(mprotect(place->memory, SIZE, PROT_NONE), 0);
	arena_clear(arena);
	assert_int_equal(mprotect(place->memory, SIZE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(arena->peak_bytes, 0);
	assert_ptr_equal(arena_alloc(arena, 8, 0), (char *)place->memory + 16);
	arena_check(arena);
}

static void test_arena__bump_never_reuses(void **state)
{
	struct place *place = *state;
	struct arena arena;
	arena_init(&arena, place->memory, SIZE, ARENA_BUMP);
	void *p = arena_alloc(&arena, 100, 0);
	size_t top = arena.top_bytes;
	arena_free(&arena, p);
	assert_int_equal(arena.top_bytes, top);
	void *q = arena_alloc(&arena, 100, 0);
	assert_ptr_not_equal(p, q);
	assert_ptr_equal(arena_realloc(&arena, q, 200), q);
	assert_ptr_not_equal(arena_realloc(&arena, p, 200), p);
	assert_int_equal(arena.faults, 0);
	arena_check(&arena);
}

/* -- misuse ----------------------------------------------------------------- */

static void test_arena__a_second_free_is_counted_and_ignored(void **state)
{
	struct arena *arena = arena_of(state);
	const size_t sizes[] = {10, 1000, 5000};
	for (size_t i = 0; i < 3; i++) {
		void *p = arena_alloc(arena, sizes[i], 0), *fence = arena_alloc(arena, 1, 0);
		arena_free(arena, p);
		arena_free(arena, p);
		assert_int_equal(arena->faults, i + 1);
		arena_check(arena);
		assert_ptr_equal(arena_alloc(arena, sizes[i], 0), p);
		assert_ptr_not_equal(arena_alloc(arena, sizes[i], 0), p);
		assert_non_null(fence);
	}
	assert_null(arena_realloc(arena, (char *)arena->base + arena->top_bytes + 8, 10));
}

static void test_arena__frees_of_no_block_are_counted_and_ignored(void **state)
{
	struct arena *arena = arena_of(state);
	char *p = arena_alloc(arena, 5000, 0);
	memset(p, 0, 5000);
	arena_alloc(arena, 1, 0);
	char *wild[] = {p + 1,
			p + 16,
			p + 8,
			(char *)arena->base,
			(char *)arena->base - 64,
			(char *)arena->base + SIZE,
			(char *)arena->base + arena->top_bytes + 8,
			(char *)&wild};
	for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		arena_free(arena, wild[i]);
		assert_int_equal(arena->faults, i + 1);
		assert_int_equal(arena_usable_bytes(arena, wild[i]), 0);
	}
	arena_check(arena);
}

/* One unit past top is already outside: of no use to anyone, and no block. */
static void test_arena__a_header_that_reaches_past_top_is_not_believed(void **state)
{
	struct arena *arena = arena_of(state);
	const size_t sizes[] = {24, 9000};
	for (size_t i = 0; i < 2; i++) {
		char *p = arena_alloc(arena, sizes[i], 0);
		uint32_t *header = (uint32_t *)(void *)(p - 8);
		*header += 1 << 2; /* units << 2 | state */
		uint32_t faults = arena->faults;
		assert_int_equal(arena_usable_bytes(arena, p), 0);
		assert_null(arena_realloc(arena, p, 8));
		arena_free(arena, p);
		assert_int_equal(arena->faults, faults + 2);
		*header -= 1 << 2;
		assert_int_equal(arena_usable_bytes(arena, p), (sizes[i] + 23) / 16 * 16 - 8);
		arena_check(arena);
	}
}

/* Writes anywhere in the heap, between calls, whatever comes of it: the
 * bytes around it stay, and a clear makes it as new. */
static void test_arena__an_overwritten_heap_harms_nobody_else(void **state)
{
	(void)state;
	enum { HEAP = 20 * 1024, AROUND = 16 * 4096 };
	unsigned char *memory = mmap(NULL, HEAP + 2 * AROUND, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(memory != MAP_FAILED);
	memset(memory, 0x5a, HEAP + 2 * AROUND);
	struct arena arena;
	arena_init(&arena, memory + AROUND, HEAP, ARENA_REUSE);
	uint64_t random = 42, seen = 0;
	for (int round = 0; round < 3000; round++) {
		void *p[128] = {0};
		arena_clear(&arena);
		for (int i = 0; i < 400; i++) {
			uint64_t dice = sequence_random(&random);
			size_t k = dice % 128, size = (dice >> 8) % 2000;
			if (dice >> 60 == 0 && i > 50) {
				/* a small number, an offset or noise, over any word */
				size_t at = sequence_random(&random) % (HEAP / 4);
				uint32_t word = (uint32_t)sequence_random(&random);
				word >>= sequence_random(&random) % 32;
				memcpy(arena.base + at * 4, &word, 4);
			} else if (dice >> 58 == 13) {
				arena_free(&arena, arena.base + (dice >> 16) % HEAP / 16 * 16);
			} else if (!p[k]) {
				p[k] = arena_alloc(&arena, size,
						   dice >> 59 == 9 ? (size_t)1 << dice % 16
								   : 0);
				assert_true(!p[k] || arena_owns(&arena, p[k]));
			} else if (dice >> 63) {
				arena_free(&arena, p[k]);
				p[k] = NULL;
			} else {
				void *q = arena_realloc(&arena, p[k], size);
				p[k] = q ? q : p[k];
			}
			assert_true(arena.top_bytes <= HEAP);
		}
		seen += arena.faults;
	}
	assert_true(seen > 1000);
	for (size_t i = 0; i < AROUND; i++) {
		assert_int_equal(memory[i], 0x5a);
		assert_int_equal(memory[AROUND + HEAP + i], 0x5a);
	}
	arena_clear(&arena);
	assert_ptr_equal(arena_alloc(&arena, 1, 0), arena.base + 16);
	arena_check(&arena);
	munmap(memory, HEAP + 2 * AROUND);
}

/* -- the promise: replay and server agree ------------------------------------ */

/* The call at which a hollow arena first needs more than size_bytes. */
static size_t predict_failure(const struct sequence *sequence, enum arena_policy policy,
			      size_t size_bytes)
{
	size_t low = 0, high = sequence->count;
	struct replay replay;
	struct replay_need need;
	assert_int_equal(replay_init(&replay, (size_t)1 << 32), 0);
	/* the least number of calls whose need is too much; the last of them fails */
	while (low < high) {
		size_t middle = (low + high) / 2;
		assert_int_equal(replay_run(&replay, sequence->ops, middle + 1, policy, &need),
				 0);
		if (need.need_bytes > size_bytes)
			high = middle;
		else
			low = middle + 1;
	}
	replay_release(&replay);
	return low;
}

static void assert_clean(const struct playback *played)
{
	assert_int_equal(played->damaged_blocks, 0);
	assert_int_equal(played->damaged_guards, 0);
	assert_int_equal(played->misaligned, 0);
	assert_int_equal(played->faults, 0);
}

static void check_sequence(struct replay *replay, const struct sequence *sequence,
			   enum arena_policy policy)
{
	struct replay_need need;
	assert_int_equal(replay_run(replay, sequence->ops, sequence->count, policy, &need), 0);
	assert_true(need.live_peak_bytes <= need.need_bytes);

	struct playback exact =
		sequence_play(sequence, policy, need.need_bytes, PLAYBACK_CHECK);
	assert_int_equal(exact.done, sequence->count);
	assert_int_equal(exact.peak_bytes, need.need_bytes);
	assert_clean(&exact);

	/* neither the address nor room to spare changes where anything lies */
	struct playback moved =
		sequence_play(sequence, policy, 2 * need.need_bytes + 4096, PLAYBACK_MOVED);
	assert_int_equal(moved.done, sequence->count);
	assert_int_equal(moved.layout, exact.layout);
	assert_clean(&moved);

	struct playback tight = sequence_play(sequence, policy, need.need_bytes - 1, 0);
	assert_true(tight.done < sequence->count);
	assert_int_equal(tight.done, predict_failure(sequence, policy, need.need_bytes - 1));
	assert_int_equal(tight.wanted_bytes, need.need_bytes);
	assert_clean(&tight);

	size_t half_bytes = need.need_bytes / 2;
	struct playback half = sequence_play(sequence, policy, half_bytes, PLAYBACK_CHECK);
	assert_int_equal(half.done, predict_failure(sequence, policy, half_bytes));
	assert_clean(&half);
}

static void test_arena__a_replay_tells_the_exact_need_and_the_failing_call(void **state)
{
	(void)state;
	struct replay replay;
	assert_int_equal(replay_init(&replay, (size_t)1 << 32), 0);
	for (int shape = 0; shape < SEQUENCE_SHAPES; shape++) {
		for (uint64_t seed = 1; seed <= 8; seed++) {
			struct sequence sequence =
				sequence_make((enum sequence_shape)shape, seed, 200 * seed);
			check_sequence(&replay, &sequence, ARENA_REUSE);
			check_sequence(&replay, &sequence, ARENA_BUMP);
			sequence_free(&sequence);
		}
	}
	replay_release(&replay);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_arena__a_block_costs_eight_bytes_and_rounds_to_sixteen),
		TEST(test_arena__a_size_of_zero_gives_distinct_blocks),
		TEST(test_arena__freed_blocks_are_reused),
		TEST(test_arena__frees_in_any_order_leave_an_empty_arena),
		TEST(test_arena__merging_comes_before_a_higher_peak),
		TEST(test_arena__the_block_at_top_grows_and_shrinks_in_place),
		TEST(test_arena__a_block_grows_into_a_free_one_behind_it),
		TEST(test_arena__realloc_that_fails_leaves_the_block),
		TEST(test_arena__impossible_sizes_are_refused),
		TEST(test_arena__alignments_are_met_and_the_gap_is_used),
		TEST(test_arena__an_aligned_block_is_aligned_where_it_moves),
		TEST(test_arena__a_far_alignment_costs_its_size_wherever_base_lies),
		TEST(test_arena__clear_touches_no_block),
		TEST(test_arena__bump_never_reuses),
		TEST(test_arena__a_second_free_is_counted_and_ignored),
		TEST(test_arena__frees_of_no_block_are_counted_and_ignored),
		TEST(test_arena__a_header_that_reaches_past_top_is_not_believed),
		TEST(test_arena__an_overwritten_heap_harms_nobody_else),
		TEST(test_arena__a_replay_tells_the_exact_need_and_the_failing_call),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
