/* SPDX-License-Identifier: MIT */
#include "server/request/stack.h"

#include "server/request/asan.h"
#include "server/request/bucket.h"
#include "server/connection/loop.h"
#include "server/operation/metrics.h"
#include "server/request/switch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static const uint64_t PAINT = UINT64_C(0xa5a5c3c35a5a3c3c);
enum { STACK_CLEAN_WORDS = STACK_CLEAN_BYTES / sizeof(uint64_t), STACK_ROUTES_MIXED = -2 };

/* A stack is painted and looked at for many requests: so by blocks. */
typedef uint64_t paint_pair __attribute__((vector_size(16), may_alias));
enum {
	BLOCK_WORDS = 32,
	BLOCK_BYTES = BLOCK_WORDS * sizeof(uint64_t),
	BLOCK_PAIRS = BLOCK_WORDS / 2,
};
static_assert(LIMITS_PAGE_BYTES % BLOCK_BYTES == 0, "stacks are whole pages");

/* Up to `high`, the end of a block. */
__attribute__((no_sanitize_address)) static void paint(uint64_t *low, uint64_t *high)
{
	const paint_pair both = {PAINT, PAINT};

	while (high - low >= BLOCK_WORDS) {
		high -= BLOCK_WORDS;
#pragma GCC unroll 16
		for (int i = 0; i < BLOCK_PAIRS; i++)
			((paint_pair *)high)[i] = both;
	}
	while (low < high)
		*low++ = PAINT;
}

void stack_paint(unsigned char *low, size_t bytes)
{
	paint((uint64_t *)low, (uint64_t *)(low + bytes));
}

/* The lowest word that is not paint, looked for from the bottom. */
__attribute__((no_sanitize_address)) static uint64_t *lowest_from_below(uint64_t *low,
									uint64_t *top)
{
	while (low < top && *low == PAINT)
		low++;
	return low;
}

__attribute__((no_sanitize_address)) static bool block_is_clean(const uint64_t *block)
{
	const paint_pair *pair = (const paint_pair *)block, both = {PAINT, PAINT};
	paint_pair even = {0, 0}, odd = {0, 0};

#pragma GCC unroll 8
	for (int i = 0; i < BLOCK_PAIRS; i += 2) {
		even |= pair[i] ^ both;
		odd |= pair[i + 1] ^ both;
	}
	even |= odd;
	return (even[0] | even[1]) == 0;
}

/* The highest block of [low, top) that is not clean, or NULL. */
__attribute__((no_sanitize_address)) static uint64_t *dirty_below_narrow(uint64_t *low,
									 uint64_t *top)
{
	while (top > low) {
		top -= BLOCK_WORDS;
		if (!block_is_clean(top))
			return top;
	}
	return NULL;
}

#if defined(__x86_64__)
/* The same by twice as wide loads, two blocks at a time, where the processor can. */
typedef long long paint_four __attribute__((vector_size(32), may_alias));

__attribute__((no_sanitize_address, target("avx2"))) static uint64_t *
dirty_below_wide(uint64_t *low, uint64_t *top)
{
	const paint_four all = {(long long)PAINT, (long long)PAINT, (long long)PAINT,
				(long long)PAINT};

	while (top - low >= 2 * BLOCK_WORDS) {
		const paint_four *four = (const paint_four *)(top - 2 * BLOCK_WORDS);
		paint_four even = {0}, odd = {0};
#	pragma GCC unroll 8
		for (size_t i = 0; i < 2 * BLOCK_BYTES / sizeof(*four); i += 2) {
			even |= four[i] ^ all;
			odd |= four[i + 1] ^ all;
		}
		even |= odd;
		if (!__builtin_ia32_ptestz256(even, even))
			break; /* one of them, or both */
		top -= 2 * BLOCK_WORDS;
	}
	return dirty_below_narrow(low, top);
}

static uint64_t *dirty_below(uint64_t *low, uint64_t *top)
{
	return __builtin_cpu_supports("avx2") ? dirty_below_wide(low, top)
					      : dirty_below_narrow(low, top);
}
#else
static uint64_t *dirty_below(uint64_t *low, uint64_t *top)
{
	return dirty_below_narrow(low, top);
}
#endif

static uint64_t *lowest_of_all(uint64_t *low, uint64_t *top)
{
	while (low < top && block_is_clean(low))
		low += BLOCK_WORDS;
	return lowest_from_below(low, top);
}

/* From `top` down to where STACK_CLEAN_BYTES below are clean. `likely`, in whole
 * blocks, is where the last request of this bucket had come to: what lies above
 * need not be looked at if this one came as far. */
