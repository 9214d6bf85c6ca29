/* SPDX-License-Identifier: MIT */
#include "server/http/date.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static const char day_name[7][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
				     "Thursday", "Friday", "Saturday"};
static const char month_name[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
				       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

enum { DAY_S = 86400, ERA_DAYS = 146097 };

struct civil {
	int year, month, day; /* month 1..12 */
};

/* Days since 1970-01-01 of a day of the Gregorian calendar. Years are taken to
 * begin in March, so that the leap day is the last of its year; 400 of them
 * (an era) have 146097 days; 719468 days lie between 0000-03-01 and 1970. */
static int64_t days_of(struct civil date)
{
	int64_t year = date.year - (date.month <= 2);
	int64_t era = year / 400;
	int64_t year_of_era = year % 400;
	int64_t day_of_year =
		(153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;

	return era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

static struct civil civil_of(int64_t days)
{
	int64_t since = days + 719468; /* >= 0: years from 1 on */
	int64_t era = since / ERA_DAYS;
	int64_t day_of_era = since % ERA_DAYS;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) /
		365;
	int64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t shifted = (5 * day_of_year + 2) / 153;
	int month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);

	return (struct civil){
		.year = (int)(year_of_era + era * 400) + (month <= 2),
		.month = month,
		.day = (int)(day_of_year - (153 * shifted + 2) / 5) + 1,
	};
}

static void put_two(char *out, int64_t value)
{
	out[0] = (char)('0' + value / 10 % 10);
	out[1] = (char)('0' + value % 10);
}

/* Of the years 1 and 9999. */
static const int64_t FIRST_S = -62135596800, LAST_S = 253402300799;

void date_format(char out[DATE_TEXT_BYTES], int64_t unix_s)
{
	int64_t s = unix_s < FIRST_S ? FIRST_S : unix_s > LAST_S ? LAST_S : unix_s;
	int64_t days = s / DAY_S - (s % DAY_S < 0);
	int64_t second = s - days * DAY_S;
	struct civil date = civil_of(days);

	memcpy(out, "xxx, 00 xxx 0000 00:00:00 GMT", DATE_TEXT_BYTES);
	memcpy(out, day_name[((days + 4) % 7 + 7) % 7], 3); /* 1970 began on a Thursday */
	put_two(out + 5, date.day);
	memcpy(out + 8, month_name[date.month - 1], 3);
	put_two(out + 12, date.year / 100);
	put_two(out + 14, date.year);
	put_two(out + 17, second / 3600);
	put_two(out + 20, second / 60 % 60);
	put_two(out + 23, second % 60);
}

/* -- reading -------------------------------------------------------------- */

static bool take(struct str *s, const char *text)
{
	size_t length = strlen(text);

	if (s->length < length || memcmp(s->bytes, text, length))
		return false;
	*s = (struct str){s->bytes + length, s->length - length};
	return true;
}

static bool take_number(struct str *s, size_t digits, int *value)
{
	if (s->length < digits)
		return false;
	*value = 0;
	for (size_t i = 0; i < digits; i++) {
		if (s->bytes[i] < '0' || s->bytes[i] > '9')
			return false;
		*value = *value * 10 + (s->bytes[i] - '0');
	}
	*s = (struct str){s->bytes + digits, s->length - digits};
	return true;
}

static bool take_month(struct str *s, int *month)
{
	for (*month = 1; *month <= 12; ++*month)
		if (take(s, month_name[*month - 1]))
			return true;
	return false;
}

static bool take_clock(struct str *s, int clock[3])
{
	return take_number(s, 2, &clock[0]) && take(s, ":") && take_number(s, 2, &clock[1]) &&
	       take(s, ":") && take_number(s, 2, &clock[2]);
}

static bool take_day_name(struct str *s, bool *whole)
{
	for (int i = 0; i < 7; i++) {
		char head[4] = {day_name[i][0], day_name[i][1], day_name[i][2], '\0'};

		*whole = take(s, day_name[i]);
		if (*whole || take(s, head))
			return true;
	}
	return false;
}

static int year_of_two_digits(int year, int64_t now_unix_s)
{
	int now = civil_of(now_unix_s / DAY_S).year;

	year += now - now % 100;
	return year > now + 50 ? year - 100 : year;
}

int date_parse(struct str text, int64_t now_unix_s, int64_t *unix_s)
{
	static const int month_days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	struct civil date = {0};
	int clock[3];
	bool whole;
	struct str s = text;

	assert(now_unix_s >= 0);
	if (!take_day_name(&s, &whole))
		return -1;
	if (whole) { /* RFC 850: "Sunday, 06-Nov-94 08:49:37 GMT" */
		if (!take(&s, ", ") || !take_number(&s, 2, &date.day) || !take(&s, "-") ||
		    !take_month(&s, &date.month) || !take(&s, "-") ||
		    !take_number(&s, 2, &date.year) || !take(&s, " ") ||
		    !take_clock(&s, clock) || !take(&s, " GMT"))
			return -1;
		date.year = year_of_two_digits(date.year, now_unix_s);
	} else if (take(&s, ", ")) { /* "Sun, 06 Nov 1994 08:49:37 GMT" */
		if (!take_number(&s, 2, &date.day) || !take(&s, " ") ||
		    !take_month(&s, &date.month) || !take(&s, " ") ||
		    !take_number(&s, 4, &date.year) || !take(&s, " ") ||
		    !take_clock(&s, clock) || !take(&s, " GMT"))
			return -1;
	} else { /* asctime: "Sun Nov  6 08:49:37 1994" */
		if (!take(&s, " ") || !take_month(&s, &date.month) || !take(&s, " ") ||
		    !(take(&s, " ") ? take_number(&s, 1, &date.day)
				    : take_number(&s, 2, &date.day)) ||
		    !take(&s, " ") || !take_clock(&s, clock) || !take(&s, " ") ||
		    !take_number(&s, 4, &date.year))
			return -1;
	}
	/* 60: a leap second. */
	if (s.length || date.year < 1 || date.day < 1 ||
	    date.day > month_days[date.month - 1] || clock[0] > 23 || clock[1] > 59 ||
	    clock[2] > 60)
		return -1;
	*unix_s = days_of(date) * DAY_S + clock[0] * 3600 + clock[1] * 60 + clock[2];
	if (*unix_s > LAST_S)
		*unix_s = LAST_S; /* a leap second at the end of time */
	return 0;
}
