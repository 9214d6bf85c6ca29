/* SPDX-License-Identifier: MIT */
#include "simulator/formulas.h"

#include <math.h>
#include <stdlib.h>

/*
 * B(k) = A B(k-1) / (k + A B(k-1)). Each step damps the error of the one
 * before, less and less as B falls; in long double a million steps leave
 * 1e-13 of relative error.
 */
static long double erlang_step(long double load, long double k, long double before)
{
	long double x = load * before;
	return x / (k + x);
}

double erlang_b(double load, uint64_t servers)
{
	if (!(load >= 0) || !isfinite(load))
		return NAN;
	long double b = 1;
	for (uint64_t k = 1; k <= servers && b > 0; k++)
		b = erlang_step(load, (long double)k, b);
	return (double)b;
}

/*
 * 1/B at a fraction f of a server: I = A * integral e^(-At) (1+t)^f dt
 * = e^A A^(-f) Gamma(1+f, A). For A >= 1 by the continued fraction of the upper
 * incomplete gamma function (Lentz), in which the exponentials cancel; below by
 * the series of the lower one.
 */
static long double inverse_of_fraction(long double load, long double f)
{
	if (f == 0)
		return 1;
	long double a = 1 + f;
	if (load < 1) {
		long double term = 1 / a, sum = term;
		for (int n = 1; n < 200 && fabsl(term) > 1e-21L * sum; n++) {
			term *= load / (a + n);
			sum += term;
		}
		/* Gamma(a, A) = Gamma(a) - A^a e^-A sum */
		long double upper = tgammal(a) - powl(load, a) * expl(-load) * sum;
		return expl(load) * powl(load, -f) * upper;
	}
	const long double tiny = 1e-4000L;
	long double b = load + 1 - a, c = 1 / tiny, d = b == 0 ? 1 / tiny : 1 / b, h = d;
	for (int i = 1; i < 100000; i++) {
		long double an = -(long double)i * ((long double)i - a);
		b += 2;
		d = an * d + b;
		d = d == 0 ? tiny : d;
		c = b + an / c;
		c = c == 0 ? tiny : c;
		d = 1 / d;
		long double step = d * c;
		h *= step;
		if (fabsl(step - 1) < 1e-19L)
			break;
	}
	return load * h;
}

double erlang_b_real(double load, double servers)
{
	if (!(load > 0) || !isfinite(load) || !(servers >= 0) || servers > 1e15)
		return NAN;
	double whole = floor(servers);
	long double f = (long double)servers - whole;
	long double b = 1 / inverse_of_fraction(load, f);
	for (double k = 1; k <= whole && b > 0; k++)
		b = erlang_step(load, (long double)k + f, b);
	return (double)b;
}

uint64_t erlang_b_servers(double load, double target)
{
	if (!(load >= 0) || !(target > 0) || !(load < 1e12))
		return UINT64_MAX;
	long double b = 1;
	uint64_t k = 0;
	while ((double)b > target)
		b = erlang_step(load, (long double)++k, b);
	return k;
}

double erlang_b_elasticity(double load, uint64_t servers)
{
	return (double)servers - load * (1 - erlang_b(load, servers));
}

double erlang_c(double load, uint64_t servers)
{
	if (!(load >= 0) || !(load < (double)servers))
		return NAN;
	long double b = 1;
	for (uint64_t k = 1; k <= servers && b > 0; k++)
		b = erlang_step(load, (long double)k, b);
	long double rho = (long double)load / (long double)servers;
	return (double)(b / (1 - rho * (1 - b)));
}

static double engset_time(uint64_t sources, uint64_t servers, double per_source)
{
	long double e = 1;
	for (uint64_t k = 1; k <= servers && e > 0; k++) {
		if (k > sources)
			return 0;
		long double x = (long double)(sources - k + 1) * per_source * e;
		e = x / ((long double)k + x);
	}
	return (double)e;
}

