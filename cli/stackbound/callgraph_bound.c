/* SPDX-License-Identifier: MIT */
/*
 * The deepest way through a call graph: strongly connected components (Tarjan
 * 1972, without recursion of its own), which come out callees first, so that
 * each one's depth follows from those before it.
 */
#include "cli/stackbound/callgraph.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char INDIRECT[] = "__indirect_call";

struct node {
	size_t order, low; /* of Tarjan's; 0: not seen */
	bool on_stack, done;
	uint64_t depth;
	size_t deepest; /* the function to go on with, or SIZE_MAX */
	size_t leader;  /* of the component: its first function */
	size_t next_call, next_fact;
};

struct search {
	const struct callgraph *graph;
	struct callgraph_facts *facts;
	struct callgraph_bound *bound;
	struct node *node;
	size_t *target; /* per facts->calls: index of the function, resolved */
	size_t *stack, *frames;
	size_t stack_count, frame_count, order;
	uint64_t *own; /* per component leader: its bytes; turns for single ones */
};

struct callgraph_fact *callgraph_fact_of(const struct callgraph *graph, size_t function,
					 struct callgraph_fact *fact, size_t count)
{
	const struct callgraph_function *f = &graph->function[function];
	size_t skip = f->unit ? graph->unit[f->unit - 1].length + 1 : 0;
	struct str plain = {f->title.bytes + skip, f->title.length - skip};

	for (size_t i = 0; i < count; i++)
		if (str_equal(f->title, str_of(fact[i].function)) ||
		    str_equal(plain, str_of(fact[i].function)))
			return &fact[i];
	return NULL;
}

static struct callgraph_fact *stack_fact(struct search *s, size_t f)
{
	return callgraph_fact_of(s->graph, f, s->facts->stack, s->facts->stack_count);
}

/* The user's word on all that a function with a known frame takes: its calls don't count
 * then. Figures that we bring are for functions that no unit defines. */
static struct callgraph_fact *whole_fact(struct search *s, size_t f)
{
	enum callgraph_kind kind = s->graph->function[f].kind;
	struct callgraph_fact *fact = stack_fact(s, f);

	if ((kind != CALLGRAPH_STATIC && kind != CALLGRAPH_BOUNDED) || !fact || fact->source)
		return NULL;
	fact->used = true;
	return fact;
}

static bool is_indirect(const struct search *s, size_t f)
{
	return str_equal(s->graph->function[f].title, str_of(INDIRECT));
}

static struct callgraph_problem *problem(struct search *s, enum callgraph_trouble trouble,
					 size_t function, struct str where)
{
	struct callgraph_bound *bound = s->bound;
	struct callgraph_problem *all =
		reallocarray(bound->problem, bound->problem_count + 1, sizeof(*all));

	if (!all)
		abort();
	bound->problem = all;
	all[bound->problem_count] = (struct callgraph_problem){
		.trouble = trouble, .function = function, .where = where};
	return &all[bound->problem_count++];
}

/* The next function that f calls, or SIZE_MAX. Facts come behind the edges. */
static size_t next_callee(struct search *s, size_t f)
{
	struct node *node = &s->node[f];
	const struct callgraph *graph = s->graph;

	if (whole_fact(s, f))
		return SIZE_MAX;
	while (node->next_call != SIZE_MAX) {
		const struct callgraph_call *call = &graph->call[node->next_call];
		node->next_call = call->next;
		if (!is_indirect(s, call->to))
			return call->to;
		if (!callgraph_fact_of(graph, f, s->facts->calls, s->facts->calls_count))
			problem(s, CALLGRAPH_INDIRECT, f, call->where);
	}
	while (node->next_fact < s->facts->calls_count) {
		size_t i = node->next_fact++;
		if (!callgraph_fact_of(graph, f, &s->facts->calls[i], 1))
			continue;
		s->facts->calls[i].used = true;
		return s->target[i];
	}
	return SIZE_MAX;
}

static void rewind_callees(struct search *s, size_t f)
{
	s->node[f].next_call = s->graph->function[f].first_call;
	s->node[f].next_fact = 0;
}

