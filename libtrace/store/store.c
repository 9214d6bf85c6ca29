/* SPDX-License-Identifier: MIT */
#include "libtrace/store/store.h"

#include "base/buf.h"
#include "libtrace/store/pack.h"
#include "libtrace/store/schema.h"
#include "libtrace/store/store_blocks.h"

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
	ROUTES_MAX =
		1 << 20, /* no sane trace has more; keeps a hostile one from eating memory */
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

int store_read_begin(struct trace *t, struct err *err)
{
	if (t->in_transaction)
		return 0;
	if (t->readers == 0 && store_run(t, "BEGIN", "reading", err) != 0)
		return -1;
	t->readers++;
	return 0;
}

void store_read_end(struct trace *t)
{
	if (t->readers > 0 && --t->readers == 0)
		sqlite3_exec(t->db, "COMMIT", NULL, NULL, NULL);
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
		sqlite3_busy_timeout(*db, STORE_BUSY_WAIT_MS);
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
		*version = big_endian(bytes + 60);
	if (*version > TRACE_VERSION)
		*head = STORE_NEWER;
	else if (*version > 0)
		*head = *version < TRACE_VERSION ? STORE_OLDER : STORE_TRACE;
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
	case STORE_OLDER:
		return err_set(err,
			       "trace \"%s\" has format %" PRIu32
			       ", of before the first release, this pail reads %d: record or"
			       " import it again",
			       path, version, TRACE_VERSION);
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

/* -- routes -------------------------------------------------------------- */

void store_routes_release(char **route, size_t count)
{
	for (size_t i = 0; route && i < count; i++)
		free(route[i]);
	free(route);
}

static int bad_routes(struct trace *t, struct err *err)
{
	return err_set(err, "trace \"%s\" is damaged: its routes make no sense", t->path);
}

int store_routes(struct trace *t, char ***route, size_t *routes, struct err *err)
{
	int64_t count;
	if (store_query_int(t, "SELECT max(id) FROM route", &count, err) != 0)
		return -1;
	if (count < 0 || count > ROUTES_MAX)
		return bad_routes(t, err);
	*routes = 0;
	*route = calloc((size_t)count + 1, sizeof(**route));
	if (!*route)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	*routes = (size_t)count;
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, "SELECT id, name FROM route", -1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			int64_t id = sqlite3_column_int64(s, 0);
			struct str name = column_str(s, 1);
			if (id < 1 || id > count)
				break;
			free((*route)[id - 1]);
			(*route)[id - 1] = name.bytes ? strndup(name.bytes, name.length) : NULL;
			if (!(*route)[id - 1]) {
				rc = SQLITE_NOMEM;
				break;
			}
		}
	sqlite3_finalize(s);
	if (rc == SQLITE_NOMEM)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	if (rc == SQLITE_ROW)
		return bad_routes(t, err);
	if (rc != SQLITE_DONE)
		return store_err(t, err, "reading its routes");
	for (size_t i = 0; i < *routes; i++)
		if (!(*route)[i] && !((*route)[i] = strdup("")))
			return err_set(err, "out of memory reading \"%s\"", t->path);
	return 0;
}

/* -- events -------------------------------------------------------------- */

struct events_of {
	struct blocks blocks;
	struct block block;
	bool held;
};

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

/* The block that holds a request; the last one is kept. */
static int find_block(struct trace *t, int64_t id, struct block **block, struct err *err)
{
	struct events_of *of = t->events_of;
	if (!of) {
		if (!(of = calloc(1, sizeof(*of))))
			return err_set(err, "out of memory reading \"%s\"", t->path);
		t->events_of = of;
		if (blocks_open(&of->blocks, t, err) != 0)
			return -1;
	}
	*block = &of->block;
	/* A writer's last block may still grow. */
	if (!t->writer && of->held && id >= of->block.first_id &&
	    id < of->block.first_id + of->block.rows.count)
		return 1;
	of->held = false;
	int got = blocks_find(&of->blocks, id, &of->block, err);
	if (got == 1 && blocks_digits(&of->blocks, &of->block, err) != 0)
		got = -1;
	of->held = got == 1;
	return got;
}

int store_events_of(struct trace *t, int64_t request_id, int64_t *first, int64_t *length,
		    struct err *err)
{
	struct block *block = NULL;
	int64_t stored;
	if (store_read_begin(t, err) != 0)
		return -1;
	int got = find_block(t, request_id, &block, err);
	store_read_end(t);
	if (got < 0)
		return -1;
	if (got == 0)
		return err_set(err, "no request %" PRId64 " in trace \"%s\"", request_id,
			       t->path);
	uint32_t row = (uint32_t)(request_id - block->first_id);
	if (batch_column(&block->rows, ROW_FIRST_EVENT, row, 1, first) != 0 ||
	    batch_column(&block->rows, ROW_EVENTS, row, 1, length) != 0)
		return blocks_damaged(t, err);
	if (*first == -1) {
		*first = *length = 0;
		return 0;
	}
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
	int64_t first = 0, length = 0;
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
	if (t->events_of) {
		blocks_close(&t->events_of->blocks);
		block_release(&t->events_of->block);
		free(t->events_of);
	}
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
