/* SPDX-License-Identifier: MIT */
/* Requests, row by row. */
#include "libtrace/store/store_blocks.h"

#include <stdlib.h>
#include <string.h>

enum { CACHED = 256 };

enum cursor_kind { BY_START, BY_ID, REMARKABLE, AFTER };

struct trace_cursor {
	struct trace *trace;
	enum cursor_kind kind;
	int64_t stack_above_bytes; /* AFTER: the id */
	struct order order;        /* BY_START */
	struct blocks blocks;      /* the others, with the block at hand */
	struct block block;
	uint32_t row;
	bool reading; /* it holds a transaction */
	char **route;
	size_t routes;
	sqlite3_stmt *string;
	struct cached {
		int64_t id; /* 0: none */
		struct str text;
	} cache[TEXT_COUNT][CACHED];
};

static int cursor_open(struct trace_cursor *c, struct err *err)
{
	static const char string[] = "SELECT text FROM string WHERE id = ?";
	struct trace *t = c->trace;
	if (store_read_begin(t, err) != 0)
		return -1;
	c->reading = true;
	if (sqlite3_prepare_v2(t->db, string, -1, &c->string, NULL) != SQLITE_OK)
		return store_err(t, err, "reading its requests");
	if (store_routes(t, &c->route, &c->routes, err) != 0)
		return -1;
	return c->kind == BY_START ? order_open(&c->order, t, err)
				   : blocks_open(&c->blocks, t, err);
}

static int cursor_new(struct trace *t, enum cursor_kind kind, int64_t stack_above_bytes,
		      struct trace_cursor **cursor, struct err *err)
{
	struct trace_cursor *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	c->trace = t;
	c->kind = kind;
	c->stack_above_bytes = stack_above_bytes;
	if (cursor_open(c, err) != 0) {
		trace_cursor_close(c);
		return -1;
	}
	*cursor = c;
	return 0;
}

int trace_requests(struct trace *t, struct trace_cursor **cursor, struct err *err)
{
	return cursor_new(t, BY_START, 0, cursor, err);
}

int trace_requests_stored(struct trace *t, struct trace_cursor **cursor, struct err *err)
{
	return cursor_new(t, BY_ID, 0, cursor, err);
}

int trace_requests_after(struct trace *t, int64_t id, struct trace_cursor **cursor,
			 struct err *err)
{
	return cursor_new(t, AFTER, id, cursor, err);
}

int trace_remarkable(struct trace *t, int64_t stack_above_bytes, struct trace_cursor **cursor,
		     struct err *err)
{
	return cursor_new(t, REMARKABLE, stack_above_bytes, cursor, err);
}

/* -- texts --------------------------------------------------------------- */

static int read_text(struct trace_cursor *c, enum store_text which, int64_t id,
		     struct str *text, struct err *err)
{
	struct cached *cached = &c->cache[which][id % CACHED];
	if (cached->id != id) {
		sqlite3_bind_int64(c->string, 1, id);
		if (sqlite3_step(c->string) != SQLITE_ROW) {
			sqlite3_reset(c->string);
			return blocks_damaged(c->trace, err);
		}
		const char *bytes = (const char *)sqlite3_column_text(c->string, 0);
		size_t length = (size_t)sqlite3_column_bytes(c->string, 0);
		char *copy = malloc(length + 1);
		if (copy && length > 0 && bytes)
			memcpy(copy, bytes, length);
		sqlite3_reset(c->string);
		if (!copy)
			return err_set(err, "out of memory reading \"%s\"", c->trace->path);
		copy[length] = '\0';
		free((char *)(uintptr_t)cached->text.bytes);
		*cached = (struct cached){id, {copy, length}};
	}
	*text = cached->text;
	return 0;
}

/* -- rows ---------------------------------------------------------------- */

static bool is_remarkable(const struct trace_cursor *c, const int64_t *value)
{
	return value[ROW_STACK_PEAK] > c->stack_above_bytes || value[ROW_ESCAPES] > 0 ||
	       value[ROW_INCOMPLETE] != 0 || value[ROW_CONFIDENCE] == TRACE_AMBIGUOUS;
}

static bool may_be_remarkable(const struct trace_cursor *c)
{
	const struct batch *rows = &c->block.rows;
	return batch_above(rows, ROW_STACK_PEAK, c->stack_above_bytes) ||
	       batch_above(rows, ROW_ESCAPES, 0) || batch_above(rows, ROW_INCOMPLETE, 0) ||
	       batch_above(rows, ROW_CONFIDENCE, TRACE_AMBIGUOUS - 1);
}

static bool passed_over(const struct trace_cursor *c)
{
	if (c->kind == AFTER)
		return c->block.first_id + c->block.rows.count <= c->stack_above_bytes + 1;
	return c->kind == REMARKABLE && !may_be_remarkable(c);
}

