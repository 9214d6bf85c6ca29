/* SPDX-License-Identifier: MIT */
/* The tables of sites, read and written; trace.h says what they mean. */
#include "libtrace/store.h"

#include "base/buf.h"
#include "libtrace/pack.h"

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

int trace_put_site(struct trace *t, const struct trace_site *site, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_SITE];
	sqlite3_bind_int64(s, 1, site->id);
	sqlite3_bind_blob64(s, 2, site->frame, site->frames * sizeof(*site->frame),
			    SQLITE_STATIC);
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

static bool read_frame(struct trace_sites *sites, sqlite3_stmt *s)
{
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

/* Turns ids into indices; what is not there is left out. */
static bool read_site(struct trace_sites *sites, sqlite3_stmt *s)
{
	if (!grow(&sites->site, sites->sites, sizeof(*sites->site)))
		return false;
	struct trace_site *site = &sites->site[sites->sites];
	size_t count = (size_t)sqlite3_column_bytes(s, 1) / sizeof(uint32_t);
	const char *bytes = sqlite3_column_blob(s, 1);
	uint32_t *frame = take(sites, (count + 1) * sizeof(*frame));
	if (!frame)
		return false;
	*site = (struct trace_site){.id = sqlite3_column_int64(s, 0),
				    .frame = frame,
				    .allocations = sqlite3_column_int64(s, 3),
				    .requested_bytes = sqlite3_column_int64(s, 4),
				    .live_peak_bytes = sqlite3_column_int64(s, 5),
				    .left_bytes = sqlite3_column_int64(s, 6)};
	for (size_t i = 0; i < count; i++) {
		uint32_t id;
		memcpy(&id, bytes + i * sizeof(id), sizeof(id));
		const struct trace_frame *found =
			sites->frames == 0 ? NULL
					   : bsearch(&id, sites->frame, sites->frames,
						     sizeof(*sites->frame), frame_order);
		if (found)
			frame[site->frames++] = (uint32_t)(found - sites->frame);
	}
	sites->sites++;
	return take_text(sites, s, 2, &site->name);
}

static bool read_use(struct trace_sites *sites, sqlite3_stmt *s)
{
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

static int read_rows(struct trace *t, const char *sql, struct trace_sites *sites,
		     bool (*row)(struct trace_sites *, sqlite3_stmt *), struct err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, sql, -1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW)
			if (!row(sites, s)) {
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
	int64_t columns;
	memset(sites, 0, sizeof(*sites));
	/* A trace of before there were sites has these tables in another form. */
	if (store_query_int(t, "SELECT count(*) FROM pragma_table_info('site')", &columns,
			    err) != 0)
		return -1;
	if (columns < 7)
		return 0;
	if (read_rows(t,
		      "SELECT id, address, module, function, file, line FROM frame ORDER BY id",
		      sites, read_frame, err) == 0 &&
	    read_rows(t,
		      "SELECT id, frames, name, allocations, requested_bytes,"
		      " live_peak_bytes, left_bytes FROM site ORDER BY id",
		      sites, read_site, err) == 0 &&
	    read_rows(t,
		      "SELECT site, route.name, requests, allocations, requested_bytes,"
		      " escapes, escaped_bytes, freed_by_request, freed_by_connection,"
		      " freed_by_other, kept_ns_sum, kept_ns_max"
		      " FROM site_use JOIN route ON route.id = site_use.route"
		      " ORDER BY site, route.name",
		      sites, read_use, err) == 0)
		return 0;
	trace_sites_release(sites);
	return -1;
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
