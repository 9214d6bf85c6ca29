#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail verify on traffic whose outcome can be worked out by hand."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
from processes import processes_that_name  # noqa: E402  pylint: disable=wrong-import-position

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
MS = 1_000_000


class Verify(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.temporary = os.path.join(self.folder.name, "tmp")
        os.mkdir(self.temporary)

    def tearDown(self):
        self.assertEqual(os.listdir(self.temporary), [], "files were left behind")
        self.assertEqual(processes_that_name(self.temporary), [], "processes were left behind")
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def run_pail(self, *words, **options):
        environment = dict(os.environ, TMPDIR=self.temporary)
        return subprocess.run([PAIL, *words], capture_output=True, text=True, check=False, timeout=60,
                              env=environment, **options)

    def trace(self, rows):
        lines = ["arrival_ns,service_ns,need_bytes,route"] + [",".join(map(str, row)) for row in rows]
        source = self.write("t.csv", "\n".join(lines) + "\n")
        done = self.run_pail("import", "--format", "csv", "-o", self.path("t.db"), source)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path("t.db")

    def plan(self, count=4, server="", size="64K"):
        return self.write("pail.conf", f"[server]\nqueue = 0\n{server}\n[bucket main]\nsize = {size}\ncount = {count}\n")

    def measured(self, *words):
        """A run that the machine did not hinder: what requests meet that were sent
        or served late is another load's answer. A busy machine gets more tries."""
        for _ in range(5):
            done = self.run_pail("verify", *words, "--json")
            if done.returncode > 1:
                return done, None
            told = json.loads(done.stdout)
            seen = told["observed"]
            if seen["late_ns_p99"] < 5 * MS and seen["overrun_ns_p99"] < 8 * MS:
                return done, told
        self.skipTest("this machine is too busy to measure anything")

    def verify(self, rows, conf, *words, code=0):
        done, told = self.measured(self.trace(rows), "-c", conf, *words)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return told

    @unittest.skipIf(os.environ.get("PAIL_SANITIZE"), "under sanitizers malloc is not the bucket's")
    def test_oversize_requests_are_500s_as_predicted(self):
        rows = [(i * 10 * MS, 2 * MS, 70000 if i % 20 == 7 else 4096, "GET /a") for i in range(100)]
        told = self.verify(rows, self.plan())
        self.assertEqual(told["schema"], "pail.verify/1")
        self.assertEqual(told["predicted"]["rejected_500"], 5)
        self.assertEqual(told["observed"]["rejected_500"], 5)
        self.assertEqual(told["observed"]["rejected_503"], 0)
        self.assertEqual(told["observed"]["status"], {"200": 95, "500": 5})
        self.assertTrue(told["inside"])
        self.assertLessEqual(told["observed"]["peak_bytes"], told["bound_bytes"])

    def test_batches_beyond_the_buckets_are_503s_as_predicted(self):
        """Seven at one instant, four buckets, long holds: three are refused each time."""
        rows = [(batch * 150 * MS + i, 100 * MS, 5000, "GET /b") for batch in range(10) for i in range(7)]
        told = self.verify(rows, self.plan(count=4))
        self.assertEqual(told["predicted"]["rejected_503"], 30)
        self.assertEqual(told["observed"]["rejected_503"], 30)
        self.assertEqual(told["observed"]["status"]["200"], 40)

    def test_a_queue_serves_those_who_wait_in_time(self):
        """Seven at one instant, four buckets for 50 ms: of the three others two
        may wait, and are served after 50 ms; with a wait of 10 ms nobody is."""
        rows = [(batch * 200 * MS + i, 50 * MS, 5000, "GET /b") for batch in range(8) for i in range(7)]
        conf = self.write("q.conf", "[server]\nqueue = 2\nwait = 500ms\n[bucket main]\nsize = 64K\ncount = 4\n")
        told = self.verify(rows, conf)
        self.assertEqual((told["predicted"]["rejected_503"], told["observed"]["rejected_503"]), (8, 8))
        self.assertGreaterEqual(told["observed"]["latency_ns_max"], 95 * MS)
        conf = self.write("q.conf", "[server]\nqueue = 2\nwait = 10ms\n[bucket main]\nsize = 64K\ncount = 4\n")
        told = self.verify(rows, conf)
        self.assertEqual((told["predicted"]["rejected_503"], told["observed"]["rejected_503"]), (24, 24))

    CLASSES = ("[server]\nqueue = 0\n[bucket small]\nsize = 64K\ncount = 4\n[bucket big]\nsize = 256K\ncount = 2\n"
               "[route GET /big]\nbucket = big\n[route /again/]\nbucket = small\nretry = yes\n"
               "[route *]\nbucket = small\n")

    @unittest.skipIf(os.environ.get("PAIL_SANITIZE"), "under sanitizers malloc is not the bucket's")
    def test_each_route_has_the_buckets_of_its_class(self):
        """Of five at once four find a small bucket, of three two a big one; what
        is too big for a small one is a 500 there, and fits where it is tried again."""
        rows = []
        for batch in range(6):
            at = batch * 200 * MS
            rows += [(at + i, 80 * MS, 5000, "GET /small") for i in range(5)]
            rows += [(at + 10 + i, 80 * MS, 200000, "GET /big") for i in range(3)]
            rows += [(at + 120 * MS, 5 * MS, 100000, "GET /small"), (at + 150 * MS, 5 * MS, 100000, "GET /again/x")]
        told = self.verify(rows, self.write("classes.conf", self.CLASSES))
        self.assertEqual([c["name"] for c in told["classes"]], ["small", "big"])
        for who in ("predicted", "observed"):
            self.assertEqual((told[who]["rejected_500"], told[who]["rejected_503"]), (6, 12), who)
        self.assertEqual(told["observed"]["status"], {"200": 42, "500": 6, "503": 12})

    def test_waits_and_latencies_are_held_against_their_intervals(self):
        """Two at once, one bucket of 30 ms: every second one waits for it."""
        rows = [(batch * 100 * MS + i, 30 * MS, 5000, "GET /b") for batch in range(10) for i in range(2)]
        conf = self.write("one.conf", "[server]\nthreads = 1\nqueue = 2\nwait = 1s\n[bucket main]\nsize = 64K\ncount = 1\n")
        told = self.verify(rows, conf, "--slack", "25ms")
        self.assertTrue(told["times_inside"], told)
        self.assertEqual(told["predicted"]["wait_p99"]["ns"], 30 * MS - 1)
        self.assertEqual(told["predicted"]["latency_p99"]["ns"], 60 * MS - 1)
        self.assertGreaterEqual(told["observed"]["wait_ns_p99"], 28 * MS)
        # a plan of which other times were promised: the same server, two buckets in the prediction's place
        told = self.verify(rows, self.plan(count=2), "--slack", "0ns", code=1)
        self.assertEqual((told["rates_inside"], told["times_inside"], told["inside"]), (True, False, False))

    def files(self):
        folder = self.path("files")
        os.mkdir(folder)
        for name in ("a", "b"):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(name * 100)
        return folder

    def test_a_handler_is_asked_what_was_recorded(self):
        rows = [(i * 10 * MS, 1 * MS, 4096, "GET /" + "ab"[i % 2]) for i in range(40)]
        told = self.verify(rows, self.plan(count=20), "--app", self.files())
        self.assertEqual(told["observed"]["status"], {"200": 40})
        self.assertLessEqual(told["observed"]["peak_bytes"], told["bound_bytes"])
        rows.append((500 * MS, MS, 10, "GET /none"))
        told = self.verify(rows, self.plan(count=20), "--app", self.path("files"))
        self.assertEqual(told["observed"]["status"], {"200": 40, "404": 1})

    def test_a_handler_that_is_asked_without_values_is_noted(self):
        trace = self.trace([(i * 10 * MS, 1 * MS, 4096, "GET /a") for i in range(4)])
        told, files = {}, self.files()
        for redact in ("none", "values"):
            with sqlite3.connect(trace) as db:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('redact', ?), ('redacted_targets', '2')", (redact,))
            db.close()
            for words in ((), ("--app", files)):
                done = self.run_pail("verify", trace, "-c", self.plan(count=20), *words, "--json")
                told[redact, bool(words)] = [w for w in json.loads(done.stdout)["why"] if "--redact none" in w]
        self.assertEqual({key: len(whys) for key, whys in told.items()},
                         {("none", False): 0, ("none", True): 0, ("values", False): 0, ("values", True): 1})

    def test_a_server_that_runs_is_asked_by_its_address(self):
        rows = [(i * 10 * MS, 1 * MS, 4096, "GET /" + "ab"[i % 2]) for i in range(40)]
        port_file, conf = self.path("port"), self.plan(count=20)
        server = subprocess.Popen([PAIL, "serve", "-c", conf, "--listen", "127.0.0.1:0", "--app", self.files(),
                                   "--port-file", port_file, "--log", self.path("log")], stderr=subprocess.DEVNULL)
        try:
            for _ in range(2000):
                if os.path.exists(port_file) and os.path.getsize(port_file):
                    break
                time.sleep(0.01)
            with open(port_file, encoding="utf-8") as file:
                url = "http://127.0.0.1:" + file.read().strip()
            told = self.verify(rows, conf, "--url", url)
        finally:
            server.terminate()
            server.wait(30)
        self.assertEqual(told["observed"]["status"], {"200": 40})
        self.assertIsNone(told["observed"]["peak_bytes"])
        self.assertEqual(self.run_pail("verify", self.path("t.db"), "-c", conf, "--url", url, "--json").returncode, 1)

    def test_a_part_of_the_trace_at_twice_the_speed(self):
        rows = [(i * 100 * MS, 20 * MS, 4096, "GET /a") for i in range(50)]
        began = time.monotonic()
        told = self.verify(rows, self.plan(), "--limit", "20", "--speed", "2")
        self.assertEqual((told["trace"]["requests"], told["observed"]["served"]), (20, 20))
        self.assertGreaterEqual(time.monotonic() - began, 0.95)
        self.assertGreaterEqual(told["observed"]["latency_ns_p50"], 10 * MS)
        told = self.verify(rows, self.plan(), "--for", "1s", "--speed", "4")
        self.assertEqual(told["trace"]["requests"], 10)

    def test_too_few_connections_are_named_and_the_answer_is_no(self):
        """The driver may hold no more connections than the plan has, so the
        batches queue up in front of the server, which refuses nobody."""
        rows = [(batch * 70 * MS + i, 15 * MS, 5000, "GET /b") for batch in range(40) for i in range(8)]
        told = self.verify(rows, self.plan(count=4, server="connections = 4"), code=1)
        self.assertFalse(told["inside"])
        self.assertEqual(told["predicted"]["rejected_503"], 160)
        self.assertEqual(told["observed"]["rejected_503"], 0)
        self.assertTrue(any("waited for one of the 4 connections" in why for why in told["why"]), told["why"])

    def test_the_table_says_the_same(self):
        rows = [(i * 10 * MS, 1 * MS, 4096, "GET /a") for i in range(20)]
        done = self.run_pail("verify", self.trace(rows), "-c", self.plan(count=20))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"served \(200\) +20 +20\n")
        self.assertRegex(done.stdout, r"latency p99 +1.00 ms +1.00 ms .. 1.00 ms +[0-9.]+ .?s\n")
        self.assertIn("within the predicted interval", done.stdout)

    def test_bad_input_is_one_line_and_nothing_is_started(self):
        trace = self.trace([(0, MS, 10, "GET /a")])
        plain = self.plan()
        for words, code, why in (
                ((trace,), 2, "wants a plan"),
                (("-c", plain), 2, "wants a trace"),
                ((self.path("none.db"), "-c", plain), 3, "none.db"),
                ((plain, "-c", plain), 3, "pail.conf"),
                ((trace, "-c", self.path("none.conf")), 3, "none.conf"),
                ((trace, "-c", plain, "--url", "http://x", "--app", "y"), 2, "exclude"),
                ((trace, "-c", plain, "--url", "ftp://x"), 2, "ftp://x"),
                ((trace, trace, "-c", plain), 2, "one trace too many"),
                ((trace, "-c", plain, "--speed", "0"), 2, "--speed"),
                ((trace, "-c", plain, "--confidence", "1"), 2, "--confidence")):
            with self.subTest(words=words):
                done = self.run_pail("verify", *words)
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(why, done.stderr)

    def test_a_stop_in_the_middle_leaves_nothing(self):
        rows = [(i * 100 * MS, 20 * MS, 4096, "GET /a") for i in range(300)]
        child = subprocess.Popen([PAIL, "verify", self.trace(rows), "-c", self.plan()],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=dict(os.environ, TMPDIR=self.temporary))
        for _ in range(500):
            if processes_that_name("--port-file\0" + self.temporary):
                break
            time.sleep(0.01)
        else:
            self.fail("no server came")
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        out, messages = child.communicate(timeout=20)
        self.assertEqual((child.returncode, out), (3, ""))
        self.assertIn("stopped before the end", messages)


if __name__ == "__main__":
    sys.exit(unittest.main())
