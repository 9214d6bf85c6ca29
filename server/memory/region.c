/* SPDX-License-Identifier: MIT */
#include "server/memory/region.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum {
	TOUCH_THREADS_MAX = 8,
	TOUCH_BYTES = 1 << 20, /* touched at a time */
#ifdef __SANITIZE_THREAD__     /* its thread-local storage alone is larger */
	TOUCH_STACK_BYTES = 2 << 20,
#else
	TOUCH_STACK_BYTES = 256 << 10, /* of a helper, while it lasts */
#endif
};

static size_t page_round(size_t bytes)
{
	return (bytes + LIMITS_PAGE_BYTES - 1) & ~(size_t)(LIMITS_PAGE_BYTES - 1);
}

static size_t thread_stride(void)
{
	return LIMITS_THREAD_BYTES + 2 * LIMITS_PAGE_BYTES;
}

static size_t stack_stride(const struct region *region, uint32_t class_index)
{
	return REGION_GUARD_BYTES + region->stack_bytes[class_index];
}

static size_t big_stack_stride(const struct plan *plan)
{
	return REGION_GUARD_BYTES + plan->big_stack_bytes;
}

static size_t resolver_stride(void)
{
	return REGION_GUARD_BYTES + LIMITS_RESOLVER_BYTES;
}

static size_t arena_stride(const struct plan *plan, uint32_t class_index)
{
	return plan->class[class_index].size_bytes + LIMITS_PAGE_BYTES;
}

static size_t admin_bytes(const struct plan *plan)
{
	return plan->admin[0] ? LIMITS_ADMIN_REGION_BYTES : 0;
}

static size_t addresses_bytes(const struct plan *plan)
{
	return limits_addresses(plan) * (size_t)LIMITS_ADDRESS_BYTES;
}

static void region_lay_out(struct region *region, const struct plan *plan)
{
	size_t at = LIMITS_PAGE_BYTES;

	region->threads = at;
	at += plan->threads * thread_stride();
	region->bucket_count = 0;
	for (uint32_t i = 0; i < plan->class_count; i++) {
		region->class_first[i] = region->bucket_count;
		region->bucket_count += plan->class[i].count;
	}
	for (uint32_t i = 0; i < plan->class_count; i++) {
		region->stack_bytes[i] = limits_class_stack_bytes(plan, i);
		region->stacks[i] = at;
		at += plan->class[i].count * stack_stride(region, i);
	}
	region->big_stacks = at;
	at += plan->big_stack_count * big_stack_stride(plan);
	region->resolvers = at;
	at += plan->resolvers * resolver_stride();
	at += REGION_GUARD_BYTES;
	for (uint32_t i = 0; i < plan->class_count; i++) {
		region->arenas[i] = at;
		at += plan->class[i].count * arena_stride(plan, i);
	}
	region->meta = at;
	at += region->bucket_count * (size_t)LIMITS_BUCKET_META_BYTES + LIMITS_PAGE_BYTES;
	region->heads = at;
	at += page_round(plan->connections * plan->head_bytes) + LIMITS_PAGE_BYTES;
	region->connections = at;
	at += page_round(plan->connections * (size_t)LIMITS_CONNECTION_BYTES) +
	      LIMITS_PAGE_BYTES;
	region->addresses = at;
	at += page_round(addresses_bytes(plan)) + LIMITS_PAGE_BYTES;
	region->system = at;
	at += page_round(plan->system_bytes) + LIMITS_PAGE_BYTES;
	region->tls = at;
	at += page_round(limits_tls_bytes(plan)) + LIMITS_PAGE_BYTES;
	region->admin = at;
	at += admin_bytes(plan) + LIMITS_PAGE_BYTES;
	region->span_bytes = at;
}

/* -- touching -------------------------------------------------------------------- */

/* Calls fn for each piece that is to be memory; stops at the first that fails. */
typedef int piece_fn(struct region *region, size_t offset, size_t bytes, void *context);

static int stacks_each(struct region *region, uint32_t class_index, piece_fn *fn, void *context)
{
	for (uint32_t k = 0; k < region->plan->class[class_index].count; k++) {
		size_t at = region->stacks[class_index] +
			    k * stack_stride(region, class_index) + REGION_GUARD_BYTES;
		if (fn(region, at, region->stack_bytes[class_index], context) < 0)
			return -1;
	}
	return 0;
}

static int arenas_each(struct region *region, uint32_t class_index, piece_fn *fn, void *context)
{
	const struct plan *plan = region->plan;

	for (uint32_t k = 0; k < plan->class[class_index].count; k++) {
		size_t at = region->arenas[class_index] + k * arena_stride(plan, class_index);
		if (fn(region, at, plan->class[class_index].size_bytes, context) < 0)
			return -1;
	}
	return 0;
}

