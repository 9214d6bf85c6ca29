/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/http.h"

#include "libtrace/attribution/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Feeds text in pieces of `step` bytes and writes down what came of it. */
static const char *scan(bool response, const char *text, size_t step)
{
	static char log[512];
	struct http_scan s;
	struct http_event event;
	size_t length = strlen(text);
	log[0] = '\0';
	http_scan_init(&s, response);
	for (size_t at = 0; at < length; at += step) {
		struct str bytes = {text + at, length - at < step ? length - at : step};
		bool start = true;
		do {
			size_t took = http_scan_feed(&s, bytes, start, &event);
			start = false;
			bytes.bytes += took;
			bytes.length -= took;
			size_t used = strlen(log);
			if (event.kind == HTTP_BEGIN)
				snprintf(log + used, sizeof(log) - used, "begin ");
			if (event.kind == HTTP_HEAD && response)
				snprintf(log + used, sizeof(log) - used, "%d ", event.status);
			if (event.kind == HTTP_HEAD && !response)
				snprintf(log + used, sizeof(log) - used, "%.*s|%.*s ",
					 STR_ARG(event.method), STR_ARG(event.target));
			if (event.kind == HTTP_END)
				snprintf(log + used, sizeof(log) - used, "end ");
			if (event.kind == HTTP_OTHER)
				snprintf(log + used, sizeof(log) - used, "other ");
		} while (event.kind != HTTP_NONE);
	}
	return log;
}

static void test_http__requests_are_seen_however_the_bytes_are_cut(void **state)
{
	(void)state;
	const char *text = "GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
			   "POST /b HTTP/1.1\r\ncontent-LENGTH:  11\r\n\r\nGET / HTTP/"
			   "\r\nPUT /c HTTP/1.0\n\n";
	for (size_t step = 1; step < 120; step++)
		assert_string_equal(scan(false, text, step),
				    "begin GET|/a?x=1 end begin POST|/b end begin PUT|/c end ");
}

static void test_http__responses_are_followed_by_their_length(void **state)
{
	(void)state;
	const char *text = "HTTP/1.1 100 Continue\r\n\r\n"
			   "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 500"
			   "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"
			   "HTTP/1.1 204 No Content\r\n\r\n";
	for (size_t step = 1; step < 120; step++)
		assert_string_equal(scan(true, text, step),
				    "begin 100 end begin 200 end begin 304 end begin 204 end ");
}

static void test_http__a_body_of_unknown_length_is_resynchronised(void **state)
{
	(void)state;
	struct http_scan s;
	struct http_event event;
	http_scan_init(&s, true);
	struct str first =
		STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	bool start = true;
	do {
		size_t took = http_scan_feed(&s, first, start, &event);
		start = false;
		first.bytes += took;
		first.length -= took;
		assert_int_not_equal(event.kind, HTTP_END);
	} while (event.kind != HTTP_NONE);
	http_scan_skip(&s, 1000000, &event);
	assert_int_equal(event.kind, HTTP_NONE);
	/* in the middle of a piece nothing counts, at its start it does */
	http_scan_feed(&s, STR("0\r\n\r\nHTTP/1.1 404 No\r\n"), true, &event);
	assert_int_equal(event.kind, HTTP_NONE);
	http_scan_feed(&s, STR("HTTP/1.1 404 No\r\n"), true, &event);
	assert_int_equal(event.kind, HTTP_BEGIN);
}

