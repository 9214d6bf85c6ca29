/* SPDX-License-Identifier: MIT */
#include "cli/groups.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_str(struct str s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (size_t i = 0; i < s.length; i++)
		h = (h ^ (unsigned char)s.bytes[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

static uint32_t *find_slot(struct groups *groups, struct str key)
{
	for (uint64_t i = hash_str(key);; i++) {
		uint32_t *slot = &groups->slot[i & (groups->slots - 1)];
		if (*slot == 0 || str_equal(str_of(groups->group[*slot - 1].key), key))
			return slot;
	}
}

static int grow(struct groups *groups)
{
	size_t slots = groups->slots > 0 ? groups->slots * 2 : 256;
	uint32_t *slot = calloc(slots, sizeof(*slot));
	struct group *group = reallocarray(groups->group, slots / 2, sizeof(*group));
	if (group)
		groups->group = group;
	if (!slot || !group) {
		free(slot);
		return -1;
	}
	free(groups->slot);
	groups->slot = slot;
	groups->slots = slots;
	groups->room = slots / 2;
	for (size_t i = 0; i < groups->count; i++)
		*find_slot(groups, str_of(group[i].key)) = (uint32_t)(i + 1);
	return 0;
}

static struct group *group_of(struct groups *groups, struct str key)
{
	if (groups->count == groups->room && grow(groups) != 0)
		return NULL;
	uint32_t *slot = find_slot(groups, key);
	if (*slot != 0)
		return &groups->group[*slot - 1];
	struct group *g = &groups->group[groups->count];
	*g = (struct group){.key = strndup(key.bytes, key.length)};
	if (!g->key)
		return NULL;
	*slot = (uint32_t)++groups->count;
	return g;
}

static int add(struct group *g, const struct trace_request *r, int64_t need)
{
	if ((size_t)g->requests == g->room) {
		size_t room = g->room > 0 ? g->room * 2 : 4;
		int64_t *needs = reallocarray(g->need, room, sizeof(*needs));
		if (needs)
			g->need = needs;
		int64_t *services = reallocarray(g->service, room, sizeof(*services));
		if (services)
			g->service = services;
		int64_t *cpus = reallocarray(g->cpu, room, sizeof(*cpus));
		if (cpus)
			g->cpu = cpus;
		if (!needs || !services || !cpus)
			return -1;
		g->room = room;
	}
	g->need[g->requests] = need;
	g->service[g->requests] = r->end_ns - r->start_ns;
	if (r->cpu_ns >= 0)
		g->cpu[g->cpus++] = r->cpu_ns;
	g->requests++;
	g->requested_bytes += r->requested_bytes;
	g->allocations += r->allocations;
	g->escapes += r->escapes;
	g->escaped_bytes += r->escaped_bytes;
	g->incomplete += r->incomplete;
	g->confidence[r->confidence]++;
	if (r->live_peak_bytes > g->live_peak_max)
		g->live_peak_max = r->live_peak_bytes;
	if (r->stack_peak_bytes > g->stack_peak_max)
		g->stack_peak_max = r->stack_peak_bytes;
	return 0;
}

static int compare_int64(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Of sorted values, by nearest rank. */
static int64_t percentile(const int64_t *values, int64_t count, int64_t percent)
{
	return values[(count * percent + 99) / 100 - 1];
}

static void finish(struct group *g)
{
	qsort(g->need, (size_t)g->requests, sizeof(*g->need), compare_int64);
	qsort(g->service, (size_t)g->requests, sizeof(*g->service), compare_int64);
	g->need_p50 = percentile(g->need, g->requests, 50);
	g->need_p90 = percentile(g->need, g->requests, 90);
	g->need_p99 = percentile(g->need, g->requests, 99);
	g->need_max = g->need[g->requests - 1];
	g->service_ns_p50 = percentile(g->service, g->requests, 50);
	g->service_ns_p99 = percentile(g->service, g->requests, 99);
	qsort(g->cpu, (size_t)g->cpus, sizeof(*g->cpu), compare_int64);
	g->cpu_ns_p50 = g->cpus > 0 ? percentile(g->cpu, g->cpus, 50) : -1;
	g->cpu_ns_p99 = g->cpus > 0 ? percentile(g->cpu, g->cpus, 99) : -1;
	free(g->need);
	free(g->service);
	free(g->cpu);
	g->need = g->service = g->cpu = NULL;
}

static struct str key_of(const struct trace_request *r, enum group_by by, char text[64])
{
	static const char *const confidence[] = {"exact", "inferred", "ambiguous"};
	switch (by) {
	case GROUP_ROUTE: return r->route;
	case GROUP_CONFIDENCE: return str_of(confidence[r->confidence]);
	case GROUP_STATUS:
		if (r->status < 0)
			return STR("unknown");
		snprintf(text, 64, "%d", r->status);
		return str_of(text);
	case GROUP_REQUEST: snprintf(text, 64, "%" PRId64, r->id); return str_of(text);
	}
	return STR("");
}

int groups_load(struct groups *groups, struct trace *trace, enum group_by by,
		enum arena_policy policy, struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	memset(groups, 0, sizeof(*groups));
	if (trace_requests(trace, &cursor, err) != 0)
		return -1;
	int rc;
	while ((rc = trace_next(cursor, &r, err)) == 1) {
		char text[64];
		struct group *g = group_of(groups, key_of(&r, by, text));
		if (!g ||
		    add(g, &r, policy == ARENA_BUMP ? r.need_bump_bytes : r.need_reuse_bytes)) {
			rc = err_set(err, "out of memory");
			break;
		}
		groups->requests++;
	}
	trace_cursor_close(cursor);
	if (rc != 0)
		return -1;
	for (size_t i = 0; i < groups->count; i++)
		finish(&groups->group[i]);
	return 0;
}

void groups_release(struct groups *groups)
{
	for (size_t i = 0; i < groups->count; i++) {
		free(groups->group[i].key);
		free(groups->group[i].need);
		free(groups->group[i].service);
		free(groups->group[i].cpu);
	}
	free(groups->group);
	free(groups->slot);
	memset(groups, 0, sizeof(*groups));
}

/* -- order --------------------------------------------------------------- */

static const struct {
	const char *name;
	size_t offset;
} columns[] = {
	{"requests", offsetof(struct group, requests)},
	{"need_p50", offsetof(struct group, need_p50)},
	{"need_p90", offsetof(struct group, need_p90)},
	{"need_p99", offsetof(struct group, need_p99)},
	{"need_max", offsetof(struct group, need_max)},
	{"requested_bytes", offsetof(struct group, requested_bytes)},
	{"live_peak_max", offsetof(struct group, live_peak_max)},
	{"allocations", offsetof(struct group, allocations)},
	{"escapes", offsetof(struct group, escapes)},
	{"escaped_bytes", offsetof(struct group, escaped_bytes)},
	{"service_ns_p50", offsetof(struct group, service_ns_p50)},
	{"service_ns_p99", offsetof(struct group, service_ns_p99)},
	{"stack_peak_max", offsetof(struct group, stack_peak_max)},
	{"cpu_ns_p50", offsetof(struct group, cpu_ns_p50)},
	{"cpu_ns_p99", offsetof(struct group, cpu_ns_p99)},
};

const char *groups_columns(void)
{
	return "key, requests, need_p50, need_p90, need_p99, need_max, requested_bytes,"
	       " live_peak_max, allocations, escapes, escaped_bytes, service_ns_p50,"
	       " service_ns_p99, stack_peak_max, cpu_ns_p50, cpu_ns_p99";
}

/* Numbers by their value, so that request 10 follows request 9. */
static int compare_keys(const struct group *a, const struct group *b)
{
	size_t x = strlen(a->key), y = strlen(b->key);
	bool numbers = x > 0 && y > 0 && strspn(a->key, "0123456789") == x &&
		       strspn(b->key, "0123456789") == y;
	if (numbers && x != y)
		return x < y ? -1 : 1;
	return strcmp(a->key, b->key);
}

static int compare_groups(const void *a, const void *b, void *context)
{
	const size_t *offset = context;
	if (*offset != SIZE_MAX) {
		int64_t x, y;
		memcpy(&x, (const char *)a + *offset, sizeof(x));
		memcpy(&y, (const char *)b + *offset, sizeof(y));
		if (x != y)
			return x > y ? -1 : 1;
	}
	return compare_keys(a, b);
}

int groups_sort(struct groups *groups, const char *column)
{
	size_t offset = SIZE_MAX;
	bool found = strcmp(column, "key") == 0;
	for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++)
		if (strcmp(columns[i].name, column) == 0) {
			offset = columns[i].offset;
			found = true;
		}
	if (!found)
		return -1;
	if (groups->count > 0) /* the hash is of no use afterwards */
		qsort_r(groups->group, groups->count, sizeof(*groups->group), compare_groups,
			&offset);
	return 0;
}
