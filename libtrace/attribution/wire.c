/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- connections --------------------------------------------------------- */

static struct connection *new_connection(struct attribute *a, struct process *p, int fd,
					 int64_t time_ns)
{
	struct connection *c = ledger_connection_new(&a->ledger);
	if (!c)
		return NULL;
	c->extra = calloc(1, sizeof(*c->extra));
	if (!c->extra) {
		a->ledger.failed = true;
		ledger_connection_free(&a->ledger, c);
		return NULL;
	}
	c->id = ++a->connections;
	c->process = p->serial;
	c->fd = fd;
	c->start_ns = c->end_ns = time_ns;
	c->references = 1;
	http_scan_init(&c->extra->in, false);
	http_scan_init(&c->extra->out, true);
	return c;
}

/* The last fd of a connection is gone. With a thread, its requests end at the
 * thread's next boundary, so that what it frees on the way is no escape. */
static void close_connection(struct attribute *a, struct thread *t, struct connection *c,
			     int64_t time_ns, const char *how)
{
	struct connection_extra *x = c->extra;
	c->end_ns = time_ns;
	for (uint32_t i = 0; i <= x->queued; i++) {
		struct request *r = turn_request(a, i == 0 ? x->current : x->queue[i - 1]);
		if (!r || r->detached)
			continue;
		r->last_ns = time_ns;
		if (t && i == 0 && turn_leave(a, t, r))
			continue;
		if (!t || i > 0) {
			turn_end_request(a, r, turn_how_it_ended(r, how));
			continue;
		}
		r->detached = true;
		turn_deactivate(a, r);
		turn_add(a, t, r->self);
		if (ref_equal(t->owner, r->self)) {
			/* What it frees from here on is still counted; what it
			 * allocates is not for a client that is gone. */
			if (t->open)
				turn_settle(a, t, r->self);
			turn_open(t, nobody);
		}
	}
	x->queued = 0;
	if (!t || (t->closing_count == t->closing_room)) {
		uint32_t room = t && t->closing_room > 0 ? t->closing_room * 2 : 16;
		struct ref *grown = t ? reallocarray(t->closing, room, sizeof(*grown)) : NULL;
		if (!grown) {
			turn_end_connection(a, c);
			return;
		}
		t->closing = grown;
		t->closing_room = room;
	}
	t->closing[t->closing_count++] = c->self;
}

static void drop_entry(struct attribute *a, struct thread *t, struct fd_entry *entry,
		       int64_t time_ns, const char *how)
{
	struct connection *c =
		entry->kind == FD_CONNECTION ? turn_connection(a, entry->owner) : NULL;
	*entry = (struct fd_entry){FD_UNKNOWN, nobody};
	if (c && --c->references == 0)
		close_connection(a, t, c, time_ns, how);
}

void wire_drop_fds(struct attribute *a, struct fds *fds, int64_t time_ns, const char *how)
{
	for (uint32_t i = 0; i < fds->room; i++)
		drop_entry(a, NULL, &fds->entry[i], time_ns, how);
	fds_release(fds);
}

/* -- what is read -------------------------------------------------------- */

static void set_target(struct request *r, struct str method, struct str target)
{
	r->method_bytes = (uint16_t)(method.length < LEDGER_METHOD_MAX ? method.length
								       : LEDGER_METHOD_MAX);
	r->target_bytes = (uint16_t)(target.length < LEDGER_TARGET_MAX ? target.length
								       : LEDGER_TARGET_MAX);
	memcpy(r->method, method.bytes, r->method_bytes);
	memcpy(r->target, target.bytes, r->target_bytes);
}

void wire_set_label(struct request *r, struct str label)
{
	r->label_bytes =
		(uint16_t)(label.length < sizeof(r->label) ? label.length : sizeof(r->label));
	memcpy(r->label, label.bytes, r->label_bytes);
}

static bool room_in_queue(struct attribute *a, struct connection_extra *x)
{
	if (x->queued < x->queue_room)
		return true;
	if (x->queued == PIPELINE_MAX)
		return false;
	uint32_t room = x->queue_room > 0 ? x->queue_room * 2 : 16;
	struct ref *grown = reallocarray(x->queue, room, sizeof(*grown));
	if (!grown) {
		a->ledger.failed = true;
		return false;
	}
	x->queue = grown;
	x->queue_room = room;
	return true;
}

