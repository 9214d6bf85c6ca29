/* SPDX-License-Identifier: MIT */
/*
 * The body of a kernel, included once by each of slots_portable.c,
 * slots_avx2.c and slots_avx512.c, which are compiled for their machines.
 * Before including it they define
 *	node_find(node, t)   index of the first of 16 keys that is <= t, or 16
 *	node_set(node, i, d) node[i] = d; returns the least key of the node
 *	struct coarse, coarse_load(), coarse_mask(), coarse_set()
 *	BINS_FEW             sizes up to which comparing with all beats a search
 *
 * Up to SLOTS_NARROW slots need no tree. Within a chunk of arrivals keys of 16
 * bits are enough to tell nearly always: departures cut to a 2^14th of the
 * chunk's span. The lowest slot whose cut departure is not after the cut arrival
 * is the answer if its exact key says so too; if not (one time in a hundred),
 * the next such slot is looked at. All 64 are compared at once.
 */
#include "simulator/slots.h"

#include <assert.h>

/* The first free slot, taken until d. `levels` is a constant in every caller,
 * so this unrolls. */
static inline uint32_t tree_take(struct slots *slots, uint32_t levels, int32_t t, int32_t d)
{
	uint32_t at = node_find(slots->level[0], t);
	if (at == SLOTS_FANOUT)
		return UINT32_MAX;
	for (uint32_t l = 1; l < levels; l++)
		at = at * SLOTS_FANOUT +
		     node_find(slots->level[l] + (size_t)at * SLOTS_FANOUT, t);
	uint32_t slot = at;
	int32_t least = d;
	for (uint32_t l = levels; l-- > 0;) {
		uint32_t node = at / SLOTS_FANOUT;
		least = node_set(slots->level[l] + (size_t)node * SLOTS_FANOUT,
				 at % SLOTS_FANOUT, least);
		at = node;
	}
	return slot;
}

static inline void tree_hunt(struct slots *const slots[], struct slots_chunk *const chunk[],
			     uint32_t lanes, uint32_t levels, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (uint32_t lane = 0; lane < lanes; lane++) {
			struct slots_chunk *c = chunk[lane];
			c->slot[i] =
				tree_take(slots[lane], levels, c->arrival[i], c->departure[i]);
		}
	}
}

static inline void tree_hunt_lanes(struct slots *const slots[],
				   struct slots_chunk *const chunk[], uint32_t lanes,
				   uint32_t levels, size_t n)
{
	if (lanes == SLOTS_LANES)
		tree_hunt(slots, chunk, SLOTS_LANES, levels, n);
	else
		tree_hunt(slots, chunk, 1, levels, n);
}

static void hunt_wide(struct slots *const slots[], struct slots_chunk *const chunk[],
		      uint32_t lanes, size_t n)
{
	switch (slots[0]->levels) {
	case 1: tree_hunt_lanes(slots, chunk, lanes, 1, n); break;
	case 2: tree_hunt_lanes(slots, chunk, lanes, 2, n); break;
	case 3: tree_hunt_lanes(slots, chunk, lanes, 3, n); break;
	case 4: tree_hunt_lanes(slots, chunk, lanes, 4, n); break;
	default: tree_hunt_lanes(slots, chunk, lanes, slots[0]->levels, n); break;
	}
}

struct cut {
	int16_t arrival[SLOTS_CHUNK], departure[SLOTS_CHUNK];
	int16_t key[SLOTS_NARROW];
};

static inline int16_t cut_time(int32_t time, int32_t base, unsigned shift)
{
	int32_t away = time > base ? (time - base) >> shift : 0;
	return (int16_t)(away < INT16_MAX ? away : INT16_MAX);
}

static void cut_make(struct cut *cut, const struct slots *slots,
		     const struct slots_chunk *chunk, size_t n)
{
	const int32_t *leaf = slots->level[slots->levels - 1];
	int32_t base = chunk->arrival[0];
	uint32_t span = (uint32_t)(chunk->arrival[n - 1] - base);
	unsigned shift = span >> 14 ? 18 - (unsigned)__builtin_clz(span) : 0;
	for (size_t i = 0; i < n; i++)
		cut->arrival[i] = cut_time(chunk->arrival[i], base, shift);
	for (size_t i = 0; i < n; i++)
		cut->departure[i] = cut_time(chunk->departure[i], base, shift);
	/* Behind the leaves lie keys that are never free. */
	for (size_t i = 0; i < SLOTS_NARROW; i++)
		cut->key[i] = cut_time(leaf[i], base, shift);
}

static inline void cut_take(struct coarse *coarse, int32_t *leaf, const struct cut *cut,
			    struct slots_chunk *chunk, size_t i)
{
	uint64_t mask = coarse_mask(coarse, cut->arrival[i]);
	uint32_t slot;
	for (;; mask &= mask - 1) {
		slot = mask ? (uint32_t)__builtin_ctzll(mask) : SLOTS_NARROW;
		/* leaf[SLOTS_NARROW] is nobody's, and there to be written. */
		if (slot == SLOTS_NARROW ||
		    __builtin_expect(leaf[slot] <= chunk->arrival[i], 1))
			break;
	}
	leaf[slot] = chunk->departure[i];
	coarse_set(coarse, slot, mask, cut->departure[i]);
	chunk->slot[i] = slot;
}

