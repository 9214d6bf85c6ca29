/* SPDX-License-Identifier: MIT */
/*
 * What the server tells the recorder of `pail serve --record`, through a pipe:
 * one message when a process begins to serve, one for each request at its end,
 * one when all of that process are told. Both ends are of one build and one
 * machine, so the layout is this struct's.
 *
 * A request's message is followed by four texts without a NUL (method, path,
 * query, cause; empty: none), and zeros up to a multiple of 8. No message is
 * longer than RECORD_MESSAGE_MAX, less than PIPE_BUF: a write of whole messages
 * up to PIPE_BUF gets into a pipe as one piece or not at all (pipe(7)), so those
 * of several threads never mix.
 */
#ifndef PAIL_BASE_RECORD_MESSAGE_H
#define PAIL_BASE_RECORD_MESSAGE_H

#include <assert.h>
#include <stdint.h>

enum { RECORD_MESSAGE_MAX = 3072, RECORD_TEXT_MAX = 1024, RECORD_WORD_MAX = 64 };
enum record_kind { RECORD_BEGIN = 1, RECORD_REQUEST, RECORD_END };

struct record_message {
	uint16_t bytes; /* of all of it */
	uint16_t kind;
	uint16_t status; /* 0: nothing was sent */
	uint16_t method_bytes, path_bytes, query_bytes, cause_bytes;
	uint16_t reserved;
	uint32_t generation; /* of the process, from 0: how many served before it */
	uint32_t pid;
	uint64_t arrival_unix_ns; /* when its head was complete; BEGIN, END: now */
	uint64_t wait_ns;         /* from there to the bucket, or the 503 */
	uint64_t service_ns;      /* how long it held the bucket */
	uint64_t need_bytes, wanted_bytes;
	uint64_t stack_bytes, bytes_in, bytes_out;
	uint64_t foreign_frees;
	int64_t blocks_left;
	uint64_t
		dropped; /* messages for which there was no room, since the last that says so */
};
static_assert(sizeof(struct record_message) % 8 == 0, "messages stay aligned");
static_assert(sizeof(struct record_message) + 2 * RECORD_TEXT_MAX + 2 * RECORD_WORD_MAX + 8 <=
		      RECORD_MESSAGE_MAX,
	      "the longest message");

#endif
