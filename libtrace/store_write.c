/* SPDX-License-Identifier: MIT */
#include "libtrace/store.h"

#include "base/buf.h"
#include "libtrace/pack.h"
#include "libtrace/schema.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const statement_sql[STATEMENT_COUNT] = {
	[PUT_META] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
	[PUT_PROCESS] = "INSERT OR REPLACE INTO process VALUES (?, ?, ?, ?, ?, ?)",
	[PUT_THREAD] = "INSERT OR REPLACE INTO thread VALUES (?, ?, ?, ?, ?)",
	[PUT_CONNECTION] = "INSERT OR REPLACE INTO connection VALUES (?, ?, ?, ?, ?, ?, ?, ?,"
			   " ?, ?, ?, ?)",
	[PUT_ROUTE] = "INSERT INTO route VALUES (?, ?)",
	[PUT_REQUEST] =
		"INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
		" ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_COLUMNS] =
		"INSERT OR REPLACE INTO request_columns VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_BLOCK] = "INSERT OR REPLACE INTO event_block VALUES (?, ?, ?)",
	[PUT_SITES] = "INSERT OR REPLACE INTO event_site VALUES (?, ?)",
	[PUT_FRAME] = "INSERT OR REPLACE INTO frame VALUES (?, ?, ?, ?, ?, ?)",
	[PUT_SITE] = "INSERT OR REPLACE INTO site VALUES (?, ?, ?, ?, ?, ?, ?)",
	[PUT_USE] =
		"INSERT OR REPLACE INTO site_use VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_RAW] = "INSERT INTO raw_block VALUES (?, ?, ?, ?)",
};

void store_bind_str(sqlite3_stmt *s, int at, struct str text)
{
	sqlite3_bind_text64(s, at, text.length > 0 ? text.bytes : "", text.length,
			    SQLITE_STATIC, SQLITE_UTF8);
}

/* For values that -1 stands for "unknown". */
static void bind_known(sqlite3_stmt *s, int at, int64_t value)
{
	if (value < 0)
		sqlite3_bind_null(s, at);
	else
		sqlite3_bind_int64(s, at, value);
}

static void bind_integers(sqlite3_stmt *s, int at, const int64_t *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sqlite3_bind_int64(s, at + (int)i, values[i]);
}

int store_begin(struct trace *t, struct err *err)
{
	assert(t->writer);
	if (t->in_transaction)
		return 0;
	if (store_run(t, "BEGIN IMMEDIATE", "writing", err) != 0)
		return -1;
	t->in_transaction = true;
	return 0;
}

