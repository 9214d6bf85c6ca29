/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the packed parts of a trace, and as a whole trace file: either
 * refused, or read without stepping outside. The first byte chooses.
 */
#include "libtrace/store/pack.h"
#include "libtrace/store/batch.h"
#include "libtrace/trace.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEMS = 512 };

static void read_requests(struct trace *trace)
{
	struct err err;
	struct trace_cursor *cursor;
	struct trace_request r;
	if (trace_requests(trace, &cursor, &err) != 0)
		return;
	while (trace_next(cursor, &r, &err) == 1) {
		struct replay_op *ops;
		uint32_t *sites;
		size_t count;
		if (trace_replay(trace, r.id, &ops, &count, &err) == 1)
			free(ops);
		if (trace_replay_sites(trace, r.id, &sites, &count, &err) == 1)
			free(sites);
	}
	trace_cursor_close(cursor);
}

static void read_stream(struct trace *trace)
{
	struct err err;
	struct trace_stream *stream = NULL;
	struct trace_part part;
	if (trace_stream_open(trace, ARENA_BUMP, &stream, &err) != 0)
		return;
	while (trace_stream_next(stream, &part, &err) == 1)
		for (size_t i = 0; i < part.count; i++)
			if (part.route_index[i] >= part.route_count || part.service_ns[i] < 0)
				abort();
	trace_stream_close(stream);
}

static void read_raw(struct trace *trace)
{
	struct err err;
	struct trace_raw_cursor *cursor;
	struct trace_raw raw;
	if (trace_raw(trace, &cursor, &err) != 1)
		return;
	while (trace_raw_next(cursor, &raw, &err) == 1)
		;
	trace_raw_close(cursor);
}

static void read_trace(const char *path)
{
	struct err err = {0};
	struct trace *trace;
	struct trace_columns columns;
	struct trace_sites sites;
	if (trace_open(path, &trace, &err) != 0) {
		if (err.text[0] == '\0')
			abort();
		return;
	}
	trace_meta_int(trace, "span_ns", 0);
	if (trace_columns_load(trace, ARENA_REUSE, &columns, &err) == 0)
		trace_columns_release(&columns);
	if (trace_sites_load(trace, &sites, &err) == 0)
		trace_sites_release(&sites);
	read_requests(trace);
	read_stream(trace);
	read_raw(trace);
	trace_close(trace);
}

/* A head as it lies in memory, its numbers as the bytes have them, and digits. */
static void read_rows(const uint8_t *data, size_t size)
{
	struct batch block;
	int64_t value[ROW_COLUMNS];
	if (size < sizeof(block))
		return;
	memcpy(&block, data, sizeof(block));
	block.count %= BATCH_MAX + 2;
	block.bytes %= BATCH_BYTES_MAX + 2;
	for (int c = 0; c < ROW_COLUMNS; c++) {
		block.column[c].at %= 64;
		block.column[c].digits %= BATCH_DIGITS_MAX + 2;
	}
	size -= sizeof(block);
	if (batch_check(&block) != 0)
		return;
	while ((size_t)block.count * block.bytes > size)
		block.count--;
	block.digits = malloc((size_t)block.count * block.bytes + 1);
	if (!block.digits)
		return;
	memcpy(block.digits, data + sizeof(block), (size_t)block.count * block.bytes);
	for (uint32_t row = 0; row < block.count; row++)
		batch_row(&block, row, value);
	free(block.digits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	size_t count = (size_t)(data[1] | data[2] << 8) % (ITEMS + 1);
	if (data[0] == 0) {
		int64_t values[ITEMS];
		unpack_column(data + 3, size - 3, values, count);
	} else if (data[0] == 1) {
		struct replay_op ops[ITEMS];
		if (unpack_ops(data + 3, size - 3, ops, count) == 0) {
			struct buf again;
			buf_init(&again);
			if (pack_ops(ops, count, &again) != 0)
				abort();
			buf_release(&again);
		}
	} else if (data[0] == 2) {
		read_rows(data + 3, size - 3);
	} else {
		char path[] = "/dev/shm/pail-fuzz-XXXXXX";
		int fd = mkstemp(path);
		if (fd < 0)
			return 0;
		if (write(fd, data, size) == (ssize_t)size)
			read_trace(path);
		close(fd);
		unlink(path);
		char journal[64];
		snprintf(journal, sizeof(journal), "%s-journal", path);
		unlink(journal);
	}
	return 0;
}
