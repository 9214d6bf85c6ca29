/* SPDX-License-Identifier: MIT */
/*
 * The traffic that `simulate` and `plan` ask about: a trace's columns, with
 * what the options made of them (a multiple of the load, overlays).
 */
#ifndef PAIL_CLI_TRAFFIC_H
#define PAIL_CLI_TRAFFIC_H

#include "libtrace/trace.h"
#include "simulator/sim.h"

enum { TRAFFIC_OVERLAYS_MAX = 16 };

/* Words of --inflate, --burst and --maximal, as given. */
struct traffic_overlay {
	enum overlay_kind kind;
	const char *text;
};

struct traffic_ask {
	const char *path;
	enum arena_policy policy;
	uint32_t align; /* of every block; ARENA_ALIGN: as recorded */
	double load;    /* 1: as recorded */
	enum load_method method;
	uint64_t headroom_bytes; /* added to every need */
	struct traffic_overlay overlay[TRAFFIC_OVERLAYS_MAX];
	size_t overlay_count;
};

/* Remembers an overlay option; its words are read when the routes are known. */
int traffic_overlay_add(struct traffic_ask *ask, enum overlay_kind kind, const char *text,
			struct err *err);

struct traffic {
	struct trace *trace;
	struct trace_columns columns; /* as recorded, with headroom */
	uint64_t headroom_bytes;
	struct sim_trace recorded;   /* a view of them */
	struct sim_columns overlaid; /* when there are overlays */
	struct sim_columns scaled;   /* when load is not 1 */
	struct sim_trace view;       /* what to simulate */
};

int traffic_open(const struct traffic_ask *ask, struct traffic *traffic, struct err *err);
void traffic_close(struct traffic *traffic);
const char *traffic_route(const struct traffic *traffic, uint32_t route);

#endif