int store_finish(struct trace *t, sqlite3_stmt *s, struct err *err)
{
	int rc = sqlite3_step(s);
	/* The message belongs to the step, so it is read before the reset. */
	if (rc != SQLITE_DONE)
		store_err(t, err, "writing");
	sqlite3_reset(s);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* -- routes -------------------------------------------------------------- */

static uint64_t hash_str(struct str s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (size_t i = 0; i < s.length; i++)
		h = (h ^ (unsigned char)s.bytes[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

static void map_release(struct route_map *map)
{
	for (uint32_t i = 0; i < map->count; i++)
		free(map->name[i]);
	free(map->name);
	free(map->slot);
	memset(map, 0, sizeof(*map));
}

/* The slot that holds the name, or the empty one where it belongs. */
static uint32_t *map_find(struct route_map *map, struct str name)
{
	for (uint64_t i = hash_str(name);; i++) {
		uint32_t *slot = &map->slot[i & (map->slots - 1)];
		if (*slot == 0 || str_equal(str_of(map->name[*slot - 1]), name))
			return slot;
	}
}

static int map_grow(struct route_map *map)
{
	uint32_t slots = map->slots > 0 ? map->slots * 2 : 256;
	uint32_t *slot = calloc(slots, sizeof(*slot));
	char **name = realloc(map->name, slots / 2 * sizeof(*name));
	if (name)
		map->name = name;
	if (!slot || !name) {
		free(slot);
		return -1;
	}
	free(map->slot);
	map->slot = slot;
	map->slots = slots;
	map->room = slots / 2;
	for (uint32_t id = 1; id <= map->count; id++)
		*map_find(map, str_of(map->name[id - 1])) = id;
	return 0;
}

/* Gives the id, and whether it is new; 0 when memory runs out. */
static uint32_t map_id(struct route_map *map, struct str name, bool *fresh)
{
	*fresh = false;
	if (map->count == map->room && map_grow(map) != 0)
		return 0;
	uint32_t *slot = map_find(map, name);
	if (*slot != 0)
		return *slot;
	char *copy = strndup(name.bytes, name.length);
	if (!copy)
		return 0;
	*fresh = true;
	map->name[map->count] = copy;
	return *slot = ++map->count;
}

/* -- the writer's state -------------------------------------------------- */

static int prepare_all(struct trace *t, struct err *err)
{
	for (int i = 0; i < STATEMENT_COUNT; i++)
		if (sqlite3_prepare_v3(t->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &t->statement[i], NULL) != SQLITE_OK)
			return store_err(t, err, "preparing to write");
	return 0;
}

static void finalize_all(struct trace *t)
{
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(t->statement[i]);
		t->statement[i] = NULL;
	}
}

/* Sets next_request, next_event, chunk, ops and routes from what is
 * committed: after a rollback. */
static int resume(struct trace *t, struct err *err)
{
	int64_t last;
	if (store_query_int(t, "SELECT max(id) FROM request", &last, err) != 0 ||
	    store_query_int(t, "SELECT max(first_event + count) FROM event_block",
			    &t->next_event, err) != 0)
		return -1;
	t->next_request = last + 1;
	t->op_count = 0;
	t->chunk->count = 0;
	map_release(&t->routes);
	bool fresh;
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, "SELECT name FROM route ORDER BY id", -1, &s, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(s);
		if (rc != SQLITE_ROW)
			break;
		struct str name = {(const char *)sqlite3_column_text(s, 0),
				   (size_t)sqlite3_column_bytes(s, 0)};
		if (map_id(&t->routes, name, &fresh) == 0)
			rc = SQLITE_NOMEM;
	}
	sqlite3_finalize(s);
	if (rc == SQLITE_DONE)
		rc = sqlite3_prepare_v2(t->db, store_rows_after, -1, &s, NULL);
	else
		return store_err(t, err, "resuming");
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(s, 1, last / COLUMNS_CHUNK * COLUMNS_CHUNK);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			int64_t value[COLUMN_COUNT];
			if (store_row_values(s, value) == 0)
				chunk_add(t->chunk, value);
		}
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : store_err(t, err, "resuming");
}

static int flush_chunk(struct trace *t, struct err *err)
{
	struct chunk *chunk = t->chunk;
	if (chunk->count == 0)
		return 0;
	sqlite3_stmt *s = t->statement[PUT_COLUMNS];
	struct buf column[COLUMN_COUNT];
	unsigned char digest[SHA256_DIGEST_SIZE];
	int rc = 0;
	sqlite3_bind_int64(s, 1, t->next_request - (int64_t)chunk->count);
	sqlite3_bind_int64(s, 2, (int64_t)chunk->count);
	for (int c = 0; c < COLUMN_COUNT; c++) {
		buf_init(&column[c]);
		if (pack_column(chunk->value[c], chunk->count, &column[c]) != 0)
			rc = err_set(err, "out of memory packing columns");
		sqlite3_bind_blob64(s, 3 + c, column[c].bytes, column[c].length, SQLITE_STATIC);
	}
	chunk_digest(chunk, digest);
	sqlite3_bind_blob(s, 3 + COLUMN_COUNT, digest, sizeof(digest), SQLITE_STATIC);
	if (rc == 0)
		rc = store_finish(t, s, err);
	sqlite3_clear_bindings(s);
	for (int c = 0; c < COLUMN_COUNT; c++)
		buf_release(&column[c]);
	if (rc == 0 && chunk->count == COLUMNS_CHUNK)
		chunk->count = 0;
	return rc;
}

static int flush_block(struct trace *t, struct err *err)
{
	if (t->op_count == 0)
		return 0;
	struct buf packed;
	buf_init(&packed);
	int rc = 0;
	if (pack_ops(t->ops, t->op_count, &packed) != 0)
		rc = err_set(err, "out of memory packing events");
	sqlite3_stmt *s = t->statement[PUT_BLOCK];
	sqlite3_bind_int64(s, 1, t->next_event - (int64_t)t->op_count);
	sqlite3_bind_int64(s, 2, (int64_t)t->op_count);
	sqlite3_bind_blob64(s, 3, packed.bytes, packed.length, SQLITE_STATIC);
	if (rc == 0)
		rc = store_finish(t, s, err);
	sqlite3_clear_bindings(s);
	buf_release(&packed);
	if (rc == 0 && t->op_site)
		rc = store_put_block_sites(t, err);
	if (rc == 0 && t->op_count == EVENTS_PER_BLOCK)
		t->op_count = 0;
	return rc;
}

static int put_ops(struct trace *t, const struct replay_op *ops, const uint32_t *sites,
		   size_t count, struct err *err)
{
	if (sites && !t->op_site && count > 0) {
		t->op_site = calloc(EVENTS_PER_BLOCK, sizeof(*t->op_site));
		if (!t->op_site)
			return err_set(err, "out of memory for sites");
	}
	while (count > 0) {
		size_t take = EVENTS_PER_BLOCK - t->op_count;
		if (take > count)
			take = count;
		memcpy(t->ops + t->op_count, ops, take * sizeof(*ops));
		if (t->op_site && sites)
			memcpy(t->op_site + t->op_count, sites, take * sizeof(*sites));
		else if (t->op_site)
			memset(t->op_site + t->op_count, 0, take * sizeof(*t->op_site));
		t->op_count += take;
		t->next_event += (int64_t)take;
		ops += take;
		sites += sites ? take : 0;
		count -= take;
		if (t->op_count == EVENTS_PER_BLOCK && flush_block(t, err) != 0)
			return -1;
	}
	return 0;
}

/* -- putting ------------------------------------------------------------- */

int trace_put_meta(struct trace *t, const char *key, const char *value, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_META];
	store_bind_str(s, 1, str_of(key));
	store_bind_str(s, 2, str_of(value));
	return store_finish(t, s, err);
}

