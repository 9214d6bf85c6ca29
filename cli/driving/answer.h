/* SPDX-License-Identifier: MIT */
/*
 * Reads HTTP/1.1 responses as a client that measures: it finds where each one
 * begins and ends, keeps the status and throws the body away. A pure function
 * of the bytes, which may come in pieces of any size. Bodies are framed by
 * Content-Length, by chunks, or by the end of the connection; 1xx responses
 * are skipped. Lenient where it does not matter for a measurement, strict
 * about framing: what it cannot frame is an error, never a guess.
 */
#ifndef PAIL_CLI_ANSWER_H
#define PAIL_CLI_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ANSWER_HEAD_MAX = 16384 };

struct answer {
	enum answer_state {
		ANSWER_HEAD,
		ANSWER_LENGTH,     /* body_left bytes to go */
		ANSWER_CHUNK_SIZE, /* in a chunk's size line */
		ANSWER_CHUNK,      /* body_left bytes of a chunk and its CRLF to go */
		ANSWER_TRAILER,    /* in the lines behind the last chunk */
		ANSWER_UNTIL_CLOSE,
		ANSWER_DONE,
		ANSWER_BAD,
	} state;
	bool no_body;    /* the request was a HEAD */
	bool keep_alive; /* valid from the end of the head */
	bool chunk_digits, line_empty;
	int status;
	uint64_t body_left, bytes; /* bytes: of head and body, so far */
	size_t head_length;
	char head[ANSWER_HEAD_MAX];
};

/* Ready for the response to the next request. */
void answer_clear(struct answer *r, bool head_request);
/* Takes bytes up to the end of this response; gives how many it took. Look at
 * `state` afterwards. */
size_t answer_feed(struct answer *r, const char *bytes, size_t length);
/* The connection ended: true if that is a proper end of this response. */
bool answer_ended(struct answer *r);

#endif
