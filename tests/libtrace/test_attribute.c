/* SPDX-License-Identifier: MIT */
/*
 * Every server model as a script of events. Each allocation is tagged with its
 * true owner by its size: request k allocates blocks of 1000 * k bytes and
 * something, connections 17 bytes, nobody 13; so a request's bytes show at once
 * whose blocks it was given.
 */
#include "libtrace/attribute.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <cmocka.h>

enum { ROWS = 64, CONNECTION_BYTES = 17, NOBODY_BYTES = 13, EPFD = 3, LISTENER = 4 };

static struct row {
	char route[64], ended_by[24];
	int status;
	int64_t allocations, frees, reallocations, escapes, escaped_bytes, foreign_frees;
	int64_t start_ns, end_ns, bytes, connection, sequence;
	enum trace_confidence confidence;
	bool incomplete;
} rows[ROWS];
static size_t row_count;
static int64_t connection_bytes, connection_rows;
static struct attribute *attribute;
static int64_t now;
static uint64_t next_address;

/* -- what comes out ------------------------------------------------------ */

static void take_request(void *context, const struct trace_request *r,
			 const struct replay_op *ops, size_t count)
{
	(void)context;
	assert_true(row_count < ROWS);
	struct row *row = &rows[row_count++];
	*row = (struct row){.status = r->status,
			    .allocations = r->allocations,
			    .frees = r->frees,
			    .reallocations = r->reallocations,
			    .escapes = r->escapes,
			    .escaped_bytes = r->escaped_bytes,
			    .foreign_frees = r->foreign_frees,
			    .start_ns = r->start_ns,
			    .end_ns = r->end_ns,
			    .connection = r->connection,
			    .sequence = r->sequence,
			    .confidence = r->confidence,
			    .incomplete = r->incomplete};
	snprintf(row->route, sizeof(row->route), "%.*s", STR_ARG(r->route));
	snprintf(row->ended_by, sizeof(row->ended_by), "%.*s", STR_ARG(r->ended_by));
	for (size_t i = 0; i < count; i++)
		row->bytes += ops[i].kind == REPLAY_ALLOC ? (int64_t)ops[i].size_bytes : 0;
	/* the list must be playable */
	struct replay replay;
	struct replay_need need;
	assert_int_equal(replay_init(&replay, 1 << 24), 0);
	assert_int_equal(replay_run(&replay, ops, count, ARENA_REUSE, &need), 0);
	replay_release(&replay);
}

static void take_connection(void *context, const struct trace_connection *c)
{
	(void)context;
	connection_bytes += c->requested_bytes;
	connection_rows++;
}

static void take_process(void *context, const struct trace_process *p)
{
	(void)context;
	(void)p;
}

static void take_thread(void *context, const struct trace_thread *t)
{
	(void)context;
	(void)t;
}

static int start_with(enum attribute_split split)
{
	struct attribute_sink sink = {NULL,         take_request, take_connection,
				      take_process, take_thread,  NULL};
	row_count = 0;
	connection_bytes = connection_rows = 0;
	now = 1000;
	next_address = 0x10000;
	attribute = attribute_new(split, &sink);
	return attribute ? 0 : -1;
}

static int start(void **state)
{
	(void)state;
	return start_with(SPLIT_AUTO);
}

static int stop(void **state)
{
	(void)state;
	attribute_free(attribute);
	attribute = NULL;
	return 0;
}

/* -- events, by process and thread --------------------------------------- */

static uint32_t process = 1, thread = 1;

static void on(uint32_t p, uint32_t t)
{
	process = p;
	thread = t;
}

static void emit(struct ring_event e)
{
	e.process = process;
	e.thread = thread;
	e.pid = 100 + (pid_t)process;
	e.tid = 100 + (pid_t)thread;
	e.time_ns = now += 10;
	e.timed = true;
	attribute_event(attribute, &e);
}

static uint64_t alloc(uint64_t size)
{
	uint64_t address = next_address += 0x1000;
	emit((struct ring_event){.kind = EVENT_ALLOC, .value = address, .size_bytes = size});
	return address;
}

