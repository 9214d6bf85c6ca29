/* SPDX-License-Identifier: MIT */
#include "base/limits.h"

#include "base/limits_parts.h"
#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };
static const uint64_t SECOND_NS = UINT64_C(1000000000);

void limits_defaults(struct plan *plan)
{
	*plan = (struct plan){
		.listen = "127.0.0.1:8080",
		.threads = 1,
		.connections = 1024,
		/* The kernel doubles both and charges them to every connection, so they
		 * are the largest term by far: 32K still moves 32 MB/s at 1 ms. */
		.rcvbuf_bytes = 16 * KIB,
		.sndbuf_bytes = 32 * KIB,
		.head_bytes = 8 * KIB,
		.queue = 64,
		.wait_ns = SECOND_NS,
		.patience_ns = SECOND_NS / 2,
		.drain_ns = 30 * SECOND_NS,
		.head_timeout_ns = 10 * SECOND_NS,
		.body_timeout_ns = 30 * SECOND_NS,
		.write_timeout_ns = 30 * SECOND_NS,
		.idle_timeout_ns = 60 * SECOND_NS,
		.cpu_deadline_ns = 5 * SECOND_NS,
		.wall_deadline_ns = 30 * SECOND_NS,
		.outgoing = 32,
		.outgoing_rcvbuf_bytes = 16 * KIB,
		.outgoing_sndbuf_bytes = 16 * KIB,
		.outgoing_wait_ns = SECOND_NS,
		.resolvers = 2,
		.image_bytes = 16 * MIB,
		.system_bytes = 8 * MIB,
		.policy = ARENA_REUSE,
		.stack_bytes = 64 * KIB,
		.big_stack_bytes = MIB,
		.big_stack_count = 2,
		.big_stack_wait_ns = SECOND_NS / 10,
		.tls = {.min_version = "1.2",
			.connections = 128,
			.handshakes = 16,
			.handshake_timeout_ns = 5 * SECOND_NS},
		.logs = {.ring_bytes = 256 * KIB},
		.class_count = 1,
		.class = {{.name = "main", .size_bytes = 256 * KIB, .count = 16}},
	};
}

/* -- the sum -------------------------------------------------------------- */

uint64_t limits_class_stack_bytes(const struct plan *plan, uint32_t class_index)
{
	uint64_t most = plan->stack_bytes;
	for (uint32_t i = 0; i < plan->route_count; i++) {
		const struct plan_route *route = &plan->route[i];
		bool reaches = route->class_index == class_index ||
			       (route->retry && route->class_index < class_index);
		if (reaches && route->stack_bytes > most)
			most = route->stack_bytes;
	}
	return most;
}

/* Adds up while it watches for overflow; `bound` may be NULL. */
struct sum {
	struct bound *bound;
	uint64_t total_bytes;
	bool overflow;
};

static struct bound_term *add(struct sum *sum, uint64_t count, uint64_t each_bytes)
{
	uint64_t bytes;
	sum->overflow |= __builtin_mul_overflow(count, each_bytes, &bytes);
	sum->overflow |= __builtin_add_overflow(sum->total_bytes, bytes, &sum->total_bytes);
	if (!sum->bound)
		return NULL;
	assert(sum->bound->term_count < LIMITS_TERMS_MAX);
	struct bound_term *term = &sum->bound->term[sum->bound->term_count++];
	term->bytes = bytes;
	term->how[0] = '\0';
	return term;
}

/* "256 KiB" where it is exact, bytes where it is not. */
static const char *exact(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
	if (bytes >= MIB && bytes % MIB == 0)
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " MiB", bytes / MIB);
	else if (bytes >= KIB && bytes % KIB == 0)
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " KiB", bytes / KIB);
	else
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
	return text;
}

static void name_term(struct bound_term *term, const char *name, const char *how, ...)
	__attribute__((format(printf, 3, 4)));

static void name_term(struct bound_term *term, const char *name, const char *how, ...)
{
	if (!term)
		return;
	snprintf(term->name, sizeof(term->name), "%s", name);
	va_list args;
	va_start(args, how);
	vsnprintf(term->how, sizeof(term->how), how, args);
	va_end(args);
}

