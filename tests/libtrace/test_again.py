#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail attribute: a recording's requests told anew from its raw events.

    test_again.py PAIL VICTIM
"""
import hashlib
import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
PAIL, VICTIM = map(os.path.abspath, sys.argv[1:3])
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers  # noqa: E402  pylint: disable=wrong-import-position

TABLES = ("request", "event_block", "connection", "process", "thread", "route", "request_block",
          "frame", "site_use", "event_site", "raw_block")
# Stacks are numbered as they come, so it is their frames that are the same.
SITES = ("SELECT id, name, allocations, requested_bytes, live_peak_bytes, left_bytes FROM site ORDER BY id",
         "SELECT * FROM site_frame ORDER BY site, depth")
# Of a request: what does not depend on the time it was made.
LASTING = ("method, target, route, status, bytes_in, bytes_out, allocations, frees, reallocations,"
           " requested_bytes, need_bump_bytes, need_reuse_bytes, escapes, ended_by, confidence,"
           " incomplete")


class Again(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="pail-again-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.recorded = {}

    def record(self, model, *options, keep=True, clients=4, share=8, end=signal.SIGTERM):
        """A trace of VICTIM's model under a fixed load, recorded once for each set of options."""
        key = (model, options, keep, clients, share, end)
        if key in self.recorded:
            return self.recorded[key]
        port, trace = servers.free_port(), os.path.join(self.folder, f"{len(self.recorded)}.db")
        command = [PAIL, "record", "-o", trace, *(["--keep-raw", "--redact", "none"] if keep else []), *options, "--",
                   VICTIM, model, str(port)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as p:
            try:
                servers.wait_for(port)
                self.load(port, clients, share)
                if end == signal.SIGKILL:
                    self.kill_recorder(p, port, trace)
                else:
                    p.send_signal(end)
                said = p.communicate(timeout=60)[1].decode()
            finally:
                if p.poll() is None:
                    os.killpg(p.pid, signal.SIGKILL)
        self.assertTrue(os.path.exists(trace), said)
        self.recorded[key] = trace
        return trace

    def kill_recorder(self, p, port, trace):
        """With a request that is not over, when what came before has been committed."""
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            server = int(f.read().split()[0])
        open_one = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        open_one.request("GET", "/work/999")
        open_one.getresponse().read()
        deadline = time.monotonic() + 30
        while not self.has_open_one(trace):
            self.assertLess(time.monotonic(), deadline, "nothing was committed")
            time.sleep(0.1)
        p.kill()
        p.wait()
        os.kill(server, signal.SIGKILL)
        open_one.close()

    def has_open_one(self, trace):
        """Whether its raw events have been committed."""
        probe = self.new("probe.db")
        done = subprocess.run([PAIL, "attribute", "-o", probe, trace], check=False, timeout=60,
                              stderr=subprocess.DEVNULL)
        return done.returncode == 0 and self.rows(
            probe, "SELECT count(*) FROM request WHERE target = '/work/999'") == [(1,)]

    def load(self, port, clients, share):
        problems = []

        def one(first):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                for k in range(first, first + share):
                    connection.request("GET", f"/work/{k}")
                    answer = connection.getresponse()
                    if answer.status != 200 or answer.read() != b"ok %d" % k:
                        problems.append(k)
                # When it has closed its end, it has freed all.
                connection.sock.shutdown(socket.SHUT_WR)
                connection.sock.settimeout(20)
                while connection.sock.recv(4096):
                    pass
                connection.close()
            except Exception as problem:  # pylint: disable=broad-except
                problems.append(problem)

        threads = [threading.Thread(target=one, args=(i * share,)) for i in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])

    def rows(self, trace, sql):
        db = sqlite3.connect(f"file:{trace}?mode=ro", uri=True, timeout=20)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def meta(self, trace, key):
        return dict(self.rows(trace, "SELECT * FROM meta")).get(key)

    def change(self, trace, sql):
        db = sqlite3.connect(trace)
        try:
            db.execute(sql)
            db.commit()
        finally:
            db.close()

    def attribute(self, trace, *options, code=0, says=""):
        done = subprocess.run([PAIL, "attribute", *options, trace], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual([f for f in os.listdir(self.folder) if f.startswith(".")], [])
        return done

    def new(self, name="new.db"):
        return os.path.join(self.folder, name)

    def copy(self, trace):
        return shutil.copyfile(trace, self.new("copy.db"))

    def same(self, one, other):
        for table in TABLES:
            sql = f"SELECT * FROM {table}"
            self.assertEqual(self.rows(one, sql), self.rows(other, sql), table)
        for sql in SITES:
            self.assertEqual(self.rows(one, sql), self.rows(other, sql), sql)

    def lasting(self, trace):
        rows = self.rows(trace, f"SELECT {LASTING} FROM request")
        return sorted(rows, key=repr)

    def test_the_requests_come_out_the_same(self):
        for model in ("epoll", "thread", "fork"):
            with self.subTest(model=model):
                trace = self.record(model)
                self.assertEqual(self.rows(trace, "SELECT count(*) FROM request"), [(32,)])
                self.attribute(trace, "-o", self.new(), says="32 requests")
                self.same(trace, self.new())
                old, new = (dict(self.rows(t, "SELECT * FROM meta")) for t in (trace, self.new()))
                self.assertIsNotNone(new.pop("attributed_by"))
                self.assertEqual(new.pop("raw_events_missing"), "0")
                self.assertEqual(old, new)

    def test_sites_come_out_the_same(self):
        trace = self.record("epoll", "--detail", "stacks")
        self.attribute(trace, "-o", self.new())
        self.assertGreater(self.rows(trace, "SELECT count(*) FROM site_use"), [(0,)])
        self.same(trace, self.new())

    def test_a_trace_takes_its_own_place_and_can_do_so_again(self):
        trace = self.record("epoll")
        copy = self.copy(trace)
        self.attribute(copy, "--split", "connection")
        self.assertEqual(self.rows(copy, "SELECT route, count(*) FROM request GROUP BY 1"),
                         [("connection", 5)])  # four clients, and who asked if it listens
        self.attribute(copy, "--split", "auto")
        self.same(trace, copy)

    def test_another_split_is_what_a_recording_with_it_gives(self):
        trace = self.record("epoll", clients=1)
        for split in ("connection", "http", "message", "marker"):
            with self.subTest(split=split):
                recorded = self.record("epoll", "--split", split, clients=1)
                self.attribute(trace, "-o", self.new(), "--split", split)
                self.assertEqual(self.meta(self.new(), "split"), split)
                self.assertEqual(self.lasting(self.new()), self.lasting(recorded))
        self.assertNotEqual(self.lasting(self.record("epoll", "--split", "connection", clients=1)),
                            self.lasting(trace))

    def test_less_detail_can_be_had_and_more_cannot(self):
        trace = self.record("epoll")
        self.attribute(trace, "-o", self.new(), "--detail", "summary")
        self.assertEqual(self.rows(self.new(), "SELECT count(*) FROM event_block"), [(0,)])
        self.assertEqual(self.lasting(self.new()), self.lasting(trace))
        self.attribute(trace, "--detail", "stacks", code=2, says="recorded with --detail events")

    def test_condition_variables_can_be_overlooked(self):
        trace = self.record("silent", "--handoff", "condvar")
        self.attribute(trace, "-o", self.new())
        self.same(trace, self.new())
        known = "SELECT sum(requested_bytes) FROM request"
        self.attribute(trace, "-o", self.new(), "--handoff", "auto")
        self.assertLess(self.rows(self.new(), known), self.rows(trace, known))

    def test_what_is_missing_is_said_and_marks_what_ran_then(self):
        copy = self.copy(self.record("thread", share=1500))
        blocks = self.rows(copy, "SELECT first_event, events FROM raw_block ORDER BY 1")
        self.assertGreater(len(blocks), 1)
        self.change(copy, f"DELETE FROM raw_block WHERE first_event = {blocks[-1][0]}")
        self.attribute(copy, says=f"{blocks[-1][1]} events are missing")
        self.assertEqual(self.meta(copy, "complete"), "0")
        self.assertEqual(self.meta(copy, "raw_events_missing"), str(blocks[-1][1]))
        self.assertEqual(self.rows(copy, "SELECT count(*) FROM request WHERE NOT incomplete"
                                   " AND ended_by = 'end-of-recording'"), [(0,)])

    def test_a_recording_that_was_cut_short_stays_so(self):
        trace = self.record("thread", end=signal.SIGKILL)
        self.assertEqual(self.meta(trace, "complete"), "0")
        self.attribute(trace, "-o", self.new(), says="cut short")
        self.assertEqual(self.meta(self.new(), "complete"), "0")
        whole = "SELECT id, target, need_bump_bytes FROM request WHERE NOT incomplete"
        self.assertEqual(self.rows(self.new(), whole), self.rows(trace, whole))
        self.assertEqual(self.rows(self.new(), "SELECT target FROM request WHERE incomplete"),
                         [("/work/999",)])

    def merge(self, *traces, name="merged.db", align="clock"):
        merged = self.new(name)
        done = subprocess.run([PAIL, "merge", "--align", align, "-o", merged, *traces], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return merged, done.stderr

    def alike(self, one, other):
        """All that does not depend on where blocks of requests and events begin."""
        for sql in (*(f"SELECT * FROM {t}" for t in ("request", "connection", "process", "thread", "route", "site_use")),
                    *SITES):
            self.assertEqual(self.rows(one, sql), self.rows(other, sql), sql)

    def test_merged_traces_come_out_the_same(self):
        recorded = [self.record(model, "--detail", "stacks") for model in ("epoll", "thread", "fork")]
        for align in ("clock", "start", "chain"):
            with self.subTest(align=align):
                merged, said = self.merge(*recorded, align=align)
                self.assertNotIn("not merged", said)
                self.assertEqual(self.rows(merged, "SELECT count(*) FROM request"), [(96,)])
                self.attribute(merged, "-o", self.new(), says="96 requests")
                self.alike(merged, self.new())
        # A merge of merges lists all that there was, and can be told anew as often.
        first, _ = self.merge(*recorded[:2], name="first.db")
        all_of_it, _ = self.merge(first, recorded[2], name="all.db")
        self.attribute(all_of_it, "-o", self.new())
        self.alike(all_of_it, self.new())
        self.attribute(self.new(), "--split", "connection")
        self.assertEqual(self.rows(self.new(), "SELECT route, count(*) FROM request GROUP BY 1"), [("connection", 15)])

    def test_what_was_cut_short_or_lost_stays_so_in_a_merge(self):
        cut, whole = self.record("thread", end=signal.SIGKILL), self.record("epoll")
        merged, _ = self.merge(cut, whole)
        self.attribute(merged, "-o", self.new(), says="cut short")
        incomplete = "SELECT target FROM request WHERE incomplete"
        self.assertEqual(self.rows(self.new(), incomplete), [("/work/999",)])
        lost = self.copy(self.record("thread", share=1500))
        last = self.rows(lost, "SELECT max(first_event), events FROM raw_block")[0]
        self.change(lost, f"DELETE FROM raw_block WHERE first_event = {last[0]}")
        merged, _ = self.merge(lost, whole)
        self.attribute(merged, says=f"{last[1]} events are missing")
        self.assertEqual(self.rows(merged, "SELECT count(*) FROM request WHERE incomplete AND process ="
                                           " (SELECT max(process) FROM request)"), [(0,)])

    def test_a_merge_keeps_raw_events_if_all_have_them(self):
        merged, said = self.merge(self.record("epoll"), self.record("epoll", keep=False))
        self.assertIn("raw_block", said)
        self.attribute(merged, code=3, says="without --keep-raw")
        merged, _ = self.merge(self.record("epoll", clients=1), self.record("epoll", "--split", "http", clients=1))
        self.attribute(merged, code=3, says="attribute them, and then merge")

    def test_what_cannot_be_attributed_stays_as_it_is(self):
        def refused(sql, says):
            copy = self.copy(self.record("epoll"))
            self.change(copy, sql)
            before = self.digest(copy)
            self.attribute(copy, code=3, says=says)
            self.assertEqual(self.digest(copy), before)
        refused("UPDATE raw_block SET bytes = substr(bytes, 1, 40)", "cannot be read")
        refused("UPDATE raw_block SET bytes = zeroblob(400)", "cannot be read")
        refused("UPDATE raw_block SET events = events - 1", "cannot be read")
        refused("UPDATE raw_block SET events = 1 << 40", "makes no sense")
        refused("UPDATE raw_block SET format = 9", "of form 9")
        refused("INSERT INTO raw_block SELECT first_event + 1, events, format, bytes"
                " FROM raw_block LIMIT 1", "overlap")
        refused("DELETE FROM raw_block", "without --keep-raw")
        refused("DROP TABLE raw_block", "without --keep-raw")
        refused("DELETE FROM meta WHERE key = 'split'", "not made by pail record")

    def test_what_is_no_trace_is_refused(self):
        text = self.new("text")
        with open(text, "w", encoding="ascii") as f:
            f.write("not a trace, but long enough to be looked at\n" * 4)
        self.attribute(text, code=3, says="not a trace")
        self.attribute(self.record("epoll"), "-o", text, code=3, says="will not overwrite")
        self.attribute(self.new("nowhere"), code=3)
        self.attribute(self.record("epoll", keep=False), code=3, says="without --keep-raw")

    def digest(self, path):
        with open(path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()


unittest.main(argv=sys.argv[:1])
