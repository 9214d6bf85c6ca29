/* SPDX-License-Identifier: MIT */
#include "cli/driving/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct answer answer;

/* Feeds `text` in pieces of `step` bytes; gives how many were taken. */
static size_t feed(const char *text, size_t step, bool head_request)
{
	size_t length = strlen(text), at = 0;
	answer_clear(&answer, head_request);
	while (at < length) {
		size_t n = length - at < step ? length - at : step;
		size_t taken = answer_feed(&answer, text + at, n);
		at += taken;
		if (taken < n)
			break;
	}
	return at;
}

struct expected {
	const char *text;
	enum answer_state state;
	int status;
	bool keep_alive;
	size_t unread; /* bytes of text behind this response */
};

static void check(const struct expected *e)
{
	for (size_t step = 1; step <= strlen(e->text); step++) {
		size_t taken = feed(e->text, step, false);
		assert_int_equal(answer.state, e->state);
		if (e->state == ANSWER_BAD)
			continue;
		assert_int_equal(answer.status, e->status);
		assert_int_equal(answer.keep_alive, e->keep_alive);
		assert_int_equal(strlen(e->text) - taken, e->unread);
		assert_int_equal(answer.bytes, taken);
	}
}

static void test_answer__each_framing_ends_where_it_should(void **state)
{
	(void)state;
	static const struct expected list[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", ANSWER_DONE, 200, true, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", ANSWER_DONE, 200, true,
		 4},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", ANSWER_LENGTH, 200, true, 0},
		{"HTTP/1.1 503 \r\ncontent-length:0\r\nConnection: x, Close\r\n\r\n",
		 ANSWER_DONE, 503, false, 0},
		{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", ANSWER_DONE, 200, false, 0},
		{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
		 ANSWER_DONE, 200, true, 0},
		{"HTTP/1.1 204 No Content\r\n\r\nX", ANSWER_DONE, 204, true, 1},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", ANSWER_DONE, 304,
		 true, 0},
		{"HTTP/1.1 200\r\n\r\nall of it", ANSWER_UNTIL_CLOSE, 200, false, 0},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
		 ANSWER_DONE, 200, true, 0},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "3\r\nabc\r\n1A;x=\"1\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\nNEXT",
		 ANSWER_DONE, 200, true, 4},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n",
		 ANSWER_DONE, 200, true, 0},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", ANSWER_CHUNK,
		 200, true, 0},
	};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		check(&list[i]);
}

static void test_answer__what_cannot_be_framed_is_refused(void **state)
{
	(void)state;
	static const char *const list[] = {
		"HTTP/2 200 OK\r\n\r\n",
		"SSH-2.0-OpenSSH\r\n\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
	};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		check(&(struct expected){list[i], ANSWER_BAD, 0, false, 0});
}

static void test_answer__to_a_head_request_has_no_body(void **state)
{
	(void)state;
	feed("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n", 7, true);
	assert_int_equal(answer.state, ANSWER_DONE);
}

static void test_answer__a_closed_connection_ends_only_what_it_may(void **state)
{
	(void)state;
	feed("HTTP/1.1 200 OK\r\n\r\nabc", 100, false);
	assert_true(answer_ended(&answer));
	feed("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", 100, false);
	assert_false(answer_ended(&answer));
	feed("HTTP/1.1 200 O", 100, false);
	assert_false(answer_ended(&answer));
}

static void test_answer__a_head_that_never_ends_is_refused(void **state)
{
	(void)state;
	answer_clear(&answer, false);
	char line[] = "X: y\r\n";
	answer_feed(&answer, "HTTP/1.1 200 OK\r\n", 17);
	for (int i = 0; i < ANSWER_HEAD_MAX / 6 + 1; i++)
		answer_feed(&answer, line, sizeof line - 1);
	assert_int_equal(answer.state, ANSWER_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer__each_framing_ends_where_it_should),
		cmocka_unit_test(test_answer__what_cannot_be_framed_is_refused),
		cmocka_unit_test(test_answer__to_a_head_request_has_no_body),
		cmocka_unit_test(test_answer__a_closed_connection_ends_only_what_it_may),
		cmocka_unit_test(test_answer__a_head_that_never_ends_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
