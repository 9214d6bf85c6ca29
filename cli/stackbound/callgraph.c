/* SPDX-License-Identifier: MIT */
/* Reading units and joining them. callgraph_bound.c finds the way. */
#include "cli/stackbound/callgraph.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* -- memory ------------------------------------------------------------------- */

/* Room for one more, by doubling; dies like every tool without memory. */
static void *grown(void *old, size_t count, size_t *room, size_t item_bytes)
{
	if (count < *room)
		return old;
	*room = *room ? 2 * *room : 64;
	void *bytes = reallocarray(old, *room, item_bytes);
	if (!bytes)
		abort();
	return bytes;
}

void callgraph_init(struct callgraph *graph)
{
	memset(graph, 0, sizeof(*graph));
}

void callgraph_release(struct callgraph *graph)
{
	for (size_t i = 0; i < graph->text_count; i++)
		free(graph->text[i]);
	free(graph->text);
	free(graph->unit);
	free(graph->slot);
	free(graph->call);
	free(graph->function);
	callgraph_init(graph);
}

/* -- functions by (unit, title) -------------------------------------------------- */

static size_t hash(uint32_t unit, struct str title)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ unit;

	for (size_t i = 0; i < title.length; i++)
		h = (h ^ (unsigned char)title.bytes[i]) * UINT64_C(0x100000001b3);
	return (size_t)(h ^ h >> 29);
}

static size_t slot_of(const struct callgraph *graph, uint32_t unit, struct str title)
{
	size_t at = hash(unit, title) & (graph->slot_count - 1);

	for (; graph->slot[at]; at = (at + 1) & (graph->slot_count - 1)) {
		const struct callgraph_function *f = &graph->function[graph->slot[at] - 1];
		if (f->unit == unit && str_equal(f->title, title))
			break;
	}
	return at;
}

static void slots_grow(struct callgraph *graph)
{
	if (2 * (graph->function_count + 1) < graph->slot_count)
		return;
	free(graph->slot);
	graph->slot_count = graph->slot_count ? 2 * graph->slot_count : 256;
	graph->slot = calloc(graph->slot_count, sizeof(*graph->slot));
	if (!graph->slot)
		abort();
	for (size_t i = 0; i < graph->function_count; i++) {
		const struct callgraph_function *f = &graph->function[i];
		graph->slot[slot_of(graph, f->unit, f->title)] = i + 1;
	}
}

/* The function of that title as the last unit means it; made if it is new. */
static size_t function_of(struct callgraph *graph, struct str title)
{
	assert(graph->unit_count > 0);
	struct str unit = graph->unit[graph->unit_count - 1];
	bool own = title.length > unit.length && title.bytes[unit.length] == ':' &&
		   str_starts(title, unit);
	uint32_t number = own ? graph->unit_count : 0;

	slots_grow(graph);
	size_t at = slot_of(graph, number, title);
	if (graph->slot[at])
		return graph->slot[at] - 1;
	graph->function = grown(graph->function, graph->function_count, &graph->function_room,
				sizeof(*graph->function));
	graph->function[graph->function_count] = (struct callgraph_function){
		.title = title, .unit = number, .first_call = SIZE_MAX};
	graph->slot[at] = ++graph->function_count;
	return graph->function_count - 1;
}

size_t callgraph_find(const struct callgraph *graph, struct str name, size_t *found,
		      size_t most)
{
	size_t count = 0;

	for (size_t i = 0; i < graph->function_count; i++)
		if (str_equal(graph->function[i].title, name) && ++count <= most)
			found[count - 1] = i;
	if (count > 0)
		return count;
	for (size_t i = 0; i < graph->function_count; i++) {
		const struct callgraph_function *f = &graph->function[i];
		size_t skip = f->unit ? graph->unit[f->unit - 1].length + 1 : 0;
		struct str plain = {f->title.bytes + skip, f->title.length - skip};
		if (f->unit && str_equal(plain, name) && ++count <= most)
			found[count - 1] = i;
	}
	return count;
}

/* -- lines ------------------------------------------------------------------------- */

/* Cuts `mark` and what is before it off s. Marks are searched for whole, as in
 * `" label: "`, since names may hold quotes of their own (C++'s operator""). */
static bool cut_at(struct str *s, struct str mark, struct str *before)
{
	const char *at =
		s->length ? memmem(s->bytes, s->length, mark.bytes, mark.length) : NULL;

	if (!at)
		return false;
	*before = (struct str){s->bytes, (size_t)(at - s->bytes)};
	s->length -= before->length + mark.length;
	s->bytes = at + mark.length;
	return true;
}

static bool cut_end(struct str *s, struct str mark)
{
	if (s->length < mark.length ||
	    memcmp(s->bytes + s->length - mark.length, mark.bytes, mark.length) != 0)
		return false;
	s->length -= mark.length;
	return true;
}

static bool cut_begin(struct str *s, struct str mark)
{
	if (!str_starts(*s, mark))
		return false;
	s->bytes += mark.length;
	s->length -= mark.length;
	return true;
}

