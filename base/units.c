/* SPDX-License-Identifier: MIT */
#include "base/units.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	struct str name;
	uint64_t factor;
};

static const struct unit times[] = {
	{{"ns", 2}, 1},
	{{"us", 2}, 1000},
	{{"ms", 2}, 1000000},
	{{"s", 1}, 1000000000},
	{{"m", 1}, 60 * UINT64_C(1000000000)},
	{{"h", 1}, 3600 * UINT64_C(1000000000)},
};

/* A message shows at most this much of a word that is wrong. */
#define SHOWN(text) (int)((text).length < 60 ? (text).length : 60), (text).bytes

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* whole + numerator / 10^digits, exactly; the fraction's digits past the 18th
 * are below any unit and cannot change the rounding by more than one part in
 * 10^18. */
struct decimal {
	uint64_t whole, numerator, denominator;
	struct str suffix;
	bool overflow;
};

/* False if the text does not start with a number. */
static bool parse_decimal(struct str text, struct decimal *d)
{
	*d = (struct decimal){.denominator = 1};
	size_t i = 0, digits = 0;
	for (; i < text.length && digit(text.bytes[i]); i++, digits++) {
		uint64_t n = (uint64_t)(text.bytes[i] - '0');
		if (__builtin_mul_overflow(d->whole, 10, &d->whole) ||
		    __builtin_add_overflow(d->whole, n, &d->whole))
			d->overflow = true;
	}
	if (i < text.length && text.bytes[i] == '.') {
		i++;
		for (; i < text.length && digit(text.bytes[i]); i++, digits++) {
			if (d->denominator == UINT64_C(1000000000000000000))
				continue;
			d->numerator = d->numerator * 10 + (uint64_t)(text.bytes[i] - '0');
			d->denominator *= 10;
		}
	}
	d->suffix = (struct str){text.bytes + i, text.length - i};
	return digits > 0;
}

/* Nearest whole number of units; false on overflow. */
static bool scale(const struct decimal *d, uint64_t factor, uint64_t *result)
{
	unsigned __int128 sum = (unsigned __int128)d->whole * factor;
	sum += ((unsigned __int128)d->numerator * factor * 2 + d->denominator) /
	       ((unsigned __int128)d->denominator * 2);
	*result = (uint64_t)sum;
	return !d->overflow && sum <= UINT64_MAX;
}

static bool size_factor(struct str suffix, uint64_t *factor)
{
	static const char letters[] = "KMGTP";
	*factor = 1;
	if (suffix.length == 0)
		return true;
	/* strchr would find a NUL as well, which a length-counted text may hold, and
	 * which a blank would become */
	char letter = (char)(suffix.bytes[0] & ~0x20);
	const char *at = letter ? strchr(letters, letter) : NULL;
	if (at) {
		*factor = UINT64_C(1) << (10 * (at - letters + 1));
		suffix.bytes++;
		suffix.length--;
		return suffix.length == 0 || str_equal(suffix, STR("iB")) ||
		       str_equal(suffix, STR("B"));
	}
	return str_equal(suffix, STR("B"));
}

int units_parse_size(struct str text, uint64_t *bytes, struct err *err)
{
	struct decimal d;
	uint64_t factor, result;
	if (!parse_decimal(text, &d) || !size_factor(d.suffix, &factor))
		return err_usage(err,
				 "'%.*s' is no size; write bytes or a number with K, M or G, "
				 "such as 65536, 64K or 1.5M",
				 SHOWN(text));
	if (!scale(&d, factor, &result))
		return err_usage(err, "size '%.*s' is too large", SHOWN(text));
	*bytes = result;
	return 0;
}

