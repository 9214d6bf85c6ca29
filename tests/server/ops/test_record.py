#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail serve --record: the trace holds what was answered, through restarts of the
server, and the server does not care what becomes of the recorder or its disk."""
import collections
import json
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import unittest

from ops import BUILD, PATIENCE, SANITIZED, Client, Closed, Server, until

PAIL = f"{BUILD}/bin/pail"


class Recorded(Server):
    """A server under `pail serve --record`."""

    def __init__(self, app, conf="", options=(), wrap=(), log=True):
        self.trace_folder = tempfile.TemporaryDirectory()
        self.trace = f"{self.trace_folder.name}/t.db"
        super().__init__(app, conf, options=["--record", self.trace, *options], wrap=wrap, log=log,
                         program=(PAIL, "serve"))

    def recorder(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            for pid in file.read().split():
                if os.readlink(f"/proc/{pid}/exe").endswith("/pail"):
                    return int(pid)
        return None

    def end(self):
        super().end()
        self.trace_folder.cleanup()


def rows(path, sql):
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def meta(path):
    return {key: value.strip() if isinstance(value, str) else value for key, value in rows(path, "SELECT key, value FROM meta")}


def pail(*words):
    return subprocess.run([PAIL, *words], capture_output=True, text=True, timeout=PATIENCE * 2, check=False)


REQUESTS = "SELECT method || ' ' || target, status, need_reuse_bytes, end_ns - start_ns, stack_peak_bytes, bytes_out, confidence FROM request"


class Record(unittest.TestCase):
    def recorded(self, *words, **more):
        server = Recorded(*words, **more)
        self.addCleanup(server.end)
        return server

    def test_the_trace_has_every_answer_and_the_needs_of_the_log(self):
        server = self.recorded("builtin:varying-allocations", "[server]\nthreads = 2\n[bucket main]\nsize = 1M\ncount = 8\n")
        asked, clients = 0, [Client(server.port) for _ in range(8)]
        for turn in range(40):
            for number, client in enumerate(clients):
                client.send(client.request("GET", f"/{(turn * 37 + number) % 200}?token=secret&n={turn}") * 4)
            for client in clients:
                for _ in range(4):
                    client.read()
                    asked += 1
        for client in clients:
            client.socket.close()
        self.assertEqual(server.stop(), 0, server.errors())
        logged = [line for line in server.lines() if "start_ns" in line]
        found = rows(server.trace, REQUESTS)
        self.assertEqual(len(found), asked)
        self.assertEqual(len(logged), asked)
        if not SANITIZED:
            self.assertGreater(len({row[2] for row in found}), 10)  # needs that differ
        self.assertEqual(collections.Counter((row[1], row[2], row[3], row[4], row[5]) for row in found),
                         collections.Counter((line["status"], max(line["need_bytes"], line.get("wanted_bytes", 0)), line["service_ns"],
                                              line["stack_peak_bytes"], line["bytes_out"]) for line in logged))
        self.assertTrue(all(re.fullmatch(r"GET /\d+\?token=\*&n=\*", row[0]) for row in found), found[0])
        told = meta(server.trace)
        self.assertEqual((told["complete"], told["lost_requests"], told["redact"]), ("1", "0", "values"))
        with open(server.trace, "rb") as file:
            self.assertNotIn(b"secret", file.read())
        first = min(line["start_ns"] - line["wait_ns"] for line in logged) - int(told["start_unix_ns"])
        self.assertEqual(rows(server.trace, "SELECT min(start_ns) FROM request")[0][0], first)
        self.assertIn(f"{asked} requests", server.errors())
        report = pail("report", "--json", server.trace)
        self.assertEqual(report.returncode, 0, report.stderr)
        self.assertEqual(json.loads(report.stdout)["requests"], asked)
        if not SANITIZED:  # no needs are known there
            simulated = pail("simulate", server.trace)
            self.assertEqual(simulated.returncode, 0, simulated.stderr)
            planned = pail("plan", server.trace, "--target", "0.05", "-o", f"{server.trace}.conf")
            self.assertEqual(planned.returncode, 0, planned.stdout + planned.stderr)

    def test_the_trace_has_every_wait(self):
        conf = "[server]\nadmin = 127.0.0.1:0\nqueue = 2\nwait = 20s\npatience = 0\n[bucket main]\nsize = 64K\ncount = 1\n"
        server = self.recorded("talk", conf)
        with server.client() as first, server.client() as second, server.client() as third:
            first.hold("/echo")
            for number, client in enumerate((second, third)):
                client.send(client.request("GET", f"/waits{number}"))
            admin = int(re.search(r"admin address http://127.0.0.1:(\d+)/", server.wait_errors("admin address")).group(1))

            def waiting():
                with Client(admin) as asker:
                    return json.loads(asker.ask("GET", "/stats").body)["classes"][0]["waiting"]
            until(lambda: waiting() == 2, "both are in line")
            self.assertEqual(first.release().status, 200)
            for client in (second, third):
                self.assertEqual(client.read().status, 200)
            self.assertEqual(first.ask("GET", "/alone").status, 200)
        self.assertEqual(server.stop(), 0, server.errors())
        stored = dict(rows(server.trace, "SELECT r.target, w.wait_ns FROM request_wait w JOIN request r ON r.id = w.request"
                                         " WHERE target LIKE '/waits%'"))
        logged = {line["path"]: line["wait_ns"] for line in server.lines() if line.get("wait_ns") and line["path"].startswith("/waits")}
        self.assertEqual(stored, logged)
        self.assertEqual(len(stored), 2)
        quick = rows(server.trace, "SELECT coalesce(max(wait_ns), 0) FROM request LEFT JOIN request_wait w ON w.request = request.id"
                                   " WHERE target = '/alone'")[0][0]
        self.assertLess(quick, min(stored.values()))
        # A merge has them too, at their requests.
        merged = f"{server.trace_folder.name}/all.db"
        done = pail("merge", "-o", merged, server.trace, server.trace)
        self.assertEqual(done.returncode, 0, done.stderr)
        both = rows(merged, "SELECT r.target, w.wait_ns FROM request_wait w JOIN request r ON r.id = w.request WHERE target LIKE '/waits%'")
        self.assertEqual(sorted(both), sorted(list(stored.items()) * 2))

    def test_one_trace_goes_on_through_restarts(self):
        server = self.recorded("talk", "[bucket main]\nsize = 64K\ncount = 4\n")
        server.get("/before")
        until(lambda: os.path.exists(server.trace) and rows(server.trace, "SELECT count(*) FROM request") == [(1,)], "the first request")
        os.kill(server.serving(), signal.SIGKILL)
        before = server.pid
        server.pid = server.serving(other_than=before)

        def answered():
            try:
                return server.get("/after").status == 200
            except (OSError, Closed):
                return False
        until(answered, "an answer of the next process")
        self.assertEqual(server.stop(), 0)
        targets = [row[0] for row in rows(server.trace, "SELECT target FROM request ORDER BY id")]
        self.assertEqual(targets[0], "/before")
        self.assertIn("/after", targets)
        processes = rows(server.trace, "SELECT id, pid, end_ns >= start_ns FROM process ORDER BY id")
        self.assertEqual([(row[0], row[2]) for row in processes], [(1, 1), (2, 1)])
        self.assertEqual(processes[0][1], before)
        self.assertEqual(meta(server.trace)["complete"], "1")

    def test_a_recorder_that_is_killed_harms_nothing(self):
        for more in ((), ("--no-supervisor",)):
            server = self.recorded("talk", "[bucket main]\nsize = 64K\ncount = 4\n", options=more)
            with server.client() as client:
                self.assertEqual(client.ask("GET", "/a").status, 200)
                until(lambda: os.path.exists(server.trace) and rows(server.trace, "SELECT count(*) FROM request") == [(1,)], "a commit")
                os.kill(server.recorder(), signal.SIGKILL)
                for _ in range(500):
                    self.assertEqual(client.ask("GET", "/b").status, 200)
            self.assertEqual(server.stop(), 0, server.errors())
            self.assertEqual(len([line for line in server.lines() if "start_ns" in line]), 501)
            self.assertEqual(meta(server.trace)["complete"], "0")
            self.assertEqual(pail("report", server.trace).returncode, 0)
            server.end()

    def test_a_recorder_that_stands_still_makes_nobody_wait(self):
        server = self.recorded("talk", "[bucket main]\nsize = 64K\ncount = 4\n")
        with server.client() as client:
            recorder = server.recorder()
            until(lambda: os.path.exists(server.trace), "the first commit")
            os.kill(recorder, signal.SIGSTOP)
            asked, batch = 0, 500
            try:
                while asked < 15000:  # more than pipe and buffers hold
                    client.send(client.request("GET", "/x" + "y" * 100) * batch)
                    for _ in range(batch):
                        self.assertEqual(client.read().status, 200)
                    asked += batch
            finally:
                os.kill(recorder, signal.SIGCONT)
            while int(meta(server.trace)["lost_requests"]) == 0:  # told while it serves, with what comes next
                self.assertEqual(client.ask("GET", "/z").status, 200)
                asked += 1
                self.assertLess(asked, 200000)
        self.assertEqual(server.stop(), 0, server.errors())
        stored = rows(server.trace, "SELECT count(*) FROM request")[0][0]
        told = meta(server.trace)
        self.assertLess(stored, asked)
        self.assertEqual(stored + int(told["lost_requests"]), asked)
        self.assertEqual(told["complete"], "0")
        self.assertIn("requests", re.search(r"could not be stored: .*", pail("report", server.trace).stdout).group(0))

    def test_a_full_disk_is_told_and_harms_nothing(self):
        # A file that may not grow is what a full disk is.
        server = self.recorded("talk", "[bucket main]\nsize = 64K\ncount = 4\n", log=False,
                               wrap=["prlimit", f"--fsize={400 << 10}"])
        asked, batch = 0, 250
        with server.client() as client:
            while asked < 5000:  # targets that no packing makes smaller
                client.send(b"".join(client.request("GET", "/" + os.urandom(200).hex()) for _ in range(batch)))
                for _ in range(batch):
                    self.assertEqual(client.read().status, 200)
                asked += batch
        self.assertEqual(server.stop(), 0, server.errors())
        stored = rows(server.trace, "SELECT count(*) FROM request")[0][0]
        self.assertEqual(stored + int(meta(server.trace)["lost_requests"]), asked)
        self.assertLess(stored, asked)
        self.assertIn("could not be stored", server.errors())

    def test_what_cannot_be_recorded_is_said_before_it_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/note", "w", encoding="ascii") as file:
                file.write("a text of mine\n")
            for path, word in ((f"{folder}/none/t.db", "none"), (f"{folder}/note", "note")):
                done = pail("serve", "--app", "builtin:send-static-file", "--listen", "127.0.0.1:0", "--record", path)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn(word, done.stderr)
            # A server that does not come to serve leaves an older trace alone.
            done = pail("serve", "--app", f"{folder}/none.so", "--listen", "127.0.0.1:0", "--record", f"{folder}/t.db")
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertEqual(os.listdir(folder), ["note"])
            self.assertEqual(pail("serve", "--app", "builtin:send-static-file", "--redact", "all").returncode, 2)

    def test_the_recorder_is_in_the_bound(self):
        plain, more = (json.loads(pail("serve", "--print-bound", "--json", *words).stdout) for words in ((), ("--record", "/nowhere/t.db")))
        term = {term["name"]: term["bytes"] for term in more["terms"]}["recorder"]
        self.assertEqual(more["bound_bytes"], plain["bound_bytes"] + term)
        server = self.recorded("builtin:varying-allocations", "[bucket main]\nsize = 1M\ncount = 8\n")
        with server.client() as client:
            for number in range(40):
                client.send(client.request("GET", f"/{number}") * 50)
                for _ in range(50):
                    client.read()
        if not SANITIZED:
            with open(f"/proc/{server.recorder()}/status", encoding="ascii") as file:
                self.assertLess(int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) << 10, term - (1 << 20))
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
