/* SPDX-License-Identifier: MIT */
#include "cli/pages/report_sites.h"

#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/places.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { FIXES = 3 /* sites named for each route in the table */ };

static const char *const verdict_names[] = {"yes", "warm", "no"};

static int64_t never_freed(const struct place *p)
{
	int64_t freed = p->freed_by_request + p->freed_by_connection + p->freed_by_other;
	return p->escapes > freed ? p->escapes - freed : 0;
}

/* -- what a route must fix ------------------------------------------------------ */

/* The use of this route with most escaped bytes that is not above `below`. */
static const struct trace_site_use *next_escape(const struct places *p, struct str route,
						const struct trace_site_use *after)
{
	const struct trace_site_use *best = NULL;
	for (size_t i = 0; i < p->sites.uses; i++) {
		const struct trace_site_use *use = &p->sites.use[i];
		if (use->escapes == 0 || !str_equal(use->route, route) || use == after)
			continue;
		if (after && (use->escaped_bytes > after->escaped_bytes ||
			      (use->escaped_bytes == after->escaped_bytes && use <= after)))
			continue;
		if (!best || use->escaped_bytes > best->escaped_bytes)
			best = use;
	}
	return best;
}

static struct str site_name(const struct places *p, int64_t id)
{
	for (size_t i = 0; i < p->sites.sites; i++)
		if (p->sites.site[i].id == id)
			return p->sites.site[i].name;
	return STR("?");
}

/* -- JSON ------------------------------------------------------------------------ */

static void pair(struct json *j, const char *key, int64_t value)
{
	json_key(j, key);
	json_i64(j, value);
}

static void pair_str(struct json *j, const char *key, struct str value)
{
	json_key(j, key);
	json_str(j, value);
}

static void json_freed(struct json *j, int64_t request, int64_t connection, int64_t other,
		       int64_t never)
{
	json_key(j, "freed_by");
	json_object_begin(j);
	pair(j, "request", request);
	pair(j, "connection", connection);
	pair(j, "other", other);
	pair(j, "never", never);
	json_object_end(j);
}

static void json_frames(struct json *j, const struct places *p, size_t index)
{
	const struct trace_site *site = &p->sites.site[index];
	json_key(j, "frames");
	json_array_begin(j);
	for (uint32_t i = 0; i < site->frames; i++) {
		const struct trace_frame *f = &p->sites.frame[site->frame[i]];
		json_object_begin(j);
		pair_str(j, "function", f->function);
		pair_str(j, "file", f->file);
		pair(j, "line", f->line);
		pair_str(j, "module", f->module);
		json_pair_u64(j, "address", f->address);
		json_object_end(j);
	}
	json_array_end(j);
}

static void json_place(struct json *j, const struct places *p, const struct place *place)
{
	static const char *const of_requests[] = {
		"need_p50",       "need_p90",       "need_p99",      "need_max",
		"service_ns_p50", "service_ns_p99", "stack_peak_max"};
	int64_t freed =
		place->freed_by_request + place->freed_by_connection + place->freed_by_other;
	json_object_begin(j);
	pair_str(j, "key", place->name);
	pair(j, "requests", place->requests);
	for (size_t i = 0; i < sizeof(of_requests) / sizeof(*of_requests); i++) {
		json_key(j, of_requests[i]);
		json_null(j);
	}
	pair(j, "requested_bytes", place->requested_bytes);
	pair(j, "live_peak_max", place->live_peak_bytes);
	pair(j, "allocations", place->allocations);
	pair(j, "escapes", place->escapes);
	pair(j, "escaped_bytes", place->escaped_bytes);
	json_freed(j, place->freed_by_request, place->freed_by_connection,
		   place->freed_by_other, never_freed(place));
	pair(j, "kept_ns_mean", freed > 0 ? place->kept_ns_sum / freed : 0);
	pair(j, "kept_ns_max", place->kept_ns_max);
	pair(j, "left_bytes", place->left_bytes);
	pair(j, "outside_allocations", place->outside_allocations);
	pair(j, "outside_bytes", place->outside_bytes);
	pair(j, "routes", place->routes);
	pair(j, "stacks", place->stacks);
	json_frames(j, p, place->site);
	json_object_end(j);
}

