/* SPDX-License-Identifier: MIT */
#include "simulator/group.h"
#include "simulator/evidence.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_BINS = 64 + 16 * 64 };

/* ---- the group's requests -------------------------------------------------- */

static int requests_take(struct group *group, const struct sim_trace *trace, const bool *member,
			 struct err *err)
{
	size_t count = 0;
	for (size_t i = 0; i < trace->count; i++)
		count += member[trace->route ? trace->route[i] : 0];
	if (count == trace->count) {
		group->trace = *trace;
		return 0;
	}
	if (sim_columns_init(&group->columns, count, err) < 0)
		return -1;
	/* Written always and kept or not: which route comes next can't be foretold, and a
	 * wrong guess costs more than the row. */
	size_t at = 0;
	for (size_t i = 0; at < count; i++) {
		uint32_t route = trace->route ? trace->route[i] : 0;
		group->columns.arrival_ns[at] = trace->arrival_ns[i];
		group->columns.service_ns[at] = trace->service_ns[i];
		group->columns.need_bytes[at] = trace->need_bytes[i];
		group->columns.route[at] = route;
		at += member[route];
	}
	group->trace = group->columns.trace;
	group->trace.route_count = trace->route_count;
	return 0;
}

/* ---- sizes worth trying ------------------------------------------------------ */

static uint64_t pages_of(uint64_t bytes)
{
	uint64_t pages = bytes / LIMITS_PAGE_BYTES + (bytes % LIMITS_PAGE_BYTES != 0);
	return pages ? pages : 1;
}

/* Exact to 64 pages, then sixteen bins to a doubling. */
static size_t size_bin(uint64_t pages)
{
	if (pages < 64)
		return pages;
	unsigned exponent = 63 - (unsigned)__builtin_clzll(pages);
	return 64 + (size_t)(exponent - 6) * 16 + ((pages >> (exponent - 4)) & 15);
}

/* Keeps `keep` of n values at even distances, the last one always. */
static size_t thin_u64(uint64_t *values, size_t n, size_t keep)
{
	if (n <= keep)
		return n;
	for (size_t i = 0; i < keep; i++)
		values[i] = values[(i + 1) * n / keep - 1];
	return keep;
}

/*
 * In each bin the greatest need, in whole pages, is a size: nothing between two
 * needs is worth its memory. All of them where few needs are above, since there
 * the target decides; below only a few, for the frontier.
 */
static void sizes_choose(struct group *group, double target, uint64_t requests_all,
			 uint64_t refused_most)
{
	uint64_t *most = calloc(SIZE_BINS, sizeof(uint64_t)),
		 *in = calloc(SIZE_BINS, sizeof(uint64_t));
	uint64_t *fine = calloc(2 * SIZE_BINS, sizeof(uint64_t));
	group->ask.size_count = 0;
	if (!most || !in || !fine)
		goto out;
	uint64_t *coarse = fine + SIZE_BINS;
	for (size_t i = 0; i < group->trace.count; i++) {
		uint64_t pages = pages_of(group->trace.need_bytes[i]);
		size_t bin = size_bin(pages);
		in[bin]++;
		most[bin] = pages > most[bin] ? pages : most[bin];
	}
	uint64_t above = group->trace.count, last_above = above;
	double tight = 4 * target * (double)requests_all + 8;
	size_t fine_count = 0, coarse_count = 0;
	for (size_t bin = 0; bin < SIZE_BINS; bin++) {
		if (!in[bin])
			continue;
		above -= in[bin];
		uint64_t size = most[bin] * LIMITS_PAGE_BYTES;
		if ((double)above <= tight)
			fine[fine_count++] = size;
		else if (above < last_above / 2 && above <= refused_most) {
			coarse[coarse_count++] = size;
			last_above = above;
		}
	}
	fine_count = thin_u64(fine, fine_count, GROUP_SIZES - 8);
	coarse_count = thin_u64(coarse, coarse_count, 8);
	memcpy(group->size, coarse, coarse_count * sizeof(uint64_t));
	memcpy(group->size + coarse_count, fine, fine_count * sizeof(uint64_t));
	group->ask.size_count = coarse_count + fine_count;
out:
	free(most);
	free(in);
	free(fine);
}

/* How far down the frontier goes: who has so much memory and no more may have to
 * refuse a third, who asks for a target has no use for what refuses a tenth. */
static uint64_t refused_most(const struct group *group, const struct planner_ask *ask)
{
	return group->trace.count / (ask->memory_bytes ? 3 : 10);
}

