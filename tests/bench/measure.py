# SPDX-License-Identifier: MIT
"""Measuring in turns, and what else the machine did meanwhile.

A work is a function that gives one figure. `in_turns` runs several, everyone once
in each round, back and forth; one that fails is named and left out of the rest,
and the others go on. `grow` does so at each of growing sizes. Both keep to a Plan:
how many rounds at most, how many at least, and until when.

A Meter tells for a stretch of time: the load, the share of the processors' time
that the host took (steal), and the share that processes used which are not ours.
A result for which either is above BUSY is marked, in the JSON and in its table.
"""
import os
import resource
import statistics
import sys
import time

BUSY = 0.1
PROCESSORS = os.cpu_count()
TICK = os.sysconf("SC_CLK_TCK")


class NotRun(Exception):
    """Raised by a work of grow: not a failure, but not to be had at this size."""


class Plan:
    """For one result: its rounds, the seconds that it may take, and when all must end."""

    def __init__(self, quick=False, rounds=9, least=3, seconds=60.0, ends=float("inf"), requests=0):
        self.quick, self.rounds, self.least, self.requests = quick, max(rounds, 1), min(least, max(rounds, 1)), requests
        # Its least rounds may take twice its time, and never longer than all may.
        self.late = min(time.monotonic() + 2 * seconds, ends)
        self.until, self.ends = min(time.monotonic() + seconds, ends), ends

    def left(self):
        return self.until - time.monotonic()


def spread(values):
    return statistics.median(values), min(values), max(values)


def ratios(peers, name, reference):
    """Median, least and most of name's value over the reference's, round by round."""
    return spread([a / b for a, b in zip(peers[name], peers[reference])])


def reason(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]


def leave_out(skipped, name, error):
    skipped[name] = reason(error)
    print(f"bench: left out: {name}: {skipped[name]}", file=sys.stderr, flush=True)


def in_turns(works, plan, skipped):
    """{name: [value of each round]}; who fails goes to `skipped`, with the reason."""
    values, took = {name: [] for name in works}, 0.0
    for turn in range(plan.rounds):
        if turn and (time.monotonic() > plan.late or (turn >= plan.least and took > plan.left())):
            break
        began = time.monotonic()
        for name in list(values) if turn % 2 else list(values)[::-1]:
            try:
                values[name].append(works[name]())
            except Exception as error:  # whatever it is, the others are still of use
                leave_out(skipped, name, error)
                del values[name]
        took = time.monotonic() - began
    if not values:
        raise RuntimeError("none of them could be run: " + "; ".join(f"{name}: {why}" for name, why in skipped.items()))
    return values


def compare(works, plan, reference, skipped=None):
    """A result's figures: everyone beside the reference, or beside the first that is left."""
    skipped = {} if skipped is None else skipped
    values = in_turns(works, plan, skipped)
    result = {"peers": values, "reference": reference if reference in values else next(iter(values)),
              "rounds": len(next(iter(values.values())))}
    return result | ({"skipped": skipped} if skipped else {})


def grow(works, sizes, plan, skipped=None, most=None, effort=lambda size: size, thrice=40):
    """{"series": {name: [[size, median, least, most]...]}}: works take the size. A size that
    by the one before would take longer than is left is not run, and `note` says so; `most`
    are the largest sizes that some are asked for at all; a size's time grows as its effort.
    Each is run three times while `thrice` times its time is left, then once."""
    skipped, notes = {} if skipped is None else skipped, []
    series, took, once, late = {name: [] for name in works}, {}, [], {}
    for size in sizes:
        for name in [name for name in works if name not in skipped and name not in late and size <= (most or {}).get(name, size)]:
            guess = took[name][1] * effort(size) / effort(took[name][0]) if name in took else 0
            if guess > plan.left() and (name in took or time.monotonic() > plan.ends):
                late[name] = f"{name} from {size:,} on (some {guess:.0f} s)"
                continue
            values, rounds = [], 1 if thrice * guess > plan.left() else 3
            try:
                for _ in range(rounds):
                    began = time.monotonic()
                    values.append(works[name](size))
                    took[name] = (size, time.monotonic() - began)
            except NotRun as error:
                notes.append(f"{name}: {size:,} not run, {reason(error)}")
                continue
            except Exception as error:
                leave_out(skipped, name, f"at {size:,}: {reason(error)}")
                continue
            series[name].append([size, *spread(values)])
            once += [size] if rounds == 1 else []
            print(f"  {name} {size:,}: {spread(values)[0]:.4g}, {took[name][1]:.1f} s", flush=True)
    series = {name: points for name, points in series.items() if points}
    if not series:
        raise RuntimeError("none of them could be run: " + "; ".join(f"{name}: {why}" for name, why in skipped.items()))
    if once:
        notes.insert(0, f"some of {min(once):,} and more only once")
    if late:
        notes.append("not run, for want of time: " + ", ".join(late.values()))
    result = {"series": series, "rounds": 3}
    return result | ({"note": "; ".join(notes)} if notes else {}) | ({"skipped": skipped} if skipped else {})


class Meter:
    """Meter().read(): of the time since it was made."""

    def __init__(self):
        self.began, self.load, self.times, self.own = time.monotonic(), os.getloadavg()[0], self.processors(), self.ours()

    @staticmethod
    def processors():
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, idle, iowait, irq, softirq, steal = (int(word) / TICK for word in file.readline().split()[1:9])
        return {"run": user + nice + system, "all": user + nice + system + idle + iowait + irq + softirq + steal, "steal": steal}

    @staticmethod
    def ours():
        """Of us and of all that we have started and that has ended since."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    def read(self):
        now = {name: value - self.times[name] for name, value in self.processors().items()}
        every = max(now["all"], 1 / TICK)
        others = max(0.0, now["run"] - (self.ours() - self.own)) / every
        steal = now["steal"] / every
        return {"load": round((self.load + os.getloadavg()[0]) / 2, 1), "steal": round(steal, 3), "others": round(others, 3),
                "busy": steal > BUSY or others > BUSY, "seconds": round(time.monotonic() - self.began, 1)}
