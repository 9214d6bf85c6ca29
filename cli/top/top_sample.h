/* SPDX-License-Identifier: MIT */
/*
 * What `pail top` looks at, once: a server by its admin address, or the trace
 * that a recorder is writing. Counts are since the start; rates come of two.
 */
#ifndef PAIL_CLI_TOP_SAMPLE_H
#define PAIL_CLI_TOP_SAMPLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOP_NAME_MAX = 128, TOP_CLASSES_MAX = 16 };

struct top_route {
	char name[TOP_NAME_MAX]; /* printable: no byte of it steers a terminal */
	uint64_t requests, rejected_500, rejected_503;
	uint64_t need_p50, need_p99, need_max; /* of a server: the bins' upper edges */
	uint64_t service_p50_ns;
	double rate; /* filled by top_sample_rates() */
};

struct top_class {
	char name[TOP_NAME_MAX];
	uint64_t size_bytes, need_max;
	uint32_t count, in_use, in_use_peak, waiting, queue;
};

struct top_sample {
	bool server;    /* else a recording */
	char state[64]; /* "ready", "recording" */
	int64_t at_ns;  /* monotonic */
	double up_seconds;
	uint64_t requests, rejected_500, rejected_503;
	uint64_t bound_bytes, resident_bytes, system_bytes, system_used_bytes;
	uint64_t connections, connections_limit;
	uint64_t escapes,
		unsure; /* of a recording: requests that let memory escape; not exact */
	size_t class_count, route_count;
	struct top_class class[TOP_CLASSES_MAX];
	struct top_route *route;
	/* by top_sample_rates() */
	double rate, rate_500, rate_503;
};
void top_sample_release(struct top_sample *sample);
/* What came since `before`. */
void top_sample_rates(struct top_sample *now, const struct top_sample *before);
/* Copies text, with '?' for whatever would steer a terminal. */
void top_name(char name[TOP_NAME_MAX], const char *text);

/* From "HOST:PORT" or "http://HOST:PORT". */
int top_server_sample(const char *address, struct top_sample *sample, struct err *err);

/* A recording is read on from where it was. */
struct top_trace;
int top_trace_new(const char *path, struct top_trace **trace, struct err *err);
int top_trace_sample(struct top_trace *trace, struct top_sample *sample, struct err *err);
void top_trace_free(struct top_trace *trace); /* NULL is fine */

#endif
