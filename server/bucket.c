/* SPDX-License-Identifier: MIT */
#include "server/bucket.h"

#include "server/core.h"
#include "server/connection.h"
#include "server/escapes.h"
#include "server/malloc.h"
#include "server/stack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct bucket *bucket_init(uint32_t index)
{
	const struct region *region = &core.region;
	struct bucket *bucket = (struct bucket *)region_meta(region, index);

	bucket->index = index;
	bucket->class_index = region_class_of(region, index);
	bucket->stack = region_stack(region, index);
	bucket->stack_bytes = region->stack_bytes[bucket->class_index];
	arena_init(&bucket->arena, region_arena(region, index),
		   core.plan.class[bucket->class_index].size_bytes, core.plan.policy);
	stack_paint(bucket->stack, bucket->stack_bytes);
	return bucket;
}

/* -- snapshots ----------------------------------------------------------------- */

/* The bucket whose pail_bucket_start() runs, on the main thread. */
static struct bucket *starting;

void pail_bucket_data_set(void *data)
{
	if (starting)
		starting->data = data;
}

int bucket_start(struct bucket *bucket, struct err *err)
{
	struct arena *arena = &bucket->arena;

	if (!core.handler.bucket_start)
		return 0;
	starting = bucket;
	malloc_switch(NULL, arena);
	int result = core.handler.bucket_start();
	malloc_switch(NULL, NULL);
	starting = NULL;
	if (result != 0)
		return err_set(err, "pail_bucket_start() of '%s' returned %d",
			       core.handler.name, result);
	if (arena->peak_bytes == 0) /* it has allocated nothing */
		return 0;
	bucket->snapshot = malloc(arena->top_bytes);
	bucket->snapshot_arena = malloc(sizeof(*arena));
	if (!bucket->snapshot || !bucket->snapshot_arena)
		return err_set(err,
			       "the system region is too small for what pail_bucket_start() of "
			       "'%s' leaves in each bucket, %zu bytes (raise [server] system)",
			       core.handler.name, arena->top_bytes);
	memcpy(bucket->snapshot, arena->base, arena->top_bytes);
	memcpy(bucket->snapshot_arena, arena, sizeof(*arena));
	bucket->snapshot_arena->peak_bytes = arena->top_bytes;
	*arena = *bucket->snapshot_arena;
	return 0;
}

void bucket_clear(struct bucket *bucket)
{
	if (!bucket->snapshot) {
		arena_clear(&bucket->arena);
		return;
	}
	memcpy(&bucket->arena, bucket->snapshot_arena, sizeof(bucket->arena));
	memcpy(bucket->arena.base, bucket->snapshot, bucket->arena.top_bytes);
}

/* -- pools --------------------------------------------------------------------- */

void pool_init(struct pool *pool, uint32_t queue)
{
	memset(pool, 0, sizeof(*pool));
	pool->queue = queue;
}

struct bucket *pool_take(struct pool *pool)
{
	struct bucket *bucket = pool->free;

	if (bucket) {
		pool->free = bucket->next;
		pool->free_count--;
	}
	return bucket;
}

struct connection *pool_give(struct pool *pool, struct bucket *bucket)
{
	struct connection *first = pool->first;

	if (first) {
		assert(pool->free == NULL);
		pool_unwait(pool, first);
		return first;
	}
	pool->free_count++;
	if (escapes_on() && pool->free) { /* the longest time until it is used again */
		struct bucket *last = pool->free;
		while (last->next)
			last = last->next;
		bucket->next = NULL;
		last->next = bucket;
		return NULL;
	}
	bucket->next = pool->free;
	pool->free = bucket;
	return NULL;
}

int pool_wait(struct pool *pool, struct connection *c)
{
	assert(pool->free == NULL && c->pool == NULL);
	if (pool->waiting >= pool->queue)
		return -1;
	c->pool = pool;
	c->queue_next = NULL;
	c->queue_previous = pool->last;
	if (pool->last)
		pool->last->queue_next = c;
	else
		pool->first = c;
	pool->last = c;
	pool->waiting++;
	return 0;
}

void pool_unwait(struct pool *pool, struct connection *c)
{
	assert(c->pool == pool && pool->waiting > 0);
	if (c->queue_previous)
		c->queue_previous->queue_next = c->queue_next;
	else
		pool->first = c->queue_next;
	if (c->queue_next)
		c->queue_next->queue_previous = c->queue_previous;
	else
		pool->last = c->queue_previous;
	c->pool = NULL;
	pool->waiting--;
}
