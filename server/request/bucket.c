/* SPDX-License-Identifier: MIT */
#include "server/request/bucket.h"

#include "server/core.h"
#include "server/connection/connection.h"
#include "server/memory/escapes.h"
#include "server/memory/malloc.h"
#include "server/operation/metrics.h"
#include "server/request/stack.h"

#include <assert.h>
#include <stdio.h>
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

/* The bucket whose pail_bucket_start() runs on this thread. */
static _Thread_local struct bucket *starting;

void pail_bucket_data_set(void *data)
{
	if (starting)
		starting->data = data;
}

static int bucket_start_run(struct bucket *bucket, struct err *err)
{
	starting = bucket;
	handler_message[0] = 0;
	malloc_switch(NULL, &bucket->arena);
	int result = core.handler.bucket_start();
	malloc_switch(NULL, NULL);
	starting = NULL;
	if (result == 0)
		return 0;
	if (handler_message[0])
		return err_set(err, "the app '%s' did not start in a bucket of %zu bytes: %s",
			       core.handler.name, bucket->arena.size_bytes, handler_message);
	return err_set(err, "pail_bucket_start() of '%s' returned %d", core.handler.name,
		       result);
}

/* Room for the snapshot; the old one stays if there is none. */
static int snapshot_fit(struct bucket *bucket, struct err *err)
{
	size_t bytes = bucket->arena.top_bytes;

	if (!bucket->snapshot_arena)
		bucket->snapshot_arena = malloc(sizeof(*bucket->snapshot_arena));
	if (bucket->snapshot_arena && bucket->snapshot && bytes <= bucket->snapshot_room)
		return 0;
	unsigned char *room = malloc(bytes);
	if (!room || !bucket->snapshot_arena) {
		free(room);
		return err_set(err,
			       "the system region is too small for what pail_bucket_start() of "
			       "'%s' leaves in each bucket, %zu bytes (raise [server] system)",
			       core.handler.name, bytes);
	}
	free(bucket->snapshot);
	bucket->snapshot = room;
	bucket->snapshot_room = bytes;
	return 0;
}

int bucket_start(struct bucket *bucket, struct err *err)
{
	struct arena *arena = &bucket->arena;

	bucket->generation = atomic_load(&core.app_generation);
	if (!core.handler.bucket_start)
		return 0;
	if (bucket_start_run(bucket, err) < 0)
		return -1;
	if (arena->peak_bytes == 0) /* it has allocated nothing */
		return 0;
	if (snapshot_fit(bucket, err) < 0)
		return -1;
	memcpy(bucket->snapshot, arena->base, arena->top_bytes);
	memcpy(bucket->snapshot_arena, arena, sizeof(*arena));
	bucket->snapshot_arena->peak_bytes = arena->top_bytes;
	*arena = *bucket->snapshot_arena;
	return 0;
}

void bucket_renew(struct bucket *bucket)
{
	static _Atomic uint32_t complained; /* about this generation */
	void *data = bucket->data;
	struct err err = {0};

	arena_clear(&bucket->arena);
	if (bucket_start(bucket, &err) == 0)
		return;
	bucket->data = data;
	bucket_clear(bucket);
	if (atomic_exchange(&complained, bucket->generation) != bucket->generation)
		fprintf(stderr, "pail serve: %s; such buckets go on with the old one\n",
			err.text);
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
		metrics_set(&pool->free_count, pool->free_count - 1);
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
	metrics_set(&pool->free_count, pool->free_count + 1);
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
	metrics_set(&pool->waiting, pool->waiting + 1);
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
	metrics_set(&pool->waiting, pool->waiting - 1);
}
