# SPDX-License-Identifier: MIT
"""A pail-server under test, and clients that talk to it byte by byte.

What a test waits for it asks for (wait_until(), Client.hold(), Server.wait_lines()): no test relies on some
milliseconds being enough. Servers are ended with their `with`, by addCleanup(server.end), or at the exit.
"""
import atexit
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


PATIENCE = 60  # seconds, for what takes milliseconds on a machine that does nothing else
running = set()


def plugin(name):
    return f"{PLUGINS}/{name}.so"


def wait_until(true, what, within=PATIENCE):
    """What true() gives, once that is true."""
    deadline = time.monotonic() + within
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited for {within} s in vain: {what}")
        time.sleep(0.005)


@atexit.register
def end_all():
    for server in list(running):
        server.end()


class Server:
    """with Server("faults", conf="[server]\\n...") as server: ..."""

    def __init__(self, app, conf="", args=(), wrap=(), log=True, options=(), program=()):
        self.folder = tempfile.TemporaryDirectory()
        path = self.folder.name
        with open(f"{path}/pail.conf", "w", encoding="utf-8") as file:
            file.write(conf)
        app = app if "/" in app or ":" in app else plugin(app)
        self.log_path = f"{path}/log"
        command = [*wrap, *(program or (SERVER,)), "-c", f"{path}/pail.conf", "--app", app, "--listen", "127.0.0.1:0"]
        command += ["--port-file", f"{path}/port"]
        command += ["--log", self.log_path] if log else []
        command += [*options, "--", *args]
        self.command = command
        self.stderr = open(f"{path}/stderr", "wb+")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.stderr)
        running.add(self)
        try:
            wait_until(lambda: os.path.exists(f"{path}/port") or self.process.poll() is not None, "the server to start")
            if self.process.poll() is not None:
                raise RuntimeError(f"the server did not start: {self.errors()}")
            with open(f"{path}/port", encoding="ascii") as file:
                self.port = int(file.read())
            # It says so when it counts as started: before that its end is that of a start that failed.
            wait_until(lambda: "listening on" in self.errors() or self.process.poll() is not None, "its word that it listens")
            self.pid = self.serving()
        except BaseException:
            self.end()
            raise

    def serving(self, other_than=None, within=PATIENCE):
        """The process that serves: a child of the supervisor, if there is one."""
        deadline = time.monotonic() + within
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        while time.monotonic() < deadline:
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
        self.end()
        if kind is None:
            assert code == 0, f"the server ended with {code}: {text}"

    def end(self):
        """Whatever has become of it; may be called again."""
        self.stop()
        running.discard(self)
        if not self.stderr.closed:
            self.stderr.close()
            self.folder.cleanup()

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
        """Of the log; the last may be half written, and is not among them then."""
        with open(self.log_path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def wait_lines(self, count):
        """The log's first `count` lines, once they are there."""

        def enough():
            lines = self.lines()
            return lines if len(lines) >= count else None

        return wait_until(enough, f"{count} lines of the log")

    def wait_errors(self, text):
        """All of stderr, once that text is in it."""
        return wait_until(lambda: text in self.errors() and self.errors(), f"{text!r} on stderr")

    def client(self, **more):
        return Client(self.port, **more)

    def get(self, target, **more):
        with self.client() as client:
            return client.ask("GET", target, **more)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
    def __init__(self, port, timeout=PATIENCE, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
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

    def hold(self, path, method="POST", length=1):
        """A request whose handler runs and waits for its body: it has a bucket until release()."""
        self.send(self.request(method, path, [("Content-Length", str(length)), ("Expect", "100-continue")]))
        answer = self.read()
        assert answer.status == 100, answer

    def release(self):
        self.send(b"x")
        return self.read()

    def ended(self, within=PATIENCE):
        """True if the server closes, without a byte more."""
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
