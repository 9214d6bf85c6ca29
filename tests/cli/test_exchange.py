#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail import, export and merge: what goes in comes out, numbered and timed as
the manual says; a bad line is named; nothing is ever half written."""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
CC = os.environ.get("CC", "cc")
EXTENSION = os.path.join(BUILD, "lib", "pail", "pail_events")

DONE, NO, USAGE, INPUT = 0, 1, 2, 3
LAB = "20000\n3\n7\n1\na 0 512\na 1 128\nr 0 640\na 2 8\nf 1\nf -1\nf 0\n"
HEAD = "arrival_ns,service_ns,need_bytes,route\n"


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8", newline="") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8", newline="") as file:
            return file.read()

    def run_pail(self, *words, **options):
        return subprocess.run([PAIL, *words], cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
                              **options)

    def pail(self, *words, **options):
        done = self.run_pail(*words, **options)
        self.assertEqual(done.returncode, DONE, done.stderr)
        return done

    def fails(self, code, message, *words, **options):
        before = sorted(os.listdir(self.folder))
        done = self.run_pail(*words, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertRegex(done.stderr, rf"\A{message}\n\Z")
        self.assertEqual(sorted(os.listdir(self.folder)), before, "files were left")

    def imports(self, form, text, name="in", trace="t.db"):
        self.write(name, text)
        return self.pail("import", "--format", form, "-o", trace, name)

    def rows(self, sql, trace="t.db"):
        db = sqlite3.connect(self.path(trace))
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def events(self, request=1, trace="t.db"):
        done = self.pail("export", "--format", "jsonl", "--events", trace)
        return [json.loads(line)["events"] for line in done.stdout.splitlines()][request - 1]

    def digest(self, trace):
        done = self.pail("simulate", trace, "--size", "64K", "--count", "8", "--json")
        return json.loads(done.stdout)["trace"]["sha256"]


class Rep(Case):
    def test_its_operations_become_one_request(self):
        self.imports("rep", LAB, "short1.rep")
        self.assertEqual(self.rows("SELECT route, allocations, frees, reallocations, escapes, escaped_bytes, requested_bytes,"
                                   " live_peak_bytes, largest_bytes, events FROM request"),
                         [("short1.rep", 3, 2, 1, 1, 8, 776, 776, 640, 6)])
        self.assertEqual(self.events(), [["alloc", 0, 512], ["alloc", 1, 128], ["realloc", 0, 640], ["alloc", 2, 8],
                                         ["free", 1], ["free", 0]])
        # 640, 128 and 8 live at once, 512 below the grown block: headers of 8, by 16
        (bump, reuse), = self.rows("SELECT need_bump_bytes, need_reuse_bytes FROM request")
        self.assertEqual(bump, 528 + 144 + 656 + 16 + 8)
        self.assertLessEqual(reuse, bump)
        self.assertGreaterEqual(reuse, 776)

    def test_each_file_is_a_request(self):
        self.write("a.rep", LAB)
        self.write("b.rep", "1 1 1 1\na 0 100\n")
        self.pail("import", "--format", "rep", "-o", "t.db", "a.rep", "b.rep")
        self.assertEqual(self.rows("SELECT route, allocations FROM request ORDER BY id"), [("a.rep", 3), ("b.rep", 1)])

    def test_a_number_is_free_again_after_its_block(self):
        self.imports("rep", "0 2 5 1\na 0 10\nf 0\na 0 20\na 1 30\nf 0\n")
        self.assertEqual(self.events(), [["alloc", 0, 10], ["free", 0], ["alloc", 0, 20], ["alloc", 1, 30], ["free", 0]])

    def test_bad_lines_are_named(self):
        for text, line, what in (
            ("1 2\n", 2, "the file ends within its four numbers"),
            ("1 x\n", 1, "a .rep file begins with four numbers: .*"),
            ("0 1 1 1\nb 0 1\n", 2, "the line begins neither with a, r nor f"),
            ("0 1 1 1\na 0\n", 2, "wants two numbers"),
            ("0 1 1 1\na 0 -5\n", 2, "\"-5\" is no size"),
            ("0 1 1 1\na 0 99999999999999\n", 2, "\"99999999999999\" is no size"),
            ("0 1 1 1\na 1 5\n", 2, "block 1, but the header says there are 1"),
            ("0 1 2 1\na 0 5\na 0 5\n", 3, "block 0 is allocated already"),
            ("0 1 1 1\nf 0\n", 2, "block 0 is not allocated"),
            ("0 1 5 1\na 0 5\n", 3, "the file ends after 1 operations, its header says 5"),
            ("0 1 1 1\na 0 \0\n", 2, "a zero byte in the text"),
        ):
            with self.subTest(text=text):
                self.write("bad.rep", text)
                self.fails(INPUT, f"pail import: bad.rep:{line}: {what}", "import", "--format", "rep", "-o", "t.db", "bad.rep")


class Mtrace(Case):
    LOG = ("= Start\n@ ./p:[0x11b0] + 0x10 0x64\n@ ./p:(main+0x2)[0x11c3] + 0x20 0x96\n@ ./p:[0x11d8] < 0x10\n"
           "@ ./p:[0x11d8] > 0x30 0x1388\n- 0x20\n@ ./p:[0x1] - 0x99\n@ ./p:[0x1] + (nil) 0x10\n= End\n")

    def test_a_log_is_one_request(self):
        self.imports("mtrace", self.LOG, "p.log")
        self.assertEqual(self.rows("SELECT route, allocations, frees, reallocations, foreign_frees, escapes, escaped_bytes"
                                   " FROM request"), [("p.log", 2, 2, 1, 1, 1, 5000)])
        self.assertEqual(self.events(), [["alloc", 0, 100], ["alloc", 1, 150], ["realloc", 0, 5000], ["free", 1]])

    def test_marks_split_it(self):
        self.imports("mtrace", "= Start\n+ 0x10 0x20\n= Begin GET /a\n+ 0x30 0x40\n- 0x10\n= Begin GET /b\n- 0x30\n"
                               "+ 0x50 0x60\n- 0x50\n= End\n+ 0x70 0x80\n= End\n")
        self.assertEqual(self.rows("SELECT route, allocations, frees, foreign_frees, escapes FROM request ORDER BY id"),
                         [("GET /a", 1, 1, 1, 1), ("GET /b", 1, 2, 1, 0)])

    def test_logs_one_behind_the_other_share_no_blocks(self):
        self.imports("mtrace", self.LOG + self.LOG)
        self.assertEqual(self.rows("SELECT allocations, escapes FROM request"), [(2, 1), (2, 1)])

    def test_what_glibc_itself_writes(self):
        self.write("p.c", "#include <mcheck.h>\n#include <stdlib.h>\nvoid *volatile kept;\nint main(void) { mtrace();"
                          " kept = malloc(100); kept = realloc(kept, 3000); free(kept); kept = calloc(3, 50); muntrace(); }\n")
        built = subprocess.run([CC, "-o", "p", "p.c"], cwd=self.folder, capture_output=True, check=False)
        self.assertEqual(built.returncode, 0)
        subprocess.run(["./p"], cwd=self.folder, check=True, capture_output=True,
                       env={"MALLOC_TRACE": "m.log", "LD_PRELOAD": "libc_malloc_debug.so.0"})
        if not os.path.exists(self.path("m.log")):
            self.skipTest("this libc writes no log")
        self.pail("import", "--format", "mtrace", "-o", "t.db", "m.log")
        self.assertEqual(self.rows("SELECT allocations, frees, reallocations, escaped_bytes FROM request"), [(2, 1, 1, 150)])

    def test_bad_lines_are_named(self):
        for text, line, what in (
            ("= Start\nhello\n", 2, "no line of mtrace: .*"),
            ("+ 0x10 0x20\n+ 0x10 0x20\n", 2, "0x10 is allocated already: .*"),
            ("+ 0x10\n", 1, "there is no size, .*"),
            ("+ zz 0x10\n", 1, "\"zz\" is no address"),
            ("> 0x10 0x20\n", 1, "the new block of a realloc without its old one"),
            ("< 0x10\n- 0x20\n", 2, "the line before begins a realloc, .*"),
            ("< 0x10\n", 2, "the log ends within a realloc"),
            ("= Middle\n", 1, "a mark is Start, Begin or End, not \"Middle\""),
            ("- 0x10 0x20\n", 1, "text behind the end of a call"),
        ):
            with self.subTest(text=text):
                self.write("bad.log", text)
                self.fails(INPUT, f"pail import: bad.log:{line}: {what}", "import", "--format", "mtrace", "-o", "t.db", "bad.log")


def line(**values):
    row = {"start_ns": 1000, "worker": 0, "status": 200, "method": "GET", "path": "/", "route": "*", "bucket": "main",
           "wait_ns": 5, "service_ns": 10, "need_bytes": 100, "bucket_bytes": 4096, "stack_peak_bytes": 7, "bytes_in": 1,
           "bytes_out": 2}
    row.update(values)
    return json.dumps(row) + "\n"


class Log(Case):
    def test_a_line_is_a_request(self):
        self.imports("log", line(start_ns=5000, wait_ns=1005, path="/late") + line(start_ns=2000, path="/\u00e9\"\\") +
                     '{"dropped_lines":3}\n{"end":true,"connections":4}\n')
        self.assertEqual(self.rows("SELECT start_ns, end_ns, method, target, route, status, need_reuse_bytes, stack_peak_bytes,"
                                   " bytes_in, bytes_out, ended_by, incomplete FROM request ORDER BY id"),
                         # it arrived before it waited, and its service is without the wait
                         [(2000, 2010, "GET", "/late", "GET /late", 200, 100, 7, 1, 2, "response", 0),
                          (0, 10, "GET", "/\u00e9\"\\", "GET /\u00e9\"\\", 200, 100, 7, 1, 2, "response", 0)])
        meta = dict(self.rows("SELECT key, value FROM meta"))
        self.assertEqual((meta["start_unix_ns"], meta["lost_requests"], meta["span_ns"]), ("1995", "3", "2010"))

    def test_what_did_not_fit_and_what_found_no_bucket(self):
        done = self.imports("log", line(status=500, need_bytes=4000, wanted_bytes=9000, cause="oversize") +
                            line(status=503, need_bytes=0, service_ns=0, cause="busy-wait"))
        self.assertEqual(self.rows("SELECT need_reuse_bytes, incomplete, ended_by FROM request ORDER BY id"),
                         [(9000, 1, "oversize"), (0, 1, "busy-wait")])
        self.assertIn("1 of them found no bucket", done.stderr)

    @unittest.skipIf(not os.path.exists(os.path.join(BUILD, "libexec", "pail", "pail-server")), "no server here")
    def test_what_the_server_itself_writes(self):
        server = subprocess.Popen([PAIL, "serve", "--app", "builtin:varying-allocations", "--listen", "127.0.0.1:0",
                                   "--port-file", "port", "--log", "s.log"], cwd=self.folder, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                if os.path.exists(self.path("port")) and self.read("port").strip():
                    break
                time.sleep(0.05)
            port = self.read("port").strip()
            for _ in range(3):
                subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"], check=True, timeout=20)
        finally:
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(30), 0)
        self.pail("import", "--format", "log", "-o", "t.db", "s.log")
        logged = [json.loads(text) for text in self.read("s.log").splitlines()][:-1]
        self.assertEqual(self.rows("SELECT status, need_reuse_bytes, end_ns - start_ns FROM request ORDER BY id"),
                         [(row["status"], row["need_bytes"], row["service_ns"]) for row in logged])

    def test_bad_lines_are_named(self):
        for text, number, what in (
            ("listening\n", 1, "it is no JSON object; .*"),
            (line() + line()[:40] + "\n", 2, ".*cut short"),
            (line() + '{"start_ns":1}\n', 2, "a request without status, service_ns or need_bytes"),
            (line(need_bytes=-1), 1, "a number of the log is none"),
            (line(start_ns=2**63), 1, "a number of the log is none"),
            (line(service_ns=2**63 - 1), 1, "a number of the log is too large"),
            ('{"a":[1]}\n', 1, "it is no .*"),
            (line().strip() + " x\n", 1, "text behind the end of its object"),
        ):
            with self.subTest(text=text):
                self.write("bad.log", text)
                self.fails(INPUT, f"pail import: bad.log:{number}: {what}", "import", "--format", "log", "-o", "t.db", "bad.log")

    def test_a_pipe_cannot_be_read_twice(self):
        self.fails(INPUT, "pail import: cannot read \"-\" a second time.*", "import", "--format", "log", "-o", "t.db", "-",
                   input=line())


def varints(data):
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


def protobuf(data):
    """[(field, number or bytes)] of a message."""
    fields, at = [], 0

    def number():
        nonlocal at
        start = at
        while data[at] > 127:
            at += 1
        at += 1
        return varints(data[start:at])[0]

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            at += value
            value = data[at - value:at]
        fields.append((key >> 3, value))
    return fields


class Export(Case):
    def trace(self):
        """With all that CSV makes hard: quotes, commas, line ends, unknowns; not in order of time."""
        rows = "".join(f"{(i * 7919) % 1000},{i},{100 + i},\"GET /r{i % 3},\"\"q\"\"\r\n x\"\n" for i in range(500))
        self.imports("csv", HEAD + rows + "5,6,7,\n8,9,10, padded \n")

    def test_csv_is_read_back_to_the_same_trace(self):
        self.trace()
        self.pail("export", "--format", "csv", "-o", "out.csv", "t.db")
        self.pail("import", "--format", "csv", "-o", "back.db", "out.csv")
        self.assertEqual(self.digest("t.db"), self.digest("back.db"))
        self.assertEqual(self.rows("SELECT * FROM request ORDER BY id", "t.db"),
                         self.rows("SELECT * FROM request ORDER BY id", "back.db"))
        self.assertEqual(self.pail("export", "--format", "csv", "back.db").stdout, self.read("out.csv").replace("\r\n", "\n"))

    def test_both_needs_and_every_count_survive(self):
        self.imports("rep", LAB)
        self.pail("export", "--format", "csv", "-o", "out.csv", "t.db")
        self.pail("import", "--format", "csv", "-o", "back.db", "out.csv")
        columns = ", ".join(row[1] for row in self.rows("PRAGMA table_info(request)")
                            if row[1] not in ("first_event", "events"))
        self.assertEqual(self.rows(f"SELECT {columns} FROM request"), self.rows(f"SELECT {columns} FROM request", "back.db"))

    def test_a_named_number_in_another_s_csv_is_taken(self):
        self.imports("csv", "stack_peak_bytes,arrival_ns,service_ns,need_bytes,route,escapes,cpu_ns,shoe\n"
                            "70000,1,2,3,GET /a,2,9,x\n,2,2,3,GET /b,,,y\n")
        self.assertEqual(self.rows("SELECT target, stack_peak_bytes, escapes, cpu_ns, need_bump_bytes FROM request"),
                         [("/a", 70000, 2, 9, 3), ("/b", 0, 0, -1, 3)])
        self.write("bad.csv", "arrival_ns,service_ns,need_bytes,route,stack_peak_bytes\n1,2,3,/,12K\n")
        self.fails(INPUT, "pail import: bad.csv:2:5: stack_peak_bytes is no whole number: \"12K\"",
                   "import", "--format", "csv", "-o", "u.db", "bad.csv")

    def test_a_column_of_ours_in_another_s_csv_is_ignored(self):
        self.imports("csv", "arrival_ns,service_ns,need_bytes,route,status,method\n1,2,3,GET /,OK,x\n")
        self.assertEqual(self.rows("SELECT status, method FROM request"), [(None, "GET")])

    def test_json_lines(self):
        self.trace()
        rows = [json.loads(text) for text in self.pail("export", "--format", "jsonl", "t.db").stdout.splitlines()]
        self.assertEqual(len(rows), 502)
        self.assertEqual((rows[0]["route"], rows[0]["status"], rows[0]["incomplete"]), ("GET /r0,\"q\"\r\n x", None, False))
        self.assertNotIn("events", rows[0])
        self.assertIsNone(self.events())

    def test_stacks_that_are_not_there(self):
        self.trace()
        for form in ("folded", "pprof"):
            self.fails(INPUT, "pail export: trace \"t.db\" has no call stacks: .*", "export", "--format", form, "t.db")

    def stacks(self):
        """Two routes through one site, which also allocates outside of requests."""
        self.imports("csv", HEAD + "0,1,2,/a\n")
        db = sqlite3.connect(self.path("t.db"))
        with db:
            db.execute("INSERT INTO route VALUES(7, 'GET /b;c')")
            db.executemany("INSERT INTO frame VALUES(?, ?, ?, ?, ?, ?)",
                           [(4, 4096, "/lib/libx.so", "leaf", "x.c", 12), (9, 8192, "/bin/app", None, None, None)])
            db.executemany("INSERT INTO stack VALUES(?, ?, ?)", [(1, 0, 9), (2, 1, 4)])
            db.execute("INSERT INTO site VALUES(3, 2, 'leaf', 10, 1000, 500, 0)")
            db.executemany("INSERT INTO site_use VALUES(3, ?, 1, ?, ?, ?, ?, 0, 0, 0, 0, 0)", [(1, 4, 300, 1, 50), (7, 5, 600, 0, 0)])
        db.close()

    def test_folded_stacks_by_route(self):
        self.stacks()
        self.assertEqual(self.pail("export", "--format", "folded", "t.db").stdout,
                         "/a;app+0x2000;leaf 300\nGET /b:c;app+0x2000;leaf 600\n[no request];app+0x2000;leaf 100\n")

    def test_a_profile_for_pprof(self):
        self.stacks()
        self.pail("export", "--format", "pprof", "-o", "t.pb", "t.db")
        with open(self.path("t.pb"), "rb") as file:
            fields = protobuf(file.read())
        texts = [value.decode() for field, value in fields if field == 6]
        functions = {f[1]: texts[f[2]] for f in (dict(protobuf(v)) for n, v in fields if n == 5)}
        places = {p[1]: (p[3], functions[dict(protobuf(p[4]))[1]]) for p in (dict(protobuf(v)) for n, v in fields if n == 4)}
        samples = {}
        for sample in (dict(protobuf(v)) for n, v in fields if n == 2):
            label = dict(protobuf(sample[3]))
            self.assertEqual(texts[label[1]], "route")
            samples[texts[label[2]]] = ([places[i] for i in varints(sample[1])], varints(sample[2]))
        stack = [(4096, "leaf"), (8192, "app+0x2000")]
        self.assertEqual(samples, {"/a": (stack, [4, 300, 1, 50]), "GET /b;c": (stack, [5, 600, 0, 0]),
                                   "[no request]": (stack, [1, 100, 0, 0])})
        types = [(texts[t[1]], texts[t[2]]) for t in (dict(protobuf(v)) for n, v in fields if n == 1)]
        self.assertEqual(types, [("alloc_objects", "count"), ("alloc_space", "bytes"), ("escaped_objects", "count"),
                                 ("escaped_space", "bytes")])

    def test_stacks_are_merged(self):
        self.stacks()
        self.pail("merge", "--align", "start", "-o", "all.db", "t.db", "t.db")
        self.assertEqual(self.pail("export", "--format", "folded", "all.db").stdout.splitlines().count("/a;app+0x2000;leaf 300"), 2)
        self.assertEqual(self.rows("SELECT id FROM site", "all.db"), [(3,), (6,)])

    def test_output_whole_or_not_at_all(self):
        self.trace()
        self.fails(INPUT, "pail export: cannot write \"none/out.csv\": No such file or directory",
                   "export", "--format", "csv", "-o", "none/out.csv", "t.db")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([PAIL, "export", "--format", "csv", self.path("t.db")], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, INPUT)
        self.assertIn("No space left on device", done.stderr)


class Merge(Case):
    def make(self, name, start, rows, lab=None):
        if lab:
            self.imports("rep", lab, "lab", name)
        else:
            self.imports("csv", HEAD + rows, "rows.csv", name)
        db = sqlite3.connect(self.path(name))
        with db:
            if start is not None:
                db.execute("INSERT OR REPLACE INTO meta VALUES('start_unix_ns', ?)", (str(start),))
            db.execute("INSERT INTO meta VALUES('dropped_events', '5')")
            db.execute("INSERT INTO process VALUES(1, 100, 0, 0, NULL, 'a'), (2, 101, 1, 10, 20, 'b')")
            db.execute("INSERT INTO connection VALUES(7, 2, 3, 1, NULL, 1, 0, 0, 0, 0, 0, 0)")
        db.close()

    def test_times_are_aligned_by_the_clocks(self):
        self.make("a.db", 5000, "0,10,100,/a\n")
        self.make("b.db", 2000, "0,10,200,/b\n50,10,300,/a\n")
        self.pail("merge", "-o", "all.db", "a.db", "b.db")
        self.assertEqual(self.rows("SELECT id, start_ns, end_ns, route, need_reuse_bytes FROM request ORDER BY id", "all.db"),
                         [(1, 3000, 3010, "/a", 100), (2, 0, 10, "/b", 200), (3, 50, 60, "/a", 300)])
        meta = dict(self.rows("SELECT key, value FROM meta", "all.db"))
        self.assertEqual((meta["start_unix_ns"], meta["dropped_events"], meta["span_ns"], meta["source.1.shift_ns"],
                          meta["source.2.dropped_events"], meta["source.2.trace"]),
                         ("2000", "10", "3010", "3000", "5", "b.db"))

    def test_everything_is_numbered_anew(self):
        self.make("a.db", 0, "0,10,100,/a\n")
        self.make("b.db", 1000, "0,10,100,/a\n")
        self.pail("merge", "-o", "all.db", "a.db", "b.db")
        self.assertEqual(self.rows("SELECT id, pid, parent, start_ns, end_ns FROM process ORDER BY id", "all.db"),
                         [(1, 100, 0, 0, None), (2, 101, 1, 10, 20), (3, 100, 0, 1000, None), (4, 101, 3, 1010, 1020)])
        self.assertEqual(self.rows("SELECT id, process, fd, start_ns FROM connection ORDER BY id", "all.db"),
                         [(7, 2, 3, 1), (14, 4, 3, 1001)])

    def test_the_digest_is_that_of_one_trace_with_all_rows(self):
        first = "".join(f"{i},{i % 7},{100 + i},/r{i % 3}\n" for i in range(300))
        second = "".join(f"{i},{i % 5},{900 + i},/s{i % 3}\n" for i in range(200))
        self.make("a.db", None, first)
        self.make("b.db", None, second)
        self.pail("merge", "--align", "start", "-o", "all.db", "a.db", "b.db")
        self.imports("csv", HEAD + first + second, "one.csv", "one.db")
        self.assertEqual(self.digest("all.db"), self.digest("one.db"))

    def test_events_come_along(self):
        self.make("a.db", 0, "", lab=LAB)
        self.make("b.db", 0, "0,1,2,/\n")
        self.make("c.db", 0, "", lab="0 1 2 1\na 0 9\nf 0\n")
        self.pail("merge", "-o", "all.db", "a.db", "b.db", "c.db")
        self.assertEqual([self.events(n, "all.db") for n in (1, 2, 3)],
                         [self.events(1, "a.db"), None, [["alloc", 0, 9], ["free", 0]]])
        self.assertEqual(dict(self.rows("SELECT key, value FROM meta", "all.db"))["detail"], "mixed")

    def test_one_behind_the_other(self):
        self.make("a.db", None, "5,10,100,/a\n")
        self.make("b.db", None, "1,10,100,/b\n")
        self.pail("merge", "--align", "chain", "-o", "all.db", "a.db", "b.db")
        self.assertEqual(self.rows("SELECT start_ns FROM request ORDER BY id", "all.db"), [(5,), (16,)])

    def test_what_cannot_be_merged(self):
        self.make("a.db", 0, "0,10,100,/a\n")
        self.make("b.db", None, "0,10,100,/a\n")
        self.write("text", "no trace\n" * 50)
        self.fails(INPUT, "pail merge: trace \"b.db\" does not say when it began .*", "merge", "-o", "all.db", "a.db", "b.db")
        self.fails(INPUT, "pail merge: \"text\" is not a trace .*", "merge", "-o", "all.db", "a.db", "text")
        self.fails(INPUT, "pail merge: will not overwrite \"text\": it is not a trace", "merge", "-o", "text", "a.db")
        self.fails(INPUT, "pail merge: will not overwrite \"a.db\": it is one of the traces to merge", "merge", "-o", "a.db", "a.db")
        self.fails(USAGE, "pail merge: wants traces to merge; .*", "merge", "-o", "all.db")

    def test_what_it_does_not_know_is_named(self):
        self.make("a.db", 0, "0,10,100,/a\n")
        db = sqlite3.connect(self.path("a.db"))
        with db:
            db.execute("CREATE TABLE notes(text TEXT)")
            db.execute("INSERT INTO notes VALUES('x')")
        db.close()
        done = self.pail("merge", "-o", "all.db", "a.db")
        self.assertIn("not merged of \"a.db\": notes", done.stderr)


@unittest.skipIf(subprocess.run(["sh", "-c", "command -v sqlite3"], capture_output=True, check=False).returncode,
                 "no sqlite3 shell here")
class Events(Case):
    """The loadable extension, in the shell that people use."""

    def sql(self, *statements, trace="t.db"):
        done = subprocess.run(["sqlite3", trace, f".load {EXTENSION}", *statements], cwd=self.folder, capture_output=True,
                              text=True, check=False)
        return done.stdout.splitlines(), done.stderr

    def trace(self):
        self.write("a.rep", LAB)
        self.write("b.rep", "0 1 2 1\na 0 9\nf 0\n")
        self.pail("import", "--format", "rep", "-o", "t.db", "a.rep", "b.rep")

    def test_events_are_rows_in_order(self):
        self.trace()
        self.assertEqual(self.sql("SELECT * FROM pail_events(1)")[0],
                         ["1|alloc|0|512|", "2|alloc|1|128|", "3|realloc|0|640|", "4|alloc|2|8|", "5|free|1||", "6|free|0||"])
        self.assertEqual(self.sql("SELECT position, size FROM pail_events(2) ORDER BY position")[0], ["1|9", "2|"])
        self.assertEqual(self.sql("SELECT position FROM pail_events(2) ORDER BY position DESC")[0], ["2", "1"])

    def test_they_join_their_requests(self):
        self.trace()
        self.assertEqual(self.sql("SELECT route, sum(e.kind = 'alloc'), count(*) = events FROM request,"
                                  " pail_events(request.id) AS e GROUP BY request.id")[0], ["a.rep|3|1", "b.rep|1|1"])

    def test_across_blocks(self):
        """More events than a block holds, so requests lie across its ends."""
        for name in range(5):
            self.write(f"{name}.rep", "0 30000 30000 1\n" + "".join(f"a {i} {i + name}\n" for i in range(30000)))
        self.pail("import", "--format", "rep", "-o", "t.db", *(f"{name}.rep" for name in range(5)))
        self.assertEqual(self.sql("SELECT count(*) > 1 FROM event_block")[0], ["1"])
        self.assertEqual(self.sql("SELECT count(*), min(e.size), max(e.size), sum(e.size), max(e.position) FROM request,"
                                  " pail_events(request.id) AS e GROUP BY request.id")[0],
                         [f"30000|{n}|{29999 + n}|{30000 * 29999 // 2 + 30000 * n}|30000" for n in range(5)])

    def test_none_where_there_are_none(self):
        self.imports("csv", HEAD + "0,1,2,/\n")
        self.assertEqual(self.sql("SELECT count(*) FROM pail_events(1)", "SELECT count(*) FROM pail_events(99)",
                                  "SELECT count(*) FROM pail_events(NULL)"), (["0", "0", "0"], ""))

    def test_what_is_asked_wrongly(self):
        self.trace()
        self.assertIn("give the request: pail_events(ID)", self.sql("SELECT * FROM pail_events")[1])
        self.assertIn("not a trace of pail", self.sql("SELECT * FROM pail_events(1)", trace=":memory:")[1])
        db = sqlite3.connect(self.path("t.db"))
        with db:
            db.execute("UPDATE event_block SET ops = zeroblob(20)")
        db.close()
        self.assertIn("a block of events is damaged", self.sql("SELECT * FROM pail_events(1)")[1])


if __name__ == "__main__":
    sys.exit(unittest.main())
