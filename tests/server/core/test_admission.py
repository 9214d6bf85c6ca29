#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who gets a bucket: classes, the line, its end, a full table."""
import time
import unittest

from harness import SANITIZED, Client, Server

CONF = """
[server]
queue = {queue}
wait = {wait}
connections = {connections}
[bucket main]
size = 256K
count = {count}
"""


def conf(queue=0, wait="1s", connections=64, count=1):
    return CONF.format(queue=queue, wait=wait, connections=connections, count=count)


class Admission(unittest.TestCase):
    def clients(self, server, count):
        clients = [server.client() for _ in range(count)]
        for client in clients:
            self.addCleanup(client.socket.close)
        return clients

    def sleepers(self, server, *times):
        """One client each, asked in this order."""
        clients = self.clients(server, len(times))
        for client, ms in zip(clients, times):
            client.send(client.request("GET", f"/sleep?ms={ms}"))
            time.sleep(0.01)
        return clients

    def test_without_a_line_the_next_is_503_at_once_and_may_stay(self):
        with Server("talk", conf(queue=0)) as server:
            (first,) = self.sleepers(server, 200)
            (second,) = self.clients(server, 1)
            begun = time.monotonic()
            answer = second.ask("GET", "/x")
            self.assertLess(time.monotonic() - begun, 0.1)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
            answer = second.ask("POST", "/echo", body=b"x" * 1000)
            self.assertEqual(answer.status, 503)
            self.assertEqual(first.read().status, 200)
            self.assertEqual(second.ask("GET", "/x").status, 200)
            self.assertEqual([line.get("cause") for line in server.wait_lines(4)][:2], ["busy", "busy"])

    def test_those_who_wait_are_served_in_order(self):
        with Server("talk", conf(queue=8)) as server:
            clients = self.sleepers(server, 120, 1, 1, 1, 1)
            order = []
            for client in clients:
                self.assertEqual(client.read().status, 200)
            order = [line["wait_ns"] for line in server.wait_lines(5)]
            self.assertEqual(order[1:], sorted(order[1:], reverse=True)) # the first waited longest
            self.assertGreater(order[1], 80e6)

    def test_a_full_line_is_503_and_so_is_a_wait_that_is_too_long(self):
        with Server("talk", conf(queue=1, wait="150ms")) as server:
            holder, waiter, third = self.sleepers(server, 500, 1, 1)
            begun = time.monotonic()
            self.assertEqual(third.read().status, 503)
            self.assertLess(time.monotonic() - begun, 0.1)
            self.assertEqual(waiter.read().status, 503)
            self.assertAlmostEqual(time.monotonic() - begun, 0.14, delta=0.08)
            self.assertEqual(holder.read().status, 200)
            self.assertEqual([line.get("cause") for line in server.wait_lines(3)], ["busy", "busy-wait", None])

    def test_a_bucket_that_comes_free_goes_to_the_line_before_newcomers(self):
        with Server("talk", conf(queue=1)) as server:
            holder, waiter = self.sleepers(server, 100, 100)
            # Pipelined behind the holder's: it comes exactly when its bucket is free.
            holder.send(holder.request("GET", "/again"))
            self.assertEqual(holder.read().body, b"slept\n")
            self.assertEqual(waiter.read().body, b"slept\n")
            self.assertEqual(holder.read().body, b"GET /again?\n")

    def test_a_waiter_that_goes_away_leaves_the_line(self):
        with Server("talk", conf(queue=1)) as server:
            holder, waiter = self.sleepers(server, 200, 1)
            waiter.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
            waiter.socket.close()
            time.sleep(0.03)
            (third,) = self.sleepers(server, 1)
            self.assertEqual(third.read().status, 200)
            self.assertEqual(holder.read().status, 200)

    def test_routes_choose_their_class(self):
        text = """
[server]
queue = 0
[bucket small]
size = 16K
count = 1
[bucket large]
size = 1M
count = 1
[route /stream]
bucket = large
"""
        with Server("talk", text) as server:
            small, large = self.clients(server, 2)
            self.assertEqual(small.ask("GET", "/stream?bytes=10&piece=100000").status, 200)
            (holder,) = self.sleepers(server, 150)
            self.assertEqual(small.ask("GET", "/x").status, 503)
            self.assertEqual(large.ask("GET", "/stream?bytes=10&piece=100000").status, 200)
            self.assertEqual(holder.read().status, 200)
            self.assertEqual(small.ask("GET", "/x").status, 200)
            lines = server.wait_lines(5)
            self.assertEqual([line["bucket"] for line in lines], ["large", "", "large", "small", "small"])

    @unittest.skipIf(SANITIZED, "the sanitizer owns malloc")
    def test_a_route_may_retry_in_the_next_class(self):
        text = """
[server]
queue = 0
[bucket small]
size = 16K
count = 1
[bucket large]
size = 256K
count = 1
[route /stream]
bucket = small
retry = yes
"""
        with Server("talk", text) as server, server.client() as client:
            answer = client.ask("GET", "/stream?bytes=10&piece=100000")
            self.assertEqual((answer.status, len(answer.body)), (200, 10))
            self.assertEqual(client.ask("GET", "/stream?bytes=10&piece=1000000").status, 500)
            self.assertEqual(client.ask("POST", "/stream?bytes=10&piece=100000", body=b"x").status, 500)
            (other,) = self.clients(server, 1)
            lines = [(line["bucket"], line["status"]) for line in server.wait_lines(5)]
            self.assertEqual(lines, [("small", 0), ("large", 200), ("small", 0), ("large", 500), ("small", 500)])
            self.assertEqual(other.ask("GET", "/x").status, 200)

    def test_a_full_table_sheds_the_connection_that_idles_longest(self):
        with Server("talk", conf(connections=8, count=8)) as server:
            idle = self.clients(server, 8)
            for client in idle:
                self.assertEqual(client.ask("GET", "/x").status, 200)
            idle[0].send("GET /slow HTTP/1.1\r\n")  # a head that does not come
            time.sleep(0.05)
            new = self.clients(server, 3)
            for client in new:
                self.assertEqual(client.ask("GET", "/x").status, 200)
            self.assertEqual([client.ended(0.3) for client in idle], [True] * 3 + [False] * 5)

    def test_connections_with_a_bucket_are_never_shed(self):
        with Server("talk", conf(connections=4, count=4)) as server:
            busy = self.sleepers(server, 300, 300, 300, 300)
            late = Client(server.port)  # stays in the kernel's queue
            self.addCleanup(late.socket.close)
            late.send(late.request("GET", "/late"))
            self.assertEqual([client.read().status for client in busy], [200] * 4)
            self.assertEqual(late.read().body, b"GET /late?\n")

    @unittest.skipIf(SANITIZED, "the sanitizer owns malloc")
    def test_the_bound_holds_in_resident_memory(self):
        with Server("talk", conf(connections=1000, count=64, queue=100)) as server:
            clients = self.clients(server, 900)
            before = server.status("VmRSS")
            for turn in range(3):
                for client in clients:
                    client.send(client.request("GET", "/stream?bytes=3000&piece=200000"))
                statuses = [client.read().status for client in clients]
                self.assertEqual(statuses.count(200) + statuses.count(503), 900)
            self.assertLess(server.status("VmRSS") - before, 400)


if __name__ == "__main__":
    unittest.main(verbosity=2)
