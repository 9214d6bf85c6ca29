/* SPDX-License-Identifier: MIT */
#include "libtrace/trace.h"

#include "libtrace/store/batch.h"
#include "libtrace/store/columns.h"
#include "stored.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_store__what_is_put_is_read_back(void **state)
{
	(void)state;
	struct err err;
	struct trace *t = stored_create(1000);
	assert_int_equal(trace_put_meta(t, "span_ns", "12345", &err), 0);
	stored_commit(t);
	trace_close(t);
	assert_int_equal(stored_files(), 1);

	t = stored_reopen();
	assert_string_equal(trace_meta(t, "span_ns"), "12345");
	assert_int_equal(trace_meta_int(t, "span_ns", 0), 12345);
	assert_null(trace_meta(t, "no such key"));
	assert_int_equal(trace_meta_int(t, "no such key", -7), -7);
	struct trace_cursor *c;
	struct trace_request r;
	assert_int_equal(trace_requests(t, &c, &err), 0);
	int64_t last = -1, seen = 0;
	for (; trace_next(c, &r, &err) == 1; seen++) {
		struct trace_request want = stored_sample(r.id - 1);
		assert_true(r.start_ns >= last);
		last = r.start_ns;
		assert_true(str_equal(r.target, want.target));
		assert_true(str_equal(r.route, want.route));
		assert_true(str_equal(r.method, want.method));
		assert_true(str_equal(r.ended_by, want.ended_by));
		want.id = r.id;
		want.method = r.method;
		want.target = r.target;
		want.route = r.route;
		want.ended_by = r.ended_by;
		assert_memory_equal(&r, &want, offsetof(struct trace_request, status));
		assert_int_equal(r.status, want.status);
		assert_memory_equal(&r.bytes_in, &want.bytes_in,
				    offsetof(struct trace_request, confidence) -
					    offsetof(struct trace_request, bytes_in));
		assert_int_equal(r.confidence, want.confidence);
		assert_int_equal(r.incomplete, want.incomplete);
	}
	assert_int_equal(seen, 1000);
	trace_cursor_close(c);
	trace_close(t);
}

static void test_store__columns_equal_rows_in_order(void **state)
{
	(void)state;
	enum { MANY = COLUMNS_CHUNK * 2 + 777 };
	struct err err;
	struct trace *t = stored_create(MANY);
	stored_commit(t);
	trace_close(t);
	for (int p = ARENA_BUMP; p <= ARENA_REUSE; p++) {
		t = stored_reopen();
		struct trace_columns columns;
		if (trace_columns_load(t, (enum arena_policy)p, &columns, &err) != 0)
			fail_msg("%s", err.text);
		assert_int_equal(columns.count, MANY);
		assert_int_equal(columns.route_count, 7);
		assert_int_equal(strlen(columns.sha256), 64);
		struct trace_cursor *c;
		struct trace_request r;
		int64_t last_end = 0;
		assert_int_equal(trace_requests(t, &c, &err), 0);
		for (size_t i = 0; i < MANY; i++) {
			assert_int_equal(trace_next(c, &r, &err), 1);
			assert_int_equal(columns.id[i], r.id);
			assert_int_equal(columns.arrival_ns[i], r.start_ns);
			assert_int_equal(columns.service_ns[i], r.end_ns - r.start_ns);
			assert_int_equal(columns.need_bytes[i], p == ARENA_BUMP
									? r.need_bump_bytes
									: r.need_reuse_bytes);
			assert_true(str_equal(str_of(columns.route[columns.route_index[i]]),
					      r.route));
			if (r.end_ns > last_end)
				last_end = r.end_ns;
		}
		assert_int_equal(trace_next(c, &r, &err), 0);
		assert_int_equal(columns.span_ns, last_end - columns.arrival_ns[0]);
		trace_cursor_close(c);
		trace_columns_release(&columns);
		trace_close(t);
	}
}

/* The parts of a stream, one behind the other, are the columns. */
static void check_stream(enum arena_policy policy)
{
	struct err err;
	struct trace *t = stored_reopen();
	struct trace_columns all;
	struct trace_stream *stream;
	struct trace_part part;
	assert_int_equal(trace_columns_load(t, policy, &all, &err), 0);
	assert_int_equal(trace_stream_open(t, policy, &stream, &err), 0);
	assert_int_equal(trace_stream_requests(stream), all.count);
	size_t at = 0;
	int got;
	while ((got = trace_stream_next(stream, &part, &err)) == 1) {
		assert_in_range(part.count, 1, TRACE_PART_MAX);
		assert_true(part.count <= all.count - at);
		assert_memory_equal(part.id, all.id + at, part.count * 8);
		assert_memory_equal(part.arrival_ns, all.arrival_ns + at, part.count * 8);
		assert_memory_equal(part.service_ns, all.service_ns + at, part.count * 8);
		assert_memory_equal(part.need_bytes, all.need_bytes + at, part.count * 8);
		for (size_t i = 0; i < part.count; i++)
			assert_string_equal(part.route[part.route_index[i]],
					    all.route[all.route_index[at + i]]);
		at += part.count;
	}
	assert_int_equal(got, 0);
	assert_int_equal(at, all.count);
	trace_stream_close(stream);
	trace_columns_release(&all);
	trace_close(t);
}

