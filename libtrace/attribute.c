/* SPDX-License-Identifier: MIT */
#include "libtrace/attribute.h"

#include "libtrace/fds.h"
#include "libtrace/http.h"
#include "libtrace/ledger.h"
#include "libtrace/route.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
	UNIT_REQUESTS_MAX = 256, /* that one unit touched; more are judged early */
	PIPELINE_MAX = 1024,
	SNAPSHOTS_MAX = 64, /* tables on their way to children of one process */
	PENDING_BYTES = 8192,
};

enum protocol {
	PROTOCOL_UNKNOWN,
	PROTOCOL_HTTP,
	PROTOCOL_MESSAGE,
	PROTOCOL_TLS,
	PROTOCOL_NONE
};

static const struct ref nobody = {OWNER_NONE, 0, 0};

struct connection_extra {
	enum protocol protocol;
	struct ref current; /* the request that is answered next, or was last */
	struct ref newest;  /* whose head is being read */
	struct ref queue[PIPELINE_MAX];
	uint32_t queued;
	bool plain_seen; /* TLS events tell its plain text */
	struct http_scan in, out;
};

/* A write that waits for its result, or a read for its last hole. */
struct pending_io {
	bool active, write, tls;
	struct ref connection;
	int64_t time_ns, total;
	uint64_t fd, covered; /* read: bytes fed so far */
	uint32_t used, pieces;
	unsigned char bytes[PENDING_BYTES]; /* write: pieces as in the payload */
};

struct thread {
	uint32_t serial;
	struct process *process;
	pid_t tid;
	int64_t start_ns;
	uint64_t stack_top;
	/* For whom it works: `owner`, or, while `open`, whoever the segment
	 * turns out to belong to; `owner` is then the one to fall back on. */
	struct ref owner;
	bool open;
	struct segment segment;
	struct ref marked; /* rule 15 */
	struct ref named;  /* rule 10: a connection or request */
	bool waited;       /* this unit began with a wait */
	bool several;      /* its wait returned several events */
	bool serves;       /* has touched a request */
	bool polls;        /* waits for descriptors: gets its work there, not by hand */
	struct ref unit[UNIT_REQUESTS_MAX];
	uint32_t unit_count;
	struct ref *closing; /* connections closed in this unit */
	uint32_t closing_count, closing_room;
	struct block moving; /* between REALLOC_BEGIN and REALLOC_END */
	struct pending_io io;
};

struct snapshot {
	uint32_t token;
	struct fds fds;
};

struct process {
	uint32_t serial;
	pid_t pid;
	uint32_t parent;
	int64_t start_ns, end_ns;
	bool ended, served;
	char command[64];
	struct fds fds;
	struct live live;
	uint32_t active_first, active_count; /* requests in flight: index + 1 */
	struct snapshot snapshot[SNAPSHOTS_MAX];
	uint32_t snapshots;
};

struct attribute {
	enum attribute_split split;
	struct attribute_sink sink;
	struct ledger ledger;
	struct route_namer routes;
	struct process **process; /* by serial */
	struct thread **thread;
	uint32_t process_room, thread_room;
	int64_t connections;
	struct attribute_totals totals;
};

/* -- small things -------------------------------------------------------- */

static struct request *request_of(struct attribute *a, struct ref ref)
{
	return ledger_request(&a->ledger, ref);
}

static struct connection *connection_of(struct attribute *a, struct ref ref)
{
	return ledger_connection(&a->ledger, ref);
}

/* What the ledger could give to nobody is unattributed if the process serves. */
static void absorb(struct attribute *a, const struct process *p)
{
	struct ledger *l = &a->ledger;
	if (l->none_allocations == 0)
		return;
	*(p->served ? &a->totals.unattributed_allocations : &a->totals.startup_allocations) +=
		l->none_allocations;
	*(p->served ? &a->totals.unattributed_bytes : &a->totals.startup_bytes) +=
		l->none_bytes;
	l->none_allocations = l->none_bytes = 0;
}

static void doubt(struct request *r, enum trace_confidence confidence)
{
	if (!r->marked && r->confidence < confidence)
		r->confidence = confidence;
}

static void activate(struct attribute *a, struct process *p, struct request *r)
{
	r->active = true;
	r->active_previous = 0;
	r->active_next = p->active_first;
	if (p->active_first)
		a->ledger.request[p->active_first - 1]->active_previous = r->self.index + 1;
	p->active_first = r->self.index + 1;
	p->active_count++;
}

static void deactivate(struct attribute *a, struct request *r)
{
	if (!r->active)
		return;
	struct process *p = a->process[r->process];
	if (r->active_previous)
		a->ledger.request[r->active_previous - 1]->active_next = r->active_next;
	else
		p->active_first = r->active_next;
	if (r->active_next)
		a->ledger.request[r->active_next - 1]->active_previous = r->active_previous;
	p->active_count--;
	r->active = false;
}

/* -- requests begin and end ---------------------------------------------- */

