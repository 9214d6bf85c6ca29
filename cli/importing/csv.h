/* SPDX-License-Identifier: MIT */
/*
 * Reads requests from CSV (RFC 4180: quotes, doubled quotes, CRLF): a header
 * line with the columns arrival_ns, service_ns, need_bytes and route, in any
 * order. Streaming: memory holds one row.
 *
 * The further columns of csv_numbers are taken where they are; an empty field
 * stands for what is not known. A header with need_bump_bytes is pail export's:
 * then need_bytes is the need under reuse, and names that mean this or that
 * elsewhere (process, connection, sequence, status, and those of csv_texts) are
 * taken too. All other columns are ignored.
 *
 * A bad row is an error that names file:line:column, the column counted in
 * fields from 1.
 */
#ifndef PAIL_CLI_CSV_H
#define PAIL_CLI_CSV_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum csv_column { CSV_ARRIVAL, CSV_SERVICE, CSV_NEED, CSV_ROUTE, CSV_COLUMNS };
/* Whole numbers and texts of an exported row, each a column of a trace. */
enum csv_number {
	CSV_NEED_BUMP,
	CSV_PROCESS,
	CSV_CONNECTION,
	CSV_SEQUENCE,
	CSV_CPU,
	CSV_STATUS,
	CSV_BYTES_IN,
	CSV_BYTES_OUT,
	CSV_ALLOCATIONS,
	CSV_FREES,
	CSV_REALLOCATIONS,
	CSV_REQUESTED,
	CSV_LIVE_PEAK,
	CSV_LARGEST,
	CSV_ESCAPES,
	CSV_ESCAPED,
	CSV_FOREIGN_FREES,
	CSV_STACK,
	CSV_INCOMPLETE,
	CSV_NUMBERS
};
enum csv_text { CSV_METHOD, CSV_TARGET, CSV_CONFIDENCE, CSV_ENDED_BY, CSV_TEXTS };
extern const char *const csv_column[CSV_COLUMNS], *const csv_numbers[CSV_NUMBERS],
							  *const csv_texts[CSV_TEXTS];

enum { CSV_FIELDS_MAX = 1024, CSV_ROW_BYTES_MAX = 1 << 20 };

struct csv {
	FILE *in;
	const char *name; /* for messages */
	uint64_t line;    /* of the row last read, where it begins */
	uint64_t next_line;
	struct buf row;
	struct str field[CSV_FIELDS_MAX]; /* into row */
	size_t fields;
	size_t at[CSV_COLUMNS], header_fields;
	bool exported;
	size_t number_at[CSV_NUMBERS], text_at[CSV_TEXTS]; /* index + 1; 0: not there */
};

struct csv_request {
	int64_t arrival_ns, service_ns, need_bytes;
	struct str route;            /* until the next row */
	int64_t number[CSV_NUMBERS]; /* -1: not known */
	bool exported;               /* text is there */
	struct str text[CSV_TEXTS];
};

/* Reads the header line. The file stays the caller's. */
int csv_open(struct csv *csv, FILE *in, const char *name, struct err *err);
/* 1 a request, 0 the end, -1 an error. Empty lines are passed over. */
int csv_next(struct csv *csv, struct csv_request *request, struct err *err);
void csv_close(struct csv *csv);

#endif
