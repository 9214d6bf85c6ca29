# SPDX-License-Identifier: MIT
"""A pail-server under test, and clients that talk to it byte by byte."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

SOURCE = os.environ["PAIL_SOURCE"]
BUILD = os.environ["PAIL_BUILD"]
SANITIZED = bool(os.environ.get("PAIL_SANITIZE"))
# Handlers free nothing: under a sanitizer, which owns malloc, all of it is a leak.
os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
SERVER = f"{BUILD}/libexec/pail/pail-server"
PLUGINS = f"{BUILD}/tests/server/core"


def plugin(name):
    return f"{PLUGINS}/{name}.so"


class Server:
    """with Server("faults", conf="[server]\\n...") as server: ..."""

    def __init__(self, app, conf="", args=(), wrap=(), log=True, options=()):
        self.folder = tempfile.TemporaryDirectory()
        path = self.folder.name
        with open(f"{path}/pail.conf", "w", encoding="utf-8") as file:
            file.write(conf)
        app = app if "/" in app or ":" in app else plugin(app)
        self.log_path = f"{path}/log"
        command = [*wrap, SERVER, "-c", f"{path}/pail.conf", "--app", app, "--listen", "127.0.0.1:0"]
        command += ["--port-file", f"{path}/port"]
        command += ["--log", self.log_path] if log else []
        command += [*options, "--", *args]
        self.command = command
        self.stderr = open(f"{path}/stderr", "wb+")
        self.process = subprocess.Popen(command, stderr=self.stderr)
        deadline = time.monotonic() + 30
        while not os.path.exists(f"{path}/port"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self.errors()}")
            time.sleep(0.01)
        with open(f"{path}/port", encoding="ascii") as file:
            self.port = int(file.read())
        self.pid = self.serving()

    def serving(self, other_than=None, within=10):
        """The process that serves: a child of the supervisor, if there is one."""
        deadline = time.monotonic() + within
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        while time.monotonic() < deadline:
            if os.readlink(f"/proc/{self.process.pid}/exe") != os.path.realpath(SERVER):
                return self.process.pid  # wrapped
            with open(path, encoding="ascii") as file:
                children = [int(word) for word in file.read().split()]
            if not children and "--no-supervisor" in self.command:
                return self.process.pid
            if children and children[-1] != other_than:
                return children[-1]
            time.sleep(0.005)
        raise AssertionError("no process serves")

    def errors(self):
        self.stderr.flush()
        with open(self.stderr.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        code = self.stop()
        text = self.errors()
        self.stderr.close()
        self.folder.cleanup()
        if kind is None:
            assert code == 0, f"the server ended with {code}: {text}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def lines(self):
        with open(self.log_path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def wait_lines(self, count):
        """The log's first `count` lines, once they are there."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            lines = self.lines()
            if len(lines) >= count:
                return lines
            time.sleep(0.01)
        raise AssertionError(f"of {count} log lines {len(lines)} came, the last {lines[-1:]}")

    def client(self):
        return Client(self.port)

    def get(self, target, **more):
        with self.client() as client:
            return client.ask("GET", target, **more)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status(self, key):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{key}:\s+(\d+)", file.read(), re.M).group(1))


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:80]!r}>"


class Closed(Exception):
    pass


class Client:
    def __init__(self, port, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(f"closed, after {self.input[:200]!r}")
        self.input += data

    def until(self, mark):
        while mark not in self.input:
            self.more()
        head, _, self.input = self.input.partition(mark)
        return head

    def exactly(self, count):
        while len(self.input) < count:
            self.more()
        data, self.input = self.input[:count], self.input[count:]
        return data

    def read(self, head_only=False):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
        assert match, lines[0]
        status = int(match.group(1))
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"twice: {name}"
            headers[name.lower()] = value
        if head_only or status < 200 or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(self.until(b"\r\n"), 16)
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
                if size == 0:
                    return Answer(status, headers, body)
        if "content-length" in headers:
            return Answer(status, headers, self.exactly(int(headers["content-length"])))
        try:
            while True:
                self.more()
        except Closed:
            body, self.input = self.input, b""
            return Answer(status, headers, body)

    def request(self, method, target, headers=(), body=None):
        text = f"{method} {target} HTTP/1.1\r\nHost: test\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in headers)
        if body is not None:
            text += f"Content-Length: {len(body)}\r\n"
        return text.encode("latin-1") + b"\r\n" + (body or b"")

    def ask(self, method, target, headers=(), body=None):
        self.send(self.request(method, target, headers, body))
        return self.read(head_only=method == "HEAD")

    def ended(self, within=5):
        """True if the server closes, without a byte more."""
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
