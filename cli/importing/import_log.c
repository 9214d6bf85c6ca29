/* SPDX-License-Identifier: MIT */
#include "cli/importing/importer.h"

#include "cli/importing/lines.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum key {
	KEY_START,
	KEY_STATUS,
	KEY_WAIT,
	KEY_SERVICE,
	KEY_NEED,
	KEY_WANTED,
	KEY_STACK,
	KEY_BYTES_IN,
	KEY_BYTES_OUT,
	KEY_FOREIGN,
	KEY_LEFT,
	KEY_DROPPED,
	KEY_END,
	NUMBERS,
	KEY_METHOD = NUMBERS,
	KEY_PATH,
	KEY_CAUSE,
	KEYS
};

static const char *const key_names[KEYS] = {"start_ns",
					    "status",
					    "wait_ns",
					    "service_ns",
					    "need_bytes",
					    "wanted_bytes",
					    "stack_peak_bytes",
					    "bytes_in",
					    "bytes_out",
					    "foreign_frees",
					    "system_blocks_left",
					    "dropped_lines",
					    "end",
					    "method",
					    "path",
					    "cause"};

enum { TEXT_BYTES_MAX = 2048 };

struct values {
	bool has[KEYS];
	int64_t number[NUMBERS];
	char text[KEYS - NUMBERS][TEXT_BYTES_MAX];
};

struct log {
	struct lines lines;
	struct importer *importer;
	struct values values;
	int64_t first_ns;
	char route[2 * TEXT_BYTES_MAX + 2];
};

/* -- one line: a flat JSON object ----------------------------------------- */

struct reader {
	const char *at, *end;
};

static void skip_blanks(struct reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t'))
		r->at++;
}

static bool take_byte(struct reader *r, char byte)
{
	skip_blanks(r);
	if (r->at == r->end || *r->at != byte)
		return false;
	r->at++;
	return true;
}

static bool take_hex(struct reader *r, unsigned *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++) {
		unsigned c = r->at < r->end ? (unsigned char)*r->at++ : 0;
		unsigned digit = c - '0' <= 9           ? c - '0'
				 : (c | 0x20) - 'a' < 6 ? (c | 0x20) - 'a' + 10
							: 16;
		if (digit == 16)
			return false;
		*code = *code << 4 | digit;
	}
	return true;
}

static size_t put_utf8(char *out, unsigned code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 63));
		return 2;
	}
	out[0] = (char)(0xe0 | code >> 12);
	out[1] = (char)(0x80 | (code >> 6 & 63));
	out[2] = (char)(0x80 | (code & 63));
	return 3;
}

/* A string into `text`, NUL-terminated; what is too long is cut. Surrogates,
 * which our server never writes, become U+FFFD. */
static bool take_string(struct reader *r, char *text, size_t text_size)
{
	static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	size_t length = 0;
	if (!take_byte(r, '"'))
		return false;
	while (r->at < r->end && *r->at != '"') {
		char piece[4] = {*r->at++};
		size_t bytes = 1;
		if ((unsigned char)piece[0] < 0x20)
			return false;
		if (piece[0] == '\\') {
			unsigned code;
			const char *escape = r->at < r->end ? strchr(plain, *r->at) : NULL;
			if (r->at == r->end || *r->at == '\0')
				return false;
			char letter = *r->at++;
			if (escape)
				piece[0] = meant[escape - plain];
			else if (letter != 'u' || !take_hex(r, &code))
				return false;
			else
				bytes = put_utf8(piece, code - 0xd800 < 0x800 || code == 0
								? 0xfffd
								: code);
		}
		if (length + bytes < text_size) {
			memcpy(text + length, piece, bytes);
			length += bytes;
		}
	}
	text[length] = '\0';
	return take_byte(r, '"');
}

/* A whole number that is not negative. */
static bool take_number(struct reader *r, int64_t *value)
{
	const char *from = r->at;
	uint64_t number = 0;
	while (r->at < r->end && (unsigned)(*r->at - '0') <= 9) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (unsigned)(*r->at - '0'), &number) ||
		    number > INT64_MAX)
			return false;
		r->at++;
	}
	*value = (int64_t)number;
	return r->at > from && (r->at == r->end || !memchr(".eE", *r->at, 3));
}

/* Any other scalar, of a key that is not ours. */
static bool skip_scalar(struct reader *r)
{
	char text[8];
	skip_blanks(r);
	if (r->at < r->end && *r->at == '"')
		return take_string(r, text, sizeof(text));
	const char *from = r->at;
	while (r->at < r->end && !memchr(",}{[ \t", *r->at, 6))
		r->at++;
	return r->at > from;
}

static int find_key(const char *name)
{
	for (int k = 0; k < KEYS; k++)
		if (strcmp(name, key_names[k]) == 0)
			return k;
	return -1;
}

/* NULL, or what is wrong. */
static const char *read_pair(struct reader *r, struct values *v)
{
	char name[64];
	if (!take_string(r, name, sizeof(name)) || !take_byte(r, ':'))
		return "it is no JSON object, or cut short";
	skip_blanks(r);
	int k = find_key(name);
	if (k < 0 || k == KEY_END)
		return skip_scalar(r) ? NULL : "it is no flat JSON object, or cut short";
	v->has[k] = true;
	if (k >= NUMBERS)
		return take_string(r, v->text[k - NUMBERS], TEXT_BYTES_MAX)
			       ? NULL
			       : "a text of the log is none, or cut short";
	return take_number(r, &v->number[k]) ? NULL : "a number of the log is none";
}

