/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a server of ours tells the recorder of `pail serve --record`:
 * a server whose memory was overwritten may spoil its own rows, and no more. What
 * was stored must be readable, every time in order and every size a size. The
 * first byte says whether the sizes of messages are put right, so that what lies
 * in them is reached.
 */
#include "base/record_message.h"
#include "libtrace/served.h"
#include "libtrace/trace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 32768 };

static void must(bool truth)
{
	if (!truth)
		abort();
}

/* Messages end where the next begins, their texts are short, their kind is one. */
static size_t put_right(uint8_t *bytes, size_t size)
{
	size_t at = 0;
	while (size - at >= sizeof(struct record_message)) {
		struct record_message m;
		memcpy(&m, bytes + at, sizeof(m));
		size_t left = size - at - sizeof(m);
		m.method_bytes %= 9, m.path_bytes %= 41, m.query_bytes %= 41,
			m.cause_bytes %= 9;
		size_t texts =
			(size_t)m.method_bytes + m.path_bytes + m.query_bytes + m.cause_bytes;
		if (texts > left)
			m.method_bytes = m.path_bytes = m.query_bytes = m.cause_bytes = 0,
			texts = 0;
		m.bytes = (uint16_t)((sizeof(m) + texts) / 8 * 8 + (texts % 8 ? 8 : 0));
		m.kind = (uint16_t)(m.kind % 3 + RECORD_BEGIN);
		if (m.bytes > size - at)
			break;
		memcpy(bytes + at, &m, sizeof(m));
		at += m.bytes;
	}
	return at;
}

static void read_back(const char *path)
{
	struct err err;
	struct trace *trace;
	struct trace_cursor *cursor;
	struct trace_request r;
	int got;
	must(trace_open(path, &trace, &err) == 0);
	must(trace_requests(trace, &cursor, &err) == 0);
	while ((got = trace_next(cursor, &r, &err)) == 1) {
		must(r.start_ns >= 0 && r.end_ns >= r.start_ns);
		must(r.need_reuse_bytes >= 0);
	}
	must(got == 0);
	trace_cursor_close(cursor);
	trace_close(trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char folder[] = "/dev/shm/pail-fuzz-XXXXXX", path[64];
	struct served *served;
	struct err err = {0};
	int ends[2];
	if (size < 1 || size > INPUT_MAX)
		return 0;
	uint8_t *bytes = malloc(size);
	if (!bytes || !mkdtemp(folder) || pipe2(ends, O_CLOEXEC) != 0)
		abort();
	memcpy(bytes, data + 1, size - 1);
	size_t length = data[0] & 1 ? put_right(bytes, size - 1) : size - 1;
	must(write(ends[1], bytes, length) == (ssize_t)length);
	close(ends[1]);
	snprintf(path, sizeof(path), "%s/t", folder);
	struct served_options options = {path, "fuzz",
					 data[0] & 2 ? REDACT_ALL : REDACT_VALUES};
	if (served_open(&options, &served, &err) == 0) {
		if (served_run(served, ends[0], &err) != 0)
			must(err.text[0] != '\0');
		served_close(served);
	}
	close(ends[0]);
	if (access(path, F_OK) == 0)
		read_back(path);
	unlink(path);
	must(rmdir(folder) == 0);
	free(bytes);
	return 0;
}
