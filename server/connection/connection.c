/* SPDX-License-Identifier: MIT */
#include "server/connection/connection.h"

#include "server/request/bucket.h"
#include "server/memory/escapes.h"
#include "server/connection/loop.h"
#include "server/request/output.h"
#include "server/request/request.h"
#include "server/http/response.h"
#include "server/tls/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINGER_BYTES_MAX = 256 << 10 };
static const uint64_t LINGER_NS = UINT64_C(1000000000);

static void connection_timer(struct connection *c, uint64_t in_ns)
{
	timer_set(&c->worker->timers, &c->timer, c->worker->now_ns + in_ns);
}

/* On the worker's list of those that may be closed for a newcomer. */
static bool connection_is_idle(const struct connection *c)
{
	return c->state == CONNECTION_HEAD || c->state == CONNECTION_BODY;
}

/* -- input ----------------------------------------------------------------------- */

ssize_t connection_recv(struct connection *c, void *to, size_t bytes)
{
	if (c->broken) {
		errno = ECONNRESET;
		return -1;
	}
	/* What is known to be empty is not asked; the client's end is an exception. */
	if (!c->readable) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t got;
	do {
		got = c->secure ? tls_receive(c, to, bytes) : recv(c->fd, to, bytes, 0);
	} while (got < 0 && errno == EINTR);
	if (c->secure && got > 0)
		return got; /* more may lie decrypted already */
	if (got < 0 && errno == EAGAIN)
		c->readable = false;
	else if (got > 0 && (size_t)got < bytes && !c->ended)
		c->readable = false; /* epoll(7): a short read has emptied it */
	else if (got < 0 && errno != EFAULT)
		c->broken = true;
	return got;
}

ssize_t connection_send(struct connection *c, const struct iovec *pieces, int count, int flags)
{
	struct msghdr message = {.msg_iov = (struct iovec *)pieces,
				 .msg_iovlen = (size_t)count};

	return c->secure ? tls_send(c, pieces, count)
			 : sendmsg(c->fd, &message, MSG_NOSIGNAL | flags);
}

ssize_t connection_fill(struct connection *c)
{
	/* The bytes before `at` are the head, which a running request still reads. */
	uint32_t keep = c->state == CONNECTION_RUN ? c->start + c->head.head_bytes : 0;

	if (c->state != CONNECTION_RUN && c->at == c->filled && c->start == c->at)
		c->start = c->at = c->filled = 0;
	if (c->filled == c->room || c->at == c->filled) {
		uint32_t from = c->state == CONNECTION_RUN ? c->at : c->start;
		memmove(c->bytes + keep, c->bytes + from, c->filled - from);
		c->filled -= from - keep;
		c->at -= from - keep;
		if (c->state != CONNECTION_RUN)
			c->start = 0;
	}
	assert(c->filled < c->room);
	ssize_t got = connection_recv(c, c->bytes + c->filled, c->room - c->filled);
	if (got > 0)
		c->filled += (uint32_t)got;
	return got;
}

/* -- opening and closing --------------------------------------------------------- */

static void connection_head_init(struct connection *c)
{
	struct parse_field *fields = (struct parse_field *)(c->bytes + c->room);

	parse_head_init(&c->head, fields, PARSE_FIELDS_MAX,
			c->room - CONNECTION_HEAD_SLACK_BYTES, false);
}

/* Between requests, at whatever input is there. */
static void connection_expect(struct connection *c)
{
	c->state = CONNECTION_HEAD;
	c->start = c->at;
	c->armed = false;
	connection_head_init(c);
	worker_idle_add(c->worker, c);
	connection_timer(c, core.plan.idle_timeout_ns);
}

void connection_open(struct connection *c, int fd, struct address *address, bool secure)
{
	c->fd = fd;
	c->address = address;
	c->claimed = false;
	c->secure = secure;
	c->tls_done = false;
	c->tls = NULL;
	c->readable = c->writable = true;
	/* `ready` and `later` stay: a slot that was closed on the ready list is on it still. */
	c->ended = c->broken = c->stays = c->retry = false;
	c->pool = NULL;
	c->given = NULL;
	c->bucket = NULL;
	c->start = c->at = c->filled = 0;
	connection_expect(c);
	/* A client that has only connected is as one that sends its head slowly. */
	connection_timer(c, secure ? core.plan.tls.handshake_timeout_ns
				   : core.plan.head_timeout_ns);
}