/* What each thread and each lent stack has. */
static int threads_each(struct region *region, piece_fn *fn, void *context)
{
	const struct plan *plan = region->plan;

	for (uint32_t i = 0; i < plan->threads; i++) {
		size_t at = region->threads + i * thread_stride();
		size_t worker = at + REGION_SIGNAL_STACK_BYTES + LIMITS_PAGE_BYTES;
		if (fn(region, at, REGION_SIGNAL_STACK_BYTES, context) < 0 ||
		    fn(region, worker, REGION_WORKER_BYTES, context) < 0)
			return -1;
	}
	for (uint32_t i = 0; i < plan->big_stack_count; i++) {
		size_t at = region->big_stacks + i * big_stack_stride(plan);
		if (fn(region, at + REGION_GUARD_BYTES, plan->big_stack_bytes, context) < 0)
			return -1;
	}
	for (uint32_t i = 0; i < plan->resolvers; i++) {
		size_t at = region->resolvers + i * resolver_stride();
		if (fn(region, at + REGION_GUARD_BYTES, LIMITS_RESOLVER_BYTES, context) < 0)
			return -1;
	}
	return 0;
}

static int region_each(struct region *region, piece_fn *fn, void *context)
{
	const struct plan *plan = region->plan;
	const struct {
		size_t offset, bytes;
	} single[] = {
		{region->meta, region->bucket_count * (size_t)LIMITS_BUCKET_META_BYTES},
		{region->heads, page_round(plan->connections * plan->head_bytes)},
		{region->connections,
		 page_round(plan->connections * (size_t)LIMITS_CONNECTION_BYTES)},
		{region->addresses, page_round(addresses_bytes(plan))},
		{region->system, page_round(plan->system_bytes)},
		{region->tls, page_round(limits_tls_bytes(plan))},
		{region->admin, admin_bytes(plan)},
	};

	if (threads_each(region, fn, context) < 0)
		return -1;
	for (uint32_t i = 0; i < plan->class_count; i++)
		if (stacks_each(region, i, fn, context) < 0 ||
		    arenas_each(region, i, fn, context) < 0)
			return -1;
	for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
		if (single[i].bytes &&
		    fn(region, single[i].offset, single[i].bytes, context) < 0)
			return -1;
	return 0;
}

static int piece_open(struct region *region, size_t offset, size_t bytes, void *context)
{
	(void)context;
	if (mprotect(region->base + offset, bytes, PROT_READ | PROT_WRITE) < 0)
		return -1;
	region->touched_bytes += bytes;
	return 0;
}

/* Who touches: all of them walk the same pieces in the same order, and each takes
 * the next part that nobody has taken yet. */
struct touch {
	struct region *region;
	_Atomic size_t next; /* part that nobody has taken */
	_Atomic int error;   /* errno of one that failed, or 0 */
};
struct toucher {
	struct touch *touch;
	size_t part, mine; /* where the walk is; what is to be touched next */
};

/* Has the kernel back all of it. */
static int part_touch(struct touch *touch, unsigned char *from, size_t bytes)
{
	if (madvise(from, bytes, MADV_POPULATE_WRITE) < 0) {
		/* A kernel before 5.14. */
		for (size_t i = 0; i < bytes; i += LIMITS_PAGE_BYTES)
			*(volatile unsigned char *)(from + i) = 0;
	}
	if (touch->region->plan->mlock && mlock(from, bytes) < 0) {
		atomic_store(&touch->error, errno);
		return -1;
	}
	return 0;
}

static int piece_touch(struct region *region, size_t offset, size_t bytes, void *context)
{
	struct toucher *toucher = context;
	struct touch *touch = toucher->touch;

	for (size_t at = 0; at < bytes; at += TOUCH_BYTES) {
		if (toucher->part++ != toucher->mine)
			continue;
		size_t part_bytes = bytes - at < TOUCH_BYTES ? bytes - at : TOUCH_BYTES;
		if (atomic_load(&touch->error) ||
		    part_touch(touch, region->base + offset + at, part_bytes) < 0)
			return -1;
		toucher->mine = atomic_fetch_add(&touch->next, 1);
	}
	return 0;
}

static void *touch_run(void *context)
{
	struct touch *touch = context;
	struct toucher toucher = {.touch = touch, .mine = atomic_fetch_add(&touch->next, 1)};

	region_each(touch->region, piece_touch, &toucher);
	return NULL;
}

static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* A helper on `stack`, which is ours: libc would keep one of its own for later. */
static int touch_help(pthread_t *thread, unsigned char *stack, struct touch *touch)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr) != 0)
		return -1;
	int failed = pthread_attr_setstack(&attr, stack, TOUCH_STACK_BYTES) != 0 ||
		     pthread_create(thread, &attr, touch_run, touch) != 0;
	pthread_attr_destroy(&attr);
	return failed ? -1 : 0;
}

/* Makes every piece writable, then has the kernel back it, by a thread on each
 * processor: it is the kernel's time that the start takes. Helpers that cannot be
 * had are done without. */
