/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/writer.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libtrace/shim/attach.h"
#include "libtrace/shim/depth.h"
#include "libtrace/shim/stack.h"

__thread struct writer writer;

/* Stands for "no chunk" where an unfinished write may still commit: in a child
 * that was forked by a signal handler which had interrupted that write. */
static struct chunk nowhere;

static bool has_chunk(const struct writer *w)
{
	return w->chunk && w->chunk != &nowhere;
}

/* -- chunks --------------------------------------------------------------- */

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void futex(_Atomic uint32_t *word, int operation, uint32_t value, uint64_t timeout_ns)
{
	struct timespec timeout = {(time_t)(timeout_ns / 1000000000u),
				   (long)(timeout_ns % 1000000000u)};

	syscall(SYS_futex, word, operation, value, operation == FUTEX_WAIT ? &timeout : NULL,
		NULL, 0);
}

/* The reader sleeps until there is a good deal to read, or a writer must wait. */
static void wake_reader(bool urgent)
{
	uint32_t filled = atomic_fetch_add(&region->filled, 1) + 1;

	if (atomic_load(&region->reader_sleeps) &&
	    (urgent || (int32_t)(filled - atomic_load(&region->wake_at)) >= 0))
		futex(&region->filled, FUTEX_WAKE, 1, 0);
}

/* Hands a chunk to the reader. */
static void retire(struct chunk *chunk)
{
	uint32_t owner = atomic_load_explicit(&chunk->owner, memory_order_relaxed);

	atomic_store_explicit(&chunk->owner, owner - CHUNK_OPEN + CHUNK_FULL,
			      memory_order_release);
	wake_reader(false);
}

/* Maps the pages of a chunk that is new to this process in one call; without
 * it each page costs a fault of its own. */
static void populate(size_t index)
{
#ifndef MADV_POPULATE_WRITE
#	define MADV_POPULATE_WRITE 23
#endif
	uint64_t bit = UINT64_C(1) << (index % 64);

	if (__atomic_load_n(&this_process.populated[index / 64], __ATOMIC_RELAXED) & bit)
		return;
	__atomic_fetch_or(&this_process.populated[index / 64], bit, __ATOMIC_RELAXED);
	(void)!madvise(region_chunk(region, index), REGION_CHUNK_BYTES, MADV_POPULATE_WRITE);
}

/* Takes the lowest FREE chunk. The bit is cleared by who won the chunk, before
 * it can become FULL, so a set bit that the reader makes is never lost. */
static struct chunk *claim(uint32_t tid)
{
	for (size_t word = 0; word * 64 < region_mapped; word++) {
		uint64_t map =
			atomic_load_explicit(&region->free_map[word], memory_order_relaxed);
		for (; map; map &= map - 1) {
			size_t index = word * 64 + (size_t)__builtin_ctzll(map);
			if (index >= region_mapped)
				return NULL;
			struct chunk *chunk = &region->chunk[index];
			uint32_t expected = CHUNK_FREE;
			if (!atomic_compare_exchange_strong(&chunk->owner, &expected,
							    chunk_owner(CHUNK_OPEN, tid)))
				continue;
			atomic_fetch_and(&region->free_map[word],
					 ~(UINT64_C(1) << (index % 64)));
			uint32_t high = atomic_load(&region->high_water);
			while (high <= index &&
			       !atomic_compare_exchange_weak(&region->high_water, &high,
							     (uint32_t)index + 1))
				;
			populate(index);
			return chunk;
		}
	}
	return NULL;
}

/* Waits for room as the recorder asked for it; NULL when there is none. Having
 * waited in vain once, the process drops until it finds a chunk: a recorder
 * that is stuck or dead costs a server one pause, not one per event. */
static struct chunk *claim_or_wait(uint32_t tid)
{
	struct chunk *chunk = claim(tid);

