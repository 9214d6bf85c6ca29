/* SPDX-License-Identifier: MIT */
#include "simulator/sim.h"
#include "simulator/evidence.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
	size_t bin = evidence_sizes_below(evidence, size);
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
