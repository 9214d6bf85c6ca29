/* SPDX-License-Identifier: MIT */
/*
 * Sockets: their making, reading, writing and closing. Reads are recorded after
 * the call, writes and closes before it (event.h); files cost one table look-up.
 *
 * In a vfork child the descriptors are its own but our table is its parent's:
 * nothing is recorded there, and nothing changed.
 */
#include "libtrace/shim/io.h"
#include "libtrace/shim/fds.h"
#include "libtrace/shim/pieces.h"
#include "libtrace/shim/real.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* Bytes of what is no HTTP head; of messages of small parts, and the end of an
 * answer (FastCGI's last record says that it is one). */
enum { SHOW_READ = 512, SHOW_WRITE = 64, SHOW_WHOLE = 65536, SHOW_LAST = 16 };

__thread int io_last_fd __attribute__((tls_model("initial-exec"))) HIDDEN = -1;

static bool quiet(void)
{
	return UNLIKELY(writer.in_vfork) || !writer_on();
}

/* -- reading and writing ------------------------------------------------------ */

struct io {
	enum event_kind kind;
	unsigned flags;
	int fd;
	int64_t a;
};

static void io_batch(void *context, bool first, const void *payload, size_t bytes)
{
	struct io *io = context;

	write_long(first ? io->kind : EVENT_MORE, io->flags, (uint32_t)io->fd, io->a, 0,
		   payload, bytes);
}

/* memcached's commands are lower case, HTTP's methods upper. */
static bool small_messages(const struct iovec *iov, size_t count, size_t total)
{
	static const char verbs[][8] = {"get ",    "gets ",  "gat ",    "set ", "add ",
					"replace", "append", "prepend", "cas ", "delete ",
					"incr ",   "decr ",  "touch ",  "mg ",  "ms ",
					"md ",     "mn\r",   "version"};
	const unsigned char *b = count ? iov[0].iov_base : NULL;

	if (!b || iov[0].iov_len < 4 || total < 4)
		return false;
	if ((b[0] == '*' && b[1] >= '0' && b[1] <= '9') || (b[0] == 0x80 && total >= 24) ||
	    (b[0] == 1 && b[1] == 1 && total >= 8))
		return true;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		size_t length = strnlen(verbs[i], sizeof(verbs[i]));
		if (length <= total && length <= iov[0].iov_len &&
		    memcmp(b, verbs[i], length) == 0)
			return true;
	}
	return false;
}

static enum fd_talk judge_talk(int fd, const struct iovec *iov, size_t count, size_t total)
{
	enum fd_talk talk = fds_talk(fd);

	if (talk == TALK_UNKNOWN) {
		const unsigned char *b = iov[0].iov_base;
		bool records = iov[0].iov_len >= 2 && total >= 2 && b[0] == 0x16 && b[1] == 3;
		talk = records                             ? TALK_RECORDS
		       : small_messages(iov, count, total) ? TALK_WHOLE
							   : TALK_OTHER;
		fds_set_talk(fd, talk);
	}
	return talk;
}

static void io_read(int fd, enum fd_kind kind, const struct iovec *iov, size_t count,
		    ssize_t result, int flags)
{
	if (quiet())
		return;
	int saved = errno;
	struct io io = {EVENT_READ, 0, fd, result < 0 ? -(int64_t)saved : (int64_t)result};
	bool peek = flags & MSG_PEEK;
	if (peek)
		io.flags |= EVENT_PEEK;
	if (kind == FD_DATAGRAM)
		io.flags |= EVENT_DATAGRAM;
	if (kind == FD_STREAM)
		io_last_fd = fd;
	if (result <= 0 || flags & MSG_TRUNC) {
		io_batch(&io, true, NULL, 0);
	} else if (kind == FD_STREAM && fds_talk(fd) == TALK_TLS) {
		io_batch(&io, true, NULL, 0);
	} else if (kind == FD_STREAM &&
		   judge_talk(fd, iov, count, (size_t)result) == TALK_WHOLE) {
		pieces_show(iov, count, (size_t)result, SHOW_WHOLE, 0, io_batch, &io);
	} else {
		uint64_t left = kind == FD_STREAM ? fds_body_left(fd, FD_READ) : 0;
		left = pieces_walk(iov, count, (size_t)result, left, SHOW_READ, io_batch, &io);
		if (kind == FD_STREAM && !peek)
			fds_set_body_left(fd, FD_READ, left);
	}
	errno = saved;
}

