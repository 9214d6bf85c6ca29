/* SPDX-License-Identifier: MIT */
#include "base/conf.h"

#include "base/file.h"
#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, LINE_MAX_BYTES = 190, SECTIONS_MAX = 352, KEYS_MAX = 40 };

/* -- the keys -------------------------------------------------------------- */

enum value_kind { SIZE, TIME, COUNT, TEXT, YES_NO, POLICY, ISOLATION, LOG_FORMAT, CLASS_NAME };

struct key {
	const char *name;
	enum value_kind kind;
	size_t offset; /* in the plan, the class or the route */
	size_t room;   /* of TEXT */
};

#define PLAN_KEY(name, kind, field)                                                         \
	{                                                                                   \
		name, kind, offsetof(struct plan, field), sizeof(((struct plan *)0)->field) \
	}
static const struct key server_keys[] = {
	PLAN_KEY("listen", TEXT, listen),
	PLAN_KEY("admin", TEXT, admin),
	PLAN_KEY("admin_remote", YES_NO, admin_remote),
	PLAN_KEY("user", TEXT, user),
	PLAN_KEY("group", TEXT, group),
	PLAN_KEY("log", TEXT, log),
	PLAN_KEY("drain", TIME, drain_ns),
	PLAN_KEY("threads", COUNT, threads),
	PLAN_KEY("connections", COUNT, connections),
	PLAN_KEY("rcvbuf", SIZE, rcvbuf_bytes),
	PLAN_KEY("sndbuf", SIZE, sndbuf_bytes),
	PLAN_KEY("head", SIZE, head_bytes),
	PLAN_KEY("body", SIZE, body_bytes_max),
	PLAN_KEY("queue", COUNT, queue),
	PLAN_KEY("wait", TIME, wait_ns),
	PLAN_KEY("patience", TIME, patience_ns),
	PLAN_KEY("per_address", COUNT, per_address),
	PLAN_KEY("connections_per_address", COUNT, connections_per_address),
	PLAN_KEY("head_timeout", TIME, head_timeout_ns),
	PLAN_KEY("body_timeout", TIME, body_timeout_ns),
	PLAN_KEY("write_timeout", TIME, write_timeout_ns),
	PLAN_KEY("idle_timeout", TIME, idle_timeout_ns),
	PLAN_KEY("cpu_deadline", TIME, cpu_deadline_ns),
	PLAN_KEY("wall_deadline", TIME, wall_deadline_ns),
	PLAN_KEY("outgoing", COUNT, outgoing),
	PLAN_KEY("outgoing_rcvbuf", SIZE, outgoing_rcvbuf_bytes),
	PLAN_KEY("outgoing_sndbuf", SIZE, outgoing_sndbuf_bytes),
	PLAN_KEY("outgoing_wait", TIME, outgoing_wait_ns),
	PLAN_KEY("resolvers", COUNT, resolvers),
	PLAN_KEY("image", SIZE, image_bytes),
	PLAN_KEY("system", SIZE, system_bytes),
	PLAN_KEY("policy", POLICY, policy),
	PLAN_KEY("isolation", ISOLATION, isolation),
	PLAN_KEY("mlock", YES_NO, mlock),
	PLAN_KEY("overlap", YES_NO, overlap),
	{0},
};
static const struct key stack_keys[] = {
	PLAN_KEY("size", SIZE, stack_bytes),
	PLAN_KEY("big_size", SIZE, big_stack_bytes),
	PLAN_KEY("big_count", COUNT, big_stack_count),
	PLAN_KEY("big_wait", TIME, big_stack_wait_ns),
	{0},
};
static const struct key tls_keys[] = {
	PLAN_KEY("listen", TEXT, tls.listen),
	PLAN_KEY("cert", TEXT, tls.cert),
	PLAN_KEY("key", TEXT, tls.key),
	PLAN_KEY("ciphers", TEXT, tls.ciphers),
	PLAN_KEY("min_version", TEXT, tls.min_version),
	PLAN_KEY("connections", COUNT, tls.connections),
	PLAN_KEY("handshakes", COUNT, tls.handshakes),
	PLAN_KEY("handshake_timeout", TIME, tls.handshake_timeout_ns),
	{0},
};
static const struct key log_keys[] = {
	PLAN_KEY("format", LOG_FORMAT, logs.format),
	PLAN_KEY("errors", TEXT, logs.errors),
	PLAN_KEY("forwarded", YES_NO, logs.forwarded),
	PLAN_KEY("ring", SIZE, logs.ring_bytes),
	{0},
};
static const char *const log_formats[] = {"json", "common", "combined"};
static const struct key bucket_keys[] = {
	{"size", SIZE, offsetof(struct plan_class, size_bytes), 0},
	{"count", COUNT, offsetof(struct plan_class, count), 0},
	{0},
};
static const struct key route_keys[] = {
	{"bucket", CLASS_NAME, 0, 0},
	{"retry", YES_NO, offsetof(struct plan_route, retry), 0},
	{"stack", SIZE, offsetof(struct plan_route, stack_bytes), 0},
	{0},
};

