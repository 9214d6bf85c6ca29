/* SPDX-License-Identifier: MIT */
/*
 * The malloc family, call by call: the event of an allocation is written after
 * it, that of a free before it, so that per address they alternate in truth.
 * Also mmap and its kin: as events if the recorder asks for them, and because what they
 * say is there need not be asked about (memory.h).
 */
#include "libtrace/shim/memory.h"
#include "libtrace/shim/real.h"
#include "libtrace/shim/stack.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

PART_OF_HOOK void put_block(enum event_kind kind, enum event_kind kind_at, unsigned flags,
			    void *p, size_t bytes, unsigned log2)
{
	if (region_mode & REGION_STACKS && p && bytes < UINT64_C(1) << EVENT_SIZE_BITS) {
		uint32_t stack = stack_take(__builtin_frame_address(0));
		if (stack) {
			write_word(kind_at, flags | log2 * EVENT_ALIGN, p,
				   (uint64_t)stack << EVENT_SIZE_BITS | bytes);
			return;
		}
	}
	write_sized(kind, flags, p, bytes, log2);
}

PART_OF_HOOK void wrote(void *p, size_t bytes, unsigned flags)
{
	put_block(EVENT_ALLOC, EVENT_ALLOC_AT, flags | writer.pooled, p, bytes, 0);
}

PART_OF_HOOK void wrote_aligned(void *p, size_t align, size_t bytes)
{
	put_block(EVENT_ALLOC, EVENT_ALLOC_AT, writer.pooled, p, bytes,
		  align ? (unsigned)__builtin_ctzll(align) : 0);
}

EXPORT void *malloc(size_t bytes)
{
	void *p = real_heap.malloc(bytes);

	wrote(p, bytes, 0);
	return p;
}

EXPORT void *calloc(size_t count, size_t bytes)
{
	void *p = real_heap.calloc(count, bytes);

	wrote(p, count * bytes, EVENT_ZEROED);
	return p;
}

EXPORT void free(void *p)
{
	if (!p || boot_owns(p))
		return;
	write_bare(EVENT_FREE, p);
	real_heap.free(p);
}

/* Symbols that programs linked long ago may ask for. */
EXPORT void cfree(void *p);
EXPORT void cfree(void *p)
{
	free(p);
}

EXPORT void *realloc(void *old, size_t bytes)
{
	if (!old)
		return malloc(bytes);
	if (boot_owns(old)) {
		void *p = malloc(bytes);
		if (p)
			memcpy(p, old, boot_usable(old) < bytes ? boot_usable(old) : bytes);
		return p;
	}
	write_bare(EVENT_REALLOC_BEGIN, old);
	void *p = real_heap.realloc(old, bytes);
	/* realloc(p, 0) frees and gives NULL, in glibc and all that follow it. */
	put_block(EVENT_REALLOC_END, EVENT_REALLOC_END_AT,
		  !p && !bytes ? EVENT_REALLOC_FREED : 0, p, bytes, 0);
	return p;
}

