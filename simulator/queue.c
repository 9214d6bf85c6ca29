/* SPDX-License-Identifier: MIT */
/*
 * First come, first served, with a queue of limited length and a limited wait.
 *
 * The system without limit of buckets is played once for all candidates, as a
 * heap of departures. A candidate of c buckets differs from it only by requests
 * that it rejected or delayed: `missing` has their departures there, `late` the
 * true departures of those that were delayed. So at an arrival
 *	busy = requests in the unlimited system - |missing| + |late|
 * and while nobody waits that is all there is to know. While somebody does, the
 * candidate's own departures matter. They are those of the unlimited system since the
 * arrival before, less `missing`, and `late`: no candidate has a heap of its own.
 *
 * At one instant: departures, starts of those waiting, leaving of those whose
 * time is up, arrivals. Waits end in order of arrival, since all may wait the
 * same time, so the queue is a ring.
 */
#include "simulator/heap.h"
#include "simulator/sim.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct excursion {
	const struct queue_candidate *candidate;
	struct queue_outcome *out;
	bool active;      /* differs from the unlimited system */
	uint64_t next;    /* before this instant nothing of it changes */
	uint64_t full_at; /* and with fewer than that under way, all are accepted */
	struct heap missing, late;
	uint32_t *ring; /* rows that wait, oldest first */
	size_t ring_room, ring_head, ring_length;
	uint64_t last_503; /* instant of the last rejection */
	bool any_503, failed;
};

struct worker {
	const struct sim_trace *trace;
	const struct queue_ask *ask;
	struct queue *queue;
	struct excursion *excursion;
	size_t count;
	struct excursion **active; /* those that differ now */
	size_t active_count;
	uint64_t least_idle; /* least count of those that do not */
	/* Departures of the unlimited system since the arrival before, ascending. */
	uint64_t *gone;
	size_t gone_count, gone_room;
	bool failed;
};

/* ---- waits in bins of less than 1 % ------------------------------------------- */

static size_t wait_bin(uint64_t wait)
{
	if (wait < 256)
		return (size_t)wait;
	unsigned shift = 56 - (unsigned)__builtin_clzll(wait);
	size_t bin = (size_t)shift * 128 + (size_t)(wait >> shift);
	return bin < QUEUE_WAIT_BINS ? bin : QUEUE_WAIT_BINS - 1;
}

/* The longest wait of a bin. */
static uint64_t wait_edge(size_t bin)
{
	if (bin < 256)
		return bin;
	unsigned shift = (unsigned)(bin / 128 - 1);
	uint64_t mantissa = bin - (size_t)shift * 128;
	return ((mantissa + 1) << shift) - 1;
}

static uint64_t wait_p99(const struct queue_outcome *out)
{
	uint64_t got = out->offered - out->rejected_503;
	uint64_t rank = got - got / 100; /* that many wait no longer */
	uint64_t seen = got - out->delayed;
	for (size_t bin = 0; bin < QUEUE_WAIT_BINS && seen < rank; bin++) {
		seen += out->wait_bin[bin];
		if (seen >= rank)
			return wait_edge(bin) < out->wait_ns_max ? wait_edge(bin)
								 : out->wait_ns_max;
	}
	return 0;
}

/* ---- one candidate ------------------------------------------------------------- */

static uint64_t departure_of(const struct sim_trace *trace, uint32_t row, uint64_t start)
{
	uint64_t departure;
	if (__builtin_add_overflow(start, (uint64_t)trace->service_ns[row], &departure))
		return UINT64_MAX; /* after every arrival there can be */
	return departure;
}

static size_t size_bin(const struct queue_ask *ask, uint64_t need)
{
	size_t bin = 0;
	while (bin < ask->size_count && ask->sizes[bin] < need)
		bin++;
	return bin;
}

static size_t batch_of(const struct worker *w, size_t row)
{
	return (size_t)((unsigned __int128)row * w->queue->batches / w->trace->count);
}

