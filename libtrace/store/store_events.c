/* SPDX-License-Identifier: MIT */
/*
 * A loadable extension of SQLite: the events of a request as rows.
 *
 *	SELECT * FROM pail_events(7)
 *	SELECT route, kind, size FROM request, pail_events(request.id)
 *
 * An eponymous virtual table with the hidden column `request`, which must be
 * given: without it every event of the trace would have to be unpacked to no
 * end. It reads `request_block` and `event_block` of the schema it is asked in, and
 * changes nothing. pail-trace(5) has the columns.
 *
 * The library stands alone: this file, pack.c and what they need of base.
 */
#include "base/replay.h"
#include "libtrace/store/pack.h"
#include "libtrace/store/batch_sql.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1

enum { EVENTS_PER_BLOCK_MAX = 65536 };

enum column {
	COLUMN_POSITION,
	COLUMN_KIND,
	COLUMN_SLOT,
	COLUMN_SIZE,
	COLUMN_ALIGN,
	COLUMN_REQUEST
};

struct table {
	sqlite3_vtab base;
	sqlite3 *db;
	char *schema;
};

struct cursor {
	sqlite3_vtab_cursor base;
	sqlite3_stmt *blocks; /* from the one with the request's first event on */
	int64_t request, first, count, at;
	struct replay_op *ops; /* of the block that is unpacked */
	int64_t block_first, block_count;
};

static int failed(struct table *t, const char *what)
{
	sqlite3_free(t->base.zErrMsg);
	t->base.zErrMsg = sqlite3_mprintf("pail_events: %s", what);
	return SQLITE_ERROR;
}

static int connect_table(sqlite3 *db, void *aux, int argc, const char *const *argv,
			 sqlite3_vtab **table, char **message)
{
	(void)aux, (void)argc, (void)message;
	int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(position INTEGER, kind TEXT,"
					  " slot INTEGER, size INTEGER, align INTEGER,"
					  " request INTEGER HIDDEN)");
	if (rc != SQLITE_OK)
		return rc;
	struct table *t = sqlite3_malloc(sizeof(*t));
	if (!t)
		return SQLITE_NOMEM;
	*t = (struct table){.db = db, .schema = sqlite3_mprintf("%s", argv[1])};
	if (!t->schema) {
		sqlite3_free(t);
		return SQLITE_NOMEM;
	}
	*table = &t->base;
	return SQLITE_OK;
}

static int disconnect_table(sqlite3_vtab *table)
{
	struct table *t = (struct table *)table;
	sqlite3_free(t->schema);
	sqlite3_free(t);
	return SQLITE_OK;
}

static int best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
	(void)table;
	for (int i = 0; i < info->nConstraint; i++) {
		if (info->aConstraint[i].iColumn != COLUMN_REQUEST ||
		    info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ)
			continue;
		if (!info->aConstraint[i].usable)
			return SQLITE_CONSTRAINT;
		info->aConstraintUsage[i].argvIndex = 1;
		info->aConstraintUsage[i].omit = 1;
		info->idxNum = 1;
		info->estimatedCost = 100;
		info->estimatedRows = 100;
		/* Rows come in the order of their position. */
		info->orderByConsumed = info->nOrderBy == 1 &&
					info->aOrderBy[0].iColumn == COLUMN_POSITION &&
					!info->aOrderBy[0].desc;
		return SQLITE_OK;
	}
	info->idxNum = 0;
	info->estimatedCost = 1e12;
	return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
	(void)table;
	struct cursor *c = sqlite3_malloc(sizeof(*c));
	if (!c)
		return SQLITE_NOMEM;
	*c = (struct cursor){0};
	*cursor = &c->base;
	return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
	struct cursor *c = (struct cursor *)cursor;
	sqlite3_finalize(c->blocks);
	free(c->ops);
	sqlite3_free(c);
	return SQLITE_OK;
}

static int prepare(struct table *t, const char *format, sqlite3_stmt **s)
{
	char *sql = sqlite3_mprintf(format, t->schema, t->schema);
	int rc = sql ? sqlite3_prepare_v2(t->db, sql, -1, s, NULL) : SQLITE_NOMEM;
	sqlite3_free(sql);
	return rc == SQLITE_ERROR ? failed(t, "this database is not a trace of pail") : rc;
}

/* Unpacks the block that c->at is in, when it is not the one that is there. */
static int load(struct cursor *c)
{
	struct table *t = (struct table *)c->base.pVtab;
	if (c->at >= c->count || c->first + c->at < c->block_first + c->block_count)
		return SQLITE_OK;
	int rc = sqlite3_step(c->blocks);
	if (rc != SQLITE_ROW)
		return rc == SQLITE_DONE ? failed(t, "the events of this request are missing")
					 : rc;
	int64_t first = sqlite3_column_int64(c->blocks, 0);
	int64_t count = sqlite3_column_int64(c->blocks, 1), wanted = c->first + c->at;
	const void *bytes = sqlite3_column_blob(c->blocks, 2);
	if (!bytes || count < 1 || count > EVENTS_PER_BLOCK_MAX || first < 0 ||
	    first > wanted || wanted - first >= count)
		return failed(t, "the events of this request are missing");
	if (!c->ops && !(c->ops = malloc(EVENTS_PER_BLOCK_MAX * sizeof(*c->ops))))
		return SQLITE_NOMEM;
	if (unpack_ops(bytes, (size_t)sqlite3_column_bytes(c->blocks, 2), c->ops,
		       (size_t)count) != 0)
		return failed(t, "a block of events is damaged");
	c->block_first = first;
	c->block_count = count;
	return SQLITE_OK;
}

