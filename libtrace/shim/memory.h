/* SPDX-License-Identifier: MIT */
/*
 * What may be read. A program may hand a system call a pointer that leads
 * nowhere and be told EFAULT; a hook that looked at it first would turn that
 * into the program's death. So what hooks read before the kernel has accepted
 * it, or after it when another thread may have taken it away, is asked about.
 *
 * Whether a word can be read says the kernel, by a system call that reads it
 * and then finds that it was told nonsense: about as much as getppid(). The
 * thread's own stack, where most small things lie, is asked about once; what lies
 * below the program's break, where malloc has what the first thread sends, is known
 * to be there; and so is what the program, or an allocator that it brought, has
 * mapped by mmap() and not touched again. What libc maps for itself (the arenas of
 * other threads) passes no hook, neither when it comes nor when it goes.
 *
 * No locks, no memory, errno untouched; any thread, any signal handler.
 */
#ifndef PAIL_SHIM_MEMORY_H
#define PAIL_SHIM_MEMORY_H

#include "libtrace/shim/writer.h"

#include <limits.h>

/* Once, when the program begins. */
void memory_attach(void) HIDDEN;
/* Whether the word around `at` is there. */
bool memory_word(uintptr_t at) HIDDEN;
/* The lowest address from `down_to` up that is readable without a break up to
 * `known`, page by page. */
uintptr_t memory_probe(uintptr_t known, uintptr_t down_to) HIDDEN;

/* How many of the bytes from `p` on can be read before the first that cannot. */
size_t memory_prefix(const void *p, size_t bytes) HIDDEN;
/* The length of a string of less than `most` bytes; -1: it is longer, or not
 * all there. */
ssize_t memory_text(const char *text, size_t most) HIDDEN;

/* The program has mapped anonymous memory that it may read; it is about to unmap some,
 * or to change what may be done with it. */
void memory_begins(const void *p, size_t bytes) HIDDEN;
void memory_ends(const void *p, size_t bytes) HIDDEN;

static inline bool memory_readable(const void *p, size_t bytes)
{
	return memory_prefix(p, bytes) == bytes;
}

/* How many vectors of the program's can be read: all, or none. More than the
 * kernel takes are none. */
static inline size_t memory_vectors(const struct iovec *iov, size_t count)
{
	return count <= IOV_MAX && memory_readable(iov, count * sizeof(*iov)) ? count : 0;
}

#endif