static void add_classes(struct sum *sum, const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->class_count; i++) {
		const struct plan_class *class = &plan->class[i];
		uint64_t stack_bytes = limits_class_stack_bytes(plan, i), each_bytes;
		sum->overflow |=
			__builtin_add_overflow(class->size_bytes, stack_bytes, &each_bytes);
		sum->overflow |= __builtin_add_overflow(each_bytes, LIMITS_BUCKET_META_BYTES,
							&each_bytes);
		struct bound_term *term = add(sum, class->count, each_bytes);
		if (!term)
			continue;
		char name[sizeof(term->name)], a[UNITS_TEXT_MAX], s[UNITS_TEXT_MAX],
			m[UNITS_TEXT_MAX];
		snprintf(name, sizeof(name), "bucket %s", class->name);
		name_term(term, name, "%u x (%s arena + %s stack + %s meta)", class->count,
			  exact(class->size_bytes, a), exact(stack_bytes, s),
			  exact(LIMITS_BUCKET_META_BYTES, m));
	}
}

static void add_connections(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	struct bound_term *term = add(sum, plan->connections, plan->head_bytes);
	name_term(term, "header buffers", "%u connections x %s", plan->connections,
		  exact(plan->head_bytes, a));
	term = add(sum, plan->connections, LIMITS_CONNECTION_BYTES);
	name_term(term, "connection table", "%u connections x %s", plan->connections,
		  exact(LIMITS_CONNECTION_BYTES, a));
	if (limits_addresses(plan) > 0)
		name_term(add(sum, limits_addresses(plan), LIMITS_ADDRESS_BYTES),
			  "client addresses", "(%u connections + %u threads) x %s",
			  plan->connections, plan->threads, exact(LIMITS_ADDRESS_BYTES, a));
	uint64_t buffers_bytes;
	sum->overflow |=
		__builtin_add_overflow(plan->rcvbuf_bytes, plan->sndbuf_bytes, &buffers_bytes);
	sum->overflow |= __builtin_mul_overflow(buffers_bytes, 2, &buffers_bytes);
	term = add(sum, plan->connections, buffers_bytes);
	name_term(term, "socket buffers", "%u connections x 2 x (%s rcvbuf + %s sndbuf)",
		  plan->connections, exact(plan->rcvbuf_bytes, a),
		  exact(plan->sndbuf_bytes, b));
	term = add(sum, plan->connections, LIMITS_KERNEL_CONNECTION_BYTES);
	name_term(term, "kernel's own", "%u connections x %s of sockets, files, timers",
		  plan->connections, exact(LIMITS_KERNEL_CONNECTION_BYTES, a));
}

/* Sockets that handlers open, to databases and the like. */
static void add_outgoing(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX];
	uint64_t each_bytes;
	if (plan->outgoing > 0) {
		sum->overflow |= __builtin_add_overflow(
			plan->outgoing_rcvbuf_bytes, plan->outgoing_sndbuf_bytes, &each_bytes);
		sum->overflow |= __builtin_mul_overflow(each_bytes, 2, &each_bytes);
		sum->overflow |= __builtin_add_overflow(
			each_bytes, LIMITS_KERNEL_CONNECTION_BYTES, &each_bytes);
		name_term(add(sum, plan->outgoing, each_bytes), "outgoing connections",
			  "%u x (2 x (%s rcvbuf + %s sndbuf) + %s kernel's own)",
			  plan->outgoing, exact(plan->outgoing_rcvbuf_bytes, a),
			  exact(plan->outgoing_sndbuf_bytes, b),
			  exact(LIMITS_KERNEL_CONNECTION_BYTES, c));
	}
	if (plan->resolvers > 0)
		name_term(add(sum, plan->resolvers, LIMITS_RESOLVER_BYTES), "name look-ups",
			  "%u threads x %s", plan->resolvers, exact(LIMITS_RESOLVER_BYTES, a));
}

/* One more for each thread: a newcomer is looked up before another makes room. */
uint32_t limits_addresses(const struct plan *plan)
{
	bool counts = plan->per_address > 0 || plan->connections_per_address > 0;
	return counts ? plan->connections + plan->threads : 0;
}

