/* SPDX-License-Identifier: MIT */
/*
 * Buckets, and who gets one. A bucket is an arena and a stack, and in its meta
 * piece this struct, which ends in the state of the request that holds it.
 *
 * A pool is one class's buckets of one worker: those free, the last one used
 * first (its cache lines are warm), and the connections that wait for one, in
 * the order of their coming. A bucket that is given back while someone waits
 * goes to the first of them at once, so no newcomer overtakes.
 *
 * Every bucket belongs to one worker for good: bucket i of a class to worker
 * i mod threads. What the simulator predicts for a class of n buckets and a
 * queue of q is therefore exact for one thread, and for t threads holds for
 * each one's n/t buckets and q/t places (rounded up).
 */
#ifndef PAIL_SERVER_BUCKET_H
#define PAIL_SERVER_BUCKET_H

#include "base/arena.h"
#include "server/request/request.h"

#include <assert.h>
#include <stdint.h>

struct connection;

struct bucket {
	struct arena arena;  /* first: escapes.c gets from one to the other */
	struct bucket *next; /* in the free list */
	uint32_t index, class_index;
	unsigned char *stack;                 /* its low end; below it is the guard */
	size_t stack_bytes, stack_used_bytes; /* when it was last measured */
	uint32_t unmeasured;                  /* requests since, */
	int unmeasured_route;                 /* and theirs (stack.c) */
	/* What pail_bucket_start() left: the used prefix and the arena's state. */
	unsigned char *snapshot;
	struct arena *snapshot_arena;
	size_t snapshot_room; /* bytes */
	uint32_t generation;  /* of the app, that it was made by */
	void *data;           /* pail_bucket_data_set() */
	uint64_t requests;
	struct pail_request request;
};
static_assert(sizeof(struct bucket) <= LIMITS_BUCKET_META_BYTES, "meta of a bucket");

struct pool {
	struct bucket *free;
	struct connection *first, *last; /* waiting, linked by their queue_next */
	uint32_t free_count, count;
	uint32_t waiting, queue; /* now, and the most */
	/* No wait of a request for its client began before this (patience.h). */
	uint64_t stalled_from_ns;
};

/* Sets up the bucket in its meta piece. */
struct bucket *bucket_init(uint32_t index);
/* Runs the handler's bucket_start() in it and keeps what it made. 0, or what
 * bucket_start() returned, or -1 with a message. */
int bucket_start(struct bucket *bucket, struct err *err);
/* The same for an app that was read again; one that can't be started keeps what
 * it had, and stderr says so once. On its worker's thread, while it is free. */
void bucket_renew(struct bucket *bucket);
/* Ready for the next request: empty, or as bucket_start() left it. */
void bucket_clear(struct bucket *bucket);

void pool_init(struct pool *pool, uint32_t queue);
/* The bucket used last, or NULL. */
struct bucket *pool_take(struct pool *pool);
/* Gives the bucket back. Whom to start with it instead, or NULL. */
struct connection *pool_give(struct pool *pool, struct bucket *bucket);
/* Waits in line: 0, or -1 if the line is full. */
int pool_wait(struct pool *pool, struct connection *connection);
void pool_unwait(struct pool *pool, struct connection *connection);

#endif
