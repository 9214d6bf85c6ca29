#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Calls that wait inside a handler let the other requests of the one thread run."""
import errno
import os
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "core"))

from harness import BUILD, SANITIZED, Closed, Server  # noqa: E402

APP = f"{BUILD}/tests/server/aio/calls.so"
CONF = """
[server]
threads = 1
outgoing = {outgoing}
outgoing_wait = {wait}
wall_deadline = {deadline}
[bucket main]
size = 512K
count = 16
"""


def serve(outgoing=32, wait="5s", deadline="60s", options=("--no-supervisor",), extra=""):
    conf = CONF.format(outgoing=outgoing, wait=wait, deadline=deadline)
    return Server(APP, conf.replace("[bucket", extra + "[bucket"), options=options)


class Calls(unittest.TestCase):
    def fine(self, server, target):
        self.assertEqual(server.get(target).body, b"fine", target)

    def waits_for(self, server, waiting, waking):
        """The first is waiting while the second is answered, and is answered then."""
        with server.client() as client:
            client.send(client.request("GET", waiting))
            time.sleep(0.02)
            self.fine(server, waking)
            self.assertEqual(client.read().body, b"fine", waiting)

    def test_reading_waits_for_another_request_of_the_same_thread(self):
        with serve() as server:
            for kind in ("socket", "pipe"):
                self.fine(server, f"/pair?{kind}")
                for how in ("read", "readv", "poll", "ppoll", "select", "epoll"):
                    self.waits_for(server, f"/read/{how}", "/hello")
                if kind == "socket":
                    for how in ("recv", "recvfrom", "recvmsg"):
                        self.waits_for(server, f"/read/{how}", "/hello")
                self.fine(server, "/drop")

    def test_writing_waits_until_all_of_it_is_taken(self):
        with serve() as server:
            for kind in ("socket", "pipe"):
                self.fine(server, f"/pair?{kind}")
                for how in ("write", "writev"):
                    self.waits_for(server, f"/write/{how}", "/take")
                if kind == "socket":
                    for how in ("send", "sendto", "sendmsg"):
                        self.waits_for(server, f"/write/{how}", "/take")
                self.fine(server, "/drop")

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, no socket is counted, and accept is libc's")
    def test_accepting_waits_and_connecting_too(self):
        with serve() as server, server.client() as client:
            client.send(client.request("GET", "/accept"))
            deadline = time.monotonic() + 20
            while (body := server.get("/dial").body) == b"nobody" and time.monotonic() < deadline:
                pass
            self.assertEqual(body, b"fine")
            self.assertEqual(client.read().body, b"fine")
            self.fine(server, "/refused")

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, no socket is counted")
    def test_time_limits_of_sockets_and_descriptors_of_every_kind(self):
        with serve() as server:
            self.fine(server, "/timeouts")
            self.fine(server, "/kinds")

    def test_many_wait_at_once_for_one_descriptor(self):
        with serve() as server:
            self.fine(server, "/pair?socket")
            clients = [server.client() for _ in range(8)]
            for client in clients:
                client.send(client.request("GET", "/read/poll"))
            for _ in clients:
                self.fine(server, "/hello")
            self.assertEqual([client.read().body for client in clients], [b"fine"] * 8)
            for client in clients:
                client.socket.close()
            self.fine(server, "/drop")
            server.stop()
            self.assertGreaterEqual(server.lines()[-1]["io_waiting_peak"], 2)

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, locks are not counted")
    def test_a_mutex_held_across_a_wait_keeps_out_the_others(self):
        with serve() as server:
            self.fine(server, "/pair?socket")
            clients = [server.client() for _ in range(4)]
            for client in clients:
                client.send(client.request("GET", "/locked"))
            self.assertEqual([client.read().body for client in clients], [b"fine"] * 4)
            for client in clients:
                client.socket.close()

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, no descriptor is noted")
    def test_a_deadline_that_passes_while_waiting_leaves_nothing(self):
        with serve(deadline="300ms") as server:
            server.get("/kinds")
            before = server.descriptors()
            for how in range(3):
                clients = [server.client() for _ in range(5)]
                for client in clients:
                    client.send(client.request("GET", f"/stuck?{how}"))
                self.assertEqual([client.read().status for client in clients], [504] * 5)
                for client in clients:
                    client.socket.close()
            self.settles(server, before)
            server.stop()
            end = server.lines()[-1]
            self.assertEqual((end["outgoing"], end["failed"], end["io_waiting_peak"]), (0, 15, 5))

    def settles(self, server, before):
        """Once the connections are gone the descriptors are those that were there before."""
        deadline = time.monotonic() + 20
        while server.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertLessEqual(server.descriptors(), before)

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, no descriptor is noted")
    def test_a_client_that_is_gone_is_not_waited_for(self):
        with serve() as server:
            server.get("/kinds")
            before = server.descriptors()
            clients = [server.client() for _ in range(16)]
            for how, client in enumerate(clients):
                client.send(client.request("GET", f"/stuck?{how % 3}"))
            time.sleep(0.2)
            for client in clients:  # a reset
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.socket.close()
            self.settles(server, before)
            # All sixteen buckets are free again.
            self.fine(server, "/kinds")
            lines = server.wait_lines(18)
            self.assertEqual(sum(line.get("cause") == "client-gone" for line in lines), 16)

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, no socket is counted")
    def test_sockets_are_limited_and_waited_for(self):
        with serve(outgoing=8, wait="20s") as server, server.client() as one, server.client() as two:
            one.send(one.request("GET", "/hold?8"))
            time.sleep(0.05)
            two.send(two.request("GET", "/hold?4"))
            self.assertEqual(one.read().body, b"8 0")
            self.assertEqual(two.read().body, b"4 0")  # after the other had closed its own
            server.stop()
            self.assertEqual(server.lines()[-1]["outgoing_peak"], 8)

    @unittest.skipIf(SANITIZED, "where malloc is the sanitizer's, no socket is counted")
    def test_no_socket_left_is_a_clear_error(self):
        with serve(outgoing=2, wait="20ms") as server:
            self.assertEqual(server.get("/hold?3").body, b"2 %d" % errno.ENOBUFS)
            self.assertEqual(server.get("/hold?2").body, b"2 0")
            self.assertIn("raise [server] outgoing", server.errors())
        with serve(outgoing=0) as server:
            self.assertEqual(server.get("/hold?1").body, b"0 %d" % errno.ENOBUFS)

    def test_names_are_looked_up(self):
        seal = () if SANITIZED else ("--seal",)  # a sanitizer maps memory as it goes
        with serve(options=("--no-supervisor", *seal)) as server:
            self.assertIn(b"127.0.0.1", server.get("/names?localhost").body.split())
            self.assertEqual(server.get("/names?127.0.0.1").body, b"127.0.0.1 ")
            self.assertEqual(server.get("/names?::1").body, b"::1 ")
            clients = [server.client() for _ in range(16)]
            for client in clients:
                client.send(client.request("GET", "/names?localhost") * 2)
            for client in clients:
                for _ in range(2):
                    self.assertIn(b"127.0.0.1", client.read().body.split())
                client.socket.close()

    def test_without_resolvers_only_numbers_are_known(self):
        with serve(extra="resolvers = 0\n") as server:
            self.assertEqual(server.get("/names?127.0.0.1").body, b"127.0.0.1 ")
            self.assertIn(b"emporary failure", server.get("/names?localhost").body)


if __name__ == "__main__":
    unittest.main(verbosity=2)