/* ---- counts worth trying ------------------------------------------------------- */

/* Plays the requests with buckets enough for all; fills slots and overlap. */
static int slots_find(struct group *group, unsigned threads, uint32_t **slot, struct err *err)
{
	static const uint64_t any_size = UINT64_MAX;
	double guess = group->load.offered + 8 * sqrt(group->load.offered) + 16;
	uint32_t enough = 64;
	while (enough < guess && enough < GRID_COUNTS_MAX)
		enough *= 2;
	for (;;) {
		struct grid grid;
		struct grid_ask ask = {.sizes = &any_size,
				       .size_count = 1,
				       .counts = &enough,
				       .count_count = 1,
				       .threads = threads,
				       .keep_slots = true};
		if (grid_run(&group->trace, &ask, &grid, err) < 0)
			return -1;
		if (grid_at(&grid, 0, 0).rejected_503 == 0 || enough == GRID_COUNTS_MAX) {
			*slot = grid.slot;
			grid.slot = NULL;
			grid_release(&grid);
			break;
		}
		grid_release(&grid);
		enough *= 4;
		if (enough > GRID_COUNTS_MAX)
			enough = GRID_COUNTS_MAX;
	}
	group->overlap = 1;
	for (size_t i = 0; i < group->trace.count; i++)
		group->overlap = (*slot)[i] > group->overlap ? (*slot)[i] : group->overlap;
	if (group->overlap > GRID_COUNTS_MAX)
		return err_set(err, "more than %d requests overlap: that is beyond the planner",
			       GRID_COUNTS_MAX);
	return 0;
}

/* rejected[c]: requests that c buckets refuse, for c up to the overlap. */
static uint64_t *rejected_count(const struct group *group, const uint32_t *slot)
{
	uint64_t *rejected = calloc((size_t)group->overlap + 1, sizeof(*rejected));
	if (!rejected)
		return NULL;
	for (size_t i = 0; i < group->trace.count; i++)
		rejected[slot[i] - 1]++;
	for (uint32_t c = group->overlap; c-- > 0;)
		rejected[c] += rejected[c + 1];
	return rejected;
}

static void counts_choose(struct group *group, const uint64_t *rejected,
			  const struct planner_ask *ask, uint64_t requests_all)
{
	uint32_t least = ask->base->threads ? ask->base->threads : 1;
	uint64_t most = refused_most(group, ask);
	double tight = 4 * ask->target * (double)requests_all + 8;
	uint32_t low = group->overlap;
	while (low > least && (double)rejected[low - 1] <= tight)
		low--;
	/* With a queue fewer may do, but hardly fewer than the load: whoever waits, so
	 * many buckets can't do more than so much work. */
	double share = ask->queue_search ? 1 - fmin(ask->target, 0.2) : 0.8;
	if (ask->queue && (double)low > share * group->load.offered)
		low = (uint32_t)(share * group->load.offered);
	if (low < least)
		low = least;
	size_t n = 0;
	/* Below, counts for the frontier. */
	enum { COARSE = 16 };
	uint32_t coarse = low;
	while (!ask->queue_search && coarse > least && rejected[coarse - 1] <= most)
		coarse--;
	for (uint32_t i = 0; i < COARSE && coarse < low; i++) {
		uint32_t c = coarse + (uint32_t)((uint64_t)(low - coarse) * i / COARSE);
		if (n == 0 || group->count[n - 1] < c)
			group->count[n++] = c;
	}
	uint32_t high = group->overlap > low ? group->overlap : low;
	uint32_t span = high - low + 1, fine = GROUP_COUNTS - COARSE;
	fine = span < fine ? span : fine;
	for (uint32_t i = 0; i < fine; i++) {
		uint32_t c = high - (uint32_t)((uint64_t)(span - 1) * (fine - 1 - i) /
					       (fine > 1 ? fine - 1 : 1));
		if (n == 0 || group->count[n - 1] < c)
			group->count[n++] = c;
	}
	group->ask.count_count = n;
}

/* Variance over mean of the number of requests under way, seen at arrivals of
 * a constant clock: 4096 instants. */
