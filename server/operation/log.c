/* SPDX-License-Identifier: MIT */
#include "server/operation/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest line: every text cut to LOG_TEXT_MAX bytes, each escaped to 6. */
enum { LOG_LINE_MAX = 6144, LOG_TEXT_MAX = 256 };

void log_init(struct log *log)
{
	log->length = 0;
	log->dropped = 0;
	log->lines_total = log->dropped_total = 0;
}

/* -- a line, piece by piece: no printf, whose cost is that of the request ------- */

struct writer {
	char *at;
};

static void put_raw(struct writer *w, const char *text, size_t length)
{
	memcpy(w->at, text, length);
	w->at += length;
}

#define PUT(w, literal) put_raw((w), (literal), sizeof(literal) - 1)

static void put_u64(struct writer *w, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n > 0)
		*w->at++ = digits[--n];
}

static void put_text(struct writer *w, struct str text)
{
	static const char hex[] = "0123456789abcdef";
	size_t length = text.length < LOG_TEXT_MAX ? text.length : LOG_TEXT_MAX;

	*w->at++ = '"';
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text.bytes[i];
		if (c == '"' || c == '\\') {
			*w->at++ = '\\';
			*w->at++ = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			/* Bytes that may be no UTF-8 are told as Latin-1. */
			PUT(w, "\\u00");
			*w->at++ = hex[c >> 4];
			*w->at++ = hex[c & 15];
		} else {
			*w->at++ = (char)c;
		}
	}
	*w->at++ = '"';
}

static void put_pair(struct writer *w, const char *key, uint64_t value)
{
	PUT(w, ",\"");
	put_raw(w, key, strlen(key));
	PUT(w, "\":");
	put_u64(w, value);
}

static void put_pair_text(struct writer *w, const char *key, struct str value)
{
	PUT(w, ",\"");
	put_raw(w, key, strlen(key));
	PUT(w, "\":");
	put_text(w, value);
}

void log_request(struct log *log, const struct log_line *line)
{
	if (LOG_BUFFER_BYTES - log->length < LOG_LINE_MAX) {
		log->dropped++;
		log->dropped_total++;
		return;
	}
	struct writer w = {log->bytes + log->length};
	if (log->dropped) {
		PUT(&w, "{\"dropped_lines\":");
		put_u64(&w, log->dropped);
		PUT(&w, "}\n");
		log->dropped = 0;
	}
	PUT(&w, "{\"start_ns\":");
	put_u64(&w, line->start_unix_ns);
	put_pair(&w, "worker", line->worker);
	put_pair(&w, "status", (uint64_t)line->status);
	put_pair_text(&w, "method", line->method);
	put_pair_text(&w, "path", line->path);
	put_pair_text(&w, "route", line->route);
	put_pair_text(&w, "bucket", line->bucket);
	put_pair(&w, "wait_ns", line->wait_ns);
	put_pair(&w, "service_ns", line->service_ns);
	put_pair(&w, "need_bytes", line->need_bytes);
	put_pair(&w, "bucket_bytes", line->bucket_bytes);
	put_pair(&w, "stack_peak_bytes", line->stack_bytes);
	put_pair(&w, "bytes_in", line->body_in_bytes);
	put_pair(&w, "bytes_out", line->body_out_bytes);
	if (line->wanted_bytes)
		put_pair(&w, "wanted_bytes", line->wanted_bytes);
	if (line->foreign_frees)
		put_pair(&w, "foreign_frees", line->foreign_frees);
	if (line->system_blocks > 0)
		put_pair(&w, "system_blocks_left", (uint64_t)line->system_blocks);
	if (line->cause)
		put_pair_text(&w, "cause", str_of(line->cause));
	if (line->detail && *line->detail)
		put_pair_text(&w, "detail", str_of(line->detail));
	PUT(&w, "}\n");
	log->lines_total++;
	log->length = (uint32_t)(w.at - log->bytes);
}

static bool log_is_file(int fd)
{
	struct stat about;

	return fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

/* How much of it to write at once to what is no regular file: whole lines, since
 * other workers write there too, and at most PIPE_BUF, which a pipe that poll()
 * finds room in takes whole, even one that would wait for more. 0: the first
 * line is longer than that. */
static size_t log_piece(const char *bytes, size_t length)
{
	if (length > PIPE_BUF)
		length = PIPE_BUF;
	while (length > 0 && bytes[length - 1] != '\n')
		length--;
	return length;
}

static void log_lose(struct log *log, size_t from)
{
	uint64_t lines = 0;

	for (size_t i = from; i < log->length; i++)
		lines += log->bytes[i] == '\n';
	log->dropped += lines;
	log->dropped_total += lines;
	log->length = (uint32_t)from;
}

void log_flush(struct log *log, int fd)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	size_t at = 0;

	if (log->length == 0)
		return;
	bool waits = !log_is_file(fd); /* stderr is often a pipe, and not ours to change */
	while (at < log->length) {
		size_t piece = log->length - at;
		if (waits && (piece = log_piece(log->bytes + at, piece)) == 0) {
			log_lose(log, at);
			break;
		}
		if (waits && (poll(&room, 1, 0) <= 0 || !(room.revents & ~POLLNVAL)))
			break;
		ssize_t written = write(fd, log->bytes + at, piece);
		if (written > 0) {
			at += (size_t)written;
		} else if (written < 0 && errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			/* A full disk: these lines are lost, and the next one says so. */
			log_lose(log, at);
			break;
		}
	}
	memmove(log->bytes, log->bytes + at, log->length - at);
	log->length -= (uint32_t)at;
}
