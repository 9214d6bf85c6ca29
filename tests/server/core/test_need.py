#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A request's need is exactly what the replay of its calls gives."""
import random
import subprocess
import unittest

from harness import BUILD, SANITIZED, Server

CONF = """
[server]
body = 4M
policy = {policy}
[bucket main]
size = {size}
count = 4
"""


def script(rng, calls, slots, sizes):
    live, lines = {}, []
    for _ in range(calls):
        slot = rng.randrange(slots)
        size = rng.choice(sizes)(rng)
        if slot not in live:
            kind = rng.choice("aaacm")
            lines.append(f"{kind} {slot} {size}" + (f" {rng.randrange(5, 13)}" if kind == "m" else ""))
            live[slot] = True
        elif rng.random() < 0.4:
            lines.append(f"r {slot} {max(size, 1)}")
        else:
            lines.append(f"f {slot}")
            del live[slot]
    return "".join(line + "\n" for line in lines).encode()


SIZES = [
    lambda rng: rng.randrange(1, 64),
    lambda rng: rng.randrange(0, 1024),
    lambda rng: rng.randrange(1024, 20000),
    lambda rng: 2 ** rng.randrange(0, 16),
]


def need_of(body, policy="reuse"):
    done = subprocess.run([f"{BUILD}/tests/server/core/server_need", policy], input=body, capture_output=True, check=True)
    return int(done.stdout)


@unittest.skipIf(SANITIZED, "the sanitizer owns malloc")
class Need(unittest.TestCase):
    def test_need_is_the_replays_for_random_calls_under_both_policies(self):
        for policy in ("reuse", "bump"):
            with Server("script", CONF.format(policy=policy, size="16M")) as server, server.client() as client:
                rng = random.Random(7)
                needs = []
                for i in range(60):
                    sizes = SIZES[: 1 + i % len(SIZES)]
                    body = script(rng, rng.randrange(1, 600), rng.randrange(1, 120), sizes)
                    answer = client.ask("POST", "/", body=body)
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(answer.body.split()[0], b"0", "contents kept")
                    needs.append(need_of(body, policy))
                for line, need in zip(server.wait_lines(len(needs)), needs):
                    self.assertEqual(line["need_bytes"], need)

    def test_a_bucket_of_the_need_serves_and_of_a_page_less_does_not(self):
        rng = random.Random(11)
        for _ in range(6):
            body = script(rng, 300, 60, SIZES)
            need = need_of(body)
            pages = (need + 4095) // 4096
            for size, status in ((pages * 4096, 200), ((pages - 1) * 4096, 500)):
                conf = CONF.format(policy="reuse", size=size)
                with Server("script", conf) as server:
                    self.assertEqual(server.get("/", body=None).status, 200)
                    with server.client() as client:
                        self.assertEqual(client.ask("POST", "/", body=body).status, status)

    def test_varying_allocations_needs_what_it_allocates(self):
        with Server("builtin:varying-allocations", CONF.format(policy="reuse", size="1M")) as server:
            for kib in (1, 10, 50):
                self.assertEqual(server.get(f"/{kib}").status, 200)
            for line, kib in zip(server.wait_lines(3), (1, 10, 50)):
                self.assertGreaterEqual(line["need_bytes"], kib * 1024)
                self.assertLess(line["need_bytes"], kib * 1024 * 1.2 + 4096)


if __name__ == "__main__":
    unittest.main(verbosity=2)
