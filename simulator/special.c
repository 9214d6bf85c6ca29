/* SPDX-License-Identifier: MIT */
#include "simulator/special.h"

#include <math.h>

enum { STEPS_MAX = 10000000 };

/* ln Gamma(n+1) - ((n + 1/2) ln n - n + ln(2 pi)/2) */
static long double stirling_rest(long double n)
{
	const long double half_log_2pi = 0.918938533204672741780329736405617640L;
	int sign; /* lgamma() would write it to a global: a race between threads */
	if (n < 20)
		return lgammal_r(n + 1, &sign) - (n + 0.5L) * logl(n) + n - half_log_2pi;
	long double r = 1 / n, r2 = r * r;
	return r * (1 / 12.0L -
		    r2 * (1 / 360.0L -
			  r2 * (1 / 1260.0L -
				r2 * (1 / 1680.0L - r2 * (1 / 1188.0L - r2 * (691 / 360360.0L -
									      r2 / 156.0L))))));
}

/* a ln(a/x) + x - a: what x costs beside the most likely value a. */
static long double deviance(long double a, long double x)
{
	long double d = (a - x) / x;
	return x * ((1 + d) * log1pl(d) - d);
}

static const long double two_pi = 6.28318530717958647692528676655900577L;

long double poisson_density(long double a, long double x)
{
	if (a == 0)
		return expl(-x);
	return expl(-stirling_rest(a) - deviance(a, x)) / sqrtl(two_pi * a);
}

static long double gamma_series(long double a, long double x)
{
	long double term = 1, sum = 1;
	for (int n = 1; n < STEPS_MAX && term > sum * 1e-21L; n++) {
		term *= x / (a + n);
		sum += term;
	}
	return poisson_density(a, x) * sum;
}

static long double gamma_fraction(long double a, long double x)
{
	long double b = x + 1 - a, c = 1e4000L, d = 1 / b, h = d;
	for (int i = 1; i < STEPS_MAX; i++) {
		long double an = -(long double)i * ((long double)i - a);
		b += 2;
		d = 1 / (an * d + b);
		c = b + an / c;
		h *= d * c;
		if (fabsl(d * c - 1) < 1e-19L)
			break;
	}
	return poisson_density(a, x) * a * h;
}

long double gamma_lower(long double a, long double x)
{
	if (x <= 0)
		return 0;
	return x < a + 1 ? gamma_series(a, x) : 1 - gamma_fraction(a, x);
}

long double gamma_upper(long double a, long double x)
{
	if (x <= 0)
		return 1;
	return x < a + 1 ? 1 - gamma_series(a, x) : gamma_fraction(a, x);
}

long double binomial_density(long double a, long double b, long double x)
{
	long double n = a + b;
	long double rest = stirling_rest(n) - stirling_rest(a) - stirling_rest(b);
	return expl(rest - deviance(a, n * x) - deviance(b, n * (1 - x))) *
	       sqrtl(n / (two_pi * a * b));
}

static long double beta_fraction(long double a, long double b, long double x)
{
	long double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), h = d;
	for (int m = 1; m < STEPS_MAX; m++) {
		long double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		d = 1 / (1 + even * d);
		c = 1 + even / c;
		h *= d * c;
		long double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		d = 1 / (1 + odd * d);
		c = 1 + odd / c;
		h *= d * c;
		if (fabsl(d * c - 1) < 1e-19L)
			break;
	}
	/* x^a (1-x)^b / (a B(a, b)) */
	return binomial_density(a, b, x) * b / (a + b) * h;
}

long double beta_lower(long double a, long double b, long double x)
{
	if (x <= 0)
		return 0;
	if (x >= 1)
		return 1;
	if (x < (a + 1) / (a + b + 2))
		return beta_fraction(a, b, x);
	return 1 - beta_fraction(b, a, 1 - x);
}
