/* SPDX-License-Identifier: MIT */
#include "server/operation/record.h"

#include "server/core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static_assert(RECORD_MESSAGE_MAX < PIPE_BUF, "a message is one piece of a pipe");
static_assert(RECORD_MESSAGE_MAX + 0 < LOG_LINE_MAX + 0, "it is made where lines are");

enum { WAIT_MOST_MS = 60 * 1000, WAIT_STEP_NS = 2 * 1000 * 1000 };

static uint16_t put_text(char *at, struct str text, size_t most)
{
	size_t length = text.length < most ? text.length : most;

	if (length > 0)
		memcpy(at, text.bytes, length);
	return (uint16_t)length;
}

void record_request(struct log *log, const struct log_line *line)
{
	char *from = log->line, *at = from + sizeof(struct record_message);
	struct record_message message = {
		.kind = RECORD_REQUEST,
		.status = (uint16_t)line->status,
		.generation = core.supervised.generation,
		.arrival_unix_ns = line->start_unix_ns - line->wait_ns,
		.wait_ns = line->wait_ns,
		.service_ns = line->service_ns,
		.need_bytes = line->need_bytes,
		.wanted_bytes = line->wanted_bytes,
		.stack_bytes = line->stack_bytes,
		.bytes_in = line->body_in_bytes,
		.bytes_out = line->body_out_bytes,
		.foreign_frees = line->foreign_frees,
		.blocks_left = line->system_blocks,
		.dropped = log->untold[LOG_RECORDS],
	};
	struct str cause = line->cause ? str_of(line->cause) : STR("");
	at += message.method_bytes = put_text(at, line->method, RECORD_WORD_MAX);
	at += message.path_bytes = put_text(at, line->path, RECORD_TEXT_MAX);
	at += message.query_bytes = put_text(at, line->query, RECORD_TEXT_MAX);
	at += message.cause_bytes = put_text(at, cause, RECORD_WORD_MAX);
	while ((at - from) % 8 != 0)
		*at++ = 0;
	message.bytes = (uint16_t)(at - from);
	memcpy(from, &message, sizeof(message));
	if (log_put(log, LOG_RECORDS, from, message.bytes))
		log->untold[LOG_RECORDS] = 0;
}

/* -- the main thread ------------------------------------------------------------ */

int record_parse(const char *word, struct err *err)
{
	int fd = -1, pid = 0;

	if (strcmp(word, "-:0") != 0 && (sscanf(word, "%d:%d", &fd, &pid) != 2 || fd < 0))
		return err_usage(err, "--recorder is FD:PID, of 'pail serve --record'");
	/* Not for programs that handlers start. */
	if (fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_errno(err, "--recorder: descriptor %d", fd);
	core.record_fd = fd;
	core.recorder = (pid_t)pid;
	return 0;
}

static void tell(enum record_kind kind, uint64_t dropped)
{
	struct pollfd room = {.fd = core.record_fd, .events = POLLOUT};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	struct record_message message = {
		.bytes = sizeof(message),
		.kind = (uint16_t)kind,
		.generation = core.supervised.generation,
		.pid = (uint32_t)getpid(),
		.arrival_unix_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
		.dropped = dropped,
	};
	poll(&room, 1, 1000);
	if (write(core.record_fd, &message, sizeof(message)) < 0 && errno == EPIPE)
		fprintf(stderr, "pail serve: the recorder has ended; nothing is recorded\n");
}

void record_begin(void)
{
	if (core.record_fd >= 0)
		tell(RECORD_BEGIN, 0);
}

void record_end(uint64_t untold)
{
	if (core.record_fd >= 0)
		tell(RECORD_END, untold);
}

void record_wait(void)
{
	const struct timespec step = {0, WAIT_STEP_NS};

	if (core.record_fd < 0)
		return;
	close(core.record_fd);
	for (int64_t ns = 0; ns < (int64_t)WAIT_MOST_MS * 1000000; ns += WAIT_STEP_NS) {
		pid_t ended = waitpid(core.recorder, NULL, WNOHANG);
		if (ended == core.recorder || (ended < 0 && errno != EINTR))
			return;
		nanosleep(&step, NULL);
	}
}
