/* SPDX-License-Identifier: MIT */
#include "server/memory/malloc.h"

#include "server/request/bucket.h"
#include "server/core.h"
#include "server/memory/escapes.h"
#include "server/failure/locks.h"
#include "server/connection/loop.h"
#include "server/request/request.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct module {
	uintptr_t low, high;           /* its code */
	uintptr_t data_low, data_high; /* what it can write to */
	bool unwind;
};

static struct {
	struct module libc, loader;
	struct module listed[LIMITS_LIBRARIES_MAX];
	uint32_t listed_count;
	bool others_null; /* "* = null" */
	atomic_flag lock;
	bool cradle_ready;
	struct arena cradle, system;
	uint64_t refused;
	uint64_t blocks; /* living, in cradle and region */
} family = {.lock = ATOMIC_FLAG_INIT};

static _Thread_local struct pail_request *thread_request;
static _Thread_local struct arena *thread_arena;   /* its bucket's, or NULL */
static _Thread_local struct arena *thread_serving; /* the same, or NULL while outside */

void malloc_switch(struct pail_request *r, struct arena *arena)
{
	thread_request = r;
	thread_arena = arena;
	thread_serving = r && r->outside ? NULL : arena;
}

static _Thread_local uint32_t thread_outside; /* where there is no request */

void malloc_outside(int step)
{
	uint32_t *depth = thread_request ? &thread_request->outside : &thread_outside;

	assert(step > 0 || *depth > 0);
	*depth += (uint32_t)step;
	thread_serving = *depth ? NULL : thread_arena;
}

/* -- modules ----------------------------------------------------------------- */

static bool within(const struct module *module, uintptr_t pc)
{
	return pc - module->low < module->high - module->low;
}

bool malloc_pc_in_libc(uintptr_t pc)
{
	return within(&family.libc, pc) || within(&family.loader, pc);
}

void malloc_libc_code(struct malloc_code *libc, struct malloc_code *loader)
{
	*libc = (struct malloc_code){family.libc.low, family.libc.high - family.libc.low};
	*loader =
		(struct malloc_code){family.loader.low, family.loader.high - family.loader.low};
}

bool malloc_pc_in_loader(uintptr_t pc)
{
	return within(&family.loader, pc);
}

static void module_take(struct module *module, const struct dl_phdr_info *info)
{
	module->low = UINTPTR_MAX;
	module->high = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		if (ph->p_type == PT_LOAD && ph->p_flags & PF_W) {
			module->data_low = info->dlpi_addr + ph->p_vaddr;
			module->data_high = module->data_low + ph->p_memsz;
		}
		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		uintptr_t low = info->dlpi_addr + ph->p_vaddr;
		if (low < module->low)
			module->low = low;
		if (low + ph->p_memsz > module->high)
			module->high = low + ph->p_memsz;
	}
	if (module->high == 0)
		module->low = 0;
}

/* "libsqlite3" is libsqlite3.so.0 and libsqlite3-1.so, not libsqlite3x.so. */
static bool library_named(const char *path, const char *name)
{
	const char *base = strrchr(path, '/');
	size_t length = strlen(name);

	base = base ? base + 1 : path;
	return strncmp(base, name, length) == 0 &&
	       (base[length] == 0 || base[length] == '.' || base[length] == '-');
}

static int module_visit(struct dl_phdr_info *info, size_t size, void *context)
{
	const struct plan *plan = context;
	const char *path = info->dlpi_name;

	(void)size;
	if (library_named(path, "libc"))
		module_take(&family.libc, info);
	else if (library_named(path, "ld-linux-x86-64") ||
		 library_named(path, "ld-linux-aarch64"))
		module_take(&family.loader, info);
	for (uint32_t i = 0; i < plan->on_oom_count; i++) {
		if (library_named(path, plan->on_oom[i].library) &&
		    family.listed_count < LIMITS_LIBRARIES_MAX) {
			struct module *module = &family.listed[family.listed_count++];
			module_take(module, info);
			module->unwind = plan->on_oom[i].unwind;
		}
	}
	return 0;
}

void malloc_modules_find(const struct plan *plan)
{
	family.listed_count = 0;
	family.others_null = false;
	for (uint32_t i = 0; i < plan->on_oom_count; i++)
		if (strcmp(plan->on_oom[i].library, "*") == 0)
			family.others_null = !plan->on_oom[i].unwind;
	dl_iterate_phdr(module_visit, (void *)plan);
}

/* -- the system region ------------------------------------------------------- */

static bool within_data(const struct module *module, uintptr_t p)
{
	return p - module->data_low < module->data_high - module->data_low;
}

bool malloc_lasts(const void *p)
{
	return within_data(&family.libc, (uintptr_t)p) ||
	       (family.system.base && arena_owns(&family.system, p)) ||
	       (family.cradle_ready && arena_owns(&family.cradle, p));
}