static void reject(struct worker *w, struct excursion *x, uint32_t row, uint64_t now)
{
	struct queue_outcome *out = x->out;
	size_t bin = size_bin(w->ask, w->trace->need_bytes[row]);
	out->rejected_503++;
	out->rejected[batch_of(w, row) * (w->ask->size_count + 1) + bin]++;
	if (out->wait_of)
		out->wait_of[row] = UINT64_MAX;
	if (!x->any_503 || (double)(now - x->last_503) > w->ask->gap_ns)
		out->clusters++;
	x->any_503 = true;
	x->last_503 = now;
}

static uint32_t ring_first(const struct excursion *x)
{
	return x->ring[x->ring_head];
}

static void ring_drop(struct excursion *x)
{
	x->ring_head = x->ring_head + 1 < x->ring_room ? x->ring_head + 1 : 0;
	x->ring_length--;
}

/* The ring grows with what really waits: a queue may be allowed to be long. */
static int ring_add(struct excursion *x, uint32_t row)
{
	if (x->ring_length == x->ring_room) {
		size_t room = x->ring_room ? 2 * x->ring_room : 64;
		uint32_t *ring = malloc(room * sizeof(*ring));
		if (!ring)
			return -1;
		for (size_t i = 0; i < x->ring_length; i++) {
			size_t at = x->ring_head + i;
			ring[i] = x->ring[at < x->ring_room ? at : at - x->ring_room];
		}
		free(x->ring);
		x->ring = ring;
		x->ring_room = room;
		x->ring_head = 0;
	}
	size_t at = x->ring_head + x->ring_length++;
	x->ring[at < x->ring_room ? at : at - x->ring_room] = row;
	return 0;
}

static uint64_t deadline_of(const struct worker *w, const struct excursion *x, uint32_t row)
{
	uint64_t arrival = (uint64_t)w->trace->arrival_ns[row], deadline;
	if (__builtin_add_overflow(arrival, x->candidate->wait_ns, &deadline))
		return UINT64_MAX;
	return deadline;
}

/* Those whose time is up before `now`, or at it when `at` is set. */
static void leave(struct worker *w, struct excursion *x, uint64_t now, bool at)
{
	while (x->ring_length > 0) {
		uint32_t row = ring_first(x);
		uint64_t deadline = deadline_of(w, x, row);
		if (deadline > now || (deadline == now && !at))
			return;
		ring_drop(x);
		reject(w, x, row, deadline);
	}
}

static void start_waiting(struct worker *w, struct excursion *x, uint64_t now)
{
	uint32_t row = ring_first(x);
	uint64_t waited = now - (uint64_t)w->trace->arrival_ns[row];
	uint64_t gone = departure_of(w->trace, row, now);
	ring_drop(x);
	if (heap_reserve(&x->late, x->late.count + 1) < 0)
		x->failed = true;
	else
		heap_push(&x->late, gone);
	if (waited > 0) {
		x->out->delayed++;
		x->out->wait_bin[wait_bin(waited)]++;
		if (waited > x->out->wait_ns_max)
			x->out->wait_ns_max = waited;
	}
	if (x->out->wait_of)
		x->out->wait_of[row] = waited;
}

/* The candidate's next departure up to t; *at counts those of `gone` that were seen. */
static bool departure_take(const struct worker *w, struct excursion *x, uint64_t t, size_t *at,
			   uint64_t *now)
{
	/* What it refused or delayed did not depart here. Every one of `missing` is among
	 * those that are gone or will be. */
	while (*at < w->gone_count && x->missing.count && x->missing.key[0] == w->gone[*at]) {
		heap_pop(&x->missing);
		++*at;
	}
	bool other = *at < w->gone_count;
	if (x->late.count && x->late.key[0] <= t &&
	    (!other || x->late.key[0] <= w->gone[*at])) {
		*now = x->late.key[0];
		heap_pop(&x->late);
		return true;
	}
	if (other)
		*now = w->gone[(*at)++];
	return other;
}

