/* SPDX-License-Identifier: MIT */
/*
 * One request that holds a bucket: the state behind pail/handler.h, and its
 * life as a coroutine on the bucket's stack.
 *
 *	HANDLE -> END_HOOK -> END_DEFERS -> CLOSE -> SEND -> DONE
 *
 * Everything up to CLOSE may run the handler's code, and that code may fail in
 * every way; request_fail() then abandons the stack and goes on with the next
 * stage (the stage is moved on before its code runs, so nothing runs twice). SEND
 * is the core's own and may not fail. A response whose head was sent can't
 * become a 500: the connection is closed instead.
 *
 * critical counts the core's own doings on this stack (timers, sends, the
 * system region's lock, changing stacks). While it is not 0 nothing may jump:
 * an asynchronous failure (a deadline) becomes `pending` and is acted upon when
 * it returns to 0; a fault is a bug of ours and ends the process.
 *
 * Threads: the worker's own only.
 */
#ifndef PAIL_SERVER_REQUEST_H
#define PAIL_SERVER_REQUEST_H

#include "base/limits.h"
#include "base/str.h"
#include "pail/handler.h"
#include "server/failure/locks.h"
#include "server/http/parse.h"
#include "server/failure/streams.h"

#include <stdbool.h>
#include <stdint.h>

struct bucket;
struct connection;
struct worker;

enum {
	REQUEST_DEFERS_MAX = 16, /* further ones take their node from the arena */
	REQUEST_FIELDS_BYTES = 2048,
	REQUEST_HEAD_BYTES = REQUEST_FIELDS_BYTES + 384,
	REQUEST_OUT_BYTES = 6016,
};

enum request_stage {
	REQUEST_HANDLE,
	REQUEST_END_HOOK,
	REQUEST_END_DEFERS,
	REQUEST_CLOSE,
	REQUEST_SEND,
	REQUEST_DONE,
};

enum request_wait {
	REQUEST_WAIT_NONE,
	REQUEST_WAIT_READ,
	REQUEST_WAIT_WRITE,
	REQUEST_WAIT_TIME,
	REQUEST_WAIT_IO, /* descriptors of the handler's own (aio.h), or a time */
};
/* GIVEN_UP: others want the bucket, and the client was too slow (patience.h). */
enum request_wake { REQUEST_WOKEN, REQUEST_TIMED_OUT, REQUEST_GONE, REQUEST_GIVEN_UP };

struct request_defer {
	void (*fn)(void *);
	void *arg;
	struct request_defer *next; /* of those in the arena */
};

struct pail_request {
	struct bucket *bucket;
	struct connection *connection;
	struct worker *worker;
	void *context; /* saved while another stack runs */
	enum request_stage stage;
	uint32_t critical;
	const char *cause;   /* why it failed; NULL: it did not */
	const char *pending; /* a failure that waits for critical to be 0, */
	int pending_status;  /* and its status */
	bool abandoned;      /* its code was left by a jump */
	bool explained;      /* by pail_explain() */
	int fail_status;     /* 500, 504, 413, ...; 0: send nothing, close */
	void *stack_top;     /* of the small stack, where it is abandoned to */

	const char *method, *path, *query;
	struct str route_path;
	int route; /* of the plan, or -1 */
	uint32_t field_count;
	bool is_head, minor, may_continue;

	unsigned char *body; /* that pail_body() gave; NULL: not asked */
	size_t body_bytes;
	/* What is left of body_timeout, 0: not begun; and since how much content. */
	uint64_t body_patience_ns, body_patience_from_bytes;
	/* While it waits for the client: since when without enough progress, less
	 * what it did itself meanwhile. */
	uint64_t stalled_from_ns;

	/* The response. */
	int status;
	bool head_sent, chunked, gone, closing;
	int64_t declared_length; /* Content-Length of the handler's, or -1 */
	uint64_t body_length;    /* what was written, sent or not */
	int send_fd;
	off_t send_offset;
	uint64_t send_length;
	uint32_t fields_length, out_length;

	/* Clean-up. */
	uint32_t defer_count;
	struct request_defer *defer_more; /* in the arena, defer_more_count long */
	uint32_t defer_more_count;
	int big_stack;                 /* index of the one lent, or -1 */
	struct pail_request *big_next; /* in the line for one */
	bool granted;                  /* what it waited for in a line has come */
	bool io_ready;                 /* one of its own descriptors is */
	uint32_t outside;
	uint32_t null_count; /* times that malloc gave NULL to a library */

	/* For the log. */
	uint64_t arrival_ns, start_ns, wanted_bytes;
	uintptr_t site; /* in the code that the cause is about; 0: not known */
	uint32_t foreign_frees;
	int32_t system_blocks; /* of the system region, taken less given back */
	uint32_t cpu_ticks;

	enum request_wait waits_for;
	enum request_wake wake;

	/* All before is zero at the start of a request; of the rest what is counted. */
	char detail[96]; /* of the cause: "file.c:12: x > 0" */
	struct locks locks;
	struct streams streams;

	struct request_defer defer[REQUEST_DEFERS_MAX];
	struct parse_field field[PARSE_FIELDS_MAX];
	char fields[REQUEST_FIELDS_BYTES]; /* "Name: value\r\n"... of the response */
	char head[REQUEST_HEAD_BYTES];
	char out[REQUEST_OUT_BYTES];
};

/* Starts the request of a connection whose head is complete. True when it is
 * done already; false when it waits for something. */
bool request_start(struct connection *connection, struct bucket *bucket);
/* Goes on with one that waits. True when it is done. */
bool request_resume(struct pail_request *r, enum request_wake wake);

/* -- on the request's own stack ------------------------------------------- */

/* Lets others run until the connection can be read or written, or a time. */
enum request_wake request_wait(struct pail_request *r, enum request_wait what,
			       uint64_t until_ns);
/* Out of here: the request ends with `status` (0: nothing more is sent). */
__attribute__((noreturn)) void request_fail(struct pail_request *r, const char *cause,
					    int status);
/* Notes why it fails, and in which code (0: not known), if nothing else was noted before. */
void request_note(struct pail_request *r, const char *cause, int status, uintptr_t site);
/* What request_fail() runs at stack_top; fault.c sends interrupted code there. */
void request_abandoned(void *r);

void request_enter(struct pail_request *r);
void request_leave(struct pail_request *r);

/* The request that runs on this thread, or NULL. */
struct pail_request *request_current(void);

#endif
