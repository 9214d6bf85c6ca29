/* SPDX-License-Identifier: MIT */
#include "libtrace/store/store.h"

#include "libtrace/attribution/raw.h"

#include <stdlib.h>

/* -- writing -------------------------------------------------------------- */

int trace_put_raw(struct trace *t, const struct trace_raw *raw, struct err *err)
{
	if (store_begin(t, err) != 0)
		return -1;
	sqlite3_stmt *s = t->statement[PUT_RAW];
	sqlite3_bind_int64(s, 1, raw->first_event);
	sqlite3_bind_int64(s, 2, raw->events);
	sqlite3_bind_int64(s, 3, RAW_FORMAT);
	sqlite3_bind_blob64(s, 4, raw->bytes, raw->length, SQLITE_STATIC);
	int rc = store_finish(t, s, err);
	sqlite3_clear_bindings(s);
	return rc;
}

int trace_copy_meta(struct trace *to, struct trace *from, struct err *err)
{
	for (size_t i = 0; i < from->meta_count; i++)
		if (trace_put_meta(to, from->meta[i].key, from->meta[i].value, err) != 0)
			return -1;
	return 0;
}

/* -- reading -------------------------------------------------------------- */

struct trace_raw_cursor {
	struct trace *trace;
	sqlite3_stmt *statement;
};

int trace_raw(struct trace *t, struct trace_raw_cursor **cursor, struct err *err)
{
	int64_t there, any = 0;
	if (store_query_int(t,
			    "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = 'table'"
			    " AND name = 'raw_block')",
			    &there, err) != 0 ||
	    (there &&
	     store_query_int(t, "SELECT EXISTS(SELECT 1 FROM raw_block)", &any, err) != 0))
		return -1;
	if (!any)
		return 0;
	struct trace_raw_cursor *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	c->trace = t;
	if (sqlite3_prepare_v2(t->db,
			       "SELECT first_event, events, format, bytes FROM raw_block"
			       " ORDER BY first_event",
			       -1, &c->statement, NULL) != SQLITE_OK) {
		free(c);
		return store_err(t, err, "reading its raw events");
	}
	*cursor = c;
	return 1;
}

int trace_raw_next(struct trace_raw_cursor *c, struct trace_raw *raw, struct err *err)
{
	int rc = sqlite3_step(c->statement);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc != SQLITE_ROW)
		return store_err(c->trace, err, "reading its raw events");
	int64_t format = sqlite3_column_int64(c->statement, 2);
	if (format != RAW_FORMAT)
		return err_set(err,
			       "trace \"%s\": raw events are of form %lld, this pail reads %d"
			       "; use a newer pail",
			       c->trace->path, (long long)format, RAW_FORMAT);
	int64_t events = sqlite3_column_int64(c->statement, 1);
	raw->first_event = sqlite3_column_int64(c->statement, 0);
	raw->bytes = sqlite3_column_blob(c->statement, 3);
	raw->length = (size_t)sqlite3_column_bytes(c->statement, 3);
	if (raw->first_event < 0 || events < 1 || events > RAW_EVENTS_MAX || !raw->bytes)
		return err_set(err,
			       "trace \"%s\" is damaged: a block of raw events makes no sense",
			       c->trace->path);
	raw->events = (uint32_t)events;
	return 1;
}

void trace_raw_close(struct trace_raw_cursor *c)
{
	if (!c)
		return;
	sqlite3_finalize(c->statement);
	free(c);
}
