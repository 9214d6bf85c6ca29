#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pail top: what it shows, and that it leaves a terminal as it found it."""

import fcntl
import http.client
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
PATIENCE_S = 60
MS = 1_000_000


class Terminal:
    """A command on a terminal of 80 x 24."""

    def __init__(self, *words, **environment):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.theirs, self.before = theirs, termios.tcgetattr(theirs)
        self.child = subprocess.Popen([PAIL, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                      env={**os.environ, "TERM": "xterm", **environment})
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def read(self):
        if select.select([self.ours], [], [], 0.05)[0]:
            self.seen += os.read(self.ours, 65536)

    def until(self, text):
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in {self.seen[-3000:]!r}")
            self.read()

    def ends(self):
        deadline = time.monotonic() + PATIENCE_S
        while self.child.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()
        return self.child.wait(1)

    def picture(self):
        """The lines of the last whole picture, without styles."""
        last = self.seen.decode().split("\x1b[H")[-1]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).split("\r\n")


def run(*words, code=0, **options):
    done = subprocess.run([PAIL, *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S, **options)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


class Top(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        files = os.path.join(cls.folder, "files")
        os.mkdir(files)
        with open(os.path.join(files, "a"), "w", encoding="utf-8") as file:
            file.write("hello")
        with open(os.path.join(cls.folder, "pail.conf"), "w", encoding="utf-8") as file:
            file.write("[server]\nadmin = 127.0.0.1:0\nthreads = 1\n[bucket small]\nsize = 64K\ncount = 4\n"
                       "[bucket large]\nsize = 1M\ncount = 2\n[route /a]\nbucket = large\n")
        log = os.path.join(cls.folder, "stderr")
        with open(log, "wb") as errors:
            cls.server = subprocess.Popen([PAIL, "serve", "-c", os.path.join(cls.folder, "pail.conf"), "--app", files,
                                           "--listen", "127.0.0.1:0"], stderr=errors, stdout=errors)
        cls.addClassCleanup(cls.server.wait, PATIENCE_S)
        cls.addClassCleanup(cls.server.terminate)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with open(log, encoding="utf-8") as file:
                text = file.read()
            ports = re.search(r"listening on 127.0.0.1:(\d+)", text), re.search(r"admin address http://127.0.0.1:(\d+)", text)
            if all(ports):
                break
            assert time.monotonic() < deadline and cls.server.poll() is None, text
            time.sleep(0.02)
        cls.port, cls.admin = int(ports[0].group(1)), "127.0.0.1:" + ports[1].group(1)
        for _ in range(7):
            client = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=PATIENCE_S)
            client.request("GET", "/a")
            client.getresponse().read()
            client.close()

    def trace(self, name="t.db"):
        rows = "".join(f"{i * MS},{MS},{4096 + i},GET /x\n{i * MS + 1},{2 * MS},100,GET /\x1b[31m\x9b\n" for i in range(50))
        source = os.path.join(self.folder, "t.csv")
        with open(source, "w", encoding="latin-1") as file:
            file.write("arrival_ns,service_ns,need_bytes,route\n" + rows)
        path = os.path.join(self.folder, name)
        run("import", "--format", "csv", "-o", path, source)
        return path

    def test_a_server_as_json(self):
        told = json.loads(run("top", self.admin, "--json", "--interval", "20ms").stdout)
        self.assertEqual((told["schema"], told["kind"], told["state"]), ("pail.top/1", "server", "ready"))
        self.assertGreaterEqual(told["requests"], 7)
        self.assertEqual([(c["name"], c["size"], c["count"]) for c in told["classes"]],
                         [("small", 65536, 4), ("large", 1048576, 2)])
        self.assertEqual(next(r for r in told["routes"] if r["route"] == "/a")["requests"], 7)
        self.assertGreater(told["bound_bytes"], told["resident_bytes"] // 4)

    def test_a_server_as_text(self):
        text = run("top", "http://" + self.admin + "/", "--once", "--interval", "20ms").stdout
        self.assertRegex(text, r"(?m)^large +1.00 MiB +\[\.+\] +0/2 ")
        self.assertRegex(text, r"(?m)^/a .* 7 +0 +0 ")
        self.assertNotIn("\x1b", text)

    def test_a_recording_as_json(self):
        told = json.loads(run("top", self.trace(), "--json", "--interval", "20ms").stdout)
        self.assertEqual((told["kind"], told["state"], told["requests"]), ("recording", "complete", 100))
        route = next(r for r in told["routes"] if r["route"] == "GET /x")
        self.assertEqual((route["requests"], route["need_max"]), (50, 4145))
        self.assertLessEqual(abs(route["need_p50"] - 4120), 4120 / 8)

    def test_a_recording_is_read_on_while_it_is_written(self):
        """The victim is a shell that ends when its input does."""
        path = os.path.join(self.folder, "live.db")
        recorder = subprocess.Popen([PAIL, "record", "-o", path, "--", "cat"], stdin=subprocess.PIPE,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not os.path.exists(path) and time.monotonic() < deadline:
                time.sleep(0.02)
            told = json.loads(run("top", path, "--json", "--interval", "20ms").stdout)
            self.assertEqual((told["kind"], told["state"]), ("recording", "recording"))
        finally:
            recorder.stdin.close()
            recorder.wait(PATIENCE_S)
        told = json.loads(run("top", path, "--json", "--interval", "20ms").stdout)
        self.assertEqual(told["state"], "complete")

    def check_restored(self, terminal):
        self.assertTrue(terminal.seen.endswith(b"\x1b[?25h\x1b[?1049l"), terminal.seen[-100:])
        self.assertEqual(termios.tcgetattr(terminal.theirs), terminal.before)

    def test_control_c_leaves_the_terminal_as_it_was(self):
        with Terminal("top", self.admin, "--interval", "50ms") as terminal:
            terminal.until(b"q quit")
            os.write(terminal.ours, b"\x03")
            self.assertEqual(terminal.ends(), 0)
            self.check_restored(terminal)

    def test_so_do_a_key_and_sigterm(self):
        for end in (lambda t: os.write(t.ours, b"q"), lambda t: t.child.send_signal(signal.SIGTERM),
                    lambda t: t.child.send_signal(signal.SIGHUP)):
            with Terminal("top", self.admin, "--interval", "50ms") as terminal:
                terminal.until(b"q quit")
                end(terminal)
                self.assertEqual(terminal.ends(), 0)
                self.check_restored(terminal)

    def test_a_picture_fits_the_terminal(self):
        for source in (self.admin, self.trace("fits.db")):
            with Terminal("top", source, "--interval", "50ms") as terminal:
                terminal.until(b"q quit")
                terminal.until(b"rejections (now requests)")
                lines = terminal.picture()
                self.assertEqual(len(lines), 24)
                self.assertLess(max(map(len, lines)), 80, lines)
                os.write(terminal.ours, b"n")
                terminal.until(b"(now need)")
                os.write(terminal.ours, b"p")
                terminal.until(b"PAUSED")

    def test_no_route_steers_the_terminal_and_no_color_is_heeded(self):
        with Terminal("top", self.trace("hostile.db"), "--interval", "50ms", NO_COLOR="1") as terminal:
            terminal.until(b"q quit")
            self.assertIn(b"GET /?[31m", terminal.seen)
            self.assertNotIn(b"\x1b[31m", terminal.seen)
            self.assertNotIn(b"\x1b[7m", terminal.seen)

    def test_a_table_fits_a_terminal_and_is_plain_elsewhere(self):
        """Not of top but of report: what it says on a terminal, in a pipe, and under NO_COLOR."""
        path = self.trace("table.db")
        with Terminal("report", path) as terminal:
            self.assertEqual(terminal.ends(), 0)
            self.assertIn(b"\x1b[1mroute", terminal.seen)
            self.assertLessEqual(max(map(len, terminal.picture())), 80)
            self.assertIn(b"GET /?", terminal.seen)
            self.assertNotIn(b"\x1b[31m", terminal.seen)
        with Terminal("report", path, NO_COLOR="1") as terminal:
            self.assertEqual(terminal.ends(), 0)
            self.assertNotIn(b"\x1b", terminal.seen)
        plain = subprocess.run([PAIL, "report", path], capture_output=True, check=True, timeout=PATIENCE_S).stdout
        self.assertNotIn(b"\x1b", plain)
        self.assertIn(b"time p50", plain)

    def test_what_cannot_be_reached_is_one_line(self):
        for words, code, why in ((("127.0.0.1:1",), 3, "cannot reach '127.0.0.1:1'"), (("nothing",), 2, "neither a file"),
                                 ((f"127.0.0.1:{self.port}", "--once"), 3, "not the admin address"),
                                 (("-c", os.path.join(self.folder, "t.csv")), 3, "t.csv"), ((), 2, "wants a server"),
                                 ((self.admin, "--interval", "0ms"), 2, "--interval")):
            done = run("top", *words, code=code)
            self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
            self.assertIn(why, done.stderr)


if __name__ == "__main__":
    unittest.main()
