/* SPDX-License-Identifier: MIT */
#include "stored.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char stored_folder[] = "/tmp/pail-store-XXXXXX";
char stored_path[64];
uint64_t stored_seed;

int stored_begin(void **state)
{
	(void)state;
	return mkdtemp(stored_folder) ? 0 : -1;
}

int stored_end(void **state)
{
	(void)state;
	stored_clean();
	return rmdir(stored_folder);
}

void stored_clean(void)
{
	char command[256];
	snprintf(command, sizeof(command), "rm -rf %s/* %s/.[!.]*", stored_folder,
		 stored_folder);
	assert_int_equal(system(command), 0);
}

int stored_files(void)
{
	char command[256];
	snprintf(command, sizeof(command), "exit $(ls -A %s | wc -l)", stored_folder);
	return WEXITSTATUS(system(command));
}

int stored_setup(void **state)
{
	(void)state;
	stored_clean();
	snprintf(stored_path, sizeof(stored_path), "%s/t.db", stored_folder);
	return 0;
}

uint64_t stored_random(void)
{
	stored_seed ^= stored_seed << 13;
	stored_seed ^= stored_seed >> 7;
	stored_seed ^= stored_seed << 17;
	return stored_seed;
}

struct trace_request stored_sample(int64_t i)
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

struct trace *stored_create(int64_t requests)
{
	struct err err;
	struct trace *t;
	if (trace_create(stored_path, &t, &err) != 0)
		fail_msg("%s", err.text);
	for (int64_t i = 0; i < requests; i++) {
		struct trace_request r = stored_sample(i);
		int64_t id;
		assert_int_equal(trace_put_request(t, &r, NULL, 0, &id, &err), 0);
		assert_int_equal(id, i + 1);
	}
	return t;
}

void stored_commit(struct trace *t)
{
	struct err err;
	if (trace_commit(t, &err) != 0)
		fail_msg("%s", err.text);
}

struct trace *stored_reopen(void)
{
	struct err err;
	struct trace *t;
	if (trace_open(stored_path, &t, &err) != 0)
		fail_msg("%s", err.text);
	return t;
}

void stored_sql(const char *statement)
{
	char command[512];
	snprintf(command, sizeof(command), "sqlite3 %s \"%s\" >/dev/null", stored_path,
		 statement);
	assert_int_equal(system(command), 0);
}

void stored_digest(char digest[65], size_t *count)
{
	struct err err;
	struct trace *t = stored_reopen();
	struct trace_columns columns;
	if (trace_columns_load(t, ARENA_BUMP, &columns, &err) != 0)
		fail_msg("%s", err.text);
	memcpy(digest, columns.sha256, 65);
	*count = columns.count;
	trace_columns_release(&columns);
	trace_close(t);
}
