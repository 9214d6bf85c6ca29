/* SPDX-License-Identifier: MIT */
#include "cli/driving/rehearsal.h"
#include "base/replay_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BUCKET = 65536, ROWS = 4, MS = 1000000 };

static char folder[] = "/tmp/pail-test-rehearsal-XXXXXX";
static char db_path[64], replay_path[64];
static struct err err;

static void put(struct trace *trace, int64_t start_ns, int64_t end_ns, uint64_t need,
		const struct replay_op *ops, size_t count)
{
	struct trace_request r = {
		.process = 1,
		.connection = 1,
		.start_ns = start_ns,
		.end_ns = end_ns,
		.method = STR("GET"),
		.target = STR("/x?1"),
		.route = STR("/x"),
		.status = 200,
		.need_bump_bytes = (int64_t)need,
		.need_reuse_bytes = (int64_t)need,
		.ended_by = STR("response"),
	};
	int64_t id;
	if (trace_put_request(trace, &r, ops, count, &id, &err) == -1)
		fail_msg("%s", err.text);
}

/* Rows: one that fits, one that outgrows the bucket at its 8th block of 8 KiB,
 * two without events, of which one needs all of the bucket and one a byte more. */
static int set_up(void **state)
{
	(void)state;
	struct trace *trace;
	struct replay_op fits[] = {
		{.slot = 0, .kind = REPLAY_ALLOC, .size_bytes = 1000},
		{.slot = 0, .kind = REPLAY_REALLOC, .size_bytes = 3000},
		{.slot = 0, .kind = REPLAY_FREE},
	};
	struct replay_op grows[100] = {{0}};
	for (uint32_t i = 0; i < 100; i++)
		grows[i] =
			(struct replay_op){.slot = i, .kind = REPLAY_ALLOC, .size_bytes = 8192};
	assert_non_null(mkdtemp(folder));
	snprintf(db_path, sizeof db_path, "%s/t.db", folder);
	snprintf(replay_path, sizeof replay_path, "%s/r", folder);
	if (trace_create(db_path, &trace, &err) == -1)
		fail_msg("%s", err.text);
	put(trace, 1000 * MS, 1010 * MS, 3024, fits, 3);
	put(trace, 1004 * MS, 1104 * MS, 820800, grows, 100);
	put(trace, 1006 * MS, 1007 * MS, BUCKET, NULL, 0);
	put(trace, 1010 * MS, 1012 * MS, BUCKET + 1, NULL, 0);
	if (trace_commit(trace, &err) == -1)
		fail_msg("%s", err.text);
	trace_close(trace);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(db_path);
	unlink(replay_path);
	return rmdir(folder);
}

struct fixture {
	struct trace *trace;
	struct trace_columns columns;
	struct load load;
	struct replay_file file;
	size_t without_events;
};

static void make(struct fixture *f, double speed)
{
	static struct plan plan;
	limits_defaults(&plan);
	plan.class[0].size_bytes = BUCKET;
	struct rehearsal_options how = {.speed = speed, .plan = &plan, .policy = ARENA_REUSE};
	if (trace_open(db_path, &f->trace, &err) == -1 ||
	    trace_columns_load(f->trace, ARENA_REUSE, &f->columns, &err) == -1 ||
	    rehearsal_make(f->trace, &f->columns, ROWS, &how, replay_path, &f->load,
			   &f->without_events, &err) == -1 ||
	    replay_file_open(replay_path, &f->file, &err) == -1)
		fail_msg("%s", err.text);
}

static void release(struct fixture *f)
{
	replay_file_close(&f->file);
	load_release(&f->load);
	trace_columns_release(&f->columns);
	trace_close(f->trace);
}

/* Whether the list of a row fits into a bucket, and all but its last call. */
static void play(struct fixture *f, size_t row, bool *all, bool *but_last)
{
	struct replay replay;
	struct replay_need need;
	const struct replay_file_item *item = replay_file_find(&f->file, f->columns.id[row]);
	assert_non_null(item);
	assert_int_equal(replay_init(&replay, BUCKET), 0);
	const struct replay_op *ops = f->file.ops + item->op_first;
	*all = replay_run(&replay, ops, item->op_count, ARENA_REUSE, &need) == 0;
	*but_last = replay_run(&replay, ops, item->op_count - 1, ARENA_REUSE, &need) == 0;
	replay_release(&replay);
}

static void test_rehearsal__arrivals_keep_their_distances(void **state)
{
	(void)state;
	static const int64_t at[ROWS] = {0, 4 * MS, 6 * MS, 10 * MS};
	struct fixture f;
	make(&f, 2);
	assert_int_equal(f.load.request_count, ROWS);
	for (size_t i = 0; i < ROWS; i++) {
		char target[32];
		int n = snprintf(target, sizeof target, "/replay/%lld",
				 (long long)f.columns.id[i]);
		assert_int_equal(f.load.request[i].at_ns, at[i] / 2);
		assert_true(
			str_equal(f.load.request[i].target, (struct str){target, (size_t)n}));
	}
	assert_int_equal(f.without_events, 2);
	release(&f);
}

static void test_rehearsal__what_fits_is_replayed_whole_in_its_time(void **state)
{
	(void)state;
	struct fixture f;
	make(&f, 2);
	const struct replay_file_item *item = replay_file_find(&f.file, f.columns.id[0]);
	assert_int_equal(item->op_count, 3);
	assert_int_equal(item->service_ns, 5 * MS);
	bool all, but_last;
	play(&f, 0, &all, &but_last);
	assert_true(all);
	release(&f);
}

static void test_rehearsal__what_outgrows_its_bucket_ends_there_at_its_time(void **state)
{
	(void)state;
	struct fixture f;
	bool all, but_last;
	make(&f, 1);
	play(&f, 1, &all, &but_last);
	assert_false(all);
	assert_true(but_last);
	const struct replay_file_item *item = replay_file_find(&f.file, f.columns.id[1]);
	assert_int_equal(item->op_count, 8);
	/* the 8th of 100 calls in 100 ms: paced as recorded */
	assert_int_equal(item->service_ns, 8 * MS);
	release(&f);
}

static void test_rehearsal__without_events_the_need_alone_decides(void **state)
{
	(void)state;
	struct fixture f;
	bool all, but_last;
	make(&f, 1);
	play(&f, 2, &all, &but_last);
	assert_true(all);
	play(&f, 3, &all, &but_last);
	assert_false(all);
	release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rehearsal__arrivals_keep_their_distances),
		cmocka_unit_test(test_rehearsal__what_fits_is_replayed_whole_in_its_time),
		cmocka_unit_test(
			test_rehearsal__what_outgrows_its_bucket_ends_there_at_its_time),
		cmocka_unit_test(test_rehearsal__without_events_the_need_alone_decides),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
