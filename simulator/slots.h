/* SPDX-License-Identifier: MIT */
/*
 * The ordered hunt: every arrival takes the lowest-numbered slot that is free,
 * and the jobs in slots 1..c are then exactly the jobs that a system of c
 * buckets accepts, for every c at once (Newell 1984; Eschenfeldt, Gross,
 * Pippenger, arXiv 1107.1536).
 *
 * A slot holds the departure of its last job, and is free at t when that is
 * <= t. The exact departures are 64 bits wide, here; the search works on keys
 * of 31 bits, departures from a moving `base`, so that sixteen of them are
 * compared at once. A departure further than that away gets the key NEVER,
 * which no arrival of the present base can reach; before an arrival would,
 * slots_rebase() moves the base and makes all keys anew. Nothing is rounded.
 *
 * Keys are the leaves of a tree of minima with 16 children to a node, so the
 * first free of a million slots is five comparisons away. Kernels (portable,
 * NEON, AVX2, AVX-512) do the search; all give the same slots, which tests compare.
 *
 * One struct slots belongs to one thread.
 */
#ifndef PAIL_SIMULATOR_SLOTS_H
#define PAIL_SIMULATOR_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SLOTS_FANOUT = 16,
	SLOTS_LEVELS = 6,
	SLOTS_LANES = 4,   /* independent searches that a kernel interleaves */
	SLOTS_CHUNK = 512, /* arrivals handed to a kernel at once */
	SLOTS_NARROW = 64, /* up to here a kernel may keep all keys in registers */
};
#define SLOTS_NEVER INT32_MAX
#define SLOTS_REACH ((uint64_t)INT32_MAX - 1) /* furthest arrival from base */
#define SLOTS_MAX   (1U << 24)

struct slots {
	uint32_t count;               /* slots that exist: 0..count-1 */
	uint32_t levels;              /* level[0] is the root node, level[levels-1] the keys */
	int32_t *level[SLOTS_LEVELS]; /* 64-byte aligned */
	uint32_t level_length[SLOTS_LEVELS];
	uint64_t *departure; /* exact, count of them */
	uint64_t base;
	void *memory;
};

/* 0, or -1 with errno. All slots are free from time 0. */
int slots_init(struct slots *slots, uint32_t count);
void slots_release(struct slots *slots);
/* Makes `departure` true for every slot: between calls it is so only for keys
 * that are NEVER, the others say it themselves. */
void slots_settle(struct slots *slots);
/* Takes on exact departures, counted from `base`. */
void slots_restore(struct slots *slots, const uint64_t *departure, uint64_t base);
/* Copies departures and base; both have the same count and `from` is settled. */
void slots_copy(struct slots *to, const struct slots *from);
/* Makes keys and minima from `departure`, counted from `base`. */
void slots_rebase(struct slots *slots, uint64_t base);
/* True when no arrival at or after t could tell the two apart; both are settled. */
bool slots_same_from(const struct slots *a, const struct slots *b, uint64_t t);

/* The arrivals of a chunk as a kernel wants them. slot[i] is 0-based; at least
 * slots.count means that none was free. */
struct slots_chunk {
	int32_t arrival[SLOTS_CHUNK], departure[SLOTS_CHUNK]; /* from base, departure capped */
	uint32_t slot[SLOTS_CHUNK];
	int32_t latest; /* of departure */
} __attribute__((aligned(128)));

struct slots_kernel {
	const char *name;
	/* The next n arrivals of `lanes` (1 or SLOTS_LANES) independent searches.
	 * Writes keys and chunk.slot, not slots.departure. */
	void (*hunt)(struct slots *const slots[], struct slots_chunk *const chunk[],
		     uint32_t lanes, size_t n);
	/* Fills chunk.arrival and chunk.departure, whose greatest it returns. Needs
	 * base <= arrival_ns[i]. */
	int32_t (*prepare)(struct slots_chunk *chunk, const int64_t *arrival_ns,
			   const int64_t *service_ns, uint64_t base, size_t n);
	/* bin[i] = number of sizes below need[i]; sizes ascend. */
	void (*bins)(uint32_t *bin, const uint64_t *need, size_t n, const uint64_t *sizes,
		     size_t size_count);
};

extern const struct slots_kernel slots_portable;
#if defined(__x86_64__)
extern const struct slots_kernel slots_avx2, slots_avx512;
#elif defined(__aarch64__)
extern const struct slots_kernel slots_neon;
#endif

/* The best that this machine can run; or the one of that name, NULL if it
 * does not exist or the machine lacks it. */
const struct slots_kernel *slots_kernel_choose(const char *name);

#endif
