#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS: the same answers, a memory that is bounded, and clients that attack others in vain."""
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

import secure
from secure import Client, Server, certificate, context, section

import harness  # noqa: E402  (its folder is on the path since secure)
import test_talk  # noqa: E402
from harness import BUILD, SANITIZED, SERVER, wait_until  # noqa: E402

SEAL = [] if SANITIZED else ["--seal"]  # a sanitizer maps memory as it goes
CONF = """
[bucket main]
size = 256K
count = 8
"""


def pool_of(conf):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(conf)
        file.flush()
        text = subprocess.run([SERVER, "-c", file.name, "--print-bound", "--json"], capture_output=True, check=True).stdout
    return next(term["bytes"] for term in json.loads(text)["terms"] if term["name"] == "TLS")


class Conversations(test_talk.Talk):
    """The conversations of test_talk, by TLS."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("talk", cls.conf, options=SEAL)

    def test_a_half_closed_client_gets_its_answers(self):
        self.skipTest("Python's TLS can't close one side")

    def test_bodies_of_both_framings_come_whole(self):
        # Not as there: Python's TLS can't send on one thread while another receives.
        client = self.client()
        for size in (0, 1, 511, 512, 4096, 5000, 65536):
            body = os.urandom(size)
            for path in ("/echo", "/echo-pieces", "/echo-pieces?piece=100"):
                with self.subTest(size=size, path=path):
                    if size < 65536 or path == "/echo":  # which reads all of it before it answers
                        self.assertEqual(client.ask("POST", path, body=body).body, body)
                        chunks = b"%x;ext=1\r\n%b\r\n" % (size, body) if size else b""
                        head = client.request("POST", path, [("Transfer-Encoding", "chunked")])
                        client.send(head + chunks + b"0\r\nX-Trailer: 1\r\n\r\n")
                        self.assertEqual(client.read().body, body)


class Tls(unittest.TestCase):
    def test_versions_and_protocols(self):
        with Server("talk", CONF) as server:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                words = context()
                words.minimum_version = words.maximum_version = version
                words.set_alpn_protocols(["h2", "http/1.1"])
                with Client(server.port, using=words) as client:
                    self.assertEqual(client.socket.selected_alpn_protocol(), "http/1.1")
                    self.assertEqual(client.ask("GET", "/a").body, b"GET /a?\n")
            with harness.Client(server.plain_port) as plain:
                self.assertEqual(plain.ask("GET", "/a").body, b"GET /a?\n")
        with Server("talk", CONF, more="min_version = 1.3") as server:
            words = context()
            words.maximum_version = ssl.TLSVersion.TLSv1_2
            with self.assertRaises(ssl.SSLError):
                Client(server.port, using=words)
            self.assertEqual(server.get("/a").status, 200)

    def test_sessions_are_resumed_by_tickets(self):
        with Server("talk", CONF) as server:
            words = context()
            with Client(server.port, using=words) as client:
                client.ask("GET", "/a")
                session = client.socket.session
            with socket.create_connection(("127.0.0.1", server.port)) as raw, \
                    words.wrap_socket(raw, session=session) as again:
                self.assertTrue(again.session_reused)

    def test_files_and_ranges(self):
        with tempfile.TemporaryDirectory() as folder:
            bytes_ = os.urandom(700000)
            with open(f"{folder}/file.bin", "wb") as file:
                file.write(bytes_)
            with Server(folder, CONF, options=SEAL) as server, server.client() as client:
                self.assertEqual(client.ask("GET", "/file.bin").body, bytes_)
                self.assertEqual(client.ask("GET", "/file.bin", [("Range", "bytes=100000-300000")]).body, bytes_[100000:300001])
                self.assertEqual(client.ask("HEAD", "/file.bin").headers["content-length"], "700000")

    @unittest.skipIf(SANITIZED, "the sanitizer handles faults itself")
    def test_faults_of_handlers_are_contained(self):
        with Server("faults", CONF, options=["--no-supervisor"]) as server, server.client() as client:
            for target in ("/segv", "/eat", "/recurse", "/recurse-printing", "/write-wild", "/abort"):
                self.assertEqual(client.ask("GET", target).status, 500, target)
                self.assertEqual(client.ask("GET", "/ok").body, b"ok\n")
            self.assertEqual(server.get("/write-wild-long").status, 500)
            self.assertEqual(server.get("/ok").status, 200)

    def test_the_certificate_is_read_again(self):
        cert, key = certificate("changing")
        conf = f"[server]\nimage = 32M\n[tls]\nlisten = 127.0.0.1:0\ncert = {cert}\nkey = {key}\n" + CONF
        with harness.Server("talk", conf) as server:
            port = int(wait_until(lambda: re.search(r":(\d+) with TLS", server.errors()), "the address of TLS").group(1))
            with Client(port, using=context("changing")) as old:
                self.assertEqual(old.ask("GET", "/a").status, 200)
                for path, other in zip((cert, key), certificate("two")):
                    os.replace(other, path)
                server.process.send_signal(signal.SIGHUP)
                trusting = ssl.create_default_context(cafile=cert)
                trusting.check_hostname = False

                def new_one():
                    try:
                        with Client(port, using=trusting) as client:
                            return client.ask("GET", "/a").status == 200
                    except ssl.SSLError:
                        return False

                wait_until(new_one, "the new certificate")
                self.assertEqual(old.ask("GET", "/a").status, 200)
                os.truncate(cert, 100)
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda: "the certificate stays as it was: [tls] cert:" in server.errors(), "its refusal")
                self.assertTrue(new_one)

    def check(self, conf):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("[server]\nimage = 32M\n" + conf)
            file.flush()
            done = subprocess.run([SERVER, "-c", file.name, "--check"], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def test_what_can_not_be_is_told_by_check(self):
        cert, key = certificate("one")
        other = certificate("three")[1]
        self.assertEqual(self.check(section()), (0, ""))
        for words, expected in (
            (f"cert = {cert}\nkey = {other}", "[tls] key: .*key values mismatch"),
            (f"cert = {key}\nkey = {key}", "[tls] cert: .*can't be read as a chain"),
            ("cert = /nowhere\nkey = /nowhere", "[tls] cert: '/nowhere' can't be read"),
            (f"cert = {cert}\nkey = {cert}", "[tls] key: .*can't be read as the certificate's private key"),
            (f"cert = {cert}", "[tls] key: missing"),
            (f"cert = {cert}\nkey = {key}\nciphers = NOTHING", "[tls] ciphers: 'NOTHING' names no cipher"),
            (f"cert = {cert}\nkey = {key}\nmin_version = 1.1", "[tls] min_version: '1.1' is neither"),
            (f"cert = {cert}\nkey = {key}\nhandshakes = 500", "[tls] handshakes: 500 is impossible"),
        ):
            code, text = self.check(f"[tls]\nlisten = 127.0.0.1:0\n{words}\n")
            self.assertEqual(code, 3, words)
            self.assertRegex(text, expected.replace("[", r"\["))
            self.assertEqual(text.count("\n"), 1)


class Attacks(unittest.TestCase):
    MORE = "connections = 16\nhandshakes = 4\nhandshake_timeout = 2s"

    def good(self, server, times=5):
        for _ in range(times):
            self.assertEqual(server.get("/a").status, 200)

    def raw(self, server):
        connection = socket.create_connection(("127.0.0.1", server.port), harness.PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def hello(self):
        """The first bytes that a client sends."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        words = context()
        client = words.wrap_bio(incoming, outgoing)
        with self.assertRaises(ssl.SSLWantReadError):
            client.do_handshake()
        return outgoing.read()

    def test_others_are_served_and_memory_stays_within_its_pool(self):
        hello = self.hello()
        with Server("talk", CONF, more=self.MORE, options=SEAL) as server:
            self.good(server)
            size = server.status("VmSize")
            # Half handshakes, many more than there are places.
            halves = [self.raw(server) for _ in range(60)]
            for i, half in enumerate(halves):
                half.sendall(hello[: len(hello) * (i % 3 + 1) // 3])
            self.good(server)
            # Connections that say nothing hold nothing.
            silent = [self.raw(server) for _ in range(60)]
            self.good(server)
            # Garbage, plain HTTP, records of every type, and a hello as long as can be.
            long_hello = b"\x01\x01\xff\xff" + b"\x03\x03" + bytes(32) + b"\x00" * 130000
            records = b"".join(b"\x16\x03\x01" + (len(part := long_hello[i:i + 16000])).to_bytes(2, "big") + part
                               for i in range(0, len(long_hello), 16000))
            for data in (os.urandom(3000), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 100, records,
                         *(bytes([kind, 3, 3, 0, 2, 1, 0]) for kind in range(20, 25))):
                bad = self.raw(server)
                try:
                    bad.sendall(data)
                except OSError:
                    pass  # it is closed already
                self.good(server, 1)
            # Fifty clients at once where sixteen have room: who idles makes room.
            clients = []
            for _ in range(50):
                clients.append(server.client())
                self.assertEqual(clients[-1].ask("GET", "/a").status, 200)
            for client in clients:
                client.socket.close()
            # Slow handshakes end by themselves.
            for half in halves:
                half.settimeout(harness.PATIENCE)
                try:
                    while half.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
            for connection in silent:
                connection.close()
            self.good(server)
            if not SANITIZED:
                self.assertEqual(server.status("VmSize"), size)
            server.stop()
            end = server.lines()[-1]
            self.assertEqual(end["failed"], 0)
            self.assertGreater(end["tls_bytes_peak"], 0)
            self.assertLess(end["tls_bytes_peak"], pool_of(section(more=self.MORE)))

    def test_a_renegotiation_is_refused(self):
        with Server("talk", CONF) as server:
            program = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2", "-quiet", "-no_ign_eof"]
            with subprocess.Popen(program[:-2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
                process.stdin.write(b"R\n")
                process.stdin.flush()
                deadline = time.monotonic() + harness.PATIENCE
                while process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                ended = process.poll() is not None
                process.kill()
                text = process.stdout.read()
            self.assertTrue(ended and b"RENEGOTIATING" in text, text[-400:])
            self.good(server)

    def test_cut_connections_leave_nothing(self):
        with Server("talk", CONF, more=self.MORE) as server:
            self.good(server)
            wait_until(lambda: server.descriptors() <= 40, "connections to be gone")
            before = server.descriptors()
            hello = self.hello()
            for turn in range(40):
                connection = self.raw(server)
                connection.sendall(hello[: 1 + turn * len(hello) // 39])
                connection.close()
            for _ in range(20):
                client = server.client()
                client.send(client.request("GET", "/stream"))
                client.socket.close()
            wait_until(lambda: server.descriptors() <= before, "descriptors to be closed")
            self.good(server, 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
