/* SPDX-License-Identifier: MIT */
/*
 * The grid: one pass of the ordered hunt (slots.h) fills a histogram of
 * (slot, need), whose sums over rows and columns are the exact outcomes of
 * every (count, size).
 *
 * In parallel, and exactly: the trace is cut into segments of time. Each starts
 * from empty slots a little early, so that by its own first request it has
 * nearly always the slots that the true past would have left; then, from left
 * to right, a segment whose guess was wrong is played again from the true slots
 * until the two runs agree, and the difference is booked. So the numbers do not
 * depend on how the trace was cut. Four segments are played in turn by one
 * thread, which hides the latency of each.
 */
#include "simulator/sim.h"
#include "simulator/columns.h"
#include "simulator/heap.h"
#include "simulator/pass.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_LEAST = 16 * 2048 }; /* shorter ones are not worth cutting */

static uint32_t segment_count_for(const struct grid_ask *ask, uint32_t slot_count, size_t rows)
{
	size_t threads = ask->threads ? ask->threads : 1;
	size_t least = SEGMENT_LEAST > 256 * (size_t)slot_count ? SEGMENT_LEAST
								: 256 * (size_t)slot_count;
	size_t most = rows / least;
	size_t want = threads * SLOTS_LANES;
	if (most < SLOTS_LANES)
		return 1;
	return (uint32_t)(want < most ? want : most / SLOTS_LANES * SLOTS_LANES);
}

/* Sums of the cells from the first row and column on. */
void grid_sum(struct grid *grid, const uint64_t *cell, size_t batch)
{
	size_t columns = grid->size_count + 1;
	uint64_t *served = grid->served + batch * grid->count_count * grid->size_count;
	uint64_t *accepted = grid->accepted + batch * grid->count_count;
	for (size_t row = 0; row <= grid->count_count; row++) {
		uint64_t sum = 0;
		for (size_t column = 0; column <= grid->size_count; column++) {
			sum += cell[row * columns + column];
			if (row == grid->count_count)
				continue;
			if (column == grid->size_count) {
				accepted[row] = sum + (row ? accepted[row - 1] : 0);
				continue;
			}
			uint64_t above =
				row ? served[(row - 1) * grid->size_count + column] : 0;
			served[row * grid->size_count + column] = sum + above;
		}
		grid->offered[batch] += sum;
	}
}

static int grid_collect(const struct pass *pass, const struct segment *segment, uint32_t count,
			struct grid *grid)
{
	uint64_t *cell = calloc(pass->cells, sizeof(uint64_t));
	if (!cell)
		return -1;
	for (size_t batch = 0; batch < pass->batches; batch++) {
		memset(cell, 0, pass->cells * sizeof(uint64_t));
		for (uint32_t s = 0; s < count; s++) {
			if (batch < segment[s].batch_first ||
			    batch > pass_batch_of(pass, segment[s].end - 1))
				continue;
			const uint64_t *from = segment[s].cell +
					       (batch - segment[s].batch_first) * pass->cells;
			for (size_t i = 0; i < pass->cells; i++)
				cell[i] += from[i];
		}
		grid_sum(grid, cell, batch);
	}
	free(cell);
	return 0;
}

static int grid_pass(const struct pass *pass, struct grid *grid)
{
	uint32_t count = segment_count_for(pass->ask, pass->slot_count, pass->trace->count);
	struct segment *segment = calloc(count, sizeof(*segment));
	int result = segment ? 0 : -1;
	size_t rows = pass->trace->count;
	for (uint32_t s = 0; result == 0 && s < count; s++)
		result = segment_init(pass, &segment[s], rows * s / count,
				      rows * (s + 1) / count);
	if (result == 0)
		result = segments_run(pass, segment, count);
	for (uint32_t s = 1; result == 0 && s < count; s++) {
		int64_t played = segment_repair(pass, &segment[s - 1], &segment[s]);
		if (played < 0)
			result = -1;
		else
			grid->repaired += (uint64_t)played;
	}
	if (result == 0)
		result = grid_collect(pass, segment, count, grid);
	for (uint32_t s = 0; segment && s < count; s++)
		segment_release(&segment[s]);
	free(segment);
	return result;
}

int grid_init(struct grid *grid, const struct grid_ask *ask, size_t batches)
{
	*grid = (struct grid){.size_count = ask->size_count,
			      .count_count = ask->count_count,
			      .batches = batches};
	grid->served = calloc(batches * ask->count_count * ask->size_count, sizeof(uint64_t));
	grid->accepted = calloc(batches * ask->count_count, sizeof(uint64_t));
	grid->offered = calloc(batches, sizeof(uint64_t));
	return grid->served && grid->accepted && grid->offered ? 0 : -1;
}

