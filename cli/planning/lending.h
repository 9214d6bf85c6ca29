/* SPDX-License-Identifier: MIT */
/*
 * [stack] of a plan whose handlers go deep on lent stacks (pail_on_big_stack()): every
 * bucket has a small stack, and a few big ones are lent to who wants more. The smaller
 * the stack, the more requests want to be lent one at the same time; how many is read
 * off the trace for each size, and the size with the least bound is taken.
 */
#ifndef PAIL_CLI_LENDING_H
#define PAIL_CLI_LENDING_H

#include "cli/planning/traffic.h"

struct lending {
	uint64_t stack_bytes, big_stack_bytes;
	uint32_t big_stack_count;        /* most at one time that want more than stack_bytes */
	uint64_t big_requests, requests; /* who want more; all whose stack was measured */
	uint64_t bound_bytes;            /* of the plan it was chosen for */
	uint64_t flat_bytes;             /* and with the deepest stack in every bucket */
};

/* `plan` is what to choose for; its stacks are not looked at. 1, 0 if the trace holds no
 * stacks, -1 with err. `load` as in struct traffic_ask. */
int lending_choose(struct traffic *traffic, const struct plan *plan, double load,
		   struct lending *lending, struct err *err);

#endif