/* All that happens up to and at t, but for its arrivals, while somebody waits. */
static void advance(struct worker *w, struct excursion *x, uint64_t t)
{
	size_t at = 0;
	uint64_t now;
	while (x->ring_length > 0 && departure_take(w, x, t, &at, &now)) {
		leave(w, x, now, false); /* a start exactly at the deadline is served */
		/* One departure, one start: others at this instant come round again,
		 * and so does a service of zero. */
		if (x->ring_length > 0)
			start_waiting(w, x, now);
	}
	leave(w, x, t, true);
}

/* `unlimited` is without this request yet, and without all that left until t. */
static int arrive(struct worker *w, struct excursion *x, uint32_t row, uint64_t t,
		  const struct heap *unlimited)
{
	size_t busy = unlimited->count - x->missing.count + x->late.count;
	assert(busy <= x->candidate->count);
	if (busy < x->candidate->count)
		return 0;
	x->out->excursion_arrivals++;
	if (x->ring_length >= x->candidate->queue)
		reject(w, x, row, t);
	else if (ring_add(x, row) < 0)
		return -1;
	if (heap_reserve(&x->missing, x->missing.count + 1) < 0)
		return -1;
	heap_push(&x->missing, departure_of(w->trace, row, t));
	x->active = true;
	return 0;
}

/* ---- all of a worker's candidates ----------------------------------------------- */

static void least_idle_find(struct worker *w)
{
	w->least_idle = UINT64_MAX;
	for (size_t k = 0; k < w->count; k++) {
		const struct excursion *x = &w->excursion[k];
		if (!x->active && x->candidate->count < w->least_idle)
			w->least_idle = x->candidate->count;
	}
}

/* Brings a candidate to t. */
static void excursion_settle(struct worker *w, struct excursion *x, uint64_t t)
{
	if (x->ring_length > 0)
		advance(w, x, t);
	while (x->missing.count && x->missing.key[0] <= t)
		heap_pop(&x->missing);
	while (x->late.count && x->late.key[0] <= t)
		heap_pop(&x->late);
}

static void excursion_note(struct excursion *x)
{
	x->active = x->missing.count || x->late.count || x->ring_length;
	x->full_at = x->candidate->count + x->missing.count - x->late.count;
	x->next = x->missing.count ? x->missing.key[0] : UINT64_MAX;
	if (x->late.count && x->late.key[0] < x->next)
		x->next = x->late.key[0];
	/* While somebody waits each arrival is looked at: departures are not kept. */
	if (x->ring_length > 0)
		x->next = 0;
}

static int arrival_at_active(struct worker *w, uint32_t row, uint64_t t,
			     const struct heap *unlimited)
{
	for (size_t k = 0; k < w->active_count;) {
		struct excursion *x = w->active[k];
		if (t < x->next && unlimited->count < x->full_at) {
			k++;
			continue;
		}
		excursion_settle(w, x, t);
		if (arrive(w, x, row, t, unlimited) < 0 || x->failed)
			return -1;
		excursion_note(x);
		if (x->active) {
			k++;
			continue;
		}
		w->active[k] = w->active[--w->active_count];
		if (x->candidate->count < w->least_idle)
			w->least_idle = x->candidate->count;
	}
	return 0;
}

static int arrival_at_idle(struct worker *w, uint32_t row, uint64_t t,
			   const struct heap *unlimited)
{
	for (size_t k = 0; k < w->count; k++) {
		struct excursion *x = &w->excursion[k];
		if (x->active || x->candidate->count > unlimited->count)
			continue;
		if (arrive(w, x, row, t, unlimited) < 0)
			return -1;
		excursion_note(x);
		w->active[w->active_count++] = x;
	}
	least_idle_find(w);
	return 0;
}

