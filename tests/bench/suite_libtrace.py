# SPDX-License-Identifier: MIT
"""Recording beside the profilers of others; see suite.py. Two processors are
shared by the program, the recorder and the load."""
import os
import resource
import statistics
import subprocess
import tempfile

import bench_record
from measure import compare, grow
from suite import BUILD

PAIL = f"{BUILD}/bin/pail"
PROGRAM = f"{BUILD}/tests/bench/bench_shim"
MODES = ("bare", "events", "stacks", *bench_record.PROFILERS)
# These walk the stack or lock at every malloc, and take microseconds for it.
SLOW = ("gperftools (heap profile)", "jemalloc (prof, all)")


def missing():
    """Profilers that can't be compared with, by name and reason."""
    return {name: "not installed" for name in ("heaptrack", "jemalloc (prof, sampled)", *SLOW) if name not in bench_record.PROFILERS}


def pairs(plan):
    count = 100000 if plan.quick else 1000000
    works = {mode: (lambda mode=mode: bench_record.pair(mode, PAIL, 1, count // 10 if mode in SLOW else count)) for mode in MODES}
    return compare(works, plan, "bare", missing())


def server(plan, kind):
    figures = {}

    def measure(mode):
        try:
            cost, about = bench_record.measure(kind, mode, PAIL, 1)
        except SystemExit as error:  # it is a program of its own, too
            if not isinstance(error.code, str):
                raise
            raise RuntimeError(error) from error
        figures.setdefault(mode, []).append(about)
        return cost / 1000

    # Under the slow ones Python needs half a minute to start.
    modes = [mode for mode in MODES if kind != "flask" or mode not in SLOW]
    result = compare({mode: (lambda mode=mode: measure(mode)) for mode in modes}, plan, "bare", missing())
    told = []
    for mode in ("events", "stacks"):
        if mode in result["peers"]:
            recorder, size = (statistics.median(each[name] for each in figures[mode]) for name in ("recorder", "bytes"))
            told.append(f"--detail {mode}: the recorder beside it takes {recorder:.0f} ns of CPU for an event, the trace {size:.2f} bytes, "
                        f"{sum(each['dropped'] for each in figures[mode])} of {sum(each['events'] for each in figures[mode]):,} events dropped")
    return result | {"note": "; ".join(told)}


def recorded(detail, count):
    """ns of all CPU (program, library, recorder, writing) for an event, of so many."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PAIL, "record", "--detail", detail, "-o", f"{folder}/t.db", "--", "bash", "-c", 'exec -a work "$0" "$@"',
                        PROGRAM, "1", str(count // 2), "8"], capture_output=True, timeout=3600, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count * 1e9


def events(plan):
    sizes = [10 ** 4, 10 ** 5, 10 ** 6] if plan.quick else [10 ** n for n in range(5, 10)]
    return grow({"pail record": lambda count: recorded("events", count),
                 "pail record --detail stacks": lambda count: recorded("stacks", count)}, sizes, plan)


def run(suite):
    suite.run("libtrace", "pair", "A malloc and a free of one thread, at a stack of 8 frames", pairs, 35,
              unit="ns of the program's CPU", better="less", command="build/tests/bench/bench_shim")
    for kind in ("nginx",) if suite.quick else ("nginx", "redis", "flask"):
        suite.run("libtrace", f"server-{kind}", f"A request of {kind}, recorded", lambda plan, kind=kind: server(plan, kind), 47,
                  unit="us of the server's CPU", better="less", command=f"bench_record.py build/bin/pail --server {kind}")
    suite.run("libtrace", "grow-events", "As events grow", events, 240, x="events", better="less",
              unit="ns of all CPU for an event", command="pail record -- bench_shim")
