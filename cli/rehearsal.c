/* SPDX-License-Identifier: MIT */
#include "cli/rehearsal.h"
#include "base/replay_file.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many calls of the list a bucket takes part in: all, or up to and with
 * the first that does not fit. `replay` spans exactly one bucket. */
static int calls_until_full(struct replay *replay, const struct replay_op *ops, size_t count,
			    enum arena_policy policy, size_t *calls)
{
	struct replay_need need;
	size_t fits = 0, too_many = 1;
	/* Double until it overflows, then halve the gap: a list of millions of
	 * calls that dies early is never played to its end. */
	for (;;) {
		size_t n = too_many < count ? too_many : count;
		int result = replay_run(replay, ops, n, policy, &need);
		if (result == -1 && errno != ENOMEM)
			return -1;
		if (result == -1) {
			too_many = n;
			break;
		}
		fits = n;
		if (n == count) {
			*calls = count;
			return 0;
		}
		too_many *= 2;
	}
	while (too_many - fits > 1) {
		size_t middle = fits + (too_many - fits) / 2;
		if (replay_run(replay, ops, middle, policy, &need) == 0)
			fits = middle;
		else if (errno == ENOMEM)
			too_many = middle;
		else
			return -1;
	}
	*calls = too_many;
	return 0;
}

/* One block that fits into a bucket just when `need_bytes` does. Buckets are
 * whole pages; an arena with one block of size s, 8 more than a multiple of 16,
 * ends at s + 16, and so short of a page's end by 8. */
static size_t block_of_need(uint64_t need_bytes, struct replay_op *op)
{
	enum { AROUND_BYTES = 24 };
	uint64_t rounded = (need_bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	*op = (struct replay_op){.kind = REPLAY_ALLOC};
	if (need_bytes == 0)
		return 0;
	op->size_bytes = rounded > AROUND_BYTES ? rounded - AROUND_BYTES : 0;
	return 1;
}

static int add_row(struct trace *trace, const struct trace_columns *columns, size_t row,
		   const struct rehearsal_options *options, struct replay *replay,
		   struct replay_writer *writer, size_t *without_events, struct err *err)
{
	struct replay_op *ops = NULL, whole;
	size_t count = 0, calls = 0;
	int found = trace_replay(trace, columns->id[row], &ops, &count, err);
	if (found == -1)
		return -1;
	const struct replay_op *list = ops;
	if (found == 0) {
		count = block_of_need(columns->need_bytes[row], &whole);
		list = &whole;
		++*without_events;
	}
	int result = 0;
	if (count > 0 && calls_until_full(replay, list, count, options->policy, &calls) == -1)
		result = err_errno(err, "request %lld of '%s' cannot be replayed",
				   (long long)columns->id[row], trace_path(trace));
	if (result == 0) {
		double service = (double)columns->service_ns[row] / options->speed;
		if (count > 0)
			service *= (double)calls / (double)count;
		result = replay_writer_add(writer, columns->id[row], (int64_t)service, list,
					   calls, err);
	}
	free(ops);
	return result;
}

static int load_fill(const struct trace_columns *columns, size_t count, double speed,
		     struct load *load, struct err *err)
{
	enum { TARGET_MAX = 32 };
	load_init(load);
	load->request = calloc(count + 1, sizeof *load->request);
	load->page = calloc(1, sizeof *load->page);
	if (load->request == NULL || load->page == NULL ||
	    (load->page[0] = malloc((count + 1) * TARGET_MAX)) == NULL)
		return err_set(err, "out of memory for %zu requests", count);
	load->page_count = 1;
	for (size_t i = 0; i < columns->route_count; i++)
		if (load_label(load, str_of(columns->route[i])) != (int64_t)i)
			return err_set(err, "out of memory");
	for (size_t i = 0; i < count; i++) {
		char *target = load->page[0] + i * TARGET_MAX;
		int n = snprintf(target, TARGET_MAX, "/replay/%lld", (long long)columns->id[i]);
		load->request[i] = (struct load_request){
			.at_ns = (int64_t)((double)(columns->arrival_ns[i] -
						    columns->arrival_ns[0]) /
					   speed),
			.method = STR("GET"),
			.target = {target, (size_t)n},
			.label = columns->route_index[i],
			.number = (uint32_t)i,
		};
	}
	load->request_count = count;
	return 0;
}

int rehearsal_make(struct trace *trace, const struct trace_columns *columns, size_t count,
		   const struct rehearsal_options *options, const char *replay_path,
		   struct load *load, size_t *without_events, struct err *err)
{
	struct replay_writer *writer;
	struct replay replay;
	assert(count <= columns->count && options->speed > 0);
	*without_events = 0;
	if (load_fill(columns, count, options->speed, load, err) == -1)
		return -1;
	if (replay_init(&replay, options->bucket_bytes) == -1)
		return err_errno(err, "cannot reserve a bucket of %llu bytes",
				 (unsigned long long)options->bucket_bytes);
	if (replay_writer_open(replay_path, &writer, err) == -1) {
		replay_release(&replay);
		return -1;
	}
	int result = 0;
	for (size_t i = 0; result == 0 && i < count; i++)
		result = add_row(trace, columns, i, options, &replay, writer, without_events,
				 err);
	replay_release(&replay);
	if (result == 0)
		return replay_writer_close(writer, err);
	replay_writer_discard(writer);
	return -1;
}
