/* SPDX-License-Identifier: MIT */
/* The tables of sites, read and written; trace.h says what they mean. */
#include "libtrace/store/store.h"

#include "base/buf.h"
#include "libtrace/store/pack.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- writing ------------------------------------------------------------------ */

/* Sites of allocations and reallocations alone: frees have none. */
int store_put_block_sites(struct trace *t, struct err *err)
{
	struct buf packed;
	int64_t *site = malloc((t->op_count + 1) * sizeof(*site));
	size_t count = 0;
	int rc = 0;
	if (!site)
		return err_set(err, "out of memory packing sites");
	for (size_t i = 0; i < t->op_count; i++)
		if (t->ops[i].kind != REPLAY_FREE)
			site[count++] = t->op_site[i];
	buf_init(&packed);
	if (pack_column(site, count, &packed) != 0)
		rc = err_set(err, "out of memory packing sites");
	free(site);
	sqlite3_stmt *s = t->statement[PUT_SITES];
	sqlite3_bind_int64(s, 1, t->next_event - (int64_t)t->op_count);
	sqlite3_bind_blob64(s, 2, packed.bytes, packed.length, SQLITE_STATIC);
	if (rc == 0)
		rc = store_finish(t, s, err);
	sqlite3_clear_bindings(s);
	buf_release(&packed);
	return rc;
}

static void bind_text_or_null(sqlite3_stmt *s, int at, struct str text)
{
	if (text.length > 0)
		store_bind_str(s, at, text);
	else
		sqlite3_bind_null(s, at);
}

int trace_put_frame(struct trace *t, const struct trace_frame *f, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_FRAME];
	sqlite3_bind_int64(s, 1, f->id);
	sqlite3_bind_int64(s, 2, (int64_t)f->address);
	store_bind_str(s, 3, f->module);
	bind_text_or_null(s, 4, f->function);
	bind_text_or_null(s, 5, f->file);
	if (f->line > 0)
		sqlite3_bind_int(s, 6, f->line);
	else
		sqlite3_bind_null(s, 6);
	return store_finish(t, s, err);
}

/* Numbers begin anew, and rows are written over: whoever rolls back puts all of
 * its sites again, as sites_put_again() does. */
void store_stacks_forget(struct trace *t)
{
	free(t->stacks.node);
	free(t->stacks.slot);
	memset(&t->stacks, 0, sizeof(t->stacks));
}

static uint32_t *stack_slot(const struct stacks *stacks, struct stack_node node)
{
	uint64_t hash =
		((uint64_t)node.caller << 32 | node.frame) * UINT64_C(0x9e3779b97f4a7c15);
	for (uint64_t i = hash >> 24;; i++) {
		uint32_t *slot = &stacks->slot[i & (stacks->slots - 1)];
		const struct stack_node *there = *slot ? &stacks->node[*slot - 1] : NULL;
		if (!there || (there->caller == node.caller && there->frame == node.frame))
			return slot;
	}
}

static bool stacks_grow(struct stacks *stacks)
{
	uint32_t room = stacks->room > 0 ? stacks->room * 2 : 256;
	struct stack_node *node = reallocarray(stacks->node, room, sizeof(*node));
	if (node)
		stacks->node = node;
	uint32_t *slot = calloc((size_t)room * 2, sizeof(*slot));
	if (!node || !slot) {
		free(slot);
		return false;
	}
	free(stacks->slot);
	stacks->slot = slot;
	stacks->slots = room * 2;
	stacks->room = room;
	for (uint32_t number = 1; number <= stacks->count; number++)
		*stack_slot(stacks, stacks->node[number - 1]) = number;
	return true;
}

/* The number of a list of frames, innermost first; stacks share their callers. */
static int put_stack(struct trace *t, const uint32_t *frame, uint32_t frames, uint32_t *id,
		     struct err *err)
{
	struct stacks *stacks = &t->stacks;
	sqlite3_stmt *s = t->statement[PUT_STACK];
	*id = 0;
	while (frames-- > 0) {
		struct stack_node node = {.caller = *id, .frame = frame[frames]};
		if (stacks->count == stacks->room && !stacks_grow(stacks))
			return err_set(err, "out of memory for stacks");
		uint32_t *slot = stack_slot(stacks, node);
		*id = *slot;
		if (*id != 0)
			continue;
		sqlite3_bind_int64(s, 1, stacks->count + 1);
		sqlite3_bind_int64(s, 2, node.caller);
		sqlite3_bind_int64(s, 3, node.frame);
		if (store_finish(t, s, err) != 0)
			return -1;
		stacks->node[stacks->count++] = node;
		*slot = *id = stacks->count;
	}
	return 0;
}

