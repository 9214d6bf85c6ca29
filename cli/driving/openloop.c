/* SPDX-License-Identifier: MIT */
#include "cli/driving/openloop.h"
#include "cli/driving/answer.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	HEAD_BYTES_MAX = 33 << 10, /* a target of 32 KiB and our own few fields */
	READ_BYTES = 256 << 10,
	EVENTS = 256,
	NONE = -1,
	TIMER = UINT32_MAX,
	SWEEP_NS = 20 * 1000 * 1000,
	PROGRESS_NS = 500 * 1000 * 1000,
};

struct channel {
	int fd; /* -1: closed */
	enum { CHANNEL_CLOSED, CHANNEL_CONNECTING, CHANNEL_BUSY, CHANNEL_IDLE } state;
	bool reused;       /* has answered before */
	bool wants_out;    /* EPOLLOUT is asked for */
	int32_t request;   /* in flight, or NONE */
	int32_t next_idle; /* the stack of idle, or of closed, channels */
	size_t sent;       /* bytes of head and body written */
	size_t head_bytes;
	char *head; /* HEAD_BYTES_MAX, from the first use on */
	struct answer answer;
};

struct openloop {
	const struct openloop_server *server;
	const struct openloop_options *options;
	const struct load_request *requests;
	struct openloop_result *results;
	struct openloop_stats *stats;
	size_t count, next, finished;
	size_t oldest; /* all before it are finished: where the sweep begins */
	int64_t start_ns;
	int epoll_fd, timer_fd;
	struct channel *channel;
	int32_t idle, closed; /* heads of the two stacks */
	uint32_t open, used;
	int32_t *line; /* requests waiting for a connection: a ring of `count` */
	size_t line_head, line_tail;
	char *scratch;
};

const char *openloop_outcome_name(enum openloop_outcome outcome)
{
	static const char *const name[OPENLOOP_OUTCOMES] = {
		"unsent", "answered", "refused", "closed", "timeout", "garbled",
	};
	return name[outcome];
}

/* -- where to ------------------------------------------------------------- */

int openloop_resolve(const char *url, struct openloop_server *server, struct str *path,
		     struct err *err)
{
	struct str rest = str_of(url), host, tail, port;
	char host_text[200], port_text[8];
	if (!str_starts(rest, STR("http://")))
		return err_usage(err, "'%s' is no http:// address", url);
	rest = (struct str){rest.bytes + 7, rest.length - 7};
	size_t slash = strcspn(rest.bytes, "/");
	tail = (struct str){rest.bytes + slash, rest.length - slash};
	host = (struct str){rest.bytes, slash};
	struct str authority = host;
	if (host.length > 0 && host.bytes[0] == '[') {
		struct str inner = {host.bytes + 1, host.length - 1}, after;
		if (!str_cut(inner, ']', &host, &after) ||
		    (after.length > 0 && after.bytes[0] != ':'))
			return err_usage(err, "'%s' has a broken [address]", url);
		port = after.length > 0 ? (struct str){after.bytes + 1, after.length - 1}
					: STR("80");
	} else if (!str_cut(authority, ':', &host, &port)) {
		port = STR("80");
	}
	if (host.length == 0 || host.length >= sizeof host_text || port.length == 0 ||
	    port.length >= sizeof port_text)
		return err_usage(err, "'%s' is no http://host:port address", url);
	snprintf(host_text, sizeof host_text, "%.*s", STR_ARG(host));
	snprintf(port_text, sizeof port_text, "%.*s", STR_ARG(port));
	snprintf(server->host, sizeof server->host, "%.*s", STR_ARG(authority));

	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV},
			*found;
	int code = getaddrinfo(host_text, port_text, &hints, &found);
	if (code != 0)
		return err_set(err, "cannot find '%s': %s", server->host, gai_strerror(code));
	memcpy(&server->address, found->ai_addr, found->ai_addrlen);
	server->address_length = found->ai_addrlen;
	freeaddrinfo(found);
	if (path != NULL)
		*path = tail.length > 0 ? tail : STR("/");
	return 0;
}

void openloop_hurry(void)
{
	enum { NICE = -10 };
	errno = 0;
	int now = getpriority(PRIO_PROCESS, 0);
	if (errno == 0 && now > NICE)
		setpriority(PRIO_PROCESS, 0, NICE);
}

/* -- channels -------------------------------------------------------------- */

static int64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t since_start(const struct openloop *o)
{
	return clock_ns() - o->start_ns;
}

static void channel_push(struct openloop *o, int32_t *stack, struct channel *c)
{
	c->next_idle = *stack;
	*stack = (int32_t)(c - o->channel);
}

static struct channel *channel_pop(struct openloop *o, int32_t *stack)
{
	struct channel *c = &o->channel[*stack];
	*stack = c->next_idle;
	return c;
}

