/* SPDX-License-Identifier: MIT */
/*
 * What one request allocated, as a list of calls, and that list played again
 * through base/arena: the need of a recorded request, and the work of the
 * server's builtin:replay handler.
 *
 * Blocks are named by slots, small integers that a list hands out densely and
 * reuses after a free, so a player needs a table of `slots` pointers and
 * nothing else. Frees of blocks that the request did not allocate itself are
 * not in the list: they cannot change its arena.
 */
#ifndef PAIL_BASE_REPLAY_H
#define PAIL_BASE_REPLAY_H

#include "base/arena.h"

#include <assert.h>
#include <stdint.h>

enum replay_kind { REPLAY_ALLOC, REPLAY_FREE, REPLAY_REALLOC };

struct replay_op {
	uint32_t slot;
	uint8_t kind;       /* enum replay_kind */
	uint8_t align_log2; /* of REPLAY_ALLOC; 0 means the default */
	uint16_t unused;
	uint64_t size_bytes; /* asked for; 0 in REPLAY_FREE */
};
static_assert(sizeof(struct replay_op) == 16, "stored layout");

struct replay_need {
	uint64_t need_bytes;      /* arena_peak: the least bucket in which all succeeds */
	uint64_t requested_bytes; /* sum of sizes asked for; a realloc counts its growth */
	uint64_t live_peak_bytes; /* most bytes asked for and not freed at one time */
	uint64_t largest_bytes;
};

/* A block that the list holds, by slot; p is NULL while the slot is unused. */
struct replay_block {
	void *p;
	uint64_t bytes; /* asked for */
};

enum { REPLAY_ALIGN_LOG2_MAX = 12 }; /* ARENA_ALIGN_BASE */

/* Reserves address space (not memory) for replays of up to `span_bytes`. */
struct replay {
	struct arena arena;
	unsigned char *span;
	size_t span_bytes;
	struct replay_block *block;
	size_t blocks;
	uint8_t align_log2; /* what every block is aligned to at least; 0: as asked for */
};
int replay_init(struct replay *replay, size_t span_bytes); /* 0, or -1 with errno */
void replay_release(struct replay *replay);

/* Plays ops[0..count) from an empty arena. 0; -1 with errno ENOMEM if the span
 * is too small or a table could not grow, EINVAL if the list names a slot
 * wrongly (freed twice, allocated while live). */
int replay_run(struct replay *replay, const struct replay_op *ops, size_t count,
	       enum arena_policy policy, struct replay_need *need);

#endif
