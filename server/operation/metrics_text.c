/* SPDX-License-Identifier: MIT */
#include "server/operation/metrics_text.h"

#include "server/core.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/operation/log_writer.h"
#include "server/operation/metrics.h"
#include "server/waiting/sockets.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* -- a buffer ------------------------------------------------------------------ */

struct out {
	char *at, *end;
};

static void put(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct out *out, const char *format, ...)
{
	size_t room = (size_t)(out->end - out->at);
	va_list args;

	va_start(args, format);
	int length = vsnprintf(out->at, room, format, args);
	va_end(args);
	assert(length >= 0 && (size_t)length < room); /* METRICS_PIECE_BYTES */
	out->at += length;
}

/* Inside quotes, for labels as for JSON: names come from pail.conf, which takes
 * no control bytes. */
static void put_quoted(struct out *out, const char *text)
{
	put(out, "\"");
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			put(out, "\\");
		put(out, "%c", *text);
	}
	put(out, "\"");
}

/* -- sums over workers ------------------------------------------------------------ */

static void sum_words(uint64_t *sum, const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sum[i] += metrics_read(&words[i]);
}

static void keep_most(uint64_t *most, uint64_t before, const uint64_t *one)
{
	*most = before > metrics_read(one) ? before : metrics_read(one);
}

static struct metrics_route route_sum(uint32_t index)
{
	struct metrics_route sum = {0};

	for (uint32_t i = 0; i < core.plan.threads; i++) {
		const struct metrics_route *one = &core.worker[i]->metrics->route[index];
		struct metrics_route before = sum;
		sum_words((uint64_t *)&sum, (const uint64_t *)one, sizeof(sum) / 8);
		keep_most(&sum.need_bytes_max, before.need_bytes_max, &one->need_bytes_max);
		keep_most(&sum.stack_bytes_max, before.stack_bytes_max, &one->stack_bytes_max);
	}
	return sum;
}

static struct metrics_class class_sum(uint32_t index)
{
	struct metrics_class sum = {0};

	for (uint32_t i = 0; i < core.plan.threads; i++) {
		const struct metrics_class *one = &core.worker[i]->metrics->class[index];
		struct metrics_class before = sum;
		/* in_use_max adds up: the workers' most may not have been at one time. */
		sum_words((uint64_t *)&sum, (const uint64_t *)one, sizeof(sum) / 8);
		keep_most(&sum.wait_ns_max, before.wait_ns_max, &one->wait_ns_max);
		keep_most(&sum.stack_bytes_max, before.stack_bytes_max, &one->stack_bytes_max);
		keep_most(&sum.need_bytes_max, before.need_bytes_max, &one->need_bytes_max);
	}
	return sum;
}

static uint64_t count_of(const uint64_t *bins, size_t count)
{
	uint64_t all = 0;

	for (size_t i = 0; i < count; i++)
		all += bins[i];
	return all;
}

struct class_state {
	uint64_t count, in_use, waiting, queue;
};

static struct class_state class_state(uint32_t index)
{
	struct class_state state = {0};

	for (uint32_t i = 0; i < core.plan.threads; i++) {
		const struct pool *pool = &core.worker[i]->pool[index];
		uint32_t available = metrics_get(&pool->free_count);
		state.count += pool->count;
		state.in_use += pool->count - available;
		state.waiting += metrics_get(&pool->waiting);
		state.queue += pool->queue;
	}
	return state;
}

struct totals {
	struct worker_counts counts;
	uint64_t open;
	struct log_counts log[LOG_STREAMS];
	uint64_t big_in_use, io_waiting;
};

static struct totals totals_of(void)
{
	struct totals t = {0};