	if (chunk || region_mode & REGION_DROP || this_process.gave_up) {
		if (chunk)
			this_process.gave_up = 0;
		return chunk;
	}
	uint64_t start = monotonic_ns(), now = start;
	atomic_fetch_add(&region->waits, 1);
	atomic_fetch_add(&region->writers_waiting, 1);
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): claim() has looked into it */
	while (now - start < region->wait_max_ns) {
		uint64_t beat = atomic_load(&region->beat_ns);
		if (now > beat && now - beat > region->wait_max_ns)
			break;
		uint32_t freed = atomic_load(&region->freed);
		wake_reader(true);
		chunk = claim(tid);
		if (chunk)
			break;
		futex(&region->freed, FUTEX_WAIT, freed, 5000000);
		now = monotonic_ns();
	}
	atomic_fetch_sub(&region->writers_waiting, 1);
	atomic_fetch_add(&region->wait_ns, monotonic_ns() - start);
	this_process.gave_up = chunk == NULL;
	return chunk;
}

/* -- losses --------------------------------------------------------------- */

/* The process's counter: made when it first loses something. */
static struct region_loss *loss_find(void)
{
	struct region_loss *loss = atomic_load(&this_process.loss);

	for (size_t i = 0; !loss && i < REGION_LOSS_SLOTS; i++) {
		uint32_t expected = 0;
		if (atomic_compare_exchange_strong(&region->loss[i].process, &expected,
						   this_process.serial) ||
		    expected == this_process.serial)
			loss = &region->loss[i];
	}
	atomic_store(&this_process.loss, loss);
	return loss;
}

static void count_loss(struct writer *w)
{
	struct region_loss *loss = loss_find();

	w->dropped++;
	atomic_fetch_add_explicit(&region->dropped, 1, memory_order_relaxed);
	if (loss)
		atomic_fetch_add_explicit(&loss->dropped, 1, memory_order_relaxed);
}

/* -- events outside of the hot path: limit is NULL here ------------------- */

static void put_time(struct writer *w)
{
	uint64_t *event = (uint64_t *)(void *)w->cursor;

	event[0] = event_head(EVENT_TIME, 0, 0);
	event[1] = writer_ticks();
	w->cursor += 16;
}

static void fill_long(struct writer *w, uint64_t *event, uint64_t head, int64_t a, uint64_t b,
		      const void *payload, size_t payload_bytes, uint64_t ticks)
{
	event[0] = head;
	event[1] = ticks;
	event[2] = (w->stack_low & EVENT_VALUE_MASK) | (uint64_t)payload_bytes << 48;
	event[3] = (uint64_t)a;
	event[4] = b;
	if (payload_bytes) {
		event[(event_long_bytes(payload_bytes) / 8) - 1] = 0;
		memcpy(event + EVENT_LONG_WORDS, payload, payload_bytes);
	}
}

static void put_long(struct writer *w, enum event_kind kind, unsigned flags, uint64_t value,
		     int64_t a, uint64_t b, const void *payload, size_t payload_bytes)
{
	fill_long(w, (uint64_t *)(void *)w->cursor, event_head(kind, flags, value), a, b,
		  payload, payload_bytes, writer_ticks());
	w->cursor += event_long_bytes(payload_bytes);
}

static void set_limit(struct writer *w)
{
	size_t unstamped = region_mode & REGION_STAMPED ? 0 : EVENT_STAMP_BYTES;
	unsigned char *limit = w->cursor + unstamped;

	BARRIER();
	w->limit = limit < w->end ? limit : w->end;
}

/* -- a thread's chunk ----------------------------------------------------- */

void writer_reset(struct writer *w)
{
	w->limit = NULL;
	BARRIER();
	w->cursor = NULL;
	w->chunk = &nowhere;
	w->base = w->end = NULL;
	w->dropped = 0;
	w->stream = 0;
	w->started = w->exit_round = 0;
	w->tid = 0;
}

static void open_chunk(struct writer *w, struct chunk *chunk, size_t used)
{
	w->chunk = chunk;
	w->base = region_chunk(region, (size_t)(chunk - region->chunk));
	w->end = w->base + REGION_CHUNK_BYTES;
	w->cursor = w->base + used;
}

/* What a new thread needs before its first event. */
enum { START_BYTES = 2 * EVENT_LONG_BYTES + 16 + EVENT_PAYLOAD_BYTES + EVENT_LONG_BYTES };

/* Gets a chunk with room for `bytes` behind the events that must come first:
 * the next one of our stream, or for a new thread what another left behind. */
