/* SPDX-License-Identifier: MIT */
/*
 * Chooses classes. Routes are put in order of their greatest need and merged to
 * a handful of neighbours; every way of cutting that row into at most so many
 * runs is tried, each run being a class with candidates of its own (group.h).
 * For a given cut the classes' candidates are chosen together: at a price of so
 * many bytes per request refused each class takes its cheapest, the price is
 * found by bisection, and what slack is left is spent class by class.
 *
 * Upper ends of classes add as independent errors do: the estimates in sum, the
 * distances to their upper ends in the root of their squares.
 */
#include "simulator/group.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS_TRIED = 8, PARETO_MAX = 4096, PARETO_KEPT = 32 };

struct choice {
	uint32_t classes;
	uint32_t first[PLANNER_CLASSES_MAX + 1]; /* group runs: first[i] .. first[i+1] */
	uint32_t option[PLANNER_CLASSES_MAX];
	uint32_t line;
	uint64_t bytes;
	double upper; /* requests refused, at the upper end */
	bool valid;
};

struct planner {
	const struct planner_ask *ask;
	struct planner_result *result;
	size_t route_count;
	uint32_t *group_of; /* by route */
	uint32_t groups;
	struct group *run[GROUPS_TRIED][GROUPS_TRIED + 1]; /* [first][end] */
	struct plan *plan; /* the base, to count the bound of a choice with */
	double allowed;    /* requests that may be refused */
	struct line line[GROUP_LINES];
	size_t line_count;
	struct choice cheapest[GROUP_LINES]; /* meets the target, by line */
	struct choice safest;                /* lowest upper end of all */
	struct choice affordable;            /* lowest upper end within the memory */
	struct planner_point *point;
	size_t point_count;
};

/* ---- groups of routes -------------------------------------------------------- */

struct route_sum {
	uint32_t route;
	uint64_t requests, need_max;
};

static int by_need(const void *a, const void *b)
{
	const struct route_sum *x = a, *y = b;
	if (x->need_max != y->need_max)
		return x->need_max < y->need_max ? -1 : 1;
	return x->route < y->route ? -1 : x->route > y->route;
}

/* Cuts the ordered routes where needs jump most, into at most `most` groups. */
static void routes_cut(struct planner *p, const struct route_sum *sum, size_t n, uint32_t most)
{
	bool *cut = calloc(n + 1, sizeof(*cut));
	p->groups = 1;
	for (; cut && p->groups < most; p->groups++) {
		size_t best = 0;
		double jump = 0;
		for (size_t i = 1; i < n; i++) {
			double ratio = ((double)sum[i].need_max + 4096) /
				       ((double)sum[i - 1].need_max + 4096);
			if (!cut[i] && ratio > jump && ratio > 1.01) {
				jump = ratio;
				best = i;
			}
		}
		if (best == 0)
			break;
		cut[best] = true;
	}
	uint32_t group = 0;
	for (size_t i = 0; i < n; i++) {
		group += cut && i && cut[i];
		p->group_of[sum[i].route] = group;
	}
	free(cut);
}

static int groups_make(struct planner *p, struct err *err)
{
	const struct sim_trace *trace = p->ask->trace;
	p->route_count = trace->route && trace->route_count ? trace->route_count : 1;
	struct route_sum *sum = calloc(p->route_count, sizeof(*sum));
	p->group_of = calloc(p->route_count, sizeof(*p->group_of));
	if (!sum || !p->group_of) {
		free(sum);
		return err_set(err, "out of memory");
	}
	for (size_t r = 0; r < p->route_count; r++)
		sum[r].route = (uint32_t)r;
	for (size_t i = 0; i < trace->count; i++) {
		struct route_sum *s = &sum[trace->route ? trace->route[i] : 0];
		s->requests++;
		if (trace->need_bytes[i] > s->need_max)
			s->need_max = trace->need_bytes[i];
	}
	/* A route without requests (after thinning) goes with the smallest. */
	qsort(sum, p->route_count, sizeof(*sum), by_need);
	size_t none = 0;
	while (none < p->route_count && sum[none].requests == 0)
		none++;
	uint32_t most = p->ask->classes > 1 ? GROUPS_TRIED : 1;
	routes_cut(p, sum + none, p->route_count - none, most);
	for (size_t i = 0; i < none; i++)
		p->group_of[sum[i].route] = 0;
	free(sum);
	return 0;
}

