#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Buckets from too small to enough, in steps of 16 bytes where the need is small:
the n-th request has n steps. Those below the need fail, those above are served
as in a whole bucket, and none does anything else."""
import os
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "core"))
import harness  # noqa: E402  (the folder of the core's tests)
from harness import BUILD, Server, plugin  # noqa: E402

harness.SERVER = f"{BUILD}/tests/server/libraries/pail-server-kth"
FOLDER = f"{BUILD}/tests/server/libraries"
CONF = """
[server]
image = 64M
cpu_deadline = 3s
[bucket main]
size = 2M
count = 1
{on_oom}
"""
STEPS = 400


def swept(value):
    return unittest.mock.patch.dict(os.environ, PAIL_TEST_SWEEP=value)


class Sweep(unittest.TestCase):
    def sweep(self, app, target, body=None, on_oom="", failures=(500,), exact=True):
        method = "POST" if body is not None else "GET"
        conf = CONF.format(on_oom=on_oom)
        with Server(app, conf) as server, server.client() as client:
            for _ in range(2):
                whole = client.ask(method, target, body=body)
            self.assertEqual(whole.status, 200, whole)
            need = server.wait_lines(2)[1]["need_bytes"]
        # Steps of 16 bytes, or STEPS in all; always some below, at and above the need.
        step = max(16, need // STEPS // 16 * 16)
        count = need // step + 12
        first = need % step
        statuses = []
        with swept(f"{first},{step}"), Server(app, conf) as server:
            for _ in range(count):
                with server.client() as client:
                    answer = client.ask(method, target, body=body)
                statuses.append(answer.status)
                if answer.status == 200:
                    self.assertEqual(answer.body, whole.body)
            lines = server.wait_lines(count)
        self.assertLessEqual(set(statuses), {200, *failures})
        enough = need // step  # the request that has exactly what it needs
        self.assertEqual(statuses[enough:], [200] * (count - enough), "with its need, and more, it is served")
        if exact:
            self.assertEqual([s for s in statuses[:enough] if s == 200], [], "with less it is not")
            causes = {line.get("cause") for line in lines[:enough]}
            self.assertLessEqual(causes, {"oversize", "body-too-large", None})
        # What libc sets up once, whenever a request first comes that far.
        self.assertLessEqual(len([line for line in lines[4:] if "system_blocks_left" in line]), 1)
        return need, statuses

    def test_a_folder_needs_no_bucket_at_all(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/a.txt", "w", encoding="ascii") as file:
                file.write("a file\n" * 5000)
            need, statuses = self.sweep(folder, "/a.txt")
            self.assertEqual((need, set(statuses)), (0, {200}))

    def test_the_built_ins(self):
        table = "".join(f"{x},{x * x % 97}\n" for x in range(300)).encode()
        for app, target, body in (
            ("builtin:send-static-file", "/", None),
            ("builtin:varying-allocations", "/5", None),
            ("builtin:varying-allocations", "/300", None),
            ("builtin:csv-svg-path", "/", table),
        ):
            with self.subTest(app=app, target=target):
                self.sweep(app, target, body, failures=(500, 413), exact=body is None)

    def test_bodies_and_streams_of_a_plugin(self):
        # A body may be refused before it is read: 413.
        for target, body in (("/echo", b"x" * 9000), ("/stream?bytes=50000&piece=3000", None)):
            with self.subTest(target=target):
                self.sweep(plugin("talk"), target, body, failures=(500, 413), exact=body is None)

    def test_libraries_left_by_jumps(self):
        for name in ("jansson", "cjson", "lua", "zlib", "yaml", "pcre2", "expat", "libxml2", "openssl", "cxx", "duktape", "sqlite"):
            if os.path.exists(f"{FOLDER}/{name}.so"):
                with self.subTest(library=name):
                    self.sweep(f"{FOLDER}/{name}.so", "/", exact=name not in ("openssl",))

    def test_libraries_that_take_null(self):
        for name, library in (("jansson", "libjansson"), ("lua", "liblua5.4"), ("sqlite", "libsqlite3"), ("expat", "libexpat"),
                              ("cxx", "libstdc++"), ("yaml", "libyaml-0")):
            if os.path.exists(f"{FOLDER}/{name}.so"):
                with self.subTest(library=name):
                    # Some do without what they were refused.
                    self.sweep(f"{FOLDER}/{name}.so", "/", on_oom=f"[on_oom]\n{library} = null\n", exact=False)


if __name__ == "__main__":
    unittest.main(verbosity=2)