int trace_put_process(struct trace *t, const struct trace_process *p, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_PROCESS];
	bind_integers(s, 1, (int64_t[]){p->id, p->pid, p->parent, p->start_ns}, 4);
	bind_known(s, 5, p->end_ns);
	store_bind_str(s, 6, p->command);
	return store_finish(t, s, err);
}

int trace_put_thread(struct trace *t, const struct trace_thread *thread, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_THREAD];
	bind_integers(s, 1,
		      (int64_t[]){thread->id, thread->process, thread->tid, thread->start_ns},
		      4);
	bind_known(s, 5, thread->end_ns);
	return store_finish(t, s, err);
}

int trace_put_connection(struct trace *t, const struct trace_connection *c, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_CONNECTION];
	bind_integers(s, 1, (int64_t[]){c->id, c->process, c->fd, c->start_ns}, 4);
	bind_known(s, 5, c->end_ns);
	bind_integers(s, 6,
		      (int64_t[]){c->requests, c->bytes_in, c->bytes_out, c->allocations,
				  c->frees, c->requested_bytes, c->live_peak_bytes},
		      7);
	return store_finish(t, s, err);
}

int store_route(struct trace *t, struct str route, uint32_t *id, struct err *err)
{
	bool fresh;
	*id = map_id(&t->routes, route, &fresh);
	if (*id == 0)
		return err_set(err, "out of memory for routes");
	if (!fresh)
		return 0;
	sqlite3_stmt *s = t->statement[PUT_ROUTE];
	sqlite3_bind_int64(s, 1, *id);
	store_bind_str(s, 2, route);
	return store_finish(t, s, err);
}

static void bind_request(sqlite3_stmt *s, const struct trace_request *r, int64_t id,
			 int64_t first_event, size_t count)
{
	bind_integers(s, 1,
		      (int64_t[]){id, r->process, r->connection, r->sequence, r->start_ns,
				  r->end_ns, r->cpu_ns},
		      7);
	store_bind_str(s, 8, r->method);
	store_bind_str(s, 9, r->target);
	store_bind_str(s, 10, r->route);
	bind_known(s, 11, r->status);
	bind_integers(s, 12,
		      (int64_t[]){r->bytes_in, r->bytes_out, r->allocations, r->frees,
				  r->reallocations, r->requested_bytes, r->need_bump_bytes,
				  r->need_reuse_bytes, r->live_peak_bytes, r->largest_bytes,
				  r->escapes, r->escaped_bytes, r->foreign_frees,
				  r->stack_peak_bytes},
		      14);
	store_bind_str(s, 26, r->ended_by);
	store_bind_str(s, 27, str_of(store_confidence[r->confidence]));
	sqlite3_bind_int(s, 28, r->incomplete);
	bind_known(s, 29, first_event);
	sqlite3_bind_int64(s, 30, (int64_t)count);
}