static struct str route_of(struct attribute *a, const struct request *r,
			   char text[ROUTE_BYTES_MAX])
{
	if (r->label_bytes > 0)
		return (struct str){r->label, r->label_bytes};
	if (r->method_bytes == 0)
		return STR("(unknown)");
	return route_name(&a->routes, (struct str){r->method, r->method_bytes},
			  (struct str){r->target, r->target_bytes}, text);
}

static void end_request(struct attribute *a, struct request *r, const char *how)
{
	deactivate(a, r);
	if (!r->judged)
		request_judge(r);
	char text[ROUTE_BYTES_MAX];
	int64_t end = r->last_write_ns > 0 ? r->last_write_ns : r->last_ns;
	struct trace_request row = {
		.process = r->process,
		.connection = r->connection_id,
		.sequence = r->sequence,
		.start_ns = r->start_ns,
		.end_ns = end > r->start_ns ? end : r->start_ns,
		.cpu_ns = -1,
		.method = {r->method, r->method_bytes},
		.target = {r->target, r->target_bytes},
		.route = route_of(a, r, text),
		.status = r->status,
		.bytes_in = r->bytes_in,
		.bytes_out = r->bytes_out,
		.allocations = r->allocations,
		.frees = r->frees,
		.reallocations = r->reallocations,
		.escapes = r->escapes,
		.escaped_bytes = r->escaped_bytes,
		.foreign_frees = r->foreign_frees,
		.stack_peak_bytes = (int64_t)r->stack_peak_bytes,
		.confidence = r->confidence,
		.ended_by = str_of(how),
		.incomplete = r->incomplete,
	};
	a->totals.requests++;
	a->totals.by_confidence[r->confidence]++;
	a->totals.incomplete += r->incomplete;
	a->sink.request(a->sink.context, &row, r->ops, r->op_count);
	ledger_request_free(&a->ledger, r);
}

static const char *how_it_ended(const struct request *r, const char *otherwise)
{
	return r->state == REQUEST_RUNNING ? otherwise : "response";
}

static struct request *begin_request(struct attribute *a, struct process *p,
				     struct connection *c, int64_t time_ns)
{
	struct request *r = ledger_request_new(&a->ledger);
	if (!r)
		return NULL;
	r->process = p->serial;
	r->start_ns = r->last_ns = time_ns;
	if (c) {
		r->connection = c->self;
		r->connection_id = c->id;
		r->sequence = ++c->requests;
	}
	p->served = true;
	activate(a, p, r);
	return r;
}

/* -- for whom a thread works --------------------------------------------- */

static void settle(struct attribute *a, struct thread *t, struct ref owner)
{
	ledger_settle(&a->ledger, &t->process->live, &t->segment, owner);
	absorb(a, t->process);
}

/* From here on it is open whose the thread's allocations are; `fallback` has
 * them if nothing better turns up. */
static void open_segment(struct thread *t, struct ref fallback)
{
	assert(t->segment.count == 0);
	t->open = true;
	t->owner = fallback;
}

static void work_for(struct thread *t, struct ref owner)
{
	assert(t->segment.count == 0);
	t->open = false;
	t->owner = owner;
}

/* Who gets what is allocated now: maybe the segment. */
static struct ref worker(struct attribute *a, struct thread *t)
{
	if (request_of(a, t->marked))
		return t->marked;
	if (!t->open && !request_of(a, t->owner) && !connection_of(a, t->owner))
		open_segment(t, nobody);
	if (!t->open)
		return t->owner;
	if (segment_full(&t->segment))
		settle(a, t, t->owner);
	return t->segment.self;
}

static void judge_unit(struct attribute *a, struct thread *t);

static bool in_unit(const struct thread *t, struct ref ref)
{
	for (uint32_t i = t->unit_count; i-- > 0;)
		if (ref_equal(t->unit[i], ref))
			return true;
	return false;
}

static void add_to_unit(struct attribute *a, struct thread *t, struct ref ref)
{
	if (in_unit(t, ref))
		return;
	if (t->unit_count == UNIT_REQUESTS_MAX)
		judge_unit(a, t); /* before it is over: a very long unit */
	t->unit[t->unit_count++] = ref;
}

/* Rules 4 to 7: the thread does something for r. */
static void touch(struct attribute *a, struct thread *t, struct request *r, bool write)
{
	t->serves = true;
	if (request_of(a, t->marked)) {
		add_to_unit(a, t, r->self);
		return;
	}
	/* A thread that blocks in read itself, or waits where we cannot see it:
	 * that it reads for another says that its unit is over. */
	bool another = !t->polls && !write && !in_unit(t, r->self);
	if (t->several)
		doubt(r, TRACE_INFERRED);
	struct request *before = request_of(a, t->owner);
	if (t->open) {
		bool back = before && before != r && write;
		if (back)
			doubt(r, TRACE_INFERRED);
		settle(a, t, !before || back ? r->self : before->self);
	} else if (before && before != r && before->state == REQUEST_RUNNING && write &&
		   t->waited) {
		/* What lies between may have been for either. */
		doubt(before, TRACE_AMBIGUOUS);
		doubt(r, TRACE_AMBIGUOUS);
	}
	work_for(t, r->self);
	if (another)
		judge_unit(a, t);
	add_to_unit(a, t, r->self);
}