/* An idle channel that the server closed lies somewhere in the stack. */
static void idle_remove(struct openloop *o, struct channel *c)
{
	int32_t *link = &o->idle;
	while (*link != c - o->channel) {
		assert(*link != NONE);
		link = &o->channel[*link].next_idle;
	}
	*link = c->next_idle;
}

static void channel_close(struct openloop *o, struct channel *c)
{
	assert(c->fd != -1 && c->request == NONE);
	close(c->fd);
	c->fd = -1;
	c->state = CHANNEL_CLOSED;
	o->open--;
	channel_push(o, &o->closed, c);
}

static void channel_watch(struct openloop *o, struct channel *c, int op, bool out)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (out ? EPOLLOUT : 0),
				    .data.u32 = (uint32_t)(c - o->channel)};
	c->wants_out = out;
	epoll_ctl(o->epoll_fd, op, c->fd, &event);
}

/* A fresh connection on its way. NULL: none to be had. */
static struct channel *channel_open(struct openloop *o)
{
	int fd = socket(o->server->address.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return NULL;
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, (const struct sockaddr *)&o->server->address,
		    o->server->address_length) == -1 &&
	    errno != EINPROGRESS) {
		close(fd);
		return NULL;
	}
	struct channel *c =
		o->closed != NONE ? channel_pop(o, &o->closed) : &o->channel[o->used++];
	if (c->head == NULL && (c->head = malloc(HEAD_BYTES_MAX)) == NULL) {
		close(fd);
		channel_push(o, &o->closed, c);
		return NULL;
	}
	c->fd = fd;
	c->state = CHANNEL_CONNECTING;
	c->reused = false;
	c->request = NONE;
	channel_watch(o, c, EPOLL_CTL_ADD, true);
	o->stats->connections_opened++;
	if (++o->open > o->stats->connections_peak)
		o->stats->connections_peak = o->open;
	return c;
}

/* -- one request ------------------------------------------------------------ */

static void request_finish(struct openloop *o, int32_t index, enum openloop_outcome outcome,
			   const struct answer *answer)
{
	struct openloop_result *result = &o->results[index];
	assert(result->outcome == OPENLOOP_UNSENT);
	result->outcome = (uint8_t)outcome;
	result->done_ns = since_start(o);
	if (answer != NULL) {
		result->bytes = answer->bytes;
		result->status = (uint16_t)answer->status;
	}
	o->finished++;
}

static void request_start(struct openloop *o, int32_t index);

/* The channel has nothing to do: the first in line gets it. */
static void channel_rest(struct openloop *o, struct channel *c)
{
	c->state = CHANNEL_IDLE;
	c->reused = true;
	channel_push(o, &o->idle, c);
	if (c->wants_out)
		channel_watch(o, c, EPOLL_CTL_MOD, false);
}

static void line_serve(struct openloop *o)
{
	while (o->line_head != o->line_tail &&
	       (o->idle != NONE || o->open < o->options->connections_max)) {
		int32_t index = o->line[o->line_head++ % o->count];
		if (o->results[index].outcome == OPENLOOP_UNSENT)
			request_start(o, index);
	}
}

/* The channel broke or answered nonsense while a request was on it. */
static void channel_fail(struct openloop *o, struct channel *c, enum openloop_outcome outcome)
{
	int32_t index = c->request;
	bool again = c->reused && c->answer.bytes == 0 && outcome == OPENLOOP_CLOSED;
	c->request = NONE;
	channel_close(o, c);
	if (index == NONE)
		return;
	struct channel *fresh = again ? channel_open(o) : NULL;
	if (fresh == NULL) {
		request_finish(o, index, outcome, NULL);
		return;
	}
	o->stats->resent++;
	fresh->request = index;
	fresh->head_bytes = c->head_bytes;
	fresh->sent = 0;
	if (fresh != c)
		memcpy(fresh->head, c->head, c->head_bytes);
	answer_clear(&fresh->answer, c->answer.no_body);
}

/* Writes what the socket takes. -1: it broke. */
static int channel_send(struct openloop *o, struct channel *c)
{
	const struct load_request *r = &o->requests[c->request];
	size_t total = c->head_bytes + r->body.length;
	while (c->sent < total) {
		size_t head_left = c->sent < c->head_bytes ? c->head_bytes - c->sent : 0;
		size_t body_at = c->sent > c->head_bytes ? c->sent - c->head_bytes : 0;
		struct iovec piece[2] = {
			{c->head + c->sent, head_left},
			{(char *)(uintptr_t)r->body.bytes + body_at, r->body.length - body_at},
		};
		if (head_left == 0)
			piece[0] = (struct iovec){0};
		struct msghdr message = {.msg_iov = piece, .msg_iovlen = 2};
		ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno != EAGAIN)
			return -1;
		if (n == -1)
			break;
		c->sent += (size_t)n;
	}
	bool out = c->sent < total;
	if (out != c->wants_out)
		channel_watch(o, c, EPOLL_CTL_MOD, out);
	return 0;
}

