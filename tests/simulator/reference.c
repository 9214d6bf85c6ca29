/* SPDX-License-Identifier: MIT */
#include "tests/simulator/reference.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(struct random *random)
{
	uint64_t x = random->state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	random->state = x;
	return x * UINT64_C(2685821657736338717);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)random_next(random) * bound >> 64);
}

double random_unit(struct random *random)
{
	return ((double)(random_next(random) >> 11) + 0.5) * 0x1p-53;
}

double random_exponential(struct random *random, double mean)
{
	return -mean * log(random_unit(random));
}

double random_normal(struct random *random)
{
	double radius = sqrt(-2 * log(random_unit(random)));
	return radius * cos(6.283185307179586 * random_unit(random));
}

/*
 * One table of jobs; at every step the next instant at which anything can
 * happen is found by looking at all of them. Quadratic, and plain.
 */
enum state { STATE_NONE, STATE_WAITING, STATE_BUSY, STATE_GONE };

struct job {
	enum state state;
	size_t class;
	uint64_t since, until; /* BUSY: departure; WAITING: deadline */
	bool dies;             /* leaves as oversize */
	bool retried;
};

struct naive {
	const struct sim_trace *trace;
	const struct reference_ask *ask;
	struct job *job;
	enum fate *fate;
	uint64_t *waited;
	size_t arrived;
};

static uint32_t busy_in(const struct naive *w, size_t class)
{
	uint32_t busy = 0;
	for (size_t i = 0; i < w->arrived; i++)
		busy += w->job[i].state == STATE_BUSY && w->job[i].class == class;
	return busy;
}

static uint32_t waiting_in(const struct naive *w, size_t class)
{
	uint32_t waiting = 0;
	for (size_t i = 0; i < w->arrived; i++)
		waiting += w->job[i].state == STATE_WAITING && w->job[i].class == class;
	return waiting;
}

static void start(struct naive *w, size_t i, size_t class, uint64_t t)
{
	uint64_t need = w->trace->need_bytes[i];
	uint64_t size = w->ask->class[class].size_bytes;
	uint64_t service = (uint64_t)w->trace->service_ns[i];
	struct job *job = &w->job[i];
	job->dies = need > size;
	if (job->dies && (w->ask->early || w->ask->retry))
		service = (uint64_t)((unsigned __int128)service * size / need);
	job->state = STATE_BUSY;
	job->class = class;
	/* Beyond 64 bits is after every arrival there can be. */
	job->until = t + service < t ? UINT64_MAX : t + service;
}

/* A request that wants a bucket of `class` at t. */
static void arrive(struct naive *w, size_t i, size_t class, uint64_t t, bool may_wait)
{
	size_t last = w->ask->overflow ? w->ask->class_count : class + 1;
	for (size_t c = class; c < last; c++) {
		if (busy_in(w, c) < w->ask->class[c].count) {
			start(w, i, c, t);
			return;
		}
	}
	if (may_wait && waiting_in(w, class) < w->ask->queue) {
		w->job[i].state = STATE_WAITING;
		w->job[i].class = class;
		w->job[i].since = t;
		w->job[i].until = t + w->ask->wait_ns;
		return;
	}
	w->job[i].state = STATE_GONE;
	w->fate[i] = FATE_503;
}

/* Departures at exactly t, in row order, and the starts they allow. True when
 * anything happened: a service of zero departs again at once. */
static bool depart_and_start(struct naive *w, uint64_t t)
{
	bool any = false;
	for (size_t i = 0; i < w->arrived; i++) {
		struct job *job = &w->job[i];
		if (job->state != STATE_BUSY || job->until != t)
			continue;
		any = true;
		job->state = STATE_GONE;
		w->fate[i] = job->dies ? FATE_500 : FATE_SERVED;
		if (job->dies && w->ask->retry && !job->retried &&
		    job->class + 1 < w->ask->class_count) {
			job->retried = true;
			arrive(w, i, job->class + 1, t, false);
		}
	}
	for (size_t i = 0; i < w->arrived; i++) {
		struct job *job = &w->job[i];
		if (job->state != STATE_WAITING ||
		    busy_in(w, job->class) >= w->ask->class[job->class].count)
			continue;
		any = true;
		w->waited[i] = t - job->since;
		start(w, i, job->class, t);
	}
	return any;
}

