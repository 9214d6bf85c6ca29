/* SPDX-License-Identifier: MIT */
#include "libtrace/store/merge_raw.h"

#include "base/buf.h"
#include "libtrace/attribution/raw.h"

#include <inttypes.h>
#include <stdio.h>

/* Numbers that one trace may reach: serials are 32 bits, in all traces together. */
#define NUMBERS_MOST INT64_C(0x7fffffff)

int merge_raw_look(struct merge_raw *m, struct trace *const *in, size_t count, struct err *err)
{
	m->wanted = count > 0;
	for (size_t i = 0; i < count && m->wanted; i++) {
		struct trace_raw_cursor *cursor = NULL;
		int there = trace_raw(in[i], &cursor, err);
		if (there < 0)
			return -1;
		trace_raw_close(cursor);
		m->wanted = there == 1;
	}
	return 0;
}

/* -- one block -------------------------------------------------------------- */

struct repack {
	const struct merge_raw *merge;
	const struct merge_raw_shift *shift;
	struct raw_pack *pack;
	int64_t process, thread, last_ns; /* the greatest, as shifted */
	bool bad;
};

static void take_event(void *context, const struct ring_event *event)
{
	struct repack *r = context;
	struct ring_event e = *event;
	int64_t process = r->merge->process + e.process, thread = r->merge->thread + e.thread,
		site = e.stack ? r->shift->site + e.stack : 0;
	if (process > NUMBERS_MOST || thread > NUMBERS_MOST || site > UINT32_MAX ||
	    __builtin_add_overflow(e.time_ns, r->shift->time_ns, &e.time_ns) || e.time_ns < 0) {
		r->bad = true;
		return;
	}
	e.process = (uint32_t)process;
	e.thread = (uint32_t)thread;
	e.stack = (uint32_t)site;
	uint64_t parent = e.b >> 32;
	if (e.kind == EVENT_PROCESS_START && parent > 0) {
		parent = (parent + (uint64_t)r->merge->process) & UINT32_MAX;
		e.b = parent << 32 | (e.b & UINT32_MAX);
	}
	r->process = process > r->process ? process : r->process;
	r->thread = thread > r->thread ? thread : r->thread;
	r->last_ns = e.time_ns > r->last_ns ? e.time_ns : r->last_ns;
	r->bad |= !raw_pack_add(r->pack, &e); /* as many as were in a block */
}

static int repack(struct repack *r, struct trace *out, struct trace *in,
		  const struct trace_raw *raw, struct err *err)
{
	struct buf block;
	struct trace_raw shifted = {.first_event = raw->first_event + r->merge->events,
				    .events = raw->events};
	buf_init(&block);
	raw_pack_clear(r->pack);
	int rc = raw_unpack(raw->bytes, raw->length, raw->events, take_event, r);
	if (rc != 0 || r->bad)
		rc = err_set(err,
			     "trace \"%s\" is damaged: its raw events from %" PRId64
			     " on make no sense",
			     trace_path(in), raw->first_event);
	else if (raw_pack_take(r->pack, &block) != 0)
		rc = err_set(err, "out of memory merging raw events");
	shifted.bytes = block.bytes;
	shifted.length = block.length;
	if (rc == 0)
		rc = trace_put_raw(out, &shifted, err);
	buf_release(&block);
	return rc;
}

/* -- what is said of it -------------------------------------------------------- */

static const char *key_of(char key[64], int k, const char *name)
{
	snprintf(key, 64, "raw_source.%d.%s", k, name);
	return key;
}

bool raw_source_of(struct trace *trace, int k, struct raw_source *source)
{
	char key[64];
	source->events = trace_meta_int(trace, key_of(key, k, "events"), -1);
	source->end_ns = trace_meta_int(trace, key_of(key, k, "end_ns"), 0);
	source->cut = trace_meta_int(trace, key_of(key, k, "cut"), 0) != 0;
	return source->events >= 0;
}

static int put_number(struct trace *out, const char *key, int64_t value, struct err *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	return trace_put_meta(out, key, text, err);
}

static int put_source(struct merge_raw *m, struct trace *out, struct raw_source source,
		      int64_t shift_ns, struct err *err)
{
	char key[64];
	int k = ++m->recordings;
	if (source.end_ns < 0 || source.end_ns > INT64_MAX / 2 - shift_ns ||
	    source.events > INT64_MAX / 2 - m->events)
		return err_set(err, "the end of recording %d makes no sense", k);
	m->events += source.events;
	if (put_number(out, key_of(key, k, "events"), source.events, err) != 0 ||
	    put_number(out, key_of(key, k, "end_ns"), source.end_ns + shift_ns, err) != 0)
		return -1;
	return source.cut ? put_number(out, key_of(key, k, "cut"), 1, err) : 0;
}

/* Of a trace whose last raw event has the number before `end`. */
static int put_sources(struct merge_raw *m, struct trace *out, struct trace *in, int64_t end,
		       int64_t last_ns, int64_t shift_ns, struct err *err)
{
	struct raw_source source;
	int64_t all = 0, before = m->events;
	if (!raw_source_of(in, 1, &source)) {
		source.events = trace_meta_int(in, "events", -1);
		source.cut = source.events < 0;
		source.events = source.events < end ? end : source.events;
		source.end_ns = trace_meta_int(in, "span_ns", last_ns - shift_ns);
		return put_source(m, out, source, shift_ns, err);
	}
	for (int k = 1; raw_source_of(in, k, &source); k++)
		if (put_source(m, out, source, shift_ns, err) != 0)
			return -1;
	all = m->events - before;
	return all >= end ? 0
			  : err_set(err,
				    "trace \"%s\" is damaged: it has more raw events than"
				    " its recordings",
				    trace_path(in));
}

/* -- one trace ----------------------------------------------------------------- */

int merge_raw_add(struct merge_raw *m, struct trace *out, struct trace *in,
		  const struct merge_raw_shift *shift, struct err *err)
{
	struct repack r = {.merge = m, .shift = shift, .last_ns = shift->time_ns};
	struct trace_raw_cursor *cursor = NULL;
	struct trace_raw raw;
	int64_t end = 0;
	if (!m->wanted)
		return 0;
	r.pack = raw_pack_new(true);
	if (!r.pack)
		return err_set(err, "out of memory merging raw events");
	int rc = trace_raw(in, &cursor, err);
	while (rc == 1 && (rc = trace_raw_next(cursor, &raw, err)) == 1) {
		if (raw.first_event < end || raw.first_event > INT64_MAX / 4 - m->events)
			rc = err_set(err, "trace \"%s\" is damaged: raw events overlap",
				     trace_path(in));
		else
			rc = repack(&r, out, in, &raw, err) == 0 ? 1 : -1;
		end = raw.first_event + raw.events;
	}
	trace_raw_close(cursor);
	raw_pack_free(r.pack);
	if (rc == 0)
		rc = put_sources(m, out, in, end, r.last_ns, shift->time_ns, err);
	m->process = r.process > m->process ? r.process : m->process;
	m->thread = r.thread > m->thread ? r.thread : m->thread;
	return rc;
}
