/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/turn.h"

#include <stdlib.h>
#include <string.h>

/* Rule 11. By pointer: a thread that frees a block which another allocated for
 * a request that runs has been given that request. By queue, if asked for: what
 * is signalled under a mutex is taken in that order by those who wait for it,
 * at the end of each stretch in which they hold the mutex. */

/* -- by pointer ---------------------------------------------------------- */

/* Not for a thread that waits for descriptors: it frees for its workers, too;
 * nor for one that found its request by reading. */
void handoff_freed(struct attribute *a, struct thread *t, uint64_t address)
{
	struct request *mine = turn_request(a, t->owner);
	if (t->polls || turn_request(a, t->marked) || t->cond != 0 ||
	    (!t->open && mine && mine->state == REQUEST_RUNNING && !t->handed) ||
	    (t->open && mine))
		return;
	const struct block *block = ledger_find(&t->process->live, address);
	struct request *r =
		block && block->thread != t->serial ? turn_request(a, block->owner) : NULL;
	if (!r || r == mine || r->state != REQUEST_RUNNING)
		return;
	turn_doubt(r, TRACE_INFERRED);
	turn_touch(a, t, r, false);
	t->handed = true;
}

/* -- by queue ------------------------------------------------------------ */

static struct handoff *find_handoff(struct attribute *a, struct process *p, uint64_t cond)
{
	if (!p->handoff && !(p->handoff = calloc(HANDOFFS_MAX, sizeof(*p->handoff)))) {
		a->ledger.failed = true;
		return NULL;
	}
	for (size_t i = 0; i < HANDOFFS_MAX; i++) {
		if (p->handoff[i].cond == cond)
			return &p->handoff[i];
		if (p->handoff[i].cond == 0) {
			p->handoff[i].cond = cond;
			return &p->handoff[i];
		}
	}
	return NULL;
}

void handoff_release(struct process *p)
{
	for (size_t i = 0; p->handoff && i < HANDOFFS_MAX; i++)
		free(p->handoff[i].token);
	free(p->handoff);
	p->handoff = NULL;
}

static void put(struct attribute *a, struct handoff *h, struct ref token)
{
	if (h->count == TOKENS_MAX) { /* nobody takes them: forget the oldest */
		h->first = (h->first + 1) % h->room;
		h->count--;
	}
	if (h->count == h->room) {
		uint32_t room = h->room > 0 ? h->room * 2 : 64;
		struct ref *grown = malloc(room * sizeof(*grown));
		if (!grown) {
			a->ledger.failed = true;
			return;
		}
		for (uint32_t i = 0; i < h->count; i++)
			grown[i] = h->token[(h->first + i) % h->room];
		free(h->token);
		h->token = grown;
		h->first = 0;
		h->room = room;
	}
	h->token[(h->first + h->count++) % h->room] = token;
}

void handoff_signal(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	struct request *r = turn_request(a, t->marked);
	if (!r && !t->open)
		r = turn_request(a, t->owner);
	struct handoff *h = find_handoff(a, t->process, e->value);
	if (h && t->cond != e->value)
		put(a, h, r ? r->self : nobody);
}

void handoff_wait(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	if (e->payload.length < 8)
		return;
	t->cond = e->value;
	memcpy(&t->mutex, e->payload.bytes, 8);
	t->locked = true;
	/* It waits because it holds the mutex and found nothing: what is left here was
	 * taken unseen, by a thread that had not waited yet. */
	struct handoff *h = find_handoff(a, t->process, t->cond);
	if (h)
		h->count = 0;
}

void handoff_lock(struct attribute *a, struct thread *t, const struct ring_event *e)
{
	if (t->cond == 0 || t->mutex != e->value || turn_request(a, t->marked))
		return;
	if (e->kind == EVENT_LOCK) {
		turn_boundary(a, t);
		t->locked = true;
		return;
	}
	struct handoff *h = t->locked ? find_handoff(a, t->process, t->cond) : NULL;
	t->locked = false;
	if (!h || h->count == 0)
		return;
	struct request *r = turn_request(a, h->token[h->first]);
	h->first = (h->first + 1) % h->room;
	h->count--;
	if (!r || r->state != REQUEST_RUNNING)
		return;
	turn_doubt(r, TRACE_INFERRED);
	turn_touch(a, t, r, false);
	t->handed = true;
}
