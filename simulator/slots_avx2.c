/* SPDX-License-Identifier: MIT */
/* The kernel for AVX2: a node is two registers. */
#include "simulator/slots.h"

#include <immintrin.h>

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

#include "simulator/slots_kernel.h"

const struct slots_kernel slots_avx2 = {"avx2", hunt_wide, prepare, bins};
