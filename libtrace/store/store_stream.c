/* SPDX-License-Identifier: MIT */
/* Requests as columns: all of them at once, or in parts. */
#include "libtrace/store/store_blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- in parts ------------------------------------------------------------ */

struct trace_stream {
	struct trace *trace;
	struct order order;
	enum batch_column need;
	bool reading; /* it holds a transaction */
	uint64_t requests;
	char **route;
	size_t routes;
	int64_t id[TRACE_PART_MAX], arrival_ns[TRACE_PART_MAX], service_ns[TRACE_PART_MAX];
	int64_t need_bytes[TRACE_PART_MAX];
	uint32_t route_index[TRACE_PART_MAX];
};

static enum batch_column need_of(enum arena_policy policy)
{
	return policy == ARENA_BUMP ? ROW_NEED_BUMP : ROW_NEED_REUSE;
}

static int begin(struct trace_stream *s, struct err *err)
{
	struct trace *t = s->trace;
	int64_t count;
	if (store_read_begin(t, err) != 0)
		return -1;
	s->reading = true;
	if (store_routes(t, &s->route, &s->routes, err) != 0 ||
	    store_query_int(t, "SELECT sum(count) FROM request_block", &count, err) != 0)
		return -1;
	s->requests = count > 0 ? (uint64_t)count : 0;
	return order_open(&s->order, t, err);
}

int trace_stream_open(struct trace *t, enum arena_policy policy, struct trace_stream **stream,
		      struct err *err)
{
	struct trace_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	s->trace = t;
	s->need = need_of(policy);
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
	int got = 1;
	while (n < TRACE_PART_MAX) {
		const struct block *block;
		uint32_t row;
		int64_t route;
		got = order_next(&s->order, &block, &row, &s->arrival_ns[n], err);
		if (got != 1)
			break;
		if (batch_column(&block->rows, ROW_SERVICE, row, 1, &s->service_ns[n]) != 0 ||
		    batch_column(&block->rows, s->need, row, 1, &s->need_bytes[n]) != 0 ||
		    batch_column(&block->rows, ROW_ROUTE, row, 1, &route) != 0 ||
		    (s->arrival_ns[n] | s->service_ns[n] | s->need_bytes[n]) < 0 || route < 1 ||
		    route > (int64_t)s->routes)
			return blocks_damaged(s->trace, err);
		s->id[n] = block->first_id + row;
		s->route_index[n++] = (uint32_t)(route - 1);
	}
	*part = (struct trace_part){.count = n,
				    .id = s->id,
				    .arrival_ns = s->arrival_ns,
				    .service_ns = s->service_ns,
				    .need_bytes = (const uint64_t *)s->need_bytes,
				    .route_index = s->route_index,
				    .route_count = s->routes,
				    .route = s->route};
	return got < 0 ? -1 : n > 0;
}

void trace_stream_close(struct trace_stream *s)
{
	if (!s)
		return;
	order_close(&s->order);
	store_routes_release(s->route, s->routes);
	if (s->reading)
		store_read_end(s->trace);
	free(s);
}

/* -- all at once --------------------------------------------------------- */

struct load {
	struct trace *trace;
	struct trace_columns *columns;
	enum arena_policy policy;
	size_t filled;
	struct sha256_ctx sha;
	struct chunk chunk;
};

static void end_chunk(struct load *l)
{
	unsigned char digest[SHA256_DIGEST_SIZE];
	if (l->chunk.count == 0)
		return;
	chunk_digest(&l->chunk, digest);
	sha256_update(&l->sha, sizeof(digest), digest);
	l->chunk.count = 0;
}

