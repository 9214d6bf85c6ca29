/* SPDX-License-Identifier: MIT */
/* pail stackbound: the most stack that a handler takes, from gcc's call graphs. */
#include "cli/stackbound/callgraph.h"
#include "cli/cli.h"
#include "cli/stackbound/stack_known.h"

#include "base/file.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 << 20, RED_ZONE_BYTES = 128 };
enum {
	KEY_JSON = 0x200,
	KEY_STACK,
	KEY_DEPTH,
	KEY_CALLS,
	KEY_RED_ZONE,
	KEY_NO_MEASURED,
	KEY_NO_SERVER
};

/* The functions of a plug-in that run on a request's stack. */
static const char *const hooks[] = {"pail_handle", "pail_request_end"};

struct list {
	struct callgraph_fact *fact;
	size_t count;
};

struct words {
	const char **entry, **file;
	size_t entry_count, file_count;
	struct list stack, depth, calls;
	uint64_t red_zone_bytes;
	bool json, no_measured, no_server;
	struct err err; /* of the first word that is wrong */
};

/* -- words ------------------------------------------------------------------------ */

static void *one_more(void *list, size_t count, size_t item_bytes)
{
	void *grown = reallocarray(list, count + 1, item_bytes);
	if (!grown)
		abort();
	return grown;
}

static struct callgraph_fact *list_add(struct list *list, const char *function)
{
	list->fact = one_more(list->fact, list->count, sizeof(*list->fact));
	list->fact[list->count] = (struct callgraph_fact){.function = function};
	return &list->fact[list->count++];
}

static void add_text(const char ***list, size_t *count, const char *text)
{
	*list = one_more(*list, *count, sizeof(**list));
	(*list)[(*count)++] = text;
}

/* F=VALUE: F is cut off in place, VALUE returned; or NULL. At the last '=', since
 * C++ names have some of their own ("operator=="). */
static const char *cut_fact(struct words *words, const char *option, char *arg)
{
	char *equals = strrchr(arg, '=');

	if (equals && equals > arg && equals[1]) {
		*equals = 0;
		return equals + 1;
	}
	err_usage(&words->err, "%s: '%s' is not FUNCTION=VALUE", option, arg);
	return NULL;
}

static error_t parse_fact(int key, char *arg, struct words *words)
{
	const char *value;
	uint64_t number = 0;

	if (words->err.kind)
		return 0;
	switch (key) {
	case KEY_STACK:
		value = cut_fact(words, "--stack", arg);
		if (value && cli_parse_size("--stack", value, &number, &words->err) == 0)
			list_add(&words->stack, arg)->value = number;
		break;
	case KEY_DEPTH:
		value = cut_fact(words, "--depth", arg);
		if (value && cli_parse_count("--depth", value, &number, &words->err) == 0)
			list_add(&words->depth, arg)->value = number;
		break;
	case KEY_CALLS:
		value = cut_fact(words, "--calls", arg);
		if (value)
			list_add(&words->calls, arg)->target = value;
		break;
	default: cli_parse_size("--red-zone", arg, &words->red_zone_bytes, &words->err);
	}
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct words *words = state->input;

	switch (key) {
	case 'e': add_text(&words->entry, &words->entry_count, arg); return 0;
	case KEY_JSON: words->json = true; return 0;
	case KEY_NO_MEASURED: words->no_measured = true; return 0;
	case KEY_NO_SERVER: words->no_server = true; return 0;
	case KEY_STACK:
	case KEY_DEPTH:
	case KEY_CALLS:
	case KEY_RED_ZONE: return parse_fact(key, arg, words);
	case ARGP_KEY_ARG: add_text(&words->file, &words->file_count, arg); return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "name the FILE.ci that gcc -fcallgraph-info=su,da wrote");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"entry", 'e', "FUNCTION", 0,
	 "Start here, any number of times (pail_handle and, if there is one, pail_request_end)",
	 0},
	{"stack", KEY_STACK, "FUNCTION=SIZE", 0,
	 "All that a function takes, its callees too; of a frame that varies its size alone",
	 0},
	{"depth", KEY_DEPTH, "FUNCTION=N", 0,
	 "A function that recurs is entered at most N times at a time", 0},
	{"calls", KEY_CALLS, "FUNCTION=FUNCTION", 0,
	 "The first calls the second by pointer; all that it may call so must be given", 0},
	{"red-zone", KEY_RED_ZONE, "SIZE", 0,
	 "What a function may use below its frame: 128, of x86-64; 0 for aarch64", 0},
	{"no-measured", KEY_NO_MEASURED, NULL, 0,
	 "Without the figures of libc's functions that were measured", 0},
	{"no-server", KEY_NO_SERVER, NULL, 0,
	 "Without the figures of the server's own functions: for a program that is no plug-in",
	 0},
	{"json", KEY_JSON, NULL, 0, "One JSON document, pail.stackbound/1", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};
