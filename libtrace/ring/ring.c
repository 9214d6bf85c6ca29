/* SPDX-License-Identifier: MIT */
#include "libtrace/ring/ring.h"

#include "libtrace/ring/outside.h"
#include "libtrace/ring/ring_file.h"
#include "libtrace/ring/ring_guard.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What the reader knows of a stream, the chain of chunks of one thread (and
 * then perhaps of the next one). */
struct stream {
	struct stream *next;   /* in its bucket */
	uint32_t id, sequence; /* of the chunk that is being read or comes next */
	uint32_t process, thread;
	pid_t pid, tid;
	bool numbered, gone;
	bool there;       /* it was seen in its namespace */
	uint64_t outside; /* outside_key(), 0: of our namespace or not known */
	uint64_t looks;   /* that were taken before it */
	uint64_t ticks;   /* of the last stamp */
	int64_t time_ns;
};

/* A chunk with something to read, in this pass. */
struct ready {
	uint32_t stream, sequence, index;
};

/* A stream in this pass: its chunks are ready[at..end), and `ticks` is when the
 * events at its position begin. */
struct source {
	struct stream *stream;
	size_t at, end;
	uint64_t ticks;
};

enum { BUCKETS = 4096, PIDS = 65536, OUTSIDERS = 4096 };

struct ring {
	struct ring_file file;
	struct region *region;
	uint32_t *read; /* by chunk: bytes handed out */
	struct ready *ready;
	struct source *heap; /* by ticks, least first */
	size_t ready_count, heap_count;
	struct stream *bucket[BUCKETS];
	struct {
		pid_t pid;
		uint32_t process;
	} latest[PIDS]; /* the newest image of a pid, by its low bits */
	struct {
		uint64_t key;
		uint32_t process;
	} latest_outside[OUTSIDERS]; /* the same by outside_key() */
	struct outside outside;
	uint32_t outsiders; /* streams of other namespaces */
	uint64_t last_look_ns;
	uint32_t threads;
	uint64_t start_ticks, ns_per_tick_32; /* scaled by 2^32 */
	uint64_t start_ns, last_reap_ns;
	uint32_t wake_after;
	/* Ours: what lies in the region may be overwritten. */
	uint32_t chunk_count, stack_entries;
	const unsigned char *chunks;
	uint64_t stacks_offset;
	uint64_t payload[EVENT_PAYLOAD_BYTES / 8]; /* of the event that is handed out */
	struct ring_stats stats;
	ring_callback *callback;
	void *context;
};

/* -- clock -------------------------------------------------------------------- */

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t ticks_now(const struct ring *ring)
{
#if defined(__x86_64__)
	if (ring->region->flags & REGION_TSC)
		return __builtin_ia32_rdtsc();
#endif
	(void)ring;
	return monotonic_ns();
}

/* The rate is measured over all the time since the start, so that it gets
 * better as that grows. */
static void calibrate(struct ring *ring)
{
	uint64_t ticks = ticks_now(ring) - ring->start_ticks;
	uint64_t ns = monotonic_ns() - ring->start_ns;

	if (!(ring->region->flags & REGION_TSC))
		ring->ns_per_tick_32 = UINT64_C(1) << 32;
	else if (ticks)
		ring->ns_per_tick_32 = (uint64_t)(((unsigned __int128)ns << 32) / ticks);
}

/* 146 years: a stamp that nobody took, but one can still count with. */
#define TIME_MOST_NS (INT64_MAX / 2)

static int64_t to_ns(const struct ring *ring, uint64_t ticks)
{
	if (ticks < ring->start_ticks)
		return 0;
	unsigned __int128 ns =
		(unsigned __int128)(ticks - ring->start_ticks) * ring->ns_per_tick_32 >> 32;
	return ns < TIME_MOST_NS ? (int64_t)ns : TIME_MOST_NS;
}

int64_t ring_time_ns(const struct ring *ring, uint64_t moment_ns)
{
	return to_ns(ring, moment_ns);
}

/* -- life ----------------------------------------------------------------------- */

