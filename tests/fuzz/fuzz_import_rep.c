/* SPDX-License-Identifier: MIT */
/* Any bytes as what `pail import --format rep` reads. */
#include "tests/fuzz/importing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	import_bytes(import_rep_open, data, size);
	return 0;
}
