/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/raw.h"

#include "libtrace/store/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MORE = 0x40, HEAD_CONTEXT = 0x80, HEAD_KIND = 0x3f };
static_assert((int)EVENT_KINDS <= (int)HEAD_KIND, "a kind fits into its bits");
static_assert(RAW_SLOTS < RAW_NEW, "a slot is told from a new address");

/* What one event can add to a stream at most: a varint has 10 bytes. */
enum {
	CONTEXT_BYTES = 6 * 10,
	SIZE_BYTES = 10 + 2,
	LONG_BYTES = 1 + 5 * 10,
	PAYLOADS_BYTES = 1 << 20, /* of one block, and one event more */
	HEADER_BYTES = 2 + 8 * 10,
	THREADS = 256 /* remembered by their low bits */
};

enum stream {
	STREAM_HEAD,
	STREAM_CONTEXT,
	STREAM_SLOT,
	STREAM_FRESH,
	STREAM_SIZE,
	STREAM_SITE,
	STREAM_LONG,
	STREAM_PAYLOAD,
	STREAMS
};

static const size_t stream_room[STREAMS] = {
	[STREAM_HEAD] = RAW_EVENTS_MAX,
	[STREAM_CONTEXT] = (size_t)RAW_EVENTS_MAX * CONTEXT_BYTES,
	[STREAM_SLOT] = (size_t)RAW_EVENTS_MAX * 2,
	[STREAM_FRESH] = (size_t)RAW_EVENTS_MAX * 10,
	[STREAM_SIZE] = (size_t)RAW_EVENTS_MAX * SIZE_BYTES,
	[STREAM_SITE] = (size_t)RAW_EVENTS_MAX * 10,
	[STREAM_LONG] = (size_t)RAW_EVENTS_MAX * LONG_BYTES,
	[STREAM_PAYLOAD] = PAYLOADS_BYTES + EVENT_PAYLOAD_BYTES,
};

/* A thread as an event names it. */
struct who {
	uint32_t process, thread;
	pid_t pid, tid;
};

struct known_thread {
	struct who who;
	uint32_t number;
	uint64_t stack_low;
	int64_t cpu_ns;
};

struct raw_pack {
	bool sites;
	uint32_t events, threads;
	struct known_thread *last; /* of the event before; NULL: none yet */
	int64_t time_ns;
	uint64_t fresh;
	unsigned char *stream[STREAMS], *at[STREAMS];
	struct known_thread thread[THREADS];
	uint64_t slot[RAW_SLOTS];
	unsigned char bytes[];
};

static bool allocates(enum event_kind kind)
{
	return kind == EVENT_ALLOC || kind == EVENT_REALLOC_END;
}

static bool is_bare(enum event_kind kind)
{
	return kind == EVENT_FREE || kind == EVENT_REALLOC_BEGIN;
}

static uint32_t slot_of(uint64_t address)
{
	return (uint32_t)((address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 50);
}
static_assert(RAW_SLOTS == 1 << 14, "slot_of() gives 14 bits");

static uint64_t zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (value < 0 ? ~UINT64_C(0) : 0);
}

static int64_t unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1 ^ (~(value & 1) + 1));
}

/* -- packing ------------------------------------------------------------------- */

struct raw_pack *raw_pack_new(bool sites)
{
	size_t room = 0;
	for (int i = 0; i < STREAMS; i++)
		room += stream_room[i];
	struct raw_pack *p = malloc(sizeof(*p) + room);
	if (!p)
		return NULL;
	p->sites = sites;
	unsigned char *at = p->bytes;
	for (int i = 0; i < STREAMS; at += stream_room[i++])
		p->stream[i] = at;
	raw_pack_clear(p);
	return p;
}

void raw_pack_free(struct raw_pack *p)
{
	free(p);
}

void raw_pack_clear(struct raw_pack *p)
{
	p->events = p->threads = 0;
	p->last = NULL;
	p->time_ns = 0;
	p->fresh = 0;
	for (int i = 0; i < STREAMS; i++)
		p->at[i] = p->stream[i];
	memset(p->thread, 0, sizeof(p->thread));
	memset(p->slot, 0, sizeof(p->slot));
}

