/* SPDX-License-Identifier: MIT */
/*
 * From events to requests: which request is every thread working for, at every
 * moment, judged by what the thread reads, writes and waits for.
 *
 * Pure: no clock, no files, no memory beyond the requests in flight. Events go
 * in one by one in the order of ring_poll(); requests, connections, processes
 * and threads come out by callbacks as they end.
 *
 * The rules, by the numbers of docs/ARCHITECTURE's attribution section:
 *  2  a table of fds per process, inherited at fork; a stream socket that
 *     reads a request line is adopted
 *  3  a request begins with a request line on a connection, and is responded
 *     to by the next final status line; other protocols: by turns
 *  4  I/O on a connection makes its request the thread's current one
 *  5  a unit is a thread's run between blocking waits; what it allocates
 *     before its first I/O belongs to the first request that it touches
 *  6  from the finished response of X to a write to Y: Y's
 *  7  a wait with timeout 0 ends no unit, but if a write to Y follows, the
 *     run since then is Y's
 *  8  poll and select on at most 2 fds end no unit while a request runs
 *  9  an outbound connection belongs to the request that writes to it
 * 10  a unit whose epoll_wait returned one event has an owner by name
 * 11  a free of a running request's block by a thread without one hands over
 * 12  with exactly one request in flight, what nobody owns on a thread that
 *     serves is its own
 * 13  a request ends at the boundary after its last write; escapes are judged
 *     there, its time ends with the write; that a worker gives the connection back to
 *     the epoll of another thread is such a boundary, and so is, where a thread serves
 *     one connection at a time, that it looks in vain for the next request
 * 14  connections own what is allocated between accept and the first read
 * 15  marks override all
 *
 * Confidence: exact when only 4, 5, 8, 9, 10 and 15 had to be used with one
 * owner in a unit; inferred by 6, 7, 11, 12 or several owners in a unit;
 * ambiguous when allocations of a serving thread could have been of several.
 */
#ifndef PAIL_LIBTRACE_ATTRIBUTE_H
#define PAIL_LIBTRACE_ATTRIBUTE_H

#include "libtrace/attribution/redact.h"
#include "libtrace/ring/ring.h"
#include "libtrace/symbols/sites.h"
#include "libtrace/trace.h"

enum attribute_split {
	SPLIT_AUTO,       /* HTTP where it is HTTP, else by message */
	SPLIT_HTTP,       /* nothing but HTTP */
	SPLIT_MESSAGE,    /* what is read after a write begins a request */
	SPLIT_CONNECTION, /* a request is a connection */
	SPLIT_MARKER,     /* only marks make requests */
};

/* What comes out. Everything handed over lives until the callback returns.
 * need_bump_bytes, need_reuse_bytes, live_peak_bytes, largest_bytes and
 * requested_bytes of a request are left 0: they follow from its operations. */
struct attribute_sink {
	void *context;
	void (*request)(void *context, const struct trace_request *request,
			const struct replay_op *ops, size_t count);
	void (*connection)(void *context, const struct trace_connection *connection);
	void (*process)(void *context, const struct trace_process *process);
	void (*thread)(void *context, const struct trace_thread *thread);
	/* May be NULL. Right before request(), if there are sites: those of its
	 * operations, the name that sites.h knows it by, and how many operations
	 * came before its boundary. */
	void (*sites)(void *context, const struct trace_request *request, uint64_t name,
		      const struct replay_op *ops, const uint32_t *op_site, size_t count,
		      size_t judged);
};

struct attribute_totals {
	uint64_t events;
	int64_t requests, by_confidence[3], incomplete;
	/* blocks of no request and no connection: while the process served, and
	 * before its first request */
	int64_t unattributed_allocations, unattributed_bytes;
	int64_t startup_allocations, startup_bytes;
	int64_t http2_connections, tls_connections; /* seen, not understood */
	int64_t dropped_events;
	int64_t redacted; /* requests whose target is not stored as it was */
	bool out_of_memory;
};

struct attribute;
struct attribute *attribute_new(enum attribute_split split, const struct attribute_sink *sink);
/* What is left of targets; REDACT_NONE if it is not called. Routes are told before, but
 * for REDACT_ALL. */
void attribute_redact(struct attribute *attribute, enum redact redact);
/* From now on `stack` of the events is a site, and blocks are told to `sites`. */
void attribute_sites(struct attribute *attribute, struct sites *sites);
void attribute_event(struct attribute *attribute, const struct ring_event *event);
/* Events are missing here, it is not known of whom: what is in flight is incomplete. */
void attribute_gap(struct attribute *attribute);
/* The recording is over: everything that is open ends at time_ns. */
void attribute_finish(struct attribute *attribute, int64_t time_ns);
void attribute_totals(const struct attribute *attribute, struct attribute_totals *totals);
void attribute_free(struct attribute *attribute);

#endif
