/* SPDX-License-Identifier: MIT */
#include "libtrace/store.h"

#include "base/buf.h"
#include "libtrace/columns.h"
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

enum {
	BUSY_WAIT_MS = 10000,
	ROUTES_MAX =
		1 << 20, /* no sane trace has more; keeps a hostile one from eating memory */
};

const char *const store_confidence[] = {
	[TRACE_EXACT] = "exact",
	[TRACE_INFERRED] = "inferred",
	[TRACE_AMBIGUOUS] = "ambiguous",
};

struct trace_cursor {
	struct trace *trace;
	sqlite3_stmt *statement;
};

int store_err(struct trace *t, struct err *err, const char *doing)
{
	int code = sqlite3_errcode(t->db);
	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
		return err_set(err, "trace \"%s\" is damaged: %s while %s", t->path,
			       sqlite3_errmsg(t->db), doing);
	if (code == SQLITE_FULL)
		return err_set(err, "no room on the disk of \"%s\" while %s", t->path, doing);
	return err_set(err, "trace \"%s\": %s while %s", t->path, sqlite3_errmsg(t->db), doing);
}

int store_run(struct trace *t, const char *sql, const char *doing, struct err *err)
{
	if (sqlite3_exec(t->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return store_err(t, err, doing);
	return 0;
}

int store_query_int(struct trace *t, const char *sql, int64_t *value, struct err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = -1;
	if (sqlite3_prepare_v2(t->db, sql, -1, &s, NULL) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW) {
		*value = sqlite3_column_int64(s, 0);
		rc = 0;
	} else {
		store_err(t, err, "reading");
	}
	sqlite3_finalize(s);
	return rc;
}

static struct str column_str(sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);
	return (struct str){text ? text : "",
			    text ? (size_t)sqlite3_column_bytes(s, column) : 0};
}

/* SQLite gives ":memory:" and "" a meaning of their own: "./" takes it away. */
int store_open_database(const char *path, int flags, sqlite3 **db)
{
	struct buf name;
	buf_init(&name);
	buf_printf(&name, "%s%s", path[0] == '/' ? "" : "./", path);
	int rc = sqlite3_open_v2(buf_text(&name), db, flags | SQLITE_OPEN_NOMUTEX, NULL);
	buf_release(&name);
	if (rc == SQLITE_OK) {
		sqlite3_busy_timeout(*db, BUSY_WAIT_MS);
		sqlite3_exec(*db, "PRAGMA trusted_schema=OFF", NULL, NULL, NULL);
	}
	return rc;
}

/* -- opening ------------------------------------------------------------- */

static uint32_t big_endian(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What a file is, by its first 100 bytes (sqlite.org/fileformat2.html). */
int store_look(const char *path, enum store_head *head, uint32_t *version, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? err_errno(err, "no trace \"%s\"", path)
				       : err_errno(err, "cannot read \"%s\"", path);
	struct stat st;
	unsigned char bytes[100];
	ssize_t got = -1;
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		errno = EISDIR;
	else if (!S_ISREG(st.st_mode))
		errno = EINVAL;
	else
		got = pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	if (got < 0)
		return err_errno(err, "cannot read \"%s\" as a trace", path);
	*version = 0;
	if (got == 0)
		*head = STORE_EMPTY;
	else if (got < 100 || memcmp(bytes, "SQLite format 3", 16) != 0)
		*head = STORE_OTHER_FILE;
	else if (big_endian(bytes + 68) != TRACE_APPLICATION_ID)
		*head = STORE_OTHER_DATABASE;
	else
		*head = (*version = big_endian(bytes + 60)) > TRACE_VERSION ? STORE_NEWER
									    : STORE_TRACE;
	return 0;
}

static int load_meta(struct trace *t, struct err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, "SELECT key, value FROM meta", -1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			struct meta_item *grown =
				realloc(t->meta, (t->meta_count + 1) * sizeof(*grown));
			if (!grown)
				break;
			t->meta = grown;
			struct str key = column_str(s, 0), value = column_str(s, 1);
			struct meta_item item = {strndup(key.bytes, key.length),
						 strndup(value.bytes, value.length)};
			t->meta[t->meta_count++] = item;
			if (!item.key || !item.value)
				break;
		}
	sqlite3_finalize(s);
	if (rc == SQLITE_ROW)
		return err_set(err, "out of memory opening \"%s\"", t->path);
	return rc == SQLITE_DONE ? 0 : store_err(t, err, "opening");
}

int trace_open(const char *path, struct trace **trace, struct err *err)
{
	enum store_head head;
	uint32_t version;
	if (store_look(path, &head, &version, err) != 0)
		return -1;
	switch (head) {
	case STORE_TRACE: break;
	case STORE_EMPTY: return err_set(err, "\"%s\" is empty, not a trace", path);
	case STORE_OTHER_FILE:
		return err_set(err, "\"%s\" is not a trace (no SQLite file)", path);
	case STORE_OTHER_DATABASE:
		return err_set(err, "\"%s\" is a database of another program, not a trace",
			       path);
	case STORE_NEWER:
		return err_set(err,
			       "trace \"%s\" has format %" PRIu32
			       ", this pail reads up to %d: use a newer pail",
			       path, version, TRACE_VERSION);
	}
	struct trace *t = calloc(1, sizeof(*t));
	if (!t || !(t->path = strdup(path))) {
		free(t);
		return err_set(err, "out of memory opening \"%s\"", path);
	}
	/* For writing, because the journal of a recorder that was killed must
	 * be rolled back first; SQLite itself steps down to reading only. */
	if (store_open_database(path, SQLITE_OPEN_READWRITE, &t->db) != SQLITE_OK) {
		err_set(err, "cannot open trace \"%s\": %s", path, sqlite3_errmsg(t->db));
	} else if (load_meta(t, err) == 0) {
		*trace = t;
		return 0;
	}
	trace_close(t);
	return -1;
}

const char *trace_path(const struct trace *t)
{
	return t->path;
}

const char *trace_meta(struct trace *t, const char *key)
{
	for (size_t i = 0; i < t->meta_count; i++)
		if (strcmp(t->meta[i].key, key) == 0)
			return t->meta[i].value;
	return NULL;
}

int64_t trace_meta_int(struct trace *t, const char *key, int64_t otherwise)
{
	const char *text = trace_meta(t, key);
	char *end;
	if (!text || !*text)
		return otherwise;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' ? value : otherwise;
}

/* -- requests, row by row ------------------------------------------------ */

static int cursor_new(struct trace *t, const char *sql, struct trace_cursor **cursor,
		      struct err *err)
{
	struct trace_cursor *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	c->trace = t;
	if (sqlite3_prepare_v2(t->db, sql, -1, &c->statement, NULL) != SQLITE_OK) {
		free(c);
		return store_err(t, err, "reading its requests");
	}
	*cursor = c;
	return 0;
}

int trace_requests(struct trace *t, struct trace_cursor **cursor, struct err *err)
{
	return cursor_new(t, "SELECT * FROM request ORDER BY start_ns, id", cursor, err);
}

int trace_requests_stored(struct trace *t, struct trace_cursor **cursor, struct err *err)
{
	return cursor_new(t, "SELECT * FROM request ORDER BY id", cursor, err);
}

int trace_remarkable(struct trace *t, int64_t stack_above_bytes, struct trace_cursor **cursor,
		     struct err *err)
{
	if (cursor_new(t,
		       "SELECT * FROM request WHERE stack_peak_bytes > ?1 OR escapes > 0"
		       " OR incomplete OR confidence = 'ambiguous'",
		       cursor, err) != 0)
		return -1;
	sqlite3_bind_int64((*cursor)->statement, 1, stack_above_bytes);
	return 0;
}

int trace_next(struct trace_cursor *cursor, struct trace_request *r, struct err *err)
{
	sqlite3_stmt *s = cursor->statement;
	int rc = sqlite3_step(s);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc != SQLITE_ROW)
		return store_err(cursor->trace, err, "reading its requests");
	int c = 0;
	memset(r, 0, sizeof(*r));
	r->id = sqlite3_column_int64(s, c++);
	r->process = sqlite3_column_int64(s, c++);
	r->connection = sqlite3_column_int64(s, c++);
	r->sequence = sqlite3_column_int64(s, c++);
	r->start_ns = sqlite3_column_int64(s, c++);
	r->end_ns = sqlite3_column_int64(s, c++);
	r->cpu_ns = sqlite3_column_int64(s, c++);
	r->method = column_str(s, c++);
	r->target = column_str(s, c++);
	r->route = column_str(s, c++);
	r->status = sqlite3_column_type(s, c) == SQLITE_NULL ? -1 : sqlite3_column_int(s, c);
	c++;
	r->bytes_in = sqlite3_column_int64(s, c++);
	r->bytes_out = sqlite3_column_int64(s, c++);
	r->allocations = sqlite3_column_int64(s, c++);
	r->frees = sqlite3_column_int64(s, c++);
	r->reallocations = sqlite3_column_int64(s, c++);
	r->requested_bytes = sqlite3_column_int64(s, c++);
	r->need_bump_bytes = sqlite3_column_int64(s, c++);
	r->need_reuse_bytes = sqlite3_column_int64(s, c++);
	r->live_peak_bytes = sqlite3_column_int64(s, c++);
	r->largest_bytes = sqlite3_column_int64(s, c++);
	r->escapes = sqlite3_column_int64(s, c++);
	r->escaped_bytes = sqlite3_column_int64(s, c++);
	r->foreign_frees = sqlite3_column_int64(s, c++);
	r->stack_peak_bytes = sqlite3_column_int64(s, c++);
	r->ended_by = column_str(s, c++);
	struct str confidence = column_str(s, c++);
	r->confidence = TRACE_AMBIGUOUS;
	for (int i = TRACE_EXACT; i <= TRACE_AMBIGUOUS; i++)
		if (str_equal(confidence, str_of(store_confidence[i])))
			r->confidence = (enum trace_confidence)i;
	r->incomplete = sqlite3_column_int(s, c++) != 0;
	return 1;
}

