/* SPDX-License-Identifier: MIT */
/* The kernel for AVX-512: a node is one register. */
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

/* Keys of 16 bits in two registers, which four searches keep to themselves. */
struct coarse {
	__m512i low, high;
};

static inline void coarse_load(struct coarse *coarse, const int16_t *key)
{
	coarse->low = _mm512_loadu_si512(key);
	coarse->high = _mm512_loadu_si512(key + 32);
}

static inline uint64_t coarse_mask(const struct coarse *coarse, int16_t t)
{
	__m512i now = _mm512_set1_epi16(t);
	__mmask32 low = _mm512_cmple_epi16_mask(coarse->low, now);
	__mmask32 high = _mm512_cmple_epi16_mask(coarse->high, now);
	return _cvtmask64_u64(_mm512_kunpackd(high, low));
}

static inline void coarse_set(struct coarse *coarse, uint32_t slot, uint64_t mask, int16_t d)
{
	(void)slot;
	uint64_t first = mask & -mask; /* none when none was free */
	__m512i until = _mm512_set1_epi16(d);
	coarse->low = _mm512_mask_mov_epi16(coarse->low, (__mmask32)first, until);
	coarse->high = _mm512_mask_mov_epi16(coarse->high, (__mmask32)(first >> 32), until);
}

enum { BINS_FEW = 64 };
#include "simulator/slots_kernel.h"

const struct slots_kernel slots_avx512 = {"avx512", hunt, prepare, bins};
