/* SPDX-License-Identifier: MIT */
#include "base/conf.h"
#include "tests/base/sequence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct plan plan, again; /* too large for a stack with sanitizers */

static void test_conf__an_empty_file_gives_the_defaults(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(conf_parse("pail.conf", "", &plan, &err), 0);
	limits_defaults(&again);
	assert_memory_equal(&plan, &again, sizeof(plan));
}

static const char whole[] = "\xef\xbb\xbf# a plan\r\n"
			    "[server] ; of one machine\r\n"
			    "listen = [::1]:8080 ; loopback\n"
			    "admin: unix:/run/pail.sock\n"
			    "  threads=2\n"
			    "rcvbuf = 8K\n"
			    "sndbuf = 12KiB\n"
			    "wait = 250ms\n"
			    "cpu_deadline = 0\n"
			    "policy = bump\n"
			    "\n"
			    "[bucket large]\n"
			    "size = 1.5M\n"
			    "count = 2\n"
			    "[bucket small]\n"
			    "size = 64K\n"
			    "count = 20\n"
			    "[route POST /a[0]] # brackets are a path's\n"
			    "bucket = large\n"
			    "[  route   *  ]\n"
			    "bucket = small\n"
			    "retry = yes\n"
			    "stack = 128K\n"
			    "[stack]\n"
			    "big_count = 0\n"
			    "[log]\n"
			    "format = combined\n"
			    "errors = /var/log/errors\n"
			    "forwarded = yes\n"
			    "ring = 1M\n"
			    "[on_oom]\n"
			    "libsqlite3 = null\n"
			    "* = unwind"; /* no line end */

