#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The admin address's page: whole in itself, allowed to do no more than it
does, and in Chromium, where that is installed, it shows what happens."""
import base64
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
import unittest

from ops import SOURCE, Ops, chromium_dom

CONF = '[server]\nqueue = 2\nwait = 50ms\n[bucket small]\nsize = 64K\ncount = 2\n[route /<b>]\nbucket = small\n'


class Page(unittest.TestCase):
    def setUp(self):
        with open(f"{SOURCE}/server/operation/page.html", encoding="utf-8") as file:
            self.html = file.read()

    def test_its_policy_names_the_script_and_the_style_that_it_has(self):
        with open(f"{SOURCE}/server/operation/page.h", encoding="utf-8") as file:
            header = file.read()
        for name in ("script", "style"):
            inner = re.search(rf"<{name}>(.*?)</{name}>", self.html, re.S).group(1)
            value = "sha256-" + base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            self.assertIn(f'"{value}"', header, f"server/operation/page.h: PAGE_{name.upper()}_HASH is {value}")

    def test_it_asks_nobody_else(self):
        with Ops("talk", CONF) as server:
            answer = server.admin("/")
        self.assertEqual(answer.body.decode(), self.html)
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        self.assertNotIn("unsafe", answer.headers["content-security-policy"])
        other = [url for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w./]*", self.html) if "www.w3.org/2000/svg" not in url]
        self.assertEqual(other, [])
        self.assertEqual(re.findall(r"(?:src|href)=\"(?!/stats|/metrics|data:,)[^\"]*", self.html), [])

    @unittest.skipUnless(shutil.which("chromium"), "no Chromium here")
    def test_in_chromium_it_shows_the_numbers_as_they_change(self):
        with Ops("talk", CONF) as server:
            for _ in range(3):
                self.assertEqual(server.get("/x").status, 200)
            with chromium_dom(server.admin_port) as page:
                page.wait("document.getElementById('state').textContent === 'ready'")
                self.assertEqual(page.value("document.querySelectorAll('#classes .card').length"), 1)
                requests = "[...document.querySelectorAll('#routes tr')].map(r => r.cells[0].textContent + ' ' + r.cells[2].textContent).join()"
                page.wait(f"{requests}.includes('(other) 3')")
                server.get("/stream?bytes=10&piece=1000000")
                page.wait("document.getElementById('causes').textContent.includes('oversize') || "
                          "document.getElementById('routes').textContent.includes('(other)small4')")
                self.assertEqual(page.value("document.querySelectorAll('b b, h3 b').length"), 0)  # a name is no markup
                self.assertLessEqual(page.value("document.documentElement.scrollWidth"), page.value("window.innerWidth"))
                self.assertEqual(page.problems(), [])
                self.assertEqual(page.requested() - {"/", "/stats"}, set())
            # The server ends; the page says so.


if __name__ == "__main__":
    unittest.main(verbosity=2)
