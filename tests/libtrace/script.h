/* SPDX-License-Identifier: MIT */
/*
 * A server as a script of events, for tests of attribution. Each allocation is
 * tagged with its true owner by its size: request k allocates blocks of 1000 * k
 * bytes and something, connections SCRIPT_CONNECTION_BYTES, nobody
 * SCRIPT_NOBODY_BYTES; so a request's bytes show at once whose blocks it was
 * given. Events are of the process and thread that script_on() named last, each
 * 10 ns after the one before.
 */
#ifndef PAIL_TESTS_SCRIPT_H
#define PAIL_TESTS_SCRIPT_H

#include "libtrace/attribution/attribute.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum {
	SCRIPT_ROWS = 64,
	SCRIPT_CONNECTION_BYTES = 17,
	SCRIPT_NOBODY_BYTES = 13,
	SCRIPT_EPFD = 3,
	SCRIPT_LISTENER = 4
};

#define SCRIPT_OK         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define SCRIPT_TEST(name) cmocka_unit_test_setup_teardown(name, script_setup, script_teardown)

/* Requests that have come out. */
struct script_row {
	char route[64], ended_by[24];
	int status;
	int64_t allocations, frees, reallocations, escapes, escaped_bytes, foreign_frees;
	int64_t start_ns, end_ns, bytes, connection, sequence;
	enum trace_confidence confidence;
	bool incomplete;
};
extern struct script_row script_rows[SCRIPT_ROWS];
extern size_t script_row_count;
extern int64_t script_connection_bytes, script_connection_rows;
extern struct attribute *script_attribute;
extern int64_t script_now;
extern uint64_t script_next_address;           /* the last one given */
extern uint32_t script_process, script_thread; /* of what comes next */

int script_start(enum attribute_split split);
int script_setup(void **state);
int script_teardown(void **state);
void script_on(uint32_t p, uint32_t t);
void script_emit(struct ring_event e);
uint64_t script_alloc(uint64_t size);
void script_free(uint64_t address);
void script_io(enum event_kind kind, int fd, const char *text, size_t unseen, unsigned flags);
void script_get(int fd, int k);
void script_answer(int fd);
void script_accept(int fd);
void script_close(int fd);
void script_end_of_file(int fd);
void script_watch(int fd);
void script_epoll(int64_t timeout_ns, int count, int fd);
void script_poll(int count);
void script_finish(void);
const struct script_row *script_row(const char *route);
void script_expect(const char *route, int64_t bytes, enum trace_confidence confidence);
void script_expect_totals(int64_t unattributed_bytes, int64_t of_connections);

#endif
