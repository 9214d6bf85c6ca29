#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What can't be contained: it costs its own worker's requests and a restart, and the listener stays open."""
import os
import re
import signal
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, SANITIZED, Closed, Server, wait_until

CONF = """
[server]
threads = {threads}
cpu_deadline = 300ms
wall_deadline = 20s
[bucket main]
size = 64K
count = 16
"""


def on_worker(test, server, index):
    """A client whose connection that worker has accepted. The others stay open, so that all workers get theirs."""

    def one():
        client = server.client()
        test.addCleanup(client.socket.close)
        return client if client.ask("GET", "/worker").body == b"%d\n" % index else None

    return wait_until(one, f"worker {index} to take a connection")


@unittest.skipIf(SANITIZED, "the sanitizer handles faults itself")
class Failures(unittest.TestCase):
    def restarted(self, target, reason):
        with Server("broken", CONF.format(threads=2)) as server:
            first = server.serving()
            *others, idle = [on_worker(self, server, 1) for _ in range(6)]
            for other in others:
                other.hold("/hold")
            victim = on_worker(self, server, 0)
            victim.send(victim.request("GET", target))
            with self.assertRaises((Closed, ConnectionResetError)):
                victim.read()
            self.assertTrue(idle.ended())  # its worker has heard of it, and takes no one
            # The listener takes connections all the time; they wait for the next process.
            late = [server.client() for _ in range(20)]
            for client in late:
                client.send(client.request("GET", "/pid"))
            for other in others:
                answer = other.release()
                self.assertEqual((answer.status, answer.body), (200, b"held by 1\n"))
            pids = {int(client.read().body) for client in late}
            self.assertEqual(len(pids), 1)
            self.assertNotIn(first, pids)
            self.assertEqual(server.serving(), pids.pop())
            self.assertIn(reason, server.errors())
            self.assertRegex(server.errors(), rf"process {first} was ended by signal 11 .*; a new one in")
            for client in late:
                client.socket.close()

    def test_a_fault_in_the_core_costs_its_own_worker(self):
        self.restarted("/in-core", "worker 0: a fault outside a handler (signal 11)")

    def test_a_fault_in_the_loop(self):
        self.restarted("/in-loop", "(signal 11) at pail-server+0x")

    def test_a_fault_while_a_response_is_sent(self):
        self.restarted("/in-end", "worker 0: a fault outside a handler (signal 11)")

    def test_a_fault_in_the_dynamic_loader(self):
        self.restarted("/in-loader", "a fault in the dynamic loader (signal 11)")

    def test_no_connection_is_refused_while_processes_come_and_go(self):
        with Server("broken", CONF.format(threads=2)) as server:
            over, answered, wrong = threading.Event(), [], []

            def visit():
                while not over.is_set():
                    try:
                        with server.client() as client:
                            answered.append(client.ask("GET", "/worker").status)
                    except (Closed, ConnectionResetError):
                        wrong.append("cut")  # it was with the worker that failed
                    except OSError as error:
                        wrong.append(error)

            visitors = [threading.Thread(target=visit) for _ in range(4)]
            for visitor in visitors:
                visitor.start()
            try:
                for _ in range(5):
                    before = server.serving()
                    with server.client() as client:
                        client.send(client.request("GET", "/in-core"))
                        try:
                            client.read()
                        except (Closed, OSError):
                            pass
                    server.serving(other_than=before)
                    count = len(answered)
                    wait_until(lambda n=count: len(answered) > n + 50, "answers of the next process")
            finally:
                over.set()
                for visitor in visitors:
                    visitor.join()
            self.assertEqual(set(answered), {200})
            self.assertEqual([what for what in wrong if what != "cut"], [])
            self.assertLessEqual(len(wrong), 5 * 4)

    def test_a_process_that_is_killed_or_leaves_is_followed_by_another(self):
        with Server("broken", CONF.format(threads=1)) as server:
            for how in ("kill", "leave"):
                before = server.serving()
                if how == "kill":
                    os.kill(before, signal.SIGKILL)
                else:
                    with self.assertRaises((Closed, ConnectionResetError)), server.client() as client:
                        client.ask("GET", "/leave")
                server.serving(other_than=before)
                self.assertEqual(server.get("/worker").status, 200)
            self.assertIn("signal 9", server.errors())
            self.assertIn("exited with 0 unasked", server.errors())

    def test_crashes_in_a_row_are_paused_for_and_starts_that_fail_are_tried_again(self):
        with tempfile.TemporaryDirectory() as folder, Server("broken", CONF.format(threads=1), args=[f"{folder}/away"]) as server:
            with open(f"{folder}/away", "w", encoding="ascii"):
                pass
            def pauses():
                return [float(number) for number in re.findall(r"a new one in (\d+\.\d) s", server.errors())]

            began = time.monotonic()
            os.kill(server.serving(), signal.SIGKILL)
            wait_until(lambda: len(pauses()) > 3, "starts that fail")
            client = server.client()  # the listener is there, though nobody serves
            self.addCleanup(client.socket.close)
            client.send(client.request("GET", "/worker"))
            os.unlink(f"{folder}/away")
            self.assertEqual(client.read().status, 200)
            self.assertEqual(pauses()[:4], [0.0, 0.1, 0.2, 0.4])
            self.assertGreater(time.monotonic() - began, 0.3 + 0.4)

    def test_without_a_supervisor_it_drains_and_ends_by_the_signal(self):
        server = Server("broken", CONF.format(threads=2), options=["--no-supervisor"])
        self.addCleanup(server.end)
        other, victim = on_worker(self, server, 1), on_worker(self, server, 0)
        other.hold("/hold")
        victim.send(victim.request("GET", "/in-core"))
        server.wait_errors("then a new process serves")
        self.assertEqual(other.release().status, 200)
        self.assertEqual(server.process.wait(PATIENCE), -signal.SIGSEGV)

    def test_with_overlap_the_next_serves_while_the_last_drains(self):
        conf = CONF.format(threads=2).replace("[server]", "[server]\noverlap = yes", 1)
        with Server("broken", conf) as server:
            first = server.serving()
            other, idle, victim = (on_worker(self, server, i) for i in (1, 1, 0))
            other.hold("/hold")
            victim.send(victim.request("GET", "/in-core"))
            self.assertTrue(idle.ended())
            self.assertNotEqual(int(server.get("/pid").body), first)
            self.assertEqual(other.release().body, b"held by 1\n")


