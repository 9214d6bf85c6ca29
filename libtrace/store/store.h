/* SPDX-License-Identifier: MIT */
/*
 * What the two halves of the store share: store.c opens and reads, and
 * store_write.c creates and writes. Together they are all that knows SQLite.
 *
 * A writer keeps two things open: the last block of requests and the last block
 * of events, both written at every commit (and replaced at the next until they
 * are full), so that a commit always leaves a whole trace. The journal is a rollback journal:
 * what is committed is in the one file, and a writer that is killed leaves at most a journal
 * beside it, which the next trace_open() rolls back.
 */
#ifndef PAIL_LIBTRACE_STORE_H
#define PAIL_LIBTRACE_STORE_H

#include "libtrace/store/columns.h"
#include "libtrace/store/names.h"
#include "libtrace/store/batch.h"
#include "libtrace/trace.h"

#include <sqlite3.h>

enum { EVENTS_PER_BLOCK = 65536, STORE_BUSY_WAIT_MS = 10000 };

enum statement {
	PUT_META,
	PUT_PROCESS,
	PUT_THREAD,
	PUT_CONNECTION,
	PUT_ROUTE,
	PUT_STRING,
	PUT_ROWS,
	PUT_DIGITS,
	PUT_BLOCK,
	PUT_SITES,
	PUT_FRAME,
	PUT_STACK,
	PUT_SITE,
	PUT_USE,
	PUT_RAW,
	PUT_WAIT,
	STATEMENT_COUNT
};

/* Columns of a request that are texts in the table `string`. */
enum store_text { TEXT_METHOD, TEXT_TARGET, TEXT_ENDED_BY, TEXT_COUNT };

struct trace {
	sqlite3 *db;
	char *path;
	char *temporary; /* until the first commit */
	bool writer, in_transaction;
	struct meta_item {
		char *key, *value;
	} * meta; /* handed out by trace_meta() */
	size_t meta_count;
	/* writing */
	sqlite3_stmt *statement[STATEMENT_COUNT];
	int64_t next_request, next_event;
	struct batch_rows *rows; /* of the last, open block */
	unsigned char *row_digits;
	struct replay_op *ops; /* of the last, open block */
	struct stacks {
		struct stack_node {
			uint32_t caller, frame;
		} * node; /* by number - 1 */
		uint32_t count, room;
		uint32_t *slot, slots; /* open addressing: number, or 0 */
	} stacks;
	uint32_t *op_site; /* beside ops, once there are sites */
	size_t op_count;
	struct names routes, strings;
	struct store_last {
		int64_t id; /* 0: none */
		uint32_t length;
		char bytes[256];
	} last_string[TEXT_COUNT], last_route;
	/* reading */
	int readers;                 /* that share one transaction */
	struct events_of *events_of; /* the block of requests last looked up */
	/* the block of events last unpacked */
	struct replay_op *block;
	int64_t block_first, block_count;
};

/* What a file is, by its first bytes. -1 if it is not there (errno ENOENT in
 * err->errnum) or cannot be read. */
enum store_head {
	STORE_TRACE,
	STORE_EMPTY,
	STORE_OTHER_FILE,
	STORE_OTHER_DATABASE,
	STORE_OLDER,
	STORE_NEWER
};
int store_look(const char *path, enum store_head *head, uint32_t *version, struct err *err);

int store_open_database(const char *path, int flags, sqlite3 **db);
/* Writes SQLite's message about the last call; -1. */
int store_err(struct trace *trace, struct err *err, const char *doing);
int store_run(struct trace *trace, const char *sql, const char *doing, struct err *err);
/* One integer of a query without parameters; NULL counts as 0. */
int store_query_int(struct trace *trace, const char *sql, int64_t *value, struct err *err);
/* A reader sees one state of the trace from begin to end, whatever a recorder
 * adds meanwhile. */
int store_read_begin(struct trace *trace, struct err *err);
void store_read_end(struct trace *trace);
/* trace_next(), and where the events are: -1 and 0 if there are none. */
int store_next(struct trace_cursor *cursor, struct trace_request *request, int64_t *first_event,
	       int64_t *events, struct err *err);
/* trace_put_request() with events that are stored already, or -1 and 0. */
int store_put_request(struct trace *trace, const struct trace_request *request,
		      int64_t first_event, size_t events, struct err *err);
/* For the other writers of rows. */
int store_begin(struct trace *trace, struct err *err);
int store_finish(struct trace *trace, sqlite3_stmt *statement, struct err *err);
int store_route(struct trace *trace, struct str name, uint32_t *id, struct err *err);
void store_bind_str(sqlite3_stmt *statement, int at, struct str text);
/* What trace_put_site() knows of stacks is forgotten: after a rollback. */
void store_stacks_forget(struct trace *trace);
/* The sites of the open block, as a row beside it. */
int store_put_block_sites(struct trace *trace, struct err *err);
/* Unpacks the block that holds event `at` into trace->block. */
int store_load_block(struct trace *trace, int64_t at, struct err *err);
/* Where a request's events lie: 1, or 0 if it has none, -1 error. */
int store_events_of(struct trace *trace, int64_t request_id, int64_t *first, int64_t *count,
		    struct err *err);
/* The names of all routes, by id - 1. */
int store_routes(struct trace *trace, char ***route, size_t *count, struct err *err);
void store_routes_release(char **route, size_t count);
/* trace_close()'s part for a writer. */
void store_writer_release(struct trace *trace);

#endif
