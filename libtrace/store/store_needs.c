/* SPDX-License-Identifier: MIT */
/*
 * What requests would need under another alignment, and the table aligned_need
 * that keeps the answer. A row holds the needs of up to PART_REQUESTS requests in
 * the order of the columns, packed. It counts only for the very columns it was made
 * of, and for the very allocator: `layout` is a hash of the needs of lists that
 * are always the same, so an arena that lays blocks out otherwise is not taken
 * for the one that filled the table.
 */
#include "libtrace/store/pack.h"
#include "libtrace/store/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PART_REQUESTS = 65536, PROBE_OPS = 2048, PROBE_SLOTS = 64, PROBE_STEP = 256 };

struct needs {
	struct trace *trace;
	const char *policy;
	enum arena_policy arena_policy;
	size_t align;
	int64_t layout;
	struct trace_columns *columns;
	struct replay replay;
};

/* -- the allocator's mark --------------------------------------------------- */

/* A list of calls that fills, empties and grows; the same on every machine. */
static void probe_make(struct replay_op ops[PROBE_OPS])
{
	bool live[PROBE_SLOTS] = {false};
	uint64_t state = 1;
	for (size_t i = 0; i < PROBE_OPS; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		uint32_t bits = (uint32_t)(state >> 32);
		uint32_t most = i < PROBE_SLOTS ? (uint32_t)i + 1 : PROBE_SLOTS;
		uint32_t slot = bits % most;
		uint64_t size = bits >> 8 & ((bits >> 6 & 3) == 0 ? 0x7fff : 0x1ff);
		uint8_t kind = !live[slot]             ? REPLAY_ALLOC
			       : (bits >> 30 & 3) == 0 ? REPLAY_REALLOC
						       : REPLAY_FREE;
		live[slot] = kind != REPLAY_FREE;
		ops[i] = (struct replay_op){.slot = slot,
					    .kind = kind,
					    .size_bytes = kind == REPLAY_FREE ? 0 : size};
	}
}

static int layout_find(struct needs *n, struct err *err)
{
	struct replay_op ops[PROBE_OPS];
	probe_make(ops);
	uint64_t hash = 0;
	for (size_t count = PROBE_STEP; count <= PROBE_OPS; count += PROBE_STEP) {
		struct replay_need need;
		if (replay_run(&n->replay, ops, count, n->arena_policy, &need) != 0)
			return err_errno(err, "cannot play events again");
		hash = (hash ^ need.need_bytes) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	n->layout = (int64_t)(hash >> 1);
	return 0;
}

/* -- the table --------------------------------------------------------------- */

static size_t part_count(const struct needs *n, size_t part)
{
	size_t left = n->columns->count - part * PART_REQUESTS;
	return left < PART_REQUESTS ? left : PART_REQUESTS;
}

static bool part_take(const struct needs *n, sqlite3_stmt *row, size_t part, uint64_t *need)
{
	size_t from = part * PART_REQUESTS;
	if (from >= n->columns->count || sqlite3_column_int64(row, 0) != (int64_t)part)
		return false;
	size_t count = part_count(n, part);
	const void *bytes = sqlite3_column_blob(row, 1);
	if (!bytes || unpack_column(bytes, (size_t)sqlite3_column_bytes(row, 1),
				    (int64_t *)(need + from), count) != 0)
		return false;
	for (size_t i = from; i < from + count; i++)
		if (need[i] > INT64_MAX)
			return false;
	return true;
}

/* Whether the table had them all; whatever else is in it is as good as nothing. */
static bool needs_read(const struct needs *n, uint64_t *need)
{
	sqlite3_stmt *s = NULL;
	size_t parts = 0;
	bool good = sqlite3_prepare_v2(n->trace->db,
				       "SELECT part, needs FROM aligned_need WHERE policy = ?"
				       " AND align = ? AND layout = ? AND columns = ?"
				       " ORDER BY part",
				       -1, &s, NULL) == SQLITE_OK;
	if (good) {
		sqlite3_bind_text(s, 1, n->policy, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, (int64_t)n->align);
		sqlite3_bind_int64(s, 3, n->layout);
		sqlite3_bind_text(s, 4, n->columns->sha256, -1, SQLITE_STATIC);
		int step;
		while ((step = sqlite3_step(s)) == SQLITE_ROW && good)
			good = part_take(n, s, parts++, need);
		good = good && step == SQLITE_DONE;
	}
	sqlite3_finalize(s);
	return good && parts == (n->columns->count + PART_REQUESTS - 1) / PART_REQUESTS;
}

static bool part_put(const struct needs *n, sqlite3_stmt *s, size_t part, const uint64_t *need)
{
	struct buf packed;
	buf_init(&packed);
	bool good = pack_column((const int64_t *)(need + part * PART_REQUESTS),
				part_count(n, part), &packed) == 0 &&
		    !packed.failed && packed.length <= INT32_MAX;
	if (good) {
		sqlite3_reset(s);
		sqlite3_bind_text(s, 1, n->policy, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, (int64_t)n->align);
		sqlite3_bind_int64(s, 3, (int64_t)part);
		sqlite3_bind_int64(s, 4, n->layout);
		sqlite3_bind_text(s, 5, n->columns->sha256, -1, SQLITE_STATIC);
		sqlite3_bind_blob(s, 6, packed.bytes, (int)packed.length, SQLITE_STATIC);
		good = sqlite3_step(s) == SQLITE_DONE;
		sqlite3_reset(s);
		sqlite3_clear_bindings(s);
	}
	buf_release(&packed);
	return good;
}

static bool parts_put(const struct needs *n, const uint64_t *need)
{
	sqlite3_stmt *old = NULL, *s = NULL;
	bool good =
		sqlite3_exec(n->trace->db,
			     "CREATE TABLE IF NOT EXISTS aligned_need("
			     " policy TEXT NOT NULL, align INTEGER NOT NULL,"
			     " part INTEGER NOT NULL, layout INTEGER NOT NULL,"
			     " columns TEXT NOT NULL, needs BLOB NOT NULL,"
			     " PRIMARY KEY (policy, align, part)) STRICT",
			     NULL, NULL, NULL) == SQLITE_OK &&
		sqlite3_prepare_v2(n->trace->db,
				   "DELETE FROM aligned_need WHERE policy = ? AND align = ?",
				   -1, &old, NULL) == SQLITE_OK &&
		sqlite3_bind_text(old, 1, n->policy, -1, SQLITE_STATIC) == SQLITE_OK &&
		sqlite3_bind_int64(old, 2, (int64_t)n->align) == SQLITE_OK &&
		sqlite3_step(old) == SQLITE_DONE &&
		sqlite3_prepare_v2(n->trace->db,
				   "INSERT INTO aligned_need VALUES (?, ?, ?, ?, ?, ?)", -1, &s,
				   NULL) == SQLITE_OK;
	for (size_t part = 0; good && part * PART_REQUESTS < n->columns->count; part++)
		good = part_put(n, s, part, need);
	sqlite3_finalize(s);
	sqlite3_finalize(old);
	return good;
}

/* In one transaction, or not at all: whoever may not write, or would have to wait for
 * another who does, goes without. */
static void needs_keep(const struct needs *n, const uint64_t *need)
{
	sqlite3 *db = n->trace->db;
	if (n->trace->readers > 0 || sqlite3_db_readonly(db, "main") != 0 ||
	    trace_meta_int(n->trace, "complete", 0) != 1)
		return;
	sqlite3_busy_timeout(db, 0);
	if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK) {
		bool good = parts_put(n, need);
		if (!good || sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
			sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	}
	sqlite3_busy_timeout(db, STORE_BUSY_WAIT_MS);
}

/* -- playing again ------------------------------------------------------------ */

struct place {
	int64_t id;
	size_t at; /* in the columns */
};

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct place *)a)->id, y = ((const struct place *)b)->id;
	return x < y ? -1 : x > y;
}

