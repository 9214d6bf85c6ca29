/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/attribute.h"

#include "libtrace/attribution/turn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* -- waits --------------------------------------------------------------- */

static void on_wait_begin(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	if (turn_request(a, t->marked))
		return;
	enum event_wait kind = (enum event_wait)e->flags;
	struct request *r = t->open ? NULL : turn_request(a, t->owner);
	bool running = r && r->state == REQUEST_RUNNING;
	if (e->a == 0 && kind != WAIT_SLEEP) { /* rule 7 */
		if (!t->open && (r || turn_connection(a, t->owner)))
			turn_open(t, t->owner);
		return;
	}
	if (kind == WAIT_COND)
		handoff_wait(a, t, e);
	if (running && !(kind == WAIT_COND && t->cond == e->value) &&
	    ((kind != WAIT_EPOLL && e->value <= 2) || kind == WAIT_COND || kind == WAIT_SLEEP))
		return; /* rule 8: it waits for itself */
	if (kind == WAIT_SLEEP && t->open)
		return;
	if (kind == WAIT_POLL || kind == WAIT_SELECT)
		t->crowd |= e->value > 1;
	if (t->ahead && t->open && kind == WAIT_POLL && e->value == 1)
		return; /* for the request that it has made ready for */
	turn_boundary(a, t);
	t->waited = true;
	t->polls |= kind == WAIT_EPOLL || kind == WAIT_POLL || kind == WAIT_SELECT;
}

/* Whether epoll named a connection: not only new ones to be accepted. */
static bool for_connections(struct thread *t, const struct ring_event *e)
{
	for (size_t at = 0; at + 8 <= e->payload.length; at += 8) {
		uint64_t data;
		memcpy(&data, e->payload.bytes + at, 8);
		int fd = fds_epoll_find(&t->process->fds, (int)e->value, data);
		const struct fd_entry *entry = fd >= 0 ? fds_entry(&t->process->fds, fd) : NULL;
		if (entry && (entry->kind == FD_CONNECTION || entry->kind == FD_OUTBOUND))
			return true;
	}
	return false;
}

