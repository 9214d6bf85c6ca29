/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/pools.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Places in a process's tables; 0 is none. */
struct block {
	uint64_t address;
	uint32_t chain; /* the next in its bucket, or unused one */
	uint32_t pool;  /* HIDDEN: of malloc, and not told */
	uint32_t older, newer;
};

struct pool {
	uint64_t address;
	uint32_t chain;
	uint32_t parent, child; /* child: the newest */
	uint32_t older, newer;  /* of the same parent */
	uint32_t newest;        /* block */
};

enum { HIDDEN_POOL = UINT32_MAX, FIRST_ROOM = 256, SERIALS_MAX = 1 << 24 };

/* A table with places that stay where they are, found by address. */
struct table {
	void *entry;
	uint32_t *bucket;
	uint32_t used, room, unused; /* room: of both, a power of 2 */
};

struct process {
	uint32_t serial;
	pid_t pid;
	struct table blocks, pools;
	uint32_t hidden;
};

struct pools {
	struct process **process; /* by serial; NULL: has no pools */
	uint32_t room;
	uint32_t hidden; /* of all processes */
	bool failed;
};

/* -- tables ------------------------------------------------------------------- */

static struct block *block_at(const struct process *p, uint32_t place)
{
	return (struct block *)p->blocks.entry + place;
}

static struct pool *pool_at(const struct process *p, uint32_t place)
{
	return (struct pool *)p->pools.entry + place;
}

