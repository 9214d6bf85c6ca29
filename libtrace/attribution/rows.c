/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const rows_detail_name[] = {"summary", "events", "stacks"};
const char *const rows_split_name[] = {"auto", "http", "message", "connection", "marker"};

static int64_t clamp(uint64_t value)
{
	return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

int rows_reserve(struct rows_replay *replay)
{
	static const uint64_t spans[] = {UINT64_C(64) << 30, UINT64_C(4) << 30, 256 << 20};
	for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++)
		if (replay_init(&replay->replay, spans[i]) == 0)
			return 0;
	return -1;
}

void rows_release(struct rows_replay *replay)
{
	replay_release(&replay->replay);
}

/* Where a list is, or would be. */
static struct rows_known *known_place(struct rows_replay *replay, const struct replay_op *ops,
				      size_t count)
{
	uint64_t hash = count;
	for (size_t i = 0; i < count; i++) {
		uint64_t words[2];
		memcpy(words, &ops[i], sizeof(words));
		hash = (hash ^ words[0]) * UINT64_C(0x9e3779b97f4a7c15);
		hash = (hash ^ hash >> 32 ^ words[1]) * UINT64_C(0xff51afd7ed558ccd);
	}
	return &replay->known[(hash ^ hash >> 32) % ROWS_KNOWN];
}

/* The need under one policy; false if the replay could not be run. */
static bool need_under(struct replay *replay, const struct replay_op *ops, size_t count,
		       enum arena_policy policy, struct replay_need *need)
{
	if (replay_run(replay, ops, count, policy, need) == 0)
		return true;
	/* More than the whole span: at least that. */
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): nor is there a NULL one */
	*need = (struct replay_need){.need_bytes = replay->span_bytes};
	return false;
}

void rows_need(struct rows_replay *replay, const struct replay_op *ops, size_t count,
	       struct trace_request *row)
{
	struct rows_known *known = NULL;
	struct replay_need bump, reuse;
	if (count > 0 && count <= ROWS_KNOWN_OPS)
		known = known_place(replay, ops, count);
	if (known && known->count == count &&
	    memcmp(known->ops, ops, count * sizeof(*ops)) == 0) {
		bump = known->bump;
		reuse = known->reuse;
	} else {
		bool both = need_under(&replay->replay, ops, count, ARENA_BUMP, &bump);
		both &= need_under(&replay->replay, ops, count, ARENA_REUSE, &reuse);
		row->incomplete |= !both;
		if (known && both) {
			known->count = count;
			memcpy(known->ops, ops, count * sizeof(*ops));
			known->bump = bump;
			known->reuse = reuse;
		}
	}
	row->need_bump_bytes = clamp(bump.need_bytes);
	row->need_reuse_bytes = clamp(reuse.need_bytes);
	row->requested_bytes = clamp(bump.requested_bytes);
	row->live_peak_bytes = clamp(bump.live_peak_bytes);
	row->largest_bytes = clamp(bump.largest_bytes);
}

int rows_put_number(struct trace *trace, const char *key, int64_t value, struct err *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	return trace_put_meta(trace, key, text, err);
}

int rows_put_totals(struct trace *trace, const struct attribute_totals *t, struct err *err)
{
	const struct {
		const char *key;
		int64_t value;
	} sums[] = {{"unattributed_allocations", t->unattributed_allocations},
		    {"unattributed_bytes", t->unattributed_bytes},
		    {"startup_allocations", t->startup_allocations},
		    {"startup_bytes", t->startup_bytes},
		    {"http2_connections", t->http2_connections},
		    {"tls_connections", t->tls_connections}};
	for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++)
		if (rows_put_number(trace, sums[i].key, sums[i].value, err) != 0)
			return -1;
	return 0;
}

void rows_lost_text(int64_t lost, char text[32])
{
	snprintf(text, 32, "%20" PRId64, lost);
}
