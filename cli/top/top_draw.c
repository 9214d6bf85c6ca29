/* SPDX-License-Identifier: MIT */
#include "cli/top/top_draw.h"

#include "base/json.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512, BAR = 16, COLUMNS_LEAST = 40 };

struct drawing {
	const struct top_screen *screen;
	struct buf *out;
	int rows; /* drawn */
};

/* ---- lines ---------------------------------------------------------------------- */

static bool room(const struct drawing *d)
{
	return d->screen->rows == 0 || d->rows < d->screen->rows - d->screen->keys;
}

/* A line in a style (an SGR number, or NULL), cut to the width. */
__attribute__((format(printf, 3, 4))) static void line(struct drawing *d, const char *style,
						       const char *format, ...)
{
	char text[LINE_MAX_BYTES];
	va_list args;
	if (!room(d))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* The last column stays free: writing there leaves some terminals about to wrap. */
	int columns = d->screen->columns - 1;
	if (columns > 0 && columns < (int)sizeof(text))
		text[columns] = '\0';
	bool styled = style && d->screen->colour;
	buf_printf(d->out, "%s%s%s%s%s\n", styled ? "\033[" : "", styled ? style : "",
		   styled ? "m" : "", text, styled ? "\033[0m" : "");
	d->rows++;
}

static char *bar(double part, double whole, char text[BAR + 3])
{
	int full = whole > 0 ? (int)(part / whole * BAR + 0.5) : 0;
	full = full > BAR ? BAR : full;
	text[0] = '[';
	memset(text + 1, '.', BAR);
	memset(text + 1, '#', (size_t)full);
	memcpy(text + 1 + BAR, "]", 2);
	return text;
}

static void up(double seconds, char text[32])
{
	if (seconds < 120)
		snprintf(text, 32, "%.0f s", seconds);
	else if (seconds < 7200)
		snprintf(text, 32, "%.0f min", seconds / 60);
	else if (seconds < 172800)
		snprintf(text, 32, "%.1f h", seconds / 3600);
	else
		snprintf(text, 32, "%.1f days", seconds / 86400);
}

/* ---- parts ------------------------------------------------------------------------ */

static void draw_head(struct drawing *d, const struct top_sample *s)
{
	char since[32], a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX],
		e[UNITS_TEXT_MAX], filled[BAR + 3];
	up(s->up_seconds, since);
	line(d, "1", "pail top  %.60s  %s, %s%s", d->screen->source, s->state, since,
	     d->screen->paused ? "  PAUSED" : "");
	if (d->screen->trouble)
		line(d, "31", "%s", d->screen->trouble);
	line(d, NULL,
	     "requests %.1f/s (%" PRIu64 ")   %s %.1f/s (%" PRIu64 ")   503s %.1f/s (%" PRIu64
	     ")",
	     s->rate, s->requests, s->server ? "failed" : "500s", s->rate_500, s->rejected_500,
	     s->rate_503, s->rejected_503);
	if (!s->server) {
		line(d, NULL,
		     "let memory escape %" PRIu64 "   not attributed for certain %" PRIu64,
		     s->escapes, s->unsure);
		return;
	}
	line(d, NULL, "memory %s %s of %s   system %s of %s",
	     bar((double)s->resident_bytes, (double)s->bound_bytes, filled),
	     units_format_size(s->resident_bytes, a), units_format_size(s->bound_bytes, b),
	     units_format_size(s->system_used_bytes, c), units_format_size(s->system_bytes, e));
	line(d, NULL, "connections %" PRIu64 " of %" PRIu64, s->connections,
	     s->connections_limit);
}

static void draw_classes(struct drawing *d, const struct top_sample *s)
{
	line(d, NULL, "%s", "");
	line(d, "7", "%-13s %9s  %-18s %8s %6s %8s %9s", "BUCKET", "SIZE", "IN USE", "", "MOST",
	     "WAITING", "NEED MAX");
	for (size_t i = 0; i < s->class_count; i++) {
		const struct top_class *c = &s->class[i];
		char size[UNITS_TEXT_MAX], need[UNITS_TEXT_MAX], filled[BAR + 3], use[32],
			wait[32];
		snprintf(use, sizeof(use), "%u/%u", c->in_use, c->count);
		snprintf(wait, sizeof(wait), "%u/%u", c->waiting, c->queue);
		line(d, c->in_use >= c->count ? "31" : NULL,
		     "%-13.13s %9s  %-18s %8s %6u %8s %9s", c->name,
		     units_format_size(c->size_bytes, size), bar(c->in_use, c->count, filled),
		     use, c->in_use_peak, wait, units_format_size(c->need_max, need));
	}
}

static int by_name(const struct top_route *a, const struct top_route *b)
{
	return strcmp(a->name, b->name);
}

static int by_rate(const void *a, const void *b)
{
	const struct top_route *x = a, *y = b;
	if (x->rate != y->rate)
		return x->rate > y->rate ? -1 : 1;
	if (x->requests != y->requests)
		return x->requests > y->requests ? -1 : 1;
	return by_name(x, y);
}

static int by_need(const void *a, const void *b)
{
	const struct top_route *x = a, *y = b;
	return x->need_max != y->need_max ? x->need_max > y->need_max ? -1 : 1 : by_name(x, y);
}

