/* SPDX-License-Identifier: MIT */
#include "cli/top/top_sample.h"

#include "libtrace/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Quantiles of what may be millions of values that come one by one: counts by
 * their highest bits, eight bins to a doubling, so right to an eighth. */
enum { BINS = 64 * 8 };

struct route {
	char *name;
	uint64_t requests, rejected_500, rejected_503, need_max;
	uint32_t need[BINS], service[BINS];
};

struct top_trace {
	char *path;
	int64_t last_id, first_ns, last_ns;
	uint64_t requests, rejected_500, rejected_503, escapes, unsure;
	struct route *route;
	size_t route_count, room;
};

static size_t bin_of(uint64_t value)
{
	if (value < 8)
		return (size_t)value;
	unsigned high = 63 - (unsigned)__builtin_clzll(value);
	return (size_t)(high - 2) * 8 + (value >> (high - 3) & 7);
}

/* The greatest value of a bin. */
static uint64_t bin_top(size_t bin)
{
	if (bin < 8)
		return bin;
	unsigned high = (unsigned)(bin / 8) + 2;
	return ((UINT64_C(9) + bin % 8) << (high - 3)) - 1;
}

static uint64_t quantile(const uint32_t bins[BINS], uint64_t count, double q)
{
	uint64_t seen = 0;
	for (size_t i = 0; i < BINS; i++) {
		seen += bins[i];
		if (count > 0 && (double)seen >= q * (double)count)
			return bin_top(i);
	}
	return 0;
}

int top_trace_new(const char *path, struct top_trace **trace, struct err *err)
{
	struct top_trace *t = calloc(1, sizeof(*t));
	if (t)
		t->path = strdup(path);
	if (!t || !t->path) {
		free(t);
		return err_set(err, "out of memory");
	}
	t->first_ns = INT64_MAX;
	*trace = t;
	return 0;
}

void top_trace_free(struct top_trace *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->route_count; i++)
		free(t->route[i].name);
	free(t->route);
	free(t->path);
	free(t);
}

/* Few routes, or the trace would be of little use. */
static struct route *route_of(struct top_trace *t, struct str name)
{
	for (size_t i = 0; i < t->route_count; i++)
		if (str_equal(str_of(t->route[i].name), name))
			return &t->route[i];
	if (t->route_count == t->room) {
		size_t room = t->room > 0 ? t->room * 2 : 16;
		struct route *route = reallocarray(t->route, room, sizeof(*route));
		if (!route)
			return NULL;
		t->route = route;
		t->room = room;
	}
	struct route *made = &t->route[t->route_count];
	*made = (struct route){.name = strndup(name.bytes, name.length)};
	if (!made->name)
		return NULL;
	t->route_count++;
	return made;
}

static int add(struct top_trace *t, const struct trace_request *r)
{
	struct route *route = route_of(t, r->route);
	uint64_t need = r->need_reuse_bytes > 0 ? (uint64_t)r->need_reuse_bytes : 0;
	int64_t service = r->end_ns - r->start_ns;
	if (!route)
		return -1;
	t->requests++;
	route->requests++;
	route->rejected_500 += r->status == 500;
	route->rejected_503 += r->status == 503;
	t->rejected_500 += r->status == 500;
	t->rejected_503 += r->status == 503;
	t->escapes += r->escapes > 0;
	t->unsure += r->confidence != TRACE_EXACT;
	route->need[bin_of(need)]++;
	route->service[bin_of(service > 0 ? (uint64_t)service : 0)]++;
	route->need_max = need > route->need_max ? need : route->need_max;
	t->first_ns = r->start_ns < t->first_ns ? r->start_ns : t->first_ns;
	t->last_ns = r->end_ns > t->last_ns ? r->end_ns : t->last_ns;
	if (r->id > t->last_id)
		t->last_id = r->id;
	return 0;
}

/* What was committed since the last time. */
static int read_on(struct top_trace *t, struct top_sample *s, struct err *err)
{
	struct trace *trace;
	struct trace_cursor *cursor;
	struct trace_request r;
	int got = 0;
	if (trace_open(t->path, &trace, err) != 0)
		return -1;
	bool complete = trace_meta_int(trace, "complete", 0) != 0;
	snprintf(s->state, sizeof(s->state), "%s", complete ? "complete" : "recording");
	if (trace_requests_after(trace, t->last_id, &cursor, err) != 0) {
		trace_close(trace);
		return -1;
	}
	while ((got = trace_next(cursor, &r, err)) == 1)
		if (add(t, &r) != 0) {
			got = err_set(err, "out of memory");
			break;
		}
	trace_cursor_close(cursor);
	trace_close(trace);
	return got;
}

int top_trace_sample(struct top_trace *t, struct top_sample *s, struct err *err)
{
	struct timespec now;
	*s = (struct top_sample){0};
	if (read_on(t, s, err) != 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	s->at_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	s->up_seconds = t->requests > 0 ? (double)(t->last_ns - t->first_ns) / 1e9 : 0;
	s->requests = t->requests;
	s->rejected_500 = t->rejected_500;
	s->rejected_503 = t->rejected_503;
	s->escapes = t->escapes;
	s->unsure = t->unsure;
	s->route = calloc(t->route_count + 1, sizeof(*s->route));
	if (!s->route)
		return err_set(err, "out of memory");
	s->route_count = t->route_count;
	for (size_t i = 0; i < t->route_count; i++) {
		const struct route *from = &t->route[i];
		struct top_route *to = &s->route[i];
		top_name(to->name, from->name);
		to->requests = from->requests;
		to->rejected_500 = from->rejected_500;
		to->rejected_503 = from->rejected_503;
		to->need_p50 = quantile(from->need, from->requests, 0.5);
		to->need_p99 = quantile(from->need, from->requests, 0.99);
		to->need_max = from->need_max;
		to->need_p50 = to->need_p50 < to->need_max ? to->need_p50 : to->need_max;
		to->need_p99 = to->need_p99 < to->need_max ? to->need_p99 : to->need_max;
		to->service_p50_ns = quantile(from->service, from->requests, 0.5);
	}
	return 0;
}
