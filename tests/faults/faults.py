#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes every system call of pail fail once, by fault.so, and looks at what came of it.

    faults.py PAIL FAULT_SO TALKER [--all] [--only SCENARIO] [--kind KIND] [--one KIND:K:HOW]

Without --all a sample, spread evenly over the calls of each kind, which takes seconds.
What must hold, whichever call fails:

- pail ends by itself and not by a signal, with 0 (or the program's code) or 3, and with 3
  it says why in one line that begins with its name;
- what it wrote is there as a whole, or what was there before, or nothing;
- no temporary file is left, nor shared memory;
- a program that is being recorded runs to its end, with its own exit code;
- a server answers, or ends.
"""
import argparse
import os
import shutil
import signal
import sqlite3
import socket
import struct
import subprocess
import sys
import tempfile
import time

KINDS = ("open read write sync truncate allocate map protect rename unlink close stat mkstemp mkdtemp lock"
         " random pipe fork thread socket bind listen epoll epoll_ctl event accept send receive malloc").split()
HOWS = {
    "open": ("EMFILE", "EIO"), "read": ("EIO", "EINTR", "short"), "write": ("ENOSPC", "EIO", "EINTR", "short"),
    "sync": ("EIO",), "truncate": ("EIO",), "allocate": ("ENOSPC",), "map": ("ENOMEM",), "protect": ("ENOMEM",),
    "rename": ("EIO",), "unlink": ("EIO",), "close": ("EIO",), "stat": ("EIO",), "mkstemp": ("ENOSPC",),
    "mkdtemp": ("ENOSPC",), "lock": ("EAGAIN", "EIO"), "random": ("EAGAIN",), "pipe": ("EMFILE",),
    "fork": ("EAGAIN",), "thread": ("EAGAIN",), "socket": ("EMFILE",), "bind": ("EADDRINUSE",),
    "listen": ("EADDRINUSE",), "epoll": ("EMFILE",), "epoll_ctl": ("ENOMEM",), "event": ("EMFILE",),
    "accept": ("EMFILE",), "send": ("ECONNRESET", "short"), "receive": ("ECONNRESET", "short"),
    "malloc": ("ENOMEM",),
}
NOTE_BYTES = 32 * 8 + 8 + 8 * 128 + 8
REQUESTS = 20
LIMIT_S = 15


class Wrong(Exception):
    """What must hold did not."""


def check(good, *words):
    if not good:
        raise Wrong(" ".join(str(word) for word in words))


def trace_is_whole(path):
    """How many requests the trace holds; it must open and be consistent."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        check(db.execute("PRAGMA quick_check").fetchall() == [("ok",)], "the trace is damaged")
        return db.execute("SELECT count(*) FROM request").fetchone()[0]
    except sqlite3.Error as error:
        raise Wrong(f"the trace cannot be read: {error}") from error
    finally:
        db.close()


class Scenario:
    """One command, run anew in a fresh folder with one call failing."""
    program, forks = "pail", False

    def __init__(self, words, folder):
        self.pail, self.fault, self.talker = (os.path.abspath(w) for w in (words.pail, words.fault, words.talker))
        self.base = folder

    def environment(self, fault, note):
        more = {"LD_PRELOAD": self.fault, "PAIL_FAULT": fault, "PAIL_FAULT_NOTE": note, "PAIL_FAULT_IN": self.program}
        if self.forks:
            more["PAIL_FAULT_FORKS"] = "1"
        return {**os.environ, **more}

    def once(self, fault):
        """Runs it, and checks; gives how often each kind was called, and whether the fault came."""
        folder = tempfile.mkdtemp(dir=self.base)
        note = os.path.join(self.base, "note")
        with open(note, "wb") as file:
            file.write(bytes(NOTE_BYTES))
        self.kind = fault.split(":")[0]
        try:
            self.prepare(folder)
            code, said = self.run(folder, self.environment(fault, note))
            with open(note, "rb") as file:
                data = file.read()
            counts = dict(zip(KINDS, struct.unpack_from("32Q", data)))
            hit, = struct.unpack_from("Q", data, 256)
            rings = [data[264 + i * 128:264 + (i + 1) * 128].rstrip(b"\0").decode() for i in range(8)]
            for ring in filter(None, rings):
                left = os.path.exists(ring)
                shutil.rmtree(ring, True)
                check(not left or self.kind == "unlink", f"{ring} is left")
            check(code >= 0, "ended by signal", -code, said)
            check(code != 3 or hit, "it fails without a fault:", said)
            self.judge(folder, code, said)
            return counts, bool(hit)
        finally:
            shutil.rmtree(folder, True)

    def command(self, folder, environment, *words):
        p = subprocess.Popen([self.pail, *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            _, said = p.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.communicate()
            raise Wrong(f"it hangs: not over after {LIMIT_S} s") from None
        return p.returncode, said

    def one_line(self, said):
        lines = [line for line in said.splitlines() if line.startswith("pail")]
        check(len(lines) >= 1, "no reason is given:", repr(said))
        check(lines[-1].count(": ") >= 1, "no reason is given:", repr(said))

    def only(self, folder, *names):
        left = sorted(set(os.listdir(folder)) - set(names))
        check(not left or self.kind == "unlink", "left behind:", left)

    def prepare(self, folder):
        pass


class Record(Scenario):
    """A program is recorded."""

    def run(self, folder, environment):
        return self.command(folder, environment, "record", "--ring", "1M", "-o", "t.db", "--", self.talker, folder,
                            str(REQUESTS), "0")

    def judge(self, folder, code, said):
        begun, done = (os.path.exists(os.path.join(folder, name)) for name in ("begun", "done"))
        check(begun == done, "the program was harmed:", said)
        check(code in (3, 7), "exit code", code, said)
        check(code == 3 or done, "7 without a program")
        path = os.path.join(folder, "t.db")
        held = trace_is_whole(path) if os.path.exists(path) else None
        if code == 7:
            check(held == REQUESTS, "success, and the trace holds", held)
        else:
            self.one_line(said)
        self.only(folder, "begun", "done", "t.db")


class Stacks(Record):
    """With call stacks, whose names are looked up at the end."""

    def run(self, folder, environment):
        return self.command(folder, environment, "record", "--ring", "1M", "--detail", "stacks", "--stack-room", "1024",
                            "-o", "t.db", "--", self.talker, folder, str(REQUESTS), "0")


class Plan(Scenario):
    """A trace is read and a plan written over an older one."""
    OLD = "# older\n"

    def __init__(self, words, folder):
        super().__init__(words, folder)
        self.source, self.reference = os.path.join(folder, "source.db"), None
        rows = "".join(f"{i * 1000000},2000000,{5000 + i % 7 * 900},GET /a\n" for i in range(300))
        with open(os.path.join(folder, "t.csv"), "w", encoding="ascii") as file:
            file.write("arrival_ns,service_ns,need_bytes,route\n" + rows)
        subprocess.run([self.pail, "import", "--format", "csv", "-o", self.source, os.path.join(folder, "t.csv")],
                       check=True, capture_output=True)

    def prepare(self, folder):
        shutil.copy(self.source, os.path.join(folder, "t.db"))
        with open(os.path.join(folder, "p.conf"), "w", encoding="ascii") as file:
            file.write(self.OLD)

    def run(self, folder, environment):
        return self.command(folder, environment, "plan", "t.db", "--target", "0.05", "--provisional", "-o", "p.conf")

    def judge(self, folder, code, said):
        with open(os.path.join(folder, "p.conf"), encoding="utf-8") as file:
            text = file.read()
        if self.reference is None:
            check(code == 0, said)
            self.reference = text
        check(code in (0, 3), "exit code", code, said)
        check(text in (self.reference, self.OLD), "half a plan was written")
        if code == 0:
            check(text == self.reference, "success, and the plan is the old one")
        else:
            self.one_line(said)
        self.only(folder, "t.db", "p.conf")


class Report(Scenario):
    """A trace is read, and a page written."""

    def __init__(self, words, folder):
        super().__init__(words, folder)
        self.source = os.path.join(folder, "recorded.db")
        place = os.path.join(folder, "marks")
        os.mkdir(place)
        subprocess.run([self.pail, "record", "--ring", "1M", "-o", self.source, "--", self.talker, place, str(REQUESTS), "0"],
                       check=False, capture_output=True)

    def prepare(self, folder):
        shutil.copy(self.source, os.path.join(folder, "t.db"))

    def run(self, folder, environment):
        return self.command(folder, environment, "export", "--format", "csv", "-o", "t.csv", "t.db")

    def judge(self, folder, code, said):
        path = os.path.join(folder, "t.csv")
        check(code in (0, 3), "exit code", code, said)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
            check(len(lines) == REQUESTS + 1, "half a file was written:", len(lines), "lines")
        check(code == 3 or os.path.exists(path), "success, and nothing was written")
        if code:
            self.one_line(said)
        self.only(folder, "t.db", "t.csv")


class Serve(Scenario):
    """A server starts, answers three times and is ended."""
    program, forks = "pail-server", True
    CONF = ("[server]\nlisten = 127.0.0.1:0\nthreads = 2\nconnections = 16\nqueue = 4\ndrain = 2s\n[bucket main]\nsize = 64K\ncount = 4\n")

    def prepare(self, folder):
        with open(os.path.join(folder, "p.conf"), "w", encoding="ascii") as file:
            file.write(self.CONF)

    def ask(self, port):
        """Whether it answers; what it drops is no answer."""
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.settimeout(10)
                s.sendall(b"GET /5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                return s.recv(100).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def run(self, folder, environment):
        port_file = os.path.join(folder, "port")
        p = subprocess.Popen([self.pail, "serve", "-c", "p.conf", "--app", "builtin:varying-allocations", "--port-file",
                              port_file], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            deadline = time.monotonic() + LIMIT_S
            while p.poll() is None and not os.path.exists(port_file):
                check(time.monotonic() < deadline, "neither listens nor ends")
                time.sleep(0.002)
            if p.poll() is None:
                with open(port_file, encoding="ascii") as file:
                    port = int(file.read())
                answers = [self.ask(port) for _ in range(3)]
                check(p.poll() is not None or sum(answers) >= 2, "runs, and does not answer:", answers)
                self.served = True
                p.send_signal(signal.SIGTERM)
            else:
                self.served = False
            _, said = p.communicate(timeout=LIMIT_S)
            return p.returncode, said
        except subprocess.TimeoutExpired:
            raise Wrong("does not end") from None
        finally:
            if p.poll() is None:
                os.killpg(p.pid, signal.SIGKILL)
                p.communicate()

    def judge(self, folder, code, said):
        check(code in (0, 3), "exit code", code, said)
        check(code == 3 or self.served, "success, and it did not serve")
        if code:
            self.one_line(said)
        self.only(folder, "p.conf", "port")


SCENARIOS = {"record": Record, "stacks": Stacks, "plan": Plan, "export": Report, "serve": Serve}
SAMPLE = {"record": 16, "stacks": 4, "plan": 10, "export": 6, "serve": 6}


def faults_of(counts, words):
    """All that can be made to fail, as (kind, k, how)."""
    for kind in KINDS:
        if words.kind in (None, kind):
            for how in HOWS[kind]:
                for k in range(1, counts[kind] + 1, words.step if kind == "malloc" else 1):
                    yield kind, k, how


def spread(faults, most):
    """So many of them: of every kind and way some, as far as that goes."""
    groups = {}
    for kind, k, how in faults:
        groups.setdefault((kind, how), []).append((kind, k, how))
    chosen, turn = [], 0
    while len(chosen) < min(most, len(faults)):
        for (kind, how), group in groups.items():
            if kind == "malloc" and turn == 0:
                continue
            # the last of them first, then the middle, the first quarter, ...
            at = len(group) - 1 if turn == 0 else int((turn * 0.381966) % 1 * len(group))
            if group[at] not in chosen and len(chosen) < most:
                chosen.append(group[at])
        turn += 1
        if turn > 200:
            break
    return chosen


def sweep(name, words, folder):
    scenario = SCENARIOS[name](words, folder)
    counts, _ = scenario.once("none:0:EIO")
    if words.one:
        faults = [tuple(words.one.split(":"))]
    else:
        faults = list(faults_of(counts, words))
        if not words.all:
            faults = spread(faults, SAMPLE[name])
    wrong = hits = 0
    for kind, k, how in faults:
        try:
            hits += scenario.once(f"{kind}:{k}:{how}")[1]
        except Wrong as problem:
            wrong += 1
            print(f"{name} {kind}:{k}:{how}: {problem}", flush=True)
    made = " ".join(f"{kind} {counts[kind]}" for kind in KINDS if counts[kind])
    print(f"{name}: {len(faults)} faults, {hits} came, {wrong} wrong; calls of one run: {made}", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pail")
    parser.add_argument("fault")
    parser.add_argument("talker")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--step", type=int, default=1, help="of the allocations with --all, each N-th")
    parser.add_argument("--only", choices=sorted(SCENARIOS))
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--one")
    words = parser.parse_args()
    wrong = 0
    for name in SCENARIOS:
        if words.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="pail-faults-") as folder:
                wrong += sweep(name, words, folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
