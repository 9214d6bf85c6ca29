/* SPDX-License-Identifier: MIT */
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct plan plan; /* too large for a stack with sanitizers */

static int setup(void **state)
{
	(void)state;
	limits_defaults(&plan);
	return 0;
}

static void add_route(const char *pattern, uint32_t class_index)
{
	struct plan_route *route = &plan.route[plan.route_count++];
	*route = (struct plan_route){.class_index = class_index};
	snprintf(route->pattern, sizeof(route->pattern), "%s", pattern);
}

static void add_class(const char *name, uint64_t size, uint32_t count)
{
	struct plan_class *class = &plan.class[plan.class_count++];
	*class = (struct plan_class){.size_bytes = size, .count = count};
	snprintf(class->name, sizeof(class->name), "%s", name);
}

static const struct bound_term *term(const struct bound *bound, const char *name)
{
	for (uint32_t i = 0; i < bound->term_count; i++) {
		if (strcmp(bound->term[i].name, name) == 0)
			return &bound->term[i];
	}
	fail_msg("no term '%s'", name);
	return NULL;
}

static void test_limits__the_defaults_are_a_valid_plan(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(limits_check(&plan, &err), 0);
	assert_int_equal(plan.class[0].size_bytes, 256 << 10);
	assert_int_equal(plan.class[0].count, 16);
}

static void test_limits__the_terms_sum_to_the_bound(void **state)
{
	(void)state;
	struct bound bound;
	add_class("big", 1 << 20, 2);
	limits_bound(&plan, &bound);
	uint64_t sum = 0;
	for (uint32_t i = 0; i < bound.term_count; i++) {
		sum += bound.term[i].bytes;
		assert_true(bound.term[i].how[0] != '\0');
	}
	assert_int_equal(sum, bound.total_bytes);
	assert_int_equal(limits_bound_bytes(&plan), bound.total_bytes);
}

static void test_limits__each_term_is_what_it_says(void **state)
{
	(void)state;
	struct bound bound;
	limits_bound(&plan, &bound);
	const struct bound_term *main_term = term(&bound, "bucket main");
	assert_int_equal(main_term->bytes, 16 * (262144 + 65536 + LIMITS_BUCKET_META_BYTES));
	assert_string_equal(main_term->how,
			    "16 x (256 KiB arena + 64 KiB stack + 16 KiB meta)");
	/* the kernel doubles socket buffers */
	plan.connections = 100;
	plan.rcvbuf_bytes = 10000;
	plan.sndbuf_bytes = 20000;
	limits_bound(&plan, &bound);
	assert_int_equal(term(&bound, "socket buffers")->bytes, 100 * 2 * 30000);
	assert_int_equal(term(&bound, "connection table")->bytes,
			 100 * LIMITS_CONNECTION_BYTES);
	assert_int_equal(term(&bound, "header buffers")->bytes, 100 * plan.head_bytes);
	assert_int_equal(term(&bound, "big stacks")->bytes,
			 plan.big_stack_count * plan.big_stack_bytes);
	assert_int_equal(term(&bound, "system region")->bytes, plan.system_bytes);
	assert_int_equal(term(&bound, "worker threads")->bytes, LIMITS_THREAD_BYTES);
	assert_int_equal(term(&bound, "text, data and libraries")->bytes, plan.image_bytes);
	assert_int_equal(term(&bound, "kernel's own")->bytes,
			 100 * LIMITS_KERNEL_CONNECTION_BYTES);
	assert_true(term(&bound, "page tables")->bytes > bound.total_bytes / 600);
	assert_int_equal(
		term(&bound, "outgoing connections")->bytes,
		plan.outgoing * (2 * (plan.outgoing_rcvbuf_bytes + plan.outgoing_sndbuf_bytes) +
				 LIMITS_KERNEL_CONNECTION_BYTES));
	assert_int_equal(term(&bound, "name look-ups")->bytes,
			 plan.resolvers * LIMITS_RESOLVER_BYTES);
	assert_int_equal(term(&bound, "log")->bytes, plan.threads * plan.logs.ring_bytes);
	assert_int_equal(bound.term_count, 13);
	snprintf(plan.tls.listen, sizeof(plan.tls.listen), "127.0.0.1:8443");
	plan.tls.connections = 10;
	plan.tls.handshakes = 3;
	limits_bound(&plan, &bound);
	assert_int_equal(term(&bound, "TLS")->bytes, limits_tls_bytes(&plan));
	assert_int_equal(limits_tls_bytes(&plan), LIMITS_TLS_BASE_BYTES +
							  7 * LIMITS_TLS_CONNECTION_BYTES +
							  3 * LIMITS_TLS_HANDSHAKE_BYTES);
}

