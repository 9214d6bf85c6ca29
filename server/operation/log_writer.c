/* SPDX-License-Identifier: MIT */
#include "server/operation/log_writer.h"

#include "server/connection/loop.h"
#include "server/core.h"
#include "server/operation/log.h"
#include "server/operation/metrics.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	STACK_BYTES = 64 << 10,
	GATHER_MS = 5, /* what comes meanwhile is written at once */
	DEAF_MS = 20,  /* while a file takes nothing */
};
static const uint64_t MS_NS = 1000000;
static const uint64_t RETRY_NS = UINT64_C(100000000);
/* At the end: without any progress, and in all. */
static const uint64_t LINES_PATIENCE_NS = UINT64_C(1000000000);
static const uint64_t CLOSE_NS = UINT64_C(5000000000);

enum kind { REGULAR, STREAM, SOCKET, MESSAGES };

struct sink {
	int fd; /* -1: none */
	enum kind kind;
	const char *path; /* "-", or to open it anew */
	const char *name; /* in complaints */
	uint32_t worker;  /* whose ring is next */
	bool torn;        /* in the middle of a line */
	bool full;        /* poll(2) says when it has room again */
	bool failing;     /* told */
	uint64_t retry_ns;
};

enum state { AWAKE, DEAF, GATHERING, ASLEEP };

static struct {
	struct sink sink[LOG_STREAMS];
	int wake_fd;
	bool open;
	pthread_t thread;
	bool hung; /* it was not to be ended */
	_Atomic int state;
	_Atomic bool reopen, record, closing;
	uint64_t failures, record_lost; /* written by metrics_add() */
	uint64_t left[LOG_STREAMS];     /* lines that nothing took, at the end */
} writer = {.wake_fd = -1};

/* -- words to stderr, which may be a pipe that nobody reads -------------------------- */

