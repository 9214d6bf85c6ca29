/* SPDX-License-Identifier: MIT */
#include "cli/calculating/calculation.h"

#include "base/json.h"
#include "base/units.h"
#include "cli/cli.h"
#include "simulator/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The inputs of all functions; each function names those it takes. */
enum input {
	IN_LOAD,
	IN_SERVERS,
	IN_TARGET,
	IN_SOURCES,
	IN_PER_SOURCE,
	IN_PEAKEDNESS,
	IN_CAPACITY,
	IN_LAMBDA,
	IN_MU,
	IN_PATIENCE,
	IN_N,
	IN_FAILURES,
	IN_COUNT,
	IN_QUANTILE,
	IN_CONFIDENCE,
	IN_THRESHOLD,
	IN_SCALE,
	IN_SHAPE,
	IN_EXCEED,
	IN_PERIOD,
	IN_X,
	IN_CLASSES, /* a list: load:units,... */
	INPUTS,
};
static_assert((int)INPUTS == (int)CALCULATION_INPUTS, "the header says how many");

enum { CLASSES_MAX = 64, VALUES_MAX = CLASSES_MAX };

#define WHOLE_MAX 9007199254740992.0 /* 2^53: every whole number below is a double */

const struct calculation_input calculation_inputs[INPUTS] = {
	[IN_LOAD] = {"load", "ERLANG", "offered load: arrival rate x mean service", false, 0,
		     1e12},
	[IN_SERVERS] = {"servers", "N", "servers, or buckets", false, 0, 1e9},
	[IN_TARGET] = {"target", "P", "highest share of rejections", false, 1e-300, 1},
	[IN_SOURCES] = {"sources", "N", "clients of a closed loop", true, 1, 1e9},
	[IN_PER_SOURCE] = {"per-source", "A", "load that one idle client offers", false, 0,
			   1e12},
	[IN_PEAKEDNESS] = {"peakedness", "Z", "variance / mean of the unlimited occupancy",
			   false, 1e-9, 1e9},
	[IN_CAPACITY] = {"capacity", "N", "places in all, or units shared", true, 0, 268435456},
	[IN_LAMBDA] = {"lambda", "RATE", "arrivals per unit of time", false, 1e-300, 1e300},
	[IN_MU] = {"mu", "RATE", "services per server and unit of time", false, 1e-300, 1e300},
	[IN_PATIENCE] = {"patience", "T", "longest wait, in the same unit of time", false, 0,
			 1e300},
	[IN_N] = {"n", "N", "independent trials", true, 1, WHOLE_MAX},
	[IN_FAILURES] = {"failures", "N", "failures among them", true, 0, WHOLE_MAX},
	[IN_COUNT] = {"count", "N", "events seen", true, 0, 1e15},
	[IN_QUANTILE] = {"quantile", "P", "quantile that the maximum is to bound", false, 1e-12,
			 1 - 1e-15},
	[IN_CONFIDENCE] = {"confidence", "P", "confidence, 0 to 1 (default 0.95)", false, 1e-12,
			   1 - 1e-12},
	[IN_THRESHOLD] = {"threshold", "X", "where the tail begins", false, -1e300, 1e300},
	[IN_SCALE] = {"scale", "X", "scale of the tail", false, 1e-300, 1e300},
	[IN_SHAPE] = {"shape", "XI", "shape of the tail; 0 is exponential", false, -100, 100},
	[IN_EXCEED] = {"exceed", "P", "share of values above the threshold", false, 0, 1},
	[IN_PERIOD] = {"period", "N", "values in which the level is passed once", false, 1,
		       1e300},
	[IN_X] = {"x", "X", "the level", false, -1e300, 1e300},
	[IN_CLASSES] = {"classes", "A:B,...", "load and units of each class", false, 0, 0},
};

struct request {
	double in[INPUTS];
	bool given[INPUTS];
	double class_load[CLASSES_MAX];
	uint64_t class_units[CLASSES_MAX];
	size_t class_count;
};

struct answer {
	double value[VALUES_MAX];
	const char *name[VALUES_MAX]; /* of two values */
	size_t count;
	bool whole; /* value[0] is a whole number */
	bool list;  /* one value per class */
};

static uint64_t whole(const struct request *r, enum input input)
{
	return (uint64_t)r->in[input];
}

static void one(struct answer *a, double value)
{
	a->value[0] = value;
	a->count = 1;
}

static void pair(struct answer *a, const char *n0, double v0, const char *n1, double v1)
{
	a->value[0] = v0, a->value[1] = v1;
	a->name[0] = n0, a->name[1] = n1;
	a->count = 2;
}

