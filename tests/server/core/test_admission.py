#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who gets a bucket: classes, the line, its end, a full table."""
import time
import unittest

from harness import SANITIZED, Client, Closed, Server, wait_until

CONF = """
[server]
queue = {queue}
wait = {wait}
connections = {connections}
patience = {patience}
{more}
[bucket main]
size = 256K
count = {count}
"""


def conf(queue=0, wait="1s", connections=64, count=1, patience="0", more=""):
    return CONF.format(queue=queue, wait=wait, connections=connections, count=count, patience=patience, more=more)


class Admission(unittest.TestCase):
    def clients(self, server, count):
        clients = [server.client() for _ in range(count)]
        for client in clients:
            self.addCleanup(client.socket.close)
        return clients

    def holders(self, server, count):
        """Each has a bucket, until its release()."""
        clients = self.clients(server, count)
        for client in clients:
            client.hold("/echo")
        return clients

    def full(self, server):
        """Waits until the line is full: who comes then is turned away."""
        wait_until(lambda: server.get("/full").status == 503, "a full line")

    def test_without_a_line_the_next_is_503_at_once_and_may_stay(self):
        with Server("talk", conf(queue=0)) as server:
            (first,) = self.holders(server, 1)
            (second,) = self.clients(server, 1)
            answer = second.ask("GET", "/x")  # while the first holds
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
            answer = second.ask("POST", "/echo", body=b"x" * 1000)
            self.assertEqual(answer.status, 503)
            self.assertEqual(first.release().status, 200)
            self.assertEqual(second.ask("GET", "/x").status, 200)
            self.assertEqual([line.get("cause") for line in server.wait_lines(4)][:2], ["busy", "busy"])

    def test_a_bucket_is_taken_when_the_head_is_complete_and_not_before(self):
        with Server("talk", conf(queue=0)) as server:
            idle, unfinished, third = self.clients(server, 3)
            self.assertEqual(idle.ask("GET", "/x").status, 200)  # and stays
            unfinished.send("GET /late HTTP/1.1\r\nHost: a\r\nX: ")
            (holder,) = self.holders(server, 1)  # the only bucket was free
            unfinished.send("1\r\n\r\n")
            self.assertEqual(unfinished.read().status, 503)
            self.assertEqual(holder.release().status, 200)
            self.assertEqual(third.ask("GET", "/x").status, 200)

    def test_a_short_body_that_comes_slowly_holds_no_bucket(self):
        with Server("talk", conf(queue=0)) as server:
            slow, other = self.clients(server, 2)
            # The first answer shows that what was sent with its request was read.
            slow.send(slow.request("GET", "/first") + slow.request("POST", "/echo", [("Content-Length", "10")]) + b"123")
            self.assertEqual(slow.read().status, 200)
            for part in (b"4", b"5", b"67"):
                self.assertEqual(other.ask("GET", "/x").status, 200)
                slow.send(part)
            self.assertEqual([line["path"] for line in server.wait_lines(4)], ["/first", "/x", "/x", "/x"])
            slow.send(b"890" + slow.request("GET", "/last"))
            self.assertEqual(slow.read().body, b"1234567890")
            self.assertEqual(slow.read().body, b"GET /last?\n")

    def test_neither_does_one_in_chunks_nor_a_long_one_that_has_hardly_begun(self):
        with Server("talk", conf(queue=0)) as server:
            chunked, long, other = self.clients(server, 3)
            first = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\n"
            chunked.send(first + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab")
            long.send(first + b"Content-Length: 50000\r\n\r\n" + b"y" * 1000)
            for client in (chunked, long):  # what came with this was read
                self.assertEqual(client.read().status, 200)
            for part in (b"c\r\n", b"4;x\r\ndefg\r\n0\r\n", b"T: railer\r\n"):
                self.assertEqual(other.ask("GET", "/x").status, 200)
                chunked.send(part)
                long.send(b"y" * 1000)
            chunked.send(b"\r\n" + chunked.request("GET", "/last"))
            self.assertEqual(chunked.read().body, b"abcdefg")
            self.assertEqual(chunked.read().body, b"GET /last?\n")
            long.send(b"y" * 46000)
            self.assertEqual(long.read().body, b"y" * 50000)

    def test_who_sends_a_short_body_slowly_is_shed_like_one_that_idles(self):
        with Server("talk", conf(connections=4)) as server:
            slow, *others = self.clients(server, 4)
            slow.send(slow.request("GET", "/first") + slow.request("POST", "/echo", [("Content-Length", "10")]) + b"123")
            self.assertEqual(slow.read().status, 200)
            for client in others:
                self.assertEqual(client.ask("GET", "/x").status, 200)
            newcomer = self.clients(server, 1)[0]
            self.assertEqual(newcomer.ask("GET", "/x").status, 200)
            self.assertTrue(slow.ended())

    def test_those_who_wait_are_served_in_order(self):
        with Server("talk", conf(queue=8, wait="60s")) as server:
            (holder,) = self.holders(server, 1)
            clients = self.clients(server, 4)
            for i, client in enumerate(clients):
                client.send(client.request("GET", f"/{i}"))
            began = time.monotonic()
            time.sleep(0.1)
            waited_ns = (time.monotonic() - began) * 1e9
            self.assertEqual(holder.release().status, 200)
            for client in clients:
                self.assertEqual(client.read().status, 200)
            lines = server.wait_lines(5)
            self.assertEqual([line["path"] for line in lines], ["/echo", "/0", "/1", "/2", "/3"])
            # From when the server saw it, which may be late, to when the holder was done.
            self.assertGreater(lines[1]["wait_ns"], 0)
            self.assertLess(lines[0]["wait_ns"], waited_ns)

    def test_a_full_line_is_503_and_so_is_a_wait_that_is_too_long(self):
        with Server("talk", conf(queue=1, wait="400ms")) as server:
            (holder,) = self.holders(server, 1)
            waiter, third = self.clients(server, 2)
            begun = time.monotonic()
            waiter.send(waiter.request("GET", "/waiter"))
            third.send(third.request("GET", "/third"))
            answers = third.read(), waiter.read()
            self.assertEqual([answer.status for answer in answers], [503, 503])
            self.assertEqual([answer.headers["retry-after"] for answer in answers], ["1", "1"])
            self.assertGreater(time.monotonic() - begun, 0.39)
            self.assertEqual(holder.release().status, 200)
            lines = [(line["path"], line.get("cause")) for line in server.wait_lines(3)]
            self.assertEqual(lines, [("/third", "busy"), ("/waiter", "busy-wait"), ("/echo", None)])

    def test_a_bucket_that_comes_free_goes_to_the_line_before_newcomers(self):
        with Server("talk", conf(queue=1, wait="60s")) as server:
            (holder,) = self.holders(server, 1)
            (waiter,) = self.clients(server, 1)
            waiter.send(waiter.request("GET", "/waiter"))
            self.full(server)
            # Pipelined behind the holder's body: it comes exactly when its bucket is free.
            holder.send(b"x" + holder.request("GET", "/again"))
            self.assertEqual(holder.read().body, b"x")
            self.assertEqual(waiter.read().status, 200)
            self.assertEqual(holder.read().body, b"GET /again?\n")
            served = wait_until(
                lambda: (found := [line["path"] for line in server.lines() if not line.get("cause")])[2:] and found, "their lines")
            # Who found the line not yet full was served before.
            self.assertEqual([path for path in served if path != "/full"], ["/echo", "/waiter", "/again"])

    def test_a_waiter_that_goes_away_leaves_the_line(self):
        with Server("talk", conf(queue=1, wait="60s")) as server:
            (holder,) = self.holders(server, 1)
            waiter, third = self.clients(server, 2)
            waiter.send(waiter.request("GET", "/waiter"))
            self.full(server)
            waiter.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
            waiter.socket.close()
            # Its place is free for one, who then waits: 503 until then, and no answer after.
            third.socket.settimeout(0.2)

            def waits():
                try:
                    third.send(third.request("GET", "/third"))
                    return third.read().status == 200
                except TimeoutError:
                    return True

            wait_until(waits, "a place in the line")
            third.socket.settimeout(60)
            self.assertEqual(holder.release().status, 200)
            self.assertEqual(third.read().body, b"GET /third?\n")

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
            (holder,) = self.holders(server, 1)
            self.assertEqual(small.ask("GET", "/x").status, 503)
            self.assertEqual(large.ask("GET", "/stream?bytes=10&piece=100000").status, 200)
            self.assertEqual(holder.release().status, 200)
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
            new = self.clients(server, 3)
            for client in new:
                self.assertEqual(client.ask("GET", "/x").status, 200)
            self.assertEqual([client.ended() for client in idle[:3]], [True] * 3)
            self.assertEqual([client.ask("GET", "/x").status for client in idle[3:]], [200] * 5)

    def test_connections_with_a_bucket_are_never_shed(self):
        with Server("talk", conf(connections=4, count=4)) as server:
            busy = self.holders(server, 4)
            late = Client(server.port)  # stays in the kernel's queue
            self.addCleanup(late.socket.close)
            late.send(late.request("GET", "/late"))
            self.assertEqual([client.release().status for client in busy], [200] * 4)
            for client in busy:
                client.socket.close()
            self.assertEqual(late.read().body, b"GET /late?\n")

    # -- patience with slow clients

    def cut(self, server, cause):
        """Whom that befell, once the log has it: its line follows the next one's answer."""
        deadline = time.monotonic() + 5
        while True:
            paths = [line["path"] for line in server.lines() if line.get("cause") == cause]
            if paths or time.monotonic() > deadline:
                return paths
            time.sleep(0.01)

    def test_a_slow_body_makes_room_for_who_waits(self):
        with Server("talk", conf(queue=1, wait="60s", patience="50ms")) as server:
            (holder,) = self.holders(server, 1)
            self.assertEqual(server.get("/x").status, 200)
            answer = holder.read()
            self.assertEqual((answer.status, answer.headers["connection"]), (408, "close"))
            self.assertEqual(self.cut(server, "slow-body"), ["/echo"])

    def test_a_body_that_trickles_is_no_progress(self):
        with Server("talk", conf(queue=4, wait="60s", patience="300ms")) as server:
            (slow,) = self.clients(server, 1)
            slow.hold("/echo", length=1000)
            (waiter,) = self.clients(server, 1)
            waiter.send(waiter.request("GET", "/x"))
            waiter.socket.settimeout(0.02)

            def served():
                try:
                    return waiter.read().status == 200
                except TimeoutError:
                    slow.send(b"x")  # 1000 of these would take 20 s
                    return False

            wait_until(served, "an answer")
            self.assertEqual(slow.read().status, 408)
            self.assertEqual(self.cut(server, "slow-body"), ["/echo"])

    def test_a_slow_reader_makes_room_for_who_waits(self):
        with Server("talk", conf(queue=1, wait="60s", patience="50ms")) as server:
            (slow,) = self.clients(server, 1)
            slow.send(slow.request("GET", "/stream?bytes=30000000&piece=50000"))
            slow.until(b"\r\n\r\n")  # it has begun, and nothing more is read
            self.assertEqual(server.get("/x").status, 200)
            self.assertEqual(self.cut(server, "slow-reader"), ["/stream"])

    def test_of_several_the_one_that_has_waited_longest_is_ended(self):
        with Server("talk", conf(queue=8, wait="60s", patience="300ms", count=3)) as server:
            first, *others = self.holders(server, 3)
            self.assertEqual(server.get("/x").status, 200)
            self.assertEqual(first.read().status, 408)
            self.assertEqual([client.release().status for client in others], [200, 200])

    def test_while_no_one_waits_it_is_endless(self):
        with Server("talk", conf(queue=1, wait="60s", patience="50ms", count=2)) as server:
            (holder,) = self.holders(server, 1)
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                self.assertEqual(server.get("/x").status, 200)
            self.assertEqual(holder.release().status, 200)

    def test_a_request_that_waits_for_no_client_is_left_alone(self):
        with Server("talk", conf(queue=1, wait="60s", patience="50ms")) as server:
            sleeper, waiter = self.clients(server, 2)
            sleeper.send(sleeper.request("GET", "/sleep?ms=500"))
            waiter.send(waiter.request("GET", "/x"))
            self.assertEqual(sleeper.read().body, b"slept\n")
            self.assertEqual(waiter.read().status, 200)

    def test_more_slow_clients_than_buckets_and_places_keep_no_one_out(self):
        with Server("talk", conf(queue=4, wait="60s", patience="100ms", count=4)) as server:
            slow = self.clients(server, 8)
            for client in slow:
                client.send(client.request("POST", "/echo", [("Content-Length", "1000"), ("Expect", "100-continue")]))
            good = self.clients(server, 1)[0]
            wait_until(lambda: good.ask("GET", "/x").status == 200, "a place and a bucket")
            # Whoever waited had one ended; the last have their buckets still.
            wait_until(lambda: len(self.cut(server, "slow-body")) >= 3, "their ends")
            for client in slow:
                client.socket.close()
            self.assertEqual([good.ask("GET", "/x").status for _ in range(20)], [200] * 20)

    # -- what one address may hold

    def test_an_address_has_so_many_requests_and_others_the_rest(self):
        with Server("talk", conf(queue=8, wait="60s", count=3, more="per_address = 2")) as server:
            holders = self.holders(server, 2)
            with server.client() as third:
                answer = third.ask("GET", "/x")
                self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
                self.assertIn(b"address", answer.body)
                with server.client(source="127.0.0.2") as other:
                    self.assertEqual([other.ask("GET", "/x").status for _ in range(5)], [200] * 5)
                self.assertEqual(holders[0].release().status, 200)
                self.assertEqual([third.ask("GET", "/x").status for _ in range(5)], [200] * 5)
                self.assertEqual(holders[0].ask("POST", "/echo", body=b"x").status, 200)
            self.assertEqual(holders[1].release().status, 200)
            self.assertEqual(self.cut(server, "per-address"), ["/x"])

    def test_the_line_counts_for_the_address_too(self):
        with Server("talk", conf(queue=8, wait="60s", more="per_address = 2")) as server:
            (holder,) = self.holders(server, 1)
            waiter, third = self.clients(server, 2)
            waiter.send(waiter.request("GET", "/waiter"))

            def refused():
                with server.client() as client:
                    client.send(client.request("GET", "/x"))
                    client.socket.settimeout(0.2)
                    try:
                        return client.read().status == 503
                    except TimeoutError:  # it was before the waiter; now it has gone
                        return False

            wait_until(refused, "two of them")
            self.assertEqual(holder.release().status, 200)
            self.assertEqual(waiter.read().status, 200)
            self.assertEqual(third.ask("GET", "/x").status, 200)

    def test_who_gives_up_waiting_is_not_counted_any_more(self):
        with Server("talk", conf(queue=8, wait="50ms", more="per_address = 2")) as server:
            (holder,) = self.holders(server, 1)
            waiter = self.clients(server, 1)[0]
            for _ in range(4):  # each waits, is 503, and is not there any more
                self.assertIn(b"bucket", waiter.ask("GET", "/waiter").body)
            self.assertEqual(holder.release().status, 200)
            self.assertEqual({line.get("cause") for line in server.wait_lines(5)}, {"busy-wait", None})

    def test_an_address_has_so_many_connections_and_others_the_rest(self):
        with Server("talk", conf(count=8, more="connections_per_address = 3")) as server:
            clients = self.clients(server, 3)
            for client in clients:
                self.assertEqual(client.ask("GET", "/x").status, 200)
            with server.client() as fourth:
                self.assertTrue(fourth.ended())
            with server.client(source="127.0.0.2") as other:
                self.assertEqual(other.ask("GET", "/x").status, 200)
            self.assertEqual([client.ask("GET", "/x").status for client in clients], [200] * 3)
            clients[0].socket.close()

            def room():
                try:
                    return server.get("/x").status == 200
                except (Closed, OSError):
                    return False

            wait_until(room, "the place of the one that left")

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
