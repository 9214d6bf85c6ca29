/* SPDX-License-Identifier: MIT */
/*
 * One JSON line per request, through a buffer of the worker's that is written
 * out once per turn of the loop. Nothing here allocates or waits: what does not
 * fit while the file (a slow pipe) refuses is dropped and counted, and the
 * next line that fits says how many were.
 */
#ifndef PAIL_SERVER_LOG_H
#define PAIL_SERVER_LOG_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOG_BUFFER_BYTES = 128 << 10 };

struct log {
	uint32_t length;
	uint64_t dropped; /* not yet told */
	uint64_t lines_total, dropped_total;
	char bytes[LOG_BUFFER_BYTES];
};

struct log_line {
	uint64_t start_unix_ns;
	uint32_t worker;
	int status; /* 0: nothing was sent */
	struct str method, path, query, route, bucket;
	uint64_t wait_ns, service_ns;
	uint64_t need_bytes, bucket_bytes, wanted_bytes, stack_bytes;
	uint64_t body_in_bytes, body_out_bytes;
	uint32_t foreign_frees;
	int32_t system_blocks;
	bool again;         /* it is tried once more in a larger bucket: not its end */
	const char *cause;  /* NULL: none */
	const char *detail; /* of the cause, or NULL */
};

void log_init(struct log *log);
void log_request(struct log *log, const struct log_line *line);
/* Writes what it can to fd, and never waits: of what is no regular file, not more
 * than it has room for. */
void log_flush(struct log *log, int fd);

#endif
