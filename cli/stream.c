/* SPDX-License-Identifier: MIT */
#include "cli/stream.h"

#include <stdlib.h>

enum { PART = 65536 };

struct part {
	int64_t arrival_ns[PART], service_ns[PART];
	uint64_t need_bytes[PART];
	size_t count;
};

/* Sums over all parts. */
struct sums {
	int64_t first_ns, last_ns;
	unsigned __int128 service_ns;
	size_t requests;
};

static int part_put(struct part *part, const struct trace_request *r,
		    const struct traffic_ask *from, struct sums *sums, struct err *err)
{
	int64_t need = from->policy == ARENA_BUMP ? r->need_bump_bytes : r->need_reuse_bytes;
	int64_t service;
	if (__builtin_sub_overflow(r->end_ns, r->start_ns, &service) || service < 0 ||
	    need < 0 || r->start_ns < 0)
		return err_set(err, "'%s': request %lld ends before it begins, or is negative",
			       from->path, (long long)r->id);
	size_t at = part->count++;
	part->arrival_ns[at] = r->start_ns;
	part->service_ns[at] = service;
	if (__builtin_add_overflow((uint64_t)need, from->headroom_bytes, &part->need_bytes[at]))
		return err_usage(err, "--headroom: too large");
	if (sums->requests++ == 0)
		sums->first_ns = r->start_ns;
	sums->last_ns = r->end_ns > sums->last_ns ? r->end_ns : sums->last_ns;
	sums->service_ns += (uint64_t)service;
	return 0;
}

static int part_play(struct part *part, struct grid_stream *stream, struct err *err)
{
	const struct sim_trace view = {
		.count = part->count,
		.arrival_ns = part->arrival_ns,
		.service_ns = part->service_ns,
		.need_bytes = part->need_bytes,
		.route_count = 1,
	};
	part->count = 0;
	return grid_stream_add(stream, &view, err);
}

static int requests_play(struct trace *trace, const struct traffic_ask *from,
			 struct grid_stream *stream, struct sums *sums, struct err *err)
{
	struct trace_cursor *cursor;
	struct part *part = malloc(sizeof(*part));
	if (!part)
		return err_set(err, "out of memory");
	part->count = 0;
	if (trace_requests(trace, &cursor, err) < 0) {
		free(part);
		return -1;
	}
	struct trace_request request;
	int more, status = 0;
	while (status == 0 && (more = trace_next(cursor, &request, err)) != 0) {
		status = more < 0 ? -1 : part_put(part, &request, from, sums, err);
		if (status == 0 && part->count == PART)
			status = part_play(part, stream, err);
	}
	if (status == 0)
		status = part_play(part, stream, err);
	trace_cursor_close(cursor);
	free(part);
	return status;
}

int stream_run(const struct traffic_ask *from, const struct grid_ask *ask,
	       struct stream *stream, struct err *err)
{
	*stream = (struct stream){0};
	struct trace *trace;
	struct grid_stream *pass;
	if (trace_open(from->path, &trace, err) < 0)
		return -1;
	if (grid_stream_open(ask, &pass, err) < 0) {
		trace_close(trace);
		return -1;
	}
	struct sums sums = {0};
	int status = requests_play(trace, from, pass, &sums, err);
	if (status == 0 && sums.requests == 0)
		status = err_set(err, "'%s' holds no requests", from->path);
	if (status == 0) {
		status = grid_stream_close(pass, &stream->grid, err);
		stream->span_ns = (uint64_t)(sums.last_ns - sums.first_ns);
		if (stream->span_ns > 0)
			stream->offered = (double)sums.service_ns / (double)stream->span_ns;
	} else {
		grid_stream_close(pass, NULL, err);
	}
	trace_close(trace);
	return status;
}

void stream_release(struct stream *stream)
{
	grid_release(&stream->grid);
}
