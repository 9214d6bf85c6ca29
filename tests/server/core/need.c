/* SPDX-License-Identifier: MIT */
/* The need of a list of calls as script.c plays them, by base/replay. */
#include "base/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	static struct replay_op ops[1 << 16];
	static uint32_t dense[256]; /* slots in the order of their first use, from 1 */
	uint32_t slots = 0;
	size_t count = 0;
	char line[128];
	enum arena_policy policy = ARENA_REUSE;

	if (argc > 1 && arena_policy_parse(argv[1], &policy) < 0)
		return 2;
	while (fgets(line, sizeof(line), stdin) && count < sizeof(ops) / sizeof(ops[0])) {
		unsigned slot = 0, align = 0;
		unsigned long size = 0;
		char kind = 0;
		if (sscanf(line, "%c %u %lu %u", &kind, &slot, &size, &align) < 2)
			return 2;
		if (slot >= 256)
			return 2;
		if (!dense[slot])
			dense[slot] = ++slots;
		ops[count++] = (struct replay_op){
			.slot = dense[slot] - 1,
			.kind = kind == 'f'   ? REPLAY_FREE
				: kind == 'r' ? REPLAY_REALLOC
					      : REPLAY_ALLOC,
			.align_log2 = (uint8_t)align,
			.size_bytes = size,
		};
	}
	struct replay replay;
	struct replay_need need;
	if (replay_init(&replay, (size_t)1 << 30) < 0 ||
	    replay_run(&replay, ops, count, policy, &need) < 0) {
		perror("need");
		return 3;
	}
	printf("%llu\n", (unsigned long long)need.need_bytes);
	replay_release(&replay);
	return 0;
}