static void tell(const char *text)
{
	struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
	char line[512];
	int length = snprintf(line, sizeof(line), "pail serve: %s\n", text);

	if (length > (int)sizeof(line) - 1)
		length = (int)sizeof(line) - 1;
	if (poll(&room, 1, 0) > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
		return;
}

/* -- files ----------------------------------------------------------------------------- */

int log_file_open(const char *path, struct err *err)
{
	if (!path || strcmp(path, "none") == 0)
		return -1;
	if (strcmp(path, "-") == 0)
		return STDERR_FILENO;
	/* Not to wait for the reader of a pipe. */
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
	if (fd < 0)
		return err_errno(err, "can't open the log '%s'", path), -2;
	return fd;
}

static void sink_look(struct sink *sink)
{
	struct stat about;

	sink->full = sink->failing = false;
	sink->retry_ns = 0;
	if (sink->kind == MESSAGES || sink->fd < 0)
		return;
	sink->kind = fstat(sink->fd, &about) < 0 ? STREAM
		     : S_ISREG(about.st_mode)    ? REGULAR
		     : S_ISSOCK(about.st_mode)   ? SOCKET
						 : STREAM;
}

static char byte_at(const struct iovec piece[2], size_t at)
{
	return at < piece[0].iov_len ? ((const char *)piece[0].iov_base)[at]
				     : ((const char *)piece[1].iov_base)[at - piece[0].iov_len];
}

static void cut(struct iovec piece[2], size_t length)
{
	if (length < piece[0].iov_len)
		piece[0].iov_len = length;
	piece[1].iov_len = length - piece[0].iov_len;
}

/* Whole lines; of one that is longer, what there is. */
static size_t cut_lines(struct iovec piece[2], size_t length)
{
	for (size_t end = length; end > 0; end--) {
		if (byte_at(piece, end - 1) == '\n') {
			cut(piece, end);
			return end;
		}
	}
	return length;
}

/* Messages begin with their length, and are aligned to it. */
static size_t message_bytes(const struct iovec piece[2], size_t at)
{
	uint16_t bytes;

	if (at < piece[0].iov_len)
		memcpy(&bytes, (const char *)piece[0].iov_base + at, sizeof(bytes));
	else
		memcpy(&bytes, (const char *)piece[1].iov_base + at - piece[0].iov_len,
		       sizeof(bytes));
	return bytes;
}

static size_t cut_messages(struct iovec piece[2], size_t length, uint64_t *count)
{
	size_t end = 0;

	for (*count = 0; end < length; ++*count) {
		size_t bytes = message_bytes(piece, end);
		if (bytes == 0 || end + bytes > length)
			break;
		end += bytes;
	}
	cut(piece, end);
	return end;
}

/* What fits at once into what is no regular file. -1, with EAGAIN: nothing does. */
static ssize_t put_small(struct sink *sink, const struct ring *ring, size_t most)
{
	struct iovec piece[2];
	struct msghdr message = {.msg_iov = piece, .msg_iovlen = 2};
	struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
	uint64_t ignored;
	size_t length = ring_peek(ring, piece, most < PIPE_BUF ? most : PIPE_BUF);

	length = sink->kind == MESSAGES ? cut_messages(piece, length, &ignored)
					: cut_lines(piece, length);
	if (length == 0)
		return 0;
	if (sink->kind == SOCKET)
		return sendmsg(sink->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* A pipe that has room takes PIPE_BUF of it whole, even one that would wait for
	 * more. */
	if (sink->kind == STREAM && (poll(&room, 1, 0) <= 0 || !(room.revents & ~POLLNVAL))) {
		errno = EAGAIN;
		return -1;
	}
	return writev(sink->fd, piece, 2);
}

/* Bytes that it took, 0: there are none, -1: it takes none now. */
static ssize_t sink_put(struct sink *sink, struct ring *ring, size_t most)
{
	struct iovec piece[2];
	ssize_t put;

	if (sink->kind == REGULAR)
		put = ring_peek(ring, piece, most) ? writev(sink->fd, piece, 2) : 0;
	else
		put = put_small(sink, ring, most);
	if (put <= 0)
		return put;
	ring_peek(ring, piece, (size_t)put);
	sink->torn = sink->kind != MESSAGES && byte_at(piece, (size_t)put - 1) != '\n';
	ring_drop(ring, (size_t)put);
	return put;
}

/* Its lines or messages, taken out. */
static uint64_t ring_forget(struct ring *ring, bool messages)
{
	struct iovec piece[2];
	uint64_t count = 0;
	size_t length = ring_peek(ring, piece, SIZE_MAX);

	if (length == 0)
		return 0;
	if (messages)
		cut_messages(piece, length, &count);
	else
		for (size_t i = 0; i < length; i++)
			count += byte_at(piece, i) == '\n';
	ring_drop(ring, length);
	return count;
}

/* -- the thread's turn --------------------------------------------------------------------- */

static struct ring *ring_of(uint32_t worker, int stream)
{
	return &core.worker[worker]->log.ring[stream];
}

static void sink_refuses(struct sink *sink, uint64_t now_ns)
{
	char text[320];

	if (errno == EAGAIN || errno == EINTR) {
		sink->full = errno == EAGAIN;
		return;
	}
	metrics_add(&writer.failures, 1);
	sink->retry_ns = now_ns + RETRY_NS;
	if (sink->kind == MESSAGES && !sink->failing)
		tell("the recorder has ended; nothing is recorded");
	if (sink->kind != MESSAGES && !sink->failing) {
		snprintf(text, sizeof(text),
			 "%s '%s' takes nothing: %s; its lines wait, and when their ring is "
			 "full they are dropped and counted",
			 sink->name, sink->path, strerror(errno));
		tell(text);
	}
	sink->failing = true;
}

static void sink_takes(struct sink *sink)
{
	char text[256];

	sink->full = false;
	if (!sink->failing)
		return;
	sink->failing = false;
	snprintf(text, sizeof(text), "%s '%s' takes lines again", sink->name, sink->path);
	tell(text);
}

/* True if it took something. */
static bool sink_turn(int stream, uint64_t now_ns)
{
	struct sink *sink = &writer.sink[stream];
	bool moved = false;

	if (sink->fd < 0 || (stream == LOG_RECORDS && !atomic_load(&writer.record)))
		return false;
	if (sink->kind == MESSAGES && sink->failing) { /* for good */
		uint64_t lost = 0;
		for (uint32_t i = 0; i < core.plan.threads; i++)
			lost += ring_forget(ring_of(i, stream), true);
		metrics_add(&writer.record_lost, lost);
		return false;
	}
	if (sink->retry_ns > now_ns)
		return false;
	for (uint32_t i = 0; i < core.plan.threads; i++) {
		struct ring *ring = ring_of(sink->worker, stream);
		/* What is there now ends a line; what comes meanwhile is for the next turn. */
		for (uint64_t left = ring_used(ring); left > 0;) {
			ssize_t put = sink_put(sink, ring, left);
			if (put <= 0) {
				sink_refuses(sink, now_ns);
				return moved;
			}
			left -= (uint64_t)put;
			moved = true;
			sink_takes(sink);
		}
		sink->worker = (sink->worker + 1) % core.plan.threads;
	}
	return moved;
}

static void sink_reopen(struct sink *sink, int stream)
{
	struct err err;

	if (sink->fd < 0 || strcmp(sink->path, "-") == 0)
		return;
	int fd = log_file_open(sink->path, &err);
	if (fd < 0) {
		tell(err.text);
		return;
	}
	/* The rest of a line that the old one did not take whole. */
	for (struct iovec piece[2];
	     sink->torn && ring_peek(ring_of(sink->worker, stream), piece, 1);) {
		sink->torn = byte_at(piece, 0) != '\n';
		ring_drop(ring_of(sink->worker, stream), 1);
	}
	dup3(fd, sink->fd, O_CLOEXEC);
	close(fd);
	sink_look(sink);
}

static bool all_written(void)
{
	for (int stream = 0; stream < LOG_STREAMS; stream++) {
		if (writer.sink[stream].fd < 0 ||
		    (stream == LOG_RECORDS && !atomic_load(&writer.record)))
			continue;
		for (uint32_t i = 0; i < core.plan.threads; i++)
			if (ring_used(ring_of(i, stream)) > 0)
				return false;
	}
	return true;
}

/* -- its waiting ------------------------------------------------------------------------------
 */

static bool sinks_refuse(void)
{
	bool refuse = false;

	for (int i = 0; i < LOG_STREAMS; i++)
		refuse |= writer.sink[i].full || writer.sink[i].retry_ns > 0;
	return refuse;
}

static void writer_wait(bool moved)
{
	struct pollfd fds[1 + LOG_STREAMS] = {{.fd = writer.wake_fd, .events = POLLIN}};
	bool refuse = sinks_refuse();
	uint64_t count;

	for (int i = 0; i < LOG_STREAMS; i++)
		fds[1 + i] = (struct pollfd){.fd = writer.sink[i].full ? writer.sink[i].fd : -1,
					     .events = POLLOUT};
	atomic_store(&writer.state, refuse ? DEAF : moved ? GATHERING : ASLEEP);
	/* Either we see what a worker has put, or it sees that we sleep. */
	atomic_thread_fence(memory_order_seq_cst);
	moved |= atomic_load(&writer.closing);
	if (refuse || moved || all_written())
		poll(fds, 1 + LOG_STREAMS, refuse ? DEAF_MS : moved ? GATHER_MS : -1);
	atomic_store(&writer.state, AWAKE);
	if ((fds[0].revents & POLLIN) &&
	    read(writer.wake_fd, &count, sizeof(count)) != sizeof(count))
		return;
}

static void *writer_main(void *ignored)
{
	uint64_t closing_ns = 0, moved_ns = 0;

	(void)ignored;
	for (;;) {
		uint64_t now_ns = loop_now_ns();
		bool moved = false, closing = atomic_load(&writer.closing);
		bool reopen = atomic_exchange(&writer.reopen, false);
		for (int i = 0; i < LOG_STREAMS; i++) {
			if (writer.sink[i].retry_ns <= now_ns)
				writer.sink[i].retry_ns = 0;
			moved |= sink_turn(i, now_ns);
			if (reopen && i != LOG_RECORDS) /* what came before is in the old one */
				sink_reopen(&writer.sink[i], i);
		}
		if (closing && closing_ns == 0)
			closing_ns = moved_ns = now_ns;
		if (moved)
			moved_ns = now_ns;
		bool records = writer.sink[LOG_RECORDS].full;
		if (closing && (all_written() || now_ns - closing_ns > CLOSE_NS ||
				(!records && now_ns - moved_ns > LINES_PATIENCE_NS)))
			return NULL;
		writer_wait(moved);
	}
}

static void writer_kick(void)
{
	const uint64_t one = 1;

	/* Past our own write(), since it may come from a signal handler in a request. */
	if (syscall(SYS_write, writer.wake_fd, &one, sizeof(one)) < 0)
		return;
}

void log_writer_wake(bool much)
{
	if (!writer.open)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	int state = atomic_load_explicit(&writer.state, memory_order_relaxed);
	if (state == ASLEEP || (state == GATHERING && much)) {
		if (atomic_exchange(&writer.state, AWAKE) != AWAKE)
			writer_kick();
	}
}

/* -- its beginning and end
 * ---------------------------------------------------------------------- */

static int thread_start(struct err *err)
{
	static _Alignas(LIMITS_PAGE_BYTES) unsigned char stack[LIMITS_PAGE_BYTES + STACK_BYTES];
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
#ifdef __SANITIZE_THREAD__
	(void)stack; /* its thread-local storage alone is larger */
#else
	if (mprotect(stack, LIMITS_PAGE_BYTES, PROT_NONE) < 0)
		return err_errno(err, "can't guard a stack");
	pthread_attr_setstack(&attributes, stack + LIMITS_PAGE_BYTES, STACK_BYTES);
#endif
	errno = pthread_create(&writer.thread, &attributes, writer_main, NULL);
	pthread_attr_destroy(&attributes);
	return errno == 0 ? 0 : err_errno(err, "can't start the log's thread");
}

int log_writer_open(const char *access_path, const char *error_path, struct err *err)
{
	writer.sink[LOG_ACCESS] =
		(struct sink){.fd = core.log_fd, .path = access_path, .name = "the log"};
	writer.sink[LOG_ERRORS] =
		(struct sink){.fd = core.error_fd, .path = error_path, .name = "the error log"};
	writer.sink[LOG_RECORDS] = (struct sink){.fd = core.record_fd, .kind = MESSAGES};
	for (int i = 0; i < LOG_STREAMS; i++)
		sink_look(&writer.sink[i]);
	writer.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (writer.wake_fd < 0)
		return err_errno(err, "can't make an eventfd");
	writer.open = true;
	return thread_start(err);
}

void log_writer_record(void)
{
	atomic_store(&writer.record, true);
	writer_kick();
}

void log_writer_reopen(void)
{
	atomic_store(&writer.reopen, true);
	writer_kick();
}

void log_writer_close(void)
{
	struct timespec until;

	atomic_store(&writer.closing, true);
	writer_kick();
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)((CLOSE_NS + LINES_PATIENCE_NS) / (1000 * MS_NS)) + 1;
	if (pthread_timedjoin_np(writer.thread, NULL, &until) != 0) {
		writer.hung = true; /* in a write that does not return */
		tell("a write to the log does not return; what was not written is lost");
		return;
	}
	writer.open = false;
	for (int stream = 0; stream < LOG_STREAMS; stream++)
		for (uint32_t i = 0; i < core.plan.threads; i++)
			writer.left[stream] +=
				ring_forget(ring_of(i, stream), stream == LOG_RECORDS);
}

void log_writer_last(const char *line, size_t length)
{
	struct sink *sink = &writer.sink[LOG_ACCESS];

	if (core.plan.logs.format != PLAN_LOG_JSON || sink->fd < 0)
		sink = &writer.sink[LOG_ERRORS];
	struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
	if (writer.hung || sink->fd < 0)
		return;
	if (sink->kind != REGULAR && poll(&room, 1, (int)(LINES_PATIENCE_NS / MS_NS)) <= 0)
		return;
	if ((sink->torn && write(sink->fd, "\n", 1) < 0) || write(sink->fd, line, length) < 0)
		tell("can't write the log's last line");
}

void log_writer_hurry(void)
{
	const struct timespec step = {0, (long)MS_NS};

	if (!writer.open || pthread_equal(pthread_self(), writer.thread))
		return;
	writer_kick();
	/* Past our own nanosleep(), which would let other requests run. */
	for (int i = 0; i < 200 && !all_written(); i++)
		syscall(SYS_nanosleep, &step, NULL);
}

struct log_writer_counts log_writer_count(void)
{
	struct log_writer_counts counts = {
		.failures = metrics_read(&writer.failures),
		.record_lost = metrics_read(&writer.record_lost),
	};
	for (int i = 0; i < LOG_STREAMS; i++)
		counts.left[i] = writer.left[i];
	return counts;
}

/* -- in the supervisor ------------------------------------------------------------------------
 */

static void salvage_stream(void *memory, const struct plan *plan, enum log_stream stream,
			   struct sink *sink, uint64_t *lost)
{
	sink_look(sink);
	for (uint32_t i = 0; i < plan->threads; i++) {
		struct ring ring = log_memory_ring(memory, plan, i, stream);
		if (!ring.ends || !ring_sound(&ring))
			continue; /* the process may have written anywhere */
		while (sink->fd >= 0 && sink_put(sink, &ring, SIZE_MAX) > 0)
			;
		*lost += ring_forget(&ring, stream == LOG_RECORDS);
	}
}

void log_salvage(void *memory, const struct plan *plan, const char *access_path,
		 const char *error_path, int record_fd)
{
	bool any = false;
	uint64_t lost = 0;
	struct err err;
	char text[128];

	for (uint32_t i = 0; i < plan->threads; i++)
		for (int stream = 0; stream < LOG_STREAMS; stream++) {
			struct ring ring =
				log_memory_ring(memory, plan, i, (enum log_stream)stream);
			any |= ring_used(&ring) > 0;
		}
	if (!any)
		return;
	struct sink access = {.fd = log_file_open(access_path, &err)};
	struct sink errors = {.fd = log_file_open(error_path, &err)};
	struct sink records = {.fd = record_fd, .kind = MESSAGES};
	salvage_stream(memory, plan, LOG_ACCESS, &access, &lost);
	salvage_stream(memory, plan, LOG_ERRORS, &errors, &lost);
	salvage_stream(memory, plan, LOG_RECORDS, &records, &lost);
	if (access.fd > STDERR_FILENO)
		close(access.fd);
	if (errors.fd > STDERR_FILENO)
		close(errors.fd);
	for (uint32_t i = 0; i < plan->threads; i++)
		memset(log_memory_ring(memory, plan, i, LOG_ACCESS).ends, 0,
		       LOG_STREAMS * sizeof(struct ring_ends));
	if (lost > 0) {
		snprintf(text, sizeof(text), "%" PRIu64 " lines of its log are lost", lost);
		tell(text);
	}
}