int ring_create(const struct ring_options *options, struct ring **result, struct err *err)
{
	struct ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return err_errno(err, "cannot make room for the recorder's tables");
	if (ring_file_create(&ring->file, options, err) != 0) {
		free(ring);
		return -1;
	}
	ring->region = ring->file.region;
	size_t count = ring->region->chunk_count;
	ring->read = calloc(count, sizeof(*ring->read));
	ring->ready = calloc(count, sizeof(*ring->ready));
	ring->heap = calloc(count, sizeof(*ring->heap));
	if (!ring->read || !ring->ready || !ring->heap) {
		ring_free(ring);
		return err_errno(err, "cannot make room for the recorder's tables");
	}
	ring->stats.chunks = count;
	ring->chunk_count = (uint32_t)count;
	ring->chunks = region_chunk(ring->region, 0);
	ring->stack_entries = ring->region->stack_entries;
	ring->stacks_offset = ring->region->stacks_offset;
	/* Often enough that writers reuse memory which is still in a cache. */
	ring->wake_after = count / 4 < 128 ? (uint32_t)count / 4 : 128;
	ring->start_ns = monotonic_ns();
	ring->start_ticks = ticks_now(ring);
	while (monotonic_ns() - ring->start_ns < 1000000)
		;
	calibrate(ring);
	atomic_store(&ring->region->beat_ns, monotonic_ns());
	*result = ring;
	return 0;
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct stream *stream = ring->bucket[i], *next; stream; stream = next) {
			next = stream->next;
			free(stream);
		}
	}
	outside_release(&ring->outside);
	ring_file_remove(&ring->file);
	free(ring->read);
	free(ring->ready);
	free(ring->heap);
	free(ring);
}

const char *ring_path(const struct ring *ring)
{
	return ring->file.path;
}

/* -- streams -------------------------------------------------------------------- */

static struct stream *stream_find(struct ring *ring, const struct chunk *chunk)
{
	struct stream **bucket = &ring->bucket[chunk->stream % BUCKETS];
	struct stream *stream = *bucket;

	while (stream && stream->id != chunk->stream)
		stream = stream->next;
	if (!stream) {
		stream = calloc(1, sizeof(*stream));
		if (!stream)
			return NULL; /* its chunk waits for a better pass */
		stream->id = chunk->stream;
		stream->process = chunk->process;
		stream->pid = chunk->pid;
		if (chunk->pid == 0 && chunk->namespace != 0)
			stream->outside = outside_key(chunk->namespace, chunk->inner_pid);
		stream->looks = ring->outside.looks;
		ring->outsiders += stream->outside != 0;
		ring->stats.streams++;
		stream->next = *bucket;
		*bucket = stream;
	}
	return stream;
}

static void stream_drop(struct ring *ring, uint32_t id)
{
	struct stream **place = &ring->bucket[id % BUCKETS];

	while (*place && (*place)->id != id)
		place = &(*place)->next;
	struct stream *stream = *place;
	if (stream) {
		ring->outsiders -= stream->outside != 0;
		ring->stats.streams--;
		*place = stream->next;
		free(stream);
	}
}

/* -- chunks ---------------------------------------------------------------------- */

static const unsigned char *chunk_bytes(const struct ring *ring, uint32_t index)
{
	return ring->chunks + (size_t)index * REGION_CHUNK_BYTES;
}

/* How far the chunk is written; never past its end, whatever a wild write of
 * the program has put there. */
static uint32_t chunk_committed(const struct chunk *chunk)
{
	uint32_t bytes = atomic_load_explicit(&chunk->committed, memory_order_acquire);

	return bytes < REGION_CHUNK_BYTES ? bytes & ~7u : REGION_CHUNK_BYTES;
}

