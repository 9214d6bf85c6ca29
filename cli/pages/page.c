/* SPDX-License-Identifier: MIT */
#include "cli/pages/page.h"

#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <nettle/base64.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

/* page_files.S */
extern const char page_css[], page_css_end[], page_js[], page_js_end[];

/* ---- escaping ------------------------------------------------------------ */

/* Bytes of the UTF-8 character at `at`, or 0: none (too long, a surrogate, cut). */
static size_t utf8_length(const unsigned char *at, size_t left)
{
	static const struct {
		unsigned char low, high, second_low, second_high, length;
	} lead[] = {
		{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	if (*at < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(lead) / sizeof(*lead); i++) {
		if (*at < lead[i].low || *at > lead[i].high)
			continue;
		size_t n = lead[i].length;
		if (left < n || at[1] < lead[i].second_low || at[1] > lead[i].second_high)
			return 0;
		for (size_t k = 2; k < n; k++)
			if ((at[k] & 0xc0) != 0x80)
				return 0;
		/* U+0080 to U+009F are control characters, U+FFFE and U+FFFF are none. */
		if ((n == 2 && at[0] == 0xc2 && at[1] < 0xa0) ||
		    (n == 3 && at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe))
			return 0;
		return n;
	}
	return 0;
}

void page_text(struct buf *out, struct str text)
{
	const unsigned char *at = (const unsigned char *)text.bytes;
	for (size_t i = 0; i < text.length;) {
		size_t n = utf8_length(at + i, text.length - i);
		if (n == 0 || at[i] < ' ' || at[i] == 0x7f)
			buf_append_str(out,
				       at[i] == '\t' || at[i] == '\n' ? " " : "\xef\xbf\xbd");
		else if (at[i] == '&')
			buf_append_str(out, "&amp;");
		else if (at[i] == '<')
			buf_append_str(out, "&lt;");
		else if (at[i] == '>')
			buf_append_str(out, "&gt;");
		else if (at[i] == '"')
			buf_append_str(out, "&quot;");
		else if (at[i] == '\'')
			buf_append_str(out, "&#39;");
		else
			buf_append(out, at + i, n);
		i += n > 0 ? n : 1;
	}
}

void page_cstr(struct buf *out, const char *text)
{
	page_text(out, str_of(text));
}

/* ---- the document --------------------------------------------------------- */

static void put_hash(struct buf *out, const char *begin, const char *end)
{
	struct sha256_ctx context;
	uint8_t digest[SHA256_DIGEST_SIZE];
	char text[BASE64_ENCODE_RAW_LENGTH(SHA256_DIGEST_SIZE)];
	sha256_init(&context);
	sha256_update(&context, (size_t)(end - begin), (const uint8_t *)begin);
	sha256_digest(&context, sizeof(digest), digest);
	base64_encode_raw(text, sizeof(digest), digest);
	buf_append_str(out, "'sha256-");
	buf_append(out, text, sizeof(text));
	buf_append_str(out, "'");
}

void page_begin(struct buf *out, const char *kind, struct str subject)
{
	buf_append_str(out,
		       "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
		       "<meta charset=\"utf-8\">\n"
		       "<meta http-equiv=\"Content-Security-Policy\" content=\""
		       "default-src 'none'; base-uri 'none'; form-action 'none'; style-src ");
	put_hash(out, page_css, page_css_end);
	buf_append_str(out, "; script-src ");
	put_hash(out, page_js, page_js_end);
	buf_append_str(out, "\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
			    "<meta name=\"viewport\" content=\"width=device-width, "
			    "initial-scale=1\">\n"
			    "<meta name=\"color-scheme\" content=\"light dark\">\n");
	buf_printf(out, "<title>pail %s: ", kind);
	page_text(out, subject);
	buf_append_str(out, "</title>\n<style>");
	buf_append(out, page_css, (size_t)(page_css_end - page_css));
	buf_append_str(out, "</style>\n</head>\n<body>\n"
			    "<a class=\"skip\" href=\"#main\">Skip to the content</a>\n"
			    "<header>\n<h1>");
	buf_printf(out, "<span class=\"kind\">pail %s</span> ", kind);
	page_text(out, subject);
	buf_append_str(out, "</h1>\n<dl class=\"facts\">\n");
}

void page_fact(struct buf *out, const char *name, const char *value)
{
	buf_append_str(out, "<dt>");
	page_cstr(out, name);
	buf_append_str(out, "</dt><dd>");
	page_cstr(out, value);
	buf_append_str(out, "</dd>\n");
}

void page_main(struct buf *out, const struct page_part *parts, size_t count)
{
	buf_append_str(out, "</dl>\n<nav aria-label=\"Parts of this page\">\n<ul>\n");
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "<li><a href=\"#%s\">", parts[i].id);
		page_cstr(out, parts[i].title);
		buf_append_str(out, "</a></li>\n");
	}
	buf_append_str(out, "</ul>\n</nav>\n</header>\n<main id=\"main\" tabindex=\"-1\">\n");
}

void page_section(struct buf *out, const struct page_part *part)
{
	buf_printf(out, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">", part->id, part->id);
	page_cstr(out, part->title);
	buf_append_str(out, "</h2>\n");
}

void page_section_end(struct buf *out)
{
	buf_append_str(out, "</section>\n");
}

