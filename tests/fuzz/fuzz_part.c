/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a part of a sharded simulation, as `pail combine` reads it: it is
 * refused with a message, or what is written of it is read as the same again.
 */
#include "cli/planning/sweep.h"
#include "tests/fuzz/memory_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

/* The bytes read and written again; false if they are no part. */
static bool again(const void *bytes, size_t length, struct buf *out)
{
	struct sweep sweep = {0};
	struct shard shard = {0};
	struct sweep_candidate *candidates = NULL;
	size_t count = 0;
	struct err err = {0};
	bool good = part_read(memory_file(bytes, length), &sweep, &shard, &candidates, &count,
			      &err) == 0;
	if (good) {
		must(shard.index >= 1 && shard.index <= shard.of);
		part_write(&sweep, &shard, candidates, count, out);
	} else {
		must(err.text[0] != '\0');
	}
	free(candidates);
	return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first, second;
	buf_init(&first);
	buf_init(&second);
	if (again(data, size, &first)) {
		must(again(first.bytes, first.length, &second));
		must(first.length == second.length &&
		     memcmp(first.bytes, second.bytes, first.length) == 0);
	}
	buf_release(&first);
	buf_release(&second);
	return 0;
}
