/* SPDX-License-Identifier: MIT */
/*
 * One giant trace over many machines: `mpirun -n N pail-simulate-mpi TRACE SIZES
 * COUNTS`. Each rank plays its slice of the requests; from left to right each
 * then gets the true departures of its neighbour, repairs its head, and passes
 * its own on; the histograms are added on rank 0, which prints the integers that
 * one run prints: size,count,offered,rejected_500,rejected_503.
 *
 * Built with -DPAIL_MPI=ON.
 */
#include "simulator/sim.h"

#include "base/units.h"
#include "libtrace/trace.h"

#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 1024 };

static int words_parse(const char *text, bool sizes, uint64_t *values, size_t *count,
		       struct err *err)
{
	struct str word, rest = str_of(text);
	*count = 0;
	while (rest.length) {
		str_cut(rest, ',', &word, &rest);
		if (*count == WORDS_MAX)
			return err_usage(err, "more than %d sizes or counts", WORDS_MAX);
		uint64_t *value = &values[(*count)++];
		if ((sizes ? units_parse_size(word, value, err)
			   : units_parse_count(word, value, err)) < 0)
			return -1;
	}
	return 0;
}

struct run {
	struct trace *trace;
	struct trace_columns columns;
	struct sim_trace view;
	uint64_t sizes[WORDS_MAX], words[WORDS_MAX];
	uint32_t counts[WORDS_MAX];
	struct grid_ask ask;
};

static int run_open(struct run *r, char **argv, struct err *err)
{
	size_t count;
	if (words_parse(argv[2], true, r->sizes, &r->ask.size_count, err) < 0 ||
	    words_parse(argv[3], false, r->words, &count, err) < 0 ||
	    trace_open(argv[1], &r->trace, err) < 0 ||
	    trace_columns_load(r->trace, ARENA_REUSE, &r->columns, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		r->counts[i] = (uint32_t)r->words[i];
	r->ask.sizes = r->sizes;
	r->ask.counts = r->counts;
	r->ask.count_count = count;
	r->view = (struct sim_trace){
		.count = r->columns.count,
		.arrival_ns = r->columns.arrival_ns,
		.service_ns = r->columns.service_ns,
		.need_bytes = r->columns.need_bytes,
	};
	return sim_trace_check(&r->view, err);
}

/* The chain of states, then the sum. */
static int run_join(struct run *r, struct grid_slice *slice, int rank, int ranks,
		    struct grid *grid, struct err *err)
{
	size_t cell_count, slots = r->counts[r->ask.count_count - 1];
	uint64_t *departure = calloc(slots, sizeof(*departure));
	const uint64_t *cells = grid_slice_cells(slice, &cell_count);
	uint64_t *sum = calloc(cell_count, sizeof(*sum));
	int status = departure && sum ? 0 : err_set(err, "out of memory");
	if (rank > 0 && status == 0) {
		MPI_Recv(departure, (int)slots, MPI_UINT64_T, rank - 1, 0, MPI_COMM_WORLD,
			 MPI_STATUS_IGNORE);
		status = grid_slice_join(slice, departure, err);
	}
	if (rank + 1 < ranks && status == 0)
		MPI_Send(grid_slice_state(slice), (int)slots, MPI_UINT64_T, rank + 1, 0,
			 MPI_COMM_WORLD);
	if (status == 0)
		MPI_Reduce(cells, sum, (int)cell_count, MPI_UINT64_T, MPI_SUM, 0,
			   MPI_COMM_WORLD);
	if (status == 0 && rank == 0)
		status = grid_of_cells(&r->ask, sum, grid, err);
	free(departure);
	free(sum);
	return status;
}

static void print(const struct run *r, const struct grid *grid)
{
	printf("size,count,offered,rejected_500,rejected_503\n");
	for (size_t s = 0; s < r->ask.size_count; s++) {
		for (size_t c = 0; c < r->ask.count_count; c++) {
			struct grid_outcome out = grid_at(grid, c, s);
			printf("%" PRIu64 ",%" PRIu32 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
			       r->sizes[s], r->counts[c], out.offered, out.rejected_500,
			       out.rejected_503);
		}
	}
}

int main(int argc, char **argv)
{
	int rank, ranks;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	static struct run run;
	struct err err = {
		.kind = ERR_USAGE,
		.text = "usage: mpirun -n N pail-simulate-mpi TRACE SIZE,... COUNT,..."};
	struct grid_slice *slice = NULL;
	struct grid grid;
	int status = argc == 4 ? run_open(&run, argv, &err) : -1;
	if (status == 0) {
		size_t n = run.view.count, k = (size_t)rank, of = (size_t)ranks;
		status = grid_slice_run(&run.view, &run.ask, n * k / of, n * (k + 1) / of,
					&slice, &err);
	}
	if (status == 0)
		status = run_join(&run, slice, rank, ranks, &grid, &err);
	if (status < 0) {
		fprintf(stderr, "pail-simulate-mpi: %s\n", err.text);
		MPI_Abort(MPI_COMM_WORLD, err.kind == ERR_USAGE ? 2 : 3);
	}
	if (rank == 0) {
		print(&run, &grid);
		grid_release(&grid);
	}
	grid_slice_free(slice);
	trace_columns_release(&run.columns);
	trace_close(run.trace);
	MPI_Finalize();
	return 0;
}
