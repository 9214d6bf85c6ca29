/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include "base/arena_block.h"

#include <assert.h>
#include <string.h>

enum {
	FIT_TRIES = 8,   /* blocks of a bin that are looked at */
	FLUSH_SHIFT = 4, /* a sixteenth of the peak may lie cached while the peak rises */
};

/* Empties those lists or bins of which a map says that they may hold a block. */
static void heads_forget(uint64_t map[4], uint32_t head[4][64])
{
	if ((map[0] | map[1] | map[2] | map[3]) == 0)
		return;
	for (int word = 0; word < 4; word++) {
		if (map[word] != 0)
			memset(head[word], 0, sizeof(head[word]));
		map[word] = 0;
	}
}
static_assert(ARENA_LISTS == 4 * 64 && ARENA_BINS == 4 * 64, "four words of map for each");

static void forget_free(struct arena *arena)
{
	arena->carve = arena->carve_units = arena->cached_units = arena->bin_words = 0;
	heads_forget(arena->list_map, (uint32_t(*)[64])arena->list);
	heads_forget(arena->bin_map, (uint32_t(*)[64])arena->bin);
}

void arena_init(struct arena *arena, void *base, size_t size_bytes, enum arena_policy policy)
{
	assert(((uintptr_t)base & (ARENA_ALIGN_BASE - 1)) == 0);
	*arena = (struct arena){.base = base, .size_bytes = size_bytes, .policy = policy};
	size_t most_bytes =
		policy == ARENA_REUSE ? ARENA_REUSE_BYTES_MAX : ARENA_BUMP_BYTES_MAX;
	arena->limit_bytes = size_bytes < most_bytes ? size_bytes : most_bytes;
	arena_clear(arena);
}

void arena_clear(struct arena *arena)
{
	arena->top_bytes = HEADER;
	arena->peak_bytes = 0;
	arena->wanted_bytes = 0;
	arena->faults = 0;
	arena->damaged = false;
	arena->last_units = 0;
	forget_free(arena);
}

/* The lists cannot be trusted any more: what is free stays unused, frees do
 * nothing, and new blocks come from top, until the clear. */
__attribute__((cold, noinline)) static void give_up(struct arena *arena)
{
	arena->faults++;
	arena->damaged = true;
	forget_free(arena);
}

/* -- bins ------------------------------------------------------------------ */

/* The first bin at or after `bin` that holds a block; ARENA_BINS if none does. */
static uint32_t bin_next(const struct arena *arena, uint32_t bin)
{
	if (bin >= ARENA_BINS)
		return ARENA_BINS;
	uint32_t word = bin / 64;
	uint64_t map = arena->bin_map[word] & (~UINT64_C(0) << (bin % 64));
	if (map == 0) {
		uint32_t words = arena->bin_words & (UINT32_MAX << word << 1);
		if (words == 0)
			return ARENA_BINS;
		word = (uint32_t)__builtin_ctz(words);
		map = arena->bin_map[word];
	}
	return word * 64 + (uint32_t)__builtin_ctzll(map);
}

/* Marks a block as free and puts it first in its bin. Its header is whole. */
static void bin_push(struct arena *arena, uint32_t id, struct header *header)
{
	uint32_t bin = bin_of(units_of(header)), next = arena->bin[bin];
	if (next != 0) {
		if (!id_is_inside(arena, next)) {
			give_up(arena);
			return;
		}
		links_of(arena, next)->before = id;
	}
	header->tag = tag(units_of(header), FREE);
	*links_of(arena, id) = (struct links){.next = next};
	arena->bin[bin] = id;
	arena->bin_map[bin / 64] |= UINT64_C(1) << (bin % 64);
	arena->bin_words |= 1u << (bin / 64);
}

