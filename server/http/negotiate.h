/* SPDX-License-Identifier: MIT */
/*
 * What a request asks of a representation, read from header values: codings
 * (RFC 9110, 12.5.3), validators (13) and ranges (14). Pure functions of text;
 * what is not valid is taken as if it had not been sent, as the RFC wants it.
 */
#ifndef PAIL_SERVER_NEGOTIATE_H
#define PAIL_SERVER_NEGOTIATE_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* In the order of preference among equals. */
enum coding { CODING_BR, CODING_ZSTD, CODING_GZIP, CODING_IDENTITY, CODINGS };

/* How much the client wants each, 0 (not at all) to 1000. */
struct accept_encoding {
	int q[CODINGS];
	int q_any; /* of "*", or -1 */
	bool named[CODINGS];
	bool present; /* any field line at all */
};
void accept_encoding_init(struct accept_encoding *accept);
/* One field line; several are one list. */
void accept_encoding_read(struct accept_encoding *accept, struct str value);
/* After the last line. A coding that is not named is not wanted, but identity
 * always is (least of all) unless it is excluded. */
int accept_encoding_q(const struct accept_encoding *accept, enum coding coding);

/* Is `etag` ("\"x\"" or "W/\"x\"") in a list of If-Match or If-None-Match, or
 * is the list "*"? Strong comparison for the first, weak for the second. */
bool etag_listed(struct str list, struct str etag, bool strong);

enum range_result {
	RANGE_WHOLE, /* none, not valid, not bytes, or several: send everything */
	RANGE_PART,  /* first and length hold: 206 */
	RANGE_NONE,  /* nothing of it is there: 416 */
};
enum range_result range_read(struct str value, uint64_t size, uint64_t *first,
			     uint64_t *length);

#endif