static void connection_unclaim(struct connection *c)
{
	if (c->claimed)
		address_unclaim(c->address);
	c->claimed = false;
}

void connection_close(struct connection *c)
{
	output_flush(c);
	assert(c->state != CONNECTION_FREE && c->state != CONNECTION_RUN);
	if (connection_is_idle(c))
		worker_idle_remove(c->worker, c);
	if (c->pool)
		pool_unwait(c->pool, c);
	timer_clear(&c->timer);
	if (c->tls) {
		if (!c->broken && c->state != CONNECTION_LINGER)
			tls_goodbye(c);
		tls_close(c);
	}
	close(c->fd);
	c->fd = -1;
	connection_unclaim(c);
	if (c->address)
		address_leave(&core.addresses, c->address);
	c->address = NULL;
	c->state = CONNECTION_FREE;
	worker_slot_free(c->worker, c);
}

static void connection_linger(struct connection *c)
{
	output_flush(c);
	if (!c->broken)
		tls_goodbye(c);
	if (c->broken || shutdown(c->fd, SHUT_WR) < 0) {
		connection_close(c);
		return;
	}
	if (connection_is_idle(c))
		worker_idle_remove(c->worker, c);
	c->state = CONNECTION_LINGER;
	c->discarded = 0;
	connection_timer(c, LINGER_NS);
}

/* -- the core's own answers --------------------------------------------------------- */

/* In one piece, or not at all: a client that did not read so far has no claim. */
static void connection_answer(struct connection *c, int status, const char *detail, bool stays,
			      struct str fields)
{
	char text[RESPONSE_ERROR_BYTES];
	struct response response = {
		.status = status,
		.minor = c->head.minor,
		.keep_alive = stays,
		.date = {c->worker->date, RESPONSE_DATE_BYTES - 1},
		.fields = fields,
	};
	size_t length = response_error(text, sizeof(text), &response, c->head.is_head, detail);

	assert(length > 0);
	output_flush(c);
	c->stays = stays;
	struct iovec piece = {text, length};
	if (connection_send(c, &piece, 1, 0) != (ssize_t)length) {
		c->stays = false;
		c->broken = true;
	}
}

static void connection_log(struct connection *c, int status, const char *cause,
			   uint64_t wait_ns)
{
	struct worker *worker = c->worker;
	bool complete = c->head.head_bytes > 0;
	struct str none = {"", 0};
	struct log_line line = {
		.worker = worker->index,
		.status = status,
		.minor = c->head.minor,
		.client = c->client,
		.method = complete ? parse_str(c->bytes + c->start, c->head.method) : none,
		.path = complete ? parse_path(&c->head, c->bytes + c->start) : none,
		.query = complete && c->head.has_query
				 ? parse_str(c->bytes + c->start, c->head.query)
				 : none,
		.wait_ns = wait_ns,
		.cause = cause,
	};
	bool routed = c->state == CONNECTION_WAIT || c->state == CONNECTION_BODY;
	uint32_t route = !routed         ? metrics_none(&core.plan)
			 : c->route >= 0 ? (uint32_t)c->route
					 : metrics_other(&core.plan);
	metrics_refused(worker->metrics, &core.plan, route, status == 503 ? c->class_index : -1,
			status, cause, c->queued, wait_ns);
	if (complete)
		worker_log_fields(&line, c->bytes + c->start, c->head.fields,
				  c->head.field_count);
	worker_log(worker, &line, worker->now_ns);
}

/* Something that no handler will see; the connection ends. */
static void connection_refuse(struct connection *c, int status, const char *detail,
			      const char *cause)
{
	metrics_add(&c->worker->counts.refused, 1);
	connection_log(c, status, cause, 0);
	connection_answer(c, status, detail, false, STR(""));
	connection_linger(c);
}

/* -- from head to bucket --------------------------------------------------------------- */

/* The request was not run; its body, if any, is to be passed over. */
static void connection_busy(struct connection *c, const char *cause)
{
	struct worker *worker = c->worker;
	bool stays = c->head.keep_alive && !c->head.expect_continue && !worker->draining &&
		     c->head.framing != PARSE_BODY_CHUNKED &&
		     c->head.content_length <= OUTPUT_UNREAD_MAX;

	connection_unclaim(c);
	metrics_add(&worker->counts.rejected, 1);
	connection_log(c, 503, cause, worker->now_ns - c->arrival_ns);
	connection_answer(c, 503,
			  strcmp(cause, "per-address") == 0
				  ? "this address has too many requests under way"
				  : "no bucket is free",
			  stays, STR("Retry-After: 1\r\n"));
	if (c->broken || !c->stays) {
		connection_linger(c);
		return;
	}
	parse_body_init(&c->body, &c->head);
	c->at = c->start + c->head.head_bytes;
	c->state = CONNECTION_DISCARD;
	c->discarded = 0;
	connection_timer(c, core.plan.body_timeout_ns);
}

