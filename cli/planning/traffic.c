/* SPDX-License-Identifier: MIT */
#include "cli/planning/traffic.h"

#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* ---- overlays ------------------------------------------------------------- */

int traffic_overlay_add(struct traffic_ask *ask, enum overlay_kind kind, const char *text,
			struct err *err)
{
	if (ask->overlay_count == TRAFFIC_OVERLAYS_MAX)
		return err_usage(err, "more than %d overlays", TRAFFIC_OVERLAYS_MAX);
	ask->overlay[ask->overlay_count++] = (struct traffic_overlay){kind, text};
	return 0;
}

/* "GET /x", "/x" (any method) or "*" and prefixes, as in pail.conf. */
static bool route_matches(const char *name, const char *pattern)
{
	const char *path = strchr(name, ' ');
	bool any_method = pattern[0] == '/' || pattern[0] == '*';
	const char *text = any_method && path ? path + 1 : name;
	size_t length = strlen(pattern);
	if (length && pattern[length - 1] == '*')
		return strncmp(text, pattern, length - 1) == 0;
	return strcmp(text, pattern) == 0;
}

static int routes_find(const struct traffic *t, const char *pattern, bool **route,
		       struct err *err)
{
	size_t hits = 0;
	free(*route);
	*route = calloc(t->columns.route_count + 1, sizeof(bool));
	if (!*route)
		return err_set(err, "out of memory");
	for (size_t r = 0; r < t->columns.route_count; r++) {
		(*route)[r] = route_matches(t->columns.route[r], pattern);
		hits += (*route)[r];
	}
	if (hits == 0)
		return err_usage(err, "--inflate: no route of the trace is '%s'", pattern);
	return 0;
}

static int inflate_word(const struct traffic *t, char *word, struct overlay *o, bool **route,
			struct err *err)
{
	char *value = strchr(word, '=');
	if (!value)
		return err_usage(err, "--inflate: '%s' is not KEY=VALUE", word);
	*value++ = '\0';
	if (strcmp(word, "route") == 0)
		return routes_find(t, value, route, err);
	if (strcmp(word, "service") == 0)
		return cli_parse_double("--inflate service", value, 0, 1e6, &o->service, err);
	if (strcmp(word, "need") == 0)
		return cli_parse_double("--inflate need", value, 0, 1e6, &o->need, err);
	if (strcmp(word, "share") == 0)
		return cli_parse_double("--inflate share", value, 0, 1, &o->share, err);
	return err_usage(err, "--inflate: '%s' is none of route, service, need, share", word);
}

/* route=/x,service=3,need=1.5,share=0.1 */
static int inflate_parse(const struct traffic *t, char *text, struct overlay *o, bool **route,
			 struct err *err)
{
	char *rest = text, *word;
	while ((word = strsep(&rest, ",")) != NULL) {
		if (inflate_word(t, word, o, route, err) < 0)
			return -1;
	}
	o->route = *route;
	return 0;
}

/* N@TIME, or N: in the middle of the trace */
static int burst_parse(const struct traffic *t, char *text, struct overlay *o, struct err *err)
{
	char *at = strchr(text, '@');
	o->at_ns = (uint64_t)t->columns.span_ns / 2;
	if (at) {
		*at++ = '\0';
		if (cli_parse_time("--burst", at, &o->at_ns, err) < 0)
			return -1;
	}
	return cli_parse_count("--burst", text, &o->count, err);
}

static int overlay_parse(const struct traffic *t, const struct traffic_overlay *from,
			 struct overlay *o, bool **route, struct err *err)
{
	*o = (struct overlay){.kind = from->kind, .service = 1, .need = 1, .share = 1};
	if (from->kind == OVERLAY_MAXIMAL)
		return cli_parse_double("--maximal", from->text, 0, 1, &o->share, err);
	char *text = strdup(from->text);
	if (!text)
		return err_set(err, "out of memory");
	int status = from->kind == OVERLAY_BURST ? burst_parse(t, text, o, err)
						 : inflate_parse(t, text, o, route, err);
	free(text);
	return status;
}

static int overlays_apply(const struct traffic_ask *ask, struct traffic *t, struct err *err)
{
	struct overlay overlay[TRAFFIC_OVERLAYS_MAX];
	bool *route[TRAFFIC_OVERLAYS_MAX] = {NULL};
	int status = 0;
	for (size_t k = 0; status == 0 && k < ask->overlay_count; k++)
		status = overlay_parse(t, &ask->overlay[k], &overlay[k], &route[k], err);
	if (status == 0)
		status =
			overlay_apply(&t->view, overlay, ask->overlay_count, &t->overlaid, err);
	if (status == 0)
		t->view = t->overlaid.trace;
	for (size_t k = 0; k < ask->overlay_count; k++)
		free(route[k]);
	return status;
}

/* ---- the view ---------------------------------------------------------------- */

static int view_make(const struct traffic_ask *ask, struct traffic *t, struct err *err)
{
	struct trace_columns *c = &t->columns;
	if (c->count == 0)
		return err_set(err, "'%s' holds no requests", ask->path);
	for (size_t i = 0; i < c->count; i++) {
		if (__builtin_add_overflow(c->need_bytes[i], ask->headroom_bytes,
					   &c->need_bytes[i]))
			return err_usage(err, "--headroom: too large");
	}
	t->recorded = (struct sim_trace){
		.count = c->count,
		.arrival_ns = c->arrival_ns,
		.service_ns = c->service_ns,
		.need_bytes = c->need_bytes,
		.route = c->route_index,
		.route_count = c->route_count,
	};
	if (sim_trace_check(&t->recorded, err) < 0)
		return err_prefix(err, "'%s'", ask->path);
	t->view = t->recorded;
	if (ask->overlay_count && overlays_apply(ask, t, err) < 0)
		return -1;
	if (ask->load == 1)
		return 0;
	struct sim_trace before = t->view;
	if (load_scale(&before, ask->load, ask->method, &t->scaled, err) < 0)
		return -1;
	t->view = t->scaled.trace;
	if (t->view.count == 0)
		return err_usage(err, "--load: %g times %zu requests leave none", ask->load,
				 c->count);
	return 0;
}

int traffic_open(const struct traffic_ask *ask, struct traffic *traffic, struct err *err)
{
	*traffic = (struct traffic){.headroom_bytes = ask->headroom_bytes};
	if (trace_open(ask->path, &traffic->trace, err) < 0)
		return -1;
	if (trace_columns_load(traffic->trace, ask->policy, &traffic->columns, err) < 0 ||
	    (ask->align > ARENA_ALIGN &&
	     trace_columns_align(traffic->trace, ask->policy, ask->align, &traffic->columns,
				 err) < 0) ||
	    view_make(ask, traffic, err) < 0) {
		traffic_close(traffic);
		return -1;
	}
	return 0;
}

void traffic_close(struct traffic *traffic)
{
	sim_columns_release(&traffic->scaled);
	sim_columns_release(&traffic->overlaid);
	trace_columns_release(&traffic->columns);
	if (traffic->trace)
		trace_close(traffic->trace);
	*traffic = (struct traffic){0};
}

const char *traffic_route(const struct traffic *traffic, uint32_t route)
{
	return route < traffic->columns.route_count ? traffic->columns.route[route] : "";
}
