#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail verify on traffic whose outcome can be worked out by hand."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
MS = 1_000_000


def processes_that_name(text):
    """Pids of running processes with `text` on their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if text.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


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

    def verify(self, rows, conf, *words, code=0):
        done = self.run_pail("verify", self.trace(rows), "-c", conf, "--json", *words)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return json.loads(done.stdout)

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
        done = self.run_pail("verify", self.trace(rows), "-c", self.plan())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"served \(200\) +20 +20\n")
        self.assertIn("within the predicted interval\n", done.stdout)

    def test_bad_input_is_one_line_and_nothing_is_started(self):
        trace = self.trace([(0, MS, 10, "GET /a")])
        plain = self.plan()
        for words, code, why in (
                ((trace,), 2, "wants a plan"),
                (("-c", plain), 2, "wants a trace"),
                ((self.path("none.db"), "-c", plain), 3, "none.db"),
                ((plain, "-c", plain), 3, "pail.conf"),
                ((trace, "-c", self.path("none.conf")), 3, "none.conf"),
                ((trace, "-c", self.write("two.conf", "[bucket a]\nsize = 64K\ncount = 4\n"
                                           "[bucket b]\nsize = 128K\ncount = 4\n")), 3, "2 classes"),
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
