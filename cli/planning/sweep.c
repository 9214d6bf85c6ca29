/* SPDX-License-Identifier: MIT */
#include "cli/planning/sweep.h"

#include "base/file.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PART_BYTES_MAX = 256 << 20, SHARDS_MAX = 100000 };

int shard_parse(const char *text, struct shard *shard, struct err *err)
{
	struct str index, of;
	struct err scratch;
	if (!str_cut(str_of(text), '/', &index, &of) ||
	    units_parse_count(index, &shard->index, &scratch) < 0 ||
	    units_parse_count(of, &shard->of, &scratch) < 0 || shard->index < 1 ||
	    shard->index > shard->of || shard->of > SHARDS_MAX)
		return err_usage(err, "--shard: '%s' is not I/N with I from 1 to N", text);
	return 0;
}

void part_write(const struct sweep *s, const struct shard *shard,
		const struct sweep_candidate *candidates, size_t count, struct buf *out)
{
	buf_printf(out,
		   "pail.part/1\nsweep %s %.17g %s %" PRIu64 " %" PRIu64 " %.17g %" PRIu64
		   " %" PRIu64 " %" PRIu64 " %" PRIx64 "\nshard %" PRIu64 " %" PRIu64 " %zu\n",
		   s->sha256, s->load, s->policy, s->queue, s->wait_ns, s->confidence,
		   s->requests, s->span_ns, s->align, s->question, shard->index, shard->of,
		   count);
	for (size_t i = 0; i < count; i++) {
		const struct sweep_candidate *c = &candidates[i];
		buf_printf(out,
			   "candidate %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
			   " %" PRIu64 " %.17g %.17g %.17g %" PRIu64 " %" PRIu64 " %d\n",
			   c->size, c->count, c->bound_bytes, c->outcome.offered,
			   c->outcome.rejected_500, c->outcome.rejected_503, c->rate.rate,
			   c->rate.low, c->rate.high, c->wait_ns_p99, c->rate.clusters,
			   c->rate.by_batches);
	}
	buf_append_str(out, "end\n");
}

struct reader {
	const char *path;
	char *rest;
	size_t line, length;
	struct err *err;
};

static char *line_next(struct reader *r)
{
	r->line++;
	return strsep(&r->rest, "\n");
}

static int bad(const struct reader *r)
{
	return err_set(r->err,
		       "'%s' line %zu: not a part of a sharded simulation, or cut short",
		       r->path, r->line);
}

static int head_read(struct reader *r, struct sweep *sweep, struct shard *shard, size_t *count)
{
	struct sweep s = {0};
	char *line = line_next(r);
	if (!line || strcmp(line, "pail.part/1") != 0)
		return bad(r);
	line = line_next(r);
	if (!line || sscanf(line,
			    "sweep %64s %lf %15s %" SCNu64 " %" SCNu64 " %lf %" SCNu64
			    " %" SCNu64 " %" SCNu64 " %" SCNx64,
			    s.sha256, &s.load, s.policy, &s.queue, &s.wait_ns, &s.confidence,
			    &s.requests, &s.span_ns, &s.align, &s.question) != 10)
		return bad(r);
	struct shard own;
	line = line_next(r);
	if (!line ||
	    sscanf(line, "shard %" SCNu64 " %" SCNu64 " %zu", &own.index, &own.of, count) != 3)
		return bad(r);
	if (own.index < 1 || own.index > own.of || own.of > SHARDS_MAX || *count > r->length)
		return bad(r);
	bool same = strcmp(s.sha256, sweep->sha256) == 0 && s.load == sweep->load &&
		    strcmp(s.policy, sweep->policy) == 0 && s.queue == sweep->queue &&
		    s.wait_ns == sweep->wait_ns && s.confidence == sweep->confidence &&
		    s.align == sweep->align && s.question == sweep->question;
	if (shard->of && (!same || own.of != shard->of))
		return err_set(r->err,
			       "'%s' is a part of another sweep than the ones before it",
			       r->path);
	*sweep = s;
	*shard = own;
	return 0;
}