	for (uint32_t i = 0; i < core.plan.threads; i++) {
		const struct worker *worker = core.worker[i];
		sum_words((uint64_t *)&t.counts, (const uint64_t *)&worker->counts,
			  sizeof(t.counts) / 8);
		t.open += metrics_get(&worker->open_count);
		t.io_waiting += metrics_get(&worker->io_waiting);
		for (int k = 0; k < LOG_STREAMS; k++) {
			t.log[k].told += metrics_read(&worker->log.count[k].told);
			t.log[k].dropped += metrics_read(&worker->log.count[k].dropped);
		}
		t.big_in_use +=
			worker->big_stacks.count - metrics_get(&worker->big_stacks.free_count);
	}
	return t;
}

/* -- the process -------------------------------------------------------------------- */

static int statm_fd = -1;
static uint64_t start_unix_ns;

static uint64_t unix_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void metrics_text_open(void)
{
	statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	start_unix_ns = unix_now_ns();
}

static uint64_t resident_bytes(void)
{
	char text[128], *rest;
	ssize_t got = pread(statm_fd, text, sizeof(text) - 1, 0);

	if (got <= 0)
		return 0;
	text[got] = '\0';
	strtoull(text, &rest, 10); /* the size of its address space */
	return strtoull(rest, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static const char *route_name(uint32_t index)
{
	if (index == metrics_other(&core.plan))
		return "(other)";
	if (index == metrics_none(&core.plan))
		return "(none)";
	return core.plan.route[index].pattern;
}

/* -- Prometheus ------------------------------------------------------------------------ */

/* A family: its head once, then its lines for each class, route or worker. */
struct family {
	const char *name, *type, *help;
	void (*lines)(struct out *out, const char *name, uint32_t index);
	enum { ONCE, BY_CLASS, BY_ROUTE, BY_WORKER } of;
};

static void class_line(struct out *out, const char *name, uint32_t index, uint64_t value)
{
	put(out, "%s{class=", name);
	put_quoted(out, core.plan.class[index].name);
	put(out, "} %" PRIu64 "\n", value);
}

static void route_line(struct out *out, const char *name, uint32_t index, uint64_t value)
{
	put(out, "%s{route=", name);
	put_quoted(out, route_name(index));
	put(out, "} %" PRIu64 "\n", value);
}

struct histogram {
	const char *name, *label, *value; /* of the label */
	const uint64_t *bins;
	uint32_t count;
	uint64_t (*edge)(uint32_t bin);
	double unit, sum;
};

static void histogram_lines(struct out *out, const struct histogram *h)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < h->count; i++) {
		all += h->bins[i];
		put(out, "%s_bucket{%s=", h->name, h->label);
		put_quoted(out, h->value);
		if (h->edge(i))
			put(out, ",le=\"%.15g\"} %" PRIu64 "\n", (double)h->edge(i) / h->unit,
			    all);
		else
			put(out, ",le=\"+Inf\"} %" PRIu64 "\n", all);
	}
	put(out, "%s_sum{%s=", h->name, h->label);
	put_quoted(out, h->value);
	put(out, "} %.15g\n%s_count{%s=", h->sum / h->unit, h->name, h->label);
	put_quoted(out, h->value);
	put(out, "} %" PRIu64 "\n", all);
}

#define ONCE_LINE(function, format, value)                                      \
	static void function(struct out *out, const char *name, uint32_t index) \
	{                                                                       \
		(void)index;                                                    \
		put(out, "%s " format "\n", name, value);                       \
	}
#define CLASS_LINE(function, value)                                             \
	static void function(struct out *out, const char *name, uint32_t index) \
	{                                                                       \
		class_line(out, name, index, value);                            \
	}
#define ROUTE_LINE(function, value)                                             \
	static void function(struct out *out, const char *name, uint32_t index) \
	{                                                                       \
		struct metrics_route route = route_sum(index);                  \
		route_line(out, name, index, value);                            \
	}

static struct malloc_counts system_counts(void)
{
	struct malloc_counts counts;

	malloc_count(&counts);
	return counts;
}

static struct socket_counts outgoing_counts(void)
{
	struct socket_counts counts;

	sockets_count(&counts);
	return counts;
}

