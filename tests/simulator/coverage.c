/* SPDX-License-Identifier: MIT */
/*
 * How often do intervals hold the truth? Draws traces of a traffic whose true
 * rate of 503s is known (Erlang B, or a very long run), asks for 95 % intervals
 * as `pail simulate` gives them, and counts. Beside them what a binomial would
 * have claimed. docs/simulator.md prints the table that this program wrote.
 *
 *	coverage [REPLICATIONS [SEED]]
 */
#include "tests/simulator/coverage.h"

#include <stdio.h>
#include <stdlib.h>

static const struct coverage_case cases[] = {
	{"Poisson", 50, 70, 1, 100000},   {"Poisson", 50, 70, 1, 20000},
	{"Poisson", 50, 75, 1, 100000},   {"Poisson", 50, 80, 1, 20000},
	{"Poisson", 10, 16, 1, 20000},    {"Poisson", 10, 22, 1, 20000},
	{"sessions", 20, 40, 10, 100000}, {"sessions", 20, 40, 10, 20000},
	{"sessions", 20, 50, 10, 20000},
};

int main(int argc, char **argv)
{
	size_t replications = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	if (replications == 0) {
		fprintf(stderr, "usage: coverage [REPLICATIONS [SEED]]\n");
		return 2;
	}
	printf("%zu replications each, seed %llu\n", replications, (unsigned long long)seed);
	printf("| traffic | load | buckets | requests | true rate | 95 %% interval | "
	       "upper end | binomial | by batches |\n"
	       "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct coverage c = coverage_run(&cases[i], replications, seed + i);
		double n = (double)replications;
		printf("| %s | %.0f | %u | %zu | %.3g | %.1f %% | %.1f %% | %.1f %% | %.0f %% |\n",
		       cases[i].traffic, cases[i].load, cases[i].count, cases[i].requests,
		       c.truth, 100 * (double)c.inside / n, 100 * (double)c.below_high / n,
		       100 * (double)c.inside_binomial / n, 100 * (double)c.by_batches / n);
		fflush(stdout);
	}
	return 0;
}