uint64_t limits_tls_bytes(const struct plan *plan)
{
	const uint64_t more_bytes = LIMITS_TLS_HANDSHAKE_BYTES - LIMITS_TLS_CONNECTION_BYTES;
	if (!plan->tls.listen[0])
		return 0;
	return LIMITS_TLS_BASE_BYTES +
	       plan->tls.connections * (uint64_t)LIMITS_TLS_CONNECTION_BYTES +
	       plan->tls.handshakes * more_bytes;
}

static void add_tls(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX];
	if (!plan->tls.listen[0])
		return;
	name_term(add(sum, 1, limits_tls_bytes(plan)), "TLS",
		  "%s + %u connections x %s + %u handshakes x %s",
		  exact(LIMITS_TLS_BASE_BYTES, a), plan->tls.connections,
		  exact(LIMITS_TLS_CONNECTION_BYTES, b), plan->tls.handshakes,
		  exact(LIMITS_TLS_HANDSHAKE_BYTES - LIMITS_TLS_CONNECTION_BYTES, c));
}

/* Eight bytes for each page of address space, guard zones included: at most
 * one stack with its guard for each bucket, big stack and worker. */
static void add_page_tables(struct sum *sum, const struct plan *plan)
{
	uint64_t stacks = plan->big_stack_count + plan->resolvers + (uint64_t)plan->threads * 2;
	for (uint32_t i = 0; i < plan->class_count; i++)
		stacks += plan->class[i].count;
	uint64_t user_bytes = sum->total_bytes, space_bytes;
	sum->overflow |=
		__builtin_add_overflow(user_bytes, stacks * LIMITS_GUARD_BYTES, &space_bytes);
	name_term(add(sum, 1, LIMITS_PAGE_TABLES_LEAST_BYTES + space_bytes / 512),
		  "page tables", "8 bytes for each page, and those of guard zones");
}

static void add_all(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX];
	add_classes(sum, plan);
	struct bound_term *term = add(sum, plan->big_stack_count, plan->big_stack_bytes);
	name_term(term, "big stacks", "%u x %s", plan->big_stack_count,
		  exact(plan->big_stack_bytes, a));
	add_connections(sum, plan);
	add_outgoing(sum, plan);
	add_tls(sum, plan);
	name_term(add(sum, 1, plan->system_bytes), "system region",
		  "what is allocated outside "
		  "requests");
	term = add(sum, plan->threads, LIMITS_THREAD_BYTES);
	name_term(term, "worker threads", "%u x %s", plan->threads,
		  exact(LIMITS_THREAD_BYTES, a));
	term = add(sum, plan->threads, plan->logs.ring_bytes);
	name_term(term, "log", "%u threads x %s of lines that wait to be written",
		  plan->threads, exact(plan->logs.ring_bytes, a));
	if (plan->admin[0])
		name_term(add(sum, 1, LIMITS_ADMIN_REGION_BYTES + LIMITS_ADMIN_KERNEL_BYTES),
			  "admin address", "%d clients, their buffers and sockets, a thread",
			  LIMITS_ADMIN_CLIENTS);
	name_term(add(sum, 1, plan->image_bytes), "text, data and libraries", "allowance");
	add_page_tables(sum, plan);
	if (plan->overlap)
		name_term(add(sum, 1, sum->total_bytes), "successor",
			  "overlap: all of it once more, while a process that failed drains");
	if (plan->recorder)
		name_term(add(sum, 1,
			      LIMITS_RECORD_PIPE_BYTES + LIMITS_RECORDER_BYTES +
				      plan->threads * (uint64_t)LIMITS_RECORD_RING_BYTES),
			  "recorder",
			  "--record: a pipe, %u rings before it, and a process that writes "
			  "the trace",
			  plan->threads);
}

void limits_bound(const struct plan *plan, struct bound *bound)
{
	bound->term_count = 0;
	struct sum sum = {.bound = bound};
	add_all(&sum, plan);
	assert(!sum.overflow);
	bound->total_bytes = sum.total_bytes;
}

bool limits_sum(const struct plan *plan, uint64_t *total_bytes)
{
	struct sum sum = {0};
	add_all(&sum, plan);
	*total_bytes = sum.total_bytes;
	return !sum.overflow;
}

uint64_t limits_bound_bytes(const struct plan *plan)
{
	uint64_t total_bytes;
	bool fits = limits_sum(plan, &total_bytes);
	assert(fits);
	return total_bytes;
}
