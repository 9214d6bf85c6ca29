/* SPDX-License-Identifier: MIT */
#include "simulator/formulas.h"

#include "simulator/special.h"

#include <gsl/gsl_cdf.h>
#include <math.h>

double zero_failures(uint64_t n, double confidence)
{
	if (n == 0 || !(confidence > 0 && confidence < 1))
		return NAN;
	return -expm1(log1p(-confidence) / (double)n);
}

uint64_t wilks(double quantile, double confidence)
{
	if (!(quantile > 0 && quantile < 1) || !(confidence > 0 && confidence < 1))
		return UINT64_MAX;
	double n = ceil(log1p(-confidence) / log(quantile));
	/* The quotient may be a rounding above a whole number. */
	if (n > 1 && (n - 1) * log(quantile) <= log1p(-confidence))
		n--;
	return n < 1 ? 1 : n < 1.8e19 ? (uint64_t)n : UINT64_MAX;
}

/*
 * A rising function's argument where it passes `want`: bisection that Newton
 * steps speed up.
 */
struct curve {
	long double (*value)(long double x, const struct curve *curve);
	long double (*slope)(long double x, const struct curve *curve);
	long double a, b;
};

static double curve_solve(const struct curve *curve, double want, long double low,
			  long double high, long double guess)
{
	long double x = guess > low && guess < high ? guess : 0.5L * (low + high);
	for (int i = 0; i < 400; i++) {
		long double error = curve->value(x, curve) - want;
		if (error == 0)
			break;
		if (error > 0)
			high = x;
		else
			low = x;
		long double next = x - error / curve->slope(x, curve);
		if (!(next > low && next < high))
			next = 0.5L * (low + high);
		long double step = fabsl(next - x);
		x = next;
		if (step <= 1e-18L * fabsl(x))
			break;
	}
	return (double)x;
}

static long double beta_value(long double x, const struct curve *c)
{
	return beta_lower(c->a, c->b, x);
}

static long double beta_slope(long double x, const struct curve *c)
{
	return binomial_density(c->a, c->b, x) * c->a * c->b / (c->a + c->b) / (x * (1 - x));
}

/* x with P(Beta(a, b) <= x) = p, p below one half so that no digit is lost. */
static double beta_quantile(double p, double a, double b)
{
	struct curve curve = {beta_value, beta_slope, a, b};
	return curve_solve(&curve, p, 0, 1, a / (a + b));
}

static long double gamma_value(long double x, const struct curve *c)
{
	return c->b > 0 ? gamma_lower(c->a, x) : -gamma_upper(c->a, x);
}

static long double gamma_slope(long double x, const struct curve *c)
{
	return poisson_density(c->a, x) * c->a / x;
}

/* x with P(Gamma(a) <= x) = p, by whichever tail is the smaller. */
static double gamma_quantile(double p, double a)
{
	struct curve curve = {gamma_value, gamma_slope, a, p < 0.5 ? 1 : -1};
	double spread = 40 * sqrt(a) + 800;
	return curve_solve(&curve, p < 0.5 ? p : -(1 - p), 0, a + spread, a);
}

struct interval clopper_pearson(uint64_t failures, uint64_t n, double confidence)
{
	if (n == 0 || failures > n || !(confidence > 0 && confidence < 1))
		return (struct interval){NAN, NAN};
	double half = (1 - confidence) / 2, k = (double)failures, trials = (double)n;
	struct interval interval = {0, 1};
	if (failures == n)
		interval.low = exp(log(half) / trials);
	else if (failures > 0)
		interval.low = beta_quantile(half, k, trials - k + 1);
	if (failures == 0)
		interval.high = -expm1(log(half) / trials);
	else if (failures < n) /* the mirror: 1 - x of the other tail */
		interval.high = 1 - beta_quantile(half, trials - k, k + 1);
	return interval;
}

double poisson_upper(uint64_t count, double confidence)
{
	if (!(confidence > 0 && confidence < 1))
		return NAN;
	if (count == 0)
		return -log1p(-confidence);
	return gamma_quantile(confidence, (double)count + 1);
}

double poisson_lower(uint64_t count, double confidence)
{
	if (!(confidence > 0 && confidence < 1))
		return NAN;
	if (count == 0)
		return 0;
	return gamma_quantile(1 - confidence, (double)count);
}

double student_t(double confidence, double degrees)
{
	return gsl_cdf_tdist_Qinv((1 - confidence) / 2, degrees);
}

double gpd_exceed(const struct gpd *tail, double x)
{
	if (!(tail->scale > 0) || !(tail->exceed >= 0))
		return NAN;
	double y = (x - tail->threshold) / tail->scale;
	if (y <= 0)
		return y == 0 ? tail->exceed : NAN;
	double z = tail->shape * y;
	if (z <= -1)
		return 0; /* past the end point */
	/* log1p(z)/shape tends to y as the shape goes to 0. */
	double exponent = fabs(z) < 1e-300 ? y : log1p(z) / tail->shape;
	return tail->exceed * exp(-exponent);
}

double gpd_level(const struct gpd *tail, double period)
{
	double log_count = log(period * tail->exceed);
	if (!(tail->scale > 0) || !(log_count >= 0))
		return NAN;
	double z = tail->shape * log_count;
	double excess = fabs(z) < 1e-300 ? log_count : expm1(z) / tail->shape;
	return tail->threshold + tail->scale * excess;
}
