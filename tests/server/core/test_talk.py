#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Conversations: keep-alive, pipelining, bodies, streams, timeouts."""
import os
import socket
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, Closed, Server, wait_until

CONF = """
[bucket main]
size = 256K
count = 8
"""
# For what is to be late: a client that the machine keeps waiting is not meant.
IMPATIENT = """
[server]
head_timeout = 1s
body_timeout = 1s
write_timeout = 1s
idle_timeout = 2s
patience = 0
""" + CONF


class Conversation(unittest.TestCase):
    conf = CONF

    @classmethod
    def setUpClass(cls):
        cls.server = Server("talk", cls.conf)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def client(self):
        client = self.server.client()
        self.addCleanup(client.socket.close)
        return client


class Talk(Conversation):
    def test_a_connection_serves_many_requests(self):
        client = self.client()
        for i in range(300):
            answer = client.ask("GET", f"/n{i}?q={i}")
            self.assertEqual(answer.body, f"GET /n{i}?q={i}\n".encode())
            self.assertRegex(answer.headers["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_pipelined_requests_are_answered_in_order(self):
        client = self.client()
        bodies = [os.urandom(i * 7 % 900) for i in range(200)]
        client.send(b"".join(client.request("POST", "/echo", body=body) for body in bodies))
        for body in bodies:
            self.assertEqual(client.read().body, body)

    def test_a_request_may_come_byte_by_byte(self):
        client = self.client()
        for byte in client.request("POST", "/echo?x", [("X-A", "b")], b"hello"):
            client.send(bytes([byte]))
        self.assertEqual(client.read().body, b"hello")

    def test_pipelined_requests_are_whole_wherever_the_reads_cut_them(self):
        data = b""
        client = self.client()
        for i in range(20):
            data += client.request("POST", "/echo", [("X-Fill", "x" * 300)], b"%d" % i * 50)
        for cut in range(1, 2000, 97):
            client = self.client()
            for at in range(0, len(data), cut):
                client.send(data[at : at + cut])
            for i in range(20):
                self.assertEqual(client.read().body, b"%d" % i * 50)

    def test_bodies_of_both_framings_come_whole(self):
        client = self.client()
        for size in (0, 1, 511, 512, 4096, 5000, 65536, 100000):
            body = os.urandom(size)
            for path in ("/echo", "/echo-pieces", "/echo-pieces?piece=1") if size < 5001 else ("/echo", "/echo-pieces"):
                with self.subTest(size=size, path=path):
                    self.assertEqual(client.ask("POST", path, body=body).body, body)
                    text = b""
                    for at in range(0, size, 1000):
                        text += b"%x;ext=1\r\n" % len(body[at : at + 1000]) + body[at : at + 1000] + b"\r\n"
                    text += b"0\r\nX-Trailer: 1\r\n\r\n"
                    text = client.request("POST", path, [("Transfer-Encoding", "chunked")]) + text
                    # The answer comes while the body goes.
                    sender = threading.Thread(target=client.send, args=(text,))
                    sender.start()
                    self.assertEqual(client.read().body, body)
                    sender.join()

    def test_a_body_that_no_one_reads_is_passed_over(self):
        client = self.client()
        for size in (0, 10, 60000):
            self.assertEqual(client.ask("POST", "/ignore-body", body=b"x" * size).body, b"ignored\n")
            self.assertEqual(client.ask("GET", "/next").body, b"GET /next?\n")

    def test_a_long_body_that_no_one_reads_ends_the_connection_after_the_answer(self):
        client = self.client()
        answer = client.ask("POST", "/ignore-body", body=b"x" * 150000)
        self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
        self.assertTrue(client.ended())

    def test_a_body_larger_than_the_bucket_is_refused_before_it_is_read(self):
        client = self.client()
        client.send(client.request("POST", "/echo", [("Content-Length", "300000"), ("Expect", "100-continue")]))
        self.assertEqual(client.read().status, 413)
        self.assertTrue(client.ended())
        client = self.client()
        client.send(client.request("POST", "/echo", [("Transfer-Encoding", "chunked")]))
        answer = None
        try:
            for _ in range(270):
                client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = client.read()
        self.assertEqual(answer.status, 413)

    def test_expect_100_continue_is_honoured_when_the_body_is_asked_for(self):
        client = self.client()
        client.send(client.request("POST", "/echo", [("Content-Length", "5"), ("Expect", "100-continue")]))
        self.assertEqual(client.read().status, 100)
        client.send(b"12345")
        self.assertEqual(client.read().body, b"12345")
        client.send(client.request("POST", "/ignore-body", [("Content-Length", "5"), ("Expect", "100-continue")]))
        answer = client.read()
        self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))

    def test_head_has_the_heads_of_get_and_no_body(self):
        client = self.client()
        for target in ("/headers", "/stream?bytes=5000"):
            get, head = client.ask("GET", target), client.ask("HEAD", target)
            self.assertEqual(head.headers.get("content-length"), get.headers.get("content-length"))
        self.assertEqual(client.ask("HEAD", "/stream?bytes=100000").status, 200)
        self.assertEqual(client.ask("GET", "/still").status, 200)

    def test_long_responses_stream(self):
        client = self.client()
        for size in (6015, 6016, 6017, 12032, 100000, 3000000):
            for piece in (1, 1000, 6016, 50000):
                if piece == 1 and size > 100000:
                    continue
                with self.subTest(size=size, piece=piece):
                    answer = client.ask("GET", f"/stream?bytes={size}&piece={piece}")
                    self.assertEqual(len(answer.body), size)
                    whole = bytes(ord("a") + i % piece % 26 for i in range(min(size, 2 * piece)))
                    self.assertEqual(answer.body[: len(whole)], whole)

    def test_http_1_0_gets_a_stream_that_ends_with_the_connection(self):
        client = self.client()
        client.send("GET /stream?bytes=50000 HTTP/1.0\r\n\r\n")
        answer = client.read()
        self.assertEqual(len(answer.body), 50000)
        self.assertNotIn("transfer-encoding", answer.headers)
        client = self.client()
        client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertEqual(client.read().headers["connection"], "keep-alive")
        client.send("GET /y HTTP/1.0\r\n\r\n")
        self.assertEqual(client.read().body, b"GET /y?\n")
        self.assertTrue(client.ended())

    def test_a_handlers_length_is_held_to(self):
        client = self.client()
        answer = client.ask("GET", "/stream-length?bytes=50000&give=50000")
        self.assertEqual((answer.headers["content-length"], len(answer.body)), ("50000", 50000))
        with self.assertRaises(Closed):
            client.ask("GET", "/stream-length?bytes=50000&give=40000")

    def test_headers_reach_the_handler_and_bad_ones_no_client(self):
        client = self.client()
        answer = client.ask("GET", "/headers", [("X-One", "1"), ("x-two", " spaced  ")])
        self.assertEqual(answer.body, b"Host=test\nX-One=1\nx-two=spaced\n")
        answer = client.ask("GET", "/refused-headers")
        self.assertEqual((answer.body, answer.headers.get("x-good")), (b"5\n", "yes"))
        self.assertNotIn("x-evil", answer.headers)

    def test_statuses_without_a_body_have_none(self):
        client = self.client()
        for status in (204, 304, 404, 500):
            answer = client.ask("GET", f"/status?is={status}")
            self.assertEqual(answer.status, status)
            self.assertEqual("content-length" in answer.headers, status not in (204, 304))
        for status in (0, 100, 199, 600, 99999):
            self.assertEqual(client.ask("GET", f"/status?is={status}").status, 500)

    def test_a_half_closed_client_gets_its_answers(self):
        client = self.client()
        client.send(client.request("GET", "/a") + client.request("GET", "/sleep?ms=50") + client.request("GET", "/c"))
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual([client.read().body for _ in range(3)], [b"GET /a?\n", b"slept\n", b"GET /c?\n"])
        self.assertTrue(client.ended())

    def test_garbage_is_400_and_the_connection_ends(self):
        for text in ("\0\1\2\3\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
            client = self.client()
            client.send(text)
            self.assertEqual(client.read().status, 400)
            self.assertTrue(client.ended())

    def test_a_head_that_is_too_long_is_refused(self):
        client = self.client()
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + "x" * 9000 + "\r\n\r\n")
        self.assertEqual(client.read().status, 431)
        client = self.client()
        client.send("GET /" + "x" * 9000)
        self.assertEqual(client.read().status, 414)

    def test_what_was_written_under_a_status_without_a_body_is_not_announced(self):
        with self.client() as client:
            answer = client.ask("GET", "/status-twice")
            self.assertEqual((answer.status, answer.body), (200, b""))
            self.assertEqual(client.ask("GET", "/x").status, 200)

    def test_an_empty_file_is_not_held_back(self):
        # A head sent with MSG_MORE and nothing behind it waits 200 ms in the kernel.
        with tempfile.TemporaryDirectory() as folder:
            open(f"{folder}/empty.txt", "w", encoding="ascii").close()
            with Server(folder, CONF) as server, server.client() as client:
                times = []
                for _ in range(5):
                    began = time.monotonic()
                    answer = client.ask("GET", "/empty.txt")
                    times.append(time.monotonic() - began)
                    self.assertEqual((answer.status, answer.body), (200, b""))
                self.assertLess(min(times), 0.15)

    def test_a_client_that_goes_away_gives_its_bucket_back(self):
        for _ in range(50):
            client = self.server.client()
            client.send(client.request("POST", "/echo", [("Content-Length", "100")]) + b"12")
            client.socket.close()
            client = self.server.client()
            client.send(client.request("GET", "/stream?bytes=1000000"))
            client.socket.close()
        self.assertEqual(self.client().ask("GET", "/good").status, 200)


