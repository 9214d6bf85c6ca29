/* SPDX-License-Identifier: MIT */
#include "server/failure/locks.h"

#include "server/request/bucket.h"
#include "server/connection/loop.h"
#include "server/waiting/resolve.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
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

#ifdef PAIL_MALLOC_OFF

bool locks_pc(uintptr_t pc)
{
	(void)pc;
	return false;
}

#else

static const uint64_t LOOK_AGAIN_NS = 1000 * 1000;

/* All that runs between the lock's change and its note, libc's part aside, is in
 * this section: hence the inlining. */
#	define STEPPED __attribute__((section("locks_text")))
#	define INLINED __attribute__((always_inline)) static inline
extern const char __start_locks_text[], __stop_locks_text[];

bool locks_pc(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_locks_text && pc < (uintptr_t)__stop_locks_text;
}

INLINED struct pail_request *noting(void)
{
	struct pail_request *r = this_worker ? this_worker->running : NULL;
	return r && r->critical == 0 && r->stage < REQUEST_CLOSE ? r : NULL;
}

/* -- locks that another request of this thread holds ---------------------------- */

static bool holds(const struct pail_request *r, const void *lock)
{
	for (uint32_t i = 0; i < r->locks.count; i++)
		if (r->locks.held[i].lock == lock)
			return true;
	return false;
}

static bool neighbour_holds(const struct pail_request *r, const void *lock)
{
	const struct worker *worker = r->worker;

	if (holds(r, lock)) /* its own affair */
		return false;
	for (uint32_t i = 0; i < worker->slot_count; i++) {
		const struct connection *c = &worker->slots[i];
		if (c->state == CONNECTION_RUN && &c->bucket->request != r &&
		    holds(&c->bucket->request, lock))
			return true;
	}
	return false;
}

/* Lets the others run for a moment. Does not come back after the deadline. */
static void await_neighbour(struct pail_request *r)
{
	snprintf(r->detail, sizeof(r->detail), "waits for a lock that another request holds");
	request_wait(r, REQUEST_WAIT_TIME, loop_now_ns() + LOOK_AGAIN_NS);
	r->detail[0] = 0;
}

static void await_mutex(const pthread_mutex_t *lock)
{
	struct pail_request *r = noting();

	/* Only if this thread holds it; glibc keeps that for every kind of mutex. */
	while (r && lock->__data.__owner == r->worker->tid && neighbour_holds(r, lock))
		await_neighbour(r);
}

/* True if it is to be tried once more. Who reads holds it without a name. */
static bool await_rwlock(const pthread_rwlock_t *lock)
{
	struct pail_request *r = noting();

	if (!r || !neighbour_holds(r, lock))
		return false;
	await_neighbour(r);
	return true;
}

INLINED void note(void *lock, bool is_rwlock)
{
	struct pail_request *r = noting();

	if (!r)
		return;
	r->locks.depth++;
	if (r->locks.count < LOCKS_MAX)
		r->locks.held[r->locks.count++] = (struct lock_held){lock, is_rwlock};
}

/* The one that is to end now, or NULL. */
INLINED struct pail_request *forget(void *lock)
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
		STEPPED int function(kind *lock)       \
		{                                      \
			NEXT(function);                \
			int result = next(lock);       \
			if (result == 0)               \
				note(lock, is_rwlock); \
			return result;                 \
		}

#	define LOCKS_BY_TRYING(function, function_try)                               \
		STEPPED int function(pthread_rwlock_t *lock)                          \
		{                                                                     \
			static __typeof__(function) *attempt;                         \
			if (!attempt)                                                 \
				*(void **)&attempt = dlsym(RTLD_NEXT, #function_try); \
			NEXT(function);                                               \
			int result;                                                   \
			do {                                                          \
				result = attempt(lock);                               \
			} while (result == EBUSY && await_rwlock(lock));              \
			if (result == EBUSY)                                          \
				result = next(lock);                                  \
			if (result == 0)                                              \
				note(lock, true);                                     \
			return result;                                                \
		}

#	define LOCKS_UNTIL(function, kind, is_rwlock)                         \
		STEPPED int function(kind *lock, const struct timespec *until) \
		{                                                              \
			NEXT(function);                                        \
			int result = next(lock, until);                        \
			if (result == 0)                                       \
				note(lock, is_rwlock);                         \
			return result;                                         \
		}

#	define UNLOCKS(function, kind)                                                    \
		STEPPED int function(kind *lock)                                           \
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
	if (!noting())
		return next(thread, attributes, start, argument);
	return resolve_inline(__builtin_return_address(0), thread, start, argument) ? 0
										    : EAGAIN;
}

STEPPED int pthread_mutex_lock(pthread_mutex_t *lock)
{
	NEXT(pthread_mutex_lock);
	await_mutex(lock);
	int result = next(lock);
	if (result == 0)
		note(lock, false);
	return result;
}

LOCKS(pthread_mutex_trylock, pthread_mutex_t, false)
LOCKS_UNTIL(pthread_mutex_timedlock, pthread_mutex_t, false)
UNLOCKS(pthread_mutex_unlock, pthread_mutex_t)
LOCKS_BY_TRYING(pthread_rwlock_rdlock, pthread_rwlock_tryrdlock)
LOCKS_BY_TRYING(pthread_rwlock_wrlock, pthread_rwlock_trywrlock)
LOCKS(pthread_rwlock_tryrdlock, pthread_rwlock_t, true)
LOCKS(pthread_rwlock_trywrlock, pthread_rwlock_t, true)
LOCKS_UNTIL(pthread_rwlock_timedrdlock, pthread_rwlock_t, true)
LOCKS_UNTIL(pthread_rwlock_timedwrlock, pthread_rwlock_t, true)
UNLOCKS(pthread_rwlock_unlock, pthread_rwlock_t)

#endif
