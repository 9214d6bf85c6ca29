/* SPDX-License-Identifier: MIT */
/*
 * Strings as views: a pointer and a length, never owned, never terminated.
 */
#ifndef PAIL_BASE_STR_H
#define PAIL_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

struct str {
	const char *bytes;
	size_t length;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

struct str str_of(const char *text); /* of a terminated string; NULL gives an empty view */
bool str_equal(struct str a, struct str b);
bool str_equal_nocase(struct str a, struct str b); /* ASCII only, as HTTP field names are */
bool str_starts(struct str s, struct str prefix);
struct str str_trim(struct str s); /* spaces and tabs off both ends */
/* Cuts s at the first `separator`: *head gets what is before it, *tail what is
 * behind it. False, with head = s and an empty tail, if there is none. */
bool str_cut(struct str s, char separator, struct str *head, struct str *tail);
/* printf arguments for "%.*s" */
#define STR_ARG(s) (int)(s).length, (s).bytes

#endif