static const char *read_object(struct str line, struct values *v)
{
	struct reader r = {line.bytes, line.bytes + line.length};
	memset(v->has, 0, sizeof(v->has));
	if (!take_byte(&r, '{'))
		return "it is no JSON object; a log of pail serve has one on each line";
	if (!take_byte(&r, '}')) {
		do {
			const char *wrong = read_pair(&r, v);
			if (wrong)
				return wrong;
		} while (take_byte(&r, ','));
		if (!take_byte(&r, '}'))
			return "it is no JSON object, or cut short";
	}
	skip_blanks(&r);
	return r.at == r.end ? NULL : "text behind the end of its object";
}

/* -- requests ------------------------------------------------------------- */

static int64_t number(const struct values *v, enum key k)
{
	return v->has[k] ? v->number[k] : 0;
}

static const char *text(const struct values *v, enum key k)
{
	return v->has[k] ? v->text[k - NUMBERS] : "";
}

/* The next line of a request into l->values: 1, 0 at the end, -1. */
static int next_line(struct log *l, struct err *err)
{
	struct values *v = &l->values;
	struct str line;
	int got;
	while ((got = lines_next(&l->lines, &line, err)) == 1) {
		if (str_trim(line).length == 0)
			continue;
		const char *wrong = read_object(line, v);
		int64_t end;
		if (wrong)
			return lines_bad(&l->lines, err, "%s", wrong);
		if (!v->has[KEY_START]) {
			l->importer->lost_requests += number(v, KEY_DROPPED);
			continue;
		}
		if (!v->has[KEY_SERVICE] || !v->has[KEY_NEED] || !v->has[KEY_STATUS])
			return lines_bad(&l->lines, err,
					 "a request without status, service_ns or need_bytes");
		if (v->number[KEY_STATUS] > 999 ||
		    __builtin_add_overflow(v->number[KEY_START], v->number[KEY_SERVICE], &end))
			return lines_bad(&l->lines, err, "a number of the log is too large");
		return 1;
	}
	return got;
}

/* When its head was complete: the log's start_ns is that of the service. */
static int64_t arrival(const struct values *v)
{
	return v->number[KEY_START] - number(v, KEY_WAIT);
}

/*
 * The arrival is where the wait for a bucket begins, and the wait is left out
 * of the service, since it is the queue's and not the request's. What the
 * refused call wanted is the least that the request needs.
 */
static void fill(struct log *l, struct trace_request *request)
{
	const struct values *v = &l->values;
	int64_t need = number(v, KEY_NEED), wanted = number(v, KEY_WANTED);
	const char *cause = text(v, KEY_CAUSE);
	bool busy = strcmp(cause, "busy") == 0 || strcmp(cause, "busy-wait") == 0;
	int64_t start = arrival(v) - l->first_ns;
	snprintf(l->route, sizeof(l->route), "%s%s%s", text(v, KEY_METHOD),
		 *text(v, KEY_METHOD) ? " " : "", text(v, KEY_PATH));
	l->importer->refused += busy;
	*request = (struct trace_request){
		.start_ns = start,
		.end_ns = start + v->number[KEY_SERVICE],
		.cpu_ns = -1,
		.method = str_of(text(v, KEY_METHOD)),
		.target = str_of(text(v, KEY_PATH)),
		.route = str_of(l->route),
		.status = v->number[KEY_STATUS] ? (int)v->number[KEY_STATUS] : -1,
		.bytes_in = number(v, KEY_BYTES_IN),
		.bytes_out = number(v, KEY_BYTES_OUT),
		.need_bump_bytes = wanted > need ? wanted : need,
		.need_reuse_bytes = wanted > need ? wanted : need,
		.live_peak_bytes = need,
		.escapes = number(v, KEY_LEFT),
		.foreign_frees = number(v, KEY_FOREIGN),
		.stack_peak_bytes = number(v, KEY_STACK),
		.confidence = TRACE_EXACT,
		.ended_by = *cause ? str_of(cause) : STR("response"),
		.incomplete = wanted > need || busy,
	};
}

static int log_next(void *state, struct import_item *item, struct err *err)
{
	struct log *l = state;
	int got = next_line(l, err);
	if (got != 1)
		return got;
	if (arrival(&l->values) < l->first_ns)
		return lines_bad(&l->lines, err, "the log changed while it was read");
	*item = (struct import_item){0};
	fill(l, &item->request);
	return 1;
}

static void log_close(void *state)
{
	struct log *l = state;
	lines_release(&l->lines);
	free(l);
}

/* Lines are in the order of ends, so the earliest start may be in any. */
static int find_first(struct log *l, struct err *err)
{
	int got;
	l->first_ns = INT64_MAX;
	while ((got = next_line(l, err)) == 1)
		if (arrival(&l->values) < l->first_ns)
			l->first_ns = arrival(&l->values);
	if (got == 0 && fseeko(l->lines.in, 0, SEEK_SET) != 0)
		return err_errno(err, "cannot read \"%s\" a second time (a pipe?)",
				 l->lines.name);
	l->lines.number = 0;
	l->importer->lost_requests = 0;
	return got;
}

int import_log_open(struct importer *importer, FILE *in, const char *name, struct err *err)
{
	struct log *l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, "out of memory reading \"%s\"", name);
	*importer = (struct importer){.state = l, .next = log_next, .close = log_close};
	lines_init(&l->lines, in, name);
	l->importer = importer;
	if (find_first(l, err) != 0) {
		import_close(importer);
		return -1;
	}
	importer->start_unix_ns = l->first_ns == INT64_MAX ? 0 : l->first_ns;
	return 0;
}