static const struct argp argp = {
	options,
	parse,
	"FILE.ci...",
	"Tells the most stack that a handler takes, from the call graph that gcc writes with "
	"-fcallgraph-info=su,da.\vWhere there is no bound (recursion, calls by pointer, frames "
	"that vary, functions that nobody has a figure for) it says where, and ends with 1.",
	NULL,
	NULL,
	NULL};

/* -- what is found ------------------------------------------------------------------- */

static const char *const trouble_names[] = {"cycle", "indirect", "dynamic", "external"};

static struct str title(const struct callgraph *graph, size_t f)
{
	return graph->function[f].title;
}

static struct str place(const struct callgraph *graph, size_t f)
{
	struct str where = graph->function[f].where;
	return where.length ? where : STR("-");
}

static const char *kind_name(enum callgraph_kind kind)
{
	switch (kind) {
	case CALLGRAPH_STATIC: return "static";
	case CALLGRAPH_BOUNDED: return "dynamic,bounded";
	case CALLGRAPH_DYNAMIC: return "dynamic";
	default: return "external";
	}
}

/* Who calls f first, for "external strlcpy, called at a.c:3:2". */
static struct str first_call_of(const struct callgraph *graph, size_t f)
{
	for (size_t i = 0; i < graph->call_count; i++)
		if (graph->call[i].to == f && graph->call[i].where.length)
			return graph->call[i].where;
	return STR("-");
}

static void problem_text(struct buf *out, const struct callgraph *graph,
			 const struct callgraph_problem *problem)
{
	struct str name = title(graph, problem->function);

	switch (problem->trouble) {
	case CALLGRAPH_CYCLE:
		buf_printf(out, "  cycle     ");
		for (size_t i = 0; i < problem->cycle_length; i++)
			buf_printf(out, "%.*s -> ", STR_ARG(title(graph, problem->cycle[i])));
		buf_printf(out, "%.*s (--depth FUNCTION=N for each)\n", STR_ARG(name));
		return;
	case CALLGRAPH_INDIRECT:
		buf_printf(out,
			   "  indirect  %.*s calls by pointer at %.*s (--calls %.*s=TARGET)\n",
			   STR_ARG(name), STR_ARG(problem->where), STR_ARG(name));
		return;
	case CALLGRAPH_FRAME:
		buf_printf(out,
			   "  dynamic   %.*s at %.*s has a frame of no fixed size "
			   "(--stack %.*s=SIZE)\n",
			   STR_ARG(name), STR_ARG(place(graph, problem->function)),
			   STR_ARG(name));
		return;
	default:
		buf_printf(out,
			   "  external  %.*s, called at %.*s, of unknown stack "
			   "(its FILE.ci, or --stack %.*s=SIZE)\n",
			   STR_ARG(name), STR_ARG(first_call_of(graph, problem->function)),
			   STR_ARG(name));
	}
}

static void bound_text(struct buf *out, const struct callgraph *graph, size_t entry,
		       const struct callgraph_bound *bound, const struct list *stack)
{
	static const char *const heads[] = {">bytes", "function", "at"};
	struct table *table = table_new(3, heads);
	char size[UNITS_TEXT_MAX];

	if (bound->problem_count)
		buf_printf(out, "%.*s: no bound; at least %" PRIu64 " bytes\n",
			   STR_ARG(title(graph, entry)), bound->bytes);
	else
		buf_printf(out, "%.*s: at most %" PRIu64 " bytes (%s)\n",
			   STR_ARG(title(graph, entry)), bound->bytes,
			   units_format_size(bound->bytes, size));
	for (size_t i = 0; i < bound->problem_count; i++)
		problem_text(out, graph, &bound->problem[i]);
	for (size_t i = 0; i < bound->path_length; i++) {
		const struct callgraph_step *step = &bound->path[i];
		table_cell(table, "%" PRIu64, step->bytes);
		if (step->turns > 1)
			table_cell(table, "%.*s, %" PRIu64 " times",
				   STR_ARG(title(graph, step->function)), step->turns);
		else
			table_cell(table, "%.*s", STR_ARG(title(graph, step->function)));
		table_cell(table, "%.*s", STR_ARG(place(graph, step->function)));
	}
	if (bound->tail_bytes) {
		table_cell(table, "%" PRIu64, bound->tail_bytes);
		table_cell(table, "red zone");
		table_cell(table, "-");
	}
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
	for (size_t i = 0; i < stack->count; i++)
		if (stack->fact[i].used && stack->fact[i].source)
			buf_printf(out, "  rests on %s: %" PRIu64 " bytes (%s)\n",
				   stack->fact[i].function, stack->fact[i].value,
				   stack->fact[i].source);
}