/* In a ring that was full, or with nobody at the other end of the pipe. */
static uint64_t record_dropped(void)
{
	return totals_of().log[LOG_RECORDS].dropped + log_writer_count().record_lost;
}

static void build_line(struct out *out, const char *name, uint32_t index)
{
	(void)index;
	put(out, "%s{version=\"%s\"} 1\n", name, PAIL_VERSION);
}

ONCE_LINE(ready_line, "%d", !atomic_load(&core.draining))
ONCE_LINE(start_line, "%.3f", (double)start_unix_ns / 1e9)
ONCE_LINE(cpu_line, "%.6f", cpu_seconds())
ONCE_LINE(rss_line, "%" PRIu64, resident_bytes())
ONCE_LINE(bound_line, "%" PRIu64, limits_bound_bytes(&core.plan))
ONCE_LINE(region_line, "%zu", core.region.touched_bytes)
ONCE_LINE(system_room_line, "%" PRIu64, system_counts().system_bytes_room)
ONCE_LINE(system_line, "%" PRIu64, system_counts().system_bytes_now)
ONCE_LINE(system_peak_line, "%" PRIu64, system_counts().system_bytes_peak)
ONCE_LINE(system_refusals_line, "%" PRIu64, system_counts().refused)
ONCE_LINE(restarts_line, "%" PRIu32, core.supervised.generation)
ONCE_LINE(connections_line, "%" PRIu64, totals_of().open)
ONCE_LINE(connections_most_line, "%" PRIu32, core.plan.connections)
ONCE_LINE(accepted_line, "%" PRIu64, totals_of().counts.accepted)
ONCE_LINE(turned_away_line, "%" PRIu64, totals_of().counts.turned_away)
ONCE_LINE(evicted_line, "%" PRIu64, totals_of().counts.evicted)
ONCE_LINE(big_line, "%" PRIu32, core.plan.big_stack_count)
ONCE_LINE(big_in_use_line, "%" PRIu64, totals_of().big_in_use)
ONCE_LINE(log_lines_line, "%" PRIu64, totals_of().log[LOG_ACCESS].told)
ONCE_LINE(dropped_line, "%" PRIu64, totals_of().log[LOG_ACCESS].dropped)
ONCE_LINE(errors_line, "%" PRIu64, totals_of().log[LOG_ERRORS].told)
ONCE_LINE(errors_dropped_line, "%" PRIu64, totals_of().log[LOG_ERRORS].dropped)
ONCE_LINE(log_failures_line, "%" PRIu64, log_writer_count().failures)
ONCE_LINE(record_line, "%" PRIu64, totals_of().log[LOG_RECORDS].told)
ONCE_LINE(record_dropped_line, "%" PRIu64, record_dropped())
ONCE_LINE(io_waits_line, "%" PRIu64, totals_of().counts.io_waits)
ONCE_LINE(io_waiting_line, "%" PRIu64, totals_of().io_waiting)
ONCE_LINE(io_waiting_peak_line, "%" PRIu64, totals_of().counts.io_waiting_peak)
ONCE_LINE(outgoing_line, "%u", outgoing_counts().now)
ONCE_LINE(outgoing_limit_line, "%" PRIu32, core.plan.outgoing)
ONCE_LINE(outgoing_refused_line, "%" PRIu64, outgoing_counts().refused)

CLASS_LINE(buckets_line, class_state(index).count)
CLASS_LINE(size_line, core.plan.class[index].size_bytes)
CLASS_LINE(in_use_line, class_state(index).in_use)
CLASS_LINE(in_use_max_line, class_sum(index).in_use_max)
CLASS_LINE(waiting_line, class_state(index).waiting)
CLASS_LINE(queue_line, class_state(index).queue)
CLASS_LINE(waited_line, class_sum(index).waited)
CLASS_LINE(stack_max_line, class_sum(index).stack_bytes_max)

ROUTE_LINE(need_max_line, route.need_bytes_max)
ROUTE_LINE(bytes_in_line, route.bytes_in)
ROUTE_LINE(bytes_out_line, route.bytes_out)