/* A server may answer and close before it has read a whole body; then writing
 * fails while an answer lies ready, so reading decides. */
static void channel_begin(struct openloop *o, struct channel *c)
{
	c->state = CHANNEL_BUSY;
	if (channel_send(o, c) == -1)
		c->sent = c->head_bytes + o->requests[c->request].body.length;
}

static size_t head_write(const struct openloop *o, const struct load_request *r, char *head)
{
	int n = snprintf(head, HEAD_BYTES_MAX, "%.*s %.*s HTTP/1.1\r\nHost: %s\r\n",
			 STR_ARG(r->method), STR_ARG(r->target), o->server->host);
	assert(n > 0 && n < HEAD_BYTES_MAX - 128);
	bool has_body = r->body.length > 0 || str_equal(r->method, STR("POST")) ||
			str_equal(r->method, STR("PUT"));
	if (has_body)
		n += snprintf(head + n, 128, "Content-Length: %zu\r\n", r->body.length);
	memcpy(head + n, "\r\n", 2);
	return (size_t)n + 2;
}

/* Its time has come, or a connection for it. */
static void request_start(struct openloop *o, int32_t index)
{
	const struct load_request *r = &o->requests[index];
	struct channel *c;
	if (o->idle != NONE) {
		c = channel_pop(o, &o->idle);
	} else if (o->open < o->options->connections_max) {
		c = channel_open(o);
	} else {
		o->line[o->line_tail++ % o->count] = index;
		o->stats->waited++;
		return;
	}
	o->results[index].sent_ns = since_start(o);
	if (c == NULL) {
		request_finish(o, index, OPENLOOP_REFUSED, NULL);
		return;
	}
	c->request = index;
	c->head_bytes = head_write(o, r, c->head);
	c->sent = 0;
	answer_clear(&c->answer, str_equal(r->method, STR("HEAD")));
	if (c->state == CHANNEL_IDLE)
		channel_begin(o, c);
}

/* -- what epoll says --------------------------------------------------------- */

/* All that can be read; true while the channel is still good. */
static bool channel_read(struct openloop *o, struct channel *c)
{
	for (;;) {
		ssize_t n = recv(c->fd, o->scratch, READ_BYTES, 0);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			if (c->request != NONE && n == 0 && answer_ended(&c->answer)) {
				request_finish(o, c->request, OPENLOOP_ANSWERED, &c->answer);
				c->request = NONE;
			}
			channel_fail(o, c, OPENLOOP_CLOSED);
			return false;
		}
		size_t taken = answer_feed(&c->answer, o->scratch, (size_t)n);
		if (c->answer.state == ANSWER_BAD || taken < (size_t)n) {
			/* garbage, or bytes that no request asked for */
			channel_fail(o, c, OPENLOOP_GARBLED);
			return false;
		}
		if (c->answer.state != ANSWER_DONE)
			continue;
		bool keep = c->answer.keep_alive &&
			    c->sent == c->head_bytes + o->requests[c->request].body.length;
		request_finish(o, c->request, OPENLOOP_ANSWERED, &c->answer);
		c->request = NONE;
		if (!keep) {
			channel_close(o, c);
			return false;
		}
		channel_rest(o, c);
		return true;
	}
}

static void channel_event(struct openloop *o, struct channel *c, uint32_t events)
{
	if (c->state == CHANNEL_CLOSED)
		return; /* closed earlier in this batch */
	if (c->state == CHANNEL_IDLE) {
		/* whatever comes unasked ends an idle connection */
		idle_remove(o, c);
		channel_close(o, c);
		return;
	}
	if (c->state == CHANNEL_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		int error = 0;
		socklen_t length = sizeof error;
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error != 0) {
			channel_fail(o, c, OPENLOOP_REFUSED);
			return;
		}
		channel_begin(o, c);
	} else if (c->state == CHANNEL_BUSY && (events & EPOLLOUT)) {
		channel_begin(o, c);
	}
	if (c->state == CHANNEL_BUSY && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		channel_read(o, c);
}

/* Ends what is overdue. Requests finish almost in order, so the scan starts at
 * the oldest that is not. */
