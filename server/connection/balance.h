/* SPDX-License-Identifier: MIT */
/*
 * Who takes a newcomer. Workers share nothing but the listener, so a connection
 * that one of them accepts can only have that one's buckets: were they to take
 * whoever comes, one could answer 503 while another idles. Each therefore says
 * how loaded it is, in one word of its own that the others read:
 *
 *	load = open connections + BALANCE_BUSY x (buckets in use + requests in line)
 *
 * A worker whose load is above the least one's by more than its margin does not
 * accept: it wakes the least loaded and stays away from the listener for
 * BALANCE_REST_NS. That is a wish, not a lock: after the rest it takes what is
 * still there, since the other may be computing. The margin is the worker's
 * count of buckets (BALANCE_MARGIN_LEAST at least), so that
 *
 *	- a difference in open connections alone never exceeds the buckets there
 *	  are for them, but by what came while others did not look;
 *	- of busy buckets a worker has at most a quarter more than another, or the
 *	  newcomer goes there;
 *	- short requests that come and go within it cost no waking.
 *
 * A word is written by its worker alone (BALANCE_AWAY: takes no one, drains, is
 * full, has failed) and read by all, without order: a stale one costs a newcomer
 * a rest, nothing more.
 */
#ifndef PAIL_SERVER_BALANCE_H
#define PAIL_SERVER_BALANCE_H

#include <stdatomic.h>
#include <stdint.h>

#define BALANCE_AWAY UINT32_MAX
static const uint64_t BALANCE_REST_NS = 1000 * 1000;

enum {
	BALANCE_BUSY = 4,
	BALANCE_MARGIN_LEAST = 4,
	BALANCE_AFTER_REST = 8, /* how many to take then, without regard to load */
	BALANCE_LINE_BYTES = 64,
};

struct balance {
	_Atomic uint32_t load;
} __attribute__((aligned(BALANCE_LINE_BYTES))); /* one writer for each line */

static inline uint32_t balance_load(uint32_t open_count, uint32_t busy_count)
{
	uint64_t load = open_count + (uint64_t)BALANCE_BUSY * busy_count;
	return load < BALANCE_AWAY ? (uint32_t)load : BALANCE_AWAY - 1;
}

static inline uint32_t balance_margin(uint32_t bucket_count)
{
	return bucket_count > BALANCE_MARGIN_LEAST ? bucket_count : BALANCE_MARGIN_LEAST;
}

/* What worker `index` says of itself. */
void balance_say(struct balance *all, uint32_t index, uint32_t load);
/* The least loaded of `count`, if that is another than `index` and below it by
 * more than `margin`; else -1. */
int balance_better(const struct balance *all, uint32_t count, uint32_t index, uint32_t margin);

#endif
