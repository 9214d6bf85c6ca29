/* SPDX-License-Identifier: MIT */
#include "libtrace/store/store.h"

#include "base/buf.h"
#include "base/file.h"
#include "libtrace/store/pack.h"
#include "libtrace/store/schema.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIND_FLAT(NAME, name) " ?, ?, ?,"
#define BIND_STEP(NAME, name) " ?, ?, ?, ?,"

static const char *const statement_sql[STATEMENT_COUNT] = {
	[PUT_META] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
	[PUT_PROCESS] = "INSERT OR REPLACE INTO process VALUES (?, ?, ?, ?, ?, ?)",
	[PUT_THREAD] = "INSERT OR REPLACE INTO thread VALUES (?, ?, ?, ?, ?)",
	[PUT_CONNECTION] = "INSERT OR REPLACE INTO connection VALUES (?, ?, ?, ?, ?, ?, ?, ?,"
			   " ?, ?, ?, ?)",
	[PUT_ROUTE] = "INSERT INTO route VALUES (?, ?)",
	[PUT_STRING] = "INSERT INTO string VALUES (?, ?)",
	[PUT_ROWS] = "INSERT OR REPLACE INTO request_block VALUES (?, ?," BATCH_COLUMNS(
		BIND_FLAT, BIND_STEP) " ?)",
	[PUT_DIGITS] = "INSERT OR REPLACE INTO request_digits VALUES (?, ?)",
	[PUT_BLOCK] = "INSERT OR REPLACE INTO event_block VALUES (?, ?, ?)",
	[PUT_SITES] = "INSERT OR REPLACE INTO event_site VALUES (?, ?)",
	[PUT_FRAME] = "INSERT OR REPLACE INTO frame VALUES (?, ?, ?, ?, ?, ?)",
	[PUT_STACK] = "INSERT OR REPLACE INTO stack VALUES (?, ?, ?)",
	[PUT_SITE] = "INSERT OR REPLACE INTO site VALUES (?, ?, ?, ?, ?, ?, ?)",
	[PUT_USE] =
		"INSERT OR REPLACE INTO site_use VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_RAW] = "INSERT INTO raw_block VALUES (?, ?, ?, ?)",
	[PUT_WAIT] = "INSERT OR REPLACE INTO request_wait VALUES (?, ?)",
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

/* Sets what the writer goes on from to what is committed: after a rollback. A
 * block that was open stays as short as it is. */
static int resume(struct trace *t, struct err *err)
{
	int64_t string;
	if (store_query_int(t, "SELECT max(first_id + count) FROM request_block",
			    &t->next_request, err) != 0 ||
	    store_query_int(t, "SELECT max(first_event + count) FROM event_block",
			    &t->next_event, err) != 0 ||
	    store_query_int(t, "SELECT max(id) FROM string", &string, err) != 0)
		return -1;
	t->next_request += t->next_request == 0;
	t->op_count = 0;
	t->rows->count = 0;
	store_stacks_forget(t);
	names_clear(&t->routes, 1);
	names_clear(&t->strings, string + 1);
	memset(t->last_string, 0, sizeof(t->last_string));
	memset(&t->last_route, 0, sizeof(t->last_route));
	bool fresh;
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(t->db, "SELECT name FROM route ORDER BY id", -1, &s, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(s);
		if (rc != SQLITE_ROW)
			break;
		struct str name = {(const char *)sqlite3_column_text(s, 0),
				   (size_t)sqlite3_column_bytes(s, 0)};
		if (names_number(&t->routes, name, &fresh) < 0)
			rc = SQLITE_NOMEM;
	}
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : store_err(t, err, "resuming");
}

static int put_rows_head(struct trace *t, const struct batch *block, int64_t first,
			 struct err *err)
{
	sqlite3_stmt *s = t->statement[PUT_ROWS];
	int at = 1;
	sqlite3_bind_int64(s, at++, first);
	sqlite3_bind_int64(s, at++, block->count);
	for (int c = 0; c < ROW_COLUMNS; c++) {
		const struct batch_head *head = &block->column[c];
		sqlite3_bind_int64(s, at++, head->base);
		if (batch_grows((enum batch_column)c))
			sqlite3_bind_int64(s, at++, head->step);
		sqlite3_bind_int64(s, at++, head->at);
		sqlite3_bind_int64(s, at++, head->digits);
	}
	sqlite3_bind_int64(s, at, block->bytes);
	return store_finish(t, s, err);
}

/* Writes the open block of rows, over what an earlier commit wrote of it. */
static int flush_rows(struct trace *t, struct err *err)
{
	if (t->rows->count == 0)
		return 0;
	struct batch block = {.digits = t->row_digits};
	int64_t first = t->next_request - t->rows->count;
	batch_pack(t->rows, &block);
	if (put_rows_head(t, &block, first, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_DIGITS];
	for (uint32_t row = 0; row < block.count; row += BATCH_GROUP) {
		uint32_t rows =
			block.count - row < BATCH_GROUP ? block.count - row : BATCH_GROUP;
		sqlite3_bind_int64(s, 1, first + row);
		sqlite3_bind_blob64(s, 2, block.digits + (size_t)row * block.bytes,
				    (sqlite3_uint64)rows * block.bytes, SQLITE_STATIC);
		if (store_finish(t, s, err) != 0)
			return -1;
	}
	if (block.count == BATCH_MAX)
		t->rows->count = 0;
	return 0;
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

/* What was put last is often what comes next. */
static bool is_last(const struct store_last *last, struct str text)
{
	return last->id != 0 && last->length == text.length &&
	       memcmp(last->bytes, text.bytes, text.length) == 0;
}

static void set_last(struct store_last *last, int64_t id, struct str text)
{
	last->id = 0;
	if (text.length == 0 || text.length > sizeof(last->bytes))
		return;
	last->id = id;
	last->length = (uint32_t)text.length;
	memcpy(last->bytes, text.bytes, text.length);
}

int store_route(struct trace *t, struct str route, uint32_t *id, struct err *err)
{
	bool fresh;
	if (is_last(&t->last_route, route)) {
		*id = (uint32_t)t->last_route.id;
		return 0;
	}
	int64_t number = names_number(&t->routes, route, &fresh);
	if (number < 0)
		return err_set(err, "out of memory for routes");
	*id = (uint32_t)number;
	set_last(&t->last_route, number, route);
	if (!fresh)
		return 0;
	sqlite3_stmt *s = t->statement[PUT_ROUTE];
	sqlite3_bind_int64(s, 1, number);
	store_bind_str(s, 2, route);
	return store_finish(t, s, err);
}

/* The number of a text in the table `string`; `which` says whose it is: the one
 * before was often the same. */
static int put_string(struct trace *t, enum store_text which, struct str text, int64_t *id,
		      struct err *err)
{
	struct store_last *last = &t->last_string[which];
	bool fresh;
	if (is_last(last, text)) {
		*id = last->id;
		return 0;
	}
	if (names_full(&t->strings))
		names_clear(&t->strings, t->strings.first + t->strings.count);
	*id = names_number(&t->strings, text, &fresh);
	if (*id < 0)
		return err_set(err, "out of memory for the texts of requests");
	set_last(last, *id, text);
	if (!fresh)
		return 0;
	sqlite3_stmt *s = t->statement[PUT_STRING];
	sqlite3_bind_int64(s, 1, *id);
	store_bind_str(s, 2, text);
	return store_finish(t, s, err);
}

/* What a block can hold of a value: batch.h. */
static int64_t bounded(int64_t value)
{
	return value < -1 ? -1 : value == INT64_MAX ? INT64_MAX - 1 : value;
}

int store_put_request(struct trace *t, const struct trace_request *r, int64_t first_event,
		      size_t count, struct err *err)
{
	assert(r->id == 0 && r->end_ns >= r->start_ns && r->start_ns >= 0);
	assert(r->need_bump_bytes >= 0 && r->need_reuse_bytes >= 0);
	uint32_t route;
	int64_t method, target, ended_by;
	if (store_begin(t, err) != 0 || store_route(t, r->route, &route, err) != 0 ||
	    put_string(t, TEXT_METHOD, r->method, &method, err) != 0 ||
	    put_string(t, TEXT_TARGET, r->target, &target, err) != 0 ||
	    put_string(t, TEXT_ENDED_BY, r->ended_by, &ended_by, err) != 0)
		return -1;
	int64_t *value = t->rows->value[t->rows->count];
	value[ROW_PROCESS] = r->process;
	value[ROW_CONNECTION] = r->connection;
	value[ROW_SEQUENCE] = r->sequence;
	value[ROW_START] = r->start_ns;
	value[ROW_SERVICE] = r->end_ns - r->start_ns;
	value[ROW_CPU] = r->cpu_ns;
	value[ROW_METHOD] = method;
	value[ROW_TARGET] = target;
	value[ROW_ROUTE] = route;
	value[ROW_STATUS] = r->status;
	value[ROW_BYTES_IN] = r->bytes_in;
	value[ROW_BYTES_OUT] = r->bytes_out;
	value[ROW_ALLOCATIONS] = r->allocations;
	value[ROW_FREES] = r->frees;
	value[ROW_REALLOCATIONS] = r->reallocations;
	value[ROW_REQUESTED_BYTES] = r->requested_bytes;
	value[ROW_NEED_BUMP] = r->need_bump_bytes;
	value[ROW_NEED_REUSE] = r->need_reuse_bytes;
	value[ROW_LIVE_PEAK] = r->live_peak_bytes;
	value[ROW_LARGEST] = r->largest_bytes;
	value[ROW_ESCAPES] = r->escapes;
	value[ROW_ESCAPED_BYTES] = r->escaped_bytes;
	value[ROW_FOREIGN_FREES] = r->foreign_frees;
	value[ROW_STACK_PEAK] = r->stack_peak_bytes;
	value[ROW_ENDED_BY] = ended_by;
	value[ROW_CONFIDENCE] = r->confidence;
	value[ROW_INCOMPLETE] = r->incomplete;
	value[ROW_FIRST_EVENT] = first_event;
	value[ROW_EVENTS] = (int64_t)count;
	for (int c = ROW_COLUMNS; c < BATCH_PADDED; c++)
		value[c] = 0;
	uint64_t odd = 0; /* below -1, or the greatest: hardly ever */
	for (int c = 0; c < BATCH_PADDED; c++)
		odd |= (uint64_t)value[c] + 1;
	for (int c = 0; odd >> 63 != 0 && c < ROW_COLUMNS; c++)
		value[c] = bounded(value[c]);
	t->rows->count++;
	t->next_request++;
	return t->rows->count == BATCH_MAX ? flush_rows(t, err) : 0;
}

int trace_put_wait(struct trace *t, int64_t request, int64_t wait_ns, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_WAIT];
	sqlite3_bind_int64(s, 1, request);
	sqlite3_bind_int64(s, 2, wait_ns);
	return store_finish(t, s, err);
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

/* "DIR/.NAME.XXXXXX" as an empty file. It stays its owner's alone (0600), since
 * targets can carry secrets. */
static char *make_temporary(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path + 1) : 0;
	struct buf name;
	buf_init(&name);
	buf_printf(&name, "%.*s.%s.XXXXXX", folder, path, path + folder);
	char *result = name.failed ? NULL : strdup(buf_text(&name));
	buf_release(&name);
	file_sweep(path, sizeof("XXXXXX") - 1);
	int fd = result ? mkstemp(result) : -1;
	if (fd < 0) {
		err_errno(err, "cannot create \"%s\"", path);
		free(result);
		return NULL;
	}
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
	if (store_run(t,
		      "PRAGMA page_size=4096; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536",
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
	t->routes.first = t->strings.first = 1;
	t->rows = malloc(sizeof(*t->rows));
	t->row_digits = malloc((size_t)BATCH_MAX * BATCH_BYTES_MAX);
	t->ops = malloc(EVENTS_PER_BLOCK * sizeof(*t->ops));
	if (t->rows)
		t->rows->count = 0;
	if (!t->path || !t->rows || !t->row_digits || !t->ops)
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
	if (flush_block(t, err) != 0 || flush_rows(t, err) != 0 ||
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

/* Leaving TRUNCATE removes the empty journal, unless a lock or a read fails just
 * then, which SQLite does not tell. An empty one holds nothing to roll back. */
static void remove_journal(const struct trace *t)
{
	struct buf name;
	struct stat st;
	buf_init(&name);
	buf_printf(&name, "%s-journal", t->path);
	if (!name.failed && lstat(buf_text(&name), &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size == 0)
		unlink(buf_text(&name));
	buf_release(&name);
}

void store_writer_release(struct trace *t)
{
	if (!t->writer)
		return;
	finalize_all(t);
	if (t->db && !sqlite3_get_autocommit(t->db))
		sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
	if (t->db)
		sqlite3_exec(t->db, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
	sqlite3_close(t->db);
	t->db = NULL;
	if (t->path && !t->temporary)
		remove_journal(t);
	if (t->temporary)
		unlink(t->temporary);
	else if (t->path)
		sync_file(t->path);
	free(t->temporary);
	free(t->rows);
	free(t->row_digits);
	free(t->ops);
	free(t->op_site);
	store_stacks_forget(t);
	names_release(&t->routes);
	names_release(&t->strings);
}
