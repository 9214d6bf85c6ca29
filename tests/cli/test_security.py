#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files that commands write: nobody who can plant a name in the folder can have another file written
or read what is private. Traces from elsewhere: what they hold is data, never SQL."""
import os
import shutil
import sqlite3
import stat
import subprocess
import tempfile
import time
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = f"{BUILD}/bin/pail"
LIMIT_S = 120
VICTIM = b"another's file\n"


class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="pail-security-")
        cls.addClassCleanup(shutil.rmtree, cls.home, True)
        rows = "".join(f"{i * 1000000},2000000,{5000 + i % 7 * 900},GET /a?token=t{i}\n" for i in range(300))
        cls.csv = os.path.join(cls.home, "t.csv")
        with open(cls.csv, "w", encoding="ascii") as file:
            file.write("arrival_ns,service_ns,need_bytes,route\n" + rows)
        cls.trace = os.path.join(cls.home, "trace.db")
        cls.pail_in(cls.home, "import", "--format=csv", "-o", cls.trace, cls.csv)

    @staticmethod
    def pail_in(folder, *words, umask=0o022):
        old = os.umask(umask)
        try:
            return subprocess.run([PAIL, *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=LIMIT_S, check=False)
        finally:
            os.umask(old)

    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=self.home)
        self.victim = os.path.join(self.folder, "victim")
        with open(self.victim, "wb") as file:
            file.write(VICTIM)

    def commands(self):
        """Each command that writes a file of a name that it is given: here, "out"."""
        return {
            "import": ("import", "--format=csv", "-o", "out", self.csv),
            "record": ("record", "--ring", "1M", "-o", "out", "--", "/bin/true"),
            "attribute": ("attribute", "-o", "out", self.recorded()),
            "merge": ("merge", "--align=start", "-o", "out", self.trace, self.trace),
            "plan": ("plan", self.trace, "--target=0.05", "--provisional", "-o", "out"),
            "plan --html": ("plan", self.trace, "--target=0.05", "--provisional", "--html=out"),
            "export": ("export", "--format=csv", "-o", "out", self.trace),
        }

    def recorded(self):
        path = os.path.join(self.home, "raw.db")
        if not os.path.exists(path):
            self.pail_in(self.home, "record", "--ring", "1M", "--keep-raw", "--redact=none", "-o", path, "--", "/bin/true")
        return path

    def test_a_planted_symbolic_link_is_not_written_through(self):
        out = os.path.join(self.folder, "out")
        for name, words in self.commands().items():
            with self.subTest(command=name):
                os.symlink("victim", out)
                done = self.pail_in(self.folder, *words)
                with open(self.victim, "rb") as file:
                    self.assertEqual(file.read(), VICTIM)
                self.assertIn(done.returncode, (0, 3), done.stderr)
                self.assertEqual(os.path.islink(out), done.returncode == 3, done.stderr)
                os.unlink(out)

    def test_a_trace_is_for_its_owner_alone_whatever_the_umask(self):
        out = os.path.join(self.folder, "out")
        for name in ("import", "record", "attribute", "merge"):
            with self.subTest(command=name):
                done = self.pail_in(self.folder, *self.commands()[name], umask=0)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(stat.S_IMODE(os.stat(out).st_mode), 0o600)
                os.unlink(out)

    def test_nothing_is_open_to_be_written_by_others(self):
        out = os.path.join(self.folder, "out")
        for name, words in self.commands().items():
            with self.subTest(command=name):
                done = self.pail_in(self.folder, *words)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(stat.S_IMODE(os.stat(out).st_mode) & 0o022, 0)
                os.unlink(out)

    def test_the_port_file_has_no_neighbour_that_can_be_foreseen(self):
        """A link that has the file's name and the server's process id, and one that has its name."""
        with open(os.path.join(self.folder, "p.conf"), "w", encoding="ascii") as file:
            file.write("[server]\nlisten = 127.0.0.1:0\nthreads = 1\nconnections = 16\nqueue = 4\ndrain = 2s\n"
                       "[bucket main]\nsize = 64K\ncount = 2\n")
        port = os.path.join(self.folder, "port")
        script = ('ln -s victim "port.$$" && ln -s victim "port.tmp" && exec "$0" serve -c p.conf'
                  ' --app builtin:varying-allocations --no-supervisor --log none --port-file port')
        with subprocess.Popen(["/bin/sh", "-c", script, PAIL], cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
            self.addCleanup(server.kill)
            deadline = time.monotonic() + LIMIT_S
            while not os.path.exists(port) and server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            written = os.path.exists(port)
            server.terminate()
            _, said = server.communicate(timeout=LIMIT_S)
        self.assertTrue(written, said)
        with open(self.victim, "rb") as file:
            self.assertEqual(file.read(), VICTIM)
        self.assertFalse(os.path.islink(port))

    def test_names_in_a_trace_are_never_sql(self):
        """Tables of the right names, with a column whose name ends the list that merge writes."""
        bad = os.path.join(self.folder, "bad.db")
        shutil.copy(self.trace, bad)
        db = sqlite3.connect(bad)
        db.execute('ALTER TABLE thread ADD COLUMN "x"") SELECT 1,2,3,4,5,6 --" INTEGER')
        db.execute("INSERT INTO thread VALUES (1, 1, 1, 0, 0, 9)")
        db.commit()
        db.close()
        done = self.pail_in(self.folder, "merge", "--align=start", "-o", "out", bad, self.trace)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertRegex(done.stderr, r'table "thread"')
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out")))


if __name__ == "__main__":
    unittest.main()
