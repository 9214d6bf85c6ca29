/* SPDX-License-Identifier: MIT */
/*
 * Writing events: the hot path of every hook.
 *
 * Each thread has a `struct writer` in initial-exec TLS. To write is: reserve
 * by moving the cursor (one instruction, so a signal handler that writes too
 * gets bytes of its own), fill in, and, when no write of this thread is
 * unfinished, publish the cursor as the chunk's `committed`. Whatever is out of
 * the ordinary (no chunk yet, chunk full, stamp due, process just forked,
 * inert) makes the reservation run over `limit` or finds process.alive clear,
 * and goes to writer_slow(). A handler that interrupts writer_slow() itself
 * finds limit NULL, and its event is dropped and counted.
 *
 * Nothing here allocates, locks, or changes errno.
 */
#ifndef PAIL_SHIM_WRITER_H
#define PAIL_SHIM_WRITER_H

#include "libtrace/shim/event.h"
#include "libtrace/shim/region.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#define HIDDEN      __attribute__((visibility("hidden")))
#define EXPORT      __attribute__((visibility("default")))
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BARRIER()   __asm__ volatile("" ::: "memory")

struct writer {
	unsigned char *cursor; /* where the next event goes */
	unsigned char *limit;  /* of plain events: a stamp is due there, or the chunk ends */
	struct chunk *chunk;
	unsigned char *base, *end;
	uintptr_t stack_low;
	uint64_t dropped;   /* not yet told by an EVENT_DROPPED */
	uint64_t cpu_ticks; /* when it last said how much CPU it has had */
	uint32_t depth;     /* writes begun and not ended: > 1 only in signal handlers */
	uint32_t stream, sequence;
	uint32_t tid;
	uint32_t fork_token;         /* of the fork that this thread is in */
	uint8_t started, exit_round; /* THREAD_START written; rounds of the key's destructor */
	uint8_t pooled;              /* EVENT_POOLED while a pool takes memory for itself */
	uint8_t in_vfork; /* set by vfork.S: we are the child, in our parent's memory */
};
extern __thread struct writer writer HIDDEN __attribute__((tls_model("initial-exec")));

/* What must be forgotten in a forked child, by whatever call it was made: a
 * page that the kernel clears there (MADV_WIPEONFORK). */
struct process {
	_Atomic uint32_t alive; /* events can be written */
	_Atomic uint32_t state; /* enum process_state */
	uint32_t serial;
	_Atomic uint32_t gave_up;
	int32_t pid, parent_pid;
	uint32_t parent; /* its serial, if forked */
	bool foreign, forked;
	uint32_t namespace;            /* of pids, if it is foreign; 0: not known */
	_Atomic bool announced;        /* PROCESS_START is written */
	_Atomic(struct chunk *) stash; /* left by the last thread that ended */
	struct region_loss *_Atomic loss;
	_Atomic uint32_t modules_busy, modules_closing, modules_readers;
	_Atomic uint64_t walkers[64];               /* taken, by pool */
	uint64_t populated[REGION_CHUNKS_MAX / 64]; /* chunks whose pages we have */
};
enum process_state { PROCESS_NEW, PROCESS_BUSY, PROCESS_LIVE, PROCESS_INERT };
extern union process_page {
	struct process is;
	unsigned char page[4096];
} process_page HIDDEN;
static_assert(sizeof(union process_page) == 4096, "one page, to be wiped at fork");
#define this_process (process_page.is)

/* Set at attach, the same in all forked children. */
extern struct region *region HIDDEN;  /* NULL: not attached */
extern uint32_t region_mapped HIDDEN; /* chunks that this process can reach */
extern uint32_t region_mode HIDDEN;   /* enum region_flags; 0 when not attached */

/* Attaches (once) or, in a forked child, starts the new process. False: inert. */
bool process_start(void) HIDDEN;
/* What MADV_WIPEONFORK does, for kernels without it: in the child, by our hooks. */
void process_forget(void) HIDDEN;