static void recycle(struct ring *ring, uint32_t index)
{
	struct region *region = ring->region;
	struct chunk *chunk = &region->chunk[index];

	ring->read[index] = 0;
	atomic_store_explicit(&chunk->committed, 0, memory_order_relaxed);
	atomic_store_explicit(&chunk->owner, chunk_owner(CHUNK_FREE, 0), memory_order_release);
	atomic_fetch_or(&region->free_map[index / 64], UINT64_C(1) << (index % 64));
	atomic_fetch_add(&region->freed, 1);
	if (atomic_load(&region->writers_waiting))
		syscall(SYS_futex, &region->freed, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static size_t outsider_slot(uint64_t key)
{
	return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 52);
}
static_assert(OUTSIDERS == 1 << 12, "outsider_slot() gives 12 bits");

/* Whether a process that we have no pid of is gone, or is another program by now. */
static bool outsider_dead(const struct ring *ring, struct stream *stream)
{
	uint64_t key = stream->outside;
	size_t slot = outsider_slot(key);

	if (key == 0)
		return false;
	if (ring->latest_outside[slot].key == key &&
	    ring->latest_outside[slot].process > stream->process)
		return true;
	if (ring->outside.looks <= stream->looks)
		return false;
	enum outside_life life = outside_judge(&ring->outside, key, stream->there);
	stream->there |= life == OUTSIDE_ALIVE;
	return life == OUTSIDE_DEAD;
}

/* Whether the writer of an open chunk is gone for good. Unknown is no. */
static bool writer_dead(struct ring *ring, const struct chunk *chunk, uint32_t owner)
{
	pid_t tid = (pid_t)(owner >> 2);

	if (tid == 0) { /* of another pid namespace */
		struct stream *stream =
			atomic_load_explicit(&chunk->committed, memory_order_acquire)
				? stream_find(ring, chunk)
				: NULL;
		return stream && outsider_dead(ring, stream);
	}
	if (!atomic_load_explicit(&chunk->committed, memory_order_acquire))
		return syscall(SYS_tkill, tid, 0) != 0 && errno == ESRCH;
	size_t slot = (size_t)chunk->pid % PIDS;
	if (ring->latest[slot].pid == chunk->pid && ring->latest[slot].process > chunk->process)
		return true; /* its process has become another program */
	return syscall(SYS_tgkill, chunk->pid, tid, 0) != 0 && errno == ESRCH;
}

static int ready_order(const void *a, const void *b)
{
	const struct ready *left = a, *right = b;

	if (left->stream != right->stream)
		return left->stream < right->stream ? -1 : 1;
	return left->sequence < right->sequence ? -1 : left->sequence > right->sequence;
}

/* Lists the chunks that have something for us, and with `reap` takes those of
 * the dead from them. */
static void scan(struct ring *ring, bool reap)
{
	struct region *region = ring->region;
	uint32_t high = atomic_load(&region->high_water);
	if (high > ring->chunk_count)
		high = ring->chunk_count;
	uint64_t open = 0, full = 0;

	ring->ready_count = 0;
	for (uint32_t index = 0; index < high; index++) {
		struct chunk *chunk = &region->chunk[index];
		uint32_t owner = atomic_load_explicit(&chunk->owner, memory_order_acquire);
		if (chunk_state(owner) == CHUNK_FREE)
			continue;
		if (chunk_state(owner) == CHUNK_OPEN && reap &&
		    writer_dead(ring, chunk, owner)) {
			uint32_t now_full = owner - CHUNK_OPEN + CHUNK_FULL;
			atomic_compare_exchange_strong(&chunk->owner, &owner, now_full);
			owner = atomic_load(&chunk->owner);
		}
		uint32_t committed = chunk_committed(chunk);
		bool is_full = chunk_state(owner) == CHUNK_FULL;
		is_full ? full++ : open++;
		if (committed == 0 && is_full)
			recycle(ring, index); /* died before its first event */
		else if (committed > ring->read[index] || is_full)
			ring->ready[ring->ready_count++] =
				(struct ready){chunk->stream, chunk->sequence, index};
	}
	ring->stats.chunks_open = open;
	ring->stats.chunks_full = full;
	if (open + full > ring->stats.chunks_open_max)
		ring->stats.chunks_open_max = open + full;
	qsort(ring->ready, ring->ready_count, sizeof(*ring->ready), ready_order);
}

/* -- events ----------------------------------------------------------------------- */

static bool has_ticks(enum event_kind kind)
{
	return kind >= EVENT_TIME && kind != EVENT_POOL && kind != EVENT_CPU;
}

static void learn(struct ring *ring, struct stream *stream, const struct ring_event *event)
{
	if (event->kind == EVENT_PROCESS_START) {
		size_t slot = (size_t)event->value % PIDS;
		if (!(event->flags & EVENT_FOREIGN)) { /* else it is no pid of ours */
			ring->latest[slot].pid = (pid_t)event->value;
			ring->latest[slot].process = stream->process;
		} else if (stream->outside) {
			slot = outsider_slot(stream->outside);
			ring->latest_outside[slot].key = stream->outside;
			ring->latest_outside[slot].process = stream->process;
		}
		ring->stats.processes++;
		stream->thread = ++ring->threads;
		stream->tid = stream->pid;
		stream->numbered = true; /* its THREAD_START comes next */
	} else if (event->kind == EVENT_THREAD_START) {
		if (!stream->numbered)
			stream->thread = ++ring->threads;
		stream->numbered = false;
		stream->tid = (pid_t)event->value;
		ring->stats.threads++;
	}
}

/* Fills in a long event, and takes from it what the reader itself must know. A
 * copy of the payload goes out, and its length is the one that was checked: what
 * lies in the region can change under whoever reads it. */
static void decode_long(struct ring *ring, struct stream *stream, const uint64_t *words,
			size_t payload_bytes, struct ring_event *event)
{
	event->timed = true;
	event->time_ns = to_ns(ring, words[1]);
	event->stack_low = words[2] & EVENT_VALUE_MASK;
	event->a = (int64_t)words[3];
	event->b = words[4];
	memcpy(ring->payload, words + EVENT_LONG_WORDS, (payload_bytes + 7) & ~(size_t)7);
	event->payload.bytes = (const char *)ring->payload;
	event->payload.length = payload_bytes;
	learn(ring, stream, event);
	event->thread = stream->thread;
	event->tid = stream->tid;
}

/* Whether the chunk has an event at the reader's position; *ticks is raised to
 * its stamp, if it has one. */
static bool chunk_peek(const struct ring *ring, uint32_t index, uint64_t *ticks)
{
	uint32_t at = ring->read[index];
	uint32_t committed = chunk_committed(&ring->region->chunk[index]);

	if (at >= committed)
		return false;
	const uint64_t *words = (const void *)(chunk_bytes(ring, index) + at);
	if (has_ticks(event_kind(words[0])) && committed - at >= 16 && words[1] > *ticks)
		*ticks = words[1];
	return true;
}

/* Moves to the next chunk of the chain if this one is done with; false if there
 * is nothing more to read in this pass. */
static bool source_advance(struct ring *ring, struct source *source)
{
	uint32_t index = ring->ready[source->at].index;
	struct chunk *chunk = &ring->region->chunk[index];
	uint32_t owner = atomic_load_explicit(&chunk->owner, memory_order_acquire);

	if (chunk_state(owner) != CHUNK_FULL)
		return false;
	if (ring->read[index] < chunk_committed(chunk))
		return true; /* it grew before it was closed */
	uint32_t sequence = ring->ready[source->at].sequence;
	recycle(ring, index);
	source->stream->sequence = sequence + 1;
	source->at++;
	return source->at < source->end && ring->ready[source->at].sequence == sequence + 1;
}

/* Finds the time at which the source's next events begin. */
static bool source_peek(struct ring *ring, struct source *source)
{
	source->ticks = source->stream->ticks;
	while (!chunk_peek(ring, ring->ready[source->at].index, &source->ticks))
		if (!source_advance(ring, source))
			return false;
	return true;
}

/* An event as it is before anything but its stream and stamp is known. */
static struct ring_event blank(const struct stream *stream)
{
	return (struct ring_event){.process = stream->process,
				   .pid = stream->pid,
				   .thread = stream->thread,
				   .tid = stream->tid,
				   .time_ns = stream->time_ns};
}

/* Hands out the events of one chunk from the source's position up to the next
 * stamp later than `until`, or to what is committed. This is the reader's hot
 * loop: most events are bare or sized. */
static void chunk_run(struct ring *ring, struct source *source, uint64_t until)
{
	uint32_t index = ring->ready[source->at].index;
	const unsigned char *base = chunk_bytes(ring, index);
	uint32_t committed = chunk_committed(&ring->region->chunk[index]);
	uint32_t at = ring->read[index], start = at;
	struct stream *stream = source->stream;
	struct ring_event event = blank(stream);
	uint64_t count = 0;

	while (at < committed) {
		const uint64_t *words = (const void *)(base + at);
		size_t left = committed - at, bytes;
		enum event_kind kind = event_kind(words[0]);
		__builtin_prefetch(words + 128);
		event.kind = kind;
		event.flags = (uint8_t)event_flags(words[0]);
		event.value = event_value(words[0]);
		if (kind == EVENT_FREE || kind == EVENT_REALLOC_BEGIN) {
			bytes = 8;
			event.size_bytes = 0;
			event.align_log2 = 0;
			event.stack = 0;
		} else if (kind == EVENT_ALLOC || kind == EVENT_REALLOC_END) {
			bytes = 16;
			if (left < bytes)
				goto corrupt;
			event.align_log2 = (uint8_t)(words[1] >> 56);
			event.size_bytes = words[1] & (~UINT64_C(0) >> 8);
			event.stack = 0;
		} else if (kind == EVENT_ALLOC_AT || kind == EVENT_REALLOC_END_AT) {
			bytes = 16;
			if (left < bytes)
				goto corrupt;
			event.kind = kind == EVENT_ALLOC_AT ? EVENT_ALLOC : EVENT_REALLOC_END;
			event.align_log2 = (uint8_t)(event.flags / EVENT_ALIGN);
			event.flags %= EVENT_ALIGN;
			event.size_bytes = words[1] & ((UINT64_C(1) << EVENT_SIZE_BITS) - 1);
			event.stack = (uint32_t)(words[1] >> EVENT_SIZE_BITS);
		} else if (kind == EVENT_POOL) {
			at += 8;
			event.pool = event.value;
			continue; /* of the event behind it */
		} else if (kind == EVENT_CPU) {
			bytes = 16;
			if (left < bytes)
				goto corrupt;
			at += (uint32_t)bytes;
			event = blank(stream);
			event.kind = EVENT_CPU;
			event.a = (int64_t)(words[1] & INT64_MAX);
			count++;
			ring->callback(ring->context, &event);
			event.a = 0;
			continue;
		} else {
			if (left < 16 || (kind != EVENT_TIME && left < EVENT_LONG_BYTES))
				goto corrupt;
			size_t payload_bytes = kind != EVENT_TIME ? words[2] >> 48 : 0;
			bytes = kind == EVENT_TIME ? 16 : event_long_bytes(payload_bytes);
			if (kind == EVENT_NONE || kind >= EVENT_KINDS || bytes > left ||
			    payload_bytes > EVENT_PAYLOAD_BYTES)
				goto corrupt;
			if (words[1] > stream->ticks) {
				if (words[1] > until)
					break;
				stream->ticks = words[1];
				stream->time_ns = to_ns(ring, words[1]);
			}
			at += (uint32_t)bytes;
			event.size_bytes = 0;
			event.align_log2 = 0;
			event.stack = 0;
			if (kind != EVENT_TIME) {
				decode_long(ring, stream, words, payload_bytes, &event);
				count++;
				ring->callback(ring->context, &event);
			}
			event = blank(stream);
			continue;
		}
		at += (uint32_t)bytes;
		count++;
		ring->callback(ring->context, &event);
		event.pool = 0;
	}
	goto done;
corrupt:
	ring->stats.corrupt_chunks++;
	at = committed;
done:
	ring->stats.events += count;
	ring->stats.event_bytes += at - start;
	ring->read[index] = at;
}

/* Hands out what begins no later than `until`. False when the source is done
 * with for this pass; else its ticks say when it goes on. */
static bool source_run(struct ring *ring, struct source *source, uint64_t until)
{
	do {
		chunk_run(ring, source, until);
		if (!source_peek(ring, source))
			return false;
	} while (source->ticks <= until);
	return true;
}

/* -- merging ------------------------------------------------------------------------ */

static void heap_sink(struct ring *ring, size_t at)
{
	struct source moved = ring->heap[at];

	for (size_t child; (child = 2 * at + 1) < ring->heap_count; at = child) {
		if (child + 1 < ring->heap_count &&
		    ring->heap[child + 1].ticks < ring->heap[child].ticks)
			child++;
		if (ring->heap[child].ticks >= moved.ticks)
			break;
		ring->heap[at] = ring->heap[child];
	}
	ring->heap[at] = moved;
}

/* One source per stream whose next chunk is here. If a later one was seen but
 * not the next (it was taken behind our back), the stream waits for the next
 * pass, unless this is the last. */
static void gather(struct ring *ring, bool last)
{
	ring->heap_count = 0;
	for (size_t at = 0, end; at < ring->ready_count; at = end) {
		for (end = at + 1; end < ring->ready_count &&
				   ring->ready[end].stream == ring->ready[at].stream;)
			end++;
		struct stream *stream =
			stream_find(ring, &ring->region->chunk[ring->ready[at].index]);
		if (!stream || (ring->ready[at].sequence != stream->sequence && !last))
			continue;
		struct source source = {stream, at, end, 0};
		if (source_peek(ring, &source))
			ring->heap[ring->heap_count++] = source;
	}
	for (size_t at = ring->heap_count / 2; at-- > 0;)
		heap_sink(ring, at);
}

static uint64_t pass(struct ring *ring, uint64_t until, bool reap, bool last)
{
	uint64_t before = ring->stats.events;

	scan(ring, reap);
	gather(ring, last);
	while (ring->heap_count && ring->heap[0].ticks <= until) {
		uint64_t next = until;
		for (size_t child = 1; child < 3 && child < ring->heap_count; child++)
			if (ring->heap[child].ticks < next)
				next = ring->heap[child].ticks;
		if (!source_run(ring, &ring->heap[0], next))
			ring->heap[0] = ring->heap[--ring->heap_count];
		heap_sink(ring, 0);
	}
	return ring->stats.events - before;
}

static bool stream_gone(const struct ring *ring, struct stream *stream)
{
	size_t slot = (size_t)stream->pid % PIDS;

	if (stream->pid <= 0 && !stream->outside)
		return false;
	for (size_t i = 0; i < ring->ready_count; i++)
		if (ring->ready[i].stream == stream->id)
			return false;
	if (stream->outside)
		return outsider_dead(ring, stream);
	if (ring->latest[slot].pid == stream->pid &&
	    ring->latest[slot].process > stream->process)
		return true;
	return kill(stream->pid, 0) != 0 && errno == ESRCH;
}

/* Forgets streams of dead processes: fork storms make many. Each must be found
 * gone twice, so that between a pass has taken the chunks that it left. */
static void forget_streams(struct ring *ring)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct stream *stream = ring->bucket[i], *next; stream; stream = next) {
			next = stream->next;
			bool gone = stream_gone(ring, stream);
			if (gone && stream->gone)
				stream_drop(ring, stream->id);
			else
				stream->gone = gone;
		}
	}
}