static _Thread_local bool thread_holds;

bool malloc_system_held(void)
{
	return thread_holds;
}

static void family_lock(void)
{
	if (thread_request)
		thread_request->critical++;
	while (atomic_flag_test_and_set_explicit(&family.lock, memory_order_acquire))
		sched_yield();
	thread_holds = true;
}

static void family_unlock(void)
{
	thread_holds = false;
	atomic_flag_clear_explicit(&family.lock, memory_order_release);
	/* Not request_leave(): libc may hold a lock of its own, and a deadline that
	 * came meanwhile is looked at again with the next tick. */
	if (thread_request)
		thread_request->critical--;
}

void malloc_system_open(void *bytes, size_t size)
{
	family_lock();
	arena_init(&family.system, bytes, size, ARENA_REUSE);
	family_unlock();
}

void malloc_count(struct malloc_counts *counts)
{
	family_lock();
	counts->system_bytes_room = family.system.size_bytes;
	counts->system_bytes_now = family.system.top_bytes;
	counts->system_bytes_peak = family.system.peak_bytes;
	counts->system_blocks = family.blocks;
	counts->refused = family.refused;
	family_unlock();
}

size_t malloc_system_used(const void **from)
{
	*from = family.system.base;
	return family.system.top_bytes;
}

void *malloc_in_bucket(struct pail_request *r, size_t size, uintptr_t caller)
{
	void *p = arena_alloc(&r->bucket->arena, size, 0);

	if (!p) {
		r->wanted_bytes = r->bucket->arena.wanted_bytes;
		r->site = caller;
		request_fail(r, "oversize", 500);
	}
	return p;
}

#ifndef PAIL_MALLOC_OFF

static _Alignas(ARENA_ALIGN_BASE) unsigned char cradle_bytes[MALLOC_CRADLE_BYTES];

static struct arena *system_arena(void)
{
	if (family.system.base)
		return &family.system;
	if (!family.cradle_ready) {
		arena_init(&family.cradle, cradle_bytes, sizeof(cradle_bytes), ARENA_REUSE);
		family.cradle_ready = true;
	}
	return &family.cradle;
}

static struct arena *system_arena_of(const void *p)
{
	if (family.system.base && arena_owns(&family.system, p))
		return &family.system;
	if (family.cradle_ready && arena_owns(&family.cradle, p))
		return &family.cradle;
	return NULL;
}

static void *system_alloc(size_t size, size_t align)
{
	family_lock();
	void *p = arena_alloc(system_arena(), size, align);
	family.blocks += p != NULL;
	if (!p)
		family.refused++;
	else if (thread_request)
		thread_request->system_blocks++;
	family_unlock();
	if (!p)
		errno = ENOMEM;
	return p;
}

/* -- a full bucket ------------------------------------------------------------- */

static bool caller_takes_null(uintptr_t caller)
{
	for (uint32_t i = 0; i < family.listed_count; i++)
		if (within(&family.listed[i], caller))
			return !family.listed[i].unwind;
	return family.others_null;
}

/* The red zone of this worker, if p lies in it. */
static struct arena *red_arena_of(const void *p)
{
	struct pail_request *r = thread_request;

	return r && r->locks.red && arena_owns(&r->worker->red_zone.arena, p)
		       ? &r->worker->red_zone.arena
		       : NULL;
}

/* NULL to those who can take it, and a jump to the others. */
static void *bucket_refused(size_t size, size_t align, uintptr_t caller)
{
	struct pail_request *r = thread_request;

	errno = ENOMEM;
	if (!r || malloc_pc_in_libc(caller))
		return NULL;
	r->wanted_bytes = thread_arena->wanted_bytes;
	if (caller_takes_null(caller) && r->null_count++ < MALLOC_NULLS_MAX)
		return NULL;
	if (!r->locks.cause)
		r->site = caller;
	if (r->locks.depth > 0)
		return locks_red_alloc(r, size, align);
	request_fail(r, "oversize", 500);
}

static void *bucket_alloc(struct arena *arena, size_t size, size_t align, uintptr_t caller)
{
	void *p = arena_alloc(arena, size, align);
	if (__builtin_expect(p == NULL, 0))
		return bucket_refused(size, align, caller);
	if (__builtin_expect(escapes_on() && thread_request, 0))
		escapes_note(arena, p, size, caller);
	return p;
}

#	define CALLER ((uintptr_t)__builtin_return_address(0))

/* `routed`: the caller's address was looked at already, or does not matter. */
static inline void *allocate(size_t size, size_t align, uintptr_t caller)
{
	struct arena *arena = thread_serving;

	if (__builtin_expect(!arena || malloc_pc_in_libc(caller), 0))
		return system_alloc(size, align);
	return bucket_alloc(arena, size, align, caller);
}