/* A request begins on a connection (rule 3). */
static void request_arrives(struct attribute *a, struct thread *t, struct connection *c,
			    int64_t time_ns)
{
	struct connection_extra *x = c->extra;
	struct request *old = turn_request(a, x->current);
	if (old && old->state != REQUEST_RUNNING) {
		/* Before the new one may be credited with the old one's end. */
		if (t->open && ref_equal(t->owner, old->self)) {
			if (!t->fresh)
				turn_settle(a, t, old->self);
			t->owner = nobody;
			t->fresh = false;
		}
		if (!turn_leave(a, t, old))
			turn_end_request(a, old, "response");
		old = NULL;
	}
	struct request *r = turn_begin_request(a, t->process, c, time_ns);
	if (!r)
		return;
	x->newest = r->self;
	if (!old)
		x->current = r->self;
	else if (room_in_queue(a, x))
		x->queue[x->queued++] = r->self;
	else
		turn_end_request(a, r, "next-request");
}

static void answered(struct attribute *a, struct thread *t, struct connection *c);

/* The preface of RFC 9113, 3.4. What came before it was HTTP/1.1 and asked for the
 * upgrade (RFC 7540, 3.2), which is its answer. */
static void http2_begins(struct attribute *a, struct thread *t, struct connection *c)
{
	struct connection_extra *x = c->extra;
	struct request *r = turn_request(a, x->newest), *old = turn_request(a, x->current);
	a->totals.http2_connections++;
	x->protocol = PROTOCOL_HTTP2;
	if (r)
		wire_set_label(r, STR("HTTP/2 connection"));
	if (!r || !old || old == r)
		return;
	old->status = 101;
	old->state = REQUEST_DONE;
	answered(a, t, c);
}

static void http_in(struct attribute *a, struct thread *t, struct connection *c,
		    const struct http_event *event, int64_t time_ns)
{
	struct request *r;
	switch (event->kind) {
	case HTTP_BEGIN: request_arrives(a, t, c, time_ns); break;
	case HTTP_HEAD:
		r = turn_request(a, c->extra->newest);
		if (r)
			set_target(r, event->method, event->target);
		if (event->target.length == 1 && str_equal(event->method, STR("PRI")) &&
		    str_equal(event->target, STR("*")))
			http2_begins(a, t, c);
		break;
	case HTTP_OTHER:
		/* It began like HTTP and was not: if nothing came before, it is
		 * another protocol. */
		if (a->split == SPLIT_AUTO && c->requests <= 1)
			c->extra->protocol = PROTOCOL_MESSAGE;
		break;
	default: break;
	}
}

static void feed_in(struct attribute *a, struct thread *t, struct connection *c,
		    struct str bytes, int64_t time_ns)
{
	struct http_event event;
	bool start = true;
	do {
		size_t took = http_scan_feed(&c->extra->in, bytes, start, &event);
		start = false;
		bytes.bytes += took;
		bytes.length -= took;
		http_in(a, t, c, &event, time_ns);
	} while (event.kind != HTTP_NONE && c->extra->protocol == PROTOCOL_HTTP);
}

/* Protocols that we do not know: the first bytes after the last answer. */
static void turn_in(struct attribute *a, struct thread *t, struct connection *c,
		    int64_t time_ns)
{
	struct request *r = turn_request(a, c->extra->current);
	if (r && r->state == REQUEST_RUNNING)
		return;
	request_arrives(a, t, c, time_ns);
	r = turn_request(a, c->extra->current);
	if (r)
		wire_set_label(r, STR("message"));
}

static void message_event(struct attribute *a, struct thread *t, struct connection *c,
			  const struct message_event *event, int64_t time_ns)
{
	struct request *r = turn_request(a, c->extra->newest);
	switch (event->kind) {
	case MESSAGE_BEGIN: request_arrives(a, t, c, time_ns); break;
	case MESSAGE_NAME:
		if (r && event->method.length > 0)
			set_target(r, event->method, event->name);
		else if (r)
			wire_set_label(r, event->name);
		for (size_t i = 0; r && i < r->label_bytes; i++)
			if (c->extra->message.protocol == MESSAGE_RESP && r->label[i] >= 'a' &&
			    r->label[i] <= 'z')
				r->label[i] = (char)(r->label[i] - 'a' + 'A');
		break;
	default: break;
	}
}

