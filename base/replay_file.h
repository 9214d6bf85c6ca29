/* SPDX-License-Identifier: MIT */
/*
 * Recorded requests as the server's builtin:replay reads them: one file, made
 * from a trace and mapped read-only, so that it takes no memory but pages of
 * the page cache.
 *
 *	struct replay_file_head    magic, counts, where the items are
 *	struct replay_op[]         base/replay.h, of all requests, one after another
 *	struct replay_file_item[]  one per request, ascending id
 *
 * Numbers are the machine's own (little-endian, 64-bit): the file is made where
 * it is used, and the magic tells another byte order apart. A file that opens
 * is whole: every list lies inside it and names slots below `slots`.
 *
 * A writer belongs to one thread; an open file may be read by any.
 */
#ifndef PAIL_BASE_REPLAY_FILE_H
#define PAIL_BASE_REPLAY_FILE_H

#include "base/err.h"
#include "base/replay.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define REPLAY_FILE_MAGIC 0x31796c7065726c70u /* "plreply1" */

struct replay_file_head {
	uint64_t magic, op_count, item_count;
	uint64_t slots_max; /* of any item: what a player's table must hold */
};

struct replay_file_item {
	int64_t id;
	int64_t service_ns; /* start to end, as recorded */
	uint64_t op_first;
	uint32_t op_count;
	uint32_t slots; /* blocks live at one time at most: the table's length */
};
static_assert(sizeof(struct replay_file_head) == 32, "stored layout");
static_assert(sizeof(struct replay_file_item) == 32, "stored layout");

/* -- writing: a temporary neighbour, renamed at the end ------------------- */

struct replay_writer;
int replay_writer_open(const char *path, struct replay_writer **writer, struct err *err);
/* Copies the list. Ids may come in any order, each once. */
int replay_writer_add(struct replay_writer *writer, int64_t id, int64_t service_ns,
		      const struct replay_op *ops, size_t count, struct err *err);
/* Ends the file and puts it in place; frees the writer in any case. */
int replay_writer_close(struct replay_writer *writer, struct err *err);
/* Leaves no file; NULL is fine. */
void replay_writer_discard(struct replay_writer *writer);

/* -- reading -------------------------------------------------------------- */

struct replay_file {
	const void *map;
	size_t map_bytes;
	const struct replay_file_head *head;
	const struct replay_op *ops;
	const struct replay_file_item *items;
};
int replay_file_open(const char *path, struct replay_file *file, struct err *err);
void replay_file_close(struct replay_file *file);
/* NULL if there is no request of that id. */
const struct replay_file_item *replay_file_find(const struct replay_file *file, int64_t id);

#endif
