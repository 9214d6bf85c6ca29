/* SPDX-License-Identifier: MIT */
#include "libtrace/store/store.h"

#include "base/buf.h"
#include "libtrace/store/merge_raw.h"
#include "libtrace/store/pack.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Rows are copied one table after another with their numbers shifted past
 * those of the traces before. Blocks of events are taken as they are: only the
 * number of their first event changes, and with it that of each request.
 */
enum { STEP_REQUESTS = 1 << 14 };

struct shifts {
	int64_t process, thread, connection, event, frame, site, time_ns;
};

struct merge {
	struct trace *out;
	char *const *paths;
	size_t count;
	enum trace_align align;
	trace_merge_step *step;
	void *arg;
	struct shifts shifts;
	struct merge_raw raw;
	int64_t origin_unix_ns, first_ns, last_ns, requests;
	bool complete, known_clock;
};

static const char *const summed[] = {"events",
				     "dropped_events",
				     "unattributed_allocations",
				     "unattributed_bytes",
				     "startup_allocations",
				     "startup_bytes",
				     "writer_waits",
				     "writer_wait_ns",
				     "lost_requests",
				     "redacted_targets"};
enum { SUMMED = sizeof(summed) / sizeof(*summed) };

/* -- rows of a table ------------------------------------------------------- */

/* What is added to a column, by its name and the table it is in. */
static int64_t shift_of(const struct shifts *s, const char *table, const char *column,
			int64_t value)
{
	bool is_process = strcmp(table, "process") == 0;
	if (strcmp(column, "id") == 0)
		return is_process                     ? s->process
		       : strcmp(table, "thread") == 0 ? s->thread
						      : s->connection;
	if (strcmp(column, "process") == 0)
		return s->process;
	if (strcmp(column, "parent") == 0)
		return value == 0 ? 0 : s->process;
	if (strcmp(column, "first_event") == 0)
		return s->event;
	return strcmp(column, "start_ns") == 0 || strcmp(column, "end_ns") == 0 ? s->time_ns
										: 0;
}

static int prepare_copy(struct merge *m, struct trace *in, const char *table,
			sqlite3_stmt **from, sqlite3_stmt **to, struct err *err)
{
	struct buf sql;
	buf_init(&sql);
	buf_printf(&sql, "SELECT * FROM %s", table);
	if (sqlite3_prepare_v2(in->db, buf_text(&sql), -1, from, NULL) != SQLITE_OK) {
		buf_release(&sql);
		return store_err(in, err, "reading");
	}
	int columns = sqlite3_column_count(*from);
	buf_clear(&sql);
	buf_printf(&sql, "INSERT INTO %s(", table);
	for (int c = 0; c < columns; c++) {
		/* Names come out of the file, and become SQL. */
		const char *name = sqlite3_column_name(*from, c);
		if (!name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz_")] != '\0') {
			buf_release(&sql);
			return err_set(err, "trace \"%s\" is damaged: table \"%s\" is another",
				       in->path, table);
		}
		buf_printf(&sql, "%s\"%s\"", c > 0 ? "," : "", name);
	}
	buf_append_str(&sql, ") VALUES(");
	for (int c = 0; c < columns; c++)
		buf_append_str(&sql, c > 0 ? ",?" : "?");
	buf_append_str(&sql, ")");
	int rc = sqlite3_prepare_v2(m->out->db, buf_text(&sql), -1, to, NULL);
	buf_release(&sql);
	return rc == SQLITE_OK ? 0 : store_err(m->out, err, "writing");
}

static int copy_rows(struct merge *m, struct trace *in, const char *table, struct err *err)
{
	sqlite3_stmt *from = NULL, *to = NULL;
	int rc = prepare_copy(m, in, table, &from, &to, err), got = SQLITE_DONE;
	while (rc == 0 && (got = sqlite3_step(from)) == SQLITE_ROW) {
		for (int c = 0; c < sqlite3_column_count(from); c++) {
			if (sqlite3_column_type(from, c) != SQLITE_INTEGER) {
				sqlite3_bind_value(to, c + 1, sqlite3_column_value(from, c));
				continue;
			}
			int64_t value = sqlite3_column_int64(from, c), sum;
			if (__builtin_add_overflow(value,
						   shift_of(&m->shifts, table,
							    sqlite3_column_name(from, c),
							    value),
						   &sum))
				sum = INT64_MAX;
			sqlite3_bind_int64(to, c + 1, sum);
		}
		if (sqlite3_step(to) != SQLITE_DONE)
			rc = store_err(m->out, err, "writing");
		sqlite3_reset(to);
		sqlite3_clear_bindings(to);
	}
	if (rc == 0 && got != SQLITE_DONE)
		rc = store_err(in, err, "reading");
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	return rc;
}

