/* SPDX-License-Identifier: MIT */
/* pail export: the requests of a trace as text, for other programs. */
#include "cli/cli.h"

#include "base/json.h"
#include "cli/importing/csv.h"
#include "cli/export_stacks.h"
#include "cli/progress.h"
#include "cli/sink.h"
#include "libtrace/trace.h"

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_FORMAT = 256, KEY_EVENTS };
enum format { FORMAT_NONE, FORMAT_CSV, FORMAT_JSONL, FORMAT_FOLDED, FORMAT_PPROF };
enum { FLUSH_BYTES = 1 << 20 };

static const char *const format_names[] = {NULL, "csv", "jsonl", "folded", "pprof"};

struct words {
	const char *argv0, *trace, *output;
	enum format format;
	bool events;
};

static const struct argp_option options[] = {
	{"format", KEY_FORMAT, "csv|jsonl|folded|pprof", 0, "what to write", 0},
	{"events", KEY_EVENTS, NULL, 0, "with jsonl: each request with its allocations", 0},
	{"output", 'o', "FILE", 0, "where to, whole or not at all (standard output)", 0},
	{0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct words *w = state->input;
	switch (key) {
	case KEY_FORMAT:
		for (int f = FORMAT_CSV; f <= FORMAT_PPROF; f++)
			if (strcmp(text, format_names[f]) == 0)
				w->format = (enum format)f;
		if (w->format == FORMAT_NONE)
			argp_error(state, "--format is csv, jsonl, folded or pprof, not '%s'%s",
				   text,
				   strcmp(text, "heaptrack") == 0
					   ? " (its events need a time each, which a trace"
					     " does not keep)"
					   : "");
		break;
	case KEY_EVENTS: w->events = true; break;
	case 'o': w->output = text; break;
	case ARGP_KEY_ARG:
		if (w->trace)
			argp_error(state, "'%s' is one trace too many", text);
		w->trace = text;
		break;
	case ARGP_KEY_END:
		if (!w->trace)
			argp_error(state, "wants a trace");
		if (w->format == FORMAT_NONE)
			argp_error(state, "wants --format csv, jsonl, folded or pprof");
		if (w->events && w->format != FORMAT_JSONL)
			argp_error(state, "--events goes with --format jsonl");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"TRACE",
	"Writes the requests of a trace for other programs.\v"
	"csv is what pail import reads back to the same requests; jsonl one JSON object a line;"
	" folded and pprof are call stacks by bytes, of a trace that has them.",
	NULL,
	NULL,
	NULL};

/* -- csv ------------------------------------------------------------------ */

static void numbers_of(const struct trace_request *r, int64_t number[CSV_NUMBERS])
{
	number[CSV_NEED_BUMP] = r->need_bump_bytes;
	number[CSV_PROCESS] = r->process;
	number[CSV_CONNECTION] = r->connection;
	number[CSV_SEQUENCE] = r->sequence;
	number[CSV_CPU] = r->cpu_ns;
	number[CSV_STATUS] = r->status;
	number[CSV_BYTES_IN] = r->bytes_in;
	number[CSV_BYTES_OUT] = r->bytes_out;
	number[CSV_ALLOCATIONS] = r->allocations;
	number[CSV_FREES] = r->frees;
	number[CSV_REALLOCATIONS] = r->reallocations;
	number[CSV_REQUESTED] = r->requested_bytes;
	number[CSV_LIVE_PEAK] = r->live_peak_bytes;
	number[CSV_LARGEST] = r->largest_bytes;
	number[CSV_ESCAPES] = r->escapes;
	number[CSV_ESCAPED] = r->escaped_bytes;
	number[CSV_FOREIGN_FREES] = r->foreign_frees;
	number[CSV_STACK] = r->stack_peak_bytes;
	number[CSV_INCOMPLETE] = r->incomplete;
}

static void texts_of(const struct trace_request *r, struct str text[CSV_TEXTS])
{
	static const char *const confidence[] = {"exact", "inferred", "ambiguous"};
	text[CSV_METHOD] = r->method;
	text[CSV_TARGET] = r->target;
	text[CSV_CONFIDENCE] = str_of(confidence[r->confidence]);
	text[CSV_ENDED_BY] = r->ended_by;
}

static bool wants_quotes(struct str text)
{
	if (text.length > 0 && (text.bytes[0] == ' ' || text.bytes[text.length - 1] == ' '))
		return true;
	for (size_t i = 0; i < text.length; i++)
		if (memchr(",\"\r\n", text.bytes[i], 4))
			return true;
	return false;
}

/* A zero byte, which CSV cannot hold, becomes "?". */
static void put_text(struct buf *out, struct str text)
{
	bool quoted = wants_quotes(text);
	if (quoted)
		buf_append(out, "\"", 1);
	for (size_t i = 0; i < text.length; i++) {
		if (text.bytes[i] == '"')
			buf_append(out, "\"", 1);
		buf_append(out, text.bytes[i] ? &text.bytes[i] : "?", 1);
	}
	if (quoted)
		buf_append(out, "\"", 1);
}

static void csv_head(struct buf *out)
{
	for (int c = 0; c < CSV_COLUMNS; c++)
		buf_printf(out, "%s%s", c > 0 ? "," : "", csv_column[c]);
	for (int i = 0; i < CSV_NUMBERS; i++)
		buf_printf(out, ",%s", csv_numbers[i]);
	for (int i = 0; i < CSV_TEXTS; i++)
		buf_printf(out, ",%s", csv_texts[i]);
	buf_append(out, "\n", 1);
}

static void csv_row(struct buf *out, const struct trace_request *r)
{
	int64_t number[CSV_NUMBERS];
	struct str text[CSV_TEXTS];
	numbers_of(r, number);
	texts_of(r, text);
	buf_printf(out, "%" PRId64 ",%" PRId64 ",%" PRId64 ",", r->start_ns,
		   r->end_ns - r->start_ns, r->need_reuse_bytes);
	put_text(out, r->route);
	for (int i = 0; i < CSV_NUMBERS; i++) {
		if (number[i] < 0)
			buf_append(out, ",", 1);
		else
			buf_printf(out, ",%" PRId64, number[i]);
	}
	for (int i = 0; i < CSV_TEXTS; i++) {
		buf_append(out, ",", 1);
		put_text(out, text[i]);
	}
	buf_append(out, "\n", 1);
}

/* -- JSON lines ----------------------------------------------------------- */

/* Takes out the line breaks and indents of everything from `from` on: no text
 * holds one, they are written escaped there. */
static void join_lines(struct buf *out, size_t from)
{
	size_t to = from;
	for (size_t i = from; i < out->length && !out->failed;) {
		if (out->bytes[i] != '\n') {
			out->bytes[to++] = out->bytes[i++];
			continue;
		}
		while (i < out->length && memchr("\n\t ", out->bytes[i], 3))
			i++;
	}
	if (!out->failed)
		out->length = to;
}

static int put_events(struct json *j, struct trace *trace, int64_t id, struct err *err)
{
	static const char *const kinds[] = {"alloc", "free", "realloc"};
	struct replay_op *ops;
	size_t count;
	int got = trace_replay(trace, id, &ops, &count, err);
	if (got < 0)
		return -1;
	json_key(j, "events");
	if (got == 0) {
		json_null(j);
		return 0;
	}
	json_array_begin(j);
	for (size_t i = 0; i < count; i++) {
		json_array_begin(j);
		json_text(j, kinds[ops[i].kind]);
		json_u64(j, ops[i].slot);
		if (ops[i].kind != REPLAY_FREE)
			json_u64(j, ops[i].size_bytes);
		if (ops[i].align_log2 > 0)
			json_u64(j, UINT64_C(1) << ops[i].align_log2);
		json_array_end(j);
	}
	json_array_end(j);
	free(ops);
	return 0;
}

static void put_number(struct json *j, const char *key, int64_t value)
{
	json_key(j, key);
	json_i64(j, value);
}

static int json_row(struct buf *out, struct trace *trace, const struct trace_request *r,
		    bool events, struct err *err)
{
	int64_t number[CSV_NUMBERS];
	struct str text[CSV_TEXTS];
	struct json j;
	size_t from = out->length;
	numbers_of(r, number);
	texts_of(r, text);
	json_init(&j, out);
	json_object_begin(&j);
	put_number(&j, "id", r->id);
	put_number(&j, "start_ns", r->start_ns);
	put_number(&j, "end_ns", r->end_ns);
	json_key(&j, "route");
	json_str(&j, r->route);
	for (int i = 0; i < CSV_TEXTS; i++) {
		json_key(&j, csv_texts[i]);
		json_str(&j, text[i]);
	}
	put_number(&j, "need_reuse_bytes", r->need_reuse_bytes);
	for (int i = 0; i < CSV_NUMBERS; i++) {
		json_key(&j, csv_numbers[i]);
		if (i == CSV_INCOMPLETE)
			json_bool(&j, number[i] != 0);
		else if (number[i] < 0)
			json_null(&j);
		else
			json_i64(&j, number[i]);
	}
	int rc = events ? put_events(&j, trace, r->id, err) : 0;
	if (rc == 0)
		json_object_end(&j);
	join_lines(out, from);
	buf_append(out, "\n", 1);
	return rc;
}

/* -- all of them ---------------------------------------------------------- */

static int export_requests(const struct words *w, struct trace *trace, struct sink *sink,
			   struct err *err)
{
	struct trace_cursor *cursor;
	struct trace_request r;
	struct progress progress;
	struct buf out;
	uint64_t done = 0;
	int got;
	progress_begin(&progress, w->argv0, "requests", progress_requests(trace));
	/* As stored, so that the requests that are read back have the same digest. */
	if (trace_requests_stored(trace, &cursor, err) != 0)
		return -1;
	buf_init(&out);
	if (w->format == FORMAT_CSV)
		csv_head(&out);
	while ((got = trace_next(cursor, &r, err)) == 1) {
		if (w->format == FORMAT_CSV)
			csv_row(&out, &r);
		else if (json_row(&out, trace, &r, w->events, err) != 0)
			break;
		if (out.length >= FLUSH_BYTES && sink_write(sink, &out, err) != 0)
			break;
		if (++done % 64 == 0)
			progress_at(&progress, done);
	}
	progress_end(&progress);
	trace_cursor_close(cursor);
	int rc = got == 0 ? sink_write(sink, &out, err) : -1;
	buf_release(&out);
	return rc;
}

static int export_all(const struct words *w, struct trace *trace, struct sink *sink,
		      struct err *err)
{
	if (w->format == FORMAT_FOLDED)
		return export_folded(trace, sink, err);
	if (w->format == FORMAT_PPROF)
		return export_pprof(trace, sink, err);
	return export_requests(w, trace, sink, err);
}

int cmd_export(int argc, char **argv)
{
	struct words w = {.argv0 = argv[0]};
	struct err err = {0};
	struct trace *trace;
	struct sink sink;
	if (cli_argp_parse(&argp, argc, argv, 0, &w) != 0)
		return EXIT_USAGE;
	if (trace_open(w.trace, &trace, &err) != 0)
		return cli_fail(argv[0], &err);
	int rc = sink_open(&sink, w.output, &err);
	if (rc == 0) {
		rc = export_all(&w, trace, &sink, &err);
		rc = sink_close(&sink, rc == 0, &err) != 0 ? -1 : rc;
	}
	trace_close(trace);
	return rc == 0 ? EXIT_DONE : cli_fail(argv[0], &err);
}