class Late(Conversation):
    conf = IMPATIENT

    def test_a_slow_head_is_408(self):
        client = self.client()
        client.send("GET / HTTP/1.1\r\nHost:")
        begun = time.monotonic()
        self.assertEqual(client.read().status, 408)
        self.assertGreater(time.monotonic() - begun, 0.9)
        self.assertTrue(client.ended())

    def test_a_slow_body_is_408(self):
        client = self.client()
        client.send(client.request("POST", "/echo", [("Content-Length", "10")]) + b"12")
        self.assertEqual(client.read().status, 408)
        self.assertTrue(client.ended())

    def test_a_body_that_trickles_is_408(self):
        with self.client() as client:
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
            began = time.monotonic()
            client.socket.settimeout(0.3)
            for _ in range(100):  # each byte well within the timeout
                try:
                    client.send(b"x")
                    client.more()
                    break
                except TimeoutError:
                    continue
            client.socket.settimeout(PATIENCE)
            self.assertEqual(client.read().status, 408)
            self.assertLess(time.monotonic() - began, 20)  # all of it would have come in 30

    def test_an_idle_connection_is_closed(self):
        client = self.client()
        begun = time.monotonic()
        client.ask("GET", "/x")
        self.assertTrue(client.ended())
        self.assertGreater(time.monotonic() - begun, 1.9)

    def test_a_client_that_does_not_read_gives_its_bucket_back(self):
        clients = [self.client() for _ in range(8)]
        for client in clients:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(client.request("GET", "/stream?bytes=30000000&piece=50000"))
        good = self.client()
        wait_until(lambda: good.ask("GET", "/good").status == 200, "a bucket")
        wait_until(lambda: "write-timeout" in [line.get("cause") for line in self.server.lines()], "a line of it")


