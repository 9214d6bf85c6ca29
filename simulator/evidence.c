/* SPDX-License-Identifier: MIT */
#include "simulator/evidence.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * Counts clusters for all thresholds in one pass. An event of height h is a
 * rejection at every threshold below h; it opens a cluster there unless an event
 * at least that high came within the gap before it. So with M the greatest
 * height within the gap, it opens one at thresholds M..h-1. The queue holds the
 * events that may still be the greatest: times ascend, heights fall.
 */
struct recent {
	uint64_t time;
	uint32_t height;
};

struct cluster_count {
	struct recent *queue; /* ring of `room` */
	size_t room, head, length;
	int64_t *step; /* clusters(threshold) is the running sum of step */
	uint64_t gap;
};

static int cluster_count_init(struct cluster_count *c, uint32_t heights, double gap_ns)
{
	*c = (struct cluster_count){.room = (size_t)heights + 2};
	c->gap = gap_ns < 1.8e19 ? (uint64_t)gap_ns : UINT64_MAX;
	c->queue = calloc(c->room, sizeof(*c->queue));
	c->step = calloc((size_t)heights + 2, sizeof(*c->step));
	return c->queue && c->step ? 0 : -1;
}

static void cluster_count_release(struct cluster_count *c)
{
	free(c->queue);
	free(c->step);
}

static struct recent *recent_at(struct cluster_count *c, size_t i)
{
	size_t at = c->head + i;
	return &c->queue[at < c->room ? at : at - c->room];
}

static void cluster_count_add(struct cluster_count *c, uint64_t time, uint32_t height)
{
	while (c->length && time - recent_at(c, 0)->time > c->gap) {
		c->head = c->head + 1 < c->room ? c->head + 1 : 0;
		c->length--;
	}
	uint32_t greatest = c->length ? recent_at(c, 0)->height : 0;
	if (height > greatest) {
		c->step[greatest]++;
		c->step[height]--;
	}
	while (c->length && recent_at(c, c->length - 1)->height <= height)
		c->length--;
	assert(c->length < c->room);
	c->length++;
	*recent_at(c, c->length - 1) = (struct recent){time, height};
}

static void cluster_count_sum(const struct cluster_count *c, uint64_t *clusters, size_t count)
{
	int64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		sum += c->step[i];
		clusters[i] = (uint64_t)sum;
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

enum { LADDER = 64 * 8, LADDER_FIRST = 6 * 8 }; /* from 64 bytes on */

static uint64_t ladder_at(unsigned rung)
{
	return (UINT64_C(8) + rung % 8) << (rung / 8 - 3);
}

/* The sizes asked for, and a ladder of eight to a doubling up to the greatest
 * need: where clusters are too few to tell their size, the next rung down is to
 * be near. */
static int sizes_make(struct evidence *e, const struct grid_ask *ask, uint64_t need_max)
{
	e->sizes = calloc(ask->size_count + LADDER, sizeof(uint64_t));
	if (!e->sizes)
		return -1;
	memcpy(e->sizes, ask->sizes, ask->size_count * sizeof(uint64_t));
	size_t n = ask->size_count;
	for (unsigned rung = LADDER_FIRST; rung < LADDER - 16; rung++) {
		uint64_t size = ladder_at(rung);
		if (size >= need_max)
			break;
		e->sizes[n++] = size;
	}
	qsort(e->sizes, n, sizeof(uint64_t), by_size);
	for (size_t i = 0; i < n; i++) {
		if (e->size_count == 0 || e->sizes[i] != e->sizes[e->size_count - 1])
			e->sizes[e->size_count++] = e->sizes[i];
	}
	return 0;
}

uint32_t evidence_sizes_below(const struct evidence *e, uint64_t need)
{
	size_t low = 0, high = e->size_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (e->sizes[middle] < need)
			low = middle + 1;
		else
			high = middle;
	}
	return (uint32_t)low;
}

/*
 * evidence_sizes_below() for every request of a trace: where the search begins is looked
 * up by the need's rung, which leaves a comparison or two.
 */
struct size_index {
	const struct evidence *evidence;
	uint32_t start[LADDER];
};

static void size_index_init(struct size_index *index, const struct evidence *e)
{
	index->evidence = e;
	for (unsigned rung = 0; rung < LADDER; rung++)
		index->start[rung] =
			rung < LADDER_FIRST ? 0 : evidence_sizes_below(e, ladder_at(rung));
}

