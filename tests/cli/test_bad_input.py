#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a person can get wrong, command by command: one line on stderr that
names what, where and what to do, the right exit code, and nothing half written.

Each case runs the real command in an empty folder of its own.
"""
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
CC = os.environ.get("CC", "cc")

DONE, NO, USAGE, INPUT = 0, 1, 2, 3
COMMANDS = ("record", "report", "simulate", "plan", "serve", "verify", "calc", "import")


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(self.path(name), mode)

    def tree(self):
        found = {}
        for folder, _, files in os.walk(self.folder):
            for name in files:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        found[os.path.relpath(path, self.folder)] = file.read()
        return found

    def run_pail(self, *words, user=None, timeout=20):
        return subprocess.run(
            [PAIL, *words], cwd=self.folder, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=timeout, user=user,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": self.folder,
                 "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")},
        )

    def fails(self, code, message, *words, user=None):
        """Exactly `message` (a pattern for the whole line), nothing on stdout, nothing left behind."""
        before = self.tree()
        done = self.run_pail(*words, user=user)
        with self.subTest(command=" ".join(("pail",) + words)):
            self.assertEqual(done.stdout, "")
            self.assertRegex(done.stderr, rf"\A{message}\n\Z")
            self.assertEqual(done.returncode, code)
            self.assertEqual(sorted(self.tree()), sorted(before), "files were left or removed")
            self.assertEqual(self.tree(), before)
        return done


def trace(case, name="t.db", rows=200):
    """A real trace, by way of the importer."""
    lines = ["arrival_ns,service_ns,need_bytes,route"]
    lines += [f"{i * 1000000},500000,{1000 + 64 * (i % 50)},GET /r{i % 3}" for i in range(rows)]
    case.write("rows.csv", "\n".join(lines) + "\n")
    done = case.run_pail("import", "--format", "csv", "-o", name, "rows.csv")
    case.assertEqual(done.returncode, 0, done.stderr)


class Words(Case):
    def test_no_command(self):
        self.fails(USAGE, "pail: no command; 'pail --help' lists them")

    def test_an_unknown_command(self):
        self.fails(USAGE, "pail: unknown command 'recrod'; did you mean 'pail record'\\?", "recrod")
        self.fails(USAGE, "pail: unknown command 'xyzzy'; 'pail --help' lists what there is", "xyzzy")

    def test_an_unknown_option(self):
        self.fails(USAGE, "pail: unknown option '--nope'; 'pail --help' lists what there is", "--nope")
        for command in COMMANDS:
            self.fails(USAGE, f"pail {command}: .*option.*--nope'; 'pail {command} --help' tells more", command, "--nope")

    def test_an_option_without_its_value(self):
        for command, option in (("record", "--output"), ("serve", "--config"), ("plan", "--target")):
            self.fails(USAGE, f"pail {command}: .*{option}.*'pail {command} --help'.*", command, option)

    def test_words_that_are_missing(self):
        for command in ("record", "report", "simulate", "plan", "verify", "calc", "import"):
            self.fails(USAGE, f"pail {command}: .*'pail {command} --help'.*", command)

    def test_help_and_version_are_no_failure(self):
        for words in (("--help",), ("--version",), *((command, "--help") for command in COMMANDS)):
            with self.subTest(words=words):
                done = self.run_pail(*words)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertNotEqual(done.stdout, "")

    def test_help_on_a_full_disk_is_one(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([PAIL, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, INPUT)
        self.assertRegex(done.stderr, r"\Apail: .*No space left on device\n\Z")


class Traces(Case):
    READERS = (
        ("report",),
        ("simulate", "--size", "64K", "--count", "8"),
        ("plan",),
        ("verify", "-c", "pail.conf"),
    )

    def each(self, message, name, user=None):
        self.write("pail.conf", "[server]\nqueue = 0\n[bucket main]\nsize = 64K\ncount = 4\n")
        for command, *options in self.READERS:
            self.fails(INPUT, f"pail {command}: {message}", command, name, *options, user=user)

    def test_a_trace_that_is_not_there(self):
        self.each("no trace \"none.db\": No such file or directory", "none.db")

    def test_a_folder_in_its_place(self):
        os.mkdir(self.path("folder"))
        self.each("cannot read \"folder\" as a trace: Is a directory", "folder")

    @unittest.skipIf(os.geteuid() != 0, "needs root, to be someone else")
    def test_a_trace_that_may_not_be_read(self):
        self.write("secret.db", "x", mode=0o600)
        os.chmod(self.folder, 0o755)
        self.each("cannot read \"secret.db\": Permission denied", "secret.db", user=65534)

    def test_a_file_that_is_no_trace(self):
        self.write("text.db", "this is no database\n" * 100)
        self.each("\"text.db\" is not a trace \\(no SQLite file\\)", "text.db")
        self.write("empty.db", "")
        self.each("\"empty.db\" is empty, not a trace", "empty.db")

    def test_a_database_of_another_program(self):
        with sqlite3.connect(self.path("other.db")) as other:
            other.execute("CREATE TABLE request(id INTEGER)")
        other.close()
        self.each("\"other.db\" is a database of another program, not a trace", "other.db")

    def test_a_trace_of_a_newer_pail(self):
        trace(self)
        with sqlite3.connect(self.path("t.db")) as newer:
            newer.execute("PRAGMA user_version = 9999")
        newer.close()
        self.each("trace \"t.db\" has format 9999, this pail reads up to \\d+: use a newer pail", "t.db")

    def test_a_trace_cut_in_the_middle_is_an_error_and_no_crash(self):
        trace(self, rows=2000)
        with open(self.path("t.db"), "rb") as file:
            whole = file.read()
        self.write("cut.db", whole[: len(whole) // 2])
        self.each(".*\"cut.db\".*", "cut.db")

    def test_a_trace_without_requests(self):
        self.write("rows.csv", "arrival_ns,service_ns,need_bytes,route\n")
        done = self.run_pail("import", "--format", "csv", "-o", "t.db", "rows.csv")
        if done.returncode == 0:
            self.fails(INPUT, "pail plan: .*t.db.*no requests?.*", "plan", "t.db", "-o", "pail.conf")
        else:
            self.assertRegex(done.stderr, r"\Apail import: .*'?rows.csv'?.*\n\Z")
            self.assertFalse(os.path.exists(self.path("t.db")))


class Record(Case):
    def record(self, message, *command, code=INPUT):
        self.fails(code, f"pail record: cannot record {message}", "record", "-o", "t.db", "--", *command)

    def test_a_program_that_is_not_there(self):
        self.record("\"no-such-program\": there is no such program in PATH", "no-such-program")
        self.record("\"./none\": No such file or directory", "./none")

    def test_a_program_that_is_not_executable(self):
        self.write("script", "#!/bin/sh\n", mode=0o644)
        self.record("\"./script\": it is not executable \\(chmod \\+x\\?\\)", "./script")

    def test_a_folder_in_place_of_a_program(self):
        os.mkdir(self.path("folder"))
        self.record("\"./folder\": it is not a file", "./folder")

    def test_a_static_program(self):
        self.write("main.c", "int main(void) { return 0; }\n")
        built = subprocess.run([CC, "-static", "-o", self.path("static"), self.path("main.c")], check=False)
        if built.returncode:
            self.skipTest("cannot link a static program here")
        self.record("\"./static\": it is linked statically, so no library can be loaded into it; "
                    "build it with dynamic linking", "./static")

    def test_an_output_that_cannot_be_written(self):
        self.fails(INPUT, "pail record: cannot create \"none/t.db\": No such file or directory",
                   "record", "-o", "none/t.db", "--", "true")
        self.write("notes.txt", "years of work\n")
        self.fails(INPUT, "pail record: will not overwrite \"notes.txt\": it is not a trace", "record", "-o", "notes.txt", "--", "true")

    def test_the_program_keeps_its_own_exit_code(self):
        done = self.run_pail("record", "-o", "t.db", "--", "sh", "-c", "exit 7")
        self.assertEqual(done.returncode, 7, done.stderr)

    @unittest.skipIf(os.geteuid() != 0, "needs root, to mount a small disk")
    def test_a_disk_that_is_full(self):
        os.mkdir(self.path("disk"))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", self.path("disk")],
                                 capture_output=True, check=False)
        if mounted.returncode:
            self.skipTest("cannot mount here: " + mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", self.path("disk")], check=True)
        with self.subTest("full before it begins"):
            fill = ["dd", "if=/dev/zero", "of=disk/filler", "bs=4k"]
            subprocess.run(fill, cwd=self.folder, stderr=subprocess.DEVNULL, check=False)
            self.fails(INPUT, "pail record: no room on the disk of \"disk/t.db\" while writing",
                       "record", "-o", "disk/t.db", "--", "true")
            os.unlink(self.path("disk/filler"))
        with self.subTest("full on the way"):
            done = self.run_pail("record", "-o", "disk/t.db", "--detail", "events", "--", sys.executable, "-c", SERVER,
                                 timeout=120)
            last = done.stderr.splitlines()[-1]
            self.assertRegex(last, "^pail record: \\d+ requests are missing in \"disk/t.db\": no room on the disk of .*")
            self.assertEqual(done.stdout, "served all\n", "the program was disturbed")
            self.assertEqual(done.returncode, INPUT)
            left = os.listdir(self.path("disk"))
            self.assertIn(left, ([], ["t.db"]))
            if left:
                self.assertEqual(self.run_pail("report", "disk/t.db").returncode, DONE)


# A server and its client in one: enough requests that a small disk fills up.
SERVER = r"""
import socket, threading
listener = socket.create_server(("127.0.0.1", 0))
COUNT = 20000
def client():
    with socket.create_connection(listener.getsockname()) as s:
        for i in range(COUNT):
            s.sendall(b"GET /page/%d HTTP/1.1\r\nHost: x\r\n\r\n" % i)
            answer = b""
            while not answer.endswith(b"ok"):
                answer += s.recv(4096)
