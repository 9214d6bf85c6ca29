/* SPDX-License-Identifier: MIT */
/*
 * How blocks lie in an arena, for arena*.c alone. A block is a header of 8 bytes and its
 * payload; its size is counted in units of 16 bytes and takes the header in, so headers lie at
 * 8 mod 16 and the 8 bytes before the first one are never used. A block is named by its id, the
 * offset of its payload in units: never 0. The header also holds the size of the block before
 * it, so both neighbours are found without a footer, and a block of 16 bytes has room for all
 * it needs when it is free.
 */
#ifndef PAIL_BASE_ARENA_BLOCK_H
#define PAIL_BASE_ARENA_BLOCK_H

#include "base/arena.h"

#include <assert.h>

enum {
	UNIT = 16,
	HEADER = 8,
	SMALL_UNITS = 64, /* bins are exact up to here, and small blocks carve */
};

enum block_state {
	USED,
	CACHED, /* in a list, not merged */
	FREE,   /* in a bin, merged with its neighbours */
	INNER,  /* no block: stands before a payload that a large alignment moved up */
};

struct header {
	uint32_t tag;          /* units << 2 | state; of INNER, the units back to the block */
	uint32_t before_units; /* size of the block before, 0 for the first; of INNER, its
				* alignment */
};
struct links {
	uint32_t next, before; /* ids; 0: none */
};
static_assert(sizeof(struct header) == HEADER && sizeof(struct links) == 8, "fit a unit");
/* Sizes, also of what was merged, and ids never leave their fields. */
static_assert(ARENA_REUSE_BYTES_MAX / UNIT <= (size_t)1 << 30, "30 bits of units");
static_assert(ARENA_BUMP_BYTES_MAX / UNIT < (size_t)1 << 32, "32 bits of id");

static inline enum block_state state_of(const struct header *header)
{
	return header->tag & 3;
}

static inline uint32_t units_of(const struct header *header)
{
	return header->tag >> 2;
}

static inline uint32_t tag(uint32_t units, enum block_state state)
{
	return units << 2 | state;
}

static inline struct header *header_of(const struct arena *arena, uint32_t id)
{
	return (struct header *)(void *)(arena->base + (size_t)id * UNIT - HEADER);
}

static inline struct links *links_of(const struct arena *arena, uint32_t id)
{
	return (struct links *)(void *)(arena->base + (size_t)id * UNIT);
}

/* One past the last id: that of a block which would start at top. */
static inline uint32_t end_id(const struct arena *arena)
{
	return (uint32_t)((arena->top_bytes + HEADER) / UNIT);
}

static inline bool id_is_inside(const struct arena *arena, uint32_t id)
{
	return id != 0 && id < end_id(arena);
}

static inline uint32_t bin_of(uint32_t units)
{
	if (units <= SMALL_UNITS)
		return units - 1;
	uint32_t log2 = 31 - (uint32_t)__builtin_clz(units);
	uint32_t eighth = (units >> (log2 - 3)) & 7;
	return SMALL_UNITS + (log2 - 6) * 8 + eighth;
}

/* Whether a header says something possible about the block it stands before. */
static inline bool header_is_sound(const struct arena *arena, uint32_t id,
				   const struct header *header)
{
	return units_of(header) != 0 && units_of(header) <= end_id(arena) - id &&
	       header->before_units < id;
}

#endif
