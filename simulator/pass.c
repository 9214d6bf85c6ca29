/* SPDX-License-Identifier: MIT */
#include "simulator/pass.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	WARM_UP = 2048,   /* requests played before a segment, at least */
	REPAIR_STEP = 64, /* requests between two looks whether runs agree */
};

size_t pass_batch_of(const struct pass *pass, size_t row)
{
	return (size_t)((unsigned __int128)row * pass->batches / pass->trace->count);
}

/* The first row of a batch. */
size_t pass_batch_begin(const struct pass *pass, size_t batch)
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
size_t pass_chunk_rows(const struct pass *pass, struct slots *slots, size_t row, size_t limit)
{
	uint64_t arrival = (uint64_t)pass->trace->arrival_ns[row];
	if (limit > SLOTS_CHUNK)
		limit = SLOTS_CHUNK;
	/* In good time, so that a chunk is not cut short by the reach (nor those of the
	 * lanes beside it); and for few slots, which are quickly moved, so early that hardly
	 * a departure is beyond it. */
	uint64_t last = (uint64_t)pass->trace->arrival_ns[row + limit - 1];
	uint64_t reach = slots->count <= SLOTS_NARROW ? SLOTS_REACH / 2 : SLOTS_REACH;
	if (last - slots->base > reach)
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
void pass_cells_add(const struct pass *pass, uint64_t *cell, size_t row, size_t n,
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
		size_t batch = pass_batch_of(pass, row + done);
		size_t left = pass_batch_begin(pass, batch + 1) - (row + done);
		size_t part = n - done < left ? n - done : left;
		pass_cells_add(pass,
			       segment->cell + (batch - segment->batch_first) * pass->cells,
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
void pass_play(const struct pass *pass, struct slots *slots, size_t row, size_t end,
	       struct slots_chunk *chunk)
{
	struct slots *one[1] = {slots};
	struct slots_chunk *chunks[1] = {chunk};
	while (row < end) {
		size_t n = pass_chunk_rows(pass, slots, row, end - row);
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
			size_t rows = pass_chunk_rows(pass, slots[i], row[i], left);
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
		pass_play(worker->pass, &segment->slots, from, segment->begin, worker->chunks);
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
int64_t segment_repair(const struct pass *pass, struct segment *left, struct segment *segment)
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
		size_t rows = pass_chunk_rows(pass, &truth, row, n);
		n = pass_chunk_rows(pass, &guess, row, rows);
		pass_play(pass, &truth, row, row + n, &chunk[0]);
		pass_play(pass, &guess, row, row + n, &chunk[1]);
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

void segment_release(struct segment *segment)
{
	slots_release(&segment->slots);
	free(segment->cell);
	free(segment->guess);
	segment->cell = segment->guess = NULL;
}

int segment_init(const struct pass *pass, struct segment *segment, size_t begin, size_t end)
{
	*segment = (struct segment){.begin = begin, .end = end};
	segment->batch_first = begin < end ? pass_batch_of(pass, begin) : 0;
	/* A slice may be empty: more machines than requests. */
	size_t batches =
		begin < end ? pass_batch_of(pass, end - 1) - segment->batch_first + 1 : 1;
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
int segments_run(const struct pass *pass, struct segment *segment, uint32_t count)
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

int pass_ask_check(const struct grid_ask *ask, struct err *err)
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
uint32_t *pass_rows_make(const struct grid_ask *ask, uint32_t slot_count)
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

int pass_make(const struct sim_trace *trace, const struct grid_ask *ask, struct pass *pass,
	      struct err *err)
{
	if (pass_ask_check(ask, err) < 0)
		return -1;
	*pass = (struct pass){.trace = trace, .ask = ask};
	pass->kernel = slots_kernel_choose(ask->kernel);
	if (!pass->kernel)
		return err_usage(
			err, "no kernel '%s' on this machine: portable, neon, avx2 or avx512",
			ask->kernel);
	pass->slot_count = ask->counts[ask->count_count - 1];
	pass->batches = ask->batches ? ask->batches : 1;
	if (pass->batches > trace->count)
		pass->batches = trace->count ? trace->count : 1;
	pass->cells = (ask->count_count + 1) * (ask->size_count + 1);
	return 0;
}
