#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server as a service: sockets that come along, word of its state, another
user, its end, and --check."""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from ops import BUILD, SANITIZED, SERVER, SOURCE, Client, Ops, Server, plugin, until

NOBODY = pwd.getpwnam("nobody")
ROOT = os.geteuid() == 0


class Manager:
    """The other end of NOTIFY_SOCKET, and of LISTEN_FDS."""

    def __init__(self, conf, app="talk", sockets=0, names=None, environment=(), words=(), abstract=False):
        self.folder = tempfile.TemporaryDirectory()
        path = self.folder.name
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"\0pail-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else f"{path}/notify"
        self.notify.bind(address)
        self.notify.settimeout(60)
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(sockets)]
        self.ports = [listener.getsockname()[1] for listener in self.listeners]
        with open(f"{path}/pail.conf", "w", encoding="utf-8") as file:
            file.write(conf)
        more = {"NOTIFY_SOCKET": address.replace("\0", "@"), **dict(environment)}
        if names:
            more["LISTEN_FDNAMES"] = names
        if sockets:
            more["LISTEN_FDS"] = str(sockets)
        # A shell puts its own number, which exec keeps, into LISTEN_PID.
        script = "exec env LISTEN_PID=$$ WATCHDOG_PID=$$ \"$@\"" if sockets or "WATCHDOG_USEC" in more else "exec \"$@\""
        fds = [listener.fileno() for listener in self.listeners]

        def plumb():
            high = [os.dup2(fd, 50 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
                os.close(fd)

        self.stderr = open(f"{path}/stderr", "wb+")
        self.process = subprocess.Popen(
            ["sh", "-c", script, "sh", SERVER, "-c", f"{path}/pail.conf", "--app", plugin(app), "--listen", "127.0.0.1:0",
             "--log", f"{path}/log", *words],
            stderr=self.stderr, env={**os.environ, **more}, preexec_fn=plumb, close_fds=False)

    def word(self):
        return self.notify.recv(4096).decode()

    def until_word(self, start):
        while True:
            word = self.word()
            if word.startswith(start):
                return word

    def errors(self):
        with open(self.stderr.name, encoding="utf-8") as file:
            return file.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thing in (self.notify, self.stderr, *self.listeners):
            thing.close()
        self.folder.cleanup()


class Service(unittest.TestCase):
    def test_it_says_when_it_is_ready_and_when_it_stops(self):
        for words, abstract in (((), False), (("--no-supervisor",), True)):
            with Manager("", words=words, abstract=abstract) as manager:
                self.assertTrue(manager.word().startswith("READY=1\nSTATUS="))
                manager.process.terminate()
                self.assertTrue(manager.word().startswith("STOPPING=1\n"))
                self.assertEqual(manager.process.wait(60), 0)

    def test_a_restart_is_told(self):
        with Manager("", app="broken") as manager:
            manager.until_word("READY=1")
            until(lambda: "listening on" in manager.errors(), "it serves")
            port = int(manager.errors().rsplit(":", 1)[1])
            with Client(port, 60) as client:
                client.send(client.request("GET", "/in-core"))
                client.ended(20)
            self.assertIn("after 1 restarts", manager.until_word("READY=1"))

    def test_the_watchdog_hears_as_long_as_all_workers_turn(self):
        conf = "[server]\nthreads = 2\nwall_deadline = 0\ncpu_deadline = 0\n[bucket main]\nsize = 64K\ncount = 2\n"
        with Manager(conf, app="faults", environment={"WATCHDOG_USEC": "200000"}.items()) as manager:
            manager.until_word("READY=1")
            for _ in range(3):
                manager.until_word("WATCHDOG=1")
            until(lambda: "listening on" in manager.errors(), "it serves")
            port = int(manager.errors().rsplit(":", 1)[1])
            with Client(port, 60) as client:
                client.send(client.request("GET", "/loop"))  # for ever: there is no deadline
                manager.notify.settimeout(2)
                deadline = time.monotonic() + 60
                with self.assertRaises(TimeoutError):
                    while time.monotonic() < deadline:
                        manager.until_word("WATCHDOG=1")
            children = f"/proc/{manager.process.pid}/task/{manager.process.pid}/children"
            with open(children, encoding="ascii") as file:
                serving = int(file.read().split()[0])
            manager.process.kill()
            os.kill(serving, signal.SIGKILL)
            manager.process.wait()

    def test_sockets_may_come_along(self):
        with Manager("[server]\nadmin = 127.0.0.1:1\n", sockets=2) as manager:
            with Client(manager.ports[0], 60) as client:  # before it listens
                self.assertEqual(client.ask("GET", "/x").status, 200)
            with Client(manager.ports[1], 60) as client:
                self.assertEqual(client.ask("GET", "/health").body, b"ready\n")
            until(lambda: f"listening on 127.0.0.1:{manager.ports[0]}\n" in manager.errors(), "it says where")
        with Manager("[server]\nadmin = 127.0.0.1:1\n", sockets=2, names="admin:http") as manager:
            with Client(manager.ports[0], 60) as client:
                self.assertEqual(client.ask("GET", "/health").body, b"ready\n")
            with Client(manager.ports[1], 60) as client:
                self.assertEqual(client.ask("GET", "/x").status, 200)

    def test_sockets_that_do_not_fit_are_refused(self):
        with Manager("", sockets=2) as manager:
            self.assertEqual(manager.process.wait(60), 3)
            self.assertIn("no admin address", manager.errors())
        with Manager("", sockets=3) as manager:
            self.assertEqual(manager.process.wait(60), 3)
            self.assertIn("3 sockets", manager.errors())
        with Manager("", sockets=1, environment={"LISTEN_PID": "1"}.items(), words=("--check",)) as manager:
            self.assertEqual(manager.process.wait(60), 0)

    @unittest.skipUnless(ROOT, "only root can become another")
    def test_it_serves_as_another_user(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            os.makedirs(f"{folder}/log")
            os.chown(f"{folder}/log", NOBODY.pw_uid, NOBODY.pw_gid)
            with open(f"{folder}/page", "w", encoding="ascii") as file:
                file.write("page\n")
            conf = f"[server]\nuser = nobody\nlog = {folder}/log/access\n[bucket main]\nsize = 64K\ncount = 2\n"
            with open(f"{folder}/pail.conf", "w", encoding="ascii") as file:
                file.write(conf)
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            process = subprocess.Popen([SERVER, "-c", f"{folder}/pail.conf", "--app", folder, "--listen", f"127.0.0.1:{port}"],
                                       stderr=subprocess.PIPE)
            try:
                for line in process.stderr:
                    if b"listening" in line:
                        break
                with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
                    pids = [process.pid, *(int(word) for word in file.read().split())]
                self.assertEqual(len(pids), 2)
                for pid in pids:
                    with open(f"/proc/{pid}/status", encoding="ascii") as file:
                        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
                    self.assertEqual(status["Uid"].split(), [str(NOBODY.pw_uid)] * 4)
                    self.assertEqual(status["Gid"].split(), [str(NOBODY.pw_gid)] * 4)
                    self.assertEqual(status["Groups"].split(), [str(NOBODY.pw_gid)])
                    self.assertEqual((status["NoNewPrivs"], int(status["CapEff"], 16)), ("1", 0))
                with Client(port) as client:
                    self.assertEqual(client.ask("GET", "/page").body, b"page\n")
                until(lambda: os.path.getsize(f"{folder}/log/access"), "a line in the log")
                self.assertEqual(os.stat(f"{folder}/log/access").st_uid, NOBODY.pw_uid)
            finally:
                process.terminate()
                process.wait(60)
                process.stderr.close()

    def test_what_is_under_way_at_its_end_has_as_long_as_the_plan_says(self):
        with Server("talk", "[server]\ndrain = 2s\n") as server, server.client() as quick, server.client() as slow:
            slow.send(slow.request("GET", "/sleep?ms=20000"))
            quick.send(quick.request("GET", "/sleep?ms=200"))
            time.sleep(0.1)  # requests that have not arrived are not under way
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(quick.read().status, 200)
            self.assertTrue(slow.ended(15))
            self.assertEqual(server.process.wait(15), 0)
            self.assertLess(time.monotonic() - begun, 15)


class Check(unittest.TestCase):
    def check(self, conf, *words, app=True):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/pail.conf"
            with open(path, "w", encoding="utf-8") as file:
                file.write(conf)
            more = ["--app", plugin("talk")] if app else []
            result = subprocess.run([SERVER, "-c", path, *more, "--check", *words], capture_output=True, timeout=60, text=True)
            return result.returncode, result.stderr.replace(path, "FILE")

    def test_a_plan_that_would_do(self):
        self.assertEqual(self.check("[server]\nlisten = 127.0.0.1:0\n"), (0, ""))

    def test_a_port_in_use_is_a_note(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            code, text = self.check(f"[server]\nlisten = 127.0.0.1:{other.getsockname()[1]}\n")
        self.assertEqual(code, 0)
        self.assertIn("note: can't listen on", text)

    def test_faults_name_their_line(self):
        for conf, start in (
            ("[server]\nthreads = 1\nlisten = 192.0.2.1:0\n", "pail serve: FILE:3: [server] listen: can't listen on '192.0.2.1:0'"),
            ("[server]\n\n# x\nlisten = 127.0.0.1:0\nadmin = 127.0.0.1:0\nuser = nobody-of-that-name\n",
             "pail serve: FILE:6: [server] user: there is no user"),
            ("[server]\nlisten = 127.0.0.1:0\nlog = /nonexistent/log\n", "pail serve: FILE:3: [server] log: can't make"),
            ("[server]\nlisten = 127.0.0.1:0\ngroup = no-such-group\n", "pail serve: FILE:3: [server] group: "),
        ):
            code, text = self.check(conf)
            self.assertEqual(code, 3, text)
            self.assertTrue(text.startswith(start), text)

    def test_an_app_that_does_not_load_or_fit(self):
        listen = "[server]\nlisten = 127.0.0.1:0\n"
        code, text = self.check(listen, "--app", plugin("nohandle"), app=False)
        self.assertEqual(code, 3)
        self.assertIn("has no pail_handle()", text)
        if not SANITIZED:  # a sanitizer's own memory is no image to be measured
            code, text = self.check(listen + "image = 1M\n")
            self.assertEqual(code, 3)
            self.assertIn("set [server] image", text)

    def test_the_unit_is_one_that_systemd_takes(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze here")
        with tempfile.TemporaryDirectory() as folder:
            for name in ("pail.service", "pail.socket"):
                with open(f"{SOURCE}/docs/systemd/{name}", encoding="utf-8") as file:
                    text = file.read()
                with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                    file.write(text.replace("/usr/bin/pail", f"{BUILD}/bin/pail"))
            result = subprocess.run(["systemd-analyze", "verify", "--man=no", f"{folder}/pail.service", f"{folder}/pail.socket"],
                                    capture_output=True, text=True, timeout=60)
        complaints = [line for line in result.stderr.splitlines() if "pail" in line and "Failed to" not in line]
        self.assertEqual(complaints, [], result.stderr)

    def test_the_unit_s_limit_is_the_bound(self):
        with open(f"{SOURCE}/docs/systemd/pail.service", encoding="utf-8") as file:
            unit = file.read()
        bound = subprocess.run([SERVER, "-c", f"{SOURCE}/docs/systemd/pail.conf", "--print-bound", "--json"], capture_output=True, timeout=60)
        self.assertEqual(bound.returncode, 0, bound.stderr)
        import json
        import re
        limit = int(re.search(r"^MemoryMax=(\d+)$", unit, re.M).group(1))
        self.assertEqual(limit, json.loads(bound.stdout)["bound_bytes"], "docs/systemd/pail.service: set MemoryMax= to the bound")


if __name__ == "__main__":
    unittest.main(verbosity=2)
