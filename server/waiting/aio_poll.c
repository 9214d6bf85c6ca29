/* SPDX-License-Identifier: MIT */
/*
 * poll, select and epoll_wait inside handlers. A signal mask that comes with a
 * call is ignored there: what signals do in the server is not the handler's.
 */
#include "server/waiting/aio.h"
#include "server/connection/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const uint64_t SECOND_NS = 1000000000;

static uint64_t until_ms(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : loop_now_ns() + (uint64_t)timeout_ms * 1000000;
}

/* False: no time that could be. NULL is for ever. */
static bool until_timespec(const struct timespec *timeout, uint64_t *until_ns)
{
	*until_ns = UINT64_MAX;
	if (!timeout)
		return true;
	if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= (long)SECOND_NS)
		return false;
	/* Beyond a century the sum could wrap. */
	if (timeout->tv_sec < INT64_C(4000000000))
		*until_ns = loop_now_ns() + (uint64_t)timeout->tv_sec * SECOND_NS +
			    (uint64_t)timeout->tv_nsec;
	return true;
}

/* -- poll ---------------------------------------------------------------------------- */

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	  const sigset_t *mask)
{
	struct pail_request *r = aio_request();
	struct timespec left;
	uint64_t until_ns;

	if (r && !until_timespec(timeout, &until_ns)) {
		errno = EINVAL;
		return -1;
	}
	if (r)
		return aio_poll(r, fds, count, until_ns);
	if (timeout) /* the kernel's changes it */
		left = *timeout;
	return (int)syscall(SYS_ppoll, fds, count, timeout ? &left : NULL, mask,
			    sizeof(uint64_t));
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct pail_request *r = timeout_ms ? aio_request() : NULL;
	struct timespec timeout = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};

	if (r)
		return aio_poll(r, fds, count, until_ms(timeout_ms));
	return (int)syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

/* What libraries call that were compiled with _FORTIFY_SOURCE. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		const sigset_t *mask, size_t bytes);

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t bytes)
{
	if (bytes / sizeof(*fds) < count)
		abort();
	return poll(fds, count, timeout_ms);
}

int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		const sigset_t *mask, size_t bytes)
{
	if (bytes / sizeof(*fds) < count)
		abort();
	return ppoll(fds, count, timeout, mask);
}

/* -- select --------------------------------------------------------------------------- */

static bool in_set(int fd, const fd_set *set)
{
	return set && FD_ISSET(fd, set);
}

/* The three sets as poll has them: how many. */
static nfds_t fds_of_sets(struct pollfd *fds, int end, const fd_set *in, const fd_set *out,
			  const fd_set *urgent)
{
	nfds_t count = 0;

	for (int fd = 0; fd < end; fd++) {
		int events = (in_set(fd, in) ? POLLIN : 0) | (in_set(fd, out) ? POLLOUT : 0) |
			     (in_set(fd, urgent) ? POLLPRI : 0);
		if (events)
			fds[count++] = (struct pollfd){.fd = fd, .events = (short)events};
	}
	return count;
}

static int mark(fd_set *set, int fd, bool ready)
{
	if (!set || !ready)
		return 0;
	FD_SET(fd, set);
	return 1;
}

static int select_until(struct pail_request *r, int end, fd_set *in, fd_set *out,
			fd_set *urgent, uint64_t until_ns)
{
	struct pollfd fds[FD_SETSIZE];
	nfds_t count = fds_of_sets(fds, end, in, out, urgent);
	int ready = aio_poll(r, fds, count, until_ns), bits = 0;

	if (ready < 0)
		return -1;
	for (nfds_t i = 0; i < count; i++)
		if (fds[i].revents & POLLNVAL) {
			errno = EBADF;
			return -1;
		}
	size_t bytes = (size_t)(end + __NFDBITS - 1) / __NFDBITS * sizeof(fd_mask);
	fd_set *const set[] = {in, out, urgent};
	for (size_t i = 0; i < 3; i++)
		if (set[i])
			memset(set[i], 0, bytes);
	for (nfds_t i = 0; i < count; i++) {
		short asked = fds[i].events, came = fds[i].revents;
		bits += mark(in, fds[i].fd,
			     asked & POLLIN && came & (POLLIN | POLLHUP | POLLERR));
		bits += mark(out, fds[i].fd, asked & POLLOUT && came & (POLLOUT | POLLERR));
		bits += mark(urgent, fds[i].fd, asked & POLLPRI && came & POLLPRI);
	}
	return bits;
}

