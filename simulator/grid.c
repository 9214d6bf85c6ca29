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
#include "simulator/slots.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	WARM_UP = 2048,            /* requests played before a segment, at least */
	SEGMENT_LEAST = 16 * 2048, /* shorter ones are not worth cutting */
	REPAIR_STEP = 64,          /* requests between two looks whether runs agree */
};

/* What all segments share. */
struct pass {
	const struct sim_trace *trace;
	const struct grid_ask *ask;
	const struct slots_kernel *kernel;
	uint32_t slot_count;    /* greatest count asked for */
	const uint32_t *row_of; /* by 0-based slot: index of the least count above it */
	size_t batches, cells;  /* cells: rows x columns of one batch */
	uint32_t *slot;         /* by request, or NULL */
};

struct segment {
	size_t begin, end;  /* rows of the trace */
	size_t batch_first; /* of `begin` */
	uint64_t *cell;     /* [batch][row][column] from batch_first on */
	struct slots slots; /* at `end` once run */
	uint64_t *guess;    /* departures at `begin` as the warm-up left them */
};

static size_t batch_of(const struct pass *pass, size_t row)
{
	return (size_t)((unsigned __int128)row * pass->batches / pass->trace->count);
}

/* The first row of a batch. */
static size_t batch_begin(const struct pass *pass, size_t batch)
{
	return (size_t)(((unsigned __int128)batch * pass->trace->count + pass->batches - 1) /
			pass->batches);
}

