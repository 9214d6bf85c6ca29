/* SPDX-License-Identifier: MIT */
#include "cli/driving/rehearsal.h"
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

/* Where a request of the row ends: its class, or with retry the next bigger. */
static uint32_t last_class(const struct rehearsal_options *options,
			   const struct trace_columns *columns, size_t row)
{
	uint32_t route = columns->route_index[row], class = 0;
	if (options->routes == NULL)
		return 0;
	class = options->routes->class_of_route[route];
	if (options->routes->retry_of_route[route] && class + 1 < options->plan->class_count)
		class ++;
	return class;
}

static int add_row(struct trace *trace, const struct trace_columns *columns, size_t row,
		   const struct rehearsal_options *options, struct replay *replays,
		   struct replay_writer *writer, size_t *without_events, struct err *err)
{
	struct replay *replay = &replays[last_class(options, columns, row)];
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

/* Room for `count` requests and `bytes` of strings, and the routes as labels. */
static int load_reserve(const struct trace_columns *columns, size_t count, size_t bytes,
			struct load *load, struct err *err)
{
	load_init(load);
	load->request = calloc(count + 1, sizeof *load->request);
	load->page = calloc(1, sizeof *load->page);
	if (load->request == NULL || load->page == NULL ||
	    (load->page[0] = malloc(bytes + 1)) == NULL)
		return err_set(err, "out of memory for %zu requests", count);
	load->page_count = 1;
	for (size_t i = 0; i < columns->route_count; i++)
		if (load_label(load, str_of(columns->route[i])) != (int64_t)i)
			return err_set(err, "out of memory");
	load->request_count = count;
	return 0;
}

static struct load_request request_of(const struct trace_columns *columns, size_t row,
				      double speed)
{
	return (struct load_request){
		.at_ns = (int64_t)((double)(columns->arrival_ns[row] - columns->arrival_ns[0]) /
				   speed),
		.method = STR("GET"),
		.label = columns->route_index[row],
		.number = (uint32_t)row,
	};
}

static int load_fill(const struct trace_columns *columns, size_t count,
		     const struct rehearsal_options *options, struct load *load,
		     struct err *err)
{
	enum { TARGET_MAX = 48 };
	if (load_reserve(columns, count, count * TARGET_MAX, load, err) == -1)
		return -1;
	for (size_t i = 0; i < count; i++) {
		char *target = load->page[0] + i * TARGET_MAX;
		int rule = options->routes != NULL
				   ? options->routes->rule[columns->route_index[i]]
				   : -1;
		int n = rule >= 0 ? snprintf(target, TARGET_MAX, "/replay/r%d/%lld", rule,
					     (long long)columns->id[i])
				  : snprintf(target, TARGET_MAX, "/replay/%lld",
					     (long long)columns->id[i]);
		load->request[i] = request_of(columns, i, options->speed);
		load->request[i].target = (struct str){target, (size_t)n};
	}
	return 0;
}

void rehearsal_plan(const struct plan *plan, struct plan *replaying)
{
	*replaying = *plan;
	for (uint32_t i = 0; i < plan->route_count; i++)
		snprintf(replaying->route[i].pattern, sizeof replaying->route[i].pattern,
			 "/replay/r%u/", i);
}

static void replays_release(struct replay *replays, uint32_t count)
{
	for (uint32_t k = 0; k < count; k++)
		replay_release(&replays[k]);
}

int rehearsal_make(struct trace *trace, const struct trace_columns *columns, size_t count,
		   const struct rehearsal_options *options, const char *replay_path,
		   struct load *load, size_t *without_events, struct err *err)
{
	struct replay_writer *writer;
	struct replay replays[LIMITS_CLASSES_MAX];
	uint32_t classes = options->plan->class_count;
	assert(count <= columns->count && options->speed > 0 && classes > 0);
	*without_events = 0;
	if (load_fill(columns, count, options, load, err) == -1)
		return -1;
	for (uint32_t k = 0; k < classes; k++) {
		if (replay_init(&replays[k], options->plan->class[k].size_bytes) == 0)
			continue;
		err_errno(err, "cannot reserve a bucket of %llu bytes",
			  (unsigned long long)options->plan->class[k].size_bytes);
		replays_release(replays, k);
		return -1;
	}
	if (replay_writer_open(replay_path, &writer, err) == -1) {
		replays_release(replays, classes);
		return -1;
	}
	int result = 0;
	for (size_t i = 0; result == 0 && i < count; i++)
		result = add_row(trace, columns, i, options, replays, writer, without_events,
				 err);
	replays_release(replays, classes);
	if (result == 0)
		return replay_writer_close(writer, err);
	replay_writer_discard(writer);
	return -1;
}

/* -- as it was asked for -------------------------------------------------------- */

static bool can_be_sent(struct str text)
{
	for (size_t i = 0; i < text.length; i++)
		if ((unsigned char)text.bytes[i] <= ' ' || (unsigned char)text.bytes[i] >= 0x7f)
			return false;
	return text.length > 0;
}

/* What to ask for: as recorded, or what the route's name says. */
static int method_and_target(const struct trace_request *r, struct str *method,
			     struct str *target)
{
	*method = r->method;
	*target = r->target;
	if (!can_be_sent(*target) || target->bytes[0] != '/')
		str_cut(r->route, ' ', method, target);
	return can_be_sent(*method) && can_be_sent(*target) && target->bytes[0] == '/' ? 0 : -1;
}

static bool has_body(struct str method)
{
	return str_equal(method, STR("POST")) || str_equal(method, STR("PUT")) ||
	       str_equal(method, STR("PATCH"));
}

/* Goes over the rows; with a load it fills it, without it measures. */
static int targets_walk(struct trace *trace, const struct trace_columns *columns, size_t count,
			double speed, struct load *load, size_t *bytes, size_t *body_max,
			struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	size_t row = 0;
	int got = 1;
	char *at = load != NULL ? load->page[0] : NULL;
	if (trace_requests(trace, &cursor, err) == -1)
		return -1;
	while (row < count && (got = trace_next(cursor, &r, err)) == 1) {
		struct str method, target;
		if (r.id != columns->id[row])
			continue; /* came in since the columns were read */
		if (method_and_target(&r, &method, &target) == -1) {
			got = err_set(err,
				      "request %lld of '%s' is no HTTP request to ask again",
				      (long long)r.id, trace_path(trace));
			break;
		}
		size_t body = has_body(method) && r.bytes_in > 0 ? (size_t)r.bytes_in : 0;
		if (load == NULL) {
			*bytes += method.length + target.length;
			*body_max = body > *body_max ? body : *body_max;
		} else {
			struct load_request *q = &load->request[row];
			*q = request_of(columns, row, speed);
			q->method = (struct str){memcpy(at, method.bytes, method.length),
						 method.length};
			at += method.length;
			q->target = (struct str){memcpy(at, target.bytes, target.length),
						 target.length};
			at += target.length;
			q->body = (struct str){load->page[1], body};
		}
		row++;
	}
	trace_cursor_close(cursor);
	if (got != -1 && row < count)
		return err_set(err, "'%s' changed while it was read", trace_path(trace));
	return got == -1 ? -1 : 0;
}

int rehearsal_targets(struct trace *trace, const struct trace_columns *columns, size_t count,
		      double speed, struct load *load, struct err *err)
{
	size_t bytes = 0, body_max = 0;
	load_init(load);
	if (targets_walk(trace, columns, count, speed, NULL, &bytes, &body_max, err) == -1 ||
	    load_reserve(columns, count, bytes, load, err) == -1)
		return -1;
	char **page = realloc(load->page, 2 * sizeof *page);
	if (page == NULL)
		return err_set(err, "out of memory for %zu requests", count);
	load->page = page;
	page[1] = malloc(body_max + 1);
	if (page[1] == NULL)
		return err_set(err, "out of memory for a body of %zu bytes", body_max);
	load->page_count = 2;
	memset(page[1], 'x', body_max);
	return targets_walk(trace, columns, count, speed, load, &bytes, &body_max, err);
}
