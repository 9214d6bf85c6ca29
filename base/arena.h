/* SPDX-License-Identifier: MIT */
/*
 * The bucket's allocator: the only one, used by the server for real requests
 * and by the replay of recorded ones, so that a request's *need* is exact by
 * construction.
 *
 * An arena is a fixed piece of memory [base, base + size) that the caller
 * owns. Blocks are carved off at `top`, which only a fitting request moves;
 * under ARENA_REUSE freed blocks are kept for reuse (small sizes in
 * exact-fit lists, larger ones coalesced with their neighbours in
 * two-level segregated bins; a free block that touches `top` lowers it);
 * under ARENA_BUMP, Nea's policy, free does nothing and realloc only grows or
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
 * - Nothing is written outside [base, base + top) and the struct itself.
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

enum { ARENA_ALIGN = 16, ARENA_ALIGN_BASE = 4096, ARENA_SMALL_LISTS = 64, ARENA_BINS = 40 * 4 };

enum arena_policy { ARENA_BUMP, ARENA_REUSE };

struct arena {
	unsigned char *base;
	size_t size_bytes;
	size_t top_bytes;    /* first byte never in use, from base */
	size_t peak_bytes;   /* highest top since the last clear: the need so far */
	size_t wanted_bytes; /* the top that the last refused call would have needed */
	enum arena_policy policy;
	uint64_t small_map;                   /* bit i: small_list[i] is valid */
	uint64_t bin_map[(ARENA_BINS + 63) / 64];
	void *small_list[ARENA_SMALL_LISTS];
	void *bin[ARENA_BINS];
};

void arena_init(struct arena *arena, void *base, size_t size_bytes, enum arena_policy policy);
/* Ready for the next request: forgets every block and the peak. */
void arena_clear(struct arena *arena);

/* At least size bytes aligned to `align` (a power of two; 0 means ARENA_ALIGN).
 * A size of 0 gives a distinct block. NULL if it does not fit; nothing changed
 * then but wanted_bytes. */
void *arena_alloc(struct arena *arena, size_t size, size_t align);
/* realloc(3) within one arena: p may be NULL; NULL leaves p as it was. */
void *arena_realloc(struct arena *arena, void *p, size_t size);
/* p came from this arena since its last clear, or is NULL. */
void arena_free(struct arena *arena, void *p);
size_t arena_usable_bytes(const struct arena *arena, const void *p);

static inline bool arena_owns(const struct arena *arena, const void *p)
{
	return (size_t)((const unsigned char *)p - arena->base) < arena->size_bytes;
}

/* Walks every block and list and asserts the invariants. O(blocks). */
void arena_check(const struct arena *arena);

const char *arena_policy_name(enum arena_policy policy);		 /* "bump", "reuse" */
int arena_policy_parse(const char *text, enum arena_policy *policy); /* -1 if neither */

#endif
