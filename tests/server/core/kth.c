/* SPDX-License-Identifier: MIT */
/*
 * A plug-in that does ordinary work with jansson, SQLite and libc, and whose k-th
 * allocation wants more than any bucket has (?k=N), or whose bucket has only N
 * bytes left (?left=N). Whatever comes of it, the next request must be well.
 */
#include <jansson.h>
#include <pail/handler.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static __thread long count, fail_at;

static void *counted_malloc(size_t size)
{
	return malloc(++count == fail_at ? (size_t)1 << 50 : size);
}

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	json_object_seed(1);
	json_set_alloc_funcs(counted_malloc, free);
	/* What it keeps for ever is not for a bucket. */
	return sqlite3_initialize();
}

static int with_jansson(struct pail_request *r)
{
	static const char text[] =
		"{\"a\":[1,2.5,\"three\",null,{\"b\":true}],\"c\":\"\\u00e9\"}";
	json_error_t error;
	json_t *root = json_loads(text, 0, &error);

	for (int i = 0; root && i < 20; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key%d", i);
		json_object_set_new(root, key, json_integer(i));
	}
	char *out = root ? json_dumps(root, JSON_SORT_KEYS) : NULL;
	if (!out)
		return 500;
	pail_write(r, out, strlen(out));
	free(out);
	json_decref(root);
	return 200;
}

static int print_row(void *context, int columns, char **values, char **names)
{
	(void)columns;
	(void)names;
	pail_write(context, values[0], strlen(values[0]));
	pail_write(context, "\n", 1);
	return 0;
}

static int with_sqlite(struct pail_request *r)
{
	sqlite3 *db = NULL;
	int result = sqlite3_open(":memory:", &db);

	if (result == SQLITE_OK)
		result = sqlite3_exec(
			db,
			"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);"
			"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
			" WHERE i < 100) INSERT INTO t SELECT i, 'text ' || i FROM n;"
			"SELECT b FROM t ORDER BY b DESC LIMIT 5",
			print_row, r, NULL);
	sqlite3_close(db);
	return result == SQLITE_OK ? 200 : 500;
}

static int with_libc(struct pail_request *r)
{
	char *copy = strdup("some text"), *part = strndup("some text", 4), *printed = NULL;
	char *line = NULL;
	size_t size = 0;
	struct tm tm;
	time_t when = 86400;

	if (asprintf(&printed, "%s/%s/%d", copy, part, 42) < 0)
		return 500;
	char *folder = getcwd(NULL, 0), *real = realpath("/proc/self/../", NULL);
	if (!folder || !real)
		return 500;
	FILE *file = fopen("/proc/self/stat", "re");
	if (file && getline(&line, &size, file) < 0)
		size = 0;
	if (file)
		fclose(file);
	localtime_r(&when, &tm);
	pail_write(r, printed, strlen(printed));
	return line ? 200 : 500;
}

int pail_handle(struct pail_request *r)
{
	const char *query = pail_query(r);

	count = 0;
	fail_at = strncmp(query, "k=", 2) == 0 ? strtol(query + 2, NULL, 10) : 0;
	if (strncmp(query, "left=", 5) == 0) {
		size_t left = strtoul(query + 5, NULL, 10);
		pail_alloc(r, pail_bucket_size(r) - left - 16);
	}
	if (strcmp(pail_path(r), "/sqlite") == 0)
		return with_sqlite(r);
	return strcmp(pail_path(r), "/jansson") == 0 ? with_jansson(r) : with_libc(r);
}
