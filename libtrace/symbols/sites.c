/* SPDX-License-Identifier: MIT */
#include "libtrace/symbols/sites_table.h"

#include "base/buf.h"
#include "libtrace/ring/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* -- tables ------------------------------------------------------------------- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ b * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

/* Makes room for `count` + 1 items of `size` in an array; false: out of memory. */
static bool reserve(void *array, uint32_t *room, uint32_t count, size_t size)
{
	if (count < *room)
		return true;
	uint32_t grown = *room > 0 ? *room * 2 : 256;
	void *old, *new;
	memcpy(&old, array, sizeof(old));
	new = reallocarray(old, grown, size);
	if (!new)
		return false;
	memcpy(array, &new, sizeof(new));
	*room = grown;
	return true;
}

/* The slot for a key, where same() says so or that is empty. */
typedef bool same_item(const struct sites *s, uint32_t number, const void *key);

static uint32_t *index_slot(const struct sites *s, const struct index *index, uint64_t hash,
			    same_item *same, const void *key)
{
	for (uint32_t i = (uint32_t)(hash >> 20);; i++) {
		uint32_t *slot = &index->slot[i & (index->slots - 1)];
		if (*slot == 0 || same(s, *slot, key))
			return slot;
	}
}

typedef uint64_t item_hash(const struct sites *s, uint32_t number);

/* Doubles the index when it is half full. */
static bool index_room(const struct sites *s, struct index *index, uint32_t count,
		       item_hash *hash_of)
{
	if (count < index->slots / 2)
		return true;
	struct index grown = {.slots = index->slots > 0 ? index->slots * 2 : 512};
	grown.slot = calloc(grown.slots, sizeof(*grown.slot));
	if (!grown.slot)
		return false;
	for (uint32_t number = 1; number <= count; number++) {
		uint32_t i = (uint32_t)(hash_of(s, number) >> 20);
		while (grown.slot[i & (grown.slots - 1)] != 0)
			i++;
		grown.slot[i & (grown.slots - 1)] = number;
	}
	free(index->slot);
	*index = grown;
	return true;
}

/* -- life ----------------------------------------------------------------------- */

struct sites *sites_new(const struct ring *ring)
{
	struct ring_stats stats;
	struct sites *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->ring = ring;
	ring_stats(ring, &stats);
	s->stacks = (uint32_t)stats.stack_room;
	s->node_of = calloc((size_t)s->stacks + 1, sizeof(*s->node_of));
	if (!s->node_of) {
		free(s);
		return NULL;
	}
	return s;
}

struct sites *sites_new_known(uint32_t count)
{
	struct sites *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->site = calloc((size_t)count + 1, sizeof(*s->site));
	if (!s->site) {
		free(s);
		return NULL;
	}
	s->site_count = s->site_room = count;
	return s;
}

void sites_free(struct sites *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->image_count; i++) {
		free(s->image[i].path);
		free(s->image[i].build_id);
	}
	for (uint32_t i = 0; i < s->route_count; i++)
		free(s->route[i]);
	free(s->image);
	free(s->image_index.slot);
	free(s->frame);
	free(s->frame_index.slot);
	free(s->node);
	free(s->node_index.slot);
	free(s->use);
	free(s->use_index.slot);
	free(s->module);
	free(s->map_first);
	free(s->site);
	free(s->route);
	free(s->route_index.slot);
	free(s->leaver);
	free(s->node_of);
	free(s->held);
	free(s);
}

bool sites_failed(const struct sites *s)
{
	return s->failed;
}

uint32_t sites_count(const struct sites *s)
{
	return s->site_count;
}

/* -- images and frames ------------------------------------------------------------ */

static bool same_image(const struct sites *s, uint32_t number, const void *key)
{
	const struct ring_module *m = key;
	const struct image *image = &s->image[number - 1];
	return image->build_id_bytes == m->build_id.length &&
	       memcmp(image->build_id, m->build_id.bytes, m->build_id.length) == 0 &&
	       str_equal(str_of(image->path), m->path);
}

static uint32_t find_image(struct sites *s, const struct ring_module *m)
{
	for (uint32_t number = 1; number <= s->image_count; number++)
		if (same_image(s, number, m))
			return number;
	struct image image = {.build_id_bytes = m->build_id.length};
	image.path = strndup(m->path.bytes, m->path.length);
	image.build_id = malloc(m->build_id.length + 1);
	if (!image.path || !image.build_id ||
	    !reserve(&s->image, &s->image_room, s->image_count, sizeof(*s->image))) {
		free(image.path);
		free(image.build_id);
		s->failed = true;
		return 0;
	}
	memcpy(image.build_id, m->build_id.bytes, m->build_id.length);
	s->image[s->image_count] = image;
	return ++s->image_count;
}

