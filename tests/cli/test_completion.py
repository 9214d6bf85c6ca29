#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the shells complete, against what --help says."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

BUILD = os.environ["PAIL_BUILD"]
SOURCE = os.environ["PAIL_SOURCE"]
PAIL = os.path.join(BUILD, "bin", "pail")
OPTION = re.compile(r"^ +(?:(-[\w?]), )?(--[\w-]+)(?:\[?=(\S+))?", re.M)


def help_of(*words):
    return subprocess.run([PAIL, *words, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout


COMMANDS = re.findall(r"^  ([a-z][a-z-]*) +[a-z]", help_of(), re.M)


class Bash(unittest.TestCase):
    """All questions go to one shell: starting one each would take long."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for name in ("a.db", "pail.conf"):
            open(os.path.join(self.folder.name, name), "w", encoding="utf-8").close()

    def complete(self, *lines):
        """What Tab gives at the end of each line of words."""
        script = [f". {SOURCE}/completion/pail.bash", "ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _pail; "
                  "printf '%s\\n' \"${COMPREPLY[@]}\"; echo --end--; }"]
        for words in lines:
            script.append("ask " + " ".join("'" + w.replace("'", "'\\''") + "'" for w in [PAIL, *words]))
        done = subprocess.run(["bash", "--norc", "-c", "\n".join(script)], capture_output=True, text=True, check=False,
                              timeout=120, cwd=self.folder.name)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [[w for w in part.splitlines() if w] for part in done.stdout.split("--end--\n")[:-1]]

    def test_commands_are_those_of_help(self):
        self.assertGreater(len(COMMANDS), 14)
        all_words, some, helped = self.complete([""], ["re"], ["help", "ve"])
        self.assertEqual(set(all_words), {*COMMANDS, "help", "--help", "--version"})
        self.assertEqual(set(some), {name for name in COMMANDS if name.startswith("re")})
        self.assertEqual(helped, ["verify"])

    def test_every_option_of_every_command_is_offered(self):
        for command, offered in zip(COMMANDS, self.complete(*([c, "--"] for c in COMMANDS))):
            with self.subTest(command=command):
                options = {name for _, name, _ in OPTION.findall(help_of(command))}
                self.assertEqual({word.rstrip("=") for word in offered}, options)
                self.assertIn("--help", options)

    def test_choices_of_an_option_are_offered_and_files_for_what_is_one(self):
        given = self.complete(["record", "--detail", "=", "s"], ["record", "--detail", "="], ["simulate", "--policy", "=", ""],
                              ["plan", "-o", "pail"], ["plan", "--html", "=", "a"], ["plan", "a"],
                              ["plan", "--target", "=", ""])
        self.assertEqual(set(given[0]), {"summary", "stacks"})
        self.assertEqual(set(given[1]), {"summary", "events", "stacks"})
        self.assertEqual(set(given[2]), {"bump", "reuse"})
        self.assertEqual(given[3:], [["pail.conf"], ["a.db"], ["a.db"], []])

    def test_behind_two_dashes_comes_a_program(self):
        given, = self.complete(["record", "-o", "x.db", "--", "bas"])
        self.assertIn("bash", given)


class Zsh(unittest.TestCase):
    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_specs_are_the_options_of_help(self):
        subprocess.run(["zsh", "-n", f"{SOURCE}/completion/_pail"], check=True, timeout=60)
        script = (f"compdef() {{ }}; _describe() {{ }}; _arguments() {{ }}; words=({PAIL}); CURRENT=2; . {SOURCE}/completion/_pail; "
                  + "; ".join(f"echo @@ {c}; _pail_specs {PAIL} {c}" for c in COMMANDS))
        told = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
        for part in told.split("@@ ")[1:]:
            command, *specs = part.splitlines()
            with self.subTest(command=command):
                options = OPTION.findall(help_of(command))
                self.assertEqual({re.match(r"--[\w-]+", spec).group() for spec in specs if spec.startswith("--")},
                                 {name for _, name, _ in options})
                self.assertEqual({spec[:2] for spec in specs if re.match(r"-\w", spec)}, {short for short, _, _ in options if short not in ("", "-?")})
                for spec in specs:
                    self.assertRegex(spec, r"^--?[\w-]+[=+]?\[[^][]*\](:[^:]+:.+)?$")

    def test_both_are_where_the_shells_look(self):
        with open(f"{SOURCE}/completion/_pail", encoding="utf-8") as file:
            self.assertEqual(file.readline(), "#compdef pail\n")


if __name__ == "__main__":
    unittest.main()
