/* SPDX-License-Identifier: MIT */
/*
 * Linked into a server of the tests alone, whose calls of arena_alloc() and
 * arena_realloc() come here: the k-th allocation of a request is refused as if
 * its bucket were full. With PAIL_TEST_SWEEP=LOW,STEP in the environment the
 * n-th request of a bucket has LOW + (n - 1) x STEP bytes instead of all. Each request that
 * sets k finds its bucket full of garbage first, so that whatever still points into it from the
 * last request does not find what it left there.
 */
#include "base/arena.h"
#include "server/request/bucket.h"
#include "server/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *kth_alloc(struct arena *arena, size_t size, size_t align);
void *kth_realloc(struct arena *arena, void *p, size_t size);
void pail_test_fail_at(struct pail_request *r, long k, int once);
long pail_test_failed(void);

enum { GARBAGE = 0xdb };

static _Thread_local struct {
	struct arena *arena;
	long count, k, failed;
	int once;
} kth;

void pail_test_fail_at(struct pail_request *r, long k, int once)
{
	struct arena *arena = &r->bucket->arena;

	kth.arena = arena;
	kth.count = kth.failed = 0;
	kth.k = k;
	kth.once = once;
	if (arena->peak_bytes == 0)
		memset(arena->base, GARBAGE, arena->size_bytes);
}

long pail_test_failed(void)
{
	return kth.failed;
}

static int refused(struct arena *arena, size_t size)
{
	if (arena != kth.arena || kth.k == 0 || ++kth.count < kth.k ||
	    (kth.once && kth.count > kth.k))
		return 0;
	arena->wanted_bytes = size;
	kth.failed++;
	return 1;
}

/* Gives an empty arena of a request the bytes that it is to have, once. */
static void cut(struct arena *arena)
{
	static _Thread_local struct bucket *last;
	static _Thread_local uint64_t last_request;
	const char *words = getenv("PAIL_TEST_SWEEP");
	struct pail_request *r = request_current();
	size_t low, step;

	if (!words || !r || arena != &r->bucket->arena || arena->peak_bytes > 0 ||
	    (last == r->bucket && last_request == r->bucket->requests))
		return;
	last = r->bucket;
	last_request = r->bucket->requests;
	if (sscanf(words, "%zu,%zu", &low, &step) != 2)
		abort();
	size_t size = low + (last_request - 1) * step;
	if (size < core.plan.class[r->bucket->class_index].size_bytes)
		arena_init(arena, arena->base, size, core.plan.policy);
}

void *kth_alloc(struct arena *arena, size_t size, size_t align)
{
	cut(arena);
	return refused(arena, size) ? NULL : arena_alloc(arena, size, align);
}

void *kth_realloc(struct arena *arena, void *p, size_t size)
{
	cut(arena);
	return refused(arena, size) ? NULL : arena_realloc(arena, p, size);
}
