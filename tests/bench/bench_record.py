#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The whole cost of a recording, in turns in one run: a real server bare, recorded
with events, with stacks, and under heaptrack, with the recorder on the same CPUs;
then a malloc/free pair on one thread and on two.

    bench_record.py PAIL [--server nginx|redis|flask]... [--rounds N] [--seconds S] [--no-pairs]

Of a server: CPU time per request is the kernel's of its process (schedstat, in ns),
from before a burst of requests until after it, after a burst to warm up; the
recorder's CPU time per event over the same burst; bytes per event of the whole
trace; what was dropped. Prints medians over the rounds, with the least and the
most, and how much of heaptrack's extra cost ours is. heaptrack runs without its
helper, which only reads the file afterwards; the recorder of pail does all its
work meanwhile. The load comes from wrk (or redis-benchmark) on this machine. A pair
is that of bench_shim, in CPU ns per pair and thread.
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

# Profilers that are a preloaded library and its environment; a name: what to set.
PROFILERS = {"heaptrack": {"LD_PRELOAD": HEAPTRACK, "DUMP_HEAPTRACK_OUTPUT": "{folder}/h"}} if HEAPTRACK else {}
for name, library, more in (
        ("gperftools (heap profile)", "libtcmalloc_and_profiler.so.4", {"HEAPPROFILE": "{folder}/heap"}),
        ("jemalloc (prof, sampled)", "libjemalloc.so.2", {"MALLOC_CONF": "prof:true,prof_final:true,prof_prefix:{folder}/heap"}),
        ("jemalloc (prof, all)", "libjemalloc.so.2", {"MALLOC_CONF": "prof:true,lg_prof_sample:0,prof_final:true,prof_prefix:{folder}/heap"})):
    for path in glob.glob(f"/usr/lib/*/{library}") or glob.glob(f"/usr/lib/{library}"):
        PROFILERS[name] = {"LD_PRELOAD": path, **more}

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


def profiler(mode, folder):
    """What the environment of the program becomes under another's profiler; nothing otherwise."""
    return {key: value.format(folder=folder) for key, value in PROFILERS.get(mode, {}).items()}


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


def wait_for(port, process):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}") from None
            time.sleep(0.05)
    raise SystemExit("the server does not listen")


def end(port, process):
    """By who listens, so that a recorder finishes its trace; with force what does not end by that."""
    if process.poll() is None:
        try:
            os.kill(listener(port), signal.SIGTERM)
        except (SystemExit, OSError):
            process.terminate()
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own
        process.wait(10)


def figures_of(trace, recorder_ns, requests):
    """What the trace and its recorder took, by event."""
    with sqlite3.connect(trace) as db:
        meta = dict(db.execute("SELECT key, value FROM meta"))
        (held,), = db.execute("SELECT sum(count) FROM request_block")
    events = int(meta["events"])
    return {"recorder": recorder_ns / requests / (events / held), "bytes": os.path.getsize(trace) / events,
            "dropped": int(meta["dropped_events"]), "events": events}


def measure(kind, mode, pail, seconds):
    """CPU ns per request, and the recorder's figures."""
    with tempfile.TemporaryDirectory() as folder:
        server = SERVERS[kind](folder)
        trace = os.path.join(folder, "t.db")
        command = server.command()
        if mode in ("events", "stacks"):
            command = [pail, "record", "--detail", mode, *server.options, "-o", trace, "--", *command]
        environment = {**os.environ, **server.environment, **profiler(mode, folder)}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                   cwd=folder, env=environment, start_new_session=True)
        try:
            wait_for(server.port, process)
            pid = listener(server.port)
            server.load(1)
            before, recorder = cpu_ns(pid), cpu_ns(process.pid)
            requests = server.load(seconds)
            spent, recorder = cpu_ns(pid) - before, cpu_ns(process.pid) - recorder
        finally:
            end(server.port, process)
        return spent / requests, figures_of(trace, recorder, requests) if os.path.exists(trace) else {}


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def servers(words, modes):
    print(f"| {'server':6} | {'':9} | {'us CPU/request':14} | {'over bare':22} | of heaptrack's | {'recorder ns/event':20} | "
          "bytes/event | dropped |\n" + "|---" * 8 + "|")
    for kind in words.server or SERVERS:
        cost, figures = {m: [] for m in modes}, {m: [] for m in modes}
        for _ in range(words.rounds):
            for mode in modes:
                ns, figure = measure(kind, mode, words.pail, words.seconds)
                cost[mode].append(ns)
                figures[mode].append(figure)
        ratio = {m: [a / b for a, b in zip(cost[m], cost["bare"])] for m in modes}
        for mode in modes:
            line = f"| {kind:6} | {mode:9} | {statistics.median(cost[mode]) / 1000:14.1f} | {spread(ratio[mode], 3):22} | "
            share = recorder = size = dropped = ""
            if figures[mode][0]:
                recorder = spread([f["recorder"] for f in figures[mode]], 0)
                size = f"{statistics.median([f['bytes'] for f in figures[mode]]):.2f}"
                dropped = str(sum(f["dropped"] for f in figures[mode]))
                if "heaptrack" in modes and statistics.median(ratio["heaptrack"]) > 1:
                    share = f"{(statistics.median(ratio[mode]) - 1) / (statistics.median(ratio['heaptrack']) - 1):.2f}"
            print(line + f"{share:14} | {recorder:20} | {size:11} | {dropped:7} |", flush=True)


def pair(mode, pail, threads, count):
    """CPU ns of one malloc and one free."""
    bench = os.path.join(os.path.dirname(os.path.dirname(pail)), "tests", "bench", "bench_shim")
    with tempfile.TemporaryDirectory() as folder:
        command = ["bash", "-c", 'exec -a work "$0" "$@"', bench, str(threads), str(count), "8"]
        environment = {**os.environ, **profiler(mode, folder)}
        if mode in ("events", "stacks"):
            command = [pail, "record", "--detail", mode, "-o", os.path.join(folder, "t.db"), "--", *command]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
        return float(done.stdout.split()[0])


def pairs(words, modes):
    print("\n| malloc/free pair, CPU ns per thread | " + " | ".join(modes) + " |\n" + "|---" * (len(modes) + 1) + "|")
    for threads in (1, 2):
        values = {m: [] for m in modes}
        for _ in range(words.rounds):
            for mode in modes:
                values[mode].append(pair(mode, words.pail, threads, 1000000))
        print(f"| {threads} thread{'s' if threads > 1 else ''} | " + " | ".join(spread(values[m], 1) for m in modes) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pail")
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--no-pairs", action="store_true")
    words = parser.parse_args()
    words.pail = os.path.abspath(words.pail)
    modes = ["bare", "events", "stacks"] + (["heaptrack"] if HEAPTRACK else [])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
                            cwd=os.path.dirname(os.path.abspath(__file__))).stdout.strip()
    print(f"{os.uname().machine}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, commit {commit}, "
          f"{words.rounds} rounds of {words.seconds} s\n")
    servers(words, modes)
    if not words.no_pairs:
        pairs(words, modes)


if __name__ == "__main__":
    main()
