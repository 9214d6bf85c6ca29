/* SPDX-License-Identifier: MIT */
/*
 * connect, accept, and the calls that read and write, inside handlers (aio.h).
 * Each is the kernel's own call with MSG_DONTWAIT, and a wait after EAGAIN;
 * what a blocking call promises beyond that (all of a send, MSG_WAITALL) is a
 * loop around it. Made as system calls: none of them is a cancellation point.
 */
#include "server/waiting/aio.h"
#include "server/connection/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const uint64_t BACKLOG_NS = 1000000;

/* -- receiving ------------------------------------------------------------------------- */

static ssize_t receive_now(int fd, void *to, size_t bytes, int flags, struct sockaddr *from,
			   socklen_t *length)
{
	return syscall(SYS_recvfrom, fd, to, bytes, flags, from, length);
}

static ssize_t receive(struct pail_request *r, int fd, void *to, size_t bytes, int flags,
		       struct sockaddr *from, socklen_t *length)
{
	uint64_t until_ns = 0;
	size_t have = 0;

	if (flags & (MSG_DONTWAIT | MSG_ERRQUEUE))
		return receive_now(fd, to, bytes, flags, from, length);
	for (;;) {
		ssize_t got = receive_now(fd, (char *)to + have, bytes - have,
					  flags | MSG_DONTWAIT, from, length);
		if (got > 0 && flags & MSG_WAITALL && !(flags & MSG_PEEK) &&
		    (size_t)got < bytes - have) {
			have += (size_t)got;
			continue;
		}
		if (got >= 0)
			return (ssize_t)have + got;
		if (errno != EAGAIN || !aio_again(r, fd, POLLIN, &until_ns))
			return have ? (ssize_t)have : -1;
	}
}

ssize_t recvfrom(int fd, void *restrict to, size_t bytes, int flags, __SOCKADDR_ARG from,
		 socklen_t *restrict length)
{
	struct pail_request *r = aio_request();
	struct sockaddr *address = *(struct sockaddr **)(void *)&from;

	return r ? receive(r, fd, to, bytes, flags, address, length)
		 : receive_now(fd, to, bytes, flags, address, length);
}

ssize_t recv(int fd, void *to, size_t bytes, int flags)
{
	struct pail_request *r = aio_request();

	return r ? receive(r, fd, to, bytes, flags, NULL, NULL)
		 : receive_now(fd, to, bytes, flags, NULL, NULL);
}

static ssize_t receive_message(struct pail_request *r, int fd, struct msghdr *message,
			       int flags)
{
	uint64_t until_ns = 0;

	for (;;) {
		ssize_t got = syscall(SYS_recvmsg, fd, message, flags | MSG_DONTWAIT);
		if (got >= 0 || errno != EAGAIN || flags & (MSG_DONTWAIT | MSG_ERRQUEUE) ||
		    !aio_again(r, fd, POLLIN, &until_ns))
			return got;
	}
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	struct pail_request *r = aio_request();

	/* One piece of a socket's input is rarely wanted whole; who asks for that
	 * waits for each piece by itself. */
	if (r && !(flags & MSG_WAITALL))
		return receive_message(r, fd, message, flags);
	if (r && message && message->msg_iovlen == 1 && !message->msg_control) {
		message->msg_flags = 0;
		return receive(r, fd, message->msg_iov->iov_base, message->msg_iov->iov_len,
			       flags, message->msg_name,
			       message->msg_name ? &message->msg_namelen : NULL);
	}
	return syscall(SYS_recvmsg, fd, message, flags);
}

/* -- sending ----------------------------------------------------------------------------- */

enum { SEND_PIECES = 16 };

/* The pieces from byte `from` on, as many as fit. */
static size_t pieces_from(struct iovec *to, const struct iovec *pieces, size_t count,
			  size_t from)
{
	size_t n = 0;

	for (size_t i = 0; i < count && n < SEND_PIECES; i++) {
		if (from >= pieces[i].iov_len) {
			from -= pieces[i].iov_len;
			continue;
		}
		to[n++] = (struct iovec){(char *)pieces[i].iov_base + from,
					 pieces[i].iov_len - from};
		from = 0;
	}
	return n;
}

static ssize_t send_message(struct pail_request *r, int fd, const struct msghdr *message,
			    int flags)
{
	struct msghdr rest = *message;
	struct iovec pieces[SEND_PIECES];
	uint64_t until_ns = 0;
	size_t gone = 0, all = 0;

	if (flags & MSG_DONTWAIT)
		return syscall(SYS_sendmsg, fd, message, flags);
	for (size_t i = 0; i < message->msg_iovlen; i++)
		all += message->msg_iov[i].iov_len;
	for (;;) {
		ssize_t sent = syscall(SYS_sendmsg, fd, &rest, flags | MSG_DONTWAIT);
		if (sent >= 0) {
			gone += (size_t)sent;
			if (gone >= all)
				return (ssize_t)gone;
			rest.msg_iovlen = pieces_from(pieces, message->msg_iov,
						      message->msg_iovlen, gone);
			rest.msg_iov = pieces;
			rest.msg_control = NULL; /* went with the first byte */
			rest.msg_controllen = 0;
			continue;
		}
		if (errno != EAGAIN || !aio_again(r, fd, POLLOUT, &until_ns))
			return gone ? (ssize_t)gone : -1;
	}
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct pail_request *r = aio_request();

	return r ? send_message(r, fd, message, flags)
		 : syscall(SYS_sendmsg, fd, message, flags);
}

