/* SPDX-License-Identifier: MIT */
/* pail merge: the traces of several hosts or runs in one. */
#include "cli/cli.h"

#include "cli/progress.h"
#include "libtrace/trace.h"

#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_ALIGN = 256 };

struct words {
	const char *output;
	enum trace_align align;
	char **traces;
	int count;
};

static const struct argp_option options[] = {
	{"output", 'o', "ALL", 0, "the trace to write", 0},
	{"align", KEY_ALIGN, "clock|start|chain", 0,
	 "each begins when its clock says it did, all at once, or one behind the other (clock)",
	 0},
	{0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
	static const char *const aligns[] = {"clock", "start", "chain"};
	struct words *w = state->input;
	switch (key) {
	case 'o': w->output = text; break;
	case KEY_ALIGN:
		for (int i = 0; i < 3; i++)
			if (strcmp(text, aligns[i]) == 0) {
				w->align = (enum trace_align)i;
				return 0;
			}
		argp_error(state, "--align is clock, start or chain, not '%s'", text);
		break;
	case ARGP_KEY_ARGS:
		w->traces = state->argv + state->next;
		w->count = state->argc - state->next;
		break;
	case ARGP_KEY_END:
		if (w->count == 0)
			argp_error(state, "wants traces to merge");
		if (!w->output)
			argp_error(state, "wants -o ALL to write");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"TRACE...",
	"Writes one trace with all that is in several, such as those of several hosts.\v"
	"Counts are summed, and what was said of each is kept in meta. The file appears when it"
	" is whole.",
	NULL,
	NULL,
	NULL};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	interrupted = sig;
}

static int step(int64_t requests, void *arg)
{
	progress_at(arg, (uint64_t)requests);
	return interrupted != 0;
}

static void say(const char *argv0, const struct words *w)
{
	struct err err = {0};
	struct trace *trace;
	char key[64];
	if (trace_open(w->output, &trace, &err) != 0)
		return;
	for (int i = 0; i < w->count; i++) {
		snprintf(key, sizeof(key), "source.%d.left_out", i + 1);
		if (trace_meta(trace, key))
			fprintf(stderr, "%s: not merged of \"%s\": %s\n", argv0, w->traces[i],
				trace_meta(trace, key));
	}
	trace_close(trace);
	fprintf(stderr, "%s: %d traces in \"%s\"\n", argv0, w->count, w->output);
}

static uint64_t requests_of(const struct words *w)
{
	uint64_t all = 0;
	for (int i = 0; i < w->count; i++) {
		struct err ignored;
		struct trace *trace;
		if (trace_open(w->traces[i], &trace, &ignored) != 0)
			return 0; /* the merge says why */
		all += progress_requests(trace);
		trace_close(trace);
	}
	return all;
}

int cmd_merge(int argc, char **argv)
{
	struct words w = {0};
	struct err err = {0};
	if (cli_argp_parse(&argp, argc, argv, 0, &w) != 0)
		return EXIT_USAGE;
	struct sigaction action = {.sa_handler = interrupt};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	struct progress progress;
	progress_begin(&progress, argv[0], "requests", requests_of(&w));
	int rc = trace_merge(w.output, w.traces, (size_t)w.count, w.align, step, &progress,
			     &err);
	progress_end(&progress);
	if (rc != 0)
		return cli_fail(argv[0], &err);
	say(argv[0], &w);
	return EXIT_DONE;
}
