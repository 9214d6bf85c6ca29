#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What threads share, under load, while signals come: for the thread sanitizer above all."""
import os
import resource
import signal
import threading
import time
import unittest

from harness import PATIENCE, Closed, Server, wait_until

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
            self.assertEqual(server.process.wait(PATIENCE), 0, server.errors())
            self.assertNotIn("Sanitizer", server.errors())

    def test_newcomers_go_to_the_worker_that_has_a_bucket_free(self):
        conf = "[server]\nthreads = 2\nqueue = 0\nconnections = 256\n[bucket main]\nsize = 256K\ncount = 2\n"
        with Server("talk", conf) as server:
            with server.client() as holder:
                holder.hold("/echo")  # one worker has none; the kernel asks it as often as the other
                served = []

                def enough():
                    served.append(server.get("/x").status == 200)
                    return sum(served) >= 20

                wait_until(enough, f"answers of the worker that idles: {len(served)} refused")
                print(f"{sum(served)} of {len(served)} were served by the worker that has a bucket")
                self.assertEqual(holder.release().status, 200)

    def test_connections_that_stay_are_shared_out(self):
        conf = "[server]\nthreads = 2\nconnections = 256\n[bucket main]\nsize = 256K\ncount = 2\n"
        with Server("talk", conf) as server:
            # Each worker has room for 128: without any balance 100 may be with one.
            clients = [server.client() for _ in range(100)]
            for client in clients:
                self.addCleanup(client.socket.close)
                self.assertEqual(client.ask("GET", "/x").status, 200)
            counts = [0, 0]
            for line in server.wait_lines(100):
                counts[line["worker"]] += 1
            print(f"of 100 connections {counts} are with the workers")
            self.assertGreater(min(counts), 0)

    def test_without_descriptors_it_waits_for_one_and_does_not_spin(self):
        conf = "[server]\nthreads = 1\n[bucket main]\nsize = 256K\ncount = 6\n"
        with Server("talk", conf) as server:
            held = [server.client() for _ in range(6)]
            for client in held:
                self.addCleanup(client.socket.close)
                client.hold("/echo")  # none idles, so none can be closed for another
            now = server.descriptors()
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (now, now))
            late = server.client()
            self.addCleanup(late.socket.close)
            late.send(late.request("GET", "/late"))
            before = server.cpu_s()
            time.sleep(1)
            spent = server.cpu_s() - before
            self.assertLess(spent, 0.3)
            self.assertEqual(held[0].release().status, 200)
            held[0].socket.close()
            self.assertEqual(late.read().body, b"GET /late?\n")
            for client in held[1:]:
                self.assertEqual(client.release().status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
