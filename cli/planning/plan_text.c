/* SPDX-License-Identifier: MIT */
#include "cli/planning/plan_text.h"

#include "cli/planning/plan_why.h"

#include "base/conf.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the JSON document --------------------------------------------------------------- */

static void json_sentences(struct json *json, const char *key, const struct sentences *s)
{
	json_key(json, key);
	json_array_begin(json);
	for (size_t i = 0; i < s->count; i++)
		json_text(json, s->text[i]);
	json_array_end(json);
}

static void json_class(const struct plan_text *t, uint32_t k, struct json *json)
{
	const struct planner_class *c = &t->result->class[k];
	json_object_begin(json);
	json_pair_text(json, "name", t->plan->class[k].name);
	json_pair_u64(json, "size", c->size_bytes);
	json_pair_u64(json, "count", c->count);
	json_key(json, "routes");
	json_array_begin(json);
	/* Those that pail.conf names, so that "*" is the rest there too. */
	bool any = t->plan->route_count > 0;
	for (uint32_t i = 0; i < t->plan->route_count; i++) {
		if (t->plan->route[i].class_index == k)
			json_text(json, t->plan->route[i].pattern);
	}
	bool star = !any;
	if (any && t->result->class_count == 1)
		star = true;
	if (star)
		json_text(json, "*");
	json_array_end(json);
	json_pair_u64(json, "stack", c->stack_bytes);
	json_pair_u64(json, "offered", c->outcome.offered);
	json_pair_u64(json, "rejected_500", c->outcome.rejected_500);
	json_pair_u64(json, "rejected_503", c->outcome.rejected_503);
	json_pair_double(json, "offered_load", c->load.offered);
	json_pair_double(json, "peakedness", c->peakedness);
	json_pair_double(json, "elasticity", plan_elasticity(c));
	json_pair_u64(json, "overlap", c->overlap);
	json_pair_double(json, "used", c->used);
	json_pair_u64(json, "waste_bytes", plan_waste_bytes(c));
	struct plan_parts parts;
	json_key(json, "fragmentation");
	if (plan_parts(t, k, &parts))
		json_double(json, parts.fragmentation);
	else
		json_null(json);
	json_pair_u64(json, "wait_ns_p99", c->wait_ns_p99);
	json_object_end(json);
}

static void json_chosen(const struct plan_text *t, struct json *json)
{
	const struct planner_result *r = t->result;
	json_key(json, "chosen");
	if (r->class_count == 0) {
		json_null(json);
		return;
	}
	json_object_begin(json);
	json_key(json, "classes");
	json_array_begin(json);
	for (uint32_t k = 0; k < r->class_count; k++)
		json_class(t, k, json);
	json_array_end(json);
	json_pair_u64(json, "bound_bytes", limits_bound_bytes(t->plan));
	json_pair_double(json, "rejection_rate", r->rate.rate);
	json_pair_double(json, "rate_low", r->rate.low);
	json_pair_double(json, "rate_high", r->rate.high);
	json_pair_u64(json, "clusters", r->rate.clusters);
	json_pair_u64(json, "queue", r->queue);
	json_pair_u64(json, "wait_ns", r->wait_ns);
	json_pair_u64(json, "stack_size", t->plan->stack_bytes);
	json_pair_u64(json, "big_stack_size", t->plan->big_stack_bytes);
	json_pair_u64(json, "big_stack_count", t->plan->big_stack_count);
	json_object_end(json);
}

static void json_pareto(const struct plan_text *t, struct json *json)
{
	json_key(json, "pareto");
	json_array_begin(json);
	for (size_t i = 0; i < t->result->pareto_count; i++) {
		const struct planner_point *p = &t->result->pareto[i];
		json_object_begin(json);
		json_pair_u64(json, "bound_bytes", p->bound_bytes);
		json_pair_double(json, "rejection_rate", p->rejection_rate);
		json_pair_double(json, "rate_high", p->rate_high);
		json_pair_u64(json, "queue", p->queue);
		json_pair_u64(json, "wait_ns", p->wait_ns);
		json_key(json, "classes");
		json_array_begin(json);
		for (uint32_t k = 0; k < p->class_count; k++) {
			json_object_begin(json);
			json_pair_u64(json, "size", p->size_bytes[k]);
			json_pair_u64(json, "count", p->count[k]);
			json_object_end(json);
		}
		json_array_end(json);
		json_object_end(json);
	}
	json_array_end(json);
}

