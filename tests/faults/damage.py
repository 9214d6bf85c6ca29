#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Traces that are damaged, that somebody else holds, and that no longer fit on the disk.

    damage.py PAIL TALKER [--sample N] [--every N] [--seed SEED]

Damaged: of a copy of a recorded trace some bytes are turned over, or a page is zeros, or
another page, N bytes (512) apart; then every command that reads a trace reads it. Each
must end by itself with 0, 1, 3 or, for what it is asked, a usage error; with 3 it says why
in one line; and it leaves nothing half written. A damage may well go unnoticed (a number
that is another one): pail has no checksums. With --sample only N of the damages.

Held: another process has the trace locked. A command waits its time and then says so;
when the lock is gone before, it does its work.
"""
import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

PAGE = 4096
LIMIT_S = 120
HOLD_S = 0.5

COMMANDS = {
    "report": ("report", "t.db"),
    "report by site": ("report", "--by=site", "--json", "t.db"),
    "report as a page": ("report", "--html=out", "t.db"),
    "export csv": ("export", "--format=csv", "-o", "out", "t.db"),
    "export jsonl": ("export", "--format=jsonl", "--events", "-o", "out", "t.db"),
    "export pprof": ("export", "--format=pprof", "-o", "out", "t.db"),
    "simulate": ("simulate", "-s", "4K,64K", "-n", "1,4", "t.db"),
    "simulate streamed": ("simulate", "--stream", "-s", "4K,64K", "-n", "1,4", "t.db"),
    "plan": ("plan", "t.db", "--target", "0.5", "--provisional", "-o", "out"),
    "attribute": ("attribute", "-o", "out", "t.db"),
    "merge": ("merge", "-o", "out", "t.db", "whole.db"),
    "top": ("top", "--once", "--interval=10ms", "t.db"),
}


class Wrong(Exception):
    """What must hold did not."""


def check(good, *words):
    if not good:
        raise Wrong(" ".join(str(word) for word in words))


def run(pail, folder, words):
    p = subprocess.run([pail, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True, errors="replace", timeout=LIMIT_S, check=False,
                       env={**os.environ, "ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "exitcode=99"})
    check(p.returncode >= 0, "ended by signal", -p.returncode, p.stderr[-500:])
    check(p.returncode in (0, 1, 3), "exit code", p.returncode, p.stderr[-500:])
    if p.returncode == 3:
        last = [line for line in p.stderr.splitlines() if line.startswith("pail")]
        check(last and last[-1].count(": ") >= 1, "no reason is given:", repr(p.stderr))
    return p.returncode, p.stderr


def damaged(data, at, kind, chance):
    """A copy with one place spoilt."""
    copy = bytearray(data)
    page = at // PAGE * PAGE
    if kind == "bit":
        copy[at] ^= 1 << chance.randrange(8)
    elif kind == "bytes":
        copy[at:at + 16] = bytes(b ^ 0xff for b in copy[at:at + 16])
    elif kind == "zeros":
        copy[page:page + PAGE] = bytes(PAGE)
    elif kind == "another":
        other = chance.randrange(len(data) // PAGE) * PAGE
        copy[page:page + PAGE] = data[other:other + PAGE]
    else:
        del copy[at:]
    return bytes(copy)


def sweep(pail, folder, every, sample, chance):
    """Every command over every damage; gives how many were wrong."""
    with open(os.path.join(folder, "whole.db"), "rb") as file:
        data = file.read()
    path, out = os.path.join(folder, "t.db"), os.path.join(folder, "out")
    runs = wrong = told = 0
    before = set(os.listdir(folder)) | {"t.db"}
    places = [("bit", at) for at in range(0, len(data), every)]
    places += [("bytes", at) for at in range(every // 2, len(data) - 16, every)]
    places += [(kind, at) for kind in ("zeros", "another", "cut") for at in range(PAGE, len(data), PAGE)]
    if sample is not None:
        places = chance.sample(places, min(sample, len(places)))
    for kind, at in places:
        bad = damaged(data, at + (chance.randrange(every) if kind == "bit" and at + every < len(data) else 0),
                      kind, chance)
        for name, words in COMMANDS.items():
            with open(path, "wb") as file:
                file.write(bad)
            runs += 1
            try:
                code, _ = run(pail, folder, words)
                told += code == 3
                check(code != 3 or not os.path.exists(out) or name.startswith("top"), "failed, and wrote a file")
                left = set(os.listdir(folder)) - before - {"out"}
                check(not left, "left behind:", sorted(left))
            except (Wrong, subprocess.TimeoutExpired) as problem:
                wrong += 1
                print(f"{name}, {kind} at {at}: {problem}", flush=True)
            for extra in set(os.listdir(folder)) - before:
                place = os.path.join(folder, extra)
                shutil.rmtree(place) if os.path.isdir(place) else os.unlink(place)
    print(f"damaged: {len(places)} damages, {runs} runs, {told} told, {wrong} wrong", flush=True)
    return wrong


def held(pail, folder, sample):
    """Under a lock that goes, and under one that stays."""
    path, out = os.path.join(folder, "t.db"), os.path.join(folder, "out")
    wrong = 0
    for name, words in COMMANDS.items():
        for stays in (False, True):
            few = ("report", "plan", "attribute", "merge")
            if name not in few and (stays or sample is not None) or stays and sample is not None:
                continue
            shutil.copy(os.path.join(folder, "whole.db"), path)
            holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            holder.execute("BEGIN EXCLUSIVE")
            release = threading.Timer(HOLD_S, lambda db=holder: db.execute("ROLLBACK"))
            if not stays:
                release.start()
            began = time.monotonic()
            try:
                code, said = run(pail, folder, words)
                took = time.monotonic() - began
                if stays:
                    check(code == 3 and "lock" in said, "held:", code, said)
                    check(not os.path.exists(out), "held, and wrote a file")
                else:
                    check(code in (0, 1) or (name == "top" and code == 3), "held for a while:", code, said)
                    check(took >= HOLD_S / 2 or name == "top", "did not wait:", took)
            except (Wrong, subprocess.TimeoutExpired) as problem:
                wrong += 1
                print(f"{name}, held{' on' if stays else ''}: {problem}", flush=True)
            finally:
                if stays:
                    holder.execute("ROLLBACK")
                else:
                    release.join()
                holder.close()
                if os.path.exists(out):
                    os.unlink(out)
    print(f"held: {wrong} wrong", flush=True)
    return wrong


def record_over_held(pail, talker, folder):
    """A recording does not wait for who reads the trace that it replaces."""
    path = os.path.join(folder, "t.db")
    shutil.copy(os.path.join(folder, "whole.db"), path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        words = (pail, "record", "--ring", "1M", "-o", "t.db", "--", talker, folder, "5", "0")
        p = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        check(p.returncode == 7, "record over a held trace:", p.returncode, p.stderr)
        count = subprocess.run((pail, "export", "--format", "csv", "t.db"), cwd=folder, capture_output=True, text=True,
                               timeout=LIMIT_S, check=True).stdout.count("\n") - 1
        check(count == 5, "record over a held trace holds", count)
    except (Wrong, subprocess.SubprocessError) as problem:
        print(problem, flush=True)
        return 1
    finally:
        holder.close()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pail")
    parser.add_argument("talker")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--every", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    pail, talker = os.path.abspath(words.pail), os.path.abspath(words.talker)
    with tempfile.TemporaryDirectory(prefix="pail-damage-") as folder:
        marks = os.path.join(folder, "marks")
        os.mkdir(marks)
        subprocess.run([pail, "record", "--ring", "1M", "--detail", "stacks", "--keep-raw", "--redact", "none", "-o",
                        os.path.join(folder, "whole.db"), "--", talker, marks, "40", "0"], check=False, capture_output=True)
        wrong = record_over_held(pail, talker, folder)
        for name in ("begun", "done"):
            if os.path.exists(os.path.join(folder, name)):
                os.unlink(os.path.join(folder, name))
        wrong += held(pail, folder, words.sample)
        wrong += sweep(pail, folder, words.every, words.sample, random.Random(words.seed))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
