/* SPDX-License-Identifier: MIT */
/*
 * One request as a line of text: pail's JSON, or what web servers have written
 * since NCSA's, the common log format, and the combined one, which has Referer
 * and User-Agent behind it:
 *
 *	127.0.0.1 - - [22/Nov/2026:06:51:04 +0000] "GET /a?b HTTP/1.1" 200 12
 *
 * No printf, whose cost is that of the request; nothing allocates. What clients
 * send can't end a line or a quoted text: a quote and a backslash get a backslash,
 * every byte that is no printable ASCII is \u00HH in JSON and \xHH in the others.
 */
#ifndef PAIL_SERVER_LOG_LINE_H
#define PAIL_SERVER_LOG_LINE_H

#include "base/limits.h"
#include "base/str.h"

#include <sys/socket.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LOG_TEXT_MAX = 256,      /* of each text, the rest is cut */
	LOG_LINE_MAX = 14 << 10, /* 8 texts, six bytes for each of theirs, and numbers */
	LOG_DROPPED_MAX = 64,
};

/* A client's: IPv4 as ::ffff:0:0/96; all 0 for a unix socket's. */
struct log_address {
	uint8_t bytes[16];
};

struct log_address log_address(const struct sockaddr *from);

struct log_line {
	uint64_t start_unix_ns; /* of its service, or of the answer without one */
	uint32_t worker;
	int status;    /* 0: nothing was sent */
	uint8_t minor; /* HTTP/1.minor */
	struct str method, path, query, route, bucket;
	struct str referer, agent, forwarded; /* fields of those names, or empty */
	struct log_address client;
	uint64_t wait_ns, service_ns;
	uint64_t need_bytes, bucket_bytes, wanted_bytes, stack_bytes;
	uint64_t body_in_bytes, body_out_bytes;
	uint32_t foreign_frees;
	int32_t system_blocks;
	bool again;         /* it is tried once more in a larger bucket: not its end */
	const char *cause;  /* NULL: none */
	const char *detail; /* of the cause, or NULL */
	const char *site;   /* in which code, "libx.so+0x12a4", or NULL */
};

/* The line's length, LOG_LINE_MAX at most. */
size_t log_line_json(char *out, const struct log_line *line);
size_t log_line_common(char *out, const struct log_line *line, bool combined);
/* {"dropped_lines":N}, LOG_DROPPED_MAX at most. */
size_t log_line_dropped(char *out, uint64_t count);

#endif
