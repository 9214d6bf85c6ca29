/* SPDX-License-Identifier: MIT */
#include "server/builtin.h"

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

static bool number_take(const char **at, const char *end, uint64_t *number)
{
	const char *start = *at;

	for (*number = 0; *at < end && **at >= '0' && **at <= '9' && *at - start < 18; ++*at)
		*number = *number * 10 + (uint64_t)(**at - '0');
	return *at > start;
}

/* "M 0 0 L x y x y ...". False on a line that has two columns which are no
 * numbers; lines without ", " are skipped, as the model does. */
static bool path_write(struct text *path, const char *csv, size_t length)
{
	const char *at = csv, *end = csv + length;

	append(path, "M 0 0 L");
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *line_end = newline ? newline : end;
		uint64_t x, y;

		if (line_end > at && line_end[-1] == '\r')
			line_end--;
		if (memmem(at, (size_t)(line_end - at), ", ", 2)) {
			if (!number_take(&at, line_end, &x) || line_end - at < 2 ||
			    at[0] != ',' || at[1] != ' ')
				return false;
			at += 2;
			if (!number_take(&at, line_end, &y) || at != line_end)
				return false;
			append(path, " %llu %llu", (unsigned long long)x,
			       (unsigned long long)y);
		}
		at = newline ? newline + 1 : end;
	}
	return true;
}

static int handle(struct pail_request *r)
{
	struct text csv = {0}, path = {0}, svg = {0};
	const void *body;
	size_t length = pail_body(r, &body);

	if (length == 0) {
		points_write(&csv);
		body = csv.bytes;
		length = csv.length;
	}
	if (csv.failed || !path_write(&path, body, length))
		return builtin_text(r, 400, "lines must be \"x, y\", two whole numbers\n");
	append(&svg,
	       "<svg width=\"100\" height=\"100\" xmlns=\"http://www.w3.org/2000/svg\">\n"
	       "    <path d=\"%s\" stroke=\"black\" fill=\"transparent\"/>\n"
	       "</svg>\n",
	       path.failed ? "" : path.bytes);
	if (path.failed || svg.failed)
		return builtin_text(r, 500, "no memory\n");
	pail_set_header(r, "Content-Type", "image/svg+xml");
	pail_write(r, svg.bytes, svg.length);
	return 200;
}

const struct handler builtin_csv_svg_path = {.name = "csv-svg-path", .handle = handle};