/* Runs of groups are played by several threads, each taking the next. */
struct run_task {
	uint32_t first, end;
};

struct run_queue {
	struct planner *planner;
	const struct planner_ask *ask; /* for one thread each */
	struct run_task task[GROUPS_TRIED * (GROUPS_TRIED + 1) / 2];
	size_t count;
	atomic_size_t next;
	atomic_bool failed;
	struct err err; /* of the one that set failed */
};

static int run_play(struct planner *p, const struct planner_ask *ask, struct run_task task,
		    bool *member, struct err *err)
{
	for (size_t r = 0; r < p->route_count; r++)
		member[r] = p->group_of[r] >= task.first && p->group_of[r] < task.end;
	struct group *group = calloc(1, sizeof(*group));
	if (!group)
		return err_set(err, "out of memory");
	if (group_init(group, p->ask->trace, member, ask, err) < 0) {
		free(group);
		return -1;
	}
	p->run[task.first][task.end] = group;
	return 0;
}

static void *runs_play(void *arg)
{
	struct run_queue *queue = arg;
	bool *member = calloc(queue->planner->route_count, sizeof(*member));
	struct err err;
	size_t next;
	while ((next = atomic_fetch_add(&queue->next, 1)) < queue->count) {
		int result = member ? run_play(queue->planner, queue->ask, queue->task[next],
					       member, &err)
				    : err_set(&err, "out of memory");
		if (result < 0 && !atomic_exchange(&queue->failed, true))
			queue->err = err;
	}
	free(member);
	return NULL;
}

