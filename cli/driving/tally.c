/* SPDX-License-Identifier: MIT */
#include "cli/driving/tally.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

int64_t tally_quantile(const int64_t *values, size_t count, double q)
{
	if (count == 0)
		return 0;
	double rank = ceil(q * (double)count);
	size_t at = rank < 1 ? 0 : (size_t)rank - 1;
	return values[at < count ? at : count - 1];
}

int tally_init(struct tally *tally, const struct load_request *requests,
	       const struct openloop_result *results, size_t count, uint32_t label,
	       struct err *err)
{
	memset(tally, 0, sizeof *tally);
	tally->latency_ns = malloc((count + 1) * sizeof *tally->latency_ns);
	tally->late_ns = malloc((count + 1) * sizeof *tally->late_ns);
	if (tally->latency_ns == NULL || tally->late_ns == NULL) {
		tally_release(tally);
		return err_set(err, "out of memory for %zu results", count);
	}
	for (size_t i = 0; i < count; i++) {
		const struct openloop_result *r = &results[i];
		if (label != UINT32_MAX && requests[i].label != label)
			continue;
		tally->requests++;
		tally->outcome[r->outcome]++;
		if (r->sent_ns >= 0)
			tally->late_ns[tally->sent++] = r->sent_ns - r->due_ns;
		if (r->outcome != OPENLOOP_ANSWERED)
			continue;
		tally->status[r->status]++;
		if (r->status < 400)
			tally->latency_ns[tally->served++] = r->done_ns - r->due_ns;
	}
	qsort(tally->latency_ns, tally->served, sizeof(int64_t), ascending);
	qsort(tally->late_ns, tally->sent, sizeof(int64_t), ascending);
	return 0;
}

void tally_release(struct tally *tally)
{
	free(tally->latency_ns);
	free(tally->late_ns);
	tally->latency_ns = tally->late_ns = NULL;
}

void tally_json(const struct tally *tally, struct json *json)
{
	static const struct {
		const char *key;
		double q;
	} quantile[] = {
		{"latency_ns_p50", 0.5},    {"latency_ns_p90", 0.9}, {"latency_ns_p99", 0.99},
		{"latency_ns_p999", 0.999}, {"latency_ns_max", 1},
	};
	char key[8];
	json_pair_u64(json, "requests", tally->requests);
	json_pair_u64(json, "served", tally->served);
	json_key(json, "status");
	json_object_begin(json);
	for (unsigned i = 0; i < TALLY_STATUS_MAX; i++) {
		if (tally->status[i] == 0)
			continue;
		snprintf(key, sizeof key, "%u", i);
		json_pair_u64(json, key, tally->status[i]);
	}
	json_object_end(json);
	json_key(json, "failed");
	json_object_begin(json);
	for (int i = 0; i < OPENLOOP_OUTCOMES; i++)
		if (i != OPENLOOP_ANSWERED && tally->outcome[i] > 0)
			json_pair_u64(json, openloop_outcome_name((enum openloop_outcome)i),
				      tally->outcome[i]);
	json_object_end(json);
	for (size_t i = 0; i < sizeof quantile / sizeof *quantile; i++) {
		json_key(json, quantile[i].key);
		if (tally->served > 0)
			json_i64(json, tally_quantile(tally->latency_ns, tally->served,
						      quantile[i].q));
		else
			json_null(json);
	}
}

void tally_text(const struct tally *tally, struct buf *out)
{
	const char *comma = "";
	for (unsigned i = 0; i < TALLY_STATUS_MAX; i++) {
		if (tally->status[i] == 0)
			continue;
		buf_printf(out, "%s%u: %zu", comma, i, tally->status[i]);
		comma = ", ";
	}
	for (int i = 0; i < OPENLOOP_OUTCOMES; i++) {
		if (i == OPENLOOP_ANSWERED || tally->outcome[i] == 0)
			continue;
		buf_printf(out, "%s%s: %zu", comma,
			   openloop_outcome_name((enum openloop_outcome)i), tally->outcome[i]);
		comma = ", ";
	}
}