static void count_of(struct answer *a, uint64_t value)
{
	one(a, value == UINT64_MAX ? NAN : (double)value);
	a->whole = true;
}

static struct gpd tail_of(const struct request *r)
{
	return (struct gpd){r->in[IN_THRESHOLD], r->in[IN_SCALE], r->in[IN_SHAPE],
			    r->in[IN_EXCEED]};
}

/* Whole servers go by the recursion, others by the continuous form. */
static void calc_erlang_b(const struct request *r, struct answer *a)
{
	double c = r->in[IN_SERVERS];
	one(a, c == floor(c) ? erlang_b(r->in[IN_LOAD], (uint64_t)c)
			     : erlang_b_real(r->in[IN_LOAD], c));
}

static void calc_erlang_b_servers(const struct request *r, struct answer *a)
{
	count_of(a, erlang_b_servers(r->in[IN_LOAD], r->in[IN_TARGET]));
}

static void calc_erlang_b_elasticity(const struct request *r, struct answer *a)
{
	one(a, erlang_b_elasticity(r->in[IN_LOAD], whole(r, IN_SERVERS)));
}

static void calc_erlang_c(const struct request *r, struct answer *a)
{
	one(a, erlang_c(r->in[IN_LOAD], whole(r, IN_SERVERS)));
}

static void calc_engset(const struct request *r, struct answer *a)
{
	struct engset e =
		engset(whole(r, IN_SOURCES), whole(r, IN_SERVERS), r->in[IN_PER_SOURCE]);
	pair(a, "time", e.time, "call", e.call);
}

static void calc_hayward(const struct request *r, struct answer *a)
{
	one(a, hayward(r->in[IN_LOAD], r->in[IN_PEAKEDNESS], r->in[IN_SERVERS]));
}

static void calc_kaufman_roberts(const struct request *r, struct answer *a)
{
	if (kaufman_roberts(whole(r, IN_CAPACITY), r->class_count, r->class_load,
			    r->class_units, a->value) < 0)
		a->value[0] = NAN;
	a->count = r->class_count;
	a->list = true;
}

static void calc_mmck(const struct request *r, struct answer *a)
{
	one(a, mmck(r->in[IN_LOAD], whole(r, IN_SERVERS), whole(r, IN_CAPACITY)));
}

static void calc_mmc_d(const struct request *r, struct answer *a)
{
	one(a, mmc_d(r->in[IN_LAMBDA], r->in[IN_MU], whole(r, IN_SERVERS), r->in[IN_PATIENCE]));
}

static void calc_zero_failures(const struct request *r, struct answer *a)
{
	one(a, zero_failures(whole(r, IN_N), r->in[IN_CONFIDENCE]));
}

static void calc_wilks(const struct request *r, struct answer *a)
{
	count_of(a, wilks(r->in[IN_QUANTILE], r->in[IN_CONFIDENCE]));
}

static void calc_clopper_pearson(const struct request *r, struct answer *a)
{
	struct interval i =
		clopper_pearson(whole(r, IN_FAILURES), whole(r, IN_N), r->in[IN_CONFIDENCE]);
	pair(a, "low", i.low, "high", i.high);
}

static void calc_poisson_upper(const struct request *r, struct answer *a)
{
	one(a, poisson_upper(whole(r, IN_COUNT), r->in[IN_CONFIDENCE]));
}

static void calc_gpd_level(const struct request *r, struct answer *a)
{
	struct gpd tail = tail_of(r);
	one(a, gpd_level(&tail, r->in[IN_PERIOD]));
}

static void calc_gpd_exceed(const struct request *r, struct answer *a)
{
	struct gpd tail = tail_of(r);
	one(a, gpd_exceed(&tail, r->in[IN_X]));
}

struct function {
	const char *name;
	void (*run)(const struct request *r, struct answer *a);
	const char *summary;
	const char *range; /* said when the answer is not a number */
	enum input takes[6];
	size_t take_count;
	enum input optional;
	bool whole_servers;
};

