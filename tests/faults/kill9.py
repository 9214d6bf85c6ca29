#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kills pail with SIGKILL at random points of a recording, and of a plan, N times each.

    kill9.py PAIL TALKER [N [SEED]]

After each: the trace is absent or opens, is consistent and holds a prefix of what the
program was asked; the program ran on to its end; the plan is the old one or the new one.
What a killed writer leaves (a file ".NAME.XXXXXX" in the window before the trace has its
name, an empty journal, the ring) the next run with that name takes away.
"""
import collections
import concurrent.futures
import os
import random
import shutil
import sqlite3
import signal
import subprocess
import sys
import tempfile
import time

REQUESTS, PAUSE_US, LONGEST_S = 300, 8000, 2.6
LIMIT_S = 120
OLD = "# older\n"


def wait_until(what, reason):
    deadline = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < deadline, reason
        time.sleep(0.01)


def held(path):
    """The number of requests, which must be the first ones."""
    db = sqlite3.connect(path, timeout=20)
    try:
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        targets = [target for target, in db.execute("SELECT target FROM request ORDER BY id")]
        assert targets == [f"/item?n={i}" for i in range(len(targets))], targets[:3]
        return len(targets)
    finally:
        db.close()


def grow_old(folder):
    for name in os.listdir(folder):
        os.utime(os.path.join(folder, name), (1, 1))


def record(pail, talker, after_s, environment):
    """What was there when the recorder was killed after so long."""
    folder = tempfile.mkdtemp(prefix="pail-kill9-")
    try:
        trace = os.path.join(folder, "t.db")
        words = [pail, "record", "--redact=none", "--ring", "1M", "-o", trace, "--", talker, folder]
        p = subprocess.Popen([*words, str(REQUESTS), str(PAUSE_US)], stdin=subprocess.DEVNULL, env=environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            p.wait(after_s)
        except subprocess.TimeoutExpired:
            pass
        p.kill()
        code = p.wait()
        if os.path.exists(os.path.join(folder, "begun")):
            wait_until(lambda: os.path.exists(os.path.join(folder, "done")), "the program was harmed")
        count = held(trace) if os.path.exists(trace) else None
        left = set(os.listdir(folder)) - {"t.db", "begun", "done"}
        grow_old(folder)
        again = subprocess.run([*words, "3", "0"], check=False, capture_output=True, timeout=LIMIT_S, env=environment)
        assert again.returncode == 7, again.stderr
        assert held(trace) == 3
        still = set(os.listdir(folder)) - {"t.db", "begun", "done"}
        assert not still, f"the next run leaves {still}"
        return ("over" if code != -signal.SIGKILL else "no trace" if count is None else "empty" if count == 0 else
                "prefix" if count < REQUESTS else "all"), len(left)
    finally:
        shutil.rmtree(folder, True)


class Plans:
    """One trace for all plans, and what the plan of it is."""

    def __init__(self, pail, folder):
        self.pail, self.trace = pail, os.path.join(folder, "t.db")
        with open(os.path.join(folder, "t.csv"), "w", encoding="ascii") as file:
            file.write("arrival_ns,service_ns,need_bytes,route\n")
            file.writelines(f"{i * 1000000},2000000,{5000 + i % 7 * 900},GET /a\n" for i in range(400))
        subprocess.run([pail, "import", "--format", "csv", "-o", self.trace, os.path.join(folder, "t.csv")], check=True,
                       capture_output=True)
        self.conf = os.path.join(folder, "p.conf")
        started = time.monotonic()
        self.run(self.conf).wait(LIMIT_S)
        self.takes_s = time.monotonic() - started
        with open(self.conf, encoding="utf-8") as file:
            self.new = file.read()

    def run(self, conf):
        return subprocess.Popen([self.pail, "plan", self.trace, "--target", "0.05", "--provisional", "-o", conf],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def plan(self, after_s):
        folder = tempfile.mkdtemp(prefix="pail-kill9-")
        try:
            conf = os.path.join(folder, "p.conf")
            with open(conf, "w", encoding="ascii") as file:
                file.write(OLD)
            p = self.run(conf)
            time.sleep(after_s)
            p.kill()
            p.wait()
            with open(conf, encoding="utf-8") as file:
                text = file.read()
            assert text in (OLD, self.new), "half a plan"
            left = len(os.listdir(folder)) - 1
            grow_old(folder)
            assert self.run(conf).wait(LIMIT_S) == 0
            assert os.listdir(folder) == ["p.conf"], os.listdir(folder)
            return "old" if text == OLD else "new", left
        finally:
            shutil.rmtree(folder, True)


def tell(what, results):
    counts = collections.Counter(result for result, _ in results)
    left = sum(1 for _, names in results if names)
    print(f"{what}: {len(results)} killed; " + ", ".join(f"{n} {word}" for word, n in sorted(counts.items())) +
          f"; {left} left a file, which the next run took away", flush=True)


def main():
    pail, talker = (os.path.abspath(word) for word in sys.argv[1:3])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 4
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="pail-kill9-") as folder:
        # Each second one near the start, where files are made.
        times = [chance.uniform(0, LONGEST_S if i % 2 else 0.15) for i in range(count)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tell("recordings", list(pool.map(lambda t: record(pail, talker, t, dict(os.environ)), times)))
        plans = Plans(pail, folder)
        tell("plans", [plans.plan(chance.uniform(0, 1.2 * plans.takes_s)) for _ in range(count)])


if __name__ == "__main__":
    main()
