# SPDX-License-Identifier: MIT
"""Victim programs under the shim: what they did is what came through the ring.

Usage: test_shim.py SHIM_DUMP LIBRARY VICTIMS_FOLDER [unittest arguments]
"""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

DUMP, LIBRARY, VICTIMS = sys.argv[1:4]
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
TCMALLOC = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
MIMALLOC = "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0"
SIZE = 7777


class Run:
    """One command under shim_dump: its events as dictionaries, and its words."""

    def __init__(self, *command, options=(), environment=None, code=0):
        victim = os.path.join(VICTIMS, "victim_" + command[0])
        with tempfile.NamedTemporaryFile("r") as events:
            done = subprocess.run(
                [DUMP, *options, "-x", events.name, LIBRARY, "--", victim, *command[1:]],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100,
                env={**os.environ, **(environment or {})})
            self.lines = events.read().splitlines()
        self.stdout, self.stderr = done.stdout, done.stderr
        if done.returncode != code:
            raise AssertionError(f"{command}: exit {done.returncode}, not {code}: {done.stderr}")
        self.summary = dict((k, int(v)) for k, v in re.findall(r"(\w+)=(\d+)", self.lines[-1]))
        self.events = [line.split(" ") for line in self.lines[:-1]]

    def said(self, word):
        return int(re.search(rf"^{word} (\d+)$", self.stdout, re.M).group(1))

    def kinds(self):
        return collections.Counter(e[5] for e in self.events)


def field(event, name):
    return next(w[len(name) + 1:] for w in event[6:] if w.startswith(name + "="))