static void test_http__holes_in_bodies_are_counted(void **state)
{
	(void)state;
	struct http_scan s;
	struct http_event event;
	struct str head = STR("POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
	http_scan_init(&s, false);
	size_t took = http_scan_feed(&s, head, true, &event); /* BEGIN */
	head.bytes += took;
	head.length -= took;
	took = http_scan_feed(&s, head, false, &event); /* HEAD */
	assert_int_equal(event.kind, HTTP_HEAD);
	head.bytes += took;
	head.length -= took;
	http_scan_feed(&s, head, false, &event);
	http_scan_skip(&s, 999, &event);
	assert_int_equal(event.kind, HTTP_NONE);
	assert_false(http_scan_idle(&s));
	http_scan_skip(&s, 1, &event);
	assert_int_equal(event.kind, HTTP_END);
	assert_true(http_scan_idle(&s));
}

static void test_http__other_protocols_are_not_taken_for_it(void **state)
{
	(void)state;
	assert_string_equal(scan(false, "*1\r\n$4\r\nPING\r\n", 100), "other ");
	assert_string_equal(scan(false, "PING\r\n", 100), "other ");
	assert_string_equal(scan(false, "get /x HTTP/1.1\r\n", 100), "other ");
	assert_string_equal(scan(false, "EHLO example.org\r\n", 5), "begin other ");
	assert_true(http_looks_like_request(STR("GE")));
	assert_true(http_looks_like_request(STR("PROPFIND /x HTTP/1.1\r\n")));
	assert_false(http_looks_like_request(STR("\x16\x03\x01")));
	assert_false(http_looks_like_request(STR("")));
}

static void test_http__long_lines_are_cut_not_lost(void **state)
{
	(void)state;
	char text[3000] = "GET /";
	memset(text + 5, 'a', 2000);
	memcpy(text + 2005, " HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n", 33);
	const char *log = scan(false, text, 4000);
	assert_non_null(strstr(log, "begin GET|/aaaa"));
}

static void test_http__redis_commands_have_names(void **state)
{
	(void)state;
	assert_true(str_equal(http_resp_command(STR("*3\r\n$3\r\nSET\r\n$1\r\na\r\n")),
			      STR("SET")));
	assert_int_equal(http_resp_command(STR("*3\r\n$3\r")).length, 0);
	assert_int_equal(http_resp_command(STR("PING\r\n")).length, 0);
}

static struct str name(struct route_namer *namer, const char *target)
{
	static char text[ROUTE_BYTES_MAX];
	return route_name(namer, STR("GET"), str_of(target), text);
}

static void test_route__many_paths_become_few_routes(void **state)
{
	(void)state;
	struct route_namer *namer = malloc(sizeof(*namer));
	route_namer_init(namer);
	assert_true(str_equal(name(namer, "/a/7?q=1#x"), STR("GET /a/7")));
	assert_true(str_equal(name(namer, "http://host/b?c"), STR("GET /b")));
	assert_true(str_equal(name(namer, "http://host"), STR("GET /")));
	char target[64];
	for (int i = 0; i < 5000; i++) {
		snprintf(target, sizeof(target), "/item/%d/part", i);
		name(namer, target);
	}
	assert_true(str_equal(name(namer, "/item/999999/part"), STR("GET /item/:id/part")));
	assert_true(str_equal(name(namer, "/item/12/part"), STR("GET /item/12/part")));
	assert_true(str_equal(name(namer, "/u/123e4567-e89b-12d3-a456-426614174000"),
			      STR("GET /u/:id")));
	for (int i = 0; i < 5000; i++) {
		snprintf(target, sizeof(target), "/word%d", i);
		name(namer, target);
	}
	assert_true(str_equal(name(namer, "/never-seen"), STR("GET (other)")));
	assert_true(namer->count <= ROUTES_MOST);
	route_namer_release(namer);
	free(namer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http__requests_are_seen_however_the_bytes_are_cut),
		cmocka_unit_test(test_http__responses_are_followed_by_their_length),
		cmocka_unit_test(test_http__a_body_of_unknown_length_is_resynchronised),
		cmocka_unit_test(test_http__holes_in_bodies_are_counted),
		cmocka_unit_test(test_http__other_protocols_are_not_taken_for_it),
		cmocka_unit_test(test_http__long_lines_are_cut_not_lost),
		cmocka_unit_test(test_http__redis_commands_have_names),
		cmocka_unit_test(test_route__many_paths_become_few_routes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