static int region_touch_all(struct region *region)
{
	struct touch touch = {.region = region};
	pthread_t helper[TOUCH_THREADS_MAX];
	unsigned count = 0, most = processors();

	if (region_each(region, piece_open, NULL) < 0)
		return -1;
	if (most > TOUCH_THREADS_MAX)
		most = TOUCH_THREADS_MAX;
	size_t stacks_bytes = (most - 1) * (size_t)TOUCH_STACK_BYTES;
	unsigned char *stacks = MAP_FAILED;
	if (stacks_bytes)
		stacks = mmap(NULL, stacks_bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	while (stacks != MAP_FAILED && count + 1 < most &&
	       touch_help(&helper[count], stacks + count * TOUCH_STACK_BYTES, &touch) == 0)
		count++;
	touch_run(&touch);
	for (unsigned i = 0; i < count; i++)
		pthread_join(helper[i], NULL);
	if (stacks != MAP_FAILED)
		munmap(stacks, stacks_bytes);
	errno = atomic_load(&touch.error);
	region->lock_failed = errno != 0;
	return errno ? -1 : 0;
}

/* -- opening ---------------------------------------------------------------------- */

int region_open(struct region *region, const struct plan *plan, struct err *err)
{
	memset(region, 0, sizeof(*region));
	region->plan = plan;
	region_lay_out(region, plan);
	void *base = mmap(NULL, region->span_bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return err_errno(err,
				 "can't map %zu bytes of address space (fewer or smaller "
				 "buckets, or a higher ulimit -v)",
				 region->span_bytes);
	region->base = base;
	/* A huge page that reaches into a guard would be memory that the bound does
	 * not count; and one fault per page at start is cheap. */
	madvise(base, region->span_bytes, MADV_NOHUGEPAGE);
	if (region_touch_all(region) < 0) {
		err_errno(
			err,
			region->lock_failed
				? "[server] mlock: can't lock the %zu bytes of the plan "
				  "(raise ulimit -l, or give the capability IPC_LOCK)"
				: "can't get the %zu bytes that the plan needs (fewer or smaller "
				  "buckets, or a larger vm.max_map_count)",
			region->touched_bytes);
		munmap(base, region->span_bytes);
		return -1;
	}
	return 0;
}

unsigned char *region_signal_stack(const struct region *region, uint32_t thread)
{
	assert(thread < region->plan->threads);
	return region->base + region->threads + thread * thread_stride();
}

unsigned char *region_worker(const struct region *region, uint32_t thread)
{
	return region_signal_stack(region, thread) + REGION_SIGNAL_STACK_BYTES +
	       LIMITS_PAGE_BYTES;
}

unsigned char *region_stack(const struct region *region, uint32_t bucket)
{
	assert(bucket < region->bucket_count);
	uint32_t i = region_class_of(region, bucket);
	return region->base + region->stacks[i] +
	       (bucket - region->class_first[i]) * stack_stride(region, i) + REGION_GUARD_BYTES;
}

unsigned char *region_big_stack(const struct region *region, uint32_t index)
{
	assert(index < region->plan->big_stack_count);
	return region->base + region->big_stacks + index * big_stack_stride(region->plan) +
	       REGION_GUARD_BYTES;
}

unsigned char *region_resolver(const struct region *region, uint32_t index)
{
	assert(index < region->plan->resolvers);
	return region->base + region->resolvers + index * resolver_stride() +
	       REGION_GUARD_BYTES;
}

uint32_t region_class_of(const struct region *region, uint32_t bucket)
{
	uint32_t i = region->plan->class_count - 1;

	while (bucket < region->class_first[i])
		i--;
	return i;
}

unsigned char *region_arena(const struct region *region, uint32_t bucket)
{
	assert(bucket < region->bucket_count);
	uint32_t i = region_class_of(region, bucket);
	return region->base + region->arenas[i] +
	       (bucket - region->class_first[i]) * arena_stride(region->plan, i);
}

unsigned char *region_meta(const struct region *region, uint32_t bucket)
{
	assert(bucket < region->bucket_count);
	return region->base + region->meta + bucket * (size_t)LIMITS_BUCKET_META_BYTES;
}

size_t region_head_bytes(const struct region *region)
{
	return region->plan->head_bytes & ~(size_t)15;
}

unsigned char *region_head(const struct region *region, uint32_t connection)
{
	assert(connection < region->plan->connections);
	return region->base + region->heads + connection * region_head_bytes(region);
}

unsigned char *region_connections(const struct region *region)
{
	return region->base + region->connections;
}

unsigned char *region_addresses(const struct region *region)
{
	return region->base + region->addresses;
}

unsigned char *region_system(const struct region *region)
{
	return region->base + region->system;
}

unsigned char *region_tls(const struct region *region)
{
	return region->base + region->tls;
}

unsigned char *region_admin(const struct region *region)
{
	return region->base + region->admin;
}

bool region_in_arenas(const struct region *region, const void *p)
{
	size_t at = (size_t)((const unsigned char *)p - region->base);
	return at >= region->arenas[0] && at < region->meta;
}