/* -- requests -------------------------------------------------------------- */

static int put_shifted(struct merge *m, struct trace_request *r, int64_t first, int64_t events,
		       struct err *err)
{
	if (r->start_ns < 0 || r->end_ns < r->start_ns || r->need_bump_bytes < 0 ||
	    r->need_reuse_bytes < 0 || first < -1 || events < 0 ||
	    first > INT64_MAX / 2 - m->shifts.event ||
	    r->end_ns > INT64_MAX / 2 - m->shifts.time_ns)
		return err_set(err, "request %" PRId64 " of it makes no sense", r->id);
	r->id = 0;
	first += first >= 0 ? m->shifts.event : 0;
	r->process += r->process > 0 ? m->shifts.process : 0;
	r->connection += r->connection > 0 ? m->shifts.connection : 0;
	r->start_ns += m->shifts.time_ns;
	r->end_ns += m->shifts.time_ns;
	m->first_ns = r->start_ns < m->first_ns ? r->start_ns : m->first_ns;
	m->last_ns = r->end_ns > m->last_ns ? r->end_ns : m->last_ns;
	if (store_put_request(m->out, r, first, (size_t)events, err) != 0)
		return -1;
	if (++m->requests % STEP_REQUESTS == 0 && m->step && m->step(m->requests, m->arg))
		return err_set(err,
			       "interrupted after %" PRId64 " requests: nothing is written",
			       m->requests);
	return 0;
}

/* Waits lie in the order of requests' ids, as the cursor gives those. A trace of
 * before there were waits has no table of them: *waits is NULL then. */
static int open_waits(struct trace *in, sqlite3_stmt **waits, struct err *err)
{
	int64_t there;
	*waits = NULL;
	if (store_query_int(in,
			    "SELECT count(*) FROM sqlite_schema WHERE name = 'request_wait'",
			    &there, err) != 0)
		return -1;
	if (there == 0)
		return 0;
	if (sqlite3_prepare_v2(in->db,
			       "SELECT request, wait_ns FROM request_wait ORDER BY request", -1,
			       waits, NULL) != SQLITE_OK ||
	    sqlite3_step(*waits) == SQLITE_ERROR) {
		sqlite3_finalize(*waits);
		return store_err(in, err, "reading its waits");
	}
	return 0;
}

/* The wait of request `id` of it, if it has one, as that of the request put next. */
static int copy_wait(struct merge *m, sqlite3_stmt *waits, int64_t id, struct err *err)
{
	while (sqlite3_data_count(waits) > 0 && sqlite3_column_int64(waits, 0) < id)
		sqlite3_step(waits);
	if (sqlite3_data_count(waits) == 0 || sqlite3_column_int64(waits, 0) != id)
		return 0;
	return trace_put_wait(m->out, m->out->next_request, sqlite3_column_int64(waits, 1),
			      err);
}

static int copy_requests(struct merge *m, struct trace *in, struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	sqlite3_stmt *waits;
	int64_t first, events;
	int got;
	if (open_waits(in, &waits, err) != 0)
		return -1;
	if (trace_requests_stored(in, &cursor, err) != 0) {
		sqlite3_finalize(waits);
		return -1;
	}
	while ((got = store_next(cursor, &r, &first, &events, err)) == 1)
		if ((waits && (got = copy_wait(m, waits, r.id, err)) != 0) ||
		    (got = put_shifted(m, &r, first, events, err)) != 0)
			break;
	trace_cursor_close(cursor);
	sqlite3_finalize(waits);
	return got;
}

/* -- sites ----------------------------------------------------------------- */

static int put_site(struct merge *m, const struct trace_sites *all, struct trace_site site,
		    struct err *err)
{
	uint32_t *frame = malloc((site.frames + 1) * sizeof(*frame));
	if (!frame)
		return err_set(err, "out of memory merging sites");
	for (uint32_t i = 0; i < site.frames; i++)
		frame[i] = (uint32_t)(all->frame[site.frame[i]].id + m->shifts.frame);
	site.id += m->shifts.site;
	site.frame = frame;
	int rc = trace_put_site(m->out, &site, err);
	free(frame);
	return rc;
}

