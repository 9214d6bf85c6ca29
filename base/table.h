/* SPDX-License-Identifier: MIT */
/*
 * Tables for people: columns as wide as their widest cell, numbers to the
 * right, cut with an ellipsis so that a row fits the terminal's width (or
 * 100 columns when it is not one). Plain text, ASCII rules, UTF-8 safe.
 */
#ifndef PAIL_BASE_TABLE_H
#define PAIL_BASE_TABLE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct table;

/* `heads` are column heads; one that starts with '>' is aligned right. */
struct table *table_new(size_t columns, const char *const *heads);
void table_free(struct table *table);
/* Adds the next cell, row by row; copies the text. */
void table_cell(struct table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void table_write(const struct table *table, struct buf *out, int width);
/* Heads in bold, where fd is a terminal that has it and NO_COLOR is not set. */
void table_style_for(struct table *table, int fd);
int table_width_of(int fd); /* columns of the terminal on fd, or 100 */

#endif