void *malloc(size_t size)
{
	return allocate(size, 0, CALLER);
}

void *calloc(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	void *p = allocate(bytes, 0, CALLER);
	if (p)
		memset(p, 0, bytes);
	return p;
}

static void foreign(const void *p)
{
	(void)p;
	if (thread_request)
		thread_request->foreign_frees++;
}

void free(void *p)
{
	struct arena *arena = thread_arena;

	if (!p)
		return;
	if (__builtin_expect(arena && arena_owns(arena, p), 1)) {
		arena_free(arena, p);
		return;
	}
	int saved = errno;
	if (red_arena_of(p)) {
		arena_free(red_arena_of(p), p);
		return;
	}
	arena = system_arena_of(p);
	if (arena) {
		family_lock();
		if (escapes_on()) /* what is dead says nothing */
			memset(p, 0, arena_usable_bytes(arena, p));
		arena_free(arena, p);
		family.blocks--;
		if (thread_request)
			thread_request->system_blocks--;
		family_unlock();
	} else {
		foreign(p);
	}
	errno = saved;
}

static void *reallocate(void *p, size_t size, uintptr_t caller)
{
	struct arena *arena = thread_arena;

	if (!p)
		return allocate(size, 0, caller);
	if (size == 0) {
		free(p);
		return NULL;
	}
	if (__builtin_expect(arena && arena_owns(arena, p), 1)) {
		void *q = arena_realloc(arena, p, size);
		if (__builtin_expect(q != NULL, 1)) {
			if (__builtin_expect(escapes_on() && thread_request, 0))
				escapes_note(arena, q, size, caller);
			return q;
		}
		q = bucket_refused(size, 0, caller);
		if (q) { /* of the red zone: the old one is smaller */
			memcpy(q, p, arena_usable_bytes(arena, p));
			arena_free(arena, p);
		}
		return q;
	}
	if (red_arena_of(p))
		return arena_realloc(red_arena_of(p), p, size);
	arena = system_arena_of(p);
	if (!arena) {
		foreign(p);
		errno = ENOMEM;
		return NULL;
	}
	family_lock();
	struct arena *home = system_arena();
	void *q;
	if (home == arena) {
		q = arena_realloc(arena, p, size);
	} else { /* out of the cradle */
		size_t old = arena_usable_bytes(arena, p);
		q = arena_alloc(home, size, 0);
		if (q) {
			memcpy(q, p, old < size ? old : size);
			arena_free(arena, p);
		}
	}
	if (!q)
		family.refused++;
	family_unlock();
	if (!q)
		errno = ENOMEM;
	return q;
}

void *realloc(void *p, size_t size)
{
	return reallocate(p, size, CALLER);
}

void *reallocarray(void *p, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return reallocate(p, bytes, CALLER);
}

static bool alignment_fine(size_t align)
{
	return align != 0 && (align & (align - 1)) == 0;
}

void *memalign(size_t align, size_t size)
{
	if (!alignment_fine(align)) {
		errno = EINVAL;
		return NULL;
	}
	return allocate(size, align, CALLER);
}

void *aligned_alloc(size_t align, size_t size)
{
	if (!alignment_fine(align)) {
		errno = EINVAL;
		return NULL;
	}
	return allocate(size, align, CALLER);
}

int posix_memalign(void **p, size_t align, size_t size)
{
	if (!alignment_fine(align) || align % sizeof(void *) != 0)
		return EINVAL;
	void *q = allocate(size, align, CALLER);
	if (!q)
		return ENOMEM;
	*p = q;
	return 0;
}

void *valloc(size_t size)
{
	return allocate(size, LIMITS_PAGE_BYTES, CALLER);
}

void *pvalloc(size_t size)
{
	size_t page = LIMITS_PAGE_BYTES;

	if (size > SIZE_MAX - page) {
		errno = ENOMEM;
		return NULL;
	}
	return allocate((size + page - 1) & ~(page - 1), page, CALLER);
}

size_t malloc_usable_size(void *p)
{
	if (!p)
		return 0;
	if (thread_arena && arena_owns(thread_arena, p))
		return arena_usable_bytes(thread_arena, p);
	struct arena *arena = red_arena_of(p);
	if (!arena)
		arena = system_arena_of(p);
	return arena ? arena_usable_bytes(arena, p) : 0;
}

int malloc_trim(size_t pad)
{
	(void)pad;
	return 0;
}

void *malloc_for(size_t size, uintptr_t caller)
{
	return allocate(size, 0, caller);
}

void *realloc_for(void *p, size_t size, uintptr_t caller)
{
	return reallocate(p, size, caller);
}

#endif

#ifdef PAIL_MALLOC_OFF
/* Whatever only the region points at looks leaked, and handlers free nothing. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif
