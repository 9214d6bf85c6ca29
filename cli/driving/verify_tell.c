/* SPDX-License-Identifier: MIT */
#include "cli/driving/verification.h"

#include "base/json.h"
#include "base/table.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* -- JSON --------------------------------------------------------------------- */

static void i64_pair(struct json *json, const char *key, int64_t value)
{
	json_key(json, key);
	json_i64(json, value);
}

static void rate_json(struct json *json, const char *key, const struct forecast_rate *rate)
{
	json_key(json, key);
	json_object_begin(json);
	json_pair_double(json, "rate", rate->rate);
	json_pair_double(json, "low", rate->low);
	json_pair_double(json, "high", rate->high);
	json_object_end(json);
}

static void time_json(struct json *json, const char *key, const struct forecast_time *time)
{
	json_key(json, key);
	json_object_begin(json);
	i64_pair(json, "ns", time->ns);
	i64_pair(json, "low_ns", time->low_ns);
	i64_pair(json, "high_ns", time->high_ns);
	json_object_end(json);
}

static void forecast_json(struct json *json, const char *key, const struct forecast *f)
{
	json_key(json, key);
	json_object_begin(json);
	json_pair_u64(json, "served", f->served);
	json_pair_u64(json, "rejected_500", f->rejected_500);
	json_pair_u64(json, "rejected_503", f->rejected_503);
	json_pair_double(json, "rejection_rate", f->all.rate);
	json_pair_double(json, "rate_low", f->all.low);
	json_pair_double(json, "rate_high", f->all.high);
	json_pair_double(json, "confidence", f->confidence);
	rate_json(json, "oversize", &f->oversize);
	rate_json(json, "busy", &f->busy);
	time_json(json, "wait_p50", &f->wait[FORECAST_P50]);
	time_json(json, "wait_p99", &f->wait[FORECAST_P99]);
	time_json(json, "latency_p50", &f->latency[FORECAST_P50]);
	time_json(json, "latency_p99", &f->latency[FORECAST_P99]);
	json_object_end(json);
}

/* A quantile, or null where nothing was seen. */
static void quantile_json(struct json *json, const char *key, const int64_t *values,
			  size_t count, double q)
{
	json_key(json, key);
	if (count > 0)
		json_i64(json, tally_quantile(values, count, q));
	else
		json_null(json);
}

static void observed_json(const struct verification *v, struct json *json)
{
	json_key(json, "observed");
	json_object_begin(json);
	tally_json(&v->tally, json);
	json_pair_u64(json, "rejected_500", v->rejected_500);
	json_pair_u64(json, "rejected_503", v->rejected_503);
	json_pair_u64(json, "other", v->other);
	json_pair_u64(json, "status_differs", v->status_differs);
	json_pair_double(json, "rejection_rate", v->rate);
	quantile_json(json, "wait_ns_p50", v->wait_ns, v->waits, 0.5);
	quantile_json(json, "wait_ns_p99", v->wait_ns, v->waits, 0.99);
	i64_pair(json, "late_ns_p99", tally_quantile(v->tally.late_ns, v->tally.sent, 0.99));
	i64_pair(json, "overrun_ns_p50", tally_quantile(v->overrun_ns, v->overruns, 0.5));
	i64_pair(json, "overrun_ns_p99", tally_quantile(v->overrun_ns, v->overruns, 0.99));
	json_pair_u64(json, "connections_peak", v->stats.connections_peak);
	json_key(json, "peak_bytes");
	if (v->ask->url != NULL)
		json_null(json);
	else
		json_u64(json, v->peak_bytes);
	json_object_end(json);
}

static void classes_json(const struct verification *v, struct json *json)
{
	json_key(json, "classes");
	json_array_begin(json);
	for (uint32_t k = 0; k < v->plan.class_count; k++) {
		json_object_begin(json);
		json_pair_text(json, "name", v->plan.class[k].name);
		json_pair_u64(json, "size", v->plan.class[k].size_bytes);
		json_pair_u64(json, "count", v->plan.class[k].count);
		json_object_end(json);
	}
	json_array_end(json);
}

void verify_print_json(const struct verification *v, struct buf *out)
{
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.verify/1");
	json_key(&json, "trace");
	json_object_begin(&json);
	json_pair_u64(&json, "requests", v->count);
	json_pair_u64(&json, "without_events", v->without_events);
	json_pair_text(&json, "sha256", v->columns.sha256);
	json_object_end(&json);
	json_pair_double(&json, "speed", v->ask->speed);
	json_pair_u64(&json, "size", v->plan.class[0].size_bytes);
	json_pair_u64(&json, "count", v->plan.class[0].count);
	classes_json(v, &json);
	json_pair_u64(&json, "queue", v->plan.queue);
	json_pair_u64(&json, "wait_ns", v->plan.wait_ns);
	forecast_json(&json, "predicted", &v->predicted);
	forecast_json(&json, "predicted_with_observed_times", &v->again);
	observed_json(v, &json);
	json_pair_u64(&json, "bound_bytes", v->bound_bytes);
	json_pair_bool(&json, "inside", v->inside);
	json_pair_bool(&json, "rates_inside", v->rates_inside);
	json_pair_bool(&json, "times_inside", v->times_inside);
	json_pair_bool(&json, "memory_inside", v->memory_inside);
	json_key(&json, "why");
	json_array_begin(&json);
	for (size_t i = 0; i < v->whys; i++)
		json_text(&json, v->why[i]);
	json_array_end(&json);
	json_object_end(&json);
	buf_append_str(out, "\n");
}

