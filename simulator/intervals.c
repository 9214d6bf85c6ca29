/* SPDX-License-Identifier: MIT */
#include "simulator/sim.h"
#include "simulator/evidence.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double CLUSTER_GAP_SERVICES = 3;

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

static uint32_t sizes_below(const struct evidence *e, uint64_t need)
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
 * sizes_below() for every request of a trace: where the search begins is looked
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
		index->start[rung] = rung < LADDER_FIRST ? 0 : sizes_below(e, ladder_at(rung));
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

static void refused_fill(struct evidence *e, const struct sim_trace *trace,
			 const uint32_t *slot, const struct size_index *index)
{
	for (size_t i = 0; i < trace->count; i++) {
		/* Slots may come from a grid of more counts than are asked for here. */
		uint32_t s = slot[i] <= e->count_max ? slot[i] : e->count_max + 1;
		uint32_t below = size_index_below(index, trace->need_bytes[i]);
		e->rejected[s - 1]++;
		if (below > 0)
			e->oversize[below - 1]++;
	}
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

static void clusters_fill(struct evidence *e, const struct sim_trace *trace,
			  const uint32_t *slot, const struct size_index *index,
			  const struct grid_ask *ask, struct cluster_count *busy,
			  struct cluster_count *big)
{
	uint32_t low = threshold_least(e->rejected, ask->counts[0] - 1, e->requests);
	uint32_t small =
		threshold_least(e->oversize, sizes_below(e, ask->sizes[0]), e->requests);
	/* What is refused at no threshold that is wanted changes nothing there. */
	for (size_t i = 0; i < trace->count; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i], need = trace->need_bytes[i];
		if (slot[i] > low)
			cluster_count_add(busy, t,
					  slot[i] <= e->count_max ? slot[i] : e->count_max + 1);
		if (need > e->sizes[small])
			cluster_count_add(big, t, size_index_below(index, need));
	}
	cluster_count_sum(busy, e->clusters, (size_t)e->count_max + 1);
	cluster_count_sum(big, e->oversize_clusters, e->size_count);
	memset(e->clusters, 0, low * sizeof(*e->clusters));
	memset(e->oversize_clusters, 0, small * sizeof(*e->oversize_clusters));
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
		refused_fill(e, trace, slot, &index);
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

int evidence_of_load(struct evidence *evidence, const struct sim_trace *trace,
		     const struct sim_load *load, const uint32_t *slot,
		     const struct grid_ask *ask, struct err *err)
{
	*evidence = (struct evidence){
		.requests = trace->count,
		.gap_ns = CLUSTER_GAP_SERVICES * load->service_mean_ns,
		.count_max = ask->counts[ask->count_count - 1],
	};
	size_t counts = (size_t)evidence->count_max + 1;
	evidence->rejected = calloc(counts, sizeof(uint64_t));
	evidence->clusters = calloc(counts, sizeof(uint64_t));
	if (sizes_make(evidence, ask, load->need_max_bytes) == 0) {
		evidence->oversize = calloc(evidence->size_count, sizeof(uint64_t));
		evidence->oversize_clusters = calloc(evidence->size_count, sizeof(uint64_t));
	}
	if (!evidence->rejected || !evidence->clusters || !evidence->oversize ||
	    !evidence->oversize_clusters || evidence_fill(evidence, trace, slot, ask) < 0) {
		evidence_release(evidence);
		return err_set(err, "no memory to count the clusters of %zu requests",
			       trace->count);
	}
	return 0;
}

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

/*
 * Mean rejections per cluster at the greatest threshold <= `at` that has
 * clusters enough; failing that, where there are most of them; and not less than
 * at `at` itself. Thresholds that refuse more than a tenth of all say nothing of
 * rare rejections.
 */
static double cluster_size_at(const uint64_t *rejected, const uint64_t *clusters, size_t at,
			      uint64_t requests, bool *thin)
{
	size_t best = at;
	for (size_t i = at + 1; i-- > 0;) {
		if (rejected[i] > requests / 10)
			break;
		if (clusters[i] > clusters[best])
			best = i;
		if (clusters[i] >= INTERVAL_CLUSTERS_LEAST)
			break;
	}
	*thin = clusters[best] < INTERVAL_CLUSTERS_LEAST;
	double size = clusters[best] ? (double)rejected[best] / (double)clusters[best] : 1;
	/* Rejections by size need not come in larger clusters where there are more of
	 * them: what was seen here is the least. */
	return clusters[at] ? fmax(size, (double)rejected[at] / (double)clusters[at]) : size;
}

/* So many rejections that their clusters run into each other. */
static bool spread(const struct rate_basis *basis)
{
	size_t hit = 0;
	for (size_t b = 0; b < basis->batches; b++)
		hit += basis->batch_rejected[b] > 0;
	return hit >= basis->batches * 7 / 8;
}

/* Variance of the means of consecutive batches; Student's t for their number. */
static void interval_by_batches(const struct rate_basis *basis, struct rate *rate)
{
	double sum = 0, squares = 0, n = (double)basis->batches;
	for (size_t b = 0; b < basis->batches; b++) {
		double x = (double)basis->batch_rejected[b] / (double)basis->batch_offered[b];
		sum += x;
		squares += x * x;
	}
	double mean = sum / n;
	double variance = (squares - n * mean * mean) / (n - 1);
	double half = student_t(rate->confidence, n - 1) * sqrt(fmax(variance, 0) / n);
	rate->by_batches = true;
	rate->low = fmax(rate->rate - half, 0);
	rate->high = fmin(rate->rate + half, 1);
}

static void interval_by_clusters(const struct rate_basis *basis, struct rate *rate)
{
	double tail = (1 - rate->confidence) / 2, n = (double)basis->offered;
	uint64_t busy = basis->busy_clusters, big = basis->big_clusters;
	/* Two sources of rejections: all clusters as large as the larger kind, or each
	 * kind with half of the doubt, whichever says less. */
	double together = poisson_upper(busy + big, 1 - tail) * rate->cluster_size;
	double apart = poisson_upper(busy, 1 - tail / 2) * basis->busy_size +
		       poisson_upper(big, 1 - tail / 2) * basis->big_size;
	rate->high = fmin(fmin(together, apart) / n, 1);
	rate->high = fmax(rate->high, rate->rate);
	/* A cluster has at least one rejection. */
	rate->low = fmin(poisson_lower(busy + big, 1 - tail) / n, rate->rate);
}

struct rate rate_from(const struct rate_basis *basis, double confidence)
{
	struct rate rate = {.confidence = confidence, .high = 1, .thin = basis->thin};
	rate.clusters = basis->busy_clusters + basis->big_clusters;
	rate.cluster_size = fmax(basis->busy_size, basis->big_size);
	if (basis->offered == 0) {
		rate.thin = true;
		return rate;
	}
	rate.rate = (double)basis->rejected / (double)basis->offered;
	bool many = rate.clusters >= INTERVAL_CLUSTERS_LEAST;
	if (!(many || spread(basis)) || basis->batches < 20) {
		interval_by_clusters(basis, &rate);
		return rate;
	}
	/* The means of batches are skewed where clusters are few and large, and their
	 * variance then is too low as often as not: the count of clusters must agree. */
	struct rate by_clusters = rate;
	interval_by_batches(basis, &rate);
	if (many) {
		interval_by_clusters(basis, &by_clusters);
		rate.high = fmax(rate.high, by_clusters.high);
	}
	return rate;
}

void rate_basis_sizes(const struct evidence *evidence, uint32_t count, uint64_t size,
		      struct rate_basis *basis)
{
	if (count > evidence->count_max)
		count = evidence->count_max;
	size_t bin = sizes_below(evidence, size);
	bool busy_thin, big_thin;
	basis->busy_clusters = evidence->clusters[count];
	basis->big_clusters = evidence->oversize_clusters[bin];
	basis->busy_size = cluster_size_at(evidence->rejected, evidence->clusters, count,
					   evidence->requests, &busy_thin);
	basis->big_size = cluster_size_at(evidence->oversize, evidence->oversize_clusters, bin,
					  evidence->requests, &big_thin);
	basis->thin = busy_thin || big_thin;
}

struct rate rate_of(const struct grid *grid, const struct grid_ask *ask,
		    const struct evidence *evidence, size_t count_index, size_t size_index,
		    double confidence)
{
	uint64_t offered[GRID_BATCHES], rejected[GRID_BATCHES];
	assert(grid->batches <= GRID_BATCHES);
	struct rate_basis basis = {
		.batch_offered = offered, .batch_rejected = rejected, .batches = grid->batches};
	for (size_t b = 0; b < grid->batches; b++) {
		struct grid_outcome out = grid_batch_at(grid, b, count_index, size_index);
		offered[b] = out.offered;
		rejected[b] = out.rejected_500 + out.rejected_503;
		basis.offered += offered[b];
		basis.rejected += rejected[b];
	}
	rate_basis_sizes(evidence, ask->counts[count_index], ask->sizes[size_index], &basis);
	return rate_from(&basis, confidence);
}

struct rate queue_rate_of(const struct queue *queue, const struct queue_ask *ask,
			  const struct evidence *evidence, size_t candidate, size_t size_index,
			  double confidence)
{
	uint64_t offered[GRID_BATCHES], rejected[GRID_BATCHES];
	assert(queue->batches <= GRID_BATCHES);
	struct rate_basis basis = {.batch_offered = offered,
				   .batch_rejected = rejected,
				   .batches = queue->batches};
	for (size_t b = 0; b < queue->batches; b++) {
		struct grid_outcome out = queue_batch_at(queue, b, candidate, size_index);
		offered[b] = out.offered;
		rejected[b] = out.rejected_500 + out.rejected_503;
		basis.offered += offered[b];
		basis.rejected += rejected[b];
	}
	const struct queue_outcome *own = &queue->outcome[candidate];
	rate_basis_sizes(evidence, ask->candidates[candidate].count, ask->sizes[size_index],
			 &basis);
	/* Its own clusters are fewer than those without a queue; their size is its own
	 * where there are enough of them, else that without a queue. */
	basis.busy_clusters = own->clusters;
	if (own->clusters >= INTERVAL_CLUSTERS_LEAST)
		basis.busy_size = (double)own->rejected_503 / (double)own->clusters;
	return rate_from(&basis, confidence);
}

struct rate rate_of_fates(const struct sim_trace *trace, const uint8_t *refused,
			  double confidence)
{
	uint64_t offered[GRID_BATCHES] = {0}, rejected[GRID_BATCHES] = {0};
	size_t batches = trace->count < GRID_BATCHES ? 1 : GRID_BATCHES;
	struct rate_basis basis = {.batch_offered = offered,
				   .batch_rejected = rejected,
				   .batches = batches,
				   .offered = trace->count};
	double gap = CLUSTER_GAP_SERVICES * sim_trace_load(trace).service_mean_ns;
	int64_t last = 0;
	for (size_t i = 0; i < trace->count; i++) {
		size_t b = (size_t)((unsigned __int128)i * batches / trace->count);
		offered[b]++;
		if (!refused[i])
			continue;
		if (basis.rejected == 0 || (double)(trace->arrival_ns[i] - last) > gap)
			basis.busy_clusters++;
		last = trace->arrival_ns[i];
		basis.rejected++;
		rejected[b]++;
	}
	basis.thin = basis.busy_clusters < INTERVAL_CLUSTERS_LEAST;
	basis.busy_size =
		basis.busy_clusters ? (double)basis.rejected / (double)basis.busy_clusters : 1;
	return rate_from(&basis, confidence);
}

double rate_requests_needed(double target, double confidence, double cluster_size)
{
	return ceil(poisson_upper(0, 1 - (1 - confidence) / 2) * cluster_size / target);
}
