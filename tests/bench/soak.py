#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""soak.py [MINUTES] [--out FOLDER] [--every S]: a sealed server, in a control group of
exactly its bound, under everything at once for MINUTES (30).

Traffic, paced, from five processes:
  mix      keep-alive requests of several kinds, whose neighbours look whether
           their memory is whole; every status is the expected one, or 503
  faults   buckets overrun, stacks overflowed, wild reads, writes and jumps,
           aborts, exits, failed assertions, endless loops, locks held
  slow     heads and bodies a byte at a time, answers that nobody reads
  noise    garbage, bodies that are too large, connections that come and go
  good     one request each 20 ms on a connection of its own: what a
           well-behaved client sees
Three times the serving process is killed from outside.

Asked, and the exit is 1 where it is not so: resident memory and descriptors
flat, no restart but the injected ones, no wrong answer, at least 99.9 % of the
good client's requests 200, the group's limit never hit. The group is a memory cgroup of
either version; where there is none to write to, that is said.
Writes soak.csv (a line each S seconds), soak.json (the verdict) and soak.svg.
PAIL_BUILD=build PAIL_SOURCE=. ; the clients take about half a processor.
"""
import argparse
import csv
import json
import multiprocessing
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("core", "ops"):
    sys.path.insert(0, os.path.join(HERE, "..", "server", folder))
from harness import BUILD, SERVER, SOURCE, Client, Closed  # noqa: E402
from ops import Ops  # noqa: E402
from test_bound import group_kind  # noqa: E402

CONF = """
[server]
admin = 127.0.0.1:0
connections = 400
threads = 2
queue = 64
head_timeout = 3s
body_timeout = 3s
write_timeout = 3s
cpu_deadline = 300ms
[bucket main]
size = 256K
count = 32
"""
FAULTS = {
    "/eat": 500, "/huge": 500, "/segv": 500, "/wild": 500, "/jump-wild": 500, "/fpe": 500, "/ill": 500, "/abort": 500,
    "/assert": 500, "/exit": 500, "/recurse": 500, "/leap?bytes=900000": 500, "/recurse-printing": 500, "/sort-eat": 500,
    "/sort-fall": 500, "/fault-in-end": 500, "/big-stack?bytes=1500000": 500, "/write-wild": 500, "/overrun": 500,
    "/bad-status": 500, "/defer?bad=1": 500, "/locked-segv": 500, "/locked-eat": 500, "/free-foreign": 200,
    "/double-free": 200, "/smash": 200, "/lock": 200, "/print": 200,
}
LOOPS = {"/loop": 504, "/loop-libc": 504, "/locked-loop": 504}
RSS_SLACK_KIB = 256
PAGE = os.sysconf("SC_PAGE_SIZE")


class Tally:
    """What the clients of one process saw; shared with the parent."""

    NAMES = ("answered", "busy", "closed", "wrong")

    def __init__(self):
        self.values = {name: multiprocessing.Value("q", 0) for name in self.NAMES}
        self.example = multiprocessing.Array("c", 300)

    def count(self, name):
        value = self.values[name]
        with value.get_lock():
            value.value += 1

    def answer(self, target, answer, status, body=None):
        if answer.status == 503 and status != 503:
            self.count("busy")
        elif answer.status != status or (body is not None and answer.body != body):
            self.count("wrong")
            self.example.value = f"{target}: {answer!r}"[:290].encode()
        else:
            self.count("answered")

    def read(self):
        return {name: value.value for name, value in self.values.items()}


# -- the clients ---------------------------------------------------------------------


def together(stop, *works):
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(20)


def conversation(port, stop, tally, pause, turn):
    """turn(client) again and again on one connection; a new one when it is closed."""
    client = None
    while not stop.is_set():
        try:
            client = client or Client(port, 20)
            turn(client)
        except (OSError, Closed):
            tally.count("closed")
            if client:
                client.socket.close()
            client = None
        stop.wait(pause)


def mix(port, stop, tally):
    def turn(client):
        kind, mark = random.randrange(5), random.randrange(1, 255)
        if kind == 0:
            tally.answer("/ok", client.ask("GET", "/ok"), 200, b"ok\n")
        elif kind == 1:
            target = f"/neighbour?ms=20&mark={mark}"
            tally.answer(target, client.ask("GET", target), 200, b"whole %d\n" % mark)
        elif kind == 2:
            tally.answer("POST /ok", client.ask("POST", "/ok", body=b"x" * random.randrange(100000)), 200, b"ok\n")
        elif kind == 3:
            tally.answer("/stream", client.ask("GET", "/stream?bytes=100000"), 200, b"x" * 100000)
        else:
            tally.answer("/none", client.ask("GET", "/none"), 404)

    together(stop, *[lambda: conversation(port, stop, tally, 0.1, turn)] * 4)


def faults(port, stop, tally):
    def ask(table):
        def turn(client):
            target = random.choice(list(table))
            tally.answer(target, client.ask("GET", target), table[target])
        return turn

    together(stop, *[lambda: conversation(port, stop, tally, 0.06, ask(FAULTS))] * 2,
             lambda: conversation(port, stop, tally, 4, ask(LOOPS)))


def hold(port, stop, tally, count, first, each, read):
    """Connections that send `first`, and then one byte of `each` twice a second."""
    clients = []
    while not stop.is_set():
        while len(clients) < count and not stop.is_set():
            client = socket.socket()
            try:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.settimeout(5)
                client.connect(("127.0.0.1", port))
                client.sendall(first)
                client.setblocking(False)
                clients.append(client)
            except OSError:
                client.close()
                break
        stop.wait(0.5)
        for client in list(clients):
            try:
                if each:
                    client.send(each)
                if read and client.recv(read) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                tally.count("closed")
                client.close()
                clients.remove(client)
    for client in clients:
        client.close()


def slow(port, stop, tally):
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    body = b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
    stream = b"GET /stream?bytes=3000000 HTTP/1.1\r\nHost: a\r\n\r\n"
    together(stop, *[(lambda words: lambda: hold(port, stop, tally, *words))(words) for words in (
        (60, head, b"a", 1), (10, body + b"x" * 60000, b"x", 1), (8, stream, b"", 1), (4, stream * 16, b"", 0))])


def noise(port, stop, tally):
    def send(make, pause):
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as client:
                    client.sendall(make())
                    client.settimeout(0.2)
                    client.recv(1000)
            except OSError:
                pass
            tally.count("closed")
            stop.wait(pause)

    big = b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100000
    together(stop, lambda: send(lambda: os.urandom(random.randrange(1, 10000)), 0.1),
             lambda: send(lambda: b"GET /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 0.2),
             lambda: send(lambda: big, 0.5), lambda: send(lambda: b"", 0.02))


def good(port, stop, tally, report):
    due = time.monotonic()
    while not stop.is_set():
        stop.wait(max(0, due - time.monotonic()))
        began, status = time.monotonic(), 0
        try:
            with Client(port, 20) as client:
                answer = client.ask("GET", "/ok", [("Connection", "close")])
                status = answer.status
                tally.answer("good", answer, 200, b"ok\n")
        except (OSError, Closed):
            tally.count("closed")
        report.send(((time.monotonic() - began) * 1000, status))
        due = max(due + 0.02, time.monotonic())


# -- the server, sampled ------------------------------------------------------------------


class NoGroup:
    path = None

    def nothing(self):
        return 0

    now = peak = sockets = refusals = nothing

    def around(self):
        return []

    def remove(self):
        pass


def group_of(limit):
    kind = group_kind()
    if kind:
        return kind(limit)
    print("soak: no memory cgroup to write to (root, and memory mounted at /sys/fs/cgroup): no limit is set", file=sys.stderr)
    return NoGroup()


def bound():
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(CONF)
        file.flush()
        done = subprocess.run([SERVER, "-c", file.name, "--print-bound", "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)["bound_bytes"]


def quantile(values, q):
    return values[min(len(values) - 1, int(len(values) * q))] if values else 0.0


class Watch:
    """Samples; counters of a process that ended are kept."""

    COLUMNS = ("second", "pid", "rss_kib", "descriptors", "connections", "buckets", "group_bytes", "tcp_bytes", "failcnt",
               "restarts", "status_2xx", "status_4xx", "status_5xx", "good", "good_200", "good_p50_ms", "good_p99_ms", "load",
               "cache_bytes")

    def __init__(self, server, group, report, file):
        self.server, self.group, self.report = server, group, report
        self.start, self.pids, self.rows = time.monotonic(), [server.pid], []
        self.past, self.now = {}, {}
        self.file, self.writer = file, csv.DictWriter(file, self.COLUMNS)
        self.writer.writeheader()

    def statuses(self):
        counts = {}
        for line in self.server.admin("/metrics").body.decode().splitlines():
            match = re.match(r'pail_requests_total\{.*?status="(\dxx)".*\} (\S+)', line)
            if match:
                counts[match.group(1)] = counts.get(match.group(1), 0) + int(float(match.group(2)))
            match = re.match(r"(pail_connections_open|pail_buckets_in_use)(?:\{.*\})? (\S+)", line)
            if match:
                counts[match.group(1)] = counts.get(match.group(1), 0) + int(float(match.group(2)))
        return counts

    def cache(self):
        """The group's page cache: of stderr's file, and the kernel's to take back."""
        if not self.group.path:
            return 0
        with open(f"{self.group.path}/memory.stat", encoding="ascii") as file:
            return int(re.search(r"^(?:cache|file) (\d+)", file.read(), re.M).group(1))

    def follow(self):
        """The process that serves now."""
        pid = self.server.serving()
        if pid != self.pids[-1]:
            self.pids.append(pid)
            self.server.pid = pid
            for status, count in self.now.items():
                self.past[status] = self.past.get(status, 0) + count
            self.now = {}

    def sample(self):
        latencies, fine = [], 0
        while self.report.poll():
            latency, status = self.report.recv()
            latencies.append(latency)
            fine += status == 200
        latencies.sort()
        self.follow()
        counts = self.statuses()
        self.now = {status: count for status, count in counts.items() if status.endswith("xx")}

        def total(status):
            return self.past.get(status, 0) + self.now.get(status, 0)

        row = {
            "second": round(time.monotonic() - self.start, 1), "pid": self.pids[-1], "rss_kib": self.server.status("VmRSS"),
            "descriptors": self.server.descriptors(), "connections": counts.get("pail_connections_open", 0),
            "buckets": counts.get("pail_buckets_in_use", 0), "group_bytes": self.group.now(),
            "tcp_bytes": self.group.sockets(), "failcnt": self.group.refusals(),
            "restarts": len(self.pids) - 1, "status_2xx": total("2xx"), "status_4xx": total("4xx"), "status_5xx": total("5xx"),
            "good": len(latencies), "good_200": fine,
            "good_p50_ms": round(quantile(latencies, 0.5), 3), "good_p99_ms": round(quantile(latencies, 0.99), 3),
            "load": round(os.getloadavg()[0], 1), "cache_bytes": self.cache(),
        }
        self.rows.append(row)
        self.writer.writerow(row)
        self.file.flush()
        return row