int trace_put_site(struct trace *t, const struct trace_site *site, struct err *err)
{
	uint32_t stack;
	if (store_begin(t, err) != 0 ||
	    put_stack(t, site->frame, site->frames, &stack, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_SITE];
	sqlite3_bind_int64(s, 1, site->id);
	sqlite3_bind_int64(s, 2, stack);
	store_bind_str(s, 3, site->name);
	sqlite3_bind_int64(s, 4, site->allocations);
	sqlite3_bind_int64(s, 5, site->requested_bytes);
	sqlite3_bind_int64(s, 6, site->live_peak_bytes);
	sqlite3_bind_int64(s, 7, site->left_bytes);
	return store_finish(t, s, err);
}

int trace_put_site_use(struct trace *t, const struct trace_site_use *use, struct err *err)
{
	uint32_t route;
	if (store_begin(t, err) != 0 || store_route(t, use->route, &route, err) != 0)
		return -1;
	const int64_t value[] = {use->site,
				 route,
				 use->requests,
				 use->allocations,
				 use->requested_bytes,
				 use->escapes,
				 use->escaped_bytes,
				 use->freed_by_request,
				 use->freed_by_connection,
				 use->freed_by_other,
				 use->kept_ns_sum,
				 use->kept_ns_max};
	sqlite3_stmt *s = t->statement[PUT_USE];
	for (size_t i = 0; i < sizeof(value) / sizeof(*value); i++)
		sqlite3_bind_int64(s, (int)i + 1, value[i]);
	return store_finish(t, s, err);
}

/* -- reading -------------------------------------------------------------------- */

/* All that trace_sites points to, in blocks that never move. */
struct memory {
	struct memory *next;
	size_t used, room;
	char bytes[];
};

static void *take(struct trace_sites *sites, size_t bytes)
{
	struct memory *m = sites->memory;
	bytes = (bytes + 7) & ~(size_t)7;
	if (!m || m->room - m->used < bytes) {
		size_t room = bytes > 1 << 16 ? bytes : 1 << 16;
		m = malloc(sizeof(*m) + room);
		if (!m)
			return NULL;
		*m = (struct memory){.next = sites->memory, .room = room};
		sites->memory = m;
	}
	m->used += bytes;
	return m->bytes + m->used - bytes;
}

static bool take_text(struct trace_sites *sites, sqlite3_stmt *s, int column, struct str *text)
{
	size_t length = (size_t)sqlite3_column_bytes(s, column);
	const void *bytes = sqlite3_column_text(s, column);
	char *copy = take(sites, length + 1);
	if (!copy)
		return false;
	if (length > 0 && bytes)
		memcpy(copy, bytes, length);
	copy[length] = '\0';
	*text = (struct str){copy, length};
	return true;
}

static bool grow(void *array, size_t count, size_t size)
{
	void *old, *new;
	if (count & (count - 1))
		return true; /* room is the next power of two */
	memcpy(&old, array, sizeof(old));
	new = reallocarray(old, count > 0 ? count * 2 : 1, size);
	if (!new)
		return false;
	memcpy(array, &new, sizeof(new));
	return true;
}

/* Stacks by number - 1, while sites are read. */
struct reading {
	struct trace_sites *sites;
	struct stack_node *node;
	size_t nodes;
};

static bool read_frame(struct reading *r, sqlite3_stmt *s)
{
	struct trace_sites *sites = r->sites;
	if (!grow(&sites->frame, sites->frames, sizeof(*sites->frame)))
		return false;
	struct trace_frame *f = &sites->frame[sites->frames];
	*f = (struct trace_frame){.id = sqlite3_column_int64(s, 0),
				  .address = (uint64_t)sqlite3_column_int64(s, 1),
				  .line = sqlite3_column_int(s, 5)};
	sites->frames++;
	return take_text(sites, s, 2, &f->module) && take_text(sites, s, 3, &f->function) &&
	       take_text(sites, s, 4, &f->file);
}

static int frame_order(const void *key, const void *item)
{
	int64_t id = *(const uint32_t *)key, other = ((const struct trace_frame *)item)->id;
	return id < other ? -1 : id > other;
}

static bool read_node(struct reading *r, sqlite3_stmt *s)
{
	int64_t id = sqlite3_column_int64(s, 0), caller = sqlite3_column_int64(s, 1),
		frame = sqlite3_column_int64(s, 2);
	if (id != (int64_t)r->nodes + 1)
		return true; /* not as we number them: what leads there ends there */
	if (!grow(&r->node, r->nodes, sizeof(*r->node)))
		return false;
	/* A caller comes before what it calls, so that no list is without end. */
	r->node[r->nodes++] = (struct stack_node){
		.caller = caller > 0 && caller < id ? (uint32_t)caller : 0,
		.frame = frame > 0 && frame <= UINT32_MAX ? (uint32_t)frame : 0};
	return true;
}

/* Turns ids into indices; what is not there is left out. */
static bool read_site(struct reading *r, sqlite3_stmt *s)
{
	struct trace_sites *sites = r->sites;
	if (!grow(&sites->site, sites->sites, sizeof(*sites->site)))
		return false;
	struct trace_site *site = &sites->site[sites->sites];
	int64_t stack = sqlite3_column_int64(s, 1);
	uint32_t first = stack > 0 && (uint64_t)stack <= r->nodes ? (uint32_t)stack : 0;
	size_t count = 0;
	for (uint32_t at = first; at != 0; at = r->node[at - 1].caller)
		count++;
	uint32_t *frame = take(sites, (count + 1) * sizeof(*frame));
	if (!frame)
		return false;
	*site = (struct trace_site){.id = sqlite3_column_int64(s, 0),
				    .frame = frame,
				    .allocations = sqlite3_column_int64(s, 3),
				    .requested_bytes = sqlite3_column_int64(s, 4),
				    .live_peak_bytes = sqlite3_column_int64(s, 5),
				    .left_bytes = sqlite3_column_int64(s, 6)};
	for (uint32_t at = first; at != 0; at = r->node[at - 1].caller) {
		const struct trace_frame *found =
			sites->frames == 0
				? NULL
				: bsearch(&r->node[at - 1].frame, sites->frame, sites->frames,
					  sizeof(*sites->frame), frame_order);
		if (found)
			frame[site->frames++] = (uint32_t)(found - sites->frame);
	}
	sites->sites++;
	return take_text(sites, s, 2, &site->name);
}

static bool read_use(struct reading *r, sqlite3_stmt *s)
{
	struct trace_sites *sites = r->sites;
	if (!grow(&sites->use, sites->uses, sizeof(*sites->use)))
		return false;
	struct trace_site_use *use = &sites->use[sites->uses];
	*use = (struct trace_site_use){.site = sqlite3_column_int64(s, 0),
				       .requests = sqlite3_column_int64(s, 2),
				       .allocations = sqlite3_column_int64(s, 3),
				       .requested_bytes = sqlite3_column_int64(s, 4),
				       .escapes = sqlite3_column_int64(s, 5),
				       .escaped_bytes = sqlite3_column_int64(s, 6),
				       .freed_by_request = sqlite3_column_int64(s, 7),
				       .freed_by_connection = sqlite3_column_int64(s, 8),
				       .freed_by_other = sqlite3_column_int64(s, 9),
				       .kept_ns_sum = sqlite3_column_int64(s, 10),
				       .kept_ns_max = sqlite3_column_int64(s, 11)};
	sites->uses++;
	return take_text(sites, s, 1, &use->route);
}

static int read_rows(struct trace *t, const char *sql, struct reading *r,
		     bool (*row)(struct reading *, sqlite3_stmt *), struct err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, sql, -1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW)
			if (!row(r, s)) {
				sqlite3_finalize(s);
				return err_set(err, "out of memory reading \"%s\"", t->path);
			}
	if (rc != SQLITE_DONE)
		store_err(t, err, "reading its sites");
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : -1;
}