int units_parse_time(struct str text, uint64_t *ns, struct err *err)
{
	struct decimal d;
	if (!parse_decimal(text, &d))
		return err_usage(err,
				 "'%.*s' is no time; write a number with ns, us, ms, s, m or "
				 "h, such as 250ms or 2s",
				 SHOWN(text));
	uint64_t factor = 0;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		if (str_equal(d.suffix, times[i].name))
			factor = times[i].factor;
	}
	if (d.suffix.length == 0 && d.whole == 0 && d.numerator == 0 && !d.overflow)
		factor = 1;
	else if (d.suffix.length == 0)
		return err_usage(err,
				 "time '%.*s' lacks a unit; write ns, us, ms, s, m or h, "
				 "such as 250ms or 2s",
				 SHOWN(text));
	if (factor == 0)
		return err_usage(err,
				 "time '%.*s' has an unknown unit '%.*s'; write ns, us, ms, "
				 "s, m or h",
				 SHOWN(text), SHOWN(d.suffix));
	uint64_t result;
	if (!scale(&d, factor, &result))
		return err_usage(err, "time '%.*s' is too large", SHOWN(text));
	*ns = result;
	return 0;
}

int units_parse_count(struct str text, uint64_t *count, struct err *err)
{
	struct decimal d;
	if (!parse_decimal(text, &d) || d.suffix.length > 0 ||
	    memchr(text.bytes, '.', text.length))
		return err_usage(err, "'%.*s' is no whole number", SHOWN(text));
	if (d.overflow)
		return err_usage(err, "number '%.*s' is too large", SHOWN(text));
	*count = d.whole;
	return 0;
}

int units_parse_double(struct str text, double *value, struct err *err)
{
	char copy[64];
	char *rest = copy;
	double result = 0;
	/* strtod reads blanks, "nan", "infinity" and hexadecimal: none of them is meant. */
	bool plain = text.length > 0 && text.length < sizeof(copy);
	for (size_t i = 0; plain && i < text.length; i++)
		plain = text.bytes[i] && strchr("+-.0123456789eE", text.bytes[i]);
	if (plain) {
		memcpy(copy, text.bytes, text.length);
		copy[text.length] = '\0';
		result = strtod(copy, &rest);
	}
	if (!plain || rest == copy || *rest != '\0')
		return err_usage(err, "'%.*s' is no number", SHOWN(text));
	if (!isfinite(result))
		return err_usage(err, "number '%.*s' is too large", SHOWN(text));
	*value = result;
	return 0;
}

/* Three significant digits; 1000..1023 of one unit keep four. */
static char *format_three(double value, const char *unit, char text[UNITS_TEXT_MAX])
{
	int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
	snprintf(text, UNITS_TEXT_MAX, "%.*f %s", decimals, value, unit);
	return text;
}

char *units_format_size(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t unit = 0;
	double value = (double)bytes;
	/* 1023.5 KiB would print as 1024 KiB */
	while (value >= 1023.5 && unit + 1 < sizeof(names) / sizeof(names[0])) {
		value /= 1024;
		unit++;
	}
	if (unit == 0) {
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
		return text;
	}
	return format_three(value, names[unit], text);
}

char *units_format_time(uint64_t ns, char text[UNITS_TEXT_MAX])
{
	static const struct {
		const char *name;
		double ns, limit;
	} steps[] = {
		{"us", 1e3, 999.5e3},        {"ms", 1e6, 999.5e6},    {"s", 1e9, 119.5e9},
		{"min", 60e9, 119.5 * 60e9}, {"h", 3600e9, INFINITY},
	};
	if (ns < 1000) {
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " ns", ns);
		return text;
	}
	size_t i = 0;
	while ((double)ns >= steps[i].limit)
		i++;
	return format_three((double)ns / steps[i].ns, steps[i].name, text);
}

char *units_write_size(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
	static const char *const suffix[] = {"", "K", "M", "G", "T", "P"};
	size_t unit = 0;
	while (bytes > 0 && bytes % 1024 == 0 &&
	       unit + 1 < sizeof(suffix) / sizeof(suffix[0])) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 "%s", bytes, suffix[unit]);
	return text;
}

char *units_write_time(uint64_t ns, char text[UNITS_TEXT_MAX])
{
	size_t unit = 0;
	for (size_t i = 0; ns > 0 && i < sizeof(times) / sizeof(times[0]); i++) {
		if (ns % times[i].factor == 0)
			unit = i;
	}
	if (ns == 0)
		unit = 3; /* "0s" reads better than "0ns" */
	snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 "%s", ns / times[unit].factor,
		 times[unit].name.bytes);
	return text;
}