static bool next_chunk(struct writer *w)
{
	struct chunk *old = has_chunk(w) ? w->chunk : NULL;

	w->chunk = &nowhere;
	if (!w->tid)
		w->tid = (uint32_t)syscall(SYS_gettid);
	uint32_t tid = this_process.foreign ? 0 : w->tid;
	if (old) {
		atomic_store_explicit(&old->committed, (uint32_t)(w->cursor - w->base),
				      memory_order_release);
		retire(old);
	} else if (!w->started) {
		old = atomic_exchange(&this_process.stash, NULL);
		if (old) {
			atomic_store(&old->owner, chunk_owner(CHUNK_OPEN, tid));
			w->stream = old->stream;
			w->sequence = old->sequence + 1;
			open_chunk(w, old, atomic_load(&old->committed));
			put_time(w);
			return true;
		}
	}
	struct chunk *chunk = claim_or_wait(tid);
	if (!chunk) {
		w->cursor = w->base = w->end = NULL;
		return false;
	}
	if (!w->stream || !w->started)
		w->stream = atomic_fetch_add(&region->next_stream, 1) + 1, w->sequence = 0;
	chunk->stream = w->stream;
	chunk->sequence = w->sequence++;
	chunk->process = this_process.serial;
	chunk->pid = this_process.foreign ? 0 : this_process.pid;
	chunk->namespace = this_process.namespace;
	chunk->inner_pid = this_process.pid;
	open_chunk(w, chunk, 0);
	put_time(w);
	return true;
}

static void start_thread(struct writer *w)
{
	extern void *__libc_stack_end;
	bool first = this_process.pid == (int32_t)w->tid;
	uintptr_t top = first ? (uintptr_t)__libc_stack_end : (uintptr_t)pthread_self();

	if (!atomic_exchange(&this_process.announced, true)) {
		const char *name = program_invocation_name ? program_invocation_name : "";
		unsigned flags = (this_process.forked ? EVENT_FORKED : 0u) |
				 (this_process.foreign ? EVENT_FOREIGN : 0u);
		uint32_t token = this_process.forked ? w->fork_token : 0;
		put_long(w, EVENT_PROCESS_START, flags, (uint32_t)this_process.pid,
			 this_process.parent_pid, (uint64_t)this_process.parent << 32 | token,
			 name, strnlen(name, 255));
		w->fork_token = 0;
	}
	w->started = 1;
	w->stack_low = (uintptr_t)__builtin_frame_address(0);
	put_long(w, EVENT_THREAD_START, 0, w->tid, (int64_t)top, 0, NULL, 0);
	attach_thread(w);
}

/* Called when a reservation of `bytes` ran over the limit. Nothing may be
 * assumed but that w->depth counts this write. */
void *writer_slow(struct writer *w, size_t bytes)
{
	int saved = errno;
	unsigned char *at = NULL;

	w->cursor -= bytes;
	if (!atomic_load(&this_process.alive) && !process_start())
		goto out;
	if (w->depth > 1) {
		/* We interrupted a write that may hold a reservation of this chunk, or is
		 * changing it. */
		count_loss(w);
		goto out;
	}
	w->limit = NULL;
	BARRIER();
	if (has_chunk(w) && (size_t)(w->end - w->cursor) >= bytes + 16) {
		put_time(w);
	} else if (!next_chunk(w)) {
		count_loss(w);
		goto out;
	}
	if (!w->started)
		start_thread(w);
	if (w->dropped) {
		put_long(w, EVENT_DROPPED, 0, 0, (int64_t)w->dropped, 0, NULL, 0);
		w->dropped = 0;
	}
	if ((size_t)(w->end - w->cursor) < bytes) {
		/* A chunk that was handed on, or a start in the last bytes of one. */
		if (!next_chunk(w)) {
			count_loss(w);
			goto out;
		}
	}
	at = w->cursor;
	w->cursor += bytes;
	set_limit(w);
	errno = saved;
	return at;
out:
	BARRIER();
	w->depth--;
	errno = saved;
	return NULL;
}

void writer_cpu(void)
{
	struct timespec spent;

	if (writer.depth || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent) != 0)
		return;
	writer.cpu_ticks = writer_ticks();
	write_word(EVENT_CPU, 0, NULL,
		   (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_nsec);
}

enum { CPU_AGAIN_TICKS = 20000 }; /* 5 to 20 us */