int store_put_request(struct trace *t, const struct trace_request *r, int64_t first_event,
		      size_t count, struct err *err)
{
	assert(r->id == 0 && r->end_ns >= r->start_ns && r->start_ns >= 0);
	assert(r->need_bump_bytes >= 0 && r->need_reuse_bytes >= 0);
	uint32_t route;
	if (store_begin(t, err) != 0 || store_route(t, r->route, &route, err) != 0)
		return -1;
	bind_request(t->statement[PUT_REQUEST], r, t->next_request, first_event, count);
	if (store_finish(t, t->statement[PUT_REQUEST], err) != 0)
		return -1;
	t->next_request++;
	chunk_add(t->chunk,
		  (int64_t[COLUMN_COUNT]){r->start_ns, r->end_ns - r->start_ns,
					  r->need_bump_bytes, r->need_reuse_bytes, route});
	return t->chunk->count == COLUMNS_CHUNK ? flush_chunk(t, err) : 0;
}

int trace_put_request(struct trace *t, const struct trace_request *r,
		      const struct replay_op *ops, size_t count, int64_t *id, struct err *err)
{
	return trace_put_request_sites(t, r, ops, NULL, count, id, err);
}

int trace_put_request_sites(struct trace *t, const struct trace_request *r,
			    const struct replay_op *ops, const uint32_t *sites, size_t count,
			    int64_t *id, struct err *err)
{
	if (id)
		*id = t->next_request;
	int64_t first_event = ops ? t->next_event : -1;
	if (store_put_request(t, r, first_event, ops ? count : 0, err) != 0)
		return -1;
	return ops ? put_ops(t, ops, sites, count, err) : 0;
}

/* -- creating, committing ------------------------------------------------ */

static int check_target(const char *path, struct err *err)
{
	enum store_head head;
	uint32_t version;
	struct stat st;
	if (stat(path, &st) != 0 && errno == ENOENT)
		return 0;
	if (store_look(path, &head, &version, err) != 0)
		return -1;
	if (head == STORE_OTHER_FILE || head == STORE_OTHER_DATABASE)
		return err_set(err, "will not overwrite \"%s\": it is not a trace", path);
	return 0;
}

/* "DIR/.NAME.XXXXXX" as an empty file. */
static char *make_temporary(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path + 1) : 0;
	struct buf name;
	buf_init(&name);
	buf_printf(&name, "%.*s.%s.XXXXXX", folder, path, path + folder);
	char *result = name.failed ? NULL : strdup(buf_text(&name));
	buf_release(&name);
	int fd = result ? mkstemp(result) : -1;
	if (fd < 0) {
		err_errno(err, "cannot create \"%s\"", path);
		free(result);
		return NULL;
	}
	mode_t mask = umask(0);
	umask(mask);
	(void)fchmod(fd, 0666 & ~mask);
	close(fd);
	return result;
}

static int open_writer(struct trace *t, const char *path, struct err *err)
{
	if (store_open_database(path, SQLITE_OPEN_READWRITE, &t->db) != SQLITE_OK)
		return err_set(err, "cannot write \"%s\": %s", t->path, sqlite3_errmsg(t->db));
	/* synchronous=OFF: the kernel keeps what was written when we are
	 * killed; against the machine's death trace_close() syncs once. The
	 * temporary is nobody's yet, so it needs no journal on disk. */
	if (store_run(
		    t,
		    "PRAGMA page_size=16384; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536",
		    "preparing to write", err) != 0)
		return -1;
	return store_run(
		t, t->temporary ? "PRAGMA journal_mode=MEMORY" : "PRAGMA journal_mode=TRUNCATE",
		"preparing to write", err);
}

