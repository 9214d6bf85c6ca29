/* SPDX-License-Identifier: MIT */
/* Every formula against values from other implementations (mpmath at 40 digits
 * and published tables), and against each other where they must meet. */
#include "simulator/formulas.h"
#include "simulator/special.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static void close_to(double got, double want, double relative, const char *what, int line)
{
	if (fabs(got - want) <= relative * fabs(want))
		return;
	fprintf(stderr, "line %d: %s is %.17g, not %.17g\n", line, what, got, want);
	fail();
}
#define CLOSE(got, want) close_to(got, want, 1e-12, #got, __LINE__)

static void test_erlang__loss_has_the_known_values(void **state)
{
	(void)state;
	CLOSE(erlang_b(10, 10), 0.21458234310734733);
	CLOSE(erlang_b(50, 70), 0.0013679280873430592);
	CLOSE(erlang_b(10000, 10300), 4.57109986338417e-05);
	CLOSE(erlang_b(1e6, 1000000), 7.97460306855561013745e-4);
	CLOSE(erlang_b(0, 3), 0 * 1.0);
	CLOSE(erlang_b(7, 0), 1);
	assert_int_equal(erlang_b_servers(50, 1e-4), 77);
	assert_true(isnan(erlang_b(-1, 3)));
	assert_true(erlang_b(1e-3, 1000000) == 0); /* underflows, quietly */
}

static void test_erlang__loss_falls_as_servers_are_added(void **state)
{
	(void)state;
	for (double load = 0.1; load < 1000; load *= 3) {
		double before = 1;
		for (uint64_t c = 1; c < 200 && before > 1e-290; c++) {
			double b = erlang_b(load, c);
			assert_true(b < before);
			before = b;
		}
	}
}

static void test_erlang__the_real_form_meets_the_whole_one(void **state)
{
	(void)state;
	CLOSE(erlang_b_real(0.5, 2.5), 0.03243047629312099889724);
	CLOSE(erlang_b_real(1.5, 2.5), 0.20905754714427113874205);
	CLOSE(erlang_b_real(0.3, 0.7), 0.37718206626155850666553);
	CLOSE(hayward(50, 2, 70), 0.011645823928679215);
	for (uint64_t c = 0; c < 300; c += 7) {
		for (double load = 0.01; load < 1e4; load *= 10)
			CLOSE(erlang_b_real(load, (double)c), erlang_b(load, c));
	}
	/* 1/B(c+1) = 1 + (c+1)/A 1/B(c), also between whole numbers. */
	for (double load = 0.03; load < 3000; load *= 1.7) {
		double f = 0.37;
		CLOSE(1 / erlang_b_real(load, f + 1),
		      1 + (f + 1) / load / erlang_b_real(load, f));
	}
}

static void test_erlang__elasticity_is_the_slope(void **state)
{
	(void)state;
	double h = 1e-5;
	double slope =
		(log(erlang_b(50 * (1 + h), 70)) - log(erlang_b(50 * (1 - h), 70))) / (2 * h);
	close_to(erlang_b_elasticity(50, 70), slope, 1e-7, "elasticity", __LINE__);
}

static void test_queues__have_the_known_values(void **state)
{
	(void)state;
	CLOSE(erlang_c(8, 10), 0.40918015079644354);
	assert_true(isnan(erlang_c(10, 10)));
	struct engset e = engset(20, 5, 0.3);
	CLOSE(e.time, 0.28584933962431647);
	CLOSE(e.call, 0.2618612137531806);
	assert_true(engset(4, 5, 0.3).call == 0);
	CLOSE(mmc_d(50, 1, 55, 0.1), 0.02690937145824812);
	/* No patience is a loss system; balanced rates are no special point. */
	CLOSE(mmc_d(50, 1, 55, 0), erlang_b(50, 55));
	close_to(mmc_d(55, 1, 55, 0.1), mmc_d(55 * (1 + 1e-9), 1, 55, 0.1), 1e-7, "at delta 0",
		 __LINE__);
	CLOSE(mmck(8, 10, 10), erlang_b(8, 10));
	close_to(mmck(10, 10, 20), mmck(10 * (1 + 1e-10), 10, 20), 1e-8, "at rho 1", __LINE__);
	CLOSE(mmck(20, 10, 100000), 0.5); /* an overloaded queue turns away the surplus */
}

static void test_mmck__equals_the_sum_of_its_states(void **state)
{
	(void)state;
	for (uint64_t k = 3; k < 40; k += 4) {
		long double p = 1, total = 1;
		for (uint64_t n = 1; n <= k; n++) {
			p *= 7.5L / (n < 3 ? n : 3);
			total += p;
		}
		CLOSE(mmck(7.5, 3, k), (double)(p / total));
	}
}