def attempt(watch):
    """A sample; None while a killed process has no follower yet."""
    try:
        return watch.sample()
    except (OSError, AssertionError, Closed):
        return None


# -- the verdict ------------------------------------------------------------------------------


def resident(rows):
    """How far a process went above and below its first sample, the most of all. Below is
    the kernel's doing: it drops pages of programs that it can read again."""
    first = {}
    for row in rows:
        first.setdefault(row["pid"], row["rss_kib"])
    changes = [row["rss_kib"] - first[row["pid"]] for row in rows]
    return max(changes), -min(changes)


def verdict(watch, quiet, limit, killed, tallies, server):
    rows, checks = watch.rows, []

    def check(name, fine, text):
        checks.append({"name": name, "held": bool(fine), "what": text})

    grown, fallen = resident(rows)
    check("rss", grown <= RSS_SLACK_KIB, f"resident {min(r['rss_kib'] for r in rows)} to {max(r['rss_kib'] for r in rows)} KiB; no process "
          f"grew by more than {grown} KiB, or fell by more than {fallen}")
    check("descriptors", quiet[0] == quiet[1], f"{quiet[0]} before, {quiet[1]} after, at most "
          f"{max(r['descriptors'] for r in rows)} meanwhile (400 connections)")
    check("restarts", len(watch.pids) - 1 == killed, f"{len(watch.pids) - 1}, of which {killed} injected")
    wrong = sum(tally.read()["wrong"] for tally in tallies.values())
    examples = "; ".join(tally.example.value.decode() for tally in tallies.values() if tally.example.value)
    check("answers", wrong == 0, f"{wrong} wrong of {sum(t.read()['answered'] for t in tallies.values())} {examples}".strip())
    asked, fine = sum(r["good"] for r in rows), sum(r["good_200"] for r in rows)
    p99 = sorted(row["good_p99_ms"] for row in rows if row["good"])
    check("good client", asked and fine / asked >= 0.999, f"{fine} of {asked} requests 200 ({100 * fine / max(asked, 1):.3f} %); p99 of "
          f"an interval: median {quantile(p99, 0.5):.1f} ms, most {quantile(p99, 1):.1f} ms")
    if isinstance(watch.group, NoGroup):
        check("bound", True, f"{limit} bytes; not enforced here, there is no control group")
    else:
        inside = set(watch.group.processes())
        ours = {server.process.pid, server.pid}
        told = watch.group.read(watch.group.LIMIT)
        check("group", ours <= inside and limit - PAGE < told <= limit, f"{len(inside)} processes in {watch.group.path}, the server's "
              f"{len(ours & inside)} of {len(ours)} among them, and its limit is {told} bytes")
        peak = watch.group.peak()
        check("bound", rows[-1]["failcnt"] == 0 and peak < limit, f"{limit} bytes; the group's peak {peak} "
              f"({100 * peak / limit:.1f} %), limit hit {rows[-1]['failcnt']} times")
    check("alive", server.process.poll() is None and server.get("/ok").status == 200, "serves at the end")
    return checks


