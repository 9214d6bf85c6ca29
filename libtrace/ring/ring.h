/* SPDX-License-Identifier: MIT */
/*
 * The recorder's side of the shared memory that libpailtrace.so writes into.
 *
 *	ring_create() -> ring_environment() for the child -> fork, exec
 *	ring_poll() again and again while the program runs
 *	ring_finish() once all of it is dead -> ring_free()
 *
 * ring_poll() hands out decoded events, merged over all threads by their time
 * stamps up to the moment that the call began; shim/event.h says what order is
 * promised and what is not. It also takes back the memory of dead threads and
 * processes, and keeps the heartbeat that tells writers that someone reads: a
 * writer that finds no room waits (RING_WAIT), and if nobody reads for
 * wait_max_ns it drops and counts, so poll at least every 100 ms and keep
 * callbacks short. One ring, one thread.
 *
 * Words: a process is one image of a program (fork and exec each begin a new
 * one), a thread is one of its threads; both are numbered from 1 over the
 * whole recording, as pids and tids come again.
 */
#ifndef PAIL_LIBTRACE_RING_H
#define PAIL_LIBTRACE_RING_H

#include "base/err.h"
#include "base/str.h"
#include "libtrace/shim/event.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum ring_full { RING_WAIT, RING_DROP };

struct ring_options {
	bool shared;        /* for programs of other users, as always if we are root */
	const char *folder; /* NULL: /dev/shm, or the temporary folder if that is too small */
	uint64_t bytes;     /* of chunks; 0: 64 MiB; at least 1 MiB */
	enum ring_full on_full; /* what a writer does when there is no room */
	uint64_t wait_max_ns;   /* RING_WAIT gives up after this; 0: 2 s */
	bool light;             /* leave epoll_wait(maxevents) as the program asks */
	bool conditions;        /* record condition variables (WAIT_COND, COND_SIGNAL) */
	bool mappings;          /* record MAP, UNMAP, BREAK */
	bool stamped;           /* each event has its own time, of CLOCK_MONOTONIC: slower */
	bool stacks;            /* ALLOC and REALLOC_END come with a stack */
	bool pointers;          /* stacks by frame pointers alone, without unwind tables */
	bool pools;             /* record what pools hand out (POOL_MAKE, POOL_CLEAR) */
	bool paint;             /* stack_low by painting 64 KiB below a request's start */
	bool cpu;               /* CPU where turns change: a system call each */
	uint32_t stack_entries; /* room for so many; 0: 1 Mi (16 MiB) */
	bool no_exec;           /* programs that are exec'd by the first one are left alone */
};

struct ring;
int ring_create(const struct ring_options *options, struct ring **ring, struct err *err);
/* Unmaps and removes the file (also done by ring_unlink). NULL is fine. */
void ring_free(struct ring *ring);
const char *ring_path(const struct ring *ring);

/* The environment for the program: that of `environ` with LD_PRELOAD (put
 * before what it holds already) and PAIL_RING. One malloc'd block, the caller
 * frees it. NULL with errno when out of memory. */
char **ring_environment(const struct ring *ring, char *const environment[],
			const char *library_path);

/* One event, decoded. Strings and payload live until the callback returns. */
struct ring_event {
	enum event_kind kind; /* TIME and POOL are never handed out */
	uint8_t flags;
	uint8_t align_log2; /* ALLOC, REALLOC_END: 0 = malloc's own */
	bool timed;       /* time_ns is the event's own, not that of the last stamp before it */
	uint32_t process; /* serials, from 1 */
	uint32_t thread;
	pid_t pid, tid;
	int64_t time_ns;     /* since ring_create() */
	uint64_t value;      /* as in event.h: address, fd, token... */
	uint64_t size_bytes; /* ALLOC, REALLOC_END */
	uint32_t stack;      /* ALLOC, REALLOC_END: ring_stack(), 0 = none */
	uint64_t pool;       /* ALLOC: the pool that it is a block of, 0 = none */
	int64_t a;           /* long events, as in event.h; CPU: ns */
	uint64_t b;
	uint64_t stack_low; /* long events, else 0 */
	struct str payload; /* long events, else empty */
};

/* What an event's time_ns is for a moment of CLOCK_MONOTONIC; for stamped rings. */
int64_t ring_time_ns(const struct ring *ring, uint64_t monotonic_ns);

/* Walks the pieces of READ, WRITE and MORE: give *at = 0 first; true and the
 * next piece, or false behind the last one. */
bool ring_piece(const struct ring_event *event, size_t *at, uint32_t *offset,
		struct str *bytes);

/* A stack's innermost entry: the address that its call returns to (exact: an
 * interrupted instruction), in which map of modules, and the next outer entry,
 * 0 at the end. False if there is no such entry. */
struct ring_frame {
	uint64_t address;
	uint32_t outer, map;
	bool exact, cut; /* cut: at the end, and outer frames are missing */
};
bool ring_frame(const struct ring *ring, uint32_t stack, struct ring_frame *frame);
/* What a MODULE event says. The strings live as long as the event's. */
struct ring_module {
	uint32_t map;
	uint64_t start, end, bias;
	struct str build_id, path;
};
bool ring_module(const struct ring_event *event, struct ring_module *module);

typedef void ring_callback(void *context, const struct ring_event *event);

/* Sleeps until there is much to read or timeout_ms is over (0: no sleep), then
 * hands out all events older than the moment that the reading began. Returns
 * how many. */
uint64_t ring_poll(struct ring *ring, int timeout_ms, ring_callback *callback, void *context);
/* The last poll: every event that is left, of whatever age. Give it when all
 * writers are dead; further ones count as dropped. */
uint64_t ring_finish(struct ring *ring, ring_callback *callback, void *context);

struct ring_stats {
	uint64_t events, event_bytes; /* handed out (TIME counts in bytes only) */
	uint64_t dropped;             /* events lost, over all processes: exact */
	uint64_t waits, wait_ns;      /* writers that waited for room, and how long */
	uint64_t processes, threads;  /* seen */
	uint64_t chunks, chunks_open, chunks_full, chunks_open_max;
	uint64_t streams;                   /* of threads that may write on, as far as known */
	uint64_t stack_entries, stack_room; /* used, of how many */
	uint64_t stacks_lost;               /* for want of room: allocations without a stack */
	uint64_t stacks_blind;              /* in handlers that interrupted an allocation */
	uint64_t corrupt_chunks; /* given up because their bytes made no sense (a wild write) */
};
void ring_stats(const struct ring *ring, struct ring_stats *stats);
/* Whether a program has truncated the file: what it held there is lost. */
bool ring_cut(const struct ring *ring);
/* Events lost in one process (also told in place by EVENT_DROPPED). */
uint64_t ring_dropped(const struct ring *ring, uint32_t process);

#endif
