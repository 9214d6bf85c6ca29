/* SPDX-License-Identifier: MIT */
#include "server/waiting/sockets.h"

#include "server/waiting/aio.h"
#include "server/connection/loop.h"
#include "server/failure/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A socket is two units, an end of a pair one. */
enum { UNITS_SOCKET = 2, UNITS_END = 1, SPARE_FDS = 1024 };

static struct {
	_Atomic uint8_t *units; /* by descriptor */
	int room;
	uint32_t limit; /* in units */
	uint64_t wait_ns;
	int receive_bytes, send_bytes;
	_Atomic uint32_t now, peak;
	_Atomic uint64_t refused;
	_Atomic bool told;
} sockets;

int sockets_open(const struct plan *plan, struct err *err)
{
	/* The lowest free number is given, so those beyond are never reached. */
	uint64_t room =
		2 * (uint64_t)plan->connections + 2 * (uint64_t)plan->outgoing + 64 + SPARE_FDS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < room)
		room = limit.rlim_cur;
	sockets.room = (int)room;
	sockets.limit = plan->outgoing * UNITS_SOCKET;
	sockets.wait_ns = plan->outgoing_wait_ns;
	sockets.receive_bytes = (int)plan->outgoing_rcvbuf_bytes;
	sockets.send_bytes = (int)plan->outgoing_sndbuf_bytes;
	sockets.units = calloc((size_t)room, 1);
	if (!sockets.units)
		return err_set(err, "[server] system: too small for a table of %d descriptors",
			       sockets.room);
	return 0;
}

void sockets_count(struct socket_counts *counts)
{
	counts->now = atomic_load(&sockets.now) / UNITS_SOCKET;
	counts->peak = (atomic_load(&sockets.peak) + 1) / UNITS_SOCKET;
	counts->refused = atomic_load(&sockets.refused);
}

void sockets_closed(int fd)
{
	if (fd < 0 || fd >= sockets.room || !sockets.units ||
	    atomic_load_explicit(&sockets.units[fd], memory_order_relaxed) == 0)
		return;
	uint32_t units = atomic_exchange(&sockets.units[fd], 0);
	atomic_fetch_sub(&sockets.now, units);
}

#ifndef PAIL_MALLOC_OFF

static const uint64_t PAUSE_LEAST_NS = 500000, PAUSE_MOST_NS = 8000000;

extern const char __executable_start[], etext[];

/* The core's own calls come from the program. */
static bool is_ours(const void *caller)
{
	return (uintptr_t)caller - (uintptr_t)__executable_start <
	       (uintptr_t)etext - (uintptr_t)__executable_start;
}

static bool try_take(uint32_t units)
{
	uint32_t now = atomic_load(&sockets.now);

	do {
		if (now + units > sockets.limit)
			return false;
	} while (!atomic_compare_exchange_weak(&sockets.now, &now, now + units));
	uint32_t peak = atomic_load(&sockets.peak);
	while (peak < now + units &&
	       !atomic_compare_exchange_weak(&sockets.peak, &peak, now + units))
		;
	return true;
}

static void tell_refused(void)
{
	if (atomic_exchange(&sockets.told, true))
		return;
	dprintf(STDERR_FILENO,
		"pail serve: all %u sockets of handlers are in use, and one more was refused "
		"(raise [server] outgoing, or close them earlier)\n",
		sockets.limit / UNITS_SOCKET);
}

/* From here to the descriptor's note nothing may jump: 0 and r is in a critical
 * stretch, or -1 with ENOBUFS. May wait, and jump, before. */
static int take(struct pail_request *r, uint32_t units)
{
	uint64_t until_ns = 0, pause_ns = PAUSE_LEAST_NS;

	if (!streams_have_room(r, 2)) { /* the ends of a pair, at most */
		errno = EMFILE;
		return -1;
	}
	for (;;) {
		if (r)
			request_enter(r);
		if (try_take(units))
			return 0;
		if (r)
			request_leave(r);
		uint64_t now_ns = loop_now_ns();
		if (until_ns == 0)
			until_ns = now_ns + sockets.wait_ns;
		if (!aio_request() || sockets.limit < units || now_ns >= until_ns) {
			atomic_fetch_add(&sockets.refused, 1);
			tell_refused();
			errno = ENOBUFS;
			return -1;
		}
		aio_wait(r, NULL, 0,
			 now_ns + pause_ns < until_ns ? now_ns + pause_ns : until_ns);
		pause_ns = pause_ns < PAUSE_MOST_NS ? 2 * pause_ns : pause_ns;
	}
}

/* What was taken is this descriptor's now, if it is one: noted, and the critical
 * stretch is over. Gives the descriptor, or -1 and errno. */
static int taken(struct pail_request *r, int fd, uint32_t units)
{
	int error = errno;

	if (fd >= 0 && fd < sockets.room) {
		atomic_store(&sockets.units[fd], (uint8_t)units);
		streams_note_descriptor(r, fd);
	} else {
		atomic_fetch_sub(&sockets.now, units);
		if (fd >= 0) {
			syscall(SYS_close, fd);
			error = EMFILE;
		}
		fd = -1;
	}
	if (r)
		request_leave(r);
	errno = error;
	return fd;
}

static void set_buffers(int fd, int receive_bytes, int send_bytes)
{
	int error = errno;

	if (fd < 0)
		return;
	syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes,
		sizeof(receive_bytes));
	syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
	errno = error;
}

#	define IS_OURS (!sockets.units || is_ours(__builtin_return_address(0)))

int socket(int domain, int type, int protocol)
{
	struct pail_request *r = request_current();

	if (IS_OURS)
		return (int)syscall(SYS_socket, domain, type, protocol);
	if (take(r, UNITS_SOCKET) < 0)
		return -1;
	int fd = (int)syscall(SYS_socket, domain, type, protocol);
	set_buffers(fd, sockets.receive_bytes, sockets.send_bytes);
	return taken(r, fd, UNITS_SOCKET);
}