/* The upper levels of the tree are not kept: with at most SLOTS_NARROW slots
 * every chunk comes here, and slots_rebase() makes them when it must. */
static void hunt_narrow(struct slots *const slots[], struct slots_chunk *const chunk[],
			uint32_t lanes, size_t n)
{
	struct cut cut[SLOTS_LANES];
	struct coarse coarse[SLOTS_LANES];
	int32_t *leaf[SLOTS_LANES];
	for (uint32_t lane = 0; lane < lanes; lane++) {
		leaf[lane] = slots[lane]->level[slots[lane]->levels - 1];
		cut_make(&cut[lane], slots[lane], chunk[lane], n);
		coarse_load(&coarse[lane], cut[lane].key);
	}
	if (lanes == 1) {
		for (size_t i = 0; i < n; i++)
			cut_take(&coarse[0], leaf[0], &cut[0], chunk[0], i);
		return;
	}
	struct coarse a = coarse[0], b = coarse[1], c = coarse[2], d = coarse[3];
	for (size_t i = 0; i < n; i++) {
		cut_take(&a, leaf[0], &cut[0], chunk[0], i);
		cut_take(&b, leaf[1], &cut[1], chunk[1], i);
		cut_take(&c, leaf[2], &cut[2], chunk[2], i);
		cut_take(&d, leaf[3], &cut[3], chunk[3], i);
	}
}

static void hunt(struct slots *const slots[], struct slots_chunk *const chunk[], uint32_t lanes,
		 size_t n)
{
	if (slots[0]->count <= SLOTS_NARROW)
		hunt_narrow(slots, chunk, lanes, n);
	else
		hunt_wide(slots, chunk, lanes, n);
}

static int32_t prepare(struct slots_chunk *restrict chunk, const int64_t *restrict arrival_ns,
		       const int64_t *restrict service_ns, uint64_t base, size_t n)
{
	int32_t latest = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t t = (uint64_t)arrival_ns[i] - base;
		/* Both are below 2^63, so the sum of 64 bits is exact. */
		uint64_t d = t + (uint64_t)service_ns[i];
		int32_t key = d > SLOTS_REACH ? SLOTS_NEVER : (int32_t)d;
		chunk->arrival[i] = (int32_t)t;
		chunk->departure[i] = key;
		latest = key > latest ? key : latest;
	}
	return latest;
}

/* One size at a time over the whole chunk: this vectorises, a search per
 * request does not. Sizes below 2 GiB are compared in 32 bits. */
static void bins_few(uint32_t *restrict bin, const uint64_t *restrict need, size_t n,
		     const uint64_t *sizes, size_t size_count)
{
	int32_t capped[SLOTS_CHUNK], count[SLOTS_CHUNK];
	assert(n <= SLOTS_CHUNK);
	for (size_t i = 0; i < n; i++)
		capped[i] = need[i] < INT32_MAX ? (int32_t)need[i] : INT32_MAX;
	for (size_t i = 0; i < n; i++)
		count[i] = 0;
	size_t s = 0;
	/* Four at a time, so that a block is loaded once for all of them. */
	for (; s + 4 <= size_count; s += 4) {
		int32_t a = (int32_t)sizes[s], b = (int32_t)sizes[s + 1];
		int32_t c = (int32_t)sizes[s + 2], d = (int32_t)sizes[s + 3];
		for (size_t i = 0; i < n; i++)
			count[i] += (capped[i] > a) + (capped[i] > b) + (capped[i] > c) +
				    (capped[i] > d);
	}
	for (; s < size_count; s++) {
		int32_t a = (int32_t)sizes[s];
		for (size_t i = 0; i < n; i++)
			count[i] += capped[i] > a;
	}
	for (size_t i = 0; i < n; i++)
		bin[i] = (uint32_t)count[i];
}

static void bins_many(uint32_t *bin, const uint64_t *need, size_t n, const uint64_t *sizes,
		      size_t size_count)
{
	for (size_t i = 0; i < n; i++) {
		/* Branch-free lower bound. */
		const uint64_t *low = sizes;
		size_t left = size_count;
		while (left > 1) {
			size_t half = left / 2;
			low += low[half - 1] < need[i] ? half : 0;
			left -= half;
		}
		bin[i] = (uint32_t)(low - sizes) + (*low < need[i]);
	}
}

static void bins(uint32_t *bin, const uint64_t *need, size_t n, const uint64_t *sizes,
		 size_t size_count)
{
	if (size_count <= BINS_FEW && sizes[size_count - 1] < INT32_MAX)
		bins_few(bin, need, n, sizes, size_count);
	else
		bins_many(bin, need, n, sizes, size_count);
}
