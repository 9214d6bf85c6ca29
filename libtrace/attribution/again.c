/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/again.h"

#include "libtrace/attribution/raw.h"
#include "libtrace/store/merge_raw.h"
#include "libtrace/symbols/sites.h"

#include <stdlib.h>
#include <string.h>

struct again {
	const struct again_options *options;
	struct trace *from, *to;
	struct attribute *attribute;
	struct sites *sites; /* NULL: none were recorded, or none are wanted */
	uint32_t site_count;
	const uint32_t *op_site; /* of the request that comes next */
	struct rows_replay replay;
	struct again_summary *summary;
	int64_t last_ns;
	/* Recordings that were merged: which one it is, and up to which event. */
	int recording; /* 0: the trace is one recording */
	int64_t recording_end;
	struct raw_source source;
	struct err *err;
	bool failed; /* and *err says why */
};

/* -- what attribution gives ------------------------------------------------- */

static void take_request(void *context, const struct trace_request *request,
			 const struct replay_op *ops, size_t count)
{
	struct again *a = context;
	struct trace_request row = *request;
	const uint32_t *op_site = a->op_site;
	a->op_site = NULL;
	if (a->failed)
		return;
	rows_need(&a->replay, ops, count, &row);
	if (trace_put_request_sites(a->to, &row,
				    a->options->detail != ROWS_SUMMARY ? ops : NULL, op_site,
				    count, NULL, a->err) != 0)
		a->failed = true;
}

static void take_sites(void *context, const struct trace_request *request, uint64_t name,
		       const struct replay_op *ops, const uint32_t *op_site, size_t count,
		       size_t judged)
{
	struct again *a = context;
	sites_request(a->sites, name, request->route, request->end_ns, ops, op_site, count,
		      judged);
	a->op_site = op_site;
}

static void take_connection(void *context, const struct trace_connection *row)
{
	struct again *a = context;
	a->failed = a->failed || trace_put_connection(a->to, row, a->err) != 0;
}

static void take_process(void *context, const struct trace_process *row)
{
	struct again *a = context;
	a->failed = a->failed || trace_put_process(a->to, row, a->err) != 0;
}

static void take_thread(void *context, const struct trace_thread *row)
{
	struct again *a = context;
	a->failed = a->failed || trace_put_thread(a->to, row, a->err) != 0;
}

/* -- the events ---------------------------------------------------------------- */

static bool of_a_condition(const struct ring_event *e)
{
	switch (e->kind) {
	case EVENT_COND_SIGNAL:
	case EVENT_LOCK:
	case EVENT_UNLOCK: return true;
	case EVENT_WAIT_BEGIN:
	case EVENT_WAIT_END: return e->flags == WAIT_COND;
	default: return false;
	}
}

static void take_event(void *context, const struct ring_event *event)
{
	struct again *a = context;
	if (a->failed)
		return;
	if (event->time_ns > a->last_ns)
		a->last_ns = event->time_ns;
	if (a->options->no_conditions && of_a_condition(event))
		return;
	if (event->stack == 0 || event->stack <= a->site_count) {
		attribute_event(a->attribute, event);
		return;
	}
	struct ring_event without = *event;
	without.stack = 0;
	attribute_event(a->attribute, &without);
}

/* What is alive where a recording ended has ended there. */
static void end_recording(struct again *a)
{
	if (a->source.cut)
		attribute_gap(a->attribute);
	a->summary->cut |= a->source.cut;
	attribute_finish(a->attribute, a->source.end_ns);
}

/* Events up to that number are missing. */
static void skip_to(struct again *a, int64_t number)
{
	if (number <= a->summary->events + a->summary->missing)
		return;
	a->summary->missing = number - a->summary->events;
	attribute_gap(a->attribute);
}

/* The recording that the next event is of begins, and those before have ended. */
static void enter_recording(struct again *a, int64_t event)
{
	while (a->recording > 0 && event >= a->recording_end) {
		skip_to(a, a->recording_end);
		end_recording(a);
		if (!raw_source_of(a->from, ++a->recording, &a->source)) {
			a->recording = -1; /* behind the last */
			return;
		}
		if (__builtin_add_overflow(a->recording_end, a->source.events,
					   &a->recording_end))
			a->recording_end = INT64_MAX;
	}
}

static int take_block(struct again *a, const struct trace_raw *raw)
{
	struct again_summary *s = a->summary;
	enter_recording(a, raw->first_event);
	if (raw->first_event < s->events + s->missing)
		return err_set(a->err, "trace \"%s\" is damaged: raw events overlap",
			       trace_path(a->from));
	skip_to(a, raw->first_event);
	if (raw_unpack(raw->bytes, raw->length, raw->events, take_event, a) != 0)
		return err_set(a->err,
			       "trace \"%s\" is damaged: the raw events from number %lld on"
			       " cannot be read",
			       trace_path(a->from), (long long)raw->first_event);
	if (a->failed || trace_put_raw(a->to, raw, a->err) != 0)
		return -1;
	s->events += raw->events;
	if (a->options->step && a->options->step(s->events, a->options->context) != 0)
		return err_set(a->err, "interrupted; nothing was written");
	return 0;
}

static int take_blocks(struct again *a)
{
	struct trace_raw_cursor *cursor = NULL;
	struct trace_raw raw;
	a->recording = raw_source_of(a->from, 1, &a->source);
	a->recording_end = a->recording ? a->source.events : 0;
	int rc = trace_raw(a->from, &cursor, a->err);
	if (rc == 0)
		return err_set(a->err,
			       "trace \"%s\" holds no raw events: it was recorded without"
			       " --keep-raw",
			       trace_path(a->from));
	while (rc == 1 && (rc = trace_raw_next(cursor, &raw, a->err)) == 1)
		rc = take_block(a, &raw) == 0 ? 1 : -1;
	trace_raw_close(cursor);
	return rc;
}

