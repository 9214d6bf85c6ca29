/* SPDX-License-Identifier: MIT */
#include "server/http/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DATE      "Sun, 06 Nov 1994 08:49:37 GMT"
#define DATE_LINE "Date: " DATE "\r\n"

struct head {
	struct response response;
	const char *text;
};

static void test_response__framing_and_persistence_are_told(void **state)
{
	static const struct head cases[] = {
		{{.status = 200, .minor = 1, .keep_alive = true, .length = 5},
		 "200 OK\r\n" DATE_LINE "Content-Length: 5\r\n"},
		{{.status = 200, .minor = 1, .keep_alive = true, .length = 0},
		 "200 OK\r\n" DATE_LINE "Content-Length: 0\r\n"},
		{{.status = 200, .minor = 1, .keep_alive = false, .length = 5},
		 "200 OK\r\n" DATE_LINE "Connection: close\r\nContent-Length: 5\r\n"},
		{{.status = 200, .minor = 0, .keep_alive = true, .length = 5},
		 "200 OK\r\n" DATE_LINE "Connection: keep-alive\r\nContent-Length: 5\r\n"},
		{{.status = 200, .minor = 1, .keep_alive = true, .chunked = true, .length = -1},
		 "200 OK\r\n" DATE_LINE "Transfer-Encoding: chunked\r\n"},
		{{.status = 200, .minor = 1, .keep_alive = true, .chunked = true, .length = 7},
		 "200 OK\r\n" DATE_LINE "Transfer-Encoding: chunked\r\n"},
		{{.status = 200, .minor = 0, .keep_alive = true, .chunked = true, .length = -1},
		 "200 OK\r\n" DATE_LINE "Connection: close\r\n"},
		{{.status = 200, .minor = 1, .keep_alive = true, .length = -1},
		 "200 OK\r\n" DATE_LINE "Connection: close\r\n"},
		{{.status = 204, .minor = 1, .keep_alive = true, .length = 0},
		 "204 No Content\r\n" DATE_LINE},
		{{.status = 204, .minor = 1, .keep_alive = true, .chunked = true, .length = -1},
		 "204 No Content\r\n" DATE_LINE},
		{{.status = 304, .minor = 1, .keep_alive = true, .length = -1},
		 "304 Not Modified\r\n" DATE_LINE},
		{{.status = 304, .minor = 1, .keep_alive = true, .length = 9},
		 "304 Not Modified\r\n" DATE_LINE "Content-Length: 9\r\n"},
		{{.status = 299, .minor = 1, .keep_alive = true, .length = INT64_MAX},
		 "299 \r\n" DATE_LINE "Content-Length: 9223372036854775807\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct response response = cases[i].response;
		char out[256], expected[256];
		size_t length;

		response.date = STR(DATE);
		response.fields = STR("A: b\r\n");
		snprintf(expected, sizeof(expected), "HTTP/1.1 %sA: b\r\n\r\n", cases[i].text);
		length = response_head(out, sizeof(out), &response);
		assert_int_equal(length, strlen(expected));
		assert_memory_equal(out, expected, length);
		/* Never a byte too many, at any size of the buffer. */
		for (size_t size = 0; size < length; size++) {
			memset(out, '#', sizeof(out));
			assert_int_equal(response_head(out, size, &response), 0);
			for (size_t j = size; j < sizeof(out); j++)
				assert_int_equal(out[j], '#');
		}
		assert_int_equal(response_head(out, length, &response), length);
		assert_int_equal(response_stays(&response),
				 !strstr(cases[i].text, "Connection: close"));
	}
}

static void test_response__an_interim_answer_is_bare(void **state)
{
	struct response response = {
		.status = 100, .minor = 1, .keep_alive = false, .length = -1};
	char out[64];
	size_t length = response_head(out, sizeof(out), &response);

	(void)state;
	assert_int_equal(length, 25);
	assert_memory_equal(out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static void test_response__fields_cannot_split_a_response(void **state)
{
	static const struct {
		const char *name, *value, *line;
	} cases[] = {
		{"X", "y", "X: y\r\n"},
		{"X", " \ty z\t ", "X: y z\r\n"},
		{"X", "", "X: \r\n"},
		{"X", "\xc3\xa4", "X: \xc3\xa4\r\n"},
		{"Content-Length", "5", "Content-Length: 5\r\n"},
		{"Tex", "a", "Tex: a\r\n"},
		{"X", "a\r\nB: c", NULL},
		{"X", "a\nB: c", NULL},
		{"X", "a\rB: c", NULL},
		{"X", "a\x01", NULL},
		{"X", "a\x7f", NULL},
		{"X: y\r\nZ", "a", NULL},
		{"X ", "a", NULL},
		{"X:", "a", NULL},
		{"\xc3\xa4", "a", NULL},
		{"", "a", NULL},
		{"Connection", "close", NULL},
		{"connection", "close", NULL},
		{"Transfer-Encoding", "chunked", NULL},
		{"Date", DATE, NULL},
		{"Keep-Alive", "a", NULL},
		{"Trailer", "a", NULL},
		{"Upgrade", "a", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char out[64];
		size_t length = response_field(out, sizeof(out), cases[i].name, cases[i].value);

		if (!cases[i].line) {
			if (length)
				fail_msg("%s: %s is sent", cases[i].name, cases[i].value);
			continue;
		}
		assert_int_equal(length, strlen(cases[i].line));
		assert_memory_equal(out, cases[i].line, length);
		assert_int_equal(response_field(out, length - 1, cases[i].name, cases[i].value),
				 0);
	}
}

static void test_response__errors_have_a_body_but_for_head(void **state)
{
	struct response response = {.status = 503,
				    .minor = 1,
				    .keep_alive = true,
				    .date = STR(DATE),
				    .fields = STR("Retry-After: 1\r\n")};
	static const char head[] = "HTTP/1.1 503 Service Unavailable\r\n" DATE_LINE
				   "Content-Length: 20\r\nRetry-After: 1\r\n"
				   "Content-Type: text/plain; charset=utf-8\r\n\r\n";
	char out[RESPONSE_ERROR_BYTES];
	size_t length = response_error(out, sizeof(out), &response, false, NULL);

	(void)state;
	assert_int_equal(length, sizeof(head) - 1 + 20);
	assert_memory_equal(out, head, sizeof(head) - 1);
	assert_memory_equal(out + sizeof(head) - 1, "Service Unavailable\n", 20);
	assert_int_equal(response_error(out, sizeof(out), &response, true, NULL),
			 sizeof(head) - 1);
	for (size_t size = 0; size < length; size++)
		assert_int_equal(response_error(out, size, &response, false, NULL), 0);
	response.status = 204;
	response.fields = STR("");
	assert_int_equal(response_error(out, sizeof(out), &response, false, "never"),
			 strlen("HTTP/1.1 204 No Content\r\n" DATE_LINE "\r\n"));
}

static void test_response__every_error_fits_the_promised_size(void **state)
{
	(void)state;
	for (int status = 400; status < 600; status++) {
		struct response response = {.status = status,
					    .date = STR(DATE),
					    .fields = STR("Allow: GET, HEAD, OPTIONS\r\n")};
		char out[RESPONSE_ERROR_BYTES];

		assert_true(response_error(out, sizeof(out), &response, false, NULL) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_response__framing_and_persistence_are_told),
		cmocka_unit_test(test_response__an_interim_answer_is_bare),
		cmocka_unit_test(test_response__fields_cannot_split_a_response),
		cmocka_unit_test(test_response__errors_have_a_body_but_for_head),
		cmocka_unit_test(test_response__every_error_fits_the_promised_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
