/* SPDX-License-Identifier: MIT */
/* Traffic whose truth is known, for tests of what is said about traces. */
#ifndef PAIL_TESTS_SIMULATOR_SYNTHETIC_H
#define PAIL_TESTS_SIMULATOR_SYNTHETIC_H

#include "tests/simulator/reference.h"

enum service_law { SERVICE_EXPONENTIAL, SERVICE_LOGNORMAL, SERVICE_CONSTANT };

/* Poisson arrivals that offer `load`, mean service 10 ms, lognormal needs with
 * median 16 KiB and sigma 0.8, one route. */
void poisson_trace(struct random *random, size_t count, double load, enum service_law law,
		   struct sim_columns *columns);
/* Sessions: Poisson sessions of geometrically many requests (mean `length`) with
 * short gaps; a bursty traffic of the same load. */
void session_trace(struct random *random, size_t count, double load, double length,
		   struct sim_columns *columns);
/* The share of rejections of a count, from one very long run. */
double long_run_loss(struct random *random, double load, uint32_t count, double session_length,
		     size_t requests);

#endif
