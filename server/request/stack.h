/* SPDX-License-Identifier: MIT */
/*
 * The stacks that requests run on: how deep one got, and the big ones.
 *
 * Depth is measured with paint: an unused stack is full of one pattern, and
 * what was overwritten was used. After a request the painted part is looked
 * for from the top down, and STACK_CLEAN_BYTES of whole pattern count as its
 * beginning: code compiled with -fstack-clash-protection touches every page on
 * its way down. Every STACK_FULL_EVERY-th request of a bucket is measured from
 * the bottom up, which no frame with a hole escapes.
 *
 * A big stack is lent for one call. Each worker has its own; who finds none
 * free waits in line.
 */
#ifndef PAIL_SERVER_STACK_H
#define PAIL_SERVER_STACK_H

#include "server/request/request.h"

#include <stddef.h>
#include <stdint.h>

enum { STACK_CLEAN_BYTES = 8192, STACK_FULL_EVERY = 64, STACK_BIG_MAX = 64 };

struct big_stacks {
	uint16_t free[STACK_BIG_MAX]; /* indices of the plan's big stacks */
	uint32_t free_count, count;
	struct pail_request *first, *last; /* waiting, by big_next */
};

void stack_paint(unsigned char *low, size_t bytes);
/* Most bytes of it used since the last time; painted anew. */
size_t stack_measure(struct bucket *bucket);

/* Takes back the big stack that r has been lent; the first who waits gets it. */
void stack_give_big(struct pail_request *r);

#endif
