/* SPDX-License-Identifier: MIT */
/*
 * The one-pass grid beside what others do: a heap of departures for each
 * candidate (ours, in C), and one pass per candidate over a fixed array of
 * buckets, as cache simulators do it. All in turn, in one run, over the same
 * columns in memory; the answers are compared before a figure is printed.
 *
 *	bench_grid [REQUESTS [ROUNDS]]
 */
#include "simulator/heap.h"
#include "simulator/sim.h"
#include "simulator/slots.h"
#include "tests/simulator/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDE = 8, CANDIDATES = SIDE * SIDE, ROUNDS_MAX = 64 };

static const uint64_t sizes[SIDE] = {4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288};
static const uint32_t counts[SIDE] = {36, 40, 44, 48, 52, 56, 60, 64};

/* One thread is timed by its processor time, which neighbours on a shared
 * machine disturb least; two by the clock on the wall. */
static double now_by(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* One candidate by a heap; returns its 500s and 503s, packed. */
static struct grid_outcome heap_pass(const struct sim_trace *trace, uint64_t size,
				     uint32_t count)
{
	struct grid_outcome out = {.offered = trace->count};
	struct heap busy = {0};
	if (heap_reserve(&busy, count) < 0)
		abort();
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i];
		while (busy.count && busy.key[0] <= t)
			heap_pop(&busy);
		if (busy.count == count) {
			out.rejected_503++;
			continue;
		}
		out.rejected_500 += trace->need_bytes[i] > size;
		heap_push(&busy, t + (uint64_t)trace->service_ns[i]);
	}
	heap_release(&busy);
	return out;
}

/* One candidate by scanning an array of buckets for the first free one. */
static struct grid_outcome array_pass(const struct sim_trace *trace, uint64_t size,
				      uint32_t count)
{
	struct grid_outcome out = {.offered = trace->count};
	uint64_t until[GRID_BATCHES * SIDE] = {0};
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i];
		uint32_t s = 0;
		while (s < count && until[s] > t)
			s++;
		if (s == count) {
			out.rejected_503++;
			continue;
		}
		out.rejected_500 += trace->need_bytes[i] > size;
		until[s] = t + (uint64_t)trace->service_ns[i];
	}
	return out;
}

static void report(const char *name, double *seconds, int rounds, size_t requests,
		   size_t candidates, double naive)
{
	qsort(seconds, (size_t)rounds, sizeof(*seconds), by_value);
	double median = seconds[rounds / 2];
	double rate = (double)requests * (double)candidates / median / 1e6;
	printf("%-34s %8.0f  (%.0f .. %.0f)  %6.1fx\n", name, rate,
	       (double)requests * (double)candidates / seconds[rounds - 1] / 1e6,
	       (double)requests * (double)candidates / seconds[0] / 1e6,
	       naive > 0 ? rate / naive : 1.0);
}

int main(int argc, char **argv)
{
	size_t requests = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
	int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
	if (requests == 0 || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_grid [REQUESTS [ROUNDS up to %d]]\n", ROUNDS_MAX);
		return 2;
	}
	struct sim_columns columns;
	struct err err;
	if (sim_columns_init(&columns, requests, &err) < 0) {
		fprintf(stderr, "bench_grid: %s\n", err.text);
		return 3;
	}
	struct random random = {1};
	double t = 0;
	for (size_t i = 0; i < requests; i++) {
		t += random_exponential(&random, 1e6);
		columns.arrival_ns[i] = (int64_t)t;
		columns.service_ns[i] = (int64_t)random_exponential(&random, 45e6);
		columns.need_bytes[i] = (uint64_t)random_exponential(&random, 40000);
	}

	static double seconds[8][ROUNDS_MAX];
	static const struct {
		const char *label, *kernel;
		unsigned threads;
	} fast[] = {{"one pass, portable", "portable", 1},
		    {"one pass, portable, 2 threads", "portable", 2},
		    {"one pass, AVX2", "avx2", 1},
		    {"one pass, AVX-512", "avx512", 1},
		    {"one pass, best kernel, 2 threads", NULL, 2}};
	enum { FAST = sizeof(fast) / sizeof(*fast) };
	/* The slow ways get fewer candidates and say so; their rate is per candidate. */
	enum { SLOW_CANDIDATES = 4 };
	for (int round = 0; round < rounds; round++) {
		struct grid_outcome slow[SLOW_CANDIDATES];
		double begin = now_by(CLOCK_THREAD_CPUTIME_ID);
		for (int c = 0; c < SLOW_CANDIDATES; c++)
			slow[c] = heap_pass(&columns.trace, sizes[2 * c], counts[2 * c]);
		seconds[FAST][round] = now_by(CLOCK_THREAD_CPUTIME_ID) - begin;
		begin = now_by(CLOCK_THREAD_CPUTIME_ID);
		for (int c = 0; c < SLOW_CANDIDATES; c++) {
			struct grid_outcome same =
				array_pass(&columns.trace, sizes[2 * c], counts[2 * c]);
			if (memcmp(&same, &slow[c], sizeof(same)) != 0)
				abort();
		}
		seconds[FAST + 1][round] = now_by(CLOCK_THREAD_CPUTIME_ID) - begin;
		for (size_t f = 0; f < FAST; f++) {
			if (!slots_kernel_choose(fast[f].kernel))
				continue;
			struct grid_ask ask = {.sizes = sizes,
					       .size_count = SIDE,
					       .counts = counts,
					       .count_count = SIDE,
					       .threads = fast[f].threads,
					       .kernel = fast[f].kernel};
			struct grid grid;
			clockid_t clock = fast[f].threads == 1 ? CLOCK_THREAD_CPUTIME_ID
							       : CLOCK_MONOTONIC;
			begin = now_by(clock);
			if (grid_run(&columns.trace, &ask, &grid, &err) < 0)
				abort();
			seconds[f][round] = now_by(clock) - begin;
			for (size_t c = 0; c < SLOW_CANDIDATES; c++) {
				struct grid_outcome got = grid_at(&grid, 2 * c, 2 * c);
				if (memcmp(&got, &slow[c], sizeof(got)) != 0)
					abort();
			}
			grid_release(&grid);
		}
	}
	struct sim_load load = sim_trace_load(&columns.trace);
	printf("%zu requests, offered %.1f, %d candidates (%d sizes x %d counts up to %u), "
	       "%d rounds\nM requests x candidates / s: median (least .. most), times the heap\n",
	       requests, load.offered, CANDIDATES, SIDE, SIDE, counts[SIDE - 1], rounds);
	qsort(seconds[FAST], (size_t)rounds, sizeof(double), by_value);
	double naive = (double)requests * SLOW_CANDIDATES / seconds[FAST][rounds / 2] / 1e6;
	report("a heap per candidate", seconds[FAST], rounds, requests, SLOW_CANDIDATES, naive);
	report("an array of buckets per candidate", seconds[FAST + 1], rounds, requests,
	       SLOW_CANDIDATES, naive);
	for (size_t f = 0; f < FAST; f++) {
		if (slots_kernel_choose(fast[f].kernel))
			report(fast[f].label, seconds[f], rounds, requests, CANDIDATES, naive);
	}
	sim_columns_release(&columns);
	return 0;
}