class Shim(unittest.TestCase):
    def check_blocks(self, run, expected=None, dropped=0):
        """Every block of SIZE was allocated and freed, in its own process, in turn.
        (By another thread's clock the free may come after the address's next owner.)"""
        expected = run.said("blocks") if expected is None else expected
        live, late, allocs, frees = {}, {}, 0, 0
        for event in run.events:
            key = (event[1], field(event, "value"))
            if event[5] == "alloc":
                if key in live:
                    late[key] = live[key]
                live[key] = field(event, "size")
                allocs += live[key] == str(SIZE)
            elif event[5] == "free":
                frees += (late if key in late else live).pop(key, None) == str(SIZE)
        self.assertEqual(run.summary["dropped"], dropped)
        self.assertEqual(run.summary["corrupt"], 0)
        self.assertEqual(allocs, expected)
        self.assertEqual(frees, expected)

    def test_every_call_of_the_malloc_family_is_one_event(self):
        run = Run("heap_calls")
        said = run.stdout.splitlines()
        self.assertEqual((said[0], said[-1]), ("begin", "end"))
        heap = [" ".join(e[5:]) for e in run.events if re.match("alloc|free|realloc", e[5])]
        first = next(i for i, line in enumerate(heap) if " size=1 " in line)
        self.assertEqual(heap[first:first + len(said) - 2], said[1:-1])

    def test_threads_keep_their_order_and_lose_nothing(self):
        run = Run("hostile", "threads", "8")
        self.check_blocks(run)
        self.assertEqual(run.summary["threads"], 9)
        self.assertEqual(run.kinds()["thread-exit"], 8)
        times = collections.defaultdict(int)
        for event in run.events:
            self.assertGreaterEqual(int(event[0]), times[event[2]])
            times[event[2]] = int(event[0])

    def test_ten_thousand_short_threads_do_not_use_up_the_chunks(self):
        run = Run("hostile", "short", "10000", options=["-b", "2097152"])
        self.check_blocks(run, 10000)
        self.assertEqual(run.summary["threads"], 10001)
        self.assertLess(run.summary["chunks_max"], 128)

    def test_a_fork_storm_is_recorded_whole(self):
        run = Run("hostile", "forks", "1000", options=["-b", "4194304"])
        self.check_blocks(run)
        self.assertEqual(run.summary["processes"], 1001)
        tokens = [field(e, "value") for e in run.events if e[5] == "fork-begin"]
        self.assertEqual(len(set(tokens)), 1000)

    def test_a_child_comes_after_its_fork_and_names_it(self):
        run = Run("hostile", "forks", "50")
        begun = {}
        for event in run.events:
            if event[5] == "fork-begin":
                begun[int(field(event, "value"), 16)] = event[1]
            elif event[5] == "process-start" and field(event, "flags") == "1":
                origin = int(field(event, "b"))
                self.assertEqual(begun[origin & 0xffffffff], str(origin >> 32))

    def test_a_fork_that_no_hook_saw_starts_a_process(self):
        run = Run("hostile", "raw-forks", "20")
        self.check_blocks(run)
        self.assertEqual(run.summary["processes"], 21)

    def test_vfork_leaves_the_parents_descriptors_alone_and_exec_is_followed(self):
        run = Run("hostile", "vforks", "30")
        self.check_blocks(run)
        self.assertEqual(run.summary["processes"], 31)
        self.assertEqual(run.kinds()["write"], run.said("writes"))
        self.assertEqual(run.kinds()["close"], 0)

    def test_exec_chains_are_followed_and_leave_no_chunks(self):
        run = Run("hostile", "chain", "200", options=["-b", "1048576"])
        self.check_blocks(run)
        self.assertEqual(run.summary["processes"], 201)
        self.assertLess(run.summary["waits"], 5)

    def test_what_is_executed_may_be_left_alone(self):
        run = Run("hostile", "chain", "20", options=["-E"])
        self.check_blocks(run, 3)  # of the first image
        self.assertEqual(run.summary["processes"], 1)
        run = Run("hostile", "vforks", "5", options=["-E"])
        self.assertEqual(run.summary["processes"], 1)
        self.assertEqual(run.kinds()["fork-begin"], 5)

    def test_signal_handlers_may_write_events(self):
        run = Run("hostile", "signals", "300000")
        marks = run.kinds()["mark-begin"]
        dropped = run.summary["dropped"]
        self.assertEqual(run.summary["told"], dropped)
        self.check_blocks(run, dropped=dropped)
        self.assertEqual(marks + dropped, run.said("marks"))
        self.assertGreater(marks, 20)

    def test_handlers_may_fork_wherever_they_are(self):
        # A child that was made within the writing of an event cannot write: its
        # events are counted. All others are there.
        run = Run("hostile", "handler-forks", "30")
        self.assertGreater(run.summary["processes"], 1)
        self.assertLessEqual(run.summary["processes"], 1 + run.said("children"))
        got = sum(e[5] == "alloc" and field(e, "size") == str(SIZE) for e in run.events)
        self.assertLessEqual(got, run.said("blocks"))
        self.assertGreaterEqual(got + run.summary["dropped"], run.said("blocks"))
        self.assertEqual(run.summary["corrupt"], 0)

    def test_nothing_is_lost_by_quick_exit(self):
        run = Run("hostile", "exit", "10007", code=3)
        self.check_blocks(run)
        self.assertEqual(field(run.events[-1], "value"), "3")

    def test_nothing_is_lost_by_sigkill(self):
        self.check_blocks(Run("hostile", "kill", "10007", code=128 + 9))

    def test_a_daemon_that_closes_everything_is_recorded(self):
        run = Run("hostile", "daemon", "1000")
        self.check_blocks(run)
        self.assertEqual(run.summary["processes"], 2)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_chroot_does_not_matter(self):
        self.check_blocks(Run("hostile", "chroot", "100"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_exec_after_the_uid_is_given_up_is_recorded(self):
        # The build tree itself may be closed to that user; what is asked here
        # is whether the ring can be opened.
        with tempfile.TemporaryDirectory(prefix="pail-test-") as folder:
            os.chmod(folder, 0o755)
            global LIBRARY, VICTIMS
            saved = LIBRARY, VICTIMS
            for path in (LIBRARY, os.path.join(VICTIMS, "victim_hostile")):
                subprocess.run(["cp", path, folder], check=True)
            LIBRARY, VICTIMS = os.path.join(folder, os.path.basename(LIBRARY)), folder
            try:
                run = Run("hostile", "setuid", "500")
            finally:
                LIBRARY, VICTIMS = saved
        self.check_blocks(run, 1500)
        self.assertEqual(run.summary["processes"], 2)

    def test_a_child_in_a_sandbox_is_recorded_with_the_calls_that_the_library_names(self):
        run = Run("hostile", "sandbox", "20000", options=["-b", "2097152"])
        self.check_blocks(run)
        self.assertEqual(run.summary["processes"], 2)
        self.assertEqual([self.pieces(e)[0][0] for e in self.told(run, "write")], [0])

    def test_under_an_address_space_limit_the_ring_is_small(self):
        run = Run("hostile", "as", str(200 << 20))
        self.check_blocks(run)

    def test_too_small_an_address_space_leaves_the_program_alone(self):
        run = Run("hostile", "as", str(12 << 20))
        self.assertEqual(run.said("blocks"), 1000)

    def test_a_file_size_limit_does_not_matter(self):
        self.check_blocks(Run("hostile", "fsize"))

    def test_a_full_ring_makes_writers_wait_and_nothing_is_lost(self):
        run = Run("hostile", "blocks", "100000", options=["-b", "1048576", "-s", "300", "-w", "60000"])
        self.check_blocks(run)
        self.assertGreater(run.summary["waits"], 0)

    def test_a_full_ring_may_drop_and_every_drop_is_counted(self):
        run = Run("hostile", "blocks", "100000", options=["-b", "1048576", "-d", "-s", "200"])
        got = run.summary["alloc"] + run.summary["free"]
        self.assertGreater(run.summary["dropped"], 10000)
        self.assertEqual(run.summary["corrupt"], 0)
        whole = Run("hostile", "blocks", "100000")
        self.assertEqual(got + run.summary["dropped"] + run.kinds()["process-exit"],
                         whole.summary["alloc"] + whole.summary["free"] + 1)

    def test_drops_are_told_where_they_happened(self):
        run = Run("hostile", "blocks", "600000", options=["-b", "1048576", "-d", "-s", "5"])
        self.assertGreater(run.summary["dropped"], 0)
        self.assertGreater(run.summary["told"], 0)
        self.assertLessEqual(run.summary["told"], run.summary["dropped"])

    def test_a_reader_that_never_reads_costs_one_pause(self):
        run = Run("hostile", "blocks", "400000", options=["-b", "1048576", "-n", "-w", "100"])
        self.assertEqual(run.summary["waits"], 1)
        self.assertGreater(run.summary["dropped"], 0)

    def test_the_program_outlives_a_recorder_that_is_killed(self):
        victim = os.path.join(VICTIMS, "victim_hostile")
        recorder = subprocess.Popen([DUMP, "-b", "1048576", "-w", "200", "-n", "-q", LIBRARY, "--",
                                     victim, "blocks", "3000000"], stdout=subprocess.PIPE,
                                    text=True)
        time.sleep(0.1)
        with open(f"/proc/{recorder.pid}/maps", encoding="utf-8") as f:
            maps = f.read()
        folder = os.path.dirname(re.search(r"(/\S+/pail-\w+/ring-\w+)", maps).group(1))
        recorder.kill()
        recorder.wait()
        self.assertEqual(recorder.stdout.read(), "blocks 3000000\n")
        recorder.stdout.close()
        shutil.rmtree(folder)

    def test_without_a_ring_the_program_runs_on(self):
        victim = os.path.join(VICTIMS, "victim_hostile")
        for ring in ("", "/nonexistent", "/etc/passwd", "relative"):
            done = subprocess.run([victim, "blocks", "10"], stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "LD_PRELOAD": LIBRARY, "PAIL_RING": ring})
            self.assertEqual((done.returncode, done.stdout), (0, "blocks 10\n"))

    def told(self, run, *kinds):
        """Those events from the victim's first socket on, without fd numbers."""
        return [e for e in run.events if e[5] in kinds]

    def pieces(self, event):
        """[(offset, bytes)] of a READ or WRITE, as printed."""
        text = " ".join(event[6:])
        return [(int(o), b.replace("\\x0d\\x0a", "|")) for o, b in re.findall(r'@(\d+) "([^"]*)"', text)]

    def test_every_head_of_a_pipelined_read_is_shown_and_bodies_are_not(self):
        read, = self.told(Run("sockets", "pipelined"), "read")
        one = "POST /one HTTP/1.1|Host: a|Content-Length: 5||"
        size = len(one) + one.count("|")
        self.assertEqual(self.pieces(read), [
            (0, one), (size + 5, "GET /two HTTP/1.1|Host: a||"),
            (size + 5 + 30, "GET /three HTTP/1.1|Host: a||")])

    def test_a_body_is_walked_over_to_the_head_behind_it(self):
        reads = self.told(Run("sockets", "body"), "read")
        self.assertEqual([int(field(e, "a")) for e in reads], [44, 4000, 1021])
        self.assertEqual(self.pieces(reads[1]), [(0, "b" * 64)])
        self.assertEqual(self.pieces(reads[2]), [(0, "b" * 64), (1000, "GET /two HTTP/1.1||")])

    def test_responses_are_found_wherever_they_begin(self):
        writes = self.told(Run("sockets", "responses"), "write")
        self.assertEqual(self.pieces(writes[0]), [(0, "HTTP/1.1 200 OK|Content-Length: 5000||")])
        self.assertEqual(int(field(writes[0], "a")), 5041)
        self.assertEqual(self.pieces(writes[1]), [
            (0, "HTTP/1.1 204 No Content||"),
            (27, "HTTP/1.1 404 Not Found|Content-Length: 2||")])

    def test_what_was_not_written_is_told(self):
        run = Run("sockets", "partial")
        results = [int(field(e, "a")) for e in self.told(run, "write-result")]
        self.assertEqual(results, [run.said("done"), -11])
        rest = self.told(run, "write")[1]
        self.assertEqual(self.pieces(rest), [(0, "x" * 10)])

    def test_pointers_that_lead_nowhere_are_the_kernels_to_refuse(self):
        victim = os.path.join(VICTIMS, "victim_pointers")
        bare = subprocess.run([victim], stdout=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(bare.returncode, 0)
        run = Run("pointers")
        self.assertEqual(run.stdout, bare.stdout)
        for call in ("write(out, nowhere", "send(out, nowhere", "writev(out, &worse", "read(in, nowhere",
                     "recv(in, nowhere", "recvmsg(in, (struct", "sendmsg(out, (struct",
                     "sendmmsg(out, (struct", "recvmmsg(in, (struct", "poll((struct",
                     "select(64", "epoll_ctl(epfd, EPOLL_CTL_ADD, in", "nanosleep", "accept(listener",
                     "connect(client", "access(nowhere", "execve(nowhere",
                     "send(out, pages + PAGE, EDGE", "send(out, pages, PAGE + EDGE"):
            self.assertRegex(run.stdout, re.escape(call) + ".*: -1 Bad address")
        self.assertIn("unmapped at once: 600 of 600", run.stdout)

    def test_of_many_messages_those_that_were_taken_count(self):
        run = Run("sockets", "many")
        writes = self.told(run, "write")
        self.assertEqual([int(field(e, "a")) for e in writes], [5, 6] + [1] * 1024)
        self.assertEqual(self.pieces(writes[1]), [(0, "second")])
        self.assertEqual(run.said("sent"), 2)
        self.assertEqual(run.said("most"), 1024)

    def test_sendfile_counts_as_body(self):
        writes = self.told(Run("sockets", "sendfile"), "write")
        self.assertEqual([field(e, "flags") for e in writes], ["0", "1", "0", "0"])
        self.assertEqual([field(e, "a") for e in writes][1], "3000")
        self.assertEqual(self.pieces(writes[2])[0][1].split("|")[0], "HTTP/1.1 304 Not Modified")
        self.assertEqual(self.pieces(writes[3]), [(0, "HTTP/1.1 200 OK||")])

    def test_files_and_pipes_make_no_events(self):
        run = Run("sockets", "files")
        self.assertEqual(run.kinds()["read"] + run.kinds()["write"] + run.kinds()["dup"], 0)
        self.assertEqual(run.kinds()["close"], 1)  # by dup2 over the socket

    def test_descriptors_are_followed_through_copies_and_ranges(self):
        run = Run("sockets", "descriptors")
        a, b = (int(field(e, "value"), 16) for e in self.told(run, "socket"))
        dups = [(int(field(e, "a")), int(field(e, "value"), 16)) for e in self.told(run, "dup")]
        self.assertEqual([d[0] for d in dups], [a, a, b])
        self.assertEqual([d[1] for d in dups][1:], [50, 60])
        closes = [int(field(e, "value"), 16) for e in self.told(run, "close")]
        self.assertEqual(closes, [dups[0][1], 50, 60])
        self.assertEqual(len(self.told(run, "write")), 1)
        self.assertEqual(len(self.told(run, "shutdown")), 1)

    def test_waits_name_what_is_ready(self):
        for options, ready in ((), 1), (("-e",), 2):
            run = Run("sockets", "waits", options=options)
            self.assertEqual(run.said("ready"), ready)
            ends = self.told(run, "wait-end")
            self.assertEqual([field(e, "flags") for e in ends], ["1", "1", "2", "3"])
            items = [w[5:] for w in ends[0] if w.startswith("item=")]
            self.assertEqual(items, ["1111", "2222"][:ready])
            begins = self.told(run, "wait-begin")
            self.assertEqual([field(e, "a") for e in begins],
                             ["1000000000", "0", "250000000", "-1"])
            self.assertEqual([field(e, "value") for e in begins[2:]], ["2", "1"])
            ctl = self.told(run, "epoll-ctl")
            self.assertEqual([int(field(e, "b")) for e in ctl], [0x1111, 0x2222])

    def test_marks_come_by_call_and_by_path(self):
        run = Run("sockets", "marks")
        begun = [(field(e, "b"), int(field(e, "value"), 16) - 1, " ".join(e[6:]).split('"')[1])
                 for e in self.told(run, "mark-begin")]
        self.assertEqual(begun, [("42", 7, "GET /x"), ("43", 9, "GET /y")])
        self.assertEqual([field(e, "b") for e in self.told(run, "mark-end")], ["42", "43"])

    def test_pools_are_told_block_by_block_and_what_they_are_made_of_is_marked(self):
        run = Run("pools", options=["-A"])
        a, b, c, outer, inner = (p[2:] for p in re.findall(r"0x[0-9a-f]+", run.stdout))
        told = [e for e in run.events if e[5].startswith("pool-") or "pool=" in " ".join(e)]
        self.assertEqual(
            [(e[5], field(e, "value")) for e in told],
            [("pool-make", outer), ("pool-make", inner), ("alloc", a), ("alloc", b), ("alloc", c),
             ("pool-clear", outer), ("pool-clear", inner), ("pool-clear", inner),
             ("alloc", a), ("pool-clear", outer), ("pool-clear", outer)])
        # what is destroyed is then cleared, by the library itself
        self.assertEqual([field(e, "flags") for e in told if e[5] == "pool-clear"],
                         ["0", "1", "0", "1", "0"])
        self.assertEqual([field(e, "pool") for e in told if e[5] == "alloc"],
                         [outer, inner, inner, outer])
        self.assertEqual([field(e, "size") for e in told if e[5] == "alloc"],
                         ["1001", "1002", "11", "1004"])
        # two pools and their three pieces, and nothing else
        marked = [field(e, "size") for e in run.events if e[5] == "alloc" and
                  int(field(e, "flags")) & 2]
        self.assertEqual(sorted(map(int, marked))[2:], [8192] * 3)
        self.assertEqual(sum(field(e, "size") == "1003" and field(e, "flags") == "0"
                             for e in run.events if e[5] == "alloc"), 1)

    def test_pools_are_left_alone_unless_asked_for(self):
        run = Run("pools")
        self.assertEqual(sum(e[5].startswith("pool-") for e in run.events), 0)
        self.assertEqual(sum(field(e, "size") == "8192" and field(e, "flags") == "0"
                             for e in run.events if e[5] == "alloc"), 3)

    def check_allocator(self, library):
        if not os.path.exists(library):
            self.skipTest(library + " is not installed")
        self.check_blocks(Run("hostile", "threads", "4", options=["-p", library]))
        self.check_blocks(Run("hostile", "forks", "20", options=["-p", library]))

    def test_jemalloc_behind_us(self):
        self.check_allocator(JEMALLOC)

    def test_mimalloc_behind_us(self):
        self.check_allocator(MIMALLOC)

    def test_tcmalloc_behind_us(self):
        self.check_allocator(TCMALLOC)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
