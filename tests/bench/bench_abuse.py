#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_abuse.py clients|slowhttptest [SECONDS [ROUNDS]]: a good client, while
others are not.

clients       200 slow heads, slow bodies (short ones, long ones, in chunks), slow
              readers, huge bodies, garbage, churn, each by a process of its own
slowhttptest  that program in its modes -H, -B, -R, -X, whose own probe and this
              good client say whether the service is there

The good client asks once every 5 ms by a new connection. In turns, ROUNDS times:
nobody else; the attackers against a server of their own, which has the same
processors (what the machine adds); the attackers against its own server. A p99 is
of all rounds' requests. `in line` is the server's own word: the p99 of how long its
requests waited for a bucket, by its log.

PAIL_BUILD=build PAIL_SOURCE=.
"""
import json
import multiprocessing
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "server", "core"))
from bench_server import quantiles  # noqa: E402
from harness import plugin  # noqa: E402
from peers import pail  # noqa: E402

CONF = "[server]\nconnections = 256\n{limits}[bucket main]\nsize = 256K\ncount = 64\n"
LIMITS = "per_address = 32\nconnections_per_address = 64\n"
GET = b"GET /stream?bytes=3000000&piece=3000 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
ATTACKS = {
    "200 slow heads": ("hold", 200, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a", 0),
    "200 slow bodies, short": ("hold", 200, POST + b"Content-Length: 1000\r\n\r\n", b"a", 0),
    "200 slow bodies, long": ("hold", 200, POST + b"Content-Length: 100000\r\n\r\n", b"a", 0),
    "200 slow bodies, chunks": ("hold", 200, POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0),
    "40 slow readers": ("hold", 40, GET, b"", 1),
    "200 slow readers": ("hold", 200, GET, b"", 1),
    "huge bodies": ("churn", POST + b"Content-Length: 100000000\r\n\r\n" + b"x" * 500000),
    "garbage": ("churn", bytes(range(256)) * 40),
    "churn": ("churn", b""),
}
MODES = {"-H, slow heads": "-H", "-B, slow bodies": "-B", "-R, ranges": "-R", "-X, slow readers": "-X"}


def good(port, seconds):
    """Latencies in ms, and how many requests failed."""
    latencies, failures, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n")
                failures += not client.recv(1000).startswith(b"HTTP/1.1 200")
        except OSError:
            failures += 1
        latencies.append((time.monotonic() - began) * 1000)
        time.sleep(max(0, 0.005 - (time.monotonic() - began)))
    return latencies, failures


# -- attackers: processes, ended by their parent ------------------------------------------


def hold(port, source, count, first, each, read):
    """Connections that send `first`, and every half second `each`, or read so much."""
    clients = []
    while True:
        while len(clients) < count:
            client = socket.socket()
            try:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.bind((source, 0))
                client.settimeout(1)
                client.connect(("127.0.0.1", port))
                client.sendall(first)
                client.setblocking(False)
                clients.append(client)
            except OSError:
                client.close()
                break
        time.sleep(0.5)
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


def churn(port, source, data):
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as client:
                client.sendall(data)
                client.settimeout(0.2)
                client.recv(1000)
        except OSError:
            pass
        time.sleep(0.001)


class Attack:
    def __init__(self, name, port, source):
        kind, *words = ATTACKS[name]
        self.process = multiprocessing.Process(target={"hold": hold, "churn": churn}[kind], args=(port, source, *words), daemon=True)

    def __enter__(self):
        self.process.start()
        time.sleep(1)

    def __exit__(self, *ignored):
        self.process.kill()
        self.process.join()
        time.sleep(0.5)


# -- the table ------------------------------------------------------------------------------


def p99(values):
    return quantiles(sorted(values))[1] if values else 0.0


def in_line(path, since):
    """The p99 of the good client's waits for a bucket, ms, in the log from that byte on."""
    with open(path, encoding="utf-8", errors="replace") as file:
        file.seek(since)
        lines = [json.loads(line) for line in file if line.endswith("}\n") and '"/good"' in line]
    return p99([line["wait_ns"] / 1e6 for line in lines])