static void json_route(struct json *j, const struct places *p, const struct arena_route *route)
{
	json_object_begin(j);
	pair_str(j, "route", route->name);
	json_pair_text(j, "arena_safe", verdict_names[route->verdict]);
	pair(j, "requests", route->requests);
	pair(j, "unclean_requests", route->unclean);
	pair(j, "escapes", route->escapes);
	pair(j, "escaped_bytes", route->escaped_bytes);
	pair(j, "foreign_frees", route->foreign_frees);
	json_key(j, "sites");
	json_array_begin(j);
	const struct trace_site_use *use = NULL;
	while ((use = next_escape(p, route->name, use)) != NULL) {
		json_object_begin(j);
		pair_str(j, "site", site_name(p, use->site));
		pair(j, "id", use->site);
		pair(j, "escapes", use->escapes);
		pair(j, "escaped_bytes", use->escaped_bytes);
		json_freed(j, use->freed_by_request, use->freed_by_connection,
			   use->freed_by_other,
			   use->escapes - use->freed_by_request - use->freed_by_connection -
				   use->freed_by_other);
		pair(j, "kept_ns_max", use->kept_ns_max);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

static void write_json(const struct places *p, struct trace *trace, size_t rows,
		       struct buf *out)
{
	struct json j;
	json_init(&j, out);
	json_object_begin(&j);
	json_pair_text(&j, "schema", "pail.report/1");
	json_pair_text(&j, "by", "site");
	json_key(&j, "rows");
	json_array_begin(&j);
	for (size_t i = 0; i < rows; i++)
		json_place(&j, p, &p->place[i]);
	json_array_end(&j);
	json_key(&j, "unattributed");
	json_object_begin(&j);
	pair(&j, "allocations", trace_meta_int(trace, "unattributed_allocations", 0));
	pair(&j, "bytes", trace_meta_int(trace, "unattributed_bytes", 0));
	json_object_end(&j);
	pair(&j, "dropped_events", trace_meta_int(trace, "dropped_events", 0));
	pair(&j, "groups", (int64_t)p->count);
	json_key(&j, "arena");
	json_array_begin(&j);
	for (size_t i = 0; i < p->routes; i++)
		json_route(&j, p, &p->route[i]);
	json_array_end(&j);
	json_object_end(&j);
}

/* -- CSV -------------------------------------------------------------------------- */

static void write_csv(const struct places *p, size_t rows, struct buf *out)
{
	buf_append_str(
		out, "key,requests,requested_bytes,live_peak_max,allocations,escapes,"
		     "escaped_bytes,freed_by_request,freed_by_connection,freed_by_other,"
		     "never_freed,kept_ns_max,left_bytes,outside_allocations,outside_bytes\n");
	for (size_t i = 0; i < rows; i++) {
		const struct place *r = &p->place[i];
		const int64_t value[] = {r->requests,
					 r->requested_bytes,
					 r->live_peak_bytes,
					 r->allocations,
					 r->escapes,
					 r->escaped_bytes,
					 r->freed_by_request,
					 r->freed_by_connection,
					 r->freed_by_other,
					 never_freed(r),
					 r->kept_ns_max,
					 r->left_bytes,
					 r->outside_allocations,
					 r->outside_bytes};
		buf_append_str(out, "\"");
		for (size_t c = 0; c < r->name.length; c++) {
			if (r->name.bytes[c] == '"')
				buf_append_str(out, "\"");
			buf_append(out, &r->name.bytes[c], 1);
		}
		buf_append_str(out, "\"");
		for (size_t v = 0; v < sizeof(value) / sizeof(*value); v++)
			buf_printf(out, ",%" PRId64, value[v]);
		buf_append_str(out, "\n");
	}
}

/* -- the table ---------------------------------------------------------------------- */

static void cell_size(struct table *table, int64_t bytes)
{
	char text[UNITS_TEXT_MAX];
	table_cell(table, "%s", units_format_size((uint64_t)(bytes > 0 ? bytes : 0), text));
}

static const char *who_frees(const struct place *p)
{
	int64_t never = never_freed(p), most = never;
	const char *who = "never freed";
	if (p->escapes == 0)
		return "";
	if (p->freed_by_request > most)
		most = p->freed_by_request, who = "by a later request";
	if (p->freed_by_connection > most)
		most = p->freed_by_connection, who = "by its connection";
	if (p->freed_by_other > most)
		who = "between requests";
	return who;
}

static void write_verdicts(const struct places *p, struct buf *out)
{
	char text[UNITS_TEXT_MAX];
	buf_append_str(out, "\narena-safe?\n");
	for (size_t i = 0; i < p->routes; i++) {
		const struct arena_route *r = &p->route[i];
		buf_printf(out, "  %.*s: %s", (int)r->name.length, r->name.bytes,
			   verdict_names[r->verdict]);
		if (r->verdict == ROUTE_SAFE) {
			buf_printf(out, " (%" PRId64 " requests)\n", r->requests);
			continue;
		}
		buf_printf(out,
			   " (%" PRId64 " of %" PRId64 " requests leave something or free what"
			   " they did not make",
			   r->unclean, r->requests);
		if (r->verdict == ROUTE_WARM)
			buf_printf(out, ", none after the first %" PRId64,
				   r->first_clean_after);
		buf_append_str(out, ")\n");
		const struct trace_site_use *use = NULL;
		for (int f = 0; f < FIXES && (use = next_escape(p, r->name, use)); f++) {
			struct str name = site_name(p, use->site);
			buf_printf(out, "    %.*s: %" PRId64 " blocks, %s\n", (int)name.length,
				   name.bytes, use->escapes,
				   units_format_size((uint64_t)use->escaped_bytes, text));
		}
	}
}

static void write_table(const struct places *p, size_t rows, struct buf *out)
{
	const char *heads[] = {"site",     ">allocations", ">bytes", ">live peak",
			       ">escapes", ">escaped",     "freed",  ">routes"};
	struct table *table = table_new(sizeof(heads) / sizeof(*heads), heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < rows; i++) {
		const struct place *r = &p->place[i];
		table_cell(table, "%.*s", (int)r->name.length, r->name.bytes);
		table_cell(table, "%" PRId64, r->allocations);
		cell_size(table, r->requested_bytes);
		cell_size(table, r->live_peak_bytes);
		table_cell(table, "%" PRId64, r->escapes);
		cell_size(table, r->escaped_bytes);
		table_cell(table, "%s", who_frees(r));
		table_cell(table, "%" PRId64, r->routes);
	}
	table_style_for(table, STDOUT_FILENO);
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	if (rows < p->count)
		buf_printf(out, "%zu more (--limit)\n", p->count - rows);
	write_verdicts(p, out);
}

int report_sites(const char *argv0, const struct report_sites *words, struct trace *trace)
{
	struct places places;
	struct err err = {0};
	struct buf out;
	int code = EXIT_DONE;
	if (places_load(&places, trace, &err) != 0) {
		places_release(&places);
		return cli_fail(argv0, &err);
	}
	if (places_sort(&places, words->sort ? words->sort : "requested_bytes") != 0) {
		err_usage(&err, "--sort has no column '%s' with --by site: %s", words->sort,
			  places_columns());
		places_release(&places);
		return cli_fail(argv0, &err);
	}
	size_t rows = words->limit < places.count ? (size_t)words->limit : places.count;
	buf_init(&out);
	if (words->json)
		write_json(&places, trace, rows, &out);
	else if (words->csv)
		write_csv(&places, rows, &out);
	else
		write_table(&places, rows, &out);
	code = cli_print(argv0, &out);
	buf_release(&out);
	places_release(&places);
	return code;
}
