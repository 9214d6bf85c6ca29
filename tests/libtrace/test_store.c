/* SPDX-License-Identifier: MIT */
#include "libtrace/trace.h"

#include "libtrace/store/columns.h"
#include "libtrace/store/pack.h"
#include "libtrace/store/batch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/pail-store-XXXXXX";
static char path[64];

static void clean(void)
{
	char command[256];
	snprintf(command, sizeof(command), "rm -rf %s/* %s/.[!.]*", folder, folder);
	assert_int_equal(system(command), 0);
}

static int files_in_folder(void)
{
	char command[256];
	snprintf(command, sizeof(command), "exit $(ls -A %s | wc -l)", folder);
	return WEXITSTATUS(system(command));
}

static int start(void **state)
{
	(void)state;
	clean();
	snprintf(path, sizeof(path), "%s/t.db", folder);
	return 0;
}

static uint64_t random_state;
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static struct trace_request sample(int64_t i)
{
	static char target[64], route[32];
	snprintf(target, sizeof(target), "/item/%lld?x=1", (long long)i);
	snprintf(route, sizeof(route), "GET /r%lld", (long long)(i % 7));
	return (struct trace_request){
		.process = 1,
		.connection = i / 3,
		.sequence = i % 3,
		.start_ns = 1000 * i + (i % 5) * 3000,
		.end_ns = 1000 * i + (i % 5) * 3000 + 500 + i % 100,
		.cpu_ns = -1,
		.method = STR("GET"),
		.target = str_of(target),
		.route = str_of(route),
		.status = i % 11 == 0 ? -1 : 200,
		.bytes_in = 80,
		.bytes_out = 5000000000 + i,
		.allocations = i,
		.frees = i - 1,
		.reallocations = 2,
		.requested_bytes = (INT64_C(1) << 53) - i,
		.need_bump_bytes = 4096 + 16 * (i % 1000),
		.need_reuse_bytes = 2048 + 16 * (i % 999),
		.live_peak_bytes = 7,
		.largest_bytes = 8,
		.escapes = 1,
		.escaped_bytes = 9,
		.foreign_frees = 10,
		.stack_peak_bytes = 11,
		.confidence = (enum trace_confidence)(i % 3),
		.ended_by = STR("response"),
		.incomplete = i % 13 == 0,
	};
}

static struct trace *create_with(int64_t requests)
{
	struct err err;
	struct trace *t;
	if (trace_create(path, &t, &err) != 0)
		fail_msg("%s", err.text);
	for (int64_t i = 0; i < requests; i++) {
		struct trace_request r = sample(i);
		int64_t id;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, &id, &err), 0);
		assert_int_equal(id, i + 1);
	}
	return t;
}

static void commit(struct trace *t)
{
	struct err err;
	if (trace_commit(t, &err) != 0)
		fail_msg("%s", err.text);
}

static struct trace *reopen(void)
{
	struct err err;
	struct trace *t;
	if (trace_open(path, &t, &err) != 0)
		fail_msg("%s", err.text);
	return t;
}

static void test_store__a_trace_is_its_owners_alone(void **state)
{
	(void)state;
	struct trace *t;
	struct err err;
	struct stat about;
	mode_t mask = umask(0);
	int result = trace_create(path, &t, &err);

	umask(mask);
	assert_int_equal(result, 0);
	commit(t);
	trace_close(t);
	assert_int_equal(stat(path, &about), 0);
	assert_int_equal(about.st_mode & 07777, 0600);
}