/* Gives the state to go back to if the write is not all done. */
static uint64_t io_write(int fd, enum fd_kind kind, const struct iovec *iov, size_t count)
{
	if (quiet())
		return 0;
	int saved = errno;
	struct io io = {EVENT_WRITE, kind == FD_DATAGRAM ? EVENT_DATAGRAM : 0u, fd, 0};
	size_t total = 0;
	for (size_t i = 0; i < count; i++)
		total += iov[i].iov_len;
	io.a = (int64_t)total;
	enum fd_talk talk = kind == FD_STREAM ? fds_talk(fd) : TALK_OTHER;
	if (talk == TALK_TLS || talk == TALK_WHOLE) {
		if (talk == TALK_TLS)
			io_batch(&io, true, NULL, 0);
		else
			pieces_show(iov, count, total, SHOW_WRITE, SHOW_LAST, io_batch, &io);
		errno = saved;
		return 0;
	}
	uint64_t before = kind == FD_STREAM ? fds_body_left(fd, FD_WRITE) : 0;
	uint64_t left = pieces_walk(iov, count, total, before, SHOW_WRITE, io_batch, &io);
	if (kind == FD_STREAM)
		fds_set_body_left(fd, FD_WRITE, left);
	errno = saved;
	return before;
}

static void io_wrote(int fd, enum fd_kind kind, const struct iovec *iov, size_t count,
		     uint64_t before, ssize_t result)
{
	size_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += iov[i].iov_len;
	if (LIKELY(result >= 0 && (size_t)result == total) || quiet())
		return;
	int saved = errno;
	if (kind == FD_STREAM && fds_talk(fd) < TALK_WHOLE)
		fds_set_body_left(fd, FD_WRITE,
				  result <= 0 ? before
					      : pieces_walk(iov, count, (size_t)result, before,
							    0, NULL, NULL));
	write_long(EVENT_WRITE_RESULT, 0, (uint32_t)fd,
		   result < 0 ? -(int64_t)saved : (int64_t)result, 0, NULL, 0);
	errno = saved;
}

void io_plain_read(int fd, const void *buffer, size_t bytes)
{
	if (quiet())
		return;
	int saved = errno;
	struct io io = {EVENT_READ, EVENT_TLS, fd, (int64_t)bytes};
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	if (fds_talk(fd) != TALK_TLS) { /* what went before was the handshake */
		fds_set_talk(fd, TALK_TLS);
		fds_set_body_left(fd, FD_READ, 0);
		fds_set_body_left(fd, FD_WRITE, 0);
	}
	uint64_t left = pieces_walk(&iov, 1, bytes, fds_body_left(fd, FD_READ), SHOW_READ,
				    io_batch, &io);
	fds_set_body_left(fd, FD_READ, left);
	errno = saved;
}

void io_plain_write(int fd, const void *buffer, size_t bytes)
{
	if (quiet())
		return;
	int saved = errno;
	struct io io = {EVENT_WRITE, EVENT_TLS, fd, (int64_t)bytes};
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	uint64_t left = pieces_walk(&iov, 1, bytes, fds_body_left(fd, FD_WRITE), SHOW_WRITE,
				    io_batch, &io);
	fds_set_body_left(fd, FD_WRITE, left);
	errno = saved;
}

/* A vector that the kernel would refuse is not for us to read. */
static size_t sane(const struct iovec *iov, int count)
{
	return iov && count > 0 && count <= IOV_MAX ? (size_t)count : 0;
}

EXPORT ssize_t read(int fd, void *buffer, size_t bytes)
{
	enum fd_kind kind = fds_kind(fd);
	ssize_t result = REAL(read)(fd, buffer, bytes);

	if (UNLIKELY(kind >= FD_STREAM))
		io_read(fd, kind, &(struct iovec){buffer, bytes}, 1, result, 0);
	return result;
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int count)
{
	enum fd_kind kind = fds_kind(fd);
	ssize_t result = REAL(readv)(fd, iov, count);

	if (kind >= FD_STREAM)
		io_read(fd, kind, iov, sane(iov, count), result, 0);
	return result;
}