static const struct function functions[] = {
	{"erlang-b",
	 calc_erlang_b,
	 "share of Poisson arrivals that find all servers busy",
	 "--load must be above 0 when --servers is no whole number",
	 {IN_LOAD, IN_SERVERS},
	 2,
	 INPUTS,
	 false},
	{"erlang-b-servers",
	 calc_erlang_b_servers,
	 "least servers with erlang-b <= target",
	 "--target must be above 0",
	 {IN_LOAD, IN_TARGET},
	 2,
	 INPUTS,
	 true},
	{"erlang-b-elasticity",
	 calc_erlang_b_elasticity,
	 "percent more rejections for 1 % more load",
	 "",
	 {IN_LOAD, IN_SERVERS},
	 2,
	 INPUTS,
	 true},
	{"erlang-c",
	 calc_erlang_c,
	 "share that must wait in M/M/c",
	 "--load must be below --servers: else the queue grows for ever",
	 {IN_LOAD, IN_SERVERS},
	 2,
	 INPUTS,
	 true},
	{"engset",
	 calc_engset,
	 "a closed loop: congestion by time and by call",
	 "",
	 {IN_SOURCES, IN_SERVERS, IN_PER_SOURCE},
	 3,
	 INPUTS,
	 true},
	{"hayward",
	 calc_hayward,
	 "erlang-b for arrivals of a given peakedness",
	 "--load and --peakedness must be above 0",
	 {IN_LOAD, IN_PEAKEDNESS, IN_SERVERS},
	 3,
	 INPUTS,
	 false},
	{"kaufman-roberts",
	 calc_kaufman_roberts,
	 "blocking of each class that shares units",
	 "every class is LOAD:UNITS with UNITS >= 1",
	 {IN_CAPACITY, IN_CLASSES},
	 2,
	 INPUTS,
	 true},
	{"mmck",
	 calc_mmck,
	 "share of arrivals that find a queue of finite room full",
	 "--capacity counts those in service too: at least --servers, and --servers at least 1",
	 {IN_LOAD, IN_SERVERS, IN_CAPACITY},
	 3,
	 INPUTS,
	 true},
	{"mmc-d",
	 calc_mmc_d,
	 "share that leaves M/M/c after waiting a fixed time",
	 "--servers must be at least 1",
	 {IN_LAMBDA, IN_MU, IN_SERVERS, IN_PATIENCE},
	 4,
	 INPUTS,
	 true},
	{"zero-failures",
	 calc_zero_failures,
	 "upper bound of a rate never seen in n trials",
	 "",
	 {IN_N},
	 1,
	 IN_CONFIDENCE,
	 true},
	{"wilks",
	 calc_wilks,
	 "samples for whose maximum to bound a quantile",
	 "",
	 {IN_QUANTILE},
	 1,
	 IN_CONFIDENCE,
	 true},
	{"clopper-pearson",
	 calc_clopper_pearson,
	 "exact bounds of a binomial rate",
	 "--failures can't be more than --n",
	 {IN_FAILURES, IN_N},
	 2,
	 IN_CONFIDENCE,
	 true},
	{"poisson-upper",
	 calc_poisson_upper,
	 "upper bound of a mean of which COUNT were seen",
	 "",
	 {IN_COUNT},
	 1,
	 IN_CONFIDENCE,
	 true},
	{"gpd-level",
	 calc_gpd_level,
	 "level passed once in --period values",
	 "--period x --exceed must be at least 1: the level is below the threshold",
	 {IN_THRESHOLD, IN_SCALE, IN_SHAPE, IN_EXCEED, IN_PERIOD},
	 5,
	 INPUTS,
	 true},
	{"gpd-exceed",
	 calc_gpd_exceed,
	 "share of values above --x",
	 "--x must be at least --threshold: the tail begins there",
	 {IN_THRESHOLD, IN_SCALE, IN_SHAPE, IN_EXCEED, IN_X},
	 5,
	 INPUTS,
	 true},
};
enum { FUNCTIONS = sizeof(functions) / sizeof(*functions) };

static const struct function *function_find(const char *name, struct err *err)
{
	for (size_t i = 0; i < FUNCTIONS; i++) {
		if (strcmp(functions[i].name, name) == 0)
			return &functions[i];
	}
	err_usage(err, "no function '%s'; pail calc --help lists them", name);
	return NULL;
}

static int parse_classes(const char *text, struct request *r, struct err *err)
{
	struct str rest = str_of(text), word, load, units;
	while (rest.length) {
		str_cut(rest, ',', &word, &rest);
		if (r->class_count == CLASSES_MAX)
			return err_usage(err, "--classes: more than %d classes", CLASSES_MAX);
		size_t k = r->class_count++;
		if (!str_cut(word, ':', &load, &units) ||
		    units_parse_double(load, &r->class_load[k], err) < 0 ||
		    units_parse_count(units, &r->class_units[k], err) < 0)
			return err_usage(err, "--classes: '%.*s' is not LOAD:UNITS",
					 STR_ARG(word));
	}
	if (r->class_count == 0)
		return err_usage(err, "--classes: none given");
	return 0;
}

