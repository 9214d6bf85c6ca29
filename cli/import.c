/* SPDX-License-Identifier: MIT */
/* pail import: a trace of what others recorded. */
#include "cli/cli.h"

#include "base/replay.h"
#include "cli/importing/importer.h"
#include "cli/progress.h"
#include "libtrace/trace.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_FORMAT = 256, PROGRESS_ROWS = 1 << 17 };

static const struct format {
	const char *name;
	import_open *open;
	bool many; /* a file is one request, so there may be several */
} formats[] = {
	{"csv", import_csv_open, false},
	{"rep", import_rep_open, true},
	{"mtrace", import_mtrace_open, false},
	{"log", import_log_open, false},
};
enum { FORMATS = sizeof(formats) / sizeof(*formats) };

struct words {
	const char *argv0;
	const struct format *format;
	const char *output;
	char **inputs;
	int input_count;
};

static const struct argp_option options[] = {
	{"format", KEY_FORMAT, "csv|rep|mtrace|log", 0, "what FILE is", 0},
	{"output", 'o', "TRACE", 0, "the trace to write", 0},
	{0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct words *w = state->input;
	switch (key) {
	case KEY_FORMAT:
		w->format = NULL;
		for (int i = 0; i < FORMATS; i++)
			if (strcmp(text, formats[i].name) == 0)
				w->format = &formats[i];
		if (!w->format)
			argp_error(state, "--format is csv, rep, mtrace or log, not '%s'",
				   text);
		break;
	case 'o': w->output = text; break;
	case ARGP_KEY_ARGS:
		w->inputs = state->argv + state->next;
		w->input_count = state->argc - state->next;
		break;
	case ARGP_KEY_END:
		if (!w->inputs)
			argp_error(state, "wants a file to read ('-' for standard input)");
		if (!w->format)
			argp_error(state, "wants --format csv, rep, mtrace or log");
		if (!w->output)
			argp_error(state, "wants -o TRACE to write");
		if (w->input_count > 1 && !w->format->many)
			argp_error(state, "'%s' is one file too many", w->inputs[1]);
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"FILE...",
	"Makes a trace of requests that something else recorded.\v"
	"csv: a header line that names the columns arrival_ns, service_ns, need_bytes and route,"
	" in any order; others of pail export's are taken where they are (stack_peak_bytes,"
	" escapes, ...). Times are whole nanoseconds from any beginning."
	" rep: traces of the CS:APP malloc lab, each file a request. mtrace: what glibc's"
	" mtrace(3) writes. log: what pail serve --log writes. Nothing is written if any line is"
	" bad.",
	NULL,
	NULL,
	NULL};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	interrupted = sig;
}

struct import {
	const struct words *words;
	struct trace *trace;
	struct replay replay; /* span_bytes 0 until it is needed */
	int64_t rows, first_ns, last_ns;
	int64_t start_unix_ns, lost, refused;
	bool events;
};

/* The needs of a list of allocations, by the server's own allocator. */
static int measure(struct import *in, struct import_item *item, struct err *err)
{
	struct replay_need bump, reuse;
	if (in->replay.span_bytes == 0 && replay_init(&in->replay, ARENA_BUMP_BYTES_MAX) != 0)
		return err_errno(err, "cannot reserve address space to measure needs");
	if (replay_run(&in->replay, item->ops, item->count, ARENA_BUMP, &bump) != 0 ||
	    replay_run(&in->replay, item->ops, item->count, ARENA_REUSE, &reuse) != 0)
		return err_errno(err, "cannot measure request %" PRId64, in->rows + 1);
	struct trace_request *r = &item->request;
	r->need_bump_bytes = (int64_t)bump.need_bytes;
	r->need_reuse_bytes = (int64_t)reuse.need_bytes;
	r->requested_bytes = (int64_t)bump.requested_bytes;
	r->live_peak_bytes = (int64_t)bump.live_peak_bytes;
	r->largest_bytes = (int64_t)bump.largest_bytes;
	in->events = true;
	return 0;
}

/* `file` is where it comes from: how far that is read is how far we are. */
static int copy(struct import *in, struct importer *from, FILE *file, struct err *err)
{
	struct import_item item;
	struct progress progress;
	struct stat st;
	bool sized = fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode);
	int got = 0;
	progress_begin(&progress, in->words->argv0, sized ? "bytes" : "rows",
		       sized ? (uint64_t)st.st_size : 0);
	while ((got = from->next(from->state, &item, err)) == 1) {
		struct trace_request *r = &item.request;
		if (item.ops && measure(in, &item, err) != 0)
			break;
		if (trace_put_request(in->trace, r, item.ops, item.count, NULL, err) != 0)
			break;
		in->first_ns = r->start_ns < in->first_ns ? r->start_ns : in->first_ns;
		in->last_ns = r->end_ns > in->last_ns ? r->end_ns : in->last_ns;
		if (++in->rows % PROGRESS_ROWS == 0)
			progress_at(&progress,
				    sized ? (uint64_t)ftello(file) : (uint64_t)in->rows);
		if (interrupted) {
			err_set(err, "interrupted after %" PRId64 " rows: nothing is written",
				in->rows);
			break;
		}
	}
	progress_end(&progress);
	return got == 0 ? 0 : -1;
}

