/* SPDX-License-Identifier: MIT */
#include "tests/server/simulation/world.h"

#include <errno.h>
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct world world;

static const uint64_t UNIX_NS = UINT64_C(1700000000000000000);

void world_fail(const char *format, ...)
{
	char text[512], line[700];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	int length =
		snprintf(line, sizeof(line), "simulation: seed %llu, step %llu: %s\n",
			 (unsigned long long)world.seed, (unsigned long long)world.step, text);
	/* Not by stdio, whose write() is ours. */
	if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
		_exit(2);
	_exit(1);
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(void)
{
	uint64_t z = world.random += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t world_draw(uint64_t below)
{
	return next_random() % below;
}

void world_init(uint64_t seed)
{
	memset(&world, 0, sizeof(world));
	world.seed = world.random = seed;
	world.now_ns = UINT64_C(1000000000000);
	world.faults = true;
}

static struct world_socket *socket_of(int fd)
{
	int i = fd - WORLD_FIRST_SOCKET;
	if (i < 0 || i >= WORLD_SOCKETS || !world.socket[i].used || !world.socket[i].accepted ||
	    world.socket[i].closed)
		world_fail("the server uses descriptor %d, which it has not", fd);
	return &world.socket[i];
}

static bool is_socket(int fd)
{
	return fd >= WORLD_FIRST_SOCKET && fd < WORLD_FIRST_SOCKET + WORLD_SOCKETS;
}

static void tell(struct world_socket *s, uint32_t events)
{
	if (s->epoll >= 0)
		s->events |= events;
}

static void free_if_done(struct world_socket *s)
{
	if (s->closed && s->reset)
		s->used = false;
}

/* -- the client's end ------------------------------------------------------------ */

int world_connect(void)
{
	for (int i = 0; i < WORLD_SOCKETS; i++) {
		struct world_socket *s = &world.socket[i];
		if (s->used)
			continue;
		memset(s, 0, offsetof(struct world_socket, in));
		s->used = true;
		s->epoll = -1;
		world.backlog[world.backlog_count++] = i;
		return i;
	}
	return -1;
}

size_t world_client_send(int i, const void *bytes, size_t length)
{
	struct world_socket *s = &world.socket[i];
	size_t room = WORLD_IN_BYTES - s->in_bytes;

	if (s->closed || s->fin || s->reset)
		return length; /* nobody reads it */
	if (length > room)
		length = room;
	memcpy(s->in + s->in_bytes, bytes, length);
	s->in_bytes += length;
	if (length)
		tell(s, EPOLLIN);
	return length;
}

size_t world_client_recv(int i, void *bytes, size_t length)
{
	struct world_socket *s = &world.socket[i];

	if (length > s->out_bytes)
		length = s->out_bytes;
	memcpy(bytes, s->out, length);
	memmove(s->out, s->out + length, s->out_bytes - length);
	s->out_bytes -= length;
	if (length && s->wants_out) {
		s->wants_out = false;
		tell(s, EPOLLOUT);
	}
	return length;
}

void world_client_fin(int i)
{
	struct world_socket *s = &world.socket[i];

	s->fin = true;
	tell(s, EPOLLIN | EPOLLRDHUP | (s->shut ? EPOLLHUP : 0));
}

void world_client_reset(int i)
{
	struct world_socket *s = &world.socket[i];

	s->reset = true;
	s->in_bytes = s->out_bytes = 0;
	tell(s, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
	free_if_done(s);
}

void world_client_leave(int i)
{
	struct world_socket *s = &world.socket[i];

	if (s->closed)
		s->used = false;
	else
		world_client_reset(i);
}

/* -- the server's calls -------------------------------------------------------------- */

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __real_close(int fd);
ssize_t __real_read(int fd, void *bytes, size_t length);
ssize_t __real_write(int fd, const void *bytes, size_t length);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
		return __real_clock_gettime(clock, time);
	world.now_ns += world_draw(2000); /* it takes time to get here */
	uint64_t ns = world.now_ns + (clock == CLOCK_REALTIME ? UNIX_NS : 0);
	*time = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	return 0;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	(void)flags;
	if (fd != WORLD_LISTENER)
		world_fail("accept4() of %d", fd);
	if (address && length)
		memset(address, 0, *length);
	if (world.backlog_count == 0) {
		errno = EAGAIN;
		return -1;
	}
	if (world.faults && world_chance(200)) {
		errno = world_chance(2) ? EMFILE : ENFILE;
		return -1;
	}
	int i = world.backlog[0];
	memmove(world.backlog, world.backlog + 1,
		(size_t)--world.backlog_count * sizeof(world.backlog[0]));
	world.socket[i].accepted = true;
	world.accepted++;
	return WORLD_FIRST_SOCKET + i;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t length, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t length, int flags)
{
	struct world_socket *s = socket_of(fd);

	(void)flags;
	if (s->reset) {
		errno = ECONNRESET;
		return -1;
	}
	if (world.faults && world_chance(100)) {
		errno = EINTR;
		return -1;
	}
	if (s->in_bytes == 0) {
		errno = EAGAIN;
		return s->fin ? 0 : -1;
	}
	if (length > s->in_bytes)
		length = s->in_bytes;
	memcpy(bytes, s->in, length);
	memmove(s->in, s->in + length, s->in_bytes - length);
	s->in_bytes -= length;
	return (ssize_t)length;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct world_socket *s = socket_of(fd);
	size_t room = WORLD_OUT_BYTES - s->out_bytes, sent = 0;

	(void)flags;
	if (s->shut)
		world_fail("it sends to %d after shutdown()", fd);
	if (s->reset) {
		errno = world_chance(2) ? EPIPE : ECONNRESET;
		return -1;
	}
	if (room == 0) {
		s->wants_out = true;
		errno = EAGAIN;
		return -1;
	}
	s->writes++;
	if (!world.whole &&
	    world_chance(4)) /* memory is short; then EPOLLOUT comes when it is there */
		room = 1 + world_draw(room);
	for (size_t i = 0; i < message->msg_iovlen && sent < room; i++) {
		size_t length = message->msg_iov[i].iov_len;
		if (length > room - sent)
			length = room - sent;
		if (length == 0)
			continue;
		memcpy(s->out + s->out_bytes, message->msg_iov[i].iov_base, length);
		s->out_bytes += length;
		sent += length;
	}
	if (s->out_bytes == WORLD_OUT_BYTES)
		s->wants_out = true;
	return (ssize_t)sent;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	return __wrap_sendmsg(fd, &message, flags);
}

/* How much the client has not taken: answers to pipelined requests are sent together
 * only when that is nothing. */
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	if (request != SIOCOUTQ)
		world_fail("ioctl(%d, %lx)", fd, request);
	va_start(args, request);
	*va_arg(args, int *) = (int)socket_of(fd)->out_bytes;
	va_end(args);
	return 0;
}

int __wrap_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how)
{
	struct world_socket *s = socket_of(fd);

	(void)how;
	if (s->reset) {
		errno = ENOTCONN;
		return -1;
	}
	s->shut = true;
	if (s->fin)
		tell(s, EPOLLHUP);
	return 0;
}