static inline uint32_t size_index_below(const struct size_index *index, uint64_t need)
{
	unsigned rung = 0;
	if (need >= 64) {
		unsigned exponent = 63 - (unsigned)__builtin_clzll(need);
		rung = exponent * 8 + (unsigned)(need >> (exponent - 3) & 7);
	}
	uint32_t below = index->start[rung];
	while (below < index->evidence->size_count && index->evidence->sizes[below] < need)
		below++;
	return below;
}

static void refused_add(struct evidence *e, const struct sim_trace *trace, const uint32_t *slot,
			const struct size_index *index)
{
	for (size_t i = 0; i < trace->count; i++) {
		/* Slots may come from a grid of more counts than are asked for here. */
		uint32_t s = slot[i] <= e->count_max ? slot[i] : e->count_max + 1;
		uint32_t below = size_index_below(index, trace->need_bytes[i]);
		e->rejected[s - 1]++;
		if (below > 0)
			e->oversize[below - 1]++;
	}
}

static void refused_sum(struct evidence *e)
{
	/* rejected[c] so far: arrivals in slot c + 1; a slot above c is rejected. */
	for (uint32_t c = e->count_max; c-- > 0;)
		e->rejected[c] += e->rejected[c + 1];
	for (size_t s = e->size_count - 1; s-- > 0;)
		e->oversize[s] += e->oversize[s + 1];
}

/* The least threshold at which clusters are wanted: `asked`, or below it where
 * still at most a tenth is refused (cluster_size_at() goes no further). */
static uint32_t threshold_least(const uint64_t *refused, uint32_t asked, uint64_t requests)
{
	while (asked > 0 && refused[asked - 1] <= requests / 10)
		asked--;
	return asked;
}

static void clusters_sum(struct evidence *e, const struct cluster_count *busy,
			 const struct cluster_count *big, uint32_t low, uint32_t small)
{
	cluster_count_sum(busy, e->clusters, (size_t)e->count_max + 1);
	cluster_count_sum(big, e->oversize_clusters, e->size_count);
	memset(e->clusters, 0, low * sizeof(*e->clusters));
	memset(e->oversize_clusters, 0, small * sizeof(*e->oversize_clusters));
}

static void clusters_fill(struct evidence *e, const struct sim_trace *trace,
			  const uint32_t *slot, const struct size_index *index,
			  const struct grid_ask *ask, struct cluster_count *busy,
			  struct cluster_count *big)
{
	uint32_t low = threshold_least(e->rejected, ask->counts[0] - 1, e->requests);
	uint32_t small = threshold_least(e->oversize, evidence_sizes_below(e, ask->sizes[0]),
					 e->requests);
	/* What is refused at no threshold that is wanted changes nothing there. */
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i], need = trace->need_bytes[i];
		if (slot[i] > low)
			cluster_count_add(busy, t,
					  slot[i] <= e->count_max ? slot[i] : e->count_max + 1);
		if (need > e->sizes[small])
			cluster_count_add(big, t, size_index_below(index, need));
	}
	clusters_sum(e, busy, big, low, small);
}

static int evidence_fill(struct evidence *e, const struct sim_trace *trace,
			 const uint32_t *slot, const struct grid_ask *ask)
{
	struct cluster_count busy = {0}, big = {0};
	struct size_index index;
	int result = cluster_count_init(&busy, e->count_max + 1, e->gap_ns);
	if (result == 0)
		result = cluster_count_init(&big, (uint32_t)e->size_count, e->gap_ns);
	if (result == 0) {
		size_index_init(&index, e);
		refused_add(e, trace, slot, &index);
		refused_sum(e);
		clusters_fill(e, trace, slot, &index, ask, &busy, &big);
	}
	cluster_count_release(&busy);
	cluster_count_release(&big);
	return result;
}

int evidence_of_slots(struct evidence *evidence, const struct sim_trace *trace,
		      const uint32_t *slot, const struct grid_ask *ask, struct err *err)
{
	struct sim_load load = sim_trace_load(trace);
	return evidence_of_load(evidence, trace, &load, slot, ask, err);
}

