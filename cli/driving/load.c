/* SPDX-License-Identifier: MIT */
#include "cli/driving/load.h"
#include "base/file.h"
#include "base/units.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOAD_FILE_BYTES_MAX = 1 << 20,
	LOAD_BODY_BYTES_MAX = 256 << 20,
	LOAD_BATCH_MAX = 100000,
	LOAD_REQUESTS_MAX = 50000000,
	LOAD_TARGET_MAX = 8192,
	LOAD_PAGE_BYTES = 1 << 16,
};

void load_init(struct load *load)
{
	*load = (struct load){0};
}

void load_release(struct load *load)
{
	for (size_t i = 0; i < load->stream_count; i++) {
		free(load->stream[i].method);
		free(load->stream[i].target);
		free(load->stream[i].body);
	}
	for (size_t i = 0; i < load->label_count; i++)
		free(load->label[i]);
	for (size_t i = 0; i < load->page_count; i++)
		free(load->page[i]);
	free(load->stream);
	free(load->label);
	free(load->page);
	free(load->request);
	load_init(load);
}

/* Room for one more in a growing array: doubles at powers of two. */
static void *grown(void *array, size_t count, size_t item_bytes)
{
	if (count & (count - 1))
		return array;
	return reallocarray(array, count ? count * 2 : 1, item_bytes);
}

int64_t load_label(struct load *load, struct str name)
{
	for (size_t i = 0; i < load->label_count; i++)
		if (str_equal(str_of(load->label[i]), name))
			return (int64_t)i;
	char **more = grown(load->label, load->label_count, sizeof *more);
	char *copy = strndup(name.bytes, name.length);
	if (more != NULL)
		load->label = more;
	if (more == NULL || copy == NULL) {
		free(copy);
		return -1;
	}
	load->label[load->label_count] = copy;
	return (int64_t)load->label_count++;
}

/* -- one line -------------------------------------------------------------- */

static struct str word_next(struct str *rest)
{
	size_t from = 0, to;
	while (from < rest->length && isspace((unsigned char)rest->bytes[from]))
		from++;
	for (to = from; to < rest->length && !isspace((unsigned char)rest->bytes[to]); to++)
		;
	struct str word = {rest->bytes + from, to - from};
	*rest = (struct str){rest->bytes + to, rest->length - to};
	return word;
}

/* "200", "2.5x10" */
static int rate_parse(struct str word, struct load_stream *stream, struct err *err)
{
	struct str rate, batch;
	uint64_t size = 1;
	bool batched = str_cut(word, 'x', &rate, &batch);
	if (units_parse_double(rate, &stream->rate, err) == -1 ||
	    (batched && units_parse_count(batch, &size, err) == -1))
		return -1;
	if (!(stream->rate > 0) || stream->rate > 1e7)
		return err_set(err, "rate '%.*s' is not within 0 and 1e7 a second",
			       STR_ARG(rate));
	if (size < 1 || size > LOAD_BATCH_MAX)
		return err_set(err, "batch '%.*s' is not within 1 and %d", STR_ARG(batch),
			       LOAD_BATCH_MAX);
	stream->batch = (uint32_t)size;
	return 0;
}

/* The range "{A-B}" at `text`: 1 and its length, 0 if there is none there, -1
 * if it is broken. */
static int range_parse(const char *text, uint64_t *low, uint64_t *high, size_t *length)
{
	const char *close = strchr(text, '}');
	struct err ignored;
	struct str a, b;
	if (*text != '{')
		return 0;
	if (close == NULL ||
	    !str_cut((struct str){text + 1, (size_t)(close - text) - 1}, '-', &a, &b) ||
	    units_parse_count(a, low, &ignored) == -1 ||
	    units_parse_count(b, high, &ignored) == -1 || *low > *high ||
	    *high - *low == UINT64_MAX)
		return -1;
	*length = (size_t)(close - text) + 1;
	return 1;
}

