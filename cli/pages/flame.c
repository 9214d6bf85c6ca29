/* SPDX-License-Identifier: MIT */
#include "cli/pages/flame.h"

#include "base/units.h"
#include "cli/pages/page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 256, LEAST_SHARE = 5000, ROW = 19, WIDTH = 1000, LETTER = 8 };

/* One call with one way to it. Index 0 is the whole recording. */
struct node {
	const struct trace_frame *frame;
	struct str name;
	int64_t bytes, allocations;
	uint32_t child, next; /* indexes; 0: none */
};

struct flame {
	struct node *node;
	size_t count, room;
	int64_t least_bytes;
	unsigned deepest;
	struct buf *out;
};

static int compare_str(struct str a, struct str b)
{
	size_t least = a.length < b.length ? a.length : b.length;
	int order = least > 0 ? memcmp(a.bytes, b.bytes, least) : 0;
	return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

/* Frames without a name are told apart by their address. */
static bool same(const struct node *node, const struct trace_frame *frame)
{
	if (node->frame == frame)
		return true;
	return frame->function.length > 0 &&
	       compare_str(node->frame->function, frame->function) == 0 &&
	       compare_str(node->frame->module, frame->module) == 0;
}

/* The child of `parent` for a frame, made if there is none; 0: out of memory. */
static uint32_t child_of(struct flame *flame, uint32_t parent, const struct trace_frame *frame)
{
	for (uint32_t i = flame->node[parent].child; i; i = flame->node[i].next)
		if (same(&flame->node[i], frame))
			return i;
	if (flame->count == flame->room) {
		size_t room = flame->room * 2;
		struct node *node = reallocarray(flame->node, room, sizeof(*node));
		if (!node)
			return 0;
		flame->node = node;
		flame->room = room;
	}
	uint32_t made = (uint32_t)flame->count++;
	flame->node[made] = (struct node){
		.frame = frame,
		.name = frame->function,
		.next = flame->node[parent].child,
	};
	flame->node[parent].child = made;
	return made;
}

static int add(struct flame *flame, const struct trace_sites *sites,
	       const struct trace_site *site)
{
	uint32_t at = 0, depth = 0;
	flame->node[0].bytes += site->requested_bytes;
	flame->node[0].allocations += site->allocations;
	for (uint32_t i = site->frames; i > 0 && depth < DEPTH_MAX; i--, depth++) {
		at = child_of(flame, at, &sites->frame[site->frame[i - 1]]);
		if (at == 0)
			return -1;
		flame->node[at].bytes += site->requested_bytes;
		flame->node[at].allocations += site->allocations;
	}
	return 0;
}

/* ---- order: children by name, so that a picture is the same each time ------- */

static int by_name(const void *a, const void *b, void *context)
{
	const struct node *node = context;
	const struct node *x = &node[*(const uint32_t *)a], *y = &node[*(const uint32_t *)b];
	int order = compare_str(x->name, y->name);
	if (order != 0)
		return order;
	return (x->frame->address > y->frame->address) -
	       (x->frame->address < y->frame->address);
}

/* The children worth a box, in order; malloc'd. NULL with *count 0: none. */
static uint32_t *children(const struct flame *flame, uint32_t parent, size_t *count)
{
	uint32_t *list;
	*count = 0;
	for (uint32_t i = flame->node[parent].child; i; i = flame->node[i].next)
		*count += flame->node[i].bytes >= flame->least_bytes;
	if (*count == 0 || !(list = calloc(*count, sizeof(*list)))) {
		flame->out->failed |= *count > 0;
		*count = 0;
		return NULL;
	}
	size_t n = 0;
	for (uint32_t i = flame->node[parent].child; i; i = flame->node[i].next)
		if (flame->node[i].bytes >= flame->least_bytes)
			list[n++] = i;
	qsort_r(list, n, sizeof(*list), by_name, flame->node);
	return list;
}

static void measure(struct flame *flame, uint32_t parent, unsigned depth)
{
	if (depth > flame->deepest)
		flame->deepest = depth;
	for (uint32_t i = flame->node[parent].child; i; i = flame->node[i].next)
		if (flame->node[i].bytes >= flame->least_bytes)
			measure(flame, i, depth + 1);
}

/* ---- boxes -------------------------------------------------------------------- */

static void put_name(struct buf *out, const struct node *node)
{
	const struct trace_frame *f = node->frame;
	if (!f) {
		buf_append_str(out, "all allocations");
	} else if (node->name.length > 0) {
		page_text(out, node->name);
	} else {
		struct str module = f->module.length > 0 ? f->module : STR("?");
		const char *slash = memrchr(module.bytes, '/', module.length);
		if (slash) {
			module.length -= (size_t)(slash + 1 - module.bytes);
			module.bytes = slash + 1;
		}
		page_text(out, module);
		buf_printf(out, "+0x%" PRIx64, f->address);
	}
}

/* "parse_json (json.c:12): 1.25 MiB, 12.5 % of all, 300 allocations" */
static void put_label(struct flame *flame, const struct node *node)
{
	char size[UNITS_TEXT_MAX];
	struct buf *out = flame->out;
	put_name(out, node);
	if (node->frame && node->frame->file.length > 0) {
		buf_append_str(out, " (");
		page_text(out, node->frame->file);
		buf_printf(out, ":%d)", node->frame->line);
	}
	buf_printf(out, ": %s, %.2f %% of all, %" PRId64 " allocations",
		   units_format_size((uint64_t)node->bytes, size),
		   100.0 * (double)node->bytes / (double)flame->node[0].bytes,
		   node->allocations);
}

/* What fits into a box as long as nobody clicks. */
static void put_inside(struct flame *flame, const struct node *node, double width)
{
	size_t letters = width < 4 * LETTER ? 0 : (size_t)(width - 6) / LETTER;
	struct str name = node->frame ? node->name : STR("all allocations");
	if (name.length > letters)
		name.length = letters;
	page_text(flame->out, name);
}

static unsigned colour(struct str name)
{
	uint32_t h = 2166136261u; /* FNV-1a: one function, one colour */
	for (size_t i = 0; i < name.length; i++)
		h = (h ^ (unsigned char)name.bytes[i]) * 16777619u;
	return h % 5;
}

static void put_box(struct flame *flame, uint32_t at, unsigned depth, int64_t begin)
{
	const struct node *node = &flame->node[at];
	double scale = WIDTH / (double)flame->node[0].bytes;
	double x = (double)begin * scale, width = (double)node->bytes * scale;
	unsigned y = (flame->deepest - depth) * ROW;
	struct buf *out = flame->out;
	size_t count;
	buf_printf(out,
		   "<g role=\"button\" tabindex=\"%d\" data-d=\"%u\" data-x=\"%" PRId64
		   "\" data-w=\"%" PRId64 "\" data-name=\"",
		   at == 0 ? 0 : -1, depth, begin, node->bytes);
	put_name(out, node);
	buf_append_str(out, "\" aria-label=\"");
	put_label(flame, node);
	buf_printf(out,
		   "\"><rect class=\"f%u\" x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%d\"/>"
		   "<text x=\"%.2f\" y=\"%u\">",
		   colour(node->name), x, y, width, ROW - 1, x + 3, y + 13);
	put_inside(flame, node, width);
	buf_append_str(out, "</text></g>\n");
	uint32_t *list = children(flame, at, &count);
	for (size_t i = 0; i < count; i++) {
		put_box(flame, list[i], depth + 1, begin);
		begin += flame->node[list[i]].bytes;
	}
	free(list);
}

static void put_all(struct flame *flame)
{
	struct buf *out = flame->out;
	unsigned height = (flame->deepest + 1) * ROW;
	buf_append_str(
		out,
		"<div class=\"flamebox\">\n<div class=\"tools\"><label for=\"flame-search\">"
		"Search functions</label> <input type=\"search\" id=\"flame-search\" "
		"autocomplete=\"off\" spellcheck=\"false\"> "
		"<button type=\"button\" data-do=\"reset\">Show all</button> "
		"<span class=\"hits\" role=\"status\"></span></div>\n"
		"<p class=\"detail\" aria-live=\"polite\">Click a box to zoom in; with the "
		"keyboard: arrows to move, Enter to zoom, Escape to show all.</p>\n"
		"<div class=\"flame\">\n");
	buf_printf(out,
		   "<svg viewBox=\"0 0 %d %u\" height=\"%u\" preserveAspectRatio=\"none\" "
		   "role=\"group\" aria-label=\"Flame graph of allocated bytes, callers below "
		   "callees\">\n",
		   WIDTH, height, height);
	put_box(flame, 0, 0, 0);
	buf_append_str(out, "</svg>\n</div>\n</div>\n");
}

int flame_write(struct buf *out, const struct trace_sites *sites, struct err *err)
{
	struct flame flame = {.room = 1024, .count = 1, .out = out};
	flame.node = calloc(flame.room, sizeof(*flame.node));
	int result = flame.node ? 0 : -1;
	for (size_t i = 0; result == 0 && i < sites->sites; i++)
		result = add(&flame, sites, &sites->site[i]);
	if (result == 0 && flame.node[0].bytes > 0) {
		flame.least_bytes = flame.node[0].bytes / LEAST_SHARE + 1;
		measure(&flame, 0, 0);
		put_all(&flame);
	}
	free(flame.node);
	return result == 0 ? 0 : err_set(err, "out of memory for the flame graph");
}
