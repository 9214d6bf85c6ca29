/* SPDX-License-Identifier: MIT */
/* What goes over connections, as a script of events: which requests that makes. */
#include "tests/libtrace/script.h"

#include <errno.h>
#include <string.h>

static void test_wire__a_proxy_owns_what_it_does_upstream(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	for (int k = 0; k < 2; k++) {
		script_watch(10 + k);
		script_epoll(-1, 1, 10 + k);
		script_get(10 + k, k + 1);
		script_emit((struct ring_event){
			.kind = EVENT_CONNECT, .value = (uint64_t)(20 + k), .a = -EINPROGRESS});
		script_watch(20 + k);
	}
	for (int k = 1; k >= 0; k--) {
		script_epoll(-1, 1, 20 + k);
		script_alloc(10 * (uint64_t)(k + 1));
		script_io(EVENT_WRITE, 20 + k, "GET /up HTTP/1.0\r\n\r\n", 0, 0);
	}
	for (int k = 0; k < 2; k++) {
		script_epoll(-1, 1, 20 + k);
		script_alloc(1000 *
			     (uint64_t)(k + 1)); /* the answer's buffer: before the read */
		script_io(EVENT_READ, 20 + k, "HTTP/1.0 200 OK\r\n\r\n", 0, 0);
		script_answer(10 + k);
	}
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row_count, 2);
	script_expect("GET /1", 1010, TRACE_EXACT);
	script_expect("GET /2", 2020, TRACE_EXACT);
	script_expect_totals(0, 0);
}

static void test_wire__a_pooled_upstream_works_for_who_writes_to_it(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	script_watch(20);
	for (int k = 0; k < 2; k++) {
		script_epoll(-1, 1, 10 + k);
		script_get(10 + k, k + 1);
		if (k == 0)
			script_emit((struct ring_event){
				.kind = EVENT_CONNECT, .value = 20, .a = 0});
		script_io(EVENT_WRITE, 20, "GET /up HTTP/1.1\r\n\r\n", 0, 0);
		script_epoll(-1, 1, 20);
		script_io(EVENT_READ, 20, SCRIPT_OK, 0, 0);
		script_alloc(1000 * (uint64_t)(k + 1));
		script_answer(10 + k);
	}
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /1", 1000, TRACE_EXACT);
	script_expect("GET /2", 2000, TRACE_EXACT);
}

static void test_wire__a_duplicate_keeps_the_connection(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_emit((struct ring_event){.kind = EVENT_DUP, .value = 12, .a = 10});
	script_close(10);
	script_poll(3);
	script_get(12, 1);
	script_alloc(1000);
	script_answer(12);
	script_close(12);
	script_finish();
	assert_int_equal(script_connection_rows, 1);
	script_expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(script_row("GET /1")->connection, 1);
}

static void test_wire__pipelined_requests_are_told_apart(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_epoll(-1, 1, 10);
	script_io(EVENT_READ, 10, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", 0, 0);
	script_alloc(1000);
	script_answer(10);
	script_alloc(2000);
	script_answer(10);
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row_count, 2);
	script_expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(script_row("GET /2")->bytes, 2000);
	assert_int_equal(script_row("GET /2")->sequence, 2);
}

static void test_wire__a_body_is_no_request(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_io(EVENT_READ, 10, "POST /1 HTTP/1.1\r\nContent-Length: 600\r\n\r\n", 0, 0);
	script_io(EVENT_READ, 10, "GET /evil HTTP/1.1\r\n\r\n", 578, 0);
	script_alloc(1000);
	script_answer(10);
	script_get(10, 2);
	script_finish();
	assert_int_equal(script_row_count, 2);
	script_expect("POST /1", 1000, TRACE_EXACT);
	assert_string_equal(script_row("GET /2")->ended_by, "end-of-recording");
	assert_int_equal(script_row("GET /2")->status, -1);
}

static void test_wire__a_head_in_pieces_and_a_write_in_parts(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_io(EVENT_READ, 10, "GE", 0, 0);
	script_alloc(1000);
	script_io(EVENT_READ, 10, "T /1 HTTP/1.1\r", 0, 0);
	script_io(EVENT_READ, 10, "\n\r\n", 0, 0);
	/* refused, then a part, then the rest */
	script_io(EVENT_WRITE, 10, SCRIPT_OK, 0, 0);
	script_emit((struct ring_event){.kind = EVENT_WRITE_RESULT, .value = 10, .a = -EAGAIN});
	script_io(EVENT_WRITE, 10, SCRIPT_OK, 0, 0);
	script_emit((struct ring_event){.kind = EVENT_WRITE_RESULT, .value = 10, .a = 20});
	script_io(EVENT_WRITE, 10, SCRIPT_OK + 20, 0, 0);
	script_get(10, 2);
	script_finish();
	assert_int_equal(script_row_count, 2);
	script_expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(script_row("GET /1")->status, 200);
	assert_string_equal(script_row("GET /1")->ended_by, "response");
}

