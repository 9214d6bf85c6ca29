/* SPDX-License-Identifier: MIT */
/* pail attribute: tells the requests of a recording anew. */
#include "cli/cli.h"

#include "libtrace/attribution/again.h"

#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_SPLIT = 256, KEY_DETAIL, KEY_HANDOFF };

struct words {
	const char *trace, *output;
	int split, detail; /* -1: as recorded */
	bool no_conditions;
};

static const struct argp_option options[] = {
	{"output", 'o', "NEW", 0, "the trace to write (TRACE itself)", 0},
	{"split", KEY_SPLIT, "auto|http|message|connection|marker", 0,
	 "what a request is (as when it was recorded)", 0},
	{"detail", KEY_DETAIL, "summary|events|stacks", 0,
	 "what to keep of a request, at most what was recorded (as when it was recorded)", 0},
	{"handoff", KEY_HANDOFF, "auto|condvar", 0,
	 "auto: overlook the queues under condition variables that were recorded with"
	 " --handoff condvar (condvar)",
	 0},
	{0}};

static int choose(struct argp_state *state, const char *option, const char *text,
		  const char *const *choices, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(choices[i], text) == 0)
			return i;
	argp_error(state, "--%s cannot be '%s'", option, text);
	return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	static const char *const handoffs[] = {"auto", "condvar"};
	struct words *w = state->input;
	switch (key) {
	case 'o': w->output = text; break;
	case KEY_SPLIT: w->split = choose(state, "split", text, rows_split_name, 5); break;
	case KEY_DETAIL: w->detail = choose(state, "detail", text, rows_detail_name, 3); break;
	case KEY_HANDOFF:
		w->no_conditions = choose(state, "handoff", text, handoffs, 2) == 0;
		break;
	case ARGP_KEY_ARG:
		if (w->trace)
			argp_error(state, "takes one trace, not '%s' as well", text);
		w->trace = text;
		break;
	case ARGP_KEY_END:
		if (!w->trace)
			argp_error(state, "wants a trace");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"TRACE",
	"Tells the requests of a recording anew: by the rules of this pail, or with other"
	" options.\v"
	"The trace must have been recorded with --keep-raw. The new one takes its place when it"
	" is whole; until then, and if anything goes wrong, the old one stays as it is.",
	NULL,
	NULL,
	NULL};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	interrupted = sig;
}

static int step(int64_t events, void *context)
{
	if (*(const bool *)context)
		fprintf(stderr, "\r\033[K%.1f M events", (double)events / 1e6);
	return interrupted != 0;
}

static void say(const char *argv0, const char *path, const struct again_summary *s)
{
	static const char *const confidence[] = {"exact", "inferred", "ambiguous"};
	fprintf(stderr, "%s: %" PRId64 " requests of %" PRId64 " events, in \"%s\":", argv0,
		s->totals.requests, s->events, path);
	for (int i = 0; i < 3; i++)
		fprintf(stderr, "%s %" PRId64 " %s", i > 0 ? "," : "",
			s->totals.by_confidence[i], confidence[i]);
	fputc('\n', stderr);
	if (s->missing > 0)
		fprintf(stderr, "%s: %" PRId64 " events are missing in the trace\n", argv0,
			s->missing);
	if (s->cut)
		fprintf(stderr, "%s: the recording was cut short\n", argv0);
	if (s->missing > 0 || s->cut)
		fprintf(stderr, "%s: %" PRId64 " requests are marked incomplete\n", argv0,
			s->totals.incomplete);
}

static int attribute(const char *argv0, const struct words *w, struct trace *trace,
		     struct err *err)
{
	bool progress = isatty(STDERR_FILENO);
	enum attribute_split split;
	enum rows_detail detail;
	if (again_recorded(trace, &split, &detail, err) != 0)
		return -1;
	if (w->detail > (int)detail)
		return err_usage(err, "--detail %s: \"%s\" was recorded with --detail %s",
				 rows_detail_name[w->detail], w->trace,
				 rows_detail_name[detail]);
	struct again_options o = {
		.trace_path = w->output ? w->output : w->trace,
		.split = w->split >= 0 ? (enum attribute_split)w->split : split,
		.detail = w->detail >= 0 ? (enum rows_detail)w->detail : detail,
		.no_conditions = w->no_conditions,
		.step = step,
		.context = &progress,
	};
	struct again_summary summary;
	int rc = again_attribute(trace, &o, &summary, err);
	if (progress)
		fprintf(stderr, "\r\033[K");
	if (rc == 0)
		say(argv0, o.trace_path, &summary);
	return rc;
}

int cmd_attribute(int argc, char **argv)
{
	struct words w = {.split = -1, .detail = -1};
	struct err err = {0};
	struct trace *trace;
	if (cli_argp_parse(&argp, argc, argv, 0, &w) != 0)
		return EXIT_USAGE;
	struct sigaction action = {.sa_handler = interrupt};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (trace_open(w.trace, &trace, &err) != 0)
		return cli_fail(argv[0], &err);
	int rc = attribute(argv[0], &w, trace, &err);
	trace_close(trace);
	return rc == 0 ? EXIT_DONE : cli_fail(argv[0], &err);
}
