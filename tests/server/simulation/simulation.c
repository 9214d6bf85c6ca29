/* SPDX-License-Identifier: MIT */
/*
 * simulation [--seed N] [--steps N]: the server's core, two workers
 * and its clients in one thread, in an order that a seed gives. Nothing in it
 * depends on time, memory or another process, so a seed that fails fails again.
 *
 * A step is one turn of a worker, something that a client does, or some time
 * that passes (to the next timer that is due, often). After every step holds:
 *
 *	buckets free and in use are all there are; who waits, waits for want of one
 *	a connection without a running request has no bucket
 *	slots free and taken are all there are; each has a socket of its own; those
 *	on the ready list are those that say so
 *	what has been accepted is open or has been closed, once
 *	no free bucket's memory has changed, and none that a request holds but by
 *	itself; what is free is empty
 *
 * Before it begins, writes.h holds how many writes answers take.
 *
 * In the end clients only read, and time passes: then every request has been
 * answered or its connection closed, and every slot and bucket is free.
 */
#include "server/request/bucket.h"
#include "server/connection/connection.h"
#include "server/failure/fault.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "tests/server/simulation/client.h"
#include "tests/server/simulation/world.h"
#include "tests/server/simulation/writes.h"

#include <getopt.h>
#include <pail/handler.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	CANARY = 0xee,
	BUCKET_BYTES = 16 << 10,
	BUCKETS = 12,
	CONNECTIONS = 32,
	MARK_BYTES = 1500,
	STACK_MARK_BYTES = 700,
};

static bool dirty[BUCKETS]; /* a request has had it */
static uint64_t handled, ended;
static struct pail_request *holder[WORLD_WORKERS]; /* of the mutex */

/* -- the handler ---------------------------------------------------------------------- */

struct marks {
	unsigned char *block;
	unsigned char value;
	unsigned char stack[STACK_MARK_BYTES];
};

static void marks_check(const struct marks *marks)
{
	for (size_t i = 0; i < MARK_BYTES; i++)
		if (marks->block[i] != marks->value)
			world_fail("a block of a request was written by another");
	for (size_t i = 0; i < STACK_MARK_BYTES; i++)
		if (marks->stack[i] != marks->value)
			world_fail("the stack of a request was written by another");
}

static void bucket_is_clean(const struct bucket *bucket)
{
	static unsigned char canary[BUCKET_BYTES];

	if (!canary[0])
		memset(canary, CANARY, sizeof(canary));
	if (memcmp(bucket->arena.base, canary, BUCKET_BYTES) != 0)
		world_fail("bucket %u was written while it was free", bucket->index);
}

static int deferred;
static volatile int *volatile nowhere = (volatile int *)8;

static void undo(void *arg)
{
	(void)arg;
	deferred--;
}

/* The whole of it before the answer, which may itself be long. */
static int handle_kind(struct pail_request *r, char kind, const struct marks *marks)
{
	/* One for each worker: both are one thread in here, which could wait for itself. */
	static pthread_mutex_t mutexes[WORLD_WORKERS] = {PTHREAD_MUTEX_INITIALIZER,
							 PTHREAD_MUTEX_INITIALIZER};
	uint32_t worker = r->worker->index;
	char piece[400];
	const void *body;

	switch (kind) {
	case 'w': usleep((useconds_t)world_draw(400) * 1000); break;
	case 'b': pail_body(r, &body); break;
	case 'p':
		while (pail_body_read(r, piece, sizeof(piece)) > 0)
			marks_check(marks);
		break;
	case 'e':
#ifdef PAIL_MALLOC_OFF
		request_fail(r, "oversize", 500);
#endif
		for (;;)
			memset(pail_alloc(r, 1000), 1, 1000);
	case 's':
#ifndef PAIL_MALLOC_OFF
		*nowhere = 1;
#endif
		request_fail(r, "segv", 500);
	case 'j': request_fail(r, "test", 500);
	case 'd':
		for (int i = 0; i < 30; i++, deferred++)
			pail_defer(r, undo, NULL);
		usleep(1000);
		if (world_chance(2))
			request_fail(r, "test", 500);
		break;
	case 'm': pthread_mutex_lock(&mutexes[worker]);
#ifndef PAIL_MALLOC_OFF /* else its locks are not the core's */
		if (holder[worker])
			world_fail("two requests hold a mutex");
		holder[worker] = r;
		usleep((useconds_t)world_draw(30) * 1000);
		holder[worker] = NULL;
#endif
		pthread_mutex_unlock(&mutexes[worker]);
		break;
	case 'n': return 1;
	default: break;
	}
	return 200;
}

