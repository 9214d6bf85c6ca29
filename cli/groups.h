/* SPDX-License-Identifier: MIT */
/*
 * Requests of a trace, put into groups by what they have in common, and what
 * is said of each group: the rows of `pail report` and of the summary that
 * ends a recording.
 *
 * Percentiles are by nearest rank: the least value that at least that share of
 * the group does not exceed, so each is a value that occurred.
 */
#ifndef PAIL_CLI_GROUPS_H
#define PAIL_CLI_GROUPS_H

#include "libtrace/trace.h"

enum group_by { GROUP_ROUTE, GROUP_STATUS, GROUP_REQUEST, GROUP_CONFIDENCE };

struct group {
	char *key;
	int64_t requests;
	int64_t need_p50, need_p90, need_p99, need_max;
	int64_t requested_bytes, live_peak_max, allocations, escapes, escaped_bytes;
	int64_t service_ns_p50, service_ns_p99, stack_peak_max;
	int64_t cpu_ns_p50, cpu_ns_p99; /* of those that it is known of; -1: of none */
	int64_t incomplete, confidence[3];
	/* while they are collected */
	int64_t *need, *service, *cpu;
	int64_t cpus;
	size_t room;
};

struct groups {
	struct group *group;
	size_t count, room;
	uint32_t *slot; /* hash of keys: index + 1 */
	size_t slots;
	int64_t requests;
};

/* All requests of the trace, in groups, by the need under `policy`. */
int groups_load(struct groups *groups, struct trace *trace, enum group_by by,
		enum arena_policy policy, struct err *err);
void groups_release(struct groups *groups);

/* A column by its JSON name ("need_p99", "key"): -1 if there is none. Sorts
 * descending, keys ascending; ties by key. */
int groups_sort(struct groups *groups, const char *column);
/* "key, requests, ..." for messages. */
const char *groups_columns(void);

#endif
