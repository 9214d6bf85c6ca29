#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manual and the program agree: every command and option that --help
shows is in pail(1), nothing else is, and every key of pail.conf(5) is taken."""
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ["PAIL_SOURCE"]
PAIL = os.path.join(os.environ["PAIL_BUILD"], "bin", "pail")
MANUAL = os.path.join(SOURCE, "docs", "man")
# What every command takes; the page has it once, in its section OPTIONS.
COMMON = {"--help", "--usage", "--version", "-?", "-V"}


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def page(name):
    with open(os.path.join(MANUAL, name), encoding="utf-8") as file:
        return file.read()


def options_of_help(text):
    """From lines such as `  -o, --output=FILE   Where to write`."""
    found = set()
    for line in text.splitlines():
        head = re.match(r"\s{1,8}(-[-\w?][^\n]*)", line)
        if head:
            words = re.split(r"\s{2,}", head.group(1))[0]
            found |= set(re.findall(r"(?:^|(?<=[\s,]))(--[a-z][a-z-]*|-[A-Za-z?])(?=[\s,=\[]|$)", words))
    return found


def options_of_page(section):
    """From the line behind each .TP: `.BR \\-o , \\-\\-output=\\fIFILE\\fR`."""
    found = set()
    for tag in re.findall(r"^\.(?:TP|TQ)[^\n]*\n([^\n]*)", section, re.M):
        tag = re.sub(r"\\f.|\"", " ", tag).replace("\\-", "-")
        found |= set(re.findall(r"(?:^|(?<=[\s,]))(--[a-z][a-z-]*|-[A-Za-z?])(?=[\s,=\[]|$)", tag))
    return found


def sections(text, macro):
    parts = re.split(rf"^\.{macro} (.*)$", text, flags=re.M)
    return {name.strip().strip('"'): body for name, body in zip(parts[1::2], parts[2::2])}


class Commands(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.help = run(PAIL, "--help").stdout
        cls.commands = re.findall(r"^  ([a-z]+) {2,}\S", cls.help, re.M)
        top = sections(page("pail.1"), "SH")
        cls.sections = sections(top["COMMANDS"], "SS")
        cls.common = top["OPTIONS"]

    def test_the_page_has_exactly_the_commands_of_help(self):
        self.assertGreater(len(self.commands), 3, self.help)
        names = [heading.split()[-1] for heading in self.sections]
        self.assertEqual(sorted(names), sorted(self.commands))

    def test_each_command_has_exactly_the_options_of_its_help(self):
        for heading, body in self.sections.items():
            command = heading.split()[-1]
            with self.subTest(command=command):
                done = run(PAIL, command, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(sorted(options_of_page(body) - COMMON), sorted(options_of_help(done.stdout) - COMMON))

    def test_a_command_s_own_page_has_exactly_the_options_of_its_help(self):
        for name in os.listdir(MANUAL):
            command = re.fullmatch(r"pail-([a-z]+)\.1", name)
            if command:
                with self.subTest(page=name):
                    done = run(PAIL, command.group(1), "--help")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    found = options_of_page(sections(page(name), "SH")["OPTIONS"])
                    self.assertEqual(sorted(found - COMMON), sorted(options_of_help(done.stdout) - COMMON))

    def test_the_common_options_are_on_the_page(self):
        self.assertLessEqual({"--help", "--version"}, options_of_page(self.common))


class Config(unittest.TestCase):
    def documented(self):
        """(section heading as written in a file, key, example value)"""
        for heading, body in sections(sections(page("pail.conf.5"), "SH")["SECTIONS"], "SS").items():
            heading = heading.replace("\\-", "-").replace("NAME", "main").replace("PATTERN", "/api/")
            for tag in re.findall(r"^\.TP[^\n]*\n\.B\w? +([^\n]*)", body, re.M):
                tag = re.sub(r"\\f.|\"", "", tag).replace("\\-", "-").replace("\\&", "")
                key, value = (part.strip() for part in tag.split("=", 1))
                yield heading, key, value

    def test_each_key_with_its_example_is_taken(self):
        keys = list(self.documented())
        self.assertGreater(len(keys), 15)
        for heading, key, value in keys:
            with self.subTest(section=heading, key=key), tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "pail.conf"), "w", encoding="utf-8") as file:
                    if not heading.startswith("[bucket"):
                        file.write("[bucket main]\nsize = 256K\ncount = 64\n\n")
                    file.write(f"{heading}\n{key} = {value}\n")
                    if heading.startswith("[bucket"):
                        other = {"size": "count = 64", "count": "size = 256K"}[key]
                        file.write(f"{other}\n")
                    elif heading.startswith("[route") and key != "bucket":
                        file.write("bucket = main\n")
                done = run(PAIL, "serve", "-c", "pail.conf", "--print-bound", cwd=folder)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_every_key_that_the_reader_knows_is_on_the_page(self):
        """base/conf.c names each key in double quotes in one table per section."""
        with open(os.path.join(SOURCE, "base", "conf.c"), encoding="utf-8") as file:
            known = set(re.findall(r'(?:\bPLAN_KEY\(|\{)"([a-z_]+)", [A-Z_]+,', file.read()))
        self.assertGreater(len(known), 15)
        self.assertEqual(sorted(known - {key for _, key, _ in self.documented()}), [])


class Trace(unittest.TestCase):
    def test_the_page_has_every_table_view_and_column_of_a_request(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "rows.csv"), "w", encoding="utf-8") as file:
                file.write("arrival_ns,service_ns,need_bytes,route\n0,1,2,/\n")
            done = run(PAIL, "import", "--format", "csv", "-o", "t.db", "rows.csv", cwd=folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            trace = sqlite3.connect(os.path.join(folder, "t.db"))
            self.addCleanup(trace.close)
            names = [row[0] for row in trace.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")]
            columns = [row[1] for row in trace.execute("PRAGMA table_info(request)")]
        text = page("pail-trace.5").replace("\\-", "-")
        tags = " ".join(re.findall(r"^\.TP[^\n]*\n\.(?:B|BR|I) ([^\n]*)", text, re.M))
        documented = set(re.findall(r"[a-z_]+", tags))
        self.assertEqual(sorted((set(names) | set(columns)) - documented), [])


class Form(unittest.TestCase):
    def test_each_page_is_clean_for_groff(self):
        if run("sh", "-c", "command -v groff").returncode:
            self.skipTest("no groff here")
        pages = sorted(os.listdir(MANUAL))
        self.assertIn("pail.1", pages)
        for name in pages:
            with self.subTest(page=name):
                done = run("groff", "-man", "-Tutf8", "-ww", "-z", os.path.join(MANUAL, name))
                self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    sys.exit(unittest.main())
