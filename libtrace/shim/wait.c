/* SPDX-License-Identifier: MIT */
/*
 * Where threads wait: between two waits lies a unit of work. Sleeping is
 * recorded as well; whether it ends a unit is for attribution to say.
 *
 * In exact mode epoll_wait() returns one event at a time, which epoll's
 * contract allows, so that each return names whose turn it is.
 */
#include "libtrace/shim/memory.h"
#include "libtrace/shim/real.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* libc declares poll()'s array as write-only, and gcc then takes what is read
 * of it in its definition for uninitialised. */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

static int64_t of_ms(int ms)
{
	return ms < 0 ? -1 : (int64_t)ms * 1000000;
}

/* Where there is none: for ever, as NULL; the kernel says EFAULT. */
static int64_t of_spec(const struct timespec *time)
{
	return time && memory_readable(time, sizeof(*time))
		       ? (int64_t)time->tv_sec * 1000000000 + time->tv_nsec
		       : -1;
}

static void begins(enum event_wait wait, uint64_t value, int64_t timeout_ns,
		   const uint64_t *items, size_t count)
{
	if (UNLIKELY(writer.in_vfork) || !writer_on())
		return;
	int saved = errno;
	write_long(EVENT_WAIT_BEGIN, wait, value, timeout_ns, 0, items, count * 8);
	errno = saved;
}

static void ends(enum event_wait wait, uint64_t value, int64_t timeout_ns, int result,
		 const uint64_t *items, size_t count)
{
	if (UNLIKELY(writer.in_vfork) || !writer_on())
		return;
	int saved = errno;
	write_long(EVENT_WAIT_END, wait, value, result < 0 ? -(int64_t)saved : result,
		   (uint64_t)timeout_ns, items, count * 8);
	errno = saved;
}

/* -- epoll ---------------------------------------------------------------------- */

EXPORT int epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event)
{
	if (!writer.in_vfork && writer_on()) {
		int saved = errno;
		bool there = event && memory_readable(event, sizeof(*event));
		write_long(EVENT_EPOLL_CTL, 0, (uint32_t)epfd,
			   (int64_t)operation << 32 | (uint32_t)fd, there ? event->data.u64 : 0,
			   NULL, 0);
		errno = saved;
	}
	return REAL(epoll_ctl)(epfd, operation, fd, event);
}

static int at_most(int count)
{
	return region_mode & REGION_EXACT && count > 1 ? 1 : count;
}

static int epoll_ended(int epfd, int64_t timeout_ns, const struct epoll_event *events,
		       int result)
{
	uint64_t items[EVENT_WAIT_ITEMS];
	int count = result < EVENT_WAIT_ITEMS ? result : EVENT_WAIT_ITEMS;

	for (int i = 0; i < count; i++)
		items[i] = events[i].data.u64;
	ends(WAIT_EPOLL, (uint32_t)epfd, timeout_ns, result, items,
	     count > 0 ? (size_t)count : 0);
	return result;
}

EXPORT int epoll_wait(int epfd, struct epoll_event *events, int count, int timeout)
{
	begins(WAIT_EPOLL, (uint32_t)epfd, of_ms(timeout), NULL, 0);
	int result = REAL(epoll_wait)(epfd, events, at_most(count), timeout);
	return epoll_ended(epfd, of_ms(timeout), events, result);
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int count, int timeout,
		       const sigset_t *mask)
{
	begins(WAIT_EPOLL, (uint32_t)epfd, of_ms(timeout), NULL, 0);
	int result = REAL(epoll_pwait)(epfd, events, at_most(count), timeout, mask);
	return epoll_ended(epfd, of_ms(timeout), events, result);
}

EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int count,
			const struct timespec *timeout, const sigset_t *mask)
{
	begins(WAIT_EPOLL, (uint32_t)epfd, of_spec(timeout), NULL, 0);
	int result = REAL(epoll_pwait2)(epfd, events, at_most(count), timeout, mask);
	return epoll_ended(epfd, of_spec(timeout), events, result);
}

/* -- poll, select --------------------------------------------------------------- */

enum { FEW = 4 }; /* so many descriptors are named before the wait */

static void poll_begins(const struct pollfd *fds, nfds_t count, int64_t timeout_ns)
{
	uint64_t items[FEW] = {0};
	size_t few = count <= FEW && memory_readable(fds, count * sizeof(*fds)) ? count : 0;

	for (size_t i = 0; i < few; i++)
		items[i] = (uint32_t)fds[i].fd;
	begins(WAIT_POLL, count, timeout_ns, items, few);
}

