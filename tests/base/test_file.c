/* SPDX-License-Identifier: MIT */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static const char *in_folder(const char *name)
{
	static char path[2][512];
	static int turn;
	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
	return path[turn];
}

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/pail-test-file-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

/* Names in the folder; each is removed. */
static int empty_folder(void)
{
	int count = 0;
	DIR *dir = opendir(folder);
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		count++;
		remove(in_folder(entry->d_name));
	}
	closedir(dir);
	return count;
}

static int teardown(void **state)
{
	(void)state;
	empty_folder();
	return rmdir(folder);
}

static void assert_holds(const char *path, const char *text)
{
	char *bytes;
	size_t length;
	struct err err;
	if (file_read_all(path, 1 << 20, &bytes, &length, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(length, strlen(text));
	assert_string_equal(bytes, text);
	free(bytes);
}

static void test_file__is_replaced_as_a_whole(void **state)
{
	(void)state;
	struct err err;
	const char *path = in_folder("a.conf");
	assert_int_equal(file_write_atomic(path, "one", 3, 0600, &err), 0);
	assert_holds(path, "one");
	struct stat before, after;
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600);
	assert_int_equal(file_write_atomic(path, "two!", 4, 0600, &err), 0);
	assert_holds(path, "two!");
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino != after.st_ino);
	assert_int_equal(empty_folder(), 1);
}

static void test_file__a_name_without_a_folder_is_here(void **state)
{
	(void)state;
	struct err err;
	char here[4096];
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(file_write_atomic("plain", "x", 1, 0644, &err), 0);
	assert_int_equal(chdir(here), 0);
	assert_holds(in_folder("plain"), "x");
}

static void test_file__a_failure_leaves_the_old_and_nothing_new(void **state)
{
	(void)state;
	struct err err;
	const char *path = in_folder("full");
	assert_int_equal(file_write_atomic(path, "old", 3, 0644, &err), 0);
	/* a limit on the file's size stands for a full disk */
	struct rlimit limit, small;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 4096;
	void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	static char large[100000];
	int result = file_write_atomic(path, large, sizeof(large), 0644, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	signal(SIGXFSZ, before);
	assert_int_equal(result, -1);
	assert_int_equal(err.errnum, EFBIG);
	assert_non_null(strstr(err.text, "full': File too large"));
	assert_holds(path, "old");
	assert_int_equal(empty_folder(), 1);
}

static void test_file__only_regular_files_are_replaced(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(file_write_atomic("/dev/null", "x", 1, 0644, &err), -1);
	assert_non_null(strstr(err.text, "no regular file"));
	assert_int_equal(symlink("elsewhere", in_folder("link")), 0);
	assert_int_equal(file_write_atomic(in_folder("link"), "x", 1, 0644, &err), -1);
	assert_int_equal(file_write_atomic(folder, "x", 1, 0644, &err), -1);
	assert_int_equal(file_write_atomic("/tmp/", "x", 1, 0644, &err), -1);
	assert_int_equal(file_write_atomic("/nowhere/x", "x", 1, 0644, &err), -1);
	assert_string_equal(err.text, "cannot write '/nowhere/x': No such file or directory");
	assert_int_equal(empty_folder(), 1);
}

static void test_file__the_longest_name_still_has_a_neighbour(void **state)
{
	(void)state;
	struct err err;
	char name[256];
	memset(name, 'n', 255);
	name[255] = '\0';
	assert_int_equal(file_write_atomic(in_folder(name), "x", 1, 0644, &err), 0);
	assert_int_equal(empty_folder(), 1);
}

static void test_file__reading_is_bounded_and_never_waits(void **state)
{
	(void)state;
	struct err err;
	char *bytes;
	size_t length;
	assert_int_equal(file_write_atomic(in_folder("f"), "12345", 5, 0644, &err), 0);
	assert_int_equal(file_read_all(in_folder("f"), 4, &bytes, &length, &err), -1);
	assert_non_null(strstr(err.text, "more than the limit of 4"));
	assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
	assert_int_equal(file_read_all(in_folder("pipe"), 4, &bytes, &length, &err), -1);
	assert_int_equal(file_read_all(folder, 4, &bytes, &length, &err), -1);
	assert_int_equal(file_read_all(in_folder("none"), 4, &bytes, &length, &err), -1);
	assert_int_equal(err.errnum, ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_file__is_replaced_as_a_whole),
		TEST(test_file__a_name_without_a_folder_is_here),
		TEST(test_file__a_failure_leaves_the_old_and_nothing_new),
		TEST(test_file__only_regular_files_are_replaced),
		TEST(test_file__the_longest_name_still_has_a_neighbour),
		TEST(test_file__reading_is_bounded_and_never_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
