/* SPDX-License-Identifier: MIT */
/*
 * The requests as columns: what the simulator reads, and their digest.
 *
 * A trace's digest is the SHA-256 of the digests of its chunks, in order,
 * followed by that of the route names, each with its terminating zero. A chunk
 * is COLUMNS_CHUNK requests in the order in which they were stored; its digest
 * is the SHA-256 of its columns as 64-bit little-endian integers, so it does
 * not depend on how they were packed.
 */
#ifndef PAIL_LIBTRACE_COLUMNS_H
#define PAIL_LIBTRACE_COLUMNS_H

#include "libtrace/trace.h"

#include <nettle/sha2.h>

enum { COLUMNS_CHUNK = 65536 };

enum column {
	COLUMN_START,
	COLUMN_SERVICE,
	COLUMN_NEED_BUMP,
	COLUMN_NEED_REUSE,
	COLUMN_ROUTE,
	COLUMN_COUNT
};

/* About 2.6 MB: on the heap. */
struct chunk {
	size_t count;
	int64_t value[COLUMN_COUNT][COLUMNS_CHUNK];
};

void chunk_digest(const struct chunk *chunk, unsigned char digest[SHA256_DIGEST_SIZE]);

/* Room for `count` requests; -1 when memory runs out. */
int columns_init(struct trace_columns *columns, size_t count);
/* Orders by (arrival_ns, id) and sets span_ns. Near-linear when requests come
 * nearly in order, as a recording's do; never worse than n log n. */
int columns_sort(struct trace_columns *columns);

#endif
