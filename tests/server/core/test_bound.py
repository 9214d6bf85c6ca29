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

from harness import SANITIZED, SERVER, Closed, Server, wait_until

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

ATTACK_S = float(os.environ.get("PAIL_ATTACK_SECONDS", "6"))
ROOT = "/sys/fs/cgroup"


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
    """A cgroup of so many bytes, the kernel's memory and sockets included."""

    PARENT, LIMIT, PEAK, NOW = f"{ROOT}/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.usage_in_bytes"

    def __init__(self, limit):
        self.path = f"{self.PARENT}/pail-test-{os.getpid()}"
        os.mkdir(self.path)
        try:
            self.write(self.LIMIT, limit)
            self.prepare(limit)
        except OSError:
            self.remove()
            raise

    def prepare(self, limit):
        """Version 1 counts sockets apart, if it was built so."""
        if os.path.exists(f"{self.path}/memory.kmem.tcp.limit_in_bytes"):
            self.write("memory.kmem.tcp.limit_in_bytes", limit)

    @classmethod
    def possible(cls):
        return os.access(cls.PARENT, os.W_OK) and os.path.exists(f"{cls.PARENT}/{cls.LIMIT}")

    def write(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def read(self, name):
        with open(f"{self.path}/{name}", encoding="ascii") as file:
            return int(file.read())

    def processes(self):
        with open(f"{self.path}/cgroup.procs", encoding="ascii") as file:
            return [int(pid) for pid in file]

    def refusals(self):
        """How often the limit stood in the way."""
        return self.read("memory.failcnt")

    def kills(self):
        return None  # not told

    def peak(self):
        return self.read(self.PEAK)

    def now(self):
        return self.read(self.NOW)

    def sockets(self):
        """Bytes of socket buffers; 0 where they are not counted."""
        name = "memory.kmem.tcp.usage_in_bytes"
        return self.read(name) if os.path.exists(f"{self.path}/{name}") else 0

    def around(self):
        """The words that put what follows them into the group."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$0" "$@"']

    def remove(self):
        for _ in range(100):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.05)


class Group2(Group):
    """Of version 2, where socket buffers and the kernel's own are in the one sum."""

    PARENT, LIMIT, PEAK, NOW = ROOT, "memory.max", "memory.peak", "memory.current"

    def prepare(self, limit):
        if os.path.exists(f"{self.path}/memory.swap.max"):
            self.write("memory.swap.max", 0)

    @classmethod
    def possible(cls):
        try:
            with open(f"{ROOT}/cgroup.subtree_control", encoding="ascii") as file:
                return os.access(ROOT, os.W_OK) and "memory" in file.read().split()
        except OSError:
            return False

    def words(self, name):
        with open(f"{self.path}/{name}", encoding="ascii") as file:
            return {word: int(value) for word, value in (line.split() for line in file)}

    def refusals(self):
        return self.words("memory.events")["max"]

    def kills(self):
        events = self.words("memory.events")
        return events["oom"] + events["oom_kill"]

    def peak(self):
        """memory.peak is of Linux 5.19."""
        return super().peak() if os.path.exists(f"{self.path}/{self.PEAK}") else self.now()

    def sockets(self):
        return self.words("memory.stat")["sock"]


def group_kind():
    """The kind of group that can be made here, or None."""
    return next((kind for kind in (Group, Group2) if kind.possible()), None)


@unittest.skipIf(SANITIZED, "a sanitizer's memory fits no bound")
@unittest.skipIf(group_kind() is None, "no memory cgroup to write to")
class Bound(unittest.TestCase):
    def test_the_server_lives_within_its_bound_while_it_is_attacked(self):
        limit = bound()
        group = group_kind()(limit)
        self.addCleanup(group.remove)
        with Server("faults", CONF, wrap=group.around(), log=False) as server:
            at_rest = group.peak()
            stop = time.monotonic() + ATTACK_S
            tally = {"good": 0, "busy": 0, "evicted": 0}

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
                client = None
                while time.monotonic() < stop:
                    try:
                        client = client or server.client()
                        status = client.ask("GET", "/ok").status
                        tally["good" if status == 200 else "busy"] += 1
                    except (OSError, Closed):  # it idled while another wanted its place
                        client = client and client.socket.close()
                        tally["evicted"] += 1
                    time.sleep(0.005)
                if client:
                    client.socket.close()

            def crowd():
                """Sockets as full as they become: of answers that nobody reads, of bodies and requests that nobody takes yet."""
                held = []
                stream = b"GET /stream?bytes=4000000 HTTP/1.1\r\nHost: crowd\r\n\r\n" * 40
                post = b"POST /ok HTTP/1.1\r\nHost: crowd\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200000
                while time.monotonic() < stop:
                    try:
                        held.append(server.client())
                        held[-1].socket.setblocking(False)
                        for _ in range(4):  # until no more is taken
                            held[-1].socket.send(post if len(held) % 2 else stream)
                    except (OSError, Closed):
                        pass
                    if len(held) > 300:
                        held.pop(0).socket.close()
                    sockets.append(group.sockets())
                for client in held:
                    client.socket.close()

            sockets = [0]
            body = b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 60000
            attacks = [
                (["/eat", "/recurse", "/segv"], b"", True),
                (["/late"], b"", False),
                ([], b"GET / HTTP/1.1\r\nHost: slow", True),
                ([], body, True),
                (["/neighbour?ms=20", "/recurse-printing"], b"", False),
            ]
            threads = [threading.Thread(target=attack, args=a) for a in attacks]
            threads += [threading.Thread(target=crowd), threading.Thread(target=good)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertIsNone(server.process.poll())
            # Requests whose clients have gone still hold buckets for a moment.
            wait_until(lambda: server.get("/ok").status == 200, "a bucket to be free")
            peak = group.peak()
            print(f"{type(group).__name__}: bound {limit}, at rest {at_rest}, peak {peak}, sockets {max(sockets)}, refusals "
                  f"{group.refusals()}, kills {group.kills()}; {tally} of the good client's", flush=True)
            self.assertEqual(group.refusals(), 0)
            self.assertIn(group.kills(), (None, 0))
            self.assertLess(peak, limit)
            self.assertGreater(peak, 10 << 20, "it was in the group")
            self.assertGreater(tally["good"], 5, "it was served all the while, as often as this machine lets it")

    def test_a_limit_below_what_is_mapped_bites(self):
        """So the limit of the other test is one: the group does count all this."""
        terms = {term["name"]: term["bytes"] for term in bound_terms()}
        mapped = sum(bytes for name, bytes in terms.items() if not name.startswith(("socket", "kernel", "text", "page")))
        group = group_kind()(mapped * 3 // 4)
        self.addCleanup(group.remove)
        with self.assertRaises(RuntimeError):
            Server("faults", CONF, wrap=group.around(), log=False)
        self.assertGreater(group.refusals(), 0)
        if group.kills() is not None:
            self.assertGreater(group.kills(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
