# SPDX-License-Identifier: MIT
"""A raw HTTP/1.1 client that believes nothing: it sends exactly the bytes it is
given, and holds every response against the grammar of RFC 9112."""

import re
import socket
import ssl
from email.utils import parsedate_to_datetime

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
DATE = re.compile(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug"
                  rb"|Sep|Oct|Nov|Dec) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT\Z")
TIMEOUT_S = 10


class Wrong(Exception):
    """The server did what it must not."""


def require(condition, text, *args):
    if not condition:
        raise Wrong(text % args if args else text)


class Response:
    def __init__(self, status, reason, fields):
        self.status, self.reason, self.fields = status, reason, fields
        self.body, self.until_close = b"", False

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower().encode()]

    def get(self, name):
        values = self.all(name)
        require(len(values) <= 1, "%s comes %d times", name, len(values))
        return values[0].decode("latin-1") if values else None

    def closes(self):
        return "close" in (self.get("Connection") or "").lower()


class Tls:
    """What of a socket a Connection uses, by TLS; of which it can shut its own half, and read on."""

    def __init__(self, plain):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.plain, self.input, self.output = plain, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.input, self.output)
        self.until(self.session.do_handshake)

    def until(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                self.flush()
            data = self.plain.recv(65536)
            if not data:
                self.input.write_eof()
            self.input.write(data)

    def flush(self):
        if self.output.pending:
            self.plain.sendall(self.output.read())

    def sendall(self, data):
        if data:
            self.session.write(data)
        self.flush()

    def recv(self, count):
        try:
            return self.until(lambda: self.session.read(count))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise Wrong("TLS: %s" % error) from error

    def shutdown(self, _how):
        try:
            self.session.unwrap()
        except ssl.SSLError:
            pass  # it waits for the other half
        self.flush()
        self.plain.shutdown(socket.SHUT_WR)

    def settimeout(self, seconds):
        self.plain.settimeout(seconds)

    def setsockopt(self, *words):
        self.plain.setsockopt(*words)

    def close(self):
        self.plain.close()


class Connection:
    tls = False  # for all of them

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            self.socket = Tls(self.socket)
        self.buffer, self.ended = b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered and closed while we were still talking

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def more(self):
        if self.ended:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        except socket.timeout:
            raise Wrong("no answer within %d s; so far: %r" % (TIMEOUT_S, self.buffer[:200]))
        self.ended = not data
        self.buffer += data
        return not self.ended

    def take(self, count):
        while len(self.buffer) < count:
            require(self.more(), "the response ends early: %r", self.buffer[:200])
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            require(self.more(), "the response ends within a line: %r", self.buffer[:200])
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        require(b"\r" not in line and b"\n" not in line, "a bare CR or LF: %r", line)
        return line

    def head(self):
        match = STATUS_LINE.match(self.line())
        require(match, "no status line")
        fields = []
        while True:
            line = self.line()
            if not line:
                break
            name, colon, value = line.partition(b":")
            require(colon and TOKEN.match(name), "a bad field line: %r", line)
            value = value.strip(b" \t")
            require(VALUE.match(value), "a bad field value: %r", line)
            fields.append((name, value))
        return Response(int(match[1]), match[2].decode("latin-1"), fields)

    def chunks(self):
        body = b""
        while True:
            size = self.line().partition(b";")[0]
            require(re.match(rb"[0-9A-Fa-f]+\Z", size), "a bad chunk size: %r", size)
            size = int(size, 16)
            if size == 0:
                while self.line():
                    pass
                return body
            body += self.take(size)
            require(self.take(2) == b"\r\n", "a chunk that does not end where it says")

    def response(self, method="GET", minor=1):
        """The next final response; interim ones are in .interim."""
        interim = []
        while True:
            response = self.head()
            length, coding = response.get("Content-Length"), response.get("Transfer-Encoding")
            if response.status >= 200:
                break
            require(not length and not coding, "framing fields in a %d", response.status)
            interim.append(response.status)
        response.interim = interim
        require(not (length and coding), "both Content-Length and Transfer-Encoding")
        require(length is None or re.match(r"[0-9]+\Z", length), "bad Content-Length %r", length)
        require(coding is None or (coding == "chunked" and minor == 1), "coding %r", coding)
        date = response.get("Date")
        require(date and DATE.match(date.encode()), "Date is %r", date)
        parsedate_to_datetime(date)
        if response.status == 204:
            require(not length and not coding, "framing fields in a 204")
        if method == "HEAD" or response.status in (204, 304):
            pass
        elif coding:
            response.body = self.chunks()
        elif length is not None:
            response.body = self.take(int(length))
        else:
            response.until_close = True
            while self.more():
                pass
            response.body, self.buffer = self.buffer, b""
        return response

    def closed(self):
        """The server ends the connection here, and sends nothing more."""
        while self.more():
            pass
        require(not self.buffer, "more came: %r", self.buffer[:200])
        return True

    def ask(self, data, method="GET", minor=1):
        self.send(data)
        return self.response(method, minor)
