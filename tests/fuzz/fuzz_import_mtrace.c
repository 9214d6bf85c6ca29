/* SPDX-License-Identifier: MIT */
/* Any bytes as what `pail import --format mtrace` reads. */
#include "tests/fuzz/importing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	import_bytes(import_mtrace_open, data, size);
	return 0;
}