uint32_t raw_pack_count(const struct raw_pack *p)
{
	return p->events;
}

static void put(struct raw_pack *p, enum stream stream, uint64_t value)
{
	p->at[stream] = pack_varint(p->at[stream], value);
}

static void put_address(struct raw_pack *p, uint64_t address)
{
	uint32_t slot = slot_of(address);
	uint16_t code = (uint16_t)slot;
	if (p->slot[slot] != address) {
		code = RAW_NEW;
		put(p, STREAM_FRESH, zigzag((int64_t)(address - p->fresh)));
		p->slot[slot] = p->fresh = address;
	}
	memcpy(p->at[STREAM_SLOT], &code, sizeof(code));
	p->at[STREAM_SLOT] += sizeof(code);
}

static bool same_who(const struct who *who, const struct ring_event *e)
{
	return who->thread == e->thread && who->process == e->process && who->pid == e->pid &&
	       who->tid == e->tid;
}

static void put_context(struct raw_pack *p, const struct ring_event *e)
{
	struct known_thread *known = &p->thread[e->thread % THREADS];
	if (p->threads > 0 && known->number > 0 && same_who(&known->who, e)) {
		put(p, STREAM_CONTEXT, known->number - 1);
	} else {
		put(p, STREAM_CONTEXT, p->threads);
		put(p, STREAM_CONTEXT, e->process);
		put(p, STREAM_CONTEXT, e->thread);
		put(p, STREAM_CONTEXT, (uint32_t)e->pid);
		put(p, STREAM_CONTEXT, (uint32_t)e->tid);
		*known = (struct known_thread){.who = {e->process, e->thread, e->pid, e->tid},
					       .number = ++p->threads};
	}
	put(p, STREAM_CONTEXT, zigzag(e->time_ns - p->time_ns));
	p->last = known;
	p->time_ns = e->time_ns;
}

static void put_long(struct raw_pack *p, const struct ring_event *e)
{
	*p->at[STREAM_LONG]++ = e->flags;
	put(p, STREAM_LONG, e->value);
	put(p, STREAM_LONG, zigzag(e->a));
	put(p, STREAM_LONG, zigzag((int64_t)e->b));
	put(p, STREAM_LONG, zigzag((int64_t)(e->stack_low - p->last->stack_low)));
	p->last->stack_low = e->stack_low;
	put(p, STREAM_LONG, e->payload.length);
	memcpy(p->at[STREAM_PAYLOAD], e->payload.bytes, e->payload.length);
	p->at[STREAM_PAYLOAD] += e->payload.length;
}

bool raw_pack_add(struct raw_pack *p, const struct ring_event *e)
{
	if (p->events == RAW_EVENTS_MAX ||
	    p->at[STREAM_PAYLOAD] - p->stream[STREAM_PAYLOAD] >= PAYLOADS_BYTES)
		return false;
	unsigned head = e->kind;
	p->events++;
	if (!p->last || e->time_ns != p->time_ns || !same_who(&p->last->who, e)) {
		head |= HEAD_CONTEXT;
		put_context(p, e);
	}
	if (is_bare(e->kind)) {
		put_address(p, e->value);
	} else if (allocates(e->kind)) {
		put_address(p, e->value);
		put(p, STREAM_SIZE, e->size_bytes);
		if (e->flags || e->align_log2) {
			head |= HEAD_MORE;
			*p->at[STREAM_SIZE]++ = e->flags;
			*p->at[STREAM_SIZE]++ = e->align_log2;
		}
		if (p->sites)
			put(p, STREAM_SITE, e->stack);
	} else if (e->kind == EVENT_CPU) {
		put(p, STREAM_LONG, zigzag(e->a - p->last->cpu_ns));
		p->last->cpu_ns = e->a;
	} else {
		assert(e->payload.length <= EVENT_PAYLOAD_BYTES);
		put_long(p, e);
	}
	*p->at[STREAM_HEAD]++ = (unsigned char)head;
	return true;
}

