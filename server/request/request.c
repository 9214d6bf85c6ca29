/* SPDX-License-Identifier: MIT */
#include "server/request/request.h"

#include "server/request/asan.h"
#include "server/request/bucket.h"
#include "server/memory/escapes.h"
#include "server/failure/fault.h"
#include "server/failure/libc_lock.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/request/output.h"
#include "server/memory/pkeys.h"
#include "server/request/stack.h"
#include "server/request/switch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct pail_request *request_current(void)
{
	return this_worker ? this_worker->running : NULL;
}

void request_enter(struct pail_request *r)
{
	r->critical++;
	atomic_signal_fence(memory_order_seq_cst);
}

void request_leave(struct pail_request *r)
{
	atomic_signal_fence(memory_order_seq_cst);
	assert(r->critical > 0);
	if (--r->critical == 0 && r->pending && r->stage < REQUEST_SEND) {
		const char *cause = r->pending;
		r->pending = NULL;
		request_fail(r, cause, r->pending_status);
	}
}

/* -- its end ---------------------------------------------------------------- */

static void request_close_file(struct pail_request *r)
{
	if (r->send_fd >= 0 && r->cause) {
		close(r->send_fd);
		r->send_fd = -1;
	}
}

static void request_run_defers(struct pail_request *r)
{
	for (;;) {
		struct request_defer next;
		if (r->defer_more && r->defer_more_count > 0) {
			/* It lies in the arena, which may be overwritten: if reading it
			 * faults, we come back here and must not read it again; if it
			 * leads in a circle, the count ends it. */
			const struct request_defer *node = r->defer_more;
			r->defer_more = NULL;
			r->defer_more_count--;
			next = *node;
			r->defer_more = next.next;
		} else if (r->defer_count > 0) {
			next = r->defer[--r->defer_count];
		} else {
			return;
		}
		next.fn(next.arg);
	}
}

/* From the stage it has come to through the last, and never back. */
__attribute__((noreturn)) static void request_end(struct pail_request *r)
{
	if (r->stage == REQUEST_HANDLE) {
		r->stage = REQUEST_END_HOOK;
		if (core.handler.request_end)
			core.handler.request_end(r);
	}
	if (r->stage == REQUEST_END_HOOK)
		r->stage = REQUEST_END_DEFERS;
	/* A deferred function that fails comes back here for the next one. */
	request_run_defers(r);
	if (r->abandoned)
		streams_close(r);
	r->critical++;
	locks_end(r);
	r->stage = REQUEST_CLOSE;
	request_close_file(r);
	r->stage = REQUEST_SEND;
	output_finish(r);
	r->stage = REQUEST_DONE;
	struct worker *worker = r->worker;
	asan_leave(NULL, (void *)worker->asan_stack, worker->asan_stack_bytes);
	switch_to(&r->context, worker->context);
	__builtin_unreachable();
}

void request_abandoned(void *context)
{
	struct pail_request *r = context;

	fault_release_streams();
	r->critical = 1; /* their unlocking is not the request's own any more */
	locks_release(r);
	if (r->big_stack >= 0)
		stack_give_big(r);
	r->abandoned = true;
	r->critical = 0;
	r->outside = 0;
	r->cpu_ticks = 0; /* its end has a budget of its own */
	malloc_switch(r, &r->bucket->arena);
	request_end(r);
}

void request_note(struct pail_request *r, const char *cause, int status, uintptr_t site)
{
	if (r->cause)
		return;
	r->cause = cause;
	r->fail_status = status;
	if (site)
		r->site = site;
}

void request_fail(struct pail_request *r, const char *cause, int status)
{
	assert(r->stage < REQUEST_CLOSE);
	request_note(r, cause, status, 0);
	libc_lock_left(r, 0, (uintptr_t)__builtin_frame_address(0), false);
	asan_forget(r->bucket->stack, r->bucket->stack_bytes);
	switch_abandon(r->stack_top, request_abandoned, r);
}

static void request_main(void *context)
{
	struct pail_request *r = context;

	asan_arrive(NULL, &r->worker->asan_stack, &r->worker->asan_stack_bytes);
	r->critical = 0;
	int status = core.handler.handle(r);
	if (status >= 200 && status <= 599) {
		if (!r->status)
			r->status = status;
	} else {
		request_fail(r, r->explained ? "handler-error" : "bad-status", 500);
	}
	request_end(r);
}

/* -- its beginning, and the changes of stack ---------------------------------- */

static const char *request_string(struct connection *c, struct parse_span span)
{
	c->bytes[c->start + span.offset + span.length] = 0;
	return c->bytes + c->start + span.offset;
}

