/* SPDX-License-Identifier: MIT */
/*
 * A program's call graph with the stack that each function takes, joined from
 * the files that gcc writes beside its objects with -fcallgraph-info=su,da (one
 * unit each, in the VCG language), and the deepest way through it.
 *
 *	depth(f) = stack(f) + max(red zone, depth(g) for every g that f calls)
 *
 * gcc's figure of a function has its return address in it, but not the red
 * zone: the 128 bytes below the stack pointer that a function on x86-64 may use
 * without saying so while it calls nothing. One that only jumps on to another
 * function counts as such, so every function is given it here; it matters
 * for the last one of a path alone.
 *
 * What makes the sum no bound, each a struct callgraph_problem:
 *	cycle     functions that call each other in a circle
 *	indirect  a call through a pointer, which may lead anywhere
 *	dynamic   alloca() or a variable array without a bound that gcc sees
 *	external  a function that no unit defines and nobody has a figure for
 * Each can be settled by what the caller knows (struct callgraph_facts).
 *
 * Names: functions of one unit alone (static, or weak) are "unit.c:name", as
 * gcc calls them, and belong to their file, so that two units of the same name
 * don't mix. Two definitions of a global name: the larger stack, and the calls
 * of both. All strings live as long as the graph.
 */
#ifndef PAIL_CLI_CALLGRAPH_H
#define PAIL_CLI_CALLGRAPH_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum callgraph_kind {
	CALLGRAPH_EXTERNAL, /* declared, or called, and not defined */
	CALLGRAPH_STATIC,   /* a stack of fixed size */
	CALLGRAPH_BOUNDED,  /* of a size that varies, within what gcc says */
	CALLGRAPH_DYNAMIC,  /* and without */
};

struct callgraph_function {
	struct str title; /* "main", "a.c:helper" */
	struct str where; /* "a.c:6:38", or empty */
	uint32_t unit;    /* 0: global; n: the n-th unit's own */
	enum callgraph_kind kind;
	uint64_t bytes;
	size_t first_call; /* index of an edge, or SIZE_MAX */
};

struct callgraph_call {
	size_t from, to;
	struct str where;
	size_t next; /* of the same caller, or SIZE_MAX */
};

struct callgraph {
	struct callgraph_function *function;
	size_t function_count, function_room;
	struct callgraph_call *call;
	size_t call_count, call_room;
	size_t *slot; /* hash of (unit, title) to index + 1 */
	size_t slot_count;
	struct str *unit;
	uint32_t unit_count;
	char **text; /* copies of the files, which the strings point into */
	size_t text_count;
};

void callgraph_init(struct callgraph *graph);
void callgraph_release(struct callgraph *graph);
/* Adds one file's units. `name` is for messages. -1: no such file's content, or
 * without figures, said with its line; the graph is of no use then. */
int callgraph_add(struct callgraph *graph, const char *name, const char *bytes, size_t length,
		  struct err *err);
/* Indices of the functions of that title, global ones first, or of that name in
 * any unit if it is no title; returns how many there are, and gives `most`. */
size_t callgraph_find(const struct callgraph *graph, struct str name, size_t *found,
		      size_t most);

/* -- the deepest way ------------------------------------------------------------ */

enum callgraph_trouble {
	CALLGRAPH_CYCLE,
	CALLGRAPH_INDIRECT,
	CALLGRAPH_FRAME,
	CALLGRAPH_UNKNOWN
};

struct callgraph_problem {
	enum callgraph_trouble trouble;
	size_t function; /* the caller, or who has the frame, or the external */
	struct str where;
	size_t *cycle; /* its functions, in the order of the calls */
	size_t cycle_length;
};

struct callgraph_fact {
	const char *function;
	uint64_t value;
	const char *target; /* of a call */
	const char *source; /* where a stack comes from, if not from the user */
	bool used;
};

struct callgraph_facts {
	uint64_t red_zone_bytes;
	/* All that a function takes, its callees included; of a frame that varies its size
	 * alone. Those with a `source` are for externals only. */
	struct callgraph_fact *stack;
	size_t stack_count;
	struct callgraph_fact *depth; /* how often a function may be entered at a time */
	size_t depth_count;
	struct callgraph_fact *calls; /* whom a function calls by pointer */
	size_t calls_count;
};

struct callgraph_step {
	size_t function;
	uint64_t bytes; /* all turns of it, if it recurs */
	uint64_t turns;
};

struct callgraph_bound {
	uint64_t bytes; /* at most, or if there are problems at least */
	struct callgraph_step *path;
	size_t path_length;
	uint64_t tail_bytes; /* of the red zone at the path's end */
	struct callgraph_problem *problem;
	size_t problem_count;
};

/* From one function down. -1 with a message if a fact names no function. */
int callgraph_bound(const struct callgraph *graph, size_t entry, struct callgraph_facts *facts,
		    struct callgraph_bound *bound, struct err *err);
void callgraph_bound_release(struct callgraph_bound *bound);
/* The fact of the table about this function: its title or plain name; or NULL. */
struct callgraph_fact *callgraph_fact_of(const struct callgraph *graph, size_t function,
					 struct callgraph_fact *fact, size_t count);

#endif
