/* SPDX-License-Identifier: MIT */
/*
 * What the parser makes of all bytes of one connection, written down as text:
 * every head with all that was found in it, every body's content, how it
 * ended. The same bytes must give the same text however they are cut into
 * reads; the tests and the fuzzer compare. Each read's bytes are handed over
 * in a block of exactly their size, so that AddressSanitizer sees a look past
 * the end.
 */
#ifndef PAIL_TESTS_SERVER_TRANSCRIPT_H
#define PAIL_TESTS_SERVER_TRANSCRIPT_H

#include "base/buf.h"
#include "server/http/parse.h"

struct transcript_limits {
	uint32_t head_bytes_max, fields_max; /* fields_max <= PARSE_FIELDS_MAX */
};

/* How the bytes are cut. */
enum { CUT_WHOLE = 0, CUT_BYTES = 1 }; /* any other number seeds random cuts */

void transcript_write(struct buf *out, const void *bytes, size_t length, uint64_t cut,
		      struct transcript_limits limits);

#endif
