#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many instructions each hot path takes, by callgrind: repeatable where times
are not.

    instruction_counts.py [--check|--write] HOT_PATHS LIBRARY

Prints a table. --write keeps the numbers in instruction_counts.json; --check
fails if one has grown by more than 3 % since, or is not there. They are those of one
compiler with its flags, one libc (which asks the processor what it can do) and one
valgrind (which answers): with others, --check says so and ends with 77 (skipped).
"""
import json
import os
import platform
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = os.path.join(HERE, "instruction_counts.json")
GROWTH = 0.03
PATHS = {"arena": 20000, "clear": 20000, "parse": 2000, "slot": 20000, "ring": 200000, "hook": 20000}


def instructions(program, path, times, library):
    """Of the process that does the work: for `hook` that is the child."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={folder}/%p",
                   program, path, str(times)] + ([library] if path == "hook" else [])
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        if done.returncode:
            raise RuntimeError(f"hot_paths {path}: {done.stderr[-800:]}")
        found = {}
        for name in os.listdir(folder):
            with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
                text = file.read()
            command = re.search(r"^cmd: (.*)$", text, re.M).group(1)
            found[" bare " in f" {command} "] = int(re.search(r"^(?:totals|summary): (\d+)", text, re.M).group(1))
        return found[True] if path == "hook" else next(iter(found.values()))


def measure(program, library):
    counts = {}
    for path, times in PATHS.items():
        few, many = (instructions(program, path, n, library) for n in (times, 2 * times))
        counts[path] = round((many - few) / times, 2)
    few, many = (instructions(program, "bare", n, library) for n in (PATHS["hook"], 2 * PATHS["hook"]))
    counts["bare"] = round((many - few) / PATHS["hook"], 2)
    counts["hook"] = round(counts["hook"] - counts["bare"], 2)  # what is libc's would hide what is ours
    return counts


def made_with(program):
    """What the numbers depend on; of the program itself, not of whatever gcc is installed."""
    built = subprocess.run([program, "made"], capture_output=True, text=True, check=True).stdout.strip()
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip().replace("-", " ")
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        wide = " with avx2" if re.search(r"^flags\s*:.*\bavx2\b", file.read(), re.M) else ""
    return f"{built}, {platform.machine()}{wide}, {valgrind}"


def grown(counts, kept):
    """A line for each of the paths that takes more than it may. `bare` is the libc's."""
    return [f"{path}: {kept[path]} to {count} instructions, {count / kept[path] - 1:+.1%}"
            for path, count in counts.items() if path != "bare" and path in kept and count > kept[path] * (1 + GROWTH)]


def main():
    words = sys.argv[1:]
    mode = words.pop(0) if words and words[0].startswith("--") else ""
    if len(words) != 2 or mode not in ("", "--check", "--write"):
        print(__doc__, file=sys.stderr)
        return 2
    if subprocess.run(["which", "valgrind"], capture_output=True, check=False).returncode:
        print("valgrind is not installed")
        return 77
    kept = {}
    if os.path.exists(KEPT):
        with open(KEPT, encoding="ascii") as file:
            kept = json.load(file)
    made = made_with(words[0])
    if mode == "--check" and kept.get("made with") != made:
        print(f"the numbers are of {kept.get('made with')}, and this is {made}")
        return 77
    counts = measure(*words)
    print(f"{'path':8} {'instructions':>12} {'kept':>10}")
    for path, count in counts.items():
        before = kept.get("instructions", {}).get(path)
        print(f"{path:8} {count:12.2f} {before if before is not None else '-':>10}")
    if mode == "--write":
        with open(KEPT, "w", encoding="ascii") as file:
            json.dump({"made with": made, "instructions": counts}, file, indent=1)
            file.write("\n")
    failures = [f"grown by more than {GROWTH:.0%}: {line}" for line in grown(counts, kept.get("instructions", {}))]
    failures += [f"no number is kept of {path}" for path in counts if path not in kept.get("instructions", {})]
    for line in failures if mode != "--write" else ():
        print(f"{line}; if that is meant, instruction_counts.py --write")
    return 1 if mode == "--check" and failures else 0


if __name__ == "__main__":
    sys.exit(main())