/* True if it runs no more. */
static bool connection_run(struct connection *c, struct bucket *bucket)
{
	timer_clear(&c->timer);
	if (c->start > 0 && c->head.framing != PARSE_BODY_NONE) {
		/* So that there is room for the body behind the head. */
		memmove(c->bytes, c->bytes + c->start, c->filled - c->start);
		c->filled -= c->start;
		c->start = 0;
	}
	c->state = CONNECTION_RUN;
	const struct pool *pool = &c->worker->pool[bucket->class_index];
	metrics_rise(&c->worker->metrics->class[bucket->class_index].in_use_max,
		     pool->count - pool->free_count);
	metrics_add(&c->worker->counts.requests, 1);
	return request_start(c, bucket);
}

static bool connection_too_large(const struct connection *c, const struct plan_class *class)
{
	if (c->head.framing != PARSE_BODY_LENGTH)
		return false;
	if (core.plan.body_bytes_max)
		return c->head.content_length > core.plan.body_bytes_max;
	return c->head.content_length > class->size_bytes;
}

/* Asks for a bucket of its class: has one, waits in line, or is answered. */
static void connection_want(struct connection *c)
{
	struct pool *pool = &c->worker->pool[c->class_index];

	c->queued = false;
	if (c->address && !address_claim(&core.addresses, c->address)) {
		connection_busy(c, "per-address");
		return;
	}
	c->claimed = c->address != NULL;
	c->given = pool_take(pool);
	if (c->given)
		return;
	/* Who may not wait is not put in line: its time would be up within this same
	 * turn, and one client that pipelines could keep the worker in it. */
	if (core.plan.wait_ns == 0 || pool_wait(pool, c) < 0)
		connection_busy(c, "busy");
	else {
		c->queued = true;
		connection_timer(c, core.plan.wait_ns);
	}
}

/* All of it that is to be there is there. */
static void connection_arrived(struct connection *c)
{
	worker_idle_remove(c->worker, c);
	c->state = CONNECTION_WAIT;
	c->arrival_ns = c->worker->now_ns;
	connection_want(c);
}

/* Whether what is to be in the buffer before a bucket is taken is: the whole body, or
 * as much of it as there is room for. A client that asks first is to have its answer. */
static bool connection_has_body(struct connection *c)
{
	const struct parse_head *head = &c->head;
	uint32_t have = c->filled - c->start, consumed = (uint32_t)c->discarded;

	if (head->framing == PARSE_BODY_NONE || head->expect_continue || have >= c->room)
		return true;
	if (head->framing == PARSE_BODY_LENGTH)
		return have - head->head_bytes >= head->content_length;
	/* Chunks are walked over once more when the handler reads them. */
	while (head->head_bytes + consumed < have) {
		struct parse_span data;
		size_t more;
		uint32_t at = head->head_bytes + consumed;
		enum parse_result result =
			parse_body(&c->body, c->bytes + c->start + at, have - at, &more, &data);
		consumed += (uint32_t)more;
		if (result == PARSE_DONE || result == PARSE_ERROR)
			return true;
	}
	c->discarded = consumed;
	return false;
}

static void connection_body_timer(struct connection *c)
{
	c->body_from = c->filled - c->start;
	connection_timer(c, core.plan.body_timeout_ns);
}

/* Reads a body's beginning. True when there is as much of it as is to be. */
static bool connection_body(struct connection *c)
{
	while (!connection_has_body(c)) {
		ssize_t got = connection_fill(c);
		c->at = c->start;
		if (got > 0)
			continue;
		if (got == 0 || errno != EAGAIN)
			connection_close(c);
		return false;
	}
	connection_arrived(c);
	return true;
}

