/* SPDX-License-Identifier: MIT */
/*
 * The grid's pass where the trace is not in one piece of memory: in parts that are
 * forgotten (a stream), and in slices on many machines.
 */
#include "simulator/sim.h"
#include "simulator/pass.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- part by part, for traces larger than memory ------------------------------- */

struct grid_stream {
	struct pass pass;
	struct grid_ask ask;
	struct slots slots;
	struct slots_chunk *chunk;
	uint32_t *row_of;
	uint64_t *cell; /* [batch][count][size] */
	size_t batches;
	uint64_t requests; /* played so far */
	int64_t last_ns;
};

static void stream_free(struct grid_stream *stream)
{
	slots_release(&stream->slots);
	free(stream->chunk);
	free(stream->row_of);
	free(stream->cell);
	free(stream);
}

int grid_stream_open(const struct grid_ask *ask, struct grid_stream **stream, struct err *err)
{
	struct grid_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, "out of memory");
	s->ask = *ask;
	s->ask.keep_slots = false;
	const struct sim_trace nothing = {0};
	if (pass_make(&nothing, &s->ask, &s->pass, err) < 0) {
		free(s);
		return -1;
	}
	s->batches = ask->stream_requests && ask->batches ? ask->batches : 1;
	if (s->batches > ask->stream_requests && ask->stream_requests)
		s->batches = ask->stream_requests;
	s->pass.row_of = s->row_of = pass_rows_make(ask, s->pass.slot_count);
	s->cell = calloc(s->batches * s->pass.cells, sizeof(*s->cell));
	s->chunk = aligned_alloc(128, sizeof(*s->chunk));
	if (!s->row_of || !s->cell || !s->chunk ||
	    slots_init(&s->slots, s->pass.slot_count) < 0) {
		stream_free(s);
		return err_set(err, "no memory for a grid of %zu counts by %zu sizes",
			       ask->count_count, ask->size_count);
	}
	*stream = s;
	return 0;
}

/* Which batch the next request belongs to, and how many more do at most. */
static uint64_t *stream_cell(const struct grid_stream *s, size_t *left)
{
	if (s->batches == 1)
		return s->cell;
	unsigned __int128 total = s->ask.stream_requests;
	assert(total > 0); /* without a number of requests there is one batch */
	size_t batch = (size_t)(s->requests * (unsigned __int128)s->batches / total);
	uint64_t next = (uint64_t)(((batch + 1) * total + s->batches - 1) / s->batches);
	if (next - s->requests < *left)
		*left = next - s->requests;
	return s->cell + batch * s->pass.cells;
}

int grid_stream_add(struct grid_stream *stream, const struct sim_trace *part, struct err *err)
{
	return grid_stream_add_slots(stream, part, NULL, err);
}

int grid_stream_add_slots(struct grid_stream *stream, const struct sim_trace *part,
			  uint32_t *slot, struct err *err)
{
	struct pass *pass = &stream->pass;
	if (sim_trace_check(part, err) < 0)
		return -1;
	if (part->count && part->arrival_ns[0] < stream->last_ns)
		return err_set(err,
			       "a part of the trace begins before the one ahead of it ends");
	if (stream->ask.stream_requests &&
	    part->count > stream->ask.stream_requests - stream->requests)
		return err_set(err, "the trace holds more requests than it said");
	pass->trace = part;
	for (size_t row = 0, n; row < part->count; row += n) {
		size_t left = part->count - row;
		uint64_t *cell = stream_cell(stream, &left);
		n = pass_chunk_rows(pass, &stream->slots, row, left);
		pass_play(pass, &stream->slots, row, row + n, stream->chunk);
		pass_cells_add(pass, cell, row, n, stream->chunk->slot, 1);
		for (size_t i = 0; slot && i < n; i++) {
			uint32_t s = stream->chunk->slot[i];
			slot[row + i] = (s < pass->slot_count ? s : pass->slot_count) + 1;
		}
		stream->requests += n;
	}
	pass->trace = NULL;
	if (part->count)
		stream->last_ns = part->arrival_ns[part->count - 1];
	return 0;
}

int grid_stream_close(struct grid_stream *stream, struct grid *grid, struct err *err)
{
	int result = 0;
	if (grid && grid_init(grid, &stream->ask, stream->batches) < 0) {
		grid_release(grid);
		result = err_set(err, "out of memory");
	}
	if (grid && result == 0) {
		for (size_t b = 0; b < stream->batches; b++)
			grid_sum(grid, stream->cell + b * stream->pass.cells, b);
		grid->requests = stream->requests;
		grid->kernel = stream->pass.kernel->name;
	}
	stream_free(stream);
	return result;
}

/* ---- slices, for many machines ------------------------------------------------ */

struct grid_slice {
	struct pass pass;
	struct grid_ask ask;
	struct segment segment;
	uint32_t *row_of;
};

int grid_slice_run(const struct sim_trace *trace, const struct grid_ask *ask, size_t begin,
		   size_t end, struct grid_slice **slice, struct err *err)
{
	assert(begin <= end && end <= trace->count);
	struct grid_slice *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, "out of memory");
	s->ask = *ask;
	s->ask.batches = 1;
	if (pass_make(trace, &s->ask, &s->pass, err) < 0) {
		free(s);
		return -1;
	}
	s->pass.row_of = s->row_of = pass_rows_make(ask, s->pass.slot_count);
	if (!s->row_of || segment_init(&s->pass, &s->segment, begin, end) < 0 ||
	    (begin < end && segments_run(&s->pass, &s->segment, 1) < 0)) {
		grid_slice_free(s);
		return err_set(err, "no memory for a slice of the grid");
	}
	*slice = s;
	return 0;
}

int grid_slice_join(struct grid_slice *slice, const uint64_t *departure, struct err *err)
{
	struct segment left = {0};
	if (slots_init(&left.slots, slice->pass.slot_count) < 0)
		return err_set(err, "out of memory");
	uint64_t base = 0;
	if (slice->segment.begin < slice->pass.trace->count)
		base = (uint64_t)slice->pass.trace->arrival_ns[slice->segment.begin];
	slots_restore(&left.slots, departure, base);
	int64_t played = segment_repair(&slice->pass, &left, &slice->segment);
	slots_release(&left.slots);
	return played < 0 ? err_set(err, "out of memory") : 0;
}

const uint64_t *grid_slice_state(struct grid_slice *slice)
{
	slots_settle(&slice->segment.slots);
	return slice->segment.slots.departure;
}

const uint64_t *grid_slice_cells(const struct grid_slice *slice, size_t *count)
{
	*count = slice->pass.cells;
	return slice->segment.cell;
}

void grid_slice_free(struct grid_slice *slice)
{
	if (!slice)
		return;
	segment_release(&slice->segment);
	free(slice->row_of);
	free(slice);
}
