#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What recording costs a real server: its own CPU time per request, bare,
recorded with events, with stacks, and under heaptrack, in turns in one run,
with the recorder on the same CPUs.

    bench_record.py PAIL [--server nginx|redis|flask]... [--rounds N] [--seconds S]

CPU time is the kernel's of the server's process (schedstat, in ns), from
before a burst of requests until after it, after a burst to warm up. Prints the
median ratio to bare, the least and the most, over the rounds; for traces also
bytes per event on disk, and what was dropped. The load comes from wrk (or
redis-benchmark) on this machine.
"""
import argparse
import glob
import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

HEAPTRACK = next(iter(glob.glob("/usr/lib/*/heaptrack/libheaptrack_preload.so")
                      + glob.glob("/usr/lib/heaptrack/libheaptrack_preload.so")), None)

FLASK = """
import socket, socketserver, sys
from concurrent.futures import ThreadPoolExecutor
from flask import Flask, jsonify
from werkzeug.serving import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer
app = Flask("bench")
@app.route("/small")
def small():
    return jsonify({str(i): [i] * 10 for i in range(30)})
class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    def log(self, *_): pass
class Pooled(WSGIServer):
    multithread, multiprocess, ssl_context, passthrough_errors = True, False, None, False
    request_queue_size = 64
    pool = ThreadPoolExecutor(4)
    def process_request(self, request, address):
        self.pool.submit(self.one, request, address)
    def one(self, request, address):
        try:
            self.finish_request(request, address)
        except OSError:
            pass
        self.shutdown_request(request)
    def handle_error(self, *_): pass
server = Pooled(("127.0.0.1", int(sys.argv[1])), Handler)
server.set_app(app)
server._server_version = "bench"
server.serve_forever()
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    connections, options, environment = 16, ["--mode", "light"], {}

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()

    def load(self, count):
        """Sends about that many requests; gives how many were answered."""
        done = subprocess.run(
            ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, count)}s", f"http://127.0.0.1:{self.port}{self.path}"],
            capture_output=True, text=True, check=True)
        return int(re.search(r"(\d+) requests in", done.stdout).group(1))


class Nginx(Server):
    path = "/file"

    def command(self):
        with open(os.path.join(self.folder, "file"), "w") as file:
            file.write("x" * 4096)
        conf = os.path.join(self.folder, "nginx.conf")
        with open(conf, "w") as file:
            file.write(f"""daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error crit;
events {{}} http {{ access_log off; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{self.port}; root {self.folder};
client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s; }} }}""")
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", conf, "-e", self.folder + "/error"]


class Redis(Server):
    options = ["--mode", "light", "--split", "message"]

    def command(self):
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def load(self, count):
        number = count * 30000
        subprocess.run(["redis-benchmark", "-p", str(self.port), "-c", "4", "-n", str(number), "-t", "set", "-r", "1000", "-q"],
                       capture_output=True, check=True)
        return number


class Flask(Server):
    path = "/small"
    environment = {"PYTHONMALLOC": "malloc"}

    def command(self):
        path = os.path.join(self.folder, "app.py")
        with open(path, "w") as file:
            file.write(FLASK)
        return ["/usr/bin/python3", path, str(self.port)]


SERVERS = {"nginx": Nginx, "redis": Redis, "flask": Flask}


def listener(port):
    """The process that listens there."""
    inode = None
    with open("/proc/net/tcp") as table:
        for line in table:
            words = line.split()
            if words[1].endswith(f":{port:04X}") and words[3] == "0A":
                inode = words[9]
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path) == f"socket:[{inode}]":
                return int(path.split("/")[2])
        except OSError:
            pass
    raise SystemExit("no server")


def cpu_ns(pid):
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total


def measure(kind, mode, pail, seconds):
    """CPU ns per request, and the trace's figures."""
    with tempfile.TemporaryDirectory() as folder:
        server = SERVERS[kind](folder)
        trace = os.path.join(folder, "t.db")
        command = server.command()
        if mode in ("events", "stacks"):
            command = [pail, "record", "--detail", mode, *server.options, "-o", trace, "--", *command]
        environment = {**os.environ, **server.environment}
        if mode == "heaptrack":  # without its helper: that only reads the file afterwards
            environment |= {"LD_PRELOAD": HEAPTRACK, "DUMP_HEAPTRACK_OUTPUT": os.path.join(folder, "h")}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                   cwd=folder, env=environment, start_new_session=True)
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", server.port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            pid = listener(server.port)
            server.load(1)
            before = cpu_ns(pid)
            requests = server.load(seconds)
            spent = cpu_ns(pid) - before
        finally:
            os.kill(listener(server.port), signal.SIGTERM)
            process.wait(120)
        figures = {}
        if os.path.exists(trace):
            with sqlite3.connect(trace) as db:
                meta = dict(db.execute("SELECT key, value FROM meta"))
                figures = {"events": int(meta["events"]), "bytes": os.path.getsize(trace),
                           "dropped": int(meta["dropped_events"])}
        return spent / requests, requests, figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pail")
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    words = parser.parse_args()
    pail = os.path.abspath(words.pail)
    modes = ["bare", "events", "stacks"] + (["heaptrack"] if HEAPTRACK else [])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=os.path.dirname(os.path.abspath(__file__))).stdout.strip()
    print(f"{os.uname().machine}, {os.cpu_count()} CPUs, commit {commit}, {words.rounds} rounds of {words.seconds} s")
    for kind in words.server or SERVERS:
        cost, last = {m: [] for m in modes}, {}
        for _ in range(words.rounds):
            for mode in modes:
                ns, _, figures = measure(kind, mode, pail, words.seconds)
                cost[mode].append(ns)
                last[mode] = figures
        for mode in modes:
            ratio = [a / b for a, b in zip(cost[mode], cost["bare"])]
            line = f"  {kind:6} {mode:10} {statistics.median(cost[mode]) / 1000:9.1f} us/request   " \
                   f"{statistics.median(ratio):.3f}   ({min(ratio):.3f} .. {max(ratio):.3f})"
            if last[mode]:
                line += f"   {last[mode]['bytes'] / last[mode]['events']:.2f} bytes/event, dropped {last[mode]['dropped']}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
