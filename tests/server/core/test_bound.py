#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Under attack, in a memory cgroup of exactly the bound, socket buffers counted."""
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest

from harness import SANITIZED, SERVER, Closed, Server

CONF = """
[server]
connections = 600
threads = 1
queue = 64
head_timeout = 2s
body_timeout = 2s
write_timeout = 2s
cpu_deadline = 300ms
[bucket main]
size = 256K
count = 32
"""

GROUPS = "/sys/fs/cgroup/memory"


def bound_terms():
    return bound_json()["terms"]


def bound():
    return bound_json()["bound_bytes"]


def bound_json():
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(CONF)
        file.flush()
        done = subprocess.run([SERVER, "-c", file.name, "--print-bound", "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)


class Group:
    """A cgroup v1 of so many bytes, the kernel's memory and sockets included."""

    def __init__(self, limit):
        self.path = f"{GROUPS}/pail-test-{os.getpid()}"
        os.mkdir(self.path)
        self.write("memory.limit_in_bytes", limit)
        if os.path.exists(f"{self.path}/memory.kmem.tcp.limit_in_bytes"):
            self.write("memory.kmem.tcp.limit_in_bytes", limit)

    def write(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def read(self, name):
        with open(f"{self.path}/{name}", encoding="ascii") as file:
            return int(file.read())

    def remove(self):
        for _ in range(100):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.05)


@unittest.skipIf(SANITIZED, "a sanitizer's memory fits no bound")
@unittest.skipUnless(os.access(GROUPS, os.W_OK) and os.path.exists(f"{GROUPS}/memory.limit_in_bytes"), "no cgroup v1 to write to")
class Bound(unittest.TestCase):
    def test_the_server_lives_within_its_bound_while_it_is_attacked(self):
        limit = bound()
        group = Group(limit)
        self.addCleanup(group.remove)
        wrap = ["sh", "-c", f'echo $$ > {group.path}/cgroup.procs && exec "$0" "$@"']
        with Server("faults", CONF, wrap=wrap, log=False) as server:
            stop = time.monotonic() + 6
            tally = {"good": 0, "busy": 0}

            def attack(targets, partial=b"", read=True):
                held = []
                while time.monotonic() < stop:
                    try:
                        client = server.client()
                        for target in targets:
                            client.send(client.request("GET", target) * 8)
                            if read:
                                client.read()
                        client.send(partial)
                        held.append(client)
                        if len(held) > 80:
                            held.pop(0).socket.close()
                    except (OSError, Closed):
                        pass
                for client in held:
                    client.socket.close()

            def good():
                with server.client() as client:
                    while time.monotonic() < stop:
                        status = client.ask("GET", "/ok").status
                        tally["good" if status == 200 else "busy"] += 1
                        time.sleep(0.005)

            body = b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 60000
            attacks = [
                (["/eat", "/recurse", "/segv"], b"", True),
                (["/late"], b"", False),
                ([], b"GET / HTTP/1.1\r\nHost: slow", True),
                ([], body, True),
                (["/neighbour?ms=20", "/recurse-printing"], b"", False),
            ]
            threads = [threading.Thread(target=attack, args=a) for a in attacks] + [threading.Thread(target=good)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertIsNone(server.process.poll())
            self.assertEqual(server.get("/ok").status, 200)
            self.assertEqual(group.read("memory.failcnt"), 0)
            peak = group.read("memory.max_usage_in_bytes")
            self.assertLess(peak, limit)
            self.assertGreater(peak, 10 << 20, "it was in the group")
            self.assertGreater(tally["good"], 5, "it was served all the while, as often as this machine lets it")

    def test_a_limit_below_what_is_mapped_bites(self):
        """So the limit of the other test is one: the group does count all this."""
        terms = {term["name"]: term["bytes"] for term in bound_terms()}
        mapped = sum(bytes for name, bytes in terms.items() if not name.startswith(("socket", "kernel", "text", "page")))
        group = Group(mapped * 3 // 4)
        self.addCleanup(group.remove)
        wrap = ["sh", "-c", f'echo $$ > {group.path}/cgroup.procs && exec "$0" "$@"']
        with self.assertRaises(RuntimeError):
            Server("faults", CONF, wrap=wrap, log=False)
        self.assertGreater(group.read("memory.failcnt"), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
