/* SPDX-License-Identifier: MIT */
#include "libtrace/store/store_blocks.h"

#include <stdlib.h>
#include <string.h>

/* -- blocks -------------------------------------------------------------- */

void block_release(struct block *block)
{
	free(block->rows.digits);
	memset(block, 0, sizeof(*block));
}

int blocks_damaged(struct trace *t, struct err *err)
{
	return err_set(err, "trace \"%s\" is damaged: its blocks of requests make no sense",
		       t->path);
}

int blocks_open(struct blocks *b, struct trace *t, struct err *err)
{
	static const char all[] = "SELECT * FROM request_block ORDER BY first_id";
	static const char one[] = "SELECT * FROM request_block WHERE first_id <= ?"
				  " ORDER BY first_id DESC LIMIT 1";
	static const char digits[] = "SELECT first_id, digits FROM request_digits"
				     " WHERE first_id >= ? AND first_id < ? ORDER BY first_id";
	*b = (struct blocks){.trace = t};
	if (sqlite3_prepare_v2(t->db, all, -1, &b->all, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(t->db, one, -1, &b->one, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(t->db, digits, -1, &b->digits, NULL) != SQLITE_OK)
		return store_err(t, err, "reading its requests");
	/* What is not ours may have other columns. */
	int columns = 3;
	for (int c = 0; c < ROW_COLUMNS; c++)
		columns += batch_grows((enum batch_column)c) ? 4 : 3;
	return sqlite3_column_count(b->all) == columns ? 0 : blocks_damaged(t, err);
}

void blocks_close(struct blocks *b)
{
	sqlite3_finalize(b->all);
	sqlite3_finalize(b->one);
	sqlite3_finalize(b->digits);
	memset(b, 0, sizeof(*b));
}

static uint32_t column_small(sqlite3_stmt *s, int column)
{
	int64_t value = sqlite3_column_int64(s, column);
	return value < 0 || value > INT32_MAX ? INT32_MAX : (uint32_t)value;
}

static int read_head(struct blocks *b, sqlite3_stmt *s, struct block *block, struct err *err)
{
	int at = 0;
	block->first_id = sqlite3_column_int64(s, at++);
	block->rows.count = column_small(s, at++);
	for (int c = 0; c < ROW_COLUMNS; c++) {
		struct batch_head *head = &block->rows.column[c];
		head->base = sqlite3_column_int64(s, at++);
		head->step =
			batch_grows((enum batch_column)c) ? sqlite3_column_int64(s, at++) : 0;
		head->at = column_small(s, at++);
		head->digits = column_small(s, at++);
	}
	block->rows.bytes = column_small(s, at);
	if (block->first_id < 1 || block->first_id > INT64_MAX - BATCH_MAX ||
	    batch_check(&block->rows) != 0)
		return blocks_damaged(b->trace, err);
	return 1;
}

int blocks_next(struct blocks *b, struct block *block, struct err *err)
{
	int rc = sqlite3_step(b->all);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc != SQLITE_ROW)
		return store_err(b->trace, err, "reading its requests");
	return read_head(b, b->all, block, err);
}

int blocks_find(struct blocks *b, int64_t id, struct block *block, struct err *err)
{
	sqlite3_bind_int64(b->one, 1, id);
	int rc = sqlite3_step(b->one), got = 0;
	if (rc == SQLITE_ROW)
		got = read_head(b, b->one, block, err);
	else if (rc != SQLITE_DONE)
		got = store_err(b->trace, err, "reading its requests");
	sqlite3_reset(b->one);
	return got == 1 ? id < block->first_id + block->rows.count : got;
}

static int take_digits(struct blocks *b, struct block *block, struct err *err)
{
	uint32_t bytes = block->rows.bytes, rows = 0;
	int rc = SQLITE_DONE;
	while (rows < block->rows.count && (rc = sqlite3_step(b->digits)) == SQLITE_ROW) {
		uint32_t left = block->rows.count - rows,
			 wanted = left < BATCH_GROUP ? left : BATCH_GROUP;
		const void *digits = sqlite3_column_blob(b->digits, 1);
		if (sqlite3_column_int64(b->digits, 0) != block->first_id + rows ||
		    sqlite3_column_bytes(b->digits, 1) != (int)(wanted * bytes))
			return blocks_damaged(b->trace, err);
		if (wanted * bytes > 0)
			memcpy(block->rows.digits + (size_t)rows * bytes, digits,
			       (size_t)wanted * bytes);
		rows += wanted;
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return store_err(b->trace, err, "reading its requests");
	return rows == block->rows.count ? 0 : blocks_damaged(b->trace, err);
}

int blocks_digits(struct blocks *b, struct block *block, struct err *err)
{
	size_t wanted = (size_t)block->rows.count * block->rows.bytes + 1;
	if (wanted > block->room) {
		unsigned char *grown = realloc(block->rows.digits, wanted);
		if (!grown)
			return err_set(err, "out of memory reading \"%s\"", b->trace->path);
		block->rows.digits = grown;
		block->room = wanted;
	}
	sqlite3_bind_int64(b->digits, 1, block->first_id);
	sqlite3_bind_int64(b->digits, 2, block->first_id + block->rows.count);
	int rc = take_digits(b, block, err);
	sqlite3_reset(b->digits);
	return rc;
}

/* -- in order of start --------------------------------------------------- */

struct open_block {
	struct block block;
	struct open_block *next; /* spare */
	uint32_t at;
	uint16_t row[BATCH_MAX]; /* by start */
	int64_t start_ns[BATCH_MAX];
};

static int by_start(const void *a, const void *b)
{
	const struct order_item *left = a, *right = b;
	if (left->start_ns != right->start_ns)
		return left->start_ns < right->start_ns ? -1 : 1;
	return left->first_id < right->first_id ? -1 : left->first_id > right->first_id;
}

static int make_index(struct order *o, struct err *err)
{
	struct block block = {0};
	int got;
	while ((got = blocks_next(&o->blocks, &block, err)) == 1) {
		if ((o->count & (o->count - 1)) == 0) { /* room is the next power of two */
			size_t room = o->count > 0 ? o->count * 2 : 1;
			struct order_item *grown = reallocarray(o->index, room, sizeof(*grown));
			if (!grown)
				return err_set(err, "out of memory reading \"%s\"",
					       o->blocks.trace->path);
			o->index = grown;
		}
		o->index[o->count++] =
			(struct order_item){block.rows.column[ROW_START].base, block.first_id};
	}
	if (got == 0 && o->count > 0)
		qsort(o->index, o->count, sizeof(*o->index), by_start);
	return got;
}

int order_open(struct order *o, struct trace *t, struct err *err)
{
	*o = (struct order){0};
	return blocks_open(&o->blocks, t, err) == 0 ? make_index(o, err) : -1;
}

static void open_free(struct open_block *open)
{
	if (open)
		block_release(&open->block);
	free(open);
}

void order_close(struct order *o)
{
	for (size_t i = 0; i < o->open; i++)
		open_free(o->heap[i]);
	for (struct open_block *spare = o->spare, *next; spare; spare = next) {
		next = spare->next;
		open_free(spare);
	}
	free(o->heap);
	free(o->index);
	blocks_close(&o->blocks);
	memset(o, 0, sizeof(*o));
}

/* Rows come nearly in order: a simple insertion. */
static void sort_rows(struct open_block *open)
{
	for (uint32_t i = 0; i < open->block.rows.count; i++) {
		uint32_t j = i;
		for (; j > 0 && open->start_ns[open->row[j - 1]] > open->start_ns[i]; j--)
			open->row[j] = open->row[j - 1];
		open->row[j] = (uint16_t)i;
	}
}

static bool before(const struct open_block *a, const struct open_block *b)
{
	int64_t left = a->start_ns[a->row[a->at]], right = b->start_ns[b->row[b->at]];
	if (left != right)
		return left < right;
	return a->block.first_id + a->row[a->at] < b->block.first_id + b->row[b->at];
}

static void sink(struct order *o)
{
	struct open_block *moved = o->heap[0];
	size_t at = 0;
	for (size_t child; (child = 2 * at + 1) < o->open; at = child) {
		if (child + 1 < o->open && before(o->heap[child + 1], o->heap[child]))
			child++;
		if (!before(o->heap[child], moved))
			break;
		o->heap[at] = o->heap[child];
	}
	o->heap[at] = moved;
}

static int push(struct order *o, struct open_block *open)
{
	if (o->open == o->room) {
		size_t room = o->room > 0 ? o->room * 2 : 16;
		struct open_block **grown =
			reallocarray(o->heap, room, sizeof(struct open_block *));
		if (!grown)
			return -1;
		o->heap = grown;
		o->room = room;
	}
	size_t at = o->open++;
	for (; at > 0 && before(open, o->heap[(at - 1) / 2]); at = (at - 1) / 2)
		o->heap[at] = o->heap[(at - 1) / 2];
	o->heap[at] = open;
	return 0;
}

/* Opens the next block of the index. */
static int open_next(struct order *o, struct err *err)
{
	struct trace *t = o->blocks.trace;
	const struct order_item *item = &o->index[o->next++];
	struct open_block *open = o->spare;
	if (open)
		o->spare = open->next;
	else if (!(open = calloc(1, sizeof(*open))))
		return err_set(err, "out of memory reading \"%s\"", t->path);
	open->at = 0;
	int got = blocks_find(&o->blocks, item->first_id, &open->block, err);
	if (got == 0)
		got = blocks_damaged(t, err);
	else if (got == 1)
		got = blocks_digits(&o->blocks, &open->block, err);
	if (got == 0 && batch_column(&open->block.rows, ROW_START, 0, open->block.rows.count,
				     open->start_ns) != 0)
		got = blocks_damaged(t, err);
	if (got == 0)
		sort_rows(open);
	if (got == 0 && push(o, open) != 0)
		got = err_set(err, "out of memory reading \"%s\"", t->path);
	if (got != 0)
		open_free(open);
	return got;
}

/* Goes on from the row that was handed out last. */
static void advance(struct order *o)
{
	struct open_block *top = o->heap[0];
	if (++top->at == top->block.rows.count) {
		top->next = o->spare;
		o->spare = top;
		o->heap[0] = o->heap[--o->open];
	}
	if (o->open > 0)
		sink(o);
}

int order_next(struct order *o, const struct block **block, uint32_t *row, int64_t *start_ns,
	       struct err *err)
{
	if (o->taken)
		advance(o);
	o->taken = false;
	while (o->next < o->count &&
	       (o->open == 0 || o->index[o->next].start_ns <=
					o->heap[0]->start_ns[o->heap[0]->row[o->heap[0]->at]]))
		if (open_next(o, err) != 0)
			return -1;
	if (o->open == 0)
		return 0;
	const struct open_block *top = o->heap[0];
	*block = &top->block;
	*row = top->row[top->at];
	*start_ns = top->start_ns[*row];
	o->taken = true;
	return 1;
}