int __wrap_close(int fd);
int __wrap_close(int fd)
{
	if (!is_socket(fd))
		return __real_close(fd);
	struct world_socket *s = socket_of(fd);
	s->closed = true;
	s->epoll = -1;
	s->events = 0;
	world.closed++;
	free_if_done(s);
	return 0;
}

/* The log: what it says is another test's. */
ssize_t __wrap_write(int fd, const void *bytes, size_t length);
ssize_t __wrap_write(int fd, const void *bytes, size_t length)
{
	if (fd >= WORLD_WAKES && fd < WORLD_WAKES + WORLD_WORKERS) {
		world.woken[fd - WORLD_WAKES]++;
		return (ssize_t)length;
	}
	return fd == WORLD_LOG ? (ssize_t)length : __real_write(fd, bytes, length);
}

ssize_t __wrap_read(int fd, void *bytes, size_t length);
ssize_t __wrap_read(int fd, void *bytes, size_t length)
{
	if (fd < WORLD_WAKES || fd >= WORLD_WAKES + WORLD_WORKERS)
		return __real_read(fd, bytes, length);
	uint64_t *count = &world.woken[fd - WORLD_WAKES];
	if (*count == 0) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(bytes, count, sizeof(*count));
	*count = 0;
	return sizeof(*count);
}

int __wrap_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags)
{
	(void)value;
	(void)flags;
	return WORLD_WAKES + world.wakes++;
}

/* -- epoll ---------------------------------------------------------------------------- */

int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
	(void)flags;
	return WORLD_EPOLLS + world.epolls++;
}

int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	int worker = epoll - WORLD_EPOLLS;

	if (fd == WORLD_LISTENER) {
		if (world.listens[worker] == (what == EPOLL_CTL_ADD))
			world_fail("worker %d has the listener twice or lets go of none",
				   worker);
		world.listens[worker] = what == EPOLL_CTL_ADD;
		return 0;
	}
	if (fd == WORLD_WAKES + worker) {
		world.wake_pointer[worker] = event->data.ptr;
		return 0;
	}
	if (world.faults && world_chance(500)) {
		errno = ENOSPC;
		return -1;
	}
	struct world_socket *s = socket_of(fd);
	if (what != EPOLL_CTL_ADD || s->epoll >= 0 || !(event->events & EPOLLET))
		world_fail("epoll_ctl(%d) of %d is not what the core does", what, fd);
	s->epoll = worker;
	s->pointer = event->data.ptr;
	s->events = EPOLLOUT;
	if (s->in_bytes || s->fin)
		s->events |= EPOLLIN;
	if (s->fin)
		s->events |= EPOLLRDHUP;
	if (s->reset)
		s->events |= EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP;
	return 0;
}

/* Some of what is there, in any order; it never waits, the driver does. */
int __wrap_epoll_pwait2(int epoll, struct epoll_event *events, int most,
			const struct timespec *patience, const void *signals);
int __wrap_epoll_pwait2(int epoll, struct epoll_event *events, int most,
			const struct timespec *patience, const void *signals)
{
	int worker = epoll - WORLD_EPOLLS, count = 0;
	uint64_t first = world_draw(WORLD_SOCKETS);

	(void)patience;
	(void)signals;
	if (world.listens[worker] && world.backlog_count > 0)
		events[count++] = (struct epoll_event){.events = EPOLLIN, .data.ptr = NULL};
	if (world.woken[worker] > 0)
		events[count++] = (struct epoll_event){.events = EPOLLIN,
						       .data.ptr = world.wake_pointer[worker]};
	for (uint64_t k = 0; k < WORLD_SOCKETS && count < most; k++) {
		struct world_socket *s = &world.socket[(first + k) % WORLD_SOCKETS];
		if (!s->used || s->epoll != worker || !s->events || world_chance(8))
			continue;
		events[count++] =
			(struct epoll_event){.events = s->events, .data.ptr = s->pointer};
		s->events = 0;
	}
	for (int i = count; i > 1; i--) {
		int k = (int)world_draw((uint64_t)i);
		struct epoll_event event = events[i - 1];
		events[i - 1] = events[k];
		events[k] = event;
	}
	return count;
}
