/* SPDX-License-Identifier: MIT */
#include "cli/planning/simulate_plan.h"

#include "base/json.h"
#include "base/table.h"
#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tally {
	uint64_t offered, rejected_500, rejected_503;
};

struct run {
	const struct simulate_plan *ask;
	struct world_ask world_ask;
	struct world world;
	struct rate rate;
	uint32_t *class_of_route;
	bool *retry_of_route;
	struct tally *by_route, by_class[WORLD_CLASSES_MAX];
	uint64_t wait_ns_p99;
};

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The trace names a route "METHOD /path". */
static void routes_map(struct run *r)
{
	const struct plan *plan = r->ask->plan;
	for (size_t i = 0; i < r->ask->traffic->columns.route_count; i++) {
		struct str method, path;
		struct str name = str_of(traffic_route(r->ask->traffic, (uint32_t)i));
		if (!str_cut(name, ' ', &method, &path)) {
			path = name;
			method = STR("");
		}
		int rule = limits_route(plan, method, path);
		if (rule < 0)
			continue;
		r->class_of_route[i] = plan->route[rule].class_index;
		r->retry_of_route[i] = plan->route[rule].retry;
	}
}

static void ask_fill(struct run *r)
{
	const struct plan *plan = r->ask->plan;
	struct world_ask *w = &r->world_ask;
	w->class_count = plan->class_count;
	for (uint32_t k = 0; k < plan->class_count; k++) {
		w->size_bytes[k] = plan->class[k].size_bytes;
		w->count[k] = plan->class[k].count;
	}
	w->class_of_route = r->class_of_route;
	w->retry_of_route = r->retry_of_route;
	w->queue = plan->queue;
	w->wait_ns = plan->wait_ns;
	w->overflow = r->ask->overflow;
	w->early = r->ask->early;
	if (!r->ask->page_bytes)
		return;
	uint64_t bytes = 0;
	for (uint32_t k = 0; k < plan->class_count; k++)
		bytes += plan->class[k].size_bytes * plan->class[k].count;
	w->class_count = 1;
	w->class_of_route = NULL;
	w->page_bytes = r->ask->page_bytes;
	w->count[0] = (uint32_t)(bytes / r->ask->page_bytes);
}

static int tally_up(struct run *r, struct err *err)
{
	const struct sim_trace *trace = &r->ask->traffic->view;
	uint64_t *waits = calloc(trace->count + 1, sizeof(*waits));
	uint8_t *refused = calloc(trace->count + 1, 1);
	size_t got = 0;
	if (!waits || !refused) {
		free(waits);
		free(refused);
		return err_set(err, "out of memory");
	}
	assert(trace->count == 0 || r->world.class);
	for (size_t i = 0; i < trace->count; i++) {
		struct tally *both[2] = {&r->by_route[trace->route ? trace->route[i] : 0],
					 &r->by_class[r->world.class[i]]};
		for (int k = 0; k < 2; k++) {
			both[k]->offered++;
			both[k]->rejected_500 += r->world.fate[i] == WORLD_500;
			both[k]->rejected_503 += r->world.fate[i] == WORLD_503;
		}
		refused[i] = r->world.fate[i] != WORLD_SERVED;
		if (r->world.fate[i] != WORLD_503)
			waits[got++] = r->world.waited_ns[i];
	}
	qsort(waits, got, sizeof(*waits), by_u64);
	r->wait_ns_p99 = got ? waits[got - got / 100 - 1] : 0;
	r->rate = rate_of_fates(trace, refused, r->ask->confidence);
	free(waits);
	free(refused);
	return 0;
}

static const char *const not_monotone =
	"under overflow, retry, a queue or pages, one bucket more can mean more rejections: "
	"this is the outcome of this plan alone, and says nothing of its neighbours";

static bool monotone(const struct run *r)
{
	bool retry = false;
	for (uint32_t i = 0; i < r->ask->plan->route_count; i++)
		retry |= r->ask->plan->route[i].retry;
	return !(retry || r->ask->overflow || r->ask->page_bytes || r->ask->plan->queue);
}

static void json_tally(struct json *json, const struct tally *t)
{
	json_pair_u64(json, "offered", t->offered);
	json_pair_u64(json, "rejected_500", t->rejected_500);
	json_pair_u64(json, "rejected_503", t->rejected_503);
}