threading.Thread(target=client).start()
connection, _ = listener.accept()
for i in range(COUNT):
    connection.recv(4096)
    data = [bytes(600 + i % 7) for _ in range(20)]
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
print("served all")
"""


class Numbers(Case):
    def test_sizes_and_counts_that_cannot_be(self):
        trace(self)
        for words, named in (
            (("simulate", "t.db", "--size", "64Q", "--count", "8"), "64Q"),
            (("simulate", "t.db", "--size", "-1", "--count", "8"), "-1"),
            (("simulate", "t.db", "--size", "64K", "--count", "0"), "0"),
            (("simulate", "t.db", "--size", "64K", "--count", "1.5"), "1.5"),
            (("simulate", "t.db", "--size", "64K", "--count", "99999999999999999999"), "99999999999999999999"),
            (("simulate", "t.db", "--size", "", "--count", "8"), "''"),
            (("simulate", "t.db", "--size", "64K,,1M", "--count", "8"), "''"),
            (("plan", "t.db", "--target", "2"), "2"),
            (("plan", "t.db", "--target", "nan"), "nan"),
            (("plan", "t.db", "--confidence", "1"), "1"),
            (("plan", "t.db", "--max-memory", "lots"), "lots"),
        ):
            self.fails(USAGE, f"pail {words[0]}: .*--[a-z-]+.*'?{re.escape(named)}'?.*", *words)

    def test_formulas(self):
        self.fails(USAGE, "pail calc: .*'nonsense'.*", "calc", "nonsense")
        self.fails(USAGE, "pail calc: .*--servers.*", "calc", "erlang-b", "--load", "10", "--servers", "-3")

    def test_plan_leaves_no_half_a_config(self):
        trace(self)
        self.fails(INPUT, "pail plan: .*'none/pail.conf'.*No such file or directory.*",
                   "plan", "t.db", "--provisional", "-o", "none/pail.conf")

    def test_rows_that_cannot_be(self):
        head = "arrival_ns,service_ns,need_bytes,route\n"
        for name, text, what in (
            ("head.csv", "a,b,c\n1,2,3\n", "arrival_ns"),
            ("word.csv", head + "0,1,2,/\n1,x,2,/\n", "3.*x"),
            ("short.csv", head + "0,1\n", "2"),
            ("minus.csv", head + "0,-1,2,/\n", "2"),
        ):
            self.write(name, text)
            self.fails(INPUT, f"pail import: .*{name}.*({what}).*", "import", "--format", "csv", "-o", "t.db", name)


class Serve(Case):
    def serve(self, message, *words, code=INPUT):
        self.fails(code, f"pail serve: {message}", "serve", *words)

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.serve(f".*'?127.0.0.1:{port}'?.*Address already in use.*",
                       "--app", "builtin:send-static-file", "--listen", f"127.0.0.1:{port}")

    def test_an_address_that_is_none(self):
        for address in ("nonsense", "127.0.0.1:99999", "127.0.0.1:http"):
            self.serve(f".*'{address}'.*", "--app", "builtin:send-static-file", "--listen", address, code=USAGE)

    def test_a_config_that_is_not_there(self):
        self.serve(".*'none.conf'.*No such file or directory.*", "-c", "none.conf", "--print-bound")

    def config(self, text, place, *what):
        self.write("pail.conf", text)
        self.serve(f"pail.conf:{place}.*" + ".*".join(what) + ".*", "-c", "pail.conf", "--print-bound")

    def test_a_config_with_an_unknown_key(self):
        self.config("[server]\nlisten = 127.0.0.1:0\n\nbuckets = 4\n", "4: \\[server\\] buckets: unknown key")

    def test_a_config_with_an_unknown_section(self):
        self.config("[servers]\n", "1: unknown section \\[servers\\]")

    def test_a_config_with_an_impossible_number(self):
        self.config("[bucket main]\nsize = 64K\ncount = 0\n", "3: \\[bucket main\\] count")
        self.config("[bucket main]\nsize = 64Q\ncount = 4\n", "2: \\[bucket main\\] size", "64Q")
        self.config("[bucket main]\nsize = 1000\ncount = 4\n", "2: \\[bucket main\\] size")
        self.config("[bucket main]\nsize = 8388608G\ncount = 4000000000\n", "[23]: \\[bucket main\\]")
        self.config("[server]\nwait = -5s\n", "2: \\[server\\] wait")
        self.config("[server]\nwait = 5\n", "2: \\[server\\] wait")
        self.config("[server]\nthreads = 0\n", "2: \\[server\\] threads")

    def test_a_config_with_a_doubled_key(self):
        self.config("[server]\nthreads = 1\nthreads = 2\n", "3: \\[server\\] threads", "twice", "line 2")

    def test_a_config_that_is_no_text(self):
        self.write("pail.conf", bytes(range(256)))
        self.serve(".*pail.conf.*", "-c", "pail.conf", "--print-bound")

    def plugin(self, name, text):
        self.write("plugin.c", text)
        subprocess.run([CC, "-shared", "-fPIC", "-o", self.path(name), self.path("plugin.c")], check=True)

    def test_a_plugin_without_pail_handle(self):
        self.plugin("empty.so", "int something_else(void) { return 0; }\n")
        self.serve(".*empty.so.*'?pail_handle'?.*", "--app", "./empty.so", "--listen", "127.0.0.1:0")

    def test_a_plugin_that_needs_what_is_not_there(self):
        self.plugin("broken.so", "int missing_function(void);\n"
                                 "int pail_handle(void *r) { return r ? missing_function() : 200; }\n")
        self.serve(".*broken.so.*missing_function.*", "--app", "./broken.so", "--listen", "127.0.0.1:0")

    def test_a_plugin_that_is_none(self):
        self.write("text.so", "this is no library\n")
        self.serve(".*text.so.*", "--app", "./text.so", "--listen", "127.0.0.1:0")

    def test_an_app_that_is_not_there(self):
        self.serve(".*none.so.*No such file or directory.*", "--app", "./none.so", "--listen", "127.0.0.1:0")
        self.serve("there is no built-in 'nothing'; there are: .*", "--app", "builtin:nothing", "--listen", "127.0.0.1:0",
                   code=USAGE)


if __name__ == "__main__":
    sys.exit(unittest.main())