void trace_cursor_close(struct trace_cursor *cursor)
{
	if (!cursor)
		return;
	sqlite3_finalize(cursor->statement);
	free(cursor);
}

/* -- requests, as columns ------------------------------------------------ */

static int bad_columns(struct trace *t, struct err *err)
{
	return err_set(err,
		       "trace \"%s\" is damaged: its request columns do not fit its requests",
		       t->path);
}

void store_routes_release(char **route, size_t count)
{
	for (size_t i = 0; route && i < count; i++)
		free(route[i]);
	free(route);
}

int store_routes(struct trace *t, char ***route, size_t *routes, struct err *err)
{
	int64_t count;
	if (store_query_int(t, "SELECT max(id) FROM route", &count, err) != 0)
		return -1;
	if (count < 0 || count > ROUTES_MAX)
		return bad_columns(t, err);
	*routes = (size_t)count;
	*route = calloc((size_t)count + 1, sizeof(**route));
	if (!*route)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, "SELECT id, name FROM route", -1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			int64_t id = sqlite3_column_int64(s, 0);
			struct str name = column_str(s, 1);
			if (id < 1 || id > count)
				break;
			free((*route)[id - 1]);
			(*route)[id - 1] = strndup(name.bytes, name.length);
		}
	sqlite3_finalize(s);
	if (rc == SQLITE_ROW)
		return bad_columns(t, err);
	if (rc != SQLITE_DONE)
		return store_err(t, err, "reading its routes");
	for (size_t i = 0; i < *routes; i++)
		if (!(*route)[i] && !((*route)[i] = strdup("")))
			return err_set(err, "out of memory reading \"%s\"", t->path);
	return 0;
}

