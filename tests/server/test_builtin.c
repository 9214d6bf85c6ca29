/* SPDX-License-Identifier: MIT */
#include "base/replay_file.h"
#include "tests/server/fake_request.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const struct handler *handler_of(const char *name)
{
	const struct handler *handler = builtin_find(name);

	assert_non_null(handler);
	assert_string_equal(handler->name, name);
	return handler;
}

static void test_builtin__names_are_found(void **state)
{
	(void)state;
	for (size_t i = 0; builtin_all[i]; i++)
		assert_ptr_equal(builtin_find(builtin_all[i]->name), builtin_all[i]);
	assert_null(builtin_find("hello"));
	assert_null(builtin_find(""));
}

static void test_builtin__a_path_has_the_points_of_the_csv(void **state)
{
	static const struct {
		const char *csv;
		int status;
		const char *path;
	} cases[] = {
		{"1, 2\n30, 40", 200, "M 0 0 L 1 2 30 40\""},
		{"1, 2\r\n\nx,y\n3, 4\n", 200, "M 0 0 L 1 2 3 4\""},
		{"999999999999999999, 0", 200, "M 0 0 L 999999999999999999 0\""},
		{"a, b\n", 400, NULL},
		{"1, \n", 400, NULL},
		{"1, 2, 3\n", 400, NULL},
		{"-1, 2\n", 400, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {.method = "POST", .path = "/", .body = cases[i].csv};

		fake_run(&r, handler_of("csv-svg-path"));
		assert_int_equal(r.status, cases[i].status);
		if (cases[i].path) {
			assert_non_null(strstr(buf_text(&r.content), cases[i].path));
			assert_string_equal(fake_field(&r, "Content-Type"), "image/svg+xml");
		}
		fake_release(&r);
	}
}

static void test_builtin__without_a_body_there_are_52_points(void **state)
{
	struct pail_request r = {.path = "/"};
	int numbers = 0;

	(void)state;
	fake_run(&r, handler_of("csv-svg-path"));
	assert_int_equal(r.status, 200);
	for (const char *at = strchr(buf_text(&r.content), 'L') + 1; *at != '"'; at++)
		numbers += *at == ' ';
	assert_int_equal(numbers, 2 * 52);
	fake_release(&r);
}

static void test_builtin__allocations_vary_with_the_path(void **state)
{
	static const struct {
		const char *path;
		int status;
		const char *content;
	} cases[] = {
		{"/0", 200, "0"},      {"/1", 200, "1024"},
		{"/50", 200, "51200"}, {"/", 404, NULL},
		{"/-1", 404, NULL},    {"/1x", 404, NULL},
		{"/1/", 404, NULL},    {"/99999999999999999999", 404, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {.path = cases[i].path};

		fake_run(&r, handler_of("varying-allocations"));
		assert_int_equal(r.status, cases[i].status);
		if (cases[i].content)
			assert_string_equal(buf_text(&r.content), cases[i].content);
		fake_release(&r);
	}
}

/* -- replay --------------------------------------------------------------- */

static char path[] = "/tmp/pail-replay-XXXXXX";

static int set_up(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

static const struct replay_op ops[] = {
	{.slot = 0, .kind = REPLAY_ALLOC, .size_bytes = 1000},
	{.slot = 1, .kind = REPLAY_ALLOC, .align_log2 = 8, .size_bytes = 10},
	{.slot = 0, .kind = REPLAY_REALLOC, .size_bytes = 5000},
	{.slot = 1, .kind = REPLAY_FREE},
	{.slot = 1, .kind = REPLAY_ALLOC, .size_bytes = 0},
	{.slot = 0, .kind = REPLAY_FREE},
	{.slot = 1, .kind = REPLAY_FREE},
};
enum { OPS = sizeof(ops) / sizeof(ops[0]) };

static void write_file(void)
{
	struct replay_writer *writer;
	struct err err;

	assert_int_equal(replay_writer_open(path, &writer, &err), 0);
	assert_int_equal(replay_writer_add(writer, 70, 30000000, ops, OPS, &err), 0);
	assert_int_equal(replay_writer_add(writer, 7, 0, NULL, 0, &err), 0);
	assert_int_equal(replay_writer_add(writer, 1LL << 40, 1, ops, 1, &err), 0);
	assert_int_equal(replay_writer_close(writer, &err), 0);
}

static void test_replay_file__what_was_written_is_read(void **state)
{
	const struct replay_file_item *item;
	struct replay_file file;
	struct err err;

	(void)state;
	write_file();
	assert_int_equal(replay_file_open(path, &file, &err), 0);
	assert_int_equal(file.head->item_count, 3);
	assert_int_equal(file.head->slots_max, 2);
	item = replay_file_find(&file, 70);
	assert_non_null(item);
	assert_int_equal(item->service_ns, 30000000);
	assert_int_equal(item->slots, 2);
	assert_int_equal(item->op_count, OPS);
	assert_memory_equal(file.ops + item->op_first, ops, sizeof(ops));
	item = replay_file_find(&file, 7);
	assert_int_equal(item->op_count + item->slots, 0);
	assert_non_null(replay_file_find(&file, 1LL << 40));
	assert_null(replay_file_find(&file, 8));
	replay_file_close(&file);
}

static void test_replay_file__bad_lists_are_not_written(void **state)
{
	struct replay_op wrong = {.kind = 3}, sparse = {.slot = 1};
	struct replay_writer *writer;
	struct err err;

	(void)state;
	assert_int_equal(replay_writer_open(path, &writer, &err), 0);
	assert_int_equal(replay_writer_add(writer, 1, 0, &wrong, 1, &err), -1);
	assert_int_equal(replay_writer_add(writer, 1, 0, &sparse, 1, &err), -1);
	assert_int_equal(replay_writer_add(writer, 1, -1, NULL, 0, &err), -1);
	assert_int_equal(replay_writer_add(writer, 1, 0, NULL, 0, &err), 0);
	assert_int_equal(replay_writer_add(writer, 1, 0, NULL, 0, &err), 0);
	assert_int_equal(replay_writer_close(writer, &err), -1);
	assert_non_null(strstr(err.text, "twice"));
	assert_int_equal(replay_writer_open("/nonexistent/x", &writer, &err), -1);
}

/* One byte of the file is another: it is refused, or reads as a valid one. */
static void test_replay_file__broken_files_are_refused(void **state)
{
	struct replay_file file;
	struct err err;
	char bytes[1024];
	ssize_t length;
	int fd, refused = 0;

	(void)state;
	write_file();
	fd = open(path, O_RDWR);
	length = read(fd, bytes, sizeof(bytes));
	for (ssize_t i = 0; i < length; i++) {
		char other = (char)~bytes[i];

		assert_int_equal(pwrite(fd, &other, 1, i), 1);
		if (replay_file_open(path, &file, &err))
			refused++;
		else
			replay_file_close(&file);
		assert_int_equal(pwrite(fd, &bytes[i], 1, i), 1);
	}
	assert_true(refused >= 100);
	for (ssize_t i = length - 1; i >= 0; i -= 7) {
		assert_int_equal(ftruncate(fd, i), 0);
		assert_int_equal(replay_file_open(path, &file, &err), -1);
		assert_true(strlen(err.text) > 10);
	}
	close(fd);
	assert_int_equal(replay_file_open("/nonexistent", &file, &err), -1);
	assert_int_equal(replay_file_open("/tmp", &file, &err), -1);
}

static void test_replay__a_request_takes_its_time_and_gives_all_back(void **state)
{
	char program[] = "builtin:replay", option[] = "--replay";
	char *argv[] = {program, option, path, NULL};
	const struct handler *handler = handler_of("replay");
	static const char *const missing[] = {"/replay/8",
					      "/replay/",
					      "/replay/7x",
					      "/7",
					      "/",
					      "/replay/-7",
					      "/replay/99999999999999999999"};
	struct pail_request r = {.path = "/replay/70"};
	struct timespec start, end;
	double seconds;

	(void)state;
	assert_int_equal(handler->start(1, argv), -1);
	assert_non_null(strstr(handler_message, "--replay FILE"));
	write_file();
	assert_int_equal(handler->start(3, argv), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	fake_run(&r, handler);
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - start.tv_sec) +
		  (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
	assert_int_equal(r.status, 200);
	assert_true(seconds >= 0.03);
	fake_release(&r);
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
		struct pail_request none = {.path = missing[i]};

		fake_run(&none, handler);
		assert_int_equal(none.status, 404);
		fake_release(&none);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_builtin__names_are_found),
		cmocka_unit_test(test_builtin__a_path_has_the_points_of_the_csv),
		cmocka_unit_test(test_builtin__without_a_body_there_are_52_points),
		cmocka_unit_test(test_builtin__allocations_vary_with_the_path),
		cmocka_unit_test(test_replay_file__what_was_written_is_read),
		cmocka_unit_test(test_replay_file__bad_lists_are_not_written),
		cmocka_unit_test(test_replay_file__broken_files_are_refused),
		cmocka_unit_test(test_replay__a_request_takes_its_time_and_gives_all_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
