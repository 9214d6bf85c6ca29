/* SPDX-License-Identifier: MIT */
#include "server/waiting/aio.h"

#include "server/request/bucket.h"
#include "server/connection/loop.h"
#include "server/operation/metrics.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLPRI == EPOLLPRI &&
		      POLLRDHUP == EPOLLRDHUP,
	      "events of poll are events of epoll");

static const uint64_t RETRY_NS = 2000000;

/* A stack that has no room for what comes in critical stretches is to overflow
 * here, where that is the handler's fault. */
__attribute__((noinline)) static void aio_touch_stack(void)
{
	volatile char room[AIO_STACK_BYTES];

	room[0] = 0;
	(void)room[0];
}

struct pail_request *aio_request(void)
{
	struct pail_request *r = request_current();

	if (!r || r->critical > 0 || r->stage >= REQUEST_CLOSE)
		return NULL;
	aio_touch_stack();
	return r;
}

/* -- waiting ---------------------------------------------------------------------- */

static int aio_add(int epoll_fd, const struct pollfd *fd, void *data)
{
	struct epoll_event event = {
		.events = (uint32_t)(fd->events & (POLLIN | POLLOUT | POLLPRI | POLLRDHUP)),
		.data.ptr = data};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd->fd, &event);
}

/* An epoll that is ready when one of them is; -1: there can't be one now. */
static int aio_gather(const struct pollfd *fds, nfds_t count)
{
	int epoll_fd = (int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC);

	for (nfds_t i = 0; i < count && epoll_fd >= 0; i++) {
		if (fds[i].fd < 0 || aio_add(epoll_fd, &fds[i], NULL) == 0)
			continue;
		struct epoll_event both = {.events = EPOLLIN | EPOLLOUT | EPOLLPRI};
		if (errno == EEXIST) { /* there twice: woken too often is fine */
			epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fds[i].fd, &both);
		} else {
			syscall(SYS_close, epoll_fd);
			epoll_fd = -1;
		}
	}
	return epoll_fd;
}

void aio_suspend(struct pail_request *r, uint64_t until_ns)
{
	struct worker *worker = r->worker;
	struct worker_counts *counts = &worker->counts;

	r->io_ready = false;
	metrics_add(&counts->io_waits, 1);
	metrics_set(&worker->io_waiting, worker->io_waiting + 1);
	if (worker->io_waiting > counts->io_waiting_peak)
		metrics_add(&counts->io_waiting_peak, 1);
	enum request_wake wake = request_wait(r, REQUEST_WAIT_IO, until_ns);
	metrics_set(&worker->io_waiting, worker->io_waiting - 1);
	if (wake == REQUEST_GONE && !r->pending) {
		r->pending = "client-gone";
		r->pending_status = 0;
	}
}

void aio_wait(struct pail_request *r, const struct pollfd *fds, nfds_t count, uint64_t until_ns)
{
	int epoll_fd = r->worker->epoll_fd, gathered = -1;
	struct pollfd all;
	bool single = count == 1 && fds->fd >= 0, added = false;

	request_enter(r);
	if (r->connection->broken && r->stage == REQUEST_HANDLE) {
		r->pending = "client-gone";
		r->pending_status = 0;
		request_leave(r);
	}
	if (single)
		added = aio_add(epoll_fd, fds, aio_tag(r->connection)) == 0;
	if (!added && count > 0) {
		gathered = aio_gather(fds, count);
		all = (struct pollfd){.fd = gathered, .events = POLLIN};
		added = gathered >= 0 && aio_add(epoll_fd, &all, aio_tag(r->connection)) == 0;
		single = false;
	}
	/* What no epoll takes (no memory, no descriptors) is looked at now and then. */
	if (!added && count > 0 && until_ns > loop_now_ns() + RETRY_NS)
		until_ns = loop_now_ns() + RETRY_NS;
	aio_suspend(r, until_ns);
	/* By system calls: errno and the handler's view of its descriptors are not
	 * to change. */
	if (added && single)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fds->fd, NULL);
	if (gathered >= 0)
		syscall(SYS_close, gathered);
	request_leave(r);
}

void aio_event(struct connection *c)
{
	if (c->state != CONNECTION_RUN || c->bucket->request.waits_for != REQUEST_WAIT_IO)
		return; /* of one that went on within this turn */
	c->bucket->request.io_ready = true;
	connection_advance(c);
}

/* -- what the calls share ------------------------------------------------------------ */

int aio_poll(struct pail_request *r, struct pollfd *fds, nfds_t count, uint64_t until_ns)
{
	static const struct timespec none = {0, 0};

	for (;;) {
		struct timespec now = none;
		int found = (int)syscall(SYS_ppoll, fds, count, &now, NULL, 0);
		if (found != 0 || loop_now_ns() >= until_ns)
			return found;
		aio_wait(r, fds, count, until_ns);
	}
}

/* When SO_RCVTIMEO or SO_SNDTIMEO of a socket is over that starts to wait now. */
static uint64_t aio_patience_ns(int fd, short events)
{
	struct timeval limit = {0, 0};
	socklen_t length = sizeof(limit);

	if (getsockopt(fd, SOL_SOCKET, events & POLLOUT ? SO_SNDTIMEO : SO_RCVTIMEO, &limit,
		       &length) < 0 ||
	    (limit.tv_sec == 0 && limit.tv_usec == 0))
		return UINT64_MAX;
	return loop_now_ns() + (uint64_t)limit.tv_sec * 1000000000 +
	       (uint64_t)limit.tv_usec * 1000;
}

bool aio_again(struct pail_request *r, int fd, short events, uint64_t *until_ns)
{
	struct pollfd one = {.fd = fd, .events = events};

	if (*until_ns == 0) {
		long flags = syscall(SYS_fcntl, fd, F_GETFL);
		if (flags < 0 || flags & O_NONBLOCK) {
			errno = EAGAIN;
			return false;
		}
		*until_ns = aio_patience_ns(fd, events);
	}
	if (loop_now_ns() >= *until_ns) {
		errno = EAGAIN;
		return false;
	}
	aio_wait(r, &one, 1, *until_ns);
	return true;
}
