#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail record --cpu: how much CPU each request took, on every model of a server.

    test_cpu.py PAIL VICTIM

Request /burn/K uses 2 ms of CPU time, 4, 6 or 8, by K % 4, over eight connections at
once; the victim measures that by the clock of its thread, so the machine's load
does not matter.
"""
import csv
import http.client
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
PAIL, VICTIM = map(os.path.abspath, sys.argv[1:3])
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers  # noqa: E402  pylint: disable=wrong-import-position

CONNECTIONS, SHARE, UNIT_NS = 8, 4, 2_000_000
HANDED = ("--handoff=condvar",)


def send(port):
    problems = []

    def one(first):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for k in range(first, first + SHARE):
                connection.request("GET", f"/burn/{k}")
                if connection.getresponse().read() != b"ok %d" % k:
                    problems.append(k)
            connection.close()
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)

    threads = [threading.Thread(target=one, args=(i * SHARE,)) for i in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:5]


class Cpu(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pail-cpu-")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def record(self, model, *options):
        port = servers.free_port()
        with servers.Recording(self.folder, [VICTIM, model, str(port)], port, options=options) as r:
            send(port)
        r.log.close()
        return r

    def cpu(self, trace, **more):
        found = subprocess.run([PAIL, "export", "--format", "jsonl", trace], check=True, capture_output=True,
                               text=True, timeout=60, **more).stdout
        rows = [json.loads(line) for line in found.splitlines()]
        return {int(row["target"].rsplit("/", 1)[1]): row["cpu_ns"] for row in rows if "/burn/" in row["target"]}

    def check(self, trace):
        found = self.cpu(trace)
        self.assertEqual(sorted(found), list(range(CONNECTIONS * SHARE)))
        for k, ns in found.items():
            self.assertGreaterEqual(ns, (1 + k % 4) * UNIT_NS, f"request {k}")
        # What serving takes besides is the same for all of them.
        middle = [statistics.median(ns for k, ns in found.items() if k % 4 == i) for i in range(4)]
        for i in range(1, 4):
            self.assertAlmostEqual((middle[i] - middle[0]) / UNIT_NS, i, delta=0.25 * i, msg=f"{middle}")
        return found

    def test_a_process_for_each_connection(self):
        self.check(self.record("fork", "--cpu").trace)

    def test_a_loop_that_sees_several_events_at_once(self):
        self.check(self.record("epoll", "--cpu", "--mode=light").trace)

    def test_a_loop_that_answers_later(self):
        self.check(self.record("deferred", "--cpu").trace)

    def test_workers_that_hand_back(self):
        self.check(self.record("silent", "--cpu", *HANDED).trace)

    def test_turns_that_interleave_by_marks(self):
        self.check(self.record("marked", "--cpu").trace)

    def test_a_trace_that_is_attributed_anew_says_the_same(self):
        trace = self.record("epoll", "--cpu", "--keep-raw").trace
        anew = os.path.join(self.folder, "anew.db")
        subprocess.run([PAIL, "attribute", "-o", anew, trace], check=True, capture_output=True, timeout=60)
        self.assertEqual(self.check(trace), self.check(anew))

    def test_it_is_in_the_view_the_table_and_the_report(self):
        r = self.record("thread", "--cpu")
        found = self.check(r.trace)
        target = "SELECT target, cpu_ns FROM request WHERE target LIKE '%burn%'"
        self.assertEqual({int(t.rsplit("/", 1)[1]): ns for t, ns in r.rows(target)}, found)
        total, = r.rows("SELECT cpu_ns FROM route_summary WHERE route LIKE '%burn%' LIMIT 1")
        self.assertGreaterEqual(total[0], UNIT_NS)
        report = subprocess.run([PAIL, "report", "--json", "--sort", "cpu_ns_p99", r.trace], check=True,
                                capture_output=True, timeout=60).stdout
        row = json.loads(report)["rows"][0]
        self.assertGreaterEqual(row["cpu_ns_p99"], row["cpu_ns_p50"])
        self.assertGreaterEqual(row["cpu_ns_p50"], UNIT_NS)
        lines = subprocess.run([PAIL, "export", "--format", "csv", r.trace], check=True, capture_output=True,
                               text=True, timeout=60).stdout
        self.assertEqual(sorted(int(line["cpu_ns"]) for line in csv.DictReader(io.StringIO(lines))
                                if "/burn/" in line["target"]), sorted(found.values()))
        table = subprocess.run([PAIL, "report", r.trace], check=True, capture_output=True, text=True, timeout=60,
                               env={**os.environ, "COLUMNS": "160"}).stdout
        self.assertIn("CPU p50", table)

    def test_without_it_nothing_is_known(self):
        r = self.record("epoll")
        self.assertEqual(set(self.cpu(r.trace).values()) & {0, None, -1}, set(self.cpu(r.trace).values()))
        self.assertEqual(r.rows("SELECT DISTINCT cpu_ns FROM request"), [(-1,)])
        table = subprocess.run([PAIL, "report", r.trace], check=True, capture_output=True, text=True, timeout=60,
                               env={**os.environ, "COLUMNS": "160"}).stdout
        self.assertNotIn("CPU", table)

    def test_functions_of_the_kernel_do_not_go_with_it(self):
        done = subprocess.run([PAIL, "record", "--cpu", "--begin", "true:a", "--end", "true:b", "--", "true"],
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--cpu", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