/* How many requests from `row` on, at most `limit`, lie in reach of a base. */
static size_t rows_in_reach(const struct sim_trace *trace, size_t row, size_t limit,
			    uint64_t base)
{
	uint64_t last = (uint64_t)trace->arrival_ns[row + limit - 1] - base;
	if (last <= SLOTS_REACH)
		return limit;
	size_t low = 0, high = limit - 1; /* row + high is out of reach */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if ((uint64_t)trace->arrival_ns[row + middle] - base <= SLOTS_REACH)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Moves the base when the row's arrival is out of its reach; gives the number
 * of rows, at most `limit`, that can go into one chunk. */
static size_t chunk_rows(const struct pass *pass, struct slots *slots, size_t row, size_t limit)
{
	uint64_t arrival = (uint64_t)pass->trace->arrival_ns[row];
	if (limit > SLOTS_CHUNK)
		limit = SLOTS_CHUNK;
	if (arrival - slots->base > SLOTS_REACH)
		slots_rebase(slots, arrival);
	size_t n = rows_in_reach(pass->trace, row, limit, slots->base);
	assert(n > 0);
	return n;
}

/* An oversize request that leaves early holds its bucket while it grows evenly
 * to the size: service x size / need, rounded down. */
static int64_t early_service(int64_t service_ns, uint64_t need, uint64_t size)
{
	if (need <= size)
		return service_ns;
	return (int64_t)((unsigned __int128)service_ns * size / need);
}

static void chunk_prepare(const struct pass *pass, const struct slots *slots, size_t row,
			  size_t n, struct slots_chunk *chunk)
{
	const struct sim_trace *trace = pass->trace;
	const int64_t *service = trace->service_ns + row;
	int64_t shortened[SLOTS_CHUNK];
	if (pass->ask->early_size) {
		for (size_t i = 0; i < n; i++)
			shortened[i] = early_service(service[i], trace->need_bytes[row + i],
						     pass->ask->early_size);
		service = shortened;
	}
	chunk->latest =
		pass->kernel->prepare(chunk, trace->arrival_ns + row, service, slots->base, n);
}

/* A key below NEVER is a departure exactly; only those beyond reach are kept
 * beside the keys. */
static void departures_store(const struct pass *pass, struct slots *slots, size_t row, size_t n,
			     const struct slots_chunk *chunk)
{
	const struct sim_trace *trace = pass->trace;
	if (chunk->latest != SLOTS_NEVER)
		return;
	for (size_t i = 0; i < n; i++) {
		if (chunk->departure[i] != SLOTS_NEVER || chunk->slot[i] >= slots->count)
			continue;
		int64_t service = trace->service_ns[row + i];
		if (pass->ask->early_size)
			service = early_service(service, trace->need_bytes[row + i],
						pass->ask->early_size);
		slots->departure[chunk->slot[i]] =
			(uint64_t)trace->arrival_ns[row + i] + (uint64_t)service;
	}
}

/* Books n rows that lie in one batch. */
static void cells_add(const struct pass *pass, uint64_t *cell, size_t row, size_t n,
		      const uint32_t *slot, uint64_t weight)
{
	uint32_t bin[SLOTS_CHUNK];
	size_t columns = pass->ask->size_count + 1;
	pass->kernel->bins(bin, pass->trace->need_bytes + row, n, pass->ask->sizes,
			   pass->ask->size_count);
	const uint32_t *row_of = pass->row_of;
	uint32_t none = pass->slot_count;
	for (size_t i = 0; i < n; i++) {
		uint32_t s = slot[i] < none ? slot[i] : none;
		cell[row_of[s] * columns + bin[i]] += weight;
	}
}

static void segment_book(const struct pass *pass, struct segment *segment, size_t row, size_t n,
			 const struct slots_chunk *chunk, uint64_t weight)
{
	for (size_t done = 0; done < n;) {
		size_t batch = batch_of(pass, row + done);
		size_t left = batch_begin(pass, batch + 1) - (row + done);
		size_t part = n - done < left ? n - done : left;
		cells_add(pass, segment->cell + (batch - segment->batch_first) * pass->cells,
			  row + done, part, chunk->slot + done, weight);
		done += part;
	}
}

static void slots_keep(const struct pass *pass, size_t row, size_t n,
		       const struct slots_chunk *chunk)
{
	if (!pass->slot)
		return;
	for (size_t i = 0; i < n; i++) {
		uint32_t s = chunk->slot[i];
		pass->slot[row + i] = (s < pass->slot_count ? s : pass->slot_count) + 1;
	}
}

/* Plays rows [row, end) of one search, booking nothing. */
static void play(const struct pass *pass, struct slots *slots, size_t row, size_t end,
		 struct slots_chunk *chunk)
{
	struct slots *one[1] = {slots};
	struct slots_chunk *chunks[1] = {chunk};
	while (row < end) {
		size_t n = chunk_rows(pass, slots, row, end - row);
		chunk_prepare(pass, slots, row, n, chunk);
		pass->kernel->hunt(one, chunks, 1, n);
		departures_store(pass, slots, row, n, chunk);
		row += n;
	}
}

/* Plays `lanes` segments to their ends, in turn while all have requests left. */
static void segments_play(const struct pass *pass, struct segment *segment, uint32_t lanes,
			  struct slots_chunk *chunks)
{
	struct slots *slots[SLOTS_LANES];
	struct slots_chunk *chunk[SLOTS_LANES];
	size_t row[SLOTS_LANES];
	for (uint32_t i = 0; i < lanes; i++) {
		slots[i] = &segment[i].slots;
		chunk[i] = &chunks[i];
		row[i] = segment[i].begin;
	}
	bool together = lanes == SLOTS_LANES;
	for (uint32_t first = 0; first < lanes;) {
		uint32_t width = together ? lanes : 1;
		size_t n = SLOTS_CHUNK;
		for (uint32_t i = first; i < first + width; i++) {
			size_t left = segment[i].end - row[i];
			if (left == 0) {
				n = 0;
				break;
			}
			size_t rows = chunk_rows(pass, slots[i], row[i], left);
			n = rows < n ? rows : n;
		}
		if (n == 0) {
			/* One is done: the others go on alone, one after the other. */
			first += together ? 0 : 1;
			together = false;
			continue;
		}
		for (uint32_t i = first; i < first + width; i++)
			chunk_prepare(pass, slots[i], row[i], n, chunk[i]);
		pass->kernel->hunt(slots + first, chunk + first, width, n);
		for (uint32_t i = first; i < first + width; i++) {
			departures_store(pass, slots[i], row[i], n, chunk[i]);
			segment_book(pass, &segment[i], row[i], n, chunk[i], 1);
			slots_keep(pass, row[i], n, chunk[i]);
			row[i] += n;
		}
	}
}

struct worker {
	const struct pass *pass;
	struct segment *segment; /* of all */
	uint32_t first, lanes;
	struct slots_chunk *chunks;
};

static void *worker_run(void *arg)
{
	struct worker *worker = arg;
	for (uint32_t i = 0; i < worker->lanes; i++) {
		struct segment *segment = &worker->segment[worker->first + i];
		size_t warm = WARM_UP > 16 * (size_t)worker->pass->slot_count
				      ? WARM_UP
				      : 16 * (size_t)worker->pass->slot_count;
		size_t from = segment->begin > warm ? segment->begin - warm : 0;
		play(worker->pass, &segment->slots, from, segment->begin, worker->chunks);
		slots_settle(&segment->slots);
		memcpy(segment->guess, segment->slots.departure,
		       worker->pass->slot_count * sizeof(uint64_t));
	}
	segments_play(worker->pass, worker->segment + worker->first, worker->lanes,
		      worker->chunks);
	return NULL;
}

/* Plays a segment's head from the slots that its left neighbour truly left and
 * from those it guessed, until no later request could tell them apart. Returns
 * the number of requests played twice, or -1 for want of memory. */
static int64_t segment_repair(const struct pass *pass, struct segment *left,
			      struct segment *segment)
{
	struct slots truth, guess;
	struct slots_chunk *chunk = aligned_alloc(128, 2 * sizeof(*chunk));
	if (slots_init(&truth, pass->slot_count) < 0) {
		free(chunk);
		return -1;
	}
	if (slots_init(&guess, pass->slot_count) < 0 || !chunk) {
		slots_release(&truth);
		free(chunk);
		return -1;
	}
	slots_settle(&left->slots);
	slots_copy(&truth, &left->slots);
	slots_restore(&guess, segment->guess, truth.base);

	size_t row = segment->begin;
	while (row < segment->end &&
	       !slots_same_from(&truth, &guess, (uint64_t)pass->trace->arrival_ns[row])) {
		size_t left_rows = segment->end - row;
		size_t n = left_rows < REPAIR_STEP ? left_rows : REPAIR_STEP;
		size_t rows = chunk_rows(pass, &truth, row, n);
		n = chunk_rows(pass, &guess, row, rows);
		play(pass, &truth, row, row + n, &chunk[0]);
		play(pass, &guess, row, row + n, &chunk[1]);
		segment_book(pass, segment, row, n, &chunk[1], (uint64_t)-1);
		segment_book(pass, segment, row, n, &chunk[0], 1);
		slots_keep(pass, row, n, &chunk[0]);
		slots_settle(&truth);
		slots_settle(&guess);
		row += n;
	}
	if (row == segment->end)
		slots_copy(&segment->slots, &truth);
	int64_t played = (int64_t)(row - segment->begin);
	slots_release(&truth);
	slots_release(&guess);
	free(chunk);
	return played;
}

static void segment_release(struct segment *segment)
{
	slots_release(&segment->slots);
	free(segment->cell);
	free(segment->guess);
}

static int segment_init(const struct pass *pass, struct segment *segment, size_t begin,
			size_t end)
{
	*segment = (struct segment){.begin = begin, .end = end};
	segment->batch_first = begin < end ? batch_of(pass, begin) : 0;
	/* A slice may be empty: more machines than requests. */
	size_t batches = begin < end ? batch_of(pass, end - 1) - segment->batch_first + 1 : 1;
	segment->cell = calloc(batches * pass->cells, sizeof(uint64_t));
	segment->guess = calloc(pass->slot_count, sizeof(uint64_t));
	if (!segment->cell || !segment->guess ||
	    slots_init(&segment->slots, pass->slot_count) < 0) {
		segment_release(segment);
		return -1;
	}
	return 0;
}

/* Runs all segments; the calling thread is the first worker. */
static int segments_run(const struct pass *pass, struct segment *segment, uint32_t count)
{
	uint32_t workers = (count + SLOTS_LANES - 1) / SLOTS_LANES;
	struct worker *worker = calloc(workers, sizeof(*worker));
	pthread_t *thread = calloc(workers, sizeof(*thread));
	bool *running = calloc(workers, sizeof(*running));
	/* A worker's chunks are its own, far from its neighbour's cache lines. */
	struct slots_chunk *chunks =
		aligned_alloc(128, (size_t)workers * SLOTS_LANES * sizeof(*chunks));
	int result = worker && thread && running && chunks ? 0 : -1;
	for (uint32_t w = 0; result == 0 && w < workers; w++) {
		uint32_t first = w * SLOTS_LANES;
		uint32_t lanes = count - first < SLOTS_LANES ? count - first : SLOTS_LANES;
		worker[w] = (struct worker){pass, segment, first, lanes,
					    chunks + (size_t)w * SLOTS_LANES};
		if (w > 0)
			running[w] =
				pthread_create(&thread[w], NULL, worker_run, &worker[w]) == 0;
	}
	for (uint32_t w = 0; result == 0 && w < workers; w++) {
		/* A thread that could not be had is no error: its part runs here. */
		if (running[w])
			pthread_join(thread[w], NULL);
		else
			worker_run(&worker[w]);
	}
	free(worker);
	free(thread);
	free(running);
	free(chunks);
	return result;
}

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

static int ask_check(const struct grid_ask *ask, struct err *err)
{
	if (ask->size_count == 0 || ask->count_count == 0)
		return err_usage(err, "the grid needs at least one size and one count");
	if (ask->size_count > GRID_SIZES_MAX)
		return err_usage(err, "%zu sizes are more than the grid takes (%d)",
				 ask->size_count, GRID_SIZES_MAX);
	for (size_t i = 0; i < ask->size_count; i++) {
		if (ask->sizes[i] == 0 || (i && ask->sizes[i] <= ask->sizes[i - 1]))
			return err_usage(err, "sizes must be above 0 and ascend");
	}
	for (size_t i = 0; i < ask->count_count; i++) {
		if (ask->counts[i] == 0 || (i && ask->counts[i] <= ask->counts[i - 1]))
			return err_usage(err, "counts must be above 0 and ascend");
	}
	if (ask->counts[ask->count_count - 1] > GRID_COUNTS_MAX)
		return err_usage(err, "a count of %u is more than the grid takes (%d)",
				 ask->counts[ask->count_count - 1], GRID_COUNTS_MAX);
	if (ask->early_size && (ask->size_count != 1 || ask->sizes[0] != ask->early_size))
		return err_usage(err, "leaving early is one pass per size");
	return 0;
}

/* row_of[slot] = index of the least count that has that slot. */
static uint32_t *rows_make(const struct grid_ask *ask, uint32_t slot_count)
{
	uint32_t *row_of = malloc(((size_t)slot_count + 1) * sizeof(*row_of));
	if (!row_of)
		return NULL;
	uint32_t row = 0;
	for (uint32_t slot = 0; slot < slot_count; slot++) {
		if (slot >= ask->counts[row])
			row++;
		row_of[slot] = row;
	}
	row_of[slot_count] = (uint32_t)ask->count_count;
	return row_of;
}

/* Sums of the cells from the first row and column on. */
static void grid_sum(struct grid *grid, const uint64_t *cell, size_t batch)
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
			    batch > batch_of(pass, segment[s].end - 1))
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

