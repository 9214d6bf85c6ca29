# SPDX-License-Identifier: MIT
"""Stacks: held against libunwind, and what the recorder makes of them.

Usage: test_stacks.py SHIM_DUMP LIBRARY VICTIMS_FOLDER PAIL [unittest arguments]
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from ports import free_port  # noqa: E402  pylint: disable=wrong-import-position

DUMP, LIBRARY, VICTIMS, PAIL = (os.path.abspath(a) for a in sys.argv[1:5])


class Unwound:
    """A run of victim_stacks: what we say of each allocation, and what libunwind said."""

    def __init__(self, victim, case, count, options=("-S",)):
        with tempfile.TemporaryDirectory() as folder:
            said, events = os.path.join(folder, "said"), os.path.join(folder, "events")
            plugin = os.path.join(VICTIMS, "victim_stacks_plugin.so")
            done = subprocess.run(
                [DUMP, *options, "-x", events, LIBRARY, "--", os.path.join(VICTIMS, victim), case,
                 str(count), said, plugin], capture_output=True, text=True, timeout=100)
            if done.returncode != 0:
                raise AssertionError(f"{case}: exit {done.returncode}: {done.stderr}")
            self.expected = {}
            for line in open(said):
                size, function, *callers = line.split()
                low, high = (int(a, 16) for a in function.split("-"))
                callers = [int(a, 16) for a in callers[0].split(",")] if callers else []
                self.expected.setdefault(size, []).append((low, high, callers))
            self.got, self.cut = [], 0
            for line in open(events):
                found = re.search(r" alloc .* size=(\d+) align=0(?: stack=(\S+))?$", line.rstrip())
                if found and found.group(1) in self.expected:
                    text = found.group(2) or ""
                    self.cut += text.endswith("~")
                    self.got.append((found.group(1), [int(re.sub("[!~]", "", a), 16)
                                                      for a in text.split(",") if a],
                                     text.endswith("~")))
            self.summary = dict(re.findall(r"(\w+)=(\d+)", line))

    def wrong(self):
        def same(stack, cut, low, high, callers):
            if not stack or not low <= stack[0] <= high:
                return False
            return stack[1:] == callers or (cut and stack[1:] == callers[:len(stack) - 1])
        return [g for g in self.got
                if not any(same(g[1], g[2], *e) for e in self.expected[g[0]])]


class AgainstLibunwind(unittest.TestCase):
    def check(self, case, count, least):
        for victim in "victim_stacks", "victim_stacks_pointers":
            with self.subTest(victim=victim):
                run = Unwound(victim, case, count)
                self.assertEqual(run.wrong(), [])
                self.assertEqual(len(run.got), sum(map(len, run.expected.values())))
                self.assertGreaterEqual(len(run.got), least)
                self.assertEqual(run.summary["stacks_lost"], "0")
                self.assertEqual(run.summary["stacks_blind"], "0")

    def test_frames_of_all_kinds_calling_each_other_at_random(self):
        self.check("random", 20000, 20000)

    def test_the_same_few_stacks_again_and_again(self):
        self.check("again", 5000, 5000)

    def test_through_signal_handlers(self):
        self.check("signals", 300, 300)

    def test_through_handlers_on_a_stack_of_their_own(self):
        self.check("alternate", 300, 300)

    def test_from_an_instruction_that_was_no_call(self):
        self.check("interrupted", 50, 50)

    def test_on_the_stacks_of_coroutines(self):
        self.check("coroutines", 500, 500)

    def test_a_library_that_is_unloaded_and_comes_again(self):
        self.check("plugin", 20, 400)

    def test_in_threads(self):
        self.check("thread", 500, 500)

    def test_in_forked_children(self):
        self.check("forks", 200, 300)

    def test_of_a_deep_recursion_the_innermost_frames_are_kept(self):
        run = Unwound("victim_stacks", "recursion", 900)
        self.assertEqual(run.wrong(), [])
        self.assertGreater(run.cut, 0)
        self.assertEqual(max(len(stack) for _, stack, _ in run.got), 384)


class Bounds(unittest.TestCase):
    def test_a_full_table_loses_stacks_and_nothing_else(self):
        run = Unwound("victim_stacks", "random", 5000, options=("-S", "-T", "1024"))
        with_stack = [g for g in run.got if g[1]]
        self.assertGreater(int(run.summary["stacks_lost"]), 1000)
        self.assertEqual(len(run.got), 5000 + (len(run.got) - 5000))
        self.assertGreaterEqual(len(run.got), 5000)
        self.assertEqual(len(run.got) - len(with_stack), int(run.summary["stacks_lost"]))
        self.assertEqual([w for w in run.wrong() if w[1]], [])

    def test_frame_pointers_find_our_own_frames(self):
        run = Unwound("victim_stacks_pointers", "recursion", 100, options=("-F",))
        for size, stack, _ in run.got:
            _, _, callers = run.expected[size][0]
            ours = len(callers) - 3  # main's callers in libc have none
            self.assertEqual(stack[1:1 + ours], callers[:ours])


class Recorded(unittest.TestCase):
    """Whole recordings, in a folder of their own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.trace = os.path.join(self.folder, "t.db")

    def serve(self, paths, *options, program=None):
        port = free_port()
        program = program or os.path.join(VICTIMS, "victim_escapes")
        recorder = subprocess.Popen(
            [PAIL, "record", *options, "-o", self.trace, "--", program, str(port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            for path in paths:
                client.request("GET", path)
                client.getresponse().read()
            client.close()
        finally:
            recorder.send_signal(signal.SIGTERM)
            self.said = recorder.communicate(timeout=30)[0]

    def rows(self, sql):
        with sqlite3.connect(f"file:{self.trace}?mode=ro", uri=True) as db:
            return db.execute(sql).fetchall()

    def report(self):
        done = subprocess.run([PAIL, "report", "--by", "site", "--json", self.trace],
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    PATHS = ["/clean"] * 30 + ["/keep"] * 30 + ["/next"] * 30 + ["/warm"] * 30

    def test_escapes_by_site_who_freed_them_and_what_may_live_in_an_arena(self):
        self.serve(self.PATHS, "--detail", "stacks")
        report = self.report()
        arena = {r["route"]: r for r in report["arena"]}
        self.assertEqual({r: a["arena_safe"] for r, a in arena.items()},
                         {"GET /clean": "yes", "GET /keep": "no", "GET /next": "no",
                          "GET /warm": "warm"}, self.said)
        keep, following = arena["GET /keep"]["sites"], arena["GET /next"]["sites"]
        self.assertEqual([(s["escapes"], s["escaped_bytes"], s["freed_by"]["never"]) for s in keep],
                         [(30, 30 * 1001, 30)])
        self.assertEqual([(s["escapes"], s["freed_by"]["request"], s["freed_by"]["never"])
                          for s in following], [(30, 29, 1)])
        self.assertGreater(following[0]["kept_ns_max"], 0)
        self.assertRegex(keep[0]["site"], r"^make_buffer \(escapes\.c:\d+\)$")
        # What is said of sites adds up to what is said of requests.
        columns = "sum(allocations), sum(requested_bytes), sum(escapes), sum(escaped_bytes)"
        self.assertEqual(self.rows(f"SELECT {columns} FROM site_use"),
                         self.rows(f"SELECT {columns} FROM request"))
        names = [f["function"] for f in report["rows"][0]["frames"]]
        self.assertIn("main", names)
        self.assertLess(names.index("make_buffer"), names.index("handle"))

    def test_lines_are_those_of_the_calls(self):
        self.serve(["/keep"], "--detail", "stacks")
        source = open(os.path.join(os.path.dirname(__file__), "../victims/escapes.c")).read().splitlines()
        for function, line in self.rows("SELECT function, line FROM frame WHERE file LIKE '%escapes.c'"):
            callee = {"make_buffer": "malloc", "leave_for_ever": "make_buffer",
                      "handle": "leave_for_ever|make_buffer", "serve": "handle", "main": "serve"}[function]
            self.assertRegex(source[line - 1], callee)

    def test_a_stripped_program_has_sites_without_names(self):
        if not shutil.which("strip"):
            self.skipTest("no strip")
        program = os.path.join(self.folder, "bare")
        subprocess.run(["strip", "-o", program, os.path.join(VICTIMS, "victim_escapes")], check=True)
        self.serve(self.PATHS, "--detail", "stacks", program=program)
        keep = next(r for r in self.report()["arena"] if r["route"] == "GET /keep")
        self.assertRegex(keep["sites"][0]["site"], r"^bare\+0x[0-9a-f]+$")
        self.assertEqual(keep["sites"][0]["escapes"], 30)

    def test_a_recorder_that_is_killed_leaves_sites_as_addresses(self):
        port = free_port()
        recorder = subprocess.Popen(
            [PAIL, "record", "--detail", "stacks", "-o", self.trace, "--",
             os.path.join(VICTIMS, "victim_escapes"), str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(0.5)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(20):
            client.request("GET", "/keep")
            client.getresponse().read()
        time.sleep(2.5)
        child = int(open(f"/proc/{recorder.pid}/task/{recorder.pid}/children").read().split()[0])
        recorder.kill()
        recorder.wait()
        os.kill(child, signal.SIGKILL)
        self.assertGreater(self.rows("SELECT count(*) FROM site WHERE name LIKE '%victim_escapes+0x%'")[0][0], 0)

    def test_sites_of_operations_lie_beside_them(self):
        self.serve(["/keep"] * 3, "--detail", "stacks")
        self.assertEqual(self.rows("SELECT count(*) FROM event_site"),
                         self.rows("SELECT count(*) FROM event_block"))

    def test_without_stacks_there_are_no_sites(self):
        self.serve(["/keep"] * 3)
        self.assertEqual(self.rows("SELECT count(*) FROM site"), [(0,)])
        done = subprocess.run([PAIL, "report", "--by", "site", self.trace], capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("--detail stacks", done.stderr)

    def test_painting_sees_a_depth_that_hooks_do_not(self):
        peak = {}
        for depth in "hooks", "paint":
            self.serve(["/clean", "/deep", "/clean"], "--stack-depth", depth)
            peak[depth] = [r[0] for r in self.rows("SELECT stack_peak_bytes FROM request ORDER BY id")]
        self.assertLess(peak["hooks"][1], 8000)
        self.assertGreater(peak["paint"][1], 30000)
        self.assertLess(peak["paint"][1], 40000)
        self.assertLess(peak["paint"][2], 20000)

    def compile(self, compiler, source, text, *options):
        if not shutil.which(compiler):
            self.skipTest(f"no {compiler}")
        path = os.path.join(self.folder, source)
        with open(path, "w") as file:
            file.write(text)
        program = path.rsplit(".", 1)[0]
        subprocess.run([compiler, *options, "-o", program, path], capture_output=True, check=True, text=True,
                       env={**os.environ, "RUSTC_BOOTSTRAP": "1"})
        return program

    def site_names(self, program):
        subprocess.run([PAIL, "record", "--detail", "stacks", "-o", self.trace, "--", program],
                       check=True, capture_output=True)
        return {r[0] for r in self.rows("SELECT function FROM frame WHERE function IS NOT NULL")}

    def test_cpp_names_are_demangled_and_inlined_calls_are_frames(self):
        program = self.compile("g++", "app.cc", """
            #include <vector>
            namespace outer { template<class T> struct Shelf {
                __attribute__((noinline)) void grow() { items.reserve(items.capacity() * 2 + 999); }
                std::vector<T> items; }; }
            int main() { outer::Shelf<int> shelf; shelf.grow(); return shelf.items.size(); }
            """, "-O2", "-g")
        names = self.site_names(program)
        self.assertIn("outer::Shelf<int>::grow", names)
        self.assertIn("std::vector<int, std::allocator<int> >::reserve", names)

    def test_rust_names_are_demangled(self):
        text = """
            mod shelf { #[inline(never)] pub fn fill() -> Vec<u8> { let v: Vec<u8> = Vec::with_capacity(5555); v } }
            fn main() { std::process::exit((shelf::fill().capacity() != 5555) as i32) }
            """
        for version in "legacy", "v0":
            with self.subTest(mangling=version):
                program = self.compile("rustc", "app.rs", text, "-O", "-g", "-Z", "unstable-options", "-C",
                                       f"symbol-mangling-version={version}")
                self.assertIn("app::shelf::fill", self.site_names(program))


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    unittest.main(argv=sys.argv[:1] + sys.argv[5:], verbosity=1, warnings="ignore")