void sites_module(struct sites *s, const struct ring_event *event)
{
	enum { MAPS_MAX = 1 << 24 };
	struct ring_module m;
	if (!ring_module(event, &m) || m.map > MAPS_MAX || m.end <= m.start)
		return;
	if (m.map >= s->maps) {
		uint32_t maps = m.map * 2 + 16;
		uint32_t *grown = reallocarray(s->map_first, maps, sizeof(*grown));
		if (!grown) {
			s->failed = true;
			return;
		}
		memset(grown + s->maps, 0, (maps - s->maps) * sizeof(*grown));
		s->map_first = grown;
		s->maps = maps;
	}
	uint32_t image = find_image(s, &m);
	if (image == 0 ||
	    !reserve(&s->module, &s->module_room, s->module_count, sizeof(*s->module))) {
		s->failed = true;
		return;
	}
	s->module[s->module_count] = (struct module){.map = m.map,
						     .image = image,
						     .next = s->map_first[m.map],
						     .start = m.start,
						     .end = m.end,
						     .bias = m.bias};
	s->map_first[m.map] = ++s->module_count;
}

static uint64_t hash_frame(const struct sites *s, uint32_t number)
{
	return mix(s->frame[number - 1].address, s->frame[number - 1].image);
}

static bool same_frame(const struct sites *s, uint32_t number, const void *key)
{
	const struct frame *frame = key;
	return s->frame[number - 1].address == frame->address &&
	       s->frame[number - 1].image == frame->image;
}

/* The number of an address's frame; 0: out of memory. */
static uint32_t find_frame(struct sites *s, uint32_t map, uint64_t address)
{
	struct frame frame = {.address = address};
	uint32_t number = map < s->maps ? s->map_first[map] : 0;
	for (; number != 0; number = s->module[number - 1].next) {
		const struct module *m = &s->module[number - 1];
		if (address >= m->start && address < m->end) {
			frame.address = address - m->bias;
			frame.image = m->image;
			break;
		}
	}
	if (!index_room(s, &s->frame_index, s->frame_count, hash_frame) ||
	    !reserve(&s->frame, &s->frame_room, s->frame_count, sizeof(*s->frame)))
		return 0;
	uint32_t *slot = index_slot(s, &s->frame_index, mix(frame.address, frame.image),
				    same_frame, &frame);
	if (*slot == 0) {
		s->frame[s->frame_count] = frame;
		*slot = ++s->frame_count;
	}
	return *slot;
}

/* -- from stacks to sites ------------------------------------------------------------ */

static uint64_t hash_node(const struct sites *s, uint32_t number)
{
	return mix(s->node[number - 1].outer, s->node[number - 1].frame);
}

static bool same_node(const struct sites *s, uint32_t number, const void *key)
{
	const struct node *node = key;
	return s->node[number - 1].outer == node->outer &&
	       s->node[number - 1].frame == node->frame;
}

static uint32_t find_node(struct sites *s, uint32_t outer, uint32_t frame)
{
	struct node node = {.outer = outer, .frame = frame};
	if (frame == 0 || !index_room(s, &s->node_index, s->node_count, hash_node) ||
	    !reserve(&s->node, &s->node_room, s->node_count, sizeof(*s->node)))
		return 0;
	uint32_t *slot = index_slot(s, &s->node_index, mix(outer, frame), same_node, &node);
	if (*slot == 0) {
		s->node[s->node_count] = node;
		*slot = ++s->node_count;
	}
	return *slot;
}

/* Outwards to the first stack that is known, and back in. */
static uint32_t find_stack(struct sites *s, uint32_t stack)
{
	struct ring_frame frame[FRAMES_MAX];
	uint32_t path[FRAMES_MAX], depth = 0, node = 0;
	while (stack != 0 && stack < s->stacks && depth < FRAMES_MAX) {
		if (s->node_of[stack] != 0) {
			node = s->node_of[stack];
			break;
		}
		if (!ring_frame(s->ring, stack, &frame[depth]))
			break;
		path[depth] = stack;
		stack = frame[depth++].outer;
	}
	/* All of one stack are of the map of its root. */
	uint32_t map = depth > 0 ? frame[depth - 1].map : 0;
	if (depth > 0 && stack != 0) {
		struct ring_frame root = frame[depth - 1];
		for (int i = 0; i < FRAMES_MAX && root.outer != 0; i++)
			if (!ring_frame(s->ring, root.outer, &root))
				break;
		map = root.map;
	}
	while (depth-- > 0) {
		uint64_t address = frame[depth].address - (frame[depth].exact ? 0 : 1);
		uint32_t found = find_node(s, node, find_frame(s, map, address));
		if (found == 0) {
			s->failed = true;
			return 0;
		}
		s->node_of[path[depth]] = node = found;
	}
	return node;
}

