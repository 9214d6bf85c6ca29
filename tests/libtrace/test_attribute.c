/* SPDX-License-Identifier: MIT */
/* Every server model as a script of events. */
#include "tests/libtrace/script.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static void test_attribute__thread_per_connection(void **state)
{
	(void)state;
	script_on(1, 1);
	script_alloc(5); /* start-up */
	script_accept(10);
	script_alloc(SCRIPT_CONNECTION_BYTES);
	script_accept(11);
	script_alloc(SCRIPT_CONNECTION_BYTES);
	for (int k = 1; k <= 2; k++) {
		script_on(1, 1 + (uint32_t)k);
		script_get(9 + k, k);
		uint64_t p = script_alloc(1000 * (uint64_t)k);
		script_alloc(100); /* escapes */
		script_answer(9 + k);
		script_free(p);
	}
	for (int k = 1; k <= 2; k++) { /* keep-alive, and the end */
		script_on(1, 1 + (uint32_t)k);
		script_get(9 + k, k + 2);
		script_free(script_alloc(1000 * (uint64_t)(k + 2)));
		script_answer(9 + k);
		script_end_of_file(9 + k);
		script_close(9 + k);
		script_emit(
			(struct ring_event){.kind = EVENT_THREAD_EXIT, .value = script_thread});
	}
	assert_int_equal(script_row_count, 4);
	script_finish();
	script_expect("GET /1", 1100, TRACE_EXACT);
	script_expect("GET /2", 2100, TRACE_EXACT);
	script_expect("GET /3", 3000, TRACE_EXACT);
	script_expect("GET /4", 4000, TRACE_EXACT);
	assert_int_equal(script_row("GET /1")->escapes, 1);
	assert_int_equal(script_row("GET /1")->escaped_bytes, 100);
	assert_int_equal(script_row("GET /3")->escapes, 0);
	assert_int_equal(script_row("GET /3")->sequence, 2);
	assert_int_equal(script_row("GET /3")->status, 200);
	assert_string_equal(script_row("GET /3")->ended_by, "response");
	script_expect_totals(0, 2 * SCRIPT_CONNECTION_BYTES);
}

static void test_attribute__event_loop_with_many_connections(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	for (int fd = 10; fd < 26; fd++) {
		script_accept(fd);
		script_watch(fd);
		script_alloc(SCRIPT_CONNECTION_BYTES);
	}
	uint64_t held[16];
	for (int k = 0; k < 16; k++) { /* all read, then all answered the other way round */
		script_epoll(-1, 1, 10 + k);
		script_alloc(100); /* before the read: rule 5 */
		script_get(10 + k, k + 1);
		held[k] = script_alloc(1000 * (uint64_t)(k + 1));
	}
	for (int k = 15; k >= 0; k--) {
		script_epoll(-1, 1, 10 + k);
		script_alloc(10); /* rule 10 names the owner before it is touched */
		script_answer(10 + k);
		script_free(held[k]);
	}
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row_count, 16);
	for (int k = 0; k < 16; k++) {
		char route[16];
		snprintf(route, sizeof(route), "GET /%d", k + 1);
		script_expect(route, 110 + 1000 * (k + 1), TRACE_EXACT);
		assert_int_equal(script_row(route)->escapes, 2); /* the 100 and the 10 */
		assert_string_equal(script_row(route)->ended_by, "response");
	}
	script_expect_totals(0, 16 * SCRIPT_CONNECTION_BYTES);
}

static void test_attribute__several_events_at_once_are_only_inferred(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	script_epoll(-1, 2, 10);
	script_get(10, 1);
	script_alloc(1000);
	script_answer(10);
	script_get(11, 2);
	script_alloc(2000);
	script_answer(11);
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /1", 1000, TRACE_INFERRED);
	script_expect("GET /2", 2000, TRACE_INFERRED);
}

