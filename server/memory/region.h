/* SPDX-License-Identifier: MIT */
/*
 * The one mapping: everything that the server will ever write to, laid out
 * from the plan at start and touched then, so that nothing can be refused
 * later and no request ever makes the kernel map a page.
 *
 * From low addresses to high, with PROT_NONE (address space, no memory)
 * wherever a * stands:
 *
 *	thread blocks     per worker: * signal stack, * worker state and stack
 *	stacks            per bucket: * REGION_GUARD_BYTES, then its small stack
 *	big stacks        the same, for those that are lent
 *	resolvers         per thread that looks up names: * its stack
 *	arenas            class by class: arena, *
 *	meta              per bucket: struct bucket (arena, request, output)
 *	head buffers      per connection
 *	connection table
 *	pool of TLS
 *	system region     malloc outside a request
 *	admin             with [server] admin: its thread's stack, its clients
 *
 * Signal stacks lie below the coroutine stacks, since glibc's longjmp checks
 * compare addresses. A guard of 1 MiB stops any frame that the compiler probes
 * (-fstack-clash-protection) and the largest fixed frame found in libc; one
 * page does not. Meta lies away from the arenas, so that a handler that writes
 * past its bucket meets a guard page before it meets the core.
 *
 * Made once by the main thread, memory by a helper on each processor as well, all
 * of which are gone when region_open() returns; read-only afterwards.
 */
#ifndef PAIL_SERVER_REGION_H
#define PAIL_SERVER_REGION_H

#include "base/err.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REGION_GUARD_BYTES = LIMITS_GUARD_BYTES,
	REGION_SIGNAL_STACK_BYTES = 64 << 10,
	/* The rest of a thread's share; less a little, for what rounding other
	 * pieces up to pages takes. */
	REGION_WORKER_BYTES = LIMITS_THREAD_BYTES - REGION_SIGNAL_STACK_BYTES - (16 << 10),
};

struct region {
	unsigned char *base;
	size_t span_bytes;    /* of address space */
	size_t touched_bytes; /* of memory: the bound without sockets and image */
	bool lock_failed;     /* [server] mlock */
	const struct plan *plan;
	uint32_t bucket_count;
	uint32_t class_first[LIMITS_CLASSES_MAX]; /* index of the class's first bucket */
	/* Offsets from base. */
	size_t threads, stacks[LIMITS_CLASSES_MAX], big_stacks, resolvers,
		arenas[LIMITS_CLASSES_MAX];
	size_t meta, heads, connections, addresses, system, admin, tls;
	size_t stack_bytes[LIMITS_CLASSES_MAX];
};

/* Maps and touches. -1 if the machine has not that much memory. */
int region_open(struct region *region, const struct plan *plan, struct err *err);

unsigned char *region_signal_stack(const struct region *region, uint32_t thread);
unsigned char *region_worker(const struct region *region, uint32_t thread);
unsigned char *region_stack(const struct region *region, uint32_t bucket); /* its low end */
unsigned char *region_big_stack(const struct region *region, uint32_t index);
unsigned char *region_resolver(const struct region *region, uint32_t index);
unsigned char *region_arena(const struct region *region, uint32_t bucket);
unsigned char *region_meta(const struct region *region, uint32_t bucket);
unsigned char *region_head(const struct region *region, uint32_t connection);
size_t region_head_bytes(const struct region *region); /* of one: rounded down to 16 */
unsigned char *region_connections(const struct region *region);
unsigned char *region_addresses(const struct region *region);
unsigned char *region_tls(const struct region *region);
unsigned char *region_system(const struct region *region);
unsigned char *region_admin(const struct region *region);

uint32_t region_class_of(const struct region *region, uint32_t bucket);
/* p lies in some bucket's arena. */
bool region_in_arenas(const struct region *region, const void *p);

#endif
