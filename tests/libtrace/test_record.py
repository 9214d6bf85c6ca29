#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail record from outside: exit codes, signals, refusals, failures.

    test_record.py PAIL VICTIM_FUNCTIONS
"""
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

PAIL, FUNCTIONS = os.path.abspath(sys.argv.pop(1)), os.path.abspath(sys.argv.pop(1))

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"x" * 1000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(s.server_address[1], flush=True)
s.serve_forever()
"""


class Record(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pail-record-")
        os.chmod(self.folder, 0o755)
        self.trace = os.path.join(self.folder, "t.db")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def record(self, *command, options=(), **more):
        return subprocess.run([PAIL, "record", "-o", self.trace, *options, "--", *command],
                              capture_output=True, text=True, timeout=60, check=False,
                              cwd=self.folder, **more)

    def refused(self, words, *command):
        done = self.record(*command)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("pail record: "), done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual([f for f in os.listdir(self.folder) if "t.db" in f], [])

    def file(self, name, text, mode=0o755):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def serve(self, options=(), preexec_fn=None):
        """Starts the server; (recorder, port, the server's pid)."""
        p = subprocess.Popen([PAIL, "record", "-o", self.trace, *options, "--",
                              sys.executable, "-c", SERVER], cwd=self.folder,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True, preexec_fn=preexec_fn)
        port = int(p.stdout.readline())
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            child = int(f.read().split()[0])
        return p, port, child

    def get(self, port, count=1):
        for _ in range(count):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=20) as answer:
                self.assertEqual(len(answer.read()), 1000)

    def query(self, sql):
        with sqlite3.connect(self.trace) as db:
            return db.execute(sql).fetchall()

    # -- what cannot be recorded

    def wait_for(self, path):
        for _ in range(600):
            if os.path.exists(path):
                return
            time.sleep(0.05)
        self.fail(path + " does not come")

    def attached(self, *options):
        """A recorder that waits for others in the folder "meet"; it is ended by SIGINT."""
        meet = os.path.join(self.folder, "meet")
        os.mkdir(meet)
        recorder = subprocess.Popen([PAIL, "record", "-o", self.trace, "--attach-dir", meet, *options],
                                    stderr=subprocess.PIPE, text=True)
        self.addCleanup(recorder.stderr.close)
        self.addCleanup(recorder.wait)
        self.addCleanup(recorder.kill)
        self.wait_for(meet + "/pail.env")
        return recorder, meet

    def detach(self, recorder):
        recorder.send_signal(signal.SIGINT)
        said = recorder.communicate(timeout=60)[1]
        self.assertEqual(recorder.returncode, 0, said)
        return said

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare") and
                         os.path.exists("/usr/bin/python3"), "needs root, unshare, /usr/bin/python3")
    def test_servers_in_containers_are_recorded_from_outside(self):
        if subprocess.run(["unshare", "-pfm", "--mount-proc", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no mounts of its own can be made here (in a chroot they cannot)")
        inside = os.path.join(self.folder, "inside")
        os.mkdir(inside)
        recorder, meet = self.attached("--attach-as", inside)
        # Its own pids and mounts, another path, another user: what a container is here.
        start = ('mount --bind "$1" "$2" && set -a && . "$2/pail.env" && exec setpriv --reuid 65534'
                 ' --regid 65534 --clear-groups /usr/bin/python3 -c "$3"')
        servers = []
        for _ in range(2):
            p = subprocess.Popen(["unshare", "-pfm", "--mount-proc", "sh", "-c", start,
                                  "sh", meet, inside, SERVER], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
            self.addCleanup(p.stdout.close)
            self.addCleanup(p.wait)
            self.addCleanup(p.kill)
            servers.append(int(p.stdout.readline()))
            # The other user's process does not die with its parent.
            with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                self.addCleanup(os.kill, int(f.read()), signal.SIGKILL)
        for port in servers:
            self.get(port, 5)
        self.detach(recorder)
        # They run on, and new ones too.
        for port in servers:
            self.get(port, 2)
        self.assertEqual(os.listdir(meet), ["libpailtrace.so"])
        with sqlite3.connect(self.trace) as db:
            rows = db.execute("SELECT process, count(*) FROM request GROUP BY 1").fetchall()
            self.assertEqual([r[1] for r in rows], [5, 5])
            names = db.execute("SELECT count(*) FROM process WHERE id IN (?, ?)",
                               [r[0] for r in rows]).fetchone()
            self.assertEqual(names, (2,))

    def test_what_has_ended_in_a_container_leaves_the_shared_memory(self):
        if subprocess.run(["unshare", "-pfm", "--mount-proc", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("namespaces of its own are not allowed here")
        recorder, meet = self.attached("--ring", "1M")
        # Four times as many processes as there are chunks, one after another and killed, so that none gives its back.
        storm = ('set -a && . "$1/pail.env" && i=0 && while [ $i -lt 256 ]; do i=$((i + 1));'
                 ' sh -c "kill -9 \\$\\$" 2>&-; done; true')
        subprocess.run(["unshare", "-pfm", "--mount-proc", "sh", "-c", storm, "sh", meet], check=True, timeout=120,
                       stderr=subprocess.DEVNULL)
        self.detach(recorder)
        self.assertEqual(self.query("SELECT value FROM meta WHERE key = 'dropped_events'"), [("0",)])
        self.assertGreaterEqual(self.query("SELECT count(*) FROM process")[0][0], 256)

    def test_what_is_started_with_the_variables_of_the_folder_is_recorded(self):
        recorder, meet = self.attached()
        with open(meet + "/pail.env", encoding="ascii") as f:
            variables = dict(line.rstrip("\n").split("=", 1) for line in f)
        p = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, **variables})
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        port = int(p.stdout.readline())
        self.get(port, 3)
        said = self.detach(recorder)
        self.assertIn("3 requests", said)
        self.get(port)

    def test_without_takers_an_attach_dir_says_that_nothing_came(self):
        recorder, _ = self.attached("--for", "1s")
        said = recorder.communicate(timeout=60)[1]
        self.assertEqual(recorder.returncode, 3)
        self.assertIn("nothing was recorded: no program was started", said)

    def test_attach_dir_takes_no_command_and_no_unnameable_folder(self):
        for words, code in (([".", "--", "true"], 2), (["/nonexistent"], 3), (["/etc/passwd"], 3),
                            ([self.folder, "--attach-as", "/a b"], 3), ([self.folder, "--cure"], 2)):
            done = subprocess.run([PAIL, "record", "-o", self.trace, "--attach-dir", *words],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def functions(self, begin, end, **more):
        return self.record(FUNCTIONS, options=["--split=marker", "--begin", begin, "--end", end], **more)

    @unittest.skipUnless(os.geteuid() == 0 and
                         os.path.exists("/sys/bus/event_source/devices/uprobe/type"),
                         "needs root and a kernel with uprobes")
    def test_functions_of_an_unchanged_program_mark_its_requests(self):
        done = self.functions(FUNCTIONS + ":job_begin", FUNCTIONS + ":job_end")
        if "the kernel cannot watch" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("could not be noted", done.stderr)
        # Two threads, each with two requests at a time, ended in the order in which they
        # were begun: each has its own two blocks, one of them of a size of its own.
        with sqlite3.connect(self.trace) as db:
            rows = db.execute("SELECT route, confidence, allocations, ended_by, requested_bytes"
                              " FROM request ORDER BY requested_bytes").fetchall()
        self.assertEqual({r[:4] for r in rows}, {("job_begin", "exact", 2, "response")})
        self.assertEqual([r[4] for r in rows], [1016 + n for n in (*range(1, 101), *range(1000, 1100))])

    def test_functions_that_are_not_there_are_said(self):
        for begin, words in ((FUNCTIONS + ":no_such", "has no function no_such"),
                             ("/nonexistent:f", 'cannot read "/nonexistent"'),
                             ("no-such-program:f", "no such program in PATH"),
                             (__file__ + ":f", "is neither a program nor a library")):
            done = self.functions(begin, FUNCTIONS + ":job_end")
            self.assertEqual((done.returncode, done.stderr.count("\n")), (3, 1), done.stderr)
            self.assertIn(words, done.stderr)
        done = self.functions("f", FUNCTIONS + ":job_end")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn('--begin wants FILE:FUNCTION, not "f"', done.stderr)

    def test_adapters_are_set_in_front_of_what_is_there(self):
        show = "import os; print(os.environ['PYTHONPATH'], os.environ['NODE_OPTIONS'])"
        done = self.record(sys.executable, "-c", show, options=["--adapter", "python", "--adapter=node"],
                           env={**os.environ, "PYTHONPATH": "/a", "NODE_OPTIONS": "--no-warnings"})
        self.assertEqual(done.returncode, 0, done.stderr)
        path, options = done.stdout.strip().split(" ", 1)
        adapter, rest = path.split(":")
        self.assertEqual(rest, "/a")
        self.assertTrue(os.path.exists(adapter + "/sitecustomize.py"))
        self.assertRegex(options, r'^--require "/.*/mark\.js" --no-warnings$')
        self.assertIn("PYTHONPATH=" + path, done.stderr)
        self.assertIn("NODE_OPTIONS=" + options, done.stderr)

    def test_a_python_that_would_not_load_the_adapter_is_refused(self):
        for words in (["-I", "-c", "1"], ["-sE", "x.py"]):
            done = self.record(sys.executable, *words, options=["--adapter", "python"])
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn(f"with {words[0]} Python loads no sitecustomize", done.stderr)

    def test_a_program_that_is_not_there(self):
        self.refused("no such program in PATH", "no-such-program-at-all")
        self.refused("No such file", "./nowhere")

    def test_a_file_that_is_not_executable(self):
        self.refused("not executable", self.file("plain", b"#!/bin/sh\n", 0o644))
        self.refused("not a file", self.folder)

    def test_a_file_that_is_no_program(self):
        self.refused("neither a program nor a script", self.file("text", b"hello\n"))
        self.refused("empty", self.file("nothing", b""))

    def test_a_static_program(self):
        source = self.file("s.c", b"int main(void) { return 0; }\n")
        path = os.path.join(self.folder, "static")
        subprocess.run(["gcc", "-static", "-o", path, source], check=True)
        self.refused("linked statically", path)
        script = self.file("script", f"#!{path}\n".encode())
        self.refused("linked statically", script)
        script = self.file("script2", b"#!/usr/bin/env static\n")
        os.environ["PATH"] = self.folder + ":" + os.environ["PATH"]
        self.refused("linked statically", script)

    def test_a_go_program(self):
        """A program with the section that Go's linker writes."""
        source = self.file("g.c", b"const char t[] __attribute__((section(\".gopclntab\"))) ="
                                  b" \"x\"; int main(void) { return t[0] == 0; }\n")
        path = os.path.join(self.folder, "go")
        subprocess.run(["gcc", "-o", path, source], check=True)
        self.refused("Go program", path)

    def test_a_musl_program(self):
        source = self.file("m.c", b"int main(void) { return 0; }\n")
        path = os.path.join(self.folder, "musl")
        subprocess.run(["gcc", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1", "-o", path, source],
                       check=True)
        self.refused("musl", path)

    @unittest.skipIf(os.geteuid() != 0, "only root can give a file away")
    def test_a_setuid_program(self):
        path = os.path.join(self.folder, "true")
        shutil.copy("/bin/true", path)
        os.chown(path, 1, 1)
        os.chmod(path, 0o4755)
        self.refused("setuid", path)

    def test_damaged_programs_are_refused_or_run_but_never_crash(self):
        with open("/bin/true", "rb") as f:
            whole = f.read()
        for length in (4, 20, 63, 64, 100, 500, 1000, 4096, 10000):
            done = self.record(self.file("cut", whole[:length]))
            self.assertNotIn(done.returncode, (-11, -6, 139, 134), done.stderr)

    def test_another_file_is_not_overwritten(self):
        with open(self.trace, "w", encoding="ascii") as f:
            f.write("mine" * 100)
        done = self.record("true")
        self.assertEqual(done.returncode, 3)
        self.assertIn("not a trace", done.stderr)
        with open(self.trace, encoding="ascii") as f:
            self.assertEqual(f.read(), "mine" * 100)

    # -- it ends as the program did

    def test_the_exit_code_is_the_programs(self):
        for code in (0, 1, 7, 255):
            self.assertEqual(self.record("sh", "-c", f"exit {code}").returncode, code)
        self.assertEqual(self.record("sh", "-c", "kill -KILL $$").returncode, 128 + 9)
        self.assertEqual(self.query("SELECT value FROM meta WHERE key='complete'"), [("1",)])

    def test_signals_reach_the_program(self):
        for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
            p = subprocess.Popen([PAIL, "record", "-o", self.trace, "--", "sh", "-c",
                                  f"trap 'echo got; exit 9' {sig.value}; echo ready;"
                                  "while :; do sleep 0.05; done"], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
            self.assertEqual(p.stdout.readline(), "ready\n")
            p.send_signal(sig)
            self.assertEqual(p.stdout.readline(), "got\n")
            self.assertEqual(p.wait(20), 9)
            p.stdout.close()

    def test_for_ends_it(self):
        before = time.monotonic()
        done = self.record("sleep", "100", options=["--for", "300ms"])
        self.assertEqual(done.returncode, 128 + 15, done.stderr)
        self.assertLess(time.monotonic() - before, 20)

    def test_a_daemon_is_followed_to_its_end(self):
        done = self.record("sh", "-c", "(sleep 0.4; sh -c 'exit 3') & exit 5")
        self.assertEqual(done.returncode, 5)
        self.assertGreaterEqual(self.query("SELECT count(*) FROM process")[0][0], 2)

    def test_requests_are_recorded_in_every_detail(self):
        for detail, held in (("events", 1), ("summary", 0)):
            p, port, _ = self.serve(["--detail", detail])
            self.get(port, 5)
            p.send_signal(signal.SIGINT)
            _, stderr = p.communicate(timeout=30)
            self.assertIn("GET /x", stderr)
            self.assertEqual(self.query("SELECT count(*), max(status) FROM request"), [(5, 200)])
            self.assertEqual(self.query("SELECT count(*) > 0 FROM event_block"), [(held,)])

    # -- what goes wrong on the way

    def test_the_server_survives_a_killed_recorder(self):
        p, port, child = self.serve()
        self.addCleanup(lambda: os.path.exists(f"/proc/{child}") and os.kill(child, 9))
        self.get(port, 20)
        time.sleep(1.5)  # a commit
        p.kill()
        p.wait()
        self.get(port, 20)
        p.stdout.close()
        p.stderr.close()
        report = subprocess.run([PAIL, "report", "--json", self.trace], capture_output=True,
                                text=True, check=False)
        self.assertEqual(report.returncode, 0, report.stderr)
        self.assertIn('"complete": false', report.stdout)
        self.assertGreater(self.query("SELECT count(*) FROM request")[0][0], 0)
        os.kill(child, signal.SIGKILL)

    def test_the_server_survives_a_full_disk(self):
        """RLIMIT_FSIZE of the recorder stands for the disk, SIGXFSZ ignored as
        a write on a full disk sends none."""
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        p, port, _ = self.serve(preexec_fn=limit)
        self.get(port, 10)
        time.sleep(1.5)
        size = os.path.getsize(self.trace)
        resource.prlimit(p.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        self.get(port, 1500)
        p.send_signal(signal.SIGINT)
        _, stderr = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 3, stderr)
        self.assertIn("requests are missing", stderr)
        self.assertRegex(stderr, "no room|disk I/O error")
        (lost,), = self.query("SELECT CAST(value AS INTEGER) FROM meta WHERE key='lost_requests'")
        (held,), = self.query("SELECT count(*) FROM request")
        self.assertGreaterEqual(held, 10)
        self.assertEqual(lost + held, 1510)
        self.assertEqual(self.query("SELECT value FROM meta WHERE key='complete'"), [("0",)])

    # -- secrets

    def ask(self, port, target):
        """A request with secrets in its target, a header and its body."""
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\nCookie: id=secret-cookie\r\n"
                      "Connection: close\r\nContent-Length: 11\r\n\r\nsecret-body".encode())
            while s.recv(65536):
                pass

    def redacted(self, *options):
        """What a trace keeps of three targets; it must not hold the secrets in any table or page."""
        p, port, _ = self.serve(options)
        for target in ("/shop?token=secret-1&page=2", "/shop?secret-2", "/user/123456?name=secret-3"):
            self.ask(port, target)
        p.send_signal(signal.SIGTERM)
        _, stderr = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 143, stderr)
        with open(self.trace, "rb") as f:
            bytes_of = f.read()
        self.assertNotIn(b"secret-cookie", bytes_of)
        self.assertNotIn(b"secret-body", bytes_of)
        if "none" not in options:
            self.assertNotIn(b"secret-", bytes_of)
        return self.query("SELECT target, route FROM request ORDER BY start_ns"), dict(self.query(
            "SELECT key, value FROM meta WHERE key LIKE 'redact%'"))

    def test_a_program_that_truncates_the_shared_memory_ends_itself_and_not_the_recorder(self):
        done = self.record(sys.executable, "-c", "import os; os.truncate(os.environ['PAIL_RING'], 0); x = [bytearray(1 << 20) for i in range(99)]")
        self.assertEqual(done.returncode, 128 + signal.SIGBUS, done.stderr)
        self.assertIn("truncated the shared memory", done.stderr)
        self.assertEqual(self.query("SELECT value FROM meta WHERE key = 'complete'"), [("0",)])

    def test_one_that_does_so_before_the_recorder_has_looked_once(self):
        done = self.record("sh", "-c", 'exec truncate -s 0 "$PAIL_RING"')
        self.assertEqual(done.returncode, 128 + signal.SIGBUS, done.stderr)
        self.assertIn("truncated the shared memory", done.stderr)
        self.assertNotIn("did not start", done.stderr)

    def peak_of_recording(self, rounds):
        """The most memory that the recorder had, in bytes, and how many events there were."""
        program = f"for i in range({rounds}): x = [i, i]\nprint(flush=True); input()"
        p = subprocess.Popen([PAIL, "record", "-o", self.trace, "--ring", "1M", "--detail", "events", "--",
                              sys.executable, "-c", program], text=True, env={
                                  **os.environ, "PYTHONMALLOC": "malloc",
                                  "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        p.stdout.readline()
        with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
            peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM:")) << 10
        p.communicate("\n", timeout=60)
        return peak, int(self.query("SELECT value FROM meta WHERE key = 'events'")[0][0])

    def test_the_recorders_memory_does_not_grow_with_the_recording(self):
        (few, _), (many, events) = self.peak_of_recording(20_000), self.peak_of_recording(300_000)
        self.assertGreater(events, 1_000_000)
        self.assertLess(many, few + events * 4)  # an event is 8 bytes in the ring, at least

    def test_values_of_queries_are_not_stored(self):
        rows, meta = self.redacted()
        self.assertEqual(rows, [("/shop?token=*&page=*", "GET /shop"), ("/shop?*", "GET /shop"),
                                ("/user/123456?name=*", "GET /user/123456")])
        self.assertEqual(meta, {"redact": "values", "redacted_targets": "3"})

    def test_redact_says_what_is_stored(self):
        for word, left, route in (("none", "/user/123456?name=secret-3", "GET /user/123456"),
                                  ("query", "/user/123456", "GET /user/123456"),
                                  ("all", "/user/:id", "GET /user/:id")):
            with self.subTest(redact=word):
                rows, meta = self.redacted("--redact", word)
                self.assertEqual(rows[2], (left, route))
                self.assertEqual(meta["redact"], word)

    def test_raw_events_hold_what_was_read_so_they_are_asked_for_twice(self):
        done = self.record("true", options=["--keep-raw"])
        self.assertEqual(done.returncode, 2)
        self.assertIn("goes with --redact none", done.stderr)
        self.assertFalse(os.path.exists(self.trace))
        self.assertEqual(self.record("true", options=["--keep-raw", "--redact=none"]).returncode, 0)

    def test_no_place_for_the_trace(self):
        self.trace = os.path.join(self.folder, "missing", "t.db")
        done = self.record("true")
        self.assertEqual(done.returncode, 3)
        self.assertIn("missing", done.stderr)

    def test_threads_one_after_another_lose_nothing(self):
        """Each goes on in what the one before left of its memory, and then needs more."""
        program = self.file("threads.py", b"""
import ctypes, threading
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
def work():
    for _ in range(2500):
        libc.free(libc.malloc(100))
for _ in range(40):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
""")
        done = self.record(sys.executable, program, options=["--ring", "1M"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.query("SELECT value FROM meta WHERE key = 'dropped_events'"),
                         [("0",)])


unittest.main(verbosity=2)
