/* SPDX-License-Identifier: MIT */
/*
 * The schema of a trace, for store.c alone; docs/man/pail-trace.5 explains it.
 * A change that an older reader would misread raises TRACE_VERSION.
 *
 * `request` is a view: its rows lie in blocks (batch.h), and the view is what
 * reads them for everyone who has nothing but SQLite. Our own readers unpack
 * the blocks themselves. b is a block, d a group of its rows, n the row's
 * place in that group.
 */
#ifndef PAIL_LIBTRACE_SCHEMA_H
#define PAIL_LIBTRACE_SCHEMA_H

#include "libtrace/store/batch.h"
#include "libtrace/store/batch_sql.h"

enum { TRACE_APPLICATION_ID = 0x7061696c /* "pail" */, TRACE_VERSION = 2 };

/* clang-format off */
#define SCHEMA_FLAT(NAME, name) \
	" " #name " INTEGER NOT NULL, " #name "_at INTEGER NOT NULL," \
	" " #name "_digits INTEGER NOT NULL,"
#define SCHEMA_STEP(NAME, name) \
	" " #name " INTEGER NOT NULL, " #name "_step INTEGER NOT NULL," \
	" " #name "_at INTEGER NOT NULL, " #name "_digits INTEGER NOT NULL,"

static const char trace_schema[] =
"CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
"CREATE TABLE process("
" id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, parent INTEGER NOT NULL,"
" start_ns INTEGER NOT NULL, end_ns INTEGER, command TEXT NOT NULL) STRICT;"
"CREATE TABLE thread("
" id INTEGER PRIMARY KEY, process INTEGER NOT NULL, tid INTEGER NOT NULL,"
" start_ns INTEGER NOT NULL, end_ns INTEGER) STRICT;"
"CREATE TABLE connection("
" id INTEGER PRIMARY KEY, process INTEGER NOT NULL, fd INTEGER NOT NULL,"
" start_ns INTEGER NOT NULL, end_ns INTEGER, requests INTEGER NOT NULL,"
" bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,"
" allocations INTEGER NOT NULL, frees INTEGER NOT NULL,"
" requested_bytes INTEGER NOT NULL, live_peak_bytes INTEGER NOT NULL) STRICT;"
"CREATE TABLE route(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
"CREATE TABLE string(id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;"
"CREATE TABLE request_block("
" first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL,"
BATCH_COLUMNS(SCHEMA_FLAT, SCHEMA_STEP)
" bytes INTEGER NOT NULL) STRICT;"
"CREATE TABLE request_digits("
" first_id INTEGER PRIMARY KEY, digits BLOB NOT NULL) STRICT;"
"CREATE TABLE request_place(n INTEGER PRIMARY KEY) STRICT;"
"INSERT INTO request_place VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),"
" (13),(14),(15);"
"CREATE VIEW request AS"
" SELECT d.first_id + n AS id, " BATCH_SQL_VALUE("process") " AS process,"
" " BATCH_SQL_STEPPED("connection") " AS connection,"
" " BATCH_SQL_STEPPED("sequence") " AS sequence,"
" " BATCH_SQL_STEPPED("start_ns") " AS start_ns,"
" " BATCH_SQL_STEPPED("start_ns") " + " BATCH_SQL_VALUE("service_ns") " AS end_ns,"
" " BATCH_SQL_VALUE("cpu_ns") " AS cpu_ns,"
" (SELECT text FROM string WHERE id = " BATCH_SQL_VALUE("method") ") AS method,"
" (SELECT text FROM string WHERE id = " BATCH_SQL_VALUE("target") ") AS target,"
" (SELECT name FROM route WHERE id = " BATCH_SQL_VALUE("route") ") AS route,"
" nullif(" BATCH_SQL_VALUE("status") ", -1) AS status,"
" " BATCH_SQL_VALUE("bytes_in") " AS bytes_in,"
" " BATCH_SQL_VALUE("bytes_out") " AS bytes_out,"
" " BATCH_SQL_VALUE("allocations") " AS allocations,"
" " BATCH_SQL_VALUE("frees") " AS frees,"
" " BATCH_SQL_VALUE("reallocations") " AS reallocations,"
" " BATCH_SQL_VALUE("requested_bytes") " AS requested_bytes,"
" " BATCH_SQL_VALUE("need_bump_bytes") " AS need_bump_bytes,"
" " BATCH_SQL_VALUE("need_reuse_bytes") " AS need_reuse_bytes,"
" " BATCH_SQL_VALUE("live_peak_bytes") " AS live_peak_bytes,"
" " BATCH_SQL_VALUE("largest_bytes") " AS largest_bytes,"
" " BATCH_SQL_VALUE("escapes") " AS escapes,"
" " BATCH_SQL_VALUE("escaped_bytes") " AS escaped_bytes,"
" " BATCH_SQL_VALUE("foreign_frees") " AS foreign_frees,"
" " BATCH_SQL_VALUE("stack_peak_bytes") " AS stack_peak_bytes,"
" (SELECT text FROM string WHERE id = " BATCH_SQL_VALUE("ended_by") ") AS ended_by,"
" CASE " BATCH_SQL_VALUE("confidence") " WHEN 0 THEN 'exact' WHEN 1 THEN 'inferred'"
"  ELSE 'ambiguous' END AS confidence,"
" " BATCH_SQL_VALUE("incomplete") " AS incomplete,"
" nullif(" BATCH_SQL_STEPPED("first_event") ", -1) AS first_event,"
" " BATCH_SQL_VALUE("events") " AS events"
" FROM request_block AS b CROSS JOIN request_digits AS d CROSS JOIN request_place"
" WHERE d.first_id >= b.first_id AND d.first_id < b.first_id + b.count"
"  AND n < b.first_id + b.count - d.first_id;"
"CREATE TABLE event_block("
" first_event INTEGER PRIMARY KEY, count INTEGER NOT NULL, ops BLOB NOT NULL) STRICT;"
"CREATE TABLE frame("
" id INTEGER PRIMARY KEY, address INTEGER NOT NULL, module TEXT NOT NULL,"
" function TEXT, file TEXT, line INTEGER) STRICT;"
"CREATE TABLE stack("
" id INTEGER PRIMARY KEY, caller INTEGER NOT NULL, frame INTEGER NOT NULL) STRICT;"
"CREATE TABLE site("
" id INTEGER PRIMARY KEY, stack INTEGER NOT NULL, name TEXT NOT NULL,"
" allocations INTEGER NOT NULL, requested_bytes INTEGER NOT NULL,"
" live_peak_bytes INTEGER NOT NULL, left_bytes INTEGER NOT NULL) STRICT;"
"CREATE TABLE site_use("
" site INTEGER NOT NULL, route INTEGER NOT NULL, requests INTEGER NOT NULL,"
" allocations INTEGER NOT NULL, requested_bytes INTEGER NOT NULL,"
" escapes INTEGER NOT NULL, escaped_bytes INTEGER NOT NULL,"
" freed_by_request INTEGER NOT NULL, freed_by_connection INTEGER NOT NULL,"
" freed_by_other INTEGER NOT NULL, kept_ns_sum INTEGER NOT NULL,"
" kept_ns_max INTEGER NOT NULL, PRIMARY KEY (site, route)) STRICT, WITHOUT ROWID;"
"CREATE TABLE event_site("
" first_event INTEGER PRIMARY KEY, sites BLOB NOT NULL) STRICT;"
"CREATE TABLE raw_block("
" first_event INTEGER PRIMARY KEY, events INTEGER NOT NULL, format INTEGER NOT NULL,"
" bytes BLOB NOT NULL) STRICT;"
"CREATE TABLE request_wait("
" request INTEGER PRIMARY KEY, wait_ns INTEGER NOT NULL) STRICT;"