/* -- polling ------------------------------------------------------------------------- */

static void sleep_until_filled(struct ring *ring, int timeout_ms)
{
	struct region *region = ring->region;
	struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
	uint32_t filled = atomic_load(&region->filled);

	atomic_store(&region->wake_at, filled + ring->wake_after);
	atomic_store(&region->reader_sleeps, 1);
	/* Chunks that fill without waking us must not end the sleep, nor may a
	 * wake be missed that came before it. */
	if (!atomic_load(&region->writers_waiting))
		syscall(SYS_futex, &region->filled, FUTEX_WAIT, atomic_load(&region->filled),
			&timeout, NULL, 0);
	atomic_store(&region->reader_sleeps, 0);
}

enum { REAP_NS = 100000000, LOOK_NS = 1000000000 };

static bool short_of_room(const struct ring *ring)
{
	return ring->stats.chunks_open + ring->stats.chunks_full > ring->stats.chunks / 2 ||
	       atomic_load(&ring->region->writers_waiting);
}

/* Those of other namespaces are looked for now and then, and sooner if room runs short. */
static void look_outside(struct ring *ring, uint64_t now_ns)
{
	uint64_t pause_ns = short_of_room(ring) ? REAP_NS : LOOK_NS;

	if (ring->outsiders == 0 || now_ns - ring->last_look_ns < pause_ns)
		return;
	ring->last_look_ns = now_ns;
	outside_look(&ring->outside, "/proc");
}

