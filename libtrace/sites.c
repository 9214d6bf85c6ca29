/* SPDX-License-Identifier: MIT */
#include "libtrace/sites.h"

#include "base/buf.h"
#include "libtrace/ring.h"
#include "libtrace/symbols.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES_MAX = 2048 /* of one site */, TEXT_MAX = 4096 };

/* -- tables ------------------------------------------------------------------- */

/* Numbers, from 1, of what lies in an array, by hash; the array's owner
 * compares. */
struct index {
	uint32_t *slot;
	uint32_t slots;
};

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

/* One image's mapping in one map of a process. */
struct module {
	uint32_t map, image, next; /* next of its map: number */
	uint64_t start, end, bias;
};

struct image {
	char *path;
	char *build_id;
	size_t build_id_bytes;
};

struct frame {
	uint64_t address;
	uint32_t image; /* 0: none */
	bool put;
};

/* Sites as a tree of frames: a site is a node with a number. */
struct node {
	uint32_t outer, frame, site;
};

struct site {
	uint32_t node;
	bool put;
	int64_t allocations, requested_bytes, live_bytes, live_peak_bytes, left_bytes;
};

struct use {
	uint32_t site, route;
	bool put;
	uint64_t last_request;
	int64_t requests, allocations, requested_bytes, escapes, escaped_bytes;
	int64_t freed[3], kept_ns_sum, kept_ns_max;
};

/* A request that left something behind. */
struct leaver {
	uint64_t name;
	uint32_t route, left;
	int64_t end_ns;
};

struct held {
	uint32_t site;
	bool live;
	uint64_t bytes;
};

#define TABLE(type, name)                   \
	struct type *name;                  \
	uint32_t name##_count, name##_room; \
	struct index name##_index

struct sites {
	const struct ring *ring;
	bool failed;
	TABLE(image, image);
	TABLE(frame, frame);
	TABLE(node, node);
	TABLE(use, use);
	struct module *module;
	uint32_t module_count, module_room;
	uint32_t *map_first; /* by map: a module's number */
	uint32_t maps;
	struct site *site;
	uint32_t site_count, site_room;
	char **route;
	uint32_t route_count, route_room;
	struct index route_index;
	struct leaver *leaver; /* open addressing by name, 0 = empty */
	uint32_t leavers, leaver_room;
	uint32_t *node_of; /* by stack */
	uint32_t stacks;
	struct held *held;
	uint32_t held_room;
	uint64_t requests;
};

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

/* -- storing --------------------------------------------------------------------------- */

static struct str image_path(const struct sites *s, uint32_t image)
{
	return image != 0 ? str_of(s->image[image - 1].path) : STR("");
}

/* The site's frames, innermost first. */
static uint32_t list_frames(const struct sites *s, const struct site *site,
			    uint32_t frame[FRAMES_MAX])
{
	uint32_t count = 0;
	for (uint32_t node = site->node; node != 0 && count < FRAMES_MAX;
	     node = s->node[node - 1].outer)
		frame[count++] = s->node[node - 1].frame;
	return count;
}

static int put_site(struct trace *trace, const struct site *site, uint32_t number,
		    struct str name, const uint32_t *frame, uint32_t frames, struct err *err)
{
	return trace_put_site(trace,
			      &(struct trace_site){.id = number,
						   .name = name,
						   .frame = frame,
						   .frames = frames,
						   .allocations = site->allocations,
						   .requested_bytes = site->requested_bytes,
						   .live_peak_bytes = site->live_peak_bytes,
						   .left_bytes = site->left_bytes},
			      err);
}

int sites_put_uses(struct sites *s, struct trace *trace, struct err *err)
{
	for (uint32_t i = 0; i < s->use_count; i++) {
		struct use *use = &s->use[i];
		if (use->put)
			continue;
		struct trace_site_use row = {.site = use->site,
					     .route = str_of(s->route[use->route - 1]),
					     .requests = use->requests,
					     .allocations = use->allocations,
					     .requested_bytes = use->requested_bytes,
					     .escapes = use->escapes,
					     .escaped_bytes = use->escaped_bytes,
					     .freed_by_request = use->freed[SITES_BY_REQUEST],
					     .freed_by_connection =
						     use->freed[SITES_BY_CONNECTION],
					     .freed_by_other = use->freed[SITES_BY_OTHER],
					     .kept_ns_sum = use->kept_ns_sum,
					     .kept_ns_max = use->kept_ns_max};
		if (trace_put_site_use(trace, &row, err) != 0)
			return -1;
		use->put = true;
	}
	return 0;
}