/* Moves what departs up to t from the unlimited system to `gone`. */
static int departures_until(struct worker *w, struct heap *unlimited, uint64_t t)
{
	w->gone_count = 0;
	while (unlimited->count && unlimited->key[0] <= t) {
		if (w->gone_count == w->gone_room) {
			size_t room = w->gone_room ? 2 * w->gone_room : 256;
			uint64_t *gone = realloc(w->gone, room * sizeof(*gone));
			if (!gone)
				return -1;
			w->gone = gone;
			w->gone_room = room;
		}
		w->gone[w->gone_count++] = unlimited->key[0];
		heap_pop(unlimited);
	}
	return 0;
}

static int worker_play(struct worker *w, struct heap *unlimited)
{
	for (size_t i = 0; i < w->trace->count; i++) {
		uint64_t t = (uint64_t)w->trace->arrival_ns[i];
		uint32_t row = (uint32_t)i;
		if (departures_until(w, unlimited, t) < 0)
			return -1;
		/* The active first: one that comes to rest here is as the unlimited
		 * system again, and may be full at once. */
		size_t before = w->active_count;
		if (before && arrival_at_active(w, row, t, unlimited) < 0)
			return -1;
		if (unlimited->count >= w->least_idle &&
		    arrival_at_idle(w, row, t, unlimited) < 0)
			return -1;
		if (heap_reserve(unlimited, unlimited->count + 1) < 0)
			return -1;
		heap_push(unlimited, departure_of(w->trace, row, t));
	}
	return 0;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct heap unlimited = {0};
	w->active = calloc(w->count ? w->count : 1, sizeof(struct excursion *));
	least_idle_find(w);
	w->failed = !w->active || worker_play(w, &unlimited) < 0 ||
		    departures_until(w, &unlimited, UINT64_MAX) < 0;
	for (size_t k = 0; k < w->count; k++) {
		if (w->excursion[k].ring_length > 0)
			advance(w, &w->excursion[k], UINT64_MAX);
		w->failed |= w->excursion[k].failed;
	}
	heap_release(&unlimited);
	free(w->active);
	free(w->gone);
	return NULL;
}

/* ---- the pass ---------------------------------------------------------------------- */

static void total_fill(const struct sim_trace *trace, const struct queue_ask *ask,
		       struct queue *queue)
{
	size_t columns = ask->size_count + 1;
	for (size_t i = 0; i < trace->count; i++) {
		size_t batch = (size_t)((unsigned __int128)i * queue->batches / trace->count);
		queue->total[batch * columns + size_bin(ask, trace->need_bytes[i])]++;
	}
}

static int outcome_init(struct queue_outcome *out, const struct queue *queue, size_t requests,
			bool keep_fates)
{
	out->offered = requests;
	out->rejected = calloc(queue->batches * (queue->size_count + 1), sizeof(uint64_t));
	out->wait_bin = calloc(QUEUE_WAIT_BINS, sizeof(uint64_t));
	if (keep_fates)
		out->wait_of = calloc(requests ? requests : 1, sizeof(uint64_t));
	return out->rejected && out->wait_bin && (out->wait_of || !keep_fates) ? 0 : -1;
}

static int queue_pass(const struct sim_trace *trace, const struct queue_ask *ask,
		      struct queue *queue)
{
	size_t threads = ask->threads ? ask->threads : 1, n = ask->candidate_count;
	threads = threads < n ? threads : n;
	struct excursion *x = calloc(n, sizeof(*x));
	struct worker *worker = calloc(threads, sizeof(*worker));
	pthread_t *thread = calloc(threads, sizeof(*thread));
	bool *running = calloc(threads, sizeof(*running));
	int result = x && worker && thread && running ? 0 : -1;
	/* Dealt out in turn: neighbours in the list tend to cost the same. */
	size_t at = 0;
	for (size_t w = 0; result == 0 && w < threads; w++) {
		worker[w] = (struct worker){
			.trace = trace, .ask = ask, .queue = queue, .excursion = x + at};
		for (size_t k = w; k < n; k += threads) {
			x[at].candidate = &ask->candidates[k];
			x[at++].out = &queue->outcome[k];
			worker[w].count++;
		}
	}
	for (size_t w = 1; result == 0 && w < threads; w++)
		running[w] = pthread_create(&thread[w], NULL, worker_run, &worker[w]) == 0;
	for (size_t w = 0; result == 0 && w < threads; w++) {
		if (running[w])
			pthread_join(thread[w], NULL);
		else
			worker_run(&worker[w]);
	}
	for (size_t w = 0; result == 0 && w < threads; w++)
		result = worker[w].failed ? -1 : 0;
	for (size_t k = 0; x && k < n; k++) {
		heap_release(&x[k].missing);
		heap_release(&x[k].late);
		free(x[k].ring);
	}
	free(x);
	free(worker);
	free(thread);
	free(running);
	return result;
}

