/* SPDX-License-Identifier: MIT */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
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

/* A file in the folder, last touched so many seconds ago. */
static void leave(const char *name, int ago_s)
{
	FILE *file = fopen(in_folder(name), "w");
	assert_non_null(file);
	fclose(file);
	struct timespec when[2] = {{.tv_sec = time(NULL) - ago_s},
				   {.tv_sec = time(NULL) - ago_s}};
	assert_int_equal(utimensat(AT_FDCWD, in_folder(name), when, 0), 0);
}

static void test_file__what_killed_writers_left_goes_with_the_next(void **state)
{
	(void)state;
	struct err err;
	leave(".a.conf.0123456789abcdef", 100);
	leave(".a.conf.0123456789abcde0", 2);  /* somebody may be at it */
	leave(".a.conf.0123456789abcde", 100); /* not of our making */
	leave(".a.conf.0123456789abcd-f", 100);
	leave(".b.conf.0123456789abcdef", 100);
	assert_int_equal(file_write_atomic(in_folder("a.conf"), "x", 1, 0600, &err), 0);
	assert_int_equal(access(in_folder(".a.conf.0123456789abcdef"), F_OK), -1);
	assert_int_equal(empty_folder(), 5);
}

static void test_file__what_another_process_locks_is_not_taken_away(void **state)
{
	(void)state;
	int ready[2], end[2];
	char byte = 0;
	leave(".t.db.abcDEF", 100);
	assert_int_equal(pipe(ready) | pipe(end), 0);
	pid_t child = fork();
	if (child == 0) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int fd = open(in_folder(".t.db.abcDEF"), O_RDWR);
		close(end[1]);
		(void)!write(ready[1], fcntl(fd, F_SETLK, &lock) == 0 ? "y" : "n", 1);
		(void)!read(end[0], &byte, 1);
		_exit(0);
	}
	close(end[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	file_sweep(in_folder("t.db"), 6);
	assert_int_equal(access(in_folder(".t.db.abcDEF"), F_OK), 0);
	close(end[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	file_sweep(in_folder("t.db"), 6);
	assert_int_equal(empty_folder(), 0);
	close(ready[0]);
	close(ready[1]);
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
		TEST(test_file__what_killed_writers_left_goes_with_the_next),
		TEST(test_file__what_another_process_locks_is_not_taken_away),
		TEST(test_file__a_failure_leaves_the_old_and_nothing_new),
		TEST(test_file__only_regular_files_are_replaced),
		TEST(test_file__the_longest_name_still_has_a_neighbour),
		TEST(test_file__reading_is_bounded_and_never_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
