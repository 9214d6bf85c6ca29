/* SPDX-License-Identifier: MIT */
/*
 * Stack that functions of libc take, all they call included: the most that was
 * seen over many arguments by tests/bench/libc_stack.c. A figure is a measured
 * one, of one libc, and each that a bound rests on is named beside it. What
 * calls back (qsort, bsearch) is not here: its depth is the callback's too.
 */
#ifndef PAIL_CLI_STACK_KNOWN_H
#define PAIL_CLI_STACK_KNOWN_H

#include <stddef.h>
#include <stdint.h>

extern const struct stack_known {
	const char *function;
	uint64_t bytes;
} stack_known[];
extern const size_t stack_known_count;
extern const char stack_known_source[];

#endif