static void message_in(struct attribute *a, struct thread *t, struct connection *c,
		       struct str bytes, int64_t time_ns)
{
	struct message_scan *scan = &c->extra->message;
	struct message_event event;
	if (scan->protocol == MESSAGE_UNKNOWN)
		scan->protocol = message_recognise(bytes);
	if (scan->protocol == MESSAGE_OTHER) {
		turn_in(a, t, c, time_ns);
		return;
	}
	message_resume(scan, bytes);
	do {
		size_t took = message_feed(scan, bytes, &event);
		bytes.bytes += took;
		bytes.length -= took;
		message_event(a, t, c, &event, time_ns);
		if (event.kind == MESSAGE_LOST) /* whatever it is, it is read for somebody */
			turn_in(a, t, c, time_ns);
	} while (event.kind != MESSAGE_NONE);
}

/* Bytes that the shim did not show. */
static void hole_in(struct attribute *a, struct thread *t, struct connection *c, uint64_t count,
		    int64_t time_ns)
{
	struct http_event http;
	struct message_event message;
	if (c->extra->protocol == PROTOCOL_HTTP) {
		http_scan_skip(&c->extra->in, count, &http);
		http_in(a, t, c, &http, time_ns);
	} else if (c->extra->protocol == PROTOCOL_MESSAGE &&
		   c->extra->message.protocol > MESSAGE_OTHER) {
		message_skip(&c->extra->message, count, &message);
		message_event(a, t, c, &message, time_ns);
	}
}

static enum protocol judge_protocol(struct attribute *a, struct str bytes)
{
	if (a->split == SPLIT_MARKER || a->split == SPLIT_CONNECTION)
		return PROTOCOL_NONE;
	if (bytes.length >= 2 && bytes.bytes[0] == 0x16 && bytes.bytes[1] == 3) {
		a->totals.tls_connections++;
		return PROTOCOL_TLS;
	}
	if (a->split == SPLIT_HTTP)
		return PROTOCOL_HTTP;
	if (a->split == SPLIT_MESSAGE)
		return PROTOCOL_MESSAGE;
	return http_looks_like_request(bytes) ? PROTOCOL_HTTP : PROTOCOL_MESSAGE;
}

/* One piece of a read, at `offset` of what the call read. */
static void piece_in(struct attribute *a, struct thread *t, struct connection *c,
		     uint32_t offset, struct str bytes)
{
	struct connection_extra *x = c->extra;
	if (offset > t->io.covered)
		hole_in(a, t, c, offset - t->io.covered, t->io.time_ns);
	if (x->protocol == PROTOCOL_UNKNOWN || (t->io.tls && !x->plain_seen)) {
		if (x->protocol == PROTOCOL_TLS)
			a->totals.tls_connections--; /* it can be understood */
		x->plain_seen = t->io.tls;
		x->protocol = judge_protocol(a, bytes);
	}
	t->io.covered = offset + bytes.length;
	if (x->plain_seen != t->io.tls)
		return; /* what is on the wire below TLS */
	if (x->protocol == PROTOCOL_HTTP)
		feed_in(a, t, c, bytes, t->io.time_ns);
	if (x->protocol == PROTOCOL_MESSAGE)
		message_in(a, t, c, bytes, t->io.time_ns);
}

static void pieces_in(struct attribute *a, struct thread *t, struct connection *c,
		      const struct ring_event *e)
{
	size_t at = 0;
	uint32_t offset;
	struct str bytes;
	while (ring_piece(e, &at, &offset, &bytes))
		if (bytes.length > 0)
			piece_in(a, t, c, offset, bytes);
}

static void touch_current(struct attribute *a, struct thread *t, struct connection *c,
			  bool write, int64_t time_ns)
{
	struct request *r = turn_request(a, c->extra->current);
	if (r) {
		r->last_ns = time_ns;
		turn_touch(a, t, r, write);
	} else if (!turn_request(a, t->marked)) {
		turn_settle_fallback(a, t);
		turn_work_for(t, c->self);
	}
}