int socketpair(int domain, int type, int protocol, int ends[2])
{
	struct pail_request *r = request_current();
	int half = (sockets.receive_bytes + sockets.send_bytes) / 2;

	if (IS_OURS)
		return (int)syscall(SYS_socketpair, domain, type, protocol, ends);
	if (take(r, 2 * UNITS_END) < 0)
		return -1;
	int made[2] = {-1, -1};
	int result = (int)syscall(SYS_socketpair, domain, type, protocol, made);
	if (r)
		request_enter(r); /* each of the two below leaves once */
	for (int i = 0; i < 2; i++) {
		/* What one end sends is charged to it until the other has read it. */
		set_buffers(made[i], half, half);
		made[i] = taken(r, made[i], UNITS_END);
	}
	if (result == 0 && (made[0] < 0 || made[1] < 0)) {
		close(made[0]);
		close(made[1]);
		errno = EMFILE;
		return -1;
	}
	if (result == 0) {
		ends[0] = made[0];
		ends[1] = made[1];
	}
	return result;
}

int accept4(int listener, __SOCKADDR_ARG from, socklen_t *restrict length, int flags)
{
	struct pail_request *r = request_current();
	struct sockaddr *address = *(struct sockaddr **)(void *)&from;

	if (IS_OURS)
		return (int)syscall(SYS_accept4, listener, address, length, flags);
	if (aio_await(listener) < 0 || take(r, UNITS_SOCKET) < 0)
		return -1;
	int fd = (int)syscall(SYS_accept4, listener, address, length, flags);
	set_buffers(fd, sockets.receive_bytes, sockets.send_bytes);
	return taken(r, fd, UNITS_SOCKET);
}

int accept(int listener, __SOCKADDR_ARG from, socklen_t *restrict length)
{
	struct pail_request *r = request_current();
	struct sockaddr *address = *(struct sockaddr **)(void *)&from;

	if (IS_OURS)
		return (int)syscall(SYS_accept4, listener, address, length, 0);
	if (aio_await(listener) < 0 || take(r, UNITS_SOCKET) < 0)
		return -1;
	int fd = (int)syscall(SYS_accept4, listener, address, length, 0);
	set_buffers(fd, sockets.receive_bytes, sockets.send_bytes);
	return taken(r, fd, UNITS_SOCKET);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	bool counts = fd >= 0 && fd < sockets.room && sockets.units && sockets.units[fd];
	int cut = 0;

	if (level == SOL_SOCKET && counts && length >= sizeof(int) && value) {
		bool receives = option == SO_RCVBUF || option == SO_RCVBUFFORCE;
		if (receives || option == SO_SNDBUF || option == SO_SNDBUFFORCE) {
			int most = receives ? sockets.receive_bytes : sockets.send_bytes;
			if (sockets.units[fd] == UNITS_END)
				most = (sockets.receive_bytes + sockets.send_bytes) / 2;
			cut = *(const int *)value < most ? *(const int *)value : most;
			value = &cut;
		}
	}
	return (int)syscall(SYS_setsockopt, fd, level, option, value, length);
}

/* -- copies of descriptors ---------------------------------------------------------------- */

/* Of a socket that is counted: the copy is one more. `copy` makes it. */
static int duplicate(int fd, int target, int flags, int command, bool ours)
{
	struct pail_request *r = request_current();
	uint32_t units =
		ours || fd < 0 || fd >= sockets.room || !sockets.units ? 0 : sockets.units[fd];
	int copy;

	if (units && take(r, units) < 0)
		return -1;
	if (!units && !ours && r && r->critical == 0 && !streams_have_room(r, 1)) {
		errno = EMFILE;
		return -1;
	}
	if (command >= 0) {
		copy = (int)syscall(SYS_fcntl, fd, command, target);
	} else {
		copy = (int)syscall(SYS_dup3, fd, target, flags);
		if (copy >= 0)
			sockets_closed(copy);
	}
	if (units)
		return taken(r, copy, units);
	if (!ours && copy >= 0 && r && r->critical == 0) {
		if (command < 0)
			streams_forget(r, copy);
		streams_note_descriptor(r, copy);
	}
	return copy;
}

int dup(int fd)
{
	return duplicate(fd, 0, 0, F_DUPFD, is_ours(__builtin_return_address(0)));
}

int dup2(int fd, int target)
{
	bool ours = is_ours(__builtin_return_address(0));

	/* dup3(2) refuses this one. */
	if (fd == target)
		return syscall(SYS_fcntl, fd, F_GETFD) < 0 ? -1 : fd;
	return duplicate(fd, target, 0, -1, ours);
}

int dup3(int fd, int target, int flags)
{
	bool ours = is_ours(__builtin_return_address(0));

	if (fd == target)
		return (int)syscall(SYS_dup3, fd, target, flags);
	return duplicate(fd, target, flags, -1, ours);
}

static int control(int fd, int command, long argument, bool ours)
{
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		return duplicate(fd, (int)argument, 0, command, ours);
	return (int)syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...)
{
	bool ours = is_ours(__builtin_return_address(0));
	va_list args;

	/* Whatever it is, it lies where a long would. */
	va_start(args, command);
	long argument = va_arg(args, long);
	va_end(args);
	return control(fd, command, argument, ours);
}

int fcntl64(int fd, int command, ...)
{
	bool ours = is_ours(__builtin_return_address(0));
	va_list args;

	va_start(args, command);
	long argument = va_arg(args, long);
	va_end(args);
	return control(fd, command, argument, ours);
}

#endif