/* -- the table ------------------------------------------------------------------- */

static void row_rate(struct table *table, const char *name, uint64_t predicted,
		     const struct forecast_rate *rate, size_t count, size_t observed)
{
	double n = (double)count;
	table_cell(table, "%s", name);
	table_cell(table, "%" PRIu64, predicted);
	table_cell(table, "%.0f .. %.0f", (double)(uint64_t)(rate->low * n),
		   (double)(uint64_t)(rate->high * n + 0.999999));
	table_cell(table, "%zu", observed);
}

static void row_time(struct table *table, const char *name, const struct forecast_time *time,
		     const int64_t *values, size_t count, double q)
{
	char text[4][UNITS_TEXT_MAX];
	table_cell(table, "%s", name);
	table_cell(table, "%s", units_format_time((uint64_t)time->ns, text[0]));
	table_cell(table, "%s .. %s", units_format_time((uint64_t)time->low_ns, text[1]),
		   units_format_time((uint64_t)time->high_ns, text[2]));
	if (count > 0)
		table_cell(
			table, "%s",
			units_format_time((uint64_t)tally_quantile(values, count, q), text[3]));
	else
		table_cell(table, "-");
}

static void rows_rates(const struct verification *v, struct table *table)
{
	const struct forecast *p = &v->predicted;
	table_cell(table, v->replay ? "served (200)" : "served");
	table_cell(table, "%" PRIu64, p->served);
	table_cell(table, "%s", "");
	table_cell(table, "%zu", v->latencies);
	row_rate(table, "oversize (500)", p->rejected_500, &p->oversize, v->count,
		 v->rejected_500);
	row_rate(table, "busy (503)", p->rejected_503, &p->busy, v->count, v->rejected_503);
	table_cell(table, "rejected");
	table_cell(table, "%.3f %%", p->all.rate * 100);
	table_cell(table, "%.3f .. %.3f %%", p->all.low * 100, p->all.high * 100);
	table_cell(table, "%.3f %%", v->rate * 100);
}

static void rows_times(const struct verification *v, struct table *table)
{
	const struct forecast *p = &v->predicted;
	if (v->plan.queue > 0)
		row_time(table, "wait p99", &p->wait[FORECAST_P99], v->wait_ns, v->waits, 0.99);
	row_time(table, "latency p50", &p->latency[FORECAST_P50], v->latency_ns, v->latencies,
		 0.5);
	row_time(table, "latency p99", &p->latency[FORECAST_P99], v->latency_ns, v->latencies,
		 0.99);
}

static void print_head(const struct verification *v, struct buf *out)
{
	char size[UNITS_TEXT_MAX];
	buf_printf(out, "%zu requests, ", v->count);
	for (uint32_t k = 0; k < v->plan.class_count; k++)
		buf_printf(out, "%s%u buckets of %s", k > 0 ? " + " : "",
			   v->plan.class[k].count,
			   units_format_size(v->plan.class[k].size_bytes, size));
	buf_printf(out, ", queue %u, speed %g", v->plan.queue, v->ask->speed);
	if (v->ask->url != NULL)
		buf_printf(out, ", %s", v->ask->url);
	else if (v->ask->app != NULL)
		buf_printf(out, ", %s", v->ask->app);
	buf_append_str(out, "\n\n");
}

static const char *verdict(const struct verification *v)
{
	if (v->inside && v->times_inside)
		return "within the predicted interval";
	if (v->inside)
		return "within the predicted interval; times are not, and are not judged "
		       "without --slack";
	if (v->late)
		return "NOT as predicted, and the load that came was not the recorded one: try "
		       "again on a machine with less to do, or with a lower --speed";
	return "NOT as predicted: see the notes above";
}

int verify_print_table(const struct verification *v, struct buf *out)
{
	char head[32], size[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX], over[2][UNITS_TEXT_MAX];
	snprintf(head, sizeof head, ">%.4g %% interval", v->predicted.confidence * 100);
	const char *heads[] = {"", ">predicted", head, ">observed"};
	struct table *table = table_new(sizeof heads / sizeof *heads, heads);
	if (table == NULL)
		return -1;
	print_head(v, out);
	rows_rates(v, table);
	rows_times(v, table);
	if (v->ask->url == NULL) {
		table_cell(table, "peak memory");
		table_cell(table, "-");
		table_cell(table, "up to %s", units_format_size(v->bound_bytes, size));
		table_cell(table, "%s", units_format_size(v->peak_bytes, peak));
	}
	table_style_for(table, STDOUT_FILENO);
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	int64_t p50 = tally_quantile(v->overrun_ns, v->overruns, 0.5);
	int64_t p99 = tally_quantile(v->overrun_ns, v->overruns, 0.99);
	if (v->overruns > 0)
		buf_printf(
			out,
			"\nserved requests took longer than recorded by %s (p50), %s (p99)\n",
			units_format_time(p50 > 0 ? (uint64_t)p50 : 0, over[0]),
			units_format_time(p99 > 0 ? (uint64_t)p99 : 0, over[1]));
	for (size_t i = 0; i < v->whys; i++)
		buf_printf(out, "note: %s\n", v->why[i]);
	buf_printf(out, "%s\n", verdict(v));
	return 0;
}