static void test_store__a_stream_gives_the_columns_in_parts(void **state)
{
	(void)state;
	struct trace *t = stored_create(TRACE_PART_MAX * 3 + 21);
	stored_commit(t);
	trace_close(t);
	check_stream(ARENA_BUMP);
	check_stream(ARENA_REUSE);
}

static void test_store__the_digest_does_not_depend_on_the_blocks(void **state)
{
	(void)state;
	enum { MANY = BATCH_MAX * 3 + 5 };
	char whole[65], cut[65], other[65];
	size_t count;
	struct err err;
	struct trace *t = stored_create(MANY);
	stored_commit(t);
	trace_close(t);
	stored_digest(whole, &count);
	assert_int_equal(count, MANY);
	stored_clean();
	/* A writer that starts anew after a failure begins a block of its own. */
	t = stored_create(100);
	stored_commit(t);
	struct trace_request lost = stored_sample(7);
	assert_int_equal(trace_put_request(t, &lost, NULL, 0, NULL, &err), 0);
	assert_int_equal(trace_rollback(t, &err), 0);
	for (int64_t i = 100; i < MANY; i++) {
		struct trace_request r = stored_sample(i);
		int64_t id;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, &id, &err), 0);
		assert_int_equal(id, i + 1);
	}
	stored_commit(t);
	trace_close(t);
	stored_digest(cut, &count);
	assert_int_equal(count, MANY);
	assert_string_equal(whole, cut);
	stored_clean();
	t = stored_create(MANY - 1);
	stored_commit(t);
	trace_close(t);
	stored_digest(other, &count);
	assert_string_not_equal(whole, other);
}

/* Anything that a row can hold, from nothing to everything. */
static struct trace_request wild(int64_t i)
{
	struct trace_request r = stored_sample(i);
	int64_t *const value[] = {&r.process,         &r.connection,      &r.sequence,
				  &r.cpu_ns,          &r.bytes_in,        &r.bytes_out,
				  &r.allocations,     &r.frees,           &r.reallocations,
				  &r.requested_bytes, &r.need_bump_bytes, &r.need_reuse_bytes,
				  &r.live_peak_bytes, &r.largest_bytes,   &r.escapes,
				  &r.escaped_bytes,   &r.foreign_frees,   &r.stack_peak_bytes};
	int shift = i < BATCH_MAX ? 1 : i < 2 * BATCH_MAX ? 40 : 63;
	for (size_t c = 0; c < sizeof(value) / sizeof(*value); c++)
		*value[c] = (int64_t)(stored_random() >> 1 >>
				      (shift == 1 ? stored_random() % 63 : (uint64_t)shift));
	if (i % 50 == 0)
		r.need_bump_bytes = INT64_MAX - 1;
	r.start_ns = i * 7919 + (int64_t)(stored_random() % 100000);
	if (i == 5)
		r.start_ns = INT64_MAX / 2;
	r.end_ns = r.start_ns + (int64_t)(stored_random() >> 2 >> stored_random() % 61);
	if (r.end_ns < r.start_ns)
		r.end_ns = INT64_MAX - 1;
	return r;
}

/* What SQLite prints for a request. */
static void print_request(const struct trace_request *r, char *line, size_t room)
{
	static const char *const confidence[] = {"exact", "inferred", "ambiguous"};
	char status[16] = "";
	if (r->status >= 0)
		snprintf(status, sizeof(status), "%d", r->status);
	snprintf(line, room,
		 "%jd|%jd|%jd|%jd|%jd|%jd|%jd|%.*s|%.*s|%.*s|%s|%jd|%jd|%jd|%jd|%jd|%jd|%jd|%jd"
		 "|%jd|%jd|%jd|%jd|%jd|%jd|%.*s|%s|%d||0\n",
		 r->id, r->process, r->connection, r->sequence, r->start_ns, r->end_ns,
		 r->cpu_ns, (int)r->method.length, r->method.bytes, (int)r->target.length,
		 r->target.bytes, (int)r->route.length, r->route.bytes, status, r->bytes_in,
		 r->bytes_out, r->allocations, r->frees, r->reallocations, r->requested_bytes,
		 r->need_bump_bytes, r->need_reuse_bytes, r->live_peak_bytes, r->largest_bytes,
		 r->escapes, r->escaped_bytes, r->foreign_frees, r->stack_peak_bytes,
		 (int)r->ended_by.length, r->ended_by.bytes, confidence[r->confidence],
		 r->incomplete);
}