/* The next block with something for us. */
static int next_block(struct trace_cursor *c, struct err *err)
{
	int got;
	do
		got = blocks_next(&c->blocks, &c->block, err);
	while (got == 1 && passed_over(c));
	c->row = 0;
	return got == 1 && blocks_digits(&c->blocks, &c->block, err) != 0 ? -1 : got;
}

static int next_values(struct trace_cursor *c, int64_t *id, int64_t value[ROW_COLUMNS],
		       struct err *err)
{
	const struct block *block = &c->block;
	uint32_t row;
	int64_t start_ns;
	int got = 1;
	do {
		if (c->kind == BY_START) {
			got = order_next(&c->order, &block, &row, &start_ns, err);
		} else {
			if (c->row == c->block.rows.count)
				got = next_block(c, err);
			row = c->row;
			c->row += got == 1;
		}
		if (got != 1) {
			c->block.rows.count = c->row = 0;
			return got;
		}
		if (batch_row(&block->rows, row, value) != 0)
			return blocks_damaged(c->trace, err);
	} while ((c->kind == REMARKABLE && !is_remarkable(c, value)) ||
		 (c->kind == AFTER && block->first_id + row <= c->stack_above_bytes));
	*id = block->first_id + row;
	return 1;
}

static int fill(struct trace_cursor *c, const int64_t *value, struct trace_request *r,
		struct err *err)
{
	struct trace *t = c->trace;
	int64_t end_ns;
	if (value[ROW_START] < 0 || value[ROW_SERVICE] < 0 ||
	    __builtin_add_overflow(value[ROW_START], value[ROW_SERVICE], &end_ns) ||
	    value[ROW_ROUTE] < 1 || value[ROW_ROUTE] > (int64_t)c->routes ||
	    value[ROW_METHOD] < 1 || value[ROW_TARGET] < 1 || value[ROW_ENDED_BY] < 1 ||
	    value[ROW_CONFIDENCE] < TRACE_EXACT || value[ROW_CONFIDENCE] > TRACE_AMBIGUOUS)
		return blocks_damaged(t, err);
	*r = (struct trace_request){
		.process = value[ROW_PROCESS],
		.connection = value[ROW_CONNECTION],
		.sequence = value[ROW_SEQUENCE],
		.start_ns = value[ROW_START],
		.end_ns = end_ns,
		.cpu_ns = value[ROW_CPU],
		.route = str_of(c->route[value[ROW_ROUTE] - 1]),
		.status = (int)value[ROW_STATUS],
		.bytes_in = value[ROW_BYTES_IN],
		.bytes_out = value[ROW_BYTES_OUT],
		.allocations = value[ROW_ALLOCATIONS],
		.frees = value[ROW_FREES],
		.reallocations = value[ROW_REALLOCATIONS],
		.requested_bytes = value[ROW_REQUESTED_BYTES],
		.need_bump_bytes = value[ROW_NEED_BUMP],
		.need_reuse_bytes = value[ROW_NEED_REUSE],
		.live_peak_bytes = value[ROW_LIVE_PEAK],
		.largest_bytes = value[ROW_LARGEST],
		.escapes = value[ROW_ESCAPES],
		.escaped_bytes = value[ROW_ESCAPED_BYTES],
		.foreign_frees = value[ROW_FOREIGN_FREES],
		.stack_peak_bytes = value[ROW_STACK_PEAK],
		.confidence = (enum trace_confidence)value[ROW_CONFIDENCE],
		.incomplete = value[ROW_INCOMPLETE] != 0,
	};
	return read_text(c, TEXT_METHOD, value[ROW_METHOD], &r->method, err) == 0 &&
			       read_text(c, TEXT_TARGET, value[ROW_TARGET], &r->target, err) ==
				       0 &&
			       read_text(c, TEXT_ENDED_BY, value[ROW_ENDED_BY], &r->ended_by,
					 err) == 0
		       ? 1
		       : -1;
}

int store_next(struct trace_cursor *c, struct trace_request *r, int64_t *first_event,
	       int64_t *events, struct err *err)
{
	int64_t value[ROW_COLUMNS], id = 0;
	int got = next_values(c, &id, value, err);
	if (got == 1)
		got = fill(c, value, r, err);
	if (got == 1) {
		r->id = id;
		*first_event = value[ROW_FIRST_EVENT];
		*events = value[ROW_EVENTS];
	}
	return got;
}

int trace_next(struct trace_cursor *c, struct trace_request *r, struct err *err)
{
	int64_t first_event, events;
	return store_next(c, r, &first_event, &events, err);
}

void trace_cursor_close(struct trace_cursor *c)
{
	if (!c)
		return;
	sqlite3_finalize(c->string);
	order_close(&c->order);
	blocks_close(&c->blocks);
	block_release(&c->block);
	store_routes_release(c->route, c->routes);
	for (int which = 0; which < TEXT_COUNT; which++)
		for (int i = 0; i < CACHED; i++)
			free((char *)(uintptr_t)c->cache[which][i].text.bytes);
	if (c->reading)
		store_read_end(c->trace);
	free(c);
}