uint64_t ring_poll(struct ring *ring, int timeout_ms, ring_callback *callback, void *context)
{
	struct region *region = ring->region;

	ring->callback = callback;
	ring->context = context;
	if (timeout_ms > 0)
		sleep_until_filled(ring, timeout_ms);
	uint64_t now = monotonic_ns();
	atomic_store(&region->beat_ns, now);
	calibrate(ring);
	/* Look for the dead now and then, and at once when room runs short. */
	bool reap = now - ring->last_reap_ns > REAP_NS || short_of_room(ring);
	look_outside(ring, now);
	uint64_t count = pass(ring, ticks_now(ring), reap, false);
	if (now - ring->last_reap_ns > REAP_NS) {
		ring->last_reap_ns = now;
		forget_streams(ring);
	}
	return count;
}

uint64_t ring_finish(struct ring *ring, ring_callback *callback, void *context)
{
	uint64_t count, all = 0;

	ring->callback = callback;
	ring->context = context;
	calibrate(ring);
	/* Once in the usual order, then whatever is left. */
	all = pass(ring, UINT64_MAX, true, false);
	do {
		count = pass(ring, UINT64_MAX, true, true);
		all += count;
	} while (count);
	/* Whoever writes on need not wait to find that nobody reads. */
	atomic_store(&ring->region->beat_ns, 0);
	return all;
}