void page_end(struct buf *out)
{
	buf_append_str(out, "</main>\n<footer><p>Made by pail " PAIL_VERSION
			    ". This file holds all it shows, and asks the network for nothing."
			    "</p></footer>\n<script>");
	buf_append(out, page_js, (size_t)(page_js_end - page_js));
	buf_append_str(out, "</script>\n</body>\n</html>\n");
}

void page_paragraph(struct buf *out, const char *text)
{
	buf_append_str(out, "<p>");
	page_cstr(out, text);
	buf_append_str(out, "</p>\n");
}

void page_figure(struct buf *out, const char *id, const char *alt, const char *caption,
		 struct str svg)
{
	buf_printf(out, "<figure id=\"%s\" class=\"plot\">\n<div role=\"img\" aria-label=\"",
		   id);
	page_cstr(out, alt);
	buf_append_str(out, "\">\n");
	buf_append(out, svg.bytes, svg.length);
	buf_append_str(out, "</div>\n<figcaption>");
	page_cstr(out, caption);
	buf_append_str(out, "</figcaption>\n</figure>\n");
}

/* ---- tables --------------------------------------------------------------- */

static bool of_numbers(const struct page_table *table, size_t column)
{
	return table->heads[column][0] == '>';
}

void page_table_begin(struct page_table *table, struct buf *out, const char *id,
		      const char *caption, const char *const *heads, size_t columns, int sorted)
{
	*table = (struct page_table){out, heads, columns, 0};
	buf_printf(out, "<div class=\"search\"><label for=\"%s-search\">Search ", id);
	page_cstr(out, caption);
	buf_printf(out,
		   "</label> <input type=\"search\" id=\"%s-search\" data-table=\"%s\" "
		   "autocomplete=\"off\" spellcheck=\"false\"> "
		   "<span class=\"hits\" role=\"status\"></span></div>\n"
		   "<div class=\"scroll\" role=\"region\" aria-labelledby=\"%s-caption\" "
		   "tabindex=\"0\">\n<table id=\"%s\">\n<caption id=\"%s-caption\">",
		   id, id, id, id, id);
	page_cstr(out, caption);
	buf_append_str(out, "</caption>\n<thead>\n<tr>");
	for (size_t i = 0; i < columns; i++) {
		bool number = of_numbers(table, i);
		buf_printf(out, "<th scope=\"col\"%s aria-sort=\"%s\"><button type=\"button\">",
			   number ? " class=\"n\"" : "",
			   (int)i == sorted ? "descending" : "none");
		page_cstr(out, heads[i] + number);
		buf_append_str(out, "</button></th>");
	}
	buf_append_str(out, "</tr>\n</thead>\n<tbody>\n");
}

/* The first cell of a row is its head. */
static void cell_open(struct page_table *table, const char *value)
{
	struct buf *out = table->out;
	if (table->column == 0)
		buf_append_str(out, "<tr>");
	buf_append_str(out, table->column == 0 ? "<th scope=\"row\"" : "<td");
	if (of_numbers(table, table->column))
		buf_append_str(out, " class=\"n\"");
	if (value)
		buf_printf(out, " data-v=\"%s\"", value);
	buf_append_str(out, ">");
}

static void cell_close(struct page_table *table)
{
	buf_append_str(table->out, table->column == 0 ? "</th>" : "</td>");
	if (++table->column == table->columns) {
		buf_append_str(table->out, "</tr>\n");
		table->column = 0;
	}
}

void page_cell(struct page_table *table, struct str text)
{
	cell_open(table, NULL);
	page_text(table->out, text);
	cell_close(table);
}

void page_cell_cstr(struct page_table *table, const char *text)
{
	page_cell(table, str_of(text));
}

static void cell_number(struct page_table *table, int64_t value, const char *text)
{
	char number[32];
	snprintf(number, sizeof(number), "%" PRId64, value);
	cell_open(table, number);
	page_cstr(table->out, text);
	cell_close(table);
}

void page_cell_count(struct page_table *table, int64_t value)
{
	/* Groups of three, apart by a thin space that does not break. */
	char digits[32], text[96];
	int n = snprintf(digits, sizeof(digits), "%" PRId64, value), used = 0;
	for (int i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-')
			used += snprintf(text + used, sizeof(text) - (size_t)used,
					 "\xe2\x80\xaf");
		text[used++] = digits[i];
	}
	text[used] = '\0';
	cell_number(table, value, text);
}

void page_cell_size(struct page_table *table, int64_t bytes)
{
	char text[UNITS_TEXT_MAX];
	cell_number(table, bytes, units_format_size((uint64_t)(bytes > 0 ? bytes : 0), text));
}

void page_cell_time(struct page_table *table, int64_t ns)
{
	char text[UNITS_TEXT_MAX];
	cell_number(table, ns, units_format_time((uint64_t)(ns > 0 ? ns : 0), text));
}

void page_cell_value(struct page_table *table, double value, const char *text)
{
	char number[40];
	snprintf(number, sizeof(number), "%.17g", value);
	cell_open(table, number);
	page_cstr(table->out, text);
	cell_close(table);
}

void page_table_end(struct page_table *table)
{
	assert(table->column == 0);
	buf_append_str(table->out, "</tbody>\n</table>\n</div>\n");
}
