/* SPDX-License-Identifier: MIT */
/*
 * Linked into a server of the tests alone, whose calls of arena_alloc() and
 * arena_realloc() come here: the k-th allocation of a request is refused as if
 * its bucket were full. Each request that sets k finds its bucket full of
 * garbage first, so that whatever still points into it from the last request
 * does not find what it left there.
 */
#include "base/arena.h"
#include "server/bucket.h"

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
	if (arena->top_bytes == 0)
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

void *kth_alloc(struct arena *arena, size_t size, size_t align)
{
	return refused(arena, size) ? NULL : arena_alloc(arena, size, align);
}

void *kth_realloc(struct arena *arena, void *p, size_t size)
{
	return refused(arena, size) ? NULL : arena_realloc(arena, p, size);
}
