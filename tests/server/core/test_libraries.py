#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Libraries that run out of memory at every place: the next request is well."""
import os
import unittest

from harness import SANITIZED, Server, plugin

CONF = """
[bucket main]
size = 512K
count = 2
{on_oom}
"""


@unittest.skipIf(SANITIZED or not os.path.exists(plugin("kth")), "the sanitizer owns malloc, or there is no jansson")
class Libraries(unittest.TestCase):
    def sweep(self, path, on_oom, queries):
        """Answers by query; after each, a plain request and its need are as ever."""
        with Server("kth", CONF.format(on_oom=on_oom)) as server, server.client() as client:
            plain = client.ask("GET", path)
            self.assertEqual(plain.status, 200)
            statuses, descriptors = [], server.descriptors()
            for query in queries:
                statuses.append(client.ask("GET", f"{path}?{query}").status)
                again = client.ask("GET", path)
                self.assertEqual((again.status, again.body), (200, plain.body), query)
            self.assertEqual(server.descriptors(), descriptors)
            lines = server.wait_lines(1 + 2 * len(statuses))
            needs = {line["need_bytes"] for line in lines[0::2]}
            self.assertEqual(len(needs), 1, "the same work has the same need")
            # The first has libc set itself up; then nothing is left behind.
            self.assertEqual([line for line in lines[1:] if "system_blocks_left" in line], [])
            return statuses

    def test_jansson_fails_at_each_allocation_by_a_jump_and_by_null(self):
        for on_oom in ("", "[on_oom]\nkth = null\n"):
            statuses = self.sweep("/jansson", on_oom, [f"k={k}" for k in range(1, 250)])
            failed = statuses.count(500)
            self.assertGreater(failed, 15)
            if not on_oom:  # jansson may do without what it was refused
                self.assertEqual(statuses[failed:], [200] * (len(statuses) - failed))
            self.assertEqual(statuses[-100:], [200] * 100, "past the last allocation all is well")

    def test_sqlite_fails_at_each_amount_of_memory_left_by_jumps_at_its_unlocks_and_by_null(self):
        for on_oom in ("", "[on_oom]\nlibsqlite3 = null\n"):
            statuses = self.sweep("/sqlite", on_oom, [f"left={left}" for left in range(16, 400000, 500)])
            self.assertEqual({200, 500}, set(statuses))
            self.assertEqual(statuses[0], 500)
            self.assertEqual(statuses[-20:], [200] * 20)

    def test_libc_calls_fail_at_each_amount_of_memory_left(self):
        statuses = self.sweep("/libc", "", [f"left={left}" for left in range(16, 1200, 16)])
        self.assertIn(500, statuses)
        self.assertIn(200, statuses)
        self.assertEqual(statuses, sorted(statuses, reverse=True))

    def test_jansson_fails_at_each_amount_of_memory_left(self):
        statuses = self.sweep("/jansson", "", [f"left={left}" for left in range(16, 12000, 48)])
        self.assertEqual(statuses, sorted(statuses, reverse=True))
        self.assertEqual({200, 500}, set(statuses))


if __name__ == "__main__":
    unittest.main(verbosity=2)
