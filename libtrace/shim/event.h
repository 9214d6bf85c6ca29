/* SPDX-License-Identifier: MIT */
/*
 * The events that the preloaded library writes into shared memory, as bytes.
 *
 * An event is a run of 64-bit words. Its first word is the head:
 *
 *	kind:8 | flags:8 | value:48	(kind in the lowest byte)
 *
 * and there are three layouts, told by the kind (event_bytes()):
 *
 *	bare	head						 8 bytes
 *	sized	head, word					16 bytes
 *	long	head, ticks, stack, a, b, payload...		40 bytes + payload
 *
 * bare:  FREE, REALLOC_BEGIN, POOL. sized: ALLOC, REALLOC_END with word =
 * align_log2:8 | size:56 (alignment in the top byte, 0 = malloc's own),
 * ALLOC_AT, REALLOC_END_AT, the same with a stack (shim/stack.h): word =
 * stack:26 | size:38 and flags + align_log2 * EVENT_ALIGN, TIME with word =
 * ticks, and CPU with word = nanoseconds. Everything else is long: `stack` is
 * payload_bytes:16 | stack_low:48 (stack_low in the low bits), the payload is
 * padded with zero bytes to a multiple of 8. stack_low is the lowest stack
 * pointer that any hook saw on this thread since the last long event, this
 * one included.
 *
 * What order is promised:
 * - One thread's events are in its program order, always. ALLOC, REALLOC_END,
 *   READ, ACCEPT, CONNECT, SOCKET, DUP, WAIT_END are written after the call;
 *   FREE, REALLOC_BEGIN, WRITE, CLOSE, WAIT_BEGIN, COND_SIGNAL, EPOLL_CTL
 *   before it. So per address the true order of ALLOC and FREE alternates: a
 *   block's FREE is written before anyone can be given its address again.
 * - `ticks` are one clock for all threads (invariant TSC, else
 *   CLOCK_MONOTONIC in ns). An event without ticks lies between the stamps of
 *   its thread around it; a stamp comes at least every EVENT_STAMP_BYTES.
 * - The reader merges threads by stamps. So a FREE by another thread, without
 *   a stamp of its own, can be handed out a little before the ALLOC of its
 *   block: the alternation tells. An event of a thread that lost the CPU
 *   between stamp and commit can come out late.
 * - FORK_BEGIN comes before all events of the child; PROCESS_START is the
 *   first of a process image, THREAD_START the first of a thread.
 *
 * Only sockets make I/O events. Used by the shim, the reader and nobody else;
 * attribution sees `struct ring_event` (libtrace/ring/ring.h).
 */
#ifndef PAIL_SHIM_EVENT_H
#define PAIL_SHIM_EVENT_H

#include <stddef.h>
#include <stdint.h>

enum event_kind {
	EVENT_NONE = 0,
	/* bare: value = the address */
	EVENT_FREE,          /* free(p), p not NULL */
	EVENT_REALLOC_BEGIN, /* realloc(p, ..), p not NULL: followed by REALLOC_END on the
				thread */
	/* sized: value = the address, 0 if the call failed */
	EVENT_ALLOC,       /* malloc, calloc, memalign...; flags: EVENT_ZEROED */
	EVENT_REALLOC_END, /* value 0: it failed and the old block lives on; flag
			    * EVENT_REALLOC_FREED: realloc(p, 0) that freed and gave NULL */
	EVENT_ALLOC_AT,    /* ALLOC and REALLOC_END with the stack that they were called on */
	EVENT_REALLOC_END_AT,
	EVENT_TIME, /* value 0, word = ticks */
	/* long; what value, a, b and the payload are: */
	EVENT_PROCESS_START, /* value pid, a parent's pid, b parent's process serial << 32 |
			      * fork token (0 = came by exec); payload: the program's name */
	EVENT_PROCESS_EXIT,  /* value status & 0xff; begins: events of destructors may follow */
	EVENT_THREAD_START,  /* value tid, a address at the top of its stack */
	EVENT_THREAD_EXIT,   /* value tid */
	EVENT_FORK_BEGIN,    /* value token: the child's tables are copied at this point */
	EVENT_FORK_END,      /* value token, a child's pid or -errno; only in the parent */
	EVENT_EXEC_BEGIN,    /* payload: path */
	EVENT_EXEC_FAILED,   /* a -errno */
	EVENT_SOCKET,        /* value fd, a type (SOCK_STREAM..), b domain; socketpair: two */
	EVENT_ACCEPT,   /* value new fd, a listening fd; payload: peer's sockaddr if known */
	EVENT_CONNECT,  /* value fd, a 0 or -errno (-EINPROGRESS is a yes); payload: sockaddr */
	EVENT_DUP,      /* value new fd (what it was before is closed), a old fd */
	EVENT_CLOSE,    /* value fd */
	EVENT_SHUTDOWN, /* value fd, a how */
	EVENT_READ,     /* value fd, a bytes, 0 at the end, or -errno; payload: pieces */
	EVENT_WRITE,    /* value fd, a bytes asked for; payload: pieces; before the call */
	EVENT_WRITE_RESULT, /* value fd, a bytes written or -errno: follows its WRITE on the
			     * thread, and only if not all was written */
	EVENT_MORE,         /* value fd; payload: more pieces of the READ or WRITE before it */
	EVENT_EPOLL_CTL,    /* value epfd, a op << 32 | fd, b epoll_data; before the call */
	EVENT_WAIT_BEGIN,  /* flags enum event_wait; value epfd, number of fds, or the condition
			    * variable's address; a timeout in ns, -1 for ever; payload: up to 4
			    * fds, or the address of the mutex */
	EVENT_WAIT_END,    /* the same; a result (count, 0 = time up, -errno), b timeout in ns;
			    * payload: 64-bit words, up to EVENT_WAIT_ITEMS: epoll_data of
			    * what is ready, or the ready fds of poll and select */
	EVENT_COND_SIGNAL, /* value condition variable's address; flag EVENT_BROADCAST */
	EVENT_MARK_BEGIN,  /* value fd + 1 (0 = none), b id; payload: label */
	EVENT_MARK_END,    /* b id */
	EVENT_MAP,         /* value address, a bytes, b prot << 32 | flags; mmap, mremap */
	EVENT_UNMAP,       /* value address, a bytes */
	EVENT_BREAK,       /* value new break, a increment */
	EVENT_DROPPED,     /* a events of this thread lost right before this one */
	EVENT_MODULE, /* code that stacks lead to: value its first address, a the one past its
		       * end, b map << 32 | bytes of build-id; payload: load bias, build-id
		       * padded to 24 bytes, path */
	EVENT_LOCK,   /* value a mutex that a condition variable waits with: after the call */
	EVENT_UNLOCK, /* the same, before it */
	EVENT_POOL, /* bare; value a pool's address: the ALLOC right behind it, written with it,
		     * is a block of that pool */
	EVENT_POOL_MAKE,  /* value the pool, a its parent or 0: after the call */
	EVENT_POOL_CLEAR, /* value a pool whose blocks, and pools within it, are about to go;
			   * flag EVENT_DESTROY: the pool as well */
	EVENT_CPU, /* sized; value 0, word = CPU time of the thread in ns: right before what
		    * can change for whom a thread works, or wake another that answers, and
		    * behind a WRITE's call */
	EVENT_KINDS,
};

