/* SPDX-License-Identifier: MIT */
#include "cli/driving/load.h"
#include "base/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct load load;
static struct err err;

static void add(const char *line)
{
	if (load_add(&load, line, ".", &err) == -1)
		fail_msg("%s: %s", line, err.text);
}

static void schedule(int64_t span_ns, uint64_t seed)
{
	assert_int_equal(load_schedule(&load, span_ns, seed, &err), 0);
}

static void refused(const char *line, const char *why)
{
	load_init(&load);
	if (load_add(&load, line, ".", &err) != -1)
		fail_msg("'%s' was taken", line);
	if (strstr(err.text, why) == NULL)
		fail_msg("'%s' is refused with '%s', not '%s'", line, err.text, why);
	assert_int_equal(load.stream_count, 0);
	load_release(&load);
}

static void test_load__broken_lines_are_refused_with_the_reason(void **state)
{
	(void)state;
	refused("10 a GET", "wants RATE LABEL METHOD TARGET");
	refused("0 a GET /", "not within 0 and 1e7");
	refused("-3 a GET /", "-3");
	refused("nan a GET /", "nan");
	refused("1x0 a GET /", "batch");
	refused("1x a GET /", "");
	refused("ten a GET /", "ten");
	refused("1 a get /", "capital");
	refused("1 a GET x", "begin with '/'");
	refused("1 a GET /{5-2}", "no range");
	refused("1 a GET /{5", "no range");
	refused("1 a GET / body", "no @FILE");
	refused("1 a GET / @/nonexistent-file", "nonexistent-file");
	refused("1 a GET / @/dev/null more", "too much");
}

static void test_load__a_file_is_read_and_errors_name_the_line(void **state)
{
	(void)state;
	char folder[] = "/tmp/pail-test-load-XXXXXX", path[64], body[64];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/a.load", folder);
	snprintf(body, sizeof body, "%s/list.json", folder);
	const char text[] =
		"# traffic\n\n50 look GET /x?k={1-9} # inline\n1x5 sort POST /s @list.json\r\n";
	assert_int_equal(file_write_atomic(path, text, sizeof text - 1, 0600, &err), 0);
	assert_int_equal(file_write_atomic(body, "[3,1]", 5, 0600, &err), 0);
	load_init(&load);
	if (load_read(&load, path, &err) == -1)
		fail_msg("%s", err.text);
	assert_int_equal(load.stream_count, 2);
	assert_string_equal(load.label[0], "look");
	assert_int_equal(load.stream[1].batch, 5);
	assert_int_equal(load.stream[1].body_bytes, 5);
	load_release(&load);

	const char broken[] = "1 a GET /\n\n1 b FETCH\n";
	assert_int_equal(file_write_atomic(path, broken, sizeof broken - 1, 0600, &err), 0);
	assert_int_equal(load_read(&load, path, &err), -1);
	assert_non_null(strstr(err.text, "a.load' line 3: wants"));
	load_release(&load);
	assert_int_equal(file_write_atomic(path, "# no\n", 5, 0600, &err), 0);
	assert_int_equal(load_read(&load, path, &err), -1);
	assert_non_null(strstr(err.text, "holds no stream"));
	load_release(&load);
	unlink(path);
	unlink(body);
	rmdir(folder);
}

static void test_load__arrivals_are_a_poisson_process_of_the_rate(void **state)
{
	(void)state;
	load_init(&load);
	add("1000 a GET /{10-19}");
	schedule(100 * 1000000000ll, 7);
	double n = (double)load.request_count, squares = 0;
	assert_true(fabs(n - 1e5) < 5 * sqrt(1e5));
	double mean = (double)load.request[load.request_count - 1].at_ns / n;
	size_t of_digit[10] = {0};
	for (size_t i = 0; i < load.request_count; i++) {
		int64_t before = i ? load.request[i - 1].at_ns : 0;
		double gap = (double)(load.request[i].at_ns - before);
		assert_true(gap >= 0);
		squares += (gap - mean) * (gap - mean);
		assert_int_equal(load.request[i].target.length, 3);
		of_digit[load.request[i].target.bytes[2] - '0']++;
	}
	/* an exponential gap: its standard deviation is its mean */
	assert_true(fabs(sqrt(squares / n) / mean - 1) < 0.03);
	for (int i = 0; i < 10; i++)
		assert_true(fabs((double)of_digit[i] - n / 10) < 5 * sqrt(n / 10));
	load_release(&load);
}

static void test_load__a_batch_arrives_at_one_instant(void **state)
{
	(void)state;
	load_init(&load);
	add("3x40 a GET /");
	schedule(10 * 1000000000ll, 1);
	assert_true(load.request_count > 0 && load.request_count % 40 == 0);
	for (size_t i = 0; i < load.request_count; i += 40)
		assert_int_equal(load.request[i].at_ns, load.request[i + 39].at_ns);
	load_release(&load);
}

static void test_load__one_more_stream_leaves_the_others_as_they_were(void **state)
{
	(void)state;
	struct load alone;
	load_init(&load);
	add("200 a GET /a{1-1000000}");
	add("20x3 b GET /b{1-1000000}");
	schedule(5 * 1000000000ll, 42);
	alone = load;
	load_init(&load);
	add("5 hungry GET /hungry");
	add("200 a GET /a{1-1000000}");
	add("5 hungry GET /hungry"); /* an equal line is a stream of its own */
	add("20x3 b GET /b{1-1000000}");
	schedule(5 * 1000000000ll, 42);
	size_t at = 0, hungry = 0;
	int64_t hungry_ns = -1;
	for (size_t i = 0; i < load.request_count; i++) {
		const struct load_request *r = &load.request[i];
		if (str_starts(r->target, STR("/h"))) {
			hungry++;
			assert_true(r->at_ns > hungry_ns);
			hungry_ns = r->at_ns;
			continue;
		}
		assert_int_equal(r->at_ns, alone.request[at].at_ns);
		assert_true(str_equal(r->target, alone.request[at].target));
		at++;
	}
	assert_int_equal(at, alone.request_count);
	assert_true(hungry > 0);
	load_release(&alone);
	load_release(&load);
}

static void test_load__another_seed_gives_another_load(void **state)
{
	(void)state;
	struct load first;
	load_init(&load);
	add("100 a GET /");
	schedule(1000000000ll, 1);
	first = load;
	load_init(&load);
	add("100 a GET /");
	schedule(1000000000ll, 2);
	assert_true(load.request[0].at_ns != first.request[0].at_ns);
	load_release(&first);
	load_release(&load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load__broken_lines_are_refused_with_the_reason),
		cmocka_unit_test(test_load__a_file_is_read_and_errors_name_the_line),
		cmocka_unit_test(test_load__arrivals_are_a_poisson_process_of_the_rate),
		cmocka_unit_test(test_load__a_batch_arrives_at_one_instant),
		cmocka_unit_test(test_load__one_more_stream_leaves_the_others_as_they_were),
		cmocka_unit_test(test_load__another_seed_gives_another_load),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
