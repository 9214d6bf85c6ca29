#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Starting, the bound, ending; and that nothing is mapped in between."""
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, SANITIZED, SERVER, Client, Closed, Server, plugin, wait_until

SMALL = "[bucket main]\nsize = 256K\ncount = 8\n"


def run(*words, conf=None):
    with tempfile.TemporaryDirectory() as folder:
        if conf is not None:
            with open(f"{folder}/pail.conf", "w", encoding="utf-8") as file:
                file.write(conf)
            words = ("-c", f"{folder}/pail.conf", *words)
        return subprocess.run([SERVER, *words], capture_output=True, text=True, timeout=30, check=False)


class Refusals(unittest.TestCase):
    def refused(self, code, *parts, words=(), conf=None):
        done = run(*words, conf=conf)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("pail serve: "), done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_no_app(self):
        self.refused(2, "--app")

    def test_an_unknown_option(self):
        self.refused(2, "'--nonsense'", words=["--nonsense"])

    def test_an_app_that_is_not_there(self):
        self.refused(3, "'/nowhere/lib.so'", "No such file", words=["--app", "/nowhere/lib.so"])

    def test_an_app_that_is_no_shared_object(self):
        self.refused(3, "can't load the plug-in", "invalid ELF header", words=["--app", __file__])

    def test_a_plugin_without_pail_handle(self):
        self.refused(3, "has no pail_handle()", words=["--app", plugin("nohandle")])

    def test_an_unknown_builtin_names_those_there_are(self):
        self.refused(2, "no built-in 'x'", "varying-allocations", words=["--app", "builtin:x"])

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            self.refused(3, address, "Address already in use", words=["--app", plugin("talk"), "--listen", address])

    def test_bad_numbers_in_the_plan(self):
        words = ["--app", plugin("talk"), "--listen", "127.0.0.1:0"]
        self.refused(3, "pail.conf", "colour", words=words, conf="[server]\ncolour = red\n")
        self.refused(3, "count", words=words, conf="[bucket main]\nsize = 64K\ncount = 0\n")
        self.refused(3, "[server] head", words=words, conf="[server]\nhead = 1K\n")

    def test_more_memory_than_there_is(self):
        if SANITIZED:
            self.skipTest("a sanitizer wants all address space")
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("[bucket main]\nsize = 1G\ncount = 4\n")
            file.flush()
            done = subprocess.run(
                ["sh", "-c", 'ulimit -v 500000; exec "$0" "$@"', SERVER, "-c", file.name, "--app", plugin("talk")],
                capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"can't map \d+ bytes of address space .*Cannot allocate memory")

    def test_an_image_beyond_its_allowance(self):
        if SANITIZED:
            self.skipTest("a sanitizer's image fits no plan")
        words = ["--app", plugin("talk"), "--listen", "127.0.0.1:0"]
        self.refused(3, "text, data and libraries take", "set [server] image = ", words=words, conf="[server]\nimage = 1M\n")
        done = run("--app", plugin("talk"), "--check", conf="[server]\nimage = 1M\n")
        self.assertEqual(done.returncode, 3)

    def test_check_is_silent_when_all_is_well(self):
        done = run("--app", plugin("talk"), "--check", conf=SMALL)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Bound(unittest.TestCase):
    def test_the_terms_add_up_and_the_region_is_within(self):
        conf = SMALL + "[server]\nconnections = 100\nthreads = 2\n"
        bound = json.loads(run("--print-bound", "--json", conf=conf).stdout)
        self.assertEqual(bound["schema"], "pail.bound/1")
        self.assertEqual(sum(term["bytes"] for term in bound["terms"]), bound["bound_bytes"])
        for term in bound["terms"]:
            self.assertEqual(sorted(term), ["bytes", "how", "name"])
        if SANITIZED:
            return
        with Server("talk", conf) as server:
            for _ in range(50):
                server.get("/stream?bytes=100000")
            terms = {term["name"]: term["bytes"] for term in bound["terms"]}
            self.assertLess(server.status("VmHWM") * 1024, bound["bound_bytes"] - terms["socket buffers"])

    def test_the_table_says_the_same(self):
        text = run("--print-bound", conf=SMALL).stdout
        total = json.loads(run("--print-bound", "--json", conf=SMALL).stdout)["bound_bytes"]
        self.assertRegex(text, rf"(?m)^bound +{total} ")


