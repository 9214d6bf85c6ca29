/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/turn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* -- small things -------------------------------------------------------- */

/* What the ledger could give to nobody is unattributed if the process serves. */
void turn_absorb_some(struct attribute *a, const struct process *p)
{
	struct ledger *l = &a->ledger;
	*(p->served ? &a->totals.unattributed_allocations : &a->totals.startup_allocations) +=
		l->none_allocations;
	*(p->served ? &a->totals.unattributed_bytes : &a->totals.startup_bytes) +=
		l->none_bytes;
	l->none_allocations = l->none_bytes = 0;
}

void turn_doubt(struct request *r, enum trace_confidence confidence)
{
	if (!r->marked && !r->followed && r->confidence < confidence)
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

void turn_deactivate(struct attribute *a, struct request *r)
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

static struct str route_of(struct attribute *a, const struct request *r, struct str redacted,
			   char text[ROUTE_BYTES_MAX])
{
	struct str target = {r->target, r->target_bytes};
	if (r->label_bytes > 0)
		return (struct str){r->label, r->label_bytes};
	if (r->method_bytes == 0)
		return STR("(unknown)");
	return route_name(&a->routes, (struct str){r->method, r->method_bytes},
			  a->redact == REDACT_ALL ? redacted : target, text);
}

void turn_end_request(struct attribute *a, struct request *r, const char *how)
{
	turn_deactivate(a, r);
	if (!r->judged)
		request_judge(r);
	char text[ROUTE_BYTES_MAX], target_text[LEDGER_TARGET_MAX];
	bool redacted;
	struct str target = redact_target(a->redact, (struct str){r->target, r->target_bytes},
					  target_text, sizeof(target_text), &redacted);
	int64_t end = r->last_write_ns > 0 ? r->last_write_ns : r->last_ns;
	struct trace_request row = {
		.process = r->process,
		.connection = r->connection_id,
		.sequence = r->sequence,
		.start_ns = r->start_ns,
		.end_ns = end > r->start_ns ? end : r->start_ns,
		.cpu_ns = r->cpu_ns,
		.method = {r->method, r->method_bytes},
		.target = target,
		.route = route_of(a, r, target, text),
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
	a->totals.redacted += redacted;
	a->totals.by_confidence[r->confidence]++;
	a->totals.incomplete += r->incomplete;
	if (a->sink.sites && r->op_site)
		a->sink.sites(a->sink.context, &row, ref_name(r->self), r->ops, r->op_site,
			      r->op_count, r->judged_ops);
	a->sink.request(a->sink.context, &row, r->ops, r->op_count);
	ledger_request_free(&a->ledger, r);
}

const char *turn_how_it_ended(const struct request *r, const char *otherwise)
{
	return r->state == REQUEST_RUNNING ? otherwise : "response";
}

struct request *turn_begin_request(struct attribute *a, struct process *p, struct connection *c,
				   int64_t time_ns)
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

/* Raw events may say anything: a sum ends at the most that there is. */
static int64_t cpu_sum(int64_t a, int64_t b)
{
	int64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static void spend(struct request *r, int64_t cpu_ns)
{
	if (r && cpu_ns > 0)
		r->cpu_ns = cpu_sum(r->cpu_ns > 0 ? r->cpu_ns : 0, cpu_ns);
}

/* Requests that were read at once and are answered at once: nothing shows where
 * one ends and the next begins, but that each allocates about as often. */
static bool settle_batch(struct attribute *a, struct thread *t)
{
	struct connection *c = turn_connection(a, t->batch);
	struct ref refs[PIPELINE_MAX + 1];
	t->batch = nobody;
	if (!c || !ref_equal(t->owner, c->extra->current))
		return false;
	uint32_t count = turn_unanswered(a, c, refs, PIPELINE_MAX + 1);
	if (count < 2)
		return false;
	struct request *first = turn_request(a, refs[0]);
	bool alike = true;
	for (uint32_t i = 1; i < count; i++) {
		struct request *r = turn_request(a, refs[i]);
		alike = alike && r->label_bytes == first->label_bytes &&
			memcmp(r->label, first->label, r->label_bytes) == 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		turn_doubt(turn_request(a, refs[i]), alike ? TRACE_INFERRED : TRACE_AMBIGUOUS);
		spend(turn_request(a, refs[i]), t->open_cpu_ns / count);
	}
	t->open_cpu_ns = 0;
	ledger_settle_shares(&a->ledger, &t->process->live, &t->segment, refs, count);
	return true;
}

void turn_settle(struct attribute *a, struct thread *t, struct ref owner)
{
	if (t->batch.kind != OWNER_NONE && ref_equal(owner, t->owner) && settle_batch(a, t)) {
		turn_absorb(a, t->process);
		return;
	}
	t->batch = nobody;
	spend(turn_request(a, owner), t->open_cpu_ns);
	t->open_cpu_ns = 0;
	ledger_settle(&a->ledger, &t->process->live, &t->segment, owner);
	turn_absorb(a, t->process);
}

/* From here on it is open whose the thread's allocations are; `fallback` has
 * them if nothing better turns up. */
void turn_open(struct thread *t, struct ref fallback)
{
	assert(t->segment.count == 0);
	t->open = true;
	t->fresh = false;
	t->open_cpu_ns = 0;
	t->owner = fallback;
}

void turn_work_for(struct thread *t, struct ref owner)
{
	assert(t->segment.count == 0);
	t->open = t->fresh = false;
	t->owner = owner;
}

/* What turn_worker() gives, where that takes more than a look. */
struct ref turn_worker_found(struct attribute *a, struct thread *t)
{
	if (turn_request(a, t->marked))
		return t->marked;
	if (!t->open && !turn_request(a, t->owner) && !turn_connection(a, t->owner))
		turn_open(t, nobody);
	if (!t->open)
		return t->owner;
	if (segment_full(&t->segment))
		turn_settle(a, t, t->owner);
	return t->segment.self;
}

/* What a turn that is open took goes where its allocations go. */
void turn_cpu(struct attribute *a, struct thread *t, int64_t cpu_ns)
{
	int64_t spent = cpu_ns - t->cpu_ns;
	t->cpu_ns = cpu_ns;
	struct ref worker = turn_worker(a, t);
	if (spent > 0 && worker.kind == OWNER_SEGMENT)
		t->open_cpu_ns = cpu_sum(t->open_cpu_ns, spent);
	else
		spend(turn_request(a, worker), spent);
}

static bool in_unit(const struct thread *t, struct ref ref)
{
	for (uint32_t i = t->unit_count; i-- > 0;)
		if (ref_equal(t->unit[i], ref))
			return true;
	return false;
}

void turn_add(struct attribute *a, struct thread *t, struct ref ref)
{
	if (in_unit(t, ref))
		return;
	if (t->unit_count == UNIT_REQUESTS_MAX)
		turn_judge(a, t); /* before it is over: a very long unit */
	t->unit[t->unit_count++] = ref;
}

/* A thread that has come from elsewhere in between works for another by now. */
static void forget_left(struct attribute *a, struct thread *t)
{
	struct request *r = t->open ? turn_request(a, t->owner) : NULL;
	if (r && r->left_ns > 0 && a->now_ns - r->left_ns > TIDYING_NS)
		t->owner = nobody;
}

bool turn_leave(struct attribute *a, const struct thread *t, struct request *r)
{
	struct thread *h = r->answerer < a->thread_room ? a->thread[r->answerer] : NULL;
	if (!h || h == t || !h->open || !ref_equal(h->owner, r->self))
		return false;
	r->detached = true;
	r->left_ns = a->now_ns;
	turn_deactivate(a, r);
	turn_add(a, h, r->self);
	return true;
}

/* Rules 4 to 7: the thread does something for r. */
void turn_touch(struct attribute *a, struct thread *t, struct request *r, bool write)
{
	t->serves = true;
	t->handed = t->ahead = false;
	if (turn_request(a, t->marked)) {
		turn_add(a, t, r->self);
		return;
	}
	/* A thread that blocks in read itself, or waits where we cannot see it:
	 * that it reads for another says that its unit is over. */
	bool another = !t->polls && !write && !in_unit(t, r->self);
	if (t->several)
		turn_doubt(r, TRACE_INFERRED);
	struct request *before = turn_request(a, t->owner);
	if (t->open) {
		bool back = before && before != r && write;
		if (back)
			turn_doubt(r, TRACE_INFERRED);
		turn_settle(a, t, !before || back ? r->self : before->self);
	} else if (before && before != r && before->state == REQUEST_RUNNING && write &&
		   t->waited) {
		/* What lies between may have been for either. */
		turn_doubt(before, TRACE_AMBIGUOUS);
		turn_doubt(r, TRACE_AMBIGUOUS);
	}
	turn_work_for(t, r->self);
	if (another)
		turn_judge(a, t);
	turn_add(a, t, r->self);
}

uint32_t turn_unanswered(struct attribute *a, struct connection *c, struct ref *refs,
			 uint32_t room)
{
	struct connection_extra *x = c->extra;
	uint32_t count = 0;
	for (uint32_t i = 0; i <= x->queued && count < room; i++) {
		struct ref ref = i == 0 ? x->current : x->queue[i - 1];
		struct request *r = turn_request(a, ref);
		bool arriving = ref_equal(ref, x->newest) && i > 0 &&
				x->message.protocol != MESSAGE_FASTCGI &&
				!message_idle(&x->message);
		if (r && r->state == REQUEST_RUNNING && !arriving)
			refs[count++] = ref;
	}
	return count;
}

bool turn_response_open(const struct connection *c)
{
	return c && (c->extra->out.state == HTTP_BODY || c->extra->out.state == HTTP_FIELDS);
}

void turn_extra_free(struct connection_extra *x)
{
	if (!x)
		return;
	message_scan_release(&x->message);
	free(x->queue);
	free(x);
}

void turn_end_connection(struct attribute *a, struct connection *c)
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
	turn_extra_free(c->extra);
	c->extra = NULL;
	ledger_connection_free(&a->ledger, c);
}

/* A unit is over: those it touched are judged (rule 13). */
void turn_judge(struct attribute *a, struct thread *t)
{
	for (uint32_t i = 0; i < t->unit_count; i++) {
		struct request *r = turn_request(a, t->unit[i]);
		if (!r)
			continue;
		if (r->detached) {
			turn_end_request(a, r, turn_how_it_ended(r, "close"));
			continue;
		}
		struct connection *c = turn_connection(a, r->connection);
		if (r->state == REQUEST_RUNNING ||
		    (r->state == REQUEST_RESPONDED && turn_response_open(c)))
			continue;
		request_judge(r);
		turn_deactivate(a, r);
	}
	t->unit_count = 0;
	for (uint32_t i = 0; i < t->closing_count; i++) {
		struct connection *c = turn_connection(a, t->closing[i]);
		if (c)
			turn_end_connection(a, c);
	}
	t->closing_count = 0;
}

/* Rule 12, or an honest "we do not know". */
static struct ref unowned(struct attribute *a, struct thread *t)
{
	struct process *p = t->process;
	if (p->marks)
		return nobody; /* it would have said so */
	struct connection *c = turn_connection(a, t->named);
	struct request *r = turn_request(a, c ? c->extra->current : t->named);
	/* A connection that has its last answer, or whose next request another thread
	 * has read by now, was ready for a new one: to pass it on was this turn's work,
	 * and not that of the old one, whose thread may not have come to a boundary. */
	if (r && r->active && r->state != REQUEST_DONE && r->start_ns <= t->woke_ns)
		return r->self;
	if (c)
		return c->self;
	if (!t->serves || !t->waited || t->segment.count == 0)
		return nobody;
	if (p->active_count == 1) {
		r = a->ledger.request[p->active_first - 1];
		turn_doubt(r, TRACE_INFERRED);
		return r->self;
	}
	for (uint32_t i = p->active_first; i != 0;) {
		turn_doubt(a->ledger.request[i - 1], TRACE_AMBIGUOUS);
		i = a->ledger.request[i - 1]->active_next;
	}
	return nobody;
}

/* Closes the segment, if one is open, in favour of who it falls to. */
void turn_settle_fallback(struct attribute *a, struct thread *t)
{
	if (!t->open)
		return;
	forget_left(a, t);
	if (turn_request(a, t->owner) || turn_connection(a, t->owner))
		turn_settle(a, t, t->owner);
	else
		turn_settle(a, t, unowned(a, t));
}

/* The end of a unit (rule 5). */
void turn_boundary(struct attribute *a, struct thread *t)
{
	turn_settle_fallback(a, t);
	turn_judge(a, t);
	t->named = nobody;
	t->several = t->ahead = false;
	turn_open(t, nobody);
}