PLOT = """
set datafile separator ','
set terminal svg size 900,1000 font 'sans,11' background rgb 'white'
set output '{out}'
set multiplot layout 4,1 title '{title}'
set xrange [0:{minutes}]
set key outside right
set lmargin 10
set rmargin 24
f = '{csv}'
set ylabel 'MiB'
set yrange [0:*]
plot f using ($1/60):($7/1048576) every ::1 with lines lw 2 title 'control group', \\
  f using ($1/60):($3/1024) every ::1 with lines lw 2 title 'resident', \\
  f using ($1/60):($8/1048576) every ::1 with lines title 'of it TCP', \\
  f using ($1/60):($19/1048576) every ::1 with lines title 'of it page cache', {limit} with lines dt 2 lc 'red' title 'bound'
set ylabel 'descriptors, connections'
plot f using ($1/60):4 every ::1 with lines title 'descriptors', f using ($1/60):5 every ::1 with lines title 'connections', \\
  f using ($1/60):6 every ::1 with lines title 'buckets in use'
set ylabel 'answers so far'
set logscale y
set yrange [1:*]
plot f using ($1/60):11 every ::1 with lines title '2xx', f using ($1/60):12 every ::1 with lines title '4xx', \\
  f using ($1/60):13 every ::1 with lines title '5xx', f using ($1/60):10 every ::1 with steps lw 2 lc 'red' title 'restarts (injected)'
set ylabel 'good client, ms'
set yrange [0.1:*]
set xlabel 'minutes'
plot f using ($1/60):16 every ::1 with lines title 'p50', f using ($1/60):17 every ::1 with lines title 'p99', \\
  f using ($1/60):18 every ::1 with lines lc 'gray' title 'load of the machine'
"""