EXPORT ssize_t recv(int fd, void *buffer, size_t bytes, int flags)
{
	ssize_t result = REAL(recv)(fd, buffer, bytes, flags);
	enum fd_kind kind = fds_kind(fd);

	if (kind >= FD_STREAM)
		io_read(fd, kind, &(struct iovec){buffer, bytes}, 1, result, flags);
	return result;
}

EXPORT ssize_t recvfrom(int fd, void *buffer, size_t bytes, int flags, struct sockaddr *from,
			socklen_t *from_bytes)
{
	ssize_t result = REAL(recvfrom)(fd, buffer, bytes, flags, from, from_bytes);
	enum fd_kind kind = fds_kind(fd);

	if (kind >= FD_STREAM)
		io_read(fd, kind, &(struct iovec){buffer, bytes}, 1, result, flags);
	return result;
}

/* Descriptors that came in a message are news to the table. */
static void learn_passed(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			fds_set(fd, FD_UNKNOWN);
		}
	}
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t result = REAL(recvmsg)(fd, message, flags);
	enum fd_kind kind = fds_kind(fd);

	if (kind >= FD_STREAM && !quiet()) {
		if (result >= 0 && message->msg_controllen)
			learn_passed(message);
		io_read(fd, kind, message->msg_iov, message->msg_iovlen, result, flags);
	}
	return result;
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
		    struct timespec *timeout)
{
	int result = REAL(recvmmsg)(fd, messages, count, flags, timeout);
	enum fd_kind kind = fds_kind(fd);

	for (int i = 0; kind >= FD_STREAM && i < result; i++)
		io_read(fd, kind, messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen,
			(ssize_t)messages[i].msg_len, flags);
	return result;
}

EXPORT ssize_t write(int fd, const void *buffer, size_t bytes)
{
	enum fd_kind kind = fds_kind(fd);

	if (LIKELY(kind < FD_STREAM))
		return REAL(write)(fd, buffer, bytes);
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	uint64_t before = io_write(fd, kind, &iov, 1);
	ssize_t result = REAL(write)(fd, buffer, bytes);
	io_wrote(fd, kind, &iov, 1, before, result);
	return result;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	enum fd_kind kind = fds_kind(fd);

	if (kind < FD_STREAM)
		return REAL(writev)(fd, iov, count);
	uint64_t before = io_write(fd, kind, iov, sane(iov, count));
	ssize_t result = REAL(writev)(fd, iov, count);
	io_wrote(fd, kind, iov, sane(iov, count), before, result);
	return result;
}

EXPORT ssize_t send(int fd, const void *buffer, size_t bytes, int flags)
{
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	enum fd_kind kind = fds_kind(fd);
	uint64_t before = kind >= FD_STREAM ? io_write(fd, kind, &iov, 1) : 0;
	ssize_t result = REAL(send)(fd, buffer, bytes, flags);

	if (kind >= FD_STREAM)
		io_wrote(fd, kind, &iov, 1, before, result);
	return result;
}

EXPORT ssize_t sendto(int fd, const void *buffer, size_t bytes, int flags,
		      const struct sockaddr *to, socklen_t to_bytes)
{
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	enum fd_kind kind = fds_kind(fd);
	uint64_t before = kind >= FD_STREAM ? io_write(fd, kind, &iov, 1) : 0;
	ssize_t result = REAL(sendto)(fd, buffer, bytes, flags, to, to_bytes);

	if (kind >= FD_STREAM)
		io_wrote(fd, kind, &iov, 1, before, result);
	return result;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	enum fd_kind kind = fds_kind(fd);
	size_t count = message->msg_iovlen <= IOV_MAX ? message->msg_iovlen : 0;
	uint64_t before = kind >= FD_STREAM ? io_write(fd, kind, message->msg_iov, count) : 0;
	ssize_t result = REAL(sendmsg)(fd, message, flags);

	if (kind >= FD_STREAM)
		io_wrote(fd, kind, message->msg_iov, count, before, result);
	return result;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	enum fd_kind kind = fds_kind(fd);

	for (unsigned i = 0; kind >= FD_STREAM && i < count; i++)
		(void)io_write(fd, kind, messages[i].msg_hdr.msg_iov,
			       messages[i].msg_hdr.msg_iovlen);
	return REAL(sendmmsg)(fd, messages, count, flags);
}