def row(name, calm, beside, under, failures, waits):
    a, b, c = p99(calm), p99(beside), p99(under)
    print(f"  {name:24} {100 * (1 - failures / len(under)):7.2f} % of {len(under):5}   {c:7.2f} {a:7.2f} {b:7.2f}   "
          f"{c / a:6.1f} {c / b:6.1f}   {waits:7.2f}", flush=True)


def attack_all(seconds, rounds, limits, source, names):
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/log"
        peer = pail(plugin("talk"), CONF.format(limits=limits), "--log", log)
        other = pail(plugin("talk"), CONF.format(limits=limits))
        try:
            good(peer.port, 1)
            for name in names:
                calm, beside, under, failures, waits = [], [], [], 0, []
                for _ in range(rounds):
                    calm += good(peer.port, seconds)[0]
                    with Attack(name, other.port, source):
                        beside += good(peer.port, seconds)[0]
                    with Attack(name, peer.port, source):
                        since = os.path.getsize(log)
                        latencies, failed = good(peer.port, seconds)
                        time.sleep(0.2)
                        waits.append(in_line(log, since))
                    under += latencies
                    failures += failed
                row(name, calm, beside, under, failures, max(waits))
        finally:
            peer.stop()
            other.stop()


HEAD = f"  {'':24} {'200s':>18}   {'p99 ms':>7} {'calm':>7} {'beside':>7}   {'/calm':>6} {'/beside':>6}   {'in line':>7}"


def clients(seconds, rounds):
    print(f"everyone from one address, no limits of addresses; {rounds} rounds of {seconds} s\n{HEAD}")
    attack_all(seconds, rounds, "", "127.0.0.1", ATTACKS)
    print("the attackers from another address, per_address = 32, connections_per_address = 64")
    attack_all(seconds, rounds, LIMITS, "127.0.0.2", [name for name in ATTACKS if "slow" in name])


def slowhttptest(seconds, _):
    if not shutil.which("slowhttptest"):
        print("slowhttptest is not installed")
        return
    peer = pail(plugin("talk"), CONF.format(limits=""))
    try:
        for name, mode in MODES.items():
            path = "/stream?bytes=300000&piece=3000" if mode == "-X" else "/x"
            more = ["-s", "4096"] if mode == "-B" else ["-k", "3", "-n", "1", "-y", "1024", "-w", "512", "-z", "32"] if mode == "-X" else []
            with subprocess.Popen(["slowhttptest", mode, "-c", "200", "-r", "200", "-i", "1", "-l", str(seconds), "-p", "3", *more,
                                   "-u", f"http://127.0.0.1:{peer.port}{path}"], stdout=subprocess.PIPE, text=True) as tester:
                time.sleep(1)
                latencies, failures = good(peer.port, seconds - 2)
                told = re.sub(r"\x1b\[[0-9;]*m", "", tester.communicate(timeout=seconds + 60)[0])
            words = re.findall(r"service available:\s+(\w+)", told)
            ended = re.findall(r"Exit status: (.*)", told)
            print(f"  {name:18} its probe: {', '.join(sorted(set(words))) or '?'} ({len(words)} times; {ended[-1].strip() if ended else '?'}); "
                  f"good client {100 * (1 - failures / len(latencies)):.2f} % of {len(latencies)} are 200, p99 {p99(latencies):.2f} ms", flush=True)
    finally:
        peer.stop()


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what not in ("clients", "slowhttptest"):
        print(__doc__, file=sys.stderr)
        return 2
    seconds, rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 8 if what == "slowhttptest" else 2, int(sys.argv[3]) if len(sys.argv) > 3 else 3
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    globals()[what](seconds, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