int trace_sites_load(struct trace *t, struct trace_sites *sites, struct err *err)
{
	memset(sites, 0, sizeof(*sites));
	struct reading r = {.sites = sites};
	int rc = -1;
	if (read_rows(t,
		      "SELECT id, address, module, function, file, line FROM frame ORDER BY id",
		      &r, read_frame, err) == 0 &&
	    read_rows(t, "SELECT id, caller, frame FROM stack ORDER BY id", &r, read_node,
		      err) == 0 &&
	    read_rows(t,
		      "SELECT id, stack, name, allocations, requested_bytes,"
		      " live_peak_bytes, left_bytes FROM site ORDER BY id",
		      &r, read_site, err) == 0 &&
	    read_rows(t,
		      "SELECT site, route.name, requests, allocations, requested_bytes,"
		      " escapes, escaped_bytes, freed_by_request, freed_by_connection,"
		      " freed_by_other, kept_ns_sum, kept_ns_max"
		      " FROM site_use JOIN route ON route.id = site_use.route"
		      " ORDER BY site, route.name",
		      &r, read_use, err) == 0)
		rc = 0;
	free(r.node);
	if (rc != 0)
		trace_sites_release(sites);
	return rc;
}

void trace_sites_release(struct trace_sites *sites)
{
	for (struct memory *m = sites->memory, *next; m; m = next) {
		next = m->next;
		free(m);
	}
	free(sites->frame);
	free(sites->site);
	free(sites->use);
	memset(sites, 0, sizeof(*sites));
}

