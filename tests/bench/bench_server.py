#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_server.py [--alone] lua|start|storm [COUNT]: the server's own figures.

lua    server CPU time for a request: a fresh Lua state from the snapshot, a
       shared one, one made in the request; beside a request without Lua
start  from exec to the first response, 512 buckets of 256 KiB
storm  COUNT (1000000) each of stack overflows, wild writes and requests out of
       memory on 2 threads; all must be answered, nothing may leak, and a
       well-behaved client is measured before and meanwhile

Run with PAIL_BUILD=build PAIL_SOURCE=. ; prints the machine's load as well,
since the figures are of no use where others run. With --alone all of it runs at
real-time priority (SCHED_RR, for root): what else runs on the machine waits for
it then, so keep it short. In a storm that is the server and, before it, the
well-behaved client, not those who rage: what that client waits for is the server
then, and not its turn on a processor.
"""
import multiprocessing
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "server", "core"))
from harness import BUILD, SERVER, Server, plugin  # noqa: E402

BATCH = 50
PRIORITY = 5


def priority(more):
    """Of this process from now on, if all runs alone; none at all for more = None."""
    if os.sched_getscheduler(0) == os.SCHED_RR:
        os.sched_setscheduler(0, os.SCHED_OTHER if more is None else os.SCHED_RR, os.sched_param(0 if more is None else PRIORITY + more))


def cpu_ns(pid):
    """CPU time of all threads of the server, children included."""
    total = 0
    for process in [pid, *children(pid)]:
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def rage(*words):
    priority(None)
    drive(*words)


def drive(port, target, count, expected):
    """Pipelined batches on one connection; asserts every status."""
    batch = f"GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() * BATCH
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count // BATCH):
            client.sendall(batch)
            seen, data = 0, b""
            while seen < BATCH:
                more = client.recv(1 << 18)
                if not more:
                    raise RuntimeError(f"closed after {data[-200:]!r}")
                data += more
                seen = data.count(b"HTTP/1.1 ")
            # The last one may still be on its way: its head says what comes.
            while not finished(data):
                data += client.recv(1 << 18)
            if data.count(b"HTTP/1.1 %d" % expected) != BATCH:
                raise RuntimeError(f"not {expected}: {data[:300]!r}")


def finished(data):
    head, gap, body = data[data.rindex(b"HTTP/1.1 "):].partition(b"\r\n\r\n")
    if not gap:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.split(b":")[1])


def lua():
    conf = "[server]\nthreads = 1\nimage = 64M\n[bucket main]\nsize = 256K\ncount = 4\n"
    modes = ("none", "shared", "fresh", "new")
    servers = {mode: Server(f"{BUILD}/tests/bench/lua_state.so", conf, args=(mode,), log=False) for mode in modes}
    cost = {mode: [] for mode in modes}
    try:
        for server in servers.values():
            drive(server.port, "/x", 2000, 200)
        for _ in range(11):  # in turns
            for mode, server in servers.items():
                count = 1000 if mode == "new" else 5000
                before = cpu_ns(server.pid)
                drive(server.port, "/x", count, 200)
                cost[mode].append((cpu_ns(server.pid) - before) / count / 1000)
    finally:
        for server in servers.values():
            server.stop()
    for mode in modes:
        low, middle, high = min(cost[mode]), statistics.median(cost[mode]), max(cost[mode])
        print(f"{mode:7} {middle:8.2f} us of CPU for a request  ({low:.2f} to {high:.2f})")
    none, shared, fresh, new = (statistics.median(cost[mode]) for mode in modes)
    print(f"a request with a fresh state / with a shared one: {fresh / shared:.2f}")
    print(f"without the rest of the request: {(fresh - none) / (shared - none):.2f}; a new state: {(new - none) / (shared - none):.1f}")


def start():
    times = []
    for _ in range(9):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/conf", "w", encoding="ascii") as file:
                file.write("[bucket main]\nsize = 256K\ncount = 512\n")
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            began = time.monotonic()
            process = subprocess.Popen([SERVER, "-c", f"{folder}/conf", "--app", "builtin:send-static-file", "--listen", f"127.0.0.1:{port}"],
                                       stderr=subprocess.DEVNULL)
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        assert client.recv(100).startswith(b"HTTP/1.1 200")
                        break
                except ConnectionRefusedError:
                    time.sleep(0.0005)
            times.append((time.monotonic() - began) * 1000)
            process.terminate()
            process.wait()
    print(f"start to first response, 512 x 256 KiB: median {statistics.median(times):.1f} ms ({min(times):.1f} to {max(times):.1f})")


def polite(port, seconds):
    """Latencies of a request every 2 ms, in ms, from when each was due."""
    latencies = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.monotonic()
        end = due + seconds
        while due < end:
            time.sleep(max(0, due - time.monotonic()))
            client.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            latencies.append((time.monotonic() - due) * 1000)
            due = max(due + 0.002, time.monotonic())
    latencies.sort()
    return latencies


def quantiles(latencies):
    return tuple(latencies[int(len(latencies) * q)] for q in (0.5, 0.99))


def storm(count):
    conf = "[server]\nthreads = 2\nconnections = 64\n[bucket main]\nsize = 64K\ncount = 16\n"
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/conf", "w", encoding="ascii") as file:
            file.write(conf)
        process = subprocess.Popen([SERVER, "-c", f"{folder}/conf", "--app", plugin("faults"), "--listen", "127.0.0.1:0",
                                    "--port-file", f"{folder}/port"], stderr=subprocess.DEVNULL)
        while not os.path.exists(f"{folder}/port"):
            time.sleep(0.01)
        with open(f"{folder}/port", encoding="ascii") as file:
            port = int(file.read())
        serving = (children(process.pid) or [process.pid])[-1]

        def state():
            with open(f"/proc/{serving}/status", encoding="ascii") as file:
                rss = next(line.split()[1] for line in file if line.startswith("VmRSS"))
            return len(os.listdir(f"/proc/{serving}/fd")), int(rss)

        priority(1)
        polite(port, 0.5)
        calm = quantiles(polite(port, 3))
        before = state()
        print(f"calm: p50 {calm[0]:.2f} ms, p99 {calm[1]:.2f} ms; {before[0]} descriptors, {before[1]} KiB")
        for target, status in (("/ok", 200), ("/recurse", 500), ("/segv", 500), ("/eat", 500)):
            workers = [multiprocessing.Process(target=rage, args=(port, target, count // 2, status)) for _ in range(2)]
            began = time.monotonic()
            for worker in workers:
                worker.start()
            latencies = []
            while any(worker.is_alive() for worker in workers):
                latencies += polite(port, 0.5)
            took = time.monotonic() - began
            for worker in workers:
                worker.join()
                assert worker.exitcode == 0, "not all were answered as expected"
            p50, p99 = quantiles(sorted(latencies))
            print(f"{count} x {target:9} in {took:5.1f} s, {count / took:8.0f}/s, all {status}; polite client p50 {p50:.2f} ms, "
                  f"p99 {p99:.2f} ms ({p99 / calm[1]:.1f} x calm)", flush=True)
        time.sleep(0.2)
        after = state()
        print(f"after: {after[0]} descriptors, {after[1]} KiB")
        assert after[0] == before[0] and after[1] <= before[1] + 256, "something leaked"
        assert process.poll() is None
        process.terminate()
        assert process.wait() == 0


def main():
    alone = sys.argv[1:2] == ["--alone"]
    if alone:
        del sys.argv[1]
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}{', which waits' if alone else ''}")
    if what == "lua":
        lua()
    elif what == "start":
        start()
    elif what == "storm":
        storm(int(sys.argv[2]) if len(sys.argv) > 2 else 1000000)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