static void test_store__what_is_put_is_read_back(void **state)
{
	(void)state;
	struct err err;
	struct trace *t = create_with(1000);
	assert_int_equal(trace_put_meta(t, "span_ns", "12345", &err), 0);
	commit(t);
	trace_close(t);
	assert_int_equal(files_in_folder(), 1);

	t = reopen();
	assert_string_equal(trace_meta(t, "span_ns"), "12345");
	assert_int_equal(trace_meta_int(t, "span_ns", 0), 12345);
	assert_null(trace_meta(t, "no such key"));
	assert_int_equal(trace_meta_int(t, "no such key", -7), -7);
	struct trace_cursor *c;
	struct trace_request r;
	assert_int_equal(trace_requests(t, &c, &err), 0);
	int64_t last = -1, seen = 0;
	for (; trace_next(c, &r, &err) == 1; seen++) {
		struct trace_request want = sample(r.id - 1);
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
	struct trace *t = create_with(MANY);
	commit(t);
	trace_close(t);
	for (int p = ARENA_BUMP; p <= ARENA_REUSE; p++) {
		t = reopen();
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
	struct trace *t = reopen();
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
	struct trace *t = create_with(TRACE_PART_MAX * 3 + 21);
	commit(t);
	trace_close(t);
	check_stream(ARENA_BUMP);
	check_stream(ARENA_REUSE);
}

static void sql(const char *statement)
{
	char command[512];
	snprintf(command, sizeof(command), "sqlite3 %s \"%s\" >/dev/null", path, statement);
	assert_int_equal(system(command), 0);
}

static void load_digest(char digest[65], size_t *count)
{
	struct err err;
	struct trace *t = reopen();
	struct trace_columns columns;
	if (trace_columns_load(t, ARENA_BUMP, &columns, &err) != 0)
		fail_msg("%s", err.text);
	memcpy(digest, columns.sha256, 65);
	*count = columns.count;
	trace_columns_release(&columns);
	trace_close(t);
}

static void test_store__the_digest_does_not_depend_on_the_blocks(void **state)
{
	(void)state;
	enum { MANY = BATCH_MAX * 3 + 5 };
	char whole[65], cut[65], other[65];
	size_t count;
	struct err err;
	struct trace *t = create_with(MANY);
	commit(t);
	trace_close(t);
	load_digest(whole, &count);
	assert_int_equal(count, MANY);
	clean();
	/* A writer that starts anew after a failure begins a block of its own. */
	t = create_with(100);
	commit(t);
	struct trace_request lost = sample(7);
	assert_int_equal(trace_put_request(t, &lost, NULL, 0, NULL, &err), 0);
	assert_int_equal(trace_rollback(t, &err), 0);
	for (int64_t i = 100; i < MANY; i++) {
		struct trace_request r = sample(i);
		int64_t id;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, &id, &err), 0);
		assert_int_equal(id, i + 1);
	}
	commit(t);
	trace_close(t);
	load_digest(cut, &count);
	assert_int_equal(count, MANY);
	assert_string_equal(whole, cut);
	clean();
	t = create_with(MANY - 1);
	commit(t);
	trace_close(t);
	load_digest(other, &count);
	assert_string_not_equal(whole, other);
}

