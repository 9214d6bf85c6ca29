/* SPDX-License-Identifier: MIT */
#include "server/locks.h"

#include "server/bucket.h"
#include "server/loop.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

void *locks_red_alloc(struct pail_request *r, size_t size, size_t align)
{
	struct red_zone *zone = &r->worker->red_zone;

	if (!r->locks.red) {
		r->locks.red = true;
		zone->users++;
	}
	if (!r->locks.cause) {
		r->locks.cause = "oversize";
		r->locks.status = 500;
	}
	return arena_alloc(&zone->arena, size, align);
}

void locks_end(struct pail_request *r)
{
	struct red_zone *zone = &r->worker->red_zone;

	if (r->locks.red && --zone->users == 0)
		arena_clear(&zone->arena);
}

void locks_release(struct pail_request *r)
{
	struct locks *locks = &r->locks;

	locks->depth = 0;
	locks->cause = NULL;
	while (locks->count > 0) {
		struct lock_held held = locks->held[--locks->count];
		if (held.is_rwlock)
			pthread_rwlock_unlock(held.lock);
		else
			pthread_mutex_unlock(held.lock);
	}
}

#ifndef PAIL_MALLOC_OFF

static struct pail_request *noting(void)
{
	struct pail_request *r = request_current();
	return r && r->critical == 0 && r->stage < REQUEST_CLOSE ? r : NULL;
}

static void note(void *lock, bool is_rwlock)
{
	struct pail_request *r = noting();

	if (!r)
		return;
	r->locks.depth++;
	if (r->locks.count < LOCKS_MAX)
		r->locks.held[r->locks.count++] = (struct lock_held){lock, is_rwlock};
}

/* Before the unlock: who is left by a jump in between has it unlocked twice,
 * which is an error code; the other way round it would stay locked. */
static struct pail_request *forget(void *lock)
{
	struct pail_request *r = noting();
	struct locks *locks = r ? &r->locks : NULL;

	if (!r || locks->depth == 0)
		return NULL;
	for (uint32_t i = locks->count; i-- > 0;) {
		if (locks->held[i].lock != lock)
			continue;
		locks->held[i] = locks->held[--locks->count];
		break;
	}
	return --locks->depth == 0 && locks->cause ? r : NULL;
}

/* libc's own function of that name. */
#	define NEXT(function)                     \
		static __typeof__(function) *next; \
		if (!next)                         \
		*(void **)&next = dlsym(RTLD_NEXT, #function)

#	define LOCKS(function, kind, is_rwlock)       \
		int function(kind *lock)               \
		{                                      \
			NEXT(function);                \
			int result = next(lock);       \
			if (result == 0)               \
				note(lock, is_rwlock); \
			return result;                 \
		}

#	define LOCKS_UNTIL(function, kind, is_rwlock)                 \
		int function(kind *lock, const struct timespec *until) \
		{                                                      \
			NEXT(function);                                \
			int result = next(lock, until);                \
			if (result == 0)                               \
				note(lock, is_rwlock);                 \
			return result;                                 \
		}

#	define UNLOCKS(function, kind)                                                    \
		int function(kind *lock)                                                   \
		{                                                                          \
			NEXT(function);                                                    \
			struct pail_request *ends = forget(lock);                          \
			int result = next(lock);                                           \
			if (ends)                                                          \
				request_fail(ends, ends->locks.cause, ends->locks.status); \
			return result;                                                     \
		}

/* A thread is memory that the plan does not know, and has no request. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		   void *argument)
{
	NEXT(pthread_create);
	return noting() ? EAGAIN : next(thread, attributes, start, argument);
}

LOCKS(pthread_mutex_lock, pthread_mutex_t, false)
LOCKS(pthread_mutex_trylock, pthread_mutex_t, false)
LOCKS_UNTIL(pthread_mutex_timedlock, pthread_mutex_t, false)
UNLOCKS(pthread_mutex_unlock, pthread_mutex_t)
LOCKS(pthread_rwlock_rdlock, pthread_rwlock_t, true)
LOCKS(pthread_rwlock_wrlock, pthread_rwlock_t, true)
LOCKS(pthread_rwlock_tryrdlock, pthread_rwlock_t, true)
LOCKS(pthread_rwlock_trywrlock, pthread_rwlock_t, true)
LOCKS_UNTIL(pthread_rwlock_timedrdlock, pthread_rwlock_t, true)
LOCKS_UNTIL(pthread_rwlock_timedwrlock, pthread_rwlock_t, true)
UNLOCKS(pthread_rwlock_unlock, pthread_rwlock_t)

#endif