static void release(uint64_t address)
{
	emit((struct ring_event){.kind = EVENT_FREE, .value = address});
}

static void io(enum event_kind kind, int fd, const char *text, size_t unseen, unsigned flags)
{
	static unsigned char payload[2100];
	struct event_piece piece = {.offset = 0, .bytes = (uint32_t)strlen(text)};
	memset(payload, 0, sizeof(payload));
	memcpy(payload, &piece, 8);
	memcpy(payload + 8, text, strlen(text));
	emit((struct ring_event){
		.kind = kind,
		.flags = (uint8_t)flags,
		.value = (uint64_t)fd,
		.a = (int64_t)(strlen(text) + unseen),
		.payload = {(char *)payload, 8 + ((strlen(text) + 7) & ~(size_t)7)}});
}

static void get(int fd, int k)
{
	char text[64];
	snprintf(text, sizeof(text), "GET /%d HTTP/1.1\r\n\r\n", k);
	io(EVENT_READ, fd, text, 0, 0);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void answer(int fd)
{
	io(EVENT_WRITE, fd, OK, 0, 0);
}

static void accept_on(int fd)
{
	emit((struct ring_event){.kind = EVENT_ACCEPT, .value = (uint64_t)fd, .a = LISTENER});
}

static void close_fd(int fd)
{
	emit((struct ring_event){.kind = EVENT_CLOSE, .value = (uint64_t)fd});
}

static void end_of_file(int fd)
{
	emit((struct ring_event){.kind = EVENT_READ, .value = (uint64_t)fd, .a = 0});
}

static void add_to_epoll(int fd)
{
	emit((struct ring_event){.kind = EVENT_EPOLL_CTL,
				 .value = EPFD,
				 .a = (int64_t)EPOLL_CTL_ADD << 32 | fd,
				 .b = 0xabc000 + (uint64_t)fd});
}

/* epoll_wait that returned `count` events, the first for fd. */
static void epoll(int64_t timeout_ns, int count, int fd)
{
	static uint64_t data;
	data = 0xabc000 + (uint64_t)fd;
	emit((struct ring_event){
		.kind = EVENT_WAIT_BEGIN, .flags = WAIT_EPOLL, .value = EPFD, .a = timeout_ns});
	emit((struct ring_event){.kind = EVENT_WAIT_END,
				 .flags = WAIT_EPOLL,
				 .value = EPFD,
				 .a = count,
				 .b = (uint64_t)timeout_ns,
				 .payload = {(char *)&data, count > 0 ? 8 : 0}});
}

static void poll_fds(int count)
{
	emit((struct ring_event){.kind = EVENT_WAIT_BEGIN,
				 .flags = WAIT_POLL,
				 .value = (uint64_t)count,
				 .a = -1});
	emit((struct ring_event){
		.kind = EVENT_WAIT_END, .flags = WAIT_POLL, .value = (uint64_t)count, .a = 1});
}

static void finish(void)
{
	attribute_finish(attribute, now += 10);
}

static const struct row *row_of(const char *route)
{
	for (size_t i = 0; i < row_count; i++)
		if (strcmp(rows[i].route, route) == 0)
			return &rows[i];
	fail_msg("no request \"%s\"", route);
	return NULL;
}

static void expect(const char *route, int64_t bytes, enum trace_confidence confidence)
{
	const struct row *row = row_of(route);
	if (row->bytes != bytes || row->confidence != confidence)
		fail_msg("%s: %lld bytes, confidence %d; want %lld, %d", route,
			 (long long)row->bytes, row->confidence, (long long)bytes, confidence);
}

static void expect_totals(int64_t unattributed_bytes, int64_t of_connections)
{
	struct attribute_totals t;
	attribute_totals(attribute, &t);
	assert_int_equal(t.unattributed_bytes, unattributed_bytes);
	assert_int_equal(connection_bytes, of_connections);
}

/* -- the models ---------------------------------------------------------- */

static void test_attribute__thread_per_connection(void **state)
{
	(void)state;
	on(1, 1);
	alloc(5); /* start-up */
	accept_on(10);
	alloc(CONNECTION_BYTES);
	accept_on(11);
	alloc(CONNECTION_BYTES);
	for (int k = 1; k <= 2; k++) {
		on(1, 1 + (uint32_t)k);
		get(9 + k, k);
		uint64_t p = alloc(1000 * (uint64_t)k);
		alloc(100); /* escapes */
		answer(9 + k);
		release(p);
	}
	for (int k = 1; k <= 2; k++) { /* keep-alive, and the end */
		on(1, 1 + (uint32_t)k);
		get(9 + k, k + 2);
		release(alloc(1000 * (uint64_t)(k + 2)));
		answer(9 + k);
		end_of_file(9 + k);
		close_fd(9 + k);
		emit((struct ring_event){.kind = EVENT_THREAD_EXIT, .value = thread});
	}
	assert_int_equal(row_count, 4);
	finish();
	expect("GET /1", 1100, TRACE_EXACT);
	expect("GET /2", 2100, TRACE_EXACT);
	expect("GET /3", 3000, TRACE_EXACT);
	expect("GET /4", 4000, TRACE_EXACT);
	assert_int_equal(row_of("GET /1")->escapes, 1);
	assert_int_equal(row_of("GET /1")->escaped_bytes, 100);
	assert_int_equal(row_of("GET /3")->escapes, 0);
	assert_int_equal(row_of("GET /3")->sequence, 2);
	assert_int_equal(row_of("GET /3")->status, 200);
	assert_string_equal(row_of("GET /3")->ended_by, "response");
	expect_totals(0, 2 * CONNECTION_BYTES);
}

static void test_attribute__event_loop_with_many_connections(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	for (int fd = 10; fd < 26; fd++) {
		accept_on(fd);
		add_to_epoll(fd);
		alloc(CONNECTION_BYTES);
	}
	uint64_t held[16];
	for (int k = 0; k < 16; k++) { /* all read, then all answered the other way round */
		epoll(-1, 1, 10 + k);
		alloc(100); /* before the read: rule 5 */
		get(10 + k, k + 1);
		held[k] = alloc(1000 * (uint64_t)(k + 1));
	}
	for (int k = 15; k >= 0; k--) {
		epoll(-1, 1, 10 + k);
		alloc(10); /* rule 10 names the owner before it is touched */
		answer(10 + k);
		release(held[k]);
	}
	epoll(-1, 0, 0);
	finish();
	assert_int_equal(row_count, 16);
	for (int k = 0; k < 16; k++) {
		char route[16];
		snprintf(route, sizeof(route), "GET /%d", k + 1);
		expect(route, 110 + 1000 * (k + 1), TRACE_EXACT);
		assert_int_equal(row_of(route)->escapes, 2); /* the 100 and the 10 */
		assert_string_equal(row_of(route)->ended_by, "response");
	}
	expect_totals(0, 16 * CONNECTION_BYTES);
}

static void test_attribute__several_events_at_once_are_only_inferred(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	epoll(-1, 2, 10);
	get(10, 1);
	alloc(1000);
	answer(10);
	get(11, 2);
	alloc(2000);
	answer(11);
	epoll(-1, 0, 0);
	finish();
	expect("GET /1", 1000, TRACE_INFERRED);
	expect("GET /2", 2000, TRACE_INFERRED);
}

static void test_attribute__deferred_loop(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	epoll(-1, 1, 10);
	get(10, 1);
	epoll(-1, 1, 11);
	get(11, 2);
	/* the next turn handles both, with nothing but the writes to tell */
	epoll(0, 0, 0);
	alloc(1000);
	answer(10);
	alloc(2000);
	answer(11);
	epoll(-1, 0, 0);
	finish();
	expect("GET /1", 1000, TRACE_INFERRED);
	expect("GET /2", 2000, TRACE_INFERRED);
	expect_totals(0, 0);
}

static void test_attribute__prefork_and_fork_per_connection(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	emit((struct ring_event){.kind = EVENT_FORK_BEGIN, .value = 7});
	emit((struct ring_event){.kind = EVENT_FORK_END, .value = 7, .a = 102});
	close_fd(10); /* the parent's copy; the number comes again at once */
	accept_on(10);
	on(2, 2);
	emit((struct ring_event){.kind = EVENT_PROCESS_START,
				 .flags = EVENT_FORKED,
				 .value = 102,
				 .a = 101,
				 .b = (uint64_t)1 << 32 | 7});
	get(10, 1);
	alloc(1000);
	answer(10);
	emit((struct ring_event){.kind = EVENT_PROCESS_EXIT, .flags = EVENT_QUICK});
	on(1, 1);
	get(10, 2); /* the second connection, in the parent */
	alloc(2000);
	answer(10);
	finish();
	expect("GET /1", 1000, TRACE_EXACT);
	expect("GET /2", 2000, TRACE_EXACT);
	assert_int_equal(row_of("GET /1")->connection, 1);
	assert_int_equal(row_of("GET /2")->connection, 2);
	assert_int_equal(connection_rows, 2);
}

static void test_attribute__a_worker_takes_over_by_the_fd(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	epoll(-1, 1, 10);
	get(10, 1);
	epoll(-1, 1, 11);
	get(11, 2);
	epoll(-1, 0, 0);
	on(1, 2);
	alloc(2000); /* before it touches the fd */
	answer(11);
	on(1, 3);
	alloc(1000);
	answer(10);
	finish();
	expect("GET /1", 1000, TRACE_EXACT);
	expect("GET /2", 2000, TRACE_EXACT);
}

static void test_attribute__a_worker_takes_over_by_a_pointer(void **state)
{
	(void)state;
	uint64_t job[2];
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	for (int k = 0; k < 2; k++) {
		epoll(-1, 1, 10 + k);
		get(10 + k, k + 1);
		job[k] = alloc(100);
	}
	epoll(-1, 0, 0);
	on(1, 2);
	alloc(2000);
	release(job[1]);
	alloc(2000);
	on(1, 3);
	release(job[0]);
	alloc(1000);
	on(1, 1); /* the IO thread answers for both */
	epoll(-1, 1, 11);
	answer(11);
	epoll(-1, 1, 10);
	answer(10);
	epoll(-1, 0, 0);
	finish();
	expect("GET /1", 1100, TRACE_INFERRED);
	expect("GET /2", 4100, TRACE_INFERRED);
}

static void test_attribute__a_proxy_owns_what_it_does_upstream(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	for (int k = 0; k < 2; k++) {
		add_to_epoll(10 + k);
		epoll(-1, 1, 10 + k);
		get(10 + k, k + 1);
		emit((struct ring_event){
			.kind = EVENT_CONNECT, .value = (uint64_t)(20 + k), .a = -EINPROGRESS});
		add_to_epoll(20 + k);
	}
	for (int k = 1; k >= 0; k--) {
		epoll(-1, 1, 20 + k);
		alloc(10 * (uint64_t)(k + 1));
		io(EVENT_WRITE, 20 + k, "GET /up HTTP/1.0\r\n\r\n", 0, 0);
	}
	for (int k = 0; k < 2; k++) {
		epoll(-1, 1, 20 + k);
		alloc(1000 * (uint64_t)(k + 1)); /* the answer's buffer: before the read */
		io(EVENT_READ, 20 + k, "HTTP/1.0 200 OK\r\n\r\n", 0, 0);
		answer(10 + k);
	}
	epoll(-1, 0, 0);
	finish();
	assert_int_equal(row_count, 2);
	expect("GET /1", 1010, TRACE_EXACT);
	expect("GET /2", 2020, TRACE_EXACT);
	expect_totals(0, 0);
}

static void test_attribute__a_pooled_upstream_works_for_who_writes_to_it(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	add_to_epoll(20);
	for (int k = 0; k < 2; k++) {
		epoll(-1, 1, 10 + k);
		get(10 + k, k + 1);
		if (k == 0)
			emit((struct ring_event){.kind = EVENT_CONNECT, .value = 20, .a = 0});
		io(EVENT_WRITE, 20, "GET /up HTTP/1.1\r\n\r\n", 0, 0);
		epoll(-1, 1, 20);
		io(EVENT_READ, 20, OK, 0, 0);
		alloc(1000 * (uint64_t)(k + 1));
		answer(10 + k);
	}
	epoll(-1, 0, 0);
	finish();
	expect("GET /1", 1000, TRACE_EXACT);
	expect("GET /2", 2000, TRACE_EXACT);
}

static void test_attribute__a_turn_by_name_needs_no_io(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	for (int k = 0; k < 2; k++) {
		accept_on(10 + k);
		add_to_epoll(10 + k);
	}
	for (int k = 0; k < 2; k++) {
		epoll(-1, 1, 10 + k);
		get(10 + k, k + 1);
	}
	epoll(-1, 1, 11);
	alloc(2000); /* both in flight, nothing read or written in this turn */
	epoll(-1, 1, 10);
	alloc(1000);
	epoll(-1, 0, 0);
	finish();
	expect("GET /1", 1000, TRACE_EXACT);
	expect("GET /2", 2000, TRACE_EXACT);
	expect_totals(0, 0);
}

static void test_attribute__a_duplicate_keeps_the_connection(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	emit((struct ring_event){.kind = EVENT_DUP, .value = 12, .a = 10});
	close_fd(10);
	poll_fds(3);
	get(12, 1);
	alloc(1000);
	answer(12);
	close_fd(12);
	finish();
	assert_int_equal(connection_rows, 1);
	expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(row_of("GET /1")->connection, 1);
}

static void test_attribute__waiting_for_a_database_ends_nothing(void **state)
{
	(void)state;
	on(1, 1);
	poll_fds(2); /* listener and a pipe: idle */
	accept_on(10);
	get(10, 1);
	alloc(1000);
	emit((struct ring_event){.kind = EVENT_CONNECT, .value = 20, .a = 0});
	io(EVENT_WRITE, 20, "SELECT 1", 0, 0);
	poll_fds(1);
	alloc(1000);
	io(EVENT_READ, 20, "1", 0, 0);
	answer(10);
	close_fd(10);
	alloc(NOBODY_BYTES); /* the client is gone */
	poll_fds(2);
	assert_int_equal(row_count, 1);
	alloc(NOBODY_BYTES);
	finish();
	expect("GET /1", 2000, TRACE_EXACT);
	expect_totals(2 * NOBODY_BYTES, 0);
}

static void test_attribute__alone_in_flight_owns_what_nobody_does(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	epoll(-1, 1, 10);
	get(10, 1);
	epoll(1000, 0, 0); /* a timer wakes the handler */
	alloc(1000);
	epoll(1000, 0, 0);
	answer(10);
	epoll(-1, 0, 0);
	alloc(NOBODY_BYTES); /* nobody is in flight any more */
	epoll(-1, 0, 0);
	finish();
	expect("GET /1", 1000, TRACE_INFERRED);
	expect_totals(NOBODY_BYTES, 0);
}

static void test_attribute__two_in_flight_are_called_ambiguous(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	epoll(-1, 1, 10);
	get(10, 1);
	epoll(-1, 1, 11);
	get(11, 2);
	epoll(1000, 0, 0);
	alloc(1000);
	epoll(1000, 0, 0);
	answer(10);
	epoll(-1, 1, 11);
	answer(11);
	finish();
	expect("GET /1", 0, TRACE_AMBIGUOUS);
	expect("GET /2", 0, TRACE_AMBIGUOUS);
	expect_totals(1000, 0);
}

static void test_attribute__marks_override_all(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	accept_on(11);
	epoll(-1, 1, 10);
	get(10, 1);
	epoll(-1, 1, 11);
	get(11, 2);
	for (int k = 2; k >= 1; k--) { /* coroutines on one loop */
		emit((struct ring_event){.kind = EVENT_MARK_BEGIN,
					 .value = (uint64_t)(9 + k) + 1,
					 .b = (uint64_t)k,
					 .payload = k == 2 ? STR("GET /named") : STR("")});
		alloc(1000 * (uint64_t)k);
		epoll(-1, 1, 10);
		alloc(1000 * (uint64_t)k);
	}
	emit((struct ring_event){.kind = EVENT_MARK_BEGIN, .value = 12, .b = 2});
	answer(11);
	emit((struct ring_event){.kind = EVENT_MARK_END, .b = 2});
	emit((struct ring_event){.kind = EVENT_MARK_BEGIN, .value = 11, .b = 1});
	answer(10);
	emit((struct ring_event){.kind = EVENT_MARK_END, .b = 1});
	emit((struct ring_event){.kind = EVENT_MARK_BEGIN, .b = 9, .payload = STR("job")});
	alloc(9000);
	emit((struct ring_event){.kind = EVENT_MARK_END, .b = 9});
	epoll(-1, 0, 0);
	finish();
	assert_int_equal(row_count, 3);
	expect("GET /1", 2000, TRACE_EXACT);
	expect("GET /named", 4000, TRACE_EXACT);
	expect("job", 9000, TRACE_EXACT);
}

static void test_attribute__pipelined_requests_are_told_apart(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	epoll(-1, 1, 10);
	io(EVENT_READ, 10, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", 0, 0);
	alloc(1000);
	answer(10);
	alloc(2000);
	answer(10);
	epoll(-1, 0, 0);
	finish();
	assert_int_equal(row_count, 2);
	expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(row_of("GET /2")->bytes, 2000);
	assert_int_equal(row_of("GET /2")->sequence, 2);
}

static void test_attribute__a_body_is_no_request(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	io(EVENT_READ, 10, "POST /1 HTTP/1.1\r\nContent-Length: 600\r\n\r\n", 0, 0);
	io(EVENT_READ, 10, "GET /evil HTTP/1.1\r\n\r\n", 578, 0);
	alloc(1000);
	answer(10);
	get(10, 2);
	finish();
	assert_int_equal(row_count, 2);
	expect("POST /1", 1000, TRACE_EXACT);
	assert_string_equal(row_of("GET /2")->ended_by, "end-of-recording");
	assert_int_equal(row_of("GET /2")->status, -1);
}

static void test_attribute__a_head_in_pieces_and_a_write_in_parts(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	io(EVENT_READ, 10, "GE", 0, 0);
	alloc(1000);
	io(EVENT_READ, 10, "T /1 HTTP/1.1\r", 0, 0);
	io(EVENT_READ, 10, "\n\r\n", 0, 0);
	/* refused, then a part, then the rest */
	io(EVENT_WRITE, 10, OK, 0, 0);
	emit((struct ring_event){.kind = EVENT_WRITE_RESULT, .value = 10, .a = -EAGAIN});
	io(EVENT_WRITE, 10, OK, 0, 0);
	emit((struct ring_event){.kind = EVENT_WRITE_RESULT, .value = 10, .a = 20});
	io(EVENT_WRITE, 10, OK + 20, 0, 0);
	get(10, 2);
	finish();
	assert_int_equal(row_count, 2);
	expect("GET /1", 1000, TRACE_EXACT);
	assert_int_equal(row_of("GET /1")->status, 200);
	assert_string_equal(row_of("GET /1")->ended_by, "response");
}

static void test_attribute__informational_answers_are_not_final(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	io(EVENT_READ, 10, "POST /1 HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 0, 0);
	io(EVENT_WRITE, 10, "HTTP/1.1 100 Continue\r\n\r\n", 0, 0);
	io(EVENT_READ, 10, "12345", 0, 0);
	alloc(1000);
	answer(10);
	close_fd(10);
	finish();
	assert_int_equal(row_count, 1);
	expect("POST /1", 1000, TRACE_EXACT);
	assert_int_equal(row_of("POST /1")->status, 200);
}

static void test_attribute__escapes_are_judged_at_the_boundary(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	epoll(-1, 1, 10);
	get(10, 1);
	uint64_t cleaned = alloc(1000), kept = alloc(500);
	answer(10);
	release(cleaned); /* after the answer, before the wait: ordinary clean-up */
	epoll(-1, 1, 10);
	release(kept); /* later: it had outlived its request */
	get(10, 2);
	answer(10);
	epoll(-1, 0, 0);
	finish();
	assert_int_equal(row_of("GET /1")->escapes, 1);
	assert_int_equal(row_of("GET /1")->escaped_bytes, 500);
	assert_int_equal(row_of("GET /2")->escapes, 0);
}

static void test_attribute__realloc_keeps_the_owner(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	get(10, 1);
	uint64_t p = alloc(1000);
	emit((struct ring_event){.kind = EVENT_REALLOC_BEGIN, .value = p});
	emit((struct ring_event){
		.kind = EVENT_REALLOC_END, .value = p + 0x100, .size_bytes = 3000});
	emit((struct ring_event){.kind = EVENT_REALLOC_BEGIN, .value = p + 0x100});
	emit((struct ring_event){.kind = EVENT_REALLOC_END, .value = 0, .size_bytes = 1 << 30});
	release(p + 0x100); /* the failed one left it alive */
	answer(10);
	close_fd(10);
	finish();
	assert_int_equal(row_of("GET /1")->reallocations, 1);
	assert_int_equal(row_of("GET /1")->frees, 1);
	assert_int_equal(row_of("GET /1")->escapes, 0);
	assert_int_equal(row_of("GET /1")->foreign_frees, 0);
}

static void test_attribute__frees_out_of_order_are_matched_by_alternation(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	get(10, 1);
	/* thread 2's free of the block comes out before its allocation */
	uint64_t early = next_address + 0x1000;
	on(1, 2);
	release(early);
	on(1, 1);
	assert_true(alloc(1000) == early);
	/* and here after the next allocation of the same address */
	uint64_t late = alloc(2000);
	emit((struct ring_event){.kind = EVENT_ALLOC, .value = late, .size_bytes = 3000});
	on(1, 2);
	release(late);
	on(1, 1);
	answer(10);
	close_fd(10);
	finish();
	const struct row *row = row_of("GET /1");
	assert_int_equal(row->bytes, 6000);
	assert_int_equal(row->frees, 2);
	assert_int_equal(row->escapes, 1);
	assert_int_equal(row->escaped_bytes, 3000);
}

static void test_attribute__redis_like_messages_are_requests(void **state)
{
	(void)state;
	on(1, 1);
	epoll(-1, 1, LISTENER);
	accept_on(10);
	for (int k = 1; k <= 3; k++) {
		epoll(-1, 1, 10);
		io(EVENT_READ, 10, k == 2 ? "*1\r\n$3\r\nget\r\n" : "*1\r\n$4\r\nPING\r\n", 0,
		   0);
		alloc(1000 * (uint64_t)k);
		io(EVENT_WRITE, 10, "+PONG\r\n", 0, 0);
	}
	epoll(-1, 0, 0);
	finish();
	assert_int_equal(row_count, 3);
	expect("GET", 2000, TRACE_EXACT);
	expect("PING", 1000, TRACE_EXACT);
}

static void test_attribute__an_unknown_socket_that_reads_a_request_is_adopted(void **state)
{
	(void)state;
	on(1, 1);
	get(30, 1);
	alloc(1000);
	answer(30);
	io(EVENT_READ, 31, "not a request at all", 0, 0);
	finish();
	assert_int_equal(row_count, 1);
	expect("GET /1", 1000, TRACE_EXACT);
}

static void test_attribute__dropped_events_mark_who_was_in_flight(void **state)
{
	(void)state;
	on(1, 1);
	accept_on(10);
	get(10, 1);
	emit((struct ring_event){.kind = EVENT_DROPPED, .a = 77});
	answer(10);
	get(10, 2);
	answer(10);
	finish();
	assert_true(row_of("GET /1")->incomplete);
	assert_false(row_of("GET /2")->incomplete);
	struct attribute_totals t;
	attribute_totals(attribute, &t);
	assert_int_equal(t.dropped_events, 77);
}

static void test_attribute__connections_can_be_the_requests(void **state)
{
	(void)state;
	stop(state);
	assert_int_equal(start_with(SPLIT_CONNECTION), 0);
	on(1, 1);
	accept_on(10);
	alloc(1000);
	get(10, 1);
	alloc(1000);
	answer(10);
	get(10, 2);
	alloc(1000);
	close_fd(10);
	finish();
	assert_int_equal(row_count, 1);
	assert_int_equal(rows[0].bytes, 3000);
	assert_string_equal(rows[0].route, "connection");
}

/* Serials lie in memory that the program can overwrite. */
static void test_attribute__a_process_that_cannot_be_is_not_believed(void **state)
{
	(void)state;
	struct attribute_totals totals;
	on(UINT32_MAX - 1, 1);
	alloc(8);
	on(1, 1);
	alloc(8);
	attribute_totals(attribute, &totals);
	assert_int_equal(totals.events, 2);
	assert_false(totals.out_of_memory);
}

/* Nonsense of every kind must neither crash nor leak (run under ASan). */
static void test_attribute__random_events_do_no_harm(void **state)
{
	(void)state;
	static const char *const texts[] = {"GET /1 HTTP/1.1\r\n\r\n",
					    OK,
					    "\x16\x03\x01",
					    "*1\r\n",
					    "POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n",
					    "G"};
	for (unsigned seed = 1; seed <= 200; seed++) {
		stop(state);
		assert_int_equal(start_with((enum attribute_split)(seed % 5)), 0);
		uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15);
		for (int i = 0; i < 400; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			if (row_count > ROWS - 20)
				row_count = 0;
			on(1 + (uint32_t)(x >> 8) % 3, 1 + (uint32_t)(x >> 16) % 5);
			int fd = (int)(x >> 24) % 6;
			switch ((x >> 40) % 8) {
			case 0:
				io(EVENT_READ, fd, texts[(x >> 50) % 6], (x >> 55) % 9, 0);
				break;
			case 1:
				io(EVENT_WRITE, fd, texts[(x >> 50) % 6], (x >> 55) % 9, 0);
				break;
			case 2: accept_on(fd); break;
			case 3:
			case 4:
				emit((struct ring_event){.kind = EVENT_ALLOC,
							 .value = 0x1000 * (1 + (x >> 50) % 20),
							 .size_bytes = x >> 56});
				break;
			case 5: release(0x1000 * (1 + (x >> 50) % 20)); break;
			default:
				emit((struct ring_event){
					.kind = (enum event_kind)(
						1 + (x >> 50) % (EVENT_KINDS - 1)),
					.flags = (uint8_t)(x >> 57) & 7,
					.value = (uint64_t)fd,
					.a = (int64_t)(x >> 60) - 3,
					.b = (uint64_t)1 << 32 | (x >> 61)});
				break;
			}
		}
		row_count = 0;
		finish();
	}
}

#define MODEL(name) cmocka_unit_test_setup_teardown(test_attribute__##name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL(thread_per_connection),
		MODEL(event_loop_with_many_connections),
		MODEL(several_events_at_once_are_only_inferred),
		MODEL(deferred_loop),
		MODEL(prefork_and_fork_per_connection),
		MODEL(a_worker_takes_over_by_the_fd),
		MODEL(a_worker_takes_over_by_a_pointer),
		MODEL(a_proxy_owns_what_it_does_upstream),
		MODEL(a_pooled_upstream_works_for_who_writes_to_it),
		MODEL(a_turn_by_name_needs_no_io),
		MODEL(a_duplicate_keeps_the_connection),
		MODEL(waiting_for_a_database_ends_nothing),
		MODEL(alone_in_flight_owns_what_nobody_does),
		MODEL(two_in_flight_are_called_ambiguous),
		MODEL(marks_override_all),
		MODEL(pipelined_requests_are_told_apart),
		MODEL(a_body_is_no_request),
		MODEL(a_head_in_pieces_and_a_write_in_parts),
		MODEL(informational_answers_are_not_final),
		MODEL(escapes_are_judged_at_the_boundary),
		MODEL(realloc_keeps_the_owner),
		MODEL(frees_out_of_order_are_matched_by_alternation),
		MODEL(redis_like_messages_are_requests),
		MODEL(an_unknown_socket_that_reads_a_request_is_adopted),
		MODEL(dropped_events_mark_who_was_in_flight),
		MODEL(connections_can_be_the_requests),
		MODEL(a_process_that_cannot_be_is_not_believed),
		MODEL(random_events_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
