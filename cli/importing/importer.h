/* SPDX-License-Identifier: MIT */
/*
 * The formats of `pail import`: each reads one file, item by item, and holds no
 * more than one request (and, of a log of allocations, the blocks alive). A
 * line that makes no sense is an error that names file:line.
 *
 *	csv	requests, one a row: cli/importing/csv.h
 *	rep	the allocations of one request, as in the malloc lab of "Computer
 *		Systems: A Programmer's Perspective" (Bryant, O'Hallaron): four
 *		numbers (suggested heap, ids, operations, weight), then `a ID
 *		BYTES`, `r ID BYTES`, `f ID`
 *	mtrace	what glibc's mtrace(3) writes; one request, or one for every
 *		"= Begin ROUTE" .. "= End" that was put between
 *	log	what pail serve --log writes: one request a line
 */
#ifndef PAIL_CLI_IMPORTER_H
#define PAIL_CLI_IMPORTER_H

#include "libtrace/trace.h"

#include <stdbool.h>
#include <stdio.h>

/* Lives until the next item is asked for. */
struct import_item {
	struct trace_request request;
	const struct replay_op *ops; /* or NULL: the needs are in the request */
	size_t count;
};

struct importer {
	void *state;
	/* 1 an item, 0 the end, -1 an error */
	int (*next)(void *state, struct import_item *item, struct err *err);
	void (*close)(void *state);
	/* As far as the file says: */
	int64_t start_unix_ns; /* what the items' times count from; 0: unknown */
	int64_t lost_requests;
	int64_t refused; /* items without a need, since no bucket was free */
};

/* The file and the name, for messages, stay the caller's. */
typedef int import_open(struct importer *importer, FILE *in, const char *name, struct err *err);
import_open import_csv_open, import_rep_open, import_mtrace_open;
/* Reads the file twice: it must be one that can be rewound. */
import_open import_log_open;
void import_close(struct importer *importer);

enum { IMPORT_BLOCK_LOG2 = 34 }; /* no bucket holds a larger block */
/* "/a/b/trace.rep" -> "trace.rep" */
struct str import_route_of(const char *name);

#endif