void writer_cpu_again(void)
{
	int saved = errno;

	if (writer_ticks() - writer.cpu_ticks > CPU_AGAIN_TICKS)
		writer_cpu();
	errno = saved;
}

/* Whether a thread may be working for another from there on. */
static bool turns(enum event_kind kind)
{
	static const uint64_t kinds =
		1ull << EVENT_READ | 1ull << EVENT_WRITE | 1ull << EVENT_ACCEPT |
		1ull << EVENT_CLOSE | 1ull << EVENT_WAIT_BEGIN | 1ull << EVENT_WAIT_END |
		1ull << EVENT_COND_SIGNAL | 1ull << EVENT_LOCK | 1ull << EVENT_UNLOCK |
		1ull << EVENT_MARK_BEGIN | 1ull << EVENT_MARK_END | 1ull << EVENT_THREAD_EXIT |
		1ull << EVENT_PROCESS_EXIT;

	return kinds >> kind & 1;
}

/* What comes before a long event, and its stamp. */
static inline uint64_t long_begins(struct writer *w, enum event_kind kind)
{
	if (UNLIKELY(region_mode & REGION_CPU) && turns(kind))
		writer_cpu();
	if (UNLIKELY(region_mode & REGION_PAINT) && !w->depth)
		depth_event(kind);
	uint64_t ticks = writer_ticks();
	writer_touch(w);
	return ticks;
}

void write_long(enum event_kind kind, unsigned flags, uint64_t value, int64_t a, uint64_t b,
		const void *payload, size_t payload_bytes)
{
	struct writer *w = &writer;

	uint64_t ticks = long_begins(w, kind);
	uint64_t *event = writer_begin(w, event_long_bytes(payload_bytes));
	if (!event)
		return;
	fill_long(w, event, event_head(kind, flags, value), a, b, payload, payload_bytes,
		  ticks);
	w->stack_low = (uintptr_t)__builtin_frame_address(0);
	writer_end(w);
}

void write_piece(enum event_kind kind, unsigned flags, uint64_t value, int64_t a,
		 const void *data, size_t bytes)
{
	struct writer *w = &writer;
	size_t payload_bytes = sizeof(struct event_piece) + ((bytes + 7) & ~(size_t)7);
	struct event_piece piece = {0, (uint32_t)bytes};

	uint64_t ticks = long_begins(w, kind);
	uint64_t *event = writer_begin(w, EVENT_LONG_BYTES + payload_bytes);
	if (!event)
		return;
	event[0] = event_head(kind, flags, value);
	event[1] = ticks;
	event[2] = (w->stack_low & EVENT_VALUE_MASK) | (uint64_t)payload_bytes << 48;
	event[3] = (uint64_t)a;
	event[4] = 0;
	event[EVENT_LONG_WORDS + payload_bytes / 8 - 1] = 0;
	memcpy(event + EVENT_LONG_WORDS, &piece, sizeof(piece));
	memcpy(event + EVENT_LONG_WORDS + 1, data, bytes);
	w->stack_low = (uintptr_t)__builtin_frame_address(0);
	writer_end(w);
}

void writer_announce(void)
{
	if (!writer_on())
		return;
	uint64_t *event = writer_begin(&writer, 16);
	if (!event)
		return;
	event[0] = event_head(EVENT_TIME, 0, 0);
	event[1] = writer_ticks();
	writer_end(&writer);
}

void writer_leave(struct writer *w)
{
	if (!has_chunk(w) || w->depth || !atomic_load(&this_process.alive))
		return;
	write_long(EVENT_THREAD_EXIT, 0, w->tid, 0, 0, NULL, 0);
	if (region_mode & REGION_STACKS)
		stack_leave();
	if (!has_chunk(w))
		return;
	struct chunk *chunk = w->chunk;
	size_t room = (size_t)(w->end - w->cursor);
	w->limit = NULL;
	BARRIER();
	w->chunk = &nowhere;
	w->cursor = w->base = w->end = NULL;
	w->stream = 0;
	w->started = 0;
	/* From here on the chunk dies with the process, not with us. */
	atomic_store(
		&chunk->owner,
		chunk_owner(CHUNK_OPEN, this_process.foreign ? 0 : (uint32_t)this_process.pid));
	if (room > START_BYTES)
		chunk = atomic_exchange(&this_process.stash, chunk);
	if (chunk)
		retire(chunk);
}
