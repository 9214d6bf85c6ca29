#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests: an error in a script costs one request and is in the log with its
line, every request sees fresh state, and a script is read again on SIGHUP
without a request's failing."""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "core"))
from harness import BUILD, SANITIZED, SERVER, Server  # noqa: E402

CONF = """
[server]
threads = {threads}
cpu_deadline = 500ms
system = 16M
[bucket main]
size = 512K
count = 4
"""
LUA = """
local visits = 0
function handle(req)
  visits = visits + 1
  local what = req.path
  if what == "/error" then
    local nothing
    return nothing.field
  elseif what == "/late" then
    req:status(201)
    req:write(("x"):rep(100000))
    error("too late")
  elseif what == "/status" then return 99
  elseif what == "/header" then return 200, "", {["bad name"] = "x"}
  elseif what == "/body" then return 200, req.body:upper(), {["X-List"] = {"a", "b"}}
  elseif what == "/read" then
    local pieces = {}
    for piece in function() return req:read(3) end do pieces[#pieces + 1] = piece .. "|" end
    return 200, pieces
  elseif what == "/stream" then
    local i = 0
    return 200, function() i = i + 1 if i <= 3 then return "piece " .. i .. ";" end end
  elseif what == "/hungry" then
    local t = {}
    for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end
  elseif what == "/deep" then
    local function f() return string.gsub("a", "a", f) end
    return 200, f()
  elseif what == "/loop" then while true do end
  end
  return 200, {"version 1, visit ", visits, " ", req.method, " ", req.query, " ", req.headers["x-word"] or "-",
    " ", req:header("X-Word") or "-"}
end
"""
JS = """
var visits = 0;
function handle(req) {
  visits++;
  var what = req.path;
  if (what === "/error") {
    var nothing;
    return nothing.field;
  }
  if (what === "/late") { req.write(new Array(100001).join("x")); throw new Error("too late"); }
  if (what === "/status") return {status: 99};
  if (what === "/header") return {status: 200, headers: {"bad name": "x"}};
  if (what === "/body") return {status: 200, body: req.body.toUpperCase(), headers: {"X-List": ["a", "b"]}};
  if (what === "/bytes") return {status: 200, body: req.bytes};
  if (what === "/smile") return {status: 200, body: "\\ud83d\\ude00 gr\\u00fcn"};
  if (what === "/hungry") { var a = []; for (;;) a.push(new Array(1000).join("x") + a.length); }
  if (what === "/deep") { var f = function () { return [1].map(f); }; f(); }
  if (what === "/loop") for (;;);
  return {status: 200, body: "version 1, visit " + visits + " " + req.method + " " + req.query + " " +
    (req.headers["x-word"] || "-") + " " + (req.header("X-Word") || "-")};
}
"""
PIECES = {"lua": (LUA, "app.lua:8: attempt to index a nil value"), "js": (JS, "app.js:8: TypeError")}


def missing(kind):
    return not os.path.exists(f"{BUILD}/lib/pail/guest-{kind}.so")


