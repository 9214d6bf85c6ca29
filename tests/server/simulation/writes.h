/* SPDX-License-Identifier: MIT */
/*
 * How many writes answers take: head and body of one that fits leave in one, and
 * so do the answers to all requests that one read has brought. Each conversation
 * is with a client of its own, in a world without short writes.
 */
#ifndef PAIL_TESTS_SIMULATION_WRITES_H
#define PAIL_TESTS_SIMULATION_WRITES_H

/* `turn` is one of a worker's. Ends the run where it is otherwise. */
void writes_check(void (*turn)(void));

#endif