static int pass_make(const struct sim_trace *trace, const struct grid_ask *ask,
		     struct pass *pass, struct err *err)
{
	if (ask_check(ask, err) < 0)
		return -1;
	*pass = (struct pass){.trace = trace, .ask = ask};
	pass->kernel = slots_kernel_choose(ask->kernel);
	if (!pass->kernel)
		return err_usage(err,
				 "no kernel '%s' on this machine: portable, avx2 or avx512",
				 ask->kernel);
	pass->slot_count = ask->counts[ask->count_count - 1];
	pass->batches = ask->batches ? ask->batches : 1;
	if (pass->batches > trace->count)
		pass->batches = trace->count ? trace->count : 1;
	pass->cells = (ask->count_count + 1) * (ask->size_count + 1);
	return 0;
}

static int grid_init(struct grid *grid, const struct grid_ask *ask, size_t batches)
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
	uint32_t *row_of = rows_make(ask, pass.slot_count);
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
	uint32_t *row_of = rows_make(ask, pass.slot_count);
	uint64_t *cell = calloc(pass.cells, sizeof(*cell));
	pass.row_of = row_of;
	int result = grid_init(grid, ask, pass.batches);
	if (!row_of || !cell)
		result = -1;
	grid->requests = trace->count;
	grid->kernel = pass.kernel->name;
	for (size_t batch = 0; result == 0 && trace->count && batch < pass.batches; batch++) {
		size_t end = batch_begin(&pass, batch + 1);
		memset(cell, 0, pass.cells * sizeof(*cell));
		for (size_t row = batch_begin(&pass, batch), n; row < end; row += n) {
			uint32_t from_zero[SLOTS_CHUNK];
			n = end - row < SLOTS_CHUNK ? end - row : SLOTS_CHUNK;
			for (size_t i = 0; i < n; i++)
				from_zero[i] = slot[row + i] - 1;
			cells_add(&pass, cell, row, n, from_zero, 1);
		}
		grid_sum(grid, cell, batch);
	}
	free(row_of);
	free(cell);
	return result < 0 ? no_grid(grid, ask, err) : 0;
}

