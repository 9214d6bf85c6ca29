#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The logs make nobody wait: what their files don't take is dropped, counted and told, and
what they do take is whole, in its format, wherever a client tries to break out of its line."""
import datetime
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from ops import SANITIZED, SERVER, Client, Closed, Ops, Server, plugin, until

TWO = "[server]\nthreads = 2\n[bucket main]\nsize = 64K\ncount = 4\n"
COMMON = re.compile(r'(\S+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "([^"\\\n]|\\.)*" (\d{3}) (\d+|-)')
COMBINED = re.compile(COMMON.pattern + r' "(?P<referer>(?:[^"\\\n]|\\.)*)" "(?P<agent>(?:[^"\\\n]|\\.)*)"')


def flood(client, batch=200, target="/x"):
    client.send(client.request("GET", target) * batch)
    for _ in range(batch):
        answer = client.read()
        assert answer.status == 200, answer
    return batch


def stands(pid):
    def state(task):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]
    return all(state(task) == "T" for task in os.listdir(f"/proc/{pid}/task"))


def settled(stats, asked):
    """Lines dropped, once all are told or dropped: the last answer is out before its line."""
    def counted():
        log = stats()["log"]
        return log if log["lines"] + log["dropped"] == asked else None
    return until(counted, f"{asked} lines told or dropped")["dropped"]


def ask_until(server, client, true, most=200000):
    """Requests, until it is true: how many."""
    asked = 0
    while not true():
        asked += flood(client)
        assert asked < most, "it did not come to this"
    return asked


class Full(unittest.TestCase):
    """Files that take nothing."""

    def test_a_pipe_that_nobody_reads_stops_no_worker(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/conf", "w", encoding="ascii") as file:
                file.write(TWO.replace("[server]", "[server]\nadmin = 127.0.0.1:0"))
            process = subprocess.Popen([SERVER, "-c", f"{folder}/conf", "--app", plugin("talk"), "--listen", "127.0.0.1:0",
                                        "--port-file", f"{folder}/port", "--log", "-"], stderr=subprocess.PIPE)
            try:
                text = b""
                while b"listening on" not in text or not text.endswith(b"\n"):
                    text += os.read(process.stderr.fileno(), 4096)
                admin = int(text.split(b"admin address http://127.0.0.1:")[1].split(b"/")[0])
                with open(f"{folder}/port", encoding="ascii") as file:
                    port = int(file.read())
                with Client(port, 60) as client:
                    def stats():
                        with Client(admin, 60) as other:
                            return json.loads(other.ask("GET", "/stats").body)
                    asked = ask_until(None, client, lambda: stats()["log"]["dropped"])  # the pipe, then the ring
                    lost = settled(stats, asked)
                    process.send_signal(signal.SIGTERM)
                    client.ended(20)
                lines = [json.loads(line) for line in process.stderr.read().decode().splitlines()]  # each is whole
                self.assertEqual(process.wait(60), 0)
                seen = sum("start_ns" in line for line in lines)
                self.assertEqual(asked - seen, lost)  # what the ring held was written, once someone read
                self.assertLessEqual(sum(line.get("dropped_lines", 0) for line in lines), lost)
                self.assertEqual(lines[-1]["log_dropped"], lost)
                self.assertEqual(lines[-1]["log_lines"], seen)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(60)
                process.stderr.close()

    def test_a_fifo_goes_on_where_it_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = f"{folder}/log"
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            server = Ops("talk", TWO, log=False, options=["--log", fifo])
            self.addCleanup(server.end)
            text = []
            with server.client() as client:
                asked = ask_until(server, client, lambda: server.stats()["log"]["dropped"])
                lost = settled(server.stats, asked)
                os.set_blocking(reader, True)
                thread = threading.Thread(target=lambda: text.extend(iter(lambda: os.read(reader, 65536), b"")))
                thread.start()
                before = server.stats()["log"]["lines"]
                until(lambda: sum(piece.count(b"\n") for piece in text) >= before, "what waited")
                asked += flood(client, 1, "/again")
            self.assertEqual(server.stop(), 0, server.errors())
            thread.join(60)
            os.close(reader)
            lines = [json.loads(line) for line in b"".join(text).splitlines()]
            self.assertEqual(sum("start_ns" in line for line in lines), asked - lost)
            self.assertEqual(sum(line.get("dropped_lines", 0) for line in lines), lost)
            told = [number for number, line in enumerate(lines) if "dropped_lines" in line]
            self.assertEqual(lines[told[-1] + 1].get("path"), "/again")  # told before the next line

    def test_a_full_disk_is_told_and_resumed(self):
        # A file that may not grow is what a full disk is; and its signal ends nobody.
        limit = 64 << 10
        server = Ops("talk", TWO, wrap=["prlimit", f"--fsize={limit}"])
        self.addCleanup(server.end)
        with server.client() as client:
            asked = ask_until(server, client, lambda: server.stats()["log"]["dropped"])
            self.assertIn("takes nothing: File too large", server.wait_errors("takes nothing"))
            self.assertGreater(server.stats()["log"]["write_failures"], 0)
            self.assertEqual(os.path.getsize(server.log_path), limit)
            lost = settled(server.stats, asked)
            with open(server.log_path, "rb") as file:
                first = file.read()
            os.truncate(server.log_path, 0)  # as copytruncate does
            server.wait_errors("takes lines again")
            until(lambda: os.path.getsize(server.log_path), "lines again")
            # The file is as long as it may be again and again; all lines together are whole.
            rest = b""
            for _ in range(10000):
                size = os.path.getsize(server.log_path)
                if size == limit:
                    with open(server.log_path, "rb") as file:
                        rest += file.read()
                    os.truncate(server.log_path, 0)
                elif self.lines_of(server.log_path, first + rest) >= asked - lost:
                    break
                else:
                    until(lambda size=size: os.path.getsize(server.log_path) != size or
                          self.lines_of(server.log_path, first + rest) >= asked - lost, "more lines")
            with open(server.log_path, "rb") as file:
                rest += file.read()
            lines = [json.loads(line) for line in (first + rest).splitlines()]
            self.assertEqual(sum("start_ns" in line for line in lines), asked - lost)
        self.assertEqual(server.stop(), 0, server.errors())

    @staticmethod
    def lines_of(path, before):
        """Of what was there before and the file behind it: a line may lie in both."""
        with open(path, "rb") as file:
            return (before + file.read()).count(b"start_ns")

    def test_a_full_disk_does_not_keep_it_from_ending(self):
        server = Ops("talk", TWO, wrap=["prlimit", f"--fsize={4 << 10}"])
        self.addCleanup(server.end)
        with server.client() as client:
            asked = flood(client, 500)
        server.wait_errors("takes nothing")
        self.assertEqual(server.stop(), 0)
        text = server.errors()
        dropped = int(re.search(r"(\d+) lines of the log were dropped", text).group(1))
        with open(server.log_path, "rb") as file:
            self.assertEqual(file.read().count(b"}\n") + dropped, asked)

    def test_errors_that_find_no_room_are_counted_apart(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = f"{folder}/errors"
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            conf = TWO + f"[log]\nerrors = {fifo}\nformat = common\n"
            with Ops("talk", conf) as server:
                asked = 0
                while not server.stats()["log"]["errors_dropped"]:
                    clients = []
                    for _ in range(50):
                        clients.append(server.client())
                        clients[-1].send("BAD\r\n\r\n")
                    for client in clients:
                        self.assertEqual(client.read().status, 400)
                        client.socket.close()
                    asked += 50
                    self.assertLess(asked, 20000)
                stats = server.stats()["log"]
                self.assertEqual((stats["lines"], stats["dropped"]), (asked, 0))
                metrics = server.metrics()
                self.assertEqual(metrics.of("pail_error_log_dropped_lines_total"), stats["errors_dropped"])
                self.assertEqual(metrics.of("pail_error_log_lines_total"), asked - stats["errors_dropped"])
                self.assertEqual(metrics.of("pail_log_lines_total"), asked)
                self.assertGreater(len(os.read(reader, 4096)), 100)
                os.close(reader)  # and its end is no signal


class Ends(unittest.TestCase):
    """What happens to lines when the process that wrote them ends."""

    def conf(self, more=""):
        return f"[server]\nthreads = 1\n{more}[bucket main]\nsize = 64K\ncount = 4\n"

    def count(self, server, word=b'"path":"/x"'):
        with open(server.log_path, "rb") as file:
            return file.read().count(word)

    def test_what_a_killed_process_leaves_its_supervisor_writes(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = f"{folder}/log"
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            self.addCleanup(os.close, reader)
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
            server = Ops("talk", self.conf(), log=False, options=["--log", fifo])
            self.addCleanup(server.end)
            with server.client() as client:
                asked = ask_until(server, client, lambda: server.stats()["log"]["dropped"])
                settled(server.stats, asked)
            told = server.stats()["log"]["lines"]
            os.kill(server.pid, signal.SIGSTOP)
            until(lambda: stands(server.pid), "all of its threads stand")
            text = os.read(reader, 65536)
            fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)
            os.kill(server.pid, signal.SIGKILL)
            server.pid = server.serving(other_than=server.pid)
            self.assertLess(text.count(b"\n"), 100)
            text += os.read(reader, 1 << 20)
            lines = [json.loads(line) for line in text.splitlines()]  # the one that it was at is whole too
            self.assertEqual(sum("start_ns" in line for line in lines), told)
            self.assertNotIn("are lost", server.errors())

    def test_a_fault_of_the_core_loses_no_line(self):
        # A worker that stops, a signal to the process, an end past all of it.
        for path, words in (("/in-core", ()), ("/in-core", ("--no-supervisor",)), ("/ill", ()),
                            ("/ill", ("--no-supervisor",)), ("/leave", ())):
            server = Server("broken", self.conf(), options=words)
            self.addCleanup(server.end)
            with server.client() as client:
                client.send(client.request("GET", "/pid") * 300 + client.request("GET", path))
                self.assertRaises(Closed, lambda: [client.read() for _ in range(302)])
            until(lambda: self.count(server, b'"path":"/pid"') >= 300, f"300 lines, in spite of {path}")
            self.assertEqual(self.count(server, b'"path":"/pid"'), 300)
            server.end()

    def test_all_is_written_when_it_is_asked_to_end(self):
        with tempfile.TemporaryDirectory() as folder:
            for words in ((), ("--no-supervisor",)):
                log = f"{folder}/log{len(words)}"
                server = Server("talk", TWO, log=False, options=["--log", log, *words])
                self.addCleanup(server.end)
                with server.client() as client:
                    asked = flood(client, 400)
                self.assertEqual(server.stop(), 0, server.errors())
                with open(log, encoding="ascii") as file:
                    lines = [json.loads(line) for line in file]
                self.assertEqual(len(lines), asked + 1)
                self.assertEqual((lines[-1]["end"], lines[-1]["log_lines"], lines[-1]["log_dropped"]), (True, asked, 0))

    def test_it_is_opened_anew_when_asked(self):
        with Server("talk") as server:
            for number, sign in enumerate((signal.SIGUSR1, signal.SIGHUP)):
                server.get(f"/x{number}")
                until(lambda: server.lines()[-1:] and server.lines()[-1]["path"] == f"/x{number}", "the line")
                os.rename(server.log_path, f"{server.log_path}.{number}")
                server.process.send_signal(sign)
                until(lambda: os.path.exists(server.log_path), "a new log")
                server.get("/y")
                self.assertEqual(server.wait_lines(1)[0]["path"], "/y")

    def test_rotation_under_load_loses_no_line(self):
        server = Server("talk", TWO)
        self.addCleanup(server.end)
        asked, rotated = 0, 0
        with server.client() as client:
            for _ in range(20):
                client.send(client.request("GET", "/x") * 100)
                os.rename(server.log_path, f"{server.log_path}.{rotated}")
                rotated += 1
                server.process.send_signal(signal.SIGUSR1)
                for _ in range(100):
                    self.assertEqual(client.read().status, 200)
                asked += 100
                until(lambda: os.path.exists(server.log_path), "a new log")
        self.assertEqual(server.stop(), 0, server.errors())
        lines = []
        for path in [f"{server.log_path}.{number}" for number in range(rotated)] + [server.log_path]:
            with open(path, encoding="ascii") as file:
                lines += [json.loads(line) for line in file]
        self.assertEqual(sum("start_ns" in line for line in lines), asked)

    @unittest.skipIf(SANITIZED, "a sanitizer maps memory as it goes")
    def test_a_sealed_server_logs_and_rotates(self):
        with Ops("talk", TWO, options=["--seal"]) as server:
            with server.client() as client:
                asked = flood(client, 400)
            until(lambda: self.count(server) == asked, "all lines")
            os.rename(server.log_path, server.log_path + ".1")
            server.process.send_signal(signal.SIGUSR1)
            until(lambda: os.path.exists(server.log_path), "a new log")
            server.get("/x")
            until(lambda: self.count(server) == 1, "a line in it")
            self.assertEqual(server.errors().count("pail serve: can't"), 0)

    def test_a_log_that_cannot_be_opened_anew_stays(self):
        with tempfile.TemporaryDirectory() as folder, Server("talk", log=False, options=["--log", f"{folder}/a/log"],
                                                             wrap=["sh", "-c", f'mkdir {folder}/a; exec "$@"', "sh"]) as server:
            os.rename(f"{folder}/a", f"{folder}/b")
            server.process.send_signal(signal.SIGUSR1)
            server.wait_errors("can't open the log")
            server.get("/y")
            until(lambda: os.path.getsize(f"{folder}/b/log"), "the line, in the old file")


class Formats(unittest.TestCase):
    def lines(self, server, count):
        def whole():
            with open(server.log_path, encoding="latin-1") as file:
                lines = file.read().split("\n")
            return lines[:-1] if len(lines) > count else None
        return until(whole, f"{count} lines")

    def test_common_and_combined(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        for form, pattern in (("common", COMMON), ("combined", COMBINED)):
            with Server("talk", TWO + f"[log]\nformat = {form}\n") as server:
                with server.client() as client:
                    client.ask("GET", "/stream?bytes=100&piece=10", [("Referer", "http://a/\"b\\c"), ("User-Agent", "it's me/1.0 (é)")])
                    client.ask("HEAD", "/stream?bytes=3000")
                    client.ask("POST", "/x", body=b"abc")
                    client.send("GET /old HTTP/1.0\r\n\r\n")
                    client.read()
                with server.client() as client:
                    client.send("BAD\r\n\r\n")
                    self.assertEqual(client.read().status, 400)
                lines = self.lines(server, 5)
                matches = [pattern.fullmatch(line) for line in lines]
                self.assertTrue(all(matches), lines)
                self.assertEqual([match.group(1) for match in matches], ["127.0.0.1"] * 5)
                requests = [re.search(r'\] "((?:[^"\\]|\\.)*)" (\d+) (\S+)', line).groups() for line in lines]
                self.assertEqual(requests[0], ("GET /stream?bytes=100&piece=10 HTTP/1.1", "200", "100"))
                self.assertEqual(requests[2][0], "POST /x HTTP/1.1")
                self.assertEqual(requests[3][0], "GET /old HTTP/1.0")
                self.assertEqual(requests[4], ("-", "400", "-"))
                when = datetime.datetime.strptime(matches[0].group(2), "%d/%b/%Y:%H:%M:%S %z")
                self.assertLess(abs((when - now).total_seconds()), 3600)
                if form == "combined":
                    self.assertEqual(matches[0].group("referer"), 'http://a/\\"b\\\\c')
                    self.assertEqual(matches[0].group("agent"), r"it's me/1.0 (\xc3\xa9)" if "\\xc3" in lines[0] else r"it's me/1.0 (\xe9)")
                    self.assertEqual((matches[1].group("referer"), matches[1].group("agent")), ("-", "-"))
                # What failed is told in full on stderr.
                record = json.loads([line for line in server.wait_errors('"cause"').splitlines() if "cause" in line][0])
                self.assertEqual((record["cause"], record["status"], record["client"]), ("bad-request", 400, "127.0.0.1"))

    def test_nobody_breaks_out_of_a_line(self):
        evil = "/a%22%0a\"\\'<>|" + "".join(chr(c) for c in (0x80, 0xff, 0xa0))
        agent = 'x" 200 1 "-" "\t\\' + chr(0x9b) + "31m" + "y" * 600
        for form, pattern in (("json", None), ("common", COMMON), ("combined", COMBINED)):
            with Server("talk", TWO + f"[log]\nformat = {form}\nforwarded = yes\n") as server:
                with server.client() as client:
                    # The target goes as it is, where the parser lets it; else it is refused and told likewise.
                    client.send(f"GET {evil} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\nX-Forwarded-For: \"]\x9b, a b\r\n"
                                f"Referer: {agent}\r\n\r\n".encode("latin-1"))
                    client.read()
                with server.client() as client:
                    client.ask("GET", "/" + "z" * 3000, [("User-Agent", agent)])
                lines = self.lines(server, 2)
                self.assertEqual(len(lines), 2, lines)
                for line in lines:
                    self.assertTrue(line.isascii() and line.isprintable(), line)
                    self.assertLess(len(line), 6000)
                    if pattern:
                        self.assertTrue(pattern.fullmatch(line), line)
                        self.assertTrue(line.startswith("127.0.0.1 - "), line)
                    else:
                        self.assertEqual(json.loads(line)["client"], "127.0.0.1")

    def test_clients_by_address_and_as_a_proxy_names_them(self):
        with Server("talk", TWO + "[log]\nforwarded = yes\nformat = common\n") as server:
            with server.client() as client:
                for value in (None, "203.0.113.9", "10.0.0.1, 2001:db8::7", " , 198.51.100.3 ", "unknown thing", "x" * 100):
                    client.ask("GET", "/x", [("X-Forwarded-For", value)] if value else [])
            found = [line.split(" ")[0] for line in self.lines(server, 6)]
            self.assertEqual(found, ["127.0.0.1", "203.0.113.9", "2001:db8::7", "198.51.100.3", "127.0.0.1", "127.0.0.1"])
        with Server("talk", TWO) as server:  # not unless it is asked for: anyone can send it
            with server.client() as client:
                client.ask("GET", "/x", [("X-Forwarded-For", "203.0.113.9")])
            self.assertEqual(server.wait_lines(1)[0]["client"], "127.0.0.1")
        with tempfile.TemporaryDirectory() as folder:
            for where, want in ((f"unix:{folder}/s", "-"), ("[::1]:0", "::1")):
                if want == "::1" and not os.path.exists("/proc/net/if_inet6"):
                    continue
                with Server("talk", TWO, options=["--listen", where]) as server:
                    with socket.socket(socket.AF_UNIX if want == "-" else socket.AF_INET6) as client:
                        client.settimeout(60)
                        client.connect(where[5:] if want == "-" else ("::1", server.port))
                        client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        while client.recv(4096):
                            pass
                    self.assertEqual(server.wait_lines(1)[0]["client"], want)

    def test_errors_have_a_file_of_their_own(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/errors"
            with Server("faults", TWO + f"[log]\nerrors = {path}\n") as server:
                self.assertEqual(server.get("/assert").status, 500)
                self.assertEqual(server.get("/ok").status, 200)
                server.wait_lines(2)
                until(lambda: os.path.getsize(path), "the error")
                with open(path, encoding="ascii") as file:
                    errors = [json.loads(line) for line in file]
                self.assertEqual([line["path"] for line in errors], ["/assert"])
                self.assertIn(errors[0]["cause"], ("assert", "abort"))  # a sanitizer takes assert() for itself
                os.rename(path, path + ".1")
                server.process.send_signal(signal.SIGUSR1)
                until(lambda: os.path.exists(path), "a new one")
                self.assertEqual(server.errors().count("cause"), 0)

    def test_impossible_words_name_their_line(self):
        for words, text in (("format = xml", "neither json nor common nor combined"), ("ring = 4K", "impossible"),
                            ("ring = 100000", "multiple of the page"), ("file = x", "unknown key"),
                            ("errors = /nonexistent/x", "/nonexistent/x")):
            with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
                file.write(f"[server]\nlisten = 127.0.0.1:0\n[log]\n{words}\n")
                file.flush()
                result = subprocess.run([SERVER, "-c", file.name, "--check"], capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, 3, words)
            self.assertIn(f":4: [log] {words.split()[0]}: ", result.stderr)
            self.assertIn(text, result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