void plan_text_json(const struct plan_text *t, struct buf *out)
{
	static const char *const verdicts[] = {"met", "too-little-data", "over-memory"};
	struct sentences *s = calloc(2, sizeof(*s));
	if (!s) {
		out->failed = true;
		return;
	}
	plan_why(t, &s[0]);
	plan_warnings(t, &s[1]);
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.plan/1");
	json_pair_double(&json, "target", t->ask->target);
	json_pair_double(&json, "confidence", t->ask->confidence);
	json_pair_double(&json, "load", t->load);
	json_pair_text(&json, "verdict", verdicts[t->result->verdict]);
	json_chosen(t, &json);
	json_pareto(t, &json);
	json_sentences(&json, "why", &s[0]);
	json_sentences(&json, "warnings", &s[1]);
	if (t->result->verdict == PLANNER_TOO_LITTLE_DATA)
		json_pair_double(&json, "requests_needed", t->result->requests_needed);
	json_key(&json, "trace");
	json_object_begin(&json);
	json_pair_u64(&json, "requests", t->traffic->columns.count);
	json_pair_u64(&json, "span_ns", (uint64_t)t->traffic->columns.span_ns);
	json_pair_text(&json, "sha256", t->traffic->columns.sha256);
	json_object_end(&json);
	json_object_end(&json);
	buf_append_str(out, "\n");
	free(s);
}

/* ---- for people ------------------------------------------------------------------------ */

/* Words of a sentence at most `width` wide, later lines indented. */
static void wrap(struct buf *out, const char *lead, const char *text, int width)
{
	int column = (int)strlen(lead);
	buf_append_str(out, lead);
	struct str word, rest = str_of(text);
	bool first = true;
	while (rest.length) {
		str_cut(rest, ' ', &word, &rest);
		if (!first && column + 1 + (int)word.length > width) {
			buf_append_str(out, "\n  ");
			column = 2;
			first = true;
		}
		if (!first) {
			buf_append_str(out, " ");
			column++;
		}
		buf_append(out, word.bytes, word.length);
		column += (int)word.length;
		first = false;
	}
	buf_append_str(out, "\n");
}

static void table_classes(const struct plan_text *t, struct buf *out, int width)
{
	static const char *const heads[] = {"bucket",    ">size", ">count", ">stack",
					    ">requests", ">500",  ">503"};
	struct table *table = table_new(7, heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (uint32_t k = 0; k < t->result->class_count; k++) {
		const struct planner_class *c = &t->result->class[k];
		char text[UNITS_TEXT_MAX];
		table_cell(table, "%s", t->plan->class[k].name);
		table_cell(table, "%s", units_format_size(c->size_bytes, text));
		table_cell(table, "%u", c->count);
		table_cell(table, "%s", units_format_size(c->stack_bytes, text));
		table_cell(table, "%" PRIu64, c->requests);
		table_cell(table, "%" PRIu64, c->outcome.rejected_500);
		table_cell(table, "%" PRIu64, c->outcome.rejected_503);
	}
	table_write(table, out, width);
	table_free(table);
}

static void point_classes(const struct planner_point *p, char *text, size_t size)
{
	size_t used = 0;
	text[0] = '\0';
	for (uint32_t k = 0; k < p->class_count && used < size; k++) {
		char bytes[UNITS_TEXT_MAX];
		int n = snprintf(text + used, size - used, "%s%u x %s", k ? " + " : "",
				 p->count[k], units_format_size(p->size_bytes[k], bytes));
		used += n > 0 ? (size_t)n : 0;
	}
}

static void table_pareto(const struct plan_text *t, struct buf *out, int width)
{
	static const char *const heads[] = {">bound", ">rate", ">at most", "buckets"};
	enum { ROWS = 12 };
	size_t n = t->result->pareto_count, rows = n < ROWS ? n : ROWS;
	struct table *table = table_new(4, heads);
	if (!table) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < rows; i++) {
		const struct planner_point *p = &t->result->pareto[(i + 1) * n / rows - 1];
		char bytes[UNITS_TEXT_MAX], classes[256];
		point_classes(p, classes, sizeof(classes));
		table_cell(table, "%s", units_format_size(p->bound_bytes, bytes));
		table_cell(table, "%.2g", p->rejection_rate);
		table_cell(table, "%.2g", p->rate_high);
		table_cell(table, "%s", classes);
	}
	buf_append_str(out, "\nmemory against rejections:\n");
	table_write(table, out, width);
	table_free(table);
}

