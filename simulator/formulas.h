/* SPDX-License-Identifier: MIT */
/*
 * The formulas alone: queueing, exact binomial and Poisson bounds, and the
 * generalised Pareto tail. Pure functions of doubles; `pail calc` prints them.
 *
 * A = offered load in Erlang (arrival rate x mean service), c = servers.
 * Out of its range (said at each) a function returns NaN, never a number that
 * looks like an answer. Right to 1e-12 relative; c up to 10^6 and more without
 * overflow: loss is carried as B itself, never through powers or factorials.
 *
 * Sources: Cooper, "Introduction to Queueing Theory" (Erlang, Engset);
 * Jagerman, BSTJ 53 (1974) (continuous Erlang B); Hayward, Fredericks, BSTJ 59
 * (1980); Kaufman, IEEE Trans. Commun. 29 (1981), Roberts (1981); Zeltyn,
 * Mandelbaum, Queueing Systems 51 (2005) (M/M/n+G); Clopper, Pearson,
 * Biometrika 26 (1934); Wilks, Ann. Math. Stat. 12 (1941); Coles, "Statistical
 * Modeling of Extreme Values" (2001), 4.3.
 */
#ifndef PAIL_SIMULATOR_FORMULAS_H
#define PAIL_SIMULATOR_FORMULAS_H

#include <stddef.h>
#include <stdint.h>

/* Share of Poisson arrivals that find all c servers busy and leave (M/G/c/c).
 * A >= 0. */
double erlang_b(double load, uint64_t servers);
/* The same for a real number of servers: 1/B = A * integral over t in (0, inf)
 * of e^(-At) (1+t)^c. A > 0, c >= 0. */
double erlang_b_real(double load, double servers);
/* Least c with erlang_b <= target; 0 < target. UINT64_MAX when out of range. */
uint64_t erlang_b_servers(double load, double target);
/* d ln B / d ln A = c - A (1 - B): +1 % load is about +this % rejections. */
double erlang_b_elasticity(double load, uint64_t servers);
/* Share that must wait in M/M/c. A < c. */
double erlang_c(double load, uint64_t servers);
/* M sources, each idle one offering `per_source` (its request rate over the
 * service rate). Time: share of time that all are busy; call: share of requests
 * that find them so, which is the time congestion of M - 1 sources. */
struct engset {
	double time, call;
};
struct engset engset(uint64_t sources, uint64_t servers, double per_source);
/* Erlang B for arrivals of peakedness z: B(c/z, A/z). z > 0. */
double hayward(double load, double peakedness, double servers);
/* Complete sharing of `capacity` units; class k offers load[k] of requests that
 * take units[k] >= 1 each. blocking[k]. 0, or -1 (no memory, out of range). */
int kaufman_roberts(uint64_t capacity, size_t classes, const double *load,
		    const uint64_t *units, double *blocking);
/* Share of arrivals that find `capacity` in an M/M/c/K system. K >= c >= 1. */
double mmck(double load, uint64_t servers, uint64_t capacity);
/* Share that leaves after waiting `patience` in M/M/c+D; rates per the same
 * unit of time as patience. */
double mmc_d(double lambda, double mu, uint64_t servers, double patience);

/* Upper bound of a rate of which n independent trials showed none. */
double zero_failures(uint64_t n, double confidence);
/* Independent samples for whose maximum to bound the quantile. */
uint64_t wilks(double quantile, double confidence);
struct interval {
	double low, high;
};
/* Exact two-sided bounds of a binomial rate. failures <= n, n >= 1. */
struct interval clopper_pearson(uint64_t failures, uint64_t n, double confidence);
/* One-sided bounds of a Poisson mean of which `count` were seen. */
double poisson_upper(uint64_t count, double confidence);
double poisson_lower(uint64_t count, double confidence);
/* Two-sided quantile factor of Student's t. */
double student_t(double confidence, double degrees);

/* Generalised Pareto tail over a threshold u: P(X > x) =
 * exceed * (1 + shape (x-u)/scale)^(-1/shape), x >= u. */
struct gpd {
	double threshold, scale, shape; /* u, sigma > 0, xi */
	double exceed;                  /* P(X > u) */
};
double gpd_exceed(const struct gpd *tail, double x);
/* The level passed once in `period` requests. period x exceed >= 1. */
double gpd_level(const struct gpd *tail, double period);

#endif