class Batch(unittest.TestCase):
    """Answers to pipelined requests leave together, but none waits for long."""

    def test_an_answer_does_not_wait_for_one_that_sleeps(self):
        with Server("talk") as server, server.client() as client:
            client.send(client.request("GET", "/a") + client.request("GET", "/sleep?ms=3000") + client.request("GET", "/b"))
            begun = time.monotonic()
            self.assertEqual(client.read().body, b"GET /a?\n")
            self.assertLess(time.monotonic() - begun, 2.5)

    def one_beside_many(self):
        """The paths as they were served, of one connection's batch and of another's request,
        which came while the first of them ran; or None: it came too late for that."""
        with Server("talk") as server, server.client() as many, server.client() as one:
            for client in (many, one):
                client.ask("GET", "/here")
            many.send(many.request("GET", "/spin?ms=300") + many.request("GET", "/spin?ms=2") * 30)
            one.send(one.request("GET", "/one"))
            many.socket.setblocking(False)
            try:
                many.socket.recv(1)
                return None
            except BlockingIOError:
                many.socket.settimeout(PATIENCE)
            return [line["path"] for line in server.wait_lines(34)[2:]]

    def test_one_request_is_served_before_the_rest_of_a_long_batch(self):
        served = wait_until(self.one_beside_many, "a request while another runs")
        self.assertEqual(served.count("/spin"), 31)
        self.assertLess(served.index("/one"), 6)

    def test_they_are_in_order_whatever_ends_them(self):
        with Server("talk", "[server]\nsndbuf = 4608\n") as server:
            for last, status in ((b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200), (b"BAD\r\n\r\n", 400),
                                 (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n", 413)):
                with server.client() as client:
                    client.send(b"".join(client.request("GET", f"/{number}") for number in range(100)) + last)
                    for number in range(100):
                        self.assertEqual(client.read().body, b"GET /%d?\n" % number)
                    self.assertEqual(client.read().status, status)
                    self.assertTrue(client.ended(20))


if __name__ == "__main__":
    unittest.main(verbosity=2)