static int need_play(struct needs *n, const struct place *place, uint64_t *need,
		     struct err *err)
{
	struct replay_op *ops;
	size_t count;
	int held = trace_replay(n->trace, place->id, &ops, &count, err);
	if (held < 0)
		return -1;
	uint64_t known = n->columns->need_bytes[place->at];
	if (held == 0 && known > 0)
		return err_set(err,
			       "trace \"%s\" holds no events of request %" PRId64
			       ", so its need at another alignment can't be told: record with"
			       " --detail events",
			       n->trace->path, place->id);
	struct replay_need played = {0};
	int status =
		held == 0 ? 0 : replay_run(&n->replay, ops, count, n->arena_policy, &played);
	free(ops);
	if (status != 0)
		return err_errno(err, "cannot play the events of request %" PRId64 " again",
				 place->id);
	need[place->at] = played.need_bytes;
	return 0;
}

/* Where events lie is in the order of ids, that of the columns is of arrivals. */
static int needs_play(struct needs *n, uint64_t *need, struct err *err)
{
	size_t count = n->columns->count;
	struct place *place = calloc(count, sizeof(*place));
	if (!place)
		return err_set(err, "out of memory for %zu requests", count);
	for (size_t i = 0; i < count; i++)
		place[i] = (struct place){n->columns->id[i], i};
	qsort(place, count, sizeof(*place), by_id);
	int status = 0;
	for (size_t i = 0; status == 0 && i < count; i++)
		status = need_play(n, &place[i], need, err);
	free(place);
	return status;
}

static int needs_fill(struct needs *n, struct err *err)
{
	uint64_t *need = calloc(n->columns->count, sizeof(*need));
	if (!need)
		return err_set(err, "out of memory for %zu requests", n->columns->count);
	int status = layout_find(n, err);
	if (status == 0 && !needs_read(n, need)) {
		status = needs_play(n, need, err);
		if (status == 0)
			needs_keep(n, need);
	}
	if (status != 0) {
		free(need);
		return -1;
	}
	free(n->columns->need_bytes);
	n->columns->need_bytes = need;
	return 0;
}

int trace_columns_align(struct trace *t, enum arena_policy policy, size_t align,
			struct trace_columns *columns, struct err *err)
{
	assert(align >= ARENA_ALIGN && align <= ARENA_ALIGN_BASE && (align & (align - 1)) == 0);
	struct needs needs = {.trace = t,
			      .policy = arena_policy_name(policy),
			      .arena_policy = policy,
			      .align = align,
			      .columns = columns};
	if (columns->count == 0)
		return 0;
	if (replay_init(&needs.replay, ARENA_BUMP_BYTES_MAX) != 0)
		return err_errno(err, "cannot reserve address space to play events again");
	needs.replay.align_log2 = (uint8_t)__builtin_ctzl(align);
	int status = needs_fill(&needs, err);
	replay_release(&needs.replay);
	return status;
}
