#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules of the house that the compiler alone does not keep."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ["PAIL_SOURCE"]
BUILD = os.environ["PAIL_BUILD"]
CC = os.environ.get("CC", "cc")

# Parts of a file that is included several times, under different macros.
TEMPLATES = {"simulator/slots_kernel.h"}


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def committed(*suffixes):
    """Files of HEAD that are still there; all files where there is no git."""
    listed = run("git", "-C", SOURCE, "ls-tree", "-r", "-z", "--name-only", "HEAD")
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
    else:
        names = [
            os.path.relpath(os.path.join(folder, name), SOURCE)
            for folder, folders, files in os.walk(SOURCE)
            if "/build" not in folder
            for name in files
        ]
    return sorted(n for n in names if n.endswith(suffixes) and os.path.isfile(os.path.join(SOURCE, n)))


def compile_text(text, *flags, language="c"):
    return run(
        CC, "-x", language, "-D_GNU_SOURCE", f"-I{SOURCE}", f"-I{SOURCE}/include", "-fsyntax-only", *flags, "-",
        input=text,
    )


class Banned(unittest.TestCase):
    """base/banned.h breaks the build of what it names, and is everywhere."""

    HEADER = f"{SOURCE}/base/banned.h"

    def names(self):
        with open(self.HEADER, encoding="utf-8") as file:
            return " ".join(re.findall(r"^#pragma GCC poison (.*)$", file.read(), re.M)).split()

    def test_a_file_that_uses_none_of_them_compiles(self):
        done = compile_text("int main(void) { return 0; }\n", "-include", self.HEADER)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_each_banned_name_breaks_the_build(self):
        names = self.names()
        self.assertIn("strcpy", names)
        for name in names:
            with self.subTest(name=name):
                done = compile_text(f"void *p(void) {{ return (void *){name}; }}\n", "-include", self.HEADER)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(f'poisoned "{name}"', done.stderr)

    def test_every_file_of_ours_is_compiled_behind_it(self):
        with open(f"{BUILD}/compile_commands.json", encoding="utf-8") as file:
            commands = json.load(file)
        seen = 0
        for entry in commands:
            path = os.path.relpath(entry["file"], SOURCE)
            if not path.endswith(".c") or not path.startswith(("base/", "libtrace/", "simulator/", "server/", "cli/")):
                continue
            if path.startswith("libtrace/shim/") or "guest_js_EXPORTS" in entry["command"]:
                continue  # in someone else's process; behind Duktape's header, which names them
            seen += 1
            self.assertIn("base/banned.h", entry["command"], path)
        self.assertGreater(seen, 0)

    def test_the_shim_calls_none_of_them_but_to_copy_strings(self):
        """It measures first, and snprintf() may allocate, which it must not."""
        names = set(self.names()) - {"strcpy", "strcat"}
        call = re.compile(r"\b(" + "|".join(sorted(names)) + r")\s*\(")
        for path in committed(".c"):
            if path.startswith("libtrace/shim/"):
                with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
                    text = re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\])*\"", " ", file.read(), flags=re.S)
                self.assertIsNone(call.search(text), path)


class Headers(unittest.TestCase):
    def test_each_header_compiles_alone(self):
        headers = [h for h in committed(".h") if h not in TEMPLATES and not h.startswith(("tests/", "demo/"))]
        self.assertGreater(len(headers), 10)
        for header in headers:
            with self.subTest(header=header):
                name = header.removeprefix("include/")
                done = compile_text(f'#include "{name}"\n', "-std=gnu11", "-Wall", "-Wextra", "-Werror")
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_public_headers_are_plain_c_and_cplusplus(self):
        for header in committed(".h"):
            if not header.startswith("include/pail/"):
                continue
            name = header.removeprefix("include/")
            done = compile_text(f"#include <{name}>\n", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror")
            self.assertEqual(done.returncode, 0, done.stderr)
            if run(CC, "-x", "c++", "-fsyntax-only", "-", input="").returncode == 0:
                done = compile_text(f"#include <{name}>\n", "-Wall", "-Wextra", "-Werror", language="c++")
                self.assertEqual(done.returncode, 0, done.stderr)


class Scripts(unittest.TestCase):
    def test_each_shell_script_parses(self):
        scripts = 0
        for path in committed(""):
            full = os.path.join(SOURCE, path)
            with open(full, "rb") as file:
                first = file.readline()
            if re.match(rb"#!.*\b(ba)?sh\b", first):
                scripts += 1
                with self.subTest(script=path):
                    done = run("bash", "-n", full)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertTrue(os.access(full, os.X_OK), "not executable")
        self.assertGreater(scripts, 3)

    def test_bootstrap_refuses_a_set_that_it_does_not_know(self):
        done = run(f"{SOURCE}/scripts/bootstrap", "kitchen")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr, "bootstrap: unknown set 'kitchen': give any of build, demo, test, fuzz, lint, bench, "
                         "or nothing for the first three\n")

    def test_bootstrap_says_what_to_install_where_there_is_no_dpkg(self):
        with tempfile.TemporaryDirectory() as folder:
            for tool in ("bash", "env", "dirname", "awk", "sort", "printf", "id", "cat"):
                os.symlink(run("which", tool).stdout.strip(), f"{folder}/{tool}")
            done = run(f"{SOURCE}/scripts/bootstrap", "build", env={"PATH": folder})
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("cmake", done.stderr)
        self.assertIn("Fedora: dnf install gcc", done.stderr)
        self.assertIn("Alpine: not supported", done.stderr)