static void test_attribute__deferred_loop(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	script_epoll(-1, 1, 10);
	script_get(10, 1);
	script_epoll(-1, 1, 11);
	script_get(11, 2);
	/* the next turn handles both, with nothing but the writes to tell */
	script_epoll(0, 0, 0);
	script_alloc(1000);
	script_answer(10);
	script_alloc(2000);
	script_answer(11);
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /1", 1000, TRACE_INFERRED);
	script_expect("GET /2", 2000, TRACE_INFERRED);
	script_expect_totals(0, 0);
}

static void test_attribute__prefork_and_fork_per_connection(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_emit((struct ring_event){.kind = EVENT_FORK_BEGIN, .value = 7});
	script_emit((struct ring_event){.kind = EVENT_FORK_END, .value = 7, .a = 102});
	script_close(10); /* the parent's copy; the number comes again at once */
	script_accept(10);
	script_on(2, 2);
	script_emit((struct ring_event){.kind = EVENT_PROCESS_START,
					.flags = EVENT_FORKED,
					.value = 102,
					.a = 101,
					.b = (uint64_t)1 << 32 | 7});
	script_get(10, 1);
	script_alloc(1000);
	script_answer(10);
	script_emit((struct ring_event){.kind = EVENT_PROCESS_EXIT, .flags = EVENT_QUICK});
	script_on(1, 1);
	script_get(10, 2); /* the second connection, in the parent */
	script_alloc(2000);
	script_answer(10);
	script_finish();
	script_expect("GET /1", 1000, TRACE_EXACT);
	script_expect("GET /2", 2000, TRACE_EXACT);
	assert_int_equal(script_row("GET /1")->connection, 1);
	assert_int_equal(script_row("GET /2")->connection, 2);
	assert_int_equal(script_connection_rows, 2);
}

static void test_attribute__a_worker_takes_over_by_the_fd(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	script_epoll(-1, 1, 10);
	script_get(10, 1);
	script_epoll(-1, 1, 11);
	script_get(11, 2);
	script_epoll(-1, 0, 0);
	script_on(1, 2);
	script_alloc(2000); /* before it touches the fd */
	script_answer(11);
	script_on(1, 3);
	script_alloc(1000);
	script_answer(10);
	script_finish();
	script_expect("GET /1", 1000, TRACE_EXACT);
	script_expect("GET /2", 2000, TRACE_EXACT);
}

static void test_attribute__a_worker_takes_over_by_a_pointer(void **state)
{
	(void)state;
	uint64_t job[2];
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	for (int k = 0; k < 2; k++) {
		script_epoll(-1, 1, 10 + k);
		script_get(10 + k, k + 1);
		job[k] = script_alloc(100);
	}
	script_epoll(-1, 0, 0);
	script_on(1, 2);
	script_alloc(2000);
	script_free(job[1]);
	script_alloc(2000);
	script_on(1, 3);
	script_free(job[0]);
	script_alloc(1000);
	script_on(1, 1); /* the IO thread answers for both */
	script_epoll(-1, 1, 11);
	script_answer(11);
	script_epoll(-1, 1, 10);
	script_answer(10);
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /1", 1100, TRACE_INFERRED);
	script_expect("GET /2", 4100, TRACE_INFERRED);
}

/* A loop hands ready connections to a pool: what it does for that is the
 * connection's, whether or not the pool has read the next request by then. */
static void test_attribute__to_pass_a_connection_on_is_no_request_s_work(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_watch(10);
	script_epoll(-1, 0, 0);
	script_on(1, 2);
	script_get(10, 1);
	uint64_t p = script_alloc(1000);
	script_answer(10);
	script_free(p);
	script_on(1, 1);
	script_epoll(-1, 1, 10);
	script_alloc(SCRIPT_CONNECTION_BYTES); /* before 2 is read */
	script_epoll(-1, 1, 10);
	script_alloc(SCRIPT_CONNECTION_BYTES);
	script_on(1, 2);
	script_get(10, 2);
	script_on(1, 1);
	script_alloc(SCRIPT_CONNECTION_BYTES); /* and after */
	script_epoll(-1, 0, 0);
	script_on(1, 2);
	script_alloc(2000);
	script_answer(10);
	script_finish();
	script_expect("GET /1", 1000, TRACE_EXACT);
	script_expect("GET /2", 2000, TRACE_EXACT);
	script_expect_totals(0, 3 * SCRIPT_CONNECTION_BYTES);
}