static void test_limits__every_number_moves_the_bound_up(void **state)
{
	(void)state;
	uint64_t *sizes[] = {
		&plan.rcvbuf_bytes,    &plan.sndbuf_bytes,        &plan.head_bytes,
		&plan.image_bytes,     &plan.system_bytes,        &plan.stack_bytes,
		&plan.big_stack_bytes, &plan.class[0].size_bytes, &plan.logs.ring_bytes};
	uint32_t *counts[] = {&plan.threads, &plan.connections, &plan.big_stack_count,
			      &plan.class[0].count};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t before = limits_bound_bytes(&plan);
		*sizes[i] += LIMITS_PAGE_BYTES;
		assert_true(limits_bound_bytes(&plan) > before);
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint64_t before = limits_bound_bytes(&plan);
		*counts[i] += 1;
		assert_true(limits_bound_bytes(&plan) > before);
	}
}

static void test_limits__a_bucket_has_the_stack_of_its_hungriest_route(void **state)
{
	(void)state;
	add_class("big", 1 << 20, 2);
	add_route("/deep", 0);
	plan.route[0].stack_bytes = 128 << 10;
	assert_int_equal(limits_class_stack_bytes(&plan, 0), 128 << 10);
	assert_int_equal(limits_class_stack_bytes(&plan, 1), 64 << 10);
	plan.route[0].retry = true; /* may end up in the bigger one */
	assert_int_equal(limits_class_stack_bytes(&plan, 1), 128 << 10);
}

/* One change that must be refused, and what the message must name. */
struct bad {
	const char *what;
	void (*change)(void);
};

#define BAD(name, statement)   \
	static void name(void) \
	{                      \
		statement;     \
	}
BAD(listen_empty, plan.listen[0] = '\0')
BAD(listen_port, snprintf(plan.listen, sizeof(plan.listen), "127.0.0.1:99999"))
BAD(listen_ipv6, snprintf(plan.listen, sizeof(plan.listen), "::1:80"))
BAD(admin_blank, snprintf(plan.admin, sizeof(plan.admin), "a b:1"))
BAD(no_threads, plan.threads = 0)
BAD(many_threads, plan.threads = 17)
BAD(no_connections, plan.connections = 0)
BAD(small_rcvbuf, plan.rcvbuf_bytes = 100)
BAD(small_sndbuf, plan.sndbuf_bytes = 0)
BAD(small_head, plan.head_bytes = 10)
BAD(huge_body, plan.body_bytes_max = UINT64_MAX)
BAD(long_queue, plan.queue = 1025)
BAD(no_idle, plan.idle_timeout_ns = 0)
BAD(odd_image, plan.image_bytes = (8 << 20) + 1)
BAD(small_system, plan.system_bytes = 4096)
BAD(odd_stack, plan.stack_bytes = 65537)
BAD(small_stack, plan.stack_bytes = 4096)
BAD(small_big_stack, plan.big_stack_bytes = 4096)
BAD(odd_size, plan.class[0].size_bytes = 100000)
BAD(no_size, plan.class[0].size_bytes = 0)
BAD(no_count, plan.class[0].count = 0)
BAD(same_name, add_class("main", 1 << 20, 1))
BAD(bad_name, add_class("a]b", 1 << 20, 1))
BAD(out_of_order, add_class("tiny", 4096, 1))
BAD(no_bucket, add_route("/x", 1))
BAD(bad_pattern, add_route("x", 0))
BAD(star_inside, add_route("/a*b", 0))
BAD(bad_method, add_route("get /x", 0))
BAD(twice, (add_route("/x", 0), add_route("/x", 0)))
BAD(too_much, (plan.class[0].size_bytes = (uint64_t)1 << 46, plan.class[0].count = 1 << 20))
BAD(on_oom_name, (plan.on_oom_count = 1,
		  snprintf(plan.on_oom[0].library, sizeof(plan.on_oom[0].library), "a=b")))

