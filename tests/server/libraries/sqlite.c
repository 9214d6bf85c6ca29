/* SPDX-License-Identifier: MIT */
/* SQLite: a database in memory, an index, a transaction, a sort, text functions. */
#include "library.h"

#include <sqlite3.h>

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return sqlite3_initialize(); /* what it keeps for ever is not for a bucket */
}

static int print_row(void *context, int columns, char **values, char **names)
{
	(void)columns;
	(void)names;
	library_say(context, values[0] ? values[0] : "null");
	library_say(context, "\n");
	return 0;
}

static int library_work(struct pail_request *r)
{
	static const char script[] =
		"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL);"
		"CREATE INDEX i ON t(b);"
		"BEGIN;"
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)"
		" INSERT INTO t SELECT i, printf('text %03d', 50 - i), i / 3.0 FROM n;"
		"UPDATE t SET b = upper(b) WHERE a % 5 = 0;"
		"COMMIT;"
		"SELECT b FROM t ORDER BY b LIMIT 3;"
		"SELECT group_concat(substr(b, -3)) FROM t WHERE c > 12;";
	sqlite3 *db = NULL;
	int result = sqlite3_open(":memory:", &db);

	if (result == SQLITE_OK)
		result = sqlite3_exec(db, script, print_row, r, NULL);
	sqlite3_close(db);
	return result == SQLITE_OK ? 200 : 500;
}