/* The client is quick: its next request is read by another thread of the pool,
 * and answered, while the first still cleans up after its own. */
static void test_attribute__a_thread_tidies_up_after_its_answer(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_accept(11);
	script_on(1, 2);
	script_get(10, 1);
	script_alloc(1000);
	script_answer(10);
	script_alloc(100);
	script_on(1, 3);
	script_get(10, 2);
	script_alloc(2000);
	script_on(1, 2);
	script_free(script_alloc(10));
	script_get(11, 3);
	script_alloc(3000);
	script_answer(11);
	script_on(1, 3);
	script_answer(10);
	script_close(10);
	script_finish();
	script_expect("GET /1", 1110, TRACE_EXACT);
	script_expect("GET /2", 2000, TRACE_EXACT);
	script_expect("GET /3", 3000, TRACE_EXACT);
	assert_string_equal(script_row("GET /1")->ended_by, "response");
	assert_int_equal(script_row_count, 3);
}

static void wait_for(enum event_kind kind, uint64_t cond, uint64_t mutex)
{
	script_emit((struct ring_event){.kind = kind,
					.flags = WAIT_COND,
					.value = cond,
					.a = kind == EVENT_WAIT_BEGIN ? -1 : 0,
					.payload = {(const char *)&mutex, sizeof(mutex)}});
}

/* What a thread takes that has not waited yet does not show. Who waits after that
 * found nothing, so the next that is put is the next that is taken. */
static void test_attribute__a_queue_is_empty_when_a_thread_waits(void **state)
{
	enum { COND = 0x1000, MUTEX = 0x2000 };
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_accept(11);
	for (int k = 1; k <= 2; k++) {
		script_on(1, 1);
		script_epoll(-1, 1, 9 + k);
		script_get(9 + k, k);
		script_emit((struct ring_event){.kind = EVENT_COND_SIGNAL, .value = COND});
		script_epoll(-1, 0, 0);
		script_on(1, 2);
		if (k == 1)
			wait_for(EVENT_WAIT_BEGIN, COND, MUTEX);
	}
	wait_for(EVENT_WAIT_END, COND, MUTEX);
	script_emit((struct ring_event){.kind = EVENT_UNLOCK, .value = MUTEX});
	script_alloc(2000);
	wait_for(EVENT_WAIT_BEGIN, COND, MUTEX);
	script_on(1, 1);
	script_answer(10);
	script_answer(11);
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /2", 2000, TRACE_INFERRED);
	assert_int_equal(script_row("GET /1")->bytes, 0);
}

static void test_attribute__a_turn_by_name_needs_no_io(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	for (int k = 0; k < 2; k++) {
		script_accept(10 + k);
		script_watch(10 + k);
	}
	for (int k = 0; k < 2; k++) {
		script_epoll(-1, 1, 10 + k);
		script_get(10 + k, k + 1);
	}
	script_epoll(-1, 1, 11);
	script_alloc(2000); /* both in flight, nothing read or written in this turn */
	script_epoll(-1, 1, 10);
	script_alloc(1000);
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /1", 1000, TRACE_EXACT);
	script_expect("GET /2", 2000, TRACE_EXACT);
	script_expect_totals(0, 0);
}