static void wait_lines(struct out *out, const char *name, uint32_t index)
{
	struct metrics_class sum = class_sum(index);
	histogram_lines(out, &(struct histogram){name, "class", core.plan.class[index].name,
						 sum.wait, METRICS_TIME_BINS, metrics_time_edge,
						 1e9, (double)sum.wait_ns_sum});
}

static void stack_lines(struct out *out, const char *name, uint32_t index)
{
	struct metrics_class sum = class_sum(index);
	histogram_lines(out,
			&(struct histogram){name, "class", core.plan.class[index].name,
					    sum.stack, METRICS_STACK_BINS, metrics_stack_edge,
					    1, (double)sum.stack_bytes_sum});
}

static void need_lines(struct out *out, const char *name, uint32_t index)
{
	struct metrics_route sum = route_sum(index);
	if (index != metrics_none(&core.plan))
		histogram_lines(out,
				&(struct histogram){name, "route", route_name(index), sum.need,
						    METRICS_NEED_BINS, metrics_need_edge, 1,
						    (double)sum.need_bytes_sum});
}

static void service_lines(struct out *out, const char *name, uint32_t index)
{
	struct metrics_route sum = route_sum(index);
	if (index != metrics_none(&core.plan))
		histogram_lines(out, &(struct histogram){name, "route", route_name(index),
							 sum.service, METRICS_TIME_BINS,
							 metrics_time_edge, 1e9,
							 (double)sum.service_ns_sum});
}

static const char *const status_names[METRICS_STATUSES] = {"none", "1xx", "2xx",
							   "3xx",  "4xx", "5xx"};

static void request_lines(struct out *out, const char *name, uint32_t index)
{
	struct metrics_route sum = route_sum(index);

	for (uint32_t i = 0; i < METRICS_STATUSES; i++) {
		/* Those that are usual stand there from the start, at 0. */
		bool usual = index == metrics_none(&core.plan) ? i == 4 : i == 2 || i == 5;
		if (!usual && sum.status[i] == 0)
			continue;
		put(out, "%s{route=", name);
		put_quoted(out, route_name(index));
		put(out, ",status=\"%s\"} %" PRIu64 "\n", status_names[i], sum.status[i]);
	}
}

static void cause_lines(struct out *out, const char *name, uint32_t index)
{
	struct metrics_route sum = route_sum(index);

	for (uint32_t i = 0; metrics_cause_name(i); i++) {
		const char *cause = metrics_cause_name(i);
		bool usual = index != metrics_none(&core.plan) &&
			     (strcmp(cause, "oversize") == 0 || strncmp(cause, "busy", 4) == 0);
		if (!usual && sum.cause[i] == 0)
			continue;
		put(out, "%s{route=", name);
		put_quoted(out, route_name(index));
		put(out, ",cause=\"%s\"} %" PRIu64 "\n", cause, sum.cause[i]);
	}
}

static void running_line(struct out *out, const char *name, uint32_t index)
{
	uint64_t since_ns = atomic_load(&core.worker[index]->resumed_ns);
	uint64_t now_ns = loop_now_ns();

	put(out, "%s{worker=\"%u\"} %.6f\n", name, index,
	    since_ns && now_ns > since_ns ? (double)(now_ns - since_ns) / 1e9 : 0.0);
}

