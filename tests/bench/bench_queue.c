/* SPDX-License-Identifier: MIT */
/*
 * 64 candidates with a queue and a timeout over the same requests: all in one
 * pass as differences from the unlimited system, beside a plain simulation per
 * candidate (a heap of departures and a ring of those waiting). Processor time
 * of one thread; answers are compared.
 *
 *	bench_queue [REQUESTS [ROUNDS]]
 */
#include "simulator/heap.h"
#include "simulator/sim.h"
#include "tests/simulator/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CANDIDATES = 64, PLAIN = 4, ROUNDS_MAX = 64, QUEUE_MAX = 64 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static uint64_t plain(const struct sim_trace *trace, const struct queue_candidate *c)
{
	struct heap busy = {0};
	uint32_t ring[QUEUE_MAX];
	size_t head = 0, length = 0;
	uint64_t rejected = 0;
	if (heap_reserve(&busy, c->count) < 0)
		abort();
	for (size_t i = 0; i <= trace->count; i++) {
		uint64_t t = i < trace->count ? (uint64_t)trace->arrival_ns[i] : UINT64_MAX;
		while (busy.count && busy.key[0] <= t) {
			uint64_t freed = busy.key[0];
			heap_pop(&busy);
			while (length &&
			       (uint64_t)trace->arrival_ns[ring[head]] + c->wait_ns < freed) {
				head = (head + 1) % QUEUE_MAX;
				length--;
				rejected++;
			}
			if (length) {
				heap_push(&busy,
					  freed + (uint64_t)trace->service_ns[ring[head]]);
				head = (head + 1) % QUEUE_MAX;
				length--;
			}
		}
		while (length && (uint64_t)trace->arrival_ns[ring[head]] + c->wait_ns <= t) {
			head = (head + 1) % QUEUE_MAX;
			length--;
			rejected++;
		}
		if (i == trace->count)
			break;
		if (busy.count < c->count)
			heap_push(&busy, t + (uint64_t)trace->service_ns[i]);
		else if (length < c->queue)
			ring[(head + length++) % QUEUE_MAX] = (uint32_t)i;
		else
			rejected++;
	}
	heap_release(&busy);
	return rejected;
}

int main(int argc, char **argv)
{
	size_t requests = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
	size_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 3;
	if (requests == 0 || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_queue [REQUESTS [ROUNDS up to %d]]\n",
			ROUNDS_MAX);
		return 2;
	}
	struct sim_columns columns;
	struct err err;
	if (sim_columns_init(&columns, requests, &err) < 0)
		return 3;
	struct random random = {1};
	double t = 0;
	for (size_t i = 0; i < requests; i++) {
		t += random_exponential(&random, 1e6);
		columns.arrival_ns[i] = (int64_t)t;
		columns.service_ns[i] = (int64_t)random_exponential(&random, 45e6);
	}
	struct queue_candidate candidates[CANDIDATES];
	for (uint32_t k = 0; k < CANDIDATES; k++)
		candidates[k] = (struct queue_candidate){56 + k / 4, 4U << k % 4, 20000000};
	const uint64_t size = 4096;
	struct queue_ask ask = {.candidates = candidates,
				.candidate_count = CANDIDATES,
				.sizes = &size,
				.size_count = 1};
	double fast[ROUNDS_MAX], slow[ROUNDS_MAX], most = 0;
	for (size_t round = 0; round < rounds; round++) {
		struct queue queue;
		double begin = now();
		if (queue_run(&columns.trace, &ask, &queue, &err) < 0)
			return 3;
		fast[round] = now() - begin;
		begin = now();
		for (size_t k = 0; k < PLAIN; k++) {
			const size_t which = k * CANDIDATES / PLAIN;
			if (plain(&columns.trace, &candidates[which]) !=
			    queue.outcome[which].rejected_503)
				abort();
		}
		slow[round] = (now() - begin) * CANDIDATES / PLAIN;
		most = (double)queue.outcome[0].rejected_503 / (double)requests;
		queue_release(&queue);
	}
	qsort(fast, rounds, sizeof(*fast), by_value);
	qsort(slow, rounds, sizeof(*slow), by_value);
	printf("%zu requests, %d candidates, at most %.2f %% rejected, %zu rounds, one thread\n"
	       "a simulation per candidate  %7.2f s  (of %d, scaled)\n"
	       "differences from unlimited  %7.2f s  (%.2f .. %.2f)  %.1fx\n",
	       requests, CANDIDATES, 100 * most, rounds, slow[rounds / 2], PLAIN,
	       fast[rounds / 2], fast[0], fast[rounds - 1],
	       slow[rounds / 2] / fast[rounds / 2]);
	sim_columns_release(&columns);
	return 0;
}