static void instant(struct naive *w, uint64_t t)
{
	while (depart_and_start(w, t))
		;
	for (size_t i = 0; i < w->arrived; i++) {
		if (w->job[i].state == STATE_WAITING && w->job[i].until <= t) {
			w->job[i].state = STATE_GONE;
			w->fate[i] = FATE_503;
		}
	}
}

static bool next_instant(const struct naive *w, uint64_t limit, uint64_t *t)
{
	bool any = false;
	for (size_t i = 0; i < w->arrived; i++) {
		const struct job *job = &w->job[i];
		if (job->state != STATE_WAITING && job->state != STATE_BUSY)
			continue;
		if (job->until <= limit && (!any || job->until < *t)) {
			*t = job->until;
			any = true;
		}
	}
	return any;
}

void reference_run(const struct sim_trace *trace, const struct reference_ask *ask,
		   enum fate *fate, uint64_t *waited)
{
	struct naive w = {trace, ask,    calloc(trace->count + 1, sizeof(struct job)),
			  fate,  waited, 0};
	uint64_t t = 0;
	memset(waited, 0, trace->count * sizeof(*waited));
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t arrival = (uint64_t)trace->arrival_ns[i];
		while (next_instant(&w, arrival, &t))
			instant(&w, t);
		w.arrived = i + 1;
		size_t class = ask->class_of_route ? ask->class_of_route[trace->route[i]] : 0;
		arrive(&w, i, class, arrival, true);
	}
	while (next_instant(&w, UINT64_MAX, &t))
		instant(&w, t);
	free(w.job);
}

void random_trace(struct random *random, enum shape shape, size_t count,
		  struct sim_columns *columns, size_t routes)
{
	struct err err;
	int result = sim_columns_init(columns, count, &err);
	assert(result == 0);
	(void)result;
	uint64_t t = shape == SHAPE_LATE ? (UINT64_C(1) << 63) - 40 * count - 1 : 0;
	uint64_t needs = 1 + random_below(random, 8);
	for (size_t i = 0; i < count; i++) {
		uint64_t gap = 0, service = 0;
		switch (shape) {
		case SHAPE_SMALL_TIES:
			gap = random_below(random, 3);
			service = random_below(random, 8);
			break;
		case SHAPE_POISSON:
			gap = (uint64_t)random_exponential(random, 1e6);
			service = (uint64_t)random_exponential(random, 5e6);
			break;
		case SHAPE_BURSTS:
			gap = random_below(random, 10) ? 0 : random_below(random, 4000000);
			service = (uint64_t)random_exponential(random, 1e6);
			break;
		case SHAPE_LATE:
			gap = random_below(random, 40);
			service = random_below(random, 4) ? random_below(random, 200)
							  : INT64_MAX - random_below(random, 9);
			break;
		case SHAPE_SPARSE:
			gap = random_below(random, 6) * UINT64_C(1000000000);
			service = random_below(random, 9) * UINT64_C(1000000000) +
				  random_below(random, 3);
			break;
		case SHAPES: break;
		}
		t += gap;
		columns->arrival_ns[i] = (int64_t)t;
		columns->service_ns[i] = (int64_t)service;
		columns->need_bytes[i] = random_below(random, needs + 1) * 1000;
		columns->route[i] = (uint32_t)random_below(random, routes);
		columns->origin[i] = (uint32_t)i;
	}
	columns->trace.count = count;
	columns->trace.route_count = routes;
}