static int handle(struct pail_request *r)
{
	struct marks marks;
	char text[1000];
	char kind = pail_path(r)[1];

	handled++;
	if (!dirty[r->bucket->index]) /* else another has had it in this very turn */
		bucket_is_clean(r->bucket);
	dirty[r->bucket->index] = true;
	marks.block = pail_alloc(r, MARK_BYTES);
	marks.value = (unsigned char)world_draw(200);
	memset(marks.block, marks.value, MARK_BYTES);
	memset(marks.stack, marks.value, STACK_MARK_BYTES);
	int status = handle_kind(r, kind, &marks);
	marks_check(&marks);
	int length = snprintf(text, sizeof(text), "%s\n", pail_query(r));
	pail_write(r, text, (size_t)length);
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 20 && kind == 'l'; i++) {
		if (pail_write(r, text, sizeof(text)) < 0)
			break;
		marks_check(&marks);
	}
	return status;
}

static void request_has_ended(struct pail_request *r)
{
	if (holder[r->worker->index] == r) /* it was left by a jump */
		holder[r->worker->index] = NULL;
	ended++;
}

/* -- what must hold --------------------------------------------------------------------- */

struct tally {
	uint32_t open, used, given, waiting, ready;
};

static void check_connection(const struct worker *worker, const struct connection *c,
			     bool *has_socket, struct tally *tally)
{
	tally->ready += c->ready; /* also one that was closed there */
	if (c->state == CONNECTION_FREE) {
		if (c->fd >= 0 || c->bucket || c->pool)
			world_fail("a free slot has something");
		return;
	}
	tally->open++;
	tally->waiting += c->pool != NULL;
	tally->given += c->given != NULL;
	tally->used += c->bucket != NULL;
	int i = c->fd - WORLD_FIRST_SOCKET;
	if (i < 0 || i >= WORLD_SOCKETS || has_socket[i] || world.socket[i].closed)
		world_fail("a slot in state %d has descriptor %d", c->state, c->fd);
	has_socket[i] = true;
	if (c->worker != worker)
		world_fail("a connection is with a strange worker");
	if ((c->bucket != NULL) != (c->state == CONNECTION_RUN))
		world_fail("state %d %s a bucket", c->state, c->bucket ? "has" : "lacks");
	if ((c->pool || c->given) && c->state != CONNECTION_WAIT)
		world_fail("state %d waits", c->state);
	if (c->state == CONNECTION_WAIT && !c->pool && !c->given)
		world_fail("it waits for nothing");
}

static uint32_t check_worker(struct worker *worker, bool *has_socket)
{
	struct tally tally = {0};
	const struct pool *pool = &worker->pool[0];
	uint32_t free = 0, slots = 0, ready = 0;

	for (uint32_t i = 0; i < worker->slot_count; i++)
		check_connection(worker, &worker->slots[i], has_socket, &tally);
	for (const struct bucket *b = pool->free; b; b = b->next, free++)
		if (b->arena.peak_bytes != 0 || b->arena.faults != 0)
			world_fail("bucket %u is free and not empty", b->index);
	for (const struct connection *c = worker->ready_first; c; c = c->ready_next, ready++)
		if (!c->ready)
			world_fail("a connection is on the ready list and does not know it");
	if (ready != tally.ready)
		world_fail("%u connections are on the ready list, and %u say so", ready,
			   tally.ready);
	for (const struct connection *c = worker->free; c; c = c->next)
		slots++;
	if (free != pool->free_count || free + tally.used + tally.given != pool->count)
		world_fail("%u buckets free, %u in use and %u given are not %u", free,
			   tally.used, tally.given, pool->count);
	if (tally.waiting != pool->waiting || pool->waiting > pool->queue ||
	    (pool->waiting && free))
		world_fail("%u wait (%u of at most %u in the line) and %u buckets are free",
			   tally.waiting, pool->waiting, pool->queue, free);
	if (tally.open != worker->open_count || slots + tally.open != worker->slot_count)
		world_fail("%u connections and %u free slots are not %u", tally.open, slots,
			   worker->slot_count);
	if (worker->running)
		world_fail("a request runs while nothing does");
	return tally.open;
}

/* A bucket that was used and is free gets its canaries back; others must have them. */
static void check_buckets(bool all)
{
	for (uint32_t w = 0; w < core.plan.threads; w++) {
		for (struct bucket *b = core.worker[w]->pool[0].free; b; b = b->next) {
			if (dirty[b->index])
				memset(b->arena.base, CANARY, BUCKET_BYTES);
			else if (all)
				bucket_is_clean(b);
			dirty[b->index] = false;
		}
	}
}

static void check(void)
{
	bool has_socket[WORLD_SOCKETS] = {false};
	uint32_t open = 0;

	for (uint32_t w = 0; w < core.plan.threads; w++)
		open += check_worker(core.worker[w], has_socket);
	if (world.accepted != world.closed + open)
		world_fail("%llu accepted, %llu closed, %u open",
			   (unsigned long long)world.accepted, (unsigned long long)world.closed,
			   open);
	check_buckets(world.step % 64 == 0);
}

/* -- the driver --------------------------------------------------------------------------- */

static void turn(void)
{
	struct worker *worker = core.worker[world_draw(core.plan.threads)];

	this_worker = worker;
	worker_turn(worker);
	this_worker = NULL;
}