static void test_attribute__waiting_for_a_database_ends_nothing(void **state)
{
	(void)state;
	script_on(1, 1);
	script_poll(2); /* listener and a pipe: idle */
	script_accept(10);
	script_get(10, 1);
	script_alloc(1000);
	script_emit((struct ring_event){.kind = EVENT_CONNECT, .value = 20, .a = 0});
	script_io(EVENT_WRITE, 20, "SELECT 1", 0, 0);
	script_poll(1);
	script_alloc(1000);
	script_io(EVENT_READ, 20, "1", 0, 0);
	script_answer(10);
	script_close(10);
	script_alloc(SCRIPT_NOBODY_BYTES); /* the client is gone */
	script_poll(2);
	assert_int_equal(script_row_count, 1);
	script_alloc(SCRIPT_NOBODY_BYTES);
	script_finish();
	script_expect("GET /1", 2000, TRACE_EXACT);
	script_expect_totals(2 * SCRIPT_NOBODY_BYTES, 0);
}

static void test_attribute__alone_in_flight_owns_what_nobody_does(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_epoll(-1, 1, 10);
	script_get(10, 1);
	script_epoll(1000, 0, 0); /* a timer wakes the handler */
	script_alloc(1000);
	script_epoll(1000, 0, 0);
	script_answer(10);
	script_epoll(-1, 0, 0);
	script_alloc(SCRIPT_NOBODY_BYTES); /* nobody is in flight any more */
	script_epoll(-1, 0, 0);
	script_finish();
	script_expect("GET /1", 1000, TRACE_INFERRED);
	script_expect_totals(SCRIPT_NOBODY_BYTES, 0);
}

static void test_attribute__two_in_flight_are_called_ambiguous(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	script_epoll(-1, 1, 10);
	script_get(10, 1);
	script_epoll(-1, 1, 11);
	script_get(11, 2);
	script_epoll(1000, 0, 0);
	script_alloc(1000);
	script_epoll(1000, 0, 0);
	script_answer(10);
	script_epoll(-1, 1, 11);
	script_answer(11);
	script_finish();
	script_expect("GET /1", 0, TRACE_AMBIGUOUS);
	script_expect("GET /2", 0, TRACE_AMBIGUOUS);
	script_expect_totals(1000, 0);
}

static void test_attribute__marks_override_all(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_accept(11);
	script_epoll(-1, 1, 10);
	script_get(10, 1);
	script_epoll(-1, 1, 11);
	script_get(11, 2);
	for (int k = 2; k >= 1; k--) { /* coroutines on one loop */
		script_emit(
			(struct ring_event){.kind = EVENT_MARK_BEGIN,
					    .value = (uint64_t)(9 + k) + 1,
					    .b = (uint64_t)k,
					    .payload = k == 2 ? STR("GET /named") : STR("")});
		script_alloc(1000 * (uint64_t)k);
		script_epoll(-1, 1, 10);
		script_alloc(1000 * (uint64_t)k);
	}
	script_emit((struct ring_event){.kind = EVENT_MARK_BEGIN, .value = 12, .b = 2});
	script_answer(11);
	script_emit((struct ring_event){.kind = EVENT_MARK_END, .b = 2});
	script_emit((struct ring_event){.kind = EVENT_MARK_BEGIN, .value = 11, .b = 1});
	script_answer(10);
	script_emit((struct ring_event){.kind = EVENT_MARK_END, .b = 1});
	script_emit(
		(struct ring_event){.kind = EVENT_MARK_BEGIN, .b = 9, .payload = STR("job")});
	script_alloc(9000);
	script_emit((struct ring_event){.kind = EVENT_MARK_END, .b = 9});
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row_count, 3);
	script_expect("GET /1", 2000, TRACE_EXACT);
	script_expect("GET /named", 4000, TRACE_EXACT);
	script_expect("job", 9000, TRACE_EXACT);
}

/* As Apache's workers do, whose waits for work cannot be seen: a thread listens, others
 * answer, tidy up and put the connection back. */