static int runs_make(struct planner *p, struct err *err)
{
	struct planner_ask alone = *p->ask;
	struct run_queue queue = {.planner = p, .ask = &alone};
	/* The longest first, so that no thread is left with one at the end. A single
	 * class is all there is room for: only the whole row. */
	for (uint32_t length = p->groups; length > 0; length--) {
		if (p->ask->classes == 1 && length != p->groups)
			break;
		for (uint32_t first = 0; first + length <= p->groups; first++)
			queue.task[queue.count++] = (struct run_task){first, first + length};
	}
	enum { THREADS_MAX = 64 };
	pthread_t thread[THREADS_MAX];
	size_t threads = p->ask->threads ? p->ask->threads : 1, started = 0;
	threads = threads < queue.count ? threads : queue.count;
	threads = threads < THREADS_MAX ? threads : THREADS_MAX;
	if (threads > 1)
		alone.threads = 1;
	while (started + 1 < threads &&
	       pthread_create(&thread[started], NULL, runs_play, &queue) == 0)
		started++;
	runs_play(&queue);
	for (size_t i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	if (!queue.failed)
		return 0;
	*err = queue.err;
	return -1;
}

/* ---- choosing options for one cut ---------------------------------------------- */

static const struct group *choice_group(const struct planner *p, const struct choice *c,
					uint32_t class)
{
	return p->run[c->first[class]][c->first[class + 1]];
}

static const struct option *choice_option(const struct planner *p, const struct choice *c,
					  uint32_t class)
{
	return &choice_group(p, c, class)->options[c->line].option[c->option[class]];
}

/* What the configuration that planner_plan() makes of it will be bound to. A
 * bucket's stack may be deeper than the base's: here it is part of its size. */
static uint64_t choice_bytes(const struct planner *p, const struct choice *c)
{
	p->plan->class_count = c->classes;
	for (uint32_t k = 0; k < c->classes; k++) {
		const struct group *g = choice_group(p, c, k);
		const struct option *o = choice_option(p, c, k);
		p->plan->class[k].count = g->count[o->count_index];
		p->plan->class[k].size_bytes =
			g->size[o->size_index] + g->stack_bytes - p->ask->base->stack_bytes;
	}
	return limits_bound_bytes(p->plan);
}

static double choice_upper(const struct planner *p, const struct choice *c)
{
	double rejected = 0, squares = 0;
	for (uint32_t k = 0; k < c->classes; k++) {
		const struct option *o = choice_option(p, c, k);
		rejected += o->rejected;
		squares += o->above * o->above;
	}
	return rejected + sqrt(squares);
}

static void choice_sum(const struct planner *p, struct choice *c)
{
	c->bytes = choice_bytes(p, c);
	c->upper = choice_upper(p, c);
	c->valid = true;
}

/* Each class's cheapest when a refused request costs `price` bytes. */
static void choice_at_price(const struct planner *p, struct choice *c, double price)
{
	for (uint32_t k = 0; k < c->classes; k++) {
		const struct options *options = &choice_group(p, c, k)->options[c->line];
		double best = INFINITY;
		for (uint32_t i = 0; i < options->count; i++) {
			const struct option *o = &options->option[i];
			double cost = (double)o->bytes + price * (o->rejected + o->above);
			if (cost < best) {
				best = cost;
				c->option[k] = i;
			}
		}
	}
	choice_sum(p, c);
}

/* ---- the frontier ---------------------------------------------------------------- */

static int point_compare(const void *a, const void *b)
{
	const struct planner_point *x = a, *y = b;
	if (x->bound_bytes != y->bound_bytes)
		return x->bound_bytes < y->bound_bytes ? -1 : 1;
	if (x->rate_high != y->rate_high)
		return x->rate_high < y->rate_high ? -1 : 1;
	return x->wait_ns < y->wait_ns ? -1 : x->wait_ns > y->wait_ns;
}

/* Only points that nothing cheaper comes near: a gain of less than one part in a
 * hundred is no other plan. */
static void points_thin(struct planner *p)
{
	qsort(p->point, p->point_count, sizeof(*p->point), point_compare);
	double best = INFINITY;
	size_t n = 0;
	for (size_t i = 0; i < p->point_count; i++) {
		if (p->point[i].rate_high < best * 0.99) {
			best = p->point[i].rate_high;
			p->point[n++] = p->point[i];
		}
	}
	/* The steps of a hundredth that fit between 1 and 0 are fewer than there is room,
	 * unless rates go below what any trace can tell. */
	p->point_count = n < PARETO_MAX ? n : PARETO_MAX - 1;
}

static void pareto_make(struct planner *p)
{
	struct planner_result *r = p->result;
	points_thin(p);
	size_t n = p->point_count;
	if (n > PARETO_KEPT) {
		for (size_t i = 0; i < PARETO_KEPT; i++)
			p->point[i] = p->point[(i + 1) * n / PARETO_KEPT - 1];
		n = PARETO_KEPT;
	}
	r->pareto = p->point;
	r->pareto_count = n;
	p->point = NULL;
}

static void point_add(struct planner *p, const struct choice *c)
{
	if (p->point_count == PARETO_MAX)
		points_thin(p);
	struct planner_point *point = &p->point[p->point_count++];
	*point = (struct planner_point){.bound_bytes = c->bytes,
					.class_count = c->classes,
					.queue = p->line[c->line].queue,
					.wait_ns = p->line[c->line].wait_ns};
	double n = (double)p->ask->trace->count;
	point->rate_high = fmin(c->upper / n, 1);
	for (uint32_t k = 0; k < c->classes; k++) {
		const struct group *g = choice_group(p, c, k);
		const struct option *o = choice_option(p, c, k);
		point->rejection_rate += o->rejected / n;
		point->size_bytes[k] = g->size[o->size_index];
		point->count[k] = g->count[o->count_index];
	}
}

static void keep_better(struct choice *kept, const struct choice *c, bool by_upper)
{
	bool better = !kept->valid;
	if (kept->valid && by_upper)
		better = c->upper < kept->upper ||
			 (c->upper == kept->upper && c->bytes < kept->bytes);
	else if (kept->valid)
		better = c->bytes < kept->bytes ||
			 (c->bytes == kept->bytes && c->upper < kept->upper);
	if (better)
		*kept = *c;
}

static void choice_consider(struct planner *p, const struct choice *c)
{
	uint64_t memory = p->ask->memory_bytes;
	keep_better(&p->safest, c, true);
	if (c->upper <= p->allowed)
		keep_better(&p->cheapest[c->line], c, false);
	if (memory && c->bytes <= memory)
		keep_better(&p->affordable, c, true);
}

/* Spends what the target still allows: the saving that is largest, again and
 * again, until every cheaper option would break it. */
static void choice_trim(struct planner *p, struct choice *c)
{
	for (;;) {
		struct choice best = *c;
		for (uint32_t k = 0; k < c->classes; k++) {
			for (uint32_t i = 0; i < c->option[k]; i++) {
				struct choice next = *c;
				next.option[k] = i;
				if (choice_upper(p, &next) > p->allowed)
					continue;
				choice_sum(p, &next);
				if (next.bytes < best.bytes)
					best = next;
			}
		}
		if (best.bytes == c->bytes)
			return;
		*c = best;
	}
}

static void cut_single(struct planner *p, struct choice *c)
{
	const struct options *options = &choice_group(p, c, 0)->options[c->line];
	for (c->option[0] = 0; c->option[0] < options->count; c->option[0]++) {
		choice_sum(p, c);
		choice_consider(p, c);
		point_add(p, c);
	}
}

static void cut_try(struct planner *p, struct choice *c)
{
	if (c->classes == 1) {
		cut_single(p, c);
		return;
	}
	double low = -8, high = 60; /* log2 of the price in bytes */
	enum { SWEEP = 24, STEPS = 30 };
	for (int i = 0; i <= SWEEP; i++) {
		choice_at_price(p, c, exp2(low + (high - low) * i / SWEEP));
		choice_consider(p, c);
		point_add(p, c);
	}
	if (c->upper > p->allowed)
		return;
	for (int i = 0; i < STEPS; i++) {
		double middle = (low + high) / 2;
		choice_at_price(p, c, exp2(middle));
		choice_consider(p, c);
		if (c->upper <= p->allowed)
			high = middle;
		else
			low = middle;
	}
	choice_at_price(p, c, exp2(high));
	choice_trim(p, c);
	choice_consider(p, c);
	point_add(p, c);
}

/* All cuts of groups [from, groups) into what classes are left. */
static void cuts_try(struct planner *p, struct choice *c, uint32_t from)
{
	if (from == p->groups) {
		struct choice copy = *c;
		cut_try(p, &copy);
		return;
	}
	if (c->classes == p->ask->classes)
		return;
	for (uint32_t end = from + 1; end <= p->groups; end++) {
		if (!p->run[from][end])
			continue;
		c->first[c->classes] = from;
		c->first[c->classes + 1] = end;
		c->classes++;
		cuts_try(p, c, end);
		c->classes--;
	}
}

/* ---- the answer ------------------------------------------------------------------- */

/* order[i] = the class of the cut that comes i-th by size. */
static void order_by_size(const struct planner *p, const struct choice *c,
			  uint32_t order[PLANNER_CLASSES_MAX])
{
	for (uint32_t k = 0; k < c->classes; k++) {
		uint64_t size = choice_group(p, c, k)->size[choice_option(p, c, k)->size_index];
		uint32_t at = k;
		for (; at > 0; at--) {
			uint32_t before = order[at - 1];
			if (choice_group(p, c, before)
				    ->size[choice_option(p, c, before)->size_index] <= size)
				break;
			order[at] = before;
		}
		order[at] = k;
	}
}

static int choice_publish(struct planner *p, const struct choice *c, struct err *err)
{
	struct planner_result *r = p->result;
	r->class_of_route = calloc(p->route_count, sizeof(uint32_t));
	if (!r->class_of_route)
		return err_set(err, "out of memory");
	uint32_t order[PLANNER_CLASSES_MAX], place[PLANNER_CLASSES_MAX] = {0};
	order_by_size(p, c, order);
	double n = (double)p->ask->trace->count, squares_low = 0;
	r->rate = (struct rate){.confidence = p->ask->confidence, .by_batches = true};
	for (uint32_t i = 0; i < c->classes; i++) {
		const struct option *o = choice_option(p, c, order[i]);
		struct planner_class *class = &r->class[i];
		place[order[i]] = i;
		if (group_describe(choice_group(p, c, order[i]), o, class, err) < 0)
			return -1;
		r->outcome.offered += class->outcome.offered;
		r->outcome.rejected_500 += class->outcome.rejected_500;
		r->outcome.rejected_503 += class->outcome.rejected_503;
		double below = o->rejected - o->rate.low * (double)class->requests;
		squares_low += below * below;
		r->rate.clusters += o->rate.clusters;
		r->rate.cluster_size = fmax(r->rate.cluster_size, o->rate.cluster_size);
		r->rate.by_batches &= o->rate.by_batches;
		r->rate.thin |= o->rate.thin;
	}
	uint64_t rejected = r->outcome.rejected_500 + r->outcome.rejected_503;
	r->rate.rate = (double)rejected / n;
	r->rate.low = fmax(r->rate.rate - sqrt(squares_low) / n, 0);
	r->rate.high = fmin(c->upper / n, 1);
	r->bound_bytes = c->bytes;
	r->class_count = c->classes;
	r->queue = p->line[c->line].queue;
	r->wait_ns = p->line[c->line].wait_ns;
	for (size_t route = 0; route < p->route_count; route++) {
		uint32_t k = 0;
		while (p->group_of[route] >= c->first[k + 1])
			k++;
		r->class_of_route[route] = place[k];
	}
	return 0;
}

/* Of what meets the target the least bound, and of those within a hundredth of it the
 * one that lets requests wait the shortest: lines ascend in wait and then in queue. */
static const struct choice *cheapest_find(struct planner *p)
{
	struct planner_result *r = p->result;
	const struct choice *least = &p->cheapest[0];
	for (size_t k = 0; k < p->line_count; k++) {
		const struct choice *c = &p->cheapest[k];
		if (c->valid && (!least->valid || c->bytes < least->bytes))
			least = c;
	}
	if (!p->ask->queue_search || !least->valid)
		return least;
	r->no_queue_bytes = p->cheapest[0].valid ? p->cheapest[0].bytes : 0;
	r->any_queue_bytes = least->bytes;
	uint64_t enough = least->bytes + least->bytes / 100;
	if (p->ask->memory_bytes >= least->bytes && p->ask->memory_bytes < enough)
		enough = p->ask->memory_bytes;
	for (size_t k = 0; k < p->line_count; k++) {
		if (p->cheapest[k].valid && p->cheapest[k].bytes <= enough)
			return &p->cheapest[k];
	}
	return least;
}

static int answer(struct planner *p, struct err *err)
{
	struct planner_result *r = p->result;
	uint64_t memory = p->ask->memory_bytes;
	const struct choice *cheapest = cheapest_find(p), *chosen = cheapest;
	if (p->ask->best_service) {
		chosen = &p->affordable;
		r->verdict = chosen->valid ? PLANNER_MET : PLANNER_OVER_MEMORY;
	} else if (!cheapest->valid) {
		r->verdict = PLANNER_TOO_LITTLE_DATA;
		r->requests_needed = ceil(p->safest.upper / p->ask->target);
		chosen = memory ? &p->affordable : &p->safest;
	} else if (memory && cheapest->bytes > memory) {
		r->verdict = PLANNER_OVER_MEMORY;
		r->least_bytes = cheapest->bytes;
		chosen = &p->affordable;
	}
	pareto_make(p);
	return chosen->valid ? choice_publish(p, chosen, err) : 0;
}

static void planner_free_runs(struct planner *p)
{
	for (uint32_t first = 0; first < GROUPS_TRIED; first++) {
		for (uint32_t end = 0; end <= GROUPS_TRIED; end++) {
			if (!p->run[first][end])
				continue;
			group_release(p->run[first][end]);
			free(p->run[first][end]);
		}
	}
	free(p->group_of);
	free(p->point);
	free(p->plan);
}

int planner_run(const struct planner_ask *ask, struct planner_result *result, struct err *err)
{
	*result = (struct planner_result){0};
	if (ask->trace->count == 0)
		return err_set(err, "the trace holds no requests");
	if (ask->classes < 1 || ask->classes > PLANNER_CLASSES_MAX)
		return err_usage(err, "between 1 and %d classes can be planned",
				 PLANNER_CLASSES_MAX);
	struct planner p = {.ask = ask, .result = result};
	p.allowed = ask->target * (double)ask->trace->count;
	p.line_count = lines_of(ask, p.line);
	p.point = calloc(PARETO_MAX, sizeof(*p.point));
	p.plan = malloc(sizeof(*p.plan));
	int status = p.point && p.plan ? 0 : err_set(err, "out of memory");
	if (p.plan) {
		*p.plan = *ask->base;
		p.plan->route_count = 0;
	}
	if (status == 0)
		status = groups_make(&p, err);
	if (status == 0)
		status = runs_make(&p, err);
	if (status == 0) {
		for (uint32_t k = 0; k < p.line_count; k++) {
			struct choice start = {.line = k};
			cuts_try(&p, &start, 0);
		}
		status = answer(&p, err);
	}
	planner_free_runs(&p);
	if (status < 0)
		planner_release(result);
	return status;
}

void planner_release(struct planner_result *result)
{
	free(result->class_of_route);
	free(result->pareto);
	*result = (struct planner_result){0};
}

/* ---- as a configuration -------------------------------------------------------------- */

static uint32_t default_class(const struct planner_result *r, size_t route_count)
{
	uint32_t most = 0;
	size_t best = 0;
	for (uint32_t k = 0; k < r->class_count; k++) {
		size_t routes = 0;
		for (size_t i = 0; i < route_count; i++)
			routes += r->class_of_route[i] == k;
		if (routes >= best) { /* of equals the bigger: unknown routes are safer there */
			best = routes;
			most = k;
		}
	}
	return most;
}

static void class_name(const struct planner_result *r, uint32_t class, struct plan_class *out)
{
	static const char *const few[3][3] = {
		{"main"}, {"small", "large"}, {"small", "medium", "large"}};
	if (r->class_count <= 3)
		snprintf(out->name, sizeof(out->name), "%s", few[r->class_count - 1][class]);
	else
		snprintf(out->name, sizeof(out->name), "class%u", class + 1);
}

static int rule_add(struct plan *plan, const char *name, const char *behind, uint32_t class,
		    uint64_t stack_bytes, struct err *err)
{
	if (plan->route_count + 1 == LIMITS_ROUTES_MAX)
		return err_set(err, "the plan needs more than %d routes: plan fewer classes",
			       LIMITS_ROUTES_MAX);
	struct plan_route *route = &plan->route[plan->route_count];
	*route = (struct plan_route){.class_index = class, .stack_bytes = stack_bytes};
	size_t length = 0;
	int fits = limits_pattern_of(str_of(name), route->pattern);
	if (fits == 0)
		length = strlen(route->pattern);
	if (fits < 0 || length + strlen(behind) >= LIMITS_PATTERN_MAX)
		return err_set(err,
			       "the route '%.60s...' is too long for a rule: plan one class",
			       name);
	/* Nothing lies beneath a name that had to be quoted. */
	if (behind[0] && route->pattern[0] == '"')
		return 0;
	snprintf(route->pattern + length, LIMITS_PATTERN_MAX - length, "%s", behind);
	plan->route_count++;
	return 0;
}

/* What the namer of routes (libtrace/attribution/route.h) gave up to name: no rule can say it,
 * so its class must be the one of all that no rule names. */
static bool is_rest(const char *name)
{
	size_t length = strlen(name);
	return length > 7 && strcmp(name + length - 7, "(other)") == 0;
}

int planner_plan(const struct planner_ask *ask, const struct planner_result *result,
		 const char *const *names, struct plan *plan, struct err *err)
{
	*plan = *ask->base;
	plan->class_count = result->class_count;
	plan->route_count = 0;
	plan->queue = result->queue;
	if (result->queue)
		plan->wait_ns = result->wait_ns;
	for (uint32_t k = 0; k < result->class_count; k++) {
		struct plan_class *class = &plan->class[k];
		class_name(result, k, class);
		class->size_bytes = result->class[k].size_bytes;
		class->count = result->class[k].count;
	}
	size_t routes = ask->trace->route && names ? ask->trace->route_count : 0;
	uint32_t usual = default_class(result, routes);
	uint64_t rest_stack_bytes = 0;
	for (size_t r = 0; r < routes; r++) {
		if (!is_rest(names[r]))
			continue;
		if (result->class_of_route[r] > usual)
			usual = result->class_of_route[r];
		if (ask->stack_bytes && ask->stack_bytes[r] > rest_stack_bytes)
			rest_stack_bytes = ask->stack_bytes[r];
	}
	if (rest_stack_bytes <= plan->stack_bytes)
		rest_stack_bytes = 0;
	for (size_t r = 0; r < routes; r++) {
		uint64_t stack = ask->stack_bytes ? ask->stack_bytes[r] : 0;
		bool big = stack > plan->stack_bytes;
		if (is_rest(names[r]) || (result->class_of_route[r] == usual && !big))
			continue;
		/* A rule that ends in '/' holds for all beneath, and only the path
		 * itself was recorded: what is beneath is told to go where it did. */
		size_t length = strlen(names[r]);
		if (length > 0 && names[r][length - 1] == '/' &&
		    rule_add(plan, names[r], "*", usual, 0, err) < 0)
			return -1;
		if (rule_add(plan, names[r], "", result->class_of_route[r], big ? stack : 0,
			     err) < 0)
			return -1;
	}
	if (result->class_count > 1 || rest_stack_bytes) {
		struct plan_route *route = &plan->route[plan->route_count++];
		*route = (struct plan_route){.class_index = usual,
					     .stack_bytes = rest_stack_bytes};
		snprintf(route->pattern, sizeof(route->pattern), "*");
	}
	return limits_check(plan, err);
}
