/* SPDX-License-Identifier: MIT */
/*
 * The incomplete gamma and beta functions for parameters up to 10^9 and more,
 * where GSL's give up (its continued fractions stop after a fixed number of
 * steps, its asymptotic series near 10^6). In long double: densities by the
 * saddle point of C. Loader, "Fast and accurate computation of binomial
 * probabilities" (2000), which never subtracts large logarithms; sums by the
 * series and continued fractions of Abramowitz and Stegun 6.5.29, 6.5.31 and
 * 26.5.8 (evaluated by Lentz's method), as many steps as they take.
 */
#ifndef PAIL_SIMULATOR_SPECIAL_H
#define PAIL_SIMULATOR_SPECIAL_H

/* x^a e^-x / Gamma(a+1), a >= 0, x > 0. */
long double poisson_density(long double a, long double x);
/* Regularised: P(a, x) and Q = 1 - P. a > 0, x >= 0. */
long double gamma_lower(long double a, long double x);
long double gamma_upper(long double a, long double x);
/* Gamma(a+b+1) / (Gamma(a+1) Gamma(b+1)) x^a (1-x)^b; a, b > 0, 0 < x < 1. */
long double binomial_density(long double a, long double b, long double x);
/* Regularised I_x(a, b). */
long double beta_lower(long double a, long double b, long double x);

#endif
