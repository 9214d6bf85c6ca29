/* SPDX-License-Identifier: MIT */
/*
 * Sockets: their making, reading, writing and closing. Reads are recorded after
 * the call, writes and closes before it (event.h); files cost one table look-up.
 * What a program asks to have written is read as far as it is there (memory.h):
 * the kernel says EFAULT to it, not we.
 *
 * In a vfork child the descriptors are its own but our table is its parent's:
 * nothing is recorded there, and nothing changed.
 */
#include "libtrace/shim/io.h"
#include "libtrace/shim/fds.h"
#include "libtrace/shim/memory.h"
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
enum {
	SHOW_READ = 512,
	SHOW_WRITE = 64,
	SHOW_WHOLE = 65536,
	SHOW_LAST = 16,
	ADDRESS_SHOWN = 128
};

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
	struct pieces_of of = {iov, count, result > 0 ? (size_t)result : 0, true};
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
		if (LIKELY(count == 1 && result <= EVENT_PIECE_BYTES))
			write_piece(EVENT_READ, io.flags, (uint32_t)fd, io.a, iov->iov_base,
				    (size_t)result);
		else
			pieces_show(&of, SHOW_WHOLE, 0, io_batch, &io);
	} else {
		uint64_t left = kind == FD_STREAM ? fds_body_left(fd, FD_READ) : 0;
		left = pieces_walk(&of, left, SHOW_READ, io_batch, &io);
		if (kind == FD_STREAM && !peek)
			fds_set_body_left(fd, FD_READ, left);
	}
	errno = saved;
}

/* A program's vectors, as a write may have to say more of them afterwards. */
struct outgoing {
	struct pieces_of of;
	uint64_t before; /* bytes of a body that were still to come */
};

static struct outgoing outgoing(const struct iovec *iov, size_t count)
{
	struct outgoing out = {.of = {.iov = iov, .count = count}};

	for (size_t i = 0; i < count; i++)
		out.of.total += iov[i].iov_len;
	return out;
}

/* Before the call: in `out`, the state to go back to if it is not all done. */
static void io_write(int fd, enum fd_kind kind, struct outgoing *out)
{
	if (quiet())
		return;
	int saved = errno;
	struct io io = {EVENT_WRITE, kind == FD_DATAGRAM ? EVENT_DATAGRAM : 0u, fd,
			(int64_t)out->of.total};
	enum fd_talk talk = kind == FD_STREAM ? fds_talk(fd) : TALK_OTHER;
	if (talk == TALK_TLS) {
		io_batch(&io, true, NULL, 0);
	} else if (talk == TALK_WHOLE && out->of.count == 1 && out->of.total <= SHOW_WRITE &&
		   out->of.total && memory_readable(out->of.iov->iov_base, out->of.total)) {
		write_piece(EVENT_WRITE, io.flags, (uint32_t)fd, io.a, out->of.iov->iov_base,
			    out->of.total);
	} else if (talk == TALK_WHOLE) {
		pieces_show(&out->of, SHOW_WRITE, SHOW_LAST, io_batch, &io);
	} else {
		out->before = kind == FD_STREAM ? fds_body_left(fd, FD_WRITE) : 0;
		uint64_t left = pieces_walk(&out->of, out->before, SHOW_WRITE, io_batch, &io);
		if (kind == FD_STREAM)
			fds_set_body_left(fd, FD_WRITE, left);
	}
	errno = saved;
}

/* What writing took is for whom it was written. */
static void note_cpu(void)
{
	int saved = errno;

	if (!quiet())
		writer_cpu();
	errno = saved;
}

