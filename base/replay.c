/* SPDX-License-Identifier: MIT */
#include "base/replay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What one run touched beyond this goes back to the kernel after it. */
enum { KEPT_BYTES = 64 << 20, SLOTS_FIRST = 1024 };

int replay_init(struct replay *replay, size_t span_bytes)
{
	*replay = (struct replay){.span_bytes = span_bytes};
	void *span = mmap(NULL, span_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (span == MAP_FAILED)
		return -1;
	/* Headers lie apart: a huge page for each of them would be real memory. */
	madvise(span, span_bytes, MADV_NOHUGEPAGE);
	replay->span = span;
	return 0;
}

void replay_release(struct replay *replay)
{
	if (replay->span)
		munmap(replay->span, replay->span_bytes);
	free(replay->block);
	*replay = (struct replay){0};
}

static bool reserve_slots(struct replay *replay, size_t slots)
{
	size_t blocks = replay->blocks ? replay->blocks : SLOTS_FIRST;
	while (blocks < slots)
		blocks *= 2;
	struct replay_block *block = reallocarray(replay->block, blocks, sizeof(*block));
	if (!block)
		return false;
	memset(block + replay->blocks, 0, (blocks - replay->blocks) * sizeof(*block));
	replay->block = block;
	replay->blocks = blocks;
	return true;
}

/* The state of one run. */
struct run {
	struct replay *replay;
	struct replay_need *need;
	uint64_t live_bytes;
	uint8_t align_log2;
};

static void count_live(struct run *run, uint64_t more_bytes)
{
	run->live_bytes += more_bytes;
	if (run->live_bytes > run->need->live_peak_bytes)
		run->need->live_peak_bytes = run->live_bytes;
}

/* 0, or the errno. */
static int step(struct run *run, const struct replay_op *op)
{
	struct arena *arena = &run->replay->arena;
	struct replay_block *block = &run->replay->block[op->slot];
	struct replay_need *need = run->need;
	if (op->kind == REPLAY_FREE) {
		if (!block->p)
			return EINVAL;
		run->live_bytes -= block->bytes;
		arena_free(arena, block->p);
		block->p = NULL;
		return 0;
	}
	if (op->size_bytes > need->largest_bytes)
		need->largest_bytes = op->size_bytes;
	void *p;
	if (op->kind == REPLAY_ALLOC) {
		if (block->p || op->align_log2 >= 48)
			return EINVAL;
		uint8_t align_log2 =
			op->align_log2 > run->align_log2 ? op->align_log2 : run->align_log2;
		p = arena_alloc(arena, op->size_bytes, (size_t)1 << align_log2);
		if (!p)
			return ENOMEM;
		need->requested_bytes += op->size_bytes;
		count_live(run, op->size_bytes);
	} else {
		if (!block->p || op->kind != REPLAY_REALLOC)
			return EINVAL;
		p = arena_realloc_aligned(arena, block->p, op->size_bytes,
					  (size_t)1 << run->align_log2);
		if (!p)
			return ENOMEM;
		if (op->size_bytes > block->bytes)
			need->requested_bytes += op->size_bytes - block->bytes;
		run->live_bytes -= block->bytes;
		count_live(run, op->size_bytes);
	}
	block->p = p;
	block->bytes = op->size_bytes;
	return 0;
}

int replay_run(struct replay *replay, const struct replay_op *ops, size_t count,
	       enum arena_policy policy, struct replay_need *need)
{
	struct arena *arena = &replay->arena;
	if (arena->base == replay->span && arena->size_bytes == replay->span_bytes &&
	    arena->policy == policy) {
		arena_clear(arena); /* which is less than the whole of it */
	} else {
		arena_init(arena, replay->span, replay->span_bytes, policy);
		arena->hollow = true;
	}
	*need = (struct replay_need){0};
	assert(replay->align_log2 <= REPLAY_ALIGN_LOG2_MAX);
	struct run run = {.replay = replay, .need = need, .align_log2 = replay->align_log2};
	size_t slots = 0;
	int error = 0;
	for (size_t i = 0; i < count && error == 0; i++) {
		size_t slot = ops[i].slot;
		if (slot >= slots) {
			/* Slots are dense: a number past the calls so far is none. */
			if (slot > i)
				error = EINVAL;
			else if (slot >= replay->blocks && !reserve_slots(replay, slot + 1))
				error = ENOMEM;
			slots = slot + 1;
		}
		if (error == 0)
			error = step(&run, &ops[i]);
	}
	need->need_bytes = replay->arena.peak_bytes;
	if (slots > replay->blocks)
		slots = replay->blocks;
	if (slots > 0)
		memset(replay->block, 0, slots * sizeof(*replay->block));
	if (need->need_bytes > KEPT_BYTES)
		madvise(replay->span + KEPT_BYTES, replay->span_bytes - KEPT_BYTES,
			MADV_DONTNEED);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}