static void test_limits__impossible_numbers_name_section_and_key(void **state)
{
	(void)state;
	const struct bad bad[] = {
		{"[server] listen:", listen_empty},
		{"[server] listen: '127.0.0.1:99999'", listen_port},
		{"[server] listen:", listen_ipv6},
		{"[server] admin:", admin_blank},
		{"[server] threads: 0 is impossible; give 1 to 256", no_threads},
		{"[server] threads: 17 threads are more than the 16 buckets of 'main'",
		 many_threads},
		{"[server] connections:", no_connections},
		{"[server] rcvbuf:", small_rcvbuf},
		{"[server] sndbuf:", small_sndbuf},
		{"[server] head:", small_head},
		{"[server] body:", huge_body},
		{"[server] queue:", long_queue},
		{"[server] idle_timeout:", no_idle},
		{"[server] image:", odd_image},
		{"[server] system:", small_system},
		{"[stack] size: 65537 is no multiple of the page of 4096 bytes; give 68K",
		 odd_stack},
		{"[stack] size:", small_stack},
		{"[stack] big_size:", small_big_stack},
		{"[bucket main] size: 100000 is no multiple", odd_size},
		{"[bucket main] size:", no_size},
		{"[bucket main] count: 0 is impossible", no_count},
		{"[bucket main] size: there are two", same_name},
		{"[bucket a]b] size:", bad_name},
		{"[bucket tiny] size:", out_of_order},
		{"[route /x] bucket:", no_bucket},
		{"[route x] bucket: 'x' is no pattern", bad_pattern},
		{"[route /a*b] bucket:", star_inside},
		{"[route get /x] bucket:", bad_method},
		{"[route /x] bucket: there are two", twice},
		{"[bucket main] count: the whole plan", too_much},
		{"[on_oom] a=b:", on_oom_name},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err;
		limits_defaults(&plan);
		bad[i].change();
		assert_int_equal(limits_check(&plan, &err), -1);
		assert_int_equal(err.kind, ERR_ENVIRONMENT);
		if (strncmp(err.text, bad[i].what, strlen(bad[i].what)) != 0)
			fail_msg("'%s' does not start with '%s'", err.text, bad[i].what);
	}
}

static void assert_route(const char *method, const char *path, const char *pattern)
{
	int i = limits_route(&plan, str_of(method), str_of(path));
	const char *found = i < 0 ? "" : plan.route[i].pattern;
	if (strcmp(found, pattern) != 0)
		fail_msg("%s %s: found '%s', not '%s'", method, path, found, pattern);
}

static void test_limits__the_most_particular_route_holds(void **state)
{
	(void)state;
	assert_route("GET", "/", "");
	const char *patterns[] = {"*",       "/static/",     "/static/img/", "GET /static/",
				  "/search", "POST /search", "/api*",        "GET *"};
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		add_route(patterns[i], 0);
	struct err err;
	assert_int_equal(limits_check(&plan, &err), 0);
	assert_route("PUT", "/nothing", "*");
	assert_route("GET", "/nothing", "GET *");
	assert_route("GET", "/search", "/search");
	assert_route("POST", "/search", "POST /search");
	assert_route("PUT", "/search/", "*");
	assert_route("GET", "/static/a", "GET /static/");
	assert_route("PUT", "/static/a", "/static/");
	/* a longer prefix before one with a method */
	assert_route("GET", "/static/img/a", "/static/img/");
	assert_route("PUT", "/api", "/api*");
	assert_route("PUT", "/apis/1", "/api*");
	assert_route("PUT", "/static", "*");
	assert_route("GETS", "/static/a", "/static/");
	assert_route("PUT", "", "*");
}

