/* SPDX-License-Identifier: MIT */
/*
 * Dates as HTTP writes them (RFC 9110, 5.6.7), by arithmetic alone: no time
 * zone, no locale, no allocation, no clock. Seconds are Unix time, years 1 to
 * 9999.
 */
#ifndef PAIL_SERVER_DATE_H
#define PAIL_SERVER_DATE_H

#include "base/str.h"

#include <stdint.h>

enum { DATE_TEXT_BYTES = 30 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" and its NUL */

void date_format(char out[DATE_TEXT_BYTES], int64_t unix_s);
/* All three forms that a recipient must read: IMF-fixdate, RFC 850, asctime.
 * `now_unix_s` places the two-digit year of RFC 850: one that would lie more
 * than 50 years ahead is in the past. 0, or -1 if it is no date. */
int date_parse(struct str text, int64_t now_unix_s, int64_t *unix_s);

#endif
