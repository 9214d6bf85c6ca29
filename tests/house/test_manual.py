#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manual and the program agree: pail(1) lists the commands, each has a page
with the options that its --help shows and no other, every key of pail.conf(5)
is taken, and pail-trace(5) knows what is in a trace."""
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
        cls.commands = dict(re.findall(r"^  ([a-z]+) {2,}(\S.*)$", cls.help, re.M))
        cls.sections = sections(page("pail.1"), "SH")

    def test_the_first_page_lists_the_commands_as_help_does(self):
        self.assertGreater(len(self.commands), 5, self.help)
        listed = re.findall(r"^\.BR pail\\-([a-z]+) \(1\)\n(.*)\.$", self.sections["COMMANDS"], re.M)
        self.assertEqual([(name, text.lower()) for name, text in listed],
                         [(name, text.lower()) for name, text in self.commands.items()])

    def test_each_command_has_a_page_with_exactly_the_options_of_its_help(self):
        pages = [m.group(1) for m in (re.fullmatch(r"pail-([a-z]+)\.1", n) for n in os.listdir(MANUAL)) if m]
        self.assertEqual(sorted(pages), sorted(self.commands))
        for command in sorted(self.commands):
            with self.subTest(command=command):
                done = run(PAIL, command, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                found = options_of_page(sections(page(f"pail-{command}.1"), "SH")["OPTIONS"])
                self.assertEqual(sorted(found - COMMON), sorted(options_of_help(done.stdout) - COMMON))

    def test_the_common_options_are_on_the_page(self):
        self.assertLessEqual({"--help", "--version"}, options_of_page(self.sections["OPTIONS"]))


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
                    elif heading == "[tls]":
                        needed = {"listen": "127.0.0.1:0", "cert": "c.pem", "key": "k.pem"}
                        file.writelines(f"{name} = {word}\n" for name, word in needed.items() if name != key)
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
