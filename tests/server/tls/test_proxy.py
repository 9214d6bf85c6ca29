#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/tls.md's proxies, as they stand there, with TLS to the client and pail behind them: connections
are shared, the client's address arrives, body limits agree, what is large comes through whole."""
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ops"))
from ops import SOURCE, Ops, until  # noqa: E402
from secure import certificate, context  # noqa: E402

CONF = """[server]
threads = 2
body = 64K
[bucket main]
size = 512K
count = 8
[log]
forwarded = yes
"""
NGINX = """
worker_processes 1;
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
access_log off;
client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{block}
}}
"""


def block(language):
    with open(f"{SOURCE}/docs/tls.md", encoding="utf-8") as file:
        return re.search(rf"^```{language}\n(.*?)^```", file.read(), re.M | re.S).group(1)


def put(text, old, new):
    assert text.count(old) == 1, f"docs/tls.md has no longer {old!r} once"
    return text.replace(old, new)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Tls(http.client.HTTPSConnection):
    def __init__(self, port, source="127.0.0.1"):
        super().__init__("127.0.0.1", port, timeout=60, context=context(), source_address=(source, 0))

    def ask(self, method, path, body=None, headers=()):
        self.request(method, path, body, dict(headers))
        answer = self.getresponse()
        return answer.status, answer.read()


class Proxy(unittest.TestCase):
    def start(self, name, configure):
        """The proxy on a port that nobody has; another is tried if somebody was quicker."""
        if not shutil.which(name):
            self.skipTest(f"no {name} here")
        self.server = Ops("talk", CONF)
        self.addCleanup(self.server.end)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for _ in range(5):
            port = free_port()
            command = configure(folder.name, port)
            log = open(f"{folder.name}/log", "wb")
            self.addCleanup(log.close)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.addCleanup(self.end, process)

            def listens():
                if process.poll() is not None:
                    return True
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0
            until(listens, f"{name} listens")
            if process.poll() is None:
                return port
        with open(f"{folder.name}/log", encoding="utf-8", errors="replace") as file:
            self.fail(f"{name} does not start: {file.read()}")

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def nginx(self, folder, port):
        cert, key = certificate("one")
        text = put(block("nginx"), "listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        text = put(text, "/etc/pail/cert.pem", cert)
        text = put(text, "/etc/pail/key.pem", key)
        text = put(text, "127.0.0.1:8080", f"127.0.0.1:{self.server.port}")
        with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(("user root;\n" if os.geteuid() == 0 else "") + NGINX.format(folder=folder, block=text))
        return ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]

    def haproxy(self, folder, port):
        cert, key = certificate("one")
        with open(f"{folder}/both.pem", "wb") as file:
            for path in (cert, key):
                with open(path, "rb") as part:
                    file.write(part.read())
        text = put(block("haproxy"), "bind :443", f"bind 127.0.0.1:{port}")
        text = put(text, "/etc/pail/cert-and-key.pem", f"{folder}/both.pem")
        text = put(text, "127.0.0.1:8080", f"127.0.0.1:{self.server.port}")
        with open(f"{folder}/haproxy.cfg", "w", encoding="utf-8") as file:
            file.write("global\n    maxconn 100\n" + text)
        return ["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"]

    def client(self, port, source="127.0.0.1"):
        client = Tls(port, source)
        self.addCleanup(client.close)
        return client

    def converse(self, port):
        # One client's many requests, then many clients: pail sees few connections, which stay.
        client = self.client(port, "127.0.0.7")
        for _ in range(40):
            self.assertEqual(client.ask("GET", "/stream?bytes=100&piece=10")[0], 200)
        for number in range(20):
            other = self.client(port, f"127.0.0.{10 + number}")
            self.assertEqual(other.ask("GET", f"/stream?bytes=10&piece=10&from={number}")[0], 200)
            other.close()
        stats = self.server.stats()
        self.assertEqual(stats["requests"]["started"], 60)
        self.assertLess(stats["connections"]["accepted"], 10)
        # Who asked, whatever a client says of itself.
        client.ask("GET", "/headers", headers=[("X-Forwarded-For", "203.0.113.66")])
        lines = self.server.wait_lines(61)
        self.assertEqual([line["client"] for line in lines[:40]], ["127.0.0.7"] * 40)
        self.assertEqual([line["client"] for line in lines[40:60]], [f"127.0.0.{10 + number}" for number in range(20)])
        self.assertEqual(lines[60]["client"], "127.0.0.7")
        # Bodies up to the limit, and one byte more.
        body = os.urandom(64 << 10)
        self.assertEqual(client.ask("POST", "/echo", body), (200, body))
        client.close()
        client = self.client(port)
        self.assertEqual(client.ask("POST", "/echo", body + b"x")[0], 413)
        client.close()
        # An answer larger than all buffers on its way.
        client = self.client(port)
        status, text = client.ask("GET", "/stream?bytes=3000000&piece=5000")
        self.assertEqual((status, len(text)), (200, 3000000))
        self.assertEqual(client.ask("HEAD", "/stream?bytes=10&piece=10"), (200, b""))
        client.close()
        # A client that leaves in the middle costs nobody else.
        with socket.create_connection(("127.0.0.1", port), 60) as plain, context().wrap_socket(plain) as rude:
            rude.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        client = self.client(port)
        self.assertEqual(client.ask("POST", "/echo", b"after")[1], b"after")
        client.close()
        self.assertEqual(self.server.stop(), 0, self.server.errors())

    def test_nginx(self):
        self.converse(self.start("nginx", self.nginx))

    def test_haproxy(self):
        self.converse(self.start("haproxy", self.haproxy))


if __name__ == "__main__":
    unittest.main(verbosity=2)
