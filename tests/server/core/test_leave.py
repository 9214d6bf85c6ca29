#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a request leaves behind: closed if it died, routed where it may stay, and of others never touched."""
import errno
import os
import unittest

from harness import SANITIZED, Server, wait_until

CONF = """
[server]
threads = 1
cpu_deadline = 100ms
wall_deadline = 30s
outgoing = 8
[bucket main]
size = 64K
count = 4
"""
KEPT = ("setenv", "setlocale", "iconv", "dlopen", "keys", "atexit", "zone", "syslog", "passwd", "backtrace", "regex", "address", "stdio")


@unittest.skipIf(SANITIZED, "the sanitizer owns malloc, and handles faults itself")
class Leave(unittest.TestCase):
    def timers(self, server):
        with open(f"/proc/{server.pid}/timers", encoding="ascii") as file:
            return file.read().count("ID: ")

    def test_what_a_request_that_dies_has_open_is_closed(self):
        with Server("leave", CONF, options=["--no-supervisor"]) as server, server.client() as client:
            client.ask("GET", "/ok")
            before, timers = server.descriptors(), os.path.exists("/proc/self/timers") and self.timers(server)
            for how, status in (("segv", 500), ("eat", 500), ("abort", 500), ("deadline", 504)):
                for _ in range(5):
                    answer = client.ask("GET", f"/die-{how}")
                    self.assertEqual(answer.status, status, (how, answer.body))
                wait_until(lambda: server.descriptors() <= before, f"descriptors to be closed after {how}")
                if timers is not False:
                    self.assertEqual(self.timers(server), timers, how)
            # Streams are blocks of the system region; the one that stays is open_memstream()'s text, which is the caller's.
            self.assertEqual({line.get("system_blocks_left", 1) for line in server.wait_lines(21)[6:]}, {1})
            # Sockets are few (outgoing), so one that stayed would have been missed.
            self.assertEqual(client.ask("GET", "/ok").status, 200)

    def test_no_request_has_more_open_than_can_be_closed_for_it(self):
        with Server("leave", CONF, options=["--no-supervisor"]) as server, server.client() as client:
            client.ask("GET", "/ok")
            before = server.descriptors()
            for _ in range(3):
                answer = client.ask("GET", "/many")
                self.assertEqual(answer.status, 500, answer.body)
            self.assertEqual(client.ask("GET", "/thread-timer").body, b"%d\n" % errno.EAGAIN)
            wait_until(lambda: server.descriptors() <= before, "descriptors to be closed")

    def test_blocks_of_other_requests_are_not_to_be_freed_or_grown(self):
        with Server("leave", CONF) as server, server.client() as holder, server.client() as other:
            other.ask("GET", "/keep")
            holder.hold("/hold")  # it has the bucket that the dead block was in
            for target in ("/free-shared", "/free-dead"):
                self.assertEqual(other.ask("GET", target).status, 200, target)
            for target in ("/realloc-shared", "/realloc-dead"):
                self.assertEqual(other.ask("GET", target).body, b"0\n", target)
            self.assertEqual(holder.release().body, b"whole\n")
            lines = {line["path"]: line for line in server.wait_lines(6)}
            for target in ("/free-shared", "/free-dead"):
                self.assertEqual(lines[target]["foreign_frees"], 1, target)

    def test_blocks_of_no_request_keep_their_origin(self):
        with Server("leave", CONF) as server, server.client() as client:
            self.assertEqual(client.ask("GET", "/grow-outside").body, b"1\n")
            for _ in range(8):  # whatever other requests do with their buckets
                client.ask("GET", "/keep")
                self.assertEqual(client.ask("GET", "/look-outside").body, b"1\n")
            self.assertEqual(client.ask("GET", "/free-outside").status, 200)
            self.assertEqual([line for line in server.wait_lines(18) if "foreign_frees" in line], [])

    def test_what_libc_and_the_loader_keep_is_not_in_the_bucket(self):
        """Cold, and then again after the bucket was made inaccessible (--debug-escapes)."""
        for options in ((), ("--debug-escapes",)):
            with Server("leave", CONF, options=[*options, "--no-supervisor"]) as server, server.client() as client:
                for _ in range(3):
                    for what in KEPT:
                        self.assertEqual(client.ask("GET", f"/kept-{what}").status, 200, (what, options, server.lines()[-1:]))
                server.wait_lines(3 * len(KEPT))
                self.assertNotIn("escape:", server.errors())

    def test_what_stays_in_the_system_region_is_counted(self):
        with Server("leave", CONF) as server, server.client() as client:
            for what in ("regex", "regex-kept"):
                for _ in range(2):
                    client.ask("GET", f"/kept-{what}")
            lines = server.wait_lines(4)
            self.assertNotIn("system_blocks_left", lines[1])
            self.assertGreater(lines[3]["system_blocks_left"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