static const struct family families[] = {
	{"pail_build_info", "gauge", "The version that serves.", build_line, ONCE},
	{"pail_ready", "gauge", "1 while new connections are taken, 0 while it drains.",
	 ready_line, ONCE},
	{"process_start_time_seconds", "gauge", "Unix time of the start of this process.",
	 start_line, ONCE},
	{"process_cpu_seconds_total", "counter", "CPU time of this process.", cpu_line, ONCE},
	{"process_resident_memory_bytes", "gauge", "Resident memory of this process.", rss_line,
	 ONCE},
	{"pail_bound_bytes", "gauge", "The most that the server can need under its plan.",
	 bound_line, ONCE},
	{"pail_region_bytes", "gauge", "What was mapped and touched at start.", region_line,
	 ONCE},
	{"pail_system_region_bytes", "gauge", "Room for what is allocated outside requests.",
	 system_room_line, ONCE},
	{"pail_system_region_used_bytes", "gauge", "What of it has been given out.",
	 system_line, ONCE},
	{"pail_system_region_peak_bytes", "gauge", "The most of it so far.", system_peak_line,
	 ONCE},
	{"pail_system_region_refusals_total", "counter", "Times that it was full.",
	 system_refusals_line, ONCE},
	{"pail_restarts_total", "counter", "Processes that failed before this one.",
	 restarts_line, ONCE},
	{"pail_connections_open", "gauge", "Open client connections.", connections_line, ONCE},
	{"pail_connections_limit", "gauge", "Connections that the plan allows.",
	 connections_most_line, ONCE},
	{"pail_connections_accepted_total", "counter", "Connections accepted.", accepted_line,
	 ONCE},
	{"pail_connections_evicted_total", "counter",
	 "Connections without a bucket that were closed to make room.", evicted_line, ONCE},
	{"pail_connections_turned_away_total", "counter",
	 "Connections closed at once, since their address had as many as it may.",
	 turned_away_line, ONCE},
	{"pail_big_stacks", "gauge", "Big stacks that can be lent.", big_line, ONCE},
	{"pail_big_stacks_in_use", "gauge", "Big stacks lent now.", big_in_use_line, ONCE},
	{"pail_log_lines_total", "counter", "Lines of the access log.", log_lines_line, ONCE},
	{"pail_log_dropped_lines_total", "counter",
	 "Lines of the access log that were dropped since the file did not take them.",
	 dropped_line, ONCE},
	{"pail_error_log_lines_total", "counter", "Lines of the error log.", errors_line, ONCE},
	{"pail_error_log_dropped_lines_total", "counter", "Lines of it that were dropped.",
	 errors_dropped_line, ONCE},
	{"pail_log_write_failures_total", "counter",
	 "Times that a log's file refused a write, for a full disk for example.",
	 log_failures_line, ONCE},
	{"pail_recorder_requests_total", "counter", "Requests told to the recorder.",
	 record_line, ONCE},
	{"pail_recorder_dropped_total", "counter",
	 "Requests that the recorder could not be told, and that the trace lacks.",
	 record_dropped_line, ONCE},
	{"pail_handler_waits_total", "counter",
	 "Times that a handler waited for a descriptor of its own, or a time.", io_waits_line,
	 ONCE},
	{"pail_handlers_waiting", "gauge", "Handlers that wait so now.", io_waiting_line, ONCE},
	{"pail_handlers_waiting_peak", "gauge",
	 "The most so far; with several threads the sum of each one's most.",
	 io_waiting_peak_line, ONCE},
	{"pail_outgoing_sockets", "gauge", "Sockets that handlers have open.", outgoing_line,
	 ONCE},
	{"pail_outgoing_sockets_limit", "gauge", "Sockets that the plan allows them.",
	 outgoing_limit_line, ONCE},
	{"pail_outgoing_sockets_refused_total", "counter",
	 "Times that a handler found none left.", outgoing_refused_line, ONCE},
	{"pail_handler_running_seconds", "gauge",
	 "For how long the worker has been in one stretch of a handler.", running_line,
	 BY_WORKER},
	{"pail_buckets", "gauge", "Buckets of the class.", buckets_line, BY_CLASS},
	{"pail_bucket_size_bytes", "gauge", "Size of one.", size_line, BY_CLASS},
	{"pail_buckets_in_use", "gauge", "Buckets that a request holds now.", in_use_line,
	 BY_CLASS},
	{"pail_buckets_in_use_peak", "gauge",
	 "The most so far; with several threads the sum of each one's most.", in_use_max_line,
	 BY_CLASS},
	{"pail_requests_waiting", "gauge", "Requests in line for a bucket.", waiting_line,
	 BY_CLASS},
	{"pail_queue_places", "gauge", "Places in that line.", queue_line, BY_CLASS},
	{"pail_requests_waited_total", "counter", "Requests that had to stand in line.",
	 waited_line, BY_CLASS},
	{"pail_wait_seconds", "histogram", "From the complete head to the bucket, or the 503.",
	 wait_lines, BY_CLASS},
	{"pail_stack_bytes", "histogram", "Depth of stack of requests.", stack_lines, BY_CLASS},
	{"pail_stack_peak_bytes", "gauge", "The deepest so far.", stack_max_line, BY_CLASS},
	{"pail_requests_total", "counter", "Requests by what was answered.", request_lines,
	 BY_ROUTE},
	{"pail_rejections_total", "counter", "Requests that failed or were refused, by cause.",
	 cause_lines, BY_ROUTE},
	{"pail_need_bytes", "histogram", "The most that a request's arena held.", need_lines,
	 BY_ROUTE},
	{"pail_need_peak_bytes", "gauge", "The largest so far.", need_max_line, BY_ROUTE},
	{"pail_service_seconds", "histogram", "From the bucket to the end.", service_lines,
	 BY_ROUTE},
	{"pail_request_body_bytes_total", "counter", "Bytes of request bodies.", bytes_in_line,
	 BY_ROUTE},
	{"pail_response_body_bytes_total", "counter", "Bytes of response bodies.",
	 bytes_out_line, BY_ROUTE},
};
enum { FAMILIES = sizeof(families) / sizeof(families[0]) };

