#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libpq, hiredis and libcurl, unchanged, in handlers on one thread: against a real
PostgreSQL, a redis and an HTTP server, which are started here and ended by pid."""
import glob
import http.server
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
for place in (("..", "core"), ("..", "..")):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), *place))

from harness import BUILD, Server  # noqa: E402
from ports import free_port  # noqa: E402

APP = f"{BUILD}/tests/server/aio/clients.so"
CLIENTS = os.environ.get("PAIL_CLIENTS", "").split(",")
AT_ONCE = 12
CONF = """
[server]
threads = 1
image = 64M
system = 16M
outgoing = 64
wall_deadline = {deadline}
[stack]
size = 128K
[bucket main]
size = 1M
count = 16
"""


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process, by):
    process.send_signal(by)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(port, process, within=60):
    deadline = time.monotonic() + within
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the database did not start")
        time.sleep(0.02)


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers once all that are awaited have come: only those who wait at once get there."""
    protocol_version = "HTTP/1.1"
    barrier = None

    def do_GET(self):
        if Slow.barrier:
            try:
                Slow.barrier.wait(30)
            except threading.BrokenBarrierError:
                self.close_connection = True
                return
        body = self.path.rpartition("=")[2].encode() * 2000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Clients(unittest.TestCase):
    def serve(self, redis=0, pg=0, web=0, deadline="60s"):
        conf = CONF.format(deadline=deadline)
        return Server(APP, conf, args=[str(redis), str(pg), str(web)], options=["--no-supervisor", "--seal"])

    def ask_all(self, server, targets):
        clients = [server.client() for _ in targets]
        for client, target in zip(clients, targets):
            client.socket.settimeout(60)
            client.send(client.request("GET", target))
        got = [client.read() for client in clients]
        for client in clients:
            client.socket.close()
        return got

    def settles(self, server, before):
        deadline = time.monotonic() + 20
        while server.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertLessEqual(server.descriptors(), before)

    def proves(self, server, path, expected, rounds=2):
        """All wait at the same time, every answer is right, and nothing is left."""
        self.ask_all(server, [f"/{path}?n=1&s=0.01"])
        before = server.descriptors()
        for turn in range(rounds):
            numbers = [100 * turn + n for n in range(AT_ONCE)]
            got = self.ask_all(server, [f"/{path}?n={n}&s={1 if turn == 0 else 0.01}" for n in numbers])
            self.assertEqual([(a.status, a.body.decode()) for a in got], [(200, expected(n)) for n in numbers])
        self.settles(server, before)
        server.stop()
        last = server.lines()[-1]
        self.assertEqual((last["outgoing"], last["outgoing_refused"], last["failed"]), (0, 0, 0))
        # On one thread: those counted waited all at once.
        self.assertEqual(last["io_waiting_peak"], AT_ONCE)

    def dies_waiting(self, server, path):
        """The deadline passes while it waits: 504, and what it had open is closed."""
        self.ask_all(server, [f"/{path}?n=1&s=0.01"])
        before = server.descriptors()
        got = self.ask_all(server, [f"/{path}?n={n}&s=20" for n in range(4)])
        self.assertEqual([answer.status for answer in got], [504] * 4)
        self.settles(server, before)
        # Served as before; on a loaded machine the short deadline may pass now and then.
        later = [self.ask_all(server, [f"/{path}?n=4&s=0.01"])[0].status for _ in range(10)]
        self.assertIn(200, later)
        server.stop()
        self.assertEqual(server.lines()[-1]["outgoing"], 0)

    # -- redis ----------------------------------------------------------------------------

    def redis(self):
        program = shutil.which("redis-server")
        if not program or "REDIS" not in CLIENTS:
            self.skipTest("needs redis-server and libhiredis-dev (scripts/bootstrap test)")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        port = free_port()
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder.name],
            stdout=subprocess.DEVNULL)
        self.addCleanup(end, process, signal.SIGTERM)
        wait_for(port, process)
        return port

    def test_redis(self):
        port = self.redis()
        with self.serve(redis=port) as server:
            self.proves(server, "redis", str)

    def test_redis_a_deadline_while_waiting(self):
        port = self.redis()
        with self.serve(redis=port, deadline="700ms") as server:
            self.dies_waiting(server, "redis")

    def test_connections_that_outlive_their_request(self):
        port = self.redis()
        with self.serve(redis=port, deadline="2s") as server:
            for turn in range(3):  # four at once take four, and the next four take the same
                got = self.ask_all(server, [f"/pool?n={n}&s=0.3" for n in range(4)])
                self.assertEqual([a.body.decode() for a in got], [f"{n} of 4" for n in range(4)])
            before = server.descriptors()
            # One is left while it waits for an answer: it does not come back to give that answer to another.
            self.assertEqual(self.ask_all(server, ["/pool?n=7&s=20"])[0].status, 504)
            got = self.ask_all(server, [f"/pool?n={n}&s=0.3" for n in range(4)])
            self.assertEqual([a.body.decode() for a in got], [f"{n} of 5" for n in range(4)])
            self.settles(server, before)
            server.stop()
            self.assertEqual(server.lines()[-1]["outgoing"], 4)

    # -- PostgreSQL -------------------------------------------------------------------------

    def postgres(self):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not programs or "PQ" not in CLIENTS:
            self.skipTest("needs postgresql and libpq-dev (scripts/bootstrap test)")
        folder = tempfile.mkdtemp(prefix="pail-pg-")
        self.addCleanup(shutil.rmtree, folder, True)
        user = {}
        if os.getuid() == 0:  # it refuses to run as root
            name = next((n for n in ("postgres", "nobody") if self.user(n)), None)
            if not name:
                self.skipTest("root, and there is no unprivileged user for PostgreSQL")
            owner = pwd.getpwnam(name)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        data, port = f"{folder}/data", free_port()
        made = subprocess.run(
            [f"{programs[-1]}/initdb", "-D", data, "-U", "pail", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"],
            cwd=folder, capture_output=True, text=True, check=False, **user)
        self.assertEqual(made.returncode, 0, made.stderr)
        process = subprocess.Popen(
            [f"{programs[-1]}/postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1",
             "-c", "fsync=off", "-c", "shared_buffers=1MB", "-c", "max_connections=40"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
        self.addCleanup(end, process, signal.SIGINT)
        wait_for(port, process)
        deadline = time.monotonic() + 30
        ready = [f"{programs[-1]}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        return port

    @staticmethod
    def user(name):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            return None

    def test_postgres(self):
        port = self.postgres()
        with self.serve(pg=port) as server:
            self.proves(server, "pg", lambda n: str(2 * n))
        with self.serve(pg=port, deadline="700ms") as server:
            self.dies_waiting(server, "pg")

    # -- HTTP ---------------------------------------------------------------------------------

    def test_curl(self):
        if "CURL" not in CLIENTS:
            self.skipTest("needs libcurl4-openssl-dev (scripts/bootstrap test)")
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
        web.daemon_threads = True
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        self.addCleanup(lambda: (web.shutdown(), thread.join(), web.server_close()))
        # Curl knows "localhost" by itself, other names it looks up on a thread.
        for host in ("localhost", self.own_name()):
            if not host:
                continue
            os.environ["PAIL_TEST_HOST"] = host
            with self.subTest(host=host), self.serve(web=web.server_port) as server:
                Slow.barrier = None
                self.ask_all(server, ["/curl?n=1"])
                before = server.descriptors()
                Slow.barrier = threading.Barrier(AT_ONCE)
                for turn in range(2):
                    numbers = [10 + 20 * turn + n for n in range(AT_ONCE)]
                    got = self.ask_all(server, [f"/curl?n={n}" for n in numbers])
                    self.assertEqual([(a.status, a.body) for a in got], [(200, str(n).encode() * 2000) for n in numbers])
                self.settles(server, before)
                server.stop()
                last = server.lines()[-1]
                self.assertEqual((last["outgoing"], last["failed"], last["io_waiting_peak"]), (0, 0, AT_ONCE))

    @staticmethod
    def own_name():
        """A name of 127.0.0.1 that is in /etc/hosts, if there is any but localhost."""
        with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.partition("#")[0].split()
                if words and words[0] == "127.0.0.1":
                    return next((word for word in words[1:] if not word.startswith("localhost")), None)
        return None


if __name__ == "__main__":
    unittest.main(verbosity=2)