/* Bytes below TLS: whose they are shows when they come out of it, which may be
 * the next request. */
static void below_tls(struct attribute *a, struct thread *t, struct connection *c,
		      int64_t time_ns)
{
	struct request *r = turn_request(a, c->extra->current);
	if (turn_request(a, t->marked) || (r && r->state == REQUEST_RUNNING)) {
		touch_current(a, t, c, false, time_ns);
		return;
	}
	if (t->open && t->owner.kind == OWNER_NONE)
		return; /* its segment goes on */
	turn_settle_fallback(a, t);
	turn_open(t, c->self);
}

/* A thread that serves one connection at a time has answered, and looks in vain whether
 * the next request is there: what it does from here on is for that one, also if it
 * waits for it (Apache makes the request's pool and tables before it reads). */
static void ask_for_next(struct attribute *a, struct thread *t, const struct connection *c,
			 const struct request *current)
{
	if (t->listens || t->crowd || turn_request(a, t->marked) || !current ||
	    current->state == REQUEST_RUNNING || turn_response_open(c) ||
	    !ref_equal(t->owner, current->self))
		return;
	turn_boundary(a, t);
	t->ahead = true;
}

static void connection_read(struct attribute *a, struct thread *t, struct connection *c,
			    const struct ring_event *e)
{
	struct request *current = turn_request(a, c->extra->current);
	if (e->a < 0 && (e->a == -EAGAIN || e->a == -EINTR)) {
		ask_for_next(a, t, c, current);
		if (t->open && t->owner.kind == OWNER_NONE)
			t->named = c->self;
		return;
	}
	if (e->a <= 0) { /* the client is gone, or has said all */
		if (current && current->state == REQUEST_RUNNING) {
			turn_touch(a, t, current, false);
		} else if (!turn_request(a, t->marked)) {
			turn_settle_fallback(a, t);
			turn_work_for(t, c->self);
		}
		return;
	}
	if (e->flags & EVENT_PEEK) {
		if (current)
			turn_touch(a, t, current, false);
		return;
	}
	if (c->extra->plain_seen && !(e->flags & EVENT_TLS)) {
		below_tls(a, t, c, e->time_ns);
		return;
	}
	t->io.active = true;
	t->io.write = false;
	t->io.tls = (e->flags & EVENT_TLS) != 0;
	t->io.connection = c->self;
	t->io.fd = e->value;
	t->io.time_ns = e->time_ns;
	t->io.total = e->a;
	t->io.covered = 0;
	if (t->batch.kind != OWNER_NONE && t->open) /* before others join them */
		turn_settle(a, t, t->owner);
	pieces_in(a, t, c, e);
	current = turn_request(a, c->extra->current);
	c->bytes_in += t->io.tls == c->extra->plain_seen ? e->a : 0;
	if (current && t->io.tls == c->extra->plain_seen)
		current->bytes_in += e->a;
	touch_current(a, t, c, false, e->time_ns);
	if (c->extra->protocol == PROTOCOL_MESSAGE && c->extra->queued > 0 && !t->open &&
	    !turn_request(a, t->marked)) {
		turn_open(t, c->extra->current);
		t->batch = c->self;
	}
}

/* -- what is written ----------------------------------------------------- */

static void answered(struct attribute *a, struct thread *t, struct connection *c)
{
	struct connection_extra *x = c->extra;
	struct request *r = turn_request(a, x->current);
	if (r && r->state == REQUEST_RESPONDED)
		r->state = REQUEST_DONE;
	if (!r || r->state != REQUEST_DONE || x->queued == 0)
		return;
	r->detached = true; /* ends at the thread's boundary */
	turn_add(a, t, r->self);
	x->current = x->queue[0];
	memmove(x->queue, x->queue + 1, --x->queued * sizeof(*x->queue));
}

static void http_out(struct attribute *a, struct thread *t, struct connection *c,
		     const struct http_event *event)
{
	struct request *r = turn_request(a, c->extra->current);
	switch (event->kind) {
	case HTTP_BEGIN:
		/* The answer before had no length to go by: it is over. */
		if (r && r->state == REQUEST_RESPONDED)
			answered(a, t, c);
		break;
	case HTTP_HEAD:
		if (r && event->status >= 200) {
			r->state = REQUEST_RESPONDED;
			r->status = event->status;
		}
		break;
	case HTTP_END: answered(a, t, c); break;
	default: break;
	}
}