void plan_text_table(const struct plan_text *t, const char *output, struct buf *out)
{
	int width = table_width_of(STDOUT_FILENO);
	struct sentences *s = calloc(2, sizeof(*s));
	if (!s) {
		out->failed = true;
		return;
	}
	plan_why(t, &s[0]);
	plan_warnings(t, &s[1]);
	if (t->result->class_count > 0) {
		char text[UNITS_TEXT_MAX];
		table_classes(t, out, width);
		buf_printf(out, "bound %s, rejection rate %.3g (%.3g to %.3g)\n",
			   units_format_size(limits_bound_bytes(t->plan), text),
			   t->result->rate.rate, t->result->rate.low, t->result->rate.high);
		table_pareto(t, out, width);
	}
	buf_append_str(out, "\nwhy:\n");
	for (size_t i = 0; i < s[0].count; i++)
		wrap(out, "- ", s[0].text[i], width);
	if (s[1].count > 0)
		buf_append_str(out, "\nwarnings:\n");
	for (size_t i = 0; i < s[1].count; i++)
		wrap(out, "- ", s[1].text[i], width);
	if (output)
		buf_printf(out, "\nwritten to %s\n", output);
	free(s);
}

void plan_text_sentences(const struct plan_text *t, bool warnings,
			 void (*each)(void *arg, const char *sentence), void *arg)
{
	struct sentences *s = calloc(1, sizeof(*s));
	if (s && warnings)
		plan_warnings(t, s);
	else if (s)
		plan_why(t, s);
	for (size_t i = 0; s && i < s->count; i++)
		each(arg, s->text[i]);
	free(s);
}

/* ---- pail.conf ----------------------------------------------------------------------------
 */

static void lines(struct buf *text, const char *sentence)
{
	struct buf wrapped;
	buf_init(&wrapped);
	wrap(&wrapped, "", sentence, 76);
	/* wrap() ends with a newline, and comments need none at the end. */
	if (text->length)
		buf_append_str(text, "\n");
	if (wrapped.length)
		buf_append(text, wrapped.bytes, wrapped.length - 1);
	text->failed |= wrapped.failed;
	buf_release(&wrapped);
}

struct reasons {
	struct conf_reason reason[2 * PLANNER_CLASSES_MAX + 4];
	char section[PLANNER_CLASSES_MAX][LIMITS_NAME_MAX + 16];
	struct buf text[2 * PLANNER_CLASSES_MAX + 4];
	size_t count;
};

static void reason_add(struct reasons *r, const char *section, const char *key,
		       const struct sentences *s)
{
	struct buf *text = &r->text[r->count];
	buf_init(text);
	for (size_t i = 0; i < s->count; i++)
		lines(text, s->text[i]);
	r->reason[r->count] = (struct conf_reason){section, key, buf_text(text)};
	r->count++;
}

static void reasons_make(const struct plan_text *t, struct reasons *r,
			 struct sentences *scratch)
{
	for (uint32_t k = 0; k < t->result->class_count; k++) {
		snprintf(r->section[k], sizeof(r->section[k]), "bucket %s",
			 t->plan->class[k].name);
		scratch->count = 0;
		plan_why_size(t, k, scratch);
		reason_add(r, r->section[k], "size", scratch);
		scratch->count = 0;
		plan_why_count(t, k, scratch);
		reason_add(r, r->section[k], "count", scratch);
	}
	scratch->count = 0;
	plan_why_queue(t, scratch);
	reason_add(r, "server", "queue", scratch);
	scratch->count = 0;
	plan_why_stacks(t, scratch);
	reason_add(r, "stack", "size", scratch);
}

void plan_text_config(const struct plan_text *t, struct buf *out)
{
	struct sentences *s = calloc(2, sizeof(*s));
	struct reasons *reasons = calloc(1, sizeof(*reasons));
	struct buf head;
	buf_init(&head);
	if (!s || !reasons) {
		out->failed = true;
		goto done;
	}
	char bytes[UNITS_TEXT_MAX];
	plan_why_rate(t, s);
	plan_warnings(t, s);
	buf_printf(&head,
		   "pail plan: target %g at %g %% confidence, %g times the load of\n%s\n",
		   t->ask->target, 100 * t->ask->confidence, t->load,
		   trace_path(t->traffic->trace));
	buf_printf(&head, "(%zu requests, columns %.16s)\nThe bound is %s.",
		   t->traffic->columns.count, t->traffic->columns.sha256,
		   units_format_size(limits_bound_bytes(t->plan), bytes));
	for (size_t i = 0; i < s->count; i++)
		lines(&head, s->text[i]);
	reasons_make(t, reasons, &s[1]);
	conf_write(out, t->plan, buf_text(&head), reasons->reason, reasons->count);
	out->failed |= head.failed || s[0].failed || s[1].failed;
	for (size_t i = 0; i < reasons->count; i++) {
		out->failed |= reasons->text[i].failed;
		buf_release(&reasons->text[i]);
	}
done:
	buf_release(&head);
	free(reasons);
	free(s);
}
