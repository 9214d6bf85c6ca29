/* SPDX-License-Identifier: MIT */
/*
 * Text read line by line, as the importers need it: numbered, bounded, without
 * its line ends (LF or CRLF). One line is in memory at a time and lives until
 * the next.
 */
#ifndef PAIL_CLI_LINES_H
#define PAIL_CLI_LINES_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>
#include <stdio.h>

enum { LINE_BYTES_MAX = 1 << 20 };

struct lines {
	FILE *in; /* the caller's */
	const char *name;
	uint64_t number; /* of the line last read, from 1 */
	struct buf text;
};

void lines_init(struct lines *lines, FILE *in, const char *name);
void lines_release(struct lines *lines);
/* 1 a line, 0 the end, -1: it cannot be read, is too long or has a zero byte. */
int lines_next(struct lines *lines, struct str *line, struct err *err);
/* Writes "NAME:NUMBER: message"; -1. */
int lines_bad(const struct lines *lines, struct err *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Cuts the next word, at blanks, off the line; false at its end. */
bool lines_word(struct str *line, struct str *word);
/* Whole numbers, decimal, or hexadecimal behind 0x. False if it is none or has
 * more than 64 bits. */
bool lines_number(struct str word, uint64_t *value);

#endif