static uint32_t family_size(const struct family *family)
{
	switch (family->of) {
	case ONCE: return 1;
	case BY_CLASS: return core.plan.class_count;
	case BY_ROUTE: return metrics_routes(&core.plan);
	case BY_WORKER: break;
	}
	return core.plan.threads;
}

static void prometheus_piece(struct metrics_text *text, struct out *out)
{
	const struct family *family = &families[text->section];

	if (text->index == 0)
		put(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help,
		    family->name, family->type);
	family->lines(out, family->name, text->index);
	if (++text->index == family_size(family)) {
		text->index = 0;
		text->section++;
	}
}

/* -- JSON ------------------------------------------------------------------------------- */

static void json_u64(struct out *out, const char *key, uint64_t value)
{
	put(out, "\"%s\":%" PRIu64 ",", key, value);
}

static void json_bins(struct out *out, const char *key, const uint64_t *bins, uint32_t count)
{
	put(out, "\"%s\":[", key);
	for (uint32_t i = 0; i < count; i++)
		put(out, "%s%" PRIu64, i ? "," : "", bins[i]);
	put(out, "],");
}

static void json_edges(struct out *out, const char *key, uint32_t count,
		       uint64_t (*edge)(uint32_t))
{
	put(out, "\"%s\":[", key);
	for (uint32_t i = 0; i + 1 < count; i++)
		put(out, "%s%" PRIu64, i ? "," : "", edge(i));
	put(out, "],");
}

