/* SPDX-License-Identifier: MIT */
#include "cli/driving/verification.h"

#include "base/buf.h"
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the server's log -------------------------------------------------------- */

struct numbered {
	int64_t id;
	size_t row;
};

static int by_id(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;
	return (x->id > y->id) - (x->id < y->id);
}

/* The number behind a key of one of our own server's log lines. Quotes within its
 * strings are escaped, so that no text of a client looks like a key. */
static bool number_of(const char *line, const char *key, int64_t *value)
{
	char quoted[48];
	snprintf(quoted, sizeof quoted, "\"%s\":", key);
	const char *at = strstr(line, quoted);
	if (at == NULL)
		return false;
	*value = strtoll(at + strlen(quoted), NULL, 10);
	return true;
}

/* "/replay/r3/17" gives 17. */
static bool id_of(const char *line, int64_t *id)
{
	const char *at = strstr(line, "\"path\":\"/replay/"), *end;
	if (at == NULL)
		return false;
	at += strlen("\"path\":\"");
	end = strchr(at, '"');
	while (end > at && end[-1] != '/')
		end--;
	*id = strtoll(end, NULL, 10);
	return true;
}

static void take_line(struct verification *v, const char *line, const struct numbered *known)
{
	int64_t status = 0, wait = 0, service = 0, id;
	if (!number_of(line, "status", &status) || !number_of(line, "wait_ns", &wait) ||
	    !number_of(line, "service_ns", &service))
		return;
	if (status != 500 && status != 503 && status != 0 && v->waits < v->count)
		v->wait_ns[v->waits++] = wait;
	if (!v->replay || status == 503 || !id_of(line, &id))
		return;
	const struct numbered key = {.id = id};
	const struct numbered *hit = bsearch(&key, known, v->count, sizeof key, by_id);
	if (hit != NULL)
		v->held_ns[hit->row] = service;
}

static int ascending(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

int verify_read_log(struct verification *v, struct err *err)
{
	char path[512], *line = NULL;
	size_t room = 0;
	v->held_ns = malloc(v->count * sizeof *v->held_ns);
	v->wait_ns = calloc(v->count, sizeof *v->wait_ns);
	struct numbered *known = calloc(v->count, sizeof *known);
	if (v->held_ns == NULL || v->wait_ns == NULL || known == NULL) {
		free(known);
		return err_set(err, "out of memory for %zu requests", v->count);
	}
	for (size_t i = 0; i < v->count; i++) {
		v->held_ns[i] = -1;
		known[i] = (struct numbered){v->columns.id[i], i};
	}
	if (v->ask->url != NULL) {
		free(known);
		return 0;
	}
	qsort(known, v->count, sizeof *known, by_id);
	guest_path(&v->guest, "log", path, sizeof path);
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		free(known);
		return err_errno(err, "cannot read the server's log '%s'", path);
	}
	while (getline(&line, &room, file) > 0)
		take_line(v, line, known);
	fclose(file);
	free(line);
	free(known);
	qsort(v->wait_ns, v->waits, sizeof *v->wait_ns, ascending);
	return 0;
}

/* -- what came ------------------------------------------------------------------- */

static int recorded_status(struct verification *v, struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	size_t row = 0;
	int got = 1;
	if (v->replay)
		return 0;
	if (trace_requests(v->trace, &cursor, err) == -1)
		return -1;
	while (row < v->count && (got = trace_next(cursor, &r, err)) == 1) {
		if (r.id != v->columns.id[row])
			continue;
		uint16_t now = v->result[row++].status;
		v->status_differs +=
			now != 0 && now != 500 && now != 503 && r.status > 0 && r.status != now;
	}
	trace_cursor_close(cursor);
	return got == -1 ? -1 : 0;
}

