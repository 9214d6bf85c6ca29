#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail stackbound on compiled samples, held against the stack they really use."""
import json
import os
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PAIL = os.path.join(os.environ["PAIL_BUILD"], "bin", "pail")
CC = os.environ.get("CC", "cc")
# The wrapper that measures has a frame of its own, and stacks are aligned.
SLACK = 64


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def gives_call_graphs():
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/x.c", "w", encoding="ascii") as file:
            file.write("int x(void) { return 1; }\n")
        done = run(CC, "-c", "-fcallgraph-info=su,da", "-o", f"{folder}/x.o", f"{folder}/x.c")
        return done.returncode == 0 and os.path.exists(f"{folder}/x.ci")


@unittest.skipUnless(gives_call_graphs(), "the compiler has no -fcallgraph-info (gcc has it)")
class Stackbound(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.measured = {}
        for level in ("-O0", "-O1", "-O2", "-Os"):
            out = cls.at(level)
            os.mkdir(out)
            objects = []
            for name in ("handler", "helper", "measure"):
                objects.append(f"{out}/{name}.o")
                subprocess.run([CC, level, "-c", "-fcallgraph-info=su,da", "-o", objects[-1],
                                f"{HERE}/stackbound/{name}.c"], check=True)
            with open(f"{out}/outside.c", "w", encoding="ascii") as file:
                file.write("int outside_function(int n) { return n; }\n")
            subprocess.run([CC, *objects, f"{out}/outside.c", "-o", f"{out}/measure"], check=True)
            lines = subprocess.run([f"{out}/measure"], capture_output=True, text=True, check=True).stdout
            cls.measured[level] = {name: int(value) for name, value in map(str.split, lines.splitlines())}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def at(cls, level):
        return f"{cls.folder.name}/{level.lstrip('-')}"

    def ask(self, *words, level="-O1", code=0):
        files = [f"{self.at(level)}/{name}.ci" for name in ("handler", "helper")]
        done = run(PAIL, "stackbound", "--json", *files, *words)
        self.assertEqual(done.returncode, code, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["schema"], "pail.stackbound/1")
        return answer["entries"][0]

    def check(self, function, *words):
        """At least what is used, and not more than the deepest way's own slack above it."""
        for level, measured in self.measured.items():
            with self.subTest(level=level):
                entry = self.ask("--entry", function, *words, level=level)
                self.assertTrue(entry["bounded"])
                self.assertGreaterEqual(entry["bytes"] + SLACK, measured[function])
                self.assertLess(entry["bytes"], measured[function] + 128 + 5 * SLACK)
                parts = sum(step["bytes"] for step in entry["path"]) + entry["below_bytes"]
                self.assertEqual(parts, entry["bytes"])

    def test_a_handler_uses_no_more_than_is_said_and_not_much_less(self):
        self.check("pail_handle")

    def test_the_two_units_static_functions_of_one_name_are_two(self):
        path = [step["function"] for step in self.ask()["path"]]
        self.assertEqual(path[0], "pail_handle")
        self.assertTrue(path[-1].endswith("helper.c:leaf"), path)

    def test_recursion_has_no_bound_until_its_depth_is_given(self):
        entry = self.ask("--entry", "recursive", code=1)
        self.assertIsNone(entry["bytes"])
        self.assertEqual([p["kind"] for p in entry["problems"]], ["cycle"])
        self.assertEqual(entry["problems"][0]["cycle"], ["recursive"])
        self.check("recursive", "--depth", "recursive=10")

    def test_a_circle_of_functions_is_named_in_the_order_of_its_calls(self):
        entry = self.ask("--entry", "circular", code=1)
        cycle = [name.split(":")[-1] for name in entry["problems"][0]["cycle"]]
        self.assertEqual(sorted(cycle), ["even", "odd"])
        self.ask("--entry", "circular", "--depth", "even=5", code=1)
        self.assertTrue(self.ask("--entry", "circular", "--depth", "even=5", "--depth", "odd=5")["bounded"])

    def test_a_call_by_pointer_is_named_until_its_targets_are_given(self):
        entry = self.ask("--entry", "by_pointer", code=1)
        self.assertEqual([(p["kind"], p["function"]) for p in entry["problems"]], [("indirect", "by_pointer")])
        self.assertIn("handler.c:", entry["problems"][0]["where"])
        self.check("by_pointer", "--calls", "by_pointer=helper")

    def test_a_frame_of_no_fixed_size_is_named_until_its_size_is_given(self):
        entry = self.ask("--entry", "dynamic_frame", code=1)
        self.assertEqual([p["kind"] for p in entry["problems"]], ["dynamic"])
        for level, measured in self.measured.items():
            entry = self.ask("--entry", "dynamic_frame", "--stack", "dynamic_frame=1200", level=level)
            self.assertGreaterEqual(entry["bytes"] + SLACK, measured["dynamic_frame"])

    def test_a_function_of_nobody_is_named_until_its_stack_is_given(self):
        entry = self.ask("--entry", "unknown_callee", code=1)
        self.assertEqual([(p["kind"], p["function"]) for p in entry["problems"]], [("external", "outside_function")])
        known = self.ask("--entry", "unknown_callee", "--stack", "outside_function=700")
        self.assertEqual(known["path"][-1]["bytes"], 700)
        self.assertEqual(known["below_bytes"], 0)
        self.assertEqual(known["rests_on"], [{"function": "outside_function", "bytes": 700, "source": "--stack"}])

    def test_a_figure_given_for_a_function_stands_for_all_below_it(self):
        entry = self.ask("--entry", "circular", "--stack", "even=900")
        self.assertTrue(entry["bounded"], "what it calls does not count, nor does its recursion")
        self.assertEqual([(step["function"].split(":")[-1], step["bytes"]) for step in entry["path"]][1:], [("even", 900)])
        self.assertEqual(entry["bytes"], entry["path"][0]["bytes"] + 900)

    def test_measured_figures_are_used_and_named_and_can_be_left_out(self):
        words = ("--entry", "dynamic_frame", "--stack", "dynamic_frame=1200")
        self.assertEqual([fact["function"] for fact in self.ask(*words, level="-O0")["rests_on"]],
                         ["dynamic_frame", "memset"])
        self.ask(*words, "--no-measured", level="-O0", code=1)

    def test_without_the_red_zone_a_leaf_has_its_frame_only(self):
        with_zone = self.ask("--entry", "helper")["bytes"]
        self.assertEqual(self.ask("--entry", "helper", "--red-zone", "0")["bytes"], with_zone - 128)

    def test_the_text_says_bound_path_and_trouble(self):
        files = [f"{self.at('-O1')}/{name}.ci" for name in ("handler", "helper")]
        done = run(PAIL, "stackbound", *files, "-e", "pail_handle", "-e", "circular")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"pail_handle: at most \d+ bytes")
        self.assertRegex(done.stdout, r"circular: no bound; at least \d+ bytes\n  cycle +\S*even -> ")

    def test_complaints_name_file_line_and_cure(self):
        bad = f"{self.folder.name}/bad.ci"
        for text, message in (
            ('graph: { title: "a.c"\nnode: { title: "f" label: "f\\na.c:1:5" }\n}\n', "line 2: a function without its stack"),
            ('graph: { title: "a.c"\n', "cut short"),
            ("int main;\n", "line 1: not what gcc writes"),
            ("", "no call graph"),
            ('graph: { title: "a.c"\nnodes\n}\n', "line 2: neither"),
        ):
            with open(bad, "w", encoding="ascii") as file:
                file.write(text)
            done = run(PAIL, "stackbound", bad)
            self.assertEqual(done.returncode, 3)
            self.assertIn(message, done.stderr)
        file = f"{self.at('-O1')}/helper.ci"
        for words, code, message in (
            ([file], 3, "no pail_handle()"),
            ([file, "-e", "nobody"], 3, "no function 'nobody'"),
            ([file, "-e", "helper", "--stack", "helpr=3"], 2, "no function 'helpr'"),
            ([file, "-e", "helper", "--stack", "helper"], 2, "FUNCTION=VALUE"),
            ([file, "-e", "helper", "--depth", "helper=x"], 2, "--depth"),
            ([file, "-e", "helper", "--calls", "helper=nobody"], 2, "no function 'nobody'"),
            ([], 2, "FILE.ci"),
        ):
            done = run(PAIL, "stackbound", *words)
            self.assertEqual((done.returncode, message in done.stderr), (code, True), done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