/* Anything that a row can hold, from nothing to everything. */
static struct trace_request wild(int64_t i)
{
	struct trace_request r = sample(i);
	int64_t *const value[] = {&r.process,         &r.connection,      &r.sequence,
				  &r.cpu_ns,          &r.bytes_in,        &r.bytes_out,
				  &r.allocations,     &r.frees,           &r.reallocations,
				  &r.requested_bytes, &r.need_bump_bytes, &r.need_reuse_bytes,
				  &r.live_peak_bytes, &r.largest_bytes,   &r.escapes,
				  &r.escaped_bytes,   &r.foreign_frees,   &r.stack_peak_bytes};
	int shift = i < BATCH_MAX ? 1 : i < 2 * BATCH_MAX ? 40 : 63;
	for (size_t c = 0; c < sizeof(value) / sizeof(*value); c++)
		*value[c] = (int64_t)(next_random() >> 1 >>
				      (shift == 1 ? next_random() % 63 : (uint64_t)shift));
	if (i % 50 == 0)
		r.need_bump_bytes = INT64_MAX - 1;
	r.start_ns = i * 7919 + (int64_t)(next_random() % 100000);
	if (i == 5)
		r.start_ns = INT64_MAX / 2;
	r.end_ns = r.start_ns + (int64_t)(next_random() >> 2 >> next_random() % 61);
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
	random_state = 7;
	assert_int_equal(trace_create(path, &t, &err), 0);
	for (int64_t i = 0; i < MANY; i++) {
		r = wild(i);
		assert_int_equal(trace_put_request(t, &r, NULL, 0, NULL, &err), 0);
	}
	commit(t);
	trace_close(t);
	snprintf(list, sizeof(list), "%s.txt", path);
	snprintf(command, sizeof(command), "sqlite3 %s 'SELECT * FROM request ORDER BY id' >%s",
		 path, list);
	assert_int_equal(system(command), 0);
	FILE *rows = fopen(list, "re");
	assert_non_null(rows);
	t = reopen();
	assert_int_equal(trace_requests_stored(t, &cursor, &err), 0);
	random_state = 7;
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
	random_state = 99;
	assert_int_equal(trace_create(path, &t, &err), 0);
	for (int64_t i = 0; i < MANY; i++) {
		r = sample(i);
		int64_t back = (int64_t)(next_random() % 97 == 0 ? next_random() % (1000 * MANY)
								 : next_random() % 9000);
		r.start_ns = back > r.start_ns ? 0 : r.start_ns - back;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, NULL, &err), 0);
	}
	commit(t);
	trace_close(t);
	check_stream(ARENA_BUMP);
	t = reopen();
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
		clean();
		struct trace *t = create_with(100);
		commit(t);
		trace_close(t);
		sql(damage[i]);
		t = reopen();
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
		uint8_t kind = (uint8_t)(next_random() % 3);
		ops[i] = (struct replay_op){
			.slot = (uint32_t)(next_random() % (i % 100 == 0 ? UINT32_MAX : 50)),
			.kind = kind,
			.align_log2 = (uint8_t)(next_random() % 64),
			.size_bytes =
				kind == REPLAY_FREE ? 0 : next_random() >> next_random() % 64,
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
	assert_int_equal(trace_create(path, &t, &err), 0);
	random_state = 42;
	uint64_t before[REQUESTS];
	size_t lengths[REQUESTS];
	for (int i = 0; i < REQUESTS; i++) {
		before[i] = random_state;
		lengths[i] = random_ops(ops, i == 20 ? MOST : next_random() % 9000);
		struct trace_request r = sample(i);
		assert_int_equal(trace_put_request(t, &r, ops, lengths[i], NULL, &err), 0);
		if (i % 7 == 0)
			commit(t);
	}
	struct trace_request none = sample(1);
	assert_int_equal(trace_put_request(t, &none, NULL, 0, NULL, &err), 0);
	commit(t);
	trace_close(t);
	t = reopen();
	for (int i = REQUESTS - 1; i >= 0; i--) {
		struct replay_op *got;
		size_t count;
		if (trace_replay(t, i + 1, &got, &count, &err) != 1)
			fail_msg("%s", err.text);
		random_state = before[i];
		if (i != 20)
			next_random();
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

static void test_store__a_killed_writer_leaves_what_it_committed(void **state)
{
	(void)state;
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct trace *t = create_with(500);
		struct err err;
		if (trace_commit(t, &err) != 0)
			_exit(1);
		/* enough to spill from the page cache into the file */
		for (int64_t i = 500; i < 250000; i++) {
			struct trace_request r = sample(i);
			if (trace_put_request(t, &r, NULL, 0, NULL, &err) != 0)
				_exit(1);
		}
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	char byte;
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	char digest[65];
	size_t count;
	load_digest(digest, &count);
	assert_int_equal(count, 500);
}

static void test_store__without_a_commit_nothing_is_left(void **state)
{
	(void)state;
	trace_close(create_with(10));
	assert_int_equal(files_in_folder(), 0);
}

static void expect_refusal(int rc, const struct err *err, const char *words)
{
	assert_int_equal(rc, -1);
	assert_int_equal(err->kind, ERR_ENVIRONMENT);
	assert_null(strchr(err->text, '\n'));
	if (!strstr(err->text, words))
		fail_msg("\"%s\" lacks \"%s\"", err->text, words);
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
}

static void test_store__what_is_no_trace_is_told_apart(void **state)
{
	(void)state;
	struct err err;
	struct trace *t;
	expect_refusal(trace_open(path, &t, &err), &err, "no trace");
	expect_refusal(trace_open(folder, &t, &err), &err, "directory");
	write_file("");
	expect_refusal(trace_open(path, &t, &err), &err, "is empty");
	write_file("hello, world");
	expect_refusal(trace_open(path, &t, &err), &err, "not a trace");
	unlink(path);
	sql("CREATE TABLE t(x)");
	expect_refusal(trace_open(path, &t, &err), &err, "another program");
	unlink(path);
	trace_close((t = create_with(1), commit(t), t));
	sql("PRAGMA user_version=99");
	expect_refusal(trace_open(path, &t, &err), &err, "newer pail");
	if (geteuid() != 0) {
		chmod(path, 0);
		expect_refusal(trace_open(path, &t, &err), &err, "cannot read");
	}
}

static void test_store__other_files_are_not_overwritten(void **state)
{
	(void)state;
	struct err err;
	struct trace *t;
	write_file("my thesis, the only copy; long enough to be no accident. "
		   "..............................................................");
	expect_refusal(trace_create(path, &t, &err), &err, "not a trace");
	unlink(path);
	sql("CREATE TABLE t(x)");
	expect_refusal(trace_create(path, &t, &err), &err, "not a trace");
	unlink(path);
	expect_refusal(trace_create(folder, &t, &err), &err, "directory");
	assert_int_equal(files_in_folder(), 0);
	/* one that appears between create and commit is not either */
	t = create_with(1);
	write_file("late, but mine: .............................................."
		   "..............................................................");
	expect_refusal(trace_commit(t, &err), &err, "not a trace");
	trace_close(t);
	assert_int_equal(files_in_folder(), 1);
	unlink(path);
	/* a trace is replaced, and only at the commit */
	t = create_with(5);
	commit(t);
	trace_close(t);
	trace_close(create_with(9));
	char digest[65];
	size_t count;
	load_digest(digest, &count);
	assert_int_equal(count, 5);
	t = create_with(9);
	commit(t);
	trace_close(t);
	load_digest(digest, &count);
	assert_int_equal(count, 9);
}

static void test_store__a_full_disk_keeps_what_was_committed(void **state)
{
	(void)state;
	/* RLIMIT_FSIZE stands for the disk: writes past it fail with EFBIG. */
	pid_t pid = fork();
	if (pid == 0) {
		struct err err = {0};
		signal(SIGXFSZ, SIG_IGN);
		struct trace *t = create_with(2000);
		if (trace_put_meta(t, "lost_requests", "          0", &err) != 0 ||
		    trace_commit(t, &err) != 0)
			_exit(1);
		struct stat st;
		stat(path, &st);
		struct rlimit limit = {(rlim_t)st.st_size, (rlim_t)st.st_size};
		setrlimit(RLIMIT_FSIZE, &limit);
		int rc = 0;
		for (int64_t i = 2000; rc == 0 && i < 300000; i++) {
			struct trace_request r = sample(i);
			rc = trace_put_request(t, &r, NULL, 0, NULL, &err);
		}
		if (rc == 0)
			rc = trace_commit(t, &err);
		if (rc == 0)
			_exit(2); /* the limit did not bite: the test shows nothing */
		if (trace_rollback(t, &err) != 0)
			_exit(3);
		if (trace_amend_meta(t, "lost_requests", "        500", &err) != 0) {
			fprintf(stderr, "%s\n", err.text);
			_exit(4);
		}
		trace_close(t);
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	char digest[65];
	size_t count;
	load_digest(digest, &count);
	assert_int_equal(count, 2000);
	struct trace *t = reopen();
	assert_non_null(strstr(trace_meta(t, "lost_requests"), "500"));
	trace_close(t);
	assert_int_equal(files_in_folder(), 1);
}

static void test_store__after_a_rollback_writing_goes_on(void **state)
{
	(void)state;
	struct err err;
	struct trace *t = create_with(300);
	commit(t);
	for (int64_t i = 300; i < 600; i++) {
		struct trace_request r = sample(i);
		r.route = STR("GET /only-here");
		assert_int_equal(trace_put_request(t, &r, NULL, 0, NULL, &err), 0);
	}
	assert_int_equal(trace_rollback(t, &err), 0);
	for (int64_t i = 300; i < 400; i++) {
		struct trace_request r = sample(i);
		int64_t id;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, &id, &err), 0);
		assert_int_equal(id, i + 1);
	}
	commit(t);
	trace_close(t);
	char after[65], straight[65];
	size_t count;
	load_digest(after, &count);
	assert_int_equal(count, 400);
	t = create_with(400);
	commit(t);
	trace_close(t);
	load_digest(straight, &count);
	assert_string_equal(after, straight);
}

static void test_store__the_views_answer(void **state)
{
	(void)state;
	struct trace *t = create_with(700);
	commit(t);
	trace_close(t);
	sql("SELECT * FROM route_summary; SELECT * FROM site_summary;"
	    "SELECT max(in_flight), min(in_flight) FROM concurrency");
	char command[600];
	snprintf(command, sizeof(command),
		 "test \"$(sqlite3 %s \"SELECT sum(requests) FROM route_summary\")\" = 700 &&"
		 "test \"$(sqlite3 %s \"SELECT min(in_flight) FROM concurrency\")\" = 0 &&"
		 "test \"$(sqlite3 %s \"PRAGMA integrity_check\")\" = ok",
		 path, path, path);
	assert_int_equal(system(command), 0);
}

static void test_pack__columns_of_every_width_come_back(void **state)
{
	(void)state;
	enum { N = 1000 };
	int64_t in[N], out[N];
	random_state = 7;
	for (int round = 0; round < 200; round++) {
		int shift = round % 64;
		for (int i = 0; i < N; i++)
			in[i] = (int64_t)(next_random() >> shift) +
				(round % 3 == 0 ? i * INT64_C(1000000000000) : 0);
		if (round == 199) {
			in[0] = INT64_MIN;
			in[1] = INT64_MAX;
		}
		struct buf packed;
		buf_init(&packed);
		assert_int_equal(pack_column(in, N, &packed), 0);
		assert_int_equal(unpack_column(packed.bytes, packed.length, out, N), 0);
		assert_memory_equal(in, out, sizeof(in));
		/* neither one more nor one byte less */
		assert_int_equal(unpack_column(packed.bytes, packed.length - 1, out, N), -1);
		if (packed.bytes[1] != 0)
			assert_int_equal(unpack_column(packed.bytes, packed.length, out, N - 1),
					 -1);
		buf_release(&packed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_store__a_trace_is_its_owners_alone, start),
		cmocka_unit_test_setup(test_store__what_is_put_is_read_back, start),
		cmocka_unit_test_setup(test_store__columns_equal_rows_in_order, start),
		cmocka_unit_test_setup(test_store__a_stream_gives_the_columns_in_parts, start),
		cmocka_unit_test_setup(test_store__the_digest_does_not_depend_on_the_blocks,
				       start),
		cmocka_unit_test_setup(test_store__sqlite_alone_reads_every_value, start),
		cmocka_unit_test_setup(test_store__requests_come_in_order_of_start, start),
		cmocka_unit_test_setup(test_store__a_damaged_block_is_refused, start),
		cmocka_unit_test_setup(test_store__events_come_back_exactly_across_blocks,
				       start),
		cmocka_unit_test_setup(test_store__a_killed_writer_leaves_what_it_committed,
				       start),
		cmocka_unit_test_setup(test_store__without_a_commit_nothing_is_left, start),
		cmocka_unit_test_setup(test_store__what_is_no_trace_is_told_apart, start),
		cmocka_unit_test_setup(test_store__other_files_are_not_overwritten, start),
		cmocka_unit_test_setup(test_store__a_full_disk_keeps_what_was_committed, start),
		cmocka_unit_test_setup(test_store__after_a_rollback_writing_goes_on, start),
		cmocka_unit_test_setup(test_store__the_views_answer, start),
		cmocka_unit_test(test_pack__columns_of_every_width_come_back),
	};
	if (!mkdtemp(folder))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	clean();
	rmdir(folder);
	return failed;
}
