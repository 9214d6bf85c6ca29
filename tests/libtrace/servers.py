#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real servers under the recorder.

    servers.py PAIL SERVER

Starts SERVER under `pail record` on free loopback ports, sends a fixed number
of requests of each path over 1 and over 16 connections, ends the server, and
holds the trace against what was sent: every request is there once, with its
route and status, and the same path needs the same at 1 and at 16 connections.
Exit 77: that server is not installed.
"""
import http.client
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from ports import free_port  # noqa: E402  pylint: disable=wrong-import-position

PAIL = os.path.abspath(sys.argv[1])


def need(program):
    if shutil.which(program) is None and not os.path.exists("/usr/sbin/" + program):
        print(f"{program} is not installed")
        sys.exit(77)
    return shutil.which(program) or "/usr/sbin/" + program


def python_with(module):
    """The first Python that has the module: the distribution's may not be first in line."""
    for program in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([program, "-c", "import " + module], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0:
            return program
    print(f"{module} is not installed")
    sys.exit(77)


def wait_for(port):
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.05)


class Recording:
    """A server under the recorder, in its own session; with-statement."""

    def __init__(self, folder, command, port, env=None, options=()):
        self.folder, self.port = folder, port
        self.trace = os.path.join(folder, "trace.db")
        self.log = open(os.path.join(folder, "log"), "w+b")
        self.process = subprocess.Popen(
            [PAIL, "record", "-o", self.trace, "--redact=none", *options, "--", *command],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=folder,
            env={**os.environ, **(env or {})}, start_new_session=True)

    def __enter__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.__exit__(None, None, None)
        raise SystemExit("the server did not start:\n" + self.text())

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise SystemExit("the recorder did not end:\n" + self.text())

    def text(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def rows(self, sql, *values):
        with sqlite3.connect(f"file:{self.trace}?mode=ro", uri=True) as db:
            return db.execute(sql, values).fetchall()


def connect(port, tls):
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=20)


