/* SPDX-License-Identifier: MIT */
/*
 * Mutexes that a request holds, since no jump may leave one locked. The server
 * defines the calls that lock and unlock, and counts.
 *
 * - A bucket that is full while a mutex is held: the block comes from the
 *   worker's red zone, LOCKS_RED_BYTES, and the jump is made at the outermost
 *   unlock. SQLite, which calls malloc with its mutexes held, needs that. The
 *   red zone full: NULL.
 * - A deadline that passes meanwhile waits for the same unlock, but not longer
 *   than the deadline once more.
 * - A fault can't wait: the mutexes are unlocked for the request, and what they
 *   protect is as the fault left it.
 *
 * - A request that waits (for its client, in sleep()) may hold one meanwhile.
 *   Another of the same thread that wants it would stop the thread that the
 *   first needs to go on: it lets others run until the lock is free. So would a
 *   recursive mutex let it in, since it asks for the thread only: that waits too.
 *
 * Reader-writer locks are counted in the same way; spin locks and what libc
 * locks inside are not. Between a lock's being taken and its being noted no
 * deadline is acted on: locks_pc() says where that is.
 */
#ifndef PAIL_SERVER_LOCKS_H
#define PAIL_SERVER_LOCKS_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOCKS_MAX = 16, LOCKS_RED_BYTES = 64 << 10 };

struct pail_request;

struct locks {
	uint32_t depth; /* locks held */
	uint32_t count; /* of them noted in held[] */
	struct lock_held {
		void *lock;
		bool is_rwlock;
	} held[LOCKS_MAX];
	const char *cause; /* what the outermost unlock will end the request with */
	int status;
	bool red; /* it has blocks in the red zone */
};

/* A worker's red zone: shared by its requests, cleared when none has a block in it. */
struct red_zone {
	struct arena arena;
	uint32_t users;
};

/* A block for a request whose bucket is full and that holds a lock; NULL: the
 * red zone is full too. Notes that the request is to end. */
void *locks_red_alloc(struct pail_request *r, size_t size, size_t align);
/* Whether code there is about to note what it has locked or unlocked: it is not
 * to be left by a jump, but stepped out of. */
bool locks_pc(uintptr_t pc);
/* The request begins, and holds none. */
static inline void locks_begin(struct locks *locks)
{
	locks->depth = locks->count = 0;
	locks->cause = NULL;
	locks->status = 0;
	locks->red = false;
}

/* Of a request that was left by a jump. */
void locks_release(struct pail_request *r);
/* The request is over. */
void locks_end(struct pail_request *r);

#endif
