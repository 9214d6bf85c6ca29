/* SPDX-License-Identifier: MIT */
#include "server/connection/patience.h"

#include "server/connection/loop.h"

#include <assert.h>

/* How many to end in one turn of the loop: each costs a look at all buckets. */
enum { PATIENCE_BATCH = 8 };

static uint64_t patience_ns(const struct pool *pool)
{
	uint64_t most_ns = core.plan.patience_ns, ns;

	assert(pool->waiting > 0 && pool->waiting <= pool->queue);
	ns = most_ns / pool->queue * (pool->queue - pool->waiting);
	if (ns < PATIENCE_LEAST_NS)
		ns = PATIENCE_LEAST_NS;
	return ns < most_ns ? ns : most_ns;
}

uint64_t patience_due_ns(const struct worker *worker)
{
	uint64_t due_ns = UINT64_MAX;

	if (core.plan.patience_ns == 0)
		return due_ns;
	for (uint32_t i = 0; i < core.plan.class_count; i++) {
		const struct pool *pool = &worker->pool[i];
		if (pool->waiting == 0)
			continue;
		uint64_t ns = pool->stalled_from_ns + patience_ns(pool);
		if (ns < due_ns)
			due_ns = ns;
	}
	return due_ns;
}

/* The request of that class that has waited for its client longest, or NULL. */
static struct pail_request *patience_longest(const struct worker *worker, uint32_t class_index)
{
	uint32_t first = core.region.class_first[class_index];
	struct pail_request *longest = NULL;

	for (uint32_t k = worker->index; k < core.plan.class[class_index].count;
	     k += core.plan.threads) {
		struct bucket *bucket = (struct bucket *)region_meta(&core.region, first + k);
		struct pail_request *r = &bucket->request;
		/* One that is done keeps what it was: its connection has no bucket then. */
		if (!r->connection || r->connection->bucket != bucket ||
		    (r->waits_for != REQUEST_WAIT_READ && r->waits_for != REQUEST_WAIT_WRITE))
			continue;
		if (!longest || r->stalled_from_ns < longest->stalled_from_ns)
			longest = r;
	}
	return longest;
}

void patience_look(struct worker *worker)
{
	uint32_t ended = 0;

	if (core.plan.patience_ns == 0)
		return;
	for (uint32_t i = 0; i < core.plan.class_count; i++) {
		struct pool *pool = &worker->pool[i];
		while (pool->waiting > 0 && ended < PATIENCE_BATCH &&
		       pool->stalled_from_ns + patience_ns(pool) <= worker->now_ns) {
			struct pail_request *r = patience_longest(worker, i);
			pool->stalled_from_ns = r ? r->stalled_from_ns : worker->now_ns;
			if (!r || r->stalled_from_ns + patience_ns(pool) > worker->now_ns)
				break;
			connection_give_up(r->connection);
			ended++;
		}
	}
}