/* The head is complete: which class, and is there a bucket of it? */
static void connection_admit(struct connection *c)
{
	const char *bytes = c->bytes + c->start;
	uint32_t class_index = 0;
	int route = -1;

	c->state = CONNECTION_BODY;
	c->arrival_ns = c->worker->now_ns;
	c->queued = false;
	if (core.plan.route_count > 0) {
		route = limits_route(&core.plan, parse_str(bytes, c->head.method),
				     parse_path(&c->head, bytes));
		if (route >= 0)
			class_index = core.plan.route[route].class_index;
	}
	c->class_index = (uint8_t)class_index;
	c->route = (int16_t)route;
	if (connection_too_large(c, &core.plan.class[class_index])) {
		connection_refuse(c, 413, "the body is larger than this server takes",
				  "body-too-large");
		return;
	}
	parse_body_init(&c->body, &c->head);
	c->discarded = 0;
	if (connection_has_body(c)) {
		connection_arrived(c);
		return;
	}
	c->armed = true;
	connection_body_timer(c);
}

/* Reads and parses until the head is there. True if something was done. */
static bool connection_head(struct connection *c)
{
	if (c->secure && !c->tls_done) {
		int done = tls_handshake(c);
		c->worker->now_ns = loop_now_ns(); /* that takes about as long as a request */
		if (done < 0 || (done == 0 && c->worker->draining))
			connection_close(c);
		if (done <= 0)
			return false;
		connection_timer(c, core.plan.head_timeout_ns);
	}
	for (;;) {
		enum parse_result result = PARSE_MORE;
		if (c->filled > c->start)
			result =
				parse_head(&c->head, c->bytes + c->start, c->filled - c->start);
		if (result == PARSE_DONE) {
			connection_admit(c);
			return true;
		}
		if (result == PARSE_ERROR) {
			connection_refuse(c, c->head.status, c->head.reason, "bad-request");
			return false;
		}
		if (!c->armed && !parse_head_idle(&c->head)) {
			c->armed = true;
			connection_timer(c, core.plan.head_timeout_ns);
		}
		ssize_t got = connection_fill(c);
		c->at = c->start;
		if (got > 0)
			continue;
		if (got == 0 || errno != EAGAIN) {
			connection_close(c);
			return false;
		}
		if (c->worker->draining && !c->armed)
			connection_close(c);
		return false;
	}
}

/* -- after a response -------------------------------------------------------------------- */

static void connection_release(struct connection *c)
{
	struct worker *worker = c->worker;
	struct bucket *bucket = c->bucket;
	struct pail_request *r = &bucket->request;

	if (escapes_on())
		escapes_end(bucket, r);
	worker_log_request(worker, r);
	timer_clear(&c->timer);
	connection_unclaim(c);
	c->bucket = NULL;
	if (!escapes_on())
		bucket_clear(bucket);
	struct connection *next = pool_give(&worker->pool[bucket->class_index], bucket);
	if (next) {
		next->given = bucket;
		worker_ready(worker, next);
	}
}

/* The request is done and its bucket another's. */
static void connection_done(struct connection *c)
{
	connection_release(c);
	if (c->retry) {
		c->retry = false;
		c->class_index++;
		c->state = CONNECTION_WAIT;
		connection_want(c);
		return;
	}
	c->state = CONNECTION_DISCARD;
	c->discarded = 0;
	if (!c->stays || c->broken) {
		/* With input unread, close() would send a reset after the answer. */
		bool unread = c->at < c->filled || c->readable ||
			      parse_body_expected(&c->body, &c->head) > 0;
		if (unread && !c->broken)
			connection_linger(c);
		else
			connection_close(c);
		return;
	}
	connection_timer(c, core.plan.body_timeout_ns);
}

/* Passes over what is left of the body. True at its end. */
static bool connection_discard(struct connection *c)
{
	for (;;) {
		struct parse_span data;
		size_t consumed;
		enum parse_result result = parse_body(&c->body, c->bytes + c->at,
						      c->filled - c->at, &consumed, &data);
		c->at += (uint32_t)consumed;
		c->discarded += consumed;
		if (result == PARSE_DONE) {
			connection_expect(c);
			return true;
		}
		if (result == PARSE_ERROR || c->discarded > OUTPUT_UNREAD_MAX) {
			connection_linger(c);
			return false;
		}
		if (result == PARSE_DATA || c->at < c->filled)
			continue;
		c->start = c->at = c->filled = 0;
		ssize_t got = connection_fill(c);
		if (got > 0)
			continue;
		if (got == 0 || errno != EAGAIN)
			connection_close(c);
		return false;
	}
}

static void connection_drop_input(struct connection *c)
{
	for (;;) {
		c->start = c->at = c->filled = 0;
		ssize_t got = connection_fill(c);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got > 0 && (c->discarded += (uint64_t)got) <= LINGER_BYTES_MAX)
			continue;
		connection_close(c);
		return;
	}
}

