#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""--debug-escapes: who keeps memory of a request beyond it, and where it was allocated."""
import re
import subprocess
import unittest

from harness import SANITIZED, Server, plugin

CONF = "[server]\nthreads = 1\n[bucket main]\nsize = 64K\ncount = 8\n"


@unittest.skipIf(SANITIZED, "the sanitizer owns malloc")
class Escapes(unittest.TestCase):
    def server(self):
        return Server("escape", CONF, options=["--debug-escapes"])

    def told(self, server, requests):
        server.wait_lines(requests)  # the search comes after the answer, and before the log
        return re.findall(r"escape: (GET \S+): (\d+) bytes that (\S+) allocated are held at (\S+) \((.*)\) beyond", server.errors())

    def test_a_copy_that_a_static_keeps_is_told_with_both_places(self):
        with self.server() as server:
            for _ in range(20):
                self.assertEqual(server.get("/clean").status, 200)
            self.assertEqual(self.told(server, 20), [])
            self.assertEqual(server.get("/keep").status, 200)
            ((request, size, site, holder, kind),) = self.told(server, 21)
            self.assertEqual((request, size, kind), ("GET /keep", "14", "data"))
            self.assertTrue(site.startswith("escape.so+0x") and holder.startswith("escape.so+0x"))
            symbol = subprocess.run(["addr2line", "-f", "-e", plugin("escape"), site.split("+")[1]], capture_output=True, text=True, check=True).stdout
            self.assertIn("pail_handle", symbol)
            line = server.wait_lines(21)[-1]
            self.assertIn(f"escape from {site}", line["detail"])
            server.stop()
            self.assertEqual(server.lines()[-1]["escapes"], 1)

    def test_its_use_by_another_request_is_a_fault_with_a_name(self):
        with self.server() as server, server.client() as client:
            client.ask("GET", "/keep")
            for _ in range(7):
                self.assertEqual(client.ask("GET", "/use").status, 500)
            lines = server.wait_lines(8)[1:]
            self.assertEqual({line["cause"] for line in lines}, {"escape"})
            self.assertRegex(lines[0]["detail"], r"freed with its request: escape\.so\+0x")
            self.assertEqual(client.ask("GET", "/clean").body, b"only for now")

    def test_thread_local_storage_and_blocks_outside_are_searched(self):
        with self.server() as server:
            server.get("/keep-in-thread")
            server.get("/keep-outside")
            told = self.told(server, 2)
            self.assertEqual([(one[0], one[1]) for one in told], [("GET /keep-in-thread", "100"), ("GET /keep-outside", "200")])
            self.assertEqual(told[1][4], "system region")

    def test_without_it_nothing_is_told(self):
        with Server("escape", CONF) as server:
            server.get("/keep")
            self.assertEqual(self.told(server, 1), [])
            server.stop()
            self.assertEqual(server.lines()[-1]["escapes"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