static void write_json(const struct run *r, struct buf *out)
{
	const struct traffic *traffic = r->ask->traffic;
	const struct plan *plan = r->ask->plan;
	uint64_t count = 0;
	for (uint32_t k = 0; k < plan->class_count; k++)
		count += plan->class[k].count;
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.simulate/1");
	json_key(&json, "trace");
	json_object_begin(&json);
	json_pair_u64(&json, "requests", traffic->columns.count);
	json_pair_u64(&json, "span_ns", (uint64_t)traffic->columns.span_ns);
	json_pair_text(&json, "sha256", traffic->columns.sha256);
	json_object_end(&json);
	json_pair_double(&json, "load", r->ask->load);
	json_key(&json, "candidates");
	json_array_begin(&json);
	json_object_begin(&json);
	json_pair_u64(&json, "size", plan->class[plan->class_count - 1].size_bytes);
	json_pair_u64(&json, "count", count);
	json_pair_u64(&json, "queue", plan->queue);
	json_pair_u64(&json, "wait_ns", plan->queue ? plan->wait_ns : 0);
	json_pair_u64(&json, "bound_bytes", limits_bound_bytes(plan));
	const struct tally all = {r->world.outcome.offered, r->world.outcome.rejected_500,
				  r->world.outcome.rejected_503};
	json_tally(&json, &all);
	json_pair_double(&json, "rejection_rate", r->rate.rate);
	json_pair_double(&json, "rate_low", r->rate.low);
	json_pair_double(&json, "rate_high", r->rate.high);
	json_pair_double(&json, "confidence", r->rate.confidence);
	json_pair_u64(&json, "wait_ns_p99", r->wait_ns_p99);
	json_pair_u64(&json, "clusters", r->rate.clusters);
	json_pair_u64(&json, "retried", r->world.retried);
	json_pair_u64(&json, "overflowed", r->world.overflowed);
	json_pair_u64(&json, "bucket_bytes_peak", r->world.peak_bytes);
	json_key(&json, "classes");
	json_array_begin(&json);
	for (uint32_t k = 0; k < r->world_ask.class_count && !r->ask->page_bytes; k++) {
		json_object_begin(&json);
		json_pair_text(&json, "name", plan->class[k].name);
		json_pair_u64(&json, "size", plan->class[k].size_bytes);
		json_pair_u64(&json, "count", plan->class[k].count);
		json_tally(&json, &r->by_class[k]);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_key(&json, "routes");
	json_array_begin(&json);
	for (size_t i = 0; i < traffic->columns.route_count; i++) {
		if (r->by_route[i].offered == 0)
			continue;
		json_object_begin(&json);
		json_pair_text(&json, "route", traffic_route(traffic, (uint32_t)i));
		json_tally(&json, &r->by_route[i]);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	json_array_end(&json);
	json_key(&json, "warnings");
	json_array_begin(&json);
	if (!monotone(r))
		json_text(&json, not_monotone);
	json_array_end(&json);
	json_object_end(&json);
	buf_append_str(out, "\n");
}

static void row(struct table *table, const char *what, const char *name, const struct tally *t)
{
	table_cell(table, "%s", what);
	table_cell(table, "%s", name);
	table_cell(table, "%" PRIu64, t->offered);
	table_cell(table, "%" PRIu64, t->rejected_500);
	table_cell(table, "%" PRIu64, t->rejected_503);
}

static void write_table(const struct run *r, struct buf *out)
{
	static const char *const heads[] = {"", "name", ">offered", ">500", ">503"};
	struct table *table = table_new(5, heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (uint32_t k = 0; k < r->world_ask.class_count && !r->ask->page_bytes; k++)
		row(table, "bucket", r->ask->plan->class[k].name, &r->by_class[k]);
	for (size_t i = 0; i < r->ask->traffic->columns.route_count; i++) {
		if (r->by_route[i].offered)
			row(table, "route", traffic_route(r->ask->traffic, (uint32_t)i),
			    &r->by_route[i]);
	}
	const struct tally all = {r->world.outcome.offered, r->world.outcome.rejected_500,
				  r->world.outcome.rejected_503};
	row(table, "all", "", &all);
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	char bound[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX], wait[UNITS_TEXT_MAX];
	buf_printf(out,
		   "bound %s, at most %s of buckets in use; rejection rate %.3g "
		   "(%.3g to %.3g at %g %%); wait p99 %s\n",
		   units_format_size(limits_bound_bytes(r->ask->plan), bound),
		   units_format_size(r->world.peak_bytes, peak), r->rate.rate, r->rate.low,
		   r->rate.high, 100 * r->ask->confidence,
		   units_format_time(r->wait_ns_p99, wait));
	if (r->world.retried || r->world.overflowed)
		buf_printf(out,
			   "%" PRIu64 " retried in a bigger bucket, %" PRIu64
			   " overflowed into one\n",
			   r->world.retried, r->world.overflowed);
	if (!monotone(r))
		buf_printf(out, "warning: %s\n", not_monotone);
}

int simulate_plan(const struct simulate_plan *ask, struct buf *out, struct err *err)
{
	struct run run = {.ask = ask};
	size_t routes = ask->traffic->columns.route_count + 1;
	run.class_of_route = calloc(routes, sizeof(*run.class_of_route));
	run.retry_of_route = calloc(routes, sizeof(*run.retry_of_route));
	run.by_route = calloc(routes, sizeof(*run.by_route));
	int status = run.class_of_route && run.retry_of_route && run.by_route
			     ? 0
			     : err_set(err, "out of memory");
	if (status == 0) {
		routes_map(&run);
		ask_fill(&run);
		status = world_run(&ask->traffic->view, &run.world_ask, &run.world, err);
	}
	if (status == 0) {
		status = tally_up(&run, err);
		if (status == 0 && ask->json)
			write_json(&run, out);
		else if (status == 0)
			write_table(&run, out);
		world_release(&run.world);
	}
	free(run.class_of_route);
	free(run.retry_of_route);
	free(run.by_route);
	return status;
}
