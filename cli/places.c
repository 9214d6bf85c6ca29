/* SPDX-License-Identifier: MIT */
#include "cli/places.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* -- places ------------------------------------------------------------------- */

static int compare_str(struct str a, struct str b)
{
	size_t least = a.length < b.length ? a.length : b.length;
	int order = least > 0 ? memcmp(a.bytes, b.bytes, least) : 0;
	return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

struct named {
	struct str name;
	size_t index;
};

static int by_name(const void *a, const void *b)
{
	return compare_str(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* Puts sites of one name together. */
static int group(struct places *p, struct err *err)
{
	const struct trace_sites *s = &p->sites;
	struct named *named = calloc(s->sites + 1, sizeof(*named));
	p->place = calloc(s->sites + 1, sizeof(*p->place));
	p->place_of = calloc(s->sites + 1, sizeof(*p->place_of));
	if (!named || !p->place || !p->place_of) {
		free(named);
		return err_set(err, "out of memory for sites");
	}
	for (size_t i = 0; i < s->sites; i++)
		named[i] = (struct named){s->site[i].name, i};
	qsort(named, s->sites, sizeof(*named), by_name);
	for (size_t i = 0; i < s->sites; i++) {
		const struct trace_site *site = &s->site[named[i].index];
		if (i == 0 || compare_str(named[i].name, named[i - 1].name) != 0)
			p->place[p->count++] =
				(struct place){.name = site->name, .site = named[i].index};
		struct place *place = &p->place[p->count - 1];
		p->place_of[named[i].index] = (uint32_t)(p->count - 1);
		place->stacks++;
		place->live_peak_bytes += site->live_peak_bytes;
		place->left_bytes += site->left_bytes;
		place->outside_allocations += site->allocations;
		place->outside_bytes += site->requested_bytes;
		if (site->requested_bytes > place->site_bytes) {
			place->site_bytes = site->requested_bytes;
			place->site = named[i].index;
		}
	}
	free(named);
	return 0;
}

static int site_order(const void *key, const void *item)
{
	int64_t id = *(const int64_t *)key, other = ((const struct trace_site *)item)->id;
	return id < other ? -1 : id > other;
}

static struct place *place_of_use(struct places *p, const struct trace_site_use *use)
{
	const struct trace_site *site = bsearch(&use->site, p->sites.site, p->sites.sites,
						sizeof(*p->sites.site), site_order);
	return site ? &p->place[p->place_of[site - p->sites.site]] : NULL;
}

/* A use with its place, to go through them by place and route. */
struct placed {
	const struct trace_site_use *use;
	struct place *place;
};

static int by_place_and_route(const void *a, const void *b)
{
	const struct placed *left = a, *right = b;
	if (left->place != right->place)
		return left->place < right->place ? -1 : 1;
	return compare_str(left->use->route, right->use->route);
}

static void add_use(struct place *place, const struct trace_site_use *use)
{
	place->allocations += use->allocations;
	place->requested_bytes += use->requested_bytes;
	place->outside_allocations -= use->allocations;
	place->outside_bytes -= use->requested_bytes;
	place->escapes += use->escapes;
	place->escaped_bytes += use->escaped_bytes;
	place->freed_by_request += use->freed_by_request;
	place->freed_by_connection += use->freed_by_connection;
	place->freed_by_other += use->freed_by_other;
	place->kept_ns_sum += use->kept_ns_sum;
	if (use->kept_ns_max > place->kept_ns_max)
		place->kept_ns_max = use->kept_ns_max;
}

static int add_uses(struct places *p, struct err *err)
{
	struct placed *placed = calloc(p->sites.uses + 1, sizeof(*placed));
	size_t count = 0;
	if (!placed)
		return err_set(err, "out of memory for sites");
	for (size_t i = 0; i < p->sites.uses; i++) {
		placed[count].use = &p->sites.use[i];
		placed[count].place = place_of_use(p, &p->sites.use[i]);
		count += placed[count].place != NULL;
	}
	qsort(placed, count, sizeof(*placed), by_place_and_route);
	int64_t most = 0;
	for (size_t i = 0; i < count; i++) {
		struct place *place = placed[i].place;
		add_use(place, placed[i].use);
		/* One request may come by several stacks of a place. */
		bool last =
			i + 1 == count || by_place_and_route(&placed[i], &placed[i + 1]) != 0;
		if (placed[i].use->requests > most)
			most = placed[i].use->requests;
		if (!last)
			continue;
		place->requests += most;
		place->routes++;
		most = 0;
	}
	free(placed);
	return 0;
}

/* -- routes --------------------------------------------------------------------- */

static struct arena_route *find_route(struct places *p, struct str name)
{
	for (size_t i = 0; i < p->routes; i++)
		if (str_equal(p->route[i].name, name))
			return &p->route[i];
	if ((p->routes & (p->routes - 1)) == 0) {
		size_t room = p->routes > 0 ? p->routes * 2 : 1;
		struct arena_route *grown = reallocarray(p->route, room, sizeof(*grown));
		if (!grown)
			return NULL;
		p->route = grown;
	}
	char *copy = strndup(name.bytes, name.length);
	if (!copy)
		return NULL;
	p->route[p->routes] = (struct arena_route){.name = {copy, name.length}};
	return &p->route[p->routes++];
}

/* Requests in order of time: so what is unclean at the start only, is warm. */
static int judge_routes(struct places *p, struct trace *trace, struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	int got;
	if (trace_requests(trace, &cursor, err) != 0)
		return -1;
	while ((got = trace_next(cursor, &r, err)) == 1) {
		struct arena_route *route = find_route(p, r.route);
		if (!route) {
			got = err_set(err, "out of memory for routes");
			break;
		}
		route->requests++;
		route->escapes += r.escapes;
		route->escaped_bytes += r.escaped_bytes;
		route->foreign_frees += r.foreign_frees;
		if (r.escapes > 0 || r.foreign_frees > 0) {
			route->unclean++;
			route->first_clean_after = route->requests;
		}
	}
	trace_cursor_close(cursor);
	for (size_t i = 0; i < p->routes; i++) {
		struct arena_route *route = &p->route[i];
		route->verdict = route->unclean == 0 ? ROUTE_SAFE
				 : route->first_clean_after * 10 <= route->requests
					 ? ROUTE_WARM
					 : ROUTE_UNSAFE;
	}
	return got;
}

/* -- all of it -------------------------------------------------------------------- */

int places_load(struct places *p, struct trace *trace, struct err *err)
{
	memset(p, 0, sizeof(*p));
	if (trace_sites_load(trace, &p->sites, err) != 0)
		return -1;
	if (p->sites.sites == 0)
		return err_set(err,
			       "trace \"%s\" has no call stacks: they are in one recorded with"
			       " --detail stacks",
			       trace_path(trace));
	if (group(p, err) != 0 || add_uses(p, err) != 0)
		return -1;
	return judge_routes(p, trace, err);
}

void places_release(struct places *p)
{
	for (size_t i = 0; i < p->routes; i++)
		free((char *)(uintptr_t)p->route[i].name.bytes);
	free(p->route);
	free(p->place);
	free(p->place_of);
	trace_sites_release(&p->sites);
	memset(p, 0, sizeof(*p));
}

static const struct column {
	const char *name;
	size_t at;
} columns[] = {
	{"requested_bytes", offsetof(struct place, requested_bytes)},
	{"allocations", offsetof(struct place, allocations)},
	{"requests", offsetof(struct place, requests)},
	{"live_peak_max", offsetof(struct place, live_peak_bytes)},
	{"left_bytes", offsetof(struct place, left_bytes)},
	{"escapes", offsetof(struct place, escapes)},
	{"escaped_bytes", offsetof(struct place, escaped_bytes)},
	{"kept_ns_max", offsetof(struct place, kept_ns_max)},
	{"outside_bytes", offsetof(struct place, outside_bytes)},
};

const char *places_columns(void)
{
	return "key, requested_bytes, allocations, requests, live_peak_max, left_bytes, escapes,"
	       " escaped_bytes, kept_ns_max, outside_bytes";
}

static int by_column(const void *a, const void *b, void *context)
{
	const struct column *column = context;
	const struct place *left = a, *right = b;
	if (column) {
		int64_t l, r;
		memcpy(&l, (const char *)left + column->at, sizeof(l));
		memcpy(&r, (const char *)right + column->at, sizeof(r));
		if (l != r)
			return l < r ? 1 : -1;
	}
	return compare_str(left->name, right->name);
}

int places_sort(struct places *p, const char *name)
{
	const struct column *column = NULL;
	for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++)
		if (strcmp(columns[i].name, name) == 0)
			column = &columns[i];
	if (!column && strcmp(name, "key") != 0)
		return -1;
	qsort_r(p->place, p->count, sizeof(*p->place), by_column, (void *)(uintptr_t)column);
	free(p->place_of); /* it was by the old order */
	p->place_of = NULL;
	return 0;
}
