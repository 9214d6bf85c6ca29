# SPDX-License-Identifier: MIT
"""The simulator beside plain simulations, and as its input grows; see suite.py."""
import os
import random
import re
import resource
import subprocess
import tempfile

from suite import BUILD

PAIL = f"{BUILD}/bin/pail"
FOLDER = f"{BUILD}/tests/simulator"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout


def grid(suite):
    """Millions of requests x candidates a second, by wall clock; in turns."""
    out = output(f"{FOLDER}/bench_grid", "100000" if suite.quick else "1000000", str(suite.rounds))
    rows = re.findall(r"^(.*\S) +(\d+)  \((\d+) \.\. (\d+)\) +[\d.]+x$", out, re.M)
    return {"summary": {name: [float(a), float(b), float(c)] for name, a, b, c in rows}, "reference": rows[0][0], "rounds": suite.rounds}


def queue(suite):
    out = output(f"{FOLDER}/bench_queue", "100000" if suite.quick else "1000000", str(suite.rounds))
    plain = float(re.search(r"^a simulation per candidate +([\d.]+) s", out, re.M).group(1))
    ours = re.search(r"^differences from unlimited +([\d.]+) s  \(([\d.]+) \.\. ([\d.]+)\)", out, re.M)
    return {"summary": {"a simulation per candidate": [plain] * 3, "differences from unlimited": [float(ours.group(i)) for i in (1, 2, 3)]},
            "reference": "a simulation per candidate", "rounds": suite.rounds}


def cpu_of(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=900)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def traffic(path, count):
    """Requests of three routes, Poisson arrivals, about 20 at a time."""
    draw, arrival = random.Random(1), 0.0
    with open(path, "w", encoding="ascii") as file:
        file.write("arrival_ns,service_ns,need_bytes,route\n")
        for _ in range(count):
            arrival += draw.expovariate(1 / 2.5e6)
            kind = draw.choices((0, 1, 2), (70, 25, 5))[0]
            file.write(f"{int(arrival)},{int(draw.expovariate(1 / 5e7))},{int(draw.lognormvariate((9, 11, 13)[kind], 0.4))},/r{kind}\n")


def requests(suite):
    series = {"pail import (CSV)": [], "pail simulate, 8 x 8 candidates": [], "pail plan": []}
    for count in [10 ** 4, 10 ** 5] if suite.quick else [10 ** 4, 10 ** 5, 10 ** 6, 10 ** 7]:
        with tempfile.TemporaryDirectory() as folder:
            traffic(f"{folder}/t.csv", count)
            trace = f"{folder}/t.db"
            used = [cpu_of(PAIL, "import", "--format", "csv", "-o", trace, f"{folder}/t.csv")]
            os.unlink(f"{folder}/t.csv")
            used.append(cpu_of(PAIL, "simulate", trace, "--size", "16K,32K,64K,128K,256K,512K,1M,2M", "--count", "4,8,12,16,24,32,48,64"))
            used.append(cpu_of(PAIL, "plan", trace, "--target", "1e-2", "-o", f"{folder}/pail.conf"))
        for name, seconds in zip(series, used):
            series[name].append([count, seconds / count * 1e9])
    return {"series": series, "rounds": 1}


def buckets(suite):
    """One candidate each, a load that keeps two thirds of the buckets busy."""
    count, points = 20000 if suite.quick else 300000, []
    with tempfile.TemporaryDirectory() as folder:
        traffic(f"{folder}/t.csv", count)
        trace = f"{folder}/t.db"
        cpu_of(PAIL, "import", "--format", "csv", "-o", trace, f"{folder}/t.csv")
        for n in [8, 64] if suite.quick else [8, 64, 512, 2048, 8192]:
            words = ["simulate", trace, "--size", "4M", "--count", str(n)]
            points.append([n, sorted(cpu_of(PAIL, *words) for _ in range(3))[1] / count * 1e9])
    return {"series": {"pail simulate, one candidate": points}, "rounds": 3}


def run(suite):
    suite.run("simulator", "grid", "64 candidates over a million requests in memory", lambda: grid(suite),
              unit="million requests x candidates a second", better="more", command="build/tests/simulator/bench_grid 1000000")
    suite.run("simulator", "queue", "64 candidates with a queue and a wait", lambda: queue(suite), unit="s", better="less",
              command="build/tests/simulator/bench_queue 1000000")
    suite.run("simulator", "grow-requests-simulated", "As requests grow", lambda: requests(suite), x="requests", better="less",
              unit="ns of CPU for a request", command="pail import; pail simulate; pail plan")
    suite.run("simulator", "grow-buckets-simulated", "As buckets grow", lambda: buckets(suite), x="buckets", better="less",
              unit="ns of CPU for a request", command="pail simulate")
