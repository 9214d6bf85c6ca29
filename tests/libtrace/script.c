/* SPDX-License-Identifier: MIT */
#include "tests/libtrace/script.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

struct script_row script_rows[SCRIPT_ROWS];
size_t script_row_count;
int64_t script_connection_bytes, script_connection_rows;
struct attribute *script_attribute;
int64_t script_now;
uint64_t script_next_address;

/* -- what comes out ------------------------------------------------------ */

static void take_request(void *context, const struct trace_request *r,
			 const struct replay_op *ops, size_t count)
{
	(void)context;
	assert_true(script_row_count < SCRIPT_ROWS);
	struct script_row *row = &script_rows[script_row_count++];
	*row = (struct script_row){.status = r->status,
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
	script_connection_bytes += c->requested_bytes;
	script_connection_rows++;
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

int script_start(enum attribute_split split)
{
	struct attribute_sink sink = {NULL,         take_request, take_connection,
				      take_process, take_thread,  NULL};
	script_row_count = 0;
	script_connection_bytes = script_connection_rows = 0;
	script_now = 1000;
	script_next_address = 0x10000;
	script_attribute = attribute_new(split, &sink);
	return script_attribute ? 0 : -1;
}

int script_setup(void **state)
{
	(void)state;
	return script_start(SPLIT_AUTO);
}

int script_teardown(void **state)
{
	(void)state;
	attribute_free(script_attribute);
	script_attribute = NULL;
	return 0;
}

/* -- events, by process and thread --------------------------------------- */

uint32_t script_process = 1, script_thread = 1;

void script_on(uint32_t p, uint32_t t)
{
	script_process = p;
	script_thread = t;
}

void script_emit(struct ring_event e)
{
	e.process = script_process;
	e.thread = script_thread;
	e.pid = 100 + (pid_t)script_process;
	e.tid = 100 + (pid_t)script_thread;
	e.time_ns = script_now += 10;
	e.timed = true;
	attribute_event(script_attribute, &e);
}

uint64_t script_alloc(uint64_t size)
{
	uint64_t address = script_next_address += 0x1000;
	script_emit(
		(struct ring_event){.kind = EVENT_ALLOC, .value = address, .size_bytes = size});
	return address;
}

void script_free(uint64_t address)
{
	script_emit((struct ring_event){.kind = EVENT_FREE, .value = address});
}

void script_io(enum event_kind kind, int fd, const char *text, size_t unseen, unsigned flags)
{
	static unsigned char payload[2100];
	struct event_piece piece = {.offset = 0, .bytes = (uint32_t)strlen(text)};
	memset(payload, 0, sizeof(payload));
	memcpy(payload, &piece, 8);
	memcpy(payload + 8, text, strlen(text));
	script_emit((struct ring_event){
		.kind = kind,
		.flags = (uint8_t)flags,
		.value = (uint64_t)fd,
		.a = (int64_t)(strlen(text) + unseen),
		.payload = {(char *)payload, 8 + ((strlen(text) + 7) & ~(size_t)7)}});
}

void script_get(int fd, int k)
{
	char text[64];
	snprintf(text, sizeof(text), "GET /%d HTTP/1.1\r\n\r\n", k);
	script_io(EVENT_READ, fd, text, 0, 0);
}

void script_answer(int fd)
{
	script_io(EVENT_WRITE, fd, SCRIPT_OK, 0, 0);
}

void script_accept(int fd)
{
	script_emit((struct ring_event){
		.kind = EVENT_ACCEPT, .value = (uint64_t)fd, .a = SCRIPT_LISTENER});
}

void script_close(int fd)
{
	script_emit((struct ring_event){.kind = EVENT_CLOSE, .value = (uint64_t)fd});
}

void script_end_of_file(int fd)
{
	script_emit((struct ring_event){.kind = EVENT_READ, .value = (uint64_t)fd, .a = 0});
}

void script_watch(int fd)
{
	script_emit((struct ring_event){.kind = EVENT_EPOLL_CTL,
					.value = SCRIPT_EPFD,
					.a = (int64_t)EPOLL_CTL_ADD << 32 | fd,
					.b = 0xabc000 + (uint64_t)fd});
}

/* epoll_wait that returned `count` events, the first for fd. */
void script_epoll(int64_t timeout_ns, int count, int fd)
{
	static uint64_t data;
	data = 0xabc000 + (uint64_t)fd;
	script_emit((struct ring_event){.kind = EVENT_WAIT_BEGIN,
					.flags = WAIT_EPOLL,
					.value = SCRIPT_EPFD,
					.a = timeout_ns});
	script_emit((struct ring_event){.kind = EVENT_WAIT_END,
					.flags = WAIT_EPOLL,
					.value = SCRIPT_EPFD,
					.a = count,
					.b = (uint64_t)timeout_ns,
					.payload = {(char *)&data, count > 0 ? 8 : 0}});
}

void script_poll(int count)
{
	script_emit((struct ring_event){.kind = EVENT_WAIT_BEGIN,
					.flags = WAIT_POLL,
					.value = (uint64_t)count,
					.a = -1});
	script_emit((struct ring_event){
		.kind = EVENT_WAIT_END, .flags = WAIT_POLL, .value = (uint64_t)count, .a = 1});
}

void script_finish(void)
{
	attribute_finish(script_attribute, script_now += 10);
}

const struct script_row *script_row(const char *route)
{
	for (size_t i = 0; i < script_row_count; i++)
		if (strcmp(script_rows[i].route, route) == 0)
			return &script_rows[i];
	fail_msg("no request \"%s\"", route);
	return NULL;
}

void script_expect(const char *route, int64_t bytes, enum trace_confidence confidence)
{
	const struct script_row *row = script_row(route);
	if (row->bytes != bytes || row->confidence != confidence)
		fail_msg("%s: %lld bytes, confidence %d; want %lld, %d", route,
			 (long long)row->bytes, row->confidence, (long long)bytes, confidence);
}

void script_expect_totals(int64_t unattributed_bytes, int64_t of_connections)
{
	struct attribute_totals t;
	attribute_totals(script_attribute, &t);
	assert_int_equal(t.unattributed_bytes, unattributed_bytes);
	assert_int_equal(script_connection_bytes, of_connections);
}