static int poll_ended(const struct pollfd *fds, nfds_t count, int64_t timeout_ns, int result)
{
	uint64_t items[EVENT_WAIT_ITEMS];
	size_t ready = 0;

	for (nfds_t i = 0; result > 0 && i < count && ready < EVENT_WAIT_ITEMS; i++)
		if (fds[i].revents)
			items[ready++] = (uint32_t)fds[i].fd;
	ends(WAIT_POLL, count, timeout_ns, result, items, ready);
	return result;
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	poll_begins(fds, count, of_ms(timeout));
	int result = REAL(poll)(fds, count, timeout);
	return poll_ended(fds, count, of_ms(timeout), result);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask)
{
	int64_t timeout_ns = of_spec(timeout);

	poll_begins(fds, count, timeout_ns);
	int result = REAL(ppoll)(fds, count, timeout, mask);
	return poll_ended(fds, count, timeout_ns, result);
}

void __chk_fail(void) __attribute__((noreturn));
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
	if (room / sizeof(*fds) < count)
		__chk_fail();
	return poll(fds, count, timeout);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		       const sigset_t *mask, size_t room);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		       const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < count)
		__chk_fail();
	return ppoll(fds, count, timeout, mask);
}

/* The members of up to three sets: how many there are, and the first `room`.
 * A program may pass sets longer than fd_set, or a count longer than its sets,
 * of which the kernel looks at no more than it has descriptors: so not past
 * FD_SETSIZE, and only at what is there. */
static size_t members(int count, const fd_set *const sets[3], uint64_t *items, size_t room)
{
	enum { WORD = 8 * sizeof(unsigned long) };
	size_t found = 0;

	for (int first = 0; first < count && first < FD_SETSIZE; first += WORD) {
		unsigned long in = 0;
		for (int i = 0; i < 3; i++) {
			const unsigned long *word =
				(const unsigned long *)(const void *)sets[i] + first / WORD;
			if (sets[i] && memory_readable(word, sizeof(*word)))
				in |= *word;
		}
		if (count - first < WORD)
			in &= (1ul << (count - first)) - 1;
		for (; in; in &= in - 1)
			if (found++ < room)
				items[found - 1] = (uint32_t)(first + __builtin_ctzl(in));
	}
	return found;
}

static size_t select_begins(int count, const fd_set *r, const fd_set *w, const fd_set *e,
			    int64_t timeout_ns)
{
	uint64_t items[FEW] = {0};

	if (!writer_on())
		return 0;
	size_t all = members(count, (const fd_set *const[]){r, w, e}, items, FEW);
	begins(WAIT_SELECT, all, timeout_ns, items, all <= FEW ? all : 0);
	return all;
}

static int select_ended(int count, const fd_set *r, const fd_set *w, const fd_set *e,
			size_t all, int64_t timeout_ns, int result)
{
	uint64_t items[EVENT_WAIT_ITEMS];
	size_t ready = 0;

	if (result > 0 && writer_on())
		ready = members(count, (const fd_set *const[]){r, w, e}, items,
				EVENT_WAIT_ITEMS);
	ends(WAIT_SELECT, all, timeout_ns, result, items,
	     ready < EVENT_WAIT_ITEMS ? ready : EVENT_WAIT_ITEMS);
	return result;
}

EXPORT int select(int count, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
	bool timed = timeout && memory_readable(timeout, sizeof(*timeout));
	int64_t timeout_ns =
		timed ? (int64_t)timeout->tv_sec * 1000000000 + (int64_t)timeout->tv_usec * 1000
		      : -1;
	size_t all = select_begins(count, r, w, e, timeout_ns);
	int result = REAL(select)(count, r, w, e, timeout);

	return select_ended(count, r, w, e, all, timeout_ns, result);
}

EXPORT int pselect(int count, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout,
		   const sigset_t *mask)
{
	int64_t timeout_ns = of_spec(timeout);
	size_t all = select_begins(count, r, w, e, timeout_ns);
	int result = REAL(pselect)(count, r, w, e, timeout, mask);

	return select_ended(count, r, w, e, all, timeout_ns, result);
}

/* -- sleep ------------------------------------------------------------------------ */

