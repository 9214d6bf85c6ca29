/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a sequence of calls, replayed and played in real memory of
 * exactly the need: the arena's promise, as in tests/base/test_arena.c.
 */
#include "tests/base/sequence.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS_MAX = 512 }; /* each plays all blocks: more would be few executions a second */

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void must_be_clean(const struct playback *played)
{
	must(played->damaged_blocks == 0 && played->damaged_guards == 0);
	must(played->misaligned == 0 && played->faults == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct replay replay;
	if (!replay.span && replay_init(&replay, (size_t)1 << 32) < 0)
		return 0;
	struct sequence sequence = sequence_of_bytes(data, size < CALLS_MAX ? size : CALLS_MAX);
	for (int i = 0; i < 2; i++) {
		enum arena_policy policy = i ? ARENA_BUMP : ARENA_REUSE;
		struct replay_need need;
		must(replay_run(&replay, sequence.ops, sequence.count, policy, &need) == 0);
		if (need.need_bytes == 0)
			continue;
		struct playback exact =
			sequence_play(&sequence, policy, need.need_bytes, PLAYBACK_CHECK);
		must(exact.done == sequence.count && exact.peak_bytes == need.need_bytes);
		must_be_clean(&exact);
		struct playback moved = sequence_play(&sequence, policy, need.need_bytes + 5000,
						      PLAYBACK_MOVED);
		must(moved.layout == exact.layout);
		struct playback tight =
			sequence_play(&sequence, policy, need.need_bytes - 1, PLAYBACK_CHECK);
		must(tight.done < sequence.count && tight.wanted_bytes == need.need_bytes);
		must_be_clean(&tight);
	}
	sequence_free(&sequence);
	return 0;
}
