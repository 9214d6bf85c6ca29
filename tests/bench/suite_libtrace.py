# SPDX-License-Identifier: MIT
"""Recording beside the profilers of others; see suite.py. Two processors are
shared by the program, the recorder and the load."""
import os
import resource
import subprocess
import tempfile

import bench_record
from suite import BUILD, in_turns

PAIL = f"{BUILD}/bin/pail"
PROGRAM = f"{BUILD}/tests/bench/bench_shim"
# Who has a sample of the heap, or all of it, written by a preloaded library.
HEAP_PROFILERS = {"gperftools (heap profile)": ("libtcmalloc_and_profiler.so.4", {"HEAPPROFILE": "{folder}/heap"})}


def libraries(name):
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"):
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    return None


def pair(mode, pairs):
    """CPU ns of the program for a malloc and a free, under mode."""
    if mode not in HEAP_PROFILERS:
        return bench_record.pair(mode, PAIL, 1, pairs)
    name, environment = HEAP_PROFILERS[mode]
    with tempfile.TemporaryDirectory() as folder:
        words = {key: value.format(folder=folder) for key, value in environment.items()}
        done = subprocess.run(["bash", "-c", 'exec -a work "$0" "$@"', PROGRAM, "1", str(pairs), "8"], capture_output=True, text=True,
                              env={**os.environ, **words, "LD_PRELOAD": libraries(name)}, timeout=300, check=True)
        return float(done.stdout.split()[0])


def pairs(suite):
    modes = ["bare", "events", "stacks"] + (["heaptrack"] if bench_record.HEAPTRACK else [])
    modes += [mode for mode, (name, _) in HEAP_PROFILERS.items() if libraries(name)]
    count = 100000 if suite.quick else 1000000
    return {"peers": in_turns({mode: (lambda mode=mode: pair(mode, count)) for mode in modes}, suite.rounds), "reference": "bare",
            "rounds": suite.rounds}


def server(suite, kind):
    modes = ["bare", "events", "stacks"] + (["heaptrack"] if bench_record.HEAPTRACK else [])
    figures = {}

    def measure(mode):
        cost, about = bench_record.measure(kind, mode, PAIL, 1)
        figures.setdefault(mode, []).append(about)
        return cost / 1000

    result = {"peers": in_turns({mode: (lambda mode=mode: measure(mode)) for mode in modes}, suite.rounds), "reference": "bare",
              "rounds": suite.rounds}
    middle = {mode: sorted(each["recorder"] for each in figures[mode])[len(figures[mode]) // 2] for mode in ("events", "stacks")}
    size = {mode: sorted(each["bytes"] for each in figures[mode])[len(figures[mode]) // 2] for mode in ("events", "stacks")}
    dropped = sum(each["dropped"] for mode in ("events", "stacks") for each in figures[mode])
    result["note"] = (f"the recorder beside it: {middle['events']:.0f} ns of CPU for an event, {middle['stacks']:.0f} with stacks; the trace: "
                      f"{size['events']:.2f} and {size['stacks']:.2f} bytes for an event; {dropped} events dropped")
    return result


def events(suite):
    """As a recording grows: all CPU (program, library, recorder, writing), for an event."""
    result = {"pail record": [], "pail record --detail stacks": []}
    for count in [10 ** 4, 10 ** 5] if suite.quick else [10 ** 5, 10 ** 6, 10 ** 7]:
        for name, detail in (("pail record", "events"), ("pail record --detail stacks", "stacks")):
            values = []
            for _ in range(suite.rounds if count < 10 ** 7 else 1):
                with tempfile.TemporaryDirectory() as folder:
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    subprocess.run([PAIL, "record", "--detail", detail, "-o", f"{folder}/t.db", "--", "bash", "-c", 'exec -a work "$0" "$@"',
                                    PROGRAM, "1", str(count // 2), "8"], capture_output=True, timeout=600, check=True)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                values.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count * 1e9)
            result[name].append([count, sorted(values)[len(values) // 2]])
    return {"series": result, "rounds": suite.rounds}


def run(suite):
    suite.run("libtrace", "pair", "A malloc and a free of one thread, at a stack of 8 frames", lambda: pairs(suite),
              unit="ns of the program's CPU", better="less", command="build/tests/bench/bench_shim")
    for kind in ("nginx",) if suite.quick else ("nginx", "redis", "flask"):
        suite.run("libtrace", f"server-{kind}", f"A request of {kind}, recorded", lambda kind=kind: server(suite, kind),
                  unit="us of the server's CPU", better="less", command=f"bench_record.py build/bin/pail --server {kind}")
    suite.run("libtrace", "grow-events", "As events grow", lambda: events(suite), x="events", better="less",
              unit="ns of all CPU for an event", command="pail record -- bench_shim")