static int load_routes(struct trace *t, struct trace_columns *columns, struct sha256_ctx *sha,
		       struct err *err)
{
	if (store_routes(t, &columns->route, &columns->route_count, err) != 0)
		return -1;
	for (size_t i = 0; i < columns->route_count; i++)
		sha256_update(sha, strlen(columns->route[i]) + 1,
			      (const uint8_t *)columns->route[i]);
	return 0;
}

static int unpack_blob(sqlite3_stmt *s, int column, int64_t *values, size_t count)
{
	const void *bytes = sqlite3_column_blob(s, column);
	return bytes ? unpack_column(bytes, (size_t)sqlite3_column_bytes(s, column), values,
				     count)
		     : -1;
}

/* One row of request_columns to columns[at..]; the count, or -1. */
static int64_t load_chunk(sqlite3_stmt *s, struct trace_columns *columns, size_t at,
			  int64_t *route, struct sha256_ctx *sha)
{
	int64_t first = sqlite3_column_int64(s, 0), count = sqlite3_column_int64(s, 1);
	if (count < 1 || count > COLUMNS_CHUNK || (uint64_t)count > columns->count - at ||
	    first < 1 || sqlite3_column_bytes(s, 6) != SHA256_DIGEST_SIZE)
		return -1;
	size_t n = (size_t)count;
	if (unpack_blob(s, 2, columns->arrival_ns + at, n) != 0 ||
	    unpack_blob(s, 3, columns->service_ns + at, n) != 0 ||
	    unpack_blob(s, 4, (int64_t *)columns->need_bytes + at, n) != 0 ||
	    unpack_blob(s, 5, route, n) != 0)
		return -1;
	uint64_t bad = 0; /* its sign bit: something is negative or names no route */
	for (size_t i = 0; i < n; i++) {
		columns->id[at + i] = first + (int64_t)i;
		columns->route_index[at + i] = (uint32_t)(route[i] - 1);
		bad |= (uint64_t)(columns->arrival_ns[at + i] | columns->service_ns[at + i] |
				  (int64_t)columns->need_bytes[at + i] | (route[i] - 1) |
				  ((int64_t)columns->route_count - route[i]));
	}
	sha256_update(sha, SHA256_DIGEST_SIZE, sqlite3_column_blob(s, 6));
	return (int64_t)bad < 0 ? -1 : count;
}