/* Arrays of zeros for that ask. */
static int evidence_make(struct evidence *e, uint64_t requests, const struct sim_load *load,
			 const struct grid_ask *ask)
{
	*e = (struct evidence){
		.requests = requests,
		.gap_ns = CLUSTER_GAP_SERVICES * load->service_mean_ns,
		.count_max = ask->counts[ask->count_count - 1],
	};
	size_t counts = (size_t)e->count_max + 1;
	e->rejected = calloc(counts, sizeof(uint64_t));
	e->clusters = calloc(counts, sizeof(uint64_t));
	if (sizes_make(e, ask, load->need_max_bytes) == 0) {
		e->oversize = calloc(e->size_count, sizeof(uint64_t));
		e->oversize_clusters = calloc(e->size_count, sizeof(uint64_t));
	}
	return e->rejected && e->clusters && e->oversize && e->oversize_clusters ? 0 : -1;
}

static int no_evidence(struct evidence *e, uint64_t requests, struct err *err)
{
	evidence_release(e);
	return err_set(err, "no memory to count the clusters of %" PRIu64 " requests",
		       requests);
}

int evidence_of_load(struct evidence *evidence, const struct sim_trace *trace,
		     const struct sim_load *load, const uint32_t *slot,
		     const struct grid_ask *ask, struct err *err)
{
	if (evidence_make(evidence, trace->count, load, ask) < 0 ||
	    evidence_fill(evidence, trace, slot, ask) < 0)
		return no_evidence(evidence, trace->count, err);
	return 0;
}

/* ---- part by part ------------------------------------------------------------------ */

struct evidence_stream {
	struct evidence evidence;
	struct size_index index;
	struct cluster_count busy, big;
	uint32_t count_least;
	uint64_t size_least;
};

int evidence_stream_open(const struct grid_ask *ask, const struct sim_load *load,
			 uint64_t requests, struct evidence_stream **stream, struct err *err)
{
	struct evidence_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, "out of memory");
	struct evidence *e = &s->evidence;
	if (evidence_make(e, requests, load, ask) < 0 ||
	    cluster_count_init(&s->busy, e->count_max + 1, e->gap_ns) < 0 ||
	    cluster_count_init(&s->big, (uint32_t)e->size_count, e->gap_ns) < 0) {
		evidence_stream_close(s, NULL);
		return err_set(err, "no memory to count clusters");
	}
	size_index_init(&s->index, e);
	s->count_least = ask->counts[0];
	s->size_least = ask->sizes[0];
	*stream = s;
	return 0;
}

/* Which thresholds refuse too much to be wanted is known only at the end, so all are
 * counted here. */
void evidence_stream_add(struct evidence_stream *s, const struct sim_trace *part,
			 const uint32_t *slot)
{
	uint32_t most = s->evidence.count_max + 1;
	refused_add(&s->evidence, part, slot, &s->index);
	for (size_t i = 0; i < part->count; i++) {
		uint64_t t = (uint64_t)part->arrival_ns[i];
		cluster_count_add(&s->busy, t, slot[i] < most ? slot[i] : most);
		uint32_t below = size_index_below(&s->index, part->need_bytes[i]);
		if (below > 0)
			cluster_count_add(&s->big, t, below);
	}
}

void evidence_stream_close(struct evidence_stream *s, struct evidence *evidence)
{
	struct evidence *e = &s->evidence;
	if (evidence) {
		refused_sum(e);
		clusters_sum(e, &s->busy, &s->big,
			     threshold_least(e->rejected, s->count_least - 1, e->requests),
			     threshold_least(e->oversize,
					     evidence_sizes_below(e, s->size_least),
					     e->requests));
		*evidence = *e;
		*e = (struct evidence){0};
	}
	evidence_release(e);
	cluster_count_release(&s->busy);
	cluster_count_release(&s->big);
	free(s);
}

/* ---- from a grid ------------------------------------------------------------------- */

int evidence_init(struct evidence *evidence, const struct sim_trace *trace,
		  const struct grid *grid, const struct grid_ask *ask, struct err *err)
{
	assert(grid->slot && grid->requests == trace->count);
	return evidence_of_slots(evidence, trace, grid->slot, ask, err);
}

void evidence_release(struct evidence *evidence)
{
	free(evidence->rejected);
	free(evidence->clusters);
	free(evidence->sizes);
	free(evidence->oversize);
	free(evidence->oversize_clusters);
	*evidence = (struct evidence){0};
}
