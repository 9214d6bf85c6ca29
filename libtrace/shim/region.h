/* SPDX-License-Identifier: MIT */
/*
 * The shared region: what one recorder and all threads of all recorded
 * processes have in common. A file made, sized and preallocated by the
 * recorder (so that a full tmpfs cannot raise SIGBUS in a server) and mapped
 * by each process; nobody holds a descriptor of it.
 *
 *	struct region | chunk descriptors | chunks of REGION_CHUNK_BYTES | stacks
 *
 * A chunk's life is in its descriptor's `owner` word, state:2 | tid:30:
 *
 *	FREE -> OPEN	a writer, by one compare-and-swap, which also says whose it is
 *	OPEN -> FULL	that writer; or the reader, when the writer is dead
 *	FULL -> FREE	the reader, when all is read
 *
 * There is no lock and no list, so a process may die between any two
 * instructions and nothing is lost but (at worst) the event being written.
 * free_map is a hint of where FREE chunks are, set only by the reader; writers
 * take the lowest, which keeps memory warm. `committed` grows event by event
 * with release stores; what lies below it is whole.
 *
 * A stream is a chain of chunks with rising `sequence`, written by one thread
 * at a time: when a thread ends, its half-full chunk is handed on to the next
 * new thread of the process (THREAD_START inside the stream tells), so that
 * short threads cost neither chunks nor fresh pages.
 *
 * The stacks, if asked for, are one hash table of (outer stack, return
 * address), so that a stack is the number of its innermost entry and all
 * stacks of all processes share what they have in common. Entries are made
 * once and never change; a full table counts what it could not take.
 */
#ifndef PAIL_SHIM_REGION_H
#define PAIL_SHIM_REGION_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REGION_VERSION = 4,
	REGION_CHUNK_BYTES = 16384,
	REGION_CHUNKS_MAX = 16384, /* 256 MiB */
	REGION_CHUNKS_MIN = 64,
	REGION_LOSS_SLOTS = 1000,
	REGION_PATH_MAX = 256,
};
#define REGION_MAGIC UINT64_C(0x314741525441504c)
#define REGION_ENV   "PAIL_RING"

enum region_flags {
	REGION_DROP = 1,       /* full: drop at once; else wait up to wait_max_ns */
	REGION_EXACT = 2,      /* epoll_wait with maxevents = 1 */
	REGION_CONDITIONS = 4, /* record condition variables */
	REGION_MAPPINGS = 8,   /* record mmap, munmap, brk */
	REGION_FOLLOW = 16,    /* also what is exec'd, where the environment is cleaned too */
	REGION_TSC = 32,       /* ticks are the TSC, else CLOCK_MONOTONIC */
	REGION_STACKS = 64,    /* ALLOC_AT: with a call stack */
	REGION_POINTERS = 128, /* stacks by frame pointers alone */
	REGION_STAMPED = 512,  /* each event has a stamp, of CLOCK_MONOTONIC */
	REGION_POOLS = 1024,   /* record what pools hand out */
	REGION_PAINT = 256,    /* stack depth by painting, not by what hooks see */
	REGION_CPU = 2048,     /* EVENT_CPU where turns change */
};

/* A call: `address` is what it returns to, and `outer` the entry of the stack
 * that it was made on, or ENTRY_ROOT | number of the map of modules. */
struct stack_entry {
	_Atomic uint64_t address; /* 0 = unused; ENTRY_EXACT: no call, an interrupted place */
	_Atomic uint32_t outer;   /* 0 = not yet written: taken by nobody else */
	uint32_t unused;
};
static_assert(sizeof(struct stack_entry) == 16, "four a line");
enum {
	STACK_ENTRIES_MAX = 1 << 26, /* EVENT_SIZE_BITS leaves 26 */
	STACK_PROBES = 64,
};
#define ENTRY_EXACT (UINT64_C(1) << 63)
#define ENTRY_CUT   (UINT32_C(1) << 30) /* with ENTRY_ROOT: outer frames are missing */
#define ENTRY_ROOT  (UINT32_C(1) << 31)
#define ENTRY_MAP   (ENTRY_CUT - 1)

enum chunk_state { CHUNK_FREE, CHUNK_OPEN, CHUNK_FULL };

static inline uint32_t chunk_owner(enum chunk_state state, uint32_t tid)
{
	return (uint32_t)state | tid << 2;
}

static inline enum chunk_state chunk_state(uint32_t owner)
{
	return (enum chunk_state)(owner & 3);
}

/* stream .. foreign are written by the claimer before its first commit, and
 * are valid once committed is not 0. */
struct chunk {
	_Atomic uint32_t owner;
	_Atomic uint32_t committed; /* bytes; 0 in a FREE chunk */
	uint32_t stream, sequence;
	uint32_t process;   /* serial */
	int32_t pid;        /* 0: in another pid namespace: */
	uint32_t namespace; /* its inode, 0 = not known, */
	int32_t inner_pid;  /* and the pid there */
	uint32_t unused[8];
};
static_assert(sizeof(struct chunk) == 64, "a line each, or writers would slow each other");

struct region_loss {
	_Atomic uint32_t process; /* serial, 0 = unused */
	_Atomic uint32_t unused;
	_Atomic uint64_t dropped;
};

struct region {
	uint64_t magic;
	uint32_t version, flags;
	uint32_t chunk_count;
	uint32_t chunks_offset; /* of chunk 0 in the file; descriptors lie before it */
	uint64_t wait_max_ns;
	uint64_t pid_namespace; /* inode of the recorder's */

	_Alignas(64) _Atomic uint32_t next_process; /* last given out */
	_Atomic uint32_t next_stream, next_token;
	_Atomic uint32_t high_water; /* chunks ever claimed lie below it */

	_Alignas(64) _Atomic uint32_t filled; /* futex: goes up when a chunk becomes FULL */
	_Atomic uint32_t wake_at;             /* wake the reader when filled gets there */
	_Atomic uint32_t reader_sleeps;
	_Atomic uint64_t beat_ns; /* CLOCK_MONOTONIC of the reader's last pass */

	_Alignas(64) _Atomic uint32_t freed; /* futex: goes up when chunks become FREE */
	_Atomic uint32_t writers_waiting;
	_Atomic uint64_t waits, wait_ns;
	_Atomic uint64_t dropped; /* all of it, also what is in loss[] */

	uint64_t stacks_offset;        /* of entry 0 in the file */
	uint32_t stack_entries;        /* a power of 2; 0: no stacks */
	_Atomic uint32_t next_map;     /* map of modules, last given out */
	_Atomic uint64_t stacks_lost;  /* allocations whose stack the table could not take */
	_Atomic uint64_t stacks_blind; /* that interrupted another, or without a table */
	_Atomic uint32_t stacks_used;

	struct region_loss loss[REGION_LOSS_SLOTS];
	_Alignas(64) _Atomic uint64_t free_map[REGION_CHUNKS_MAX / 64];
	_Alignas(64) struct chunk chunk[];
};

static inline unsigned char *region_chunk(const struct region *region, size_t index)
{
	return (unsigned char *)region + region->chunks_offset + index * REGION_CHUNK_BYTES;
}

#endif