uint32_t sites_of(struct sites *s, uint32_t stack)
{
	if (stack == 0 || stack >= s->stacks)
		return 0;
	uint32_t node = s->node_of[stack];
	if (node == 0)
		node = find_stack(s, stack);
	if (node == 0)
		return 0;
	struct node *n = &s->node[node - 1];
	if (n->site == 0) {
		if (!reserve(&s->site, &s->site_room, s->site_count, sizeof(*s->site))) {
			s->failed = true;
			return 0;
		}
		s->site[s->site_count] = (struct site){.node = node};
		n->site = ++s->site_count;
	}
	return n->site;
}

/* -- blocks and requests ---------------------------------------------------------------- */

void sites_born(struct sites *s, uint32_t site, uint64_t bytes)
{
	struct site *at = &s->site[site - 1];
	at->put = false;
	at->allocations++;
	at->requested_bytes += (int64_t)bytes;
	at->live_bytes += (int64_t)bytes;
	if (at->live_bytes > at->live_peak_bytes)
		at->live_peak_bytes = at->live_bytes;
}

void sites_died(struct sites *s, uint32_t site, uint64_t bytes)
{
	s->site[site - 1].live_bytes -= (int64_t)bytes;
}

void sites_left(struct sites *s, uint32_t site, uint64_t bytes)
{
	sites_died(s, site, bytes);
	s->site[site - 1].left_bytes += (int64_t)bytes;
	s->site[site - 1].put = false;
}

static uint64_t hash_text(struct str text)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (size_t i = 0; i < text.length; i++)
		h = (h ^ (unsigned char)text.bytes[i]) * UINT64_C(0x100000001b3);
	return mix(h, 0);
}

static uint64_t hash_route(const struct sites *s, uint32_t number)
{
	return hash_text(str_of(s->route[number - 1]));
}

static bool same_route(const struct sites *s, uint32_t number, const void *key)
{
	return str_equal(str_of(s->route[number - 1]), *(const struct str *)key);
}

static uint32_t find_route(struct sites *s, struct str route)
{
	if (!index_room(s, &s->route_index, s->route_count, hash_route) ||
	    !reserve(&s->route, &s->route_room, s->route_count, sizeof(*s->route)))
		return 0;
	uint32_t *slot = index_slot(s, &s->route_index, hash_text(route), same_route, &route);
	if (*slot == 0) {
		s->route[s->route_count] = strndup(route.bytes, route.length);
		if (!s->route[s->route_count])
			return 0;
		*slot = ++s->route_count;
	}
	return *slot;
}

static uint64_t hash_use(const struct sites *s, uint32_t number)
{
	return mix(s->use[number - 1].site, s->use[number - 1].route);
}

static bool same_use(const struct sites *s, uint32_t number, const void *key)
{
	const struct use *use = key;
	return s->use[number - 1].site == use->site && s->use[number - 1].route == use->route;
}

static struct use *find_use(struct sites *s, uint32_t site, uint32_t route)
{
	struct use use = {.site = site, .route = route};
	if (!index_room(s, &s->use_index, s->use_count, hash_use) ||
	    !reserve(&s->use, &s->use_room, s->use_count, sizeof(*s->use))) {
		s->failed = true;
		return NULL;
	}
	uint32_t *slot = index_slot(s, &s->use_index, mix(site, route), same_use, &use);
	if (*slot == 0) {
		s->use[s->use_count] = use;
		*slot = ++s->use_count;
	}
	return &s->use[*slot - 1];
}

static struct leaver *leaver_slot(struct sites *s, uint64_t name)
{
	uint32_t i = (uint32_t)(mix(name, 1) >> 20);
	while (s->leaver[i & (s->leaver_room - 1)].name != 0 &&
	       s->leaver[i & (s->leaver_room - 1)].name != name)
		i++;
	return &s->leaver[i & (s->leaver_room - 1)];
}

