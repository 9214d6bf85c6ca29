/* SPDX-License-Identifier: MIT */
#include "server/connection/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_balance__one_that_has_more_than_the_margin_above_the_least_defers(void **state)
{
	struct balance all[4];

	(void)state;
	memset(all, 0, sizeof(all));
	assert_int_equal(balance_better(all, 4, 0, 4), -1);
	balance_say(all, 0, 4);
	assert_int_equal(balance_better(all, 4, 0, 4), -1);
	balance_say(all, 0, 5);
	assert_int_not_equal(balance_better(all, 4, 0, 4), -1);
	balance_say(all, 1, 3);
	balance_say(all, 2, 1);
	balance_say(all, 3, 2);
	assert_int_equal(balance_better(all, 4, 0, 4), -1);
	assert_int_equal(balance_better(all, 4, 0, 3), 2);
	/* The least loaded never defers: someone takes the newcomer. */
	assert_int_equal(balance_better(all, 4, 2, 0), -1);
}

static void test_balance__those_who_are_away_get_no_one(void **state)
{
	struct balance all[3];

	(void)state;
	memset(all, 0, sizeof(all));
	balance_say(all, 0, 1000);
	balance_say(all, 1, BALANCE_AWAY);
	balance_say(all, 2, BALANCE_AWAY);
	assert_int_equal(balance_better(all, 3, 0, 0), -1);
	balance_say(all, 0, BALANCE_AWAY);
	assert_int_equal(balance_better(all, 3, 0, 0), -1);
	assert_true(balance_load(UINT32_MAX, UINT32_MAX) < BALANCE_AWAY);
}

/* Arrivals go to workers at random, who keep to the rule; some leave again. */
static void test_balance__open_connections_stay_within_the_margin_and_one(void **state)
{
	enum { WORKERS = 5, STEPS = 200000, MARGIN = 6 };
	struct balance all[WORKERS];
	uint32_t open[WORKERS] = {0}, most = 0, least = 0;

	(void)state;
	memset(all, 0, sizeof(all));
	srandom(1);
	for (int step = 0; step < STEPS; step++) {
		uint32_t w = (uint32_t)random() % WORKERS;
		int better = balance_better(all, WORKERS, w, MARGIN);
		uint32_t to = better < 0 ? w : (uint32_t)better;
		most = least = open[0];
		for (int i = 1; i < WORKERS; i++) {
			most = open[i] > most ? open[i] : most;
			least = open[i] < least ? open[i] : least;
		}
		balance_say(all, to, balance_load(++open[to], 0));
		assert_true(open[to] <= least + MARGIN + 1);
	}
	assert_true(most - least <= MARGIN + 1);
	assert_true(most > 0);
}

static void test_balance__a_busy_bucket_weighs_more_than_a_connection(void **state)
{
	struct balance all[2];

	(void)state;
	memset(all, 0, sizeof(all));
	/* One bucket each: the one that has it in use sends the newcomer on. */
	balance_say(all, 0, balance_load(1, 1));
	assert_int_equal(balance_better(all, 2, 0, balance_margin(1)), 1);
	/* Eight each: two in use more than the other's. */
	balance_say(all, 0, balance_load(1, 1));
	assert_int_equal(balance_better(all, 2, 0, balance_margin(8)), -1);
	balance_say(all, 0, balance_load(2, 2));
	assert_int_equal(balance_better(all, 2, 0, balance_margin(8)), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_balance__one_that_has_more_than_the_margin_above_the_least_defers),
		cmocka_unit_test(test_balance__those_who_are_away_get_no_one),
		cmocka_unit_test(test_balance__open_connections_stay_within_the_margin_and_one),
		cmocka_unit_test(test_balance__a_busy_bucket_weighs_more_than_a_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