static void feed_out(struct attribute *a, struct thread *t, struct connection *c,
		     struct str bytes)
{
	struct http_scan *scan = &c->extra->out;
	struct http_event event;
	bool start = true;
	do {
		struct request *r = turn_request(a, c->extra->current);
		scan->no_body = r && r->method_bytes == 4 && memcmp(r->method, "HEAD", 4) == 0;
		size_t took = http_scan_feed(scan, bytes, start, &event);
		start = false;
		bytes.bytes += took;
		bytes.length -= took;
		http_out(a, t, c, &event);
	} while (event.kind != HTTP_NONE);
}

static void hold_pieces(struct thread *t, const struct ring_event *e)
{
	size_t at = 0;
	uint32_t offset;
	struct str bytes;
	while (ring_piece(e, &at, &offset, &bytes)) {
		uint32_t length = (uint32_t)bytes.length;
		if (t->io.used + 8 + length > PENDING_BYTES)
			return;
		memcpy(t->io.bytes + t->io.used, &offset, 4);
		memcpy(t->io.bytes + t->io.used + 4, &length, 4);
		memcpy(t->io.bytes + t->io.used + 8, bytes.bytes, length);
		t->io.used += 8 + length;
	}
}

static void scan_written(struct attribute *a, struct thread *t, struct connection *c,
			 uint64_t count)
{
	struct http_event event;
	uint64_t covered = 0;
	for (uint32_t at = 0; at < t->io.used;) {
		uint32_t offset, length;
		memcpy(&offset, t->io.bytes + at, 4);
		memcpy(&length, t->io.bytes + at + 4, 4);
		const char *bytes = (const char *)t->io.bytes + at + 8;
		at += 8 + length;
		if (offset >= count || offset < covered)
			break;
		if (offset > covered) {
			http_scan_skip(&c->extra->out, offset - covered, &event);
			http_out(a, t, c, &event);
		}
		uint64_t take = length < count - offset ? length : count - offset;
		feed_out(a, t, c, (struct str){bytes, (size_t)take});
		covered = offset + take;
	}
	if (covered < count) {
		http_scan_skip(&c->extra->out, count - covered, &event);
		http_out(a, t, c, &event);
	}
}

/* FastCGI says when an answer is over, and its status, in what it holds. */
static bool fastcgi_answered(const struct thread *t, struct request *r)
{
	static const char status[] = "Status: ";
	bool over = false;
	for (uint32_t at = 0; at < t->io.used;) {
		uint32_t offset, length;
		memcpy(&offset, t->io.bytes + at, 4);
		memcpy(&length, t->io.bytes + at + 4, 4);
		const unsigned char *b = t->io.bytes + at + 8;
		at += 8 + length;
		if (r && r->status < 0 && offset == 0 && length > 8 && b[0] == 1 && b[1] == 6) {
			r->status = 200;
			if (length >= 8 + sizeof(status) + 2 &&
			    memcmp(b + 8, status, sizeof(status) - 1) == 0)
				r->status = (b[16] - '0') * 100 + (b[17] - '0') * 10 +
					    (b[18] - '0');
		}
		if (length >= 16) {
			const unsigned char *last = b + length - 16;
			over = last[0] == 1 && last[1] == 3 && last[4] == 0 && last[5] == 8;
		}
	}
	return over;
}

/* All that was read before is answered by what is written. */
static void message_answered(struct attribute *a, struct thread *t, struct connection *c)
{
	struct connection_extra *x = c->extra;
	struct request *r = turn_request(a, x->current);
	if (x->message.protocol == MESSAGE_FASTCGI && !fastcgi_answered(t, r))
		return;
	if (x->message.protocol == MESSAGE_FASTCGI) {
		if (r)
			r->state = REQUEST_RESPONDED;
		answered(a, t, c);
		return;
	}
	for (uint32_t i = 0; i < x->queued; i++) {
		r = turn_request(a, i == 0 ? x->current : x->queue[i - 1]);
		if (!r)
			continue;
		r->state = REQUEST_DONE;
		r->last_write_ns = t->io.time_ns;
		r->detached = true; /* ends at the thread's boundary */
		turn_add(a, t, r->self);
	}
	if (x->queued > 0)
		x->current = x->queue[x->queued - 1];
	x->queued = 0;
	r = turn_request(a, x->current);
	if (!r || (x->message.protocol > MESSAGE_OTHER && !message_idle(&x->message)))
		return; /* it is still arriving */
	r->state = REQUEST_RESPONDED;
	r->last_write_ns = t->io.time_ns;
}

