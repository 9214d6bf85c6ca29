#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""suite.py [libtrace|simulator|server|all] [--quick] [--minutes N] [--only NAME] [--rounds N]
         [--requests N] [--out JSON] [--replace] [--page] [--list]

Measures, writes JSON, and makes docs/benchmarks.md's tables and plots from it
(suite_page.py). A part that is not run keeps its figures of before, with the
commit, machine and load that they were taken with. Each result is written when it is
there, and has its share of --minutes: on a slow machine there are fewer rounds, and the
largest sizes are left out, by name. A peer that fails is named and left out. A figure
taken on a busy machine is marked, and takes the place of a quiet one only with --replace.
--quick: few rounds, small sizes, its own file and page in the build folder. --page: no
measuring, only the page from the JSON.

One result of the JSON, all of them in a list:
  name, title, part, command, unit, better ("more" or "less"), rounds, at, commit, machine
  seconds (that it took), load, steal and others (the shares of the processors' time that
  the host and other processes took), busy (either of them is above a tenth)
  and either  peers: {name: [value of each round]}, reference: name
  or          x (what grows), series: {name: [[x, median, least, most], ...]}
  or          summary: {name: [median, low, high]}, reference (of a C benchmark
              that takes its turns itself)
  and perhaps note, skipped: {name: why it was left out}
Ratios are of each round, then their median is taken: the machine's slow moments
fall on both. PAIL_BUILD=build PAIL_SOURCE=.
"""
import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from measure import PROCESSORS, Meter, Plan, ratios, reason, spread  # noqa: E402

BUILD = os.path.abspath(os.environ.get("PAIL_BUILD", "build"))
SOURCE = os.path.abspath(os.environ.get("PAIL_SOURCE", "."))
PARTS = ("libtrace", "simulator", "server")
MINUTES, MINUTES_QUICK = 20, 6


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) >> 20
    return (f"{platform.machine()}, {model.group(1).strip() if model else 'unknown processor'}, {PROCESSORS} processors, "
            f"{memory} GiB, Linux {platform.release().split('-')[0]}")


def commit():
    done = subprocess.run(["git", "-C", SOURCE, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def tell(result):
    busy = "  BUSY:" if result["busy"] else ""
    print(f"{result['title']} ({result['unit']}; {result['rounds']} rounds in {result['seconds']} s;{busy} load {result['load']}, "
          f"steal {result['steal']:.0%}, others {result['others']:.0%})")
    for name, values in result.get("peers", {}).items():
        middle, low, high = spread(values)
        ratio = ratios(result["peers"], name, result["reference"])
        print(f"  {name:32} {middle:12.2f} ({low:.2f} to {high:.2f})   {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})")
    for name, (middle, low, high) in result.get("summary", {}).items():
        print(f"  {name:32} {middle:12.2f} ({low:.2f} to {high:.2f})   {middle / result['summary'][result['reference']][0]:.2f}")
    for name, points in result.get("series", {}).items():
        print(f"  {name:32} " + "  ".join(f"{point[0]:g}: {point[1]:.3g}" for point in points))
    for name, why in result.get("skipped", {}).items():
        print(f"  left out: {name}: {why}")
    if "note" in result:
        print(f"  {result['note']}")
    sys.stdout.flush()


class Suite:
    """Runs what is wanted and stamps it. `wanted` None: everything; listing: says the names only."""

    def __init__(self, out, wanted=None, quick=False, minutes=None, rounds=None, requests=0, replace=False, listing=False):
        self.out, self.only, self.quick, self.requests, self.replace, self.listing = out, wanted, quick, requests, replace, listing
        self.minutes = minutes or (MINUTES_QUICK if quick else MINUTES)
        self.rounds = rounds or (2 if quick else 9)
        self.ends = time.monotonic() + self.minutes * 60
        self.names, self.failed, self.weights, self.whole = [], [], 0.0, 0.0
        self.stamp = {"commit": commit(), "machine": machine()}

    def run(self, part, name, title, work, weight, **about):
        """work(plan) gives the figures, in its share of the minutes: weight of all weights."""
        self.names.append(name)
        self.weights += weight
        if self.listing or (self.only and name not in self.only):
            return
        if time.monotonic() > self.ends:
            self.fail(name, f"not run, the {self.minutes:g} minutes are over")
            return
        print(f"\n== {name}", flush=True)
        share = 60 * self.minutes * weight / max(self.whole, weight)
        plan = Plan(self.quick, self.rounds, 2 if self.quick else 3, share, self.ends, self.requests)
        meter = Meter()
        try:
            figures = work(plan)
        except Exception as error:  # one that can't be run leaves the others
            self.fail(name, reason(error))
            return
        result = {"part": part, "name": name, "title": title, "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
                  **self.stamp, **meter.read(), **about, **figures}
        self.failed += [f"{name}: {peer}" for peer in result.get("skipped", {})]
        tell(result)
        if not save(self.out, result, self.replace):
            print(f"bench: {name}: the machine was busy, and the figures that are there are of a quiet one: kept (--replace takes these)",
                  file=sys.stderr, flush=True)

    def fail(self, name, why):
        print(f"bench: {name} could not be run: {why}", file=sys.stderr, flush=True)
        self.failed.append(name)


def quiet(result):
    return not result["busy"] if "busy" in result else result["load"] < 2 * PROCESSORS


def better_kept(old, new):
    return quiet(old) and not quiet(new) and old["machine"] == new["machine"]


def save(path, result, replace=False):
    """In the place of what the file has under that name; False where that is better kept."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)["results"]
    except FileNotFoundError:
        results = []
    names = [other["name"] for other in results]
    if result["name"] in names:
        at = names.index(result["name"])
        if better_kept(results[at], result) and not replace:
            return False
        results[at] = result
    else:
        results.append(result)
    results.sort(key=lambda each: PARTS.index(each["part"]))
    text = json.dumps({"schema": "pail.benchmarks/1", "results": results}, indent=1)
    with open(path + ".new", "w", encoding="utf-8") as file:
        # A list of numbers on one line: a person reads the differences.
        file.write(re.sub(r"\[\s+([-\d., eE+\n]+?)\s+\]", lambda m: "[" + " ".join(m.group(1).split()) + "]", text) + "\n")
    os.replace(path + ".new", path)
    return True


