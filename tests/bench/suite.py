#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""suite.py [libtrace|simulator|server|all] [--quick] [--only NAME] [--rounds N] [--requests N]
         [--out JSON] [--page]

Measures, writes JSON, and makes docs/benchmarks.md's tables and plots from it
(suite_page.py). A part that is not run keeps its figures of before, with the
commit, machine and load that they were taken with. --quick: few rounds, small
sizes, its own file in the build folder, no page. --page: no measuring, only the
page from the JSON.

One result of the JSON, all of them in a list:
  name, title, part, command, unit, better ("more" or "less"), rounds, load, at, commit,
  machine
  and either  peers: {name: [value of each round]}, reference: name
  or          x (what grows), series: {name: [[x, value], ...]}
  or          summary: {name: [median, low, high]}, reference (of a C benchmark
              that takes its turns itself)
Ratios are of each round, then their median is taken: the machine's slow moments
fall on both. PAIL_BUILD=build PAIL_SOURCE=.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
BUILD = os.path.abspath(os.environ.get("PAIL_BUILD", "build"))
SOURCE = os.path.abspath(os.environ.get("PAIL_SOURCE", "."))
PARTS = ("libtrace", "simulator", "server")


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) >> 20
    return (f"{platform.machine()}, {model.group(1).strip() if model else 'unknown processor'}, {os.cpu_count()} processors, "
            f"{memory} GiB, Linux {platform.release().split('-')[0]}")


def commit():
    done = subprocess.run(["git", "-C", SOURCE, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def in_turns(works, rounds):
    """{name: [value...]}: everyone once in each round, back and forth."""
    values = {name: [] for name in works}
    names = list(works)
    for turn in range(rounds):
        for name in names if turn % 2 else names[::-1]:
            values[name].append(works[name]())
    return values


def spread(values):
    return statistics.median(values), min(values), max(values)


def ratios(peers, name, reference):
    """Median, least and most of name's value over the reference's, round by round."""
    return spread([a / b for a, b in zip(peers[name], peers[reference])])


def tell(result):
    print(f"\n{result['title']} ({result['unit']}; load {result['load']})", flush=True)
    for name, values in result.get("peers", {}).items():
        middle, low, high = spread(values)
        ratio = ratios(result["peers"], name, result["reference"])
        print(f"  {name:26} {middle:12.2f} ({low:.2f} to {high:.2f})   {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})")
    for name, (middle, low, high) in result.get("summary", {}).items():
        print(f"  {name:26} {middle:12.2f} ({low:.2f} to {high:.2f})   {middle / result['summary'][result['reference']][0]:.2f}")
    for name, points in result.get("series", {}).items():
        print(f"  {name:26} " + "  ".join(f"{x:g}: {y:.3g}" for x, y in points))
    sys.stdout.flush()


class Suite:
    """Runs what is wanted and stamps it."""

    def __init__(self, quick, only, rounds, requests, out):
        self.quick, self.only, self.requests, self.out, self.failed = quick, only, requests, out, 0
        self.rounds = rounds or (2 if quick else 5)
        self.stamp = {"commit": commit(), "machine": machine()}

    def run(self, part, name, title, work, **about):
        if self.only and name not in self.only:
            return
        load = os.getloadavg()[0]
        try:
            figures = work()
        except Exception as error:  # one that can't be run leaves the others
            print(f"\nbench: {name} could not be run: {error!r}", file=sys.stderr)
            self.failed += 1
            return
        result = {"part": part, "name": name, "title": title, "load": round((load + os.getloadavg()[0]) / 2, 1),
                  "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), **self.stamp, **about, **figures}
        save(self.out, result)  # at once: a run that is stopped has lost nothing
        tell(result)


def save(path, result):
    """In the place of what the file has under that name."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)["results"]
    except FileNotFoundError:
        results = []
    names = [other["name"] for other in results]
    if result["name"] in names:
        results[names.index(result["name"])] = result
    else:
        results.append(result)
    results.sort(key=lambda each: PARTS.index(each["part"]))
    text = json.dumps({"schema": "pail.benchmarks/1", "results": results}, indent=1)
    with open(path + ".new", "w", encoding="utf-8") as file:
        # A list of numbers on one line: a person reads the differences.
        file.write(re.sub(r"\[\s+([-\d., eE+\n]+?)\s+\]", lambda m: "[" + " ".join(m.group(1).split()) + "]", text) + "\n")
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=(*PARTS, "all"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--out", help="docs/benchmarks.json; with --quick BUILD/benchmarks-quick.json")
    parser.add_argument("--rounds", type=int, help="5, with --quick 2")
    parser.add_argument("--requests", type=int, help="of Nea's workloads; 40000, with --quick 2000")
    parser.add_argument("--page", action="store_true")
    words = parser.parse_args()
    out = words.out or (f"{BUILD}/benchmarks-quick.json" if words.quick else f"{SOURCE}/docs/benchmarks.json")
    suite = Suite(words.quick, words.only, words.rounds, words.requests, out)
    for part in [] if words.page else PARTS if words.part == "all" else [words.part]:
        __import__(f"suite_{part}").run(suite)
    if not words.quick and not words.out:
        import suite_page
        suite_page.make(out, f"{SOURCE}/docs/benchmarks.md", f"{SOURCE}/docs/img")
    return 3 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