static int no_grid(struct grid *grid, const struct grid_ask *ask, struct err *err)
{
	grid_release(grid);
	return err_set(err, "no memory for a grid of %zu counts by %zu sizes", ask->count_count,
		       ask->size_count);
}

int grid_run(const struct sim_trace *trace, const struct grid_ask *ask, struct grid *grid,
	     struct err *err)
{
	*grid = (struct grid){0};
	struct pass pass;
	if (pass_make(trace, ask, &pass, err) < 0)
		return -1;
	uint32_t *row_of = pass_rows_make(ask, pass.slot_count);
	int result = grid_init(grid, ask, pass.batches);
	grid->requests = trace->count;
	grid->kernel = pass.kernel->name;
	if (ask->keep_slots)
		grid->slot = column_alloc(trace->count, sizeof(uint32_t));
	pass.row_of = row_of;
	pass.slot = grid->slot;
	if (!row_of || (ask->keep_slots && !grid->slot))
		result = -1;
	if (result == 0 && trace->count)
		result = grid_pass(&pass, grid);
	free(row_of);
	return result < 0 ? no_grid(grid, ask, err) : 0;
}

int grid_of_slots(const struct sim_trace *trace, const struct grid_ask *ask,
		  const uint32_t *slot, struct grid *grid, struct err *err)
{
	*grid = (struct grid){0};
	struct pass pass;
	if (pass_make(trace, ask, &pass, err) < 0)
		return -1;
	uint32_t *row_of = pass_rows_make(ask, pass.slot_count);
	uint64_t *cell = calloc(pass.cells, sizeof(*cell));
	pass.row_of = row_of;
	int result = grid_init(grid, ask, pass.batches);
	if (!row_of || !cell)
		result = -1;
	grid->requests = trace->count;
	grid->kernel = pass.kernel->name;
	for (size_t batch = 0; result == 0 && trace->count && batch < pass.batches; batch++) {
		size_t end = pass_batch_begin(&pass, batch + 1);
		memset(cell, 0, pass.cells * sizeof(*cell));
		for (size_t row = pass_batch_begin(&pass, batch), n; row < end; row += n) {
			uint32_t from_zero[SLOTS_CHUNK];
			n = end - row < SLOTS_CHUNK ? end - row : SLOTS_CHUNK;
			for (size_t i = 0; i < n; i++)
				from_zero[i] = slot[row + i] - 1;
			pass_cells_add(&pass, cell, row, n, from_zero, 1);
		}
		grid_sum(grid, cell, batch);
	}
	free(row_of);
	free(cell);
	return result < 0 ? no_grid(grid, ask, err) : 0;
}

int grid_of_cells(const struct grid_ask *ask, const uint64_t *cells, struct grid *grid,
		  struct err *err)
{
	if (pass_ask_check(ask, err) < 0)
		return -1;
	if (grid_init(grid, ask, 1) < 0)
		return no_grid(grid, ask, err);
	grid_sum(grid, cells, 0);
	grid->requests = grid->offered[0];
	return 0;
}

void grid_release(struct grid *grid)
{
	free(grid->served);
	free(grid->accepted);
	free(grid->offered);
	free(grid->slot);
	*grid = (struct grid){0};
}

struct grid_outcome grid_batch_at(const struct grid *grid, size_t batch, size_t count_index,
				  size_t size_index)
{
	assert(batch < grid->batches && count_index < grid->count_count &&
	       size_index < grid->size_count);
	size_t row = batch * grid->count_count + count_index;
	uint64_t accepted = grid->accepted[row];
	uint64_t served = grid->served[row * grid->size_count + size_index];
	return (struct grid_outcome){
		.offered = grid->offered[batch],
		.rejected_500 = accepted - served,
		.rejected_503 = grid->offered[batch] - accepted,
	};
}

struct grid_outcome grid_at(const struct grid *grid, size_t count_index, size_t size_index)
{
	struct grid_outcome sum = {0};
	for (size_t b = 0; b < grid->batches; b++) {
		struct grid_outcome part = grid_batch_at(grid, b, count_index, size_index);
		sum.offered += part.offered;
		sum.rejected_500 += part.rejected_500;
		sum.rejected_503 += part.rejected_503;
	}
	return sum;
}

int grid_overlap(const struct sim_trace *trace, uint32_t *overlap, size_t *at, struct err *err)
{
	struct heap busy = {0};
	*overlap = 0;
	*at = 0;
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i];
		while (busy.count && busy.key[0] <= t)
			heap_pop(&busy);
		if (heap_reserve(&busy, busy.count + 1) < 0) {
			heap_release(&busy);
			return err_set(err, "no memory for %zu overlapping requests",
				       busy.count);
		}
		heap_push(&busy, t + (uint64_t)trace->service_ns[i]);
		if (busy.count > *overlap) {
			*overlap = (uint32_t)busy.count;
			*at = i;
		}
	}
	heap_release(&busy);
	return 0;
}
