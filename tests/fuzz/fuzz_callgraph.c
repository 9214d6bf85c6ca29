/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a call graph: it is refused with a message, or every function
 * in it has a depth, which its path adds up to.
 */
#include "cli/stackbound/callgraph.h"

#include <stdlib.h>

enum { ENTRIES = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void look(const struct callgraph *graph, size_t entry)
{
	static const char name[] = "main";
	struct callgraph_fact depth = {.function = name, .value = 3};
	struct callgraph_facts facts = {
		.red_zone_bytes = 128, .depth = &depth, .depth_count = 1};
	struct callgraph_bound bound;
	struct err err;
	uint64_t sum = 0;

	must(callgraph_bound(graph, entry, &facts, &bound, &err) == 0);
	must(bound.path_length > 0 && bound.path[0].function == entry);
	for (size_t i = 0; i < bound.path_length; i++)
		must(!__builtin_add_overflow(sum, bound.path[i].bytes, &sum));
	must(sum + bound.tail_bytes == bound.bytes);
	for (size_t i = 0; i < bound.problem_count; i++)
		must((bound.problem[i].trouble == CALLGRAPH_CYCLE) ==
		     (bound.problem[i].cycle_length > 0));
	callgraph_bound_release(&bound);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct callgraph graph;
	struct err err = {0};

	callgraph_init(&graph);
	if (callgraph_add(&graph, "fuzz", (const char *)data, size, &err) < 0) {
		must(err.text[0] != 0);
	} else {
		/* The same unit once more is another one, with the same global names. */
		must(callgraph_add(&graph, "again", (const char *)data, size, &err) == 0);
		for (size_t i = 0; i < graph.function_count && i < ENTRIES; i++)
			look(&graph, i);
	}
	callgraph_release(&graph);
	return 0;
}