static void sweep(struct openloop *o, int64_t now_ns)
{
	while (o->oldest < o->next && o->results[o->oldest].outcome != OPENLOOP_UNSENT)
		o->oldest++;
	if (o->oldest == o->next ||
	    now_ns - o->requests[o->oldest].at_ns < o->options->timeout_ns)
		return;
	for (uint32_t i = 0; i < o->used; i++) {
		struct channel *c = &o->channel[i];
		if (c->fd == -1 || c->request == NONE ||
		    now_ns - o->requests[c->request].at_ns < o->options->timeout_ns)
			continue;
		int32_t index = c->request;
		c->request = NONE;
		channel_close(o, c);
		request_finish(o, index, OPENLOOP_TIMEOUT, NULL);
	}
	while (o->line_head != o->line_tail) {
		int32_t index = o->line[o->line_head % o->count];
		if (o->results[index].outcome == OPENLOOP_UNSENT) {
			if (now_ns - o->requests[index].at_ns < o->options->timeout_ns)
				break;
			request_finish(o, index, OPENLOOP_TIMEOUT, NULL);
		}
		o->line_head++;
	}
}

/* -- the run ------------------------------------------------------------------ */

static void timer_set(struct openloop *o, int64_t at_ns)
{
	int64_t when = o->start_ns + at_ns;
	struct itimerspec spec = {
		.it_value = {when / 1000000000, when % 1000000000},
	};
	timerfd_settime(o->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void turn(struct openloop *o)
{
	struct epoll_event event[EVENTS];
	int n = epoll_wait(o->epoll_fd, event, EVENTS, SWEEP_NS / 1000000);
	for (int i = 0; i < n; i++) {
		if (event[i].data.u32 == TIMER) {
			uint64_t expired;
			if (read(o->timer_fd, &expired, sizeof expired) == -1)
				continue; /* re-armed meanwhile */
		} else {
			channel_event(o, &o->channel[event[i].data.u32], event[i].events);
		}
	}
}

static void run(struct openloop *o)
{
	int64_t sweep_at = SWEEP_NS, progress_at = PROGRESS_NS;
	while (o->finished < o->count) {
		if (o->options->stop != NULL && *o->options->stop) {
			o->stats->stopped = true;
			return;
		}
		int64_t now = since_start(o);
		bool sent = false;
		while (o->next < o->count && o->requests[o->next].at_ns <= now) {
			request_start(o, (int32_t)o->next++);
			sent = true;
			now = since_start(o);
		}
		if (o->next < o->count && (sent || now <= 0))
			timer_set(o, o->requests[o->next].at_ns);
		turn(o);
		line_serve(o);
		now = since_start(o);
		if (now >= sweep_at) {
			sweep(o, now);
			sweep_at = now + SWEEP_NS;
		}
		if (o->options->progress != NULL && now >= progress_at) {
			o->options->progress(o->options->progress_arg, o->next, now);
			progress_at = now + PROGRESS_NS;
		}
	}
}

static int set_up(struct openloop *o, struct err *err)
{
	o->channel = calloc(o->options->connections_max, sizeof *o->channel);
	o->line = calloc(o->count, sizeof *o->line);
	o->scratch = malloc(READ_BYTES);
	o->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	o->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (o->channel == NULL || o->line == NULL || o->scratch == NULL)
		return err_set(err, "out of memory for %zu requests", o->count);
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER};
	if (o->epoll_fd == -1 || o->timer_fd == -1 ||
	    epoll_ctl(o->epoll_fd, EPOLL_CTL_ADD, o->timer_fd, &event) == -1)
		return err_errno(err, "cannot set up epoll and its timer");
	for (uint32_t i = 0; i < o->options->connections_max; i++)
		o->channel[i].fd = -1;
	return 0;
}

static void tear_down(struct openloop *o)
{
	for (uint32_t i = 0; o->channel != NULL && i < o->used; i++) {
		if (o->channel[i].fd != -1)
			close(o->channel[i].fd);
		free(o->channel[i].head);
	}
	if (o->epoll_fd != -1)
		close(o->epoll_fd);
	if (o->timer_fd != -1)
		close(o->timer_fd);
	free(o->channel);
	free(o->line);
	free(o->scratch);
}

int openloop_run(const struct openloop_server *server, const struct load_request *requests,
		 size_t count, const struct openloop_options *options,
		 struct openloop_result *results, struct openloop_stats *stats, struct err *err)
{
	assert(options->connections_max > 0 && options->timeout_ns > 0 && count < INT32_MAX);
	struct openloop o = {
		.server = server,
		.options = options,
		.requests = requests,
		.results = results,
		.stats = stats,
		.count = count,
		.idle = NONE,
		.closed = NONE,
	};
	*stats = (struct openloop_stats){0};
	for (size_t i = 0; i < count; i++) {
		assert(i == 0 || requests[i].at_ns >= requests[i - 1].at_ns);
		results[i] =
			(struct openloop_result){.due_ns = requests[i].at_ns, .sent_ns = -1};
	}
	int result = count > 0 ? set_up(&o, err) : 0;
	if (result == 0 && count > 0) {
		o.start_ns = clock_ns() + 1000000;
		timer_set(&o, requests[0].at_ns);
		run(&o);
		stats->took_ns = since_start(&o);
	}
	if (count > 0)
		tear_down(&o);
	return result;
}
