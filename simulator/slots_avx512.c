/* SPDX-License-Identifier: MIT */
/*
 * The kernel for AVX-512: a node is one register. Up to 64 slots need no tree:
 * the keys of four searches fit into sixteen registers and stay there for a
 * whole chunk, and four searches in turn hide each other's latency.
 */
#include "simulator/slots.h"

#include <immintrin.h>

static inline uint32_t node_find(const int32_t *node, int32_t t)
{
	__m512i keys = _mm512_load_si512(node);
	uint32_t is_free = _mm512_cmple_epi32_mask(keys, _mm512_set1_epi32(t));
	return (uint32_t)__builtin_ctz(is_free | 1U << SLOTS_FANOUT);
}

static inline int32_t node_set(int32_t *node, uint32_t i, int32_t d)
{
	__m512i keys = _mm512_load_si512(node);
	keys = _mm512_mask_set1_epi32(keys, (__mmask16)(1U << i), d);
	_mm512_store_si512(node, keys);
	return _mm512_reduce_min_epi32(keys);
}

#include "simulator/slots_kernel.h"

struct keys64 {
	__m512i k0, k1, k2, k3;
};

static inline struct keys64 keys_load(const struct slots *slots)
{
	/* The leaves; behind them lie SLOTS_NARROW keys that are never free. */
	const int32_t *leaf = slots->level[slots->levels - 1];
	return (struct keys64){_mm512_load_si512(leaf), _mm512_load_si512(leaf + 16),
			       _mm512_load_si512(leaf + 32), _mm512_load_si512(leaf + 48)};
}

static inline void keys_store(struct slots *slots, struct keys64 k)
{
	int32_t *leaf = slots->level[slots->levels - 1];
	uint32_t length = slots->level_length[slots->levels - 1];
	_mm512_store_si512(leaf, k.k0);
	if (length > 16)
		_mm512_store_si512(leaf + 16, k.k1);
	if (length > 32)
		_mm512_store_si512(leaf + 32, k.k2);
	if (length > 48)
		_mm512_store_si512(leaf + 48, k.k3);
}

static inline void keys_take(struct keys64 *k, struct slots_chunk *chunk, size_t i)
{
	__m512i now = _mm512_set1_epi32(chunk->arrival[i]);
	__m512i until = _mm512_set1_epi32(chunk->departure[i]);
	uint64_t low = _mm512_kunpackw(_mm512_cmple_epi32_mask(k->k1, now),
				       _mm512_cmple_epi32_mask(k->k0, now));
	uint64_t high = _mm512_kunpackw(_mm512_cmple_epi32_mask(k->k3, now),
					_mm512_cmple_epi32_mask(k->k2, now));
	uint64_t is_free = low | high << 32;
	uint64_t first = is_free & -is_free;
	k->k0 = _mm512_mask_mov_epi32(k->k0, (__mmask16)first, until);
	k->k1 = _mm512_mask_mov_epi32(k->k1, (__mmask16)(first >> 16), until);
	k->k2 = _mm512_mask_mov_epi32(k->k2, (__mmask16)(first >> 32), until);
	k->k3 = _mm512_mask_mov_epi32(k->k3, (__mmask16)(first >> 48), until);
	chunk->slot[i] = (uint32_t)_tzcnt_u64(is_free); /* 64 when none is */
}

/* The upper levels of the tree are not kept: with at most SLOTS_NARROW slots
 * every chunk comes here, and slots_rebase() makes them when it must. */
static void hunt_narrow(struct slots *const slots[], struct slots_chunk *const chunk[],
			uint32_t lanes, size_t n)
{
	if (lanes == 1) {
		struct keys64 keys = keys_load(slots[0]);
		for (size_t i = 0; i < n; i++)
			keys_take(&keys, chunk[0], i);
		keys_store(slots[0], keys);
		return;
	}
	struct keys64 a = keys_load(slots[0]), b = keys_load(slots[1]);
	struct keys64 c = keys_load(slots[2]), d = keys_load(slots[3]);
	for (size_t i = 0; i < n; i++) {
		keys_take(&a, chunk[0], i);
		keys_take(&b, chunk[1], i);
		keys_take(&c, chunk[2], i);
		keys_take(&d, chunk[3], i);
	}
	keys_store(slots[0], a);
	keys_store(slots[1], b);
	keys_store(slots[2], c);
	keys_store(slots[3], d);
}

static void hunt(struct slots *const slots[], struct slots_chunk *const chunk[], uint32_t lanes,
		 size_t n)
{
	if (slots[0]->count <= SLOTS_NARROW)
		hunt_narrow(slots, chunk, lanes, n);
	else
		hunt_wide(slots, chunk, lanes, n);
}

const struct slots_kernel slots_avx512 = {"avx512", hunt, prepare, bins};