/* -- sites of operations ------------------------------------------------------------ */

/* Those of the block that begins at `first`, for its operations; false: none. */
static int block_sites(struct trace *t, int64_t first, const struct replay_op *ops,
		       size_t count, uint32_t *sites, struct err *err)
{
	sqlite3_stmt *s = NULL;
	int64_t *packed = malloc((count + 1) * sizeof(*packed));
	size_t wanted = 0;
	int rc = sqlite3_prepare_v2(t->db, "SELECT sites FROM event_site WHERE first_event = ?",
				    -1, &s, NULL);
	if (rc == SQLITE_OK)
		sqlite3_bind_int64(s, 1, first);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	for (size_t i = 0; i < count; i++)
		wanted += ops[i].kind != REPLAY_FREE;
	int held = packed && rc == SQLITE_ROW &&
		   unpack_column(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0),
				 packed, wanted) == 0;
	for (size_t i = 0, at = 0; i < count; i++)
		sites[i] = held && ops[i].kind != REPLAY_FREE ? (uint32_t)packed[at++] : 0;
	free(packed);
	sqlite3_finalize(s);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return store_err(t, err, "reading its sites");
	return held;
}

int trace_replay_sites(struct trace *t, int64_t request_id, uint32_t **sites, size_t *count,
		       struct err *err)
{
	int64_t first, length;
	int any = 0;
	*sites = NULL;
	*count = 0;
	int held = store_events_of(t, request_id, &first, &length, err);
	if (held <= 0)
		return held;
	uint32_t *block = malloc(EVENTS_PER_BLOCK * sizeof(*block));
	uint32_t *list = calloc((size_t)length + 1, sizeof(*list));
	for (int64_t i = 0; block && list && i < length;) {
		if (store_load_block(t, first + i, err) != 0) {
			any = -1;
			break;
		}
		int64_t from = first + i - t->block_first, some = t->block_count - from;
		if (some > length - i)
			some = length - i;
		int got = block_sites(t, t->block_first, t->block, (size_t)t->block_count,
				      block, err);
		if (got < 0) {
			any = -1;
			break;
		}
		any |= got;
		memcpy(list + i, block + from, (size_t)some * sizeof(*list));
		i += some;
	}
	if (!block || !list)
		any = err_set(err, "out of memory for the sites of a request");
	free(block);
	if (any <= 0) {
		free(list);
		return any;
	}
	*sites = list;
	*count = (size_t)length;
	return 1;
}
