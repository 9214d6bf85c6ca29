#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whatever a handler does wrong costs its own request and nothing else."""
import errno
import subprocess
import threading
import time
import unittest

from harness import SANITIZED, Closed, Server, plugin, wait_until

CONF = """
[server]
cpu_deadline = 100ms
wall_deadline = 20s
threads = {threads}
[bucket main]
size = 512K
count = 16
"""

# For those that wait: a request that computes is never meant to meet it.
IMPATIENT = CONF.replace("20s", "400ms")

# path: status, cause. Those that take a deadline's time come in BUSY and BLOCKED.
FAULTS = {
    "/eat": (500, "oversize"),
    "/huge": (500, "oversize"),
    "/segv": (500, "segv"),
    "/wild": (500, "segv"),
    "/jump-wild": (500, "segv"),
    "/fpe": (500, "fpe"),
    "/ill": (500, "ill"),
    "/abort": (500, "abort"),
    "/assert": (500, "assert"),
    "/exit": (500, "exit"),
    "/recurse": (500, "stack-overflow"),
    "/leap?bytes=100000": (500, "stack-overflow"),
    "/leap?bytes=900000": (500, "stack-overflow"),
    "/recurse-printing": (500, "stack-overflow"),
    "/sort-eat": (500, "oversize"),
    "/sort-fall": (500, "segv"),
    "/fault-in-end": (500, "segv"),
    "/big-stack?bytes=1500000": (500, "stack-overflow"),
    "/write-wild": (500, "segv"),
    "/overrun": (500, "segv"),
    "/bad-status": (500, "bad-status"),
    "/defer?bad=1": (500, "abort"),
    "/defer?segv=1": (500, "segv"),
}
BUSY = {
    "/loop": (504, "deadline-cpu"),
    "/loop-libc": (504, "deadline-cpu"),
}
BLOCKED = {
    "/block": (504, "deadline-wall"),
    "/sleep?ms=5000": (504, "deadline-wall"),
}


