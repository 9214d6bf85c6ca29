/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(enum redact redact, const char *target, const char *left)
{
	static char text[512], shown[513];
	bool changed;
	struct str s = redact_target(redact, str_of(target), text, sizeof(text), &changed);
	assert_true(s.length < sizeof(shown));
	memcpy(shown, s.bytes, s.length);
	shown[s.length] = '\0';
	assert_string_equal(shown, left);
	assert_int_equal(changed, strcmp(target, left) != 0);
}

static void test_redact__values_go_and_names_stay(void **state)
{
	(void)state;
	expect(REDACT_VALUES, "/a?token=abc&x=1", "/a?token=*&x=*");
	expect(REDACT_VALUES, "/a?token=abc;x=1#there", "/a?token=*;x=*#*");
	expect(REDACT_VALUES, "/a?x==1&y=a?b=c", "/a?x=*&y=*");
	expect(REDACT_VALUES, "/a", "/a");
	expect(REDACT_VALUES, "/a?", "/a?");
	expect(REDACT_VALUES, "*", "*");
	expect(REDACT_VALUES, "example.org:443", "example.org:443");
}

static void test_redact__an_empty_value_is_told_from_one_that_went(void **state)
{
	(void)state;
	expect(REDACT_VALUES, "/a?x=&y=1&&z=", "/a?x=&y=*&&z=");
	expect(REDACT_VALUES, "/a?=b&=", "/a?=*&=");
}

static void test_redact__a_word_without_a_name_may_be_the_secret(void **state)
{
	(void)state;
	expect(REDACT_VALUES, "/leave?a81bc81b", "/leave?*");
	expect(REDACT_VALUES, "/leave?a81bc81b&page=2", "/leave?*&page=*");
}

static void test_redact__users_and_passwords_go_from_absolute_targets(void **state)
{
	(void)state;
	expect(REDACT_VALUES, "http://me:secret@host:80/a?b=c", "http://*@host:80/a?b=*");
	expect(REDACT_QUERY, "http://me:s@cret@host", "http://*@host");
	expect(REDACT_VALUES, "http://host/a@b", "http://host/a@b");
	expect(REDACT_VALUES, "/go?to=http://me:pw@host/", "/go?to=*");
}

static void test_redact__the_whole_query_goes(void **state)
{
	(void)state;
	expect(REDACT_QUERY, "/a/12?token=abc&x=1#y", "/a/12");
	expect(REDACT_QUERY, "/a#y", "/a");
}

static void test_redact__all_leaves_the_shape_of_the_path(void **state)
{
	(void)state;
	expect(REDACT_ALL, "/user/12345/mail?x=1", "/user/:id/mail");
	expect(REDACT_ALL, "/a;jsessionid=8F3A/b", "/a;*/b");
	expect(REDACT_ALL, "http://me:pw@host/f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
	       "http://*@host/:id");
	expect(REDACT_ALL, "/plain/path/", "/plain/path/");
}

static void test_redact__none_changes_nothing(void **state)
{
	(void)state;
	expect(REDACT_NONE, "http://me:pw@host/12?token=abc#x",
	       "http://me:pw@host/12?token=abc#x");
}

static void test_redact__what_has_no_room_is_cut(void **state)
{
	(void)state;
	char text[8];
	bool changed;
	struct str s =
		redact_target(REDACT_ALL, STR("/1/2/3/4/5"), text, sizeof(text), &changed);
	assert_int_equal(s.length, 8);
	assert_memory_equal(s.bytes, "/:id/:id", 8);
	assert_true(changed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_redact__values_go_and_names_stay),
		cmocka_unit_test(test_redact__an_empty_value_is_told_from_one_that_went),
		cmocka_unit_test(test_redact__a_word_without_a_name_may_be_the_secret),
		cmocka_unit_test(test_redact__users_and_passwords_go_from_absolute_targets),
		cmocka_unit_test(test_redact__the_whole_query_goes),
		cmocka_unit_test(test_redact__all_leaves_the_shape_of_the_path),
		cmocka_unit_test(test_redact__none_changes_nothing),
		cmocka_unit_test(test_redact__what_has_no_room_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
