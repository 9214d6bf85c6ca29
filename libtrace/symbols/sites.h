/* SPDX-License-Identifier: MIT */
/*
 * Where allocations come from: the recorder's table of sites, and what each of
 * them did in the requests of each route.
 *
 * Words
 * - A frame is an address in a file (an "image"), wherever that was mapped; a
 *   site is a list of frames. So all processes that run one program have their
 *   sites in common, and a stack (ring.h) is turned into its site once.
 * - A use is a site in the requests of one route.
 * - A block is freed late when the request that allocated it is over: what it
 *   left behind is an escape, and who freed it when is counted with the use.
 *
 * Names of functions and lines come last, when the recording is over; until
 * then frames are stored as addresses, so that a recorder that is killed
 * leaves sites that can at least be told apart.
 *
 * Memory: proportional to the stacks in the ring's table, the routes, and the
 * requests that left something behind; never to the recording's length. When
 * it runs out, sites are 0 from then on (sites_failed()). One thread.
 */
#ifndef PAIL_LIBTRACE_SITES_H
#define PAIL_LIBTRACE_SITES_H

#include "base/err.h"
#include "base/replay.h"
#include "base/str.h"
#include "libtrace/trace.h"

#include <stdbool.h>
#include <stdint.h>

struct ring;
struct ring_event;
struct sites;

struct sites *sites_new(const struct ring *ring); /* NULL: out of memory */
/* For stacks that are sites already, numbered up to `count`: uses are counted, and
 * nothing else is put. */
struct sites *sites_new_known(uint32_t count);
void sites_free(struct sites *sites);
bool sites_failed(const struct sites *sites);
uint32_t sites_count(const struct sites *sites);

/* A MODULE event. */
void sites_module(struct sites *sites, const struct ring_event *event);
/* The site of a stack; 0: none. */
uint32_t sites_of(struct sites *sites, uint32_t stack);

/* A block of a site comes alive, dies, or is left when its process ends. */
void sites_born(struct sites *sites, uint32_t site, uint64_t bytes);
void sites_died(struct sites *sites, uint32_t site, uint64_t bytes);
void sites_left(struct sites *sites, uint32_t site, uint64_t bytes);

/* A request that has ended, by a name of the caller's: its operations and, in
 * parallel, their sites; `judged` operations came before its boundary. */
void sites_request(struct sites *sites, uint64_t name, struct str route, int64_t end_ns,
		   const struct replay_op *ops, const uint32_t *op_site, size_t count,
		   size_t judged);
enum sites_by { SITES_BY_REQUEST, SITES_BY_CONNECTION, SITES_BY_OTHER };
/* A block that it left has been freed. */
void sites_freed_late(struct sites *sites, uint64_t name, uint32_t site, enum sites_by by,
		      int64_t time_ns);

/* Puts what is new or has changed since the last time; as addresses. */
int sites_put(struct sites *sites, struct trace *trace, struct err *err);
/* The uses alone. */
int sites_put_uses(struct sites *sites, struct trace *trace, struct err *err);
/* As sites_put(), for all of it, with functions and lines. Takes its time. */
int sites_put_named(struct sites *sites, struct trace *trace, struct err *err);
/* What was put is lost (a rollback): put all of it again. */
void sites_put_again(struct sites *sites);

#endif