EXPORT void *reallocarray(void *old, size_t count, size_t bytes)
{
	size_t all;

	if (__builtin_mul_overflow(count, bytes, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, all);
}

EXPORT void *memalign(size_t align, size_t bytes)
{
	void *p = real_heap.memalign(align, bytes);

	wrote_aligned(p, align, bytes);
	return p;
}

EXPORT void *aligned_alloc(size_t align, size_t bytes)
{
	void *p = real_heap.aligned_alloc(align, bytes);

	wrote_aligned(p, align, bytes);
	return p;
}

EXPORT int posix_memalign(void **p, size_t align, size_t bytes)
{
	int result = real_heap.posix_memalign(p, align, bytes);

	wrote_aligned(result == 0 ? *p : NULL, align, bytes);
	return result;
}

EXPORT void *valloc(size_t bytes)
{
	void *p = real_heap.valloc(bytes);

	wrote_aligned(p, 4096, bytes);
	return p;
}

EXPORT void *pvalloc(size_t bytes)
{
	void *p = real_heap.pvalloc(bytes);

	wrote_aligned(p, 4096, (bytes + 4095) & ~(size_t)4095);
	return p;
}

EXPORT size_t malloc_usable_size(void *p)
{
	if (boot_owns(p))
		return boot_usable(p);
	return real_heap.malloc_usable_size(p);
}

/* -- mappings: by system call, as an allocator may map before it can be asked
 * for its own entry points ------------------------------------------------- */

static void mapped(void *p, size_t bytes, int protection, int flags)
{
	if (region_mode & REGION_MAPPINGS && p != MAP_FAILED)
		write_long(EVENT_MAP, 0, (uintptr_t)p, (int64_t)bytes,
			   (uint64_t)(uint32_t)protection << 32 | (uint32_t)flags, NULL, 0);
}

EXPORT void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (offset & 4095) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	if (flags & MAP_FIXED)
		memory_ends(at, bytes);
	void *p = (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);

	mapped(p, bytes, protection, flags);
	if (p != MAP_FAILED && protection & PROT_READ && flags & MAP_ANONYMOUS &&
	    !(flags & (MAP_GROWSDOWN | MAP_HUGETLB)))
		memory_begins(p, bytes);
	return p;
}

EXPORT void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off64_t offset)
{
	return mmap(at, bytes, protection, flags, fd, offset);
}

EXPORT int munmap(void *p, size_t bytes)
{
	if (region_mode & REGION_MAPPINGS)
		write_long(EVENT_UNMAP, 0, (uintptr_t)p, (int64_t)bytes, 0, NULL, 0);
	memory_ends(p, bytes);
	return (int)syscall(SYS_munmap, p, bytes);
}

EXPORT int mprotect(void *p, size_t bytes, int protection)
{
	if (!(protection & PROT_READ))
		memory_ends(p, bytes);
	return (int)syscall(SYS_mprotect, p, bytes, protection);
}

EXPORT int pkey_mprotect(void *p, size_t bytes, int protection, int key)
{
	memory_ends(p, bytes);
	return (int)syscall(SYS_pkey_mprotect, p, bytes, protection, key);
}

/* Advice that leaves the memory readable, here and in forked children. */
static bool harmless(int advice)
{
	return (advice >= MADV_NORMAL && advice <= MADV_DONTNEED) || advice == MADV_FREE ||
	       (advice >= MADV_HUGEPAGE && advice <= MADV_DODUMP);
}

EXPORT int madvise(void *p, size_t bytes, int advice)
{
	if (UNLIKELY(!harmless(advice)))
		memory_ends(p, bytes);
	return (int)syscall(SYS_madvise, p, bytes, advice);
}

EXPORT void *mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
	va_list list;

	va_start(list, flags);
	void *where = flags & MREMAP_FIXED ? va_arg(list, void *) : NULL;
	va_end(list);
	if (region_mode & REGION_MAPPINGS)
		write_long(EVENT_UNMAP, 0, (uintptr_t)old, (int64_t)old_bytes, 0, NULL, 0);
	memory_ends(old, old_bytes);
	if (flags & MREMAP_FIXED)
		memory_ends(where, bytes);
	void *p = (void *)syscall(SYS_mremap, old, old_bytes, bytes, flags, where);
	if (p == MAP_FAILED)
		mapped(old, old_bytes, 0, 0);
	else
		mapped(p, bytes, 0, 0);
	return p;
}

EXPORT void *sbrk(intptr_t increment)
{
	void *p = REAL(sbrk)(increment);

	if (region_mode & REGION_MAPPINGS && increment && p != (void *)-1)
		write_long(EVENT_BREAK, 0, (uintptr_t)p + (uintptr_t)increment, increment, 0,
			   NULL, 0);
	return p;
}

EXPORT int brk(void *end)
{
	int result = REAL(brk)(end);

	if (region_mode & REGION_MAPPINGS && result == 0)
		write_long(EVENT_BREAK, 0, (uintptr_t)end, 0, 0, NULL, 0);
	return result;
}
