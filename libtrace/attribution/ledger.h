/* SPDX-License-Identifier: MIT */
/*
 * Who owns which block: requests, connections and the live blocks of every
 * process. attribute.c decides who is at work; the ledger writes down what
 * that means for each allocation, and turns a request's share into a list of
 * replay operations.
 *
 * Words
 * - An owner is a request, a connection, nobody, or a segment: a run of one
 *   thread's allocations whose owner is not known yet (the notes' look-ahead).
 *   Segments are settled, all of them, in bounded time.
 * - A ref names a request or connection by slot and generation, so that a
 *   block can outlive its owner without pointing to freed memory.
 *
 * Blocks are matched across threads by the alternation of each address: an
 * allocation of an address that is still live means that its free is late, a
 * free of an address that is not live means that it is early (or that the
 * block is older than the recording). shim/event.h says why that is enough.
 *
 * Memory: proportional to the blocks alive in the server and the requests in
 * flight, never to the length of the recording. Out of memory is fatal to the
 * recording, not to the process: the ledger says so (ledger_failed()) and
 * drops what comes after.
 */
#ifndef PAIL_LIBTRACE_LEDGER_H
#define PAIL_LIBTRACE_LEDGER_H

#include "base/replay.h"
#include "base/str.h"
#include "libtrace/symbols/sites.h"
#include "libtrace/trace.h"

#include <stdbool.h>
#include <stdint.h>

enum { LEDGER_METHOD_MAX = 32, LEDGER_TARGET_MAX = 480, LEDGER_OPS_MAX = 1 << 23 };

enum owner_kind { OWNER_NONE, OWNER_REQUEST, OWNER_CONNECTION, OWNER_SEGMENT };

struct ref {
	uint8_t kind; /* enum owner_kind */
	uint32_t index, generation;
};

static inline bool ref_equal(struct ref a, struct ref b)
{
	return a.kind == b.kind &&
	       (a.kind == OWNER_NONE || (a.index == b.index && a.generation == b.generation));
}

enum request_state {
	REQUEST_RUNNING,   /* no final status written */
	REQUEST_RESPONDED, /* written, the response not known to be complete */
	REQUEST_DONE,      /* complete, or a unit's end has passed since */
};

struct request {
	struct ref self;
	bool used;
	enum request_state state;
	struct ref connection;
	uint32_t process;  /* serial */
	uint32_t answerer; /* serial of the thread that wrote last, when it was over; 0: none */
	int64_t connection_id, sequence;
	int64_t start_ns, last_write_ns, last_ns;
	uint16_t method_bytes, target_bytes, label_bytes;
	int status;
	int64_t bytes_in, bytes_out;
	int64_t allocations, frees, reallocations, foreign_frees;
	int64_t live_count, live_bytes;
	int64_t cpu_ns; /* -1: not known */
	bool judged;    /* escapes were counted, at the last boundary */
	int64_t escapes, escaped_bytes;
	uint64_t stack_peak_bytes;
	enum trace_confidence confidence;
	bool incomplete, marked, detached;
	int64_t left_ns; /* detached while its answerer was still at it; 0: no */
	bool followed;   /* threads said that they work for its connection */
	uint64_t mark;
	struct replay_op *ops;
	uint32_t *op_site; /* beside ops, if there are sites */
	size_t op_count, op_room, judged_ops;
	uint32_t *free_slot;
	uint32_t free_slots, free_slot_room, slots;
	uint32_t active_next, active_previous; /* of its process; index + 1 */
	bool active;
	/* Last, for a new request leaves them as they are: see ..._bytes. */
	char method[LEDGER_METHOD_MAX], target[LEDGER_TARGET_MAX], label[128];
};

struct connection {
	struct ref self;
	bool used;
	int64_t id;
	uint32_t process;
	int fd;
	uint32_t references; /* fd table entries of all processes */
	int64_t start_ns, end_ns;
	int64_t requests, bytes_in, bytes_out;
	int64_t allocations, frees, requested_bytes, live_bytes, live_peak_bytes;
	struct connection_extra *extra; /* attribute.c's part */
};

/* One entry of a segment. */
struct segment_entry {
	uint8_t kind; /* REPLAY_*; or ENTRY_FOREIGN_FREE */
	uint8_t align_log2;
	uint32_t about; /* FREE, REALLOC: the entry that allocated the block */
	uint32_t slot;  /* given when it is settled */
	/* FOREIGN_FREE has the blocks' owner in align_log2, about and slot, and in
	 * size_bytes how many they are. */
	uint32_t share; /* whose it is, when it is settled for several */
	uint32_t site;
	uint64_t address, size_bytes;
};
enum { ENTRY_FOREIGN_FREE = 3, SEGMENT_ENTRIES_MAX = 1 << 16 };

struct segment {
	struct ref self; /* index: the thread's; generation: counts settlings */
	struct segment_entry *entry;
	uint32_t count, room;
};