/* The rows are packed; SQLite alone must see what was put, and so must we. */
static void test_store__sqlite_alone_reads_every_value(void **state)
{
	(void)state;
	enum { MANY = BATCH_MAX * 3 + 19, LINE = 2048 };
	struct err err;
	struct trace *t;
	struct trace_cursor *cursor;
	struct trace_request r;
	char want[LINE], got[LINE], command[256], list[80];
	stored_seed = 7;
	assert_int_equal(trace_create(stored_path, &t, &err), 0);
	for (int64_t i = 0; i < MANY; i++) {
		r = wild(i);
		assert_int_equal(trace_put_request(t, &r, NULL, 0, NULL, &err), 0);
	}
	stored_commit(t);
	trace_close(t);
	snprintf(list, sizeof(list), "%s.txt", stored_path);
	snprintf(command, sizeof(command), "sqlite3 %s 'SELECT * FROM request ORDER BY id' >%s",
		 stored_path, list);
	assert_int_equal(system(command), 0);
	FILE *rows = fopen(list, "re");
	assert_non_null(rows);
	t = stored_reopen();
	assert_int_equal(trace_requests_stored(t, &cursor, &err), 0);
	stored_seed = 7;
	for (int64_t i = 0; i < MANY; i++) {
		r = wild(i);
		r.id = i + 1;
		print_request(&r, want, sizeof(want));
		assert_non_null(fgets(got, sizeof(got), rows));
		assert_string_equal(got, want);
		assert_int_equal(trace_next(cursor, &r, &err), 1);
		print_request(&r, got, sizeof(got));
		assert_string_equal(got, want);
	}
	assert_null(fgets(got, sizeof(got), rows));
	fclose(rows);
	assert_int_equal(trace_next(cursor, &r, &err), 0);
	trace_cursor_close(cursor);
	/* And from anywhere on. */
	static const int64_t from[] = {0, 1, MANY / 2, MANY - 1, MANY, MANY + 1};
	for (size_t k = 0; k < sizeof(from) / sizeof(*from); k++) {
		assert_int_equal(trace_requests_after(t, from[k], &cursor, &err), 0);
		for (int64_t id = from[k] + 1; id <= MANY; id++) {
			assert_int_equal(trace_next(cursor, &r, &err), 1);
			assert_int_equal(r.id, id);
		}
		assert_int_equal(trace_next(cursor, &r, &err), 0);
		trace_cursor_close(cursor);
	}
	trace_close(t);
}

/* Some requests last for most of the trace and end up far behind. */
static void test_store__requests_come_in_order_of_start(void **state)
{
	(void)state;
	enum { MANY = BATCH_MAX * 6 };
	struct err err;
	struct trace *t;
	struct trace_cursor *cursor;
	struct trace_request r;
	stored_seed = 99;
	assert_int_equal(trace_create(stored_path, &t, &err), 0);
	for (int64_t i = 0; i < MANY; i++) {
		r = stored_sample(i);
		int64_t back =
			(int64_t)(stored_random() % 97 == 0 ? stored_random() % (1000 * MANY)
							    : stored_random() % 9000);
		r.start_ns = back > r.start_ns ? 0 : r.start_ns - back;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, NULL, &err), 0);
	}
	stored_commit(t);
	trace_close(t);
	check_stream(ARENA_BUMP);
	t = stored_reopen();
	int64_t last_ns = -1, last_id = 0, seen = 0;
	assert_int_equal(trace_requests(t, &cursor, &err), 0);
	while (trace_next(cursor, &r, &err) == 1) {
		assert_true(r.start_ns > last_ns || (r.start_ns == last_ns && r.id > last_id));
		last_ns = r.start_ns;
		last_id = r.id;
		seen++;
	}
	assert_int_equal(seen, MANY);
	trace_cursor_close(cursor);
	trace_close(t);
}