static void io_wrote(int fd, enum fd_kind kind, const struct outgoing *out, ssize_t result)
{
	if (UNLIKELY(region_mode & REGION_CPU))
		note_cpu();
	if (LIKELY(result >= 0 && (size_t)result == out->of.total) || quiet())
		return;
	int saved = errno;
	if (kind == FD_STREAM && fds_talk(fd) < TALK_WHOLE) {
		struct pieces_of done = out->of;
		done.total = result > 0 ? (size_t)result : 0;
		fds_set_body_left(fd, FD_WRITE,
				  result <= 0 ? out->before
					      : pieces_walk(&done, out->before, 0, NULL, NULL));
	}
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
	struct pieces_of of = {&iov, 1, bytes, true};
	if (fds_talk(fd) != TALK_TLS) { /* what went before was the handshake */
		fds_set_talk(fd, TALK_TLS);
		fds_set_body_left(fd, FD_READ, 0);
		fds_set_body_left(fd, FD_WRITE, 0);
	}
	uint64_t left = pieces_walk(&of, fds_body_left(fd, FD_READ), SHOW_READ, io_batch, &io);
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
	struct pieces_of of = {&iov, 1, bytes, false};
	uint64_t left =
		pieces_walk(&of, fds_body_left(fd, FD_WRITE), SHOW_WRITE, io_batch, &io);
	fds_set_body_left(fd, FD_WRITE, left);
	errno = saved;
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
		io_read(fd, kind, iov, count > 0 ? (size_t)count : 0, result, 0);
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

	if (kind >= FD_STREAM && result < 0) {
		io_read(fd, kind, NULL, 0, result, flags);
	} else if (kind >= FD_STREAM && !quiet()) {
		if (message->msg_controllen)
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

/* A pipe or an eventfd may wake another thread, which then answers. */
static void note_handing_on(void)
{
	if (!quiet())
		writer_cpu_again();
}

EXPORT ssize_t write(int fd, const void *buffer, size_t bytes)
{
	enum fd_kind kind = fds_kind(fd);

	if (LIKELY(kind < FD_STREAM)) {
		if (UNLIKELY(region_mode & REGION_CPU))
			note_handing_on();
		return REAL(write)(fd, buffer, bytes);
	}
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	struct outgoing out = outgoing(&iov, 1);
	io_write(fd, kind, &out);
	ssize_t result = REAL(write)(fd, buffer, bytes);
	io_wrote(fd, kind, &out, result);
	return result;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	enum fd_kind kind = fds_kind(fd);

	if (kind < FD_STREAM)
		return REAL(writev)(fd, iov, count);
	struct outgoing out = outgoing(iov, count > 0 ? memory_vectors(iov, (size_t)count) : 0);
	io_write(fd, kind, &out);
	ssize_t result = REAL(writev)(fd, iov, count);
	io_wrote(fd, kind, &out, result);
	return result;
}

EXPORT ssize_t send(int fd, const void *buffer, size_t bytes, int flags)
{
	enum fd_kind kind = fds_kind(fd);

	if (kind < FD_STREAM)
		return REAL(send)(fd, buffer, bytes, flags);
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	struct outgoing out = outgoing(&iov, 1);
	io_write(fd, kind, &out);
	ssize_t result = REAL(send)(fd, buffer, bytes, flags);
	io_wrote(fd, kind, &out, result);
	return result;
}

EXPORT ssize_t sendto(int fd, const void *buffer, size_t bytes, int flags,
		      const struct sockaddr *to, socklen_t to_bytes)
{
	enum fd_kind kind = fds_kind(fd);

	if (kind < FD_STREAM)
		return REAL(sendto)(fd, buffer, bytes, flags, to, to_bytes);
	struct iovec iov = {(void *)(uintptr_t)buffer, bytes};
	struct outgoing out = outgoing(&iov, 1);
	io_write(fd, kind, &out);
	ssize_t result = REAL(sendto)(fd, buffer, bytes, flags, to, to_bytes);
	io_wrote(fd, kind, &out, result);
	return result;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	enum fd_kind kind = fds_kind(fd);

	if (kind < FD_STREAM)
		return REAL(sendmsg)(fd, message, flags);
	bool there = memory_readable(message, sizeof(*message));
	struct outgoing out =
		outgoing(there ? message->msg_iov : NULL,
			 there ? memory_vectors(message->msg_iov, message->msg_iovlen) : 0);
	io_write(fd, kind, &out);
	ssize_t result = REAL(sendmsg)(fd, message, flags);
	io_wrote(fd, kind, &out, result);
	return result;
}

/* After the call, as the kernel may take fewer messages than it was given, and
 * of the last one only a part: what it took are writes, and all of each. */
EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	enum fd_kind kind = fds_kind(fd);
	int result = REAL(sendmmsg)(fd, messages, count, flags);

	for (int i = 0; kind >= FD_STREAM && i < result; i++) {
		const struct mmsghdr *m = &messages[i];
		if (!memory_readable(m, sizeof(*m)))
			break;
		struct outgoing out =
			outgoing(m->msg_hdr.msg_iov,
				 memory_vectors(m->msg_hdr.msg_iov, m->msg_hdr.msg_iovlen));
		if (out.of.total > m->msg_len)
			out.of.total = m->msg_len;
		io_write(fd, kind, &out);
	}
	return result;
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
	if (UNLIKELY(region_mode & REGION_CPU))
		note_cpu();
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

/* The room that the caller has for an address: the kernel may say more. */
static socklen_t room_of(const struct sockaddr *peer, const socklen_t *bytes)
{
	return peer && memory_readable(bytes, sizeof(*bytes)) ? *bytes : 0;
}

static void accepted(int listener, int fd, const struct sockaddr *peer, const socklen_t *bytes,
		     socklen_t room)
{
	if (fd < 0 || quiet())
		return;
	size_t known = room && *bytes < room ? *bytes : room;
	if (known > ADDRESS_SHOWN)
		known = ADDRESS_SHOWN;
	fds_set(fd, FD_STREAM);
	write_long(EVENT_ACCEPT, 0, (uint32_t)fd, listener, 0, peer, known);
}

EXPORT int accept(int listener, struct sockaddr *peer, socklen_t *bytes)
{
	socklen_t room = room_of(peer, bytes);
	int fd = REAL(accept)(listener, peer, bytes);

	accepted(listener, fd, peer, bytes, room);
	return fd;
}

EXPORT int accept4(int listener, struct sockaddr *peer, socklen_t *bytes, int flags)
{
	socklen_t room = room_of(peer, bytes);
	int fd = REAL(accept4)(listener, peer, bytes, flags);

	accepted(listener, fd, peer, bytes, room);
	return fd;
}

EXPORT int connect(int fd, const struct sockaddr *to, socklen_t bytes)
{
	int result = REAL(connect)(fd, to, bytes);

	if (!quiet()) {
		int saved = errno;
		(void)fds_kind(fd);
		/* An address that the kernel could not read is none for us. */
		write_long(EVENT_CONNECT, 0, (uint32_t)fd, result < 0 ? -(int64_t)saved : 0, 0,
			   to,
			   memory_prefix(to, bytes < ADDRESS_SHOWN ? bytes : ADDRESS_SHOWN));
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
	int saved = errno, fd = fileno(file);

	errno = saved; /* not every stream has a descriptor */
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