/* ---- part by part, for traces larger than memory ------------------------------- */

struct grid_stream {
	struct pass pass;
	struct grid_ask ask;
	struct slots slots;
	struct slots_chunk *chunk;
	uint32_t *row_of;
	uint64_t *cell;
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
	s->ask.batches = 1;
	s->ask.keep_slots = false;
	const struct sim_trace nothing = {0};
	if (pass_make(&nothing, &s->ask, &s->pass, err) < 0) {
		free(s);
		return -1;
	}
	s->pass.row_of = s->row_of = rows_make(ask, s->pass.slot_count);
	s->cell = calloc(s->pass.cells, sizeof(*s->cell));
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

int grid_stream_add(struct grid_stream *stream, const struct sim_trace *part, struct err *err)
{
	if (sim_trace_check(part, err) < 0)
		return -1;
	if (part->count && part->arrival_ns[0] < stream->last_ns)
		return err_set(err,
			       "a part of the trace begins before the one ahead of it ends");
	const struct pass *pass = &stream->pass;
	stream->pass.trace = part;
	for (size_t row = 0, n; row < part->count; row += n) {
		n = chunk_rows(pass, &stream->slots, row, part->count - row);
		play(pass, &stream->slots, row, row + n, stream->chunk);
		cells_add(pass, stream->cell, row, n, stream->chunk->slot, 1);
	}
	stream->pass.trace = NULL;
	if (part->count)
		stream->last_ns = part->arrival_ns[part->count - 1];
	return 0;
}

int grid_stream_close(struct grid_stream *stream, struct grid *grid, struct err *err)
{
	int result = 0;
	if (grid) {
		result = grid_of_cells(&stream->ask, stream->cell, grid, err);
		if (result == 0)
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
	s->pass.row_of = s->row_of = rows_make(ask, s->pass.slot_count);
	struct slots_chunk *chunks = aligned_alloc(128, sizeof(*chunks));
	if (!s->row_of || !chunks || segment_init(&s->pass, &s->segment, begin, end) < 0) {
		free(chunks);
		grid_slice_free(s);
		return err_set(err, "no memory for a slice of the grid");
	}
	struct worker worker = {&s->pass, &s->segment, 0, 1, chunks};
	if (begin < end)
		worker_run(&worker);
	free(chunks);
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

int grid_of_cells(const struct grid_ask *ask, const uint64_t *cells, struct grid *grid,
		  struct err *err)
{
	if (ask_check(ask, err) < 0)
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