class Signals(unittest.TestCase):
    def test_signals_reach_the_process_once(self):
        # As a terminal does: to the whole group.
        server = Server("broken", CONF.format(threads=1), wrap=["setsid"])
        self.addCleanup(server.end)
        with server.client() as busy, server.client() as idle:
            busy.hold("/hold")
            idle.ask("GET", "/worker")
            os.killpg(server.process.pid, signal.SIGINT)
            self.assertTrue(idle.ended())  # it has heard of it
            self.assertEqual(busy.release().status, 200, "twice would have cut it")
        self.assertEqual(server.process.wait(PATIENCE), 0)

    def test_the_server_drains_when_its_supervisor_is_killed(self):
        server = Server("broken", CONF.format(threads=1))
        self.addCleanup(server.end)
        serving = server.serving()

        def gone():
            try:
                with open(f"/proc/{serving}/stat", encoding="ascii") as file:
                    return file.read().rpartition(")")[2].split()[0] == "Z"
            except (FileNotFoundError, ProcessLookupError):
                return True

        with server.client() as busy, server.client() as idle:
            busy.hold("/hold")
            idle.ask("GET", "/worker")
            server.process.kill()
            server.process.wait()
            self.assertTrue(idle.ended())
            self.assertEqual(busy.release().status, 200)
        wait_until(gone, "the server to end")

    def test_a_start_that_fails_is_not_tried_again(self):
        with tempfile.NamedTemporaryFile() as away:
            with self.assertRaises(RuntimeError) as raised:
                Server("broken", CONF.format(threads=1), args=[away.name])
            self.assertIn("returned 7", str(raised.exception))
            self.assertEqual(str(raised.exception).count("pail serve:"), 1)

    def test_the_supervisor_is_tiny(self):
        with Server("broken", CONF.format(threads=1)) as server:
            with open(f"/proc/{server.process.pid}/smaps_rollup", encoding="ascii") as file:
                private = re.search(r"Private_Dirty:\s+(\d+)", file.read())
            self.assertLess(int(private.group(1)), 1024 if not SANITIZED else 1 << 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
