/* SPDX-License-Identifier: MIT */
/* Who lives in other pid namespaces, by a /proc that we write ourselves. */
#include "libtrace/ring/outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/pail-proc-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* A process as proc(5) shows it; the namespace is that file's inode, 0 is none to read. */
static uint32_t process(int pid, const char *status, bool readable)
{
	char path[128];
	struct stat st;
	snprintf(path, sizeof(path), "%s/%d", folder, pid);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/%d/status", folder, pid);
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fprintf(f, "Name:\tx\n%s", status) > 0);
	assert_int_equal(fclose(f), 0);
	if (!readable)
		return 0;
	snprintf(path, sizeof(path), "%s/%d/ns", folder, pid);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/%d/ns/pid", folder, pid);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(stat(path, &st), 0);
	return (uint32_t)st.st_ino;
}

static void test_outside__the_innermost_pid_and_its_namespace_name_a_process(void **state)
{
	struct outside o = {0};
	uint32_t ns = process(100, "State:\tS (sleeping)\nThreads:\t1\nNSpid:\t100\t7\n", true);
	uint32_t deep = process(200, "State:\tS\nThreads:\t1\nNSpid:\t200\t31\t9\n", true);

	(void)state;
	process(300, "State:\tS\nThreads:\t1\nNSpid:\t300\n", true); /* of our own */
	assert_int_equal(outside_judge(&o, outside_key(ns, 7), true), OUTSIDE_UNKNOWN);
	outside_look(&o, folder);
	assert_int_equal(o.count, 2);
	assert_int_equal(outside_judge(&o, outside_key(ns, 7), false), OUTSIDE_ALIVE);
	assert_int_equal(outside_judge(&o, outside_key(deep, 9), false), OUTSIDE_ALIVE);
	assert_int_equal(outside_judge(&o, outside_key(deep, 7), true), OUTSIDE_DEAD);
	outside_release(&o);
}

static void test_outside__a_zombie_is_dead_unless_it_waits_for_its_threads(void **state)
{
	struct outside o = {0};
	uint32_t one = process(100, "State:\tZ (zombie)\nThreads:\t1\nNSpid:\t100\t7\n", true);
	uint32_t two = process(200, "State:\tZ (zombie)\nThreads:\t3\nNSpid:\t200\t7\n", true);

	(void)state;
	outside_look(&o, folder);
	assert_int_equal(outside_judge(&o, outside_key(one, 7), true), OUTSIDE_DEAD);
	assert_int_equal(outside_judge(&o, outside_key(two, 7), true), OUTSIDE_ALIVE);
	outside_release(&o);
}

static void test_outside__who_would_not_be_seen_is_not_dead(void **state)
{
	struct outside o = {0};
	uint32_t ns = process(100, "State:\tS\nThreads:\t1\nNSpid:\t100\t7\n", true);

	(void)state;
	process(200, "State:\tS\nThreads:\t1\nNSpid:\t200\t8\n", false);
	outside_look(&o, folder);
	o.root = true;
	assert_int_equal(outside_judge(&o, outside_key(ns, 5), false), OUTSIDE_DEAD);
	assert_int_equal(outside_judge(&o, outside_key(ns + 1, 5), false), OUTSIDE_UNKNOWN);
	assert_int_equal(outside_judge(&o, outside_key(0, 5), true), OUTSIDE_UNKNOWN);
	/* That may be the one whose namespace we cannot read. */
	assert_int_equal(outside_judge(&o, outside_key(ns, 8), true), OUTSIDE_UNKNOWN);
	/* Root would see all others of that namespace, another user need not. */
	o.root = false;
	assert_int_equal(outside_judge(&o, outside_key(ns, 5), false), OUTSIDE_UNKNOWN);
	assert_int_equal(outside_judge(&o, outside_key(ns, 5), true), OUTSIDE_DEAD);
	outside_look(&o, "/nowhere");
	assert_int_equal(outside_judge(&o, outside_key(ns, 5), true), OUTSIDE_UNKNOWN);
	outside_release(&o);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_outside__the_innermost_pid_and_its_namespace_name_a_process),
		TEST(test_outside__a_zombie_is_dead_unless_it_waits_for_its_threads),
		TEST(test_outside__who_would_not_be_seen_is_not_dead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