int raw_pack_take(struct raw_pack *p, struct buf *out)
{
	unsigned char header[HEADER_BYTES], *at = header;
	struct buf block;
	buf_init(&block);
	*at++ = RAW_FORMAT;
	*at++ = p->sites;
	for (int i = 0; i < STREAMS; i++)
		at = pack_varint(at, (uint64_t)(p->at[i] - p->stream[i]));
	buf_append(&block, header, (size_t)(at - header));
	for (int i = 0; i < STREAMS; i++)
		buf_append(&block, p->stream[i], (size_t)(p->at[i] - p->stream[i]));
	int rc = block.failed ? -1 : pack_bytes(block.bytes, block.length, out);
	buf_release(&block);
	raw_pack_clear(p);
	return rc;
}

/* -- unpacking ------------------------------------------------------------------- */

struct unpack {
	const unsigned char *at[STREAMS], *end[STREAMS];
	bool sites, bad;
	struct known_thread *thread; /* by number */
	uint32_t threads, thread_room, current;
	int64_t time_ns;
	uint64_t fresh;
	uint64_t slot[RAW_SLOTS];
};

static uint64_t get(struct unpack *u, enum stream stream)
{
	uint64_t value = 0;
	const unsigned char *next = unpack_varint(u->at[stream], u->end[stream], &value);
	if (!next) {
		u->bad = true;
		return 0;
	}
	u->at[stream] = next;
	return value;
}

static unsigned get_byte(struct unpack *u, enum stream stream)
{
	if (u->at[stream] == u->end[stream]) {
		u->bad = true;
		return 0;
	}
	return *u->at[stream]++;
}

static uint64_t get_address(struct unpack *u)
{
	uint16_t code;
	if (u->end[STREAM_SLOT] - u->at[STREAM_SLOT] < (ptrdiff_t)sizeof(code)) {
		u->bad = true;
		return 0;
	}
	memcpy(&code, u->at[STREAM_SLOT], sizeof(code));
	u->at[STREAM_SLOT] += sizeof(code);
	if (code < RAW_SLOTS)
		return u->slot[code];
	u->bad |= code != RAW_NEW;
	u->fresh += (uint64_t)unzigzag(get(u, STREAM_FRESH));
	u->bad |= u->fresh > EVENT_VALUE_MASK;
	return u->slot[slot_of(u->fresh)] = u->fresh;
}

static void get_context(struct unpack *u)
{
	uint64_t number = get(u, STREAM_CONTEXT);
	if (number > u->threads || u->bad) {
		u->bad = true;
		return;
	}
	if (number == u->threads) {
		struct known_thread known = {0};
		known.who.process = (uint32_t)get(u, STREAM_CONTEXT);
		known.who.thread = (uint32_t)get(u, STREAM_CONTEXT);
		known.who.pid = (pid_t)get(u, STREAM_CONTEXT);
		known.who.tid = (pid_t)get(u, STREAM_CONTEXT);
		if (u->threads == u->thread_room) {
			uint32_t room = u->thread_room > 0 ? u->thread_room * 2 : 64;
			struct known_thread *grown =
				reallocarray(u->thread, room, sizeof(*grown));
			if (!grown) {
				u->bad = true;
				return;
			}
			u->thread = grown;
			u->thread_room = room;
		}
		u->thread[u->threads++] = known;
	}
	u->current = (uint32_t)number;
	u->time_ns =
		(int64_t)((uint64_t)u->time_ns + (uint64_t)unzigzag(get(u, STREAM_CONTEXT)));
	u->bad |= u->time_ns < 0;
}

static void get_long(struct unpack *u, struct ring_event *e)
{
	struct known_thread *thread = &u->thread[u->current];
	e->timed = true;
	e->flags = (uint8_t)get_byte(u, STREAM_LONG);
	e->value = get(u, STREAM_LONG);
	e->a = unzigzag(get(u, STREAM_LONG));
	e->b = (uint64_t)unzigzag(get(u, STREAM_LONG));
	thread->stack_low += (uint64_t)unzigzag(get(u, STREAM_LONG));
	e->stack_low = thread->stack_low;
	uint64_t length = get(u, STREAM_LONG);
	if (e->value > EVENT_VALUE_MASK || e->stack_low > EVENT_VALUE_MASK ||
	    length > EVENT_PAYLOAD_BYTES ||
	    length > (uint64_t)(u->end[STREAM_PAYLOAD] - u->at[STREAM_PAYLOAD])) {
		u->bad = true;
		return;
	}
	e->payload = (struct str){(const char *)u->at[STREAM_PAYLOAD], (size_t)length};
	u->at[STREAM_PAYLOAD] += length;
}