/* Takes a free block out of its bin. False if its links are damaged. */
static bool bin_remove(struct arena *arena, uint32_t id, const struct header *header)
{
	uint32_t bin = bin_of(units_of(header));
	struct links links = *links_of(arena, id);
	if (links.next != 0 &&
	    (!id_is_inside(arena, links.next) || links_of(arena, links.next)->before != id))
		return false;
	if (links.before != 0) {
		if (!id_is_inside(arena, links.before) ||
		    links_of(arena, links.before)->next != id)
			return false;
		links_of(arena, links.before)->next = links.next;
	} else {
		if (arena->bin[bin] != id)
			return false;
		arena->bin[bin] = links.next;
		if (links.next == 0) {
			arena->bin_map[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
			if (arena->bin_map[bin / 64] == 0)
				arena->bin_words &= ~(1u << (bin / 64));
		}
	}
	if (links.next != 0)
		links_of(arena, links.next)->before = links.before;
	return true;
}

/* -- blocks ---------------------------------------------------------------- */

/* Tells the block behind how large the one before it is now. */
static void tell_next(struct arena *arena, uint32_t id, uint32_t units)
{
	if (id + units == end_id(arena))
		arena->last_units = units;
	else
		header_of(arena, id + units)->before_units = units;
}

static void move_top(struct arena *arena, uint32_t id)
{
	arena->top_bytes = (size_t)id * UNIT - HEADER;
	if (arena->top_bytes > arena->peak_bytes)
		arena->peak_bytes = arena->top_bytes;
}

/* Whether `units` more fit behind top; notes what was wanted if they do not. */
static bool top_has(struct arena *arena, size_t units)
{
	size_t wanted_bytes = arena->top_bytes + units * UNIT;
	if (wanted_bytes <= arena->limit_bytes)
		return true;
	arena->wanted_bytes = wanted_bytes;
	return false;
}

/* A new used block at top, which has room for it. */
static uint32_t top_take(struct arena *arena, uint32_t units)
{
	uint32_t id = end_id(arena);
	move_top(arena, id + units);
	*header_of(arena, id) =
		(struct header){.tag = tag(units, USED), .before_units = arena->last_units};
	arena->last_units = units;
	return id;
}

/* Frees a used block for good: merged with its neighbours, into a bin or top.
 * The header is sound. */
static void block_merge(struct arena *arena, uint32_t id, struct header *header)
{
	uint32_t units = units_of(header), next = id + units;
	if (next < end_id(arena)) {
		struct header *after = header_of(arena, next);
		if (after->before_units != units || !header_is_sound(arena, next, after)) {
			give_up(arena);
			return;
		}
		if (state_of(after) == FREE) {
			if (!bin_remove(arena, next, after)) {
				give_up(arena);
				return;
			}
			units += units_of(after);
		}
	}
	if (header->before_units != 0) {
		uint32_t before_id = id - header->before_units;
		struct header *before = header_of(arena, before_id);
		if (units_of(before) != header->before_units ||
		    !header_is_sound(arena, before_id, before)) {
			give_up(arena);
			return;
		}
		if (state_of(before) == FREE) {
			if (!bin_remove(arena, before_id, before)) {
				give_up(arena);
				return;
			}
			/* the old header is inside a free block now: no block any more */
			header->tag = tag(units_of(header), FREE);
			units += units_of(before);
			id = before_id;
			header = before;
		}
	}
	if (id + units == end_id(arena)) {
		header->tag = tag(units_of(header), FREE);
		arena->last_units = header->before_units;
		move_top(arena, id);
		return;
	}
	header->tag = tag(units, USED);
	tell_next(arena, id, units);
	bin_push(arena, id, header);
}

/* -- cached blocks ---------------------------------------------------------- */

/* The first block of a list that is not empty, used now; 0 if it is damaged. */
static inline uint32_t cached_take(struct arena *arena, uint32_t list)
{
	uint32_t units = list + 1, id = arena->list[list];
	if ((uint64_t)id + units > end_id(arena) ||
	    header_of(arena, id)->tag != tag(units, CACHED)) {
		give_up(arena);
		return 0;
	}
	arena->list[list] = links_of(arena, id)->next;
	arena->cached_units -= units;
	header_of(arena, id)->tag = tag(units, USED);
	return id;
}

static inline void cached_put(struct arena *arena, uint32_t id, uint32_t units)
{
	uint32_t list = units - 1;
	links_of(arena, id)->next = arena->list[list];
	header_of(arena, id)->tag = tag(units, CACHED);
	arena->list[list] = id;
	arena->list_map[list / 64] |= UINT64_C(1) << (list % 64);
	arena->cached_units += units;
}

/* Gives up the hole that is carved: what is left of it is a free block again. */
static void carve_end(struct arena *arena)
{
	uint32_t id = arena->carve, units = arena->carve_units;
	if (id == 0)
		return;
	arena->carve = arena->carve_units = 0;
	if (units > end_id(arena) - id || header_of(arena, id)->tag != tag(units, USED) ||
	    !header_is_sound(arena, id, header_of(arena, id)))
		give_up(arena);
	else
		block_merge(arena, id, header_of(arena, id));
}

/* False if it is damaged. */
static bool flush_list(struct arena *arena, uint32_t list)
{
	while (arena->list[list] != 0) {
		uint32_t id = cached_take(arena, list);
		if (id == 0)
			return false;
		struct header *header = header_of(arena, id);
		if (!header_is_sound(arena, id, header)) {
			give_up(arena);
			return false;
		}
		block_merge(arena, id, header);
	}
	return true;
}

/* Merges all that is cached. Each block is merged at most once for each time
 * that it was freed, so this costs no more than the frees did. */
static void flush_cached(struct arena *arena)
{
	carve_end(arena);
	for (uint32_t word = 0; word < ARENA_LISTS / 64; word++) {
		for (; arena->list_map[word] != 0;
		     arena->list_map[word] &= arena->list_map[word] - 1) {
			uint32_t bit = (uint32_t)__builtin_ctzll(arena->list_map[word]);
			if (!flush_list(arena, word * 64 + bit))
				return;
		}
	}
}

/* Whether to merge before top moves up by `units`: up to the peak, top is free
 * of charge, and merging a little again and again is not worth its time. */
static bool flush_first(const struct arena *arena, size_t units)
{
	size_t idle_units = (size_t)arena->cached_units + arena->carve_units;
	return idle_units != 0 && arena->top_bytes + units * UNIT > arena->peak_bytes &&
	       idle_units * UNIT >= arena->peak_bytes >> FLUSH_SHIFT;
}

/* -- taking blocks ----------------------------------------------------------- */

/* Cuts a used block to `units`; the rest becomes free. There is a used block
 * behind it, not top. */
static void block_split(struct arena *arena, uint32_t id, uint32_t units)
{
	struct header *header = header_of(arena, id);
	uint32_t rest = units_of(header) - units;
	if (rest == 0)
		return;
	header->tag = tag(units, USED);
	struct header *tail = header_of(arena, id + units);
	*tail = (struct header){.tag = tag(rest, FREE), .before_units = units};
	tell_next(arena, id + units, rest);
	bin_push(arena, id + units, tail);
}

/* Cuts a used block to `units` and merges the rest with what is behind it. */
static void block_cut(struct arena *arena, uint32_t id, struct header *header, uint32_t units)
{
	uint32_t rest = units_of(header) - units;
	if (rest == 0)
		return;
	header->tag = tag(units, USED);
	struct header *tail = header_of(arena, id + units);
	*tail = (struct header){.tag = tag(rest, USED), .before_units = units};
	tell_next(arena, id + units, rest);
	block_merge(arena, id + units, tail);
}

/* A used block off the end of the carved hole, which has room for it: at the
 * end, so that the header behind it, which must learn of it, is the last one
 * that was written. */
static uint32_t carve_take(struct arena *arena, uint32_t units)
{
	uint32_t id = arena->carve;
	if (arena->carve_units > end_id(arena) - id) {
		give_up(arena);
		return 0;
	}
	uint32_t rest = arena->carve_units - units;
	if (rest == 0) {
		arena->carve = arena->carve_units = 0;
		return id;
	}
	arena->carve_units = rest;
	header_of(arena, id)->tag = tag(rest, USED);
	*header_of(arena, id + rest) =
		(struct header){.tag = tag(units, USED), .before_units = rest};
	tell_next(arena, id + rest, units);
	return id + rest;
}

/* The best of the first few that fit in a bin; 0 if none of them does. */
static uint32_t bin_best(struct arena *arena, uint32_t bin, uint32_t units)
{
	uint32_t best = 0, best_units = UINT32_MAX;
	uint32_t id = arena->bin[bin];
	for (int tries = 0; id != 0 && tries < FIT_TRIES; tries++) {
		if (!id_is_inside(arena, id) || state_of(header_of(arena, id)) != FREE ||
		    !header_is_sound(arena, id, header_of(arena, id))) {
			give_up(arena);
			return 0;
		}
		uint32_t has = units_of(header_of(arena, id));
		if (has >= units && has < best_units) {
			best = id;
			best_units = has;
			if (has == units)
				break;
		}
		id = links_of(arena, id)->next;
	}
	return best;
}

/* A used block of at least `units` from the bins, not yet cut; 0 if none. */
static uint32_t bin_take(struct arena *arena, uint32_t units)
{
	uint32_t own = bin_of(units), id = 0;
	for (uint32_t bin = bin_next(arena, own); bin < ARENA_BINS && id == 0;
	     bin = bin_next(arena, bin + 1))
		id = bin_best(arena, bin, units);
	if (id == 0)
		return 0;
	struct header *header = header_of(arena, id);
	if (!bin_remove(arena, id, header)) {
		give_up(arena);
		return 0;
	}
	header->tag = tag(units_of(header), USED);
	return id;
}

/* -- allocation ------------------------------------------------------------ */

/* The units of a block for size bytes; 0 if no arena could hold it. */
static uint32_t units_for(struct arena *arena, size_t size)
{
	if (size > ARENA_REUSE_BYTES_MAX - 2 * UNIT) {
		if (__builtin_add_overflow(arena->top_bytes, size, &arena->wanted_bytes))
			arena->wanted_bytes = SIZE_MAX;
		return 0;
	}
	size_t units = (size + HEADER + UNIT - 1) / UNIT;
	return (uint32_t)(units ? units : 1);
}

/* From a bin: a small block leaves the hole to be carved on. */
static uint32_t block_take_bin(struct arena *arena, uint32_t units)
{
	uint32_t id = bin_take(arena, units);
	if (id == 0)
		return 0;
	if (units > SMALL_UNITS || units_of(header_of(arena, id)) == units) {
		block_split(arena, id, units);
		return id;
	}
	carve_end(arena);
	arena->carve = id;
	arena->carve_units = units_of(header_of(arena, id));
	return carve_take(arena, units);
}

/* The slower ways, for when nothing of that size is cached. */
__attribute__((noinline)) static uint32_t block_take_merged(struct arena *arena, uint32_t units)
{
	for (;;) {
		uint32_t id = arena->bin_words ? block_take_bin(arena, units) : 0;
		if (id == 0 && units <= arena->carve_units)
			id = carve_take(arena, units);
		if (id)
			return id;
		if (!flush_first(arena, units))
			break;
		flush_cached(arena);
	}
	return top_has(arena, units) ? top_take(arena, units) : 0;
}

/* A used block of exactly `units`; 0 if there is no room. */
__attribute__((noinline)) static uint32_t block_take(struct arena *arena, uint32_t units)
{
	uint32_t id = 0;
	if (units <= ARENA_LISTS && arena->list[units - 1] != 0)
		id = cached_take(arena, units - 1);
	else if (units <= SMALL_UNITS && units <= arena->carve_units)
		id = carve_take(arena, units);
	return id ? id : block_take_merged(arena, units);
}

/* The least id >= id whose payload is aligned; align is at most the base's. */
static uint32_t align_id(uint32_t id, size_t align)
{
	uint32_t align_units = (uint32_t)(align / UNIT);
	return (id + align_units - 1) & ~(align_units - 1);
}

/* A used block at an aligned id, for alignments that base has as well. What is
 * left before it becomes a free block. */
static uint32_t block_take_aligned(struct arena *arena, uint32_t units, size_t align)
{
	uint32_t spare = (uint32_t)(align / UNIT) - 1;
	for (;;) {
		uint32_t id = bin_take(arena, units + spare);
		size_t at_end = align_id(end_id(arena), align) - end_id(arena) + (size_t)units;
		if (id == 0 && flush_first(arena, at_end)) {
			flush_cached(arena);
			continue;
		}
		uint32_t at_top = id ? 0 : align_id(end_id(arena), align) - end_id(arena);
		if (id == 0) {
			if (!top_has(arena, (size_t)at_top + units))
				return 0;
			id = top_take(arena, at_top + units);
		}
		struct header *header = header_of(arena, id);
		uint32_t gap = align_id(id, align) - id;
		if (gap != 0) {
			struct header *aligned = header_of(arena, id + gap);
			*aligned = (struct header){.tag = tag(units_of(header) - gap, USED),
						   .before_units = gap};
			tell_next(arena, id + gap, units_of(aligned));
			header->tag = tag(gap, USED);
			if (arena->policy == ARENA_REUSE)
				block_merge(arena, id, header);
			id += gap;
			header = aligned;
		}
		block_cut(arena, id, header, units);
		return id;
	}
}

/* Past the base's alignment the address decides where p lies in its block, so
 * the block has room for the worst case, and the header before p leads back. */
static void *alloc_far_aligned(struct arena *arena, size_t size, size_t align)
{
	if (size > SIZE_MAX - align || align > ARENA_REUSE_BYTES_MAX) {
		arena->wanted_bytes = SIZE_MAX;
		return NULL;
	}
	uint32_t units = units_for(arena, size + align);
	uint32_t id = units ? block_take(arena, units) : 0;
	if (id == 0)
		return NULL;
	uintptr_t payload = (uintptr_t)links_of(arena, id);
	uintptr_t p = (payload + UNIT + align - 1) & ~(align - 1);
	struct header *inner = (struct header *)(p - HEADER);
	*inner = (struct header){.tag = tag((uint32_t)((p - payload) / UNIT), INNER),
				 .before_units = (uint32_t)(align / UNIT)};
	return (void *)p;
}

__attribute__((noinline)) static void *alloc_rest(struct arena *arena, size_t size,
						  size_t align)
{
	assert((align & (align - 1)) == 0);
	if (align > ARENA_ALIGN_BASE)
		return alloc_far_aligned(arena, size, align);
	uint32_t units = units_for(arena, size);
	if (units == 0)
		return NULL;
	uint32_t id = align <= ARENA_ALIGN ? block_take(arena, units)
					   : block_take_aligned(arena, units, align);
	return id ? links_of(arena, id) : NULL;
}

/* The two ways that nearly all calls go, without a call of their own: a cached
 * block of that size, or top while there is nothing to fill up. They do what
 * block_take() would. */
void *arena_alloc(struct arena *arena, size_t size, size_t align)
{
	uint32_t units = (uint32_t)((size + HEADER + UNIT - 1) / UNIT);
	if (align > ARENA_ALIGN || size > ARENA_LISTS * UNIT - HEADER || arena->damaged)
		return alloc_rest(arena, size, align);
	if (arena->list[units - 1] != 0) {
		uint32_t id = cached_take(arena, units - 1);
		return id ? links_of(arena, id) : alloc_rest(arena, size, align);
	}
	size_t top_bytes = arena->top_bytes, new_top_bytes = top_bytes + (size_t)units * UNIT;
	bool raises = new_top_bytes > arena->peak_bytes;
	if ((arena->bin_words | arena->carve_units) != 0 ||
	    new_top_bytes > arena->limit_bytes ||
	    (raises && (size_t)arena->cached_units * UNIT >= arena->peak_bytes >> FLUSH_SHIFT &&
	     arena->cached_units != 0))
		return alloc_rest(arena, size, align);
	struct header *header = (struct header *)(void *)(arena->base + top_bytes);
	*header = (struct header){.tag = tag(units, USED), .before_units = arena->last_units};
	arena->last_units = units;
	arena->top_bytes = new_top_bytes;
	if (raises)
		arena->peak_bytes = new_top_bytes;
	return header + 1;
}

/* -- blocks by their payload ----------------------------------------------- */

/* The block of a payload, and the bytes at p that its owner may use. */
struct found {
	uint32_t id;
	struct header *header;
	size_t usable_bytes;
	bool moved; /* by a large alignment */
};

/* False if p is no payload of a used block, as far as its header tells. */
static inline bool find(const struct arena *arena, const void *p, struct found *found)
{
	size_t offset = (size_t)((const unsigned char *)p - arena->base);
	if (offset % UNIT != 0 || offset >= arena->top_bytes || offset == 0)
		return false;
	uint32_t id = (uint32_t)(offset / UNIT);
	struct header *header = header_of(arena, id);
	uint32_t reserved = 0;
	if (state_of(header) == INNER) {
		reserved = header->before_units;
		if (units_of(header) >= id || units_of(header) > reserved)
			return false;
		id -= units_of(header);
		header = header_of(arena, id);
	}
	if (state_of(header) != USED || !header_is_sound(arena, id, header) ||
	    units_of(header) <= reserved)
		return false;
	*found = (struct found){.id = id,
				.header = header,
				.usable_bytes =
					(size_t)(units_of(header) - reserved) * UNIT - HEADER,
				.moved = reserved != 0};
	return true;
}

/* A block that is large, at top, moved by its alignment, or none at all. */
__attribute__((noinline)) static void free_rest(struct arena *arena, void *p)
{
	struct found found;
	if (!find(arena, p, &found) || found.id == arena->carve) {
		arena->faults++;
		return;
	}
	uint32_t units = units_of(found.header);
	if (units <= ARENA_LISTS && found.id + units != end_id(arena))
		cached_put(arena, found.id, units);
	else
		block_merge(arena, found.id, found.header);
}

void arena_free(struct arena *arena, void *p)
{
	if (!p || arena->policy == ARENA_BUMP || arena->damaged)
		return;
	size_t offset = (size_t)((unsigned char *)p - arena->base);
	uint32_t id = (uint32_t)(offset / UNIT), end = end_id(arena);
	if (offset % UNIT == 0 && offset < arena->top_bytes && id != 0 && id != arena->carve) {
		const struct header *header = header_of(arena, id);
		uint32_t units = units_of(header);
		if (state_of(header) == USED && units - 1 < ARENA_LISTS && units < end - id) {
			cached_put(arena, id, units);
			return;
		}
		/* the last block of all, with a used or cached one before it */
		if (header->tag == tag(end - id, USED) && header->before_units < id &&
		    state_of(header_of(arena, id - header->before_units)) != FREE) {
			arena->last_units = header->before_units;
			arena->top_bytes = offset - HEADER;
			return;
		}
	}
	free_rest(arena, p);
}

size_t arena_usable_bytes(const struct arena *arena, const void *p)
{
	struct found found;
	return p && find(arena, p, &found) ? found.usable_bytes : 0;
}

/* Makes a block `units` long where it lies. False if it cannot: the caller moves
 * it then, but never one at top. It could not be moved in a larger arena, where
 * it grows in place, so moving it here would be a layout that depends on size. */
static bool block_resize(struct arena *arena, uint32_t id, struct header *header,
			 uint32_t units)
{
	uint32_t next = id + units_of(header);
	bool at_top = next == end_id(arena);
	if (units <= units_of(header)) {
		if (arena->policy == ARENA_REUSE && !arena->damaged) {
			block_cut(arena, id, header, units);
		} else if (at_top) {
			header->tag = tag(units, USED);
			arena->last_units = units;
			move_top(arena, id + units);
		}
		return true;
	}
	uint32_t more = units - units_of(header);
	if (at_top) {
		if (!top_has(arena, more))
			return false;
		header->tag = tag(units, USED);
		arena->last_units = units;
		move_top(arena, id + units);
		return true;
	}
	if (arena->policy == ARENA_BUMP || arena->damaged)
		return false;
	struct header *after = header_of(arena, next);
	if (state_of(after) != FREE || after->before_units != units_of(header) ||
	    !header_is_sound(arena, next, after) || units_of(after) < more)
		return false;
	if (!bin_remove(arena, next, after)) {
		give_up(arena);
		return false;
	}
	header->tag = tag(units_of(header) + units_of(after), USED);
	tell_next(arena, id, units_of(header));
	block_cut(arena, id, header, units);
	return true;
}

void *arena_realloc_aligned(struct arena *arena, void *p, size_t size, size_t align)
{
	assert(align <= ARENA_ALIGN_BASE && (align & (align - 1)) == 0);
	if (!p)
		return arena_alloc(arena, size, align);
	struct found found;
	if (!find(arena, p, &found)) {
		arena->faults++;
		return NULL;
	}
	uint32_t units = units_for(arena, size);
	if (units == 0)
		return NULL;
	if (found.moved ? size <= found.usable_bytes
			: block_resize(arena, found.id, found.header, units))
		return p;
	if (!found.moved && found.id + units_of(found.header) == end_id(arena))
		return NULL;
	uint32_t id = align <= ARENA_ALIGN ? block_take(arena, units)
					   : block_take_aligned(arena, units, align);
	if (id == 0)
		return NULL;
	void *copy = links_of(arena, id);
	/* they overlap only in a heap that was overwritten */
	if (!arena->hollow)
		memmove(copy, p, found.usable_bytes < size ? found.usable_bytes : size);
	arena_free(arena, p);
	return copy;
}

void *arena_realloc(struct arena *arena, void *p, size_t size)
{
	return arena_realloc_aligned(arena, p, size, 0);
}
