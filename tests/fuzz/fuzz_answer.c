/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a server answers to `pail drive` and `pail verify`: what is
 * taken, and what it is taken for, does not depend on how it is cut into reads.
 * The first byte says whether the request was a HEAD.
 */
#include "cli/driving/answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

/* In pieces of so many bytes, each in memory of its own size. */
static size_t feed(struct answer *answer, bool head, const uint8_t *data, size_t size,
		   size_t piece)
{
	size_t taken = 0;
	answer_clear(answer, head);
	while (taken < size) {
		size_t n = size - taken < piece ? size - taken : piece;
		char *copy = malloc(n);
		if (!copy)
			abort();
		memcpy(copy, data + taken, n);
		size_t step = answer_feed(answer, copy, n);
		free(copy);
		must(step <= n);
		taken += step;
		if (step < n || answer->state == ANSWER_DONE || answer->state == ANSWER_BAD)
			break;
	}
	must(answer->state != ANSWER_DONE || (answer->status >= 200 && answer->status <= 999));
	must(answer->bytes == taken);
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct answer whole, cut;
	if (size < 2 || size > 65536)
		return 0;
	bool head = data[0] & 1;
	size_t taken = feed(&whole, head, data + 1, size - 1, size);
	static const size_t pieces[] = {1, 2, 7};
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		size_t again = feed(&cut, head, data + 1, size - 1, pieces[i]);
		must(cut.state == whole.state && again == taken);
		must(cut.status == whole.status && cut.body_left == whole.body_left);
	}
	must(answer_ended(&whole) == answer_ended(&cut));
	return 0;
}