static void test_wire__informational_answers_are_not_final(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_io(EVENT_READ, 10, "POST /1 HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 0, 0);
	script_io(EVENT_WRITE, 10, "HTTP/1.1 100 Continue\r\n\r\n", 0, 0);
	script_io(EVENT_READ, 10, "12345", 0, 0);
	script_alloc(1000);
	script_answer(10);
	script_close(10);
	script_finish();
	assert_int_equal(script_row_count, 1);
	script_expect("POST /1", 1000, TRACE_EXACT);
	assert_int_equal(script_row("POST /1")->status, 200);
}

static void test_wire__redis_like_messages_are_requests(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	for (int k = 1; k <= 3; k++) {
		script_epoll(-1, 1, 10);
		script_io(EVENT_READ, 10,
			  k == 2 ? "*1\r\n$3\r\nget\r\n" : "*1\r\n$4\r\nPING\r\n", 0, 0);
		script_alloc(1000 * (uint64_t)k);
		script_io(EVENT_WRITE, 10, "+PONG\r\n", 0, 0);
	}
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row_count, 3);
	script_expect("GET", 2000, TRACE_EXACT);
	script_expect("PING", 1000, TRACE_EXACT);
}

static void test_wire__an_unknown_socket_that_reads_a_request_is_adopted(void **state)
{
	(void)state;
	script_on(1, 1);
	script_get(30, 1);
	script_alloc(1000);
	script_answer(30);
	script_io(EVENT_READ, 31, "not a request at all", 0, 0);
	script_finish();
	assert_int_equal(script_row_count, 1);
	script_expect("GET /1", 1000, TRACE_EXACT);
}

static void test_wire__connections_can_be_the_requests(void **state)
{
	(void)state;
	script_teardown(state);
	assert_int_equal(script_start(SPLIT_CONNECTION), 0);
	script_on(1, 1);
	script_accept(10);
	script_alloc(1000);
	script_get(10, 1);
	script_alloc(1000);
	script_answer(10);
	script_get(10, 2);
	script_alloc(1000);
	script_close(10);
	script_finish();
	assert_int_equal(script_row_count, 1);
	assert_int_equal(script_rows[0].bytes, 3000);
	assert_string_equal(script_rows[0].route, "connection");
}

/* Frames are not requests: one that begins like a head, too. */
static void test_wire__an_http2_connection_is_one_request(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_io(EVENT_READ, 10, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 0);
	script_alloc(1000);
	script_io(EVENT_READ, 10, "GET /1 HTTP/1.1\r\n\r\n", 0, 0);
	script_alloc(1000);
	script_answer(10);
	script_alloc(1000);
	script_close(10);
	script_finish();
	assert_int_equal(script_row_count, 1);
	assert_int_equal(script_rows[0].bytes, 3000);
	assert_string_equal(script_rows[0].route, "HTTP/2 connection");
	assert_string_equal(script_rows[0].ended_by, "close");
	struct attribute_totals totals;
	attribute_totals(script_attribute, &totals);
	assert_int_equal(totals.http2_connections, 1);
}

static void test_wire__an_upgrade_to_http2_answers_who_asked_for_it(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_get(10, 1);
	script_alloc(1000);
	script_io(EVENT_WRITE, 10, "HTTP/1.1 101 Switching Protocols\r\n\r\n", 0, 0);
	script_io(EVENT_READ, 10, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 0);
	script_alloc(2000);
	script_close(10);
	script_finish();
	assert_int_equal(script_row_count, 2);
	script_expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(script_row("GET /1")->status, 101);
	script_expect("HTTP/2 connection", 2000, TRACE_EXACT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRIPT_TEST(test_wire__a_proxy_owns_what_it_does_upstream),
		SCRIPT_TEST(test_wire__a_pooled_upstream_works_for_who_writes_to_it),
		SCRIPT_TEST(test_wire__a_duplicate_keeps_the_connection),
		SCRIPT_TEST(test_wire__pipelined_requests_are_told_apart),
		SCRIPT_TEST(test_wire__a_body_is_no_request),
		SCRIPT_TEST(test_wire__a_head_in_pieces_and_a_write_in_parts),
		SCRIPT_TEST(test_wire__informational_answers_are_not_final),
		SCRIPT_TEST(test_wire__redis_like_messages_are_requests),
		SCRIPT_TEST(test_wire__an_unknown_socket_that_reads_a_request_is_adopted),
		SCRIPT_TEST(test_wire__connections_can_be_the_requests),
		SCRIPT_TEST(test_wire__an_http2_connection_is_one_request),
		SCRIPT_TEST(test_wire__an_upgrade_to_http2_answers_who_asked_for_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
