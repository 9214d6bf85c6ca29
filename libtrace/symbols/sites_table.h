/* SPDX-License-Identifier: MIT */
/*
 * What sites.c and site_names.c share: the tables behind sites.h. sites.c fills
 * them while the recording runs; site_names.c puts them into a trace, at each
 * commit as addresses and at the end with the names of functions.
 *
 * Items are numbered from 1, 0 is none. Nothing is ever taken out but the
 * requests that left something behind, once all of it is freed.
 */
#ifndef PAIL_LIBTRACE_SITES_TABLE_H
#define PAIL_LIBTRACE_SITES_TABLE_H

#include "libtrace/symbols/sites.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAMES_MAX = 2048 /* of one site */, TEXT_MAX = 4096 };

/* Numbers, from 1, of what lies in an array, by hash; the array's owner
 * compares. */
struct index {
	uint32_t *slot;
	uint32_t slots;
};

/* One image's mapping in one map of a process. */
struct module {
	uint32_t map, image, next; /* next of its map: number */
	uint64_t start, end, bias;
};

struct image {
	char *path;
	char *build_id;
	size_t build_id_bytes;
};

struct frame {
	uint64_t address;
	uint32_t image; /* 0: none */
	bool put;
};

/* Sites as a tree of frames: a site is a node with a number. */
struct node {
	uint32_t outer, frame, site;
};

struct site {
	uint32_t node;
	bool put;
	int64_t allocations, requested_bytes, live_bytes, live_peak_bytes, left_bytes;
};

struct use {
	uint32_t site, route;
	bool put;
	uint64_t last_request;
	int64_t requests, allocations, requested_bytes, escapes, escaped_bytes;
	int64_t freed[3], kept_ns_sum, kept_ns_max;
};

/* A request that left something behind. */
struct leaver {
	uint64_t name;
	uint32_t route, left;
	int64_t end_ns;
};

struct held {
	uint32_t site;
	bool live;
	uint64_t bytes;
};

#define TABLE(type, name)                   \
	struct type *name;                  \
	uint32_t name##_count, name##_room; \
	struct index name##_index

struct sites {
	const struct ring *ring;
	bool failed;
	TABLE(image, image);
	TABLE(frame, frame);
	TABLE(node, node);
	TABLE(use, use);
	struct module *module;
	uint32_t module_count, module_room;
	uint32_t *map_first; /* by map: a module's number */
	uint32_t maps;
	struct site *site;
	uint32_t site_count, site_room;
	char **route;
	uint32_t route_count, route_room;
	struct index route_index;
	struct leaver *leaver; /* open addressing by name, 0 = empty */
	uint32_t leavers, leaver_room;
	uint32_t *node_of; /* by stack */
	uint32_t stacks;
	struct held *held;
	uint32_t held_room;
	uint64_t requests;
};

#endif