/* -- reading --------------------------------------------------------------- */

enum section_kind { SERVER, STACK, TLS, LOG, BUCKET, ROUTE, ON_OOM };

/* One section as it stood in the file. */
struct section {
	enum section_kind kind;
	char name[LIMITS_PATTERN_MAX + 16]; /* "bucket main" */
	uint32_t index;                     /* of the class or route */
	int line;
	int key_line[KEYS_MAX]; /* 0: not given */
};

/*
 * libinih cuts a section's name at 50 bytes, a line at 200 and does not tell
 * its handler the line. So the reader below hands it one line at a time,
 * counts, reads section heads itself and lets it split the keys from the
 * values. Indented lines are unindented: a continued value is not meant.
 */
struct reader {
	const char *file; /* its name, for messages */
	const char *next;
	int line;
	bool failed;
	int failed_line;
	struct err *err;
	struct plan *plan;
	struct section *section;
	size_t section_count;
	char route_class[LIMITS_ROUTES_MAX][LIMITS_NAME_MAX];
};

static struct section *current(struct reader *reader)
{
	return reader->section_count ? &reader->section[reader->section_count - 1] : NULL;
}

/* Remembers the first fault; the rest of the file is read for nothing. */
static void fail(struct reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void fail(struct reader *reader, const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reader->failed = true;
	reader->failed_line = reader->line;
	err_set(reader->err, "%s:%d: %s", reader->file, reader->line, text);
}

static void fail_key(struct reader *reader, const char *key, const char *text)
{
	fail(reader, "[%s] %s: %s", current(reader)->name, key, text);
}

/* The length of the name in "[name]" when only blanks or a comment follow. */
static bool section_name(const char *line, struct str *name)
{
	for (const char *end = strchr(line, ']'); end; end = strchr(end + 1, ']')) {
		const char *after = end + 1 + strspn(end + 1, " \t");
		if (*after == '\0' || (after > end + 1 && (*after == ';' || *after == '#'))) {
			*name = str_trim((struct str){line + 1, (size_t)(end - line - 1)});
			return true;
		}
	}
	return false;
}

static void open_bucket(struct reader *reader, struct section *section, struct str name)
{
	struct plan *plan = reader->plan;
	if (plan->class_count == LIMITS_CLASSES_MAX) {
		fail(reader, "[%s]: there are more than %d buckets", section->name,
		     LIMITS_CLASSES_MAX);
		return;
	}
	if (name.length >= LIMITS_NAME_MAX) {
		fail(reader, "[%s]: the name is longer than %d bytes", section->name,
		     LIMITS_NAME_MAX - 1);
		return;
	}
	section->index = plan->class_count++;
	struct plan_class *class = &plan->class[section->index];
	*class = (struct plan_class){0};
	memcpy(class->name, name.bytes, name.length);
}

static void open_route(struct reader *reader, struct section *section, struct str pattern)
{
	struct plan *plan = reader->plan;
	if (plan->route_count == LIMITS_ROUTES_MAX) {
		fail(reader, "[%s]: there are more than %d routes", section->name,
		     LIMITS_ROUTES_MAX);
		return;
	}
	if (pattern.length >= LIMITS_PATTERN_MAX) {
		fail(reader, "[route ...]: the pattern is longer than %d bytes",
		     LIMITS_PATTERN_MAX - 1);
		return;
	}
	section->index = plan->route_count++;
	struct plan_route *route = &plan->route[section->index];
	*route = (struct plan_route){0};
	memcpy(route->pattern, pattern.bytes, pattern.length);
}

static void open_section(struct reader *reader, const char *line)
{
	struct str name, kind, rest;
	if (!section_name(line, &name)) {
		fail(reader, "'%.60s' is no section; write [NAME] on a line of its own", line);
		return;
	}
	str_cut(name, ' ', &kind, &rest);
	rest = str_trim(rest);
	struct section section = {.line = reader->line};
	if (name.length >= sizeof(section.name)) {
		fail(reader, "the section's name is longer than %zu bytes",
		     sizeof(section.name) - 1);
		return;
	}
	snprintf(section.name, sizeof(section.name), "%.*s%s%.*s", STR_ARG(kind),
		 rest.length ? " " : "", STR_ARG(rest));
	for (size_t i = 0; i < reader->section_count; i++) {
		if (strcmp(reader->section[i].name, section.name) == 0) {
			fail(reader, "[%s] is there twice, first at line %d; join the two",
			     section.name, reader->section[i].line);
			return;
		}
	}
	if (reader->section_count == SECTIONS_MAX) {
		fail(reader, "there are more than %d sections", SECTIONS_MAX);
		return;
	}
	bool named = rest.length > 0;
	if (str_equal(kind, STR("server")) && !named)
		section.kind = SERVER;
	else if (str_equal(kind, STR("stack")) && !named)
		section.kind = STACK;
	else if (str_equal(kind, STR("tls")) && !named)
		section.kind = TLS;
	else if (str_equal(kind, STR("log")) && !named)
		section.kind = LOG;
	else if (str_equal(kind, STR("on_oom")) && !named)
		section.kind = ON_OOM;
	else if (str_equal(kind, STR("bucket")) && named)
		section.kind = BUCKET;
	else if (str_equal(kind, STR("route")) && named)
		section.kind = ROUTE;
	else {
		fail(reader,
		     "unknown section [%.60s]; there are [server], [stack], [tls], [log], [on_oom], "
		     "[bucket NAME] and [route PATTERN]",
		     section.name);
		return;
	}
	if (section.kind == BUCKET)
		open_bucket(reader, &section, rest);
	else if (section.kind == ROUTE)
		open_route(reader, &section, rest);
	if (!reader->failed)
		reader->section[reader->section_count++] = section;
}

/* ini_reader: the next line, or an empty one in its place. */
static char *read_line(char *line, int room, void *user)
{
	struct reader *reader = user;
	if (*reader->next == '\0' || reader->failed)
		return NULL;
	assert(room > LINE_MAX_BYTES + 2);
	size_t length = strcspn(reader->next, "\n");
	struct str text = str_trim((struct str){reader->next, length});
	reader->next += length + (reader->next[length] == '\n');
	reader->line++;
	if (text.length > 0 && text.bytes[text.length - 1] == '\r')
		text = str_trim((struct str){text.bytes, text.length - 1});
	if (reader->line == 1 && str_starts(text, STR("\xef\xbb\xbf")))
		text = str_trim((struct str){text.bytes + 3, text.length - 3});

	memcpy(line, "\n", 2);
	if (text.length == 0 || text.bytes[0] == ';' || text.bytes[0] == '#')
		return line;
	for (size_t i = 0; i < text.length; i++) {
		if ((unsigned char)text.bytes[i] < ' ' && text.bytes[i] != '\t') {
			fail(reader, "the line holds a control character");
			return line;
		}
	}
	if (text.bytes[0] == '[') {
		char head[2 * LIMITS_PATTERN_MAX];
		if (text.length >= sizeof(head)) {
			fail(reader, "the section's line is longer than %zu bytes",
			     sizeof(head) - 1);
			return line;
		}
		snprintf(head, sizeof(head), "%.*s", STR_ARG(text));
		open_section(reader, head);
		return line;
	}
	if (text.length > LINE_MAX_BYTES) {
		fail(reader, "the line is longer than %d bytes", LINE_MAX_BYTES);
		return line;
	}
	snprintf(line, (size_t)room, "%.*s\n", STR_ARG(text));
	return line;
}

static int parse_value(const struct key *key, struct str text, void *base, struct err *err)
{
	unsigned char *field = (unsigned char *)base + key->offset;
	uint64_t number;
	switch (key->kind) {
	case SIZE: return units_parse_size(text, (uint64_t *)(void *)field, err);
	case TIME: return units_parse_time(text, (uint64_t *)(void *)field, err);
	case COUNT:
		if (units_parse_count(text, &number, err) < 0)
			return -1;
		if (number > UINT32_MAX)
			return err_set(err, "number '%.*s' is too large", STR_ARG(text));
		*(uint32_t *)(void *)field = (uint32_t)number;
		return 0;
	case TEXT:
		if (text.length >= key->room)
			return err_set(err, "the value is longer than %zu bytes",
				       key->room - 1);
		memcpy(field, text.bytes, text.length);
		field[text.length] = '\0';
		return 0;
	case YES_NO:
		*(bool *)field = str_equal(text, STR("yes"));
		if (*(bool *)field || str_equal(text, STR("no")))
			return 0;
		return err_set(err, "'%.*s' is neither yes nor no", STR_ARG(text));
	case ISOLATION:
		*(enum plan_isolation *)(void *)field = str_equal(text, STR("pkeys"))
								? PLAN_ISOLATION_PKEYS
								: PLAN_ISOLATION_NONE;
		if (str_equal(text, STR("pkeys")) || str_equal(text, STR("none")))
			return 0;
		return err_set(err, "'%.*s' is neither none nor pkeys", STR_ARG(text));
	case POLICY:
		if (arena_policy_parse(text.bytes, (enum arena_policy *)(void *)field) == 0)
			return 0;
		return err_set(err, "'%.*s' is neither reuse nor bump", STR_ARG(text));
	case LOG_FORMAT:
		for (int i = 0; i < (int)(sizeof(log_formats) / sizeof(log_formats[0])); i++) {
			if (str_equal(text, str_of(log_formats[i]))) {
				*(enum plan_log_format *)(void *)field =
					(enum plan_log_format)i;
				return 0;
			}
		}
		return err_set(err, "'%.*s' is neither json nor common nor combined",
			       STR_ARG(text));
	case CLASS_NAME: break;
	}
	assert(!"a kind without a parser");
	return -1;
}

static void set_on_oom(struct reader *reader, const char *name, const char *value)
{
	struct plan *plan = reader->plan;
	struct plan_on_oom *rule = &plan->on_oom[plan->on_oom_count];
	for (uint32_t i = 0; i < plan->on_oom_count; i++) {
		if (strcmp(plan->on_oom[i].library, name) == 0) {
			fail_key(reader, name, "is there twice; keep one");
			return;
		}
	}
	if (plan->on_oom_count == LIMITS_LIBRARIES_MAX) {
		fail_key(reader, name, "there are too many libraries");
		return;
	}
	if (strlen(name) >= sizeof(rule->library)) {
		fail_key(reader, name, "the library's name is too long");
		return;
	}
	*rule = (struct plan_on_oom){.unwind = strcmp(value, "unwind") == 0};
	if (!rule->unwind && strcmp(value, "null") != 0) {
		fail_key(reader, name, "is neither null nor unwind");
		return;
	}
	snprintf(rule->library, sizeof(rule->library), "%s", name);
	plan->on_oom_count++;
}

static void unknown_key(struct reader *reader, const struct key *keys, const char *name)
{
	char known[640] = "";
	for (size_t i = 0; keys[i].name; i++) {
		size_t length = strlen(known);
		snprintf(known + length, sizeof(known) - length, "%s%s", i ? ", " : "",
			 keys[i].name);
	}
	fail(reader, "[%.40s] %.40s: unknown key; there are %s", current(reader)->name, name,
	     known);
}

static const struct key *keys_of(enum section_kind kind)
{
	return kind == SERVER   ? server_keys
	       : kind == STACK  ? stack_keys
	       : kind == TLS    ? tls_keys
	       : kind == LOG    ? log_keys
	       : kind == BUCKET ? bucket_keys
				: route_keys;
}

static void *fields_of(struct plan *plan, const struct section *section)
{
	return section->kind == BUCKET  ? (void *)&plan->class[section->index]
	       : section->kind == ROUTE ? (void *)&plan->route[section->index]
					: (void *)plan;
}

/* ini_handler: one key. Always 1: faults are ours to report, with the file. */
static int take_key(void *user, const char *ignored, const char *name, const char *value)
{
	(void)ignored;
	struct reader *reader = user;
	struct section *section = current(reader);
	if (reader->failed)
		return 1;
	if (!section) {
		fail(reader,
		     "%.60s: a key before any section; put it under [server] or another", name);
		return 1;
	}
	if (section->kind == ON_OOM) {
		set_on_oom(reader, name, value);
		return 1;
	}
	const struct key *keys = keys_of(section->kind);
	size_t i = 0;
	while (keys[i].name && strcmp(keys[i].name, name) != 0)
		i++;
	if (!keys[i].name) {
		unknown_key(reader, keys, name);
		return 1;
	}
	if (section->key_line[i]) {
		char text[64];
		snprintf(text, sizeof(text), "is there twice, first at line %d; keep one",
			 section->key_line[i]);
		fail_key(reader, name, text);
		return 1;
	}
	section->key_line[i] = reader->line;
	if (keys[i].kind == CLASS_NAME) {
		snprintf(reader->route_class[section->index], LIMITS_NAME_MAX, "%s", value);
		return 1;
	}
	struct err below;
	if (parse_value(&keys[i], str_of(value), fields_of(reader->plan, section), &below) < 0)
		fail_key(reader, name, below.text);
	return 1;
}

static int compare_size(const void *a, const void *b)
{
	const struct plan_class *x = a, *y = b;
	if (x->size_bytes != y->size_bytes)
		return x->size_bytes < y->size_bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Once all buckets are known: order them and find those that routes name. */
static int resolve(struct reader *reader)
{
	struct plan *plan = reader->plan;
	for (size_t i = 0; i < reader->section_count; i++) {
		const struct section *section = &reader->section[i];
		if (section->kind != BUCKET)
			continue;
		for (size_t k = 0; bucket_keys[k].name; k++) {
			if (section->key_line[k])
				continue;
			return err_set(reader->err,
				       "%s:%d: [%s] %s: missing; a bucket needs size "
				       "and count",
				       reader->file, section->line, section->name,
				       bucket_keys[k].name);
		}
	}
	qsort(plan->class, plan->class_count, sizeof(plan->class[0]), compare_size);
	for (size_t i = 0; i < reader->section_count; i++) {
		const struct section *section = &reader->section[i];
		if (section->kind != ROUTE)
			continue;
		const char *name = reader->route_class[section->index];
		if (!section->key_line[0]) {
			if (plan->class_count == 1)
				continue;
			return err_set(reader->err,
				       "%s:%d: [%s] bucket: missing; there are several, "
				       "name one",
				       reader->file, section->line, section->name);
		}
		uint32_t k = 0;
		while (k < plan->class_count && strcmp(plan->class[k].name, name) != 0)
			k++;
		if (k == plan->class_count)
			return err_set(reader->err,
				       "%s:%d: [%s] bucket: there is no [bucket %s]",
				       reader->file, section->key_line[0], section->name, name);
		plan->route[section->index].class_index = k;
	}
	return 0;
}

/* The line of a key that limits_check_at() refused; 0 if the file has none. */
static int line_of(const struct reader *reader, const struct limits_place *place)
{
	for (size_t i = 0; i < reader->section_count; i++) {
		const struct section *section = &reader->section[i];
		if (strcmp(section->name, place->section) != 0)
			continue;
		if (section->kind == ON_OOM)
			return section->line;
		const struct key *keys = keys_of(section->kind);
		for (size_t k = 0; keys[k].name; k++) {
			if (strcmp(keys[k].name, place->key) == 0 && section->key_line[k])
				return section->key_line[k];
		}
		return section->line;
	}
	return 0;
}

static int check(struct reader *reader)
{
	struct limits_place place;
	if (limits_check_at(reader->plan, &place, reader->err) == 0)
		return 0;
	int line = line_of(reader, &place);
	if (line)
		return err_prefix(reader->err, "%s:%d: [%s] %s", reader->file, line,
				  place.section, place.key);
	return err_prefix(reader->err, "%s: [%s] %s", reader->file, place.section, place.key);
}

int conf_parse(const char *name, const char *text, struct plan *plan, struct err *err)
{
	limits_defaults(plan);
	struct plan_class default_class = plan->class[0];
	plan->class_count = 0;
	struct reader *reader = calloc(1, sizeof(*reader));
	struct section *sections = calloc(SECTIONS_MAX, sizeof(*sections));
	int result = -1;
	if (!reader || !sections) {
		err_errno(err, "cannot read '%s'", name);
		goto out;
	}
	*reader = (struct reader){
		.file = name, .next = text, .plan = plan, .err = err, .section = sections};
	int bad_line = ini_parse_stream(read_line, reader, take_key, reader);
	if (reader->failed && (bad_line <= 0 || bad_line >= reader->failed_line))
		goto out;
	if (bad_line != 0) {
		err_set(err, "%s:%d: neither 'key = value' nor '[section]'", name,
			bad_line > 0 ? bad_line : reader->line);
		goto out;
	}
	if (plan->class_count == 0) {
		plan->class[0] = default_class;
		plan->class_count = 1;
	}
	if (resolve(reader) == 0 && check(reader) == 0)
		result = 0;
out:
	free(sections);
	free(reader);
	return result;
}

int conf_read(const char *path, struct plan *plan, struct err *err)
{
	char *text;
	size_t length;
	if (file_read_all(path, FILE_BYTES_MAX, &text, &length, err) < 0)
		return -1;
	int result = strlen(text) == length
			     ? conf_parse(path, text, plan, err)
			     : err_set(err, "'%s' is no text: it holds a NUL byte", path);
	free(text);
	return result;
}

int conf_line(const char *path, const char *section, const char *key)
{
	struct err ignored;
	char *text;
	size_t length;
	if (file_read_all(path, FILE_BYTES_MAX, &text, &length, &ignored) < 0)
		return 0;
	struct str rest = {text, length}, line, name, value;
	bool inside = false;
	int number = 0, found = 0;
	while (rest.length > 0 && !found) {
		str_cut(rest, '\n', &line, &rest);
		line = str_trim(line);
		number++;
		if (line.length > 0 && line.bytes[0] == '[')
			inside = line.length >= 2 + strlen(section) &&
				 strncmp(line.bytes + 1, section, strlen(section)) == 0 &&
				 line.bytes[1 + strlen(section)] == ']';
		else if (inside && str_cut(line, '=', &name, &value) &&
			 str_equal(str_trim(name), str_of(key)))
			found = number;
	}
	free(text);
	return found;
}

/* -- writing --------------------------------------------------------------- */

struct writer {
	struct buf *out;
	const struct conf_reason *reasons;
	size_t reason_count;
	char section[LIMITS_PATTERN_MAX + 16];
	bool open; /* the section's head is written */
};

static void comment(struct buf *out, const char *text)
{
	struct str line, rest = str_of(text);
	do {
		str_cut(rest, '\n', &line, &rest);
		buf_printf(out, "#%s%.*s\n", line.length ? " " : "", STR_ARG(line));
	} while (rest.length > 0);
}

static bool same_key(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool has_reason(const struct writer *writer, const char *key)
{
	for (size_t i = 0; i < writer->reason_count; i++) {
		if (strcmp(writer->reasons[i].section, writer->section) == 0 &&
		    same_key(writer->reasons[i].key, key))
			return true;
	}
	return false;
}

static void write_reasons(struct writer *writer, const char *key)
{
	for (size_t i = 0; i < writer->reason_count; i++) {
		if (strcmp(writer->reasons[i].section, writer->section) == 0 &&
		    same_key(writer->reasons[i].key, key))
			comment(writer->out, writer->reasons[i].text);
	}
}

static void begin_section(struct writer *writer, const char *kind, const char *name)
{
	snprintf(writer->section, sizeof(writer->section), "%s%s%s", kind, name ? " " : "",
		 name ? name : "");
	writer->open = false;
}

static void open_head(struct writer *writer)
{
	if (writer->open)
		return;
	writer->open = true;
	buf_append_str(writer->out, "\n");
	write_reasons(writer, NULL);
	buf_printf(writer->out, "[%s]\n", writer->section);
}

static void write_pair(struct writer *writer, const char *key, const char *value)
{
	open_head(writer);
	write_reasons(writer, key);
	buf_printf(writer->out, "%s = %s\n", key, value);
}

/* The field as conf_parse() reads it. */
static const char *value_text(const struct key *key, const void *base,
			      char text[UNITS_TEXT_MAX])
{
	const unsigned char *field = (const unsigned char *)base + key->offset;
	switch (key->kind) {
	case SIZE: return units_write_size(*(const uint64_t *)(const void *)field, text);
	case TIME: return units_write_time(*(const uint64_t *)(const void *)field, text);
	case COUNT:
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu32,
			 *(const uint32_t *)(const void *)field);
		return text;
	case TEXT: return (const char *)field;
	case YES_NO: return *(const bool *)field ? "yes" : "no";
	case ISOLATION:
		return *(const enum plan_isolation *)(const void *)field == PLAN_ISOLATION_PKEYS
			       ? "pkeys"
			       : "none";
	case POLICY: return arena_policy_name(*(const enum arena_policy *)(const void *)field);
	case LOG_FORMAT: return log_formats[*(const enum plan_log_format *)(const void *)field];
	case CLASS_NAME: break;
	}
	assert(!"a kind without a writer");
	return "";
}

/* Keys that differ from `defaults` (all, if it is NULL) or have a reason. */
static void write_keys(struct writer *writer, const struct key *keys, const void *base,
		       const void *defaults)
{
	for (; keys->name; keys++) {
		if (keys->kind == CLASS_NAME)
			continue;
		char now[UNITS_TEXT_MAX], usual[UNITS_TEXT_MAX];
		const char *value = value_text(keys, base, now);
		bool differs =
			!defaults || strcmp(value, value_text(keys, defaults, usual)) != 0;
		if (differs || (has_reason(writer, keys->name) && *value))
			write_pair(writer, keys->name, value);
	}
}

void conf_write(struct buf *out, const struct plan *plan, const char *head,
		const struct conf_reason *reasons, size_t reason_count)
{
	struct writer writer = {.out = out, .reasons = reasons, .reason_count = reason_count};
	struct plan *defaults = malloc(sizeof(*defaults));
	if (!defaults) {
		out->failed = true;
		return;
	}
	limits_defaults(defaults);
	if (head)
		comment(out, head);
	begin_section(&writer, "server", NULL);
	write_keys(&writer, server_keys, plan, defaults);
	begin_section(&writer, "stack", NULL);
	write_keys(&writer, stack_keys, plan, defaults);
	begin_section(&writer, "tls", NULL);
	write_keys(&writer, tls_keys, plan, defaults);
	begin_section(&writer, "log", NULL);
	write_keys(&writer, log_keys, plan, defaults);
	for (uint32_t i = 0; i < plan->class_count; i++) {
		begin_section(&writer, "bucket", plan->class[i].name);
		write_keys(&writer, bucket_keys, &plan->class[i], NULL);
	}
	const struct plan_route no_route = {0};
	for (uint32_t i = 0; i < plan->route_count; i++) {
		const struct plan_route *route = &plan->route[i];
		begin_section(&writer, "route", route->pattern);
		write_pair(&writer, "bucket", plan->class[route->class_index].name);
		write_keys(&writer, route_keys, route, &no_route);
	}
	begin_section(&writer, "on_oom", NULL);
	for (uint32_t i = 0; i < plan->on_oom_count; i++)
		write_pair(&writer, plan->on_oom[i].library,
			   plan->on_oom[i].unwind ? "unwind" : "null");
	free(defaults);
}
