/* SPDX-License-Identifier: MIT */
/*
 * The schema of a trace, for store.c alone; docs/man/pail-trace.5 explains it.
 * A change that an older reader would misread raises TRACE_VERSION.
 */
#ifndef PAIL_LIBTRACE_SCHEMA_H
#define PAIL_LIBTRACE_SCHEMA_H

enum { TRACE_APPLICATION_ID = 0x7061696c /* "pail" */, TRACE_VERSION = 1 };

/* clang-format off */
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
"CREATE TABLE request("
" id INTEGER PRIMARY KEY, process INTEGER NOT NULL, connection INTEGER NOT NULL,"
" sequence INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,"
" cpu_ns INTEGER NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL,"
" route TEXT NOT NULL, status INTEGER, bytes_in INTEGER NOT NULL,"
" bytes_out INTEGER NOT NULL, allocations INTEGER NOT NULL, frees INTEGER NOT NULL,"
" reallocations INTEGER NOT NULL, requested_bytes INTEGER NOT NULL,"
" need_bump_bytes INTEGER NOT NULL, need_reuse_bytes INTEGER NOT NULL,"
" live_peak_bytes INTEGER NOT NULL, largest_bytes INTEGER NOT NULL,"
" escapes INTEGER NOT NULL, escaped_bytes INTEGER NOT NULL,"
" foreign_frees INTEGER NOT NULL, stack_peak_bytes INTEGER NOT NULL,"
" ended_by TEXT NOT NULL,"
" confidence TEXT NOT NULL CHECK (confidence IN ('exact', 'inferred', 'ambiguous')),"
" incomplete INTEGER NOT NULL, first_event INTEGER, events INTEGER NOT NULL) STRICT;"
"CREATE INDEX request_start ON request(start_ns);"
"CREATE TABLE request_columns("
" first_id INTEGER PRIMARY KEY, count INTEGER NOT NULL, start_ns BLOB NOT NULL,"
" service_ns BLOB NOT NULL, need_bump BLOB NOT NULL, need_reuse BLOB NOT NULL,"
" route BLOB NOT NULL, sha256 BLOB NOT NULL) STRICT;"
"CREATE TRIGGER request_deleted AFTER DELETE ON request"
" BEGIN DELETE FROM request_columns; END;"
"CREATE TRIGGER request_changed AFTER UPDATE ON request"
" BEGIN DELETE FROM request_columns; END;"
"CREATE TABLE event_block("
" first_event INTEGER PRIMARY KEY, count INTEGER NOT NULL, ops BLOB NOT NULL) STRICT;"
"CREATE TABLE frame("
" id INTEGER PRIMARY KEY, address INTEGER NOT NULL, module TEXT NOT NULL,"
" function TEXT, file TEXT, line INTEGER) STRICT;"
"CREATE TABLE site("
" id INTEGER PRIMARY KEY, frames BLOB NOT NULL, name TEXT NOT NULL) STRICT;"
"CREATE TABLE site_use("
" site INTEGER NOT NULL, request INTEGER NOT NULL, allocations INTEGER NOT NULL,"
" requested_bytes INTEGER NOT NULL, escapes INTEGER NOT NULL,"
" escaped_bytes INTEGER NOT NULL, PRIMARY KEY (site, request)) STRICT, WITHOUT ROWID;"

"CREATE VIEW route_summary AS"
" WITH ranked AS ("
"  SELECT *, count(*) OVER (PARTITION BY route) AS n,"
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
"  max(stack_peak_bytes) AS stack_peak_max"
" FROM ranked GROUP BY route ORDER BY need_max DESC;"

/* A departure at an instant comes before an arrival at it. */
"CREATE VIEW concurrency AS"
" SELECT at_ns, sum(step) OVER (ORDER BY at_ns, step, id"
"  ROWS UNBOUNDED PRECEDING) AS in_flight"
" FROM (SELECT start_ns AS at_ns, 1 AS step, id FROM request WHERE end_ns > start_ns"
"  UNION ALL SELECT end_ns, -1, id FROM request WHERE end_ns > start_ns)"
" ORDER BY at_ns, step, id;"

"CREATE VIEW site_summary AS"
" SELECT site.id AS site, site.name, count(*) AS requests,"
"  sum(site_use.allocations) AS allocations,"
"  sum(site_use.requested_bytes) AS requested_bytes,"
"  sum(site_use.escapes) AS escapes, sum(site_use.escaped_bytes) AS escaped_bytes"
" FROM site_use JOIN site ON site.id = site_use.site"
" GROUP BY site.id ORDER BY requested_bytes DESC;";
/* clang-format on */

#endif