@unittest.skipIf(SANITIZED, "the sanitizer handles faults itself")
class Faults(unittest.TestCase):
    def test_each_is_answered_and_the_connection_lives_on(self):
        for conf, targets in ((CONF, {**FAULTS, **BUSY}), (IMPATIENT, BLOCKED)):
            with Server("faults", conf.format(threads=1)) as server, server.client() as client:
                for target, (status, _) in targets.items():
                    with self.subTest(target=target):
                        self.assertEqual(client.ask("GET", target).status, status)
                        self.assertEqual(client.ask("GET", "/ok").body, b"ok\n")
                        self.assertEqual(client.ask("GET", "/print").body, b"printed\n")

    def told(self, server, everything):
        with server.client() as client:
            for target in everything:
                client.ask("GET", target)
        for line, (target, (status, cause)) in zip(server.wait_lines(len(everything)), everything.items()):
            self.assertEqual((line["path"], line["status"], line.get("cause")), (target.partition("?")[0], status, cause))

    def test_the_log_names_the_cause(self):
        with Server("faults", IMPATIENT.format(threads=1)) as server:
            self.told(server, BLOCKED)
        with Server("faults", CONF.format(threads=1)) as server:
            self.told(server, {**FAULTS, **BUSY})
            line = next(line for line in server.lines() if line["path"] == "/assert")
            self.assertIn("faults.c", line["detail"])
            self.assertIn("zero == 1", line["detail"])
            line = next(line for line in server.lines() if line["path"] == "/eat")
            self.assertGreater(line["wanted_bytes"], line["bucket_bytes"])
            self.assertLessEqual(line["need_bytes"], line["bucket_bytes"])
            line = next(line for line in server.lines() if line["path"] == "/recurse")
            self.assertGreater(line["stack_peak_bytes"], 60000)

    def test_the_log_names_the_code(self):
        """Who asked for too much, or where it failed; in libc, who called it."""
        functions = {"/eat": "eat", "/sort-eat": "compare_and_eat", "/recurse": "recurse", "/recurse-printing": "recurse_printing",
                     "/segv": "pail_handle", "/abort": "pail_handle", "/loop-libc": "pail_handle"}
        with Server("faults", CONF.format(threads=1)) as server, server.client() as client:
            for target in functions:
                client.ask("GET", target)
            for line in server.wait_lines(len(functions)):
                module, _, offset = line["site"].partition("+")
                self.assertEqual(module, "faults.so", line)
                # One byte back: of a call it is where that returns to.
                place = subprocess.run(["addr2line", "-f", "-i", "-e", plugin("faults"), hex(int(offset, 16) - 1)],
                                       capture_output=True, text=True, check=True).stdout
                self.assertIn(functions[line["path"]], place.split(), line)

    def test_neighbours_in_flight_are_not_touched(self):
        with Server("faults", CONF.format(threads=1)) as server:
            neighbours = {mark: server.client() for mark in range(1, 15)}
            for mark, neighbour in neighbours.items():
                self.addCleanup(neighbour.socket.close)
                neighbour.hold(f"/neighbour?mark={mark}")
            with server.client() as client:
                for target, (status, _) in FAULTS.items():
                    self.assertEqual(client.ask("GET", target).status, status, target)
            for mark, neighbour in neighbours.items():
                answer = neighbour.release()
                self.assertEqual((answer.status, answer.body), (200, b"whole %d\n" % mark))

    def test_a_response_that_has_begun_is_cut_off(self):
        with Server("faults", CONF.format(threads=1)) as server:
            for target in ("/late", "/write-wild-long"):
                with server.client() as client, self.assertRaises(Closed):
                    client.ask("GET", target)
            self.assertEqual(server.get("/ok").status, 200)
            self.assertEqual(server.wait_lines(1)[0]["cause"], "segv")

    def test_defers_and_the_end_hook_run_on_every_end(self):
        with Server("faults", CONF.format(threads=1)) as server, server.client() as client:
            def counts():
                return [int(word) for word in client.ask("GET", "/counts").body.split()]

            ends, undone = counts()
            client.ask("GET", "/defer")
            self.assertEqual(counts(), [ends + 2, undone + 40])
            client.ask("GET", "/defer?segv=1")
            self.assertEqual(counts(), [ends + 4, undone + 80])
            client.ask("GET", "/defer?bad=1")  # one of them fails, the others run
            self.assertEqual(counts(), [ends + 6, undone + 120])

    def test_foreign_frees_are_counted_and_ignored(self):
        with Server("faults", CONF.format(threads=1)) as server:
            self.assertEqual(server.get("/free-foreign").body, b"0\n")
            self.assertEqual(server.wait_lines(1)[0]["foreign_frees"], 3)

    def test_no_request_starts_a_thread(self):
        with Server("faults", CONF.format(threads=1)) as server:
            self.assertEqual(server.get("/thread").body, b"%d\n" % errno.EAGAIN)

    def test_a_broken_arena_costs_one_request(self):
        with Server("faults", CONF.format(threads=1)) as server, server.client() as client:
            for target in ("/double-free", "/smash"):
                for _ in range(40):  # each bucket in turn
                    self.assertIn(client.ask("GET", target).status, (200, 500))
                    self.assertEqual(client.ask("GET", "/neighbour?ms=0").body, b"whole 7\n")

    def test_big_stacks_are_lent_waited_for_and_given_back(self):
        conf = CONF.format(threads=1) + "[stack]\nbig_count = 1\nbig_size = 1M\nbig_wait = {}\n"
        with Server("faults", conf.format("50ms")) as server, server.client() as client:
            self.assertEqual(client.ask("GET", "/big-stack").status, 200)
            for _ in range(20):
                self.assertEqual(client.ask("GET", "/big-stack?bytes=1500000").status, 500)
            self.assertEqual(client.ask("GET", "/big-stack").status, 200)
            with server.client() as holder:
                holder.hold("/big-stack-hold")
                self.assertEqual(client.ask("POST", "/big-stack-hold", body=b"x").status, 503)
                self.assertEqual(holder.release().status, 200)
            self.assertEqual(client.ask("GET", "/big-stack").status, 200)
        with Server("faults", conf.format("60s")) as server, server.client() as holder, server.client() as waiter:
            holder.hold("/big-stack-hold")
            waiter.send(waiter.request("POST", "/big-stack-hold", body=b"x"))
            self.assertEqual(server.get("/ok").status, 200)  # who came later is served, so it waits
            self.assertEqual(holder.release().status, 200)
            self.assertEqual(waiter.read().status, 200)

    def test_no_jump_leaves_a_mutex_locked(self):
        with Server("faults", CONF.format(threads=1)) as server, server.client() as client:
            kinds = {"eat": "oversize", "eat-all": "oversize", "segv": "segv", "loop": "deadline-cpu", "loop-a-while": "deadline-cpu"}
            for kind, cause in kinds.items():
                for _ in range(2 if cause == "deadline-cpu" else 50):
                    self.assertEqual(client.ask("GET", f"/locked-{kind}").status, 504 if "deadline" in cause else 500)
                    # Out of memory it goes on to the outermost unlock, so what the lock keeps is whole.
                    # Out of time too, for some deadlines more.
                    left = {"segv": b"halfway\n", "loop": b"halfway\n", "loop-a-while": None}.get(kind, b"locked\n")
                    body = client.ask("GET", "/lock").body
                    self.assertIn(body, (left,) if left else (b"locked\n", b"halfway\n"), kind)
            causes = {(line["path"], line.get("cause")) for line in server.wait_lines(300)}
            self.assertEqual(causes, {("/lock", None)} | {(f"/locked-{kind}", cause) for kind, cause in kinds.items()})

    def test_a_lock_held_while_its_request_waits_stops_no_other(self):
        with Server("faults", CONF.format(threads=1)) as server, server.client() as holder, server.client() as other:
            for path in ("/wait-with-mutex", "/wait-with-recursive", "/wait-with-writing"):
                holder.hold(path)
                other.send(other.request("POST", path, body=b"x"))
                for _ in range(20):  # the thread goes on, though one request wants what another holds
                    self.assertEqual(server.get("/ok").status, 200)
                self.assertEqual(holder.release().body, b"held with 0 others\n")
                self.assertEqual(other.read().body, b"held with 0 others\n")
            holder.hold("/wait-with-reading")  # of these there may be many
            self.assertEqual(other.ask("POST", "/wait-with-reading", body=b"x").status, 200)
            other.send(other.request("POST", "/wait-with-writing", body=b"x"))
            self.assertEqual(server.get("/ok").status, 200)
            self.assertEqual([holder.release().status, other.read().status], [200, 200])

    def test_who_waits_for_the_lock_of_a_request_that_dies_has_it_then(self):
        with Server("faults", IMPATIENT.format(threads=1)) as server, server.client() as holder, server.client() as other:
            holder.hold("/wait-with-mutex")
            other.send(other.request("POST", "/wait-with-mutex", body=b"x"))
            self.assertEqual(holder.read().status, 504)
            self.assertIn(other.read().status, (200, 504))  # its own deadline is a little later
            self.assertEqual(server.get("/lock").body, b"locked\n")

    def settled(self, server):
        """How many descriptors it has open, once those of connections that have ended are closed."""
        counts = [server.descriptors()]

        def steady():
            time.sleep(0.05)
            counts.append(server.descriptors())
            return len(counts) > 4 and len(set(counts[-4:])) == 1

        wait_until(steady, "descriptors to be closed")
        return counts[-1]

    def test_ten_thousand_of_each_leak_nothing(self):
        kinds = ["/eat", "/segv", "/abort", "/recurse", "/recurse-printing", "/fpe", "/assert", "/defer?segv=1"]
        rounds, batch = 10000, 50
        with Server("faults", CONF.format(threads=2)) as server:
            warm = [server.get(target).status for target in kinds]
            self.assertEqual(warm, [500] * len(kinds))
            before = (self.settled(server), server.status("VmSize"), server.status("VmRSS"))
            failures = []

            def storm(target):
                with server.client() as client:
                    for _ in range(rounds // batch):
                        client.send(client.request("GET", target) * batch)
                        for _ in range(batch):
                            if client.read().status != 500:
                                failures.append(target)

            threads = [threading.Thread(target=storm, args=(target,)) for target in kinds]
            for thread in threads:
                thread.start()
            with server.client() as client:
                while any(thread.is_alive() for thread in threads):
                    self.assertEqual(client.ask("GET", "/neighbour?ms=5").body, b"whole 7\n")
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])
            wait_until(lambda: server.descriptors() == before[0], "as few descriptors as before")
            self.assertEqual(server.status("VmSize"), before[1])
            self.assertLess(server.status("VmRSS"), before[2] + 300)
            # Every bucket is there, and whole: as many at once as there are.
            clients = [server.client() for _ in range(8)]
            for client in clients:
                client.hold("/neighbour")
            self.assertEqual([client.release().status for client in clients], [200] * 8)
            for client in clients:
                client.socket.close()
            server.stop()
            end = server.lines()[-1]
            self.assertEqual(end["failed"], len(kinds) * (rounds + 1))
            self.assertEqual(end["system_refusals"], 0)
            self.assertLess(end["system_bytes_peak"], 1 << 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