static void get_cpu(struct unpack *u, struct ring_event *e)
{
	struct known_thread *thread = &u->thread[u->current];
	e->a = (int64_t)((uint64_t)thread->cpu_ns + (uint64_t)unzigzag(get(u, STREAM_LONG)));
	u->bad |= e->a < 0;
	thread->cpu_ns = e->a;
}

static void get_allocation(struct unpack *u, unsigned head, struct ring_event *e)
{
	e->value = get_address(u);
	e->size_bytes = get(u, STREAM_SIZE);
	if (head & HEAD_MORE) {
		e->flags = (uint8_t)get_byte(u, STREAM_SIZE);
		e->align_log2 = (uint8_t)get_byte(u, STREAM_SIZE);
	}
	uint64_t site = u->sites ? get(u, STREAM_SITE) : 0;
	e->stack = (uint32_t)site;
	/* As in the ring: 56 bits of a size, which a block of memory can't have. */
	u->bad |= e->size_bytes >> 56 != 0 || site > UINT32_MAX || e->align_log2 > 63;
}

static bool next_event(struct unpack *u, struct ring_event *e)
{
	unsigned head = get_byte(u, STREAM_HEAD);
	enum event_kind kind = (enum event_kind)(head & HEAD_KIND);
	if (head & HEAD_CONTEXT)
		get_context(u);
	if (u->bad || u->threads == 0 || kind == EVENT_NONE || kind >= EVENT_KINDS ||
	    kind == EVENT_TIME || kind == EVENT_ALLOC_AT || kind == EVENT_REALLOC_END_AT)
		return false;
	const struct who *who = &u->thread[u->current].who;
	*e = (struct ring_event){.kind = kind,
				 .process = who->process,
				 .thread = who->thread,
				 .pid = who->pid,
				 .tid = who->tid,
				 .time_ns = u->time_ns};
	if (is_bare(kind))
		e->value = get_address(u);
	else if (allocates(kind))
		get_allocation(u, head, e);
	else if (kind == EVENT_CPU)
		get_cpu(u, e);
	else
		get_long(u, e);
	return !u->bad;
}

static bool find_streams(struct unpack *u, const unsigned char *bytes, size_t length)
{
	const unsigned char *at = bytes + 2, *end = bytes + length;
	uint64_t lengths[STREAMS];
	if (length < 2 || bytes[0] != RAW_FORMAT || bytes[1] > 1)
		return false;
	u->sites = bytes[1];
	for (int i = 0; i < STREAMS; i++)
		if (!(at = unpack_varint(at, end, &lengths[i])))
			return false;
	for (int i = 0; i < STREAMS; i++) {
		if (lengths[i] > (uint64_t)(end - at))
			return false;
		u->at[i] = at;
		u->end[i] = at += lengths[i];
	}
	return at == end;
}

static size_t block_room(void)
{
	size_t most = HEADER_BYTES;
	for (int i = 0; i < STREAMS; i++)
		most += stream_room[i];
	return most;
}

int raw_unpack(const void *bytes, size_t length, uint32_t count, ring_callback *callback,
	       void *context)
{
	size_t block_length;
	if (count > RAW_EVENTS_MAX)
		return -1;
	unsigned char *block = unpack_bytes(bytes, length, block_room(), &block_length);
	struct unpack *u = block ? calloc(1, sizeof(*u)) : NULL;
	int rc = u && find_streams(u, block, block_length) ? 0 : -1;
	struct ring_event event;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		rc = next_event(u, &event) ? 0 : -1;
		if (rc == 0)
			callback(context, &event);
	}
	for (int i = 0; rc == 0 && i < STREAMS; i++)
		rc = u->at[i] == u->end[i] ? 0 : -1;
	if (u)
		free(u->thread);
	free(u);
	free(block);
	return rc;
}
