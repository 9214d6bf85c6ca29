/* SPDX-License-Identifier: MIT */
/*
 * A log of allocations on its way to a trace: blocks are named by any 64-bit
 * key (an address, a number in a file), and each request's part becomes a list
 * of replay operations with dense slots and the counts of its row.
 *
 * Blocks live across requests: what a request leaves is an escape of it, and
 * freeing it later a foreign free of another. Memory: the blocks alive, and the
 * operations of one request.
 */
#ifndef PAIL_CLI_TAPE_H
#define PAIL_CLI_TAPE_H

#include "libtrace/trace.h"

#include <stddef.h>
#include <stdint.h>

struct tape_block {
	uint64_t key, bytes;
	uint32_t slot, request; /* request 0: the place is empty */
};

struct tape {
	struct tape_block *block; /* open addressing, a power of two */
	size_t blocks, places;
	struct replay_op *op;
	size_t count, room;
	uint32_t *free_slot;
	size_t free_slots, free_room;
	uint32_t slots, request;
	int64_t allocations, frees, reallocations, foreign_frees;
	int64_t live, live_bytes; /* of this request */
};

void tape_init(struct tape *tape);
void tape_release(struct tape *tape);
/* The next request begins. */
void tape_begin(struct tape *tape);

/* Forgets every block alive: another process begins. */
void tape_forget(struct tape *tape);

/* Each: 0; -1 when memory runs out. */
enum tape_result { TAPE_DONE = 0, TAPE_NO_MEMORY = -1, TAPE_LIVE = 1, TAPE_UNKNOWN = 2 };
/* TAPE_LIVE, and nothing is done, if the key is taken. */
enum tape_result tape_alloc(struct tape *tape, uint64_t key, uint64_t bytes);
/* TAPE_UNKNOWN if no such block is alive: it counts as a foreign free. */
enum tape_result tape_free(struct tape *tape, uint64_t key);
/* A block of another request, or an unknown one, becomes a foreign free and an
 * allocation. TAPE_LIVE if `to` is another block's. */
enum tape_result tape_realloc(struct tape *tape, uint64_t from, uint64_t to, uint64_t bytes);

/* Puts the counts and the escapes into the row. */
void tape_fill(const struct tape *tape, struct trace_request *request);

#endif
