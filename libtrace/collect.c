/* SPDX-License-Identifier: MIT */
#include "libtrace/collect.h"

#include "libtrace/attribution/pools.h"
#include "libtrace/attribution/raw.h"
#include "libtrace/symbols/sites.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { COMMIT_EVERY_NS = 1000 * 1000 * 1000, STEP_EVENTS = 4096 };

struct collect {
	struct ring *ring;
	struct trace *trace;
	struct attribute *attribute;
	struct probes *probes;   /* NULL: no functions are watched */
	struct pools *pools;     /* NULL: not asked for */
	struct sites *sites;     /* NULL: no stacks */
	const uint32_t *op_site; /* of the request that comes next */
	struct raw_pack *raw;    /* NULL: raw events are not kept */
	int64_t raw_next;        /* the number of the first event in it */
	struct rows_replay replay;
	char *library_path;
	enum rows_detail detail;
	bool begun, cut;
	int64_t start_ns, committed_ns; /* monotonic */
	int64_t span_ns;                /* 0: not over */
	/* storing */
	bool storing;
	int64_t retry_ns;
	int64_t uncommitted, lost;
	char lost_because[512];
};

static int64_t clock_now(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* -- a trace that cannot be written -------------------------------------- */

static void stop_storing(struct collect *c, const struct err *why)
{
	struct err err;
	if (c->lost_because[0] == '\0')
		snprintf(c->lost_because, sizeof(c->lost_because), "%s", why->text);
	c->lost += c->uncommitted;
	c->uncommitted = 0;
	c->storing = false;
	c->retry_ns = clock_now(CLOCK_MONOTONIC) + COMMIT_EVERY_NS;
	trace_rollback(c->trace, &err);
	if (c->sites)
		sites_put_again(c->sites);
}

/* Puts the block that is being packed, full or not. */
static void put_raw(struct collect *c)
{
	struct err err;
	struct buf block;
	uint32_t events = c->raw ? raw_pack_count(c->raw) : 0;
	if (events == 0)
		return;
	buf_init(&block);
	struct trace_raw raw = {.first_event = c->raw_next, .events = events};
	c->raw_next += events;
	if (raw_pack_take(c->raw, &block) != 0) {
		err_set(&err, "out of memory packing raw events");
		stop_storing(c, &err);
	} else if (c->storing) {
		raw.bytes = block.bytes;
		raw.length = block.length;
		if (trace_put_raw(c->trace, &raw, &err) != 0)
			stop_storing(c, &err);
	}
	buf_release(&block);
}

static void commit(struct collect *c)
{
	struct err err;
	put_raw(c);
	if (!c->storing)
		return;
	if ((c->sites && sites_put(c->sites, c->trace, &err) != 0) ||
	    trace_commit(c->trace, &err) != 0)
		stop_storing(c, &err);
	else
		c->uncommitted = 0;
}

/* -- what attribution gives ---------------------------------------------- */

static void take_request(void *context, const struct trace_request *request,
			 const struct replay_op *ops, size_t count)
{
	struct collect *c = context;
	struct trace_request row = *request;
	struct err err;
	const uint32_t *op_site = c->op_site;
	c->op_site = NULL;
	if (!c->storing) {
		c->lost++;
		return;
	}
	rows_need(&c->replay, ops, count, &row);
	c->uncommitted++;
	if (trace_put_request_sites(c->trace, &row, c->detail != ROWS_SUMMARY ? ops : NULL,
				    op_site, count, NULL, &err) != 0)
		stop_storing(c, &err);
}

/* Right before its request. */
static void take_sites(void *context, const struct trace_request *request, uint64_t name,
		       const struct replay_op *ops, const uint32_t *op_site, size_t count,
		       size_t judged)
{
	struct collect *c = context;
	sites_request(c->sites, name, request->route, request->end_ns, ops, op_site, count,
		      judged);
	c->op_site = op_site;
}

static void take_connection(void *context, const struct trace_connection *row)
{
	struct collect *c = context;
	struct err err;
	if (c->storing && trace_put_connection(c->trace, row, &err) != 0)
		stop_storing(c, &err);
}

static void take_process(void *context, const struct trace_process *row)
{
	struct collect *c = context;
	struct err err;
	if (c->storing && trace_put_process(c->trace, row, &err) != 0)
		stop_storing(c, &err);
}

static void take_thread(void *context, const struct trace_thread *row)
{
	struct collect *c = context;
	struct err err;
	if (c->storing && trace_put_thread(c->trace, row, &err) != 0)
		stop_storing(c, &err);
}

static void take_event(void *context, const struct ring_event *event);

static void take_plain_event(void *context, const struct ring_event *event);

/* Of the ring: pools' blocks become allocations like others, before anyone keeps
 * or looks at them. */
static void take_ring_event(void *context, const struct ring_event *event)
{
	struct collect *c = context;
	if (c->pools)
		pools_event(c->pools, event, take_plain_event, c);
	else
		take_plain_event(c, event);
}

/* After the marks that come before it. */
static void take_plain_event(void *context, const struct ring_event *event)
{
	struct collect *c = context;
	if (c->probes)
		probes_before(c->probes, c->ring, event, take_event, c);
	take_event(c, event);
}

static void take_event(void *context, const struct ring_event *event)
{
	struct collect *c = context;
	if (event->kind == EVENT_MODULE && c->sites)
		sites_module(c->sites, event);
	struct ring_event at_site;
	if (event->stack != 0) {
		at_site = *event;
		at_site.stack = c->sites ? sites_of(c->sites, event->stack) : 0;
		event = &at_site;
	}
	if (c->raw && !raw_pack_add(c->raw, event)) {
		put_raw(c);
		raw_pack_add(c->raw, event);
	}
	attribute_event(c->attribute, event);
}

/* -- opening ------------------------------------------------------------- */

static int put_first_meta(struct collect *c, const struct collect_options *o, struct err *err)
{
	struct utsname machine;
	char text[512], lost[32];
	uname(&machine);
	snprintf(text, sizeof(text), "%s %s %s, %ld CPUs", machine.sysname, machine.release,
		 machine.machine, sysconf(_SC_NPROCESSORS_ONLN));
	rows_lost_text(0, lost);
	if (trace_put_meta(c->trace, "pail_version", PAIL_VERSION, err) != 0 ||
	    trace_put_meta(c->trace, "command", o->command, err) != 0 ||
	    trace_put_meta(c->trace, "detail", rows_detail_name[o->detail], err) != 0 ||
	    trace_put_meta(c->trace, "split", rows_split_name[o->split], err) != 0 ||
	    trace_put_meta(c->trace, "redact", redact_name[o->redact], err) != 0 ||
	    trace_put_meta(c->trace, "pools", o->ring.pools ? "apr" : "none", err) != 0 ||
	    trace_put_meta(c->trace, "cpu", o->ring.cpu ? "turns" : "none", err) != 0 ||
	    trace_put_meta(c->trace, "mode", o->ring.light ? "light" : "exact", err) != 0 ||
	    trace_put_meta(c->trace, "machine", text, err) != 0 ||
	    trace_put_meta(c->trace, "lost_requests", lost, err) != 0 ||
	    trace_put_meta(c->trace, "complete", "0", err) != 0)
		return -1;
	return rows_put_number(c->trace, "start_unix_ns", clock_now(CLOCK_REALTIME), err);
}

static int begin_sites(struct collect *c, struct err *err)
{
	if (c->detail != ROWS_STACKS)
		return 0;
	c->sites = sites_new(c->ring);
	if (!c->sites)
		return err_set(err, "out of memory");
	attribute_sites(c->attribute, c->sites);
	return 0;
}

int collect_open(const struct collect_options *o, struct collect **collect, struct err *err)
{
	assert(!o->keep_raw || o->redact == REDACT_NONE);
	struct ring_options ring = o->ring;
	ring.stacks = o->detail == ROWS_STACKS;
	ring.stamped = o->begin.name != NULL;
	struct collect *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, "out of memory");
	struct attribute_sink sink = {c,           take_request, take_connection, take_process,
				      take_thread, take_sites};
	c->detail = o->detail;
	c->storing = true;
	c->library_path = strdup(o->library_path);
	c->attribute = attribute_new(o->split, &sink);
	if (c->attribute)
		attribute_redact(c->attribute, o->redact);
	if (ring.pools)
		c->pools = pools_new();
	if (o->keep_raw)
		c->raw = raw_pack_new(o->detail == ROWS_STACKS);
	if (!c->library_path || !c->attribute || (o->keep_raw && !c->raw) ||
	    (ring.pools && !c->pools))
		err_set(err, "out of memory");
	else if (rows_reserve(&c->replay) != 0)
		err_errno(err, "no address space to replay requests in");
	else if (o->begin.name && probes_open(&o->begin, &o->end, o->split == SPLIT_MARKER,
					      &c->probes, err) != 0)
		; /* said */
	else if (trace_create(o->trace_path, &c->trace, err) == 0 &&
		 ring_create(&ring, &c->ring, err) == 0 && begin_sites(c, err) == 0 &&
		 put_first_meta(c, o, err) == 0) {
		c->start_ns = c->committed_ns = clock_now(CLOCK_MONOTONIC);
		*collect = c;
		return 0;
	}
	collect_close(c);
	return -1;
}

