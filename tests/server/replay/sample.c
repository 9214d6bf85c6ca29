/* SPDX-License-Identifier: MIT */
/*
 * Writes a replay file of made-up requests, "ID NEED_BUMP NEED_REUSE SERVICE_NS"
 * of each on stdout: what base/replay says that the server must then need.
 */
#include "base/replay_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 24, SLOTS = 64, OPS_MAX = 400, SPAN_BYTES = 64 << 20 };

static uint64_t state;

static uint32_t next(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

/* A request of up to OPS_MAX calls; later ones are hungrier. */
static size_t make(struct replay_op *ops, int request)
{
	bool live[SLOTS] = {false};
	size_t count = 10 + next(OPS_MAX - 10);
	uint32_t size_max = 64u << (request % 8);

	for (size_t i = 0; i < count; i++) {
		uint32_t slot = next(i < SLOTS ? (uint32_t)i + 1 : SLOTS); /* dense */

		ops[i] = (struct replay_op){.slot = slot, .size_bytes = next(size_max)};
		if (!live[slot]) {
			ops[i].kind = REPLAY_ALLOC;
			ops[i].align_log2 = next(8) ? 0 : (uint8_t)(4 + next(9));
			live[slot] = true;
		} else if (next(2)) {
			ops[i].kind = REPLAY_REALLOC;
			ops[i].size_bytes++; /* realloc to 0 is a free */
		} else {
			ops[i].kind = REPLAY_FREE;
			ops[i].size_bytes = 0;
			live[slot] = false;
		}
	}
	return count;
}

int main(int argc, char **argv)
{
	struct replay_op ops[OPS_MAX];
	struct replay_writer *writer;
	struct replay replay;
	struct err err;

	if (argc != 2 || replay_init(&replay, SPAN_BYTES) ||
	    replay_writer_open(argv[1], &writer, &err))
		return 1;
	for (int i = 1; i <= REQUESTS; i++) {
		struct replay_need bump, reuse;
		size_t count = make(ops, i);
		int64_t service_ns = i % 4 ? 0 : 20000000;

		if (replay_run(&replay, ops, count, ARENA_BUMP, &bump) ||
		    replay_run(&replay, ops, count, ARENA_REUSE, &reuse) ||
		    replay_writer_add(writer, i, service_ns, ops, count, &err))
			return 1;
		printf("%d %llu %llu %lld\n", i, (unsigned long long)bump.need_bytes,
		       (unsigned long long)reuse.need_bytes, (long long)service_ns);
	}
	replay_release(&replay);
	return replay_writer_close(writer, &err) ? 1 : 0;
}
