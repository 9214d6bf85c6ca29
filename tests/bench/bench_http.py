#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_http.py hello|builtin|idle|threads|record [SECONDS]: requests per
second of the server's own CPU time, beside its peers, in turns.

hello    builtin:send-static-file against tests/bench/trivial_epoll.c and nginx,
         keep-alive by 64 connections; then pipelined by 16
builtin  builtin:varying-allocations and builtin:csv-svg-path against the same
         code on libmicrohttpd, with glibc's malloc and with mimalloc
idle     what 10000 idle keep-alive connections cost the server beyond the kernel's
threads  two threads against one: CPU time of a request
record   --log and --record: what they add to a request

The server runs on processor 0, wrk on the last. CPU time is that of all the
server's threads, by /proc/PID/task/*/schedstat. The median of the ratios of
each round is given, with the least and the most. PAIL_BUILD=build PAIL_SOURCE=.
"""
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "server", "core"))
from bench_server import children, cpu_ns  # noqa: E402
from harness import BUILD  # noqa: E402
from peers import CLIENT_CPU, Peer, epoll, nginx, pail, pss as memory  # noqa: E402

PIPELINE = """local r
init = function()
  local t = {}
  for i = 1, 16 do t[i] = wrk.format("GET", "/") end
  r = table.concat(t)
end
request = function() return r end
"""


def wrk(peer, target, seconds, pipeline=False, connections=64):
    """Requests per second of server CPU time."""
    words = []
    if pipeline:
        path = f"{peer.folder.name}/pipeline.lua"
        with open(path, "w", encoding="ascii") as file:
            file.write(PIPELINE)
        words = ["-s", path]
    before = peer.cpu()
    out = subprocess.run(["taskset", "-c", CLIENT_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *words,
                          f"http://127.0.0.1:{peer.port}{target}"], capture_output=True, text=True, check=True).stdout
    used = (peer.cpu() - before) / 1e9
    count = int(re.search(r"(\d+) requests in", out).group(1))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert not bad, f"{peer.name}: {bad.group(0)} of {count}"
    return count / used


def compare(title, peers, target, seconds, rounds=7, **more):
    """Everyone against the first, in turns."""
    for peer in peers:
        wrk(peer, target, 1, **more)
    rates = {peer.name: [] for peer in peers}
    for turn in range(rounds):
        for peer in peers if turn % 2 else peers[::-1]:
            rates[peer.name].append(wrk(peer, target, seconds, **more))
    mark = peers[0].name
    print(f"{title}: requests per server-CPU-second, {rounds} rounds of {seconds} s")
    for name, values in rates.items():
        ratios = sorted(a / b for a, b in zip(values, rates[mark]))
        print(f"  {name:24} {statistics.median(values):9.0f}   {statistics.median(ratios):5.2f} of {mark} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    sys.stdout.flush()


def hello(seconds):
    peers = [epoll(), pail("builtin:send-static-file")]
    if shutil.which("nginx"):
        peers.append(nginx())
    try:
        compare("keep-alive, 64 connections", peers, "/", seconds)
        compare("pipelined by 16", peers, "/", seconds, pipeline=True)
    finally:
        for peer in peers:
            peer.stop()


def builtin(seconds):
    mimalloc = next((path for path in ("/usr/lib/x86_64-linux-gnu/libmimalloc.so.2", "/usr/lib/aarch64-linux-gnu/libmimalloc.so.2")
                     if os.path.exists(path)), None)
    for name, targets in (("varying-allocations", ("/1", "/10", "/50")), ("csv-svg-path", ("/",))):
        command = [f"{BUILD}/tests/bench/mhd_builtin", "{port}", name]
        peers = [Peer("libmicrohttpd, glibc", command), pail(f"builtin:{name}")]
        if mimalloc:
            peers.append(Peer("libmicrohttpd, mimalloc", command, environment={"LD_PRELOAD": mimalloc}.items()))
        try:
            for target in targets:
                compare(f"{name} {target}", peers, target, seconds, rounds=5)
        finally:
            for peer in peers:
                peer.stop()


def idle(count=10000):
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1000, max(count + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    conf = f"[server]\nconnections = {count + 100}\nidle_timeout = 10m\nimage = 32M\n[bucket main]\nsize = 64K\ncount = 64\n"
    peer = pail("builtin:send-static-file", conf, name="pail")
    clients = []
    try:
        pid = peer.serving()
        before, cpu = memory(pid), 0
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", peer.port))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            clients.append(client)
        for client in clients:
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        after, cpu = memory(pid), peer.cpu()
        time.sleep(2)
        print(f"{count} idle keep-alive connections: resident before {before >> 10} KiB, with them {after >> 10} KiB, "
              f"{(after - before) / count:.1f} bytes each; CPU in 2 s {(peer.cpu() - cpu) / 1e6:.2f} ms")
        print(f"  mapped and touched at start for each: {(8192 + 512) / 1024:.1f} KiB ([server] head and the connection's slot), used or not")
    finally:
        for client in clients:
            client.close()
        peer.stop()


def threads(seconds):
    conf = "[server]\nthreads = {n}\nconnections = 1024\n[bucket main]\nsize = 256K\ncount = 128\n"
    peers = []
    for n in (1, 2):
        peer = pail("builtin:csv-svg-path", conf.replace("{n}", str(n)), name=f"{n} threads")
        subprocess.run(["taskset", "-apc", "0" if n == 1 else "0-1", str(peer.serving())], check=True, stdout=subprocess.DEVNULL)
        peers.append(peer)
    try:
        compare("csv-svg-path, two processors with wrk on one of them", peers, "/", seconds)
    finally:
        for peer in peers:
            peer.stop()


def record(seconds):
    peers = [pail("builtin:send-static-file", name="no log")]
    folder = tempfile.TemporaryDirectory()
    peers.append(pail("builtin:send-static-file", "", "--log", f"{folder.name}/log", name="--log"))
    peers.append(Peer("--record", [f"{BUILD}/bin/pail", "serve", "-c", "{folder}/conf", "--app", "builtin:send-static-file", "--listen",
                                   "127.0.0.1:{port}", "--record", folder.name + "/t.db"],
                      "[server]\nconnections = 1024\n[bucket main]\nsize = 256K\ncount = 128\n"))
    recorder = [pid for pid in children(peers[2].process.pid) if os.readlink(f"/proc/{pid}/exe").endswith("/pail")]
    whole = peers[2].cpu
    peers[2].cpu = lambda: whole() - sum(cpu_ns(pid) for pid in recorder)
    try:
        compare("hello", peers, "/", seconds)
        used = sum(cpu_ns(pid) for pid in recorder)
        print(f"  the recorder's own process: {used / whole():.2f} of all CPU time of pail serve --record")
    finally:
        for peer in peers:
            peer.stop()
        folder.cleanup()


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    if what not in ("hello", "builtin", "idle", "threads", "record"):
        print(__doc__, file=sys.stderr)
        return 2
    globals()[what](*([] if what == "idle" else [seconds]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