def send(port, path, count, connections, headers=None, keep=True, tls=False):
    """count requests over so many connections at once; every answer must be 200."""
    problems = []

    def one(share):
        try:
            connection = connect(port, tls)
            for _ in range(share):
                connection.request("GET", path, headers=headers or {})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    problems.append(f"{path}: {answer.status}")
                if not keep:
                    connection.close()
            connection.close()
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(f"{path}: {problem!r}")

    threads = [threading.Thread(target=one, args=(count // connections,))
               for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:5]


def both(port, path, count=160, **more):
    mark = "&" if "?" in path else "?"
    send(port, f"{path}{mark}c=1", count, 1, **more)
    send(port, f"{path}{mark}c=16", count, 16, **more)


def check(r, path, count=160, least=1, slack=0.0, quantile=0.5, count_slack=None):
    """The rows of a path: all there, and alike at 1 and 16 connections: of need and, if it
    is not the same, number of allocations by so much."""
    middle = {}
    for c in (1, 16):
        mark = "&" if "?" in path else "?"
        rows = r.rows("SELECT allocations, need_bump_bytes, status, confidence, route, incomplete"
                      " FROM request WHERE target = ? ORDER BY need_bump_bytes",
                      f"{path}{mark}c={c}")
        assert len(rows) == count, f"{path} at {c}: {len(rows)} rows, sent {count}"
        assert all(row[2] == 200 for row in rows), f"{path} at {c}: a status is not 200"
        assert all(row[4] == "GET " + path.split("?")[0] for row in rows)
        assert not any(row[5] for row in rows), f"{path} at {c}: incomplete rows"
        middle[c] = rows[int(count * quantile)][:2]
        shares = {k: sum(row[3] == k for row in rows) for k in ("exact", "inferred", "ambiguous")}
        print(f"{path} at {c:2}: {middle[c][0]} allocations, need {middle[c][1]},"
              f" {rows[0][1]}..{rows[-1][1]}, {shares}")
    assert middle[1][0] >= least, f"{path}: only {middle[1][0]} allocations"
    for i, most in (0, slack if count_slack is None else count_slack), (1, slack):
        assert abs(middle[1][i] - middle[16][i]) <= most * middle[1][i], \
            f"{path}: {middle[1]} at 1 connection, {middle[16]} at 16"
    return middle[1]


def check_all(r, total):
    summary = r.text()
    assert r.rows("SELECT value FROM meta WHERE key = 'dropped_events'") == [("0",)]
    assert r.rows("SELECT value FROM meta WHERE key = 'complete'") == [("1",)]
    (count,), = r.rows("SELECT count(*) FROM request")
    assert count == total, f"{count} requests, sent {total}\n{summary}"
    assert sorted(os.listdir(r.folder)).count("trace.db-journal") == 0
    (share,), = r.rows("SELECT value FROM meta WHERE key = 'unattributed_allocations'")
    print(f"{total} requests, {share} allocations of nobody")


def documents(folder):
    www = os.path.join(folder, "www")
    os.mkdir(www)
    with open(os.path.join(www, "a.txt"), "w", encoding="ascii") as f:
        f.write("hello\n")
    with open(os.path.join(www, "big.txt"), "w", encoding="ascii") as f:
        f.writelines(f"{i * 7919 % 100003} of many lines that compress\n" for i in range(4000))
    for root, _, files in os.walk(folder):
        os.chmod(root, 0o755)
        for name in files:
            os.chmod(os.path.join(root, name), 0o644)
    return www


def nginx(folder):
    program, port, upstream, www = need("nginx"), free_port(), free_port(), documents(folder)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
        f.write(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{ access_log off; {paths} types {{ text/plain txt; }}
 server {{ listen 127.0.0.1:{port}; root {www};
  location /gzip/ {{ alias {www}/; gzip on; gzip_types text/plain; gzip_min_length 100; }}
  location /proxy/ {{ proxy_pass http://127.0.0.1:{upstream}/; }} }}
 server {{ listen 127.0.0.1:{upstream}; root {www}; }} }}""")
    with Recording(folder, [program, "-c", f"{folder}/nginx.conf"], port) as r:
        both(port, "/a.txt")
        both(port, "/gzip/big.txt", headers={"Accept-Encoding": "gzip"})
        both(port, "/proxy/big.txt")
    check(r, "/a.txt", least=3)
    _, zipped = check(r, "/gzip/big.txt", least=8)
    _, proxied = check(r, "/proxy/big.txt", least=10)
    assert zipped > 300000 and proxied > 40000, (zipped, proxied)
    # every request of a path is alike, not only the middle one
    alike = r.rows("SELECT route, count(DISTINCT need_reuse_bytes) FROM request"
                   " WHERE target LIKE '%.txt?c=%' AND route LIKE 'GET /%/%' GROUP BY 1")
    assert all(n == 1 for _, n in alike), alike
    # the upstream is this same nginx, so each proxied request makes a second
    check_all(r, 4 * 2 * 160)
    assert not r.rows("SELECT * FROM request WHERE confidence <> 'exact' OR escapes > 0")


def lighttpd(folder):
    program, port, www = need("lighttpd"), free_port(), documents(folder)
    with open(f"{folder}/lighttpd.conf", "w", encoding="ascii") as f:
        f.write(f"""
server.port = {port}
server.bind = "127.0.0.1"
server.document-root = "{www}"
server.modules = ("mod_deflate")
mimetype.assign = (".txt" => "text/plain")
deflate.mimetypes = ("text/plain")
deflate.allowed-encodings = ("gzip")
""")
    with Recording(folder, [program, "-D", "-f", f"{folder}/lighttpd.conf"], port) as r:
        both(port, "/big.txt", headers={"Accept-Encoding": "gzip"})
    check(r, "/big.txt", least=3)
    check_all(r, 320)


APP = """
from flask import Flask, jsonify
app = Flask(__name__)
@app.route("/small")
def small(): return "ok"
@app.route("/list")
def many(): return jsonify([{"i": i, "s": str(i) * 3} for i in range(300)])
"""


def gunicorn(folder, keep, slack, *arguments):
    program, port = need("gunicorn"), free_port()
    if subprocess.run([sys.executable, "-c", "import flask"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        print("flask is not installed")
        sys.exit(77)
    with open(f"{folder}/app.py", "w", encoding="ascii") as f:
        f.write(APP)
    with Recording(folder, [program, *arguments, "-b", f"127.0.0.1:{port}", "app:app"], port,
                   env={"PYTHONMALLOC": "malloc"}) as r:
        time.sleep(1)  # the workers import the application after the socket listens
        for _ in range(2):
            send(port, "/small", 32, 1, keep=keep)
        both(port, "/small", keep=keep)
        both(port, "/list", 64, keep=keep)
    # The interpreter allocates for itself now and then (tables that grow, the
    # collector): the middle request tells, within `slack`.
    check(r, "/small", least=300, slack=slack)
    check(r, "/list", 64, least=2000, slack=slack)
    check_all(r, 64 + 320 + 128)


def sync(folder):
    gunicorn(folder, False, 0.01, "-w", "2")


def gthread(folder):
    gunicorn(folder, True, 0.03, "-w", "1", "-k", "gthread", "--threads", "4")


def redis(folder):
    program, port = need("redis-server"), free_port()
    with Recording(folder, [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                            "--dir", folder], port) as r:
        def talk(messages, count):
            with socket.create_connection(("127.0.0.1", port), 20) as s:
                for _ in range(count):
                    for message in messages:
                        s.sendall(message)
                        assert s.recv(4096)
        ping = b"*1\r\n$4\r\nPING\r\n"
        put = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n"
        talk([ping, put], 100)
        threads = [threading.Thread(target=talk, args=([ping, put], 20)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for route, count in (("PING", 420), ("SET", 420)):
        rows = r.rows("SELECT allocations, requested_bytes, need_bump_bytes, count(*)"
                      " FROM request WHERE route = ? GROUP BY 1, 2, 3 ORDER BY 4 DESC", route)
        print(route, rows)
        assert sum(row[3] for row in rows) == count
        assert rows[0][3] >= count - 20  # but for the first of a connection
    check_all(r, 840)


def main():
    name = sys.argv[2]
    folder = tempfile.mkdtemp(prefix=f"pail-{name}-")
    os.chmod(folder, 0o755)
    try:
        {"nginx": nginx, "lighttpd": lighttpd, "sync": sync, "gthread": gthread,
         "redis": redis}[name](folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