struct block {
	uint64_t address; /* 0: empty */
	uint64_t size_bytes;
	struct ref owner;
	uint32_t slot;   /* of a request's; of a segment's: the entry */
	uint32_t thread; /* that allocated it */
	uint32_t site;   /* where, 0 = not known */
};

/* The live blocks of one process: open addressing with backward shifts. */
struct block_map {
	struct block *block;
	uint32_t count, room;
};

struct early_free {
	uint64_t address;
	uint32_t thread;
	int64_t time_ns;
};

/* An address given anew before its free was seen: the next free of it by another
 * thread has been taken into account. */
struct late_free {
	uint64_t address;
	int64_t time_ns;
};

enum { LEDGER_EARLY = 64, LEDGER_LATE = 256 };

struct live {
	struct block_map map;
	struct early_free early[LEDGER_EARLY]; /* by address: the last ones */
	struct late_free late[LEDGER_LATE];    /* by address */
	uint32_t late_count;
};

struct ledger {
	struct request **request;
	uint32_t request_count, request_free;
	uint32_t *request_unused;
	struct connection **connection;
	uint32_t connection_count, connection_free;
	uint32_t *connection_unused;
	struct segment **segment; /* by index; the threads own them */
	uint32_t segment_room;
	uint32_t segment_generation;
	bool failed;
	struct sites *sites; /* who is told where blocks come from; the owner's, or NULL */
	uint32_t site;       /* where the allocation at hand comes from */
	/* blocks that belong to nobody */
	int64_t none_allocations, none_bytes;
};

void ledger_init(struct ledger *ledger);
void ledger_release(struct ledger *ledger);

struct request *ledger_request_new(struct ledger *ledger);
/* NULL if gone. Asked for with each event, several times. */
static inline struct request *ledger_request(const struct ledger *ledger, struct ref ref)
{
	if (ref.kind != OWNER_REQUEST)
		return NULL;
	struct request *r = ledger->request[ref.index];
	return r->used && r->self.generation == ref.generation ? r : NULL;
}
void ledger_request_free(struct ledger *ledger, struct request *request);
struct connection *ledger_connection_new(struct ledger *ledger);
static inline struct connection *ledger_connection(const struct ledger *ledger, struct ref ref)
{
	if (ref.kind != OWNER_CONNECTION)
		return NULL;
	struct connection *c = ledger->connection[ref.index];
	return c->used && c->self.generation == ref.generation ? c : NULL;
}
void ledger_connection_free(struct ledger *ledger, struct connection *connection);

/* `index` is the caller's, dense; the segment stays the caller's. */
void ledger_segment_add(struct ledger *ledger, uint32_t index, struct segment *segment);
void ledger_segment_remove(struct ledger *ledger, struct segment *segment);
static inline bool segment_full(const struct segment *segment)
{
	return segment->count >= SEGMENT_ENTRIES_MAX;
}
/* Gives everything in it to `owner` (no segment) and empties it. Gives the
 * number of allocations that it held. */
uint32_t ledger_settle(struct ledger *ledger, struct live *live, struct segment *segment,
		       struct ref owner);

/* The process is gone, and what it held. */
void ledger_live_end(struct ledger *ledger, struct live *live);
/* Gives it to several requests in order: each gets as many of its allocations,
 * and what becomes of them. */
void ledger_settle_shares(struct ledger *ledger, struct live *live, struct segment *segment,
			  const struct ref *owner, uint32_t count);

void live_release(struct live *live);

/* An allocation event under `owner`, which may be a segment. */
void ledger_alloc(struct ledger *ledger, struct live *live, struct ref owner, uint32_t thread,
		  uint64_t address, uint64_t size_bytes, uint8_t align_log2, int64_t time_ns);
/* What is live at an address; NULL if nothing is known. */
const struct block *ledger_find(const struct live *live, uint64_t address);
/* A free by a thread that works for `worker`. */
void ledger_free(struct ledger *ledger, struct live *live, struct ref worker, uint32_t thread,
		 uint64_t address, int64_t time_ns);
/* realloc: the old address's block was taken out at REALLOC_BEGIN into *old
 * (address 0: unknown) by ledger_take(), and is settled here: moved, or put
 * back when the call failed. */
void ledger_take(struct live *live, uint64_t address, struct block *old);
void ledger_realloc(struct ledger *ledger, struct live *live, struct ref worker,
		    uint32_t thread, const struct block *old, uint64_t address,
		    uint64_t size_bytes, int64_t time_ns);
void ledger_put_back(struct ledger *ledger, struct live *live, const struct block *old);

/* The name under which sites.h knows a request. */
static inline uint64_t ref_name(struct ref ref)
{
	return (uint64_t)ref.index << 32 | ref.generation;
}

/* Counts what the request holds as escapes, as of now. */
void request_judge(struct request *request);

#endif