static ssize_t send_bytes(struct pail_request *r, int fd, const void *bytes, size_t length,
			  int flags, const struct sockaddr *to, socklen_t to_length)
{
	/* Nearly always it all fits. */
	ssize_t sent =
		syscall(SYS_sendto, fd, bytes, length, flags | MSG_DONTWAIT, to, to_length);
	struct iovec piece = {(void *)bytes, length};
	struct msghdr message = {.msg_name = (void *)to,
				 .msg_namelen = to_length,
				 .msg_iov = &piece,
				 .msg_iovlen = 1};

	if (sent == (ssize_t)length || flags & MSG_DONTWAIT || (sent < 0 && errno != EAGAIN))
		return sent;
	if (sent < 0)
		return send_message(r, fd, &message, flags);
	/* Part of it went: a non-blocking socket leaves it at that. */
	if (syscall(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK)
		return sent;
	piece = (struct iovec){(char *)bytes + sent, length - (size_t)sent};
	ssize_t rest = send_message(r, fd, &message, flags);
	return rest < 0 ? sent : sent + rest;
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, __CONST_SOCKADDR_ARG to,
	       socklen_t to_length)
{
	struct pail_request *r = aio_request();
	const struct sockaddr *address = *(const struct sockaddr **)(void *)&to;

	return r ? send_bytes(r, fd, bytes, length, flags, address, to_length)
		 : syscall(SYS_sendto, fd, bytes, length, flags, address, to_length);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
	struct pail_request *r = aio_request();

	return r ? send_bytes(r, fd, bytes, length, flags, NULL, 0)
		 : syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
}

/* -- read and write, of whatever it is -------------------------------------------------- */

enum kind { KIND_FILE, KIND_PIPE, KIND_OTHER };

/* Of what is no socket. */
static enum kind kind_of(int fd)
{
	struct stat about;

	if (fstat(fd, &about) < 0 || S_ISREG(about.st_mode) || S_ISBLK(about.st_mode) ||
	    S_ISDIR(about.st_mode))
		return KIND_FILE;
	return S_ISFIFO(about.st_mode) ? KIND_PIPE : KIND_OTHER;
}

/* Until it can be read or written, or is non-blocking. */
static void await(struct pail_request *r, int fd, short events)
{
	struct pollfd one = {.fd = fd, .events = events};

	if (!(syscall(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK))
		aio_poll(r, &one, 1, UINT64_MAX);
}

ssize_t read(int fd, void *to, size_t bytes)
{
	struct pail_request *r = aio_request();

	/* A socket's recv() of nothing takes no note of anything: as read(2). */
	if (r && bytes > 0) {
		ssize_t got = receive(r, fd, to, bytes, 0, NULL, NULL);
		if (got >= 0 || errno != ENOTSOCK)
			return got;
		if (kind_of(fd) != KIND_FILE)
			await(r, fd, POLLIN);
	}
	return syscall(SYS_read, fd, to, bytes);
}

ssize_t readv(int fd, const struct iovec *pieces, int count)
{
	struct pail_request *r = aio_request();
	struct msghdr message = {.msg_iov = (struct iovec *)pieces,
				 .msg_iovlen = (size_t)(count < 0 ? 0 : count)};

	if (r && count > 0) {
		ssize_t got = receive_message(r, fd, &message, 0);
		if (got >= 0 || errno != ENOTSOCK)
			return got;
		if (kind_of(fd) != KIND_FILE)
			await(r, fd, POLLIN);
	}
	return syscall(SYS_readv, fd, pieces, count);
}

/* A pipe with room for any takes AIO_PIPE_BYTES at once; more could block. */
static ssize_t write_pipe(struct pail_request *r, int fd, const void *bytes, size_t length)
{
	size_t gone = 0;

	if (syscall(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK)
		return syscall(SYS_write, fd, bytes, length);
	do {
		size_t piece = length - gone < AIO_PIPE_BYTES ? length - gone : AIO_PIPE_BYTES;
		await(r, fd, POLLOUT);
		ssize_t wrote = syscall(SYS_write, fd, (const char *)bytes + gone, piece);
		if (wrote < 0)
			return gone ? (ssize_t)gone : -1;
		gone += (size_t)wrote;
	} while (gone < length);
	return (ssize_t)gone;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
	struct pail_request *r = aio_request();

	if (r && length > 0) {
		ssize_t sent = send_bytes(r, fd, bytes, length, 0, NULL, 0);
		if (sent >= 0 || errno != ENOTSOCK)
			return sent;
		enum kind kind = kind_of(fd);
		if (kind == KIND_PIPE)
			return write_pipe(r, fd, bytes, length);
		if (kind == KIND_OTHER)
			await(r, fd, POLLOUT);
	}
	return syscall(SYS_write, fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
	struct pail_request *r = aio_request();
	struct msghdr message = {.msg_iov = (struct iovec *)pieces,
				 .msg_iovlen = (size_t)(count < 0 ? 0 : count)};
	ssize_t gone = 0;

	if (!r || count <= 0)
		return syscall(SYS_writev, fd, pieces, count);
	ssize_t sent = send_message(r, fd, &message, 0);
	if (sent >= 0 || errno != ENOTSOCK)
		return sent;
	enum kind kind = kind_of(fd);
	if (kind == KIND_OTHER)
		await(r, fd, POLLOUT);
	if (kind != KIND_PIPE)
		return syscall(SYS_writev, fd, pieces, count);
	for (int i = 0; i < count; i++) {
		ssize_t wrote = pieces[i].iov_len ? write_pipe(r, fd, pieces[i].iov_base,
							       pieces[i].iov_len)
						  : 0;
		if (wrote < 0)
			return gone ? gone : -1;
		gone += wrote;
		if ((size_t)wrote < pieces[i].iov_len)
			break;
	}
	return gone;
}

/* What libraries call that were compiled with _FORTIFY_SOURCE. */
ssize_t __read_chk(int fd, void *to, size_t bytes, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict to, size_t bytes, size_t room, int flags,
		       __SOCKADDR_ARG from, socklen_t *restrict length);

ssize_t __read_chk(int fd, void *to, size_t bytes, size_t room)
{
	if (bytes > room)
		abort();
	return read(fd, to, bytes);
}

ssize_t __recv_chk(int fd, void *to, size_t bytes, size_t room, int flags)
{
	if (bytes > room)
		abort();
	return recv(fd, to, bytes, flags);
}

ssize_t __recvfrom_chk(int fd, void *restrict to, size_t bytes, size_t room, int flags,
		       __SOCKADDR_ARG from, socklen_t *restrict length)
{
	if (bytes > room)
		abort();
	return recvfrom(fd, to, bytes, flags, from, length);
}

/* -- connect and accept ------------------------------------------------------------------- */

/* Begins, whatever the descriptor's flags are, and leaves them as they were. */
static int connect_begin(struct pail_request *r, int fd, const struct sockaddr *address,
			 socklen_t length, long flags)
{
	request_enter(r);
	syscall(SYS_fcntl, fd, F_SETFL, flags | O_NONBLOCK);
	int result = (int)syscall(SYS_connect, fd, address, length);
	int error = errno;
	syscall(SYS_fcntl, fd, F_SETFL, flags);
	request_leave(r);
	errno = error;
	return result;
}

static int connect_wait(struct pail_request *r, int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLOUT};
	struct timeval limit = {0, 0};
	socklen_t length = sizeof(limit);
	uint64_t until_ns = UINT64_MAX;
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &length) == 0 &&
	    (limit.tv_sec || limit.tv_usec))
		until_ns = loop_now_ns() + (uint64_t)limit.tv_sec * 1000000000 +
			   (uint64_t)limit.tv_usec * 1000;
	if (aio_poll(r, &one, 1, until_ns) == 0) {
		errno = EINPROGRESS; /* as connect(2) says when SO_SNDTIMEO is over */
		return -1;
	}
	length = sizeof(error);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		return -1;
	errno = error ? error : errno;
	return error ? -1 : 0;
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t length)
{
	struct pail_request *r = aio_request();
	const struct sockaddr *address = *(const struct sockaddr **)(void *)&to;
	long flags = r ? syscall(SYS_fcntl, fd, F_GETFL) : 0;

	if (!r || flags < 0 || flags & O_NONBLOCK)
		return (int)syscall(SYS_connect, fd, address, length);
	for (;;) {
		int result = connect_begin(r, fd, address, length, flags);
		if (result == 0)
			return 0;
		if (errno == EINPROGRESS)
			return connect_wait(r, fd);
		/* A local socket whose backlog is full tells nobody when it is not. */
		if (errno != EAGAIN)
			return -1;
		aio_wait(r, NULL, 0, loop_now_ns() + BACKLOG_NS);
	}
}

int aio_await(int fd)
{
	struct pail_request *r = aio_request();
	uint64_t until_ns = 0;

	while (r) {
		struct pollfd one = {.fd = fd, .events = POLLIN};
		struct timespec none = {0, 0};
		if (syscall(SYS_ppoll, &one, 1, &none, NULL, 0) != 0)
			return 0;
		if (!aio_again(r, fd, POLLIN, &until_ns))
			return -1;
	}
	return 0;
}
