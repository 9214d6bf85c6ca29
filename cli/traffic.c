/* SPDX-License-Identifier: MIT */
#include "cli/traffic.h"

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
	if (ask->load == 1)
		return 0;
	if (load_scale(&t->recorded, ask->load, ask->method, &t->scaled, err) < 0)
		return -1;
	t->view = t->scaled.trace;
	if (t->view.count == 0)
		return err_usage(err, "--load: %g times %zu requests leave none", ask->load,
				 c->count);
	return 0;
}

int traffic_open(const struct traffic_ask *ask, struct traffic *traffic, struct err *err)
{
	*traffic = (struct traffic){0};
	if (trace_open(ask->path, &traffic->trace, err) < 0)
		return -1;
	if (trace_columns_load(traffic->trace, ask->policy, &traffic->columns, err) < 0 ||
	    view_make(ask, traffic, err) < 0) {
		traffic_close(traffic);
		return -1;
	}
	return 0;
}

void traffic_close(struct traffic *traffic)
{
	sim_columns_release(&traffic->scaled);
	trace_columns_release(&traffic->columns);
	if (traffic->trace)
		trace_close(traffic->trace);
	*traffic = (struct traffic){0};
}

const char *traffic_route(const struct traffic *traffic, uint32_t route)
{
	return route < traffic->columns.route_count ? traffic->columns.route[route] : "";
}