static int create_schema(struct trace *t, struct err *err)
{
	char sql[96];
	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d",
		 TRACE_APPLICATION_ID, TRACE_VERSION);
	if (store_run(t, "BEGIN IMMEDIATE", "creating", err) != 0 ||
	    store_run(t, sql, "creating", err) != 0 ||
	    store_run(t, trace_schema, "creating", err) != 0)
		return -1;
	t->in_transaction = true;
	return 0;
}

int trace_create(const char *path, struct trace **trace, struct err *err)
{
	if (check_target(path, err) != 0)
		return -1;
	struct trace *t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, "out of memory creating \"%s\"", path);
	t->writer = true;
	t->next_request = 1;
	t->path = strdup(path);
	t->chunk = calloc(1, sizeof(*t->chunk));
	t->ops = malloc(EVENTS_PER_BLOCK * sizeof(*t->ops));
	if (!t->path || !t->chunk || !t->ops)
		err_set(err, "out of memory creating \"%s\"", path);
	else if ((t->temporary = make_temporary(path, err)) != NULL &&
		 open_writer(t, t->temporary, err) == 0 && create_schema(t, err) == 0 &&
		 prepare_all(t, err) == 0) {
		*trace = t;
		return 0;
	}
	trace_close(t);
	return -1;
}

/* The first commit: the file is whole, so it takes its name. A journal that an
 * earlier trace of that name left behind must not be rolled back into it. */
static int take_name(struct trace *t, struct err *err)
{
	static const char *const beside[] = {"-journal", "-wal", "-shm"};
	if (check_target(t->path, err) != 0)
		return -1;
	finalize_all(t);
	sqlite3_close(t->db);
	t->db = NULL;
	for (size_t i = 0; i < sizeof(beside) / sizeof(*beside); i++) {
		struct buf name;
		buf_init(&name);
		buf_printf(&name, "%s%s", t->path, beside[i]);
		unlink(buf_text(&name));
		buf_release(&name);
	}
	if (rename(t->temporary, t->path) != 0)
		return err_errno(err, "cannot create \"%s\"", t->path);
	free(t->temporary);
	t->temporary = NULL;
	if (open_writer(t, t->path, err) != 0)
		return -1;
	return prepare_all(t, err);
}

int trace_commit(struct trace *t, struct err *err)
{
	assert(t->writer);
	if (!t->in_transaction)
		return 0;
	if (flush_block(t, err) != 0 || flush_chunk(t, err) != 0 ||
	    store_run(t, "COMMIT", "writing", err) != 0)
		return -1;
	t->in_transaction = false;
	return t->temporary ? take_name(t, err) : 0;
}

int trace_rollback(struct trace *t, struct err *err)
{
	assert(t->writer);
	if (t->db && !sqlite3_get_autocommit(t->db))
		sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
	t->in_transaction = false;
	if (t->temporary || !t->db) /* nothing was ever committed, not even the schema */
		return err_set(err, "trace \"%s\" was never begun", t->path);
	return resume(t, err);
}

int trace_amend_meta(struct trace *t, const char *key, const char *value, struct err *err)
{
	assert(t->writer && !t->in_transaction && !t->temporary);
	/* A journal in memory: a page is only written over, so there is nothing
	 * that a full disk could refuse. */
	if (store_run(t, "PRAGMA journal_mode=MEMORY", "writing", err) != 0)
		return -1;
	int rc = trace_put_meta(t, key, value, err);
	if (rc == 0)
		rc = store_run(t, "COMMIT", "writing", err);
	if (!sqlite3_get_autocommit(t->db))
		sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
	t->in_transaction = false;
	sqlite3_exec(t->db, "PRAGMA journal_mode=TRUNCATE", NULL, NULL, NULL);
	return rc;
}

static void sync_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

void store_writer_release(struct trace *t)
{
	if (!t->writer)
		return;
	finalize_all(t);
	if (t->db && !sqlite3_get_autocommit(t->db))
		sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
	/* Leaving TRUNCATE removes the empty journal. */
	if (t->db)
		sqlite3_exec(t->db, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
	sqlite3_close(t->db);
	t->db = NULL;
	if (t->temporary)
		unlink(t->temporary);
	else if (t->path)
		sync_file(t->path);
	free(t->temporary);
	free(t->chunk);
	free(t->ops);
	free(t->op_site);
	map_release(&t->routes);
}
