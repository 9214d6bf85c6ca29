/* SPDX-License-Identifier: MIT */
/*
 * What the files behind limits.h share: the sum (limits.c), what numbers are
 * possible (limits_check.c), and the rules of routes (limits_route.c).
 */
#ifndef PAIL_BASE_LIMITS_PARTS_H
#define PAIL_BASE_LIMITS_PARTS_H

#include "base/limits.h"

/* False where the sum of any plan, possible or not, overflows. */
bool limits_sum(const struct plan *plan, uint64_t *total_bytes);

/* "*", "/path", "/prefix/", "/prefix*", each with "METHOD " before it or not; or a
 * whole name in quotes. */
bool limits_pattern_is_possible(const char *pattern);

/* Printable ASCII or UTF-8 without blanks, and none of `without`. */
bool limits_is_word(const char *text, const char *without);

#endif