static void json_head(struct out *out)
{
	struct totals t = totals_of();
	struct malloc_counts system = system_counts();
	struct socket_counts sockets = outgoing_counts();

	put(out, "{\"schema\":\"pail.stats/1\",\"version\":\"%s\",\"state\":\"%s\",",
	    PAIL_VERSION, atomic_load(&core.draining) ? "draining" : "ready");
	put(out, "\"app\":");
	put_quoted(out, core.handler.name ? core.handler.name : "");
	put(out, ",\"pid\":%d,", (int)getpid());
	json_u64(out, "time_unix_ns", unix_now_ns());
	json_u64(out, "start_unix_ns", start_unix_ns);
	json_u64(out, "restarts", core.supervised.generation);
	put(out, "\"cpu_seconds\":%.6f,", cpu_seconds());
	put(out, "\"memory\":{");
	json_u64(out, "bound_bytes", limits_bound_bytes(&core.plan));
	json_u64(out, "region_bytes", core.region.touched_bytes);
	json_u64(out, "resident_bytes", resident_bytes());
	json_u64(out, "system_bytes", system.system_bytes_room);
	json_u64(out, "system_used_bytes", system.system_bytes_now);
	json_u64(out, "system_peak_bytes", system.system_bytes_peak);
	put(out, "\"system_refusals\":%" PRIu64 "},\"connections\":{", system.refused);
	json_u64(out, "open", t.open);
	json_u64(out, "limit", core.plan.connections);
	json_u64(out, "accepted", t.counts.accepted);
	json_u64(out, "turned_away", t.counts.turned_away);
	put(out, "\"evicted\":%" PRIu64 "},\"requests\":{", t.counts.evicted);
	json_u64(out, "started", t.counts.requests);
	json_u64(out, "failed", t.counts.failed);
	json_u64(out, "rejected", t.counts.rejected);
	put(out, "\"refused\":%" PRIu64 "},\"big_stacks\":{", t.counts.refused);
	put(out, "\"count\":%" PRIu32 ",\"in_use\":%" PRIu64 "},\"log\":{",
	    core.plan.big_stack_count, t.big_in_use);
	json_u64(out, "lines", t.log[LOG_ACCESS].told);
	json_u64(out, "dropped", t.log[LOG_ACCESS].dropped);
	json_u64(out, "error_lines", t.log[LOG_ERRORS].told);
	json_u64(out, "errors_dropped", t.log[LOG_ERRORS].dropped);
	put(out, "\"write_failures\":%" PRIu64 "},\"recorder\":{", log_writer_count().failures);
	put(out, "\"active\":%s,", core.record_fd >= 0 ? "true" : "false");
	json_u64(out, "requests", t.log[LOG_RECORDS].told);
	put(out, "\"dropped\":%" PRIu64 "},\"handler_io\":{", record_dropped());
	json_u64(out, "waits", t.counts.io_waits);
	json_u64(out, "waiting", t.io_waiting);
	json_u64(out, "waiting_peak", t.counts.io_waiting_peak);
	json_u64(out, "outgoing", sockets.now);
	json_u64(out, "outgoing_peak", sockets.peak);
	json_u64(out, "outgoing_limit", core.plan.outgoing);
	put(out, "\"outgoing_refused\":%" PRIu64 "},", sockets.refused);
	json_edges(out, "need_edges_bytes", METRICS_NEED_BINS, metrics_need_edge);
	json_edges(out, "stack_edges_bytes", METRICS_STACK_BINS, metrics_stack_edge);
	json_edges(out, "time_edges_ns", METRICS_TIME_BINS, metrics_time_edge);
}

static void json_worker(struct out *out, uint32_t index)
{
	const struct worker *worker = core.worker[index];
	uint64_t since_ns = atomic_load(&worker->resumed_ns), now_ns = loop_now_ns();

	put(out, "{");
	json_u64(out, "open", metrics_get(&worker->open_count));
	json_u64(out, "requests", metrics_read(&worker->counts.requests));
	put(out, "\"running_ns\":%" PRIu64 "}",
	    since_ns && now_ns > since_ns ? now_ns - since_ns : 0);
}