static void test_store__a_damaged_block_is_refused(void **state)
{
	(void)state;
	static const char *const damage[] = {
		"UPDATE request_block SET count = 2000",
		"UPDATE request_block SET count = 0",
		"UPDATE request_block SET bytes = bytes + 1",
		"UPDATE request_block SET start_ns_digits = 99",
		"UPDATE request_block SET start_ns_step = -1",
		"UPDATE request_block SET route = 999",
		"UPDATE request_block SET target = -7",
		"UPDATE request_block SET service_ns = 9223372036854775807",
		"UPDATE request_digits SET digits = zeroblob(3)",
		"UPDATE request_digits SET digits = CAST(replace(hex(digits), '0', 'f') AS BLOB)",
		"DELETE FROM request_digits WHERE first_id > 1",
		"DELETE FROM string",
	};
	for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++) {
		struct err err;
		struct trace_cursor *cursor;
		struct trace_request r;
		stored_clean();
		struct trace *t = stored_create(100);
		stored_commit(t);
		trace_close(t);
		stored_sql(damage[i]);
		t = stored_reopen();
		int got = trace_requests(t, &cursor, &err);
		if (got == 0) {
			while ((got = trace_next(cursor, &r, &err)) == 1)
				;
			trace_cursor_close(cursor);
		}
		if (got != -1)
			fail_msg("%s: not refused", damage[i]);
		assert_non_null(strstr(err.text, "is damaged"));
		trace_close(t);
	}
}

static size_t random_ops(struct replay_op *ops, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t kind = (uint8_t)(stored_random() % 3);
		ops[i] = (struct replay_op){
			.slot = (uint32_t)(stored_random() % (i % 100 == 0 ? UINT32_MAX : 50)),
			.kind = kind,
			.align_log2 = (uint8_t)(stored_random() % 64),
			.size_bytes = kind == REPLAY_FREE
					      ? 0
					      : stored_random() >> stored_random() % 64,
		};
	}
	return count;
}

static void test_store__events_come_back_exactly_across_blocks(void **state)
{
	(void)state;
	enum { REQUESTS = 40, MOST = 200000 };
	struct err err;
	struct trace *t;
	struct replay_op *ops = malloc(MOST * sizeof(*ops));
	assert_int_equal(trace_create(stored_path, &t, &err), 0);
	stored_seed = 42;
	uint64_t before[REQUESTS];
	size_t lengths[REQUESTS];
	for (int i = 0; i < REQUESTS; i++) {
		before[i] = stored_seed;
		lengths[i] = random_ops(ops, i == 20 ? MOST : stored_random() % 9000);
		struct trace_request r = stored_sample(i);
		assert_int_equal(trace_put_request(t, &r, ops, lengths[i], NULL, &err), 0);
		if (i % 7 == 0)
			stored_commit(t);
	}
	struct trace_request none = stored_sample(1);
	assert_int_equal(trace_put_request(t, &none, NULL, 0, NULL, &err), 0);
	stored_commit(t);
	trace_close(t);
	t = stored_reopen();
	for (int i = REQUESTS - 1; i >= 0; i--) {
		struct replay_op *got;
		size_t count;
		if (trace_replay(t, i + 1, &got, &count, &err) != 1)
			fail_msg("%s", err.text);
		stored_seed = before[i];
		if (i != 20)
			stored_random();
		random_ops(ops, lengths[i]);
		assert_int_equal(count, lengths[i]);
		assert_memory_equal(got, ops, count * sizeof(*ops));
		free(got);
	}
	struct replay_op *got;
	size_t count;
	assert_int_equal(trace_replay(t, REQUESTS + 1, &got, &count, &err), 0);
	assert_int_equal(trace_replay(t, REQUESTS + 2, &got, &count, &err), -1);
	trace_close(t);
	free(ops);
}

static void test_store__the_views_answer(void **state)
{
	(void)state;
	struct trace *t = stored_create(700);
	stored_commit(t);
	trace_close(t);
	stored_sql("SELECT * FROM route_summary; SELECT * FROM site_summary;"
		   "SELECT max(in_flight), min(in_flight) FROM concurrency");
	char command[600];
	snprintf(command, sizeof(command),
		 "test \"$(sqlite3 %s \"SELECT sum(requests) FROM route_summary\")\" = 700 &&"
		 "test \"$(sqlite3 %s \"SELECT min(in_flight) FROM concurrency\")\" = 0 &&"
		 "test \"$(sqlite3 %s \"PRAGMA integrity_check\")\" = ok",
		 stored_path, stored_path, stored_path);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORED_TEST(test_store__what_is_put_is_read_back),
		STORED_TEST(test_store__columns_equal_rows_in_order),
		STORED_TEST(test_store__a_stream_gives_the_columns_in_parts),
		STORED_TEST(test_store__the_digest_does_not_depend_on_the_blocks),
		STORED_TEST(test_store__sqlite_alone_reads_every_value),
		STORED_TEST(test_store__requests_come_in_order_of_start),
		STORED_TEST(test_store__a_damaged_block_is_refused),
		STORED_TEST(test_store__events_come_back_exactly_across_blocks),
		STORED_TEST(test_store__the_views_answer),
	};
	return cmocka_run_group_tests(tests, stored_begin, stored_end);
}