EXPORT int nanosleep(const struct timespec *time, struct timespec *rest)
{
	begins(WAIT_SLEEP, 0, of_spec(time), NULL, 0);
	int result = REAL(nanosleep)(time, rest);
	ends(WAIT_SLEEP, 0, of_spec(time), result, NULL, 0);
	return result;
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			   struct timespec *rest)
{
	int64_t timeout_ns = flags ? 0 : of_spec(time);

	begins(WAIT_SLEEP, 0, timeout_ns, NULL, 0);
	int result =
		REAL(clock_nanosleep)(clock, flags, time, rest); /* gives the errno itself */
	ends(WAIT_SLEEP, 0, timeout_ns, 0, NULL, 0);
	return result;
}

EXPORT int usleep(useconds_t us)
{
	begins(WAIT_SLEEP, 0, (int64_t)us * 1000, NULL, 0);
	int result = REAL(usleep)(us);
	ends(WAIT_SLEEP, 0, (int64_t)us * 1000, result, NULL, 0);
	return result;
}

EXPORT unsigned sleep(unsigned seconds)
{
	begins(WAIT_SLEEP, 0, (int64_t)seconds * 1000000000, NULL, 0);
	unsigned left = REAL(sleep)(seconds);
	ends(WAIT_SLEEP, 0, (int64_t)seconds * 1000000000, 0, NULL, 0);
	return left;
}

/* -- condition variables, if asked for -------------------------------------------- */

static bool conditions(void)
{
	return region_mode & REGION_CONDITIONS && writer_on();
}

static uint64_t address(const void *p)
{
	return (uintptr_t)p;
}

/* Mutexes that some condition variable waits with: the guards of queues. */
enum { GUARDS = 64 };
static _Atomic uint64_t guards[GUARDS];

static size_t guard_slot(uint64_t mutex)
{
	return (size_t)(mutex * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

static bool is_guard(const void *mutex)
{
	return atomic_load_explicit(&guards[guard_slot(address(mutex))],
				    memory_order_relaxed) == address(mutex);
}

static void cond_begins(const void *cond, const void *mutex, int64_t timeout_ns)
{
	uint64_t guard = address(mutex);

	atomic_store_explicit(&guards[guard_slot(guard)], guard, memory_order_relaxed);
	begins(WAIT_COND, address(cond), timeout_ns, &guard, 1);
}

/* libc's own names: no look-up, as allocators lock mutexes while we resolve. */
int __pthread_mutex_lock(pthread_mutex_t *mutex);
int __pthread_mutex_unlock(pthread_mutex_t *mutex);

EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int result = __pthread_mutex_lock(mutex);

	if (UNLIKELY(region_mode & REGION_CONDITIONS) && is_guard(mutex) && writer_on())
		write_long(EVENT_LOCK, 0, address(mutex), 0, 0, NULL, 0);
	return result;
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (UNLIKELY(region_mode & REGION_CPU) && conditions())
		writer_cpu_again();
	if (UNLIKELY(region_mode & REGION_CONDITIONS) && is_guard(mutex) && writer_on())
		write_long(EVENT_UNLOCK, 0, address(mutex), 0, 0, NULL, 0);
	return __pthread_mutex_unlock(mutex);
}

EXPORT int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	if (!conditions())
		return REAL(pthread_cond_wait)(cond, mutex);
	cond_begins(cond, mutex, -1);
	int result = REAL(pthread_cond_wait)(cond, mutex);
	ends(WAIT_COND, address(cond), -1, result == 0, NULL, 0);
	return result;
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *until)
{
	if (!conditions())
		return REAL(pthread_cond_timedwait)(cond, mutex, until);
	cond_begins(cond, mutex, 1);
	int result = REAL(pthread_cond_timedwait)(cond, mutex, until);
	ends(WAIT_COND, address(cond), 1, result == 0, NULL, 0);
	return result;
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
				  const struct timespec *until)
{
	if (!conditions())
		return REAL(pthread_cond_clockwait)(cond, mutex, clock, until);
	cond_begins(cond, mutex, 1);
	int result = REAL(pthread_cond_clockwait)(cond, mutex, clock, until);
	ends(WAIT_COND, address(cond), 1, result == 0, NULL, 0);
	return result;
}

EXPORT int pthread_cond_signal(pthread_cond_t *cond)
{
	if (conditions())
		write_long(EVENT_COND_SIGNAL, 0, address(cond), 0, 0, NULL, 0);
	return REAL(pthread_cond_signal)(cond);
}

EXPORT int pthread_cond_broadcast(pthread_cond_t *cond)
{
	if (conditions())
		write_long(EVENT_COND_SIGNAL, EVENT_BROADCAST, address(cond), 0, 0, NULL, 0);
	return REAL(pthread_cond_broadcast)(cond);
}
