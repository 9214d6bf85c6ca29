#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail stackbound knows what the server's own functions take, and the server takes no more."""
import json
import os
import platform
import re
import subprocess
import tempfile
import unittest

from harness import BUILD, SANITIZED, SOURCE, Server

HERE = os.path.dirname(os.path.abspath(__file__))
CC = os.environ.get("CC", "cc")
CONF = "[server]\nthreads = 1\n[stack]\nsize = 256K\n[bucket main]\nsize = 256K\ncount = 1\n"
FAIL = {"/eat": 500}
# Below the handler: request_main()'s frame, and what aligns it.
BEFORE = 128


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False)


@unittest.skipIf(SANITIZED, "a sanitizer has frames of its own")
@unittest.skipIf(platform.machine() != "x86_64", "the figures are x86-64's")
class Stack(unittest.TestCase):
    def build(self, folder):
        words = [CC, "-O2", "-g", "-fPIC", "-shared", "-D_GNU_SOURCE", "-fstack-clash-protection", f"-I{SOURCE}/include", "-fcallgraph-info=su,da",
                 "-o", f"{folder}/stack.so", f"{HERE}/stack.c"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False)
        graphs = [f"{folder}/{name}" for name in os.listdir(folder) if name.endswith(".ci")]
        if done.returncode != 0 or not graphs:
            self.skipTest(f"the compiler has no -fcallgraph-info (gcc has it): {done.stderr}")
        return graphs

    def test_a_handler_of_the_servers_functions_has_a_bound_and_keeps_to_it(self):
        with open(f"{HERE}/stack.c", encoding="ascii") as file:
            names = re.findall(r"^USE\((\w+)\)", file.read(), re.M)
        with tempfile.TemporaryDirectory() as folder:
            graphs = self.build(folder)
            words = [word for name in names for word in ("-e", f"use_{name}")]
            done = run(f"{BUILD}/bin/pail", "stackbound", "--json", *words, *graphs)
            answer = json.loads(done.stdout)
            bounds = {entry["entry"].rpartition("_use_")[2].removeprefix("use_"): entry for entry in answer["entries"]}
            # The one that calls by pointer is given its targets with --calls.
            self.assertEqual([(name, entry["problems"]) for name, entry in bounds.items() if entry["problems"]], [])
            self.assertEqual(done.returncode, 0, done.stderr)
            sources = {fact["source"] for entry in bounds.values() for fact in entry["rests_on"]}
            self.assertTrue(any("pail-server" in source for source in sources), sources)
            without = run(f"{BUILD}/bin/pail", "stackbound", "--no-server", *words, *graphs)
            self.assertEqual(without.returncode, 1)
            self.assertIn("external  pail_write", without.stdout)
            peaks = {}
            for name in names:  # a bucket's first request is measured in full, whatever holes its frames have
                with Server(f"{folder}/stack.so", CONF, options=["--no-supervisor"]) as server, server.client() as client:
                    body = b"x" * 5000 if "body" in name else None
                    status = client.ask("POST" if body else "GET", f"/{name}", body=body).status
                    self.assertIn(status, (FAIL.get(f"/{name}", 200), 201, 202), name)
                    peaks[name] = server.wait_lines(1)[0]["stack_peak_bytes"]
        # A request's end has a way of its own, which may be the deepest.
        least = peaks["nothing"]
        for name, entry in bounds.items():
            print(f"{name}: {peaks[name]} of {entry['bytes']} bytes")
            self.assertLessEqual(peaks[name], max(entry["bytes"] + BEFORE, least), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
