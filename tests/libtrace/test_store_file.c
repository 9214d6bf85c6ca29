/* SPDX-License-Identifier: MIT */
#include "libtrace/trace.h"

#include "stored.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_store__a_trace_is_its_owners_alone(void **state)
{
	(void)state;
	struct trace *t;
	struct err err;
	struct stat about;
	mode_t mask = umask(0);
	int result = trace_create(stored_path, &t, &err);

	umask(mask);
	assert_int_equal(result, 0);
	stored_commit(t);
	trace_close(t);
	assert_int_equal(stat(stored_path, &about), 0);
	assert_int_equal(about.st_mode & 07777, 0600);
}

static void test_store__a_killed_writer_leaves_what_it_committed(void **state)
{
	(void)state;
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct trace *t = stored_create(500);
		struct err err;
		if (trace_commit(t, &err) != 0)
			_exit(1);
		/* enough to spill from the page cache into the file */
		for (int64_t i = 500; i < 250000; i++) {
			struct trace_request r = stored_sample(i);
			if (trace_put_request(t, &r, NULL, 0, NULL, &err) != 0)
				_exit(1);
		}
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	char byte;
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	char digest[65];
	size_t count;
	stored_digest(digest, &count);
	assert_int_equal(count, 500);
}

static void test_store__without_a_commit_nothing_is_left(void **state)
{
	(void)state;
	trace_close(stored_create(10));
	assert_int_equal(stored_files(), 0);
}

static void expect_refusal(int rc, const struct err *err, const char *words)
{
	assert_int_equal(rc, -1);
	assert_int_equal(err->kind, ERR_ENVIRONMENT);
	assert_null(strchr(err->text, '\n'));
	if (!strstr(err->text, words))
		fail_msg("\"%s\" lacks \"%s\"", err->text, words);
}

static void write_file(const char *text)
{
	FILE *f = fopen(stored_path, "w");
	fputs(text, f);
	fclose(f);
}

static void test_store__what_is_no_trace_is_told_apart(void **state)
{
	(void)state;
	struct err err;
	struct trace *t;
	expect_refusal(trace_open(stored_path, &t, &err), &err, "no trace");
	expect_refusal(trace_open(stored_folder, &t, &err), &err, "directory");
	write_file("");
	expect_refusal(trace_open(stored_path, &t, &err), &err, "is empty");
	write_file("hello, world");
	expect_refusal(trace_open(stored_path, &t, &err), &err, "not a trace");
	unlink(stored_path);
	stored_sql("CREATE TABLE t(x)");
	expect_refusal(trace_open(stored_path, &t, &err), &err, "another program");
	unlink(stored_path);
	trace_close((t = stored_create(1), stored_commit(t), t));
	stored_sql("PRAGMA user_version=99");
	expect_refusal(trace_open(stored_path, &t, &err), &err, "newer pail");
	if (geteuid() != 0) {
		chmod(stored_path, 0);
		expect_refusal(trace_open(stored_path, &t, &err), &err, "cannot read");
	}
}

static void test_store__other_files_are_not_overwritten(void **state)
{
	(void)state;
	struct err err;
	struct trace *t;
	write_file("my thesis, the only copy; long enough to be no accident. "
		   "..............................................................");
	expect_refusal(trace_create(stored_path, &t, &err), &err, "not a trace");
	unlink(stored_path);
	stored_sql("CREATE TABLE t(x)");
	expect_refusal(trace_create(stored_path, &t, &err), &err, "not a trace");
	unlink(stored_path);
	expect_refusal(trace_create(stored_folder, &t, &err), &err, "directory");
	assert_int_equal(stored_files(), 0);
	/* one that appears between create and commit is not either */
	t = stored_create(1);
	write_file("late, but mine: .............................................."
		   "..............................................................");
	expect_refusal(trace_commit(t, &err), &err, "not a trace");
	trace_close(t);
	assert_int_equal(stored_files(), 1);
	unlink(stored_path);
	/* a trace is replaced, and only at the commit */
	t = stored_create(5);
	stored_commit(t);
	trace_close(t);
	trace_close(stored_create(9));
	char digest[65];
	size_t count;
	stored_digest(digest, &count);
	assert_int_equal(count, 5);
	t = stored_create(9);
	stored_commit(t);
	trace_close(t);
	stored_digest(digest, &count);
	assert_int_equal(count, 9);
}

static void test_store__a_full_disk_keeps_what_was_committed(void **state)
{
	(void)state;
	/* RLIMIT_FSIZE stands for the disk: writes past it fail with EFBIG. */
	pid_t pid = fork();
	if (pid == 0) {
		struct err err = {0};
		signal(SIGXFSZ, SIG_IGN);
		struct trace *t = stored_create(2000);
		if (trace_put_meta(t, "lost_requests", "          0", &err) != 0 ||
		    trace_commit(t, &err) != 0)
			_exit(1);
		struct stat st;
		stat(stored_path, &st);
		struct rlimit limit = {(rlim_t)st.st_size, (rlim_t)st.st_size};
		setrlimit(RLIMIT_FSIZE, &limit);
		int rc = 0;
		for (int64_t i = 2000; rc == 0 && i < 300000; i++) {
			struct trace_request r = stored_sample(i);
			rc = trace_put_request(t, &r, NULL, 0, NULL, &err);
		}
		if (rc == 0)
			rc = trace_commit(t, &err);
		if (rc == 0)
			_exit(2); /* the limit did not bite: the test shows nothing */
		if (trace_rollback(t, &err) != 0)
			_exit(3);
		if (trace_amend_meta(t, "lost_requests", "        500", &err) != 0) {
			fprintf(stderr, "%s\n", err.text);
			_exit(4);
		}
		trace_close(t);
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	char digest[65];
	size_t count;
	stored_digest(digest, &count);
	assert_int_equal(count, 2000);
	struct trace *t = stored_reopen();
	assert_non_null(strstr(trace_meta(t, "lost_requests"), "500"));
	trace_close(t);
	assert_int_equal(stored_files(), 1);
}

static void test_store__after_a_rollback_writing_goes_on(void **state)
{
	(void)state;
	struct err err;
	struct trace *t = stored_create(300);
	stored_commit(t);
	for (int64_t i = 300; i < 600; i++) {
		struct trace_request r = stored_sample(i);
		r.route = STR("GET /only-here");
		assert_int_equal(trace_put_request(t, &r, NULL, 0, NULL, &err), 0);
	}
	assert_int_equal(trace_rollback(t, &err), 0);
	for (int64_t i = 300; i < 400; i++) {
		struct trace_request r = stored_sample(i);
		int64_t id;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, &id, &err), 0);
		assert_int_equal(id, i + 1);
	}
	stored_commit(t);
	trace_close(t);
	char after[65], straight[65];
	size_t count;
	stored_digest(after, &count);
	assert_int_equal(count, 400);
	t = stored_create(400);
	stored_commit(t);
	trace_close(t);
	stored_digest(straight, &count);
	assert_string_equal(after, straight);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORED_TEST(test_store__a_trace_is_its_owners_alone),
		STORED_TEST(test_store__a_killed_writer_leaves_what_it_committed),
		STORED_TEST(test_store__without_a_commit_nothing_is_left),
		STORED_TEST(test_store__what_is_no_trace_is_told_apart),
		STORED_TEST(test_store__other_files_are_not_overwritten),
		STORED_TEST(test_store__a_full_disk_keeps_what_was_committed),
		STORED_TEST(test_store__after_a_rollback_writing_goes_on),
	};
	return cmocka_run_group_tests(tests, stored_begin, stored_end);
}