static bool response_open(const struct connection *c)
{
	return c && (c->extra->out.state == HTTP_BODY || c->extra->out.state == HTTP_FIELDS);
}

static void end_connection(struct attribute *a, struct connection *c)
{
	struct trace_connection row = {
		.id = c->id,
		.process = c->process,
		.fd = c->fd,
		.start_ns = c->start_ns,
		.end_ns = c->end_ns,
		.requests = c->requests,
		.bytes_in = c->bytes_in,
		.bytes_out = c->bytes_out,
		.allocations = c->allocations,
		.frees = c->frees,
		.requested_bytes = c->requested_bytes,
		.live_peak_bytes = c->live_peak_bytes,
	};
	a->sink.connection(a->sink.context, &row);
	free(c->extra);
	c->extra = NULL;
	ledger_connection_free(&a->ledger, c);
}

/* A unit is over: those it touched are judged (rule 13). */
static void judge_unit(struct attribute *a, struct thread *t)
{
	for (uint32_t i = 0; i < t->unit_count; i++) {
		struct request *r = request_of(a, t->unit[i]);
		if (!r)
			continue;
		if (r->detached) {
			end_request(a, r, how_it_ended(r, "close"));
			continue;
		}
		struct connection *c = connection_of(a, r->connection);
		if (r->state == REQUEST_RUNNING ||
		    (r->state == REQUEST_RESPONDED && response_open(c)))
			continue;
		request_judge(r);
		deactivate(a, r);
	}
	t->unit_count = 0;
	for (uint32_t i = 0; i < t->closing_count; i++) {
		struct connection *c = connection_of(a, t->closing[i]);
		if (c)
			end_connection(a, c);
	}
	t->closing_count = 0;
}

/* Rule 12, or an honest "we do not know". */
static struct ref unowned(struct attribute *a, struct thread *t)
{
	struct process *p = t->process;
	struct connection *c = connection_of(a, t->named);
	struct request *r = request_of(a, c ? c->extra->current : t->named);
	if (r && r->active)
		return r->self;
	if (c)
		return c->self;
	if (!t->serves || !t->waited || t->segment.count == 0)
		return nobody;
	if (p->active_count == 1) {
		r = a->ledger.request[p->active_first - 1];
		doubt(r, TRACE_INFERRED);
		return r->self;
	}
	for (uint32_t i = p->active_first; i != 0;) {
		doubt(a->ledger.request[i - 1], TRACE_AMBIGUOUS);
		i = a->ledger.request[i - 1]->active_next;
	}
	return nobody;
}

/* Closes the segment, if one is open, in favour of who it falls to. */
static void settle_fallback(struct attribute *a, struct thread *t)
{
	if (!t->open)
		return;
	if (request_of(a, t->owner) || connection_of(a, t->owner))
		settle(a, t, t->owner);
	else
		settle(a, t, unowned(a, t));
}