int pselect(int end, fd_set *in, fd_set *out, fd_set *urgent, const struct timespec *timeout,
	    const sigset_t *mask)
{
	struct pail_request *r = aio_request();
	struct {
		const sigset_t *set;
		size_t bytes;
	} masked = {mask, sizeof(uint64_t)};
	struct timespec left;
	uint64_t until_ns;

	/* Sets larger than glibc's own are not known to be that large. */
	if (r && end >= 0 && end <= FD_SETSIZE) {
		if (until_timespec(timeout, &until_ns))
			return select_until(r, end, in, out, urgent, until_ns);
		errno = EINVAL;
		return -1;
	}
	if (timeout)
		left = *timeout;
	return (int)syscall(SYS_pselect6, end, in, out, urgent, timeout ? &left : NULL,
			    &masked);
}

int select(int end, fd_set *in, fd_set *out, fd_set *urgent, struct timeval *timeout)
{
	struct timespec given = {0, 0};
	uint64_t begin_ns = loop_now_ns();

	if (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0)) {
		errno = EINVAL;
		return -1;
	}
	if (timeout) {
		given.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000;
		given.tv_nsec = (long)(timeout->tv_usec % 1000000) * 1000;
	}
	int result = pselect(end, in, out, urgent, timeout ? &given : NULL, NULL);
	if (!timeout)
		return result;
	/* Linux says what is left. */
	int saved = errno;
	uint64_t us = (uint64_t)given.tv_sec * 1000000 + (uint64_t)given.tv_nsec / 1000,
		 gone_us = (loop_now_ns() - begin_ns) / 1000;
	us = us > gone_us && result != 0 ? us - gone_us : 0;
	timeout->tv_sec = (time_t)(us / 1000000);
	timeout->tv_usec = (suseconds_t)(us % 1000000);
	errno = saved;
	return result;
}

/* -- epoll --------------------------------------------------------------------------- */

static int epoll_now(int epoll_fd, struct epoll_event *events, int room, int timeout_ms,
		     const sigset_t *mask)
{
	return (int)syscall(SYS_epoll_pwait, epoll_fd, events, room, timeout_ms, mask,
			    sizeof(uint64_t));
}

static int epoll_until(struct pail_request *r, int epoll_fd, struct epoll_event *events,
		       int room, uint64_t until_ns)
{
	struct pollfd one = {.fd = epoll_fd, .events = POLLIN};

	for (;;) {
		int found = epoll_now(epoll_fd, events, room, 0, NULL);
		if (found != 0 || loop_now_ns() >= until_ns)
			return found;
		aio_wait(r, &one, 1, until_ns);
	}
}

int epoll_pwait(int epoll_fd, struct epoll_event *events, int room, int timeout_ms,
		const sigset_t *mask)
{
	struct pail_request *r = timeout_ms ? aio_request() : NULL;

	if (r)
		return epoll_until(r, epoll_fd, events, room, until_ms(timeout_ms));
	return epoll_now(epoll_fd, events, room, timeout_ms, mask);
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int room, int timeout_ms)
{
	return epoll_pwait(epoll_fd, events, room, timeout_ms, NULL);
}

int epoll_pwait2(int epoll_fd, struct epoll_event *events, int room,
		 const struct timespec *timeout, const sigset_t *mask)
{
	struct pail_request *r = aio_request();
	uint64_t until_ns;

	if (r && !until_timespec(timeout, &until_ns)) {
		errno = EINVAL;
		return -1;
	}
	if (r)
		return epoll_until(r, epoll_fd, events, room, until_ns);
	return (int)syscall(SYS_epoll_pwait2, epoll_fd, events, room, timeout, mask,
			    sizeof(uint64_t));
}