/* "64 bytes (dynamic,bounded)" */
static bool read_stack(struct str part, uint64_t *bytes, enum callgraph_kind *kind)
{
	size_t i = 0;

	*bytes = 0;
	for (; i < part.length && part.bytes[i] >= '0' && part.bytes[i] <= '9'; i++)
		if (__builtin_mul_overflow(*bytes, 10, bytes) ||
		    __builtin_add_overflow(*bytes, part.bytes[i] - '0', bytes) ||
		    *bytes > UINT32_MAX)
			return false;
	struct str rest = {part.bytes + i, part.length - i};
	if (i == 0)
		return false;
	if (str_equal(rest, STR(" bytes (static)")))
		*kind = CALLGRAPH_STATIC;
	else if (str_equal(rest, STR(" bytes (dynamic,bounded)")))
		*kind = CALLGRAPH_BOUNDED;
	else if (str_equal(rest, STR(" bytes (dynamic)")))
		*kind = CALLGRAPH_DYNAMIC;
	else
		return false;
	return true;
}

/* The label's parts, between the two characters \ and n: the name, the place,
 * the stack, the dynamic objects. */
static void read_label(struct str label, struct callgraph_function *f)
{
	struct str part;
	int index = 0;
	bool more = true;

	f->kind = CALLGRAPH_EXTERNAL;
	while (more && f->kind == CALLGRAPH_EXTERNAL) {
		more = cut_at(&label, STR("\\n"), &part);
		if (!more)
			part = label;
		uint64_t bytes;
		if (index > 0 && read_stack(part, &bytes, &f->kind))
			f->bytes = bytes;
		else if (index++ == 1)
			f->where = part;
	}
}

static const char *read_node(struct callgraph *graph, struct str line)
{
	struct str title;
	struct callgraph_function read = {0};

	if (!cut_at(&line, STR("\" label: \""), &title) || title.length == 0)
		return "a node without title and label";
	bool outside = cut_end(&line, STR("\" shape : ellipse }"));
	if (!outside && !cut_end(&line, STR("\" }")))
		return "a node without an end";
	read_label(line, &read);
	if (!outside && read.kind == CALLGRAPH_EXTERNAL)
		return "a function without its stack: compile with -fcallgraph-info=su,da";
	size_t index = function_of(graph, title); /* may move them all */
	struct callgraph_function *f = &graph->function[index];
	if (f->where.length == 0 || (f->kind == CALLGRAPH_EXTERNAL && !outside))
		f->where = read.where;
	if (outside)
		return NULL;
	/* Defined twice: whatever the linker takes is no larger. */
	if (f->kind == CALLGRAPH_EXTERNAL || read.bytes > f->bytes)
		f->bytes = read.bytes;
	if (f->kind < read.kind)
		f->kind = read.kind;
	return NULL;
}

static const char *read_edge(struct callgraph *graph, struct str line)
{
	struct str from, to, where = {"", 0};

	if (!cut_at(&line, STR("\" targetname: \""), &from) || from.length == 0)
		return "a call without a caller";
	if (!cut_end(&line, STR("\" }")))
		return "a call without an end";
	if (cut_at(&line, STR("\" label: \""), &to))
		where = line;
	else
		to = line;
	if (to.length == 0)
		return "a call of nothing";
	size_t caller = function_of(graph, from), callee = function_of(graph, to);
	graph->call =
		grown(graph->call, graph->call_count, &graph->call_room, sizeof(*graph->call));
	graph->call[graph->call_count] = (struct callgraph_call){
		caller, callee, where, graph->function[caller].first_call};
	graph->function[caller].first_call = graph->call_count++;
	return NULL;
}

static const char *read_graph(struct callgraph *graph, struct str line)
{
	if (!cut_end(&line, STR("\"")) || line.length == 0)
		return "a graph without a title";
	struct str *units = reallocarray(graph->unit, graph->unit_count + 1, sizeof(*units));
	if (!units)
		abort();
	graph->unit = units;
	graph->unit[graph->unit_count++] = line;
	return NULL;
}

static const char *read_line(struct callgraph *graph, struct str line, bool *inside)
{
	if (line.length == 0)
		return NULL;
	if (cut_begin(&line, STR("graph: { title: \""))) {
		if (*inside)
			return "a graph within a graph";
		*inside = true;
		return read_graph(graph, line);
	}
	if (!*inside)
		return "not what gcc writes with -fcallgraph-info";
	if (str_equal(line, STR("}"))) {
		*inside = false;
		return NULL;
	}
	if (cut_begin(&line, STR("node: { title: \"")))
		return read_node(graph, line);
	if (cut_begin(&line, STR("edge: { sourcename: \"")))
		return read_edge(graph, line);
	return "neither a node nor an edge";
}

int callgraph_add(struct callgraph *graph, const char *name, const char *bytes, size_t length,
		  struct err *err)
{
	char **texts = reallocarray(graph->text, graph->text_count + 1, sizeof(*texts));
	char *copy = malloc(length + 1);

	if (!texts || !copy)
		abort();
	graph->text = texts;
	graph->text[graph->text_count++] = copy;
	if (length > 0)
		memcpy(copy, bytes, length);
	struct str rest = {copy, length}, line;
	bool inside = false, any = false;
	for (size_t number = 1; rest.length > 0; number++) {
		str_cut(rest, '\n', &line, &rest);
		const char *wrong = read_line(graph, line, &inside);
		if (wrong)
			return err_set(err, "'%s', line %zu: %s", name, number, wrong);
		any |= inside;
	}
	if (!any)
		return err_set(err, "'%s' has no call graph in it", name);
	if (inside)
		return err_set(err, "'%s' is cut short: its graph has no end", name);
	return 0;
}
