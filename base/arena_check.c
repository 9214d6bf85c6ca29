/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include "base/arena_block.h"

#include <assert.h>
#include <string.h>

static size_t check_list(const struct arena *arena, uint32_t id, enum block_state state,
			 uint32_t units)
{
	size_t count = 0;
	uint32_t bin = id_is_inside(arena, id) ? bin_of(units_of(header_of(arena, id))) : 0;
	uint32_t before = 0;
	while (id != 0) {
		assert(id_is_inside(arena, id) && count < end_id(arena));
		const struct header *header = header_of(arena, id);
		assert(state_of(header) == state);
		assert(units ? units_of(header) == units : bin_of(units_of(header)) == bin);
		assert(state != FREE || links_of(arena, id)->before == before);
		before = id;
		id = links_of(arena, id)->next;
		count++;
	}
	return count;
}

void arena_check(const struct arena *arena)
{
	assert(arena->top_bytes % UNIT == HEADER);
	assert(arena->peak_bytes == 0 || arena->peak_bytes >= arena->top_bytes);
	assert(arena->peak_bytes <= arena->size_bytes);
	if (arena->policy == ARENA_BUMP || arena->damaged)
		return;
	size_t listed[4] = {0}, seen[4] = {0};
	size_t cached_units = 0;
	for (uint32_t i = 0; i < ARENA_LISTS; i++) {
		size_t count = check_list(arena, arena->list[i], CACHED, i + 1);
		assert(count == 0 || arena->list_map[i / 64] >> (i % 64) & 1);
		listed[CACHED] += count;
		cached_units += count * (i + 1);
	}
	assert(cached_units == arena->cached_units);
	for (uint32_t i = 0; i < ARENA_BINS; i++) {
		bool holds = arena->bin_map[i / 64] >> (i % 64) & 1;
		assert(holds == (arena->bin[i] != 0));
		if (holds) {
			assert(bin_of(units_of(header_of(arena, arena->bin[i]))) == i);
			assert(arena->bin_words >> (i / 64) & 1);
			listed[FREE] += check_list(arena, arena->bin[i], FREE, 0);
		}
	}
	uint32_t before_units = 0;
	enum block_state before = USED;
	for (uint32_t id = 1; id < end_id(arena);) {
		const struct header *header = header_of(arena, id);
		assert(header_is_sound(arena, id, header) && state_of(header) != INNER);
		assert(header->before_units == before_units);
		assert(state_of(header) != FREE || before != FREE);
		assert(id != arena->carve ||
		       (state_of(header) == USED && units_of(header) == arena->carve_units));
		seen[state_of(header)]++;
		before = state_of(header);
		before_units = units_of(header);
		id += units_of(header);
	}
	assert(before != FREE); /* it would have lowered top */
	assert(arena->last_units == before_units);
	assert(seen[CACHED] == listed[CACHED] && seen[FREE] == listed[FREE]);
}

const char *arena_policy_name(enum arena_policy policy)
{
	return policy == ARENA_BUMP ? "bump" : "reuse";
}

int arena_policy_parse(const char *text, enum arena_policy *policy)
{
	if (strcmp(text, "bump") == 0)
		*policy = ARENA_BUMP;
	else if (strcmp(text, "reuse") == 0)
		*policy = ARENA_REUSE;
	else
		return -1;
	return 0;
}