int sites_put(struct sites *s, struct trace *trace, struct err *err)
{
	uint32_t frame[FRAMES_MAX];
	char name[TEXT_MAX];
	for (uint32_t i = 0; i < s->frame_count; i++) {
		if (s->frame[i].put)
			continue;
		struct trace_frame row = {.id = i + 1,
					  .address = s->frame[i].address,
					  .module = image_path(s, s->frame[i].image)};
		if (trace_put_frame(trace, &row, err) != 0)
			return -1;
		s->frame[i].put = true;
	}
	for (uint32_t i = 0; i < s->site_count; i++) {
		struct site *site = &s->site[i];
		if (site->put)
			continue;
		uint32_t count = list_frames(s, site, frame);
		const struct frame *inner = &s->frame[frame[0] - 1];
		struct str path = image_path(s, inner->image);
		snprintf(name, sizeof(name), "%.*s+0x%" PRIx64, (int)path.length, path.bytes,
			 inner->address);
		if (put_site(trace, site, i + 1, str_of(name), frame, count, err) != 0)
			return -1;
		site->put = true;
	}
	return sites_put_uses(s, trace, err);
}

void sites_put_again(struct sites *s)
{
	for (uint32_t i = 0; i < s->frame_count; i++)
		s->frame[i].put = false;
	for (uint32_t i = 0; i < s->site_count; i++)
		s->site[i].put = false;
	for (uint32_t i = 0; i < s->use_count; i++)
		s->use[i].put = false;
}

/* -- names ------------------------------------------------------------------------------ */

/* The calls at one address, as rows of their own: [first, first + count), in
 * order; and the name that a site gets by each, or NULL if that is an
 * allocator's own function, which tells nothing. */
struct naming {
	struct sites *sites;
	struct trace *trace;
	struct err *err;
	bool failed;
	uint32_t frame, next; /* the frame at hand, the next free row */
	uint32_t *first, *count;
	char **name; /* by row - 1 */
	uint32_t names;
};

