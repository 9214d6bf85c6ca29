#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The admin address: its numbers are those that happened, its text is what
Prometheus reads, and neither busy workers nor slow clients keep it from answering."""
import os
import shutil
import signal
import socket
import subprocess
import time
import unittest

from ops import SANITIZED, SERVER, Client, Ops, until

CONF = """[server]
threads = {threads}
queue = {queue}
wait = 20s
wall_deadline = 30s
cpu_deadline = 30s
[bucket small]
size = 16K
count = {count}
[bucket large]
size = 256K
count = {count}
[route GET /stream]
bucket = small
[route /a"b\\c]
bucket = large
"""


def conf(threads=1, queue=0, count=1):
    return CONF.format(threads=threads, queue=queue, count=count)


class Admin(unittest.TestCase):
    def test_the_numbers_are_those_that_happened(self):
        with Ops("talk", conf()) as server:
            for _ in range(5):
                self.assertEqual(server.get("/stream?bytes=100&piece=5000").status, 200)
            server.get("/x")
            with server.client() as client:
                client.send("BAD\r\n\r\n")
                self.assertEqual(client.read().status, 400)
            with server.client() as holder:
                holder.send(holder.request("GET", "/sleep?ms=2000"))
                state = until(lambda: [c for c in server.stats()["classes"] if c["name"] == "small" and c["in_use"] == 1], "one in use")[0]
                self.assertEqual((state["count"], state["in_use_peak"], state["waiting"]), (1, 1, 0))
                self.assertEqual(server.get("/x").status, 503)
                until(lambda: server.stats()["connections"]["open"] == 1, "the other one is gone")
                self.assertEqual(holder.read().status, 200)
            until(lambda: server.stats()["connections"]["open"] == 0, "no connections")
            stats = server.stats()
            self.assertEqual(stats["schema"], "pail.stats/1")
            routes = {route["route"]: route for route in stats["routes"]}
            self.assertEqual(set(routes), {"GET /stream", '/a"b\\c', "(other)", "(none)"})
            self.assertEqual(routes["GET /stream"]["status"], [0, 0, 5, 0, 0, 0])
            self.assertEqual(routes["(other)"]["causes"], {"busy": 1})
            self.assertEqual(routes["(none)"]["causes"], {"bad-request": 1})
            self.assertEqual(stats["requests"], {"started": 7, "failed": 0, "rejected": 1, "refused": 1})
            if not SANITIZED:
                log = [line for line in server.lines() if line["route"] == "GET /stream"]
                self.assertEqual(routes["GET /stream"]["need_bytes_sum"], sum(line["need_bytes"] for line in log))
                self.assertEqual(routes["GET /stream"]["need_peak_bytes"], max(line["need_bytes"] for line in log))
                self.assertEqual(routes["GET /stream"]["need_bytes_bins"][3], 5)  # 4 to 8 KiB
                self.assertEqual(routes["GET /stream"]["stack_peak_bytes"], max(line["stack_peak_bytes"] for line in log))
            self.assertLessEqual(stats["memory"]["region_bytes"], stats["memory"]["bound_bytes"])
            m = server.metrics()
            self.assertEqual(m.of("pail_requests_total", route="GET /stream", status="2xx"), 5)
            self.assertEqual(m.of("pail_rejections_total", route="(other)", cause="busy"), 1)
            self.assertEqual(m.of("pail_requests_total", route='/a"b\\c', status="2xx"), 0)
            self.assertEqual(m.of("pail_buckets", **{"class": "small"}), 1)
            self.assertEqual(m.of("pail_need_bytes_count", route="GET /stream"), 5)
            self.assertEqual(m.of("pail_bound_bytes"), stats["memory"]["bound_bytes"])
            self.assertEqual(m.of("pail_service_seconds_count", route="(other)"), 2)
            self.assertGreater(m.of("process_resident_memory_bytes"), 1 << 20)

    def test_promtool_has_nothing_to_say(self):
        if not shutil.which("promtool"):
            self.skipTest("no promtool here")
        with Ops("talk", conf(threads=1)) as server:
            server.get("/x")
            text = server.admin("/metrics").body
        check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
        self.assertEqual((check.returncode, check.stdout, check.stderr), (0, b"", b""))

    def test_waits_are_counted_by_their_length(self):
        with Ops("talk", conf(queue=1)) as server, server.client() as first, server.client() as second:
            first.send(first.request("GET", "/sleep?ms=700"))
            until(lambda: server.stats()["classes"][0]["in_use"] == 1, "one in use")
            second.send(second.request("GET", "/x"))
            self.assertEqual((first.read().status, second.read().status), (200, 200))
            small = until(lambda: [c for c in server.stats()["classes"] if sum(c["wait_ns_bins"]) == 2], "two")[0]
            self.assertEqual((small["name"], small["waited"]), ("small", 1))
            edges = server.stats()["time_edges_ns"]
            edge = next(i for i, edge in enumerate(edges) if small["wait_ns_max"] <= edge)
            self.assertGreaterEqual(small["wait_ns_bins"][edge], 1)
            self.assertEqual(sum(small["wait_ns_bins"]), 2)

    def test_it_answers_while_every_worker_computes(self):
        with Ops("faults", conf(threads=2, count=2)) as server:
            busy = []
            try:
                # A worker that computes accepts no more, so the other one gets the second.
                for turn in range(2):
                    client = server.client()
                    busy.append(client)
                    client.send(client.request("GET", "/loop"))
                    until(lambda: sum(w["running_ns"] > 0 for w in server.stats()["workers"]) > turn, "it computes")
                for target in ("/health", "/metrics", "/stats", "/"):
                    self.assertEqual(server.admin(target).status, 200)
                self.assertEqual(server.stats()["classes"][0]["in_use"], 2)
            finally:
                for client in busy:
                    client.socket.close()
                server.process.kill()  # not to wait for the deadline
                os.kill(server.pid, signal.SIGKILL)
                server.process.wait()
                server.process.returncode = 0

    def test_clients_that_do_not_read_or_write_hold_up_nobody(self):
        with Ops("talk", conf()) as server:
            slow = [socket.create_connection(("127.0.0.1", server.admin_port)) for _ in range(20)]
            for number, client in enumerate(slow):
                self.addCleanup(client.close)
                if number % 2:
                    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                else:
                    client.sendall(b"GET /metr")
            for _ in range(3):
                self.assertEqual(server.admin("/health").body, b"ready\n")
            # The oldest gave way.
            slow[0].settimeout(20)
            try:
                self.assertEqual(slow[0].recv(1), b"")
            except ConnectionResetError:
                pass

    def test_a_document_is_whole_however_slowly_it_is_read(self):
        routes = "".join(f"[route /{number:03}{'x' * 200}]\nbucket = large\n" for number in range(60))
        with Ops("talk", conf() + routes) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
                client.connect(("127.0.0.1", server.admin_port))
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                data = b""
                while True:
                    piece = client.recv(3000)
                    if not piece:
                        break
                    data += piece
            self.assertTrue(data.endswith(b"\r\n000000\r\n\r\n"))
            self.assertGreater(len(data), 200000)
            self.assertEqual(len([key for key in server.metrics() if key[0] == "pail_need_bytes_count"]), 60 + 3)

    def test_what_it_refuses(self):
        with Ops("talk", conf()) as server:
            self.assertEqual(server.admin("/nothing").status, 404)
            answer = server.admin("/metrics", method="DELETE")
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))
            self.assertEqual(server.admin("/metrics", method="HEAD").status, 200)
            with Client(server.admin_port) as client:
                client.send("GET /\r\n\r\n")
                self.assertEqual(client.read().status, 400)
            with Client(server.admin_port) as client:
                client.send("GET /health HTTP/1.1\r\nHost: a\r\n" + "x: y\r\n" * 800)
                self.assertIn(client.read().status, (431,))
            with Client(server.admin_port) as client:
                client.send("GET /metrics HTTP/1.0\r\n\r\n")
                answer = client.read()
                self.assertNotIn("transfer-encoding", answer.headers)
                self.assertIn(b"\npail_bound_bytes ", answer.body)

    def test_health_says_that_it_drains(self):
        with Ops("talk", conf()) as server, server.client() as client:
            client.send(client.request("GET", "/sleep?ms=1500"))
            until(lambda: server.stats()["classes"][0]["in_use"] == 1, "one in use")
            server.process.send_signal(signal.SIGTERM)
            answer = until(lambda: (lambda a: a if a.status == 503 else None)(server.admin("/health")), "draining")
            self.assertEqual(answer.body, b"draining\n")
            self.assertEqual(server.stats()["state"], "draining")
            self.assertEqual(server.metrics().of("pail_ready"), 0)
            self.assertEqual(client.read().status, 200)

    def test_only_loopback_unless_said_otherwise(self):
        def check(words):
            with open("/dev/null", "wb") as null:
                import tempfile
                with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
                    file.write("[server]\n" + words)
                    file.flush()
                    return subprocess.run([SERVER, "-c", file.name, "--check"], stdout=null, stderr=subprocess.PIPE, timeout=60)
        for address in ("0.0.0.0:0", "192.0.2.1:80", "127.x.example.org:80", "[::]:80", ":80"):
            result = check(f"threads = 1\nadmin = {address}\n")
            self.assertEqual(result.returncode, 3, address)
            self.assertIn(b":3: [server] admin: ", result.stderr)
        self.assertEqual(check("admin = 0.0.0.0:0\nadmin_remote = yes\n").returncode, 0)
        self.assertEqual(check("admin = [::1]:0\n").returncode, 0)

    def test_its_memory_is_a_term_of_the_bound(self):
        with Ops("talk", conf()) as server:
            with_it = server.stats()["memory"]
        with Ops("talk", conf(threads=1).replace("[server]", "[server]\nadmin = 127.0.0.1:0\nadmin_remote = yes")) as server:
            self.assertEqual(server.stats()["memory"]["bound_bytes"], with_it["bound_bytes"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