static int target_check(struct str method, struct str target, struct err *err)
{
	if (method.length == 0 || target.length == 0)
		return err_set(err, "wants RATE LABEL METHOD TARGET [@FILE]");
	for (size_t i = 0; i < method.length; i++)
		if (!isupper((unsigned char)method.bytes[i]))
			return err_set(err, "method '%.*s' is not in capital letters",
				       STR_ARG(method));
	if (target.bytes[0] != '/' && !str_equal(target, STR("*")))
		return err_set(err, "target '%.*s' does not begin with '/'", STR_ARG(target));
	if (target.length > LOAD_TARGET_MAX)
		return err_set(err, "target is longer than %d bytes", LOAD_TARGET_MAX);
	return 0;
}

static int body_read(struct load_stream *stream, struct str word, const char *directory,
		     struct err *err)
{
	char path[4096];
	const char *prefix = word.length > 1 && word.bytes[1] == '/' ? "" : directory;
	if (word.bytes[0] != '@' || word.length == 1)
		return err_set(err, "'%.*s' behind the target is no @FILE", STR_ARG(word));
	int n = snprintf(path, sizeof path, "%s%s%.*s", prefix, *prefix ? "/" : "",
			 (int)word.length - 1, word.bytes + 1);
	if (n < 0 || (size_t)n >= sizeof path)
		return err_set(err, "the path of '%.*s' is too long", STR_ARG(word));
	return file_read_all(path, LOAD_BODY_BYTES_MAX, &stream->body, &stream->body_bytes,
			     err);
}

static uint64_t line_hash(struct str line, size_t ordinal)
{
	uint64_t hash = 14695981039346656037u ^ ordinal;
	for (size_t i = 0; i < line.length; i++)
		hash = (hash ^ (unsigned char)line.bytes[i]) * 1099511628211u;
	return hash;
}

static int stream_parse(struct load *load, struct load_stream *stream, struct str line,
			const char *directory, struct err *err)
{
	struct str rest = line;
	struct str rate = word_next(&rest), label = word_next(&rest), method = word_next(&rest);
	struct str target = word_next(&rest), body = word_next(&rest), extra = word_next(&rest);
	if (target_check(method, target, err) == -1 || rate_parse(rate, stream, err) == -1)
		return -1;
	if (extra.length > 0)
		return err_set(err, "'%.*s' behind @FILE is too much", STR_ARG(extra));
	int64_t index = load_label(load, label);
	stream->method = strndup(method.bytes, method.length);
	stream->target = strndup(target.bytes, target.length);
	if (index < 0 || stream->method == NULL || stream->target == NULL)
		return err_set(err, "out of memory");
	stream->label = (uint32_t)index;
	for (const char *p = stream->target; *p != '\0'; p++) {
		uint64_t low, high;
		size_t length;
		if (range_parse(p, &low, &high, &length) == -1)
			return err_set(err, "'%s' is no range {A-B}", p);
	}
	if (body.length > 0 && body_read(stream, body, directory, err) == -1)
		return -1;
	/* Two equal lines are two streams, with arrivals of their own. */
	size_t ordinal = 0;
	for (uint64_t hash = line_hash(line, 0), i = 0; i < load->stream_count; i++)
		if (load->stream[i].hash == hash)
			hash = line_hash(line, ++ordinal);
	stream->hash = line_hash(line, ordinal);
	return 0;
}

int load_add(struct load *load, const char *line, const char *directory, struct err *err)
{
	struct load_stream stream = {0};
	struct load_stream *more = grown(load->stream, load->stream_count, sizeof *more);
	if (more == NULL)
		return err_set(err, "out of memory");
	load->stream = more;
	if (stream_parse(load, &stream, str_trim(str_of(line)), directory, err) == -1) {
		free(stream.method);
		free(stream.target);
		free(stream.body);
		return -1;
	}
	load->stream[load->stream_count++] = stream;
	return 0;
}

int load_read(struct load *load, const char *path, struct err *err)
{
	char *text, *rest, *line;
	size_t length;
	if (file_read_all(path, LOAD_FILE_BYTES_MAX, &text, &length, err) == -1)
		return -1;
	const char *slash = strrchr(path, '/');
	char *directory =
		slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
	int result = directory ? 0 : err_set(err, "out of memory");
	size_t before = load->stream_count, number = 0;
	for (rest = text; result == 0 && (line = strsep(&rest, "\n")) != NULL;) {
		number++;
		line[strcspn(line, "#\r")] = '\0';
		if (line[strspn(line, " \t")] == '\0')
			continue;
		result = load_add(load, line, directory, err);
		if (result == -1)
			err_prefix(err, "'%s' line %zu", path, number);
	}
	if (result == 0 && load->stream_count == before)
		result = err_set(err, "'%s' holds no stream of requests", path);
	free(directory);
	free(text);
	return result;
}

