/* SPDX-License-Identifier: MIT */
#include "cli/planning/certificate.h"

#include "base/file.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CERTIFICATE_BYTES_MAX = 64 << 20 };

static int class_write(const struct traffic *t, const struct planner_result *result,
		       const struct plan *plan, uint32_t class, struct buf *out,
		       struct err *err)
{
	const struct sim_trace *trace = &t->recorded;
	struct sim_columns own;
	if (sim_columns_init(&own, trace->count, err) < 0)
		return -1;
	size_t n = 0;
	for (size_t i = 0; i < trace->count; i++) {
		if (result->class_of_route[trace->route[i]] != class)
			continue;
		own.arrival_ns[n] = trace->arrival_ns[i];
		own.service_ns[n] = trace->service_ns[i];
		own.origin[n++] = (uint32_t)i;
	}
	own.trace.count = n;
	uint32_t overlap;
	size_t at;
	int status = grid_overlap(&own.trace, &overlap, &at, err);
	if (status == 0 && n > 0) {
		uint64_t now = (uint64_t)own.arrival_ns[at];
		buf_printf(out,
			   "class %s buckets %" PRIu32 " overlap %" PRIu32 " at %" PRIu64 "\n",
			   plan->class[class].name, plan->class[class].count, overlap, now);
		for (size_t r = 0; r < t->columns.route_count; r++) {
			if (result->class_of_route[r] == class)
				buf_printf(out, "route %s\n", t->columns.route[r]);
		}
		for (size_t i = 0; i <= at; i++) {
			uint64_t start = (uint64_t)own.arrival_ns[i];
			uint64_t end = start + (uint64_t)own.service_ns[i];
			if (end > now || i == at)
				buf_printf(out, "request %" PRId64 " %" PRIu64 " %" PRIu64 "\n",
					   t->columns.id[own.origin[i]], start, end);
		}
		buf_append_str(out, "end\n");
	}
	sim_columns_release(&own);
	return status;
}

