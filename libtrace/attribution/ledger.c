/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { EARLY_WINDOW_NS = 50 * 1000 * 1000, LATE_WINDOW_NS = 1000 * 1000 * 1000 };

void ledger_init(struct ledger *ledger)
{
	memset(ledger, 0, sizeof(*ledger));
}

static void request_release(struct request *r)
{
	free(r->ops);
	free(r->op_site);
	free(r->free_slot);
}

void ledger_release(struct ledger *ledger)
{
	for (uint32_t i = 0; i < ledger->request_count; i++) {
		request_release(ledger->request[i]);
		free(ledger->request[i]);
	}
	for (uint32_t i = 0; i < ledger->connection_count; i++)
		free(ledger->connection[i]);
	free(ledger->request);
	free(ledger->request_unused);
	free(ledger->connection);
	free(ledger->connection_unused);
	free(ledger->segment);
	memset(ledger, 0, sizeof(*ledger));
}

/* Grows an array to hold `count` + 1; false, and the ledger has failed. */
static bool reserve(struct ledger *ledger, void *array, uint32_t *room, uint32_t count,
		    size_t size)
{
	if (count < *room)
		return true;
	uint32_t grown = *room > 0 ? *room * 2 : 16;
	void *old, *new;
	memcpy(&old, array, sizeof(old));
	new = reallocarray(old, grown, size);
	if (!new) {
		ledger->failed = true;
		return false;
	}
	memcpy(array, &new, sizeof(new));
	*room = grown;
	return true;
}

/* -- requests and connections -------------------------------------------- */

struct request *ledger_request_new(struct ledger *ledger)
{
	struct request *r;
	if (ledger->request_free > 0) {
		r = ledger->request[ledger->request_unused[--ledger->request_free]];
		struct ref self = r->self;
		struct replay_op *ops = r->ops;
		uint32_t *op_site = r->op_site;
		size_t op_room = r->op_room;
		uint32_t *free_slot = r->free_slot, room = r->free_slot_room;
		memset(r, 0, offsetof(struct request, method));
		r->self = self;
		r->ops = ops;
		r->op_site = op_site;
		r->op_room = op_room;
		r->free_slot = free_slot;
		r->free_slot_room = room;
		r->self.generation++;
	} else {
		uint32_t count = ledger->request_count;
		struct request **grown =
			reallocarray(ledger->request, count + 1, sizeof(*grown));
		uint32_t *unused =
			reallocarray(ledger->request_unused, count + 1, sizeof(*unused));
		if (grown)
			ledger->request = grown;
		if (unused)
			ledger->request_unused = unused;
		if (!grown || !unused || !(r = calloc(1, sizeof(*r)))) {
			ledger->failed = true;
			return NULL;
		}
		r->self = (struct ref){OWNER_REQUEST, count, 1};
		ledger->request[ledger->request_count++] = r;
	}
	r->used = true;
	r->status = -1;
	r->cpu_ns = -1;
	r->stack_peak_bytes = 0;
	return r;
}

void ledger_request_free(struct ledger *ledger, struct request *r)
{
	assert(r->used && !r->active);
	r->used = false;
	enum { KEPT_OPS = 1 << 16 };
	if (r->op_room > KEPT_OPS) { /* one hungry request must not hold it for ever */
		request_release(r);
		r->ops = NULL;
		r->op_site = NULL;
		r->free_slot = NULL;
		r->op_room = r->free_slot_room = 0;
	}
	ledger->request_unused[ledger->request_free++] = r->self.index;
}

struct connection *ledger_connection_new(struct ledger *ledger)
{
	struct connection *c;
	if (ledger->connection_free > 0) {
		c = ledger->connection[ledger->connection_unused[--ledger->connection_free]];
		struct ref self = c->self;
		*c = (struct connection){.self = self};
		c->self.generation++;
	} else {
		uint32_t count = ledger->connection_count;
		struct connection **grown =
			reallocarray(ledger->connection, count + 1, sizeof(*grown));
		uint32_t *unused =
			reallocarray(ledger->connection_unused, count + 1, sizeof(*unused));
		if (grown)
			ledger->connection = grown;
		if (unused)
			ledger->connection_unused = unused;
		if (!grown || !unused || !(c = calloc(1, sizeof(*c)))) {
			ledger->failed = true;
			return NULL;
		}
		c->self = (struct ref){OWNER_CONNECTION, count, 1};
		ledger->connection[ledger->connection_count++] = c;
	}
	c->used = true;
	return c;
}