def stopped(*_):
    """As an exception, so that whoever started a server ends it."""
    raise SystemExit(143)


def through(suite, parts):
    for part in parts:
        __import__(f"suite_{part}").run(suite)
    return suite


def measure(words, out):
    parts = PARTS if words.part == "all" else [words.part]
    listed, whole = (through(Suite(out, quick=words.quick, listing=True), which) for which in (parts, PARTS))
    unknown = set(words.only or ()) - set(listed.names)
    if unknown:
        print(f"bench: no result is called {', '.join(sorted(unknown))}; there are {', '.join(listed.names)}", file=sys.stderr)
        return None
    if words.list:
        print("\n".join(listed.names))
        return listed
    suite = Suite(out, words.only, words.quick, words.minutes, words.rounds, words.requests, words.replace)
    suite.whole = whole.weights
    print(f"{suite.stamp['machine']}, commit {suite.stamp['commit']}, load {os.getloadavg()[0]:.1f}, at most {suite.minutes:g} minutes", flush=True)
    return through(suite, parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=(*PARTS, "all"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, metavar="N", help=f"what `all` may take; {MINUTES}, with --quick {MINUTES_QUICK}")
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="the names for --only")
    parser.add_argument("--out", help="docs/benchmarks.json; with --quick BUILD/benchmarks/benchmarks.json")
    parser.add_argument("--rounds", type=int, help="at most; 9, with --quick 2")
    parser.add_argument("--requests", type=int, default=0, help="of Nea's workloads; 40000, with --quick 2000")
    parser.add_argument("--replace", action="store_true", help="also figures of a quiet machine by those of a busy one")
    parser.add_argument("--page", action="store_true")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, stopped)
    folder = f"{BUILD}/benchmarks" if words.quick else f"{SOURCE}/docs"
    out = words.out or f"{folder}/benchmarks.json"
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    suite = None
    if not words.page:
        suite = measure(words, out)
        if not suite or words.list:
            return 0 if suite else 2
        print(f"\nbench: {out} is written, {time.monotonic() - suite.ends + suite.minutes * 60:.0f} s after the start")
        for name in suite.failed:
            print(f"bench: not measured: {name}", file=sys.stderr)
    if not words.out:
        import suite_page
        suite_page.make(out, f"{folder}/benchmarks.md", f"{folder}/img")
        print(f"bench: {folder}/benchmarks.md is written")
    return 3 if suite and suite.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("bench: interrupted; what was measured before is written", file=sys.stderr)
        sys.exit(130)
