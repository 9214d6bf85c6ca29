#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What threads share, under load, while signals come: for the thread sanitizer above all."""
import os
import signal
import threading
import time
import unittest

from harness import Closed, Server

CONF = "[server]\nthreads = 3\nqueue = 8\nwait = 50ms\nconnections = 64\n[bucket main]\nsize = 256K\ncount = 6\n"
TARGETS = ("/x", "/stream?bytes=100000", "/headers", "/status?is=404", "/sleep?ms=2")


class Threads(unittest.TestCase):
    def test_signals_under_load_find_a_consistent_core(self):
        with Server("talk", CONF) as server:
            over, statuses = threading.Event(), set()

            def visit():
                while not over.is_set():
                    try:
                        with server.client() as client:
                            for target in TARGETS:
                                statuses.add(client.ask("GET", target).status)
                    except (Closed, OSError):
                        if not over.is_set():
                            statuses.add("cut")

            visitors = [threading.Thread(target=visit) for _ in range(8)]
            for visitor in visitors:
                visitor.start()
            for i in range(10):
                time.sleep(0.15)
                if i % 3 == 0:
                    os.rename(server.log_path, f"{server.log_path}.{i}")
                    server.process.send_signal(signal.SIGHUP)
            over.set()
            server.process.send_signal(signal.SIGTERM)
            for visitor in visitors:
                visitor.join()
            self.assertLessEqual(statuses, {200, 404, 503})
            # A sanitizer that saw a race ends the server with a code of its own.
            self.assertEqual(server.process.wait(40), 0, server.errors())
            self.assertNotIn("Sanitizer", server.errors())


if __name__ == "__main__":
    unittest.main(verbosity=2)