static bool is_wrapper(const char *function)
{
	static const char *const whole[] = {
		"malloc",
		"calloc",
		"realloc",
		"reallocarray",
		"memalign",
		"aligned_alloc",
		"posix_memalign",
		"valloc",
		"pvalloc",
		"strdup",
		"__strdup",
		"strndup",
		"__strndup",
		"asprintf",
		"vasprintf",
		"__vasprintf_internal",
		"___asprintf",
		"__GI___strdup",
		"__GI___strndup",
		"operator new",
		"operator new[]",
		"xmalloc",
		"xcalloc",
		"xrealloc",
		"xstrdup",
		"xzalloc",
		"zmalloc",
		"zcalloc",
		"zrealloc",
		"zmalloc_usable",
		"zcalloc_usable",
		"zrealloc_usable",
		"zstrdup",
		"ztrymalloc_usable",
		"ztrymalloc_usable_internal",
		"zcalloc_num",
		"ngx_alloc",
		"ngx_calloc",
		"ngx_memalign",
		"ngx_palloc",
		"ngx_pcalloc",
		"ngx_pnalloc",
		"ngx_palloc_large",
		"ngx_palloc_small",
		"ngx_palloc_block",
		"ngx_create_pool",
		"ngx_create_temp_buf",
		"ngx_array_create",
		"ngx_array_push",
		"apr_palloc",
		"apr_pcalloc",
		"allocator_alloc",
		"apr_pool_create_ex",
		"__rust_alloc",
		"__rust_realloc",
		"__rg_alloc",
		"__rdl_alloc",
		"__rdl_realloc",
		"__rdl_alloc_zeroed",
		"alloc::alloc::alloc",
		"alloc::alloc::exchange_malloc",
		"alloc::alloc::Global::alloc_impl",
		"CRYPTO_malloc",
		"CRYPTO_zalloc",
		"CRYPTO_realloc",
		"CRYPTO_strdup",
		"CRYPTO_memdup",
		"BUF_MEM_grow_clean",
		"sqlite3MemMalloc",
		"sqlite3Malloc",
		"mallocWithAlarm",
		"sqlite3_malloc",
		"gaih_inet",
		"buffer_alloc",
	};
	static const char *const start[] = {
		"PyMem_",
		"_PyMem_",
		"PyObject_Malloc",
		"PyObject_Realloc",
		"PyObject_Calloc",
		"_PyObject_Malloc",
		"_PyObject_GC_",
		"_PyObject_New",
		"PyObject_Free",
		"PyType_GenericAlloc",
		"_PyType_AllocNoTrack",
		"gc_alloc",
		"g_malloc",
		"g_realloc",
		"g_slice_",
		"g_try_malloc",
		"je_",
		"mi_",
		"tc_",
		"_emalloc",
		"_safe_malloc",
		"_ecalloc",
		"_erealloc",
		"zend_mm_",
		"std::allocator<",
		"__gnu_cxx::new_allocator<",
		"std::__new_allocator<",
		"std::allocator_traits<",
		"std::_Vector_base<",
		"__gnu_cxx::__alloc_traits<",
		"<alloc::alloc::Global as",
		"alloc::raw_vec::",
		"std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::_M_create",
	};
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++)
		if (strcmp(function, whole[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof(start) / sizeof(*start); i++)
		if (strncmp(function, start[i], strlen(start[i])) == 0)
			return true;
	return false;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void name_call(void *context, const char *function, const char *file, int line)
{
	struct naming *n = context;
	struct sites *s = n->sites;
	const struct frame *frame = &s->frame[n->frame - 1];
	struct str module = image_path(s, frame->image);
	uint32_t row = n->count[n->frame - 1]++ == 0 ? n->frame : n->next++;
	if (row != n->frame && n->count[n->frame - 1] == 2)
		n->first[n->frame - 1] = row;
	if (n->failed)
		return;
	if (row > n->names) {
		uint32_t names = n->names * 2 > row ? n->names * 2 : row + 256;
		char **grown = reallocarray(n->name, names, sizeof(*grown));
		if (!grown) {
			n->failed = true;
			err_set(n->err, "out of memory for names");
			return;
		}
		memset(grown + n->names, 0, (names - n->names) * sizeof(*grown));
		n->name = grown;
		n->names = names;
	}
	char text[TEXT_MAX];
	const char *path = frame->image != 0 ? s->image[frame->image - 1].path : "";
	if (*function && *file && line > 0)
		snprintf(text, sizeof(text), "%s (%s:%d)", function, last_part(file), line);
	else if (*function)
		snprintf(text, sizeof(text), "%s (%s)", function, last_part(path));
	else
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, *path ? last_part(path) : "?",
			 frame->address);
	n->name[row - 1] = is_wrapper(function) ? NULL : strdup(text);
	struct trace_frame at = {.id = row,
				 .address = frame->address,
				 .module = module,
				 .function = str_of(function),
				 .file = str_of(file),
				 .line = line};
	n->failed = n->failed || trace_put_frame(n->trace, &at, n->err) != 0;
}

/* Frames by image, so that one file is open at a time. */
static void name_frames(struct naming *n)
{
	struct sites *s = n->sites;
	for (uint32_t image = 0; image <= s->image_count; image++) {
		struct symbols *symbols = NULL;
		bool tried = image == 0;
		for (uint32_t f = 0; f < s->frame_count && !n->failed; f++) {
			if (s->frame[f].image != image)
				continue;
			if (!tried) {
				const struct image *i = &s->image[image - 1];
				symbols = symbols_open(
					i->path, (struct str){i->build_id, i->build_id_bytes});
				tried = true;
			}
			n->frame = f + 1;
			if (!symbols ||
			    symbols_find(symbols, s->frame[f].address, name_call, n) == 0)
				name_call(n, "", "", 0);
		}
		symbols_close(symbols);
	}
}

static void name_sites(struct naming *n)
{
	struct sites *s = n->sites;
	uint32_t frame[FRAMES_MAX], row[2 * FRAMES_MAX];
	for (uint32_t i = 0; i < s->site_count && !n->failed; i++) {
		struct site *site = &s->site[i];
		uint32_t count = list_frames(s, site, frame), rows = 0;
		const char *name = NULL;
		for (uint32_t f = 0; f < count; f++) {
			/* The first call of an address has its frame's own row. */
			uint32_t calls = n->count[frame[f] - 1];
			for (uint32_t c = 0; c < calls && rows < 2 * FRAMES_MAX; c++) {
				row[rows] = c == 0 ? frame[f] : n->first[frame[f] - 1] + c - 1;
				if (!name)
					name = n->name[row[rows] - 1];
				rows++;
			}
		}
		if (put_site(n->trace, site, i + 1, str_of(name ? name : "(allocator)"), row,
			     rows, n->err) != 0)
			n->failed = true;
		else
			site->put = true;
	}
}

int sites_put_named(struct sites *s, struct trace *trace, struct err *err)
{
	struct naming n = {
		.sites = s, .trace = trace, .err = err, .next = s->frame_count + 1, .names = 0};
	n.first = calloc((size_t)s->frame_count + 1, sizeof(*n.first));
	n.count = calloc((size_t)s->frame_count + 1, sizeof(*n.count));
	if (!n.first || !n.count) {
		n.failed = true;
		err_set(err, "out of memory for names");
	}
	if (!n.failed)
		name_frames(&n);
	if (!n.failed)
		name_sites(&n);
	for (uint32_t i = 0; i < n.names; i++)
		free(n.name[i]);
	free(n.name);
	free(n.first);
	free(n.count);
	return n.failed ? -1 : sites_put_uses(s, trace, err);
}
