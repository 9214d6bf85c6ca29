/* SPDX-License-Identifier: MIT */
#include "simulator/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t nodes_for(uint32_t children)
{
	return (children + SLOTS_FANOUT - 1) / SLOTS_FANOUT;
}

void slots_release(struct slots *slots)
{
	free(slots->memory);
	*slots = (struct slots){0};
}

void slots_settle(struct slots *slots)
{
	const int32_t *keys = slots->level[slots->levels - 1];
	for (uint32_t i = 0; i < slots->count; i++) {
		if (keys[i] != SLOTS_NEVER)
			slots->departure[i] = slots->base + (uint64_t)keys[i];
	}
}

/* Keys from departures. */
static void keys_make(struct slots *slots, uint64_t base)
{
	uint32_t leaf = slots->levels - 1;
	int32_t *keys = slots->level[leaf];
	for (uint32_t i = 0; i < slots->count; i++) {
		uint64_t departure = slots->departure[i];
		uint64_t away = departure <= base ? 0 : departure - base;
		keys[i] = away > SLOTS_REACH ? SLOTS_NEVER : (int32_t)away;
	}
	for (uint32_t i = slots->count; i < slots->level_length[leaf]; i++)
		keys[i] = SLOTS_NEVER;
	for (uint32_t l = leaf; l > 0; l--) {
		uint32_t nodes = slots->level_length[l] / SLOTS_FANOUT;
		for (uint32_t node = 0; node < slots->level_length[l - 1]; node++) {
			int32_t least = SLOTS_NEVER;
			const int32_t *child = slots->level[l] + (size_t)node * SLOTS_FANOUT;
			for (int i = 0; node < nodes && i < SLOTS_FANOUT; i++)
				least = child[i] < least ? child[i] : least;
			slots->level[l - 1][node] = least;
		}
	}
	slots->base = base;
}

int slots_init(struct slots *slots, uint32_t count)
{
	assert(count > 0 && count <= SLOTS_MAX);
	*slots = (struct slots){.count = count};

	/* Level lengths from the leaves up, in whole nodes; then turned round. */
	uint32_t length[SLOTS_LEVELS], levels = 0, children = count;
	size_t keys = 0;
	do {
		assert(levels < SLOTS_LEVELS);
		children = nodes_for(children);
		length[levels++] = children * SLOTS_FANOUT;
		keys += (size_t)children * SLOTS_FANOUT;
	} while (children > 1);
	/* A narrow search reads four leaf nodes, whether there are so many or not. */
	size_t spare = SLOTS_NARROW;

	size_t bytes = (keys + spare) * sizeof(int32_t) + (size_t)count * sizeof(uint64_t);
	bytes = (bytes + 127) & ~(size_t)127;
	slots->memory = aligned_alloc(128, bytes);
	if (!slots->memory) {
		errno = ENOMEM;
		return -1;
	}
	int32_t *next = slots->memory;
	slots->levels = levels;
	for (uint32_t l = 0; l < levels; l++) {
		slots->level[l] = next;
		slots->level_length[l] = length[levels - 1 - l];
		next += slots->level_length[l];
	}
	for (size_t i = 0; i < spare; i++)
		next[i] = SLOTS_NEVER;
	slots->departure = (uint64_t *)(void *)(next + spare);
	memset(slots->departure, 0, (size_t)count * sizeof(uint64_t));
	keys_make(slots, 0);
	return 0;
}

void slots_rebase(struct slots *slots, uint64_t base)
{
	slots_settle(slots);
	keys_make(slots, base);
}

void slots_restore(struct slots *slots, const uint64_t *departure, uint64_t base)
{
	memcpy(slots->departure, departure, (size_t)slots->count * sizeof(uint64_t));
	keys_make(slots, base);
}

void slots_copy(struct slots *to, const struct slots *from)
{
	assert(to->count == from->count);
	slots_restore(to, from->departure, from->base);
}

bool slots_same_from(const struct slots *a, const struct slots *b, uint64_t t)
{
	assert(a->count == b->count);
	for (uint32_t i = 0; i < a->count; i++) {
		uint64_t x = a->departure[i] > t ? a->departure[i] : t;
		uint64_t y = b->departure[i] > t ? b->departure[i] : t;
		if (x != y)
			return false;
	}
	return true;
}

const struct slots_kernel *slots_kernel_choose(const char *name)
{
	const struct slots_kernel *able[4];
	size_t count = 0;
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		able[count++] = &slots_avx512;
	if (__builtin_cpu_supports("avx2"))
		able[count++] = &slots_avx2;
#elif defined(__aarch64__)
	able[count++] = &slots_neon; /* every one has it */
#endif
	able[count++] = &slots_portable;
	for (size_t i = 0; i < count; i++) {
		if (!name || strcmp(name, able[i]->name) == 0)
			return able[i];
	}
	return NULL;
}
