/* SPDX-License-Identifier: MIT */
/*
 * The blocks of requests (batch.h) out of a trace: in the order in which they
 * were stored, one by its id, or row by row in the order of (start_ns, id).
 *
 * That last order takes no sort. The base of a block's start_ns is the least
 * that it can hold, so an index of these (16 bytes a block) says when a block
 * has to be opened, and a heap of the open ones gives the next row. As rows
 * are stored when requests end, only blocks that hold something in flight are
 * open at a time; a trace whose rows came in no order is open as a whole.
 *
 * Everything that is read is checked; a trace may come from anywhere.
 */
#ifndef PAIL_LIBTRACE_STORE_BLOCKS_H
#define PAIL_LIBTRACE_STORE_BLOCKS_H

#include "libtrace/store/store.h"

struct block {
	int64_t first_id;
	struct batch rows; /* digits: malloc'd */
	size_t room;
};
void block_release(struct block *block);

struct blocks {
	struct trace *trace;
	sqlite3_stmt *all, *one, *digits;
};
/* All zero is a closed one. */
int blocks_open(struct blocks *blocks, struct trace *trace, struct err *err);
void blocks_close(struct blocks *blocks);
/* The head of the next one: 1, 0 at the end, -1 error. */
int blocks_next(struct blocks *blocks, struct block *block, struct err *err);
/* The head of the one that holds a request: 1, 0 there is none, -1 error. */
int blocks_find(struct blocks *blocks, int64_t id, struct block *block, struct err *err);
/* The digits to a head. */
int blocks_digits(struct blocks *blocks, struct block *block, struct err *err);
/* Says that the trace makes no sense; -1. */
int blocks_damaged(struct trace *trace, struct err *err);

struct open_block;
struct order {
	struct blocks blocks;
	struct order_item {
		int64_t start_ns, first_id;
	} * index; /* by start_ns */
	size_t count, next;
	struct open_block **heap, *spare;
	size_t open, room;
	bool taken; /* the top's row was handed out */
};
int order_open(struct order *order, struct trace *trace, struct err *err);
void order_close(struct order *order);
/* The next row, and its start: 1, 0 at the end, -1 error. */
int order_next(struct order *order, const struct block **block, uint32_t *row,
	       int64_t *start_ns, struct err *err);

#endif
