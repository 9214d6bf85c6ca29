/* SPDX-License-Identifier: MIT */
/*
 * Texts to small numbers, for a writer that stores each text once: open
 * addressing over copies of the texts. Numbers are dense from `first`.
 *
 * A table that may meet any number of texts (targets, each with an id of its
 * own) is bounded: names_full() says when to clear it, and what was known is
 * then given a number again, which costs a row and is no error.
 */
#ifndef PAIL_LIBTRACE_NAMES_H
#define PAIL_LIBTRACE_NAMES_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names {
	struct str *name; /* by number - first */
	uint32_t count, room;
	uint32_t *slot; /* number - first + 1, or 0 */
	uint32_t slots;
	int64_t first;
	size_t bytes; /* of all texts */
};

/* All zero but `first` is an empty one. */
void names_clear(struct names *names, int64_t first);
void names_release(struct names *names);
bool names_full(const struct names *names);
/* Gives the number, and whether it is new; -1 when memory runs out. */
int64_t names_number(struct names *names, struct str text, bool *fresh);

#endif