static int candidate_read(struct reader *r, double confidence, struct sweep_candidate *c)
{
	char *line = line_next(r);
	int batches;
	*c = (struct sweep_candidate){.rate.confidence = confidence};
	if (!line || sscanf(line,
			    "candidate %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			    " %" SCNu64 " %lf %lf %lf %" SCNu64 " %" SCNu64 " %d",
			    &c->size, &c->count, &c->bound_bytes, &c->outcome.offered,
			    &c->outcome.rejected_500, &c->outcome.rejected_503, &c->rate.rate,
			    &c->rate.low, &c->rate.high, &c->wait_ns_p99, &c->rate.clusters,
			    &batches) != 12)
		return bad(r);
	c->rate.by_batches = batches != 0;
	return 0;
}

int part_read(const char *path, struct sweep *sweep, struct shard *shard,
	      struct sweep_candidate **candidates, size_t *count, struct err *err)
{
	char *text = NULL;
	size_t length, own = 0;
	if (file_read_all(path, PART_BYTES_MAX, &text, &length, err) < 0)
		return -1;
	struct reader reader = {.path = path, .rest = text, .length = length, .err = err};
	int status = head_read(&reader, sweep, shard, &own);
	struct sweep_candidate *all = NULL;
	if (status == 0) {
		all = realloc(*candidates, (*count + own + 1) * sizeof(*all));
		if (all)
			*candidates = all;
		else
			status = err_set(err, "out of memory");
	}
	for (size_t i = 0; status == 0 && i < own; i++)
		status = candidate_read(&reader, sweep->confidence, &all[*count + i]);
	if (status == 0) {
		char *line = line_next(&reader);
		if (!line || strcmp(line, "end") != 0)
			status = bad(&reader);
		else
			*count += own;
	}
	free(text);
	return status;
}

static void routes_json(const struct sweep *s, const struct sweep_candidate *c,
			struct json *json)
{
	json_key(json, "routes");
	json_array_begin(json);
	for (size_t r = 0; r < s->route_count; r++) {
		if (c->route[r].offered == 0)
			continue;
		json_object_begin(json);
		json_pair_text(json, "route", s->route_names[r]);
		json_pair_u64(json, "offered", c->route[r].offered);
		json_pair_u64(json, "rejected_500", c->route[r].rejected_500);
		json_pair_u64(json, "rejected_503", c->route[r].rejected_503);
		json_object_end(json);
	}
	json_array_end(json);
}

static void table_routes(const struct sweep *s, const struct sweep_candidate *candidates,
			 size_t count, struct buf *out)
{
	static const char *const heads[] = {">size",    ">count", "route",
					    ">offered", ">500",   ">503"};
	struct table *table = table_new(6, heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct sweep_candidate *c = &candidates[i];
		for (size_t r = 0; c->route && r < s->route_count; r++) {
			char size[UNITS_TEXT_MAX];
			if (c->route[r].offered == 0)
				continue;
			table_cell(table, "%s", units_format_size(c->size, size));
			table_cell(table, "%" PRIu64, c->count);
			table_cell(table, "%s", s->route_names[r]);
			table_cell(table, "%" PRIu64, c->route[r].offered);
			table_cell(table, "%" PRIu64, c->route[r].rejected_500);
			table_cell(table, "%" PRIu64, c->route[r].rejected_503);
		}
	}
	buf_append_str(out, "\n");
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
}

