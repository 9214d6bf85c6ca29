#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The benchmark suite itself: who fails is left out and named, servers are ended,
busy figures are marked and do not replace quiet ones, the page is what its figures make."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ["PAIL_SOURCE"]
sys.path.insert(0, HERE)
import instruction_counts  # noqa: E402
import measure  # noqa: E402
import suite  # noqa: E402
import suite_page  # noqa: E402
from peers import Group, Peer  # noqa: E402

# Answers on the port that it is given, in two processes, as servers do.
ANSWERS = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def answering(name="answers"):
    return Peer(name, [sys.executable, "-c", ANSWERS.replace("{", "{{").replace("}", "}}"), "{port}"])


def failing():
    raise RuntimeError("it is broken")


def result(name="hello", **more):
    return {"part": "server", "name": name, "title": "T", "at": "2026-01-02 03:04 UTC", "commit": "abc", "machine": "M", "load": 1.0, "steal": 0.0,
            "others": 0.01, "busy": False, "seconds": 1.0, "unit": "us", "better": "less", "command": "c",
            "peers": {"a": [1.0, 2.0], "b": [3.0, 3.0]}, "reference": "a", "rounds": 2} | more


class Turns(unittest.TestCase):
    def test_everyone_has_its_turn_in_each_round_back_and_forth(self):
        seen = []
        works = {name: (lambda name=name: seen.append(name) or 1.0) for name in "abc"}
        figures = measure.compare(works, measure.Plan(rounds=2), "a")
        self.assertEqual("".join(seen), "cbaabc")
        self.assertEqual(figures, {"peers": {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}, "reference": "a", "rounds": 2})

    def test_who_fails_is_named_and_left_out_and_the_others_go_on(self):
        figures = measure.compare({"a": failing, "b": lambda: 2.0}, measure.Plan(rounds=3), "a")
        self.assertEqual(figures["peers"], {"b": [2.0] * 3})
        self.assertEqual(figures["skipped"], {"a": "it is broken"})
        self.assertEqual(figures["reference"], "b")

    def test_that_nobody_can_be_run_is_an_error_that_says_why(self):
        with self.assertRaisesRegex(RuntimeError, "a: it is broken"):
            measure.compare({"a": failing}, measure.Plan(), "a")

    def test_when_the_time_is_over_the_least_rounds_are_kept_and_after_twice_the_time_or_all_one(self):
        plan = measure.Plan(rounds=9, least=3)
        plan.until = 0
        self.assertEqual(measure.compare({"a": lambda: 1.0}, plan, "a")["rounds"], 3)
        plan.late = 0
        self.assertEqual(measure.compare({"a": lambda: 1.0}, plan, "a")["rounds"], 1)
        plan = measure.Plan(rounds=9, least=3, ends=time.monotonic() - 1)
        self.assertEqual(measure.compare({"a": lambda: 1.0}, plan, "a")["rounds"], 1)

    def test_a_size_that_would_take_longer_than_is_left_is_not_run_but_told(self):
        def slow(size):
            time.sleep(0.02 if size == 1 else 0)
            return 5.0

        figures = measure.grow({"a": slow}, [1, 10 ** 9], measure.Plan(seconds=60))
        self.assertEqual(figures["series"], {"a": [[1, 5.0, 5.0, 5.0]]})
        self.assertRegex(figures["note"], "^not run, for want of time: a from 1,000,000,000 on \\(some [0-9]{8,} s\\)$")

    def test_what_grows_without_more_work_is_run_whatever_its_size(self):
        figures = measure.grow({"a": lambda size: time.sleep(0.01) or 5.0}, [1, 10 ** 9], measure.Plan(seconds=60), effort=lambda size: 1)
        self.assertEqual([point[0] for point in figures["series"]["a"]], [1, 10 ** 9])

    def test_who_fails_at_a_size_keeps_its_smaller_ones(self):
        def work(size):
            return 1.0 if size < 10 else failing()

        figures = measure.grow({"a": work}, [1, 10, 100], measure.Plan())
        self.assertEqual([point[0] for point in figures["series"]["a"]], [1])
        self.assertEqual(figures["skipped"], {"a": "at 10: it is broken"})


