/* SPDX-License-Identifier: MIT */
/*
 * Stack that functions take, all they call included, which a handler's own units
 * don't define; scripts/stack-figures writes both tables.
 *
 * stack_known is of libc and libm: the most that was seen over many arguments by
 * tests/bench/libc_stack.c. A figure is a measured one, of one libc. What calls back
 * (qsort, bsearch) is not here: its depth is the callback's too.
 *
 * stack_server is of what the server gives to handlers, the pail_ functions and those
 * that it defines in libc's place: computed from its own call graph.
 *
 * Each figure that a bound rests on is named beside it, with its source.
 */
#ifndef PAIL_CLI_STACK_KNOWN_H
#define PAIL_CLI_STACK_KNOWN_H

#include <stddef.h>
#include <stdint.h>

struct stack_known {
	const char *function;
	uint64_t bytes;
};

extern const struct stack_known stack_known[], stack_server[];
extern const size_t stack_known_count, stack_server_count;
extern const char stack_known_source[], stack_server_source[];

#endif