"CREATE VIEW route_summary AS"
" WITH ranked AS ("
"  SELECT route, start_ns, end_ns, need_bump_bytes, requested_bytes, live_peak_bytes,"
"   allocations, escapes, escaped_bytes, stack_peak_bytes, nullif(cpu_ns, -1) AS cpu,"
"   count(*) OVER (PARTITION BY route) AS n,"
"   row_number() OVER (PARTITION BY route ORDER BY need_bump_bytes) AS by_need,"
"   row_number() OVER (PARTITION BY route ORDER BY end_ns - start_ns) AS by_service"
"  FROM request)"
" SELECT route, count(*) AS requests,"
"  max(CASE WHEN by_need = (n * 50 + 99) / 100 THEN need_bump_bytes END) AS need_p50,"
"  max(CASE WHEN by_need = (n * 90 + 99) / 100 THEN need_bump_bytes END) AS need_p90,"
"  max(CASE WHEN by_need = (n * 99 + 99) / 100 THEN need_bump_bytes END) AS need_p99,"
"  max(need_bump_bytes) AS need_max, sum(requested_bytes) AS requested_bytes,"
"  max(live_peak_bytes) AS live_peak_max, sum(allocations) AS allocations,"
"  sum(escapes) AS escapes, sum(escaped_bytes) AS escaped_bytes,"
"  max(CASE WHEN by_service = (n * 50 + 99) / 100 THEN end_ns - start_ns END)"
"   AS service_ns_p50,"
"  max(CASE WHEN by_service = (n * 99 + 99) / 100 THEN end_ns - start_ns END)"
"   AS service_ns_p99,"
"  max(stack_peak_bytes) AS stack_peak_max, sum(cpu) AS cpu_ns"
" FROM ranked GROUP BY route ORDER BY need_max DESC;"