/* Where the request's events are: c->first, c->count. */
static int find_events(struct cursor *c, sqlite3_value *request)
{
	struct table *t = (struct table *)c->base.pVtab;
	sqlite3_stmt *s = NULL;
	/* Not out of the view, which would go through all of them. */
	static const char sql[] = "SELECT nullif(" BATCH_SQL_STEPPED(
		"first_event") ", -1),"
			       " " BATCH_SQL_VALUE(
				       "events") " FROM (SELECT *, ?1 - first_id AS n FROM \"%w\".request_digits"
						 "  WHERE first_id <= ?1 ORDER BY first_id DESC LIMIT 1) AS d,"
						 " (SELECT * FROM \"%w\".request_block WHERE first_id <= ?1"
						 "  ORDER BY first_id DESC LIMIT 1) AS b WHERE ?1 < b.first_id + b.count";
	if (sqlite3_value_numeric_type(request) != SQLITE_INTEGER)
		return SQLITE_OK;
	int rc = prepare(t, sql, &s);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(s, 1, sqlite3_value_int64(request));
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW && sqlite3_column_type(s, 0) == SQLITE_INTEGER) {
		c->request = sqlite3_value_int64(request);
		c->first = sqlite3_column_int64(s, 0);
		c->count = sqlite3_column_int64(s, 1);
	}
	sqlite3_finalize(s);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return rc;
	if (c->first < 0 || c->count < 0 || c->first > INT64_MAX - c->count)
		return failed(t, "the events of this request are missing");
	return SQLITE_OK;
}

static int filter(sqlite3_vtab_cursor *cursor, int index, const char *name, int argc,
		  sqlite3_value **argv)
{
	(void)name, (void)argc;
	struct cursor *c = (struct cursor *)cursor;
	struct table *t = (struct table *)c->base.pVtab;
	sqlite3_finalize(c->blocks);
	c->blocks = NULL;
	c->first = c->count = c->at = c->block_first = c->block_count = 0;
	if (index != 1)
		return failed(t, "give the request: pail_events(ID)");
	int rc = find_events(c, argv[0]);
	if (rc != SQLITE_OK || c->count == 0)
		return rc;
	rc = prepare(t,
		     "SELECT first_event, count, ops FROM \"%w\".event_block"
		     " WHERE first_event < ?2 AND first_event >="
		     " (SELECT max(first_event) FROM \"%w\".event_block"
		     "  WHERE first_event <= ?1)"
		     " ORDER BY first_event",
		     &c->blocks);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(c->blocks, 1, c->first);
	sqlite3_bind_int64(c->blocks, 2, c->first + c->count);
	return load(c);
}

static int next_row(sqlite3_vtab_cursor *cursor)
{
	struct cursor *c = (struct cursor *)cursor;
	c->at++;
	return load(c);
}

static int at_end(sqlite3_vtab_cursor *cursor)
{
	struct cursor *c = (struct cursor *)cursor;
	return c->at >= c->count;
}

static int column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int which)
{
	static const char *const kinds[] = {"alloc", "free", "realloc"};
	struct cursor *c = (struct cursor *)cursor;
	const struct replay_op *op = &c->ops[c->first + c->at - c->block_first];
	switch (which) {
	case COLUMN_POSITION: sqlite3_result_int64(context, c->at + 1); break;
	case COLUMN_KIND:
		sqlite3_result_text(context, kinds[op->kind], -1, SQLITE_STATIC);
		break;
	case COLUMN_SLOT: sqlite3_result_int64(context, op->slot); break;
	case COLUMN_SIZE:
		if (op->kind == REPLAY_FREE)
			sqlite3_result_null(context);
		else
			sqlite3_result_int64(context, (int64_t)op->size_bytes);
		break;
	case COLUMN_ALIGN:
		if (op->align_log2 == 0)
			sqlite3_result_null(context);
		else
			sqlite3_result_int64(context, (int64_t)(UINT64_C(1) << op->align_log2));
		break;
	default: sqlite3_result_int64(context, c->request);
	}
	return SQLITE_OK;
}

static int row_id(sqlite3_vtab_cursor *cursor, sqlite3_int64 *id)
{
	*id = ((struct cursor *)cursor)->at + 1;
	return SQLITE_OK;
}

/* No xCreate: it is there without CREATE VIRTUAL TABLE, and only so. */
static const sqlite3_module module = {
	.iVersion = 0,
	.xConnect = connect_table,
	.xBestIndex = best_index,
	.xDisconnect = disconnect_table,
	.xOpen = open_cursor,
	.xClose = close_cursor,
	.xFilter = filter,
	.xNext = next_row,
	.xEof = at_end,
	.xColumn = column,
	.xRowid = row_id,
};

/* The name that SQLite makes of pail_events.so. */
int sqlite3_pailevents_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

__attribute__((visibility("default"))) int
sqlite3_pailevents_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
	(void)message;
	SQLITE_EXTENSION_INIT2(api);
	return sqlite3_create_module_v2(db, "pail_events", &module, NULL, NULL);
}
