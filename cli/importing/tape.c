/* SPDX-License-Identifier: MIT */
#include "cli/importing/tape.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void tape_init(struct tape *t)
{
	*t = (struct tape){0};
}

void tape_release(struct tape *t)
{
	free(t->block);
	free(t->op);
	free(t->free_slot);
	*t = (struct tape){0};
}

void tape_begin(struct tape *t)
{
	t->request++;
	t->count = t->free_slots = 0;
	t->slots = 0;
	t->allocations = t->frees = t->reallocations = t->foreign_frees = 0;
	t->live = t->live_bytes = 0;
}

/* -- blocks by key -------------------------------------------------------- */

static size_t home(const struct tape *t, uint64_t key)
{
	key ^= key >> 32;
	key *= UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(key >> 20) & (t->places - 1);
}

/* The block of the key, or the empty place where it belongs. */
static struct tape_block *find(const struct tape *t, uint64_t key)
{
	size_t at = home(t, key);
	while (t->block[at].request != 0 && t->block[at].key != key)
		at = (at + 1) & (t->places - 1);
	return &t->block[at];
}

static int grow(struct tape *t)
{
	struct tape old = *t;
	t->places = old.places ? old.places * 2 : 1024;
	t->block = calloc(t->places, sizeof(*t->block));
	if (!t->block) {
		*t = old;
		return -1;
	}
	for (size_t i = 0; i < old.places; i++)
		if (old.block[i].request != 0)
			*find(t, old.block[i].key) = old.block[i];
	free(old.block);
	return 0;
}

/* Closes the gap, so that no search ends early at it. */
static void take_out(struct tape *t, struct tape_block *block)
{
	size_t gap = (size_t)(block - t->block), mask = t->places - 1;
	for (size_t at = (gap + 1) & mask; t->block[at].request != 0; at = (at + 1) & mask) {
		size_t wanted = home(t, t->block[at].key);
		if (((at - wanted) & mask) < ((at - gap) & mask))
			continue;
		t->block[gap] = t->block[at];
		gap = at;
	}
	t->block[gap].request = 0;
	t->blocks--;
}

void tape_forget(struct tape *t)
{
	if (t->places > 0)
		memset(t->block, 0, t->places * sizeof(*t->block));
	t->blocks = 0;
}

/* -- operations ----------------------------------------------------------- */

static int put(struct tape *t, enum replay_kind kind, uint32_t slot, uint64_t bytes)
{
	if (t->count == t->room) {
		size_t room = t->room ? t->room * 2 : 1024;
		struct replay_op *op = reallocarray(t->op, room, sizeof(*op));
		if (!op)
			return -1;
		t->op = op;
		t->room = room;
	}
	t->op[t->count++] =
		(struct replay_op){.slot = slot, .kind = (uint8_t)kind, .size_bytes = bytes};
	return 0;
}

static int give_back(struct tape *t, uint32_t slot)
{
	if (t->free_slots == t->free_room) {
		size_t room = t->free_room ? t->free_room * 2 : 256;
		uint32_t *grown = reallocarray(t->free_slot, room, sizeof(*grown));
		if (!grown)
			return -1;
		t->free_slot = grown;
		t->free_room = room;
	}
	t->free_slot[t->free_slots++] = slot;
	return 0;
}

static void own(struct tape *t, int64_t blocks, int64_t bytes)
{
	t->live += blocks;
	t->live_bytes += bytes;
}

enum tape_result tape_alloc(struct tape *t, uint64_t key, uint64_t bytes)
{
	assert(t->request > 0);
	if ((t->blocks + 1) * 4 > t->places * 3 && grow(t) != 0)
		return TAPE_NO_MEMORY;
	struct tape_block *block = find(t, key);
	if (block->request != 0)
		return TAPE_LIVE;
	uint32_t slot = t->free_slots > 0 ? t->free_slot[t->free_slots - 1] : t->slots;
	if (put(t, REPLAY_ALLOC, slot, bytes) != 0)
		return TAPE_NO_MEMORY;
	if (t->free_slots > 0)
		t->free_slots--;
	else
		t->slots++;
	*block = (struct tape_block){key, bytes, slot, t->request};
	t->blocks++;
	t->allocations++;
	own(t, 1, (int64_t)bytes);
	return TAPE_DONE;
}

enum tape_result tape_free(struct tape *t, uint64_t key)
{
	struct tape_block *block = t->places > 0 ? find(t, key) : NULL;
	t->frees++;
	if (!block || block->request == 0) {
		t->foreign_frees++;
		return TAPE_UNKNOWN;
	}
	if (block->request != t->request) {
		t->foreign_frees++;
	} else {
		if (give_back(t, block->slot) != 0 || put(t, REPLAY_FREE, block->slot, 0) != 0)
			return TAPE_NO_MEMORY;
		own(t, -1, -(int64_t)block->bytes);
	}
	take_out(t, block);
	return TAPE_DONE;
}

enum tape_result tape_realloc(struct tape *t, uint64_t from, uint64_t to, uint64_t bytes)
{
	struct tape_block *block = t->places > 0 ? find(t, from) : NULL;
	if (from != to && t->places > 0 && find(t, to)->request != 0)
		return TAPE_LIVE;
	if (!block || block->request != t->request) {
		if (tape_free(t, from) == TAPE_NO_MEMORY)
			return TAPE_NO_MEMORY;
		return tape_alloc(t, to, bytes);
	}
	struct tape_block moved = {to, bytes, block->slot, block->request};
	if (put(t, REPLAY_REALLOC, block->slot, bytes) != 0)
		return TAPE_NO_MEMORY;
	own(t, 0, (int64_t)bytes - (int64_t)block->bytes);
	take_out(t, block);
	*find(t, to) = moved;
	t->blocks++;
	t->reallocations++;
	return TAPE_DONE;
}

void tape_fill(const struct tape *t, struct trace_request *request)
{
	request->allocations = t->allocations;
	request->frees = t->frees;
	request->reallocations = t->reallocations;
	request->foreign_frees = t->foreign_frees;
	request->escapes = t->live;
	request->escaped_bytes = t->live_bytes;
}
