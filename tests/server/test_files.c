/* SPDX-License-Identifier: MIT */
#include "server/http/date.h"
#include "server/content/files.h"
#include "server/http/mime.h"
#include "tests/server/fake_request.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* 2020-02-29 12:34:56 */
enum { MODIFIED = 1582979696 };
#define MODIFIED_TEXT "Sat, 29 Feb 2020 12:34:56 GMT"

static char folder[] = "/tmp/pail-files-XXXXXX";

static void put(const char *name, const char *content, time_t modified)
{
	struct timespec times[2] = {{modified, 0}, {modified, 0}};
	char path[256];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(content, out);
	fclose(out);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void make(const char *verb, const char *name, const char *target)
{
	char path[256];
	int result;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (strcmp(verb, "folder") == 0)
		result = mkdir(path, 0755);
	else if (strcmp(verb, "fifo") == 0)
		result = mkfifo(path, 0644);
	else
		result = symlink(target, path);
	assert_int_equal(result, 0);
}

static int set_up(void **state)
{
	char root[64], *argv[] = {root, NULL};

	(void)state;
	assert_non_null(mkdtemp(folder));
	make("folder", "root", NULL);
	make("folder", "root/sub", NULL);
	make("folder", "root/empty", NULL);
	make("folder", "root/.git", NULL);
	make("folder", "root/.well-known", NULL);
	make("fifo", "root/fifo", NULL);
	make("link", "root/out", "../secret");
	make("link", "root/absolute", "/etc/passwd");
	make("link", "root/proc", "/proc/self/exe");
	make("link", "root/loop", "loop");
	make("link", "root/in", "a.txt");
	make("link", "root/up", "sub/../a.txt");
	put("secret", "secret", MODIFIED);
	put("root/a.txt", "0123456789", MODIFIED);
	put("root/none", "", MODIFIED);
	put("root/a b+%.html", "blank", MODIFIED);
	put("root/index.html", "root index", MODIFIED);
	put("root/sub/index.html", "sub index", MODIFIED);
	put("root/.env", "secret", MODIFIED);
	put("root/.git/config", "secret", MODIFIED);
	put("root/.well-known/x", "known", MODIFIED);
	put("root/p.js", "plain javascript", MODIFIED);
	put("root/p.js.gz", "gzip", MODIFIED);
	put("root/p.js.br", "br", MODIFIED + 1);
	put("root/p.js.zst", "zstd too old", MODIFIED - 1);
	put("root/z.css", "plain", MODIFIED);
	put("root/z.css.zst", "a longer zstd", MODIFIED);
	snprintf(root, sizeof(root), "%s/root", folder);
	return files_handler.start(1, argv);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	mime_release();
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* Asks, and holds the status and the content against what is expected (NULL:
 * whatever). */
static void ask(struct pail_request *r, int status, const char *content)
{
	fake_run(r, &files_handler);
	if (r->status != status)
		fail_msg("%s %s: %d, not %d", pail_method(r), r->path, r->status, status);
	if (content)
		assert_string_equal(buf_text(&r->content), content);
}

static void expect(const char *path, int status, const char *content)
{
	struct pail_request r = {.path = path};

	ask(&r, status, content);
	fake_release(&r);
}

static void test_files__paths_are_decoded_once_and_strictly(void **state)
{
	static const struct {
		const char *path, *file;
	} cases[] = {
		{"/", "."},
		{"/a", "a"},
		{"/a/b/", "a/b/"},
		{"/%61%2e%2E", "a.."},
		{"/a%20b%25", "a b%"},
		{"/%2561", "%61"},
		{"/%C3%A4", "\xc3\xa4"},
		{"/a+b", "a+b"},
		{"/.well-known/x", ".well-known/x"},
		{"", NULL},
		{"a", NULL},
		{"*", NULL},
		{"//", NULL},
		{"//a", NULL},
		{"/a//b", NULL},
		{"/a/", "a/"},
		{"/a//", NULL},
		{"/.", NULL},
		{"/..", NULL},
		{"/../a", NULL},
		{"/a/..", NULL},
		{"/a/../b", NULL},
		{"/a/./b", NULL},
		{"/%2e%2e/a", NULL},
		{"/.%2e/a", NULL},
		{"/%2e", NULL},
		{"/a%2fb", NULL},
		{"/%2fetc", NULL},
		{"/a%00b", NULL},
		{"/a%", NULL},
		{"/a%4", NULL},
		{"/a%4g", NULL},
		{"/.env", NULL},
		{"/.well-known2", NULL},
		{"/a/.git/config", NULL},
	};
	char out[FILES_PATH_MAX], *deep;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int length = files_path(out, str_of(cases[i].path));

		if (!cases[i].file) {
			if (length != -1)
				fail_msg("'%s' names '%s'", cases[i].path, out);
			continue;
		}
		assert_int_equal(length, strlen(cases[i].file));
		assert_string_equal(out, cases[i].file);
	}
	deep = malloc(FILES_PATH_MAX + 2);
	memset(deep, 'a', FILES_PATH_MAX + 1);
	deep[0] = '/';
	deep[FILES_PATH_MAX + 1] = '\0';
	assert_int_equal(files_path(out, str_of(deep)), -1);
	deep[FILES_PATH_MAX] = '\0';
	assert_int_equal(files_path(out, str_of(deep)), FILES_PATH_MAX - 1);
	free(deep);
}

static void test_files__nothing_outside_the_folder_is_reached(void **state)
{
	static const char *const paths[] = {
		"/../secret",    "/%2e%2e/secret", "/sub/../../secret",
		"/..%2fsecret",  "/out",           "/absolute",
		"/proc",         "/loop",          "/.env",
		"/.git/config",  "//etc/passwd",   "/%2fetc/passwd",
		"/sub/%2e%2e/a", "/fifo",          "/missing",
		"/a.txt/",       "/a.txt/b",       "/empty/",
		"/%00",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		expect(paths[i], 404, "Not Found\n");
}

static void test_files__files_and_indexes_are_sent(void **state)
{
	struct pail_request r = {.path = "/a.txt"};

	(void)state;
	ask(&r, 200, "0123456789");
	assert_true(r.sent_file);
	assert_string_equal(fake_field(&r, "Content-Type"), "text/plain");
	assert_string_equal(fake_field(&r, "Last-Modified"), MODIFIED_TEXT);
	assert_string_equal(fake_field(&r, "Accept-Ranges"), "bytes");
	assert_string_equal(fake_field(&r, "ETag"), "\"a-15f7dfa582bc6000\"");
	assert_null(fake_field(&r, "Vary"));
	fake_release(&r);
	expect("/", 200, "root index");
	expect("/sub/", 200, "sub index");
	expect("/index.html", 200, "root index");
	expect("/in", 200, "0123456789");
	expect("/up", 200, "0123456789");
	expect("/none", 200, "");
	expect("/a%20b+%25.html", 200, "blank");
	expect("/.well-known/x", 200, "known");
}

static void test_files__a_folder_without_slash_is_redirected(void **state)
{
	struct pail_request r = {.path = "/sub", .query = "a=b"};

	(void)state;
	ask(&r, 301, NULL);
	assert_string_equal(fake_field(&r, "Location"), "/sub/?a=b");
	fake_release(&r);
}

static void test_files__other_methods_have_their_statuses(void **state)
{
	static const struct {
		const char *method;
		int status;
		bool allow;
	} cases[] = {
		{"HEAD", 200, false}, {"OPTIONS", 204, true}, {"POST", 405, true},
		{"PUT", 405, true},   {"DELETE", 405, true},  {"TRACE", 405, true},
		{"get", 501, false},  {"FOO", 501, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {.method = cases[i].method, .path = "/a.txt"};
		const char *allow;

		ask(&r, cases[i].status, NULL);
		allow = fake_field(&r, "Allow");
		assert_int_equal(allow != NULL, cases[i].allow);
		fake_release(&r);
	}
}

struct precondition {
	struct fake_field field[3];
	int status;
};

static void test_files__preconditions_are_evaluated_in_order(void **state)
{
#define TAG "\"a-15f7dfa582bc6000\""
	static const struct precondition cases[] = {
		{{{"If-None-Match", TAG}}, 304},
		{{{"If-None-Match", "W/" TAG}}, 304},
		{{{"If-None-Match", "\"x,y\", " TAG}}, 304},
		{{{"If-None-Match", "*"}}, 304},
		{{{"If-None-Match", "\"x\""}, {"If-None-Match", TAG}}, 304},
		{{{"If-None-Match", "\"x\""}}, 200},
		{{{"If-None-Match", "a-15f7dfa582bc6000"}}, 200},
		{{{"If-None-Match", "\"x\""}, {"If-Modified-Since", MODIFIED_TEXT}}, 200},
		{{{"If-Modified-Since", MODIFIED_TEXT}}, 304},
		{{{"If-Modified-Since", "Saturday, 29-Feb-20 12:34:56 GMT"}}, 304},
		{{{"If-Modified-Since", "Sat Feb 29 12:34:56 2020"}}, 304},
		{{{"If-Modified-Since", "Sat, 29 Feb 2020 12:34:57 GMT"}}, 304},
		{{{"If-Modified-Since", "Sat, 29 Feb 2020 12:34:55 GMT"}}, 200},
		{{{"If-Modified-Since", "yesterday"}}, 200},
		{{{"If-Match", TAG}}, 200},
		{{{"If-Match", "*"}}, 200},
		{{{"If-Match", "W/" TAG}}, 412},
		{{{"If-Match", "\"x\""}}, 412},
		{{{"If-Match", "\"x\""}, {"If-None-Match", TAG}}, 412},
		{{{"If-Match", TAG}, {"If-None-Match", TAG}}, 304},
		{{{"If-Unmodified-Since", MODIFIED_TEXT}}, 200},
		{{{"If-Unmodified-Since", "Sat, 29 Feb 2020 12:34:55 GMT"}}, 412},
		{{{"If-Unmodified-Since", "never"}}, 200},
		{{{"If-Match", TAG}, {"If-Unmodified-Since", "Sat, 29 Feb 2020 12:34:55 GMT"}},
		 200},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {.path = "/a.txt"};

		memcpy(r.field, cases[i].field, sizeof(cases[i].field));
		fake_run(&r, &files_handler);
		if (r.status != cases[i].status)
			fail_msg("case %zu, %s: %s: %d, not %d", i, r.field[0].name,
				 r.field[0].value, r.status, cases[i].status);
		if (r.status == 304) {
			assert_int_equal(r.content.length, 0);
			assert_string_equal(fake_field(&r, "ETag"), TAG);
			assert_null(fake_field(&r, "Content-Type"));
		}
		fake_release(&r);
	}
}

static void test_files__one_range_is_honoured(void **state)
{
	static const struct {
		const char *range;
		int status;
		const char *content, *content_range;
	} cases[] = {
		{"bytes=0-0", 206, "0", "bytes 0-0/10"},
		{"bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"BYTES=2-4", 206, "234", "bytes 2-4/10"},
		{"bytes=8-", 206, "89", "bytes 8-9/10"},
		{"bytes=8-99999999999999999999999", 206, "89", "bytes 8-9/10"},
		{"bytes=-3", 206, "789", "bytes 7-9/10"},
		{"bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=0-", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=,2-4 ,", 206, "234", "bytes 2-4/10"},
		{"bytes=10-", 416, NULL, "bytes */10"},
		{"bytes=99999999999999999999999-", 416, NULL, "bytes */10"},
		{"bytes=-0", 416, NULL, "bytes */10"},
		{"bytes=10-11,20-", 416, NULL, "bytes */10"},
		{"bytes=0-1,3-4", 200, "0123456789", NULL},
		{"bytes=0-1,30-40", 200, "0123456789", NULL},
		{"bytes=4-2", 200, "0123456789", NULL},
		{"bytes=a-b", 200, "0123456789", NULL},
		{"bytes=-", 200, "0123456789", NULL},
		{"bytes=", 200, "0123456789", NULL},
		{"bytes=1-2x", 200, "0123456789", NULL},
		{"bytes=--1", 200, "0123456789", NULL},
		{"lines=0-1", 200, "0123456789", NULL},
		{"bytes", 200, "0123456789", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {.path = "/a.txt",
					 .field = {{"Range", cases[i].range}}};
		const char *range;

		fake_run(&r, &files_handler);
		if (r.status != cases[i].status)
			fail_msg("'%s': %d, not %d", cases[i].range, r.status, cases[i].status);
		if (cases[i].content)
			assert_string_equal(buf_text(&r.content), cases[i].content);
		range = fake_field(&r, "Content-Range");
		assert_int_equal(range != NULL, cases[i].content_range != NULL);
		if (range)
			assert_string_equal(range, cases[i].content_range);
		fake_release(&r);
	}
}

static void test_files__ranges_hold_for_get_of_what_the_client_has(void **state)
{
	static const struct {
		const char *method, *if_range;
		int status;
	} cases[] = {
		{"GET", TAG, 206},
		{"GET", "\"x\"", 200},
		{"GET", "W/" TAG, 200},
		{"GET", MODIFIED_TEXT, 206},
		{"GET", "Sat, 29 Feb 2020 12:34:57 GMT", 200},
		{"HEAD", TAG, 200},
	};
	struct pail_request empty = {.path = "/none", .field = {{"Range", "bytes=-5"}}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {
			.method = cases[i].method,
			.path = "/a.txt",
			.field = {{"Range", "bytes=1-2"}, {"If-Range", cases[i].if_range}}};

		ask(&r, cases[i].status, NULL);
		fake_release(&r);
	}
	ask(&empty, 200, "");
	fake_release(&empty);
}

static void test_files__compressed_neighbours_go_to_those_who_take_them(void **state)
{
	static const struct {
		const char *path, *accept, *content, *coding;
	} cases[] = {
		{"/p.js", NULL, "plain javascript", NULL},
		{"/p.js", "", "plain javascript", NULL},
		{"/p.js", "gzip", "gzip", "gzip"},
		{"/p.js", "x-gzip", "gzip", "gzip"},
		{"/p.js", "gzip, deflate, br, zstd", "br", "br"},
		{"/p.js", "GZIP;q=1.0, br;q=0.5", "gzip", "gzip"},
		{"/p.js", "gzip;q=0, br;q=0.001", "br", "br"},
		{"/p.js", "*", "br", "br"},
		{"/p.js", "br;q=0, *", "gzip", "gzip"},
		{"/p.js", "zstd", "plain javascript", NULL}, /* older than the file */
		{"/p.js", "gzip;q=0.5, identity", "plain javascript", NULL},
		{"/p.js", "gzip;q=2", "plain javascript", NULL},
		{"/p.js", "gzip;q=", "plain javascript", NULL},
		{"/p.js", "gzip;p=1", "plain javascript", NULL},
		{"/p.js", "identity;q=0, gzip", "gzip", "gzip"},
		{"/z.css", "zstd", "a longer zstd", "zstd"}, /* what the client prefers */
		{"/z.css", "zstd, identity", "plain", NULL}, /* as good, and smaller */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pail_request r = {.path = cases[i].path};
		const char *coding;

		if (cases[i].accept)
			r.field[0] = (struct fake_field){"Accept-Encoding", cases[i].accept};
		fake_run(&r, &files_handler);
		assert_int_equal(r.status, 200);
		if (strcmp(buf_text(&r.content), cases[i].content))
			fail_msg("%s with '%s': '%s'", cases[i].path,
				 cases[i].accept ? cases[i].accept : "nothing",
				 buf_text(&r.content));
		assert_string_equal(fake_field(&r, "Vary"), "Accept-Encoding");
		coding = fake_field(&r, "Content-Encoding");
		assert_int_equal(coding != NULL, cases[i].coding != NULL);
		if (coding)
			assert_string_equal(coding, cases[i].coding);
		assert_non_null(fake_field(&r, "ETag"));
		fake_release(&r);
	}
	struct pail_request none = {.path = "/a.txt", .field = {{"Accept-Encoding", "*;q=0"}}};
	ask(&none, 406, NULL);
	fake_release(&none);
	struct pail_request js = {.path = "/p.js", .field = {{"Accept-Encoding", "br"}}};
	ask(&js, 200, "br");
	assert_string_equal(fake_field(&js, "Content-Type"), "text/javascript");
	assert_non_null(strstr(fake_field(&js, "ETag"), "-br\""));
	fake_release(&js);
}

static void test_files__no_descriptor_is_left_behind(void **state)
{
	static const char *const paths[] = {"/",     "/a.txt", "/sub", "/empty/",
					    "/fifo", "/p.js",  "/out"};
	size_t before = 0, after = 0;

	(void)state;
	for (int pass = 0; pass < 2; pass++) {
		DIR *dir = opendir("/proc/self/fd");
		size_t *count = pass ? &after : &before;

		while (readdir(dir))
			++*count;
		closedir(dir);
		for (size_t i = 0; !pass && i < 100; i++) {
			struct pail_request r = {
				.path = paths[i % 7],
				.field = {{"Accept-Encoding", "gzip, *;q=0"},
					  {"Range", "bytes=99-"},
					  {i % 2 ? "If-None-Match" : "X", "*"}}};
			fake_run(&r, &files_handler);
			fake_release(&r);
		}
	}
	assert_int_equal(before, after);
}

static void test_date__the_three_forms_are_read_and_one_is_written(void **state)
{
	static const struct {
		const char *text;
		int64_t unix_s;
	} cases[] = {
		{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
		{"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
		{"Sun Nov  6 08:49:37 1994", 784111777},
		{"Sun Nov 16 08:49:37 1994", 784975777},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
		{"Friday, 06-Nov-70 08:49:37 GMT", 3182489377}, /* 2070: not 50 years ahead */
		{"Friday, 06-Nov-71 08:49:37 GMT", 58265377},   /* 1971 */
	};
	static const char *const wrong[] = {
		"",
		"Sun",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 24:00:00 GMT",
		"Sun, 31 Feb 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"784111777",
	};
	char text[DATE_TEXT_BYTES];
	int64_t unix_s, now = 1600000000; /* 2020 */

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(date_parse(str_of(cases[i].text), now, &unix_s), 0);
		assert_int_equal(unix_s, cases[i].unix_s);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (date_parse(str_of(wrong[i]), now, &unix_s) == 0)
			fail_msg("'%s' is read as %lld", wrong[i], (long long)unix_s);
	/* Every day for 400 years, against libc. */
	for (int64_t day = 0; day < 146097; day += 7) {
		time_t s = (time_t)(day * 86400 + day % 86400);
		char libc[64];
		struct tm tm;

		date_format(text, s);
		strftime(libc, sizeof(libc), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&s, &tm));
		assert_string_equal(text, libc);
		assert_int_equal(date_parse(str_of(text), now, &unix_s), 0);
		assert_int_equal(unix_s, s);
	}
}

static void test_mime__the_systems_table_comes_first_and_ours_fills_in(void **state)
{
	struct err err;
	char path[64];

	(void)state;
	mime_release();
	assert_string_equal(mime_of(str_of("a.html")), "text/html");
	assert_string_equal(mime_of(str_of("a.xyz")), "application/octet-stream");
	put("types",
	    "# a comment\nx/first\thtml  XYZ # not this\nx/second html other\n\n"
	    "noslash bad\nx/none\nx/last end",
	    MODIFIED);
	snprintf(path, sizeof(path), "%s/types", folder);
	assert_int_equal(mime_load(path, &err), 0);
	assert_string_equal(mime_of(str_of("a.HTML")), "x/first");
	assert_string_equal(mime_of(str_of("d/b.c.xyz")), "x/first");
	assert_string_equal(mime_of(str_of("a.other")), "x/second");
	assert_string_equal(mime_of(str_of("a.end")), "x/last");
	assert_string_equal(mime_of(str_of("a.css")), "text/css");
	assert_string_equal(mime_of(str_of("a.not")), "application/octet-stream");
	assert_string_equal(mime_of(str_of("a.bad")), "application/octet-stream");
	assert_string_equal(mime_of(str_of("html")), "application/octet-stream");
	assert_string_equal(mime_of(str_of("a.")), "application/octet-stream");
	assert_string_equal(mime_of(str_of("")), "application/octet-stream");
	mime_release();
	assert_int_equal(mime_load("/nonexistent/mime.types", &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files__paths_are_decoded_once_and_strictly),
		cmocka_unit_test(test_files__nothing_outside_the_folder_is_reached),
		cmocka_unit_test(test_files__files_and_indexes_are_sent),
		cmocka_unit_test(test_files__a_folder_without_slash_is_redirected),
		cmocka_unit_test(test_files__other_methods_have_their_statuses),
		cmocka_unit_test(test_files__preconditions_are_evaluated_in_order),
		cmocka_unit_test(test_files__one_range_is_honoured),
		cmocka_unit_test(test_files__ranges_hold_for_get_of_what_the_client_has),
		cmocka_unit_test(test_files__compressed_neighbours_go_to_those_who_take_them),
		cmocka_unit_test(test_files__no_descriptor_is_left_behind),
		cmocka_unit_test(test_date__the_three_forms_are_read_and_one_is_written),
		cmocka_unit_test(test_mime__the_systems_table_comes_first_and_ours_fills_in),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
