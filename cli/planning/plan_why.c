/* SPDX-License-Identifier: MIT */
#include "cli/planning/plan_why.h"

#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- reasons ------------------------------------------------------------------ */

static void say(struct sentences *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct sentences *s, const char *format, ...)
{
	if (s->count == SENTENCES_MAX)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(s->text[s->count++], SENTENCE_MAX, format, args);
	va_end(args);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static const char *route_name(const struct plan_text *t, uint32_t route)
{
	const char *name = traffic_route(t->traffic, route);
	return name[0] ? name : "(no route)";
}

/* d ln P(503) / d ln load, for the traffic's own peakedness (Hayward). */
double plan_elasticity(const struct planner_class *c)
{
	double z = fmax(c->peakedness, 0.05), load = c->load.offered / z, n = c->count / z;
	if (!(load > 0))
		return 0;
	return n - load * (1 - erlang_b_real(load, n));
}

void plan_why_count(const struct plan_text *t, uint32_t k, struct sentences *s)
{
	const struct planner_class *c = &t->result->class[k];
	const char *name = t->plan->class[k].name;
	if (c->less_rejected > 0 && c->count > 1)
		say(s,
		    "%s: %u buckets, because with %u some %" PRIu64 " of %" PRIu64
		    " requests, in %" PRIu64 " cluster%s, would have found none free "
		    "(with %u: %" PRIu64 "); at most %u overlapped",
		    name, c->count, c->count - 1, c->less_rejected, c->requests,
		    c->less_clusters, plural(c->less_clusters), c->count,
		    c->outcome.rejected_503, c->overlap);
	else if (c->count > 1 && c->count > t->plan->threads)
		say(s,
		    "%s: %u buckets; with %u none of the trace's requests would have found none "
		    "free either, but the upper end of the interval would be higher; at most %u "
		    "overlapped",
		    name, c->count, c->count - 1, c->overlap);
	else
		say(s,
		    "%s: %u bucket%s, the least that %u worker thread%s may have; at most %u "
		    "requests overlapped",
		    name, c->count, plural(c->count), t->plan->threads,
		    plural(t->plan->threads), c->overlap);
	say(s,
	    "%s: the offered load is %.2f buckets (peakedness %.2f); +1 %% load means about "
	    "%+.0f %% rejections for want of a bucket",
	    name, c->load.offered, c->peakedness, plan_elasticity(c));
}

static void why_size(const struct plan_text *t, uint32_t k, struct sentences *s)
{
	const struct planner_class *c = &t->result->class[k];
	char size[UNITS_TEXT_MAX], need[UNITS_TEXT_MAX];
	units_format_size(c->size_bytes, size);
	if (c->outcome.rejected_500 == 0)
		say(s,
		    "%s: a size of %s holds every need seen; it is set by %s, which needed %s",
		    t->plan->class[k].name, size, route_name(t, c->need_max_route),
		    units_format_size(c->need_max, need));
	else if (c->size_need == 0)
		say(s,
		    "%s: a size of %s holds no need seen: all %" PRIu64
		    " requests would be 500s",
		    t->plan->class[k].name, size, c->outcome.rejected_500);
	else
		say(s,
		    "%s: a size of %s is set by %s, the greatest need that fits; %" PRIu64
		    " of %" PRIu64
		    " requests need more and would be 500s (the most, by %s: %s)",
		    t->plan->class[k].name, size, route_name(t, c->size_route),
		    c->outcome.rejected_500, c->requests, route_name(t, c->need_max_route),
		    units_format_size(c->need_max, need));
}

uint64_t plan_waste_bytes(const struct planner_class *c)
{
	return (uint64_t)((1 - c->used) * (double)c->size_bytes + 0.5);
}

static void why_waste(const struct plan_text *t, uint32_t k, struct sentences *s)
{
	const struct planner_class *c = &t->result->class[k];
	char waste[UNITS_TEXT_MAX];
	if (c->used > 0)
		say(s,
		    "%s: a request that fits uses %.0f %% of its bucket on average, and wastes %s",
		    t->plan->class[k].name, 100 * c->used,
		    units_format_size(plan_waste_bytes(c), waste));
}

/* The first request that needs just what sets the size; false if that is no need that
 * was recorded, but an overlay's. */
static bool parts_find(const struct plan_text *t, const struct planner_class *c, size_t *at)
{
	const struct sim_trace *trace = &t->traffic->recorded;
	for (size_t i = 0; c->size_need > 0 && i < trace->count; i++) {
		if (trace->need_bytes[i] == c->size_need &&
		    (!trace->route || trace->route[i] == c->size_route)) {
			*at = i;
			return true;
		}
	}
	return false;
}

bool plan_parts(const struct plan_text *t, uint32_t k, struct plan_parts *parts)
{
	const struct planner_class *c = &t->result->class[k];
	struct trace_cursor *cursor;
	struct trace_request request;
	struct err err;
	size_t at;
	if (!parts_find(t, c, &at) ||
	    trace_requests_after(t->traffic->trace, t->traffic->columns.id[at] - 1, &cursor,
				 &err) < 0)
		return false;
	int64_t live_bytes =
		trace_next(cursor, &request, &err) == 1 ? request.live_peak_bytes : 0;
	trace_cursor_close(cursor);
	parts->need_bytes = c->size_need - t->traffic->headroom_bytes;
	parts->live_bytes = live_bytes > 0 ? (uint64_t)live_bytes : 0;
	if (parts->live_bytes == 0 || parts->live_bytes > parts->need_bytes)
		return false; /* not recorded */
	parts->fragmentation = 1 - (double)parts->live_bytes / (double)parts->need_bytes;
	return true;
}

/* What the need that sets the size is made of. */
static void why_parts(const struct plan_text *t, uint32_t k, struct sentences *s)
{
	struct plan_parts parts;
	char need[UNITS_TEXT_MAX], live[UNITS_TEXT_MAX];
	if (plan_parts(t, k, &parts))
		say(s,
		    "%s: of the %s that %s needed, %s were in use at one time; the rest, %.0f %%, "
		    "is headers, rounding and fragmentation under %s",
		    t->plan->class[k].name, units_format_size(parts.need_bytes, need),
		    route_name(t, t->result->class[k].size_route),
		    units_format_size(parts.live_bytes, live), 100 * parts.fragmentation,
		    arena_policy_name(t->plan->policy));
}

static void why_line(const struct plan_text *t, struct sentences *s)
{
	const struct planner_result *r = t->result;
	char wait[UNITS_TEXT_MAX], p99[UNITS_TEXT_MAX];
	uint64_t longest = 0;
	for (uint32_t k = 0; k < r->class_count; k++)
		longest = r->class[k].wait_ns_p99 > longest ? r->class[k].wait_ns_p99 : longest;
	if (r->queue)
		say(s,
		    "queue: %u may wait%s, up to %s each; 99 of 100 that got a bucket waited at "
		    "most %s; with a queue, one bucket more can mean one rejection more",
		    r->queue, r->class_count > 1 ? " for each class" : "",
		    units_format_time(r->wait_ns, wait), units_format_time(longest, p99));
	else
		say(s, "queue: no request waits for a bucket, the rates are of that");
}

/* What a search of queues found. */
static void why_search(const struct plan_text *t, struct sentences *s)
{
	const struct planner_result *r = t->result;
	char none[UNITS_TEXT_MAX], best[UNITS_TEXT_MAX], wait[UNITS_TEXT_MAX];
	if (!t->ask->queue_search || !r->any_queue_bytes)
		return;
	units_format_time(t->ask->wait_ns, wait);
	units_format_size(r->any_queue_bytes, best);
	if (!r->no_queue_bytes)
		say(s,
		    "queue: without one the trace can't promise the target; with up to %u waiting "
		    "up to %s it takes a bound of %s, and this is the shortest wait that comes "
		    "within a hundredth of that",
		    t->ask->queue, wait, best);
	else if (r->queue)
		say(s,
		    "queue: without one the target takes a bound of %s; the best of all, with up to "
		    "%u waiting up to %s, takes %s, and this is the shortest wait that comes within "
		    "a hundredth of that",
		    units_format_size(r->no_queue_bytes, none), t->ask->queue, wait, best);
	else
		say(s,
		    "queue: up to %u waiting up to %s would save less than a hundredth of the bound "
		    "(%s instead of %s)",
		    t->ask->queue, wait, best, units_format_size(r->no_queue_bytes, none));
}

void plan_why_queue(const struct plan_text *t, struct sentences *s)
{
	why_line(t, s);
	why_search(t, s);
}

/* What lies beyond the trace: a tail fitted to the needs of the route that sets
 * the size. */
static void why_tail(const struct plan_text *t, uint32_t k, struct sentences *s)
{
	const struct planner_class *c = &t->result->class[k];
	const struct sim_trace *trace = t->ask->trace;
	uint32_t route = c->size_need ? c->size_route : c->need_max_route;
	uint64_t *needs = calloc(trace->count + 1, sizeof(*needs));
	size_t n = 0;
	for (size_t i = 0; needs && i < trace->count; i++) {
		if (!trace->route || trace->route[i] == route)
			needs[n++] = trace->need_bytes[i];
	}
	struct gpd tail;
	struct err err;
	char size[UNITS_TEXT_MAX], level[UNITS_TEXT_MAX];
	int fitted = needs ? tail_fit(needs, n, &tail, &err) : 0;
	free(needs);
	if (fitted != 1 || (double)c->size_bytes < tail.threshold) {
		if (n < 20 * TAIL_EXCESSES_LEAST)
			say(s,
			    "%s: needs beyond the trace can't be estimated: %s has %zu requests, "
			    "and %d are needed; a limit on its input would bound them",
			    t->plan->class[k].name, route_name(t, route), n,
			    20 * TAIL_EXCESSES_LEAST);
		return;
	}
	double beyond = gpd_exceed(&tail, (double)c->size_bytes);
	double period = (double)n * 10, once = gpd_level(&tail, period);
	say(s,
	    "%s: a tail fitted to the largest 5 %% of %s (shape %.2f) puts %.2g of its requests "
	    "above %s, and one in %.3g above %s%s",
	    t->plan->class[k].name, route_name(t, route), tail.shape, beyond,
	    units_format_size(c->size_bytes, size), period,
	    units_format_size(once < 1.8e19 ? (uint64_t)once : UINT64_MAX, level),
	    beyond * (double)n < 10 ? " (extrapolated: the trace has fewer than 10 such)" : "");
}

void plan_why_size(const struct plan_text *t, uint32_t k, struct sentences *s)
{
	why_size(t, k, s);
	why_tail(t, k, s);
}

static void why_rate(const struct plan_text *t, struct sentences *s)
{
	const struct rate *rate = &t->result->rate;
	const struct grid_outcome *out = &t->result->outcome;
	say(s,
	    "%" PRIu64 " of %" PRIu64 " requests would have been refused (%" PRIu64
	    " by size, %" PRIu64 " for want of a bucket): a rate of %.3g, at %g %% confidence "
	    "between %.3g and %.3g",
	    out->rejected_500 + out->rejected_503, out->offered, out->rejected_500,
	    out->rejected_503, rate->rate, 100 * rate->confidence, rate->low, rate->high);
	say(s,
	    "the %g %% bound rests on %" PRIu64 " cluster%s of rejections, not on %" PRIu64
	    " requests",
	    100 * rate->confidence, rate->clusters, plural(rate->clusters), out->offered);
}

static void why_verdict(const struct plan_text *t, struct sentences *s)
{
	const struct planner_result *r = t->result;
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	double have = (double)t->ask->trace->count;
	if (t->ask->best_service && r->class_count > 0)
		say(s, "the fewest rejections that a bound of %s allows",
		    units_format_size(t->ask->memory_bytes, a));
	else if (r->verdict == PLANNER_TOO_LITTLE_DATA)
		say(s,
		    "not enough data: no plan has the upper end of its %g %% interval below the "
		    "target of %g; about %.0f requests are needed, %.0f more than the trace holds",
		    100 * t->ask->confidence, t->ask->target, r->requests_needed,
		    fmax(r->requests_needed - have, 1));
	else if (r->verdict == PLANNER_OVER_MEMORY)
		say(s, "the target of %g takes a bound of %s, more than the %s allowed",
		    t->ask->target, units_format_size(r->least_bytes, a),
		    units_format_size(t->ask->memory_bytes, b));
}

void plan_why_rate(const struct plan_text *t, struct sentences *s)
{
	why_verdict(t, s);
	why_rate(t, s);
}

static void why_lending(const struct lending *l, struct sentences *s)
{
	char size[UNITS_TEXT_MAX], big[UNITS_TEXT_MAX], bound[UNITS_TEXT_MAX],
		flat[UNITS_TEXT_MAX];
	units_format_size(l->stack_bytes, size);
	if (l->big_stack_count == 0) {
		say(s,
		    "stacks: %s in every bucket, enough for each of the %" PRIu64
		    " measured: lending would save nothing",
		    size, l->requests);
		return;
	}
	say(s,
	    "stacks: %s in every bucket and %u of %s to lend: %" PRIu64 " of %" PRIu64
	    " requests want more than %s, at most %u at one time; that makes a bound of %s, and "
	    "the deepest stack in every bucket one of %s",
	    size, l->big_stack_count, units_format_size(l->big_stack_bytes, big),
	    l->big_requests, l->requests, size, l->big_stack_count,
	    units_format_size(l->bound_bytes, bound), units_format_size(l->flat_bytes, flat));
	say(s, "stacks: that holds for handlers that call pail_on_big_stack() where they go "
	       "deep; one that does not and passes its stack is answered 500");
}

void plan_why_stacks(const struct plan_text *t, struct sentences *s)
{
	const struct stacks *k = t->stacks;
	char peak[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX], lent[UNITS_TEXT_MAX];
	if (k->lent) {
		why_lending(&k->lending, s);
		return;
	}
	if (k->peak_bytes == 0) {
		say(s,
		    "stacks: none seen was deeper than %s, so %s each is enough (half as much again, "
		    "and 16 KiB, since stacks are measured where the program allocates)",
		    units_format_size(k->enough_bytes, peak),
		    units_format_size(t->plan->stack_bytes, size));
		return;
	}
	say(s,
	    "stacks: the deepest seen was %s, in %s; a stack is to be half as large again, and "
	    "16 KiB more, since it was measured where the program allocates",
	    units_format_size(k->peak_bytes, peak), route_name(t, k->peak_route));
	if (k->big_requests > 0)
		say(s,
		    "stacks: %" PRIu64 " request%s, at most %u at one time, want more than %s; "
		    "their routes get it, in every bucket of their class; a handler that calls "
		    "pail_on_big_stack() there would need %u lent ones of %s instead",
		    k->big_requests, plural(k->big_requests), k->big_overlap,
		    units_format_size(t->plan->stack_bytes, size), k->big_overlap,
		    units_format_size(t->plan->big_stack_bytes, lent));
}

void plan_why(const struct plan_text *t, struct sentences *s)
{
	why_verdict(t, s);
	if (t->result->class_count == 0) {
		say(s,
		    "nothing fits into the memory allowed: connections and the server itself "
		    "take more");
		return;
	}
	for (uint32_t k = 0; k < t->result->class_count; k++) {
		plan_why_count(t, k, s);
		plan_why_size(t, k, s);
		why_parts(t, k, s);
		why_waste(t, k, s);
	}
	if (t->ask->queue)
		plan_why_queue(t, s);
	why_rate(t, s);
	plan_why_stacks(t, s);
}

/* ---- warnings --------------------------------------------------------------------- */

static void warn_routes(const struct plan_text *t, struct sentences *s)
{
	const struct planner_result *r = t->result;
	const struct sim_trace *trace = t->ask->trace;
	size_t routes = trace->route_count ? trace->route_count : 1;
	uint64_t *seen = calloc(2 * routes, sizeof(*seen));
	if (!seen)
		return;
	uint64_t *big = seen + routes;
	for (size_t i = 0; i < trace->count; i++) {
		uint32_t route = trace->route ? trace->route[i] : 0;
		seen[route]++;
		big[route] +=
			trace->need_bytes[i] > r->class[r->class_of_route[route]].size_bytes;
	}
	for (uint32_t route = 0; route < routes; route++) {
		if (big[route] > 0 && big[route] * 2 >= seen[route])
			say(s,
			    "%s would be refused by size %" PRIu64 " times of %" PRIu64
			    ": the target counts all routes together; a class of its own "
			    "(--classes) or a lower target would serve it",
			    route_name(t, route), big[route], seen[route]);
	}
	free(seen);
}

static void warn_recording(const struct plan_text *t, struct sentences *s)
{
	const struct stacks *k = t->stacks;
	if (k->escapes > 0)
		say(s,
		    "%" PRIu64 " of %" PRIu64 " requests allocated memory that outlives them: "
		    "in a bucket that is an error; pail report --by request --sort escapes tells which",
		    k->escapes, k->requests);
	if (k->ambiguous > 0)
		say(s,
		    "%" PRIu64 " of %" PRIu64 " requests could not be told apart for certain: "
		    "their needs may belong to a neighbour",
		    k->ambiguous, k->requests);
	if (k->incomplete > 0)
		say(s,
		    "%" PRIu64 " of %" PRIu64
		    " requests lost events: they need more than is known",
		    k->incomplete, k->requests);
}

static void warn_traffic(const struct plan_text *t, struct sentences *s)
{
	struct diagnosis d;
	struct err err;
	if (diagnose(&t->traffic->recorded, &d, &err) < 0) {
		s->failed = true;
		return;
	}
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	if (d.closed_loop)
		say(s,
		    "closed loop: %.0f %% of arrivals come right after a departure (5 %% would by "
		    "chance), so clients waited for answers: open traffic of this kind offers "
		    "more than was recorded",
		    100 * d.after_departure);
	if (d.saturated)
		say(s,
		    "saturated: %.0f %% of arrivals found %u requests under way or one fewer, and "
		    "none ever more: something limited them, and the real load is higher",
		    100 * d.at_ceiling, d.ceiling);
	if (d.drifting)
		say(s,
		    "not steady: the offered load of a sixteenth of the recording goes from %.2f "
		    "to %.2f times the mean; rates are of the whole, and its peaks fare worse",
		    d.load_least, d.load_most);
	if (d.first_routes > 0)
		say(s,
		    "first requests: %u route%s needed more the first time than ever after (%s: %s "
		    "against %s): warm the server up, or plan without it",
		    d.first_routes, plural(d.first_routes), route_name(t, d.first_route),
		    units_format_size(d.first_need, a), units_format_size(d.later_need, b));
}

/* Elasticity in words: what other service times would do. */
static void warn_service(const struct plan_text *t, struct sentences *s)
{
	double most = 0;
	for (uint32_t k = 0; k < t->result->class_count; k++)
		most = fmax(most, plan_elasticity(&t->result->class[k]));
	if (most >= 5 && t->result->outcome.rejected_503 > 0)
		say(s,
		    "service times are those of the recorded server: if the new one takes 5 %% "
		    "longer, rejections for want of a bucket are about %.1f times as many; run "
		    "pail verify",
		    pow(1.05, most));
}

/* The simulator knows one pool of each class; the server has one for each thread. */
static void warn_threads(const struct plan_text *t, struct sentences *s)
{
	if (t->result->class_count > 0 && t->plan->threads > 1)
		say(s,
		    "%u worker threads share no buckets: the rates are of one pool for all, and "
		    "a thread that has more than its share of the traffic refuses more; with "
		    "threads = 1 they are exact",
		    t->plan->threads);
}

void plan_warnings(const struct plan_text *t, struct sentences *s)
{
	const struct planner_result *r = t->result;
	if (r->verdict == PLANNER_TOO_LITTLE_DATA && r->class_count > 0)
		say(s, "this plan is the safest that the trace can tell of, not one that meets "
		       "the target");
	if (r->class_count > 0)
		warn_routes(t, s);
	if (r->rate.thin)
		say(s, "too few rejections at any size or count to tell how they cluster: the "
		       "interval may be too narrow");
	warn_recording(t, s);
	warn_traffic(t, s);
	warn_service(t, s);
	warn_threads(t, s);
}