static int observe(struct verification *v, struct err *err)
{
	size_t answered = 0;
	if (tally_init(&v->tally, v->load.request, v->result, v->count, UINT32_MAX, err) == -1)
		return -1;
	v->overrun_ns = calloc(v->count, sizeof *v->overrun_ns);
	v->latency_ns = calloc(v->count, sizeof *v->latency_ns);
	if (v->overrun_ns == NULL || v->latency_ns == NULL)
		return err_set(err, "out of memory for %zu requests", v->count);
	v->rejected_500 = v->tally.status[500];
	v->rejected_503 = v->tally.status[503];
	v->rate = (double)(v->rejected_500 + v->rejected_503) / (double)v->count;
	for (size_t i = 0; i < v->count; i++) {
		const struct openloop_result *r = &v->result[i];
		bool refused = r->status == 500 || r->status == 503;
		bool fine = v->replay ? r->status == 200 : !refused;
		answered += r->outcome == OPENLOOP_ANSWERED && (fine || refused);
		if (r->outcome != OPENLOOP_ANSWERED || !fine)
			continue;
		v->latency_ns[v->latencies++] = r->done_ns - r->due_ns;
		/* Where the server tells how long it had the bucket, its word counts. */
		int64_t took = v->held_ns[i] >= 0 ? v->held_ns[i] : r->done_ns - r->sent_ns;
		v->overrun_ns[v->overruns++] = took - v->traffic.service_ns[i];
	}
	v->other = v->count - answered;
	qsort(v->overrun_ns, v->overruns, sizeof *v->overrun_ns, ascending);
	qsort(v->latency_ns, v->latencies, sizeof *v->latency_ns, ascending);
	return recorded_status(v, err);
}

/* The same requests with the times as they were measured. If this tells what
 * was observed and the prediction does not, the times are the reason. */
static int predict_again(struct verification *v, struct err *err)
{
	struct sim_columns columns;
	if (sim_columns_init(&columns, v->count, err) == -1)
		return -1;
	for (size_t i = 0; i < v->count; i++) {
		const struct openloop_result *r = &v->result[i];
		bool held = r->outcome == OPENLOOP_ANSWERED && r->status != 503;
		columns.arrival_ns[i] = r->sent_ns >= 0 ? r->sent_ns : r->due_ns;
		columns.service_ns[i] = v->held_ns[i] >= 0 ? v->held_ns[i]
					: held             ? r->done_ns - r->sent_ns
							   : v->traffic.service_ns[i];
		columns.need_bytes[i] = v->columns.need_bytes[i];
		columns.route[i] = v->columns.route_index[i];
		columns.origin[i] = (uint32_t)i;
	}
	int result = sim_columns_sort(&columns, v->count, err);
	if (result == 0)
		result = forecast_make(&columns.trace, &v->plan, &v->routes, v->ask->confidence,
				       &v->again, err);
	sim_columns_release(&columns);
	return result;
}

/* -- why --------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void because(struct verification *v,
							  const char *format, ...)
{
	va_list args;
	if (v->whys == WHY_MAX)
		return;
	va_start(args, format);
	vsnprintf(v->why[v->whys++], WHY_BYTES, format, args);
	va_end(args);
}

static void explain_times(struct verification *v)
{
	char late[UNITS_TEXT_MAX], over[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
	int64_t late_p99 = tally_quantile(v->tally.late_ns, v->tally.sent, 0.99);
	int64_t over_p50 = tally_quantile(v->overrun_ns, v->overruns, 0.5);
	int64_t over_p99 = tally_quantile(v->overrun_ns, v->overruns, 0.99);
	double service = sim_trace_load(&v->traffic.trace).service_mean_ns;
	v->late = (double)late_p99 > service;
	if ((double)late_p99 > service / 10)
		because(v, "arrivals went out late: 1 in 100 by more than %s",
			units_format_time((uint64_t)late_p99, late));
	if ((double)over_p50 > service / 20 || (double)over_p99 > service)
		because(v,
			"requests took longer than recorded: half by more than %s, 1 in 100 by "
			"more than %s",
			units_format_time(over_p50 > 0 ? (uint64_t)over_p50 : 0, over),
			units_format_time(over_p99 > 0 ? (uint64_t)over_p99 : 0, most));
	if ((double)over_p50 < -service / 20)
		because(v, "requests took less time than recorded: half by more than %s",
			units_format_time((uint64_t)-over_p50, over));
}

/* A handler that looks at its query is asked for something else. */
static void explain_targets(struct verification *v)
{
	const char *redact = trace_meta(v->trace, "redact");
	bool cut = trace_meta(v->trace, "redacted_targets") == NULL;
	if (v->replay || redact == NULL || strcmp(redact, "none") == 0)
		return;
	if (cut || trace_meta_int(v->trace, "redacted_targets", 0) > 0)
		because(v,
			"the trace holds targets without what may be secret (--redact %s), and they "
			"were asked for as they stand: record with --redact none if the handler "
			"looks at its query",
			redact);
}

