#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cmake --install gives a tree that works from wherever it stands."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ["PAIL_SOURCE"]
BUILD = os.environ["PAIL_BUILD"]
CC = os.environ.get("CC", "cc")
CMAKE = os.environ.get("CMAKE", "cmake")

HANDLER = """
#include <pail/handler.h>
#include <pail/mark.h>
int pail_handle(struct pail_request *r)
{
	PAIL_MARK_BEGIN(1, -1, "GET /");
	PAIL_MARK_END(1);
	return pail_write(r, "hello\\n", 6) ? 500 : 200;
}
"""


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.prefix = os.path.join(cls.folder.name, "prefix")
        done = run(CMAKE, "--install", BUILD, "--prefix", cls.prefix)
        assert done.returncode == 0, done.stdout + done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, *parts):
        return os.path.join(self.prefix, *parts)

    def test_all_pieces_are_where_the_commands_look(self):
        for piece in (
            "bin/pail",
            "libexec/pail/pail-server",
            "lib/pail/libpailtrace.so",
            "include/pail/handler.h",
            "include/pail/mark.h",
            "share/pkgconfig/pail.pc",
            "share/man/man1/pail.1",
            "share/man/man5/pail.conf.5",
            "share/man/man5/pail-trace.5",
            "share/doc/pail/LICENSE",
        ):
            with self.subTest(piece=piece):
                self.assertTrue(os.path.exists(self.path(piece)))

    def test_the_installed_command_says_its_version(self):
        done = run(self.path("bin/pail"), "--version")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^pail \d+\.\d+\.\d+")

    def test_the_installed_command_finds_its_recorder(self):
        done = run(self.path("bin/pail"), "record", "-o", "t.db", "--", "true", cwd=self.folder.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.folder.name, "t.db")))

    def test_a_path_that_ld_preload_cannot_name_is_said(self):
        """It separates libraries by spaces and colons, and has no way to quote."""
        copied = os.path.join(self.folder.name, "another prefix")
        shutil.copytree(self.prefix, copied)
        done = run(os.path.join(copied, "bin/pail"), "record", "-o", "none.db", "--", "true", cwd=self.folder.name)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertRegex(done.stderr, r"\Apail record: .*another prefix.*LD_PRELOAD.*\n\Z")
        self.assertFalse(os.path.exists(os.path.join(self.folder.name, "none.db")))

    def test_the_installed_command_finds_its_server(self):
        done = run(self.path("bin/pail"), "serve", "--print-bound", "--app", "builtin:send-static-file",
                   cwd=self.folder.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("bound", done.stdout)

    def test_a_handler_builds_with_pkg_config_alone(self):
        source = os.path.join(self.folder.name, "handler.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(HANDLER)
        environment = dict(os.environ, PKG_CONFIG_PATH=self.path("share/pkgconfig"))
        flags = run("pkg-config", "--cflags", "pail", env=environment)
        self.assertEqual(flags.returncode, 0, flags.stderr)
        self.assertIn("-fstack-clash-protection", flags.stdout)
        library = os.path.join(self.folder.name, "handler.so")
        command = f'"{CC}" -shared -fPIC -Wall -Wextra -Werror {flags.stdout.strip()} -o handler.so handler.c'
        done = run("sh", "-c", command, cwd=self.folder.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run(self.path("bin/pail"), "serve", "--print-bound", "--app", library, cwd=self.folder.name)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_example_builds_and_answers_from_the_installation_alone(self):
        folder = shutil.copytree(self.path("share/doc/pail/examples/handler"), os.path.join(self.folder.name, "example"))
        environment = dict(os.environ, PKG_CONFIG_PATH=self.path("share/pkgconfig"))
        done = run("make", f"CC={CC} -Werror", cwd=folder, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run(self.path("bin/pail"), "serve", "--check", "--app", "./handler.so", cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)

    @unittest.skipIf(os.environ.get("PAIL_SANITIZE"), "nobody packages a build with sanitizers")
    @unittest.skipUnless(shutil.which("dpkg-shlibdeps") and shutil.which("file"), "needs dpkg-dev and file")
    def test_the_debian_package_names_what_it_needs(self):
        done = run("cpack", "-G", "DEB", "--config", os.path.join(BUILD, "CPackConfig.cmake"),
                   "-B", self.folder.name, cwd=self.folder.name)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        package, = (name for name in os.listdir(self.folder.name) if name.endswith(".deb"))
        fields = run("dpkg-deb", "--field", package, cwd=self.folder.name).stdout
        for library in ("libc6", "libsqlite3-0", "libzstd1", "libgsl27", "libdw1"):
            self.assertRegex(fields, rf"Depends:.*\b{library}\b")
        listed = run("dpkg-deb", "--contents", package, cwd=self.folder.name).stdout
        for path in ("./usr/bin/pail", "./usr/libexec/pail/pail-server", "./usr/share/man/man1/pail.1"):
            self.assertRegex(listed, rf" {path}(\.gz)?\n")


if __name__ == "__main__":
    sys.exit(unittest.main())