int certificate_write(const struct traffic *traffic, const struct planner_result *result,
		      const struct plan *plan, struct buf *out, struct err *err)
{
	if (traffic->view.arrival_ns != traffic->recorded.arrival_ns)
		return err_usage(err,
				 "a certificate is of the trace as recorded: not with --load "
				 "or what-if options");
	buf_printf(out, "pail.certificate/1\ntrace %s\n", traffic->columns.sha256);
	for (uint32_t k = 0; k < result->class_count; k++) {
		if (class_write(traffic, result, plan, k, out, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- checking -------------------------------------------------------------------- */

struct checker {
	const struct traffic *traffic;
	const char *path;
	struct buf *out;
	struct err *err;
	size_t line, requests, classes;
	bool *member; /* by route: of the class at hand */
	uint32_t *row_of_id;
	int64_t id_max;
	uint64_t overlap, at, buckets;
	char name[64];
	bool *seen; /* by row */
};

static int bad(struct checker *c, const char *what)
{
	return err_set(c->err, "'%s' line %zu: %s", c->path, c->line, what);
}

static int fails(struct checker *c, const char *what)
{
	buf_printf(c->out, "does not hold: line %zu: %s\n", c->line, what);
	return 0;
}

static int check_request(struct checker *c, const char *text)
{
	int64_t id;
	uint64_t start, end;
	char rest;
	if (sscanf(text, "request %" SCNd64 " %" SCNu64 " %" SCNu64 "%c", &id, &start, &end,
		   &rest) != 3)
		return bad(c, "not 'request ID START END'");
	if (id < 0 || id > c->id_max || c->row_of_id[id] == UINT32_MAX)
		return fails(c, "the trace has no such request");
	uint32_t row = c->row_of_id[id];
	const struct sim_trace *trace = &c->traffic->recorded;
	if ((uint64_t)trace->arrival_ns[row] != start ||
	    start + (uint64_t)trace->service_ns[row] != end)
		return fails(c, "the trace has other times for that request");
	if (c->seen[row])
		return fails(c, "the request is named twice");
	if (!c->member[trace->route[row]])
		return fails(c, "the request is of another class's route");
	/* Under way at the instant, or arriving at it: a departure goes first. */
	if (start > c->at || (end <= c->at && start != c->at))
		return fails(c, "the request was not under way at that instant");
	c->seen[row] = true;
	c->requests++;
	return 1;
}

static int check_class(struct checker *c, const char *text)
{
	char rest;
	if (sscanf(text, "class %63s buckets %" SCNu64 " overlap %" SCNu64 " at %" SCNu64 "%c",
		   c->name, &c->buckets, &c->overlap, &c->at, &rest) != 4)
		return bad(c, "not 'class NAME buckets N overlap M at NS'");
	memset(c->member, 0, c->traffic->columns.route_count);
	memset(c->seen, 0, c->traffic->columns.count);
	c->requests = 0;
	c->classes++;
	return 1;
}

static int check_route(struct checker *c, const char *name)
{
	for (size_t r = 0; r < c->traffic->columns.route_count; r++) {
		if (strcmp(c->traffic->columns.route[r], name) == 0) {
			c->member[r] = true;
			return 1;
		}
	}
	return fails(c, "the trace has no such route");
}

static int check_end(struct checker *c)
{
	if (c->requests != c->overlap)
		return fails(c, "the class names another number of requests than its overlap");
	buf_printf(c->out,
		   "%s: %" PRIu64 " requests overlap at %" PRIu64 " ns: %s%" PRIu64
		   " buckets %s\n",
		   c->name, c->overlap, c->at, c->buckets < c->overlap ? "its " : "",
		   c->buckets < c->overlap ? c->buckets : c->overlap,
		   c->buckets < c->overlap ? "must refuse some (the plan counts them)"
					   : "are the least that refuse none");
	return 1;
}

static int check_line(struct checker *c, const char *text)
{
	if (c->line == 1)
		return strcmp(text, "pail.certificate/1") == 0 ? 1 : bad(c, "no certificate");
	if (c->line == 2) {
		if (strncmp(text, "trace ", 6) != 0)
			return bad(c, "not 'trace SHA256'");
		return strcmp(text + 6, c->traffic->columns.sha256) == 0
			       ? 1
			       : fails(c, "it is of another trace");
	}
	if (strncmp(text, "class ", 6) == 0)
		return check_class(c, text);
	if (c->classes == 0)
		return bad(c, "a class must come first");
	if (strncmp(text, "route ", 6) == 0)
		return check_route(c, text + 6);
	if (strncmp(text, "request ", 8) == 0)
		return check_request(c, text);
	if (strcmp(text, "end") == 0)
		return check_end(c);
	return bad(c, "unknown word");
}

static int checker_init(struct checker *c)
{
	const struct trace_columns *columns = &c->traffic->columns;
	for (size_t i = 0; i < columns->count; i++)
		c->id_max = columns->id[i] > c->id_max ? columns->id[i] : c->id_max;
	c->member = calloc(columns->route_count + 1, sizeof(bool));
	c->seen = calloc(columns->count + 1, sizeof(bool));
	c->row_of_id = malloc(((size_t)c->id_max + 1) * sizeof(uint32_t));
	if (!c->member || !c->seen || !c->row_of_id)
		return err_set(c->err, "out of memory");
	memset(c->row_of_id, 0xff, ((size_t)c->id_max + 1) * sizeof(uint32_t));
	for (size_t i = 0; i < columns->count; i++)
		c->row_of_id[columns->id[i]] = (uint32_t)i;
	return 0;
}

int certificate_check(const struct traffic *traffic, const char *path, struct buf *out,
		      struct err *err)
{
	struct checker c = {.traffic = traffic, .path = path, .out = out, .err = err};
	char *text = NULL;
	size_t length;
	if (file_read_all(path, CERTIFICATE_BYTES_MAX, &text, &length, err) < 0)
		return -1;
	int status = checker_init(&c) < 0 ? -1 : 1;
	char *rest = text, *line;
	while (status == 1 && (line = strsep(&rest, "\n")) != NULL) {
		c.line++;
		if (line[0] || c.line <= 2)
			status = check_line(&c, line);
	}
	if (status == 1 && c.classes == 0)
		status = bad(&c, "it names no class");
	free(text);
	free(c.member);
	free(c.seen);
	free(c.row_of_id);
	return status;
}
