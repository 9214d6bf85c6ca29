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

/* A stack is painted and looked at for every request: so by blocks. */
typedef uint64_t paint_pair __attribute__((vector_size(16), may_alias));
enum { BLOCK_WORDS = 32, BLOCK_PAIRS = BLOCK_WORDS / 2 };
static_assert(LIMITS_PAGE_BYTES % (BLOCK_WORDS * sizeof(uint64_t)) == 0,
	      "stacks are whole pages");

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

static uint64_t *lowest_from_above(uint64_t *low, uint64_t *top)
{
	uint64_t *lowest = top; /* block that is not clean */
	size_t clean_bytes = 0;

	for (uint64_t *block = top; block > low && clean_bytes < STACK_CLEAN_BYTES;) {
		block -= BLOCK_WORDS;
		if (block_is_clean(block)) {
			clean_bytes += BLOCK_WORDS * sizeof(*block);
		} else {
			clean_bytes = 0;
			lowest = block;
		}
	}
	return lowest_from_below(lowest, top);
}

static uint64_t *lowest_of_all(uint64_t *low, uint64_t *top)
{
	while (low < top && block_is_clean(low))
		low += BLOCK_WORDS;
	return lowest_from_below(low, top);
}

size_t stack_measure(struct bucket *bucket)
{
	uint64_t *low = (uint64_t *)bucket->stack;
	uint64_t *top = (uint64_t *)(bucket->stack + bucket->stack_bytes);
	uint64_t *lowest = bucket->requests % STACK_FULL_EVERY == 0
				   ? lowest_of_all(low, top)
				   : lowest_from_above(low, top);
	size_t used = (size_t)((unsigned char *)top - (unsigned char *)lowest);

	asan_forget(bucket->stack, bucket->stack_bytes);
	paint(lowest, top);
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
