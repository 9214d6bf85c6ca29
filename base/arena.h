/* SPDX-License-Identifier: MIT */
/*
 * The bucket's allocator: the only one, used by the server for real requests
 * and by the replay of recorded ones, so that a request's *need* is exact by
 * construction.
 *
 * An arena is a fixed piece of memory [base, base + size) that the caller
 * owns. Blocks are carved off at `top`, which only a fitting request moves.
 * Under ARENA_REUSE freed blocks are used again. Merging waits: blocks of at most
 * 4 KiB are first cached as they are, one list per size, since most are asked
 * for again in the same size. When an allocation would raise the peak and a
 * sixteenth of it lies cached, all of that is merged with its neighbours into
 * bins, exact by 16 bytes up to 1 KiB and eight to a power of two above (Wilson
 * et al., "Dynamic Storage Allocation: A Survey and Critical Review", 1995, 3.7
 * and 3.11; Masmano et al., "TLSF", 2004); what a small block leaves of a hole
 * is carved on for the next ones. A free block that touches `top` lowers it.
 * Under ARENA_BUMP, Nea's policy, free does nothing and realloc only grows or
 * shrinks in place at `top`.
 *
 * Invariants
 * - Where a block lies is a function of the sequence of calls alone, as an
 *   offset from base: never of the address, nor of `size` as long as calls
 *   succeed. So peak_bytes of a replay in a huge arena is the smallest size
 *   in which the same calls all succeed (tests/base/test_arena.c).
 * - base is aligned to ARENA_ALIGN_BASE. Alignments up to that are met
 *   exactly; a larger one is charged size + align, wherever base lies.
 * - Every block is aligned to 16 and costs an 8-byte header.
 * - arena_clear() takes the same time whatever the size.
 * - Nothing is written outside [base, base + top) and the struct itself: what
 *   is read from the blocks is checked before it is followed, since whoever
 *   uses them may overwrite it. Frees that cannot be (twice, of no block, in a
 *   heap that was overwritten) are counted in `faults` and ignored; once the
 *   lists themselves are seen to be damaged, nothing is reused until the clear.
 *
 * An arena uses at most ARENA_REUSE_BYTES_MAX or ARENA_BUMP_BYTES_MAX of its size.
 *
 * Not thread-safe: an arena belongs to one request at a time. The arena never
 * prints, never aborts on its caller's exhaustion, and returns NULL when it is
 * full; what a full arena means (a jump, a 500) is the server's to say.
 */
#ifndef PAIL_BASE_ARENA_H
#define PAIL_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ARENA_ALIGN = 16,
	ARENA_ALIGN_BASE = 4096,
	ARENA_LISTS = 256,        /* of cached blocks: 16, 32, ... 4096 bytes */
	ARENA_BINS = 64 + 24 * 8, /* of merged ones */
};
#define ARENA_REUSE_BYTES_MAX ((size_t)1 << 34)
#define ARENA_BUMP_BYTES_MAX  ((size_t)1 << 35)

enum arena_policy { ARENA_BUMP, ARENA_REUSE };

struct arena {
	unsigned char *base;
	size_t size_bytes;
	size_t top_bytes;    /* first byte not in use by any block, from base */
	size_t peak_bytes;   /* highest top since the last clear: the need so far */
	size_t wanted_bytes; /* the top that the last refused call would have needed */
	enum arena_policy policy;
	uint32_t faults;    /* impossible frees and damage seen since the last clear */
	size_t limit_bytes; /* that much of size may be used */
	/* All below is arena.c's. Lists and bins hold the id of their first block, or 0. */
	bool damaged;
	bool hollow;                 /* payloads are never read nor written: for replays */
	uint32_t last_units;         /* size of the block below top */
	uint32_t carve, carve_units; /* the hole that small blocks are cut from */
	uint32_t cached_units;       /* in all lists */
	uint32_t bin_words;          /* bit i: bin_map[i] is not 0 */
	uint64_t list_map[ARENA_LISTS / 64]; /* which lists held a block since the last flush */
	uint64_t bin_map[ARENA_BINS / 64];   /* which bins hold one */
	uint32_t list[ARENA_LISTS];
	uint32_t bin[ARENA_BINS];
};

void arena_init(struct arena *arena, void *base, size_t size_bytes, enum arena_policy policy);
/* Ready for the next request: forgets every block and the peak. */
void arena_clear(struct arena *arena);

/* At least size bytes aligned to `align` (a power of two; 0 means ARENA_ALIGN).
 * A size of 0 gives a distinct block. NULL if it does not fit; nothing changed
 * then but wanted_bytes. */
void *arena_alloc(struct arena *arena, size_t size, size_t align);
/* realloc(3) within one arena: p may be NULL; NULL leaves p as it was. A size
 * of 0 gives a smallest block, not a free. */
void *arena_realloc(struct arena *arena, void *p, size_t size);
/* The same for a block that was aligned to `align`, at most ARENA_ALIGN_BASE: where it
 * has to move it is again. (realloc(3) promises ARENA_ALIGN alone.) */
void *arena_realloc_aligned(struct arena *arena, void *p, size_t size, size_t align);
/* p came from this arena since its last clear, or is NULL. */
void arena_free(struct arena *arena, void *p);
/* Bytes that may be used at p; 0 if p is no block. */
size_t arena_usable_bytes(const struct arena *arena, const void *p);

static inline bool arena_owns(const struct arena *arena, const void *p)
{
	return (size_t)((const unsigned char *)p - arena->base) < arena->size_bytes;
}

/* Walks every block and list and asserts the invariants. O(blocks). */
void arena_check(const struct arena *arena);

const char *arena_policy_name(enum arena_policy policy);             /* "bump", "reuse" */
int arena_policy_parse(const char *text, enum arena_policy *policy); /* -1 if neither */

#endif