char **collect_environment(const struct collect *c, char *const environment[])
{
	return ring_environment(c->ring, environment, c->library_path);
}

int collect_begin(struct collect *c, struct err *err)
{
	if (trace_commit(c->trace, err) != 0) {
		/* No file, no name: nothing to try again with later. */
		stop_storing(c, err);
		c->retry_ns = INT64_MAX;
		return -1;
	}
	c->begun = true;
	return 0;
}

/* -- working ------------------------------------------------------------- */

/* Who was served then may have lost events, and nobody knows how many. */
static void see_cut(struct collect *c)
{
	if (c->cut || !ring_cut(c->ring))
		return;
	c->cut = true;
	attribute_gap(c->attribute);
}

void collect_step(struct collect *c, int timeout_ms)
{
	ring_poll(c->ring, timeout_ms, take_ring_event, c);
	see_cut(c);
	if (c->probes)
		probes_poll_ended(c->probes);
	int64_t now = clock_now(CLOCK_MONOTONIC);
	if (!c->storing && now >= c->retry_ns)
		c->storing = true;
	if (now - c->committed_ns >= COMMIT_EVERY_NS) {
		commit(c);
		c->committed_ns = clock_now(CLOCK_MONOTONIC);
	}
}

static int put_last_meta(struct collect *c, struct err *err)
{
	struct collect_summary s;
	collect_summary(c, &s);
	const struct {
		const char *key;
		int64_t value;
	} sums[] = {{"span_ns", s.span_ns},
		    {"events", (int64_t)s.ring.events},
		    {"dropped_events", (int64_t)s.ring.dropped},
		    {"redacted_targets", s.totals.redacted},
		    {"stacks_lost", (int64_t)(s.ring.stacks_lost + s.ring.stacks_blind)},
		    {"writer_waits", (int64_t)s.ring.waits},
		    {"writer_wait_ns", (int64_t)s.ring.wait_ns}};
	for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++)
		if (rows_put_number(c->trace, sums[i].key, sums[i].value, err) != 0)
			return -1;
	return rows_put_totals(c->trace, &s.totals, err);
}