class Life(unittest.TestCase):
    def test_sigterm_answers_what_is_under_way(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server("talk", SMALL) as server:
                idle, busy, pipelined = server.client(), server.client(), server.client()
                idle.ask("GET", "/x")
                busy.hold("/echo")
                pipelined.hold("/echo")
                server.process.send_signal(number)
                self.assertTrue(idle.ended())
                answer = busy.release()
                self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
                pipelined.send(b"x" + pipelined.request("GET", "/never"))
                self.assertEqual(pipelined.read().status, 200)
                self.assertEqual(server.process.wait(PATIENCE), 0)
                with self.assertRaises(OSError):
                    Client(server.port)
                self.assertEqual(server.lines()[-1]["requests"], 3)

    def test_sighup_opens_the_log_anew(self):
        with Server("talk", SMALL) as server:
            server.get("/one")
            server.wait_lines(1)
            old = server.log_path + ".1"
            os.rename(server.log_path, old)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: os.path.exists(server.log_path), "the log to be opened anew")

            def arrives():  # the descriptor is exchanged just after the file is there
                server.get("/two")
                with open(server.log_path, encoding="utf-8") as file:
                    return "/two" in file.read()

            wait_until(arrives, "a line in the new log")
            self.assertEqual({line["path"] for line in server.lines()}, {"/two"})
            with open(old, encoding="utf-8") as file:
                self.assertIn("/one", file.read())

    def test_it_says_where_it_listens_and_logs_failures_to_stderr(self):
        with Server("talk", SMALL, log=False) as server:
            server.get("/fine")
            server.get("/status?is=1")
            lines = server.wait_errors("bad-status").splitlines()
            self.assertEqual(lines[0], f"pail serve: listening on 127.0.0.1:{server.port}")
            self.assertEqual([json.loads(line)["cause"] for line in lines[1:]], ["bad-status"])

    def test_a_log_that_is_not_read_makes_no_request_wait(self):
        with Server("talk", SMALL) as server:
            folder = server.folder.name
            os.mkfifo(f"{folder}/pipe")
            reader = os.open(f"{folder}/pipe", os.O_RDONLY | os.O_NONBLOCK)
            other = subprocess.Popen(
                [SERVER, "--app", plugin("talk"), "--listen", "127.0.0.1:0", "--port-file", f"{folder}/port2", "--log", f"{folder}/pipe"],
                stderr=subprocess.DEVNULL)
            try:
                wait_until(lambda: os.path.exists(f"{folder}/port2"), "the other server")
                with open(f"{folder}/port2", encoding="ascii") as file:
                    client = Client(int(file.read()))
                for _ in range(3000):
                    self.assertEqual(client.ask("GET", "/x").status, 200)
                text = b""
                while True:
                    try:
                        piece = os.read(reader, 1 << 20)
                    except BlockingIOError:
                        piece = b""
                    text += piece
                    if b"dropped_lines" in text or not piece:
                        client.ask("GET", "/more")
                        if b"dropped_lines" in text:
                            break
                self.assertIn(b"dropped_lines", text)
                client.socket.close()
            finally:
                other.terminate()
                other.wait()
                os.close(reader)

    def test_a_unix_socket_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/socket"
            process = subprocess.Popen([SERVER, "--app", plugin("talk"), "--listen", f"unix:{path}"], stderr=subprocess.DEVNULL)
            try:
                wait_until(lambda: os.path.exists(path), "the socket")
                with socket.socket(socket.AF_UNIX) as client:
                    wait_until(lambda: client.connect_ex(path) == 0, "the socket to be listened at")
                    client.sendall(b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    text = b""
                    while piece := client.recv(4096):
                        text += piece
                    self.assertIn(b"GET /u?\n", text)
            finally:
                process.terminate()
                self.assertEqual(process.wait(), 0)


class Snapshots(unittest.TestCase):
    def test_every_request_finds_what_bucket_start_left(self):
        if SANITIZED:
            self.skipTest("the sanitizer owns malloc")
        with Server("snapshot", SMALL) as server, server.client() as client:
            for _ in range(30):
                self.assertEqual(client.ask("GET", "/").body, b"fresh 1 1\n")
                self.assertEqual(client.ask("GET", "/die").status, 500)
            clients = [server.client() for _ in range(8)]
            for other in clients:
                self.assertEqual(other.ask("GET", "/").body, b"fresh 1 1\n")
                other.socket.close()

    def test_a_snapshot_that_the_system_region_cannot_hold_is_an_error(self):
        if SANITIZED:
            self.skipTest("the sanitizer owns malloc")
        done = run("--app", plugin("snapshot"), "--check", conf="[server]\nsystem = 64K\n[bucket main]\nsize = 64K\ncount = 64\n")
        self.assertEqual(done.returncode, 3)
        self.assertIn("raise [server] system", done.stderr)


@unittest.skipIf(SANITIZED, "a sanitizer maps as it likes")
class NothingIsMapped(unittest.TestCase):
    CALLS = "trace=memory"

    def test_the_seal_bites_and_the_server_does_not_feel_it(self):
        with Server("faults", SMALL) as server:
            self.assertEqual(server.get("/map").body, b"0\n")
        with Server("faults", SMALL, options=["--seal"]) as server, server.client() as client:
            self.assertEqual(client.ask("GET", "/map").body, b"%d\n" % errno.ENOMEM)
            for _ in range(50):
                for target in ("/ok", "/eat", "/recurse", "/recurse-printing", "/abort", "/neighbour?ms=1", "/big-stack", "/print"):
                    self.assertIn(client.ask("GET", target).status, (200, 500))
            self.assertEqual(client.ask("GET", "/ok").body, b"ok\n")

    @unittest.skipIf(shutil.which("strace") is None, "no strace")
    def test_thousands_of_mixed_requests_make_no_call_that_maps(self):
        conf = "[server]\nthreads = 2\ncpu_deadline = 200ms\nqueue = 100\n" + SMALL
        for app, targets in (
            ("faults", ["/ok", "/eat", "/segv", "/recurse", "/recurse-printing", "/abort", "/assert", "/neighbour?ms=1", "/big-stack", "/defer", "/print", "/late", "/loop"]),
            ("talk", ["/x", "/stream?bytes=100000", "/headers", "/status?is=404", "/sleep?ms=1"]),
            ("kth", ["/jansson", "/libc", "/jansson?k=5", "/libc?left=300"]),
        ):
            if not os.path.exists(plugin(app)):
                continue
            with self.subTest(app=app), Server(app, conf) as server, tempfile.NamedTemporaryFile() as trace:
                strace = subprocess.Popen(
                    ["strace", "-f", "-qq", "-e", self.CALLS, "-o", trace.name, "-p", str(server.pid)], stderr=subprocess.PIPE, text=True)
                wait_until(lambda: server.status("TracerPid") or strace.poll() is not None, "strace to attach")
                if strace.poll() is not None:
                    self.skipTest(f"strace can't attach: {strace.stderr.read()}")

                def storm():
                    for i in range(400 if app != "talk" else 1000):
                        with server.client() as client:
                            for target in targets:
                                if target == "/loop" and i % 100:
                                    continue
                                try:
                                    client.ask("GET", target)
                                except (OSError, Closed):
                                    break

                threads = [threading.Thread(target=storm) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                strace.send_signal(signal.SIGINT)
                strace.wait(PATIENCE)
                strace.stderr.close()
                with open(trace.name, encoding="utf-8") as file:
                    self.assertEqual([line for line in file if re.search(r"\w+\(", line)], [])
                self.assertGreater(len(server.lines()), 3000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
