#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How far long work has come: on a terminal, from its third second on, and nowhere else."""

import fcntl
import os
import pty
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
HEAD = b"arrival_ns,service_ns,need_bytes,route\n"


class Import:
    """An import of a pipe, which takes as long as we like. stderr is a terminal."""

    def __init__(self, folder, columns=80, **environment):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.child = subprocess.Popen([PAIL, "import", "--format", "csv", "-o", os.path.join(folder, "t.db"), "-"],
                                      stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs,
                                      env={**os.environ, "TERM": "xterm", **environment})
        os.close(theirs)
        self.seen, self.rows = b"", 0
        self.child.stdin.write(HEAD)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        os.close(self.ours)

    def feed_until(self, text):
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self.child.stdin.write(b"".join(b"%d,1000,64,GET /a\n" % (self.rows + i) for i in range(20000)))
            self.child.stdin.flush()
            self.rows += 20000
            if select.select([self.ours], [], [], 0.1)[0]:
                self.seen += os.read(self.ours, 65536)

    def finish(self):
        while True:
            try:
                got = os.read(self.ours, 65536)
            except OSError:  # the other side of the terminal is closed
                break
            if not got:
                break
            self.seen += got
        return self.child.wait(PATIENCE_S)


class Progress(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_a_terminal_is_told_and_the_line_goes_again(self):
        """And beside it, over the same time, what is no terminal hears nothing."""
        quiet = subprocess.Popen([PAIL, "import", "--format", "csv", "-o", os.path.join(self.folder, "q.db"), "-"],
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(quiet.wait)
        self.addCleanup(quiet.kill)
        quiet.stdin.write(HEAD + b"0,1,1,GET /a\n")
        quiet.stdin.flush()
        began = time.monotonic()
        with Import(self.folder) as work:
            work.feed_until(b" rows, ")
            self.assertGreaterEqual(time.monotonic() - began, 1.9)
            work.child.stdin.close()
            self.assertEqual(work.finish(), 0)
            self.assertRegex(work.seen, rb"\r\x1b\[36mpail import: [0-9.]+ [kM]? ?rows, [0-9.]+ [kM]? ?/s, \d+ s\x1b\[0m\x1b\[K")
            last = work.seen.split(b"\r\x1b[K")[-1]
            out, messages = quiet.communicate(b"1,1,1,GET /a\n" * 10000, timeout=PATIENCE_S)
            self.assertEqual((quiet.returncode, out, messages.count(b"\n")), (0, b"", 1))
            self.assertNotIn(b"\r", messages)
            self.assertEqual(last, b"pail import: %d requests in \"%s/t.db\"\r\n" % (work.rows, self.folder.encode()))

    def test_control_c_writes_nothing_and_wipes_the_line(self):
        with Import(self.folder, columns=30, NO_COLOR="1") as work:
            work.feed_until(b"rows")
            work.child.send_signal(signal.SIGINT)
            try:
                work.child.stdin.write(b"9,1,1,GET /a\n" * 100000)
                work.child.stdin.close()
            except BrokenPipeError:
                pass
            self.assertEqual(work.finish(), 3)
            self.assertNotIn(b"\x1b[36m", work.seen)
            self.assertLess(max(len(part.split(b"\x1b[K")[0]) for part in work.seen.split(b"\r")[:-2]), 30)
            self.assertIn(b"\r\x1b[Kpail import: interrupted after", work.seen)
            self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
