/* SPDX-License-Identifier: MIT */
/*
 * A value of a block of rows (batch.h) as an SQL expression, for the view
 * `request` and for the extension: b is the block's row of request_block, d the
 * row of request_digits with the request's digits, n its place among those.
 * Only functions that every SQLite has.
 */
#ifndef PAIL_LIBTRACE_BATCH_SQL_H
#define PAIL_LIBTRACE_BATCH_SQL_H

/* clang-format off */
#define BATCH_SQL_DIGITS(name) \
	"CASE b." name "_digits WHEN 0 THEN 0 ELSE CAST(substr(hex(substr(d.digits," \
	"n * b.bytes + 1, b.bytes)), b." name "_at + 1, b." name "_digits) AS INTEGER) END"
#define BATCH_SQL_VALUE(name) "b." name " + " BATCH_SQL_DIGITS(name)
#define BATCH_SQL_STEPPED(name) \
	"b." name " + (d.first_id - b.first_id + n) * b." name "_step / 1024 + " BATCH_SQL_DIGITS(name)
/* clang-format on */

#endif