static void test_attribute__a_worker_that_gives_back_is_done(void **state)
{
	(void)state;
	script_on(1, 1);
	for (int fd = 10; fd < 12; fd++) {
		script_accept(fd);
		script_watch(fd);
		script_epoll(-1, 1, fd);
	}
	script_on(1, 2);
	for (int k = 1; k <= 4; k++) {
		int fd = 10 + k % 2;
		uint64_t pool = script_alloc(100); /* for the request that is read next */
		script_get(fd, k);
		script_alloc(1000 * (uint64_t)k);
		script_answer(fd);
		script_free(script_alloc(10));
		script_free(pool);
		script_watch(fd);
	}
	script_alloc(7);
	script_finish();
	assert_int_equal(script_row_count, 4);
	for (int k = 1; k <= 4; k++) {
		char route[16];
		snprintf(route, sizeof(route), "GET /%d", k);
		script_expect(route, 1000 * k + 110, TRACE_EXACT);
		assert_int_equal(script_row(route)->escapes, 1);
		assert_int_equal(script_row(route)->escaped_bytes, 1000 * k);
	}
}

/* As Apache's processes do: one connection each, and the next request's pool is made
 * before they wait for it. A loop that drains what it reads goes on with the old one. */
static void test_attribute__to_look_for_the_next_request_ends_one(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	for (int k = 1; k <= 3; k++) {
		script_get(10, k);
		script_alloc(1000 * (uint64_t)k);
		script_answer(10);
		script_emit((struct ring_event){.kind = EVENT_READ, .value = 10, .a = -EAGAIN});
		script_alloc(100); /* for the next */
		script_poll(1);
	}
	script_end_of_file(10);
	script_close(10);
	script_on(2, 2);
	script_poll(5);
	script_accept(11);
	script_get(11, 9);
	uint64_t held = script_alloc(9000);
	script_answer(11);
	script_emit((struct ring_event){.kind = EVENT_READ, .value = 11, .a = -EAGAIN});
	script_free(held);
	script_poll(5);
	script_finish();
	assert_int_equal(script_row_count, 4);
	script_expect("GET /1", 1000, TRACE_EXACT);
	script_expect("GET /2", 2100, TRACE_EXACT);
	script_expect("GET /3", 3100, TRACE_EXACT);
	assert_int_equal(script_row("GET /3")->escapes, 2);
	script_expect("GET /9", 9000, TRACE_EXACT);
	assert_int_equal(script_row("GET /9")->escapes, 0);
	assert_int_equal(script_row("GET /9")->frees, 1);
	script_expect_totals(0, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRIPT_TEST(test_attribute__thread_per_connection),
		SCRIPT_TEST(test_attribute__event_loop_with_many_connections),
		SCRIPT_TEST(test_attribute__several_events_at_once_are_only_inferred),
		SCRIPT_TEST(test_attribute__deferred_loop),
		SCRIPT_TEST(test_attribute__prefork_and_fork_per_connection),
		SCRIPT_TEST(test_attribute__a_worker_takes_over_by_the_fd),
		SCRIPT_TEST(test_attribute__a_worker_takes_over_by_a_pointer),
		SCRIPT_TEST(test_attribute__to_pass_a_connection_on_is_no_request_s_work),
		SCRIPT_TEST(test_attribute__a_thread_tidies_up_after_its_answer),
		SCRIPT_TEST(test_attribute__a_queue_is_empty_when_a_thread_waits),
		SCRIPT_TEST(test_attribute__a_turn_by_name_needs_no_io),
		SCRIPT_TEST(test_attribute__waiting_for_a_database_ends_nothing),
		SCRIPT_TEST(test_attribute__alone_in_flight_owns_what_nobody_does),
		SCRIPT_TEST(test_attribute__two_in_flight_are_called_ambiguous),
		SCRIPT_TEST(test_attribute__marks_override_all),
		SCRIPT_TEST(test_attribute__a_worker_that_gives_back_is_done),
		SCRIPT_TEST(test_attribute__to_look_for_the_next_request_ends_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
