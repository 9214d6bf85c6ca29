#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Requests that die inside libc: no lock stays behind in a process that goes on."""
import time
import unittest

from harness import SANITIZED, Server

CONF = """
[server]
threads = 2
cpu_deadline = 200ms
wall_deadline = 3s
[bucket main]
size = 64K
count = 16
"""


@unittest.skipIf(SANITIZED, "the sanitizer handles faults itself")
class Inside(unittest.TestCase):
    def probe(self, server, times=8):
        """On both threads, most likely; a lock left behind would hang one until its deadline."""
        pids = set()
        for _ in range(times):
            answer = server.get("/probe")
            self.assertEqual(answer.status, 200)
            pids.add(int(answer.body))
        return pids

    def contained(self, targets, status=500):
        with Server("inside", CONF, options=["--no-supervisor"]) as server:
            for target in targets:
                with self.subTest(target=target):
                    self.assertEqual(server.get(target).status, status)
                    self.assertEqual(self.probe(server), {server.pid})
            self.assertNotIn("was left", server.errors())

    def tainted(self, target, function):
        with Server("inside", CONF) as server:
            before = server.serving()
            others = [server.client() for _ in range(6)]
            for other in others:
                other.hold("/hold")
            self.assertEqual(server.get(target).status, 500)
            self.assertIn("a request was left inside", server.errors(), function)
            for other in others:
                other.send("x")
            # Those under way on both threads are answered; some may meet the lock, and their deadline.
            statuses = [other.read().status for other in others]
            self.assertLessEqual(set(statuses), {200, 504})
            server.serving(other_than=before)
            self.assertEqual(len(self.probe(server)), 1)
            self.assertRegex(server.errors(), rf"process {before} ended after a failure that it could not contain .*; a new one in 0\.0 s")
            for other in others:
                other.socket.close()

    def test_streams_that_were_opened_before_the_request(self):
        self.contained([f"/fall-file?{pad}" for pad in range(16, 1200, 64)])

    def test_standard_output(self):
        self.contained([f"/fall-stdout?{pad}" for pad in range(16, 1200, 64)])

    def test_a_printf_specifier_of_the_handlers_own(self):
        self.contained(["/registered"] * 3)

    def test_a_stream_of_the_handlers_own(self):
        self.contained(["/cookie"] * 3)

    def test_a_stream_that_the_handler_locked(self):
        self.contained(["/locked"] * 3)

    def test_sorting(self):
        self.contained(["/sort"] * 3)
        self.contained(["/sort-loop"], 504)

    def test_the_time_zone(self):
        self.tainted("/fall-zone?64", "mktime")
        self.tainted("/fall-strftime?64", "strftime")

    def test_name_service(self):
        # Names are looked up on threads of the server's: no request is inside libc for it.
        self.contained([f"/fall-address?{pad}" for pad in range(16, 1200, 64)])

    def test_the_list_of_modules(self):
        self.tainted("/modules", "dl_iterate_phdr")


if __name__ == "__main__":
    unittest.main(verbosity=2)
