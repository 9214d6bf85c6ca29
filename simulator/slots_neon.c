/* SPDX-License-Identifier: MIT */
/* The kernel for NEON, which every aarch64 has: a node is four registers. */
#include "simulator/slots.h"

#include <arm_neon.h>
#include <string.h>

/* Four vectors of true (all ones) or false as sixteen bits. */
static inline uint32_t mask4(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d)
{
	static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128,
					1, 2, 4, 8, 16, 32, 64, 128};
	uint16x8_t low = vcombine_u16(vmovn_u32(a), vmovn_u32(b));
	uint16x8_t high = vcombine_u16(vmovn_u32(c), vmovn_u32(d));
	uint8x16_t all = vcombine_u8(vmovn_u16(low), vmovn_u16(high));
	all = vandq_u8(all, vld1q_u8(bit));
	return vaddv_u8(vget_low_u8(all)) | (uint32_t)vaddv_u8(vget_high_u8(all)) << 8;
}

static inline uint32_t node_find(const int32_t *node, int32_t t)
{
	int32x4_t now = vdupq_n_s32(t);
	uint32_t is_free = mask4(
		vcleq_s32(vld1q_s32(node), now), vcleq_s32(vld1q_s32(node + 4), now),
		vcleq_s32(vld1q_s32(node + 8), now), vcleq_s32(vld1q_s32(node + 12), now));
	return (uint32_t)__builtin_ctz(is_free | 1U << SLOTS_FANOUT);
}

/* Whole vectors, never one key: see the portable kernel. */
static inline int32_t node_set(int32_t *node, uint32_t i, int32_t d)
{
	static const int32_t first[4] = {0, 1, 2, 3};
	int32x4_t place = vsubq_s32(vld1q_s32(first), vdupq_n_s32((int32_t)i));
	int32x4_t value = vdupq_n_s32(d), least = vdupq_n_s32(INT32_MAX);
	for (int k = 0; k < 4; k++) {
		uint32x4_t hit = vceqq_s32(place, vdupq_n_s32(-4 * k));
		int32x4_t keys = vbslq_s32(hit, value, vld1q_s32(node + 4 * k));
		vst1q_s32(node + 4 * k, keys);
		least = vminq_s32(least, keys);
	}
	return vminvq_s32(least);
}

/* Stays in memory, as in the portable kernel. */
struct coarse {
	int16_t key[SLOTS_NARROW + 8] __attribute__((aligned(64)));
};

static inline void coarse_load(struct coarse *coarse, const int16_t *key)
{
	memcpy(coarse->key, key, SLOTS_NARROW * sizeof(*key));
}

/* Sixteen keys as bytes of one weight each; three pairwise sums make 64 bits of 64 keys. */
static inline uint8x16_t weigh16(const int16_t *key, int16x8_t now, uint8x16_t weight)
{
	uint8x8_t low = vmovn_u16(vcleq_s16(vld1q_s16(key), now));
	uint8x8_t high = vmovn_u16(vcleq_s16(vld1q_s16(key + 8), now));
	return vandq_u8(vcombine_u8(low, high), weight);
}

static inline uint64_t coarse_mask(const struct coarse *coarse, int16_t t)
{
	static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128,
					1, 2, 4, 8, 16, 32, 64, 128};
	int16x8_t now = vdupq_n_s16(t);
	uint8x16_t weight = vld1q_u8(bit);
	uint8x16_t a = vpaddq_u8(weigh16(coarse->key, now, weight),
				 weigh16(coarse->key + 16, now, weight));
	uint8x16_t b = vpaddq_u8(weigh16(coarse->key + 32, now, weight),
				 weigh16(coarse->key + 48, now, weight));
	a = vpaddq_u8(a, b);
	a = vpaddq_u8(a, a);
	return vgetq_lane_u64(vreinterpretq_u64_u8(a), 0);
}

static inline void coarse_set(struct coarse *coarse, uint32_t slot, uint64_t mask, int16_t d)
{
	(void)mask;
	coarse->key[slot] = d;
}

enum { BINS_FEW = 12 };
#include "simulator/slots_kernel.h"

const struct slots_kernel slots_neon = {"neon", hunt, prepare, bins};