/* The sites beside one block of events: one number for all but the frees. */
static int copy_block_sites(struct merge *m, struct trace *in, sqlite3_stmt *from,
			    sqlite3_stmt *to, struct err *err)
{
	int64_t first = sqlite3_column_int64(from, 0);
	const void *bytes = sqlite3_column_blob(from, 1);
	size_t length = (size_t)sqlite3_column_bytes(from, 1), count = 0;
	if (store_load_block(in, first, err) != 0)
		return -1;
	for (int64_t i = 0; i < in->block_count; i++)
		count += in->block[i].kind != REPLAY_FREE;
	int64_t *site = malloc((count + 1) * sizeof(*site));
	struct buf packed;
	buf_init(&packed);
	int rc = 0;
	if (!site)
		rc = err_set(err, "out of memory merging sites");
	else if (!bytes || unpack_column(bytes, length, site, count) != 0)
		rc = err_set(err, "trace \"%s\" is damaged: its sites do not fit its events",
			     in->path);
	for (size_t i = 0; rc == 0 && i < count; i++)
		site[i] += site[i] > 0 ? m->shifts.site : 0;
	if (rc == 0 && pack_column(site, count, &packed) != 0)
		rc = err_set(err, "out of memory merging sites");
	if (rc == 0) {
		sqlite3_bind_int64(to, 1, first + m->shifts.event);
		sqlite3_bind_blob64(to, 2, packed.bytes, packed.length, SQLITE_STATIC);
		rc = store_finish(m->out, to, err);
		sqlite3_clear_bindings(to);
	}
	buf_release(&packed);
	free(site);
	return rc;
}

static int copy_event_sites(struct merge *m, struct trace *in, struct err *err)
{
	sqlite3_stmt *from = NULL;
	int rc = 0, got = SQLITE_DONE;
	if (sqlite3_prepare_v2(in->db,
			       "SELECT first_event, sites FROM event_site ORDER BY first_event",
			       -1, &from, NULL) != SQLITE_OK)
		return store_err(in, err, "reading its sites");
	while (rc == 0 && (got = sqlite3_step(from)) == SQLITE_ROW)
		rc = copy_block_sites(m, in, from, m->out->statement[PUT_SITES], err);
	if (rc == 0 && got != SQLITE_DONE)
		rc = store_err(in, err, "reading its sites");
	sqlite3_finalize(from);
	return rc;
}

/* A trace of before there were sites has no table of them. */
static int copy_sites(struct merge *m, struct trace *in, struct err *err)
{
	struct trace_sites all;
	int64_t there, rc = 0;
	if (store_query_int(in, "SELECT count(*) FROM sqlite_schema WHERE name = 'event_site'",
			    &there, err) != 0)
		return -1;
	if (there == 0)
		return 0;
	if (trace_sites_load(in, &all, err) != 0)
		return -1;
	int64_t last_frame = 0, last_site = 0;
	for (size_t i = 0; i < all.frames && rc == 0; i++) {
		struct trace_frame f = all.frame[i];
		last_frame = f.id > last_frame ? f.id : last_frame;
		f.id += m->shifts.frame;
		rc = trace_put_frame(m->out, &f, err);
	}
	for (size_t i = 0; i < all.sites && rc == 0; i++) {
		last_site = all.site[i].id > last_site ? all.site[i].id : last_site;
		rc = put_site(m, &all, all.site[i], err);
	}
	for (size_t i = 0; i < all.uses && rc == 0; i++) {
		struct trace_site_use use = all.use[i];
		use.site += m->shifts.site;
		rc = trace_put_site_use(m->out, &use, err);
	}
	trace_sites_release(&all);
	if (rc == 0)
		rc = copy_event_sites(m, in, err);
	m->shifts.frame += last_frame;
	m->shifts.site += last_site;
	if (rc == 0 && (m->shifts.frame > UINT32_MAX || m->shifts.site > UINT32_MAX))
		rc = err_set(err, "more sites than a trace can hold");
	return (int)rc;
}

/* -- what is said of it ---------------------------------------------------- */

static int put_number(struct merge *m, const char *key, int64_t value, struct err *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	return trace_put_meta(m->out, key, text, err);
}

