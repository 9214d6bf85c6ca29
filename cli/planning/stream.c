/* SPDX-License-Identifier: MIT */
#include "cli/planning/stream.h"

#include <stdlib.h>
#include <string.h>

/* One reading of the trace. */
struct reader {
	const struct traffic_ask *from;
	struct trace_stream *rows;
	uint64_t need_bytes[TRACE_PART_MAX]; /* with headroom */
	uint32_t slot[TRACE_PART_MAX];
	struct sim_trace part;
};

static int reader_open(struct reader *reader, const struct traffic_ask *from,
		       struct trace *trace, struct err *err)
{
	reader->from = from;
	return trace_stream_open(trace, from->policy, &reader->rows, err);
}

/* 1 and a part, 0 at the end, -1 error. */
static int reader_next(struct reader *reader, struct err *err)
{
	struct trace_part part;
	int more = trace_stream_next(reader->rows, &part, err);
	if (more != 1)
		return more;
	for (size_t i = 0; i < part.count; i++) {
		if (__builtin_add_overflow(part.need_bytes[i], reader->from->headroom_bytes,
					   &reader->need_bytes[i]))
			return err_usage(err, "--headroom: too large");
	}
	reader->part = (struct sim_trace){
		.count = part.count,
		.arrival_ns = part.arrival_ns,
		.service_ns = part.service_ns,
		.need_bytes = reader->need_bytes,
		.route_count = 1,
	};
	return 1;
}

/* As sim_trace_load() of the whole. */
static int sums_read(struct reader *reader, struct stream *stream, struct err *err)
{
	unsigned __int128 service = 0;
	uint64_t first = 0, last = 0;
	int more;
	while ((more = reader_next(reader, err)) == 1) {
		const struct sim_trace *part = &reader->part;
		if (sim_trace_check(part, err) < 0)
			return err_prefix(err, "'%s'", reader->from->path);
		if (stream->requests == 0)
			first = (uint64_t)part->arrival_ns[0];
		stream->requests += part->count;
		for (size_t i = 0; i < part->count; i++) {
			uint64_t s = (uint64_t)part->service_ns[i];
			uint64_t gone = (uint64_t)part->arrival_ns[i] + s;
			service += s;
			last = gone > last ? gone : last;
			if (part->need_bytes[i] > stream->load.need_max_bytes)
				stream->load.need_max_bytes = part->need_bytes[i];
			if (s > stream->load.service_max_ns)
				stream->load.service_max_ns = s;
		}
	}
	if (more < 0)
		return -1;
	if (stream->requests == 0)
		return err_set(err, "'%s' holds no requests", reader->from->path);
	stream->load.span_ns = (double)(last - first);
	stream->load.service_mean_ns = (double)service / (double)stream->requests;
	if (last > first)
		stream->load.offered = (double)service / stream->load.span_ns;
	return 0;
}

static int parts_play(struct reader *reader, struct grid_stream *grid,
		      struct evidence_stream *evidence, struct err *err)
{
	int more;
	while ((more = reader_next(reader, err)) == 1) {
		if (grid_stream_add_slots(grid, &reader->part, reader->slot, err) < 0)
			return err_prefix(err, "'%s'", reader->from->path);
		evidence_stream_add(evidence, &reader->part, reader->slot);
	}
	return more;
}

static int stream_play(struct reader *reader, const struct grid_ask *ask, struct stream *stream,
		       struct err *err)
{
	struct grid_stream *grid;
	struct evidence_stream *evidence;
	if (grid_stream_open(ask, &grid, err) < 0)
		return -1;
	if (evidence_stream_open(ask, &stream->load, stream->requests, &evidence, err) < 0) {
		grid_stream_close(grid, NULL, err);
		return -1;
	}
	int status = parts_play(reader, grid, evidence, err);
	evidence_stream_close(evidence, status == 0 ? &stream->evidence : NULL);
	if (status < 0) {
		grid_stream_close(grid, NULL, err);
		return -1;
	}
	return grid_stream_close(grid, &stream->grid, err);
}

int stream_run(const struct traffic_ask *from, struct grid_ask *ask, struct stream *stream,
	       struct err *err)
{
	*stream = (struct stream){0};
	struct trace *trace;
	struct reader *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return err_set(err, "out of memory");
	if (trace_open(from->path, &trace, err) < 0) {
		free(reader);
		return -1;
	}
	int status = reader_open(reader, from, trace, err);
	if (status == 0)
		status = sums_read(reader, stream, err);
	trace_stream_close(reader->rows);
	reader->rows = NULL;
	ask->stream_requests = stream->requests;
	if (status == 0)
		status = reader_open(reader, from, trace, err);
	if (status == 0)
		status = stream_play(reader, ask, stream, err);
	trace_stream_close(reader->rows);
	trace_close(trace);
	free(reader);
	if (status < 0)
		stream_release(stream);
	return status;
}

void stream_release(struct stream *stream)
{
	grid_release(&stream->grid);
	evidence_release(&stream->evidence);
}