static void test_limits__id_stands_for_one_identifier(void **state)
{
	(void)state;
	const char *patterns[] = {"*",       "/item/",  "/item/:id", "GET /item/:id",
				  "/item/7", "/a/:id/b"};
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		add_route(patterns[i], 0);
	struct err err;
	assert_int_equal(limits_check(&plan, &err), 0);
	assert_route("PUT", "/item/12", "/item/:id");
	assert_route("GET", "/item/12", "GET /item/:id");
	assert_route("GET", "/item/7", "/item/7");
	assert_route("GET", "/item/new", "/item/");
	assert_route("GET", "/item/12/x", "/item/");
	assert_route("GET", "/item/", "/item/");
	assert_route("GET", "/a/12/b", "/a/:id/b");
	assert_route("GET", "/a/0123456789abcdef/b", "/a/:id/b");
	assert_route("GET", "/a/12345678-9abc-def0-1234-56789abcdef0/b", "/a/:id/b");
	assert_route("GET", "/a/12/c", "*");
	assert_route("GET", "/a/12", "*");
}

static void test_limits__a_quoted_pattern_is_a_whole_name(void **state)
{
	(void)state;
	static const char *const name[][2] = {
		{"GET /a", "GET /a"},       {"GET /item/:id", "GET /item/:id"},
		{"SET", "\"SET\""},         {"render page", "\"render page\""},
		{"GET /a*", "\"GET /a*\""}, /* or it would be all that begins so */
		{"a]b", "\"a\\x5db\""},     {"say \"x\"\n", "\"say \\x22x\\x22\\x0a\""},
	};
	char pattern[LIMITS_PATTERN_MAX], longest[LIMITS_PATTERN_MAX];
	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		assert_int_equal(limits_pattern_of(str_of(name[i][0]), pattern), 0);
		assert_string_equal(pattern, name[i][1]);
		add_route(pattern, 0);
	}
	add_route("*", 0);
	struct err err;
	assert_int_equal(limits_check(&plan, &err), 0);
	assert_route("", "SET", "\"SET\"");
	assert_route("render", "page", "\"render page\"");
	assert_route("GET", "/a*", "\"GET /a*\"");
	assert_route("GET", "/ab", "*");
	assert_route("", "a]b", "\"a\\x5db\"");
	assert_route("", "SETX", "*");
	assert_route("", "SE", "*");

	memset(longest, 'x', sizeof(longest) - 3);
	assert_int_equal(limits_pattern_of((struct str){longest, sizeof(longest) - 3}, pattern),
			 0);
	assert_int_equal(limits_pattern_of((struct str){longest, sizeof(longest) - 2}, pattern),
			 -1);

	static const char *const bad[] = {"\"\"",      "\"",        "\"a",     "\"a\"b\"",
					  "\"\\x5D\"", "\"\\x41\"", "\"a\\\"", "\"\\xg0\""};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		limits_defaults(&plan);
		add_route(bad[i], 0);
		assert_int_equal(limits_check(&plan, &err), -1);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_limits__the_defaults_are_a_valid_plan),
		TEST(test_limits__the_terms_sum_to_the_bound),
		TEST(test_limits__each_term_is_what_it_says),
		TEST(test_limits__every_number_moves_the_bound_up),
		TEST(test_limits__a_bucket_has_the_stack_of_its_hungriest_route),
		TEST(test_limits__impossible_numbers_name_section_and_key),
		TEST(test_limits__the_most_particular_route_holds),
		TEST(test_limits__id_stands_for_one_identifier),
		TEST(test_limits__a_quoted_pattern_is_a_whole_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
