#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_http.py hello|builtin|idle|threads|record|abuse [SECONDS]: requests per
second of the server's own CPU time, beside its peers, in turns.

hello    builtin:send-static-file against tests/bench/trivial_epoll.c and nginx,
         keep-alive by 64 connections; then pipelined by 16
builtin  builtin:varying-allocations and builtin:csv-svg-path against the same
         code on libmicrohttpd, with glibc's malloc and with mimalloc
idle     what 10000 idle keep-alive connections cost the server beyond the kernel's
threads  two threads against one: CPU time of a request
record   --log and --record: what they add to a request
abuse    a good client while others send slow heads, read slowly, send huge
         bodies or garbage, and come and go

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
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "server", "core"))
from bench_server import children, cpu_ns, quantiles  # noqa: E402
from harness import BUILD, plugin  # noqa: E402
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


# -- abuse ------------------------------------------------------------------------


def good(port, seconds):
    """A connection at a time, a request every 5 ms: latencies in ms, and failures."""
    latencies, failures, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
                failures += not client.recv(1000).startswith(b"HTTP/1.1 200")
        except OSError:
            failures += 1
        latencies.append((time.monotonic() - began) * 1000)
        time.sleep(max(0, 0.005 - (time.monotonic() - began)))
    return sorted(latencies), failures


def hold(port, count, first, each, stop, read=0, source="127.0.0.1"):
    """Connections that send `first` and then one byte of `each` every second."""
    clients = []
    while not stop.is_set():
        while len(clients) < count:
            try:
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.bind((source, 0))
                client.connect(("127.0.0.1", port))
                client.sendall(first)
                client.setblocking(False)
                clients.append(client)
            except OSError:
                break
        stop.wait(0.5)
        for client in list(clients):
            try:
                if each:
                    client.send(each)
                if read:
                    client.recv(read)
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                clients.remove(client)
    for client in clients:
        client.close()


def churn(port, data, stop):
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(data)
                client.settimeout(0.2)
                client.recv(1000)
        except OSError:
            pass
        stop.wait(0.001)


def abuse(seconds):
    print("everyone from one address, without limits of addresses:")
    attack(seconds, "", "127.0.0.1", ATTACKS)
    print("the attackers from another address, per_address = 32, connections_per_address = 64:")
    attack(seconds, "per_address = 32\nconnections_per_address = 64\n", "127.0.0.2", [name for name in ATTACKS if name[0].isdigit()])


ATTACKS = ["200 slow heads", "200 slow bodies", "40 slow readers", "200 slow readers", "huge bodies", "garbage", "churn"]


def attack(seconds, limits, source, names):
    conf = f"[server]\nconnections = 256\n{limits}[bucket main]\nsize = 256K\ncount = 64\n"
    peer = pail(plugin("talk"), conf)
    get = b"GET /stream?bytes=3000000&piece=3000 HTTP/1.1\r\nHost: a\r\n\r\n"
    attacks = {
        "200 slow heads": (hold, (200, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a")),
        "200 slow bodies": (hold, (200, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"a")),
        "40 slow readers": (hold, (40, get, b"", 1)),
        "200 slow readers": (hold, (200, get, b"", 1)),
        "huge bodies": (churn, (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 500000,)),
        "garbage": (churn, (os.urandom(10000),)),
        "churn": (churn, (b"",)),
    }
    try:
        good(peer.port, 1)
        for name in names:
            kind, words = attacks[name]
            calm, failed = good(peer.port, seconds)
            stop = threading.Event()
            many = [threading.Thread(target=kind, args=(peer.port, *words[:-1], words[-1], stop) if kind is churn else
                                     (peer.port, *words[:3], stop, *(words[3:] or (0,)), source)) for _ in range(1)]
            for thread in many:
                thread.start()
            time.sleep(1)
            latencies, failures = good(peer.port, seconds)
            stop.set()
            for thread in many:
                thread.join()
            a, b = quantiles(calm)[1], quantiles(latencies)[1]
            print(f"  {name:18} {100 * (1 - failures / len(latencies)):7.2f} % of {len(latencies)} are 200; p99 {b:.2f} ms, calm {a:.2f} ms ({b / a:.1f})", flush=True)
            assert not failed
    finally:
        peer.stop()


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    if what not in ("hello", "builtin", "idle", "threads", "record", "abuse"):
        print(__doc__, file=sys.stderr)
        return 2
    globals()[what](*([] if what == "idle" else [seconds]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