struct engset engset(uint64_t sources, uint64_t servers, double per_source)
{
	if (sources == 0 || !(per_source >= 0) || !isfinite(per_source))
		return (struct engset){NAN, NAN};
	return (struct engset){engset_time(sources, servers, per_source),
			       engset_time(sources - 1, servers, per_source)};
}

double hayward(double load, double peakedness, double servers)
{
	if (!(peakedness > 0))
		return NAN;
	return erlang_b_real(load / peakedness, servers / peakedness);
}

int kaufman_roberts(uint64_t capacity, size_t classes, const double *load,
		    const uint64_t *units, double *blocking)
{
	if (capacity > UINT64_C(1) << 28)
		return -1;
	for (size_t k = 0; k < classes; k++) {
		if (!(load[k] >= 0) || !isfinite(load[k]) || units[k] == 0)
			return -1;
	}
	long double *q = calloc(capacity + 1, sizeof(*q));
	if (!q)
		return -1;
	q[0] = 1;
	long double total = 1;
	for (uint64_t j = 1; j <= capacity; j++) {
		long double sum = 0;
		for (size_t k = 0; k < classes; k++) {
			if (units[k] <= j)
				sum += (long double)load[k] * units[k] * q[j - units[k]];
		}
		q[j] = sum / j;
		total += q[j];
		/* Long double holds 1e4932; scale long before, all at once. */
		if (total > 1e4000L) {
			for (uint64_t i = 0; i <= j; i++)
				q[i] /= total;
			total = 1;
		}
	}
	for (size_t k = 0; k < classes; k++) {
		long double blocked = 0;
		uint64_t from = units[k] > capacity ? 0 : capacity - units[k] + 1;
		for (uint64_t j = from; j <= capacity; j++)
			blocked += q[j];
		blocking[k] = (double)(blocked / total);
	}
	free(q);
	return 0;
}

/* rho + rho^2 + ... + rho^m, given log rho. */
static long double geometric(long double log_rho, long double m)
{
	if (log_rho == 0)
		return m;
	return expl(log_rho) * expm1l(m * log_rho) / expm1l(log_rho);
}

double mmck(double load, uint64_t servers, uint64_t capacity)
{
	if (!(load >= 0) || !isfinite(load) || servers == 0 || capacity < servers)
		return NAN;
	if (load == 0)
		return 0;
	long double b = 1;
	for (uint64_t k = 1; k <= servers && b > 0; k++)
		b = erlang_step(load, (long double)k, b);
	if (b == 0)
		return 0;
	long double m = (long double)(capacity - servers);
	long double log_rho = log1pl(((long double)load - servers) / servers);
	/* P(K) = rho^m / (1/B + rho + ... + rho^m); above 1 divided through by rho^m. */
	if (log_rho <= 0)
		return (double)(expl(m * log_rho) / (1 / b + geometric(log_rho, m)));
	long double tail = m > 0 ? 1 + geometric(-log_rho, m - 1) : 0;
	return (double)(1 / (expl(-m * log_rho) / b + tail));
}

double mmc_d(double lambda, double mu, uint64_t servers, double patience)
{
	if (!(lambda > 0) || !(mu > 0) || servers == 0 || !(patience >= 0) ||
	    !isfinite(lambda) || !isfinite(mu))
		return NAN;
	long double load = (long double)lambda / mu;
	long double before = 1;
	for (uint64_t k = 1; k < servers && before > 0; k++)
		before = erlang_step(load, (long double)k, before);
	if (before == 0)
		return 0;
	long double rate = (long double)servers * mu;
	long double delta = rate - lambda, x = delta * patience;
	long double rho = (long double)lambda / rate;
	/* (1 - e^-x)/delta and its mirror, continuous at delta = 0. */
	if (delta >= 0) {
		long double j = x == 0 ? patience : -expm1l(-x) / delta;
		j += expl(-x) / rate;
		return (double)(rho * expl(-x) / (1 / before + lambda * j));
	}
	long double j = expm1l(x) / delta + 1 / rate;
	return (double)(rho / (expl(x) / before + lambda * j));
}
