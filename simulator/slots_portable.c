/* SPDX-License-Identifier: MIT */
/*
 * The kernel for any machine: GCC's vectors of four, which every 64-bit
 * machine has in hardware (SSE2, NEON), and no instruction by name.
 */
#include "simulator/slots.h"

#include <string.h>
#ifdef __SSE2__
#	include <emmintrin.h>
#endif

typedef int32_t vec4 __attribute__((vector_size(16)));
typedef uint64_t pair __attribute__((vector_size(16)));

static inline uint32_t node_find(const int32_t *node, int32_t t)
{
	const vec4 *v = (const vec4 *)(const void *)node;
	/* A true lane is all ones: keep one bit of each, then fold. */
	vec4 bits = ((v[0] <= t) & (vec4){1, 2, 4, 8}) |
		    ((v[1] <= t) & (vec4){16, 32, 64, 128}) |
		    ((v[2] <= t) & (vec4){256, 512, 1024, 2048}) |
		    ((v[3] <= t) & (vec4){4096, 8192, 16384, 32768});
	pair two = (pair)bits;
	uint64_t fold = two[0] | two[1];
	return (uint32_t)__builtin_ctz((uint32_t)(fold | fold >> 32) | 1U << SLOTS_FANOUT);
}

static inline vec4 least4(vec4 a, vec4 b)
{
	vec4 smaller = a < b;
	return (a & smaller) | (b & ~smaller);
}

/* Reads and writes whole vectors, never one key: a vector load that overlaps a
 * scalar store that is still on its way to the cache waits for it. */
static inline int32_t node_set(int32_t *node, uint32_t i, int32_t d)
{
	vec4 *v = (vec4 *)(void *)node;
	vec4 place = (vec4){0, 1, 2, 3} - (int32_t)i;
	vec4 hit0 = place == 0, hit1 = place == -4, hit2 = place == -8, hit3 = place == -12;
	vec4 v0 = (v[0] & ~hit0) | (hit0 & d), v1 = (v[1] & ~hit1) | (hit1 & d);
	vec4 v2 = (v[2] & ~hit2) | (hit2 & d), v3 = (v[3] & ~hit3) | (hit3 & d);
	v[0] = v0, v[1] = v1, v[2] = v2, v[3] = v3;
	vec4 least = least4(least4(v0, v1), least4(v2, v3));
	int32_t a = least[0] < least[1] ? least[0] : least[1];
	int32_t b = least[2] < least[3] ? least[2] : least[3];
	return a < b ? a : b;
}

typedef int16_t vec8 __attribute__((vector_size(16)));

/* Two sets of eight keys as sixteen bits: set where the key is <= t. */
static inline uint32_t mask16(vec8 low, vec8 high, int16_t t)
{
#ifdef __SSE2__ /* every x86-64 has it, and an instruction for this */
	__m128i now = _mm_set1_epi16(t);
	__m128i after = _mm_packs_epi16(_mm_cmpgt_epi16((__m128i)low, now),
					_mm_cmpgt_epi16((__m128i)high, now));
	return (uint32_t)_mm_movemask_epi8(after) ^ 0xffff;
#else
	const vec8 bit = {1, 2, 4, 8, 16, 32, 64, 128};
	pair two = (pair)(((low <= t) & bit) | ((high <= t) & (bit << 8)));
	uint64_t fold = two[0] | two[1];
	fold |= fold >> 32;
	return (uint32_t)(fold | fold >> 16) & 0xffff;
#endif
}

/* Stays in memory: a store of one key is done by the time that this search has
 * its turn again. One key more than there are slots, for none. */
struct coarse {
	int16_t key[SLOTS_NARROW + 8] __attribute__((aligned(64)));
};

static inline void coarse_load(struct coarse *coarse, const int16_t *key)
{
	memcpy(coarse->key, key, SLOTS_NARROW * sizeof(*key));
}

static inline uint64_t coarse_mask(const struct coarse *coarse, int16_t t)
{
	const vec8 *v = (const vec8 *)(const void *)coarse->key;
	return mask16(v[0], v[1], t) | (uint64_t)mask16(v[2], v[3], t) << 16 |
	       (uint64_t)mask16(v[4], v[5], t) << 32 | (uint64_t)mask16(v[6], v[7], t) << 48;
}

static inline void coarse_set(struct coarse *coarse, uint32_t slot, uint64_t mask, int16_t d)
{
	(void)mask;
	coarse->key[slot] = d;
}

enum { BINS_FEW = 12 };
#include "simulator/slots_kernel.h"

const struct slots_kernel slots_portable = {"portable", hunt, prepare, bins};