static double peakedness(const struct sim_trace *trace)
{
	enum { INSTANTS = 4096 };
	if (trace->count == 0)
		return 1;
	uint64_t first = (uint64_t)trace->arrival_ns[0];
	uint64_t span = (uint64_t)trace->arrival_ns[trace->count - 1] - first;
	if (span < INSTANTS)
		return 1;
	int64_t change[INSTANTS + 1] = {0};
	/* Request i is seen at instants k with arrival <= first + k span / N < departure.
	 * Nearly all come and go between two instants: those cost no division. */
	uint64_t next = 0, edge = 0; /* edge: floor(next span / N) */
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t a = (uint64_t)trace->arrival_ns[i] - first;
		unsigned __int128 d = (unsigned __int128)a + (uint64_t)trace->service_ns[i];
		while (a > edge)
			edge = (uint64_t)((unsigned __int128)++next * span / INSTANTS);
		if (next >= INSTANTS)
			break;
		if (d <= edge)
			continue;
		unsigned __int128 until = (d * INSTANTS + span - 1) / span;
		change[next]++;
		change[until < INSTANTS ? (uint64_t)until : INSTANTS]--;
	}
	double sum = 0, squares = 0, skip = INSTANTS / 16.0;
	int64_t busy = 0;
	for (int k = 0; k < INSTANTS; k++) {
		busy += change[k];
		if (k < skip) /* a recording begins with nothing under way */
			continue;
		sum += (double)busy;
		squares += (double)busy * (double)busy;
	}
	double n = INSTANTS - skip, mean = sum / n;
	return mean > 0 ? (squares / n - mean * mean) / mean : 1;
}

/* ---- options -------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	const struct option *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return x->size_index < y->size_index ? -1 : x->size_index > y->size_index;
}

static bool waits(const struct group *group, const struct option *o)
{
	return group->line[o->line].queue > 0;
}

static struct grid_outcome option_outcome(const struct group *group, const struct option *o)
{
	return waits(group, o) ? queue_at(&group->queue, o->candidate, o->size_index)
			       : grid_at(&group->grid, o->count_index, o->size_index);
}

static void option_rate(const struct group *group, struct option *o, double confidence)
{
	o->rate = waits(group, o)
			  ? queue_rate_of(&group->queue, &group->queue_ask, &group->evidence,
					  o->candidate, o->size_index, confidence)
			  : rate_of(&group->grid, &group->ask, &group->evidence, o->count_index,
				    o->size_index, confidence);
	double n = (double)group->trace.count;
	o->rejected = o->rate.rate * n;
	o->above = (o->rate.high - o->rate.rate) * n;
}

/*
 * Keeps only what has a lower upper end than everything cheaper. An interval
 * costs far more than a count, and its upper end is not below the count: most
 * candidates are out before theirs is made.
 */
static size_t options_prune(const struct group *group, struct option *kept, size_t n,
			    double confidence)
{
	double best = INFINITY;
	size_t count = 0;
	for (size_t i = 0; i < n; i++) {
		struct option o = kept[i];
		struct grid_outcome out = option_outcome(group, &o);
		if ((double)(out.rejected_500 + out.rejected_503) >= best)
			continue;
		option_rate(group, &o, confidence);
		if (o.rejected + o.above >= best)
			continue;
		best = o.rejected + o.above;
		/* Of equal cost only the best. */
		if (count && kept[count - 1].bytes == o.bytes)
			count--;
		kept[count++] = o;
	}
	return count;
}

static int options_make(struct group *group, uint32_t line, double confidence, struct err *err)
{
	bool queue = group->line[line].queue > 0;
	size_t sizes = group->ask.size_count;
	size_t rows = queue ? group->row_count : group->ask.count_count;
	struct option *option = calloc(sizes * rows + 1, sizeof(*option));
	if (!option)
		return err_set(err, "no memory for %zu candidates", sizes * rows);
	/* Candidates with a line come after those of the lines before. */
	size_t n = 0, lines_before = group->line[0].queue > 0 ? line : line - 1;
	for (uint32_t r = 0; r < rows; r++) {
		for (uint32_t s = 0; s < sizes; s++) {
			struct option *o = &option[n];
			*o = (struct option){.count_index = queue ? group->row[r] : r,
					     .size_index = s,
					     .line = line};
			if (queue)
				o->candidate = (uint32_t)(lines_before * rows) + r;
			uint64_t each =
				group->size[s] + group->stack_bytes + LIMITS_BUCKET_META_BYTES;
			each += (each + LIMITS_GUARD_BYTES) / 512; /* its page tables */
			/* Sums of classes are not to overflow either. */
			n += !__builtin_mul_overflow(each, group->count[o->count_index],
						     &o->bytes) &&
			     o->bytes < UINT64_MAX / 256;
		}
	}
	qsort(option, n, sizeof(*option), by_bytes);
	group->options[line].option = option;
	group->options[line].count = options_prune(group, option, n, confidence);
	return 0;
}

