/* SPDX-License-Identifier: MIT */
#include "base/table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { GAP = 2, NARROWEST = 8, ENOUGH = 16 };

struct table {
	size_t columns;
	bool *right;
	size_t *width;
	/* Row by row, the heads first; each entry is an offset into text. */
	size_t *cell;
	size_t cells, capacity;
	bool bold;
	struct buf text;
	bool failed;
};

/* Code points, as an approximation of terminal cells: routes and names are
 * nearly all ASCII. */
static size_t text_width(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static size_t bytes_of_width(const char *text, size_t width)
{
	size_t i = 0;
	for (; text[i]; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80 && width-- == 0)
			break;
	}
	return i;
}

/* Bytes of the character at c that a terminal may be shown; 0: it is a control
 * character, of eight bits too, or no UTF-8. */
static size_t printable(const char *c)
{
	unsigned char lead = (unsigned char)c[0];
	size_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	if (lead < 0x20 || lead == 0x7f || lead > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if (((unsigned char)c[i] & 0xc0) != 0x80) /* the end of the text is none */
			return 0;
	return lead == 0xc2 && (unsigned char)c[1] < 0xa0 ? 0 : n;
}

static void add(struct table *table, const char *text)
{
	if (table->cells == table->capacity) {
		size_t capacity = table->capacity ? table->capacity * 2 : 64;
		size_t *cell = reallocarray(table->cell, capacity, sizeof(*cell));
		if (!cell) {
			table->failed = true;
			return;
		}
		table->cell = cell;
		table->capacity = capacity;
	}
	size_t column = table->cells % table->columns, width = text_width(text);
	if (width > table->width[column])
		table->width[column] = width;
	table->cell[table->cells++] = table->text.length;
	/* What a trace holds goes to a terminal: no control characters. */
	size_t start = table->text.length;
	buf_append(&table->text, text, strlen(text) + 1);
	if (table->text.failed) {
		table->failed = true;
		return;
	}
	for (char *c = table->text.bytes + start; *c;) {
		size_t n = printable(c);
		if (n == 0)
			*c = '?';
		c += n > 0 ? n : 1;
	}
}

struct table *table_new(size_t columns, const char *const *heads)
{
	assert(columns > 0);
	struct table *table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->columns = columns;
	table->right = calloc(columns, sizeof(*table->right));
	table->width = calloc(columns, sizeof(*table->width));
	buf_init(&table->text);
	if (!table->right || !table->width) {
		table_free(table);
		return NULL;
	}
	for (size_t i = 0; i < columns; i++) {
		table->right[i] = heads[i][0] == '>';
		add(table, heads[i] + table->right[i]);
	}
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	buf_release(&table->text);
	free(table->right);
	free(table->width);
	free(table->cell);
	free(table);
}

void table_cell(struct table *table, const char *format, ...)
{
	struct buf text;
	buf_init(&text);
	va_list args;
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	table->failed |= text.failed;
	add(table, buf_text(&text));
	buf_release(&text);
}

/* Takes what is too much off the gaps, then off the widest column, again and
 * again. Gives the gap. */
static size_t fit(const struct table *table, size_t *width, size_t room)
{
	size_t gaps = table->columns - 1, total = gaps * GAP, gap = GAP;
	for (size_t i = 0; i < table->columns; i++)
		total += width[i];
	/* Only where the columns hardly fit: a name that is long is better cut. */
	size_t least = total;
	for (size_t i = 0; i < table->columns; i++)
		if (!table->right[i] && width[i] > ENOUGH)
			least -= width[i] - ENOUGH;
	if (least > room) {
		gap = 1;
		total -= gaps * (GAP - 1);
	}
	while (total > room) {
		size_t widest = 0;
		for (size_t i = 1; i < table->columns; i++) {
			/* Numbers are cut last: a number cut short is another number. */
			if (table->right[i] < table->right[widest] ||
			    (table->right[i] == table->right[widest] &&
			     width[i] > width[widest]))
				widest = i;
		}
		if (table->right[widest] || width[widest] <= NARROWEST)
			break;
		width[widest]--;
		total--;
	}
	return gap;
}

static void spaces(struct buf *out, size_t count)
{
	buf_printf(out, "%*s", (int)count, "");
}

static void write_row(const struct table *table, const size_t *width, size_t gap, size_t first,
		      struct buf *out)
{
	for (size_t i = 0; i < table->columns; i++) {
		const char *text = first + i < table->cells
					   ? table->text.bytes + table->cell[first + i]
					   : "";
		size_t cells = text_width(text), pad = 0;
		bool cut = cells > width[i];
		bool last = i + 1 == table->columns;
		if (!cut)
			pad = width[i] - cells;
		if (i > 0)
			spaces(out, gap);
		if (table->right[i])
			spaces(out, pad);
		if (cut) {
			size_t keep = width[i] - 3;
			buf_append(out, text, bytes_of_width(text, keep));
			buf_append_str(out, "...");
		} else {
			buf_append_str(out, text);
		}
		if (!table->right[i] && !last)
			spaces(out, pad);
	}
	buf_append_str(out, "\n");
}

void table_write(const struct table *table, struct buf *out, int width_max)
{
	size_t *width = calloc(table->columns, sizeof(*width));
	if (table->failed || !width) {
		out->failed = true;
		free(width);
		return;
	}
	memcpy(width, table->width, table->columns * sizeof(*width));
	size_t gap = fit(table, width, width_max > 0 ? (size_t)width_max : 100);
	if (table->bold)
		buf_append_str(out, "\033[1m");
	write_row(table, width, gap, 0, out);
	if (table->bold)
		buf_append_str(out, "\033[0m");
	for (size_t i = 0; i < table->columns; i++) {
		if (i > 0)
			spaces(out, gap);
		for (size_t k = 0; k < width[i]; k++)
			buf_append_str(out, "-");
	}
	buf_append_str(out, "\n");
	for (size_t first = table->columns; first < table->cells; first += table->columns)
		write_row(table, width, gap, first, out);
	free(width);
}

void table_style_for(struct table *table, int fd)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
	table->bold = isatty(fd) == 1 && (!none || !*none) && term && strcmp(term, "dumb") != 0;
}

int table_width_of(int fd)
{
	struct winsize size;
	if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return 100;
}
