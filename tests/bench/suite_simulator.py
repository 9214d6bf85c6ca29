# SPDX-License-Identifier: MIT
"""The simulator beside plain simulations, and as its input grows; see suite.py."""
import os
import re
import resource
import subprocess
import tempfile

from measure import NotRun, grow
from suite import BUILD

PAIL = f"{BUILD}/bin/pail"
FOLDER = f"{BUILD}/tests/simulator"
MAKE = f"{FOLDER}/make_trace"
SIZES, COUNTS = "16K,32K,64K,128K,256K,512K,1M,2M", "4,8,12,16,24,32,48,64"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout


def grid(plan):
    """Millions of requests x candidates a second, by wall clock; in turns."""
    rounds = min(plan.rounds, 5)
    out = output(f"{FOLDER}/bench_grid", "100000" if plan.quick else "1000000", str(rounds))
    rows = re.findall(r"^(.*\S) +(\d+)  \((\d+) \.\. (\d+)\) +[\d.]+x$", out, re.M)
    return {"summary": {name: [float(a), float(b), float(c)] for name, a, b, c in rows}, "reference": rows[0][0], "rounds": rounds}


def queue(plan):
    rounds = min(plan.rounds, 5)
    out = output(f"{FOLDER}/bench_queue", "100000" if plan.quick else "1000000", str(rounds))
    plain = float(re.search(r"^a simulation per candidate +([\d.]+) s", out, re.M).group(1))
    ours = re.search(r"^differences from unlimited +([\d.]+) s  \(([\d.]+) \.\. ([\d.]+)\)", out, re.M)
    return {"summary": {"a simulation per candidate": [plain] * 3, "differences from unlimited": [float(ours.group(i)) for i in (1, 2, 3)]},
            "reference": "a simulation per candidate", "rounds": rounds}


def cpu_of(*command, stdin=None):
    """Seconds of CPU; of the command's own, also where it reads what another writes."""
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        said = process.stderr.read().decode(errors="replace")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} ended with {process.returncode}: {said.strip()[-160:]}")
    return used.ru_utime + used.ru_stime


def imported(count, trace):
    """Seconds of CPU for a trace of so many, by way of CSV through a pipe: no file between them."""
    with subprocess.Popen([MAKE, "-", str(count), "20", "1"], stdout=subprocess.PIPE) as writer:
        try:
            used = cpu_of(PAIL, "import", "--format", "csv", "-o", trace, "-", stdin=writer.stdout)
        finally:
            writer.stdout.close()
    if writer.returncode:
        raise RuntimeError(f"make_trace ended with {writer.returncode}")
    return used


def room(count, folder):
    """In memory some 50 bytes a request, on disk some 20; a third of it stays free."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = int(re.search(r"^MemAvailable:\s+(\d+)", file.read(), re.M).group(1)) << 10
    disk = os.statvfs(folder)
    if count * 60 > free * 2 / 3:
        raise RuntimeError(f"{count:,} requests in memory want {count * 60 >> 20} MiB, {free >> 20} are there")
    if count * 25 > disk.f_bavail * disk.f_frsize * 2 / 3:
        raise RuntimeError(f"{count:,} requests on disk want {count * 25 >> 20} MiB, {disk.f_bavail * disk.f_frsize >> 20} are there")


class Traces:
    """One at a time, of the size that was asked for last."""

    def __init__(self, folder):
        self.folder, self.count, self.path = folder, 0, f"{folder}/t.db"

    def made(self, count):
        """ns of CPU for a request, to import so many."""
        self.count = 0
        if os.path.exists(self.path):
            os.unlink(self.path)
        room(count, self.folder)
        used = imported(count, self.path)
        self.count = count
        return used / count * 1e9

    def of(self, count):
        if count != self.count:
            raise NotRun("its trace was not made")
        return self.path


def requests(plan):
    sizes = [10 ** 4, 10 ** 5] if plan.quick else [10 ** n for n in range(4, 9)]
    with tempfile.TemporaryDirectory() as folder:
        traces = Traces(folder)
        sweep = ("--size", SIZES, "--count", COUNTS)
        works = {
            "pail import (CSV)": traces.made,
            "pail simulate, 8 x 8 candidates": lambda n: cpu_of(PAIL, "simulate", traces.of(n), *sweep) / n * 1e9,
            "the same, --stream": lambda n: cpu_of(PAIL, "simulate", traces.of(n), "--stream", *sweep) / n * 1e9,
            "pail plan": lambda n: cpu_of(PAIL, "plan", traces.of(n), "--target", "1e-2", "-o", f"{folder}/pail.conf") / n * 1e9,
        }
        return grow(works, sizes, plan)


def buckets(plan):
    """One candidate each."""
    count = 20000 if plan.quick else 300000
    with tempfile.TemporaryDirectory() as folder:
        traces = Traces(folder)
        traces.made(count)
        return grow({"pail simulate, one candidate": lambda n: cpu_of(PAIL, "simulate", traces.path, "--size", "4M", "--count", str(n)) / count * 1e9},
                    [8, 64] if plan.quick else [8, 64, 512, 2048, 8192], plan, effort=lambda _: 1, thrice=6)


def run(suite):
    suite.run("simulator", "grid", "64 candidates over a million requests in memory", grid, 15,
              unit="million requests x candidates a second", better="more", command="build/tests/simulator/bench_grid 1000000")
    suite.run("simulator", "queue", "64 candidates with a queue and a wait", queue, 8, unit="s", better="less",
              command="build/tests/simulator/bench_queue 1000000")
    suite.run("simulator", "grow-requests-simulated", "As requests grow", requests, 290, x="requests", better="less",
              unit="ns of CPU for a request", command="pail import; pail simulate; pail plan")
    suite.run("simulator", "grow-buckets-simulated", "As buckets grow", buckets, 8, x="buckets", better="less",
              unit="ns of CPU for a request", command="pail simulate")
