/* SPDX-License-Identifier: MIT */
#include "server/operation/log.h"

#include "server/core.h"
#include "server/operation/log_writer.h"
#include "server/operation/metrics.h"

#include <assert.h>

/* -- the memory ------------------------------------------------------------------- */

/* A worker's piece: a page for the ends, then its rings. */
static size_t worker_bytes(const struct plan *plan)
{
	return plan->logs.ring_bytes + (plan->recorder ? LIMITS_RECORD_RING_BYTES : 0);
}

size_t log_memory_bytes(const struct plan *plan)
{
	return plan->threads * worker_bytes(plan);
}

struct ring log_memory_ring(void *memory, const struct plan *plan, uint32_t worker,
			    enum log_stream stream)
{
	char *base = (char *)memory + worker * worker_bytes(plan);
	uint64_t errors = plan->logs.ring_bytes / 4;
	uint64_t access = plan->logs.ring_bytes - errors - LIMITS_PAGE_BYTES;
	uint64_t records = plan->recorder ? LIMITS_RECORD_RING_BYTES : 0;
	const uint64_t room[LOG_STREAMS] = {access, errors, records};
	char *bytes = base + LIMITS_PAGE_BYTES;

	static_assert(LOG_STREAMS * sizeof(struct ring_ends) <= LIMITS_PAGE_BYTES, "ends");
	for (int i = 0; i < (int)stream; i++)
		bytes += room[i];
	return (struct ring){room[stream] ? (struct ring_ends *)(void *)base + stream : NULL,
			     bytes, room[stream]};
}

/* -- a worker's --------------------------------------------------------------------- */

void log_init(struct log *log, void *memory, const struct plan *plan, uint32_t worker)
{
	for (int i = 0; i < LOG_STREAMS; i++) {
		log->ring[i] = (struct ring){0};
		if (memory)
			log->ring[i] =
				log_memory_ring(memory, plan, worker, (enum log_stream)i);
		log->untold[i] = 0;
		log->count[i] = (struct log_counts){0};
	}
	log->fresh = false;
}

bool log_put(struct log *log, enum log_stream stream, const void *piece, size_t length)
{
	struct log_counts *count = &log->count[stream];

	if (!ring_put(&log->ring[stream], piece, length)) {
		metrics_add(&count->dropped, 1);
		log->untold[stream]++;
		return false;
	}
	metrics_add(&count->told, 1);
	log->fresh = true;
	return true;
}

static void put_line(struct log *log, enum log_stream stream, const struct log_line *line)
{
	bool json = stream == LOG_ERRORS || core.plan.logs.format == PLAN_LOG_JSON;
	uint64_t untold = log->untold[stream];
	size_t length = 0, told = 0;

	/* That lines were dropped goes in front of the next that fits, with it or not at
	 * all; in a format that has no place for it, into the error log, behind it. */
	if (json && untold > 0)
		told = log_line_dropped(log->line, untold);
	length = json ? log_line_json(log->line + told, line)
		      : log_line_common(log->line, line,
					core.plan.logs.format == PLAN_LOG_COMBINED);
	if (!log_put(log, stream, log->line, told + length) || untold == 0)
		return;
	if (!json && core.error_fd >= 0) {
		told = log_line_dropped(log->line, untold);
		if (!ring_put(&log->ring[LOG_ERRORS], log->line, told))
			return;
	}
	if (json || core.error_fd >= 0)
		log->untold[stream] = 0;
}

void log_request(struct log *log, const struct log_line *line)
{
	bool common = core.plan.logs.format != PLAN_LOG_JSON;

	/* What is tried again has its line when that has ended; only JSON has a place
	 * for the try. */
	if (core.log_fd >= 0 && !(common && line->again))
		put_line(log, LOG_ACCESS, line);
	if (core.error_fd >= 0 && line->cause)
		put_line(log, LOG_ERRORS, line);
}

void log_wake(struct log *log)
{
	if (!log->fresh)
		return;
	log->fresh = false;
	bool much = false;
	for (int i = 0; i < LOG_STREAMS; i++)
		much |= ring_used(&log->ring[i]) > log->ring[i].room / 4;
	log_writer_wake(much);
}
