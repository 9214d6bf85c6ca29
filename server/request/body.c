/* SPDX-License-Identifier: MIT */
/*
 * pail_body() and pail_body_read(): the request's body as the handler sees it.
 * Content-Length bodies go from the socket to where the handler wants them;
 * chunked ones through the rest of the header buffer, to be decoded.
 *
 * Slow senders: each body_timeout must bring BODY_PROGRESS_BYTES or the end. Only
 * the time spent waiting counts, and it counts across calls: a client that sends
 * a byte now and then does not keep a bucket by it. While others wait for a bucket
 * less is enough to be ended (patience.h).
 *
 * A body that is short was there before the request had a bucket, of a longer one
 * as much as the header buffer takes (connection.h, BODY).
 */
#include "server/request/bucket.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/request/output.h"
#include "server/tls/tls.h"

#include <errno.h>
#include <string.h>

enum { BODY_DIRECT_BYTES = 512, BODY_FIRST_BYTES = 4096 };

static void body_wait(struct pail_request *r)
{
	uint64_t content_bytes = r->connection->body.content_bytes, begun_ns = loop_now_ns();

	if (r->body_patience_ns == 0 ||
	    content_bytes - r->body_patience_from_bytes >= BODY_PROGRESS_BYTES) {
		r->body_patience_ns = core.plan.body_timeout_ns;
		r->body_patience_from_bytes = content_bytes;
	}
	r->stalled_from_ns = begun_ns - (core.plan.body_timeout_ns - r->body_patience_ns);
	enum request_wake wake =
		request_wait(r, REQUEST_WAIT_READ, begun_ns + r->body_patience_ns);
	uint64_t waited_ns = loop_now_ns() - begun_ns;
	r->body_patience_ns =
		waited_ns < r->body_patience_ns ? r->body_patience_ns - waited_ns : 1;
	if (wake == REQUEST_TIMED_OUT)
		request_fail(r, "body-timeout", 408);
	if (wake == REQUEST_GIVEN_UP)
		request_fail(r, "slow-body", 408);
	if (wake == REQUEST_GONE)
		r->gone = true;
}

/* A client that said "Expect: 100-continue" is told to go on, once. */
static void body_invite(struct pail_request *r)
{
	struct iovec iov = {(void *)"HTTP/1.1 100 Continue\r\n\r\n", 25};

	if (!r->may_continue)
		return;
	r->may_continue = false;
	if (!r->head_sent)
		output_send(r, &iov, 1, 0);
}

/* Content from unread input: bytes, 0 if it has none, -1 at the body's end. */
static ssize_t body_take(struct pail_request *r, void *to, size_t room)
{
	struct connection *c = r->connection;
	struct parse_span data = {0, 0};
	size_t consumed;

	for (;;) {
		const char *from = c->bytes + c->at;
		size_t available = c->filled - c->at;
		enum parse_result result = parse_body(
			&c->body, from, available < room ? available : room, &consumed, &data);
		c->at += (uint32_t)consumed;
		if (result == PARSE_DONE)
			return -1;
		if (result == PARSE_ERROR) {
			r->closing = true;
			request_fail(r, "bad-body", c->body.status);
		}
		if (result == PARSE_DATA) {
			memcpy(to, from + data.offset, data.length);
			return data.length;
		}
		if (c->at == c->filled)
			return 0;
	}
}

/* More than the plan takes; only a chunked body can be found out here. */
static void body_check(struct pail_request *r)
{
	if (core.plan.body_bytes_max &&
	    r->connection->body.content_bytes > core.plan.body_bytes_max)
		request_fail(r, "body-too-large", 413);
}

/* Straight from the socket into the handler's memory. */
static ssize_t body_receive(struct pail_request *r, void *to, size_t room)
{
	struct connection *c = r->connection;
	uint64_t left = parse_body_expected(&c->body, &c->head);
	struct parse_span data;
	size_t consumed;

	request_enter(r);
	ssize_t got = connection_recv(c, to, left < room ? left : room);
	if (got < 0 && errno == EFAULT) { /* the handler\'s pointer */
		r->pending = "segv";
		r->pending_status = 500;
	}
	if (got > 0)
		parse_body(&c->body, to, (size_t)got, &consumed, &data);
	request_leave(r);
	return got;
}

static ssize_t body_fill(struct pail_request *r)
{
	request_enter(r);
	ssize_t got = connection_fill(r->connection);
	request_leave(r);
	return got;
}

ssize_t pail_body_read(struct pail_request *r, void *to, size_t room)
{
	struct connection *c = r->connection;

	if (r->gone)
		return -1;
	if (room == 0)
		return 0;
	if (c->secure)
		tls_touch_stack();
	for (;;) {
		ssize_t got = body_take(r, to, room);
		if (got != 0) {
			body_check(r);
			return got < 0 ? 0 : got;
		}
		body_invite(r);
		bool direct = !c->secure && c->head.framing == PARSE_BODY_LENGTH &&
			      room >= BODY_DIRECT_BYTES;
		got = direct ? body_receive(r, to, room) : body_fill(r);
		if (got > 0 && direct)
			return got;
		if (got == 0 || (got < 0 && errno != EAGAIN))
			r->gone = true;
		else if (got < 0)
			body_wait(r);
		if (r->gone)
			return -1;
	}
}

/* `caller`: whose memory it is, if it is too much. */
static size_t body_of_length(struct pail_request *r, unsigned char **bytes, uintptr_t caller)
{
	size_t length = parse_body_expected(&r->connection->body, &r->connection->head);
	size_t have = 0;

	*bytes = malloc_in_bucket(r, length, caller);
	while (have < length) {
		ssize_t got = pail_body_read(r, *bytes + have, length - have);
		if (got <= 0)
			request_fail(r, "client-gone", 0);
		have += (size_t)got;
	}
	return length;
}

static size_t body_of_chunks(struct pail_request *r, unsigned char **bytes, uintptr_t caller)
{
	struct arena *arena = &r->bucket->arena;
	size_t have = 0, room = BODY_FIRST_BYTES;

	*bytes = malloc_in_bucket(r, room, caller);
	for (;;) {
		ssize_t got = pail_body_read(r, *bytes + have, room - have);
		if (got < 0)
			request_fail(r, "client-gone", 0);
		if (got == 0)
			break;
		have += (size_t)got;
		if (have == room) {
			unsigned char *more = arena_realloc(arena, *bytes, 2 * room);
			if (!more) {
				r->wanted_bytes = arena->wanted_bytes;
				request_fail(r, "body-too-large", 413);
			}
			*bytes = more;
			room *= 2;
		}
	}
	unsigned char *fit = arena_realloc(arena, *bytes, have ? have : 1);
	*bytes = fit ? fit : *bytes;
	return have;
}

size_t pail_body(struct pail_request *r, const void **bytes)
{
	/* Asked again: the same. */
	if (!r->body) {
		unsigned char *body = NULL;
		uintptr_t caller = (uintptr_t)__builtin_return_address(0);
		r->body_bytes = 0;
		if (r->connection->head.framing == PARSE_BODY_CHUNKED)
			r->body_bytes = body_of_chunks(r, &body, caller);
		else if (r->connection->head.framing == PARSE_BODY_LENGTH)
			r->body_bytes = body_of_length(r, &body, caller);
		r->body = body ? body : (unsigned char *)"";
	}
	*bytes = r->body;
	return r->body_bytes;
}