/* A departure at an instant comes before an arrival at it. */
"CREATE VIEW concurrency AS"
" SELECT at_ns, sum(step) OVER (ORDER BY at_ns, step, id"
"  ROWS UNBOUNDED PRECEDING) AS in_flight"
" FROM (SELECT start_ns AS at_ns, 1 AS step, id FROM request WHERE end_ns > start_ns"
"  UNION ALL SELECT end_ns, -1, id FROM request WHERE end_ns > start_ns)"
" ORDER BY at_ns, step, id;"

/* A stack is its innermost frame and its caller's stack, 0 at the end. */
"CREATE VIEW site_frame AS"
" WITH RECURSIVE walk(site, depth, stack) AS ("
"  SELECT id, 1, stack FROM site WHERE stack > 0"
"  UNION ALL SELECT walk.site, walk.depth + 1, stack.caller FROM walk"
"   JOIN stack ON stack.id = walk.stack WHERE stack.caller > 0 AND walk.depth < 4096)"
" SELECT walk.site, walk.depth, stack.frame FROM walk JOIN stack ON stack.id = walk.stack;"

"CREATE VIEW site_summary AS"
" SELECT site.id AS site, site.name, sum(site_use.requests) AS requests,"
"  count(*) AS routes, sum(site_use.allocations) AS allocations,"
"  sum(site_use.requested_bytes) AS requested_bytes,"
"  sum(site_use.escapes) AS escapes, sum(site_use.escaped_bytes) AS escaped_bytes,"
"  sum(site_use.freed_by_request) AS freed_by_request,"
"  sum(site_use.freed_by_connection) AS freed_by_connection,"
"  sum(site_use.freed_by_other) AS freed_by_other,"
"  site.live_peak_bytes AS live_peak_bytes, site.left_bytes AS left_bytes"
" FROM site_use JOIN site ON site.id = site_use.site"
" GROUP BY site.id ORDER BY requested_bytes DESC;"

/* What stands between a route and an arena: its escapes, by site. */
"CREATE VIEW escape_summary AS"
" SELECT route.name AS route, site.name AS site, site_use.escapes,"
"  site_use.escaped_bytes, site_use.freed_by_request, site_use.freed_by_connection,"
"  site_use.freed_by_other, site_use.kept_ns_max"
" FROM site_use JOIN site ON site.id = site_use.site JOIN route ON route.id = site_use.route"
" WHERE site_use.escapes > 0 ORDER BY route.name, site_use.escaped_bytes DESC;";
/* clang-format on */

#endif
