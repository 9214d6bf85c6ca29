/* SPDX-License-Identifier: MIT */
/* pail combine: the parts of a sharded simulation, joined. */
#include "cli/cli.h"
#include "cli/planning/sweep.h"

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>

enum { KEY_JSON = 0x200, KEY_CSV };

struct options {
	char **paths;
	size_t count;
	bool json;
};

static const struct argp_option argp_options[] = {
	{"json", KEY_JSON, NULL, 0, "one JSON document, as of pail simulate", 0},
	{"csv", KEY_CSV, NULL, 0, "comma-separated values (default)", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	(void)arg;
	switch (key) {
	case KEY_JSON: o->json = true; break;
	case KEY_CSV: o->json = false; break;
	case ARGP_KEY_ARGS:
		o->paths = state->argv + state->next;
		o->count = (size_t)(state->argc - state->next);
		break;
	case ARGP_KEY_NO_ARGS: argp_error(state, "name the parts to join"); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int by_candidate(const void *a, const void *b)
{
	const struct sweep_candidate *x = a, *y = b;
	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return x->count < y->count ? -1 : x->count > y->count;
}

static int parts_read(const struct options *o, struct sweep *sweep,
		      struct sweep_candidate **candidates, size_t *count, struct err *err)
{
	struct shard shard = {0};
	bool *seen = NULL;
	int status = 0;
	for (size_t i = 0; status == 0 && i < o->count; i++) {
		status = part_read(o->paths[i], sweep, &shard, candidates, count, err);
		if (status == 0 && !seen && !(seen = calloc(shard.of + 1, sizeof(*seen))))
			status = err_set(err, "out of memory");
		if (status == 0 && seen[shard.index])
			status = err_set(err,
					 "'%s': part %" PRIu64 " of %" PRIu64 " is there twice",
					 o->paths[i], shard.index, shard.of);
		if (status == 0)
			seen[shard.index] = true;
	}
	for (uint64_t i = 1; status == 0 && i <= shard.of; i++) {
		if (!seen[i])
			status = err_set(err, "part %" PRIu64 " of %" PRIu64 " is missing", i,
					 shard.of);
	}
	free(seen);
	if (status == 0 && *count > 0)
		qsort(*candidates, *count, sizeof(**candidates), by_candidate);
	return status;
}

int cmd_combine(int argc, char **argv)
{
	static const struct argp argp = {
		argp_options, parse,
		"PART...",    "Joins the parts that pail simulate --shard wrote.",
		NULL,         NULL,
		NULL};
	struct options options = {0};
	if (cli_argp_parse(&argp, argc, argv, 0, &options) != 0)
		return EXIT_USAGE;
	struct err err = {0};
	struct sweep sweep = {0};
	struct sweep_candidate *candidates = NULL;
	size_t count = 0;
	struct buf out;
	buf_init(&out);
	int code;
	if (parts_read(&options, &sweep, &candidates, &count, &err) < 0) {
		code = cli_fail(argv[0], &err);
	} else {
		if (options.json)
			sweep_json(&sweep, candidates, count, &out);
		else
			sweep_csv(&sweep, candidates, count, &out);
		code = cli_print(argv[0], &out);
	}
	free(candidates);
	buf_release(&out);
	return code;
}