def plot(folder, minutes, limit):
    script = PLOT.format(out=f"{folder}/soak.svg", csv=f"{folder}/soak.csv", minutes=minutes, limit=limit / 1048576,
                         title=f"{minutes:g} minutes of mixed traffic and faults, sealed")
    try:
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"soak: no plot: {error}", file=sys.stderr)


def commit():
    done = subprocess.run(["git", "-C", SOURCE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def settled(server):
    """Descriptors once no connection is open but the one that asks."""
    deadline = time.monotonic() + 60
    while True:
        values = []
        for _ in range(5):
            values.append(server.descriptors())
            time.sleep(0.1)
        if len(set(values)) == 1 and time.monotonic() > deadline - 50:
            return values[0]
        if time.monotonic() > deadline:
            return max(values)


def soak(options):
    os.makedirs(options.out, exist_ok=True)
    limit, seconds = bound(), options.minutes * 60
    group = group_of(limit)
    wrap = group.around()
    stop, (receive, send) = multiprocessing.Event(), multiprocessing.Pipe(False)
    tallies = {work.__name__: Tally() for work in (mix, faults, slow, noise, good)}
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        with Ops("faults", CONF, wrap=wrap, log=False, options=["--seal"]) as server, \
                open(f"{options.out}/soak.csv", "w", encoding="ascii", newline="") as file:
            watch = Watch(server, group, receive, file)
            before = settled(server)
            works = [multiprocessing.Process(target=work, args=(server.port, stop, tallies[work.__name__], *more), daemon=True)
                     for work, *more in ((mix,), (faults,), (slow,), (noise,), (good, send))]
            for work in works:
                work.start()
            watch.start = time.monotonic()
            kills, killed = [seconds * part for part in (0.25, 0.5, 0.75)], 0
            due = options.every
            while due <= seconds:
                time.sleep(max(0, watch.start + due - time.monotonic()))
                due = max(due + options.every, time.monotonic() - watch.start)
                row = attempt(watch)
                if row and sys.stderr.isatty():
                    print(f"\r{row['second']:7.0f} s  {row['rss_kib']} KiB  {row['descriptors']} descriptors  good p99 "
                          f"{row['good_p99_ms']:.1f} ms ", end="", file=sys.stderr)
                if row and killed < len(kills) and row["second"] >= kills[killed]:
                    os.kill(server.pid, signal.SIGKILL)
                    killed += 1
            stop.set()
            for work in works:
                work.join(30)
                if work.is_alive():
                    work.terminate()
            watch.follow()
            checks = verdict(watch, (before, settled(server)), limit, killed, tallies, server)
            last = watch.rows[-1]
            peak = {"group": group.peak()}
            told = [line for line in server.errors().splitlines() if "process" in line]
    finally:
        stop.set()
        group.remove()
    result = {"schema": "pail.soak/1", "began": began, "minutes": options.minutes, "commit": commit(), "machine": platform.machine(),
              "processors": os.cpu_count(), "load": sorted(r["load"] for r in watch.rows)[len(watch.rows) // 2], "bound_bytes": limit,
              "group_peak_bytes": peak["group"], "statuses": {key[7:]: last[key] for key in last if key.startswith("status_")},
              "clients": {name: tally.read() for name, tally in tallies.items()}, "restarts": told, "checks": checks}
    with open(f"{options.out}/soak.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    plot(options.out, options.minutes, limit)
    print(f"{result['machine']}, {result['processors']} processors, median load {result['load']}, commit {result['commit']}, "
          f"{options.minutes:g} minutes; answers {result['statuses']}")
    for check in checks:
        print(f"  {'held  ' if check['held'] else 'BROKEN'} {check['name']:12} {check['what']}")
    return 0 if all(check["held"] for check in checks) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    parser.add_argument("--out", default=f"{BUILD}/soak")
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    options = parser.parse_args()
    if options.minutes * 60 < 4 * options.every:
        parser.error("too short for four samples")
    return soak(options)


if __name__ == "__main__":
    sys.exit(main())
