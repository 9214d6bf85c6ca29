/* SPDX-License-Identifier: MIT */
#include "base/units.h"
#include "tests/base/sequence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_size(const char *text, uint64_t bytes)
{
	uint64_t value = 0;
	struct err err;
	if (units_parse_size(str_of(text), &value, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	if (value != bytes)
		fail_msg("'%s' gave %llu", text, (unsigned long long)value);
}

static void test_units__sizes_are_powers_of_two(void **state)
{
	(void)state;
	assert_size("0", 0);
	assert_size("65536", 65536);
	assert_size("65536B", 65536);
	assert_size("64K", 65536);
	assert_size("64k", 65536);
	assert_size("64KiB", 65536);
	assert_size("64KB", 65536);
	assert_size("1M", 1 << 20);
	assert_size("2G", UINT64_C(2) << 30);
	assert_size("3T", UINT64_C(3) << 40);
	assert_size("1.5K", 1536);
	assert_size(".5K", 512);
	assert_size("0.001K", 1); /* 1.024 */
	assert_size("1.9999999999999999999999999999K", 2048);
	assert_size("18446744073709551615", UINT64_MAX);
	assert_size("16383P", UINT64_C(16383) << 50);
}

static void test_units__what_is_no_size_is_refused(void **state)
{
	(void)state;
	const char *bad[] = {"",
			     "K",
			     ".",
			     "-1",
			     "+1",
			     " 1",
			     "1 ",
			     "1 K",
			     "1KK",
			     "1Kb",
			     "1KI",
			     "1X",
			     "1e3",
			     "0x10",
			     "1.2.3",
			     "1,5K",
			     "18446744073709551616",
			     "16384P",
			     "99999999999999999999999",
			     "18014398509481984K",
			     "nan",
			     "inf"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t value = 77;
		struct err err;
		if (units_parse_size(str_of(bad[i]), &value, &err) == 0)
			fail_msg("'%s' was taken as %llu", bad[i], (unsigned long long)value);
		assert_int_equal(value, 77);
		assert_int_equal(err.kind, ERR_USAGE);
	}
	/* a view may hold anything */
	uint64_t value;
	struct err err;
	assert_int_equal(units_parse_size((struct str){"1\0", 2}, &value, &err), -1);
	assert_int_equal(units_parse_size((struct str){"64Kxyz", 3}, &value, &err), 0);
}

static void assert_time(const char *text, uint64_t ns)
{
	uint64_t value = 0;
	struct err err;
	if (units_parse_time(str_of(text), &value, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	assert_int_equal(value, ns);
}

static void test_units__times_need_a_unit(void **state)
{
	(void)state;
	assert_time("0", 0);
	assert_time("0s", 0);
	assert_time("100ns", 100);
	assert_time("5us", 5000);
	assert_time("250ms", 250000000);
	assert_time("2s", 2000000000);
	assert_time("1.5s", 1500000000);
	assert_time("5m", 300 * UINT64_C(1000000000));
	assert_time("1h", 3600 * UINT64_C(1000000000));
	assert_time("0.4ns", 0);
	assert_time("0.5ns", 1);
	const char *bad[] = {"5",  "",     "s",    "-1s",          "1 s",
			     "1S", "1sec", "1min", "99999999999h", "1e3s"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t value;
		struct err err;
		if (units_parse_time(str_of(bad[i]), &value, &err) == 0)
			fail_msg("'%s' was taken", bad[i]);
	}
}

static void test_units__counts_and_numbers_are_plain(void **state)
{
	(void)state;
	uint64_t count;
	double number;
	struct err err;
	assert_int_equal(units_parse_count(STR("42"), &count, &err), 0);
	assert_int_equal(count, 42);
	const char *bad[] = {"", "-1", "4.0", "4K", "1e3", " 4", "18446744073709551616", "."};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(units_parse_count(str_of(bad[i]), &count, &err), -1);

	assert_int_equal(units_parse_double(STR("1e-4"), &number, &err), 0);
	assert_true(number == 1e-4);
	assert_int_equal(units_parse_double(STR("-2.5"), &number, &err), 0);
	assert_true(number == -2.5);
	const char *worse[] = {"",   "nan", "inf", "1e999", "0x10", " 1",
			       "1 ", "1,5", "1e",  "--1",   "1.2.3"};
	for (size_t i = 0; i < sizeof(worse) / sizeof(worse[0]); i++)
		assert_int_equal(units_parse_double(str_of(worse[i]), &number, &err), -1);
}

static void test_units__tables_get_three_digits(void **state)
{
	(void)state;
	const struct {
		uint64_t value;
		const char *size, *time;
	} cases[] = {
		{0, "0 B", "0 ns"},
		{999, "999 B", "999 ns"},
		{1023, "1023 B", "1.02 us"},
		{65536, "64.0 KiB", "65.5 us"},
		{1250000, "1.19 MiB", "1.25 ms"},
		{999999, "977 KiB", "1.00 ms"},
		{1048575, "1.00 MiB", "1.05 ms"},
		{90000000000, "83.8 GiB", "90.0 s"},
		{UINT64_C(7200000000000), "6.55 TiB", "2.00 h"},
		{UINT64_MAX, "16.0 EiB", "5124096 h"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[UNITS_TEXT_MAX];
		assert_string_equal(units_format_size(cases[i].value, text), cases[i].size);
		assert_string_equal(units_format_time(cases[i].value, text), cases[i].time);
	}
}

static void test_units__config_files_get_the_exact_value_back(void **state)
{
	(void)state;
	uint64_t random = 3;
	char text[UNITS_TEXT_MAX];
	assert_string_equal(units_write_size(65536, text), "64K");
	assert_string_equal(units_write_size(65537, text), "65537");
	assert_string_equal(units_write_time(250000000, text), "250ms");
	assert_string_equal(units_write_time(0, text), "0s");
	assert_string_equal(units_write_time(90000000000, text), "90s");
	for (int i = 0; i < 20000; i++) {
		uint64_t value = sequence_random(&random) >> (sequence_random(&random) % 64);
		uint64_t size, time;
		struct err err;
		if (i % 2) /* round ones, too */
			value = value << 20 >> 20 << (i % 40 / 2);
		assert_int_equal(
			units_parse_size(str_of(units_write_size(value, text)), &size, &err),
			0);
		assert_int_equal(size, value);
		assert_int_equal(
			units_parse_time(str_of(units_write_time(value, text)), &time, &err),
			0);
		assert_int_equal(time, value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units__sizes_are_powers_of_two),
		cmocka_unit_test(test_units__what_is_no_size_is_refused),
		cmocka_unit_test(test_units__times_need_a_unit),
		cmocka_unit_test(test_units__counts_and_numbers_are_plain),
		cmocka_unit_test(test_units__tables_get_three_digits),
		cmocka_unit_test(test_units__config_files_get_the_exact_value_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
