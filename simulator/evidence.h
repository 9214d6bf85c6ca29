/* SPDX-License-Identifier: MIT */
/* Evidence for who has the trace's sums already: see struct evidence in sim.h. */
#ifndef PAIL_SIMULATOR_EVIDENCE_H
#define PAIL_SIMULATOR_EVIDENCE_H

#include "simulator/sim.h"

/* Rejections further apart than so many mean services are two clusters. */
static const double CLUSTER_GAP_SERVICES = 3;

/* How many sizes are below that need. */
uint32_t evidence_sizes_below(const struct evidence *evidence, uint64_t need);

/* As evidence_of_slots(), with load = sim_trace_load(trace). */
int evidence_of_load(struct evidence *evidence, const struct sim_trace *trace,
		     const struct sim_load *load, const uint32_t *slot,
		     const struct grid_ask *ask, struct err *err);

#endif