static void add_leaver(struct sites *s, const struct leaver *leaver)
{
	if (s->leavers >= s->leaver_room / 2) {
		struct leaver *old = s->leaver;
		uint32_t room = s->leaver_room;
		s->leaver = calloc(room > 0 ? room * 2 : 256, sizeof(*s->leaver));
		if (!s->leaver) {
			s->leaver = old;
			s->failed = true;
			return;
		}
		s->leaver_room = room > 0 ? room * 2 : 256;
		for (uint32_t i = 0; i < room; i++)
			if (old[i].name != 0)
				*leaver_slot(s, old[i].name) = old[i];
		free(old);
	}
	struct leaver *at = leaver_slot(s, leaver->name);
	s->leavers += at->name == 0;
	*at = *leaver;
}

static void remove_leaver(struct sites *s, struct leaver *at)
{
	uint32_t mask = s->leaver_room - 1, hole = (uint32_t)(at - s->leaver);
	for (uint32_t i = (hole + 1) & mask; s->leaver[i].name != 0; i = (i + 1) & mask) {
		uint32_t home = (uint32_t)(mix(s->leaver[i].name, 1) >> 20) & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			s->leaver[hole] = s->leaver[i];
			hole = i;
		}
	}
	s->leaver[hole].name = 0;
	s->leavers--;
}

static bool hold(struct sites *s, uint32_t slot)
{
	while (slot >= s->held_room) {
		uint32_t room = s->held_room;
		if (!reserve(&s->held, &s->held_room, room, sizeof(*s->held))) {
			s->failed = true;
			return false;
		}
		memset(s->held + room, 0, (s->held_room - room) * sizeof(*s->held));
	}
	return true;
}

/* What the blocks that are held now were to their sites' uses: escapes. */
static void count_escapes(struct sites *s, uint32_t route, uint32_t slots)
{
	for (uint32_t i = 0; i < slots; i++) {
		struct use *use = s->held[i].live && s->held[i].site != 0
					  ? find_use(s, s->held[i].site, route)
					  : NULL;
		if (use) {
			use->escapes++;
			use->escaped_bytes += (int64_t)s->held[i].bytes;
		}
	}
}

static void count_op(struct sites *s, const struct replay_op *op, uint32_t site, uint32_t route)
{
	struct held *held = &s->held[op->slot];
	if (op->kind == REPLAY_FREE) {
		held->live = false;
		return;
	}
	struct use *use = site != 0 ? find_use(s, site, route) : NULL;
	if (use) {
		use->put = false;
		use->requests += use->last_request != s->requests;
		use->last_request = s->requests;
		use->allocations += op->kind == REPLAY_ALLOC;
		/* A realloc counts its growth, as in the request's sum. */
		uint64_t before = op->kind == REPLAY_REALLOC ? held->bytes : 0;
		if (op->size_bytes > before)
			use->requested_bytes += (int64_t)(op->size_bytes - before);
	}
	*held = (struct held){site, true, op->size_bytes};
}

void sites_request(struct sites *s, uint64_t name, struct str route_name, int64_t end_ns,
		   const struct replay_op *ops, const uint32_t *op_site, size_t count,
		   size_t judged)
{
	uint32_t route = find_route(s, route_name), slots = 0, left = 0;
	if (route == 0) {
		s->failed = true;
		return;
	}
	s->requests++;
	for (size_t i = 0; i < count; i++) {
		if (i == judged)
			count_escapes(s, route, slots);
		if (!hold(s, ops[i].slot))
			return;
		if (ops[i].slot >= slots)
			slots = ops[i].slot + 1;
		count_op(s, &ops[i], op_site[i], route);
	}
	if (judged >= count)
		count_escapes(s, route, slots);
	for (uint32_t i = 0; i < slots; i++) {
		left += s->held[i].live && s->held[i].site != 0;
		s->held[i] = (struct held){0};
	}
	if (left > 0)
		add_leaver(s, &(struct leaver){name + 1, route, left, end_ns});
}

void sites_freed_late(struct sites *s, uint64_t name, uint32_t site, enum sites_by by,
		      int64_t time_ns)
{
	struct leaver *leaver = s->leavers > 0 ? leaver_slot(s, name + 1) : NULL;
	if (!leaver || leaver->name == 0)
		return;
	struct use *use = find_use(s, site, leaver->route);
	int64_t kept = time_ns > leaver->end_ns ? time_ns - leaver->end_ns : 0;
	if (use) {
		use->put = false;
		use->freed[by]++;
		use->kept_ns_sum += kept;
		if (kept > use->kept_ns_max)
			use->kept_ns_max = kept;
	}
	if (--leaver->left == 0)
		remove_leaver(s, leaver);
}
