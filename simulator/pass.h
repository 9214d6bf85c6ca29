/* SPDX-License-Identifier: MIT */
/*
 * The one pass behind every grid, private to the simulator: requests of a trace are
 * played in order through the ordered hunt (slots.h) in chunks, and each is booked in a
 * cell by its slot and its need.
 *
 *	pass     what was asked and of which trace; shared and read-only
 *	segment  consecutive rows with slots and cells of their own. A segment starts from
 *	         empty slots a little early (a guess); segment_repair() plays its head again
 *	         from what its left neighbour truly left, until no later request could tell
 *	         the two apart, and books the difference
 *	batch    consecutive rows whose cells are counted apart, for intervals
 *
 * A segment belongs to one thread at a time.
 */
#ifndef PAIL_SIMULATOR_PASS_H
#define PAIL_SIMULATOR_PASS_H

#include "simulator/sim.h"
#include "simulator/slots.h"

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

/* Fills what the ask says; row_of and slot are the caller's to set. */
int pass_make(const struct sim_trace *trace, const struct grid_ask *ask, struct pass *pass,
	      struct err *err);
int pass_ask_check(const struct grid_ask *ask, struct err *err);
/* row_of[slot] = index of the least count that has that slot; malloc'd, or NULL. */
uint32_t *pass_rows_make(const struct grid_ask *ask, uint32_t slot_count);

size_t pass_batch_of(const struct pass *pass, size_t row);
/* The first row of a batch. */
size_t pass_batch_begin(const struct pass *pass, size_t batch);
/* Moves the base when the row's arrival is out of its reach; gives the number
 * of rows, at most `limit`, that can go into one chunk. */
size_t pass_chunk_rows(const struct pass *pass, struct slots *slots, size_t row, size_t limit);
/* Plays rows [row, end) of one search, booking nothing; leaves the last chunk's slots. */
void pass_play(const struct pass *pass, struct slots *slots, size_t row, size_t end,
	       struct slots_chunk *chunk);
/* Books n rows that lie in one batch. */
void pass_cells_add(const struct pass *pass, uint64_t *cell, size_t row, size_t n,
		    const uint32_t *slot, uint64_t weight);

int segment_init(const struct pass *pass, struct segment *segment, size_t begin, size_t end);
void segment_release(struct segment *segment);
/* Plays all segments, the last of several threads being the caller's. -1: no memory. */
int segments_run(const struct pass *pass, struct segment *segment, uint32_t count);
/* The number of requests played twice, or -1 for want of memory. */
int64_t segment_repair(const struct pass *pass, struct segment *left, struct segment *segment);

/* A grid from its cells, batch by batch; for who holds all of them. */
int grid_init(struct grid *grid, const struct grid_ask *ask, size_t batches);
void grid_sum(struct grid *grid, const uint64_t *cell, size_t batch);

#endif
