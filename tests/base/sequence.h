/* SPDX-License-Identifier: MIT */
/*
 * Random allocation sequences for tests, fuzzing and benchmarks, as replay
 * lists: reproducible from (shape, seed), every slot used as replay.h asks.
 */
#ifndef PAIL_TESTS_BASE_SEQUENCE_H
#define PAIL_TESTS_BASE_SEQUENCE_H

#include "base/replay.h"

enum sequence_shape {
	SEQUENCE_SMALL,   /* an interpreter's churn: 1..200 bytes */
	SEQUENCE_MIXED,   /* sizes over five powers of ten */
	SEQUENCE_GROWING, /* buffers that double by realloc, among small blocks */
	SEQUENCE_ALIGNED, /* every alignment up to 64 KiB */
	SEQUENCE_STACK,   /* last in, first out */
	SEQUENCE_PHASES,  /* fill, free most, fill with other sizes */
	SEQUENCE_KEEPING, /* few frees: the arena's best case */
	SEQUENCE_SHAPES,
};

struct sequence {
	struct replay_op *ops;
	size_t count;
	uint32_t slots;
};

/* Dies on no memory: for tests. */
struct sequence sequence_make(enum sequence_shape shape, uint64_t seed, size_t count);
/* From bytes, for fuzzing: any bytes give a valid list. */
struct sequence sequence_of_bytes(const uint8_t *bytes, size_t length);
void sequence_free(struct sequence *sequence);

/* xorshift64*: enough for tests, the same everywhere. */
uint64_t sequence_random(uint64_t *state);

/*
 * Plays a list as the server would: real memory of exactly size_bytes, every
 * block written and verified, guard bytes around. Counts what goes wrong.
 */
struct playback {
	size_t done; /* calls that succeeded; == count if all did */
	size_t peak_bytes, wanted_bytes;
	uint64_t layout;       /* hash of all offsets, of top and of peak, after each call */
	size_t damaged_blocks; /* payloads that did not hold what was written */
	size_t damaged_guards; /* bytes outside the arena that changed */
	size_t misaligned;
	uint32_t faults;
};
enum playback_flags { PLAYBACK_CHECK = 1, PLAYBACK_MOVED = 2 };
struct playback sequence_play(const struct sequence *sequence, enum arena_policy policy,
			      size_t size_bytes, unsigned flags);

#endif