static bool function_takes(const struct function *f, enum input input)
{
	for (size_t i = 0; i < f->take_count; i++) {
		if (f->takes[i] == input)
			return true;
	}
	return f->optional == input;
}

static int parse_input(const struct function *f, enum input input, const char *text,
		       struct request *r, struct err *err)
{
	const struct calculation_input *kind = &calculation_inputs[input];
	char option[32];
	snprintf(option, sizeof(option), "--%s", kind->name);
	r->given[input] = true;
	if (input == IN_CLASSES)
		return parse_classes(text, r, err);
	if (cli_parse_double(option, text, kind->low, kind->high, &r->in[input], err) < 0)
		return -1;
	bool must = kind->whole || (input == IN_SERVERS && f->whole_servers);
	if (must && r->in[input] != floor(r->in[input]))
		return err_usage(err, "%s: '%s' is not a whole number", option, text);
	return 0;
}

static int request_make(const struct function *f, const struct calculation *calculation,
			struct request *r, struct err *err)
{
	r->in[IN_CONFIDENCE] = 0.95;
	for (enum input i = 0; i < INPUTS; i++) {
		bool takes = function_takes(f, i);
		if (calculation->text[i] && !takes)
			return err_usage(err, "%s takes no --%s", f->name,
					 calculation_inputs[i].name);
		if (!calculation->text[i] && takes && i != f->optional)
			return err_usage(err, "%s needs --%s %s (%s)", f->name,
					 calculation_inputs[i].name, calculation_inputs[i].unit,
					 calculation_inputs[i].help);
		if (calculation->text[i] && parse_input(f, i, calculation->text[i], r, err) < 0)
			return -1;
	}
	return 0;
}

static void write_number(struct json *json, double value, bool is_whole)
{
	if (is_whole)
		json_u64(json, (uint64_t)value);
	else
		json_double(json, value);
}

static void write_json(const struct function *f, const struct calculation *calculation,
		       const struct request *r, const struct answer *a, struct buf *out)
{
	struct json json;
	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.calc/1");
	json_pair_text(&json, "function", f->name);
	json_key(&json, "inputs");
	json_object_begin(&json);
	for (enum input i = 0; i < INPUTS; i++) {
		if (!function_takes(f, i))
			continue;
		json_key(&json, calculation_inputs[i].name);
		if (i == IN_CLASSES)
			json_text(&json, calculation->text[i]);
		else
			write_number(&json, r->in[i],
				     calculation_inputs[i].whole ||
					     (i == IN_SERVERS && f->whole_servers));
	}
	json_object_end(&json);
	json_key(&json, "value");
	if (a->list) {
		json_array_begin(&json);
		for (size_t i = 0; i < a->count; i++)
			json_double(&json, a->value[i]);
		json_array_end(&json);
	} else if (a->count == 2) {
		json_object_begin(&json);
		json_pair_double(&json, a->name[0], a->value[0]);
		json_pair_double(&json, a->name[1], a->value[1]);
		json_object_end(&json);
	} else {
		write_number(&json, a->value[0], a->whole);
	}
	json_object_end(&json);
	buf_append_str(out, "\n");
}

static void write_text(const struct answer *a, struct buf *out)
{
	for (size_t i = 0; i < a->count; i++) {
		if (a->name[i])
			buf_printf(out, "%s ", a->name[i]);
		if (a->whole)
			buf_printf(out, "%.0f\n", a->value[i]);
		else
			buf_printf(out, "%.17g\n", a->value[i]);
	}
}

void calculation_list(struct buf *out)
{
	for (size_t i = 0; i < FUNCTIONS; i++) {
		const struct function *f = &functions[i];
		buf_printf(out, "  %s", f->name);
		for (size_t k = 0; k < f->take_count; k++)
			buf_printf(out, " --%s", calculation_inputs[f->takes[k]].name);
		if (f->optional != INPUTS)
			buf_printf(out, " [--%s]", calculation_inputs[f->optional].name);
		buf_printf(out, "\n      %s\n", f->summary);
	}
}

int calculation_work(const struct calculation *calculation, bool json, struct buf *out,
		     struct err *err)
{
	struct request request = {0};
	const struct function *f = function_find(calculation->function, err);
	if (!f || request_make(f, calculation, &request, err) < 0)
		return -1;
	struct answer answer = {0};
	f->run(&request, &answer);
	for (size_t i = 0; i < answer.count; i++) {
		if (!isfinite(answer.value[i]))
			return err_usage(err, "%s has no answer here: %s", f->name, f->range);
	}
	if (json)
		write_json(f, calculation, &request, &answer, out);
	else
		write_text(&answer, out);
	return 0;
}