static uint64_t *lowest_from_above(uint64_t *low, uint64_t *likely, uint64_t *top)
{
	uint64_t *dirty = NULL, *next = likely;

	while (next > low) {
		uint64_t *until =
			next - low > STACK_CLEAN_WORDS ? next - STACK_CLEAN_WORDS : low;
		uint64_t *found = dirty_below(until, next);
		if (!found)
			break;
		dirty = next = found;
	}
	if (dirty)
		return lowest_from_below(dirty, dirty + BLOCK_WORDS);
	return lowest_of_all(likely, top);
}

/* Often at first and in the long run seldom: it reads all of the stack. */
static bool measures_in_full(uint64_t requests)
{
	return (requests & (requests - 1)) == 0 || requests % STACK_FULL_EVERY == 0;
}

bool stack_is_due(struct bucket *bucket, bool written_down, int route)
{
	if (written_down || bucket->requests <= STACK_FULL_EVERY ||
	    bucket->requests % STACK_SAMPLE_EVERY == 0)
		return true;
	if (bucket->unmeasured++ == 0)
		bucket->unmeasured_route = route;
	else if (bucket->unmeasured_route != route)
		bucket->unmeasured_route = STACK_ROUTES_MIXED;
	return false;
}

size_t stack_measure(struct bucket *bucket, int route, bool *one_route)
{
	uint64_t *low = (uint64_t *)bucket->stack;
	uint64_t *top = (uint64_t *)(bucket->stack + bucket->stack_bytes);
	uint64_t *likely = top - bucket->stack_used_bytes / BLOCK_BYTES * BLOCK_WORDS;
	uint64_t *lowest = measures_in_full(bucket->requests)
				   ? lowest_of_all(low, top)
				   : lowest_from_above(low, likely, top);
	size_t used = (size_t)((unsigned char *)top - (unsigned char *)lowest);

	asan_forget(bucket->stack, bucket->stack_bytes);
	paint(lowest, top);
	bucket->stack_used_bytes = used;
	*one_route = bucket->unmeasured == 0 || bucket->unmeasured_route == route;
	bucket->unmeasured = 0;
	return used;
}

/* -- big ones -------------------------------------------------------------------- */

void stack_give_big(struct pail_request *r)
{
	struct big_stacks *pool = &r->worker->big_stacks;
	struct pail_request *next = pool->first;

	r->critical++;
	if (next) {
		pool->first = next->big_next;
		if (!pool->first)
			pool->last = NULL;
		next->big_stack = r->big_stack;
		next->granted = true;
		worker_ready(r->worker, next->connection);
	} else {
		pool->free[pool->free_count] = (uint16_t)r->big_stack;
		metrics_set(&pool->free_count, pool->free_count + 1);
	}
	r->big_stack = -1;
	r->critical--;
}

static void big_unwait(struct big_stacks *pool, struct pail_request *r)
{
	struct pail_request **link = &pool->first, *before = NULL;

	for (; *link && *link != r; link = &(*link)->big_next)
		before = *link;
	assert(*link == r);
	*link = r->big_next;
	if (pool->last == r)
		pool->last = before;
}

/* 0 and r->big_stack >= 0, or EAGAIN. */
static int big_take(struct pail_request *r)
{
	struct big_stacks *pool = &r->worker->big_stacks;

	if (pool->free_count > 0) {
		metrics_set(&pool->free_count, pool->free_count - 1);
		r->big_stack = pool->free[pool->free_count];
		return 0;
	}
	r->big_next = NULL;
	if (pool->last)
		pool->last->big_next = r;
	else
		pool->first = r;
	pool->last = r;
	request_wait(r, REQUEST_WAIT_TIME, loop_now_ns() + core.plan.big_stack_wait_ns);
	if (r->big_stack >= 0)
		return 0;
	big_unwait(pool, r);
	return EAGAIN;
}

void *pail_on_big_stack(struct pail_request *r, void *(*fn)(void *), void *arg, int *err)
{
	*err = 0;
	if (r->big_stack >= 0)
		return fn(arg);
	if (r->worker->big_stacks.count == 0) {
		*err = ENOTSUP;
		return NULL;
	}
	request_enter(r);
	*err = big_take(r);
	request_leave(r);
	if (*err)
		return NULL;
	unsigned char *low = region_big_stack(&core.region, (uint32_t)r->big_stack);
	void *fake = NULL;
	asan_leave(&fake, low, core.plan.big_stack_bytes);
	void *result = switch_call(low + core.plan.big_stack_bytes, fn, arg);
	asan_arrive(fake, NULL, NULL);
	stack_give_big(r);
	return result;
}