static void request_set_up(struct pail_request *r, struct connection *c, struct bucket *bucket)
{
	const struct parse_head *head = &c->head;

	size_t zero_bytes = offsetof(struct pail_request, detail);

	/* By the library, whose stores are wide: gcc would write "rep stosq". */
	__asm__("" : "+r"(zero_bytes));
	memset(r, 0, zero_bytes);
	r->detail[0] = 0;
	locks_begin(&r->locks);
	r->streams.count = 0;
	r->bucket = bucket;
	r->connection = c;
	r->worker = c->worker;
	r->declared_length = -1;
	r->send_fd = -1;
	r->big_stack = -1;
	r->stack_top = bucket->stack + bucket->stack_bytes;
	r->is_head = head->is_head;
	r->minor = head->minor != 0;
	r->may_continue = head->expect_continue;
	r->field_count = head->field_count;
	memcpy(r->field, head->fields, head->field_count * sizeof(r->field[0]));
	r->path = head->path.length ? request_string(c, head->path) : "/";
	r->route_path = parse_path(head, c->bytes + c->start);
	r->route = c->route;
	r->query = head->has_query ? request_string(c, head->query) : "";
	r->method = request_string(c, head->method);
	for (uint32_t i = 0; i < r->field_count; i++) {
		request_string(c, r->field[i].name);
		request_string(c, r->field[i].value);
	}
	parse_body_init(&c->body, head);
	c->at = c->start + head->head_bytes;
	r->arrival_ns = c->arrival_ns;
	r->start_ns = c->worker->now_ns;
	r->critical = 1; /* until its own stack runs */
}

/* What is to be done around every stretch that a request runs for. */
static void request_before(struct pail_request *r)
{
	struct worker *worker = r->worker;

	atomic_store_explicit(&worker->resumed_ns, worker->now_ns, memory_order_relaxed);
	worker->running = r;
	malloc_switch(r, &r->bucket->arena);
	pkeys_of(r->bucket->index);
}

static bool request_after(struct worker *worker, struct pail_request *r)
{
	pkeys_all();
	malloc_switch(NULL, NULL);
	worker->running = NULL;
	/* The end of this stretch, and the beginning of whatever comes next. */
	worker->now_ns = loop_now_ns();
	atomic_store_explicit(&worker->resumed_ns, 0, memory_order_relaxed);
	return r->stage == REQUEST_DONE;
}

static void request_renew(struct worker *worker, struct bucket *bucket)
{
	bucket_renew(bucket);
	worker->now_ns = loop_now_ns();
}

bool request_start(struct connection *c, struct bucket *bucket)
{
	struct pail_request *r = &bucket->request;
	struct worker *worker = c->worker;
	void *fake = NULL;

	if (escapes_on())
		escapes_begin(bucket);
	if (bucket->generation != atomic_load(&core.app_generation))
		request_renew(worker, bucket);
	request_set_up(r, c, bucket);
	c->bucket = bucket;
	bucket->requests++;
	request_before(r);
	asan_forget(bucket->stack, bucket->stack_bytes);
	asan_leave(&fake, bucket->stack, bucket->stack_bytes);
	switch_start(&worker->context, r->stack_top, request_main, r);
	asan_arrive(fake, NULL, NULL);
	return request_after(worker, r);
}

bool request_resume(struct pail_request *r, enum request_wake wake)
{
	struct worker *worker = r->worker;
	void *fake = NULL;

	r->wake = wake;
	r->waits_for = REQUEST_WAIT_NONE;
	timer_clear(&r->connection->timer);
	request_before(r);
	asan_leave(&fake, r->bucket->stack, r->bucket->stack_bytes);
	switch_to(&worker->context, r->context);
	asan_arrive(fake, NULL, NULL);
	return request_after(worker, r);
}

enum request_wake request_wait(struct pail_request *r, enum request_wait what,
			       uint64_t until_ns)
{
	struct worker *worker = r->worker;
	void *fake = NULL;

	uint64_t deadline_ns = UINT64_MAX;
	if (core.plan.wall_deadline_ns && r->stage < REQUEST_SEND)
		deadline_ns = r->start_ns + core.plan.wall_deadline_ns;
	request_enter(r);
	output_flush(r->connection);
	r->waits_for = what;
	timer_set(&worker->timers, &r->connection->timer,
		  until_ns < deadline_ns ? until_ns : deadline_ns);
	asan_leave(&fake, (void *)worker->asan_stack, worker->asan_stack_bytes);
	switch_to(&r->context, worker->context);
	asan_arrive(fake, &worker->asan_stack, &worker->asan_stack_bytes);
	if (worker->now_ns >= deadline_ns) {
		r->pending = "deadline-wall";
		r->pending_status = 504;
	}
	request_leave(r);
	return r->wake;
}