/* flags */
enum {
	EVENT_ZEROED = 1,        /* ALLOC: by calloc */
	EVENT_POOLED = 2,        /* ALLOC: of a pool that hands it out in blocks */
	EVENT_ALIGN = 4,         /* ..._AT: times align_log2 */
	EVENT_REALLOC_FREED = 1, /* REALLOC_END */
	EVENT_BROADCAST = 1,     /* COND_SIGNAL */
	EVENT_DESTROY = 1,       /* POOL_CLEAR */
	EVENT_FILE = 1,          /* WRITE: sendfile or splice, nothing seen of the bytes */
	EVENT_TLS = 2,           /* READ, WRITE: the plain text of a TLS connection */
	EVENT_DATAGRAM = 4,      /* READ, WRITE: not a stream socket */
	EVENT_PEEK = 8,          /* READ: MSG_PEEK, the bytes will come again */
	EVENT_QUICK = 1,         /* PROCESS_EXIT: _exit, no destructors */
	EVENT_FORKED = 1,        /* PROCESS_START: by fork, b says of whom; else by exec */
	EVENT_VFORKED = 2,       /* FORK_*: by vfork; the child's fd events are not recorded */
	EVENT_FOREIGN = 4,       /* PROCESS_START: in another pid namespace than the recorder */
};

enum event_wait { WAIT_EPOLL = 1, WAIT_POLL, WAIT_SELECT, WAIT_COND, WAIT_SLEEP };

/* A piece of what was read or written, in READ, WRITE and MORE: `bytes` bytes
 * that began at `offset` of this call's data; data is padded to 8. The first
 * piece begins at 0. Further ones are where the shim saw another message head
 * begin; bytes that no piece covers were judged to be body. */
struct event_piece {
	uint32_t offset, bytes;
	unsigned char data[];
};

enum {
	EVENT_LONG_WORDS = 5,
	EVENT_LONG_BYTES = 40,
	EVENT_PIECE_BYTES = 512,    /* most of one piece */
	EVENT_PAYLOAD_BYTES = 2048, /* most of one event; a multiple of 8 */
	EVENT_WAIT_ITEMS = 16,
	EVENT_STAMP_BYTES = 768,
	EVENT_SIZE_BITS = 38,      /* of ..._AT; larger sizes go without a stack */
	EVENT_BUILD_ID_BYTES = 24, /* in MODULE */
};

#define EVENT_VALUE_MASK ((UINT64_C(1) << 48) - 1)

static inline uint64_t event_head(enum event_kind kind, unsigned flags, uint64_t value)
{
	return (uint64_t)kind | (uint64_t)(flags & 0xff) << 8 | value << 16;
}

static inline enum event_kind event_kind(uint64_t head)
{
	return (enum event_kind)(head & 0xff);
}

static inline unsigned event_flags(uint64_t head)
{
	return (unsigned)(head >> 8) & 0xff;
}

static inline uint64_t event_value(uint64_t head)
{
	return head >> 16;
}

/* The bytes of a long event, of its payload rounded up. */
static inline size_t event_long_bytes(size_t payload_bytes)
{
	return EVENT_LONG_BYTES + ((payload_bytes + 7) & ~(size_t)7);
}

/* The bytes of the event at `words`, by its head (and third word, if long);
 * 0 if that is no event. */
static inline size_t event_bytes(const uint64_t *words)
{
	enum event_kind kind = event_kind(words[0]);

	if (kind == EVENT_FREE || kind == EVENT_REALLOC_BEGIN || kind == EVENT_POOL)
		return 8;
	if ((kind >= EVENT_ALLOC && kind <= EVENT_TIME) || kind == EVENT_CPU)
		return 16;
	if (kind == EVENT_NONE || kind >= EVENT_KINDS)
		return 0;
	return event_long_bytes((size_t)(words[2] >> 48));
}

#endif