static void test_kaufman_roberts__has_the_known_values(void **state)
{
	(void)state;
	double load[] = {2, 1, 0.5}, blocking[3];
	uint64_t units[] = {1, 2, 4};
	assert_int_equal(kaufman_roberts(10, 3, load, units, blocking), 0);
	CLOSE(blocking[0], 0.05464074487570656);
	CLOSE(blocking[1], 0.12391219757001393);
	CLOSE(blocking[2], 0.31191609602117965);
	/* One class of one unit is Erlang B, and a huge one does not overflow. */
	double many = 9000;
	uint64_t unit = 1;
	assert_int_equal(kaufman_roberts(9100, 1, &many, &unit, blocking), 0);
	CLOSE(blocking[0], erlang_b(9000, 9100));
	unit = 0;
	assert_int_equal(kaufman_roberts(10, 1, &many, &unit, blocking), -1);
}

static void test_bounds__have_the_known_values(void **state)
{
	(void)state;
	struct interval i = clopper_pearson(17, 1000, 0.95);
	CLOSE(i.low, 0.009933512592716534);
	CLOSE(i.high, 0.027079496864851366);
	CLOSE(clopper_pearson(0, 10, 0.95).high, 1 - pow(0.025, 0.1));
	assert_true(clopper_pearson(0, 10, 0.95).low == 0);
	assert_true(clopper_pearson(10, 10, 0.95).high == 1);
	assert_true(isnan(clopper_pearson(11, 10, 0.95).low));
	CLOSE(zero_failures(1000, 0.95), 1 - pow(0.05, 1e-3));
	assert_int_equal(wilks(0.9999, 0.95), 29956);
	assert_int_equal(wilks(0.5, 0.75), 2);
	CLOSE(poisson_upper(0, 0.95), 2.995732273553991);
	CLOSE(poisson_upper(12, 0.95), 19.44256932991502019262);
	CLOSE(poisson_upper(30, 0.975), 42.82686539480766741429);
}

static void test_bounds__solve_their_own_equations_for_huge_counts(void **state)
{
	(void)state;
	for (uint64_t n = 10; n <= 1000000000; n *= 10) {
		double k = (double)n;
		close_to((double)gamma_upper((long double)k + 1, poisson_upper(n, 0.95)), 0.05,
			 1e-9, "poisson upper", __LINE__);
		close_to((double)gamma_lower((long double)k, poisson_lower(n, 0.95)), 0.05,
			 1e-8, "poisson lower", __LINE__);
	}
	struct interval i = clopper_pearson(1000000, 100000000, 0.95);
	close_to((double)beta_lower(1000000, 99000001, i.low), 0.025, 1e-8, "low", __LINE__);
	close_to((double)beta_lower(1000001, 99000000, i.high), 0.975, 1e-8, "high", __LINE__);
}

static void test_gpd__level_and_exceedance_are_inverse(void **state)
{
	(void)state;
	struct gpd tail = {65536, 16384, 0.2, 0.01};
	CLOSE(gpd_level(&tail, 1e6), 500496.2565981744);
	const double shapes[] = {-0.4, -1e-9, -1e-18, 0, 1e-18, 1e-9, 0.3, 2};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		tail.shape = shapes[i];
		for (double period = 200; period < 1e12; period *= 30)
			close_to(gpd_exceed(&tail, gpd_level(&tail, period)), 1 / period, 1e-9,
				 "exceedance of the level", __LINE__);
	}
	tail.shape = -0.5; /* ends at 65536 + 2 x 16384 */
	assert_true(gpd_exceed(&tail, 98305) == 0);
	assert_true(isnan(gpd_exceed(&tail, 1)));
	assert_true(isnan(gpd_level(&tail, 50)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_erlang__loss_has_the_known_values),
		cmocka_unit_test(test_erlang__loss_falls_as_servers_are_added),
		cmocka_unit_test(test_erlang__the_real_form_meets_the_whole_one),
		cmocka_unit_test(test_erlang__elasticity_is_the_slope),
		cmocka_unit_test(test_queues__have_the_known_values),
		cmocka_unit_test(test_mmck__equals_the_sum_of_its_states),
		cmocka_unit_test(test_kaufman_roberts__has_the_known_values),
		cmocka_unit_test(test_bounds__have_the_known_values),
		cmocka_unit_test(test_bounds__solve_their_own_equations_for_huge_counts),
		cmocka_unit_test(test_gpd__level_and_exceedance_are_inverse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