static void finish_write(struct attribute *a, struct thread *t, struct connection *c,
			 int64_t written)
{
	if (written <= 0 || c->extra->plain_seen != t->io.tls)
		return;
	struct request *r = turn_request(a, c->extra->current);
	c->bytes_out += written;
	if (r) {
		r->bytes_out += written;
		r->last_write_ns = t->io.time_ns;
	}
	if (c->extra->protocol == PROTOCOL_HTTP)
		scan_written(a, t, c, (uint64_t)written);
	else if (c->extra->protocol == PROTOCOL_MESSAGE)
		message_answered(a, t, c);
	/* Rule 6: it has said what it had to say, so what follows may already
	 * be for another. */
	if (r && !t->open && ref_equal(t->owner, r->self) && r->state != REQUEST_RUNNING &&
	    !(r->state == REQUEST_RESPONDED && turn_response_open(c))) {
		turn_open(t, r->self);
		r->answerer = t->serial;
	}
}

/* The event after a READ or WRITE and its MOREs has come. */
void wire_finish_io(struct attribute *a, struct thread *t, int64_t result)
{
	struct connection *c = turn_connection(a, t->io.connection);
	t->io.active = false;
	if (!c || !c->extra)
		return;
	if (t->io.write) {
		if (c->extra->writer == t->serial)
			c->extra->writer = 0;
		finish_write(a, t, c, result);
	} else if (c->extra->plain_seen == t->io.tls && (uint64_t)t->io.total > t->io.covered) {
		hole_in(a, t, c, (uint64_t)t->io.total - t->io.covered, t->io.time_ns);
	}
}

static void connection_write(struct attribute *a, struct thread *t, struct connection *c,
			     const struct ring_event *e)
{
	touch_current(a, t, c, true, e->time_ns);
	t->io.active = true;
	t->io.write = true;
	t->io.tls = (e->flags & EVENT_TLS) != 0;
	t->io.connection = c->self;
	t->io.fd = e->value;
	t->io.time_ns = e->time_ns;
	t->io.total = e->a;
	t->io.used = 0;
	if (c->extra)
		c->extra->writer = t->serial;
	hold_pieces(t, e);
}

/* What a thread has written is known whole with its next event. When another reads
 * there before, the peer has sent more, so it has had its answer. */
static void finish_other_write(struct attribute *a, const struct thread *t,
			       const struct connection *c)
{
	uint32_t writer = c->extra ? c->extra->writer : 0;
	if (writer == 0 || writer == t->serial || writer >= a->thread_room)
		return;
	struct thread *other = a->thread[writer];
	if (other && other->io.active && other->io.write &&
	    ref_equal(other->io.connection, c->self))
		wire_finish_io(a, other, other->io.total);
}

/* -- events of descriptors ----------------------------------------------- */

/* Rule 9. */
static void outbound_io(struct attribute *a, struct thread *t, struct fd_entry *entry,
			bool write, int64_t time_ns)
{
	struct request *owner = turn_request(a, entry->owner);
	struct request *mine = t->open ? NULL : turn_request(a, t->owner);
	struct request *marked = turn_request(a, t->marked);
	if (marked)
		mine = marked;
	if (owner && owner->state != REQUEST_RUNNING && write)
		owner = NULL; /* a pooled connection, free for the next */
	if (write && mine && mine->state == REQUEST_RUNNING && (!owner || !t->several))
		owner = mine;
	if (!owner)
		return;
	if (write)
		entry->owner = owner->self;
	owner->last_ns = time_ns;
	turn_touch(a, t, owner, write);
}