/* The end of a unit (rule 5). */
static void boundary(struct attribute *a, struct thread *t)
{
	settle_fallback(a, t);
	judge_unit(a, t);
	t->named = nobody;
	t->several = false;
	open_segment(t, nobody);
}

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
		struct request *r = request_of(a, i == 0 ? x->current : x->queue[i - 1]);
		if (!r || r->detached)
			continue;
		r->last_ns = time_ns;
		if (!t || i > 0) {
			end_request(a, r, how_it_ended(r, how));
			continue;
		}
		r->detached = true;
		deactivate(a, r);
		add_to_unit(a, t, r->self);
		if (ref_equal(t->owner, r->self)) {
			/* What it frees from here on is still counted; what it
			 * allocates is not for a client that is gone. */
			if (t->open)
				settle(a, t, r->self);
			open_segment(t, nobody);
		}
	}
	x->queued = 0;
	if (!t || (t->closing_count == t->closing_room)) {
		uint32_t room = t && t->closing_room > 0 ? t->closing_room * 2 : 16;
		struct ref *grown = t ? reallocarray(t->closing, room, sizeof(*grown)) : NULL;
		if (!grown) {
			end_connection(a, c);
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
		entry->kind == FD_CONNECTION ? connection_of(a, entry->owner) : NULL;
	*entry = (struct fd_entry){FD_UNKNOWN, nobody};
	if (c && --c->references == 0)
		close_connection(a, t, c, time_ns, how);
}

static void drop_fds(struct attribute *a, struct fds *fds, int64_t time_ns, const char *how)
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

static void set_label(struct request *r, struct str label)
{
	r->label_bytes =
		(uint16_t)(label.length < sizeof(r->label) ? label.length : sizeof(r->label));
	memcpy(r->label, label.bytes, r->label_bytes);
}

/* A request begins on a connection (rule 3). */
static void request_arrives(struct attribute *a, struct thread *t, struct connection *c,
			    int64_t time_ns)
{
	struct connection_extra *x = c->extra;
	struct request *old = request_of(a, x->current);
	if (old && old->state != REQUEST_RUNNING) {
		/* Before the new one may be credited with the old one's end. */
		if (t->open && ref_equal(t->owner, old->self)) {
			settle(a, t, old->self);
			open_segment(t, nobody);
		}
		end_request(a, old, "response");
		old = NULL;
	}
	struct request *r = begin_request(a, t->process, c, time_ns);
	if (!r)
		return;
	x->newest = r->self;
	if (!old)
		x->current = r->self;
	else if (x->queued < PIPELINE_MAX)
		x->queue[x->queued++] = r->self;
	else
		end_request(a, r, "next-request");
}

static void http_in(struct attribute *a, struct thread *t, struct connection *c,
		    const struct http_event *event, int64_t time_ns)
{
	struct request *r;
	switch (event->kind) {
	case HTTP_BEGIN: request_arrives(a, t, c, time_ns); break;
	case HTTP_HEAD:
		r = request_of(a, c->extra->newest);
		if (r)
			set_target(r, event->method, event->target);
		if (str_equal(event->method, STR("PRI")))
			a->totals.http2_connections++;
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
	} while (event.kind != HTTP_NONE);
}

/* Other protocols: the first bytes after the last answer. */
static void message_in(struct attribute *a, struct thread *t, struct connection *c,
		       struct str bytes, int64_t time_ns)
{
	struct request *r = request_of(a, c->extra->current);
	if (r && r->state == REQUEST_RUNNING)
		return;
	request_arrives(a, t, c, time_ns);
	r = request_of(a, c->extra->current);
	struct str command = http_resp_command(bytes);
	if (r)
		set_label(r, command.length > 0 ? command : STR("message"));
	if (r && command.length > 0)
		for (size_t i = 0; i < r->label_bytes; i++)
			if (r->label[i] >= 'a' && r->label[i] <= 'z')
				r->label[i] = (char)(r->label[i] - 'a' + 'A');
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
	struct http_event event;
	if (offset > t->io.covered) {
		http_scan_skip(&x->in, offset - t->io.covered, &event);
		http_in(a, t, c, &event, t->io.time_ns);
	}
	if (x->protocol == PROTOCOL_UNKNOWN ||
	    (x->protocol == PROTOCOL_TLS && t->io.tls && !x->plain_seen)) {
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
	struct request *r = request_of(a, c->extra->current);
	if (r) {
		r->last_ns = time_ns;
		touch(a, t, r, write);
	} else if (!request_of(a, t->marked)) {
		settle_fallback(a, t);
		work_for(t, c->self);
	}
}

static void connection_read(struct attribute *a, struct thread *t, struct connection *c,
			    const struct ring_event *e)
{
	struct request *current = request_of(a, c->extra->current);
	if (e->a < 0 && (e->a == -EAGAIN || e->a == -EINTR)) {
		if (t->open && t->owner.kind == OWNER_NONE)
			t->named = c->self;
		return;
	}
	if (e->a <= 0) { /* the client is gone, or has said all */
		if (current && current->state == REQUEST_RUNNING) {
			touch(a, t, current, false);
		} else if (!request_of(a, t->marked)) {
			settle_fallback(a, t);
			work_for(t, c->self);
		}
		return;
	}
	if (e->flags & EVENT_PEEK) {
		if (current)
			touch(a, t, current, false);
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
	pieces_in(a, t, c, e);
	current = request_of(a, c->extra->current);
	c->bytes_in += t->io.tls == c->extra->plain_seen ? e->a : 0;
	if (current && t->io.tls == c->extra->plain_seen)
		current->bytes_in += e->a;
	touch_current(a, t, c, false, e->time_ns);
}

/* -- what is written ----------------------------------------------------- */

static void answered(struct attribute *a, struct thread *t, struct connection *c)
{
	struct connection_extra *x = c->extra;
	struct request *r = request_of(a, x->current);
	if (r && r->state == REQUEST_RESPONDED)
		r->state = REQUEST_DONE;
	if (!r || r->state != REQUEST_DONE || x->queued == 0)
		return;
	r->detached = true; /* ends at the thread's boundary */
	add_to_unit(a, t, r->self);
	x->current = x->queue[0];
	memmove(x->queue, x->queue + 1, --x->queued * sizeof(*x->queue));
}

static void http_out(struct attribute *a, struct thread *t, struct connection *c,
		     const struct http_event *event)
{
	struct request *r = request_of(a, c->extra->current);
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
		struct request *r = request_of(a, c->extra->current);
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

static void finish_write(struct attribute *a, struct thread *t, struct connection *c,
			 int64_t written)
{
	if (written <= 0 || c->extra->plain_seen != t->io.tls)
		return;
	struct request *r = request_of(a, c->extra->current);
	c->bytes_out += written;
	if (r) {
		r->bytes_out += written;
		r->last_write_ns = t->io.time_ns;
	}
	if (c->extra->protocol == PROTOCOL_HTTP)
		scan_written(a, t, c, (uint64_t)written);
	else if (r && c->extra->protocol == PROTOCOL_MESSAGE)
		r->state = REQUEST_RESPONDED;
	/* Rule 6: it has said what it had to say, so what follows may already
	 * be for another. */
	if (r && !t->open && ref_equal(t->owner, r->self) && r->state != REQUEST_RUNNING &&
	    !(r->state == REQUEST_RESPONDED && response_open(c)))
		open_segment(t, r->self);
}

/* The event after a READ or WRITE and its MOREs has come. */
static void finish_io(struct attribute *a, struct thread *t, int64_t result)
{
	struct connection *c = connection_of(a, t->io.connection);
	t->io.active = false;
	if (!c || !c->extra)
		return;
	if (t->io.write) {
		finish_write(a, t, c, result);
	} else if (c->extra->plain_seen == t->io.tls && (uint64_t)t->io.total > t->io.covered) {
		struct http_event event;
		http_scan_skip(&c->extra->in, (uint64_t)t->io.total - t->io.covered, &event);
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
	hold_pieces(t, e);
}

/* -- events of descriptors ----------------------------------------------- */

/* Rule 9. */
static void outbound_io(struct attribute *a, struct thread *t, struct fd_entry *entry,
			bool write, int64_t time_ns)
{
	struct request *owner = request_of(a, entry->owner);
	struct request *mine = t->open ? NULL : request_of(a, t->owner);
	struct request *marked = request_of(a, t->marked);
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
	touch(a, t, owner, write);
}

static void on_io(struct attribute *a, struct thread *t, const struct ring_event *e)
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
		entry->kind == FD_CONNECTION ? connection_of(a, entry->owner) : NULL;
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
	if (write)
		connection_write(a, t, c, e);
	else
		connection_read(a, t, c, e);
}

static void on_accept(struct attribute *a, struct thread *t, const struct ring_event *e)
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
	if (!request_of(a, t->marked)) {
		/* Rule 14; what came before in this unit prepared for it. */
		if (t->open && t->owner.kind == OWNER_NONE && t->waited)
			settle(a, t, c->self);
		else if (t->open && t->owner.kind == OWNER_NONE)
			settle(a, t, nobody);
		else
			settle_fallback(a, t);
		judge_unit(a, t);
		work_for(t, c->self);
	}
	if (a->split == SPLIT_CONNECTION) {
		request_arrives(a, t, c, e->time_ns);
		struct request *r = request_of(a, c->extra->current);
		if (r) {
			set_label(r, STR("connection"));
			touch(a, t, r, false);
		}
	}
}

static void on_close(struct attribute *a, struct thread *t, int64_t fd, int64_t time_ns)
{
	struct fd_entry *entry = fds_entry(&t->process->fds, fd);
	if (!entry)
		return;
	fds_epoll_remove(&t->process->fds, -1, (int)fd);
	drop_entry(a, t, entry, time_ns, "close");
}

static void on_dup(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	if ((int64_t)e->value == e->a)
		return;
	on_close(a, t, (int64_t)e->value, e->time_ns);
	struct fd_entry *to = fds_entry(&t->process->fds, (int64_t)e->value);
	struct fd_entry *from = fds_entry(&t->process->fds, e->a);
	to = fds_entry(&t->process->fds, (int64_t)e->value); /* the table may have moved */
	if (!to || !from)
		return;
	*to = *from;
	struct connection *c =
		from->kind == FD_CONNECTION ? connection_of(a, from->owner) : NULL;
	if (c)
		c->references++;
}

static void on_connect(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct fd_entry *entry = fds_entry(&t->process->fds, (int64_t)e->value);
	if (!entry || (e->a != 0 && e->a != -EINPROGRESS))
		return;
	drop_entry(a, t, entry, e->time_ns, "close");
	struct request *r = request_of(a, t->marked);
	if (!r && !t->open)
		r = request_of(a, t->owner);
	*entry = (struct fd_entry){FD_OUTBOUND, r ? r->self : nobody};
}

/* -- waits --------------------------------------------------------------- */

static void on_wait_begin(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	if (request_of(a, t->marked))
		return;
	enum event_wait kind = (enum event_wait)e->flags;
	struct request *r = t->open ? NULL : request_of(a, t->owner);
	bool running = r && r->state == REQUEST_RUNNING;
	if (e->a == 0 && kind != WAIT_SLEEP) { /* rule 7 */
		if (!t->open && (r || connection_of(a, t->owner)))
			open_segment(t, t->owner);
		return;
	}
	if (running &&
	    ((kind != WAIT_EPOLL && e->value <= 2) || kind == WAIT_COND || kind == WAIT_SLEEP))
		return; /* rule 8: it waits for itself */
	if (kind == WAIT_SLEEP && t->open)
		return;
	boundary(a, t);
	t->waited = true;
	t->polls |= kind == WAIT_EPOLL || kind == WAIT_POLL || kind == WAIT_SELECT;
}

static void on_wait_end(struct thread *t, const struct ring_event *e)
{
	if (e->flags != WAIT_EPOLL || e->a <= 0)
		return;
	if (e->a > 1) {
		t->several = true;
		return;
	}
	if (e->payload.length < 8 || !t->open)
		return;
	uint64_t data;
	memcpy(&data, e->payload.bytes, 8);
	int fd = fds_epoll_find(&t->process->fds, (int)e->value, data);
	struct fd_entry *entry = fd >= 0 ? fds_entry(&t->process->fds, fd) : NULL;
	if (entry && (entry->kind == FD_CONNECTION || entry->kind == FD_OUTBOUND))
		t->named = entry->owner;
}

static void on_epoll_ctl(struct thread *t, const struct ring_event *e)
{
	int op = (int)(e->a >> 32), fd = (int)(uint32_t)e->a;
	if (op == EPOLL_CTL_DEL)
		fds_epoll_remove(&t->process->fds, (int)e->value, fd);
	else
		fds_epoll_set(&t->process->fds, (int)e->value, fd, e->b);
}

/* -- marks --------------------------------------------------------------- */

static struct request *find_mark(struct attribute *a, struct process *p, uint64_t id)
{
	for (uint32_t i = p->active_first; i != 0; i = a->ledger.request[i - 1]->active_next)
		if (a->ledger.request[i - 1]->marked && a->ledger.request[i - 1]->mark == id)
			return a->ledger.request[i - 1];
	return NULL;
}

static void on_mark_begin(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	struct request *r = find_mark(a, p, e->b);
	if (!r) {
		struct fd_entry *entry =
			e->value > 0 ? fds_entry(&p->fds, (int64_t)e->value - 1) : NULL;
		struct connection *c = entry && entry->kind == FD_CONNECTION
					       ? connection_of(a, entry->owner)
					       : NULL;
		r = c ? request_of(a, c->extra->current) : NULL;
		if (!r || r->state != REQUEST_RUNNING || r->marked)
			r = begin_request(a, p, NULL, e->time_ns);
		if (!r)
			return;
		r->marked = true;
		r->mark = e->b;
		r->confidence = TRACE_EXACT;
	}
	if (e->payload.length > 0)
		set_label(r, e->payload);
	settle_fallback(a, t);
	t->marked = r->self;
	t->serves = true;
	work_for(t, r->self);
}

static void on_mark_end(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct request *r = find_mark(a, t->process, e->b);
	struct request *mine = request_of(a, t->marked);
	if (!r || r == mine) {
		t->marked = nobody;
		if (!t->open)
			open_segment(t, nobody);
	}
	if (!r)
		return;
	r->last_ns = e->time_ns;
	if (!connection_of(a, r->connection)) {
		r->state = REQUEST_DONE;
		end_request(a, r, "response");
	}
}

/* -- processes and threads ----------------------------------------------- */

static void end_thread(struct attribute *a, struct thread *t, int64_t time_ns)
{
	if (t->io.active)
		finish_io(a, t, t->io.total);
	boundary(a, t);
	struct trace_thread row = {
		.id = t->serial,
		.process = t->process->serial,
		.tid = t->tid,
		.start_ns = t->start_ns,
		.end_ns = time_ns,
	};
	a->sink.thread(a->sink.context, &row);
	ledger_segment_remove(&a->ledger, &t->segment);
	a->thread[t->serial] = NULL;
	free(t->closing);
	free(t);
}

static void put_process(struct attribute *a, const struct process *p)
{
	struct trace_process row = {
		.id = p->serial,
		.pid = p->pid,
		.parent = p->parent,
		.start_ns = p->start_ns,
		.end_ns = p->end_ns,
		.command = str_of(p->command),
	};
	a->sink.process(a->sink.context, &row);
}

static void drop_snapshot(struct attribute *a, struct process *p, uint32_t at, int64_t time_ns)
{
	drop_fds(a, &p->snapshot[at].fds, time_ns, "close");
	p->snapshot[at] = p->snapshot[--p->snapshots];
}

/* `how` its unanswered requests ended. */
static void end_process(struct attribute *a, struct process *p, int64_t time_ns,
			const char *how)
{
	if (p->ended)
		return;
	for (uint32_t i = 0; i < a->thread_room; i++)
		if (a->thread[i] && a->thread[i]->process == p)
			end_thread(a, a->thread[i], time_ns);
	while (p->snapshots > 0)
		drop_snapshot(a, p, p->snapshots - 1, time_ns);
	drop_fds(a, &p->fds, time_ns, how);
	while (p->active_first != 0) { /* marks without a connection */
		struct request *r = a->ledger.request[p->active_first - 1];
		r->last_ns = time_ns;
		end_request(a, r, how_it_ended(r, how));
	}
	live_release(&p->live);
	p->end_ns = time_ns;
	p->ended = true;
	put_process(a, p);
}

/* Room in a table by serial; false when memory runs out. */
static bool room_for(struct attribute *a, void *table, uint32_t *room, uint32_t serial)
{
	void **old, **new;
	memcpy(&old, table, sizeof(old));
	if (serial < *room)
		return true;
	uint32_t grown = *room > 0 ? *room : 64;
	while (grown <= serial)
		grown *= 2;
	new = reallocarray(old, grown, sizeof(*new));
	if (!new) {
		a->ledger.failed = true;
		return false;
	}
	memset(new + *room, 0, (grown - *room) * sizeof(*new));
	memcpy(table, &new, sizeof(new));
	*room = grown;
	return true;
}

static struct process *process_of(struct attribute *a, const struct ring_event *e)
{
	if (!room_for(a, &a->process, &a->process_room, e->process))
		return NULL;
	struct process *p = a->process[e->process];
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p) {
		a->ledger.failed = true;
		return NULL;
	}
	p->serial = e->process;
	p->pid = e->pid;
	p->start_ns = e->time_ns;
	p->end_ns = -1;
	return a->process[e->process] = p;
}

static struct thread *thread_of(struct attribute *a, struct process *p,
				const struct ring_event *e)
{
	if (!room_for(a, &a->thread, &a->thread_room, e->thread))
		return NULL;
	struct thread *t = a->thread[e->thread];
	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t) {
		a->ledger.failed = true;
		return NULL;
	}
	t->serial = e->thread;
	t->process = p;
	t->tid = e->tid;
	t->start_ns = e->time_ns;
	t->open = true;
	ledger_segment_add(&a->ledger, t->serial, &t->segment);
	return a->thread[e->thread] = t;
}

static void on_process_start(struct attribute *a, struct process *p, const struct ring_event *e)
{
	uint32_t parent = (uint32_t)(e->b >> 32), token = (uint32_t)e->b;
	p->parent = parent;
	size_t length = e->payload.length < sizeof(p->command) - 1 ? e->payload.length
								   : sizeof(p->command) - 1;
	if (length > 0)
		memcpy(p->command, e->payload.bytes, length);
	p->command[length] = '\0';
	for (uint32_t i = 0; i < a->process_room; i++) /* an image that exec replaced */
		if (a->process[i] && a->process[i] != p && !a->process[i]->ended &&
		    a->process[i]->pid == p->pid)
			end_process(a, a->process[i], e->time_ns, "close");
	struct process *from = parent < a->process_room ? a->process[parent] : NULL;
	if ((e->flags & EVENT_FORKED) && from)
		for (uint32_t i = 0; i < from->snapshots; i++)
			if (from->snapshot[i].token == token) {
				fds_release(&p->fds);
				p->fds = from->snapshot[i].fds;
				from->snapshot[i] = from->snapshot[--from->snapshots];
				break;
			}
	put_process(a, p);
}

static void on_fork_begin(struct attribute *a, struct process *p, const struct ring_event *e)
{
	if (e->flags & EVENT_VFORKED)
		return;
	if (p->snapshots == SNAPSHOTS_MAX)
		drop_snapshot(a, p, 0, e->time_ns);
	struct snapshot *s = &p->snapshot[p->snapshots];
	s->token = (uint32_t)e->value;
	if (fds_copy(&s->fds, &p->fds) != 0) {
		a->ledger.failed = true;
		return;
	}
	p->snapshots++;
	for (uint32_t i = 0; i < s->fds.room; i++) {
		struct connection *c = s->fds.entry[i].kind == FD_CONNECTION
					       ? connection_of(a, s->fds.entry[i].owner)
					       : NULL;
		if (c)
			c->references++;
	}
}

static void on_fork_end(struct attribute *a, struct process *p, const struct ring_event *e)
{
	if (e->a >= 0)
		return;
	for (uint32_t i = 0; i < p->snapshots; i++)
		if (p->snapshot[i].token == (uint32_t)e->value) {
			drop_snapshot(a, p, i, e->time_ns);
			return;
		}
}

static void on_dropped(struct attribute *a, struct process *p, struct thread *t, int64_t count)
{
	a->totals.dropped_events += count;
	for (uint32_t i = p->active_first; i != 0; i = a->ledger.request[i - 1]->active_next)
		a->ledger.request[i - 1]->incomplete = true;
	struct request *r = request_of(a, t->owner);
	if (r)
		r->incomplete = true;
}

/* -- allocations --------------------------------------------------------- */

/* Rule 11, the pointer rule: a thread without a request of its own frees a
 * block that another thread allocated for a request that runs. Not for a
 * thread that waits for descriptors: it frees for its workers, too. */
static void maybe_handed_over(struct attribute *a, struct thread *t, uint64_t address)
{
	struct request *mine = request_of(a, t->owner);
	if (t->polls || request_of(a, t->marked) ||
	    (!t->open && mine && mine->state == REQUEST_RUNNING) || (t->open && mine))
		return;
	const struct block *block = ledger_find(&t->process->live, address);
	struct request *r =
		block && block->thread != t->serial ? request_of(a, block->owner) : NULL;
	if (!r || r->state != REQUEST_RUNNING)
		return;
	doubt(r, TRACE_INFERRED);
	touch(a, t, r, false);
}

static void on_realloc_end(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	struct block old = t->moving;
	t->moving = (struct block){0};
	if (e->value != 0) {
		ledger_realloc(&a->ledger, &p->live, worker(a, t), t->serial, &old, e->value,
			       e->size_bytes, e->time_ns);
	} else {
		ledger_put_back(&a->ledger, &p->live, &old);
		if (e->flags & EVENT_REALLOC_FREED)
			ledger_free(&a->ledger, &p->live, worker(a, t), t->serial, old.address,
				    e->time_ns);
	}
}

static bool on_memory(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	switch (e->kind) {
	case EVENT_ALLOC:
		if (e->value != 0)
			ledger_alloc(&a->ledger, &p->live, worker(a, t), t->serial, e->value,
				     e->size_bytes, e->align_log2, e->time_ns);
		break;
	case EVENT_FREE:
		maybe_handed_over(a, t, e->value);
		ledger_free(&a->ledger, &p->live, worker(a, t), t->serial, e->value,
			    e->time_ns);
		break;
	case EVENT_REALLOC_BEGIN:
		maybe_handed_over(a, t, e->value);
		ledger_take(&p->live, e->value, &t->moving);
		break;
	case EVENT_REALLOC_END: on_realloc_end(a, t, e); break;
	default: return false;
	}
	absorb(a, p);
	return true;
}

/* -- the door ------------------------------------------------------------ */

static void note_stack(struct attribute *a, struct thread *t, uint64_t stack_low)
{
	if (stack_low == 0 || stack_low > t->stack_top)
		return;
	struct request *r = request_of(a, t->marked);
	if (!r)
		r = request_of(a, t->owner);
	uint64_t depth = t->stack_top - stack_low;
	if (r && depth > r->stack_peak_bytes)
		r->stack_peak_bytes = depth;
}

static void on_more(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct connection *c = t->io.active ? connection_of(a, t->io.connection) : NULL;
	if (!c || t->io.fd != e->value)
		return;
	if (t->io.write)
		hold_pieces(t, e);
	else
		pieces_in(a, t, c, e);
}

void attribute_event(struct attribute *a, const struct ring_event *e)
{
	a->totals.events++;
	struct process *p = process_of(a, e);
	if (!p || p->ended)
		return;
	struct thread *t = thread_of(a, p, e);
	if (!t)
		return;
	if (t->io.active && e->kind != EVENT_MORE)
		finish_io(a, t,
			  e->kind == EVENT_WRITE_RESULT && e->value == t->io.fd ? e->a
										: t->io.total);
	if (on_memory(a, t, e))
		return;
	note_stack(a, t, e->stack_low);
	switch (e->kind) {
	case EVENT_PROCESS_START: on_process_start(a, p, e); break;
	case EVENT_PROCESS_EXIT: end_process(a, p, e->time_ns, "close"); break;
	case EVENT_THREAD_START:
		t->stack_top = (uint64_t)e->a;
		t->tid = e->tid;
		break;
	case EVENT_THREAD_EXIT: end_thread(a, t, e->time_ns); break;
	case EVENT_FORK_BEGIN: on_fork_begin(a, p, e); break;
	case EVENT_FORK_END: on_fork_end(a, p, e); break;
	case EVENT_ACCEPT: on_accept(a, t, e); break;
	case EVENT_CONNECT: on_connect(a, t, e); break;
	case EVENT_DUP: on_dup(a, t, e); break;
	case EVENT_CLOSE: on_close(a, t, (int64_t)e->value, e->time_ns); break;
	case EVENT_READ:
	case EVENT_WRITE: on_io(a, t, e); break;
	case EVENT_MORE: on_more(a, t, e); break;
	case EVENT_EPOLL_CTL: on_epoll_ctl(t, e); break;
	case EVENT_WAIT_BEGIN: on_wait_begin(a, t, e); break;
	case EVENT_WAIT_END: on_wait_end(t, e); break;
	case EVENT_MARK_BEGIN: on_mark_begin(a, t, e); break;
	case EVENT_MARK_END: on_mark_end(a, t, e); break;
	case EVENT_DROPPED: on_dropped(a, p, t, e->a); break;
	default: break;
	}
}

struct attribute *attribute_new(enum attribute_split split, const struct attribute_sink *sink)
{
	struct attribute *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->split = split;
	a->sink = *sink;
	ledger_init(&a->ledger);
	route_namer_init(&a->routes);
	return a;
}

void attribute_finish(struct attribute *a, int64_t time_ns)
{
	for (uint32_t i = 0; i < a->process_room; i++) {
		struct process *p = a->process[i];
		if (p && !p->ended)
			end_process(a, p, time_ns, "end-of-recording");
	}
}

void attribute_totals(const struct attribute *a, struct attribute_totals *totals)
{
	*totals = a->totals;
	totals->out_of_memory = a->ledger.failed;
}

void attribute_free(struct attribute *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->thread_room; i++)
		if (a->thread[i]) {
			ledger_segment_remove(&a->ledger, &a->thread[i]->segment);
			free(a->thread[i]->closing);
			free(a->thread[i]);
		}
	for (uint32_t i = 0; i < a->process_room; i++)
		if (a->process[i]) {
			while (a->process[i]->snapshots > 0)
				fds_release(&a->process[i]
						     ->snapshot[--a->process[i]->snapshots]
						     .fds);
			fds_release(&a->process[i]->fds);
			live_release(&a->process[i]->live);
			free(a->process[i]);
		}
	for (uint32_t i = 0; i < a->ledger.connection_count; i++)
		if (a->ledger.connection[i]->used)
			free(a->ledger.connection[i]->extra);
	free(a->process);
	free(a->thread);
	route_namer_release(&a->routes);
	ledger_release(&a->ledger);
	free(a);
}