class Script:
    """One kind of guest; the classes below run it for each."""

    kind = ""

    def setUp(self):
        if missing(self.kind):
            self.skipTest(f"guest-{self.kind}.so was not built: its library is not here")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = f"{self.folder.name}/app.{self.kind}"
        self.text, self.first_error = PIECES[self.kind]
        self.write(self.text)

    def write(self, text):
        with open(f"{self.path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(f"{self.path}.new", self.path)

    def hang_up(self, server, expected):
        """SIGHUP, until stderr has that many lines about the script."""
        os.kill(server.pid if "--no-supervisor" in server.command else server.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 20
        while sum(line.startswith(f"pail serve: '{self.path}'") for line in server.errors().splitlines()) < expected:
            self.assertLess(time.monotonic(), deadline, server.errors())
            time.sleep(0.01)

    def test_a_request_and_its_answer(self):
        with Server(self.path, CONF.format(threads=2)) as server, server.client() as client:
            answer = client.ask("GET", "/x?a=b", headers=[("X-Word", "yes")])
            self.assertEqual((answer.status, answer.body), (200, b"version 1, visit 1 GET a=b yes yes"))
            client.send(client.request("POST", "/body", body="hello wörld".encode()))
            head = client.until(b"\r\n\r\n")
            self.assertIn(b"\r\nX-List: a\r\nX-List: b", head)
            self.assertIn(client.exactly(len("hello wörld".encode())).decode(), ("HELLO WöRLD", "HELLO WÖRLD"))
            if self.kind == "js":
                self.assertEqual(client.ask("POST", "/bytes", body=bytes(range(256))).body, bytes(range(256)))
                self.assertEqual(client.ask("GET", "/smile").body, "😀 grün".encode())
            else:
                self.assertEqual(client.ask("POST", "/read", body=b"abcdefgh").body, b"abc|def|gh|")
                self.assertEqual(client.ask("GET", "/stream").body, b"piece 1;piece 2;piece 3;")

    def test_an_error_is_a_500_with_its_line_in_the_log(self):
        with Server(self.path, CONF.format(threads=1)) as server:
            for count, (target, cause, detail) in enumerate((
                ("/error", "handler-error", self.first_error),
                ("/status", "handler-error", "handle() gave 99 for a status, which is 200 to 599"),
                ("/header", "handler-error", "the header 'bad name' can't be sent"),
            ), 1):
                self.assertEqual(server.get(target).status, 500)
                line = server.wait_lines(count)[-1]
                self.assertEqual(line["cause"], cause)
                self.assertIn(detail, line["detail"])

    def test_an_error_behind_the_head_closes_the_connection(self):
        with Server(self.path, CONF.format(threads=2)) as server:
            with self.assertRaises(Exception):
                server.get("/late")
            self.assertEqual(server.get("/").status, 200)

    @unittest.skipIf(SANITIZED, "the sanitizer owns malloc")
    def test_no_request_sees_what_another_left_nor_what_befell_it(self):
        with Server(self.path, CONF.format(threads=1)) as server:
            for target, status in (("/hungry", 500), ("/deep", 500), ("/loop", 504), ("/error", 500)):
                self.assertEqual(server.get(target).status, status, target)
                for _ in range(5):
                    self.assertIn(b"visit 1 ", server.get("/").body)
            needs = {line["need_bytes"] for line in server.wait_lines(24) if line["path"] == "/"}
            self.assertEqual(len(needs), 1, needs)
            causes = [line.get("cause") for line in server.lines() if line["path"] != "/"]
            self.assertEqual(causes, ["oversize", "stack-overflow", "deadline-cpu", "handler-error"])

    def test_a_script_is_read_again_on_sighup_and_no_request_fails(self):
        with Server(self.path, CONF.format(threads=2)) as server:
            over, wrong, seen = threading.Event(), [], [set() for _ in range(3)]

            def visit(index):
                try:
                    with server.client() as client:  # one connection all the time
                        while not over.is_set():
                            answer = client.ask("GET", "/")
                            if answer.status != 200:
                                wrong.append(answer)
                            seen[index].add(answer.body.split(b",")[0])
                except Exception as error:  # noqa: BLE001: whatever it is, it is wrong
                    wrong.append(error)

            visitors = [threading.Thread(target=visit, args=(index,)) for index in range(3)]
            for visitor in visitors:
                visitor.start()
            for version in range(2, 12):
                self.write(self.text.replace("version 1", f"version {version}"))
                self.hang_up(server, version - 1)
                deadline = time.monotonic() + 20
                word = b"version %d" % version
                while not all(word in one for one in seen) and not wrong:
                    self.assertLess(time.monotonic(), deadline, (word, seen))
                    time.sleep(0.005)
                self.assertTrue(server.get("/").body.startswith(word + b", visit "))
            over.set()
            for visitor in visitors:
                visitor.join()
            self.assertEqual(wrong, [])

    def test_a_script_that_does_not_start_changes_nothing(self):
        with Server(self.path, CONF.format(threads=2)) as server:
            for count, (text, why) in enumerate((
                ("this is no script (", f"app.{self.kind}:1: "),
                ("", "it defines no function handle(req)"),
                (None, "No such file or directory"),
            ), 1):
                if text is None:
                    os.unlink(self.path)
                else:
                    self.write(text)
                self.hang_up(server, count)
                self.assertIn(why, server.errors().splitlines()[-1])
                self.assertIn("stays as it was", server.errors().splitlines()[-1])
                self.assertIn(b"version 1", server.get("/").body)

    @unittest.skipIf(SANITIZED, "the sanitizer owns malloc")
    def test_reading_again_leaves_nothing_in_the_system_region(self):
        with Server(self.path, CONF.format(threads=2), options=["--no-supervisor"]) as server:
            for count in range(1, 41):
                self.write(self.text + " " * (count % 7) * 10000)
                self.hang_up(server, count)
                for _ in range(8):
                    self.assertEqual(server.get("/").status, 200)
            self.assertNotIn("stays as it was", server.errors())
            server.stop()
            self.assertEqual(server.lines()[-1]["system_refusals"], 0)
            self.assertLess(server.lines()[-1]["system_bytes_peak"], 8 << 20)

    def test_a_script_that_cannot_start_is_an_error_at_the_start(self):
        for text, why in (("x = = 1", f"app.{self.kind}:1: "), ("x = 1", "it defines no function handle(req)")):
            self.write(text)
            done = subprocess.run([SERVER, "--app", self.path, "--listen", "127.0.0.1:0"],
                                  capture_output=True, text=True, check=False, timeout=30)
            self.assertEqual(done.returncode, 3)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(why, done.stderr)


class Lua(Script, unittest.TestCase):
    kind = "lua"

    def test_a_script_that_never_ends_its_start_is_refused(self):
        self.write("while true do end")
        done = subprocess.run([SERVER, "--app", self.path, "--listen", "127.0.0.1:0"],
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 3)
        self.assertIn("more than 2 s before the first request", done.stderr)

    def test_modules_beside_the_script_are_found(self):
        with open(f"{self.folder.name}/words.lua", "w", encoding="ascii") as file:
            file.write("return {greeting = 'good day'}")
        self.write("local words = require 'words'\nfunction handle(req) return 200, words.greeting end")
        with Server(self.path, CONF.format(threads=2)) as server:
            self.assertEqual(server.get("/").body, b"good day")


class JavaScript(Script, unittest.TestCase):
    kind = "js"


class Roc(unittest.TestCase):
    def test_a_compiled_application_answers_panics_and_outgrows_its_bucket(self):
        with Server(f"{BUILD}/tests/server/guests/roc_app.so", CONF.format(threads=1)) as server:
            with server.client() as client:
                answer = client.ask("POST", "/a/path/longer/than/23/bytes?q", headers=[("X-A", "b")], body=b"the body")
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer.headers["content-type"], "text/x-roc")
                lines = answer.body.split(b"\n")
                self.assertEqual(lines[0], b"POST /a/path/longer/than/23/bytes?q")
                self.assertIn(b"X-A=b", lines)
                self.assertEqual(lines[-1], b"the body")
                self.assertEqual(client.ask("GET", "/teapot").status, 418)
            self.assertEqual(server.get("/panic").status, 500)
            if not SANITIZED:
                self.assertEqual(server.get("/hungry").status, 500)
            self.assertEqual(server.get("/").status, 200)
            panic = next(line for line in server.wait_lines(4) if line["path"] == "/panic")
            self.assertEqual(panic["cause"], "abort")
            self.assertEqual(panic["detail"], "Roc failed: this path was never meant to be asked for")


if __name__ == "__main__":
    unittest.main()
