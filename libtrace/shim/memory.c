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

/* -- what the program has mapped ------------------------------------------- */

/* Ranges that the program's own mmap() gave it to read, anonymous ones (a file can be
 * made shorter), and that nobody has touched since. A range is taken out before the
 * call that may end it, and put in after the one that made it. */
enum { RANGES = 64, RANGE_FREE = 0, RANGE_BUSY = 1 };
static struct range {
	_Atomic uintptr_t low; /* or RANGE_FREE, RANGE_BUSY: nobody's, or in change */
	_Atomic uintptr_t end;
} ranges[RANGES];
static _Atomic uint32_t ranges_high;   /* used so far: those below */
static _Atomic uint32_t ranges_ending; /* goes up before anything is taken out */

/* The range that this thread found last. */
static __thread struct {
	uintptr_t low, end;
	uint32_t ending;
} last __attribute__((tls_model("initial-exec")));

/* Gives the slot; RANGES: no room, so this range will be asked about. */
static uint32_t range_add(uintptr_t low, uintptr_t end)
{
	for (uint32_t i = 0; i < RANGES; i++) {
		uintptr_t is = RANGE_FREE;
		if (!atomic_compare_exchange_strong(&ranges[i].low, &is, RANGE_BUSY))
			continue;
		uint32_t high = atomic_load(&ranges_high);
		while (high <= i && !atomic_compare_exchange_weak(&ranges_high, &high, i + 1))
			;
		atomic_store(&ranges[i].end, end);
		atomic_store(&ranges[i].low, low);
		return i;
	}
	return RANGES;
}

static void range_drop(uint32_t i, uintptr_t low)
{
	if (i < RANGES)
		atomic_compare_exchange_strong(&ranges[i].low, &low, RANGE_FREE);
}

/* What is left of [low, end) on both sides of what goes. If meanwhile something else
 * is being taken out, that did not see what we held in hand: then nothing is left. */
static void range_keep(uintptr_t low, uintptr_t end, uintptr_t gone, uintptr_t gone_end,
		       uint32_t ending)
{
	uint32_t below = low < gone ? range_add(low, end < gone ? end : gone) : RANGES;
	uint32_t above = gone_end < end ? range_add(gone_end, end) : RANGES;

	if (atomic_load(&ranges_ending) == ending)
		return;
	range_drop(below, low);
	range_drop(above, gone_end);
}

void memory_ends(const void *p, size_t bytes)
{
	uintptr_t gone = (uintptr_t)p & ~(uintptr_t)(PAGE - 1), gone_end = (uintptr_t)p + bytes;
	uint32_t ending = atomic_fetch_add(&ranges_ending, 1) + 1;

	if (gone_end < gone)
		gone_end = UINTPTR_MAX;
	gone_end = (gone_end + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
	for (uint32_t i = 0; i < atomic_load(&ranges_high); i++) {
		uintptr_t low = atomic_load(&ranges[i].low), end = atomic_load(&ranges[i].end);
		if (low <= RANGE_BUSY || low >= gone_end || end <= gone ||
		    !atomic_compare_exchange_strong(&ranges[i].low, &low, RANGE_BUSY))
			continue;
		end = atomic_load(&ranges[i].end);
		atomic_store(&ranges[i].low, RANGE_FREE);
		range_keep(low, end, gone, gone_end, ending);
	}
	/* Who looked while we were at it may have taken the old end for the new one's. */
	atomic_fetch_add(&ranges_ending, 1);
}

void memory_begins(const void *p, size_t bytes)
{
	range_add((uintptr_t)p, ((uintptr_t)p + bytes + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
}

static bool in_range(uintptr_t at, size_t bytes)
{
	uint32_t ending = atomic_load(&ranges_ending);

	if (LIKELY(at >= last.low && at < last.end && bytes <= last.end - at &&
		   last.ending == ending))
		return true;
	uint32_t high = atomic_load_explicit(&ranges_high, memory_order_relaxed);
	for (uint32_t i = 0; i < high; i++) {
		uintptr_t low = atomic_load(&ranges[i].low), end = atomic_load(&ranges[i].end);
		if (low <= RANGE_BUSY || at < low || at >= end || bytes > end - at)
			continue;
		/* The two words are one range's only if nothing has changed. */
		if (atomic_load(&ranges[i].low) != low || atomic_load(&ranges_ending) != ending)
			return false;
		last.ending = ending - 1; /* a signal handler may come between */
		BARRIER();
		last.low = low;
		last.end = end;
		BARRIER();
		last.ending = ending;
		return true;
	}
	return false;
}

size_t memory_prefix(const void *p, size_t bytes)
{
	uintptr_t at = (uintptr_t)p;

	if (bytes == 0 || on_stack(at, bytes) || on_heap(at, bytes) || in_range(at, bytes))
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