/* -- the arrivals ---------------------------------------------------------- */

/* splitmix64, by Sebastiano Vigna (public domain): enough for a load. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* An exponential of mean 1; the draw is never 0. */
static double draw_exponential(uint64_t *state)
{
	return -log(((double)(draw(state) >> 11) + 0.5) * 0x1p-53);
}

static char *page_take(struct load *load, size_t length)
{
	assert(length <= LOAD_PAGE_BYTES);
	if (load->page_count == 0 || load->page_used + length > LOAD_PAGE_BYTES) {
		char **more = grown(load->page, load->page_count, sizeof *more);
		if (more == NULL)
			return NULL;
		load->page = more;
		if ((load->page[load->page_count] = malloc(LOAD_PAGE_BYTES)) == NULL)
			return NULL;
		load->page_count++;
		load->page_used = 0;
	}
	char *at = load->page[load->page_count - 1] + load->page_used;
	load->page_used += length;
	return at;
}

/* The target with its ranges drawn; without ranges, the stream's own string. */
static int target_draw(struct load *load, const struct load_stream *stream, uint64_t *state,
		       struct str *target)
{
	char text[LOAD_TARGET_MAX * 4];
	size_t at = 0, length;
	uint64_t low, high;
	*target = str_of(stream->target);
	if (strchr(stream->target, '{') == NULL)
		return 0;
	for (const char *p = stream->target; *p != '\0';) {
		if (range_parse(p, &low, &high, &length) != 1) {
			text[at++] = *p++;
			continue;
		}
		/* "{1-2}" takes 5 bytes and gives at most 20 */
		uint64_t value = low + draw(state) % (high - low + 1);
		at += (size_t)snprintf(text + at, sizeof text - at, "%llu",
				       (unsigned long long)value);
		p += length;
	}
	char *copy = page_take(load, at);
	if (copy == NULL)
		return -1;
	memcpy(copy, text, at);
	*target = (struct str){copy, at};
	return 0;
}

static int stream_draw(struct load *load, const struct load_stream *stream, int64_t span_ns,
		       uint64_t seed, struct err *err)
{
	uint64_t state = seed * 0xd1342543de82ef95u ^ stream->hash;
	double at_s = 0;
	for (;;) {
		at_s += draw_exponential(&state) / stream->rate;
		if (at_s * 1e9 >= (double)span_ns)
			return 0;
		for (uint32_t i = 0; i < stream->batch; i++) {
			struct load_request *more =
				grown(load->request, load->request_count, sizeof *more);
			if (more == NULL)
				return err_set(err, "out of memory");
			load->request = more;
			if (load->request_count >= LOAD_REQUESTS_MAX)
				return err_set(err, "the load has more than %d requests",
					       LOAD_REQUESTS_MAX);
			struct load_request *r = &load->request[load->request_count];
			*r = (struct load_request){
				.at_ns = (int64_t)(at_s * 1e9),
				.method = str_of(stream->method),
				.body = {stream->body, stream->body_bytes},
				.label = stream->label,
				.number = (uint32_t)load->request_count,
			};
			if (target_draw(load, stream, &state, &r->target) == -1)
				return err_set(err, "out of memory");
			load->request_count++;
		}
	}
}

static int arrival_order(const void *a, const void *b)
{
	const struct load_request *left = a, *right = b;
	if (left->at_ns != right->at_ns)
		return left->at_ns > right->at_ns ? 1 : -1;
	return (left->number > right->number) - (left->number < right->number);
}

int load_schedule(struct load *load, int64_t span_ns, uint64_t seed, struct err *err)
{
	assert(load->request_count == 0 && span_ns >= 0);
	for (size_t i = 0; i < load->stream_count; i++)
		if (stream_draw(load, &load->stream[i], span_ns, seed, err) == -1)
			return -1;
	if (load->request_count > 0)
		qsort(load->request, load->request_count, sizeof *load->request, arrival_order);
	return 0;
}