static uint32_t bucket_of(const struct table *t, uint64_t address)
{
	return (uint32_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (t->room - 1);
}

/* Both kinds of entry begin alike. */
struct entry {
	uint64_t address;
	uint32_t chain;
};
static_assert(offsetof(struct block, chain) == offsetof(struct entry, chain) &&
		      offsetof(struct pool, chain) == offsetof(struct entry, chain),
	      "found alike");

static struct entry *entry_at(const struct table *t, size_t bytes, uint32_t place)
{
	return (struct entry *)(void *)((char *)t->entry + place * bytes);
}

static uint32_t table_find(const struct table *t, size_t bytes, uint64_t address)
{
	uint32_t place = t->room ? t->bucket[bucket_of(t, address)] : 0;

	while (place && entry_at(t, bytes, place)->address != address)
		place = entry_at(t, bytes, place)->chain;
	return place;
}

static bool table_grow(struct table *t, size_t bytes)
{
	uint32_t room = t->room ? t->room * 2 : FIRST_ROOM;
	uint32_t *bucket = calloc(room, sizeof(*bucket));
	void *entry = room ? reallocarray(t->entry, room, bytes) : NULL;

	if (entry)
		t->entry = entry;
	if (!entry || !bucket) {
		free(bucket);
		return false;
	}
	free(t->bucket);
	t->bucket = bucket;
	t->room = room;
	if (t->used == 0)
		t->used = 1; /* place 0 */
	for (uint32_t place = 1; place < t->used; place++) {
		struct entry *e = entry_at(t, bytes, place);
		uint32_t at = bucket_of(t, e->address);
		e->chain = bucket[at];
		bucket[at] = place;
	}
	return true;
}

/* A new entry, zeroed; 0: out of memory. */
static uint32_t table_add(struct table *t, size_t bytes, uint64_t address)
{
	uint32_t place = t->unused;

	if (place) {
		t->unused = entry_at(t, bytes, place)->chain;
	} else {
		/* Growing makes all chains anew, so it needs every place in use. */
		if (t->used == t->room && (t->room > UINT32_MAX / 4 || !table_grow(t, bytes)))
			return 0;
		place = t->used++;
	}
	struct entry *e = entry_at(t, bytes, place);
	uint32_t *bucket = &t->bucket[bucket_of(t, address)];
	memset(e, 0, bytes);
	e->address = address;
	e->chain = *bucket;
	*bucket = place;
	return place;
}

static void table_remove(struct table *t, size_t bytes, uint32_t place)
{
	struct entry *e = entry_at(t, bytes, place);
	uint32_t *link = &t->bucket[bucket_of(t, e->address)];

	while (*link != place)
		link = &entry_at(t, bytes, *link)->chain;
	*link = e->chain;
	e->chain = t->unused;
	t->unused = place;
}

/* -- processes ---------------------------------------------------------------- */

static void end_process(struct pools *pools, uint32_t serial)
{
	struct process *p = serial < pools->room ? pools->process[serial] : NULL;

	if (!p)
		return;
	pools->hidden -= p->hidden;
	pools->process[serial] = NULL;
	free(p->blocks.entry);
	free(p->blocks.bucket);
	free(p->pools.entry);
	free(p->pools.bucket);
	free(p);
}

static struct process *find_process(const struct pools *pools, uint32_t serial)
{
	return serial < pools->room ? pools->process[serial] : NULL;
}

static struct process *process_of(struct pools *pools, const struct ring_event *e)
{
	struct process *p = find_process(pools, e->process);

	if (p || e->process >= SERIALS_MAX)
		return p;
	if (e->process >= pools->room) {
		uint32_t room = pools->room ? pools->room : 64;
		while (room <= e->process)
			room *= 2;
		struct process **grown =
			reallocarray(pools->process, room, sizeof(*pools->process));
		if (!grown) {
			pools->failed = true;
			return NULL;
		}
		memset(grown + pools->room, 0, (room - pools->room) * sizeof(struct process *));
		pools->process = grown;
		pools->room = room;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		pools->failed = true;
		return NULL;
	}
	p->serial = e->process;
	p->pid = e->pid;
	return pools->process[e->process] = p;
}

/* A pid that begins anew has nothing of its former owner. */
static void process_starts(struct pools *pools, const struct ring_event *e)
{
	for (uint32_t i = 0; i < pools->room && e->pid > 0; i++)
		if (pools->process[i] && i != e->process && pools->process[i]->pid == e->pid)
			end_process(pools, i);
}

/* -- blocks ------------------------------------------------------------------- */

static void remove_block(struct pools *pools, struct process *p, uint32_t place)
{
	struct block *b = block_at(p, place);

	if (b->pool == HIDDEN_POOL) {
		p->hidden--;
		pools->hidden--;
	} else {
		if (b->newer)
			block_at(p, b->newer)->older = b->older;
		else
			pool_at(p, b->pool)->newest = b->older;
		if (b->older)
			block_at(p, b->older)->newer = b->newer;
	}
	table_remove(&p->blocks, sizeof(struct block), place);
}

/* What freed it, or let it go. */
static void tell_free(const struct ring_event *because, uint64_t address, ring_callback *next,
		      void *context)
{
	struct ring_event freed = *because;

	freed.kind = EVENT_FREE;
	freed.flags = freed.align_log2 = 0;
	freed.value = address;
	freed.size_bytes = 0;
	freed.stack = 0;
	freed.pool = 0;
	freed.a = 0;
	freed.b = 0;
	freed.stack_low = 0;
	freed.payload = (struct str){0};
	next(context, &freed);
}

static uint32_t find_block(const struct process *p, uint64_t address)
{
	return table_find(&p->blocks, sizeof(struct block), address);
}

/* -- pools -------------------------------------------------------------------- */

static uint32_t pool_of(struct pools *pools, struct process *p, uint64_t address)
{
	uint32_t place = table_find(&p->pools, sizeof(struct pool), address);

	if (!place)
		place = table_add(&p->pools, sizeof(struct pool), address);
	if (!place)
		pools->failed = true;
	return place;
}

static void empty_pool(struct pools *pools, struct process *p, uint32_t place,
		       const struct ring_event *e, ring_callback *next, void *context)
{
	for (uint32_t block; (block = pool_at(p, place)->newest);) {
		tell_free(e, block_at(p, block)->address, next, context);
		remove_block(pools, p, block);
	}
}

static void leave_parent(struct process *p, uint32_t place)
{
	struct pool *pool = pool_at(p, place);

	if (pool->newer)
		pool_at(p, pool->newer)->older = pool->older;
	else if (pool->parent)
		pool_at(p, pool->parent)->child = pool->older;
	if (pool->older)
		pool_at(p, pool->older)->newer = pool->newer;
	pool->parent = pool->older = pool->newer = 0;
}

/* All that is within it goes first; without recursion, as the depth is the
 * program's. */
static void clear_pool(struct pools *pools, struct process *p, uint32_t top,
		       const struct ring_event *e, ring_callback *next, void *context)
{
	for (uint32_t place = top;;) {
		if (pool_at(p, place)->child) {
			place = pool_at(p, place)->child;
			continue;
		}
		empty_pool(pools, p, place, e, next, context);
		if (place == top)
			return;
		uint32_t parent = pool_at(p, place)->parent;
		leave_parent(p, place);
		table_remove(&p->pools, sizeof(struct pool), place);
		place = parent;
	}
}

/* Whether `place` is within `other`, or is it. */
static bool within(const struct process *p, uint32_t place, uint32_t other)
{
	while (place && place != other)
		place = pool_at(p, place)->parent;
	return place != 0;
}

static void on_make(struct pools *pools, const struct ring_event *e, ring_callback *next,
		    void *context)
{
	struct process *p = process_of(pools, e);
	uint32_t place = p ? pool_of(pools, p, e->value) : 0;

	if (!place)
		return;
	clear_pool(pools, p, place, e, next, context); /* its end was not seen */
	leave_parent(p, place);
	uint32_t parent = e->a ? pool_of(pools, p, (uint64_t)e->a) : 0;
	if (!parent || within(p, parent, place))
		return;
	struct pool *pool = pool_at(p, place);
	pool->parent = parent;
	pool->older = pool_at(p, parent)->child;
	if (pool->older)
		pool_at(p, pool->older)->newer = place;
	pool_at(p, parent)->child = place;
}

static void on_clear(struct pools *pools, const struct ring_event *e, ring_callback *next,
		     void *context)
{
	struct process *p = find_process(pools, e->process);
	uint32_t place = p ? table_find(&p->pools, sizeof(struct pool), e->value) : 0;

	if (!place)
		return;
	clear_pool(pools, p, place, e, next, context);
	if (e->flags & EVENT_DESTROY) {
		leave_parent(p, place);
		table_remove(&p->pools, sizeof(struct pool), place);
	}
}

/* False: it is not for others to know. */
static bool on_alloc(struct pools *pools, const struct ring_event *e, ring_callback *next,
		     void *context)
{
	bool hides = e->flags & EVENT_POOLED && e->pool == 0;
	bool kept = e->value != 0 && (hides || e->pool != 0);
	struct process *p = kept ? process_of(pools, e) : find_process(pools, e->process);
	uint32_t old = p ? find_block(p, e->value) : 0;

	if (old) { /* it went unseen */
		if (block_at(p, old)->pool != HIDDEN_POOL)
			tell_free(e, e->value, next, context);
		remove_block(pools, p, old);
	}
	if (!kept || !p)
		return !hides;
	uint32_t pool = hides ? HIDDEN_POOL : pool_of(pools, p, e->pool);
	uint32_t place = pool ? table_add(&p->blocks, sizeof(struct block), e->value) : 0;
	if (!place) {
		pools->failed = true;
		return !hides;
	}
	struct block *b = block_at(p, place);
	b->pool = pool;
	if (hides) {
		p->hidden++;
		pools->hidden++;
		return false;
	}
	b->older = pool_at(p, pool)->newest;
	if (b->older)
		block_at(p, b->older)->newer = place;
	pool_at(p, pool)->newest = place;
	return true;
}

/* Whether it is what a pool gives back to malloc. */
static bool on_free(struct pools *pools, const struct ring_event *e)
{
	struct process *p = find_process(pools, e->process);
	uint32_t place = p && p->hidden ? find_block(p, e->value) : 0;

	if (!place || block_at(p, place)->pool != HIDDEN_POOL)
		return false;
	remove_block(pools, p, place);
	return true;
}

/* -- the door ----------------------------------------------------------------- */

void pools_event(struct pools *pools, const struct ring_event *e, ring_callback *next,
		 void *context)
{
	struct ring_event plain;

	switch (e->kind) {
	case EVENT_ALLOC:
		if (e->pool == 0 && !(e->flags & EVENT_POOLED) && pools->room == 0)
			break;
		if (!on_alloc(pools, e, next, context))
			return;
		if (e->pool == 0)
			break;
		plain = *e;
		plain.pool = 0;
		next(context, &plain);
		return;
	case EVENT_FREE:
	case EVENT_REALLOC_BEGIN:
		if (pools->hidden > 0 && on_free(pools, e))
			return;
		break;
	case EVENT_POOL_MAKE: on_make(pools, e, next, context); return;
	case EVENT_POOL_CLEAR: on_clear(pools, e, next, context); return;
	case EVENT_PROCESS_START: process_starts(pools, e); break;
	case EVENT_PROCESS_EXIT:
		next(context, e);
		end_process(pools, e->process);
		return;
	default: break;
	}
	next(context, e);
}

bool pools_failed(const struct pools *pools)
{
	return pools->failed;
}

struct pools *pools_new(void)
{
	return calloc(1, sizeof(struct pools));
}

void pools_free(struct pools *pools)
{
	for (uint32_t i = 0; pools && i < pools->room; i++)
		end_process(pools, i);
	if (pools)
		free(pools->process);
	free(pools);
}
