/* SPDX-License-Identifier: MIT */
/*
 * A self-contained HTML page: one file that asks the network for nothing. The
 * style and the script are ours, in page.css and page.js, and lie in the page;
 * its content security policy names both by their SHA-256 and forbids all else,
 * so that even a slip in escaping could run nothing and fetch nothing.
 *
 * Whatever comes from a trace (routes are chosen by whoever sends requests) goes
 * through page_text() or page_cstr(), in content and in attributes alike; what is
 * put with buf_printf() is markup of our own.
 *
 * Tables can be sorted by their heads and searched; a cell's value to sort by
 * stands in data-v. Without JavaScript all is readable, in the order given.
 */
#ifndef PAIL_CLI_PAGE_H
#define PAIL_CLI_PAGE_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

/* Text as content or as a quoted attribute: markup is escaped, control
 * characters and what is no UTF-8 become U+FFFD. */
void page_text(struct buf *out, struct str text);
void page_cstr(struct buf *out, const char *text);

/* `kind` is "report" or "plan", `subject` what it is about. page_begin() leaves
 * the header open for page_fact()s; page_main() ends it, with links to the parts. */
void page_begin(struct buf *out, const char *kind, struct str subject);
void page_fact(struct buf *out, const char *name, const char *value);
struct page_part {
	const char *id, *title;
};
void page_main(struct buf *out, const struct page_part *parts, size_t count);
void page_section(struct buf *out, const struct page_part *part);
void page_section_end(struct buf *out);
void page_end(struct buf *out);

/* One paragraph, escaped. */
void page_paragraph(struct buf *out, const char *text);

/* Heads that start with '>' are of numbers, at the right. `sorted`: the column
 * that the rows are given in the order of, descending, or -1. */
struct page_table {
	struct buf *out;
	const char *const *heads;
	size_t columns, column;
};
void page_table_begin(struct page_table *table, struct buf *out, const char *id,
		      const char *caption, const char *const *heads, size_t columns,
		      int sorted);
void page_cell(struct page_table *table, struct str text);
void page_cell_cstr(struct page_table *table, const char *text);
void page_cell_count(struct page_table *table, int64_t value);
void page_cell_size(struct page_table *table, int64_t bytes);
void page_cell_time(struct page_table *table, int64_t ns);
/* A number and how it is written. */
void page_cell_value(struct page_table *table, double value, const char *text);
void page_table_end(struct page_table *table);

/* A figure round an SVG that is there already as text; `alt` says what it shows
 * to those who do not see it, `caption` what to make of it. Both are escaped. */
void page_figure(struct buf *out, const char *id, const char *alt, const char *caption,
		 struct str svg);

#endif
