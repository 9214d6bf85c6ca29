#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""arrows.py finds what it is there to find: each case plants one violation."""
import os
import sys
import tempfile
import unittest

import arrows


class Planted(unittest.TestCase):
    def setUp(self):
        self.tree = tempfile.TemporaryDirectory()
        self.addCleanup(self.tree.cleanup)
        self.plant("base/str.c", '#include "base/str.h"\n#include <string.h>\n#include <sys/stat.h>\n')

    def plant(self, path, text):
        path = os.path.join(self.tree.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def includes(self):
        return arrows.check_includes(self.tree.name)

    def links(self, text):
        self.plant("links", text)
        return arrows.check_links(os.path.join(self.tree.name, "links"))

    def test_what_the_design_allows_passes(self):
        self.plant("simulator/grid.c", '#include "libtrace/trace.h"\n#include <gsl/gsl_cdf.h>\n')
        self.plant("libtrace/store/store.c", "#include <sqlite3.h>\n")
        self.plant("base/conf.c", "#include <ini.h>\n")
        self.plant("libtrace/shim/mark.c", '#include <pail/mark.h>\n#include "libtrace/shim/event.h"\n')
        self.assertEqual(self.includes(), [])

    def test_an_empty_tree_does_not_pass(self):
        with tempfile.TemporaryDirectory() as empty:
            self.assertNotEqual(arrows.check_includes(empty), [])

    def test_each_forbidden_include_is_found_with_its_line(self):
        for path, line, word in (
            ("base/arena.c", '#include "libtrace/trace.h"', "libtrace/trace.h"),
            ("base/arena.c", "#include <sqlite3.h>", "sqlite3.h"),
            ("base/str.h", "#  include <ini.h>", "ini.h"),
            ("libtrace/collect.c", "#include <sqlite3.h>", "sqlite3.h"),
            ("libtrace/shim/heap.c", '#include "base/arena.h"', "base/arena.h"),
            ("libtrace/shim/heap.c", '#include "libtrace/trace.h"', "libtrace/trace.h"),
            ("simulator/replay.c", '#include "server/server.h"', "server/server.h"),
            ("simulator/replay.c", '#include "libtrace/collect.h"', "libtrace/collect.h"),
            ("server/connection/loop.c", '#include "libtrace/trace.h"', "libtrace/trace.h"),
            ("server/connection/loop.c", '#include "simulator/sim.h"', "simulator/sim.h"),
            ("cli/cmd_plan.c", '#include "simulator/grid.h"', "simulator/grid.h"),
            ("cli/cmd_plan.c", '#include "server/connection/loop.h"', "server/connection/loop.h"),
            ("include/pail/handler.h", '#include "base/str.h"', "base/str.h"),
            ("server/connection/loop.c", '#include "../simulator/sim.h"', "../simulator/sim.h"),
            ("server/connection/loop.c", '#include "loop.h"', "loop.h"),
            ("server/connection/loop.c", "#include <brand_new_library.h>", "brand_new_library.h"),
        ):
            with self.subTest(path=path, line=line):
                self.setUp()
                self.plant(path, f'/* two\n   lines */\n\n{line}\n')
                found = self.includes()
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{path}:4: "), found)
                self.assertIn(word, found[0])

    def test_an_include_in_a_comment_is_none(self):
        self.plant("server/connection/loop.c", '/*\n#include "libtrace/trace.h"\n*/\n//#include "simulator/sim.h"\n')
        self.assertEqual(self.includes(), [])

    def test_links_that_the_design_allows_pass(self):
        self.assertEqual(
            self.links("=base\tbase\n=trace\tlibtrace\nlibtrace\ttrace\tbase;$<LINK_ONLY:PkgConfig::SQLITE>\n"), []
        )

    def test_a_forbidden_link_is_found(self):
        known = "=base\tbase\n=trace\tlibtrace\n=sim\tsimulator\n"
        for part, target, libraries in (
            ("base", "base", "PkgConfig::SQLITE"),
            ("base", "base", "trace"),
            ("server", "server", "base;trace"),
            ("server", "server", "base;$<LINK_ONLY:sim>"),
            ("simulator", "sim", "base;PkgConfig::SQLITE"),
            ("libtrace/shim", "pailtrace", "base"),
        ):
            with self.subTest(part=part, libraries=libraries):
                found = self.links(f"{known}{part}\t{target}\t{libraries}\n")
                self.assertEqual(len(found), 1, found)
                self.assertIn(f"target {target}:", found[0])

    def test_no_target_at_all_does_not_pass(self):
        self.assertNotEqual(self.links(""), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