static void on_wait_end(struct thread *t, const struct ring_event *e)
{
	t->woke_ns = e->time_ns;
	if (t->open)
		t->open_cpu_ns = t->waiting_cpu_ns; /* waiting is for nobody */
	if (e->flags != WAIT_EPOLL || e->a <= 0)
		return;
	t->listens = t->listens || for_connections(t, e);
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

/* A worker has answered and gives the connection back to the thread that listens: it is
 * done with the request, and what it does next, before it waits for work where we may
 * not see it, is for another. (A thread that listens itself is still at it.) */
static void give_back(struct attribute *a, struct thread *t, int fd)
{
	struct fd_entry *entry = fds_entry(&t->process->fds, fd);
	struct connection *c =
		entry && entry->kind == FD_CONNECTION ? turn_connection(a, entry->owner) : NULL;
	struct request *r = c ? turn_request(a, c->extra->current) : NULL;

	if (t->listens || turn_request(a, t->marked) || !r || r->state == REQUEST_RUNNING ||
	    turn_response_open(c) || !ref_equal(t->owner, r->self))
		return;
	turn_boundary(a, t);
}

static void on_epoll_ctl(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	int op = (int)(e->a >> 32), fd = (int)(uint32_t)e->a;
	if (op != EPOLL_CTL_DEL)
		give_back(a, t, fd);
	if (op == EPOLL_CTL_DEL)
		fds_epoll_remove(&t->process->fds, (int)e->value, fd);
	else
		fds_epoll_set(&t->process->fds, (int)e->value, fd, e->b);
}

/* -- processes and threads ----------------------------------------------- */

/* Stands for every thread that has ended. */
static struct thread gone;

static void end_thread(struct attribute *a, struct thread *t, int64_t time_ns)
{
	if (t->io.active)
		wire_finish_io(a, t, t->io.total);
	turn_boundary(a, t);
	struct trace_thread row = {
		.id = t->serial,
		.process = t->process->serial,
		.tid = t->tid,
		.start_ns = t->start_ns,
		.end_ns = time_ns,
	};
	a->sink.thread(a->sink.context, &row);
	ledger_segment_remove(&a->ledger, &t->segment);
	t->process->threads--;
	a->thread[t->serial] = &gone;
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
	wire_drop_fds(a, &p->snapshot[at].fds, time_ns, "close");
	p->snapshot[at] = p->snapshot[--p->snapshots];
}

/* Stands for every process that has ended. */
static struct process ended = {.ended = true};

/* `how` its unanswered requests ended. */
static void end_process(struct attribute *a, struct process *p, int64_t time_ns,
			const char *how)
{
	if (p->ended)
		return;
	for (uint32_t i = p->thread_first; p->threads > 0; i++)
		if (a->thread[i] && a->thread[i] != &gone && a->thread[i]->process == p)
			end_thread(a, a->thread[i], time_ns);
	while (p->snapshots > 0)
		drop_snapshot(a, p, p->snapshots - 1, time_ns);
	wire_drop_fds(a, &p->fds, time_ns, how);
	while (p->active_first != 0) { /* marks without a connection */
		struct request *r = a->ledger.request[p->active_first - 1];
		r->last_ns = time_ns;
		turn_end_request(a, r, turn_how_it_ended(r, how));
	}
	handoff_release(p);
	ledger_live_end(&a->ledger, &p->live);
	p->end_ns = time_ns;
	put_process(a, p);
	a->process[p->serial] = &ended;
	free(p);
}

/* Room in a table by serial; false when memory runs out. */
static bool room_for(struct attribute *a, void *table, uint32_t *room, uint32_t serial)
{
	void **old, **new;
	memcpy(&old, table, sizeof(old));
	if (serial < *room)
		return true;
	/* Serials come out of memory that the program can overwrite: one that no
	 * recording can reach is not believed, and its event is dropped. */
	enum { SERIALS_MAX = 1 << 24 };
	if (serial >= SERIALS_MAX)
		return false;
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
	if (e->process >= a->process_room &&
	    !room_for(a, &a->process, &a->process_room, e->process))
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
	if (e->thread >= a->thread_room && !room_for(a, &a->thread, &a->thread_room, e->thread))
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
	if (p->threads++ == 0 || t->serial < p->thread_first)
		p->thread_first = t->serial;
	ledger_segment_add(&a->ledger, t->serial, &t->segment);
	return a->thread[e->thread] = t;
}

/* Whether p is what exec made of the other. Where pids do not tell, as there are
 * several of one number, it must have said that it would. */
static bool replaces(const struct process *p, const struct process *other, bool forked)
{
	if (p == other || other->ended || other->pid != p->pid)
		return false;
	return p->pid != 0 || (!forked && other->execs && other->inner_pid == p->inner_pid);
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
	p->inner_pid = (pid_t)e->value;
	for (uint32_t i = 0; i < a->process_room; i++)
		if (a->process[i] && replaces(p, a->process[i], e->flags & EVENT_FORKED))
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
					       ? turn_connection(a, s->fds.entry[i].owner)
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
	struct request *r = turn_request(a, t->owner);
	if (r)
		r->incomplete = true;
}

/* -- allocations --------------------------------------------------------- */

static void on_realloc_end(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	struct block old = t->moving;
	t->moving = (struct block){0};
	if (e->value != 0) {
		ledger_realloc(&a->ledger, &p->live, turn_worker(a, t), t->serial, &old,
			       e->value, e->size_bytes, e->time_ns);
	} else {
		ledger_put_back(&a->ledger, &p->live, &old);
		if (e->flags & EVENT_REALLOC_FREED)
			ledger_free(&a->ledger, &p->live, turn_worker(a, t), t->serial,
				    old.address, e->time_ns);
	}
}

static bool on_memory(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct process *p = t->process;
	a->ledger.site = e->stack;
	switch (e->kind) {
	case EVENT_ALLOC:
		if (e->value != 0)
			ledger_alloc(&a->ledger, &p->live, turn_worker(a, t), t->serial,
				     e->value, e->size_bytes, e->align_log2, e->time_ns);
		break;
	case EVENT_FREE:
		handoff_freed(a, t, e->value);
		ledger_free(&a->ledger, &p->live, turn_worker(a, t), t->serial, e->value,
			    e->time_ns);
		break;
	case EVENT_REALLOC_BEGIN:
		handoff_freed(a, t, e->value);
		ledger_take(&p->live, e->value, &t->moving);
		break;
	case EVENT_REALLOC_END: on_realloc_end(a, t, e); break;
	default: return false;
	}
	turn_absorb(a, p);
	return true;
}

/* -- the door ------------------------------------------------------------ */

static void note_stack(struct attribute *a, struct thread *t, uint64_t stack_low)
{
	if (stack_low == 0 || stack_low > t->stack_top)
		return;
	struct request *r = turn_request(a, t->marked);
	if (!r)
		r = turn_request(a, t->owner);
	uint64_t depth = t->stack_top - stack_low;
	if (r && depth > r->stack_peak_bytes)
		r->stack_peak_bytes = depth;
}

/* Destructors of a thread that has ended work for nobody. */
static void late_memory(struct attribute *a, struct process *p, const struct ring_event *e)
{
	a->ledger.site = e->stack;
	if (e->kind == EVENT_FREE || e->kind == EVENT_REALLOC_BEGIN)
		ledger_free(&a->ledger, &p->live, nobody, e->thread, e->value, e->time_ns);
	if ((e->kind == EVENT_ALLOC || e->kind == EVENT_REALLOC_END) && e->value != 0)
		ledger_alloc(&a->ledger, &p->live, nobody, e->thread, e->value, e->size_bytes,
			     e->align_log2, e->time_ns);
	turn_absorb(a, p);
}

void attribute_event(struct attribute *a, const struct ring_event *e)
{
	a->totals.events++;
	a->now_ns = e->time_ns;
	struct process *p = process_of(a, e);
	if (!p || p->ended)
		return;
	struct thread *t = thread_of(a, p, e);
	if (!t)
		return;
	if (t == &gone) {
		late_memory(a, p, e);
		return;
	}
	if (e->kind == EVENT_CPU) { /* of what was before the event behind it */
		turn_cpu(a, t, e->a);
		return;
	}
	if (t->io.active && e->kind != EVENT_MORE)
		wire_finish_io(a, t,
			       e->kind == EVENT_WRITE_RESULT && e->value == t->io.fd
				       ? e->a
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
	case EVENT_EXEC_BEGIN: p->execs = true; break;
	case EVENT_EXEC_FAILED: p->execs = false; break;
	case EVENT_FORK_BEGIN: on_fork_begin(a, p, e); break;
	case EVENT_FORK_END: on_fork_end(a, p, e); break;
	case EVENT_ACCEPT: wire_accept(a, t, e); break;
	case EVENT_CONNECT: wire_connect(a, t, e); break;
	case EVENT_DUP: wire_dup(a, t, e); break;
	case EVENT_CLOSE: wire_close(a, t, (int64_t)e->value, e->time_ns); break;
	case EVENT_READ:
	case EVENT_WRITE: wire_io(a, t, e); break;
	case EVENT_MORE: wire_more(a, t, e); break;
	case EVENT_EPOLL_CTL: on_epoll_ctl(a, t, e); break;
	case EVENT_WAIT_BEGIN:
		on_wait_begin(a, t, e);
		t->waiting_cpu_ns = t->open_cpu_ns;
		break;
	case EVENT_WAIT_END: on_wait_end(t, e); break;
	case EVENT_MARK_BEGIN: mark_begin(a, t, e); break;
	case EVENT_MARK_END: mark_end(a, t, e); break;
	case EVENT_COND_SIGNAL: handoff_signal(a, t, e); break;
	case EVENT_LOCK:
	case EVENT_UNLOCK: handoff_lock(a, t, e); break;
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
	a->redact = REDACT_NONE;
	a->sink = *sink;
	ledger_init(&a->ledger);
	route_namer_init(&a->routes);
	return a;
}

void attribute_redact(struct attribute *a, enum redact redact)
{
	a->redact = redact;
}

void attribute_sites(struct attribute *a, struct sites *sites)
{
	a->ledger.sites = sites;
}

void attribute_gap(struct attribute *a)
{
	for (uint32_t i = 0; i < a->ledger.request_count; i++)
		if (a->ledger.request[i]->used)
			a->ledger.request[i]->incomplete = true;
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
		if (a->thread[i] && a->thread[i] != &gone) {
			ledger_segment_remove(&a->ledger, &a->thread[i]->segment);
			free(a->thread[i]->closing);
			free(a->thread[i]);
		}
	for (uint32_t i = 0; i < a->process_room; i++)
		if (a->process[i] && a->process[i] != &ended) {
			while (a->process[i]->snapshots > 0)
				fds_release(&a->process[i]
						     ->snapshot[--a->process[i]->snapshots]
						     .fds);
			fds_release(&a->process[i]->fds);
			handoff_release(a->process[i]);
			live_release(&a->process[i]->live);
			free(a->process[i]);
		}
	for (uint32_t i = 0; i < a->ledger.connection_count; i++)
		if (a->ledger.connection[i]->used)
			turn_extra_free(a->ledger.connection[i]->extra);
	free(a->process);
	free(a->thread);
	route_namer_release(&a->routes);
	ledger_release(&a->ledger);
	free(a);
}