static int load_chunks(struct trace *t, enum arena_policy policy, struct trace_columns *columns,
		       size_t *filled, struct sha256_ctx *sha, struct err *err)
{
	int64_t *route = malloc(COLUMNS_CHUNK * sizeof(*route));
	if (!route)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(
		t->db,
		policy == ARENA_BUMP
			? "SELECT first_id, count, start_ns, service_ns, need_bump, route,"
			  " sha256 FROM request_columns ORDER BY first_id"
			: "SELECT first_id, count, start_ns, service_ns, need_reuse, route,"
			  " sha256 FROM request_columns ORDER BY first_id",
		-1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			int64_t got = load_chunk(s, columns, *filled, route, sha);
			if (got < 0)
				break;
			*filled += (size_t)got;
		}
	sqlite3_finalize(s);
	free(route);
	if (rc == SQLITE_ROW)
		return bad_columns(t, err);
	return rc == SQLITE_DONE ? 0 : store_err(t, err, "reading its request columns");
}

const char store_rows_after[] =
	"SELECT request.id, start_ns, end_ns - start_ns, need_bump_bytes, need_reuse_bytes, route.id"
	" FROM request JOIN route ON route.name = request.route WHERE request.id > ?"
	" ORDER BY request.id";

int store_row_values(sqlite3_stmt *s, int64_t value[COLUMN_COUNT])
{
	for (int c = 0; c < COLUMN_COUNT; c++) {
		value[c] = sqlite3_column_int64(s, c + 1);
		if (value[c] < 0)
			return -1;
	}
	return 0;
}

