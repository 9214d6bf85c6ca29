/* SPDX-License-Identifier: MIT */
/*
 * The requests of a trace as blocks of rows: small, quick to write, and still
 * plain SQL. A block holds up to BATCH_MAX requests. For each of their columns
 * it says where the values begin, and only what differs from that is written
 * down per request, as decimal digits, two to a byte (binary-coded decimal).
 * SQLite has no function that reads a packed integer, but it has hex(), and
 * hex() of such bytes is the number's own text: so the view `request` of
 * schema.h decodes a block with substr(), hex() and CAST, in any SQLite.
 *
 * The value of column c of row i (0..count) of a block is
 *	c.base + i * c.step / BATCH_STEP_ROWS + D
 * D is the number in `digits` decimal digits from digit `at` (from 0) of the
 * row's `bytes` bytes; 0 if digits is 0. The step is not negative, so the base
 * of start_ns is a lower bound of all of the block.
 *
 * Values are -1 (not known) or more. One that would take the whole range of 64
 * bits is written as one less.
 *
 * Pure: no files, no allocation. Readers get blocks out of files that anyone
 * may have written: batch_check() and the results of the others are to be
 * looked at (tests/fuzz/fuzz_trace.c).
 */
#ifndef PAIL_LIBTRACE_BATCH_H
#define PAIL_LIBTRACE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every column of `request` but id, as stored: service_ns for end_ns, and
 * texts by their numbers in `route` and `string`. STEP: it tends to grow. */
#define BATCH_COLUMNS(FLAT, STEP)              \
	FLAT(PROCESS, process)                 \
	STEP(CONNECTION, connection)           \
	STEP(SEQUENCE, sequence)               \
	STEP(START, start_ns)                  \
	FLAT(SERVICE, service_ns)              \
	FLAT(CPU, cpu_ns)                      \
	FLAT(METHOD, method)                   \
	FLAT(TARGET, target)                   \
	FLAT(ROUTE, route)                     \
	FLAT(STATUS, status)                   \
	FLAT(BYTES_IN, bytes_in)               \
	FLAT(BYTES_OUT, bytes_out)             \
	FLAT(ALLOCATIONS, allocations)         \
	FLAT(FREES, frees)                     \
	FLAT(REALLOCATIONS, reallocations)     \
	FLAT(REQUESTED_BYTES, requested_bytes) \
	FLAT(NEED_BUMP, need_bump_bytes)       \
	FLAT(NEED_REUSE, need_reuse_bytes)     \
	FLAT(LIVE_PEAK, live_peak_bytes)       \
	FLAT(LARGEST, largest_bytes)           \
	FLAT(ESCAPES, escapes)                 \
	FLAT(ESCAPED_BYTES, escaped_bytes)     \
	FLAT(FOREIGN_FREES, foreign_frees)     \
	FLAT(STACK_PEAK, stack_peak_bytes)     \
	FLAT(ENDED_BY, ended_by)               \
	FLAT(CONFIDENCE, confidence)           \
	FLAT(INCOMPLETE, incomplete)           \
	STEP(FIRST_EVENT, first_event)         \
	FLAT(EVENTS, events)

#define BATCH_ENUM(NAME, name) ROW_##NAME,
enum batch_column { BATCH_COLUMNS(BATCH_ENUM, BATCH_ENUM) ROW_COLUMNS };

enum {
	BATCH_MAX = 1024,
	BATCH_PADDED = (ROW_COLUMNS + 1) / 2 * 2,
	BATCH_STEP_ROWS = 1024, /* a step is the growth over so many rows */
	BATCH_GROUP = 16,       /* whose digits lie in one row of request_digits */
	BATCH_DIGITS_MAX = 19,
	BATCH_BYTES_MAX = (ROW_COLUMNS * BATCH_DIGITS_MAX + 1) / 2,
};

/* What is written next: one row after the other. */
struct batch_rows {
	uint32_t count;
	int64_t value[BATCH_MAX][BATCH_PADDED]; /* all set, 0 past ROW_COLUMNS */
};

struct batch_head {
	int64_t base, step;
	uint32_t at, digits;
};

struct batch {
	uint32_t count, bytes; /* rows; bytes per row */
	struct batch_head column[ROW_COLUMNS];
	unsigned char *digits; /* count * bytes; the caller's */
};

/* Whether it is a column with a step. */
bool batch_grows(enum batch_column column);
/* To block->digits, room for BATCH_MAX * BATCH_BYTES_MAX bytes. */
void batch_pack(const struct batch_rows *rows, struct batch *block);

/* -1 if the head of a block makes no sense; what follows wants a checked one. */
int batch_check(const struct batch *block);
/* One column of rows [from, from + count); -1 if they hold no numbers. */
int batch_column(const struct batch *block, enum batch_column column, uint32_t from,
		 uint32_t count, int64_t *values);
/* One row. */
int batch_row(const struct batch *block, uint32_t row, int64_t value[ROW_COLUMNS]);
/* Whether any value of the column can be above `most`. */
bool batch_above(const struct batch *block, enum batch_column column, int64_t most);

#endif
