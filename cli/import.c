/* SPDX-License-Identifier: MIT */
/* pail import: a trace of what others recorded. */
#include "cli/cli.h"

#include "cli/csv.h"
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

struct words {
	const char *format, *output, *input;
};

static const struct argp_option options[] = {
	{"format", KEY_FORMAT, "csv", 0, "what FILE is", 0},
	{"output", 'o', "TRACE", 0, "the trace to write", 0},
	{0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct words *w = state->input;
	switch (key) {
	case KEY_FORMAT:
		if (strcmp(text, "csv") != 0)
			argp_error(state, "--format is csv, not '%s'", text);
		w->format = text;
		break;
	case 'o': w->output = text; break;
	case ARGP_KEY_ARG:
		if (w->input)
			argp_error(state, "'%s' is one file too many", text);
		w->input = text;
		break;
	case ARGP_KEY_END:
		if (!w->input)
			argp_error(state, "wants a file to read ('-' for standard input)");
		if (!w->format)
			argp_error(state, "wants --format csv");
		if (!w->output)
			argp_error(state, "wants -o TRACE to write");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"FILE",
	"Makes a trace of requests that something else recorded.\v"
	"csv: a header line that names the columns arrival_ns, service_ns, need_bytes and route,"
	" in any order; others are ignored. Times are whole nanoseconds from any beginning. Nothing"
	" is written if any row is bad.",
	NULL,
	NULL,
	NULL};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	interrupted = sig;
}

/* "GET /x" -> method and target, as a recording has them. */
static void fill(struct trace_request *r, const struct csv_request *row)
{
	struct str method, target;
	*r = (struct trace_request){
		.start_ns = row->arrival_ns,
		.end_ns = row->arrival_ns + row->service_ns,
		.cpu_ns = -1,
		.route = row->route,
		.status = -1,
		.need_bump_bytes = row->need_bytes,
		.need_reuse_bytes = row->need_bytes,
		.confidence = TRACE_EXACT,
		.ended_by = STR("response"),
	};
	if (str_cut(row->route, ' ', &method, &target)) {
		r->method = method;
		r->target = target;
	}
}

static int copy(struct csv *csv, struct trace *trace, int64_t *rows, struct err *err)
{
	struct csv_request row;
	int64_t first = INT64_MAX, last = 0;
	bool progress = isatty(STDERR_FILENO);
	int got;
	*rows = 0;
	while ((got = csv_next(csv, &row, err)) == 1) {
		struct trace_request r;
		fill(&r, &row);
		if (trace_put_request(trace, &r, NULL, 0, NULL, err) != 0)
			return -1;
		first = r.start_ns < first ? r.start_ns : first;
		last = r.end_ns > last ? r.end_ns : last;
		if (++*rows % PROGRESS_ROWS == 0 && progress)
			fprintf(stderr, "\r\033[K%" PRId64 " rows", *rows);
		if (interrupted)
			return err_set(err,
				       "interrupted after %" PRId64 " rows: nothing is written",
				       *rows);
	}
	if (progress)
		fprintf(stderr, "\r\033[K");
	char span[32];
	snprintf(span, sizeof(span), "%" PRId64, *rows > 0 ? last - first : 0);
	return got == 0 ? trace_put_meta(trace, "span_ns", span, err) : -1;
}

static int put_meta(struct trace *trace, const struct words *w, struct err *err)
{
	struct buf command;
	buf_init(&command);
	buf_printf(&command, "import of %s", w->input);
	int rc = trace_put_meta(trace, "pail_version", PAIL_VERSION, err) != 0 ||
				 trace_put_meta(trace, "command", buf_text(&command), err) !=
					 0 ||
				 trace_put_meta(trace, "detail", "summary", err) != 0 ||
				 trace_put_meta(trace, "complete", "1", err) != 0
			 ? -1
			 : 0;
	buf_release(&command);
	return rc;
}

static int import(const struct words *w, FILE *in, int64_t *rows, struct err *err)
{
	struct csv csv;
	struct trace *trace;
	if (csv_open(&csv, in, w->input, err) != 0)
		return -1;
	int rc = trace_create(w->output, &trace, err);
	if (rc == 0) {
		rc = copy(&csv, trace, rows, err);
		if (rc == 0)
			rc = put_meta(trace, w, err);
		if (rc == 0)
			rc = trace_commit(trace, err);
		trace_close(trace);
	}
	csv_close(&csv);
	return rc;
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

int cmd_import(int argc, char **argv)
{
	struct words w = {0};
	struct err err = {0};
	int64_t rows = 0;
	if (cli_argp_parse(&argp, argc, argv, 0, &w) != 0)
		return EXIT_USAGE;
	FILE *in = open_input(w.input, &err);
	if (!in)
		return cli_fail(argv[0], &err);
	struct sigaction action = {.sa_handler = interrupt};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	int rc = import(&w, in, &rows, &err);
	if (in != stdin)
		fclose(in);
	if (rc != 0)
		return cli_fail(argv[0], &err);
	fprintf(stderr, "%s: %" PRId64 " requests in \"%s\"\n", argv[0], rows, w.output);
	return EXIT_DONE;
}