void ledger_connection_free(struct ledger *ledger, struct connection *c)
{
	assert(c->used);
	c->used = false;
	ledger->connection_unused[ledger->connection_free++] = c->self.index;
}

/* -- live blocks --------------------------------------------------------- */

static uint32_t hash_address(uint64_t address)
{
	return (uint32_t)((address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static struct block *map_find(const struct block_map *map, uint64_t address)
{
	if (map->room == 0)
		return NULL;
	uint32_t mask = map->room - 1;
	for (uint32_t i = hash_address(address) & mask;; i = (i + 1) & mask) {
		if (map->block[i].address == address)
			return &map->block[i];
		if (map->block[i].address == 0)
			return NULL;
	}
}

/* Where an address is, or would be put; in a map that has room. */
static inline struct block *map_place(const struct block_map *map, uint64_t address)
{
	uint32_t mask = map->room - 1, i = hash_address(address) & mask;
	while (map->block[i].address != address && map->block[i].address != 0)
		i = (i + 1) & mask;
	return &map->block[i];
}

static void map_insert(struct block_map *map, const struct block *block)
{
	*map_place(map, block->address) = *block;
	map->count++;
}

/* Makes room for one more; false, and the ledger has failed. */
static inline bool map_reserve(struct ledger *ledger, struct block_map *map)
{
	if (map->count >= map->room / 4 * 3) {
		struct block_map grown = {.room = map->room > 0 ? map->room * 2 : 1024};
		grown.block = calloc(grown.room, sizeof(*grown.block));
		if (!grown.block) {
			ledger->failed = true;
			return false;
		}
		for (uint32_t i = 0; i < map->room; i++)
			if (map->block[i].address != 0)
				map_insert(&grown, &map->block[i]);
		free(map->block);
		*map = grown;
	}
	return true;
}

static void map_put(struct ledger *ledger, struct block_map *map, const struct block *block)
{
	if (map_reserve(ledger, map))
		map_insert(map, block);
}

static void map_remove(struct block_map *map, struct block *at)
{
	uint32_t mask = map->room - 1, hole = (uint32_t)(at - map->block);
	for (uint32_t i = (hole + 1) & mask; map->block[i].address != 0; i = (i + 1) & mask) {
		uint32_t home = hash_address(map->block[i].address) & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			map->block[hole] = map->block[i];
			hole = i;
		}
	}
	map->block[hole].address = 0;
	map->count--;
}

void ledger_live_end(struct ledger *ledger, struct live *live)
{
	for (uint32_t i = 0; ledger->sites && i < live->map.room; i++)
		if (live->map.block[i].address && live->map.block[i].site)
			sites_left(ledger->sites, live->map.block[i].site,
				   live->map.block[i].size_bytes);
	live_release(live);
}

void live_release(struct live *live)
{
	free(live->map.block);
	memset(live, 0, sizeof(*live));
}

const struct block *ledger_find(const struct live *live, uint64_t address)
{
	return map_find(&live->map, address);
}

/* -- what an event means for its owner ----------------------------------- */

/* Room for one operation more. */
__attribute__((noinline)) static bool more_ops(struct ledger *ledger, struct request *r)
{
	if (r->op_count == LEDGER_OPS_MAX) {
		r->incomplete = true;
		return false;
	}
	if (r->op_count == r->op_room) {
		size_t room = r->op_room > 0 ? r->op_room * 2 : 64;
		struct replay_op *grown = reallocarray(r->ops, room, sizeof(*grown));
		if (!grown) {
			ledger->failed = r->incomplete = true;
			return false;
		}
		r->ops = grown;
		if (ledger->sites) {
			uint32_t *sites = reallocarray(r->op_site, room, sizeof(*sites));
			if (!sites) {
				ledger->failed = r->incomplete = true;
				return false;
			}
			r->op_site = sites;
		}
		r->op_room = room;
	}
	return true;
}

static inline bool add_op(struct ledger *ledger, struct request *r, struct replay_op op,
			  uint32_t site)
{
	if ((r->op_count == r->op_room || r->op_count == LEDGER_OPS_MAX) &&
	    !more_ops(ledger, r))
		return false;
	if (r->op_site)
		r->op_site[r->op_count] = site;
	r->ops[r->op_count++] = op;
	return true;
}

static uint32_t take_slot(struct request *r)
{
	return r->free_slots > 0 ? r->free_slot[--r->free_slots] : r->slots++;
}

static void give_slot(struct ledger *ledger, struct request *r, uint32_t slot)
{
	if (reserve(ledger, &r->free_slot, &r->free_slot_room, r->free_slots,
		    sizeof(*r->free_slot)))
		r->free_slot[r->free_slots++] = slot;
}

static uint32_t request_alloc(struct ledger *ledger, struct request *r, uint64_t size,
			      uint8_t align_log2, uint32_t site)
{
	uint32_t slot = take_slot(r);
	add_op(ledger, r,
	       (struct replay_op){.slot = slot,
				  .kind = REPLAY_ALLOC,
				  .align_log2 = align_log2,
				  .size_bytes = size},
	       site);
	r->allocations++;
	r->live_count++;
	r->live_bytes += (int64_t)size;
	return slot;
}

static void request_block_freed(struct ledger *ledger, struct request *r, uint32_t slot,
				uint64_t size)
{
	if (add_op(ledger, r, (struct replay_op){.slot = slot, .kind = REPLAY_FREE}, 0))
		give_slot(ledger, r, slot);
	r->frees++;
	r->live_count--;
	r->live_bytes -= (int64_t)size;
}

static void connection_alloc(struct connection *c, uint64_t size)
{
	c->allocations++;
	c->requested_bytes += (int64_t)size;
	c->live_bytes += (int64_t)size;
	if (c->live_bytes > c->live_peak_bytes)
		c->live_peak_bytes = c->live_bytes;
}

static void connection_block_freed(struct connection *c, uint64_t size)
{
	c->frees++;
	c->live_bytes -= (int64_t)size;
}

static struct segment *find_segment(struct ledger *ledger, struct ref ref)
{
	if (ref.kind != OWNER_SEGMENT || ref.index >= ledger->segment_room)
		return NULL;
	struct segment *s = ledger->segment[ref.index];
	return s && s->self.generation == ref.generation ? s : NULL;
}

static uint32_t segment_push(struct ledger *ledger, struct segment *s,
			     struct segment_entry entry)
{
	if (!reserve(ledger, &s->entry, &s->room, s->count, sizeof(*s->entry)))
		return UINT32_MAX;
	s->entry[s->count] = entry;
	return s->count++;
}

/* Gives a block that comes alive to its owner; sets owner and slot in it. */
static void own(struct ledger *ledger, struct block *block, uint64_t address, struct ref owner,
		uint8_t align_log2)
{
	struct request *r;
	struct connection *c;
	struct segment *s;
	block->owner = owner;
	block->slot = 0;
	if ((r = ledger_request(ledger, owner)) != NULL) {
		block->slot =
			request_alloc(ledger, r, block->size_bytes, align_log2, block->site);
	} else if ((c = ledger_connection(ledger, owner)) != NULL) {
		connection_alloc(c, block->size_bytes);
	} else if ((s = find_segment(ledger, owner)) != NULL) {
		block->slot =
			segment_push(ledger, s,
				     (struct segment_entry){.kind = REPLAY_ALLOC,
							    .align_log2 = align_log2,
							    .site = block->site,
							    .address = address,
							    .size_bytes = block->size_bytes});
	} else {
		block->owner = (struct ref){OWNER_NONE, 0, 0};
		ledger->none_allocations++;
		ledger->none_bytes += (int64_t)block->size_bytes;
	}
}

/* Tells a block's owner that it died; true if the owner is still there. */
static bool disown(struct ledger *ledger, const struct block *block)
{
	struct request *r;
	struct connection *c;
	struct segment *s;
	if (ledger->sites && block->site)
		sites_died(ledger->sites, block->site, block->size_bytes);
	if ((r = ledger_request(ledger, block->owner)) != NULL)
		request_block_freed(ledger, r, block->slot, block->size_bytes);
	else if ((c = ledger_connection(ledger, block->owner)) != NULL)
		connection_block_freed(c, block->size_bytes);
	else if ((s = find_segment(ledger, block->owner)) != NULL)
		segment_push(ledger, s,
			     (struct segment_entry){.kind = REPLAY_FREE,
						    .about = block->slot,
						    .size_bytes = block->size_bytes});
	else
		return false;
	return true;
}

/* A request that is over had left the block behind. */
static void freed_late(struct ledger *ledger, const struct block *block, struct ref worker,
		       int64_t time_ns)
{
	if (ledger->sites && block->site && block->owner.kind == OWNER_REQUEST)
		sites_freed_late(ledger->sites, ref_name(block->owner), block->site,
				 worker.kind == OWNER_REQUEST      ? SITES_BY_REQUEST
				 : worker.kind == OWNER_CONNECTION ? SITES_BY_CONNECTION
								   : SITES_BY_OTHER,
				 time_ns);
}

static struct ref freed_of(const struct segment_entry *e)
{
	return (struct ref){e->align_log2, e->about, e->slot};
}

/* Counts one more in the last entry if that is the same: they come in rows. */
static bool same_again(struct segment *s, struct ref owner)
{
	struct segment_entry *last = s->count > 0 ? &s->entry[s->count - 1] : NULL;
	if (!last || last->kind != ENTRY_FOREIGN_FREE || !ref_equal(freed_of(last), owner))
		return false;
	last->size_bytes++;
	return true;
}

/* The worker freed something that is not its own: in a segment, unless it turns out
 * that the segment is the owner's. */
static void count_foreign(struct ledger *ledger, struct ref worker, struct ref owner)
{
	struct request *r = ledger_request(ledger, worker);
	struct segment *s = r ? NULL : find_segment(ledger, worker);
	if (r)
		r->foreign_frees++;
	else if (s && !same_again(s, owner))
		segment_push(ledger, s,
			     (struct segment_entry){.kind = ENTRY_FOREIGN_FREE,
						    .align_log2 = owner.kind,
						    .about = owner.index,
						    .slot = owner.generation,
						    .size_bytes = 1});
}

/* -- events -------------------------------------------------------------- */

/* A free that comes a good deal later than what it was taken for is one of its
 * own: the one that was waited for has been dropped. */
static bool take_late(struct live *live, uint64_t address, int64_t time_ns)
{
	struct late_free *late = &live->late[hash_address(address) % LEDGER_LATE];
	if (late->address != address)
		return false;
	late->address = 0;
	live->late_count--;
	return time_ns - late->time_ns < LATE_WINDOW_NS;
}

static void expect_late(struct live *live, uint64_t address, int64_t time_ns)
{
	struct late_free *late = &live->late[hash_address(address) % LEDGER_LATE];
	live->late_count += late->address == 0;
	*late = (struct late_free){address, time_ns};
}

void ledger_alloc(struct ledger *ledger, struct live *live, struct ref owner, uint32_t thread,
		  uint64_t address, uint64_t size_bytes, uint8_t align_log2, int64_t time_ns)
{
	if (!map_reserve(ledger, &live->map))
		return;
	struct block *before = map_place(&live->map, address);
	if (before->address != 0) {
		/* Its free is late: by alternation it came before this. */
		struct block old = *before;
		map_remove(&live->map, before);
		if (!disown(ledger, &old))
			freed_late(ledger, &old, (struct ref){OWNER_NONE, 0, 0}, time_ns);
		expect_late(live, address, time_ns);
		before = map_place(&live->map, address);
	}
	/* It is not there until it has its address. */
	*before = (struct block){
		.size_bytes = size_bytes, .thread = thread, .site = ledger->site};
	if (ledger->sites && before->site)
		sites_born(ledger->sites, before->site, size_bytes);
	own(ledger, before, address, owner, align_log2);
	struct early_free *early = &live->early[hash_address(address) % LEDGER_EARLY];
	if (early->address == address && early->thread != thread &&
	    time_ns - early->time_ns < EARLY_WINDOW_NS) {
		early->address = 0;
		disown(ledger, before);
		return;
	}
	before->address = address;
	live->map.count++;
}

void ledger_free(struct ledger *ledger, struct live *live, struct ref worker, uint32_t thread,
		 uint64_t address, int64_t time_ns)
{
	struct block *at = map_find(&live->map, address);
	if (at && live->late_count > 0 && at->thread != thread &&
	    take_late(live, address, time_ns))
		return;
	if (!at) {
		struct early_free *early = &live->early[hash_address(address) % LEDGER_EARLY];
		*early = (struct early_free){address, thread, time_ns};
		count_foreign(ledger, worker, (struct ref){OWNER_NONE, 0, 0});
		return;
	}
	if (!disown(ledger, at))
		freed_late(ledger, at, worker, time_ns);
	if (!ref_equal(at->owner, worker))
		count_foreign(ledger, worker, at->owner);
	map_remove(&live->map, at);
}

void ledger_take(struct live *live, uint64_t address, struct block *old)
{
	struct block *at = map_find(&live->map, address);
	if (at) {
		*old = *at;
		map_remove(&live->map, at);
	} else {
		*old = (struct block){0};
	}
}

void ledger_put_back(struct ledger *ledger, struct live *live, const struct block *old)
{
	if (old->address != 0 && !map_find(&live->map, old->address))
		map_put(ledger, &live->map, old);
}

void ledger_realloc(struct ledger *ledger, struct live *live, struct ref worker,
		    uint32_t thread, const struct block *old, uint64_t address,
		    uint64_t size_bytes, int64_t time_ns)
{
	struct request *r = ledger_request(ledger, worker);
	struct connection *c = ledger_connection(ledger, worker);
	struct segment *s = find_segment(ledger, worker);
	bool mine = old->address != 0 && ref_equal(old->owner, worker) && (r || c || s);
	if (!mine) {
		bool there = old->address != 0 && disown(ledger, old);
		if (old->address != 0 && !there)
			freed_late(ledger, old, worker, time_ns);
		if (!there || worker.kind != OWNER_NONE)
			count_foreign(ledger, worker, old->owner);
		ledger_alloc(ledger, live, worker, thread, address, size_bytes, 0, time_ns);
		return;
	}
	struct block block = {.address = address,
			      .size_bytes = size_bytes,
			      .owner = worker,
			      .slot = old->slot,
			      .thread = thread,
			      .site = ledger->site};
	if (ledger->sites && old->site)
		sites_died(ledger->sites, old->site, old->size_bytes);
	if (ledger->sites && block.site)
		sites_born(ledger->sites, block.site, size_bytes);
	if (r) {
		add_op(ledger, r,
		       (struct replay_op){.slot = old->slot,
					  .kind = REPLAY_REALLOC,
					  .size_bytes = size_bytes},
		       block.site);
		r->reallocations++;
		r->live_bytes += (int64_t)size_bytes - (int64_t)old->size_bytes;
	} else if (c) {
		connection_block_freed(c, old->size_bytes);
		connection_alloc(c, size_bytes);
	} else {
		block.slot = segment_push(ledger, s,
					  (struct segment_entry){.kind = REPLAY_REALLOC,
								 .about = old->slot,
								 .site = block.site,
								 .address = address,
								 .size_bytes = size_bytes});
	}
	struct block *before = map_find(&live->map, address);
	if (before) {
		struct block dead = *before;
		map_remove(&live->map, before);
		disown(ledger, &dead);
	}
	map_put(ledger, &live->map, &block);
}

/* -- segments ------------------------------------------------------------ */

void ledger_segment_add(struct ledger *ledger, uint32_t index, struct segment *segment)
{
	while (index >= ledger->segment_room) {
		uint32_t room = ledger->segment_room;
		if (!reserve(ledger, &ledger->segment, &ledger->segment_room, room,
			     sizeof(*ledger->segment)))
			return;
		memset(ledger->segment + room, 0,
		       (ledger->segment_room - room) * sizeof(*ledger->segment));
	}
	segment->self = (struct ref){OWNER_SEGMENT, index, ++ledger->segment_generation};
	ledger->segment[index] = segment;
}

void ledger_segment_remove(struct ledger *ledger, struct segment *segment)
{
	if (segment->self.kind == OWNER_SEGMENT)
		ledger->segment[segment->self.index] = NULL;
	free(segment->entry);
	memset(segment, 0, sizeof(*segment));
}

/* The entry's block, if it is still live and still this entry's. */
static struct block *entry_block(struct live *live, const struct segment *s, uint32_t i)
{
	struct block *block = map_find(&live->map, s->entry[i].address);
	return block && ref_equal(block->owner, s->self) && block->slot == i ? block : NULL;
}

/* The entry that allocated what this one is about. */
static struct segment_entry *allocated_by(struct segment *s, struct segment_entry *e)
{
	return e->kind == REPLAY_FREE || e->kind == REPLAY_REALLOC ? &s->entry[e->about] : e;
}

static void settle_request(struct ledger *ledger, struct request *r, struct segment *s,
			   uint32_t i)
{
	struct segment_entry *e = &s->entry[i], *about = allocated_by(s, e);
	switch (e->kind) {
	case REPLAY_ALLOC:
		e->slot = request_alloc(ledger, r, e->size_bytes, e->align_log2, e->site);
		break;
	case REPLAY_FREE: request_block_freed(ledger, r, about->slot, about->size_bytes); break;
	case REPLAY_REALLOC:
		e->slot = about->slot;
		add_op(ledger, r,
		       (struct replay_op){.slot = e->slot,
					  .kind = REPLAY_REALLOC,
					  .size_bytes = e->size_bytes},
		       e->site);
		r->reallocations++;
		r->live_bytes += (int64_t)e->size_bytes - (int64_t)about->size_bytes;
		break;
	default:
		if (!ref_equal(freed_of(e), r->self))
			r->foreign_frees += (int64_t)e->size_bytes;
	}
}

static void settle_connection(struct connection *c, struct segment *s, uint32_t i)
{
	struct segment_entry *e = &s->entry[i], *about = allocated_by(s, e);
	if (e->kind == REPLAY_FREE || e->kind == REPLAY_REALLOC)
		connection_block_freed(c, about->size_bytes);
	if (e->kind == REPLAY_ALLOC || e->kind == REPLAY_REALLOC)
		connection_alloc(c, e->size_bytes);
}

uint32_t ledger_settle(struct ledger *ledger, struct live *live, struct segment *s,
		       struct ref owner)
{
	assert(owner.kind != OWNER_SEGMENT);
	struct request *r = ledger_request(ledger, owner);
	struct connection *c = ledger_connection(ledger, owner);
	if (!r && !c)
		owner = (struct ref){OWNER_NONE, 0, 0};
	uint32_t allocations = 0;
	for (uint32_t i = 0; i < s->count; i++) {
		struct segment_entry *e = &s->entry[i];
		if ((e->kind == REPLAY_FREE || e->kind == REPLAY_REALLOC) && e->about >= i)
			continue; /* the allocation itself could not be held: out of memory */
		if (r) {
			settle_request(ledger, r, s, i);
		} else if (c) {
			settle_connection(c, s, i);
		} else if (e->kind == REPLAY_ALLOC) {
			ledger->none_allocations++;
			ledger->none_bytes += (int64_t)e->size_bytes;
		}
		allocations += e->kind == REPLAY_ALLOC;
	}
	for (uint32_t i = 0; i < s->count; i++) {
		struct segment_entry *e = &s->entry[i];
		struct block *block = e->address != 0 ? entry_block(live, s, i) : NULL;
		if (block) {
			block->owner = owner;
			block->slot = e->slot;
		}
	}
	s->count = 0;
	s->self.generation = ++ledger->segment_generation;
	return allocations;
}

void ledger_settle_shares(struct ledger *ledger, struct live *live, struct segment *s,
			  const struct ref *owner, uint32_t count)
{
	uint64_t all = 0, seen = 0;
	for (uint32_t i = 0; i < s->count; i++)
		all += s->entry[i].kind == REPLAY_ALLOC;
	for (uint32_t i = 0; i < s->count; i++) {
		struct segment_entry *e = &s->entry[i];
		bool block = e->kind == REPLAY_FREE || e->kind == REPLAY_REALLOC;
		if (block && e->about >= i)
			continue; /* as in ledger_settle() */
		if (block)
			e->share = s->entry[e->about].share;
		else
			e->share = seen >= all ? count - 1 : (uint32_t)(seen * count / all);
		seen += e->kind == REPLAY_ALLOC;
		struct request *r = ledger_request(ledger, owner[e->share]);
		if (r)
			settle_request(ledger, r, s, i);
	}
	for (uint32_t i = 0; i < s->count; i++) {
		struct segment_entry *e = &s->entry[i];
		struct block *at = e->address != 0 ? entry_block(live, s, i) : NULL;
		if (at) {
			at->owner = owner[e->share];
			at->slot = e->slot;
		}
	}
	s->count = 0;
	s->self.generation = ++ledger->segment_generation;
}

void request_judge(struct request *r)
{
	r->judged = true;
	r->judged_ops = r->op_count;
	r->escapes = r->live_count;
	r->escaped_bytes = r->live_bytes;
}