int queue_run(const struct sim_trace *trace, const struct queue_ask *ask, struct queue *queue,
	      struct err *err)
{
	*queue = (struct queue){.batches = ask->batches ? ask->batches : 1,
				.size_count = ask->size_count,
				.candidate_count = ask->candidate_count};
	if (ask->candidate_count == 0 || ask->size_count == 0)
		return err_usage(err, "a queue needs at least one candidate and one size");
	if (queue->batches > trace->count)
		queue->batches = trace->count ? trace->count : 1;
	for (size_t k = 0; k < ask->candidate_count; k++) {
		if (ask->candidates[k].count == 0)
			return err_usage(err, "counts must be above 0");
	}
	queue->total = calloc(queue->batches * (ask->size_count + 1), sizeof(uint64_t));
	queue->outcome = calloc(ask->candidate_count, sizeof(*queue->outcome));
	int result = queue->total && queue->outcome ? 0 : -1;
	for (size_t k = 0; result == 0 && k < ask->candidate_count; k++)
		result = outcome_init(&queue->outcome[k], queue, trace->count, ask->keep_fates);
	if (result == 0 && trace->count) {
		total_fill(trace, ask, queue);
		result = queue_pass(trace, ask, queue);
	}
	if (result < 0) {
		queue_release(queue);
		return err_set(err, "no memory for %zu candidates with a queue",
			       ask->candidate_count);
	}
	for (size_t k = 0; k < ask->candidate_count; k++)
		queue->outcome[k].wait_ns_p99 = wait_p99(&queue->outcome[k]);
	return 0;
}

void queue_release(struct queue *queue)
{
	for (size_t k = 0; queue->outcome && k < queue->candidate_count; k++) {
		free(queue->outcome[k].rejected);
		free(queue->outcome[k].wait_bin);
		free(queue->outcome[k].wait_of);
	}
	free(queue->total);
	free(queue->outcome);
	*queue = (struct queue){0};
}

struct grid_outcome queue_batch_at(const struct queue *queue, size_t batch, size_t candidate,
				   size_t size_index)
{
	assert(candidate < queue->candidate_count && size_index < queue->size_count);
	size_t columns = queue->size_count + 1;
	const uint64_t *total = queue->total + batch * columns;
	const uint64_t *rejected = queue->outcome[candidate].rejected + batch * columns;
	struct grid_outcome out = {0};
	for (size_t bin = 0; bin < columns; bin++) {
		out.offered += total[bin];
		out.rejected_503 += rejected[bin];
		if (bin > size_index)
			out.rejected_500 += total[bin] - rejected[bin];
	}
	return out;
}

struct grid_outcome queue_at(const struct queue *queue, size_t candidate, size_t size_index)
{
	struct grid_outcome sum = {0};
	for (size_t b = 0; b < queue->batches; b++) {
		struct grid_outcome part = queue_batch_at(queue, b, candidate, size_index);
		sum.offered += part.offered;
		sum.rejected_500 += part.rejected_500;
		sum.rejected_503 += part.rejected_503;
	}
	return sum;
}
