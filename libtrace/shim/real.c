/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define X(name, result, parameters) result(*real_##name) parameters;
REAL_FUNCTIONS(X)
#undef X

/* -- the boot arena: what dlsym asks for while it looks for malloc --------- */

unsigned char boot_arena[BOOT_BYTES] __attribute__((aligned(16)));
static _Atomic size_t boot_used;

static void *boot_take(size_t align, size_t bytes)
{
	if (align < 16)
		align = 16;
	if (bytes > BOOT_BYTES || align > 4096)
		return NULL;
	/* The size lies in the 16 bytes before the block. */
	size_t need = 16 + align + ((bytes + 15) & ~(size_t)15);
	size_t start = atomic_fetch_add(&boot_used, need);
	if (start + need > BOOT_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	uintptr_t at =
		((uintptr_t)boot_arena + start + 16 + align - 1) & ~(uintptr_t)(align - 1);
	memcpy((void *)(at - 16), &bytes, sizeof(bytes));
	return (void *)at;
}

size_t boot_usable(const void *p)
{
	size_t bytes;

	memcpy(&bytes, (const char *)p - 16, sizeof(bytes));
	return bytes;
}

/* -- stubs: resolve, then do it; within dlsym, do it ourselves -------------- */

static __thread bool resolving __attribute__((tls_model("initial-exec")));
static _Atomic int resolved;

#define RESOLVED() (!resolving && (real_resolve(), true))

static void *stub_malloc(size_t bytes)
{
	return RESOLVED() ? real_heap.malloc(bytes) : boot_take(16, bytes);
}

static void *stub_calloc(size_t count, size_t bytes)
{
	size_t all;

	if (RESOLVED())
		return real_heap.calloc(count, bytes);
	return __builtin_mul_overflow(count, bytes, &all) ? NULL : boot_take(16, all);
}

static void *stub_realloc(void *old, size_t bytes)
{
	if (RESOLVED())
		return real_heap.realloc(old, bytes);
	void *new = boot_take(16, bytes);
	if (new &&old && boot_owns(old))
		memcpy(new, old, boot_usable(old) < bytes ? boot_usable(old) : bytes);
	return new;
}

static void stub_free(void *p)
{
	if (RESOLVED())
		real_heap.free(p);
}

static void *stub_memalign(size_t align, size_t bytes)
{
	return RESOLVED() ? real_heap.memalign(align, bytes) : boot_take(align, bytes);
}

static void *stub_aligned_alloc(size_t align, size_t bytes)
{
	return RESOLVED() ? real_heap.aligned_alloc(align, bytes) : boot_take(align, bytes);
}

static int stub_posix_memalign(void **p, size_t align, size_t bytes)
{
	if (RESOLVED())
		return real_heap.posix_memalign(p, align, bytes);
	*p = boot_take(align, bytes);
	return *p ? 0 : ENOMEM;
}

static void *stub_valloc(size_t bytes)
{
	return RESOLVED() ? real_heap.valloc(bytes) : boot_take(4096, bytes);
}

static void *stub_pvalloc(size_t bytes)
{
	return RESOLVED() ? real_heap.pvalloc(bytes)
			  : boot_take(4096, (bytes + 4095) & ~(size_t)4095);
}

static size_t stub_usable(void *p)
{
	return RESOLVED() ? real_heap.malloc_usable_size(p) : 0;
}

struct real_heap real_heap = {
	stub_malloc,        stub_calloc,         stub_realloc, stub_free,    stub_memalign,
	stub_aligned_alloc, stub_posix_memalign, stub_valloc,  stub_pvalloc, stub_usable,
};

/* -- resolving -------------------------------------------------------------- */

static void find(void *place, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (found)
		memcpy(place, &found, sizeof(found));
}

/* An old version of a function may stand under the plain name: ask for the
 * version that programs of today are linked with. */
static void find_version(void *place, const char *name, const char *version)
{
	void *found = dlvsym(RTLD_NEXT, name, version);

	if (found)
		memcpy(place, &found, sizeof(found));
}

static void find_heap(void)
{
	/* All or none, or a block would be freed by another allocator than made
	 * it; what an allocator lacks keeps libc's entry, as without us. */
	struct real_heap heap = real_heap;

#define FIND(name) find(&heap.name, #name)
	FIND(malloc);
	FIND(calloc);
	FIND(realloc);
	FIND(free);
	FIND(memalign);
	FIND(aligned_alloc);
	FIND(posix_memalign);
	FIND(valloc);
	FIND(pvalloc);
	FIND(malloc_usable_size);
#undef FIND
	real_heap = heap;
}

void real_resolve(void)
{
	int saved = errno;

	/* A second thread that comes in the middle does the same work again:
	 * the results are equal, and no lock can be held across a fork. */
	if (resolving || atomic_load_explicit(&resolved, memory_order_acquire))
		return;
	resolving = true;
	find_heap();
#define X(name, result, parameters) find(&real_##name, #name);
	REAL_FUNCTIONS(X)
#undef X
#if defined(__x86_64__)
	find_version(&real_pthread_cond_wait, "pthread_cond_wait", "GLIBC_2.3.2");
	find_version(&real_pthread_cond_timedwait, "pthread_cond_timedwait", "GLIBC_2.3.2");
	find_version(&real_pthread_cond_signal, "pthread_cond_signal", "GLIBC_2.3.2");
	find_version(&real_pthread_cond_broadcast, "pthread_cond_broadcast", "GLIBC_2.3.2");
#endif
	resolving = false;
	atomic_store_explicit(&resolved, 1, memory_order_release);
	errno = saved;
}