void sweep_table(const struct sweep *s, const struct sweep_candidate *candidates, size_t count,
		 struct buf *out)
{
	static const char *const heads[] = {">size",     ">count",   ">bound",
					    ">500",      ">503",     ">rate",
					    ">at least", ">at most", ">wait p99"};
	char text[UNITS_TEXT_MAX];
	buf_printf(out, "%" PRIu64 " requests over %s, offered load %.2f buckets",
		   s->view_requests, units_format_time((uint64_t)s->view_span_ns, text),
		   s->offered);
	if (s->load != 1)
		buf_printf(out, " (%g times the recorded)", s->load);
	buf_printf(out, "; rates with %g %% intervals\n", 100 * s->confidence);
	struct table *table = table_new(9, heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct sweep_candidate *c = &candidates[i];
		table_cell(table, "%s", units_format_size(c->size, text));
		table_cell(table, "%" PRIu64, c->count);
		table_cell(table, "%s", units_format_size(c->bound_bytes, text));
		table_cell(table, "%" PRIu64, c->outcome.rejected_500);
		table_cell(table, "%" PRIu64, c->outcome.rejected_503);
		table_cell(table, "%.3g", c->rate.rate);
		table_cell(table, "%.3g", c->rate.low);
		table_cell(table, "%.3g", c->rate.high);
		table_cell(table, "%s",
			   s->queue ? units_format_time(c->wait_ns_p99, text) : "-");
	}
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	if (s->route_count)
		table_routes(s, candidates, count, out);
}

void sweep_json(const struct sweep *s, const struct sweep_candidate *candidates, size_t count,
		struct buf *out)
{
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema",
		       s->streamed ? "pail.simulate.stream/1" : "pail.simulate/1");
	json_key(&json, "trace");
	json_object_begin(&json);
	json_pair_u64(&json, "requests", s->requests);
	json_pair_u64(&json, "span_ns", s->span_ns);
	if (!s->streamed)
		json_pair_text(&json, "sha256", s->sha256);
	json_object_end(&json);
	json_pair_double(&json, "load", s->load);
	json_pair_text(&json, "policy", s->policy);
	json_pair_u64(&json, "align", s->align);
	json_key(&json, "candidates");
	json_array_begin(&json);
	for (size_t i = 0; i < count; i++) {
		const struct sweep_candidate *c = &candidates[i];
		json_object_begin(&json);
		json_pair_u64(&json, "size", c->size);
		json_pair_u64(&json, "count", c->count);
		json_pair_u64(&json, "queue", s->queue);
		json_pair_u64(&json, "wait_ns", s->queue ? s->wait_ns : 0);
		json_pair_u64(&json, "bound_bytes", c->bound_bytes);
		json_pair_u64(&json, "offered", c->outcome.offered);
		json_pair_u64(&json, "rejected_500", c->outcome.rejected_500);
		json_pair_u64(&json, "rejected_503", c->outcome.rejected_503);
		json_pair_double(&json, "rejection_rate", c->rate.rate);
		json_pair_double(&json, "rate_low", c->rate.low);
		json_pair_double(&json, "rate_high", c->rate.high);
		json_pair_double(&json, "confidence", c->rate.confidence);
		json_pair_u64(&json, "wait_ns_p99", c->wait_ns_p99);
		json_pair_u64(&json, "clusters", c->rate.clusters);
		json_pair_text(&json, "interval", c->rate.by_batches ? "batches" : "clusters");
		if (c->route)
			routes_json(s, c, &json);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	buf_append_str(out, "\n");
}

void sweep_csv(const struct sweep *s, const struct sweep_candidate *candidates, size_t count,
	       struct buf *out)
{
	buf_append_str(out, "size,count,queue,wait_ns,bound_bytes,offered,rejected_500,"
			    "rejected_503,rejection_rate,rate_low,rate_high,confidence,"
			    "wait_ns_p99\n");
	for (size_t i = 0; i < count; i++) {
		const struct sweep_candidate *c = &candidates[i];
		buf_printf(out,
			   "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
			   ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
			   ",%.17g,%.17g,%.17g,%.17g,%" PRIu64 "\n",
			   c->size, c->count, s->queue, s->queue ? s->wait_ns : 0,
			   c->bound_bytes, c->outcome.offered, c->outcome.rejected_500,
			   c->outcome.rejected_503, c->rate.rate, c->rate.low, c->rate.high,
			   c->rate.confidence, c->wait_ns_p99);
	}
}
