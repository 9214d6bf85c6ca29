/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the file that the server's builtin:replay maps: refused with a
 * message, or every list lies inside it and names slots below its item's.
 */
#include "base/replay_file.h"
#include "tests/fuzz/memory_file.h"

#include <stdbool.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct replay_file file;
	struct err err = {0};
	if (replay_file_open(memory_file(data, size), &file, &err) != 0) {
		must(err.text[0] != '\0');
		return 0;
	}
	for (uint64_t i = 0; i < file.head->item_count; i++) {
		const struct replay_file_item *item = &file.items[i];
		must(replay_file_find(&file, item->id) == item);
		must(item->slots <= file.head->slots_max);
		for (uint32_t k = 0; k < item->op_count; k++) {
			const struct replay_op *op = &file.ops[item->op_first + k];
			must((const char *)(op + 1) <= (const char *)file.map + file.map_bytes);
			must(op->slot < item->slots);
		}
	}
	replay_file_close(&file);
	return 0;
}
