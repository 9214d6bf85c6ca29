/* SPDX-License-Identifier: MIT */
/*
 * Patience with slow clients ([server] patience). A request that waits for its
 * client, to send the body or to take the response, keeps its bucket meanwhile.
 * Nobody minds while buckets are free. While others stand in line, the request
 * that has waited for its client longest, without as much progress as body.c and
 * output.c ask for, is ended when it has had
 *
 *	patience x (free places of the line / all places)
 *
 * and PATIENCE_LEAST_NS at least: the longer the line, the shorter. So clients
 * that do nothing, however many, get no more than that of each bucket's time,
 * and the line does not stay full of them.
 *
 * Its work is done when it is due, and that is not often: pool->stalled_from_ns
 * is not after the beginning of any such wait, so nothing is to be looked at
 * before patience is over from there.
 *
 * Threads: the worker's own.
 */
#ifndef PAIL_SERVER_PATIENCE_H
#define PAIL_SERVER_PATIENCE_H

#include <stdint.h>

struct worker;

static const uint64_t PATIENCE_LEAST_NS = 50 * 1000 * 1000;

/* When it is to be looked at, or UINT64_MAX. */
uint64_t patience_due_ns(const struct worker *worker);
/* Ends what is over, if anything. */
void patience_look(struct worker *worker);

#endif