/* What the kernel moves on its own we do not see; it counts as body. */
static uint64_t file_begins(int fd, size_t bytes)
{
	uint64_t before = fds_body_left(fd, FD_WRITE);

	if (quiet())
		return 0;
	write_long(EVENT_WRITE, EVENT_FILE, (uint32_t)fd, (int64_t)bytes, 0, NULL, 0);
	return before;
}

static void file_ended(int fd, size_t bytes, uint64_t before, ssize_t result)
{
	if (quiet())
		return;
	int saved = errno;
	uint64_t moved = result > 0 ? (uint64_t)result : 0;
	fds_set_body_left(fd, FD_WRITE, before > moved ? before - moved : 0);
	if (result < 0 || (size_t)result != bytes)
		write_long(EVENT_WRITE_RESULT, EVENT_FILE, (uint32_t)fd,
			   result < 0 ? -(int64_t)saved : (int64_t)result, 0, NULL, 0);
	errno = saved;
}

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t bytes)
{
	if (!fds_socket(out))
		return REAL(sendfile)(out, in, offset, bytes);
	uint64_t before = file_begins(out, bytes);
	ssize_t result = REAL(sendfile)(out, in, offset, bytes);
	file_ended(out, bytes, before, result);
	return result;
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t bytes)
{
	return sendfile(out, in, (off_t *)offset, bytes);
}

EXPORT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes,
		      unsigned flags)
{
	bool to_socket = fds_socket(out), from_socket = fds_socket(in);
	uint64_t before = to_socket ? file_begins(out, bytes) : 0;
	ssize_t result = REAL(splice)(in, in_offset, out, out_offset, bytes, flags);

	if (to_socket)
		file_ended(out, bytes, before, result);
	if (from_socket && !quiet()) {
		int saved = errno;
		write_long(EVENT_READ, EVENT_FILE, (uint32_t)in,
			   result < 0 ? -(int64_t)saved : (int64_t)result, 0, NULL, 0);
		errno = saved;
	}
	return result;
}

/* What -D_FORTIFY_SOURCE makes of some of them. */
void __chk_fail(void) __attribute__((noreturn));
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t room);
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t room)
{
	if (bytes > room)
		__chk_fail();
	return read(fd, buffer, bytes);
}

EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags);
EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags)
{
	if (bytes > room)
		__chk_fail();
	return recv(fd, buffer, bytes, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t room, int flags,
			      struct sockaddr *from, socklen_t *from_bytes);
EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t room, int flags,
			      struct sockaddr *from, socklen_t *from_bytes)
{
	if (bytes > room)
		__chk_fail();
	return recvfrom(fd, buffer, bytes, flags, from, from_bytes);
}

/* -- making and closing ------------------------------------------------------- */

EXPORT int socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);

	if (fd >= 0 && !quiet()) {
		fds_set(fd, fds_kind_of_type(type));
		write_long(EVENT_SOCKET, 0, (uint32_t)fd, type & 0xf, (uint64_t)domain, NULL,
			   0);
	}
	return fd;
}

EXPORT int socketpair(int domain, int type, int protocol, int fds[2])
{
	int result = REAL(socketpair)(domain, type, protocol, fds);

	for (int i = 0; result == 0 && i < 2 && !quiet(); i++) {
		fds_set(fds[i], fds_kind_of_type(type));
		write_long(EVENT_SOCKET, 0, (uint32_t)fds[i], type & 0xf, (uint64_t)domain,
			   NULL, 0);
	}
	return result;
}

static void accepted(int listener, int fd, const struct sockaddr *peer, const socklen_t *bytes)
{
	if (fd < 0 || quiet())
		return;
	size_t known = peer && bytes ? (*bytes < 128 ? *bytes : 128) : 0;
	fds_set(fd, FD_STREAM);
	write_long(EVENT_ACCEPT, 0, (uint32_t)fd, listener, 0, peer, known);
}

