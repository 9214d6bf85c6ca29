/* SPDX-License-Identifier: MIT */
#include "server/content/builtin.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 52 };

/* A string that grows as strings of other languages do, by realloc. */
struct text {
	char *bytes;
	size_t length, room;
	bool failed;
};

static void __attribute__((format(printf, 2, 3)))
append(struct text *text, const char *format, ...)
{
	va_list args;
	int length;

	for (;;) {
		size_t left = text->room - text->length;
		char *bytes;

		if (text->failed)
			return;
		va_start(args, format);
		length = vsnprintf(text->bytes ? text->bytes + text->length : NULL, left,
				   format, args);
		va_end(args);
		if ((size_t)length < left)
			break;
		text->room = text->room ? text->room * 2 : 64;
		bytes = realloc(text->bytes, text->room);
		text->failed = !bytes;
		if (bytes)
			text->bytes = bytes;
	}
	text->length += (size_t)length;
}

/* The points of a GET: always the same, by a linear congruential generator. */
static void points_write(struct text *csv)
{
	uint32_t state = 52;

	for (int i = 0; i < POINTS; i++) {
		uint32_t x = state = state * 1664525u + 1013904223u;
		uint32_t y = state = state * 1664525u + 1013904223u;

		append(csv, "%u, %u\n", (x >> 8) % 1000000, (y >> 8) % 1000000);
	}
}

static bool number_take(struct str *s, uint64_t *number)
{
	size_t i = 0;

	for (*number = 0; i < s->length && i < 18 && s->bytes[i] >= '0' && s->bytes[i] <= '9';
	     i++)
		*number = *number * 10 + (uint64_t)(s->bytes[i] - '0');
	*s = (struct str){s->bytes + i, s->length - i};
	return i > 0;
}

/* "x, y": 1; nothing of the kind: 0; two columns that are no numbers: -1. */
static int line_read(struct str line, uint64_t *x, uint64_t *y)
{
	struct str left, right;

	if (line.length && line.bytes[line.length - 1] == '\r')
		line.length--;
	if (!str_cut(line, ',', &left, &right) || !str_starts(right, STR(" ")))
		return 0;
	right = (struct str){right.bytes + 1, right.length - 1};
	if (!number_take(&left, x) || left.length || !number_take(&right, y) || right.length)
		return -1;
	return 1;
}

/* "M 0 0 L x y x y ...". False on a line that is wrong; others are skipped, as
 * the model does. */
static bool path_write(struct text *path, struct str csv)
{
	struct str line;
	uint64_t x, y;

	append(path, "M 0 0 L");
	while (csv.length) {
		int points;

		str_cut(csv, '\n', &line, &csv);
		points = line_read(line, &x, &y);
		if (points < 0)
			return false;
		if (points)
			append(path, " %llu %llu", (unsigned long long)x,
			       (unsigned long long)y);
	}
	return true;
}

static int answer(struct pail_request *r, struct str csv, struct text *path, struct text *svg)
{
	if (!path_write(path, csv))
		return builtin_text(r, 400, "lines must be \"x, y\", two whole numbers\n");
	if (!path->failed)
		append(svg,
		       "<svg width=\"100\" height=\"100\" xmlns=\"http://www.w3.org/2000/svg\">\n"
		       "    <path d=\"%s\" stroke=\"black\" fill=\"transparent\"/>\n"
		       "</svg>\n",
		       path->bytes);
	if (path->failed || svg->failed)
		return builtin_text(r, 500, "no memory\n");
	pail_set_header(r, "Content-Type", "image/svg+xml");
	pail_write(r, svg->bytes, svg->length);
	return 200;
}

/* Frees what it took, though the bucket would be cleared anyway: so it can be
 * compared with the same code on another malloc. */
static int handle(struct pail_request *r)
{
	struct text csv = {0}, path = {0}, svg = {0};
	const void *body;
	size_t length = pail_body(r, &body);
	int status;

	if (length == 0) {
		points_write(&csv);
		body = csv.bytes;
		length = csv.failed ? 0 : csv.length;
	}
	status = answer(r, (struct str){body, length}, &path, &svg);
	free(svg.bytes);
	free(path.bytes);
	free(csv.bytes);
	return status;
}

const struct handler builtin_csv_svg_path = {.name = "csv-svg-path", .handle = handle};
