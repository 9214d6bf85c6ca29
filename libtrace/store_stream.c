/* SPDX-License-Identifier: MIT */
#include "libtrace/store.h"

#include <stdlib.h>

struct trace_stream {
	struct trace *trace;
	sqlite3_stmt *rows;
	enum column need_column;
	bool alone; /* the transaction is ours */
	bool ended;
	uint64_t requests;
	char **route;
	size_t routes;
	int64_t id[TRACE_PART_MAX], arrival_ns[TRACE_PART_MAX], service_ns[TRACE_PART_MAX];
	uint64_t need_bytes[TRACE_PART_MAX];
	uint32_t route_index[TRACE_PART_MAX];
};

static const char rows_in_order[] =
	"SELECT request.id, start_ns, end_ns - start_ns, need_bump_bytes, need_reuse_bytes,"
	" route.id FROM request JOIN route ON route.name = request.route"
	" ORDER BY start_ns, request.id";

static int begin(struct trace_stream *s, struct err *err)
{
	struct trace *t = s->trace;
	int64_t count;
	/* One transaction: what a recorder still adds is not for this reader. */
	s->alone = !t->in_transaction;
	if (s->alone && store_run(t, "BEGIN", "reading", err) != 0) {
		s->alone = false;
		return -1;
	}
	if (store_routes(t, &s->route, &s->routes, err) != 0 ||
	    store_query_int(t, "SELECT count(*) FROM request", &count, err) != 0)
		return -1;
	s->requests = (uint64_t)count;
	if (sqlite3_prepare_v2(t->db, rows_in_order, -1, &s->rows, NULL) != SQLITE_OK)
		return store_err(t, err, "reading its requests");
	return 0;
}

int trace_stream_open(struct trace *t, enum arena_policy policy, struct trace_stream **stream,
		      struct err *err)
{
	struct trace_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	s->trace = t;
	s->need_column = policy == ARENA_BUMP ? COLUMN_NEED_BUMP : COLUMN_NEED_REUSE;
	if (begin(s, err) != 0) {
		trace_stream_close(s);
		return -1;
	}
	*stream = s;
	return 0;
}

uint64_t trace_stream_requests(const struct trace_stream *s)
{
	return s->requests;
}

int trace_stream_next(struct trace_stream *s, struct trace_part *part, struct err *err)
{
	size_t n = 0;
	int rc = s->ended ? SQLITE_DONE : SQLITE_ROW;
	while (!s->ended && n < TRACE_PART_MAX && (rc = sqlite3_step(s->rows)) == SQLITE_ROW) {
		int64_t value[COLUMN_COUNT];
		if (store_row_values(s->rows, value) != 0 || value[COLUMN_ROUTE] < 1 ||
		    value[COLUMN_ROUTE] > (int64_t)s->routes)
			return err_set(err,
				       "trace \"%s\" is damaged: a request of it makes"
				       " no sense",
				       s->trace->path);
		s->id[n] = sqlite3_column_int64(s->rows, 0);
		s->arrival_ns[n] = value[COLUMN_START];
		s->service_ns[n] = value[COLUMN_SERVICE];
		s->need_bytes[n] = (uint64_t)value[s->need_column];
		s->route_index[n] = (uint32_t)(value[COLUMN_ROUTE] - 1);
		n++;
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return store_err(s->trace, err, "reading its requests");
	s->ended = rc == SQLITE_DONE; /* a further step would begin anew */
	*part = (struct trace_part){.count = n,
				    .id = s->id,
				    .arrival_ns = s->arrival_ns,
				    .service_ns = s->service_ns,
				    .need_bytes = s->need_bytes,
				    .route_index = s->route_index,
				    .route_count = s->routes,
				    .route = s->route};
	return n > 0;
}

void trace_stream_close(struct trace_stream *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->rows);
	if (s->alone)
		sqlite3_exec(s->trace->db, "ROLLBACK", NULL, NULL, NULL);
	store_routes_release(s->route, s->routes);
	free(s);
}