static void explain_answers(struct verification *v)
{
	explain_targets(v);
	if (v->other > 0) {
		struct buf text;
		buf_init(&text);
		tally_text(&v->tally, &text);
		because(v, "%zu requests got neither an answer as expected nor 500 nor 503: %s",
			v->other, buf_text(&text));
		buf_release(&text);
	}
	if (v->status_differs > 0)
		because(v,
			"%zu requests were answered with another status than when they were "
			"recorded, so the handler did not do the same work",
			v->status_differs);
	if (v->stats.waited > 0)
		because(v,
			"%" PRIu64 " requests waited for one of the %u connections of the plan",
			v->stats.waited, v->plan.connections);
	if (v->without_events > 0)
		because(v,
			"%zu requests have no events in the trace: each ran as one block of its "
			"need",
			v->without_events);
}

/* -- the verdict ---------------------------------------------------------------------- */

/* Rejections are whole: an expectation of 0.2 is met by none. */
static bool holds(const struct forecast_rate *rate, size_t count, size_t observed)
{
	double n = (double)count, seen = (double)observed;
	return seen >= floor(rate->low * n) && seen <= ceil(rate->high * n);
}

/* Whether a measured quantile lies in the predicted interval, give or take. */
static bool near(const struct forecast_time *time, int64_t observed, uint64_t slack_ns)
{
	return (double)observed >= (double)time->low_ns - (double)slack_ns &&
	       (double)observed <= (double)time->high_ns + (double)slack_ns;
}

static bool times_hold(const struct verification *v)
{
	for (int q = 0; q < FORECAST_QUANTILES; q++) {
		double at = forecast_quantile[q];
		if (v->latencies > 0 &&
		    !near(&v->predicted.latency[q],
			  tally_quantile(v->latency_ns, v->latencies, at), v->ask->slack_ns))
			return false;
		if (v->waits > 0 &&
		    !near(&v->predicted.wait[q], tally_quantile(v->wait_ns, v->waits, at),
			  v->ask->slack_ns))
			return false;
	}
	return true;
}

int verify_judge(struct verification *v, struct err *err)
{
	const struct forecast *p = &v->predicted;
	if (observe(v, err) == -1 || predict_again(v, err) == -1)
		return -1;
	v->rates_inside = holds(&p->all, v->count, v->rejected_500 + v->rejected_503) &&
			  holds(&p->oversize, v->count, v->rejected_500) &&
			  holds(&p->busy, v->count, v->rejected_503);
	v->times_inside = times_hold(v);
	v->memory_inside = v->ask->url != NULL || v->peak_bytes <= v->bound_bytes;
	v->inside = v->rates_inside && v->memory_inside && v->other == 0 &&
		    (v->times_inside || !v->ask->slack_given);
	bool differs = v->rejected_500 != p->rejected_500 || v->rejected_503 != p->rejected_503;
	explain_answers(v);
	if (!v->memory_inside)
		because(v, "the server's peak is above its bound");
	if (differs || !v->times_inside)
		explain_times(v);
	if (differs)
		because(v,
			"with arrivals and services as they were measured the simulator says "
			"%" PRIu64 " x 500 and %" PRIu64 " x 503",
			v->again.rejected_500, v->again.rejected_503);
	return 0;
}