/* What f itself takes, once. */
static uint64_t own_bytes(struct search *s, size_t f)
{
	const struct callgraph_function *function = &s->graph->function[f];
	struct callgraph_fact *fact = stack_fact(s, f), *whole = whole_fact(s, f);

	if (whole)
		return whole->value;
	if (function->kind == CALLGRAPH_STATIC || function->kind == CALLGRAPH_BOUNDED)
		return function->bytes;
	if (fact) {
		fact->used = true;
		return fact->value;
	}
	problem(s, function->kind == CALLGRAPH_DYNAMIC ? CALLGRAPH_FRAME : CALLGRAPH_UNKNOWN, f,
		function->where);
	return function->bytes;
}

static uint64_t saturating_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* -- cycles ------------------------------------------------------------------------ */

/* Inside the component of `from`: a shortest way back to it, for people to read. */
static void describe_cycle(struct search *s, const size_t *member, size_t count, size_t from)
{
	problem(s, CALLGRAPH_CYCLE, from, s->graph->function[from].where);
	size_t *before = malloc(s->graph->function_count * sizeof(*before));
	size_t *queue = malloc(count * sizeof(*queue));
	size_t head = 0, tail = 0, last = SIZE_MAX;

	if (!before || !queue)
		abort();
	for (size_t i = 0; i < count; i++)
		before[member[i]] = SIZE_MAX;
	queue[tail++] = from;
	while (head < tail && last == SIZE_MAX) {
		size_t f = queue[head++], g;
		size_t problems = s->bound->problem_count;
		rewind_callees(s, f);
		while ((g = next_callee(s, f)) != SIZE_MAX) {
			if (g == from) {
				last = f;
				break;
			}
			if (s->node[g].on_stack && s->node[g].leader == s->node[from].leader &&
			    before[g] == SIZE_MAX) {
				before[g] = f;
				queue[tail++] = g;
			}
		}
		s->bound->problem_count = problems; /* those were noted on the way down */
	}
	assert(last != SIZE_MAX);
	struct callgraph_problem *cycle = &s->bound->problem[s->bound->problem_count - 1];
	for (size_t f = last; f != SIZE_MAX; f = f == from ? SIZE_MAX : before[f])
		cycle->cycle_length++;
	cycle->cycle = malloc(cycle->cycle_length * sizeof(*cycle->cycle));
	if (!cycle->cycle)
		abort();
	size_t at = cycle->cycle_length;
	for (size_t f = last; f != SIZE_MAX; f = f == from ? SIZE_MAX : before[f])
		cycle->cycle[--at] = f;
	free(queue);
	free(before);
}

static bool calls_itself(struct search *s, size_t f)
{
	size_t g, problems = s->bound->problem_count;
	bool does = false;

	rewind_callees(s, f);
	while ((g = next_callee(s, f)) != SIZE_MAX)
		does |= g == f;
	s->bound->problem_count = problems;
	return does;
}

/* All members of a component, top of the stack down to `leader`: their stacks,
 * each as often as it may be entered, and the deepest call out of them. */
static void component(struct search *s, size_t leader)
{
	size_t first = s->stack_count, deepest = SIZE_MAX;
	uint64_t own = 0, below = s->facts->red_zone_bytes;
	bool external_only = false;

	do
		s->node[s->stack[--first]].leader = leader;
	while (s->stack[first] != leader);
	const size_t *member = s->stack + first;
	size_t count = s->stack_count - first;
	bool cycle = count > 1 || calls_itself(s, leader);
	if (cycle) {
		for (size_t i = 0; i < count; i++) {
			if (callgraph_fact_of(s->graph, member[i], s->facts->depth,
					      s->facts->depth_count))
				continue;
			describe_cycle(s, member, count, member[i]);
			break;
		}
	}
	for (size_t i = 0; i < count; i++) {
		size_t f = member[i], g, problems;
		struct callgraph_fact *turns =
			callgraph_fact_of(s->graph, f, s->facts->depth, s->facts->depth_count);
		uint64_t bytes = own_bytes(s, f), product;
		if (turns && cycle) {
			turns->used = true;
			if (__builtin_mul_overflow(bytes, turns->value, &product))
				product = UINT64_MAX;
			bytes = product;
		}
		own = saturating_add(own, bytes);
		external_only = s->graph->function[f].kind == CALLGRAPH_EXTERNAL;
		problems = s->bound->problem_count;
		rewind_callees(s, f);
		while ((g = next_callee(s, f)) != SIZE_MAX) {
			if (s->node[g].done && s->node[g].depth >= below) {
				below = s->node[g].depth;
				deepest = g;
			}
		}
		s->bound->problem_count = problems;
	}
	/* Such a figure is all that it takes, red zone and callees too. */
	if (count == 1 && ((external_only && stack_fact(s, leader)) || whole_fact(s, leader)))
		below = 0, deepest = SIZE_MAX;
	for (size_t i = 0; i < count; i++) {
		struct node *node = &s->node[member[i]];
		node->depth = saturating_add(own, below);
		node->deepest = deepest;
		node->on_stack = false;
		node->done = true;
	}
	s->own[leader] = own;
	s->stack_count = first;
}

