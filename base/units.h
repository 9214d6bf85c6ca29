/* SPDX-License-Identifier: MIT */
/*
 * Sizes and times as people write them: `65536`, `64K`, `1M`, `2G` (powers of
 * two, optional trailing `iB`/`B`) and `100ns`, `5us`, `250ms`, `2s`, `5m`,
 * `1h`. Whole numbers and decimal fractions; the result is rounded to the
 * nearest byte or nanosecond. Overflow, a negative number, an unknown suffix,
 * a missing unit on a time other than 0 and trailing text are errors.
 */
#ifndef PAIL_BASE_UNITS_H
#define PAIL_BASE_UNITS_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

int units_parse_size(struct str text, uint64_t *bytes, struct err *err);
int units_parse_time(struct str text, uint64_t *ns, struct err *err);
int units_parse_count(struct str text, uint64_t *count, struct err *err); /* plain decimal */
int units_parse_double(struct str text, double *value, struct err *err);  /* finite */

enum { UNITS_TEXT_MAX = 32 };
/* For tables: three significant digits, "64.0 KiB", "1.25 ms". Return `text`. */
char *units_format_size(uint64_t bytes, char text[UNITS_TEXT_MAX]);
char *units_format_time(uint64_t ns, char text[UNITS_TEXT_MAX]);
/* For config files: exact, in the largest unit that divides it, "64K", "250ms". */
char *units_write_size(uint64_t bytes, char text[UNITS_TEXT_MAX]);
char *units_write_time(uint64_t ns, char text[UNITS_TEXT_MAX]);

#endif
