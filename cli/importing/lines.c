/* SPDX-License-Identifier: MIT */
#include "cli/importing/lines.h"

#include <inttypes.h>
#include <string.h>

void lines_init(struct lines *lines, FILE *in, const char *name)
{
	*lines = (struct lines){.in = in, .name = name};
	buf_init(&lines->text);
}

void lines_release(struct lines *lines)
{
	buf_release(&lines->text);
}

int lines_bad(const struct lines *lines, struct err *err, const char *format, ...)
{
	char what[384];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	return err_set(err, "%s:%" PRIu64 ": %s", lines->name, lines->number, what);
}

int lines_next(struct lines *lines, struct str *line, struct err *err)
{
	char piece[256];
	size_t filled = 0;
	int c;
	buf_clear(&lines->text);
	lines->number++;
	while ((c = getc_unlocked(lines->in)) != EOF && c != '\n') {
		if (c == '\0')
			return lines_bad(lines, err, "a zero byte in the text");
		if (lines->text.length + filled >= LINE_BYTES_MAX)
			return lines_bad(lines, err, "the line is longer than 1 MiB");
		piece[filled++] = (char)c;
		if (filled == sizeof(piece)) {
			buf_append(&lines->text, piece, filled);
			filled = 0;
		}
	}
	buf_append(&lines->text, piece, filled);
	if (c == EOF && ferror(lines->in))
		return err_errno(err, "cannot read \"%s\"", lines->name);
	if (lines->text.failed)
		return err_set(err, "out of memory reading \"%s\"", lines->name);
	*line = (struct str){lines->text.bytes, lines->text.length};
	if (c == EOF && line->length == 0)
		return 0;
	if (line->length > 0 && line->bytes[line->length - 1] == '\r')
		line->length--;
	return 1;
}

bool lines_word(struct str *line, struct str *word)
{
	*line = str_trim(*line);
	size_t length = 0;
	while (length < line->length && line->bytes[length] != ' ' &&
	       line->bytes[length] != '\t')
		length++;
	*word = (struct str){line->bytes, length};
	line->bytes += length;
	line->length -= length;
	return length > 0;
}

bool lines_number(struct str word, uint64_t *value)
{
	unsigned base = 10;
	*value = 0;
	if (word.length > 2 && word.bytes[0] == '0' && (word.bytes[1] | 0x20) == 'x') {
		base = 16;
		word.bytes += 2;
		word.length -= 2;
	}
	for (size_t i = 0; i < word.length; i++) {
		unsigned c = (unsigned char)word.bytes[i];
		unsigned digit = c - '0' <= 9           ? c - '0'
				 : (c | 0x20) - 'a' < 6 ? (c | 0x20) - 'a' + 10
							: 16;
		if (digit >= base || __builtin_mul_overflow(*value, base, value) ||
		    __builtin_add_overflow(*value, digit, value))
			return false;
	}
	return word.length > 0;
}