/* The rows that no chunk covers. */
static int load_rows(struct trace *t, int64_t covered, enum arena_policy policy,
		     struct trace_columns *columns, size_t *filled, struct sha256_ctx *sha,
		     struct err *err)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	sqlite3_stmt *s = NULL;
	unsigned char digest[SHA256_DIGEST_SIZE];
	int rc = sqlite3_prepare_v2(t->db, store_rows_after, -1, &s, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(s, 1, covered);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			int64_t value[COLUMN_COUNT];
			if (*filled == columns->count || store_row_values(s, value) != 0 ||
			    value[COLUMN_ROUTE] > (int64_t)columns->route_count)
				break;
			size_t at = (*filled)++;
			columns->id[at] = sqlite3_column_int64(s, 0);
			columns->arrival_ns[at] = value[COLUMN_START];
			columns->service_ns[at] = value[COLUMN_SERVICE];
			columns->need_bytes[at] =
				(uint64_t)value[policy == ARENA_BUMP ? COLUMN_NEED_BUMP
								     : COLUMN_NEED_REUSE];
			columns->route_index[at] = (uint32_t)(value[COLUMN_ROUTE] - 1);
			chunk_add(chunk, value);
			if (chunk->count == COLUMNS_CHUNK) {
				chunk_digest(chunk, digest);
				sha256_update(sha, sizeof(digest), digest);
				chunk->count = 0;
			}
		}
	if (chunk->count > 0) {
		chunk_digest(chunk, digest);
		sha256_update(sha, sizeof(digest), digest);
	}
	sqlite3_finalize(s);
	free(chunk);
	if (rc == SQLITE_ROW)
		return bad_columns(t, err);
	return rc == SQLITE_DONE ? 0 : store_err(t, err, "reading its requests");
}

static int load_columns(struct trace *t, enum arena_policy policy,
			struct trace_columns *columns, struct err *err)
{
	int64_t packed, covered, rows;
	if (store_query_int(t, "SELECT sum(count) FROM request_columns", &packed, err) != 0 ||
	    store_query_int(t, "SELECT max(first_id + count - 1) FROM request_columns",
			    &covered, err) != 0)
		return -1;
	char sql[96];
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM request WHERE id > %" PRId64, covered);
	if (store_query_int(t, sql, &rows, err) != 0)
		return -1;
	int64_t last;
	if (store_query_int(t, "SELECT max(id) FROM request", &last, err) != 0)
		return -1;
	if (packed < 0 || packed != covered || covered > last || packed + rows > UINT32_MAX)
		return bad_columns(t, err);
	if (columns_init(columns, (size_t)(packed + rows)) != 0)
		return err_set(err, "out of memory for the %" PRId64 " requests of \"%s\"",
			       packed + rows, t->path);
	struct sha256_ctx sha, routes;
	sha256_init(&sha);
	sha256_init(&routes);
	size_t filled = 0;
	if (load_routes(t, columns, &routes, err) != 0 ||
	    load_chunks(t, policy, columns, &filled, &sha, err) != 0 ||
	    load_rows(t, covered, policy, columns, &filled, &sha, err) != 0)
		return -1;
	if (filled != columns->count)
		return bad_columns(t, err);
	unsigned char digest[SHA256_DIGEST_SIZE];
	sha256_digest(&routes, SHA256_DIGEST_SIZE, digest);
	sha256_update(&sha, sizeof(digest), digest);
	sha256_digest(&sha, SHA256_DIGEST_SIZE, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(columns->sha256 + 2 * i, 3, "%02x", digest[i]);
	if (columns_sort(columns) != 0)
		return err_set(err, "out of memory ordering the requests of \"%s\"", t->path);
	return 0;
}

int trace_columns_load(struct trace *t, enum arena_policy policy, struct trace_columns *columns,
		       struct err *err)
{
	memset(columns, 0, sizeof(*columns));
	/* One transaction, so that a recorder that is still writing does not
	 * slip a chunk between the queries. */
	bool alone = !t->in_transaction;
	if (alone && store_run(t, "BEGIN", "reading", err) != 0)
		return -1;
	int rc = load_columns(t, policy, columns, err);
	if (alone)
		sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
	if (rc != 0)
		trace_columns_release(columns);
	return rc;
}

/* -- events -------------------------------------------------------------- */

/* Unpacks the block that holds event `at` into t->block. */
int store_load_block(struct trace *t, int64_t at, struct err *err)
{
	if (t->block_count > 0 && at >= t->block_first && at < t->block_first + t->block_count)
		return 0;
	if (!t->block && !(t->block = malloc(EVENTS_PER_BLOCK * sizeof(*t->block))))
		return err_set(err, "out of memory reading \"%s\"", t->path);
	t->block_count = 0;
	sqlite3_stmt *s = NULL;
	if (sqlite3_prepare_v2(t->db,
			       "SELECT first_event, count, ops FROM event_block"
			       " WHERE first_event <= ? ORDER BY first_event DESC LIMIT 1",
			       -1, &s, NULL) != SQLITE_OK ||
	    sqlite3_bind_int64(s, 1, at) != SQLITE_OK) {
		sqlite3_finalize(s);
		return store_err(t, err, "reading its events");
	}
	int rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		int64_t first = sqlite3_column_int64(s, 0), count = sqlite3_column_int64(s, 1);
		const void *bytes = sqlite3_column_blob(s, 2);
		if (bytes && count > 0 && count <= EVENTS_PER_BLOCK && first >= 0 &&
		    at - first < count &&
		    unpack_ops(bytes, (size_t)sqlite3_column_bytes(s, 2), t->block,
			       (size_t)count) == 0) {
			t->block_first = first;
			t->block_count = count;
		}
	}
	sqlite3_finalize(s);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return store_err(t, err, "reading its events");
	if (t->block_count == 0)
		return err_set(err, "trace \"%s\" is damaged: its event %" PRId64 " is missing",
			       t->path, at);
	return 0;
}

