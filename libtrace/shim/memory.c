/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/memory.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, PROBES_MAX = 16384, STACK_PAGES = 256 };

/* What is known of this thread's own stack: there for as long as the thread. */
static __thread struct {
	uintptr_t low, top;
} known __attribute__((tls_model("initial-exec")));

bool memory_word(uintptr_t at)
{
	int saved = errno;
	long result = syscall(SYS_rt_sigprocmask, ~0, at & ~(uintptr_t)7, NULL, 8);
	bool yes = result == 0 || errno != EFAULT;

	errno = saved;
	return yes;
}

uintptr_t memory_probe(uintptr_t from, uintptr_t down_to)
{
	from &= ~(uintptr_t)(PAGE - 1);
	down_to &= ~(uintptr_t)(PAGE - 1);
	if ((from - down_to) / PAGE > PROBES_MAX)
		return from;
	while (from > down_to && memory_word(from - PAGE))
		from -= PAGE;
	return from;
}

/* Near the end of a thread's stack lies what pthread_self() points at; the
 * first thread's ends at __libc_stack_end. */
static bool on_stack(uintptr_t at, size_t bytes)
{
	extern void *__libc_stack_end;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (LIKELY(at >= known.low && at < known.top && bytes <= known.top - at))
		return true;
	if (at < here || (known.top && at >= known.top))
		return false;
	if (!known.top) {
		bool first = getpid() == (pid_t)syscall(SYS_gettid);
		known.top = first ? (uintptr_t)__libc_stack_end : (uintptr_t)pthread_self();
		known.low = known.top & ~(uintptr_t)(PAGE - 1);
	}
	/* A bit at a time; on another stack (a coroutine's) never. */
	if (here < known.low && known.low - here <= STACK_PAGES * PAGE)
		known.low = memory_probe(known.low, here);
	return at >= known.low && at < known.top && bytes <= known.top - at;
}

/* The program's break, as libc keeps it; where it does not, there is none. */
extern char *__curbrk __attribute__((weak));
static _Atomic uintptr_t heap_low;

void memory_attach(void)
{
	if (&__curbrk)
		atomic_store_explicit(&heap_low, (uintptr_t)syscall(SYS_brk, 0),
				      memory_order_relaxed);
}

/* From the break that we found to that of now all is there, as no hole can be made
 * but by who unmaps or forbids a part of malloc's memory. */
static bool on_heap(uintptr_t at, size_t bytes)
{
	uintptr_t low = atomic_load_explicit(&heap_low, memory_order_relaxed);

	if (low == 0 || at < low)
		return false;
	uintptr_t end = (uintptr_t)__atomic_load_n(&__curbrk, __ATOMIC_RELAXED);
	return at < end && bytes <= end - at;
}

size_t memory_prefix(const void *p, size_t bytes)
{
	uintptr_t at = (uintptr_t)p;

	if (bytes == 0 || on_stack(at, bytes) || on_heap(at, bytes))
		return bytes;
	if (at < PAGE)
		return 0;
	if (bytes > ~at)
		bytes = ~at;
	for (uintptr_t next = at; next - at < bytes;
	     next = (next & ~(uintptr_t)(PAGE - 1)) + PAGE)
		if (!memory_word(next))
			return next - at;
	return bytes;
}

ssize_t memory_text(const char *text, size_t most)
{
	for (size_t seen = 0; seen < most;) {
		size_t page = PAGE - ((uintptr_t)(text + seen) & (PAGE - 1));
		size_t some = page < most - seen ? page : most - seen;
		if (memory_prefix(text + seen, some) < some)
			return -1;
		size_t length = strnlen(text + seen, some);
		if (length < some)
			return (ssize_t)(seen + length);
		seen += some;
	}
	return -1;
}
