/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a size, a time, a count and a number: what is taken is written
 * and read back as the same value, and what is refused leaves it alone.
 */
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct err err;
	char written[UNITS_TEXT_MAX];
	uint64_t value = 1, again = 2;
	double number;
	if (units_parse_size(text, &value, &err) == 0) {
		must(units_parse_size(str_of(units_write_size(value, written)), &again, &err) ==
		     0);
		must(value == again);
		must(strlen(units_format_size(value, written)) > 2);
	} else {
		must(value == 1 && err.text[0] && err.kind == ERR_USAGE);
	}
	value = 1;
	if (units_parse_time(text, &value, &err) == 0) {
		must(units_parse_time(str_of(units_write_time(value, written)), &again, &err) ==
		     0);
		must(value == again);
		must(strlen(units_format_time(value, written)) > 2);
	} else {
		must(value == 1);
	}
	value = 1;
	if (units_parse_count(text, &value, &err) == 0) {
		/* a count is also a size and, unless it is 0, no time */
		must(units_parse_size(text, &again, &err) == 0 && again == value);
		must((units_parse_time(text, &again, &err) == 0) == (value == 0));
	}
	if (units_parse_double(text, &number, &err) == 0)
		must(isfinite(number));
	return 0;
}