/* -- the search ----------------------------------------------------------------------- */

static void enter(struct search *s, size_t f)
{
	struct node *node = &s->node[f];

	node->order = node->low = ++s->order;
	node->on_stack = true;
	rewind_callees(s, f);
	s->stack[s->stack_count++] = f;
	s->frames[s->frame_count++] = f;
}

static void search_from(struct search *s, size_t entry)
{
	enter(s, entry);
	while (s->frame_count > 0) {
		size_t f = s->frames[s->frame_count - 1], g = next_callee(s, f);
		struct node *node = &s->node[f];
		if (g != SIZE_MAX) {
			if (s->node[g].order == 0)
				enter(s, g);
			else if (s->node[g].on_stack && s->node[g].order < node->low)
				node->low = s->node[g].order;
			continue;
		}
		s->frame_count--;
		if (node->low == node->order)
			component(s, f);
		if (s->frame_count > 0) {
			struct node *caller = &s->node[s->frames[s->frame_count - 1]];
			if (node->low < caller->low)
				caller->low = node->low;
		}
	}
}

static void write_path(struct search *s, size_t entry)
{
	struct callgraph_bound *bound = s->bound;
	uint64_t left = s->node[entry].depth;

	for (size_t f = entry; f != SIZE_MAX; f = s->node[f].deepest) {
		struct callgraph_step *path =
			reallocarray(bound->path, bound->path_length + 1, sizeof(*path));
		if (!path)
			abort();
		bound->path = path;
		uint64_t bytes = s->own[s->node[f].leader];
		struct callgraph_fact *turns =
			callgraph_fact_of(s->graph, f, s->facts->depth, s->facts->depth_count);
		path[bound->path_length++] =
			(struct callgraph_step){f, bytes, turns ? turns->value : 1};
		left -= bytes < left ? bytes : left;
	}
	bound->tail_bytes = left;
}

static int resolve_calls(struct search *s, struct err *err)
{
	for (size_t i = 0; i < s->facts->calls_count; i++) {
		struct callgraph_fact *fact = &s->facts->calls[i];
		size_t found[2];
		if (callgraph_find(s->graph, str_of(fact->function), found, 1) == 0)
			return err_usage(err, "no function '%s' in these files",
					 fact->function);
		size_t count = callgraph_find(s->graph, str_of(fact->target), found, 2);
		if (count == 0)
			return err_usage(err, "no function '%s' in these files", fact->target);
		if (count > 1)
			return err_usage(err, "more than one '%s'; write unit.c:%s",
					 fact->target, fact->target);
		s->target[i] = found[0];
	}
	return 0;
}

int callgraph_bound(const struct callgraph *graph, size_t entry, struct callgraph_facts *facts,
		    struct callgraph_bound *bound, struct err *err)
{
	assert(entry < graph->function_count);
	size_t n = graph->function_count;
	struct search s = {
		.graph = graph,
		.facts = facts,
		.bound = bound,
		.node = calloc(n, sizeof(*s.node)),
		.target = calloc(facts->calls_count + 1, sizeof(*s.target)),
		.stack = calloc(n, sizeof(*s.stack)),
		.frames = calloc(n, sizeof(*s.frames)),
		.own = calloc(n, sizeof(*s.own)),
	};

	memset(bound, 0, sizeof(*bound));
	if (!s.node || !s.target || !s.stack || !s.frames || !s.own)
		abort();
	int result = resolve_calls(&s, err);
	if (result == 0) {
		search_from(&s, entry);
		bound->bytes = s.node[entry].depth;
		write_path(&s, entry);
	}
	free(s.own);
	free(s.frames);
	free(s.stack);
	free(s.target);
	free(s.node);
	return result;
}

void callgraph_bound_release(struct callgraph_bound *bound)
{
	for (size_t i = 0; i < bound->problem_count; i++)
		free(bound->problem[i].cycle);
	free(bound->problem);
	free(bound->path);
	memset(bound, 0, sizeof(*bound));
}