/* -- what it says of itself ------------------------------------------------------------ */

void ring_stats(const struct ring *ring, struct ring_stats *stats)
{
	*stats = ring->stats;
	stats->dropped = atomic_load(&ring->region->dropped);
	stats->waits = atomic_load(&ring->region->waits);
	stats->wait_ns = atomic_load(&ring->region->wait_ns);
	stats->stack_entries = atomic_load(&ring->region->stacks_used);
	stats->stack_room = ring->region->stack_entries;
	stats->stacks_lost = atomic_load(&ring->region->stacks_lost);
	stats->stacks_blind = atomic_load(&ring->region->stacks_blind);
}

bool ring_cut(const struct ring *ring)
{
	return ring_guard_cut(ring->file.guard);
}

uint64_t ring_dropped(const struct ring *ring, uint32_t process)
{
	for (size_t i = 0; i < REGION_LOSS_SLOTS; i++)
		if (atomic_load(&ring->region->loss[i].process) == process)
			return atomic_load(&ring->region->loss[i].dropped);
	return 0;
}

/* -- stacks ------------------------------------------------------------------------------ */

bool ring_frame(const struct ring *ring, uint32_t stack, struct ring_frame *frame)
{
	const struct region *region = ring->region;

	if (stack == 0 || stack >= ring->stack_entries)
		return false;
	const struct stack_entry *entry =
		(const void *)((const unsigned char *)region + ring->stacks_offset +
			       stack * sizeof(*entry));
	uint64_t address = atomic_load_explicit(&entry->address, memory_order_relaxed);
	uint32_t outer = atomic_load_explicit(&entry->outer, memory_order_acquire);
	if (!address || !outer)
		return false;
	*frame = (struct ring_frame){.address = address & EVENT_VALUE_MASK,
				     .exact = (address & ENTRY_EXACT) != 0};
	if (outer & ENTRY_ROOT) {
		frame->map = outer & ENTRY_MAP;
		frame->cut = (outer & ENTRY_CUT) != 0;
	} else {
		frame->outer = outer;
	}
	return true;
}