/* -- what is taken over -------------------------------------------------------- */

/* Sites are the stacks that were recorded: attribution changes only their uses. */
static int take_over_sites(struct again *a)
{
	struct trace_sites sites;
	int rc = 0;
	if (a->options->detail != ROWS_STACKS)
		return 0;
	if (trace_sites_load(a->from, &sites, a->err) != 0)
		return -1;
	uint32_t *frame = NULL;
	for (size_t i = 0; i < sites.frames && rc == 0; i++)
		rc = trace_put_frame(a->to, &sites.frame[i], a->err);
	for (size_t i = 0; i < sites.sites && rc == 0; i++) {
		struct trace_site site = sites.site[i];
		uint32_t *grown = reallocarray(frame, (size_t)site.frames + 1, sizeof(*frame));
		if (!grown) {
			rc = err_set(a->err, "out of memory for sites");
			break;
		}
		frame = grown;
		for (uint32_t f = 0; f < site.frames; f++)
			frame[f] = (uint32_t)sites.frame[site.frame[f]].id;
		site.frame = frame;
		rc = trace_put_site(a->to, &site, a->err);
		if (site.id > a->site_count && site.id <= INT32_MAX)
			a->site_count = (uint32_t)site.id;
	}
	free(frame);
	trace_sites_release(&sites);
	if (rc == 0 && !(a->sites = sites_new_known(a->site_count)))
		rc = err_set(a->err, "out of memory for sites");
	if (rc == 0)
		attribute_sites(a->attribute, a->sites);
	return rc;
}

static int put_last_meta(struct again *a)
{
	const struct again_summary *s = a->summary;
	const char *complete = trace_meta(a->from, "complete");
	bool whole = complete && strcmp(complete, "1") == 0 && !s->cut && s->missing == 0;
	char lost[32];
	rows_lost_text(s->missing > 0 ? trace_meta_int(a->from, "lost_requests", 0) : 0, lost);
	if (trace_put_meta(a->to, "attributed_by", PAIL_VERSION, a->err) != 0 ||
	    trace_put_meta(a->to, "split", rows_split_name[a->options->split], a->err) != 0 ||
	    trace_put_meta(a->to, "detail", rows_detail_name[a->options->detail], a->err) !=
		    0 ||
	    trace_put_meta(a->to, "lost_requests", lost, a->err) != 0 ||
	    trace_put_meta(a->to, "complete", whole ? "1" : "0", a->err) != 0 ||
	    rows_put_number(a->to, "raw_events_missing", s->missing, a->err) != 0)
		return -1;
	return rows_put_totals(a->to, &s->totals, a->err);
}

/* -- all of it --------------------------------------------------------------- */

static int finish(struct again *a)
{
	struct again_summary *s = a->summary;
	if (a->recording == 0) {
		int64_t all = trace_meta_int(a->from, "events", -1);
		skip_to(a, all);
		a->source.cut = all < 0;
		a->source.end_ns = trace_meta_int(a->from, "span_ns", a->last_ns);
		end_recording(a);
	} else {
		enter_recording(a, INT64_MAX);
	}
	attribute_totals(a->attribute, &s->totals);
	if (a->failed)
		return -1;
	if (s->totals.out_of_memory || (a->sites && sites_failed(a->sites)))
		return err_set(a->err, "out of memory; nothing was written");
	if (a->sites && sites_put_uses(a->sites, a->to, a->err) != 0)
		return -1;
	return put_last_meta(a) == 0 ? trace_commit(a->to, a->err) : -1;
}

static int word_index(const char *word, const char *const *words, size_t count)
{
	for (size_t i = 0; word && i < count; i++)
		if (strcmp(words[i], word) == 0)
			return (int)i;
	return -1;
}

int again_recorded(struct trace *from, enum attribute_split *split, enum rows_detail *detail,
		   struct err *err)
{
	int s = word_index(trace_meta(from, "split"), rows_split_name, 5);
	int d = word_index(trace_meta(from, "detail"), rows_detail_name, 3);
	if (raw_source_of(from, 1, &(struct raw_source){0}) && (s < 0 || d < 0))
		return err_set(
			err,
			"\"%s\" was merged of traces with another --split or --detail each:"
			" attribute them, and then merge",
			trace_path(from));
	if (s < 0 || d < 0)
		return err_set(err, "trace \"%s\" was not made by pail record",
			       trace_path(from));
	*split = (enum attribute_split)s;
	*detail = (enum rows_detail)d;
	return 0;
}

int again_attribute(struct trace *from, const struct again_options *options,
		    struct again_summary *summary, struct err *err)
{
	struct again a = {.options = options, .from = from, .summary = summary, .err = err};
	struct attribute_sink sink = {&a,           take_request, take_connection,
				      take_process, take_thread,  take_sites};
	int rc = -1;
	memset(summary, 0, sizeof(*summary));
	a.attribute = attribute_new(options->split, &sink);
	if (!a.attribute)
		err_set(err, "out of memory");
	else if (rows_reserve(&a.replay) != 0)
		err_errno(err, "no address space to replay requests in");
	else if (trace_create(options->trace_path, &a.to, err) == 0 &&
		 trace_copy_meta(a.to, from, err) == 0 && take_over_sites(&a) == 0 &&
		 take_blocks(&a) == 0)
		rc = finish(&a);
	trace_close(a.to);
	attribute_free(a.attribute);
	sites_free(a.sites);
	rows_release(&a.replay);
	return rc;
}