EXPORT int accept(int listener, struct sockaddr *peer, socklen_t *bytes)
{
	int fd = REAL(accept)(listener, peer, bytes);

	accepted(listener, fd, peer, bytes);
	return fd;
}

EXPORT int accept4(int listener, struct sockaddr *peer, socklen_t *bytes, int flags)
{
	int fd = REAL(accept4)(listener, peer, bytes, flags);

	accepted(listener, fd, peer, bytes);
	return fd;
}

EXPORT int connect(int fd, const struct sockaddr *to, socklen_t bytes)
{
	int result = REAL(connect)(fd, to, bytes);

	if (!quiet()) {
		int saved = errno;
		(void)fds_kind(fd);
		write_long(EVENT_CONNECT, 0, (uint32_t)fd, result < 0 ? -(int64_t)saved : 0, 0,
			   to, to ? (bytes < 128 ? bytes : 128) : 0);
		errno = saved;
	}
	return result;
}

/* Before the close, or another thread could be given the number first. */
static void closes(int fd)
{
	if ((unsigned)fd >= FDS_MAX) {
		if (fd > 0 && !quiet())
			write_long(EVENT_CLOSE, 0, (uint32_t)fd, 0, 0, NULL, 0);
		return;
	}
	if (fds_kinds[fd] == FD_UNKNOWN || UNLIKELY(writer.in_vfork))
		return;
	if (fds_kinds[fd] >= FD_STREAM && !quiet())
		write_long(EVENT_CLOSE, 0, (uint32_t)fd, 0, 0, NULL, 0);
	fds_set(fd, FD_UNKNOWN);
}

static void closes_range(unsigned first, unsigned last)
{
	for (unsigned fd = first; fd <= last && fd < FDS_MAX; fd++)
		if (UNLIKELY(fds_kinds[fd]))
			closes((int)fd);
}

EXPORT int close(int fd)
{
	closes(fd);
	return REAL(close)(fd);
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	if (!(flags & 4)) /* CLOSE_RANGE_CLOEXEC only marks them */
		closes_range(first, last);
	return REAL(close_range)(first, last, flags);
}

EXPORT void closefrom(int first)
{
	closes_range(first < 0 ? 0 : (unsigned)first, UINT_MAX);
	REAL(closefrom)(first);
}

EXPORT int fclose(FILE *file)
{
	int fd = fileno(file);

	if (fd >= 0)
		closes(fd);
	return REAL(fclose)(file);
}

static int copied(int old, int new)
{
	if (new < 0 || new == old || quiet())
		return new;
	enum fd_kind kind = fds_kind(old);
	bool was = fds_may_be_socket(new);
	fds_set(new, kind);
	if (kind >= FD_STREAM)
		write_long(EVENT_DUP, 0, (uint32_t) new, old, 0, NULL, 0);
	else if (was)
		write_long(EVENT_CLOSE, 0, (uint32_t) new, 0, 0, NULL, 0);
	return new;
}

EXPORT int dup(int old)
{
	return copied(old, REAL(dup)(old));
}

EXPORT int dup2(int old, int new)
{
	return copied(old, REAL(dup2)(old, new));
}

EXPORT int dup3(int old, int new, int flags)
{
	return copied(old, REAL(dup3)(old, new, flags));
}

/* Every command takes at most one word behind it. */
EXPORT int fcntl(int fd, int command, ...)
{
	va_list list;

	va_start(list, command);
	void *argument = va_arg(list, void *);
	va_end(list);
	int result = REAL(fcntl)(fd, command, argument);
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result;
}

EXPORT int fcntl64(int fd, int command, ...)
{
	va_list list;

	va_start(list, command);
	void *argument = va_arg(list, void *);
	va_end(list);
	int result = REAL(fcntl64)(fd, command, argument);
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result;
}

EXPORT int shutdown(int fd, int how)
{
	if (!quiet())
		write_long(EVENT_SHUTDOWN, 0, (uint32_t)fd, how, 0, NULL, 0);
	return REAL(shutdown)(fd, how);
}
