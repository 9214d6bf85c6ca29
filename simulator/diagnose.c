/* SPDX-License-Identifier: MIT */
/*
 * Looks for the ways in which a recording misleads: a closed loop and a
 * saturated server both hide load that was there, drift makes averages
 * meaningless, and a first request fills caches that later ones find.
 */
#include "simulator/heap.h"
#include "simulator/sim.h"

#include <math.h>
#include <stdlib.h>

enum { REQUESTS_LEAST = 200 }; /* below, nothing can be said */

static void look_at_loop(struct diagnosis *d, const uint32_t *seen, size_t count,
			 uint64_t after)
{
	double n = (double)count;
	d->after_departure = (double)after / n;
	d->closed_loop = count >= REQUESTS_LEAST && d->after_departure > 0.5;
	uint64_t high = 0;
	for (size_t i = 0; i < count; i++)
		high += seen[i] + 1 >= d->ceiling;
	d->at_ceiling = (double)high / n;
	d->saturated = count >= REQUESTS_LEAST && d->ceiling >= 4 && d->at_ceiling > 0.25;
}

static int look_at_occupancy(const struct sim_trace *trace, struct diagnosis *d)
{
	struct heap busy = {0};
	uint32_t *seen = calloc(trace->count, sizeof(*seen));
	if (!seen)
		return -1;
	uint64_t first = (uint64_t)trace->arrival_ns[0], last_departure = 0, after = 0;
	uint64_t span = (uint64_t)trace->arrival_ns[trace->count - 1] - first;
	double close = (double)span / (double)trace->count / 20;
	bool any = false;
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i];
		while (busy.count && busy.key[0] <= t) {
			last_departure = busy.key[0];
			any = true;
			heap_pop(&busy);
		}
		after += any && (double)(t - last_departure) <= close;
		if (heap_reserve(&busy, busy.count + 1) < 0) {
			heap_release(&busy);
			free(seen);
			return -1;
		}
		heap_push(&busy, t + (uint64_t)trace->service_ns[i]);
		seen[i] = (uint32_t)busy.count; /* with itself */
		d->ceiling = seen[i] > d->ceiling ? seen[i] : d->ceiling;
	}
	heap_release(&busy);
	look_at_loop(d, seen, trace->count, after);
	free(seen);
	return 0;
}

static void look_at_drift(const struct sim_trace *trace, struct diagnosis *d)
{
	double load[DIAGNOSIS_SLICES] = {0}, squares[DIAGNOSIS_SLICES] = {0}, sum = 0;
	uint64_t first = (uint64_t)trace->arrival_ns[0];
	uint64_t span = (uint64_t)trace->arrival_ns[trace->count - 1] - first;
	d->load_most = d->load_least = 1;
	if (span < DIAGNOSIS_SLICES || trace->count < REQUESTS_LEAST)
		return;
	for (size_t i = 0; i < trace->count; i++) {
		unsigned __int128 since = (uint64_t)trace->arrival_ns[i] - first;
		size_t slice =
			(size_t)(since * DIAGNOSIS_SLICES / ((unsigned __int128)span + 1));
		double service = (double)trace->service_ns[i];
		load[slice] += service;
		squares[slice] += service * service;
		sum += service;
	}
	double mean = sum / DIAGNOSIS_SLICES;
	if (!(mean > 0))
		return;
	d->load_least = INFINITY;
	for (int i = 0; i < DIAGNOSIS_SLICES; i++) {
		d->load_most = fmax(d->load_most, load[i] / mean);
		d->load_least = fmin(d->load_least, load[i] / mean);
		/* A sum of independent services varies as the root of its squares; traffic
		 * in sessions by a few times that. */
		double usual = 8 * sqrt(fmax(squares[i], 1));
		d->drifting |= fabs(load[i] - mean) > fmax(usual, 0.3 * mean);
	}
}

static int look_at_first(const struct sim_trace *trace, struct diagnosis *d)
{
	size_t routes = trace->route && trace->route_count ? trace->route_count : 1;
	struct first {
		uint64_t first, later, count;
	} *route = calloc(routes, sizeof(*route));
	if (!route)
		return -1;
	for (size_t i = 0; i < trace->count; i++) {
		struct first *r = &route[trace->route ? trace->route[i] : 0];
		uint64_t need = trace->need_bytes[i];
		if (r->count++ == 0)
			r->first = need;
		else if (need > r->later)
			r->later = need;
	}
	for (size_t i = 0; i < routes; i++) {
		const struct first *r = &route[i];
		if (r->count < 10 || (double)r->first <= 1.5 * (double)r->later)
			continue;
		d->first_routes++;
		if (r->first > d->first_need) {
			d->first_need = r->first;
			d->later_need = r->later;
			d->first_route = (uint32_t)i;
		}
	}
	free(route);
	return 0;
}

int diagnose(const struct sim_trace *trace, struct diagnosis *diagnosis, struct err *err)
{
	*diagnosis = (struct diagnosis){.load_most = 1, .load_least = 1};
	if (trace->count == 0)
		return 0;
	if (look_at_occupancy(trace, diagnosis) < 0 || look_at_first(trace, diagnosis) < 0)
		return err_set(err, "no memory to look at %zu requests", trace->count);
	look_at_drift(trace, diagnosis);
	return 0;
}