/* Tables of it that hold something and are not merged, in one text. */
static int list_left_out(const struct merge *m, struct trace *in, struct buf *names,
			 struct err *err)
{
	static const char sql[] =
		"SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('meta',"
		" 'process', 'thread', 'connection', 'route', 'string', 'request_block', 'request_digits', 'request_wait',"
		" 'request_place',"
		" 'event_block', 'event_site', 'frame', 'stack', 'site', 'site_use') AND name NOT LIKE 'sqlite_%' ORDER BY name";
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(in->db, sql, -1, &s, NULL);
	if (rc == SQLITE_OK)
		while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
			const char *name = (const char *)sqlite3_column_text(s, 0);
			char query[160];
			int64_t any = 0;
			if (!name || strchr(name, '"') || strlen(name) > 64 ||
			    (m->raw.wanted && strcmp(name, "raw_block") == 0))
				continue;
			snprintf(query, sizeof(query), "SELECT EXISTS(SELECT 1 FROM \"%s\")",
				 name);
			if (store_query_int(in, query, &any, err) != 0)
				break;
			if (any)
				buf_printf(names, "%s%s", names->length > 0 ? "," : "", name);
		}
	sqlite3_finalize(s);
	if (rc == SQLITE_ROW)
		return -1;
	return rc == SQLITE_DONE ? 0 : store_err(in, err, "reading its tables");
}

static int put_source(struct merge *m, struct trace *in, size_t index, struct err *err)
{
	struct buf key, left_out;
	buf_init(&key);
	buf_init(&left_out);
	int rc = list_left_out(m, in, &left_out, err);
	for (size_t i = 0; i < in->meta_count && rc == 0; i++) {
		buf_clear(&key);
		buf_printf(&key, "source.%zu.%s", index + 1, in->meta[i].key);
		rc = trace_put_meta(m->out, buf_text(&key), in->meta[i].value, err);
	}
	buf_clear(&key);
	buf_printf(&key, "source.%zu.trace", index + 1);
	if (rc == 0)
		rc = trace_put_meta(m->out, buf_text(&key), in->path, err);
	buf_clear(&key);
	buf_printf(&key, "source.%zu.shift_ns", index + 1);
	if (rc == 0)
		rc = put_number(m, buf_text(&key), m->shifts.time_ns, err);
	buf_clear(&key);
	buf_printf(&key, "source.%zu.left_out", index + 1);
	if (rc == 0 && left_out.length > 0)
		rc = trace_put_meta(m->out, buf_text(&key), buf_text(&left_out), err);
	buf_release(&key);
	buf_release(&left_out);
	return rc;
}

/* What all agree on, or "mixed". */
static int put_common(struct merge *m, struct trace **in, const char *key, struct err *err)
{
	const char *value = trace_meta(in[0], key);
	for (size_t i = 1; i < m->count && value; i++) {
		const char *other = trace_meta(in[i], key);
		if (!other || strcmp(other, value) != 0)
			value = "mixed";
	}
	return value ? trace_put_meta(m->out, key, value, err) : 0;
}

static int put_meta(struct merge *m, struct trace **in, struct err *err)
{
	static const char *const common[] = {"detail", "split", "mode", "redact", "machine"};
	char command[64];
	snprintf(command, sizeof(command), "merge of %zu traces", m->count);
	if (trace_put_meta(m->out, "pail_version", PAIL_VERSION, err) != 0 ||
	    trace_put_meta(m->out, "command", command, err) != 0 ||
	    trace_put_meta(m->out, "complete", m->complete ? "1" : "0", err) != 0 ||
	    put_number(m, "span_ns", m->requests > 0 ? m->last_ns - m->first_ns : 0, err) != 0)
		return -1;
	if (m->known_clock && put_number(m, "start_unix_ns", m->origin_unix_ns, err) != 0)
		return -1;
	for (size_t k = 0; k < sizeof(common) / sizeof(*common); k++)
		if (put_common(m, in, common[k], err) != 0)
			return -1;
	for (size_t k = 0; k < SUMMED; k++) {
		int64_t sum = 0;
		bool any = false;
		for (size_t i = 0; i < m->count; i++) {
			any |= trace_meta(in[i], summed[k]) != NULL;
			if (__builtin_add_overflow(sum, trace_meta_int(in[i], summed[k], 0),
						   &sum))
				sum = INT64_MAX;
		}
		if (any && put_number(m, summed[k], sum, err) != 0)
			return -1;
	}
	return 0;
}

/* -- all of it ------------------------------------------------------------- */