static void json_class(struct out *out, uint32_t index)
{
	struct class_state state = class_state(index);
	struct metrics_class sum = class_sum(index);

	put(out, "{\"name\":");
	put_quoted(out, core.plan.class[index].name);
	put(out, ",");
	json_u64(out, "size_bytes", core.plan.class[index].size_bytes);
	json_u64(out, "count", state.count);
	json_u64(out, "in_use", state.in_use);
	json_u64(out, "in_use_peak", sum.in_use_max);
	json_u64(out, "waiting", state.waiting);
	json_u64(out, "queue", state.queue);
	json_u64(out, "waited", sum.waited);
	json_u64(out, "wait_ns_sum", sum.wait_ns_sum);
	json_u64(out, "wait_ns_max", sum.wait_ns_max);
	json_bins(out, "wait_ns_bins", sum.wait, METRICS_TIME_BINS);
	json_u64(out, "need_peak_bytes", sum.need_bytes_max);
	json_u64(out, "stack_bytes", core.region.stack_bytes[index]);
	json_u64(out, "stack_peak_bytes", sum.stack_bytes_max);
	json_bins(out, "stack_bytes_bins", sum.stack, METRICS_STACK_BINS);
	out->at[-1] = '}';
}

static void json_route(struct out *out, uint32_t index)
{
	struct metrics_route sum = route_sum(index);

	put(out, "{\"route\":");
	put_quoted(out, route_name(index));
	put(out, ",\"class\":");
	put_quoted(out, index < core.plan.route_count
				? core.plan.class[core.plan.route[index].class_index].name
			: index == metrics_other(&core.plan) ? core.plan.class[0].name
							     : "");
	put(out, ",");
	json_u64(out, "requests", count_of(sum.status, METRICS_STATUSES));
	json_bins(out, "status", sum.status, METRICS_STATUSES);
	put(out, "\"causes\":{");
	for (uint32_t i = 0; metrics_cause_name(i); i++)
		if (sum.cause[i])
			json_u64(out, metrics_cause_name(i), sum.cause[i]);
	if (out->at[-1] == ',')
		out->at--;
	put(out, "},");
	json_u64(out, "need_bytes_sum", sum.need_bytes_sum);
	json_u64(out, "need_peak_bytes", sum.need_bytes_max);
	json_bins(out, "need_bytes_bins", sum.need, METRICS_NEED_BINS);
	json_u64(out, "service_ns_sum", sum.service_ns_sum);
	json_bins(out, "service_ns_bins", sum.service, METRICS_TIME_BINS);
	json_u64(out, "stack_peak_bytes", sum.stack_bytes_max);
	json_u64(out, "bytes_in", sum.bytes_in);
	json_u64(out, "bytes_out", sum.bytes_out);
	out->at[-1] = '}';
}

/* A list of its own section each; 0 is what stands before them. */
static const struct {
	const char *name;
	void (*item)(struct out *out, uint32_t index);
} lists[] = {{"workers", json_worker}, {"classes", json_class}, {"routes", json_route}};
enum { LISTS = sizeof(lists) / sizeof(lists[0]) };

static void json_piece(struct metrics_text *text, struct out *out)
{
	const uint32_t sizes[LISTS] = {core.plan.threads, core.plan.class_count,
				       metrics_routes(&core.plan)};

	if (text->section == 0) {
		json_head(out);
		text->section++;
		return;
	}
	uint32_t list = text->section - 1;
	if (text->index == 0)
		put(out, "\"%s\":[", lists[list].name);
	lists[list].item(out, text->index);
	if (++text->index < sizes[list]) {
		put(out, ",");
		return;
	}
	text->index = 0;
	text->section++;
	put(out, list + 1 < LISTS ? "]," : "]}\n");
}

/* -- both ---------------------------------------------------------------------------------- */

void metrics_text_init(struct metrics_text *text, enum metrics_form form)
{
	*text = (struct metrics_text){.form = form};
}

size_t metrics_text_write(struct metrics_text *text, char *bytes, size_t room)
{
	uint32_t sections = text->form == METRICS_JSON ? 1 + LISTS : FAMILIES;
	size_t length = 0;

	assert(room > METRICS_PIECE_BYTES);
	while (text->section < sections && room - length > METRICS_PIECE_BYTES) {
		struct out out = {bytes + length, bytes + length + METRICS_PIECE_BYTES};
		if (text->form == METRICS_JSON)
			json_piece(text, &out);
		else
			prometheus_piece(text, &out);
		length = (size_t)(out.at - bytes);
	}
	return length;
}