static uint64_t stack_of(const struct planner_ask *ask, const bool *member)
{
	uint64_t stack = ask->base->stack_bytes;
	size_t routes = ask->trace->route_count ? ask->trace->route_count : 1;
	for (size_t r = 0; ask->stack_bytes && r < routes; r++) {
		if (member[r] && ask->stack_bytes[r] > stack)
			stack = ask->stack_bytes[r];
	}
	return stack;
}

/* ---- lines ---------------------------------------------------------------------- */

size_t lines_of(const struct planner_ask *ask, struct line line[GROUP_LINES])
{
	if (!ask->queue || !ask->queue_search) {
		line[0] = (struct line){ask->queue, ask->queue ? ask->wait_ns : 0};
		return 1;
	}
	enum { QUEUES = 5, WAITS = 4 }; /* each four times the one before */
	static_assert(QUEUES * WAITS < GROUP_LINES, "room for the grid of lines");
	size_t n = 0;
	line[n++] = (struct line){0};
	/* From the shortest wait to the longest, and there from the shortest queue. */
	for (int w = WAITS - 1; w >= 0; w--) {
		uint64_t wait = ask->wait_ns >> (2 * w);
		for (int q = QUEUES - 1; wait > 0 && q >= 0; q--) {
			uint32_t queue = ask->queue >> (2 * q);
			if (queue > 0)
				line[n++] = (struct line){queue, wait};
		}
	}
	return n;
}

static int lines_play(struct group *group, const struct planner_ask *ask, size_t first,
		      size_t lines, struct err *err)
{
	size_t n = 0;
	free(group->candidate);
	group->candidate = calloc(lines * group->row_count + 1, sizeof(*group->candidate));
	if (!group->candidate)
		return err_set(err, "out of memory");
	for (size_t k = first; k < first + lines; k++) {
		for (size_t r = 0; r < group->row_count; r++)
			group->candidate[n++] = (struct queue_candidate){
				group->count[group->row[r]], group->line[k].queue,
				group->line[k].wait_ns};
	}
	group->queue_ask = (struct queue_ask){
		.candidates = group->candidate,
		.candidate_count = n,
		.sizes = group->size,
		.size_count = group->ask.size_count,
		.threads = ask->threads,
		.batches = GRID_BATCHES,
		.gap_ns = group->evidence.gap_ns,
	};
	return queue_run(&group->trace, &group->queue_ask, &group->queue, err);
}

/* Counts that a search plays with each line: from those that the most patient line
 * makes do with, to those that do without one. */
static int rows_narrow(struct group *group, const struct planner_ask *ask, double allowed,
		       struct err *err)
{
	size_t last = 0;
	while (last + 1 < group->ask.count_count &&
	       (double)group->evidence.rejected[group->count[last]] > allowed / 4)
		last++;
	group->row_count = 0;
	for (size_t i = 0; i < GROUP_LINE_COUNTS; i++) {
		uint32_t c = (uint32_t)(last * i / (GROUP_LINE_COUNTS - 1));
		if (group->row_count == 0 || group->row[group->row_count - 1] < c)
			group->row[group->row_count++] = c;
	}
	if (lines_play(group, ask, group->line_count - 1, 1, err) < 0)
		return -1;
	size_t keep = 0;
	while (keep + 1 < group->row_count &&
	       (double)group->queue.outcome[keep].rejected_503 > allowed)
		keep++;
	queue_release(&group->queue);
	group->row_count -= keep;
	memmove(group->row, group->row + keep, group->row_count * sizeof(*group->row));
	return 0;
}

static int queue_play(struct group *group, const struct planner_ask *ask, uint64_t requests_all,
		      struct err *err)
{
	group->row_count = group->ask.count_count;
	for (uint32_t r = 0; r < group->row_count; r++)
		group->row[r] = r;
	if (!ask->queue_search)
		return lines_play(group, ask, 0, 1, err);
	if (rows_narrow(group, ask, ask->target * (double)requests_all, err) < 0)
		return -1;
	return lines_play(group, ask, 1, group->line_count - 1, err);
}

/* Everything that the one search of slots tells: it is not made twice. */
static int slots_read(struct group *group, const uint32_t *slot, const struct planner_ask *ask,
		      uint64_t requests_all, struct err *err)
{
	uint64_t *rejected = rejected_count(group, slot);
	if (!rejected)
		return err_set(err, "no memory for %u counts", group->overlap);
	counts_choose(group, rejected, ask, requests_all);
	free(rejected);
	if (grid_of_slots(&group->trace, &group->ask, slot, &group->grid, err) < 0)
		return -1;
	return evidence_of_load(&group->evidence, &group->trace, &group->load, slot,
				&group->ask, err);
}

