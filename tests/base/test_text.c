/* SPDX-License-Identifier: MIT */
/* The pieces that make and take text: err, str, buf, json, table. */
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "base/table.h"
#include "tests/base/sequence.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_err__messages_say_what_and_why(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(err_set(&err, "cannot open '%s'", "x"), -1);
	assert_string_equal(err.text, "cannot open 'x'");
	assert_int_equal(err.kind, ERR_ENVIRONMENT);
	assert_int_equal(err_usage(&err, "no"), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	errno = ENOENT;
	assert_int_equal(err_errno(&err, "cannot open '%s'", "x"), -1);
	assert_string_equal(err.text, "cannot open 'x': No such file or directory");
	assert_int_equal(err.errnum, ENOENT);
	assert_int_equal(err_prefix(&err, "plan %d", 3), -1);
	assert_string_equal(err.text, "plan 3: cannot open 'x': No such file or directory");
	assert_int_equal(err.errnum, ENOENT);
}

static void test_err__long_messages_are_cut_not_overrun(void **state)
{
	(void)state;
	struct err err;
	char text[2000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&err, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	errno = EIO;
	err_errno(&err, "%s", text);
	err_prefix(&err, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void test_str__views_compare_trim_and_cut(void **state)
{
	(void)state;
	struct str head, tail;
	assert_true(str_equal(str_of(NULL), STR("")));
	assert_true(str_equal_nocase(STR("Content-LENGTH"), STR("content-length")));
	assert_false(str_equal_nocase(STR("a["), STR("A{")));
	assert_true(str_starts(STR("abc"), STR("ab")));
	assert_false(str_starts(STR("a"), STR("ab")));
	assert_true(str_equal(str_trim(STR(" \t a b \t")), STR("a b")));
	assert_true(str_equal(str_trim(STR(" \t ")), STR("")));
	assert_true(str_cut(STR("a=b=c"), '=', &head, &tail));
	assert_true(str_equal(head, STR("a")));
	assert_true(str_equal(tail, STR("b=c")));
	assert_false(str_cut(STR("abc"), '=', &head, &tail));
	assert_true(str_equal(head, STR("abc")));
	assert_int_equal(tail.length, 0);
}

static void test_buf__grows_and_stays_terminated(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf);
	assert_string_equal(buf_text(&buf), "");
	for (int i = 0; i < 1000; i++) {
		buf_printf(&buf, "%d,", i);
		assert_int_equal(strlen(buf_text(&buf)), buf.length);
	}
	char long_text[5000];
	memset(long_text, 'y', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	size_t before = buf.length;
	buf_printf(&buf, "%s!", long_text);
	assert_int_equal(buf.length, before + 5000);
	assert_int_equal(buf_text(&buf)[buf.length - 1], '!');
	buf_clear(&buf);
	assert_string_equal(buf_text(&buf), "");
	buf_append(&buf, "a\0b", 3);
	assert_int_equal(buf.length, 3);
	buf_release(&buf);
}

static void test_buf__a_failed_growth_is_remembered(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf);
	buf_append_str(&buf, "abc");
	buf_append(&buf, "", SIZE_MAX / 2);
	assert_true(buf.failed);
	buf_append_str(&buf, "def");
	assert_string_equal(buf_text(&buf), "");
	assert_int_equal(buf.length, 3);
	buf_release(&buf);
}

static void test_json__writes_nested_documents(void **state)
{
	(void)state;
	struct buf buf;
	struct json json;
	buf_init(&buf);
	json_init(&json, &buf);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.calc/1");
	json_key(&json, "empty");
	json_array_begin(&json);
	json_array_end(&json);
	json_key(&json, "list");
	json_array_begin(&json);
	json_u64(&json, UINT64_MAX);
	json_i64(&json, INT64_MIN);
	json_bool(&json, true);
	json_null(&json);
	json_object_begin(&json);
	json_object_end(&json);
	json_array_end(&json);
	json_pair_text(&json, "nothing", NULL);
	json_pair_double(&json, "x", 0.1);
	json_object_end(&json);
	assert_string_equal(buf_text(&buf), "{\n"
					    "  \"schema\": \"pail.calc/1\",\n"
					    "  \"empty\": [],\n"
					    "  \"list\": [\n"
					    "    18446744073709551615,\n"
					    "    -9223372036854775808,\n"
					    "    true,\n"
					    "    null,\n"
					    "    {}\n"
					    "  ],\n"
					    "  \"nothing\": null,\n"
					    "  \"x\": 0.1\n"
					    "}\n");
	buf_release(&buf);
}

static void assert_json_string(struct str in, const char *out)
{
	struct buf buf;
	struct json json;
	buf_init(&buf);
	json_init(&json, &buf);
	json_str(&json, in);
	assert_string_equal(buf_text(&buf), out);
	buf_release(&buf);
}

static void test_json__strings_are_escaped_and_valid(void **state)
{
	(void)state;
	assert_json_string(STR("a\"b\\c\n\t\r\x01\x7f"),
			   "\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u007f\"\n");
	assert_json_string(STR("a\0b"), "\"a\\u0000b\"\n");
	assert_json_string(STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
			   "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"\n");
#define BAD "\xef\xbf\xbd"
	assert_json_string(STR("\xff"), "\"" BAD "\"\n");
	assert_json_string(STR("\xc3"), "\"" BAD "\"\n");                 /* cut short */
	assert_json_string(STR("\xc0\xaf"), "\"" BAD BAD "\"\n");         /* overlong */
	assert_json_string(STR("\xed\xa0\x80"), "\"" BAD BAD BAD "\"\n"); /* surrogate */
	assert_json_string(STR("\xf4\x90\x80\x80"), "\"" BAD BAD BAD BAD "\"\n"); /* too high */
	assert_json_string(STR("\xe2\x82z"), "\"" BAD BAD "z\"\n");
}

static void test_json__doubles_are_short_and_read_back(void **state)
{
	(void)state;
	const struct {
		double value;
		const char *text;
	} cases[] = {{0, "0\n"},
		     {1, "1\n"},
		     {0.1, "0.1\n"},
		     {1e-4, "0.0001\n"},
		     {1.0 / 3, NULL},
		     {NAN, "null\n"},
		     {INFINITY, "null\n"},
		     {-INFINITY, "null\n"},
		     {1e300, "1e+300\n"},
		     {5e-324, NULL},
		     {0.21458234310734733, NULL}};
	struct buf buf;
	struct json json;
	buf_init(&buf);
	uint64_t random = 9;
	for (size_t i = 0; i < 20000; i++) {
		size_t fixed = sizeof(cases) / sizeof(cases[0]);
		uint64_t bits = sequence_random(&random);
		double value;
		memcpy(&value, &bits, sizeof(value));
		if (i < fixed)
			value = cases[i].value;
		buf_clear(&buf);
		json_init(&json, &buf);
		json_double(&json, value);
		if (i < fixed && cases[i].text)
			assert_string_equal(buf_text(&buf), cases[i].text);
		if (isfinite(value))
			assert_true(strtod(buf_text(&buf), NULL) == value);
	}
	buf_release(&buf);
}

static void test_table__columns_line_up(void **state)
{
	(void)state;
	const char *const heads[] = {"route", ">requests", "note"};
	struct table *table = table_new(3, heads);
	table_cell(table, "GET /");
	table_cell(table, "%d", 7);
	table_cell(table, "ok");
	table_cell(table, "GET /caf\xc3\xa9");
	table_cell(table, "%d", 123456789);
	table_cell(table, "tab\there");
	struct buf out;
	buf_init(&out);
	table_write(table, &out, 100);
	assert_string_equal(buf_text(&out), "route       requests  note\n"
					    "---------  ---------  --------\n"
					    "GET /              7  ok\n"
					    "GET /caf\xc3\xa9  123456789  tab?here\n");
	table_free(table);
	buf_release(&out);
}

static void test_table__rows_are_cut_to_the_width_but_numbers_never(void **state)
{
	(void)state;
	const char *const heads[] = {"route", ">bytes"};
	struct table *table = table_new(2, heads);
	table_cell(table, "GET /a/very/long/path/\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9/x");
	table_cell(table, "123456789");
	struct buf out;
	for (int width = 5; width < 60; width++) {
		buf_init(&out);
		table_write(table, &out, width);
		assert_non_null(strstr(buf_text(&out), "123456789\n"));
		struct str line, rest = str_of(buf_text(&out));
		while (str_cut(rest, '\n', &line, &rest)) {
			int cells = 0;
			for (size_t i = 0; i < line.length; i++)
				cells += ((unsigned char)line.bytes[i] & 0xc0) != 0x80;
			assert_true(cells <= width || width < 8 + 2 + 9);
			/* no character is cut in two: JSON would show it */
			struct buf copy;
			struct json json;
			buf_init(&copy);
			json_init(&json, &copy);
			json_str(&json, line);
			assert_null(strstr(buf_text(&copy), "\xef\xbf\xbd"));
			buf_release(&copy);
		}
		buf_release(&out);
	}
	table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err__messages_say_what_and_why),
		cmocka_unit_test(test_err__long_messages_are_cut_not_overrun),
		cmocka_unit_test(test_str__views_compare_trim_and_cut),
		cmocka_unit_test(test_buf__grows_and_stays_terminated),
		cmocka_unit_test(test_buf__a_failed_growth_is_remembered),
		cmocka_unit_test(test_json__writes_nested_documents),
		cmocka_unit_test(test_json__strings_are_escaped_and_valid),
		cmocka_unit_test(test_json__doubles_are_short_and_read_back),
		cmocka_unit_test(test_table__columns_line_up),
		cmocka_unit_test(test_table__rows_are_cut_to_the_width_but_numbers_never),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
