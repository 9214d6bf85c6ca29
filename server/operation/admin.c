/* SPDX-License-Identifier: MIT */
#include "server/operation/admin.h"

#include "server/core.h"
#include "server/connection/loop.h"
#include "server/operation/metrics_text.h"
#include "server/operation/page.h"
#include "server/http/parse.h"
#include "server/http/response.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	IN_BYTES = 4096,
	OUT_BYTES = 32 << 10,
	HEAD_ROOM = 1024, /* of a response's head */
	CHUNK_ROOM = 8,   /* "001f40\r\n" */
	RCVBUF_BYTES = 4 << 10,
	SNDBUF_BYTES = 32 << 10,
	STACK_BYTES = 64 << 10,
};
static const uint64_t CLIENT_NS = UINT64_C(10000000000), LINGER_NS = UINT64_C(1000000000);

enum state { FREE, READ, WRITE, LINGER };

struct client {
	enum state state;
	int fd;
	bool chunked;
	bool document; /* text is still to be written */
	uint64_t until_ns, since_ns;
	struct metrics_text text;
	struct str rest; /* of a body that lies somewhere for good */
	size_t filled, sent, length;
	struct parse_head head;
	struct parse_field fields[PARSE_FIELDS_MAX];
	char in[IN_BYTES];
	char out[OUT_BYTES];
};
static_assert(STACK_BYTES + ADMIN_CLIENTS * sizeof(struct client) <= LIMITS_ADMIN_REGION_BYTES,
	      "the admin address's piece of the region");
static_assert(OUT_BYTES - CHUNK_ROOM - 8 > METRICS_PIECE_BYTES, "room for a piece");

static struct {
	int listen_fd;
	struct client *client;
	pthread_t thread;
} admin;

/* -- the listener ------------------------------------------------------------- */

int admin_listen(const struct plan *plan, int inherited, char name[LISTEN_NAME_MAX],
		 struct err *err)
{
	const int receive = RCVBUF_BYTES, send = SNDBUF_BYTES;
	unsigned port;
	int fd = inherited;

	if (fd >= 0 && listen_adopt(plan, fd, name, &port, err) < 0)
		return -1;
	if (fd < 0 && (fd = listen_open(plan, plan->admin, name, &port, err)) < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send)) < 0)
		return err_errno(err, "can't set the sizes of socket buffers");
	return fd;
}

/* -- one client ------------------------------------------------------------------ */

static void client_close(struct client *c)
{
	close(c->fd);
	c->state = FREE;
}

static void client_linger(struct client *c)
{
	shutdown(c->fd, SHUT_WR);
	c->state = LINGER;
	c->until_ns = loop_now_ns() + LINGER_NS;
}

struct answer {
	int status;
	const char *type;
	struct str fields, body;
	bool document;
	enum metrics_form form;
};

static void client_answer(struct client *c, const struct answer *answer)
{
	char date[RESPONSE_DATE_BYTES], fields[HEAD_ROOM / 2];
	int length = snprintf(fields, sizeof(fields),
			      "Content-Type: %s\r\nCache-Control: no-store\r\n"
			      "X-Content-Type-Options: nosniff\r\n%.*s",
			      answer->type, STR_ARG(answer->fields));
	bool complete = c->head.status == 0;

	assert(length > 0 && (size_t)length < sizeof(fields));
	response_date(date, time(NULL));
	c->chunked = answer->document && c->head.minor > 0;
	struct response response = {
		.status = answer->status,
		.minor = c->head.minor,
		.chunked = c->chunked,
		.length = answer->document ? -1 : (int64_t)answer->body.length,
		.date = {date, RESPONSE_DATE_BYTES - 1},
		.fields = {fields, (size_t)length},
	};
	c->length = response_head(c->out, HEAD_ROOM, &response);
	assert(c->length > 0);
	c->sent = 0;
	c->state = WRITE;
	if (c->head.is_head && complete)
		return;
	c->rest = answer->body;
	c->document = answer->document;
	metrics_text_init(&c->text, answer->form);
}

#define PLAIN "text/plain; charset=utf-8"

static void client_route(struct client *c)
{
	struct str path = parse_path(&c->head, c->in);
	struct str method = parse_str(c->in, c->head.method);
	struct answer answer = {.status = 200, .type = PLAIN};

	if (!str_equal(method, STR("GET")) && !str_equal(method, STR("HEAD"))) {
		answer.status = 405;
		answer.fields = STR("Allow: GET, HEAD\r\n");
		answer.body = STR("this address only answers GET and HEAD\n");
	} else if (str_equal(path, STR("/"))) {
		answer.type = "text/html; charset=utf-8";
		answer.fields = STR(PAGE_POLICY);
		answer.body = page_html();
	} else if (str_equal(path, STR("/metrics"))) {
		answer.type = "text/plain; version=0.0.4; charset=utf-8";
		answer.document = true;
		answer.form = METRICS_PROMETHEUS;
	} else if (str_equal(path, STR("/stats"))) {
		answer.type = "application/json";
		answer.document = true;
		answer.form = METRICS_JSON;
	} else if (str_equal(path, STR("/health"))) {
		bool draining = atomic_load(&core.draining);
		answer.status = draining ? 503 : 200;
		answer.body = draining ? STR("draining\n") : STR("ready\n");
	} else {
		answer.status = 404;
		answer.body = STR("there are /, /stats, /metrics and /health\n");
	}
	client_answer(c, &answer);
}