static void pass_time(void)
{
	uint64_t ns = world_draw(3000000);

	if (world_chance(12)) { /* to the next timer of one of them */
		const struct worker *worker = core.worker[world_draw(core.plan.threads)];
		uint64_t next_ns = timers_next_ns(&worker->timers);
		if (next_ns != UINT64_MAX && next_ns > world.now_ns)
			ns = next_ns - world.now_ns;
		if (ns > UINT64_C(40000000) && !world_chance(20))
			ns = UINT64_C(40000000);
	}
	world.now_ns += ns;
}

static void step(bool quiet)
{
	uint64_t what = world_draw(20);

	world.step++;
	if (what < 8)
		turn();
	else if (what < 19)
		clients_step(quiet);
	else
		pass_time();
	check();
}

static void open_core(void)
{
	struct err err = {0};
	struct plan *plan = &core.plan;

	limits_defaults(plan);
	plan->threads = WORLD_WORKERS;
	plan->connections = CONNECTIONS;
	plan->queue = 4;
	/* As large as the world's: an answer of a batch fits when all was taken. */
	plan->sndbuf_bytes = WORLD_OUT_BYTES;
	plan->wait_ns = UINT64_C(50000000);
	plan->head_timeout_ns = plan->body_timeout_ns = plan->write_timeout_ns =
		UINT64_C(300000000);
	plan->idle_timeout_ns = UINT64_C(900000000);
	plan->wall_deadline_ns = UINT64_C(350000000);
	plan->cpu_deadline_ns = 0;
	plan->class[0].size_bytes = BUCKET_BYTES;
	plan->class[0].count = BUCKETS;
	plan->system_bytes = 8 << 20;
	core.listen_fd = WORLD_LISTENER;
	core.tls_fd = -1;
	core.log_fd = WORLD_LOG;
	core.record_fd = -1;
	core.handler = (struct handler){
		.name = "simulation", .handle = handle, .request_end = request_has_ended};
	if (limits_check(plan, &err) < 0 || region_open(&core.region, plan, &err) < 0 ||
	    (malloc_system_open(region_system(&core.region), plan->system_bytes),
	     fault_open(&err) < 0))
		world_fail("%s", err.text);
	malloc_modules_find(plan);
	for (uint32_t i = 0; i < plan->threads; i++) {
		core.worker[i] =
			(struct worker *)(region_worker(&core.region, i) + LOOP_STACK_BYTES);
		if (worker_init(core.worker[i], i, &err) < 0 ||
		    worker_enter(core.worker[i], &err) < 0)
			world_fail("%s", err.text);
		memset(&core.balance[i], 0, sizeof(core.balance[i]));
	}
	memset(dirty, true, sizeof(dirty));
	check_buckets(false);
}

/* Everyone goes home. */
static void settle(void)
{
	world.faults = false;
	for (int i = 0; i < 200000; i++) {
		step(true);
		if (clients_gone() && world.accepted == world.closed && !world.backlog_count)
			break;
	}
	if (!clients_gone() || world.accepted != world.closed)
		world_fail("%llu connections accepted, %llu closed, and some do not end",
			   (unsigned long long)world.accepted,
			   (unsigned long long)world.closed);
	for (uint32_t w = 0; w < core.plan.threads; w++)
		if (core.worker[w]->pool[0].free_count != core.worker[w]->pool[0].count)
			world_fail("worker %u has not all of its buckets", w);
	if (deferred != 0 || handled != ended)
		world_fail("%d deferred functions did not run; %llu requests, %llu ends",
			   deferred, (unsigned long long)handled, (unsigned long long)ended);
}

static void play(uint64_t steps)
{
	while (world.step < steps)
		step(false);
	settle();
	printf("seed %llu: %llu steps, %llu connections, %llu requests asked, %llu run, "
	       "%llu answered (2xx %llu, 4xx %llu, 5xx %llu), %llu cut\n",
	       (unsigned long long)world.seed, (unsigned long long)world.step,
	       (unsigned long long)client_counts.connections,
	       (unsigned long long)client_counts.requests, (unsigned long long)handled,
	       (unsigned long long)client_counts.answers,
	       (unsigned long long)client_counts.by_class[2],
	       (unsigned long long)client_counts.by_class[4],
	       (unsigned long long)client_counts.by_class[5],
	       (unsigned long long)client_counts.cut);
	if (client_counts.by_class[2] == 0 || client_counts.by_class[5] == 0)
		world_fail("nothing happened");
}

int main(int argc, char **argv)
{
	static const struct option words[] = {
		{"seed", required_argument, NULL, 's'},
		{"steps", required_argument, NULL, 'n'},
		{NULL, 0, NULL, 0},
	};
	uint64_t seed = 1, steps = 200000;
	int word;

	while ((word = getopt_long(argc, argv, "", words, NULL)) != -1) {
		if (word != 's' && word != 'n')
			return 2;
		*(word == 's' ? &seed : &steps) = strtoull(optarg, NULL, 10);
	}
	fprintf(stderr, "simulation --seed %llu --steps %llu\n", (unsigned long long)seed,
		(unsigned long long)steps);
	world_init(seed);
	clients_init();
	open_core();
	writes_check(turn);
	play(steps);
	return 0;
}
