/* SPDX-License-Identifier: MIT */
/*
 * The body of a kernel, included once by each of slots_portable.c,
 * slots_avx2.c and slots_avx512.c, which are compiled for their machines.
 * Before including it they define
 *	node_find(node, t)   index of the first of 16 keys that is <= t, or 16
 *	node_set(node, i, d) node[i] = d; returns the least key of the node
 * and afterwards KERNEL_NAME (an identifier) and, if they have one of their own,
 * hunt_narrow() for at most SLOTS_NARROW slots.
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

static void prepare(struct slots_chunk *restrict chunk, const int64_t *restrict arrival_ns,
		    const int64_t *restrict service_ns, uint64_t base, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t t = (uint64_t)arrival_ns[i] - base;
		/* Both are below 2^63, so the sum of 64 bits is exact. */
		uint64_t d = t + (uint64_t)service_ns[i];
		chunk->arrival[i] = (int32_t)t;
		chunk->departure[i] = d > SLOTS_REACH ? SLOTS_NEVER : (int32_t)d;
	}
}

/* One size at a time over the whole chunk: this vectorises, a search per
 * request does not. */
static void bins_few(uint32_t *restrict bin, const uint64_t *restrict need, size_t n,
		     const uint64_t *sizes, size_t size_count)
{
	for (size_t i = 0; i < n; i++)
		bin[i] = 0;
	for (size_t s = 0; s < size_count; s++) {
		uint64_t size = sizes[s];
		for (size_t i = 0; i < n; i++)
			bin[i] += need[i] > size;
	}
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
	if (size_count <= 12)
		bins_few(bin, need, n, sizes, size_count);
	else
		bins_many(bin, need, n, sizes, size_count);
}
