/* SPDX-License-Identifier: MIT */
/*
 * pail.conf: reads it into a struct plan and writes it from one. The only file
 * that knows libinih. Unknown sections and keys, doubled keys and values that
 * do not parse are errors that name file, line and key; so is what
 * limits_check() refuses. docs/man/pail.conf.5 has the keys.
 */
#ifndef PAIL_BASE_CONF_H
#define PAIL_BASE_CONF_H

#include "base/buf.h"
#include "base/limits.h"

/* Reads `path` over the defaults. The plan is only valid when it returns 0. */
int conf_read(const char *path, struct plan *plan, struct err *err);
/* The same from memory; `name` stands for the file in messages. */
int conf_parse(const char *name, const char *text, struct plan *plan, struct err *err);

/* The line of that key in the file, for faults that show only later; 0: not there. */
int conf_line(const char *path, const char *section, const char *key);

/* Why a key has its value: conf_write() puts it as a comment above the key. */
struct conf_reason {
	const char *section, *key; /* "bucket main", "count" */
	const char *text;          /* may hold newlines: each line becomes a comment */
};
/* Writes every key that differs from the defaults and every class and route;
 * `head` is a comment for the top. What it writes, conf_parse() reads back to
 * the same plan. */
void conf_write(struct buf *out, const struct plan *plan, const char *head,
		const struct conf_reason *reasons, size_t reason_count);

#endif