void *writer_slow(struct writer *w, size_t bytes) HIDDEN;
/* Hands this thread's chunk on; the thread is ending. */
void writer_leave(struct writer *w) HIDDEN;
/* Forgets the parent's chunk, in a forked child or at the start. */
void writer_reset(struct writer *w) HIDDEN;

static inline uint64_t writer_ticks(void)
{
#if defined(__x86_64__)
	if (LIKELY(region_mode & REGION_TSC))
		return __builtin_ia32_rdtsc();
#endif
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Moves the cursor and gives where it was, in one instruction: threads do not
 * share it, signal handlers do. */
static inline unsigned char *writer_move(struct writer *w, size_t bytes)
{
#if defined(__x86_64__)
	size_t at = bytes;
	__asm__ volatile("xaddq %0, %1" : "+r"(at), "+m"(w->cursor)::"memory", "cc");
	return (unsigned char *)at;
#else
	return (unsigned char *)__atomic_fetch_add((uintptr_t *)&w->cursor, bytes,
						   __ATOMIC_RELAXED);
#endif
}

static inline void writer_touch(struct writer *w)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (here < w->stack_low)
		w->stack_low = here;
}

/* Reserves `bytes` (a multiple of 8). NULL: dropped, and writer_end() must not
 * be called. */
static inline uint64_t *writer_begin(struct writer *w, size_t bytes)
{
	w->depth++;
	BARRIER();
	unsigned char *at = writer_move(w, bytes);
	if (UNLIKELY((uintptr_t)at + bytes > (uintptr_t)w->limit) ||
	    UNLIKELY(!atomic_load_explicit(&this_process.alive, memory_order_relaxed)))
		at = writer_slow(w, bytes);
	return (uint64_t *)(void *)at;
}

static inline void writer_end(struct writer *w)
{
	BARRIER();
	if (LIKELY(--w->depth == 0)) {
		BARRIER();
		atomic_store_explicit(&w->chunk->committed, (uint32_t)(w->cursor - w->base),
				      memory_order_release);
	}
}

static inline void write_bare(enum event_kind kind, const void *address)
{
	struct writer *w = &writer;

	writer_touch(w);
	uint64_t *event = writer_begin(w, 8);
	if (UNLIKELY(!event))
		return;
	event[0] = event_head(kind, 0, (uintptr_t)address);
	writer_end(w);
}

static inline void write_word(enum event_kind kind, unsigned flags, const void *address,
			      uint64_t word)
{
	struct writer *w = &writer;

	writer_touch(w);
	uint64_t *event = writer_begin(w, 16);
	if (UNLIKELY(!event))
		return;
	event[0] = event_head(kind, flags, (uintptr_t)address);
	event[1] = word;
	writer_end(w);
}

static inline void write_sized(enum event_kind kind, unsigned flags, const void *address,
			       size_t size, unsigned align_log2)
{
	write_word(kind, flags, address,
		   ((uint64_t)size & (~UINT64_C(0) >> 8)) | (uint64_t)align_log2 << 56);
}

/* A long event. Its stamp is the moment of the call. */
void write_long(enum event_kind kind, unsigned flags, uint64_t value, int64_t a, uint64_t b,
		const void *payload, size_t payload_bytes) HIDDEN;

/* Says how much CPU this thread has had: a system call, so only if asked for. */
void writer_cpu(void) HIDDEN;
/* The same where another may be told something, for whom this thread then no longer
 * works: not if it was said a moment ago. */
void writer_cpu_again(void) HIDDEN;

/* A long event with one piece (event.h) of at most EVENT_PIECE_BYTES, of what can be read,
 * copied once. */
void write_piece(enum event_kind kind, unsigned flags, uint64_t value, int64_t a,
		 const void *data, size_t bytes) HIDDEN;

/* Makes this process and thread known, if it has nothing else to tell. */
void writer_announce(void) HIDDEN;

/* For hooks that only matter when events are written at all. */
static inline bool writer_on(void)
{
	return LIKELY(atomic_load_explicit(&this_process.alive, memory_order_relaxed)) ||
	       process_start();
}

#endif
