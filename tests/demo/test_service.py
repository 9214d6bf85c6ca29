#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo's service answers as it should, and pail drive measures it rightly."""

import csv
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD = os.environ["PAIL_SOURCE"], os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
DEMO = os.path.join(SOURCE, "demo")


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [os.path.join(BUILD, "demo", "service"), "0", os.path.join(DEMO, "products.csv")],
            stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.server.stdout.readline().rsplit(":", 1)[1])

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        assert cls.server.wait(20) == 0
        cls.server.stdout.close()

    def ask(self, method, target, body=None):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        link.request(method, target, body)
        answer = link.getresponse()
        status, text = answer.status, answer.read().decode()
        link.close()
        return status, text

    def drive(self, *words):
        return subprocess.run([PAIL, "drive", f"http://127.0.0.1:{self.port}", *words],
                              capture_output=True, text=True, check=False, timeout=60)

    def test_lookup_finds_a_product_and_what_goes_with_it(self):
        status, text = self.ask("GET", "/lookup?x=1&key=1007")
        found = json.loads(text)
        self.assertEqual((status, found["key"], len(found["related"])), (200, 1007, 4))
        self.assertEqual(self.ask("GET", "/lookup?key=7")[0], 404)

    def test_svg_scales_the_points_to_the_box(self):
        status, text = self.ask("POST", "/svg", "0,0\n1,10\n2,5\n")
        self.assertEqual(status, 200)
        self.assertIn('d="M0.00 480.00L320.00 0.00L640.00 240.00"', text)
        self.assertEqual(self.ask("POST", "/svg", "no points")[0], 400)

    def test_sort_sorts_numbers_and_words(self):
        self.assertEqual(self.ask("POST", "/sort", "[3,-1,2.5]"), (200, "[-1,2.5,3]"))
        self.assertEqual(self.ask("POST", "/sort", '["b","a"]'), (200, '["a","b"]'))
        self.assertEqual(self.ask("POST", "/sort", '{"a":1}')[0], 400)

    def test_report_has_as_many_rows_as_were_asked_for(self):
        status, text = self.ask("GET", "/report?rows=1234")
        self.assertEqual((status, len(json.loads(text)["orders"])), (200, 1234))
        self.assertEqual(self.ask("GET", "/report?rows=-1")[0], 400)

    def test_other_methods_and_paths_are_refused(self):
        self.assertEqual(self.ask("POST", "/lookup", "x")[0], 405)
        self.assertEqual(self.ask("GET", "/else")[0], 404)

    def test_drive_counts_what_the_service_answered(self):
        with tempfile.TemporaryDirectory() as folder:
            load, rows = os.path.join(folder, "a.load"), os.path.join(folder, "a.csv")
            with open(load, "w", encoding="utf-8") as file:
                file.write("100 good GET /lookup?key={1001-1600}\n"
                           "10x5 bad GET /nowhere\n"
                           f"20 sort POST /sort @{DEMO}/load/list-80.json\n")
            words = ["--load", load, "--for", "1s", "--seed", "3", "--csv", rows, "--json"]
            done = self.drive(*words)
            self.assertEqual(done.returncode, 0, done.stderr)
            totals = json.loads(done.stdout)
            with open(rows, newline="", encoding="utf-8") as file:
                first = list(csv.DictReader(file))
            again = self.drive(*words)
            with open(rows, newline="", encoding="utf-8") as file:
                second = list(csv.DictReader(file))
        self.assertEqual(again.returncode, 0, again.stderr)
        labels = {label["label"]: label for label in totals["labels"]}
        self.assertEqual(totals["schema"], "pail.drive/1")
        self.assertEqual(labels["good"]["status"], {"200": labels["good"]["requests"]})
        self.assertEqual(labels["bad"]["status"], {"404": labels["bad"]["requests"]})
        self.assertIsNone(labels["bad"]["latency_ns_p50"])
        self.assertEqual(labels["sort"]["status"], {"200": labels["sort"]["requests"]})
        self.assertGreaterEqual(labels["good"]["latency_ns_p50"], 2_000_000)  # its database wait
        self.assertEqual(len(first), totals["all"]["requests"])
        schedule = [(row["due_ns"], row["label"]) for row in first]
        self.assertEqual(schedule, [(row["due_ns"], row["label"]) for row in second])
        for row in first:
            self.assertLessEqual(int(row["due_ns"]), int(row["sent_ns"]))
            self.assertLessEqual(int(row["sent_ns"]), int(row["done_ns"]))

    def test_drive_says_what_is_wrong_with_a_load(self):
        with tempfile.TemporaryDirectory() as folder:
            load = os.path.join(folder, "a.load")
            with open(load, "w", encoding="utf-8") as file:
                file.write("# nothing wrong here\n10 a GET nowhere\n")
            done = self.drive("--load", load)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertEqual(done.stderr, f"pail drive: '{load}' line 2: target 'nowhere' does not begin with '/'\n")


if __name__ == "__main__":
    sys.exit(unittest.main())
