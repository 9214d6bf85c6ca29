/* SPDX-License-Identifier: MIT */
/*
 * The stacks that requests run on: how deep one got, and the big ones.
 *
 * Depth is measured with paint: an unused stack is full of one pattern, and
 * what was overwritten was used. After a request the painted part is looked
 * for from where the last one had come to, downwards, and STACK_CLEAN_BYTES of
 * whole pattern count as its beginning. A frame with a larger hole, such as an array
 * that is hardly used, is missed by that (-fstack-clash-protection touches its pages
 * without changing them). A bucket's 1st, 2nd, 4th, 8th ... and every
 * STACK_FULL_EVERY-th request is measured from the bottom up, which no frame escapes; it
 * then finds the holes' depth of those before it, too.
 *
 * A request whose depth nobody writes down, neither a log nor a trace, is not
 * measured each time: paint that was overwritten stays so, and every
 * STACK_SAMPLE_EVERY-th of a bucket finds the deepest of those since. No peak is
 * lost by it; it is told by so many requests later.
 *
 * A big stack is lent for one call. Each worker has its own; who finds none
 * free waits in line.
 */
#ifndef PAIL_SERVER_STACK_H
#define PAIL_SERVER_STACK_H

#include "server/request/request.h"

#include <stddef.h>
#include <stdint.h>

enum {
	STACK_CLEAN_BYTES = 4096,
	STACK_FULL_EVERY = 512,
	STACK_SAMPLE_EVERY = 8,
	STACK_BIG_MAX = 64
};

struct big_stacks {
	uint16_t free[STACK_BIG_MAX]; /* indices of the plan's big stacks */
	uint32_t free_count, count;
	struct pail_request *first, *last; /* waiting, by big_next */
};

void stack_paint(unsigned char *low, size_t bytes);
/* Whether it is to be measured behind this request, and if not notes its route. */
bool stack_is_due(struct bucket *bucket, bool written_down, int route);
/* Most bytes of it used since the last time, never 0; painted anew. *one_route: all
 * requests since had this same one. */
size_t stack_measure(struct bucket *bucket, int route, bool *one_route);

/* Takes back the big stack that r has been lent; the first who waits gets it. */
void stack_give_big(struct pail_request *r);

#endif