class Beside(unittest.TestCase):
    def read(self, before, after, ours):
        """A meter's reading, of processors' and our own times given."""
        times, own = iter([before, after]), iter([0.0, ours])

        class Told(measure.Meter):
            @staticmethod
            def processors():
                return next(times)

            @staticmethod
            def ours():
                return next(own)

        return Told().read()

    def test_what_we_use_ourselves_is_no_other_work(self):
        told = self.read({"run": 5, "all": 10, "steal": 0}, {"run": 14, "all": 20, "steal": 0.5}, 9)
        self.assertEqual((told["others"], told["steal"], told["busy"]), (0.0, 0.05, False))

    def test_a_tenth_of_the_processors_for_others_or_stolen_is_busy(self):
        self.assertTrue(self.read({"run": 0, "all": 0, "steal": 0}, {"run": 6, "all": 10, "steal": 0}, 4)["busy"])
        self.assertTrue(self.read({"run": 0, "all": 0, "steal": 0}, {"run": 4, "all": 10, "steal": 2}, 4)["busy"])

    def test_a_child_that_has_ended_is_ours(self):
        before = measure.Meter.ours()
        subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
        self.assertGreater(measure.Meter.ours() - before, 0.25)


class Kept(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = f"{folder.name}/figures.json"

    def names(self):
        with open(self.path, encoding="utf-8") as file:
            return {each["name"]: each["commit"] for each in json.load(file)["results"]}

    def test_each_result_takes_its_own_place(self):
        suite.save(self.path, result())
        suite.save(self.path, result("other"))
        suite.save(self.path, result(commit="def"))
        self.assertEqual(self.names(), {"hello": "def", "other": "abc"})

    def test_a_busy_figure_replaces_a_quiet_one_only_when_told(self):
        suite.save(self.path, result())
        self.assertFalse(suite.save(self.path, result(busy=True, commit="busy")))
        self.assertEqual(self.names(), {"hello": "abc"})
        self.assertTrue(suite.save(self.path, result(busy=True, commit="other", machine="N")))
        suite.save(self.path, result())
        self.assertTrue(suite.save(self.path, result(busy=True, commit="busy"), replace=True))
        self.assertTrue(suite.save(self.path, result(busy=True, commit="busy2")))
        self.assertEqual(self.names(), {"hello": "busy2"})

    def test_one_that_cannot_be_run_leaves_the_others_and_those_after_the_end_are_told(self):
        runs = suite.Suite(self.path, quick=True)
        runs.run("server", "broken", "T", lambda plan: failing(), 1, unit="us", better="less")
        runs.run("server", "fine", "T", lambda plan: {"peers": {"a": [1.0]}, "reference": "a", "rounds": 1}, 1, unit="us", better="less")
        runs.ends = time.monotonic() - 1
        runs.run("server", "late", "T", failing, 1)
        self.assertEqual(list(self.names()), ["fine"])
        self.assertEqual(runs.failed, ["broken", "late"])


class Servers(unittest.TestCase):
    def test_one_that_does_not_start_is_named_and_all_are_ended(self):
        with Group({"answers": answering, "ends": lambda: Peer("ends", ["false"])}) as (there, skipped):
            self.assertEqual(list(there), ["answers"])
            self.assertEqual(skipped, {"ends": "ended with 1:"})
            process = there["answers"].process
            self.assertIsNone(process.poll())
        self.assertIsNotNone(process.poll())

    def test_one_that_ignores_that_it_should_end_is_killed(self):
        peer = answering()
        peer.process.terminate = lambda: None
        patience, peer.process.wait = peer.process.wait, lambda timeout: patience(min(timeout, 0.1) if peer.process.poll() is None else timeout)
        original = os.kill
        self.addCleanup(setattr, os, "kill", original)

        def kill(pid, number):
            peer.process.wait = patience
            original(pid, number)

        os.kill = kill
        peer.stop()
        self.assertEqual(peer.process.returncode, -signal.SIGKILL)

    def test_when_the_suite_is_ended_its_servers_are(self):
        script = (f"import signal, sys, time\nsys.path.insert(0, {HERE!r})\nfrom suite import stopped\nfrom test_suite import answering\n"
                  "from peers import Group\nsignal.signal(signal.SIGTERM, stopped)\nwith Group({'a': answering}) as (there, _):\n"
                  "    print(there['a'].process.pid, flush=True)\n    time.sleep(600)\n")
        with subprocess.Popen([sys.executable, "-B", "-c", script], stdout=subprocess.PIPE, text=True) as runs:
            try:
                pid = int(runs.stdout.readline())
                runs.terminate()
                self.assertEqual(runs.wait(60), 143)
            finally:
                runs.kill()
        self.assertFalse(os.path.exists(f"/proc/{pid}"))


class Page(unittest.TestCase):
    def test_it_is_what_its_figures_and_its_prose_make(self):
        with open(f"{SOURCE}/docs/benchmarks.md", encoding="utf-8") as file:
            kept = file.read()
        made = suite_page.page(*suite_page.read(f"{SOURCE}/docs/benchmarks.json"))
        self.assertEqual(kept, made, "docs/benchmarks.md is not what scripts/bench --page makes")

    def test_each_result_has_its_place_and_its_plot(self):
        names = suite.Suite("", listing=True)
        for part in suite.PARTS:
            __import__(f"suite_{part}").run(names)
        with open(suite_page.PROSE, encoding="utf-8") as file:
            places = set(suite_page.PLACE.findall(file.read()))
        self.assertEqual(places - {"machine", "marks", "soak"}, set(names.names))

    def test_a_busy_figure_is_marked_and_who_was_left_out_is_named(self):
        text = suite_page.block(result(busy=True, others=0.5, skipped={"h2o": "no h2o is installed"}, note="three times"), None)
        self.assertIn("others 50%, 2 rounds, `c`. **Taken on a busy machine.**", text)
        self.assertIn("| b | 3.00 | 2.25 (1.50 to 3.00) |", text)
        self.assertIn("Left out: h2o, no h2o is installed.", text)
        self.assertIn("Three times.", text)
        self.assertNotIn("busy", suite_page.block(result(), None))
        self.assertIn("above 10% of the processors' time): a.", suite_page.marks({"a": result(busy=True), "b": result()}))

    def test_series_of_different_lengths_leave_cells_free(self):
        text = suite_page.growth({"x": "n", "series": {"a": [[1, 2.0, 1.0, 3.0], [10, 4.0, 4.0, 4.0]], "b": [[1, 5.0]]}})
        self.assertIn("| 1 | 2.00 (1.00 to 3.00) | 5.00 |\n| 10 | 4.00 |  |\n", text)

    def test_a_result_without_a_place_is_an_error(self):
        with self.assertRaisesRegex(SystemExit, "no place for unheard-of"):
            suite_page.page({"unheard-of": result("unheard-of")})


class Counts(unittest.TestCase):
    def test_three_percent_more_is_too_much_and_what_is_held_against_does_not_count(self):
        kept = {"arena": 100.0, "parse": 1000.0, "bare": 10.0}
        self.assertEqual(instruction_counts.grown({"arena": 102.9, "parse": 1000.0, "bare": 90.0, "new": 5.0}, kept), [])
        self.assertEqual(len(instruction_counts.grown({"arena": 103.2, "parse": 1029.0, "bare": 10.0}, kept)), 1)


if __name__ == "__main__":
    unittest.main()