static int put_number(struct trace *trace, const char *key, int64_t value, struct err *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRId64, value);
	return trace_put_meta(trace, key, text, err);
}

static int put_meta(struct import *in, struct err *err)
{
	struct trace *t = in->trace;
	struct buf command;
	buf_init(&command);
	buf_append_str(&command, "import of");
	for (int i = 0; i < in->words->input_count; i++)
		buf_printf(&command, " %s", in->words->inputs[i]);
	int rc = trace_put_meta(t, "pail_version", PAIL_VERSION, err);
	if (rc == 0)
		rc = trace_put_meta(t, "command", buf_text(&command), err);
	buf_release(&command);
	if (rc == 0)
		rc = trace_put_meta(t, "detail", in->events ? "events" : "summary", err);
	if (rc == 0)
		rc = put_number(t, "span_ns", in->rows > 0 ? in->last_ns - in->first_ns : 0,
				err);
	if (rc == 0 && in->start_unix_ns > 0)
		rc = put_number(t, "start_unix_ns", in->start_unix_ns, err);
	if (rc == 0 && in->lost > 0)
		rc = put_number(t, "lost_requests", in->lost, err);
	return rc == 0 ? trace_put_meta(t, "complete", "1", err) : -1;
}

static FILE *open_input(const char *path, struct err *err)
{
	struct stat st;
	if (strcmp(path, "-") == 0)
		return stdin;
	FILE *in = fopen(path, "re");
	if (in && fstat(fileno(in), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(in);
		in = NULL;
		errno = EISDIR;
	}
	if (!in)
		err_errno(err, "cannot read \"%s\"", path);
	return in;
}

static int import_file(struct import *in, const char *path, struct err *err)
{
	struct importer from = {0};
	FILE *file = open_input(path, err);
	if (!file)
		return -1;
	int rc = in->words->format->open(&from, file, path, err);
	/* The output is begun when the first input is known to be what it should. */
	if (rc == 0 && !in->trace)
		rc = trace_create(in->words->output, &in->trace, err);
	if (rc == 0)
		rc = copy(in, &from, file, err);
	in->start_unix_ns = from.start_unix_ns;
	in->lost += from.lost_requests;
	in->refused += from.refused;
	import_close(&from);
	if (file != stdin)
		fclose(file);
	return rc;
}

static int import(struct import *in, struct err *err)
{
	int rc = 0;
	for (int i = 0; i < in->words->input_count && rc == 0; i++)
		rc = import_file(in, in->words->inputs[i], err);
	if (rc == 0)
		rc = put_meta(in, err);
	if (rc == 0)
		rc = trace_commit(in->trace, err);
	trace_close(in->trace);
	if (in->replay.span_bytes > 0)
		replay_release(&in->replay);
	return rc;
}

int cmd_import(int argc, char **argv)
{
	struct words w = {.argv0 = argv[0]};
	struct err err = {0};
	if (cli_argp_parse(&argp, argc, argv, 0, &w) != 0)
		return EXIT_USAGE;
	struct sigaction action = {.sa_handler = interrupt};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	struct import in = {.words = &w, .first_ns = INT64_MAX};
	if (import(&in, &err) != 0)
		return cli_fail(argv[0], &err);
	fprintf(stderr, "%s: %" PRId64 " requests in \"%s\"\n", argv[0], in.rows, w.output);
	if (in.refused > 0)
		fprintf(stderr,
			"%s: %" PRId64
			" of them found no bucket: their need and service are not"
			" known, so a plan from this trace is for less than the traffic\n",
			argv[0], in.refused);
	if (in.lost > 0)
		fprintf(stderr, "%s: %" PRId64 " lines were dropped by the server itself\n",
			argv[0], in.lost);
	return EXIT_DONE;
}