static int by_rejections(const void *a, const void *b)
{
	const struct top_route *x = a, *y = b;
	uint64_t left = x->rejected_500 + x->rejected_503,
		 right = y->rejected_500 + y->rejected_503;
	return left != right ? left > right ? -1 : 1 : by_rate(a, b);
}

static void draw_routes(struct drawing *d, const struct top_sample *s)
{
	static int (*const order[])(const void *, const void *) = {by_rate, by_need,
								   by_rejections};
	/* What is left of 80 columns behind the numbers; more, where there is more. */
	int width = d->screen->columns - 63;
	width = width < 12 ? 12 : width > 60 ? 60 : width;
	qsort(s->route, s->route_count, sizeof(*s->route), order[d->screen->order]);
	line(d, NULL, "%s", "");
	line(d, "7", "%-*s %7s %9s %6s %6s %9s %9s %9s", width, "ROUTE", "REQ/S", "TOTAL",
	     "500s", "503s", "NEED p99", "MAX", "TIME p50");
	for (size_t i = 0; i < s->route_count && room(d); i++) {
		const struct top_route *r = &s->route[i];
		char p99[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX], took[UNITS_TEXT_MAX];
		if (r->requests == 0)
			continue;
		line(d, NULL, "%-*.*s %7.1f %9" PRIu64 " %6" PRIu64 " %6" PRIu64 " %9s %9s %9s",
		     width, width, r->name[0] ? r->name : "(no route)", r->rate, r->requests,
		     r->rejected_500, r->rejected_503, units_format_size(r->need_p99, p99),
		     units_format_size(r->need_max, most),
		     units_format_time(r->service_p50_ns, took));
	}
}

void top_draw(const struct top_screen *screen, const struct top_sample *sample, struct buf *out)
{
	struct drawing d = {.screen = screen, .out = out};
	draw_head(&d, sample);
	if (sample->server)
		draw_classes(&d, sample);
	draw_routes(&d, sample);
	if (!screen->keys)
		return;
	while (d.rows < screen->rows - 1) {
		buf_append_str(out, "\n");
		d.rows++;
	}
	static const char *const now[] = {"requests", "need", "rejections"};
	char keys[LINE_MAX_BYTES];
	snprintf(keys, sizeof(keys),
		 "q quit  p pause  order: r requests, n need, e rejections (now %s)",
		 now[screen->order]);
	buf_printf(out, "%.*s", screen->columns > 1 ? screen->columns - 1 : 79, keys);
}

/* ---- JSON ---------------------------------------------------------------------------- */

static void json_class(struct json *j, const struct top_class *c)
{
	json_object_begin(j);
	json_pair_text(j, "name", c->name);
	json_pair_u64(j, "size", c->size_bytes);
	json_pair_u64(j, "count", c->count);
	json_pair_u64(j, "in_use", c->in_use);
	json_pair_u64(j, "in_use_peak", c->in_use_peak);
	json_pair_u64(j, "waiting", c->waiting);
	json_pair_u64(j, "queue", c->queue);
	json_pair_u64(j, "need_max", c->need_max);
	json_object_end(j);
}

static void json_route(struct json *j, const struct top_route *r)
{
	json_object_begin(j);
	json_pair_text(j, "route", r->name);
	json_pair_u64(j, "requests", r->requests);
	json_pair_double(j, "requests_per_s", r->rate);
	json_pair_u64(j, "rejected_500", r->rejected_500);
	json_pair_u64(j, "rejected_503", r->rejected_503);
	json_pair_u64(j, "need_p50", r->need_p50);
	json_pair_u64(j, "need_p99", r->need_p99);
	json_pair_u64(j, "need_max", r->need_max);
	json_pair_u64(j, "service_ns_p50", r->service_p50_ns);
	json_object_end(j);
}

void top_json(const struct top_screen *screen, const struct top_sample *s, struct buf *out)
{
	struct json j;
	json_init(&j, out);
	json_object_begin(&j);
	json_pair_text(&j, "schema", "pail.top/1");
	json_pair_text(&j, "source", screen->source);
	json_pair_text(&j, "kind", s->server ? "server" : "recording");
	json_pair_text(&j, "state", s->state);
	json_pair_double(&j, "up_s", s->up_seconds);
	json_pair_u64(&j, "requests", s->requests);
	json_pair_double(&j, "requests_per_s", s->rate);
	json_pair_u64(&j, "rejected_500", s->rejected_500);
	json_pair_double(&j, "rejected_500_per_s", s->rate_500);
	json_pair_u64(&j, "rejected_503", s->rejected_503);
	json_pair_double(&j, "rejected_503_per_s", s->rate_503);
	if (s->server) {
		json_pair_u64(&j, "bound_bytes", s->bound_bytes);
		json_pair_u64(&j, "resident_bytes", s->resident_bytes);
		json_pair_u64(&j, "connections", s->connections);
		json_pair_u64(&j, "connections_limit", s->connections_limit);
	} else {
		json_pair_u64(&j, "requests_with_escapes", s->escapes);
		json_pair_u64(&j, "requests_not_exact", s->unsure);
	}
	json_key(&j, "classes");
	json_array_begin(&j);
	for (size_t i = 0; i < s->class_count; i++)
		json_class(&j, &s->class[i]);
	json_array_end(&j);
	json_key(&j, "routes");
	json_array_begin(&j);
	for (size_t i = 0; i < s->route_count; i++)
		json_route(&j, &s->route[i]);
	json_array_end(&j);
	json_object_end(&j);
	buf_append_str(out, "\n");
}