/* -- the whole ------------------------------------------------------------------------------
 */

/* A request that waits: what for, and has it come? */
static bool connection_go_on(struct connection *c)
{
	struct pail_request *r = &c->bucket->request;

	if (r->granted) {
		r->granted = false;
		return request_resume(r, REQUEST_WOKEN);
	}
	if (r->waits_for == REQUEST_WAIT_TIME)
		return false;
	if (r->waits_for == REQUEST_WAIT_IO) {
		/* Nobody wants the answer; what undoes the request goes on. */
		if (c->broken && r->stage == REQUEST_HANDLE)
			return request_resume(r, REQUEST_GONE);
		return r->io_ready && request_resume(r, REQUEST_WOKEN);
	}
	if (c->broken)
		return request_resume(r, REQUEST_GONE);
	if ((r->waits_for == REQUEST_WAIT_READ && c->readable) ||
	    (r->waits_for == REQUEST_WAIT_WRITE && c->writable))
		return request_resume(r, REQUEST_WOKEN);
	return false;
}

static void connection_go(struct connection *c)
{
	uint64_t until_ns = 0;

	for (uint32_t turn = 0; turn < LOOP_PIPELINE; turn++) {
		/* Requests that came together may each take long. */
		if (turn == 2)
			until_ns = c->worker->now_ns + LOOP_SLICE_NS;
		else if (turn > 2 && c->worker->now_ns > until_ns)
			break;
		switch (c->state) {
		case CONNECTION_FREE: return;
		case CONNECTION_HEAD:
			if (!connection_head(c))
				return;
			break;
		case CONNECTION_BODY:
			if (!connection_body(c))
				return;
			break;
		case CONNECTION_WAIT: {
			struct bucket *bucket = c->given;
			if (!bucket)
				return;
			c->given = NULL;
			if (!connection_run(c, bucket))
				return;
			connection_done(c);
			break;
		}
		case CONNECTION_RUN:
			if (!connection_go_on(c))
				return;
			connection_done(c);
			break;
		case CONNECTION_DISCARD:
			if (!connection_discard(c))
				return;
			break;
		case CONNECTION_LINGER: connection_drop_input(c); return;
		}
	}
	/* Others have waited long enough. */
	worker_later(c->worker, c);
}

void connection_advance(struct connection *c)
{
	connection_go(c);
	output_flush(c);
}

void connection_event(struct connection *c, uint32_t events)
{
	if (c->state == CONNECTION_FREE)
		return;
	if (events & (EPOLLIN | EPOLLRDHUP))
		c->readable = true;
	if (events & EPOLLRDHUP)
		c->ended = true;
	if (events & EPOLLOUT)
		c->writable = true;
	if (events & (EPOLLERR | EPOLLHUP)) {
		c->broken |= (events & EPOLLERR) != 0 || c->state != CONNECTION_LINGER;
		if (c->state == CONNECTION_WAIT && !c->given) {
			connection_close(c);
			return;
		}
	}
	if (!c->later) /* else it has its turn soon */
		connection_advance(c);
}

/* Wakes the request with that, and goes on behind it if it is done. */
static void connection_wake(struct connection *c, enum request_wake wake)
{
	if (!request_resume(&c->bucket->request, wake))
		return;
	connection_done(c);
	connection_advance(c);
}

void connection_give_up(struct connection *c)
{
	assert(c->state == CONNECTION_RUN);
	connection_wake(c, REQUEST_GIVEN_UP);
}

void connection_timeout(struct connection *c)
{
	switch (c->state) {
	case CONNECTION_HEAD:
		if (c->armed)
			connection_refuse(c, 408, "the request took too long to come",
					  "head-timeout");
		else
			connection_close(c);
		return;
	case CONNECTION_BODY:
		if (c->filled - c->start - c->body_from >= BODY_PROGRESS_BYTES)
			connection_body_timer(c);
		else
			connection_refuse(c, 408, "the body took too long to come",
					  "body-timeout");
		return;
	case CONNECTION_WAIT:
		if (c->given)
			return; /* to be started in this very turn */
		pool_unwait(c->pool, c);
		connection_busy(c, "busy-wait");
		connection_advance(c);
		return;
	case CONNECTION_RUN: connection_wake(c, REQUEST_TIMED_OUT); return;
	case CONNECTION_DISCARD:
	case CONNECTION_LINGER: connection_close(c); return;
	case CONNECTION_FREE: return;
	}
}