static int group_fill(struct group *group, const struct sim_trace *trace,
		      const struct planner_ask *ask, struct err *err)
{
	uint32_t *slot = NULL;
	group->load = sim_trace_load(&group->trace);
	group->peakedness = peakedness(&group->trace);
	sizes_choose(group, ask->target, trace->count, refused_most(group, ask));
	if (group->ask.size_count == 0)
		return err_set(err, "no memory to choose sizes");
	group->ask.sizes = group->size;
	group->ask.counts = group->count;
	group->ask.threads = ask->threads;
	group->ask.batches = GRID_BATCHES;
	int result = slots_find(group, ask->threads, &slot, err);
	if (result == 0)
		result = slots_read(group, slot, ask, trace->count, err);
	free(slot);
	if (result < 0)
		return -1;
	group->line_count = lines_of(ask, group->line);
	if (ask->queue && queue_play(group, ask, trace->count, err) < 0)
		return -1;
	for (uint32_t k = 0; k < group->line_count; k++) {
		if (options_make(group, k, ask->confidence, err) < 0)
			return -1;
	}
	return 0;
}

int group_init(struct group *group, const struct sim_trace *trace, const bool *member,
	       const struct planner_ask *ask, struct err *err)
{
	*group = (struct group){.stack_bytes = stack_of(ask, member)};
	if (requests_take(group, trace, member, err) < 0 ||
	    group_fill(group, trace, ask, err) < 0) {
		group_release(group);
		return -1;
	}
	return 0;
}

void group_release(struct group *group)
{
	sim_columns_release(&group->columns);
	grid_release(&group->grid);
	evidence_release(&group->evidence);
	queue_release(&group->queue);
	free(group->candidate);
	for (size_t k = 0; k < group->line_count; k++)
		free(group->options[k].option);
	*group = (struct group){0};
}

/* What one bucket fewer would have refused. Where that was no candidate it is
 * played now. */
static int less_find(const struct group *group, const struct option *o,
		     struct planner_class *class, struct err *err)
{
	uint32_t less = class->count - 1;
	if (!waits(group, o)) {
		if (less <= group->evidence.count_max) {
			class->less_rejected = group->evidence.rejected[less];
			class->less_clusters = group->evidence.clusters[less];
		}
		return 0;
	}
	if (less == 0) {
		class->less_rejected = group->trace.count;
		class->less_clusters = 1;
		return 0;
	}
	const struct line *line = &group->line[o->line];
	struct queue_candidate candidate = {less, line->queue, line->wait_ns};
	struct queue_ask ask = group->queue_ask;
	struct queue queue;
	ask.candidates = &candidate;
	ask.candidate_count = 1;
	if (queue_run(&group->trace, &ask, &queue, err) < 0)
		return -1;
	class->less_rejected = queue.outcome[0].rejected_503;
	class->less_clusters = queue.outcome[0].clusters;
	queue_release(&queue);
	return 0;
}

int group_describe(const struct group *group, const struct option *option,
		   struct planner_class *class, struct err *err)
{
	*class = (struct planner_class){
		.size_bytes = group->size[option->size_index],
		.stack_bytes = group->stack_bytes,
		.count = group->count[option->count_index],
		.requests = group->trace.count,
		.outcome = option_outcome(group, option),
		.rate = option->rate,
		.load = group->load,
		.peakedness = group->peakedness,
		.overlap = group->overlap,
	};
	if (waits(group, option))
		class->wait_ns_p99 = group->queue.outcome[option->candidate].wait_ns_p99;
	if (less_find(group, option, class, err) < 0)
		return -1;
	double used = 0;
	uint64_t fit = 0;
	for (size_t i = 0; i < group->trace.count; i++) {
		uint64_t need = group->trace.need_bytes[i];
		if (need <= class->size_bytes) {
			used += (double)need;
			fit++;
		}
		uint32_t route = group->trace.route ? group->trace.route[i] : 0;
		if (need <= class->size_bytes && need >= class->size_need) {
			class->size_need = need;
			class->size_route = route;
		}
		if (need >= class->need_max) {
			class->need_max = need;
			class->need_max_route = route;
		}
	}
	class->used = fit ? used / (double)fit / (double)class->size_bytes : 0;
	return 0;
}