/* Rows [from, from + count) of a block, which the open chunk has room for. */
static int load_rows(struct load *l, const struct block *block, uint32_t from, uint32_t count)
{
	static const enum batch_column row_of[COLUMN_COUNT] = {
		[COLUMN_START] = ROW_START,         [COLUMN_SERVICE] = ROW_SERVICE,
		[COLUMN_NEED_BUMP] = ROW_NEED_BUMP, [COLUMN_NEED_REUSE] = ROW_NEED_REUSE,
		[COLUMN_ROUTE] = ROW_ROUTE,
	};
	struct trace_columns *columns = l->columns;
	size_t at = l->filled, bytes = count * sizeof(int64_t);
	int64_t *value[COLUMN_COUNT];
	for (int c = 0; c < COLUMN_COUNT; c++) {
		value[c] = l->chunk.value[c] + l->chunk.count;
		if (batch_column(&block->rows, row_of[c], from, count, value[c]) != 0)
			return -1;
	}
	memcpy(columns->arrival_ns + at, value[COLUMN_START], bytes);
	memcpy(columns->service_ns + at, value[COLUMN_SERVICE], bytes);
	memcpy(columns->need_bytes + at,
	       value[l->policy == ARENA_BUMP ? COLUMN_NEED_BUMP : COLUMN_NEED_REUSE], bytes);
	const int64_t *route = value[COLUMN_ROUTE];
	uint64_t bad = 0; /* its sign bit: something is negative or names no route */
	for (size_t i = 0; i < count; i++) {
		columns->id[at + i] = block->first_id + from + (int64_t)i;
		columns->route_index[at + i] = (uint32_t)(route[i] - 1);
		bad |= (uint64_t)(columns->arrival_ns[at + i] | columns->service_ns[at + i] |
				  (int64_t)columns->need_bytes[at + i] | (route[i] - 1) |
				  ((int64_t)columns->route_count - route[i]));
	}
	l->filled += count;
	l->chunk.count += count;
	return (int64_t)bad < 0 ? -1 : 0;
}

static int load_block(struct load *l, const struct block *block)
{
	uint32_t count = block->rows.count;
	if (count > l->columns->count - l->filled)
		return -1;
	for (uint32_t from = 0, some; from < count; from += some) {
		size_t room = COLUMNS_CHUNK - l->chunk.count;
		some = count - from < room ? count - from : (uint32_t)room;
		if (load_rows(l, block, from, some) != 0)
			return -1;
		if (l->chunk.count == COLUMNS_CHUNK)
			end_chunk(l);
	}
	return 0;
}

static int load_blocks(struct load *l, struct err *err)
{
	struct blocks blocks;
	struct block block = {0};
	int got;
	if (blocks_open(&blocks, l->trace, err) != 0) {
		blocks_close(&blocks);
		return -1;
	}
	while ((got = blocks_next(&blocks, &block, err)) == 1)
		if (blocks_digits(&blocks, &block, err) != 0 || load_block(l, &block) != 0) {
			got = blocks_damaged(l->trace, err);
			break;
		}
	block_release(&block);
	blocks_close(&blocks);
	end_chunk(l);
	if (got == 0 && l->filled != l->columns->count)
		got = blocks_damaged(l->trace, err);
	return got;
}

static int load_columns(struct load *l, struct err *err)
{
	struct trace *t = l->trace;
	struct trace_columns *columns = l->columns;
	int64_t count;
	if (store_query_int(t, "SELECT sum(count) FROM request_block", &count, err) != 0)
		return -1;
	if (count < 0 || count > UINT32_MAX)
		return blocks_damaged(t, err);
	if (columns_init(columns, (size_t)count) != 0)
		return err_set(err, "out of memory for the %lld requests of \"%s\"",
			       (long long)count, t->path);
	if (store_routes(t, &columns->route, &columns->route_count, err) != 0)
		return -1;
	sha256_init(&l->sha);
	if (load_blocks(l, err) != 0)
		return -1;
	struct sha256_ctx routes;
	unsigned char digest[SHA256_DIGEST_SIZE];
	sha256_init(&routes);
	for (size_t i = 0; i < columns->route_count; i++)
		sha256_update(&routes, strlen(columns->route[i]) + 1,
			      (const uint8_t *)columns->route[i]);
	sha256_digest(&routes, SHA256_DIGEST_SIZE, digest);
	sha256_update(&l->sha, sizeof(digest), digest);
	sha256_digest(&l->sha, SHA256_DIGEST_SIZE, digest);
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
	struct load *l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, "out of memory reading \"%s\"", t->path);
	l->trace = t;
	l->policy = policy;
	l->columns = columns;
	int rc = store_read_begin(t, err);
	if (rc == 0) {
		rc = load_columns(l, err);
		store_read_end(t);
	}
	free(l);
	if (rc != 0)
		trace_columns_release(columns);
	return rc;
}