static void test_conf__reads_every_kind_of_line(void **state)
{
	(void)state;
	struct err err;
	if (conf_parse("pail.conf", whole, &plan, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(plan.listen, "[::1]:8080");
	assert_string_equal(plan.admin, "unix:/run/pail.sock");
	assert_int_equal(plan.threads, 2);
	assert_int_equal(plan.rcvbuf_bytes, 8192);
	assert_int_equal(plan.sndbuf_bytes, 12288);
	assert_int_equal(plan.wait_ns, 250000000);
	assert_int_equal(plan.cpu_deadline_ns, 0);
	assert_int_equal(plan.policy, ARENA_BUMP);
	/* the classes are put in order of size, the routes follow */
	assert_int_equal(plan.class_count, 2);
	assert_string_equal(plan.class[0].name, "small");
	assert_int_equal(plan.class[1].size_bytes, 1536 << 10);
	assert_int_equal(plan.route_count, 2);
	assert_string_equal(plan.route[0].pattern, "POST /a[0]");
	assert_int_equal(plan.route[0].class_index, 1);
	assert_false(plan.route[0].retry);
	assert_string_equal(plan.route[1].pattern, "*");
	assert_int_equal(plan.route[1].class_index, 0);
	assert_true(plan.route[1].retry);
	assert_int_equal(plan.route[1].stack_bytes, 128 << 10);
	assert_int_equal(plan.big_stack_count, 0);
	assert_int_equal(plan.logs.format, PLAN_LOG_COMBINED);
	assert_string_equal(plan.logs.errors, "/var/log/errors");
	assert_true(plan.logs.forwarded);
	assert_int_equal(plan.logs.ring_bytes, 1 << 20);
	assert_int_equal(plan.on_oom_count, 2);
	assert_string_equal(plan.on_oom[0].library, "libsqlite3");
	assert_false(plan.on_oom[0].unwind);
	assert_true(plan.on_oom[1].unwind);
}

static void test_conf__errors_name_file_line_and_key(void **state)
{
	(void)state;
	const char *const cases[][2] = {
		{"[server]\n\nlisten = 127.0.0.1:80\nfoo = 1\n",
		 "pail.conf:4: [server] foo: unknown key; there are listen, admin"},
		{"[bucket main]\nsize = 64K\ncount = 0\n",
		 "pail.conf:3: [bucket main] count: 0 is impossible; give 1 to "},
		{"[bucket main]\nsize = 64K\n",
		 "pail.conf:1: [bucket main] count: missing; a bucket needs size and count"},
		{"[bucket main]\nsize = 64K\ncount = x\n",
		 "pail.conf:3: [bucket main] count: 'x' is no whole number"},
		{"[bucket main]\nsize = 64K\ncount = 5000000000\n",
		 "pail.conf:3: [bucket main] count: number '5000000000' is too large"},
		{"[server]\nthreads = 2\nwait = 1s\nthreads = 3\n",
		 "pail.conf:4: [server] threads: is there twice, first at line 2"},
		{"[server]\n[stack]\n[server]\n",
		 "pail.conf:3: [server] is there twice, first at "
		 "line 1"},
		{"[servers]\n", "pail.conf:1: unknown section [servers]; there are [server]"},
		{"[bucket]\n", "pail.conf:1: unknown section [bucket]; there are"},
		{"[server main]\n", "pail.conf:1: unknown section [server main]"},
		{"\nthreads = 2\n", "pail.conf:2: threads: a key before any section"},
		{"[server]\nthreads\n", "pail.conf:2: neither 'key = value' nor '[section]'"},
		{"[server\nthreads = 2", "pail.conf:1: '[server' is no section"},
		{"[server] x\n", "pail.conf:1: '[server] x' is no section"},
		{"[server]\nwait = 5\n", "pail.conf:2: [server] wait: time '5' lacks a unit"},
		{"[server]\nwait = -1s\n", "pail.conf:2: [server] wait: '-1s' is no time"},
		{"[server]\nrcvbuf = 1X\n", "pail.conf:2: [server] rcvbuf: '1X' is no size"},
		{"[server]\nrcvbuf = 1\n", "pail.conf:2: [server] rcvbuf: 1 is impossible"},
		{"[server]\nrcvbuf =\n", "pail.conf:2: [server] rcvbuf: '' is no size"},
		{"[server]\npolicy = best\n",
		 "pail.conf:2: [server] policy: 'best' is neither reuse nor bump"},
		{"[log]\nformat = xml\n",
		 "pail.conf:2: [log] format: 'xml' is neither json nor common nor combined"},
		{"[log]\nring = 60K\n",
		 "pail.conf:2: [log] ring: 60K is impossible; give 64K to "},
		{"[server]\nthreads = 17\n",
		 "pail.conf:2: [server] threads: 17 threads are more than the 16 buckets of 'main'"},
		{"[bucket main]\ncount = 2\nsize = 100\n",
		 "pail.conf:3: [bucket main] size: 100 is impossible; give 4K to "},
		{"[route /x]\nbucket = nowhere\n",
		 "pail.conf:2: [route /x] bucket: there is no [bucket nowhere]"},
		{"[route x]\n", "pail.conf:1: [route x] bucket: 'x' is no pattern"},
		{"[route /x]\nretry = maybe\n",
		 "pail.conf:2: [route /x] retry: 'maybe' is neither yes nor no"},
		{"[on_oom]\nlibx = ignore\n",
		 "pail.conf:2: [on_oom] libx: is neither null nor unwind"},
		{"[on_oom]\nlibx = null\nlibx = null\n",
		 "pail.conf:3: [on_oom] libx: is there twice"},
		{"[bucket a]\nsize = 4K\ncount = 1\n[bucket b]\nsize = 8K\ncount = 1\n[route /]\n",
		 "pail.conf:7: [route /] bucket: missing; there are several"},
		{"[server]\nlisten = a\x01\n",
		 "pail.conf:2: the line holds a control character"},
		/* without a line of its own, the file and key alone */
		{"[bucket main]\nsize = 64K\ncount = 1\n[stack]\nsize = 2M\n",
		 "pail.conf:4: [stack] big_size: 1M is impossible; give 2M to 1G"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err;
		assert_int_equal(conf_parse("pail.conf", cases[i][0], &plan, &err), -1);
		assert_int_equal(err.kind, ERR_ENVIRONMENT);
		if (strncmp(err.text, cases[i][1], strlen(cases[i][1])) != 0)
			fail_msg("'%s' does not start with '%s'", err.text, cases[i][1]);
	}
}

static void test_conf__lines_past_any_limit_are_told(void **state)
{
	(void)state;
	struct buf text;
	struct err err;
	buf_init(&text);
	buf_append_str(&text, "#");
	for (int i = 0; i < 5000; i++)
		buf_append_str(&text, "long ");
	buf_append_str(&text, "\n[server]\nlisten = ");
	assert_int_equal(conf_parse("c", buf_text(&text), &plan, &err), -1);
	for (int i = 0; i < 300; i++)
		buf_append_str(&text, "x");
	assert_int_equal(conf_parse("c", buf_text(&text), &plan, &err), -1);
	assert_string_equal(err.text, "c:3: the line is longer than 190 bytes");

	buf_clear(&text);
	for (int i = 0; i < 20; i++)
		buf_printf(&text, "[bucket b%d]\nsize=4K\ncount=1\n", i);
	assert_int_equal(conf_parse("c", buf_text(&text), &plan, &err), -1);
	assert_string_equal(err.text, "c:49: [bucket b16]: there are more than 16 buckets");

	buf_clear(&text);
	for (int i = 0; i < 400; i++)
		buf_printf(&text, "[route /r%d]\n", i);
	assert_int_equal(conf_parse("c", buf_text(&text), &plan, &err), -1);
	assert_string_equal(err.text, "c:257: [route /r256]: there are more than 256 routes");
	buf_release(&text);
}

static void test_conf__files_that_cannot_be_read_are_named(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(conf_read("/nowhere/pail.conf", &plan, &err), -1);
	assert_string_equal(err.text,
			    "cannot read '/nowhere/pail.conf': No such file or directory");
	assert_int_equal(conf_read("/", &plan, &err), -1);
	assert_non_null(strstr(err.text, "no regular file"));

	char path[] = "/tmp/pail-test-conf-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "[server]\n\0x", 11), 11);
	close(fd);
	assert_int_equal(conf_read(path, &plan, &err), -1);
	assert_non_null(strstr(err.text, "NUL"));
	unlink(path);
}

/* -- what is written is read back ------------------------------------------- */

static uint64_t random_state;

static uint64_t upto(uint64_t low, uint64_t high)
{
	return low + sequence_random(&random_state) % (high - low + 1);
}

static uint64_t pages(uint64_t low, uint64_t high)
{
	return upto(low / 4096, high / 4096) * 4096;
}

static void random_plan(void)
{
	limits_defaults(&plan);
	snprintf(plan.listen, sizeof(plan.listen), "10.0.0.%u:%u", (unsigned)upto(0, 255),
		 (unsigned)upto(0, 65535));
	if (upto(0, 1))
		snprintf(plan.admin, sizeof(plan.admin), "unix:/run/x");
	plan.connections = (uint32_t)upto(100, 5000);
	plan.threads = (uint32_t)upto(1, 4);
	plan.rcvbuf_bytes = upto(2304, 1 << 20);
	plan.sndbuf_bytes = upto(0, 1) ? 65536 : upto(2304, 1 << 20);
	plan.head_bytes = upto(LIMITS_HEAD_LEAST_BYTES, 1 << 16);
	plan.body_bytes_max = upto(0, 3) ? 0 : upto(1, 1 << 30);
	plan.queue = (uint32_t)upto(0, 100);
	plan.wait_ns = upto(0, 3) ? upto(0, 100) * 10000000 : upto(0, UINT64_C(1) << 40);
	plan.head_timeout_ns = upto(1, UINT64_C(1) << 40);
	plan.idle_timeout_ns = upto(1, 100) * 1000000000;
	plan.cpu_deadline_ns = upto(0, 1) * upto(0, UINT64_C(1) << 35);
	plan.wall_deadline_ns = upto(0, 100) * 60000000000;
	plan.image_bytes = pages(1 << 20, 1 << 28);
	plan.system_bytes = pages(64 << 10, 1 << 28);
	plan.isolation = upto(0, 1) ? PLAN_ISOLATION_PKEYS : PLAN_ISOLATION_NONE;
	plan.mlock = upto(0, 1);
	plan.overlap = upto(0, 1);
	plan.policy = upto(0, 1) ? ARENA_BUMP : ARENA_REUSE;
	plan.stack_bytes = pages(16 << 10, 1 << 20);
	plan.big_stack_bytes = pages(1 << 20, 1 << 24);
	plan.big_stack_count = (uint32_t)upto(0, 4);
	plan.big_stack_wait_ns = upto(0, 5000000000);
	plan.class_count = (uint32_t)upto(1, LIMITS_CLASSES_MAX);
	uint64_t size = 0;
	for (uint32_t i = 0; i < plan.class_count; i++) {
		size += pages(4096, 1 << 20);
		plan.class[i] = (struct plan_class){.size_bytes = size,
						    .count = (uint32_t)upto(4, 1000)};
		snprintf(plan.class[i].name, LIMITS_NAME_MAX, "c-%x_%u", (unsigned)upto(0, 99),
			 i);
	}
	plan.route_count = (uint32_t)upto(0, 40);
	for (uint32_t i = 0; i < plan.route_count; i++) {
		struct plan_route *route = &plan.route[i];
		*route = (struct plan_route){
			.class_index = (uint32_t)upto(0, plan.class_count - 1),
			.retry = upto(0, 1),
			.stack_bytes = upto(0, 1) * pages(16 << 10, 1 << 20)};
		const char *ends[] = {"", "/", "*", "[0]", "];x", "#a;b", "=:", "/\xc3\xa9"};
		snprintf(route->pattern, sizeof(route->pattern), "%s/%u/%0*u%s",
			 upto(0, 1) ? "POST " : "", i, (int)upto(1, 200), 7u, ends[upto(0, 7)]);
	}
	plan.on_oom_count = (uint32_t)upto(0, 5);
	for (uint32_t i = 0; i < plan.on_oom_count; i++) {
		plan.on_oom[i] = (struct plan_on_oom){.unwind = upto(0, 1)};
		snprintf(plan.on_oom[i].library, LIMITS_NAME_MAX, i ? "lib-%u.so.1" : "*", i);
	}
}

static void assert_same_plan(void)
{
	assert_string_equal(plan.listen, again.listen);
	assert_string_equal(plan.admin, again.admin);
	/* numbers from `threads` up to the classes lie in one piece */
	size_t from = offsetof(struct plan, threads), to = offsetof(struct plan, class);
	assert_memory_equal((char *)&plan + from, (char *)&again + from, to - from);
	for (uint32_t i = 0; i < plan.class_count; i++) {
		assert_string_equal(plan.class[i].name, again.class[i].name);
		assert_int_equal(plan.class[i].size_bytes, again.class[i].size_bytes);
		assert_int_equal(plan.class[i].count, again.class[i].count);
	}
	for (uint32_t i = 0; i < plan.route_count; i++) {
		assert_string_equal(plan.route[i].pattern, again.route[i].pattern);
		assert_int_equal(plan.route[i].class_index, again.route[i].class_index);
		assert_int_equal(plan.route[i].retry, again.route[i].retry);
		assert_int_equal(plan.route[i].stack_bytes, again.route[i].stack_bytes);
	}
	for (uint32_t i = 0; i < plan.on_oom_count; i++) {
		assert_string_equal(plan.on_oom[i].library, again.on_oom[i].library);
		assert_int_equal(plan.on_oom[i].unwind, again.on_oom[i].unwind);
	}
}

static void test_conf__what_is_written_reads_back_the_same(void **state)
{
	(void)state;
	random_state = 11;
	struct buf text;
	buf_init(&text);
	for (int i = 0; i < 500; i++) {
		struct err err;
		random_plan();
		if (limits_check(&plan, &err) < 0)
			fail_msg("the test's own plan: %s", err.text);
		const struct conf_reason reasons[] = {
			{"server", "listen", "[not a section]\nkey = value"},
			{"bucket nowhere", "size", "never seen"},
			{"server", NULL, "about the whole section"},
		};
		buf_clear(&text);
		conf_write(&text, &plan, "a plan\n\nof two lines", reasons, 3);
		if (conf_parse("written", buf_text(&text), &again, &err) < 0)
			fail_msg("%s in\n%s", err.text, buf_text(&text));
		assert_same_plan();
	}
	buf_release(&text);
}

static void test_conf__reasons_stand_above_their_keys(void **state)
{
	(void)state;
	limits_defaults(&plan);
	const struct conf_reason reasons[] = {
		{"bucket main", "count", "occupancy exceeded 15\nin 12 clusters"},
		{"server", "queue", "as usual"},
	};
	struct buf text;
	buf_init(&text);
	conf_write(&text, &plan, "made by pail plan", reasons, 2);
	assert_string_equal(buf_text(&text), "# made by pail plan\n"
					     "\n"
					     "[server]\n"
					     "# as usual\n"
					     "queue = 64\n"
					     "\n"
					     "[bucket main]\n"
					     "size = 256K\n"
					     "# occupancy exceeded 15\n"
					     "# in 12 clusters\n"
					     "count = 16\n");
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conf__an_empty_file_gives_the_defaults),
		cmocka_unit_test(test_conf__reads_every_kind_of_line),
		cmocka_unit_test(test_conf__errors_name_file_line_and_key),
		cmocka_unit_test(test_conf__lines_past_any_limit_are_told),
		cmocka_unit_test(test_conf__files_that_cannot_be_read_are_named),
		cmocka_unit_test(test_conf__what_is_written_reads_back_the_same),
		cmocka_unit_test(test_conf__reasons_stand_above_their_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