class Sql(unittest.TestCase):
    """What comes from outside gets into a statement as a bound parameter, and in no other way."""

    def files(self):
        for path in committed(".c"):
            if path.startswith(("base/", "libtrace/", "simulator/", "server/", "cli/")):
                with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
                    yield path, re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)

    def test_sqlite_formats_names_of_schemas_and_nothing_else(self):
        seen = 0
        for path, text in self.files():
            for call in re.finditer(r"sqlite3_(?:v?mprintf|v?snprintf|str_v?appendf)\s*\(([^;]*);", text):
                seen += 1
                # the virtual table's module is given its database's name; "%w" quotes it
                self.assertEqual(path, "libtrace/store/store_events.c", call.group(0))
                self.assertNotRegex(call.group(1), r"%[Qqdilu]")
        self.assertGreater(seen, 0)

    def test_no_statement_is_put_together_of_values(self):
        for path, text in self.files():
            for call in re.finditer(r"\b(?:buf_printf|snprintf|dprintf|asprintf)\s*\(([^;]*);", text):
                literal = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', call.group(1)))
                if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|ATTACH|PRAGMA)\b.*%", literal):
                    # names of tables cannot be bound: pail merge's own, and quoted ones without a quote
                    self.assertEqual(path, "libtrace/store/store_merge.c", call.group(0))
                    self.assertRegex(call.group(1), r", table\)$|" r'FROM \\"%s\\"\)",\s*name\)$')

    def test_what_is_executed_without_parameters_is_a_constant(self):
        for path, text in self.files():
            for call in re.finditer(r"\bsqlite3_exec\s*\(\s*([^,]*),\s*([^,]*),", text):
                constant = call.group(2).startswith('"')
                self.assertTrue(constant or (path, call.group(2)) == ("libtrace/store/store.c", "sql"), call.group(0))


class Exports(unittest.TestCase):
    """A name that the server or the shim exports wins over a library's own in
    the same process, so they export what they intercept, and pail_*."""

    LINKER = {
        "_init", "_fini", "_start", "main", "_edata", "_end", "__bss_start", "edata", "end", "etext",
        "_IO_stdin_used", "__data_start", "data_start", "__dso_handle", "environ", "__environ", "_environ",
    }

    def exported(self, path):
        done = run("nm", "-D", "--defined-only", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines() if line.split()}

    def libc(self):
        names = set()
        maps = run("ldd", sys.executable).stdout + run("ldd", "/bin/sh").stdout
        for path in sorted(set(re.findall(r"(/[^\s()]+/(?:libc|ld-linux[^/\s]*|libm|libdl|libpthread)\.so\S*)", maps))):
            names |= self.exported(path)
        self.assertIn("malloc", names)
        return names

    # Of libraries that it stands in front of and is not linked with.
    TLS = {"SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_free",
           "gnutls_record_recv", "gnutls_record_send", "gnutls_deinit"}
    POOLS = {"apr_palloc", "apr_pcalloc", "apr_pvsprintf", "apr_psprintf", "apr_pool_create_ex",
             "apr_pool_create_unmanaged_ex", "apr_pool_clear", "apr_pool_destroy"}

    def check(self, path, more=frozenset()):
        if not os.path.exists(path):
            self.skipTest(f"{path} is not built")
        extra = self.exported(path) - self.libc() - self.LINKER - more
        extra = {n for n in extra if not n.startswith(("pail_", "__asan", "__ubsan", "__tsan", "__sanitizer", "__interceptor"))}
        # names that libc gave up, and the shim still has to intercept
        extra -= {"cfree"}
        self.assertEqual(sorted(extra), [])

    def test_the_server_exports_only_its_api_and_what_it_intercepts(self):
        if os.environ.get("PAIL_SANITIZE"):
            self.skipTest("a sanitizer's runtime exports its own")
        self.check(f"{BUILD}/libexec/pail/pail-server")

    def test_the_shim_exports_only_its_api_and_what_it_intercepts(self):
        self.check(f"{BUILD}/lib/pail/libpailtrace.so", self.TLS | self.POOLS)


class Hardening(unittest.TestCase):
    PIECES = ("bin/pail", "libexec/pail/pail-server", "lib/pail/libpailtrace.so")

    def test_what_is_installed_is_hardened(self):
        for piece in self.PIECES:
            path = f"{BUILD}/{piece}"
            if not os.path.exists(path):
                continue
            with self.subTest(piece=piece):
                done = run("readelf", "--wide", "--file-header", "--program-headers", "--dynamic", path)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(done.stdout, r"Type: +DYN ", "position independent")
                self.assertRegex(done.stdout, r"\n +GNU_RELRO ", "relocations are read-only")
                self.assertRegex(done.stdout, r"FLAGS.*(BIND_NOW|NOW)", "bound at start")
                self.assertRegex(done.stdout, r"\n +GNU_STACK .* RW +0x", "the stack is not executable")

    def test_asserts_are_on(self):
        """But in the shim: there, in the tests' own build of it only. Tests in
        other languages bring CMake's flags."""
        with open(f"{BUILD}/compile_commands.json", encoding="utf-8") as file:
            without = {os.path.relpath(e["file"], SOURCE) for e in json.load(file) if "-DNDEBUG" in e["command"]}
        self.assertEqual(sorted(p for p in without if not p.startswith(("libtrace/shim/", "tests/"))), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
