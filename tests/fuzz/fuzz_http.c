/* SPDX-License-Identifier: MIT */
/*
 * A whole connection through the HTTP parser: heads, bodies, what is pipelined
 * behind them. Whatever the bytes, the transcript must not depend on how they
 * are cut into reads: all at once, byte by byte, and at random places.
 */
#include "tests/server/transcript.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct transcript_limits limits[2] = {{8192, PARSE_FIELDS_MAX}, {256, 4}};
	uint64_t seed = 14695981039346656037u;
	struct buf whole, cut;

	if (size > INPUT_MAX)
		return 0;
	for (size_t i = 0; i < size; i++)
		seed = (seed ^ data[i]) * 1099511628211u;
	buf_init(&whole);
	buf_init(&cut);
	for (int i = 0; i < 2; i++) {
		const uint64_t cuts[] = {CUT_BYTES, seed | 2, (seed >> 1) | 2};

		buf_clear(&whole);
		transcript_write(&whole, data, size, CUT_WHOLE, limits[i]);
		for (size_t j = 0; j < sizeof(cuts) / sizeof(cuts[0]); j++) {
			buf_clear(&cut);
			transcript_write(&cut, data, size, cuts[j], limits[i]);
			if (whole.length != cut.length ||
			    memcmp(buf_text(&whole), buf_text(&cut), whole.length))
				abort();
		}
	}
	buf_release(&whole);
	buf_release(&cut);
	return 0;
}
