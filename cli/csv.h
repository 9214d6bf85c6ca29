/* SPDX-License-Identifier: MIT */
/*
 * Reads requests from CSV (RFC 4180: quotes, doubled quotes, CRLF): a header
 * line with the columns arrival_ns, service_ns, need_bytes and route, in any
 * order, others ignored. Streaming: memory holds one row.
 *
 * A bad row is an error that names file:line:column, the column counted in
 * fields from 1.
 */
#ifndef PAIL_CLI_CSV_H
#define PAIL_CLI_CSV_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>
#include <stdio.h>

enum csv_column { CSV_ARRIVAL, CSV_SERVICE, CSV_NEED, CSV_ROUTE, CSV_COLUMNS };
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
};

struct csv_request {
	int64_t arrival_ns, service_ns, need_bytes;
	struct str route; /* until the next row */
};

/* Reads the header line. The file stays the caller's. */
int csv_open(struct csv *csv, FILE *in, const char *name, struct err *err);
/* 1 a request, 0 the end, -1 an error. Empty lines are passed over. */
int csv_next(struct csv *csv, struct csv_request *request, struct err *err);
void csv_close(struct csv *csv);

#endif