int store_events_of(struct trace *t, int64_t request_id, int64_t *first, int64_t *length,
		    struct err *err)
{
	sqlite3_stmt *s = NULL;
	if (sqlite3_prepare_v2(t->db, "SELECT first_event, events FROM request WHERE id = ?",
			       -1, &s, NULL) != SQLITE_OK ||
	    sqlite3_bind_int64(s, 1, request_id) != SQLITE_OK) {
		sqlite3_finalize(s);
		return store_err(t, err, "reading its events");
	}
	int rc = sqlite3_step(s);
	bool held = rc == SQLITE_ROW && sqlite3_column_type(s, 0) == SQLITE_INTEGER;
	*first = held ? sqlite3_column_int64(s, 0) : 0;
	*length = held ? sqlite3_column_int64(s, 1) : 0;
	sqlite3_finalize(s);
	if (rc == SQLITE_DONE)
		return err_set(err, "no request %" PRId64 " in trace \"%s\"", request_id,
			       t->path);
	if (rc != SQLITE_ROW)
		return store_err(t, err, "reading its events");
	if (!held)
		return 0;
	int64_t stored;
	if (store_query_int(t,
			    "SELECT coalesce((SELECT first_event + count FROM event_block"
			    " ORDER BY first_event DESC LIMIT 1), 0)",
			    &stored, err) != 0)
		return -1;
	if (*first < 0 || *length < 0 || *first > stored || *length > stored - *first)
		return err_set(err,
			       "trace \"%s\" is damaged: the events of request %" PRId64
			       " are missing",
			       t->path, request_id);
	return 1;
}

int trace_replay(struct trace *t, int64_t request_id, struct replay_op **ops, size_t *count,
		 struct err *err)
{
	int64_t first, length;
	*ops = NULL;
	*count = 0;
	int held = store_events_of(t, request_id, &first, &length, err);
	if (held <= 0)
		return held;
	struct replay_op *list = malloc(((size_t)length + 1) * sizeof(*list));
	if (!list)
		return err_set(err, "out of memory for the %" PRId64 " events of a request",
			       length);
	for (int64_t i = 0; i < length;) {
		if (store_load_block(t, first + i, err) != 0) {
			free(list);
			return -1;
		}
		int64_t from = first + i - t->block_first, take = t->block_count - from;
		if (take > length - i)
			take = length - i;
		memcpy(list + i, t->block + from, (size_t)take * sizeof(*list));
		i += take;
	}
	*ops = list;
	*count = (size_t)length;
	return 1;
}

void trace_close(struct trace *t)
{
	if (!t)
		return;
	store_writer_release(t);
	sqlite3_close(t->db);
	for (size_t i = 0; i < t->meta_count; i++) {
		free(t->meta[i].key);
		free(t->meta[i].value);
	}
	free(t->meta);
	free(t->block);
	free(t->path);
	free(t);
}