static void json_place(struct json *json, const char *key, struct str where)
{
	json_key(json, key);
	if (where.length)
		json_str(json, where);
	else
		json_null(json);
}

static void problem_json(struct json *json, const struct callgraph *graph,
			 const struct callgraph_problem *problem)
{
	struct str where = problem->trouble == CALLGRAPH_UNKNOWN
				   ? first_call_of(graph, problem->function)
				   : problem->where;

	json_object_begin(json);
	json_pair_text(json, "kind", trouble_names[problem->trouble]);
	json_key(json, "function");
	json_str(json, title(graph, problem->function));
	json_place(json, "where", where);
	if (problem->cycle) {
		json_key(json, "cycle");
		json_array_begin(json);
		for (size_t i = 0; i < problem->cycle_length; i++)
			json_str(json, title(graph, problem->cycle[i]));
		json_array_end(json);
	}
	json_object_end(json);
}

static void bound_json(struct json *json, const struct callgraph *graph, size_t entry,
		       const struct callgraph_bound *bound, const struct list *stack)
{
	json_object_begin(json);
	json_key(json, "entry");
	json_str(json, title(graph, entry));
	json_pair_bool(json, "bounded", bound->problem_count == 0);
	json_key(json, "bytes");
	if (bound->problem_count)
		json_null(json);
	else
		json_u64(json, bound->bytes);
	json_pair_u64(json, "at_least_bytes", bound->bytes);
	json_key(json, "path");
	json_array_begin(json);
	for (size_t i = 0; i < bound->path_length; i++) {
		const struct callgraph_step *step = &bound->path[i];
		const struct callgraph_function *f = &graph->function[step->function];
		json_object_begin(json);
		json_key(json, "function");
		json_str(json, f->title);
		json_pair_u64(json, "bytes", step->bytes);
		json_pair_u64(json, "turns", step->turns);
		json_pair_text(json, "kind", kind_name(f->kind));
		json_place(json, "where", f->where);
		json_object_end(json);
	}
	json_array_end(json);
	json_pair_u64(json, "below_bytes", bound->tail_bytes);
	json_key(json, "problems");
	json_array_begin(json);
	for (size_t i = 0; i < bound->problem_count; i++)
		problem_json(json, graph, &bound->problem[i]);
	json_array_end(json);
	json_key(json, "rests_on");
	json_array_begin(json);
	for (size_t i = 0; i < stack->count; i++) {
		const struct callgraph_fact *fact = &stack->fact[i];
		if (!fact->used)
			continue;
		json_object_begin(json);
		json_pair_text(json, "function", fact->function);
		json_pair_u64(json, "bytes", fact->value);
		json_pair_text(json, "source", fact->source ? fact->source : "--stack");
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

/* -- the work --------------------------------------------------------------------------- */

static int read_files(struct callgraph *graph, const struct words *words, struct err *err)
{
	for (size_t i = 0; i < words->file_count; i++) {
		char *bytes;
		size_t length;
		if (file_read_all(words->file[i], FILE_BYTES_MAX, &bytes, &length, err) < 0)
			return -1;
		int result = callgraph_add(graph, words->file[i], bytes, length, err);
		free(bytes);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* A fact about a function that is nowhere is a slip of the pen. */
static int facts_check(const struct callgraph *graph, const struct list *list, struct err *err)
{
	size_t found;

	for (size_t i = 0; i < list->count; i++)
		if (callgraph_find(graph, str_of(list->fact[i].function), &found, 1) == 0)
			return err_usage(err, "no function '%s' in these files",
					 list->fact[i].function);
	return 0;
}

static int entry_find(const struct callgraph *graph, const char *name, size_t *entry,
		      struct err *err)
{
	size_t found[2];
	size_t count = callgraph_find(graph, str_of(name), found, 2);

	if (count == 0 || graph->function[found[0]].kind == CALLGRAPH_EXTERNAL)
		return err_set(err, "no function '%s' is defined in these files (--entry)",
			       name);
	if (count > 1) {
		struct str other = title(graph, found[0]);
		return err_usage(
			err, "more than one function '%s'; write '%.*s', or give fewer files",
			name, STR_ARG(other));
	}
	*entry = found[0];
	return 0;
}

static int entries_default(const struct callgraph *graph, struct words *words, struct err *err)
{
	size_t found;

	if (words->entry_count)
		return 0;
	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
		if (callgraph_find(graph, str_of(hooks[i]), &found, 1) == 1 &&
		    graph->function[found].kind != CALLGRAPH_EXTERNAL)
			add_text(&words->entry, &words->entry_count, hooks[i]);
	if (words->entry_count)
		return 0;
	return err_set(err,
		       "no pail_handle() in these files; name what to start from with --entry");
}

/* 0 all bounded, 1 not, -1 with a message. */
static int answer(const struct callgraph *graph, const struct words *words, struct buf *out,
		  struct err *err)
{
	struct callgraph_facts facts = {
		words->red_zone_bytes, words->stack.fact, words->stack.count, words->depth.fact,
		words->depth.count,    words->calls.fact, words->calls.count};
	struct json json;
	int result = 0;

	json_init(&json, out);
	if (words->json) {
		json_object_begin(&json);
		json_pair_text(&json, "schema", "pail.stackbound/1");
		json_pair_u64(&json, "red_zone_bytes", words->red_zone_bytes);
		json_key(&json, "entries");
		json_array_begin(&json);
	}
	for (size_t i = 0; i < words->entry_count && result >= 0; i++) {
		struct callgraph_bound bound = {0};
		size_t entry = 0;
		for (size_t k = 0; k < words->stack.count; k++)
			words->stack.fact[k].used = false;
		if (entry_find(graph, words->entry[i], &entry, err) < 0 ||
		    callgraph_bound(graph, entry, &facts, &bound, err) < 0)
			return -1;
		if (words->json)
			bound_json(&json, graph, entry, &bound, &words->stack);
		else
			bound_text(out, graph, entry, &bound, &words->stack);
		result |= bound.problem_count > 0;
		callgraph_bound_release(&bound);
	}
	if (words->json) {
		json_array_end(&json);
		json_object_end(&json);
	}
	return result;
}

static void add_known(struct list *list, const struct stack_known *known, size_t count,
		      const char *source)
{
	for (size_t i = 0; i < count; i++) {
		struct callgraph_fact *fact = list_add(list, known[i].function);
		fact->value = known[i].bytes;
		fact->source = source;
	}
}

static int run(const char *argv0, struct words *words, struct callgraph *graph)
{
	struct err *err = &words->err;
	struct buf out;

	if (err->kind || read_files(graph, words, err) < 0 ||
	    facts_check(graph, &words->stack, err) < 0 ||
	    facts_check(graph, &words->depth, err) < 0 ||
	    entries_default(graph, words, err) < 0)
		return cli_fail(argv0, err);
	/* Behind what the user said, which is found first. */
	if (!words->no_server)
		add_known(&words->stack, stack_server, stack_server_count, stack_server_source);
	if (!words->no_measured)
		add_known(&words->stack, stack_known, stack_known_count, stack_known_source);
	buf_init(&out);
	int result = answer(graph, words, &out, err);
	int printed = result < 0 ? cli_fail(argv0, err) : cli_print(argv0, &out);
	buf_release(&out);
	return printed ? printed : result ? EXIT_NO : EXIT_DONE;
}

int cmd_stackbound(int argc, char **argv)
{
	struct words words = {.red_zone_bytes = RED_ZONE_BYTES};
	struct callgraph graph;

	if (cli_argp_parse(&argp, argc, argv, 0, &words) != 0)
		return EXIT_USAGE;
	callgraph_init(&graph);
	int code = run(argv[0], &words, &graph);
	callgraph_release(&graph);
	free(words.stack.fact);
	free(words.depth.fact);
	free(words.calls.fact);
	free(words.entry);
	free(words.file);
	return code;
}