int collect_finish(struct collect *c, struct err *err)
{
	ring_finish(c->ring, take_ring_event, c);
	see_cut(c);
	c->span_ns = clock_now(CLOCK_MONOTONIC) - c->start_ns;
	attribute_finish(c->attribute, c->span_ns);
	commit(c);
	char lost[32];
	rows_lost_text(c->lost, lost);
	if (c->storing && (!c->sites || sites_put_named(c->sites, c->trace, err) == 0) &&
	    put_last_meta(c, err) == 0 &&
	    trace_put_meta(c->trace, "lost_requests", lost, err) == 0 &&
	    trace_put_meta(c->trace, "complete", c->lost == 0 && !c->cut ? "1" : "0", err) ==
		    0 &&
	    trace_commit(c->trace, err) == 0)
		return 0;
	if (c->storing)
		stop_storing(c, err);
	if (!c->begun)
		return err_set(err, "%s", c->lost_because);
	/* What is missing is said in the trace even when it is full. */
	rows_lost_text(c->lost, lost);
	struct err ignored;
	trace_amend_meta(c->trace, "lost_requests", lost, &ignored);
	return err_set(err, "%s", c->lost_because);
}

void collect_summary(const struct collect *c, struct collect_summary *s)
{
	memset(s, 0, sizeof(*s));
	attribute_totals(c->attribute, &s->totals);
	ring_stats(c->ring, &s->ring);
	if (c->pools && pools_failed(c->pools))
		s->totals.out_of_memory = true;
	s->lost_requests = c->lost;
	s->cut = c->cut;
	s->lost_marks = c->probes ? probes_lost(c->probes) : 0;
	s->sites = c->sites ? sites_count(c->sites) : 0;
	s->span_ns = c->span_ns > 0 ? c->span_ns : clock_now(CLOCK_MONOTONIC) - c->start_ns;
	memcpy(s->lost_because, c->lost_because, sizeof(s->lost_because));
}

void collect_close(struct collect *c)
{
	if (!c)
		return;
	trace_close(c->trace);
	attribute_free(c->attribute);
	sites_free(c->sites);
	raw_pack_free(c->raw);
	ring_free(c->ring);
	probes_close(c->probes);
	pools_free(c->pools);
	rows_release(&c->replay);
	free(c->library_path);
	free(c);
}
