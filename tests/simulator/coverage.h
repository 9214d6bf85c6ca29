/* SPDX-License-Identifier: MIT */
#ifndef PAIL_TESTS_SIMULATOR_COVERAGE_H
#define PAIL_TESTS_SIMULATOR_COVERAGE_H

#include "tests/simulator/synthetic.h"

struct coverage_case {
	const char *traffic; /* "Poisson" or "sessions" */
	double load;
	uint32_t count;
	double session_length; /* 1: Poisson */
	size_t requests;
};

struct coverage {
	double truth;
	size_t inside, below_high, inside_binomial, by_batches;
};

struct coverage coverage_run(const struct coverage_case *c, size_t replications, uint64_t seed);

#endif
