#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail simulate, plan, combine and calc as a user runs them, on an invented
trace: what they print adds up, and each way to be wrong has its exit code and
one line that says what to do."""
import contextlib
import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
MAKE = os.path.join(BUILD, "tests", "simulator", "make_trace")


class Commands(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        subprocess.run([MAKE, cls.path("t.db"), "5000", "10", "1"], check=True)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def run_pail(self, *words, code=0):
        done = subprocess.run([PAIL, *words], capture_output=True, text=True, check=False, cwd=self.folder.name)
        self.assertEqual(done.returncode, code, f"pail {' '.join(words)}: {done.stderr}")
        if code in (2, 3):
            self.assertEqual(done.stdout, "")
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertTrue(done.stderr.startswith(f"pail {words[0]}: "), done.stderr)
        return done

    def simulate(self, *words):
        return json.loads(self.run_pail("simulate", "t.db", "--json", *words).stdout)

    def test_a_stream_gives_the_counts_of_a_run_in_memory(self):
        ask = ["--size", "64K,148K,4M", "--count", "10,20,30", "--headroom", "3K", "--policy", "bump",
               "--confidence", "0.9"]
        whole = self.simulate(*ask)
        streamed = self.simulate("--stream", *ask)
        self.assertEqual(streamed["schema"], "pail.simulate.stream/1")
        for key in ("requests", "span_ns"):
            self.assertEqual(streamed["trace"][key], whole["trace"][key])
        self.assertEqual(len(streamed["candidates"]), 9)
        for a, b in zip(whole["candidates"], streamed["candidates"]):
            self.assertEqual({key: a[key] for key in b}, b)
        rows = list(csv.DictReader(io.StringIO(
            self.run_pail("simulate", "t.db", "--stream", "--csv", *ask).stdout)))
        for a, b in zip(whole["candidates"], rows, strict=True):
            self.assertEqual({key: a[key] for key in b}, {key: float(value) for key, value in b.items()})
        table = self.run_pail("simulate", "t.db", "--stream", *ask).stdout
        self.assertEqual(table, self.run_pail("simulate", "t.db", *ask).stdout)

    def test_a_stream_says_what_it_cannot_do(self):
        ask = ["simulate", "t.db", "--stream", "--size", "64K"]
        self.assertIn("--count", self.run_pail(*ask, code=2).stderr)
        for more in (["--queue", "3"], ["--load", "2"], ["--by-route"], ["--burst", "3"], ["--shard", "1/2"],
                     ["--oversize", "early"]):
            said = self.run_pail(*ask, "--count", "9", *more, code=2).stderr
            self.assertIn(more[0], said)

    def test_classes_by_names_that_are_no_paths(self):
        # Commands of a message protocol, and a marker's label with all that has to be quoted.
        label = 'say "]" ; # \\ now'
        with open(self.path("kv.csv"), "w", encoding="utf-8") as file:
            file.write("arrival_ns,service_ns,need_bytes,route\n")
            for i in range(9000):
                route, need = (("GET", 3000), ("SET", 40000), ('"' + label.replace('"', '""') + '"', 900000))[i % 3]
                file.write(f"{i * 1000000},2500000,{need},{route}\n")
        self.run_pail("import", "--format", "csv", "-o", "kv.db", "kv.csv")
        plan = json.loads(self.run_pail("plan", "kv.db", "--classes", "3", "--target", "0.01", "--json", "-o",
                                        "kv.conf").stdout)
        classes = plan["chosen"]["classes"]
        self.assertEqual([c["size"] for c in classes], [4096, 40960, 901120])
        self.assertIn('"SET"', classes[1]["routes"])
        # The file reads back, and each route finds its class by it.
        result = json.loads(self.run_pail("simulate", "kv.db", "--plan", "kv.conf", "--json").stdout)
        self.assertEqual(sum(c["rejected_500"] for c in result["candidates"]), 0)
        routes = {r["route"]: r["offered"] for r in result["candidates"][0]["routes"]}
        self.assertEqual(routes, {"GET": 3000, "SET": 3000, label: 3000})

    def test_clusters_of_hungry_requests_widen_the_interval(self):
        # One moderate need in fifty, far apart; eight bursts of four hungry ones.
        with open(self.path("bursts.csv"), "w", encoding="utf-8") as file:
            file.write("arrival_ns,service_ns,need_bytes,route\n")
            for i in range(4000):
                file.write(f"{i * 1000000},100000,{20000 if i % 50 == 0 else 4000},a\n")
                if i % 500 == 250:
                    for k in range(4):
                        file.write(f"{i * 1000000 + k + 1},100000,90000,b\n")
        self.run_pail("import", "--format", "csv", "-o", "bursts.db", "bursts.csv")
        ask = ["simulate", "bursts.db", "--size", "32K", "--count", "8", "--json"]
        found = json.loads(self.run_pail(*ask).stdout)["candidates"][0]
        self.assertEqual(found["rejected_500"], 32)
        # The upper end for eight clusters of four is twice what was seen.
        self.assertGreater(found["rate_high"], 1.5 * found["rejection_rate"])

    def test_simulate_gives_every_candidate_and_more_memory_refuses_less(self):
        result = self.simulate("--size", "64K,148K,4M", "--count", "10,20,30")
        self.assertEqual(result["schema"], "pail.simulate/1")
        self.assertEqual(result["trace"]["requests"], 5000)
        by = {(c["size"], c["count"]): c for c in result["candidates"]}
        self.assertEqual(sorted(by), [(s, n) for s in (65536, 151552, 4194304) for n in (10, 20, 30)])
        for c in by.values():
            self.assertEqual(c["offered"], 5000)
            rejected = c["rejected_500"] + c["rejected_503"]
            self.assertEqual(c["rejection_rate"], rejected / 5000)
            self.assertLessEqual(c["rate_low"], c["rejection_rate"])
            self.assertGreaterEqual(c["rate_high"], c["rejection_rate"])
        for size in (65536, 151552, 4194304):
            self.assertGreater(by[size, 10]["rejected_503"], by[size, 20]["rejected_503"])
            self.assertLess(by[size, 10]["bound_bytes"], by[size, 20]["bound_bytes"])
        self.assertEqual(by[4194304, 30]["rejection_rate"], 0)
        self.assertGreater(by[4194304, 30]["rate_high"], 0)

    def test_simulate_by_route_adds_up(self):
        for queue in ((), ("--queue", "4", "--wait", "20ms")):
            for c in self.simulate("--size", "64K", "--count", "12,20", "--by-route", *queue)["candidates"]:
                for key in ("offered", "rejected_500", "rejected_503"):
                    self.assertEqual(sum(r[key] for r in c["routes"]), c[key])

    def test_simulate_csv_and_json_are_the_same_numbers(self):
        words = ("--size", "64K,148K", "--count", "12,20", "--queue", "3", "--wait", "10ms")
        rows = list(csv.DictReader(io.StringIO(self.run_pail("simulate", "t.db", "--csv", *words).stdout)))
        for row, candidate in zip(rows, self.simulate(*words)["candidates"], strict=True):
            for key, value in row.items():
                self.assertEqual(float(value), candidate[key], key)

    def test_threads_do_not_change_a_byte(self):
        words = ("simulate", "t.db", "--json", "--load", "7.5", "--by-route")
        self.assertEqual(self.run_pail(*words, "--threads", "1").stdout, self.run_pail(*words, "--threads", "5").stdout)

    def test_a_queue_serves_more_and_waits(self):
        alone = self.simulate("--size", "148K", "--count", "12")["candidates"][0]
        queue = self.simulate("--size", "148K", "--count", "12", "--queue", "20", "--wait", "1s")["candidates"][0]
        self.assertLess(queue["rejected_503"], alone["rejected_503"])
        self.assertGreater(queue["wait_ns_p99"], 0)
        self.assertLessEqual(queue["wait_ns_p99"], 10**9)

    def test_what_if_makes_it_worse(self):
        words = ("--size", "148K", "--count", "22")
        usual = self.simulate(*words)["candidates"][0]["rejection_rate"]
        for overlay in (("--inflate", "route=/lookup,service=3"), ("--burst", "50"), ("--maximal", "0.02"), ("--load", "1.5")):
            self.assertGreater(self.simulate(*words, *overlay)["candidates"][0]["rejection_rate"], usual, overlay)

    def test_shards_join_to_the_same_bytes(self):
        words = ("--size", "16K,148K", "--count", "10,12,14,16,18", "--queue", "4", "--wait", "20ms")
        for i in (1, 2, 3):
            part = self.run_pail("simulate", "t.db", *words, "--shard", f"{i}/3").stdout
            self.assertLess(len(part), 4096)
            with open(self.path(f"part{i}"), "w", encoding="utf-8") as file:
                file.write(part)
        whole = self.run_pail("simulate", "t.db", *words, "--json").stdout
        self.assertEqual(self.run_pail("combine", "part2", "part3", "part1", "--json").stdout, whole)
        self.assertIn("missing", self.run_pail("combine", "part1", "part2", code=3).stderr)
        self.assertIn("twice", self.run_pail("combine", "part1", "part1", code=3).stderr)
        with open(self.path("part1"), encoding="utf-8") as file:
            text = file.read()
        with open(self.path("cut"), "w", encoding="utf-8") as file:
            file.write(text[: len(text) // 2])
        self.assertIn("cut short", self.run_pail("combine", "cut", "part2", "part3", code=3).stderr)

    def test_a_plan_is_what_simulate_and_the_server_say_of_it(self):
        for extra in ((), ("--classes", "3"), ("--queue", "8", "--wait", "30ms"),
                      ("--classes", "2", "--queue", "4", "--wait", "30ms"), ("--queue", "auto", "--wait", "100ms")):
            with self.subTest(extra=extra):
                plan = json.loads(self.run_pail("plan", "t.db", "--target", "1e-2", "-o", "p.conf", "--json", *extra).stdout)
                self.assertEqual(plan["schema"], "pail.plan/1")
                self.assertEqual(plan["verdict"], "met")
                chosen = plan["chosen"]
                self.assertLessEqual(chosen["rate_high"], 1e-2)
                whole = json.loads(self.run_pail("simulate", "t.db", "--plan", "p.conf", "--json").stdout)["candidates"][0]
                self.assertEqual(whole["bound_bytes"], chosen["bound_bytes"])
                self.assertAlmostEqual(whole["rejection_rate"], chosen["rejection_rate"], places=12)
                bounds = [p["bound_bytes"] for p in plan["pareto"]]
                self.assertEqual(bounds, sorted(bounds))
                self.assertGreater(len(plan["why"]), 3)

    def test_deep_stacks_are_lent_where_that_costs_less(self):
        ask = ["plan", "t.db", "--target", "1e-2", "--json"]
        given = json.loads(self.run_pail(*ask).stdout)["chosen"]
        lent = json.loads(self.run_pail(*ask, "--lend-stacks", "-o", "lent.conf").stdout)
        chosen = lent["chosen"]
        self.assertGreater(given["classes"][0]["stack"], chosen["stack_size"])
        self.assertLess(chosen["bound_bytes"], given["bound_bytes"])
        said = json.loads(self.run_pail("simulate", "t.db", "--plan", "lent.conf", "--json").stdout)
        self.assertEqual(said["candidates"][0]["bound_bytes"], chosen["bound_bytes"])
        # As many to lend as wanted more at one time: half as much again as was seen, 16 KiB, whole pages.
        with contextlib.closing(sqlite3.connect(self.path("t.db"))) as trace:
            rows = trace.execute("SELECT start_ns, end_ns, stack_peak_bytes FROM request").fetchall()
        wants = [-(-(peak + peak // 2 + 16384) // 4096) * 4096 for _, _, peak in rows]
        self.assertEqual(chosen["big_stack_size"], max(wants))
        deep = [row for row, want in zip(rows, wants) if want > chosen["stack_size"]]
        self.assertIn(f"{len(deep)} of 5000 requests want more than", " ".join(lent["why"]))
        events = sorted([(start, 1) for start, _, _ in deep] + [(end, 0) for _, end, _ in deep])
        now = most = 0
        for _, comes in events:
            now += 1 if comes else -1
            most = max(most, now)
        self.assertEqual(chosen["big_stack_count"], most)

    def test_a_plan_for_threads_says_that_they_share_nothing(self):
        with open(self.path("two.conf"), "w", encoding="utf-8") as file:
            file.write("[server]\nthreads = 2\n")
        ask = ["plan", "t.db", "--target", "1e-2", "--json"]
        self.assertNotIn("worker threads", " ".join(json.loads(self.run_pail(*ask).stdout)["warnings"]))
        said = json.loads(self.run_pail(*ask, "-c", "two.conf").stdout)["warnings"]
        self.assertIn("2 worker threads share no buckets", " ".join(said))

    def test_too_little_data_is_a_no_that_says_how_much_is_missing(self):
        done = self.run_pail("plan", "t.db", "--target", "1e-5", "-o", "no.conf", code=1)
        self.assertIn("requests are needed", done.stdout.replace("\n  ", " "))
        self.assertFalse(os.path.exists(self.path("no.conf")))
        self.run_pail("plan", "t.db", "--target", "1e-5", "--provisional", "-o", "yes.conf")
        with open(self.path("yes.conf"), encoding="utf-8") as file:
            self.assertIn("not enough data", file.read())

    def test_a_memory_limit_is_a_gate_or_asks_for_the_best(self):
        least = json.loads(self.run_pail("plan", "t.db", "--target", "1e-2", "--json").stdout)
        limit = least["chosen"]["bound_bytes"] - 4096
        self.run_pail("plan", "t.db", "--target", "1e-2", "--max-memory", str(limit), code=1)
        best = json.loads(self.run_pail("plan", "t.db", "--max-memory", str(limit), "--json").stdout)
        self.assertLessEqual(best["chosen"]["bound_bytes"], limit)

    def test_a_certificate_holds_until_it_is_tampered_with(self):
        self.run_pail("plan", "t.db", "--target", "1e-2", "--certificate", "c.txt")
        self.assertIn("requests overlap", self.run_pail("plan", "t.db", "--check", "c.txt").stdout)
        with open(self.path("c.txt"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("request "))
        forgeries = {
            "names another number": lines[:first] + lines[first + 1 :],
            "named twice": lines[:first] + [lines[first + 1]] + lines[first + 1 :],
            "other times": lines[:first] + [lines[first] + "0"] + lines[first + 1 :],
            "no such request": lines[:first] + ["request 999999 1 2"] + lines[first + 1 :],
            "another trace": [lines[0], "trace 00"] + lines[2:],
        }
        for what, forged in forgeries.items():
            with open(self.path("forged.txt"), "w", encoding="utf-8") as file:
                file.write("\n".join(forged) + "\n")
            self.assertIn(what, self.run_pail("plan", "t.db", "--check", "forged.txt", code=1).stdout)

    def events(self, name):
        """A trace of one request: three blocks of 100 bytes, the last one grown past its neighbour."""
        with open(self.path("three.rep"), "w", encoding="ascii") as file:
            file.write("0 4 6 1\na 0 100\na 1 100\na 2 100\na 3 8\nr 2 300\nf 0\n")
        self.run_pail("import", "--format", "rep", "-o", name, "three.rep")

    def sql(self, name, words):
        with contextlib.closing(sqlite3.connect(self.path(name))) as db, db:
            return db.execute(words).fetchall()

    def need(self, name, align, policy="bump"):
        """The least size in which the one request of a trace is served."""
        sizes = ",".join(str(size) for size in range(16, 1200, 8))
        told = json.loads(self.run_pail("simulate", name, "--align", str(align), "--policy", policy, "--size", sizes,
                                        "--count", "1", "--json").stdout)
        self.assertEqual(told["align"], align)
        return min(c["size"] for c in told["candidates"] if c["rejected_500"] == 0)

    def test_another_alignment_plays_the_events_again(self):
        self.events("e.db")
        # Payloads at 16-byte units 1, 8, 15, 22, and the grown one at 23 of 20 units; a header is 8 bytes.
        self.assertEqual(self.need("e.db", 16), (23 + 20) * 16 - 8)
        # At 4, 12, 20, 28, and 32 of 20 units.
        self.assertEqual(self.need("e.db", 64), (32 + 20) * 16 - 8)
        self.assertEqual(self.need("e.db", 64, "reuse"), (32 + 20) * 16 - 8)

    def test_needs_at_an_alignment_are_kept_in_the_trace(self):
        self.events("k.db")
        first = [self.need("k.db", 64), self.need("k.db", 128)]
        self.assertEqual(self.sql("k.db", "SELECT policy, align, part FROM aligned_need ORDER BY align"),
                         [("bump", 64, 0), ("bump", 128, 0)])
        whole = [row for row in self.sql("k.db", "SELECT * FROM event_block")]
        self.assertEqual(len(whole), 1)
        self.sql("k.db", "DELETE FROM event_block")
        self.assertEqual([self.need("k.db", 64), self.need("k.db", 128)], first)
        # Not those of another allocator or other requests, and no bytes that are none.
        for column, value in (("layout", "7"), ("columns", "'x'"), ("needs", "x'00'"), ("part", "3")):
            with self.subTest(column=column):
                kept = self.sql("k.db", f"SELECT {column} FROM aligned_need WHERE align = 64")[0][0]
                self.sql("k.db", f"UPDATE aligned_need SET {column} = {value} WHERE align = 64")
                said = self.run_pail("simulate", "k.db", "--policy", "bump", "--align", "64", code=3).stderr
                self.assertIn("events of request 1 are missing", said)
                with contextlib.closing(sqlite3.connect(self.path("k.db"))) as db, db:
                    db.execute(f"UPDATE aligned_need SET {column} = ? WHERE align = 64", (kept,))
        self.assertEqual(self.need("k.db", 64), first[0])

    def test_a_trace_that_cannot_be_written_is_played_each_time(self):
        self.events("b.db")
        with contextlib.closing(sqlite3.connect(self.path("b.db"), isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            need = self.need("b.db", 64)
            db.execute("ROLLBACK")
        self.assertEqual(self.sql("b.db", "SELECT count(*) FROM sqlite_schema WHERE name = 'aligned_need'"), [(0,)])
        self.assertEqual(self.need("b.db", 64), need)

    def test_an_alignment_wants_events(self):
        said = self.run_pail("plan", "t.db", "--align", "64", code=3).stderr
        self.assertIn("record with --detail events", said)
        for words in (["--align", "24"], ["--align", "8"], ["--align", "8K"],
                      ["--align", "64", "--stream", "--size", "4K", "--count", "1"]):
            self.assertIn("--align", self.run_pail("simulate", "t.db", *words, code=2).stderr)

    def plan_of(self, rows, *words, head="arrival_ns,service_ns,need_bytes,route", code=0):
        """The plan for a CSV's requests, as JSON."""
        with open(self.path("rows.csv"), "w", encoding="ascii") as file:
            file.write(head + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
        self.run_pail("import", "--format", "csv", "-o", "rows.db", "rows.csv")
        return json.loads(self.run_pail("plan", "rows.db", "--json", "--target", "0.5", *words, code=code).stdout)

    def assert_warns(self, plan, *what):
        for words in what:
            self.assertTrue(any(words in warning for warning in plan["warnings"]), (words, plan["warnings"]))

    def test_recordings_that_mislead_are_warned_of(self):
        calm = [(i * 1000000 + i * i * 7919 % 900000, 300000 + i * 104729 % 500000, 5000 + i % 100, "GET /a") for i in range(400)]
        for warning in self.plan_of(calm)["warnings"]:
            self.assertNotRegex(warning, "^(closed loop|saturated|not steady|first requests)")
        loop = [(i * 1000000, 999000, 5000, "GET /a") for i in range(400)]
        self.assert_warns(self.plan_of(loop), "closed loop: 100 % of arrivals come right after a departure")
        full = [(i * 1000000, 4999000, 5000, "GET /a") for i in range(400)]
        self.assert_warns(self.plan_of(full), "saturated: ")
        swelling = [(at * (2 if i < 200 else 1) - (400000000 if i >= 200 else 0) + (800000000 if i >= 200 else 0),
                     service * (1 if i < 200 else 9), need, route) for i, (at, service, need, route) in enumerate(calm)]
        self.assert_warns(self.plan_of(sorted(swelling)), "not steady: ")
        first = [(*calm[0][:2], 90000, "GET /a"), *calm[1:]]
        self.assert_warns(self.plan_of(first), "first requests: 1 route needed more the first time than ever after (GET /a")

    def test_what_a_recorder_was_unsure_of_is_warned_of(self):
        rows = [(i * 1000000, 300000, 5000, "GET /a", 6000, int(i < 3), int(i < 2), "ambiguous" if i < 7 else "exact")
                for i in range(50)]
        plan = self.plan_of(rows, head="arrival_ns,service_ns,need_bytes,route,need_bump_bytes,escapes,incomplete,confidence")
        self.assert_warns(plan, "3 of 50 requests allocated memory that outlives them", "2 of 50 requests lost events",
                          "7 of 50 requests could not be told apart")

    def test_a_tail_is_told_or_refused(self):
        few = [(i * 1000000, 300000, 5000 + i * 37 % 4000, "GET /a") for i in range(599)]
        refused = "needs beyond the trace can't be estimated: GET /a has 599 requests, and 600 are needed"
        self.assertTrue(any(refused in why for why in self.plan_of(few)["why"]))
        more = [*few, (600000000, 300000, 9100, "GET /a")]
        self.assertTrue(any("a tail fitted to the largest 5 % of GET /a" in why and "extrapolated" in why
                            for why in self.plan_of(more, "--target", "0.02")["why"]))

    def test_a_plan_tells_waste_and_fragmentation(self):
        rows = [(i * 1000000, 300000, 8000 if i % 2 else 4000, "GET /a", 6000 if i % 2 else 4000) for i in range(100)]
        plan = self.plan_of(rows, "--headroom", "192", "--target", "0.1",
                            head="arrival_ns,service_ns,need_bytes,route,live_peak_bytes")
        chosen, = plan["chosen"]["classes"]
        self.assertEqual(chosen["size"], 8192)
        self.assertAlmostEqual(chosen["used"], (8192 + 4192) / 2 / 8192)
        self.assertEqual(chosen["waste_bytes"], 2000)
        self.assertAlmostEqual(chosen["fragmentation"], 0.25)
        self.assertTrue(any("5.86 KiB were in use at one time; the rest, 25 %" in why for why in plan["why"]), plan["why"])
        told = self.plan_of([row[:4] for row in rows], "--target", "0.1")
        self.assertIsNone(told["chosen"]["classes"][0]["fragmentation"])

    def test_parts_of_different_questions_are_not_joined(self):
        ask = ["simulate", "t.db", "--size", "64K", "--count", "10,20"]
        for name, more in (("plain", []), ("slow", ["--inflate", "service=2"]), ("room", ["--headroom", "1K"])):
            part = self.run_pail(*ask, *more, "--shard", "2/2" if name != "plain" else "1/2").stdout
            with open(self.path(f"{name}.part"), "w", encoding="utf-8") as file:
                file.write(part)
        for name in ("slow", "room"):
            said = self.run_pail("combine", "plain.part", f"{name}.part", code=3).stderr
            self.assertIn("another sweep", said)

    def test_calc_prints_the_known_values(self):
        self.assertEqual(float(self.run_pail("calc", "erlang-b", "--load", "10", "--servers", "10").stdout), 0.21458234310734733)
        self.assertEqual(self.run_pail("calc", "erlang-b-servers", "--load", "50", "--target", "1e-4").stdout, "77\n")
        both = json.loads(self.run_pail("calc", "engset", "--sources", "20", "--servers", "5", "--per-source", "0.3", "--json").stdout)
        self.assertEqual(both["schema"], "pail.calc/1")
        self.assertEqual(sorted(both["value"]), ["call", "time"])
        self.assertEqual(both["inputs"], {"servers": 5, "sources": 20, "per-source": 0.3})

    def test_wrong_words_are_told_in_a_line(self):
        for words in (
            ("calc", "erlang-z"),
            ("calc", "erlang-b", "--load", "1"),
            ("calc", "erlang-b", "--load", "-1", "--servers", "2"),
            ("calc", "erlang-b", "--load", "1", "--servers", "2", "--mu", "3"),
            ("calc", "erlang-c", "--load", "9", "--servers", "2"),
            ("calc", "kaufman-roberts", "--capacity", "5", "--classes", "1"),
            ("simulate", "t.db", "--size", "0"),
            ("simulate", "t.db", "--count", "0"),
            ("simulate", "t.db", "--size", "1Q"),
            ("simulate", "t.db", "--load", "0"),
            ("simulate", "t.db", "--policy", "lazy"),
            ("simulate", "t.db", "--shard", "4/3"),
            ("simulate", "t.db", "--oversize", "early", "--queue", "2"),
            ("simulate", "t.db", "--inflate", "route=/nowhere"),
            ("simulate", "t.db", "--inflate", "speed=2"),
            ("simulate", "t.db", "--overflow"),
            ("plan", "t.db", "--target", "2"),
            ("plan", "t.db", "--classes", "99"),
            ("simulate", "t.db", "--queue", "auto"),
            ("plan", "t.db", "--queue", "automatic"),
            ("plan", "t.db", "--queue", "2000000"),
        ):
            with self.subTest(words=words):
                self.run_pail(*words, code=2)
        for words in (
            ("simulate", "none.db"),
            ("plan", "none.db"),
            ("combine", "none"),
            ("simulate", "t.db", "-c", "none.conf"),
            ("plan", "t.db", "--target", "1e-2", "-o", "no/folder/p.conf"),
            ("plan", "t.db", "--check", "none"),
        ):
            with self.subTest(words=words):
                self.assertEqual(self.run_pail_bad(words), 3)

    def run_pail_bad(self, words):
        done = subprocess.run([PAIL, *words], capture_output=True, text=True, check=False, cwd=self.folder.name)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.returncode


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
