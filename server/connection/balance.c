/* SPDX-License-Identifier: MIT */
#include "server/connection/balance.h"

#include <assert.h>

static uint32_t load_of(const struct balance *all, uint32_t index)
{
	return atomic_load_explicit(&all[index].load, memory_order_relaxed);
}

void balance_say(struct balance *all, uint32_t index, uint32_t load)
{
	/* A store that changes nothing would still take the line from its readers. */
	if (load_of(all, index) != load)
		atomic_store_explicit(&all[index].load, load, memory_order_relaxed);
}

int balance_better(const struct balance *all, uint32_t count, uint32_t index, uint32_t margin)
{
	uint32_t least = index;

	assert(index < count);
	for (uint32_t i = 0; i < count; i++)
		if (load_of(all, i) < load_of(all, least))
			least = i;
	if (least == index)
		return -1;
	/* Read once more: what it said may have changed since. */
	uint64_t own = load_of(all, index), other = load_of(all, least);
	return own > other + margin ? (int)least : -1;
}