static int next_shifts(struct merge *m, struct trace *in, struct err *err)
{
	struct shifts *s = &m->shifts;
	struct {
		const char *sql;
		int64_t *shift;
	} const highest[] = {
		{"SELECT max(id) FROM process", &s->process},
		{"SELECT max(id) FROM thread", &s->thread},
		{"SELECT max(id) FROM connection", &s->connection},
		{"SELECT first_event + count FROM event_block ORDER BY first_event DESC LIMIT 1",
		 &s->event},
	};
	for (size_t i = 0; i < sizeof(highest) / sizeof(*highest); i++) {
		int64_t most = 0;
		sqlite3_stmt *row = NULL;
		if (sqlite3_prepare_v2(in->db, highest[i].sql, -1, &row, NULL) != SQLITE_OK)
			return store_err(in, err, "reading");
		if (sqlite3_step(row) == SQLITE_ROW)
			most = sqlite3_column_int64(row, 0);
		sqlite3_finalize(row);
		if (most < 0 || most > INT64_MAX / 4 - *highest[i].shift)
			return err_set(err, "trace \"%s\" is damaged: a number is out of range",
				       in->path);
		*highest[i].shift += most;
	}
	return 0;
}

static int add(struct merge *m, struct trace *in, size_t index, struct err *err)
{
	static const char *const tables[] = {"process", "thread", "connection", "event_block"};
	m->complete &= trace_meta_int(in, "complete", 1) != 0;
	if (m->align == TRACE_ALIGN_CLOCK)
		m->shifts.time_ns = trace_meta_int(in, "start_unix_ns", 0) - m->origin_unix_ns;
	else
		m->shifts.time_ns = m->align == TRACE_ALIGN_CHAIN ? m->last_ns : 0;
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		if (copy_rows(m, in, tables[i], err) != 0)
			return -1;
	if (copy_requests(m, in, err) != 0)
		return err_prefix(err, "trace \"%s\"", in->path);
	const struct merge_raw_shift raw = {m->shifts.time_ns, m->shifts.site};
	if (merge_raw_add(&m->raw, m->out, in, &raw, err) != 0)
		return -1;
	if (copy_sites(m, in, err) != 0 || put_source(m, in, index, err) != 0)
		return -1;
	return next_shifts(m, in, err);
}

/* The origin of all times is the earliest start. */
static int find_origin(struct merge *m, struct trace **in, struct err *err)
{
	m->origin_unix_ns = INT64_MAX;
	m->known_clock = m->align == TRACE_ALIGN_CLOCK;
	if (m->align != TRACE_ALIGN_CLOCK)
		return 0;
	for (size_t i = 0; i < m->count; i++) {
		int64_t start = trace_meta_int(in[i], "start_unix_ns", -1);
		if (start < 0)
			return err_set(err,
				       "trace \"%s\" does not say when it began"
				       " (start_unix_ns): give --align start or chain",
				       in[i]->path);
		if (start < m->origin_unix_ns)
			m->origin_unix_ns = start;
	}
	return 0;
}

static int check_distinct(const char *path, char *const *paths, size_t count, struct err *err)
{
	struct stat out, in;
	if (stat(path, &out) != 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (stat(paths[i], &in) == 0 && in.st_dev == out.st_dev &&
		    in.st_ino == out.st_ino)
			return err_set(err,
				       "will not overwrite \"%s\": it is one of the traces to"
				       " merge",
				       path);
	return 0;
}

static int merge(struct merge *m, const char *path, struct trace **in, struct err *err)
{
	for (size_t i = 0; i < m->count; i++)
		if (trace_open(m->paths[i], &in[i], err) != 0 ||
		    store_read_begin(in[i], err) != 0)
			return -1;
	if (merge_raw_look(&m->raw, in, m->count, err) != 0 || find_origin(m, in, err) != 0 ||
	    trace_create(path, &m->out, err) != 0)
		return -1;
	for (size_t i = 0; i < m->count; i++)
		if (add(m, in[i], i, err) != 0)
			return -1;
	if (put_meta(m, in, err) != 0)
		return -1;
	return trace_commit(m->out, err);
}

int trace_merge(const char *path, char *const *paths, size_t count, enum trace_align align,
		trace_merge_step *step, void *arg, struct err *err)
{
	assert(count > 0);
	struct merge m = {.paths = paths,
			  .count = count,
			  .align = align,
			  .step = step,
			  .arg = arg,
			  .first_ns = INT64_MAX,
			  .complete = true};
	if (check_distinct(path, paths, count, err) != 0)
		return -1;
	struct trace **in = calloc(count, sizeof(struct trace *));
	if (!in)
		return err_set(err, "out of memory merging into \"%s\"", path);
	int rc = merge(&m, path, in, err);
	trace_close(m.out);
	for (size_t i = 0; i < count; i++)
		trace_close(in[i]);
	free(in);
	return rc;
}