static void client_read(struct client *c)
{
	ssize_t got = recv(c->fd, c->in + c->filled, sizeof(c->in) - c->filled, 0);

	if (got <= 0) {
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			client_close(c);
		return;
	}
	c->filled += (size_t)got;
	switch (parse_head(&c->head, c->in, c->filled)) {
	case PARSE_DONE: client_route(c); return;
	case PARSE_ERROR: {
		struct answer answer = {.status = c->head.status,
					.type = PLAIN,
					.body = str_of(c->head.reason)};
		client_answer(c, &answer);
		return;
	}
	default: break;
	}
}

/* Puts what comes next into the buffer, which has been sent. */
static void client_fill(struct client *c)
{
	c->sent = c->length = 0;
	if (c->rest.length > 0) {
		size_t length = c->rest.length < OUT_BYTES ? c->rest.length : OUT_BYTES;
		memcpy(c->out, c->rest.bytes, length);
		c->rest = (struct str){c->rest.bytes + length, c->rest.length - length};
		c->length = length;
	} else if (c->document && !c->chunked) {
		c->length = metrics_text_write(&c->text, c->out, OUT_BYTES);
		c->document = c->length > 0;
	} else if (c->document) {
		char size[CHUNK_ROOM + 1];
		size_t length = metrics_text_write(&c->text, c->out + CHUNK_ROOM,
						   OUT_BYTES - CHUNK_ROOM - 2);
		snprintf(size, sizeof(size), "%06zx\r\n", length);
		memcpy(c->out, size, CHUNK_ROOM);
		memcpy(c->out + CHUNK_ROOM + length, "\r\n", 2);
		c->length = CHUNK_ROOM + length + 2; /* the last one is empty */
		c->document = length > 0;
	}
}

static void client_write(struct client *c)
{
	for (;;) {
		if (c->sent == c->length)
			client_fill(c);
		if (c->length == 0) {
			client_linger(c);
			return;
		}
		ssize_t sent = send(c->fd, c->out + c->sent, c->length - c->sent, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN && errno != EINTR)
				client_close(c);
			return;
		}
		c->sent += (size_t)sent;
	}
}

static void client_drop(struct client *c)
{
	ssize_t got = recv(c->fd, c->in, sizeof(c->in), 0);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		client_close(c);
}

/* -- all of them -------------------------------------------------------------------- */

/* A free slot, at the cost of who has had one for longest. */
static struct client *slot_take(void)
{
	struct client *oldest = NULL;

	for (int i = 0; i < ADMIN_CLIENTS; i++) {
		struct client *c = &admin.client[i];
		if (c->state == FREE)
			return c;
		if (!oldest || c->since_ns < oldest->since_ns)
			oldest = c;
	}
	client_close(oldest);
	return oldest;
}

static void admin_accept(void)
{
	int fd = accept4(admin.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	struct client *c = slot_take();
	c->fd = fd;
	c->state = READ;
	c->since_ns = loop_now_ns();
	c->until_ns = c->since_ns + CLIENT_NS;
	c->filled = c->sent = c->length = 0;
	c->rest = STR("");
	c->document = false;
	parse_head_init(&c->head, c->fields, PARSE_FIELDS_MAX, IN_BYTES - 1, false);
}

static void client_event(struct client *c)
{
	switch (c->state) {
	case FREE: return;
	case READ:
		client_read(c);
		if (c->state == WRITE)
			client_write(c);
		return;
	case WRITE: client_write(c); return;
	case LINGER: client_drop(c); return;
	}
}

static void *admin_main(void *ignored)
{
	(void)ignored;
	for (;;) {
		struct pollfd fds[ADMIN_CLIENTS + 1];
		uint64_t now_ns = loop_now_ns();
		bool any = false;
		for (int i = 0; i < ADMIN_CLIENTS; i++) {
			struct client *c = &admin.client[i];
			if (c->state != FREE && now_ns >= c->until_ns)
				client_close(c);
			any |= c->state != FREE;
			fds[i] =
				(struct pollfd){.fd = c->state == FREE ? -1 : c->fd,
						.events = c->state == WRITE ? POLLOUT : POLLIN};
		}
		fds[ADMIN_CLIENTS] = (struct pollfd){.fd = admin.listen_fd, .events = POLLIN};
		if (poll(fds, ADMIN_CLIENTS + 1, any ? 500 : -1) < 0)
			continue;
		for (int i = 0; i < ADMIN_CLIENTS; i++)
			if (fds[i].revents)
				client_event(&admin.client[i]);
		if (fds[ADMIN_CLIENTS].revents)
			admin_accept();
	}
	return NULL;
}

int admin_start(int listen_fd, struct err *err)
{
	unsigned char *piece = region_admin(&core.region);
	pthread_attr_t attributes;

	admin.listen_fd = listen_fd;
	admin.client = (struct client *)(piece + STACK_BYTES);
	metrics_text_open();
	pthread_attr_init(&attributes);
#ifndef __SANITIZE_THREAD__ /* its thread-local storage alone is larger */
	pthread_attr_setstack(&attributes, piece, STACK_BYTES);
#endif
	errno = pthread_create(&admin.thread, &attributes, admin_main, NULL);
	pthread_attr_destroy(&attributes);
	return errno == 0 ? 0 : err_errno(err, "can't start the admin address's thread");
}
