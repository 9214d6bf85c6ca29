/* SPDX-License-Identifier: MIT */
/*
 * The simulator's opponent: the candidate semantics of the design, told event
 * by event with no cleverness at all, to hold the fast engines against.
 */
#ifndef PAIL_TESTS_SIMULATOR_REFERENCE_H
#define PAIL_TESTS_SIMULATOR_REFERENCE_H

#include "simulator/sim.h"

/* xorshift64*: the same numbers on every machine. */
struct random {
	uint64_t state;
};
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t bound);
double random_unit(struct random *random); /* in (0, 1) */
double random_exponential(struct random *random, double mean);
double random_normal(struct random *random);

enum fate { FATE_SERVED, FATE_500, FATE_503 };

struct reference_class {
	uint64_t size_bytes;
	uint32_t count;
};

struct reference_ask {
	const struct reference_class *class;
	size_t class_count;
	const uint32_t *class_of_route; /* NULL: all to class 0 */
	uint32_t queue;
	uint64_t wait_ns;
	bool early;    /* an oversize request leaves when it passes its size */
	bool overflow; /* a full class hands on to the next bigger one */
	bool retry;    /* an oversize request tries once more in the next bigger class */
};

/* fate[i] and waited[i] (ns, of those that got a bucket) for every request;
 * class_out[i], if not NULL, the class that had it last. */
void reference_run(const struct sim_trace *trace, const struct reference_ask *ask,
		   enum fate *fate, uint64_t *waited);

/* A random trace with ties, zero services, bursts; columns are the caller's. */
enum shape { SHAPE_SMALL_TIES, SHAPE_POISSON, SHAPE_BURSTS, SHAPE_LATE, SHAPE_SPARSE, SHAPES };
void random_trace(struct random *random, enum shape shape, size_t count,
		  struct sim_columns *columns, size_t routes);

#endif
