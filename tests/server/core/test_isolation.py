#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""[server] isolation = pkeys, and mlock: what the kernel and the CPU are asked for."""
import subprocess
import tempfile
import time
import unittest

import test_faults
from harness import SANITIZED, SERVER, Server, plugin

CONF = "[server]\nthreads = {threads}\nisolation = {isolation}\n[bucket main]\nsize = 64K\ncount = 20\n"

with open("/proc/cpuinfo", encoding="utf-8") as info:
    HAS_KEYS = " ospke" in info.read()


@unittest.skipIf(SANITIZED, "the sanitizer handles faults itself")
@unittest.skipIf(not HAS_KEYS, "this CPU has no memory-protection keys")
class Keys(unittest.TestCase):
    def meet(self, isolation, target):
        """What the one that holds found, and what the one that wrote got."""
        with Server("wild", CONF.format(threads=1, isolation=isolation)) as server, server.client() as holder:
            holder.hold("/hold")
            answer = server.get(target)
            line = server.wait_lines(1)[0]
            return holder.release().body, answer.status, line

    def test_a_write_into_another_bucket_costs_the_writer(self):
        for target in ("/write-block", "/write-stack", "/read-block"):
            found, status, line = self.meet("pkeys", target)
            self.assertEqual((found, status, line["cause"], line["detail"]), (b"whole\n", 500, "segv", "in another bucket"), target)

    def test_without_keys_it_costs_the_other(self):
        for target in ("/write-block", "/write-stack"):
            found, status, _ = self.meet("none", target)
            self.assertEqual((found, status), (b"broken\n", 200), target)

    def test_every_failure_is_contained_with_keys_as_without(self):
        everything = {**test_faults.FAULTS, **test_faults.BUSY}
        for text, targets in ((test_faults.CONF, everything), (test_faults.IMPATIENT, test_faults.BLOCKED)):
            conf = text.format(threads=2).replace("[server]", "[server]\nisolation = pkeys", 1)
            with Server("faults", conf, options=["--no-supervisor"]) as server, server.client() as client:
                for target, (status, _) in targets.items():
                    self.assertEqual(client.ask("GET", target).status, status, target)
                    self.assertEqual(client.ask("GET", "/neighbour?ms=1").body, b"whole 7\n")
                    self.assertEqual(client.ask("GET", "/print").body, b"printed\n")

    def test_a_change_of_rights_costs_little(self):
        with Server("wild", CONF.format(threads=1, isolation="pkeys")) as server:
            cost_ns = min(float(server.get("/cost").body) for _ in range(3))
            print(f"both changes of rights, and one reading of them: {cost_ns} ns")
            self.assertGreater(cost_ns, 0)


@unittest.skipIf(SANITIZED, "a sanitizer maps as it likes")
class Options(unittest.TestCase):
    def test_a_plan_that_may_not_be_locked_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("[server]\nmlock = yes\n[bucket main]\nsize = 64K\ncount = 4\n")
            file.flush()
            words = [SERVER, "-c", file.name, "--app", plugin("wild"), "--check"]
            done = subprocess.run(["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", *words],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("[server] mlock", done.stderr)
            self.assertIn("ulimit -l", done.stderr)

    def test_a_locked_plan_is_locked(self):
        try:
            server = Server("wild", "[server]\nmlock = yes\n[bucket main]\nsize = 64K\ncount = 4\n")
        except RuntimeError as error:
            self.skipTest(str(error))
        with server:
            self.assertGreater(server.status("VmLck"), 4 * 64)

    def test_overlap_is_in_the_bound(self):
        bounds = []
        for overlap in ("no", "yes"):
            with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
                file.write(f"[server]\noverlap = {overlap}\n")
                file.flush()
                text = subprocess.run([SERVER, "-c", file.name, "--print-bound"], capture_output=True, text=True, check=True).stdout
                bounds.append(int([line for line in text.splitlines() if line.startswith("bound")][0].split()[1]))
        self.assertEqual(bounds[1], 2 * bounds[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
