/* SPDX-License-Identifier: MIT */
/* The kernel for AVX2: a node is two registers. */
#include "simulator/slots.h"

#include <immintrin.h>
#include <string.h>

static inline uint32_t node_find(const int32_t *node, int32_t t)
{
	__m256i now = _mm256_set1_epi32(t);
	__m256i low = _mm256_load_si256((const __m256i *)(const void *)node);
	__m256i high = _mm256_load_si256((const __m256i *)(const void *)(node + 8));
	uint32_t busy_low =
		(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(low, now)));
	uint32_t busy_high = (uint32_t)_mm256_movemask_ps(
		_mm256_castsi256_ps(_mm256_cmpgt_epi32(high, now)));
	return (uint32_t)__builtin_ctz(~(busy_low | busy_high << 8));
}

static inline int32_t node_set(int32_t *node, uint32_t i, int32_t d)
{
	__m256i *at = (__m256i *)(void *)node;
	__m256i place = _mm256_sub_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
					 _mm256_set1_epi32((int32_t)i));
	__m256i value = _mm256_set1_epi32(d);
	__m256i low = _mm256_blendv_epi8(at[0], value,
					 _mm256_cmpeq_epi32(place, _mm256_setzero_si256()));
	__m256i high = _mm256_blendv_epi8(at[1], value,
					  _mm256_cmpeq_epi32(place, _mm256_set1_epi32(-8)));
	at[0] = low;
	at[1] = high;
	__m256i both = _mm256_min_epi32(low, high);
	__m128i four =
		_mm_min_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
	four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4e));
	four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0xb1));
	return _mm_cvtsi128_si32(four);
}

/* Stays in memory, as in the portable kernel. */
struct coarse {
	int16_t key[SLOTS_NARROW + 16] __attribute__((aligned(64)));
};

static inline void coarse_load(struct coarse *coarse, const int16_t *key)
{
	memcpy(coarse->key, key, SLOTS_NARROW * sizeof(*key));
}

static inline uint64_t mask32(__m256i low, __m256i high, __m256i now)
{
	__m256i after =
		_mm256_packs_epi16(_mm256_cmpgt_epi16(low, now), _mm256_cmpgt_epi16(high, now));
	/* Packing goes by halves of a register: put the quarters in order. */
	after = _mm256_permute4x64_epi64(after, 0xd8);
	return ~(uint32_t)_mm256_movemask_epi8(after);
}

static inline uint64_t coarse_mask(const struct coarse *coarse, int16_t t)
{
	const __m256i *v = (const __m256i *)(const void *)coarse->key;
	__m256i now = _mm256_set1_epi16(t);
	return mask32(v[0], v[1], now) | mask32(v[2], v[3], now) << 32;
}

static inline void coarse_set(struct coarse *coarse, uint32_t slot, uint64_t mask, int16_t d)
{
	(void)mask;
	coarse->key[slot] = d;
}

enum { BINS_FEW = 32 };
#include "simulator/slots_kernel.h"

const struct slots_kernel slots_avx2 = {"avx2", hunt, prepare, bins};
