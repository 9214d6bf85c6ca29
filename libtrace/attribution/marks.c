/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/turn.h"

/* Rule 15. A mark with an id is a request of that name; one without follows
 * whatever request its connection is at; one with neither says that the thread
 * works for none, though what it worked for may go on elsewhere. */

static struct request *find_mark(struct attribute *a, struct process *p, uint64_t id)
{
	for (uint32_t i = p->active_first; i != 0; i = a->ledger.request[i - 1]->active_next)
		if (a->ledger.request[i - 1]->marked && a->ledger.request[i - 1]->mark == id)
			return a->ledger.request[i - 1];
	return NULL;
}

static struct connection *marked_connection(struct attribute *a, struct process *p,
					    const struct ring_event *e)
{
	struct fd_entry *entry =
		e->value > 0 ? fds_entry(&p->fds, (int64_t)e->value - 1) : NULL;
	return entry && entry->kind == FD_CONNECTION ? turn_connection(a, entry->owner) : NULL;
}

static void leave(struct attribute *a, struct thread *t)
{
	t->marked = nobody;
	turn_boundary(a, t);
}

/* The thread now does the work of a connection: of its request, if one is
 * unanswered; else of the first that it reads in this turn, or its own. */
static void follow(struct attribute *a, struct thread *t, struct connection *c)
{
	struct request *r = c ? turn_request(a, c->extra->current) : NULL;
	leave(a, t);
	if (!c)
		return;
	if (!r || r->state == REQUEST_DONE) {
		turn_open(t, c->self);
		return;
	}
	if (r->state == REQUEST_RESPONDED && !turn_response_open(c)) {
		/* Of no known length: this may be more of it, or the next. */
		turn_open(t, r->self);
		t->fresh = true;
		return;
	}
	r->followed = true;
	t->marked = r->self;
	t->serves = true;
	turn_work_for(t, r->self);
	turn_add(a, t, r->self);
}

void mark_begin(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	struct connection *c = marked_connection(a, p, e);
	p->marks = true;
	if (e->b == 0) {
		follow(a, t, c);
		return;
	}
	struct request *r = find_mark(a, p, e->b);
	if (!r) {
		r = c ? turn_request(a, c->extra->current) : NULL;
		if (!r || r->state != REQUEST_RUNNING || r->marked)
			r = turn_begin_request(a, p, NULL, e->time_ns);
		if (!r)
			return;
		r->marked = true;
		r->mark = e->b;
		r->confidence = TRACE_EXACT;
	}
	if (e->payload.length > 0)
		wire_set_label(r, e->payload);
	turn_settle_fallback(a, t);
	t->marked = r->self;
	t->serves = true;
	turn_work_for(t, r->self);
	turn_add(a, t, r->self);
}

void mark_end(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct request *r = find_mark(a, t->process, e->b);
	struct request *mine = turn_request(a, t->marked);
	if (!r || r == mine) {
		t->marked = nobody;
		if (!t->open)
			turn_open(t, nobody);
	}
	if (!r)
		return;
	r->last_ns = e->time_ns;
	if (!turn_connection(a, r->connection)) {
		r->state = REQUEST_DONE;
		turn_end_request(a, r, "response");
	}
}