void wire_io(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	bool write = e->kind == EVENT_WRITE;
	if (e->flags & EVENT_DATAGRAM)
		return;
	struct fd_entry *entry = fds_entry(&p->fds, (int64_t)e->value);
	if (!entry)
		return;
	if (entry->kind == FD_OUTBOUND) {
		outbound_io(a, t, entry, write, e->time_ns);
		return;
	}
	struct connection *c =
		entry->kind == FD_CONNECTION ? turn_connection(a, entry->owner) : NULL;
	if (!c) { /* rule 2: adopt */
		size_t at = 0;
		uint32_t offset;
		struct str bytes;
		if (write || e->a <= 0 || (a->split != SPLIT_AUTO && a->split != SPLIT_HTTP) ||
		    !ring_piece(e, &at, &offset, &bytes) || bytes.length < 8 ||
		    !http_looks_like_request(bytes))
			return;
		c = new_connection(a, p, (int)e->value, e->time_ns);
		if (!c)
			return;
		*entry = (struct fd_entry){FD_CONNECTION, c->self};
	}
	if (!write && e->a > 0)
		finish_other_write(a, t, c);
	if (write)
		connection_write(a, t, c, e);
	else
		connection_read(a, t, c, e);
}

void wire_accept(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	struct fd_entry *listening = fds_entry(&p->fds, e->a);
	if (listening && listening->kind != FD_CONNECTION)
		listening->kind = FD_LISTENING;
	struct fd_entry *entry = fds_entry(&p->fds, (int64_t)e->value);
	if (!entry)
		return;
	drop_entry(a, t, entry, e->time_ns, "close");
	struct connection *c = new_connection(a, p, (int)e->value, e->time_ns);
	if (!c)
		return;
	*entry = (struct fd_entry){FD_CONNECTION, c->self};
	if (!turn_request(a, t->marked)) {
		/* Rule 14; what came before in this unit prepared for it. */
		if (t->open && t->owner.kind == OWNER_NONE && t->waited)
			turn_settle(a, t, c->self);
		else if (t->open && t->owner.kind == OWNER_NONE)
			turn_settle(a, t, nobody);
		else
			turn_settle_fallback(a, t);
		turn_judge(a, t);
		turn_work_for(t, c->self);
	}
	if (a->split == SPLIT_CONNECTION) {
		request_arrives(a, t, c, e->time_ns);
		struct request *r = turn_request(a, c->extra->current);
		if (r) {
			wire_set_label(r, STR("connection"));
			turn_touch(a, t, r, false);
		}
	}
}

void wire_close(struct attribute *a, struct thread *t, int64_t fd, int64_t time_ns)
{
	struct fd_entry *entry = fds_entry(&t->process->fds, fd);
	if (!entry)
		return;
	fds_epoll_remove(&t->process->fds, -1, (int)fd);
	drop_entry(a, t, entry, time_ns, "close");
}

void wire_dup(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	if ((int64_t)e->value == e->a)
		return;
	wire_close(a, t, (int64_t)e->value, e->time_ns);
	/* Each look can grow the table, and so move what the one before it gave. */
	fds_entry(&t->process->fds, (int64_t)e->value);
	struct fd_entry *from = fds_entry(&t->process->fds, e->a);
	struct fd_entry *to = fds_entry(&t->process->fds, (int64_t)e->value);
	if (!to || !from)
		return;
	*to = *from;
	struct connection *c =
		from->kind == FD_CONNECTION ? turn_connection(a, from->owner) : NULL;
	if (c)
		c->references++;
}

void wire_connect(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct fd_entry *entry = fds_entry(&t->process->fds, (int64_t)e->value);
	if (!entry || (e->a != 0 && e->a != -EINPROGRESS))
		return;
	drop_entry(a, t, entry, e->time_ns, "close");
	struct request *r = turn_request(a, t->marked);
	if (!r && !t->open)
		r = turn_request(a, t->owner);
	*entry = (struct fd_entry){FD_OUTBOUND, r ? r->self : nobody};
}

void wire_more(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct connection *c = t->io.active ? turn_connection(a, t->io.connection) : NULL;
	if (!c || t->io.fd != e->value)
		return;
	if (t->io.write)
		hold_pieces(t, e);
	else
		pieces_in(a, t, c, e);
}
