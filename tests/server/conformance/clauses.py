# SPDX-License-Identifier: MIT
"""What RFC 9110 and 9112 ask of an origin server, clause by clause. Each clause
is a function that shows it on a running server, or stands in OTHERS with the
reason why there is nothing to show."""

import time
from email.utils import parsedate_to_datetime

from wire import Connection, require

CLAUSES = []  # (rfc, section, level, text, function)
H = b"Host: a\r\n"


def clause(section, level, text):
    """`section` is "9112 2.2"; `text` says in our words what the clause wants."""
    def keep(function):
        CLAUSES.append((section, level, text, function))
        return function
    return keep


class Server:
    """Two running servers: one with the echo plug-in, one with a folder."""

    def __init__(self, echo_port, files_port, folder):
        self.echo_port, self.files_port, self.folder = echo_port, files_port, folder

    def connect(self):
        return Connection(self.echo_port)

    def once(self, data, method="GET", minor=1):
        with self.connect() as c:
            return c.ask(data, method, minor)

    def refused(self, data, status=400):
        """That status, Connection: close, and the connection ends."""
        with self.connect() as c:
            response = c.ask(data)
            require(response.status == status, "%d for %r", response.status, data[:80])
            require(response.closes(), "no Connection: close for %r", data[:80])
            c.closed()

    def file(self, path, *fields, method="GET"):
        head = "%s %s HTTP/1.1\r\nHost: a\r\n" % (method, path)
        with Connection(self.files_port) as c:
            return c.ask((head + "".join(f + "\r\n" for f in fields) + "\r\n").encode(), method)


def get(target=b"/", *fields):
    return b"GET " + target + b" HTTP/1.1\r\n" + H + b"".join(f + b"\r\n" for f in fields) + b"\r\n"


def post(body, *fields, target=b"/echo"):
    return b"POST " + target + b" HTTP/1.1\r\n" + H + \
        b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"

# -- RFC 9112 ------------------------------------------------------------------


@clause("9112 2.2", "MUST", "the message is parsed as octets, in a superset of US-ASCII")
def octets(s):
    r = s.once(get(b"/fields", b"X-Name: \xc3\xa4\xff"))
    require(b"X-Name=\xc3\xa4\xff\n" in r.body, "%r", r.body)


@clause("9112 2.2", "MAY", "a single LF is no line end here: 400")
def bare_lf(s):
    s.refused(b"GET / HTTP/1.1\nHost: a\r\n\r\n")
    s.refused(b"GET / HTTP/1.1\r\nHost: a\n\r\n")
    s.refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n")


@clause("9112 2.2", "MUST", "a bare CR makes the element invalid")
def bare_cr(s):
    for data in (b"GET / HTTP/1.1\rHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\r\n\r\n", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        s.refused(data)


@clause("9112 2.2", "SHOULD", "at least one empty line before a request line is ignored")
def empty_line(s):
    require(s.once(b"\r\n" + get()).status == 200, "refused")
    with s.connect() as c:
        require(c.ask(post(b"abc\r\n", b"Content-Length: 3")).body == b"abc", "first")
        require(c.ask(get()).status == 200, "an old client's CRLF behind a body")


@clause("9112 2.2", "MUST", "whitespace between start line and first field: refused (or lines skipped)")
def leading_space(s):
    s.refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
    s.refused(b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n")


@clause("9112 2.2", "SHOULD", "what does not match the grammar gets 400, and the connection closes")
def garbage(s):
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00\x00\x00\r\n\r\n",
                 b"hello\r\n\r\n", b"GET\r\n\r\n", b"GET / \r\n\r\n", b": / HTTP/1.1\r\n\r\n"):
        s.refused(data)


@clause("9112 2.3", "MUST", "HTTP-version is case-sensitive, one digit each")
def version_grammar(s):
    for v in (b"http/1.1", b"HTTP/1", b"HTTP/1.", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/ 1.1", b"HTTP/a.b"):
        s.refused(b"GET / " + v + b"\r\n" + H + b"\r\n")


@clause("9112 3", "SHOULD", "a method longer than any known: 501")
def long_method(s):
    s.refused(b"A" * 100 + b" / HTTP/1.1\r\n" + H + b"\r\n", 501)


@clause("9112 3", "MUST", "a target longer than any the server takes: 414")
def long_target(s):
    s.refused(b"GET /" + b"a" * 70000, 414)


@clause("9112 3", "SHOULD", "a server takes request lines of 8000 octets")
def line_8000(s):
    query = b"a" * (8000 - len("GET /query? HTTP/1.1"))
    r = s.once(get(b"/query?" + query))
    require(r.status == 200 and r.body == query, "status %d", r.status)


@clause("9112 3", "MAY", "the words of a request line stand apart by exactly one space: else 400")
def spaces(s):
    for line in (b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1",
                 b"GET\t/ HTTP/1.1", b"GET /\x0bHTTP/1.1", b"GET / a HTTP/1.1"):
        s.refused(line + b"\r\n" + H + b"\r\n")


@clause("9112 3.1", "MUST", "methods are case-sensitive")
def method_case(s):
    r = s.once(b"get /echo HTTP/1.1\r\n" + H + b"\r\n")
    require(r.get("X-Method") == "get", "%r", r.get("X-Method"))


@clause("9112 3.2", "SHOULD", "an invalid request line: 400 (or 301 to it, properly encoded)")
def bad_target(s):
    for target in (b"/a b", b"/\xc3\xa4", b"/a\x7f", b"/<", b"/a#b", b"/%", b"/%zz", b"a", b"//\\",
                   b"?a", b"/?\"", b"/{", b"/|"):
        s.refused(get(target))


@clause("9112 3.2", "MUST", "HTTP/1.1 without Host, with two, or with an invalid one: 400")
def host(s):
    s.refused(b"GET / HTTP/1.1\r\n\r\n")
    for fields in (H + H, H + b"host: b\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a@b\r\n",
                   b"Host: a:b\r\n", b"Host: [::1\r\n", b"Host: a, b\r\n", b"Host: \x01\r\n"):
        s.refused(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")


@clause("9112 3.2", "MUST", "two Host fields or an invalid one are 400 in HTTP/1.0 too")
def host_10(s):
    s.refused(b"GET / HTTP/1.0\r\n" + H + H + b"\r\n")
    s.refused(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n")
    require(s.once(b"GET / HTTP/1.0\r\n\r\n", minor=0).status == 200, "1.0 needs none")


@clause("9112 3.2", "MAY", "an empty Host is valid")
def host_empty(s):
    require(s.once(b"GET / HTTP/1.1\r\nHost:\r\n\r\n").status == 200, "refused")


@clause("9112 3.2.1", "MUST", "origin-form: path and query arrive as sent")
def origin_form(s):
    r = s.once(get(b"/echo/%41;b=c?d=%20?e"))
    require(r.get("X-Path") == "/echo/%41;b=c" and r.get("X-Query") == "d=%20?e", "%r", r.fields)


@clause("9112 3.2.2", "MUST", "absolute-form is taken, and its authority wins over Host")
def absolute_form(s):
    r = s.once(b"GET http://b.example:80/echo/x?y HTTP/1.1\r\n" + H + b"\r\n")
    require(r.status == 200 and r.get("X-Path") == "/echo/x" and r.get("X-Query") == "y", "%r", r.fields)
    require(s.once(b"GET HTTP://b HTTP/1.1\r\n" + H + b"\r\n").body == b"hello\n", "empty path")
    s.refused(b"GET http://b/ HTTP/1.1\r\n\r\n")


@clause("9112 3.2.3", "MUST", "authority-form is for CONNECT alone, which an origin server has not: 501")
def authority_form(s):
    s.refused(b"CONNECT a:443 HTTP/1.1\r\n" + H + b"\r\n", 501)
    s.refused(b"CONNECT / HTTP/1.1\r\n" + H + b"\r\n")
    s.refused(b"GET a:443 HTTP/1.1\r\n" + H + b"\r\n")


@clause("9112 3.2.4", "MUST", "asterisk-form is for OPTIONS alone")
def asterisk_form(s):
    r = s.once(b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", "OPTIONS")
    require(r.status < 300 and not r.closes(), "status %d", r.status)
    s.refused(b"GET * HTTP/1.1\r\n" + H + b"\r\n")


@clause("9112 4", "MUST", "the status line has a space behind the status even without a reason")
def empty_reason(s):
    require(s.once(get(b"/status/299")).reason == "", "a reason")


@clause("9112 5", "MUST", "a field's value is without the whitespace around it")
def ows(s):
    r = s.once(get(b"/fields", b"X-A: \t b c\t ", b"X-B:d", b"X-C:"))
    require(b"X-A=b c\nX-B=d\nX-C=\n" in r.body, "%r", r.body)


@clause("9112 5.1", "MUST", "whitespace between a field's name and its colon: 400")
def space_colon(s):
    for field in (b"X : y", b"X\t: y", b"Content-Length : 0", b"Transfer-Encoding : chunked"):
        s.refused(get(b"/", field))


@clause("9112 5.2", "MUST", "obs-fold: 400 (or replaced by spaces)")
def obs_fold(s):
    s.refused(get(b"/", b"X: a\r\n b"))
    s.refused(get(b"/", b"X: a\r\n\tb"))
    s.refused(get(b"/", b"Transfer-Encoding:\r\n chunked"))


@clause("9112 6", "MUST", "a body is read in any request, whatever its method")
def body_of_get(s):
    with s.connect() as c:
        for method in (b"GET", b"DELETE", b"OPTIONS", b"PATCH", b"FOO"):
            r = c.ask(method + b" /echo HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc")
            require(r.body == b"abc", "%r: %r", method, r.body)


@clause("9112 6.1", "MUST", "Transfer-Encoding names are case-insensitive; chunked is understood")
def chunked_request(s):
    r = s.once(post(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"transfer-encoding: ChunKed"))
    require(r.body == b"abcde", "%r", r.body)


@clause("9112 6.1", "MUST NOT", "chunked applied twice, or with parameters, is refused")
def chunked_twice(s):
    for value in (b"chunked, chunked", b"chunked;q=1", b"chunked\r\nTransfer-Encoding: chunked"):
        s.refused(post(b"0\r\n\r\n", b"Transfer-Encoding: " + value))


@clause("9112 6.1", "SHOULD", "a transfer coding that is not understood: 501")
def unknown_coding(s):
    s.refused(post(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked"), 501)


@clause("9112 6.1", "MUST", "Transfer-Encoding beside Content-Length: refused, connection closed")
def te_and_cl(s):
    s.refused(post(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", CHUNKED, b"Content-Length: 5"))
    s.refused(post(b"0\r\n\r\n", b"Content-Length: 5", CHUNKED))
    s.refused(post(b"0\r\n\r\n", b"Content-Length: 0", CHUNKED))


@clause("9112 6.1", "MUST", "Transfer-Encoding in HTTP/1.0 is faulty framing")
def te_in_10(s):
    s.refused(b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n")


@clause("9112 6.1", "MUST NOT", "no Transfer-Encoding in a response to HTTP/1.0")
def te_to_10(s):
    r = s.once(b"GET /stream/100 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", minor=0)
    require(r.until_close and len(r.body) == 102400, "%d bytes", len(r.body))


@clause("9112 6.1", "MUST NOT", "no Transfer-Encoding and no Content-Length in 1xx and 204")
def framing_204(s):
    with s.connect() as c:
        require(c.ask(get(b"/status/204")).status == 204, "status")
        require(c.ask(get()).status == 200, "what follows a 204")


@clause("9112 6.2", "MUST", "Content-Length: one decimal number, read without overflow")
def content_length(s):
    for value in (b"", b"a", b"-1", b"+1", b"1.0", b"0x1", b"1 1", b"1a"):
        s.refused(post(b"a", b"Content-Length: " + value))
    for value in (b"18446744073709551617", b"9223372036854775808", b"9" * 100):
        s.refused(post(b"a", b"Content-Length: " + value), 413)


@clause("9112 6.3", "MUST", "several Content-Lengths, equal or not, are refused")
def content_lengths(s):
    for value in (b"1, 2", b"1,1", b"1\r\nContent-Length: 2", b"1\r\nContent-Length: 1"):
        s.refused(post(b"a", b"Content-Length: " + value))


@clause("9112 6.3", "MUST", "a last coding other than chunked: 400, connection closed")
def coding_last(s):
    for value in (b"identity", b"gzip", b"chunked, gzip", b"xchunked", b"", b"\"chunked\""):
        s.refused(post(b"0\r\n\r\n", b"Transfer-Encoding: " + value))


@clause("9112 6.3", "MUST", "a request without Content-Length and Transfer-Encoding has no body")
def no_body(s):
    with s.connect() as c:
        c.send(b"POST /echo HTTP/1.1\r\n" + H + b"\r\n" + get(b"/fields"))
        require(c.response().body == b"", "a body")
        require(c.response().body == b"Host=a\n", "the next request")


@clause("9112 6.3", "MUST NOT", "nothing follows a response to HEAD, 204 or 304 but the next response")
def no_response_body(s):
    with s.connect() as c:
        for target in (b"/", b"/stream/100", b"/length/100", b"/status/404"):
            r = c.ask(b"HEAD " + target + b" HTTP/1.1\r\n" + H + b"\r\n", "HEAD")
            require(not r.body, "a body")
        for status in (b"204", b"304"):
            require(c.ask(get(b"/status/" + status)).body == b"", "a body")
        require(c.ask(get()).body == b"hello\n", "what follows")


@clause("9112 7.1", "MUST", "chunk sizes: hexadecimal, read without overflow")
def chunk_sizes(s):
    require(s.once(post(b"00A\r\n0123456789\r\n0000\r\n\r\n", CHUNKED)).body == b"0123456789", "00A")
    for size in (b"", b" 3", b"3 ", b"+3", b"-3", b"0x3", b"3g", b"FFFFFFFFFFFFFFFF", b"1" + b"0" * 16,
                 b"3\n", b"3\r"):
        s.refused(post(size + b"\r\nabc\r\n0\r\n\r\n", CHUNKED))


@clause("9112 7.1", "MUST", "a chunk's data ends in CRLF where its size says")
def chunk_ends(s):
    for data in (b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nab\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n"):
        s.refused(post(data, CHUNKED))


@clause("9112 7.1.1", "MUST", "chunk extensions that are not known are ignored")
def extensions(s):
    r = s.once(post(b"3;a;b=c; d=\"e;\\\"\"\r\nabc\r\n0;f\r\n\r\n", CHUNKED))
    require(r.body == b"abc", "%r", r.body)


@clause("9112 7.1.1", "SHOULD", "the length of chunk extensions is limited")
def long_extensions(s):
    s.refused(post(b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n", CHUNKED))


@clause("9112 7.1.2", "MUST", "trailer fields are parsed, and change nothing that was decided")
def trailers(s):
    with s.connect() as c:
        body = b"3\r\nabc\r\n0\r\nContent-Length: 99\r\nHost: z\r\nX: y\r\n\r\n"
        require(c.ask(post(body, CHUNKED)).body == b"abc", "body")
        require(c.ask(get()).status == 200, "what follows")
    s.refused(post(b"0\r\nX : y\r\n\r\n", CHUNKED))


@clause("9112 8", "MUST", "a request cut short is not handled as if it were whole")
def cut_short(s):
    for data in (post(b"ab", b"Content-Length: 3"), post(b"3\r\nab", CHUNKED), b"GET / HTTP/1.1\r\nHost"):
        with s.connect() as c:
            c.send(data)
            c.half_close()
            while c.more():
                pass
            require(not c.buffer.startswith(b"HTTP/1.1 2"), "answered: %r", c.buffer[:40])


@clause("9112 9.3", "MUST", "HTTP/1.1 persists unless one side says close")
def persists(s):
    with s.connect() as c:
        for _ in range(5):
            require(not c.ask(get()).closes(), "closes")


@clause("9112 9.3", "MUST", "HTTP/1.0 closes unless the client says keep-alive")
def persists_10(s):
    with s.connect() as c:
        r = c.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", minor=0)
        require("keep-alive" in (r.get("Connection") or ""), "no keep-alive")
        require(c.ask(b"GET / HTTP/1.0\r\n\r\n", minor=0).status == 200, "second")
        c.closed()


@clause("9112 9.3", "MUST", "the whole request body is read, or the connection closed after the response")
def unread_body(s):
    with s.connect() as c:
        c.send(post(b"x" * 1000, b"Content-Length: 1000", target=b"/") + get(b"/fields"))
        require(c.response().body == b"hello\n", "first")
        if c.buffer or c.more():
            require(c.response().body == b"Host=a\n", "the body was taken for a request")


@clause("9112 9.3.2", "MUST", "pipelined requests are answered in order, without further input")
def pipelining(s):
    with s.connect() as c:
        count = 100
        c.send(b"".join(get(b"/echo/%d" % i) for i in range(count)))
        for i in range(count):
            r = c.response()
            require(r.get("X-Path") == "/echo/%d" % i, "%r at %d", r.get("X-Path"), i)
    with s.connect() as c:
        c.send(post(b"3\r\nabc\r\n0\r\n\r\n", CHUNKED) + post(b"de", b"Content-Length: 2") + get())
        require([c.response().body for _ in range(3)] == [b"abc", b"de", b"hello\n"], "order")


@clause("9112 9.6", "MUST", "Connection: close is honoured, announced, and nothing after it processed")
def close(s):
    for value in (b"close", b"Close", b"keep-alive, close", b"x\r\nConnection: close"):
        with s.connect() as c:
            r = c.ask(get(b"/", b"Connection: " + value) + get(b"/fields"))
            require(r.closes(), "not announced")
            c.closed()


@clause("9112 9.6", "SHOULD", "the close comes in stages, so that the answer is not lost by a reset")
def staged_close(s):
    with s.connect() as c:
        c.send(b"BAD\r\n\r\n" + b"x" * 100000)
        require(c.response().status == 400, "status")
        c.closed()


@clause("9112 9.3", "MUST", "a client that half-closes gets all its answers")
def half_closed(s):
    with s.connect() as c:
        c.send(get() + get(b"/stream/300"))
        c.half_close()
        require(c.response().body == b"hello\n", "first")
        require(len(c.response().body) == 307200, "second")
        c.closed()


@clause("9112 11.1", "MUST NOT", "a handler can't split a response by what it puts in a field")
def splitting(s):
    r = s.once(get(b"/inject"))
    require(r.body == b"refused\n" * 6, "%r", r.body)
    require(not r.all("X-Injected"), "injected")


@clause("9112 11.2", "MUST", "however a request is cut into packets, it is the same request")
def cuts(s):
    data = post(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n", CHUNKED) + get()
    for size in (1, 7):
        with s.connect() as c:
            for i in range(0, len(data), size):
                c.send(data[i:i + size])
                time.sleep(0.0005)
            require(c.response().body == b"abcde", "first")
            require(c.response().body == b"hello\n", "second")

# -- RFC 9110 ------------------------------------------------------------------


@clause("9110 2.5", "SHOULD", "the response has the highest version of ours of that major: HTTP/1.1")
def version_up(s):
    for v in (b"1.0", b"1.1", b"1.2", b"1.9"):
        r = s.once(b"GET / HTTP/" + v + b"\r\n" + H + b"\r\n", minor=0 if v == b"1.0" else 1)
        require(r.status == 200, "%d for %r", r.status, v)


@clause("9110 15.6.6", "SHOULD", "another major version: 505")
def version_major(s):
    for v in (b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9"):
        s.refused(b"GET / " + v + b"\r\n" + H + b"\r\n", 505)


@clause("9110 4.2.4", "SHOULD", "userinfo in a target is treated as an error")
def userinfo(s):
    s.refused(b"GET http://good.example@evil.example/ HTTP/1.1\r\n" + H + b"\r\n")


@clause("9110 4.2.1", "MUST", "an http target with an empty host is invalid")
def empty_authority(s):
    for target in (b"http://", b"http:///a", b"http://:80/"):
        s.refused(get(target))


@clause("9110 5.1", "MUST", "field names are tokens, compared without case")
def field_names(s):
    for name in (b"X y", b"X(", b"", b"X\x00", b"\xc3\xa4", b"X/", b"X@"):
        s.refused(get(b"/", name + b": y"))
    r = s.once(post(b"abc", b"cOnTeNt-LeNgTh: 3"))
    require(r.body == b"abc", "%r", r.body)


@clause("9110 5.3", "MUST", "fields of one name keep their order")
def field_order(s):
    r = s.once(get(b"/fields", b"X: 1", b"Y: 2", b"X: 3"))
    require(b"X=1\nY=2\nX=3\n" in r.body, "%r", r.body)


@clause("9110 5.4", "MUST", "fields larger than the server takes: a 4xx (431), never ignored")
def large_fields(s):
    s.refused(get(b"/", b"X: " + b"a" * 70000), 431)
    s.refused(get(b"/", *[b"X%d: y" % i for i in range(200)]), 431)


@clause("9110 5.5", "MUST", "CR, LF or NUL in a field value: refused; so are other controls")
def field_controls(s):
    for byte in (b"\x00", b"\x01", b"\x0b", b"\x1f", b"\x7f"):
        s.refused(get(b"/", b"X: a" + byte + b"b"))


@clause("9110 5.6.1", "MUST", "empty elements of a list are ignored (Transfer-Encoding excepted)")
def list_empties(s):
    with s.connect() as c:
        require(c.ask(get(b"/", b"Connection: , ,close,")).closes(), "close in a list")
    r = s.file("/p.js", "Accept-Encoding: , gzip,, ,")
    require(r.get("Content-Encoding") == "gzip", "Accept-Encoding")


@clause("9112 6.1", "MAY", "an empty element in Transfer-Encoding: refused, since parsers disagree about its framing")
def coding_empty(s):
    for value in (b", chunked", b"chunked,", b"gzip,,chunked"):
        s.refused(post(b"0\r\n\r\n", b"Transfer-Encoding: " + value))


@clause("9110 6.6.1", "MUST", "every response has Date, in IMF-fixdate, and it is now")
def date(s):
    for r in (s.once(get()), s.file("/a.txt"), s.file("/missing"), s.once(b"BAD\r\n\r\n")):
        age = time.time() - parsedate_to_datetime(r.get("Date")).timestamp()
        require(-2 < age < 3, "Date is %s", r.get("Date"))


@clause("9110 7.4", "MUST", "a request for https that came without TLS is misdirected")
def misdirected(s):
    s.refused(get(b"https://a/"), 421)


@clause("9110 8.6", "MUST NOT", "HEAD's Content-Length, if there is one, is GET's")
def head_length(s):
    for path in ("/a.txt", "/"):
        lengths = [s.file(path, method=m).get("Content-Length") for m in ("GET", "HEAD")]
        require(lengths[0] == lengths[1], "%r", lengths)
    lengths = [s.once(m + b" /length/100 HTTP/1.1\r\n" + H + b"\r\n", m.decode()).get("Content-Length")
               for m in (b"GET", b"HEAD")]
    require(lengths == ["102400", "102400"], "%r", lengths)


@clause("9110 9.1", "SHOULD", "a method that is not known: 501; one not for this resource: 405")
def methods(s):
    require(s.file("/a.txt", method="FOO").status == 501, "FOO")
    for method in ("POST", "PUT", "DELETE", "TRACE"):
        require(s.file("/a.txt", method=method).status == 405, method)


@clause("9110 9.3.2", "SHOULD", "HEAD has the fields that GET has, and no body")
def head_fields(s):
    both = [s.file("/a.txt", method=m) for m in ("GET", "HEAD")]
    names = [sorted(n.lower() for n, _ in r.fields) for r in both]
    require(names[0] == names[1], "%r", names)


@clause("9110 9.3.7", "SHOULD", "OPTIONS says what is allowed")
def options(s):
    require("GET" in (s.file("/a.txt", method="OPTIONS").get("Allow") or ""), "no Allow")
    require(s.file("*", method="OPTIONS").status < 300, "OPTIONS *")


@clause("9110 10.1.1", "MUST", "Expect: 100-continue gets 100 or a final status before the body")
def expect(s):
    with s.connect() as c:
        c.send(post(b"", b"Expect: 100-Continue", b"Content-Length: 3"))
        require(c.head().status == 100, "no 100")
        c.send(b"abc")
        require(c.response().body == b"abc", "body")
        require(c.ask(get()).status == 200, "what follows")


@clause("9110 10.1.1", "MUST", "Expect: 100-continue in HTTP/1.0 is ignored")
def expect_10(s):
    r = s.once(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", minor=0)
    require(r.body == b"abc" and not r.interim, "%r %r", r.body, r.interim)


@clause("9110 10.1.1", "MUST NOT", "no 100 to a request that expects none or has no body")
def expect_none(s):
    require(not s.once(get(b"/echo", b"Expect: 100-continue")).interim, "100 without a body")
    require(not s.once(post(b"abc", b"Content-Length: 3")).interim, "100 without Expect")


@clause("9110 10.1.1", "MUST", "a final status instead of 100: the body is read over, or the connection closed")
def expect_refused(s):
    with s.connect() as c:
        r = c.ask(post(b"", b"Expect: 100-continue", b"Content-Length: 99999999999"))
        require(r.status == 413 and not r.interim and r.closes(), "status %d", r.status)
        c.closed()


@clause("9110 10.1.1", "MAY", "an expectation other than 100-continue: 417")
def expect_other(s):
    s.refused(get(b"/", b"Expect: a-pony"), 417)


@clause("9110 10.2.1", "MUST", "405 has Allow")
def allow(s):
    r = s.file("/a.txt", method="POST")
    require(r.status == 405 and "GET" in (r.get("Allow") or ""), "%r", r.fields)


@clause("9110 10.2.2", "SHOULD", "a redirect has Location, with the query kept")
def location(s):
    r = s.file("/sub?x=y")
    require(r.status == 301 and r.get("Location") == "/sub/?x=y", "%r", r.fields)


@clause("9110 15.2", "MUST NOT", "no 1xx to HTTP/1.0")
def interim_10(s):
    require(not s.once(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
                       minor=0).interim, "1xx")


@clause("9110 15.5.14", "MAY", "a body larger than the server takes: 413 before it is read, and close")
def too_large(s):
    s.refused(post(b"", b"Content-Length: 99999999999"), 413)


@clause("9110 15.6.1", "SHOULD", "a handler out of memory is a 500, alone, and explains itself")
def server_error(s):
    with s.connect() as c:
        r = c.ask(get(b"/hungry"))
        require(r.status == 500 and r.body, "status %d", r.status)
    require(s.once(get()).status == 200, "what follows")


@clause("9110 8.3", "SHOULD", "a representation has its Content-Type")
def content_type(s):
    for path, kind in (("/a.txt", "text/plain"), ("/", "text/html"), ("/p.js", "text/javascript")):
        require(s.file(path).get("Content-Type") == kind, "%s: %r", path, s.file(path).get("Content-Type"))


@clause("9110 8.8.1", "SHOULD", "validators are sent: Last-Modified not later than Date, strong ETag")
def validators(s):
    r = s.file("/a.txt")
    times = [parsedate_to_datetime(r.get(n)) for n in ("Last-Modified", "Date")]
    require(times[0] <= times[1] and r.get("ETag").startswith('"'), "%r", r.fields)
    require(parsedate_to_datetime(s.file("/future.txt").get("Last-Modified")) <=
            parsedate_to_datetime(s.file("/future.txt").get("Date")), "a time to come")


@clause("9110 12.5.3", "MUST", "a coding with q=0 is never sent")
def coding_zero(s):
    for accept in ("gzip;q=0", "br;q=0, gzip;q=0, *;q=0, identity", "*;q=0, identity;q=1"):
        r = s.file("/p.js", "Accept-Encoding: " + accept)
        require(r.get("Content-Encoding") is None, "%r for %s", r.get("Content-Encoding"), accept)


@clause("9110 12.5.3", "SHOULD", "codings the client takes are used, the best first; else none")
def coding(s):
    for accept, want in (("gzip", "gzip"), ("br, gzip", "br"), ("br;q=0.1, gzip", "gzip"),
                         ("deflate", None), ("*", "br"), ("", None)):
        r = s.file("/p.js", "Accept-Encoding: " + accept)
        require(r.status == 200 and r.get("Content-Encoding") == want, "%r for %r",
                r.get("Content-Encoding"), accept)
    require(s.file("/p.js").get("Content-Encoding") is None, "without Accept-Encoding")


@clause("9110 12.5.5", "SHOULD", "what was chosen by Accept-Encoding says so in Vary")
def vary(s):
    for fields in ((), ("Accept-Encoding: gzip",)):
        require("Accept-Encoding" in (s.file("/p.js", *fields).get("Vary") or ""), "no Vary")


@clause("9110 8.8.3.3", "MUST", "each coding of a file has its own strong ETag")
def etag_coding(s):
    tags = {s.file("/p.js", "Accept-Encoding: " + c).get("ETag") for c in ("br", "gzip", "identity")}
    require(len(tags) == 3, "%r", tags)


@clause("9110 13.1.1", "MUST", "If-Match that fails: 412; comparison is strong")
def if_match(s):
    tag = s.file("/a.txt").get("ETag")
    for value, status in ((tag, 200), ("*", 200), ('"x"', 412), ("W/" + tag, 412), ('"x", ' + tag, 200)):
        r = s.file("/a.txt", "If-Match: " + value)
        require(r.status == status, "%d for %s", r.status, value)


@clause("9110 13.1.2", "MUST", "If-None-Match that matches: 304 to GET and HEAD; comparison is weak")
def if_none_match(s):
    tag = s.file("/a.txt").get("ETag")
    for value, status in ((tag, 304), ("*", 304), ("W/" + tag, 304), ('"x"', 200), ('"x", ' + tag, 304)):
        for method in ("GET", "HEAD"):
            r = s.file("/a.txt", "If-None-Match: " + value, method=method)
            require(r.status == status, "%d for %s", r.status, value)


@clause("9110 13.1.3", "MUST", "If-Modified-Since is ignored beside If-None-Match, or if it is no date")
def if_modified_since(s):
    modified = s.file("/a.txt").get("Last-Modified")
    require(s.file("/a.txt", "If-Modified-Since: " + modified).status == 304, "equal")
    require(s.file("/a.txt", "If-Modified-Since: " + modified, 'If-None-Match: "x"').status == 200, "both")
    require(s.file("/a.txt", "If-Modified-Since: yesterday").status == 200, "no date")
    require(s.file("/a.txt", "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT").status == 200, "older")


@clause("9110 5.6.7", "MUST", "all three forms of dates are understood")
def date_forms(s):
    when = parsedate_to_datetime(s.file("/a.txt").get("Last-Modified"))
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"):
        r = s.file("/a.txt", "If-Modified-Since: " + when.strftime(form))
        require(r.status == 304, "%d for %s", r.status, when.strftime(form))


@clause("9110 13.1.4", "MUST", "If-Unmodified-Since that fails: 412; ignored beside If-Match")
def if_unmodified_since(s):
    tag, old = s.file("/a.txt").get("ETag"), "If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT"
    require(s.file("/a.txt", old).status == 412, "older")
    require(s.file("/a.txt", old, "If-Match: " + tag).status == 200, "beside If-Match")


@clause("9110 13.2.1", "MUST NOT", "preconditions are not evaluated where the answer would be no 2xx")
def precondition_404(s):
    require(s.file("/missing", "If-Match: \"x\"").status == 404, "404 first")
    require(s.file("/sub", "If-None-Match: *").status == 301, "301 first")


@clause("9110 14.2", "MUST", "Range: 206 with Content-Range and the bytes; of GET alone")
def ranges(s):
    for value, body, told in (("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=-3", b"789", "bytes 7-9/10"),
                              ("bytes=8-", b"89", "bytes 8-9/10"), ("bytes=0-99", b"0123456789", "bytes 0-9/10")):
        r = s.file("/a.txt", "Range: " + value)
        require((r.status, r.body, r.get("Content-Range")) == (206, body, told), "%s: %r", value, r.body)
    require(s.file("/a.txt", "Range: bytes=0-1", method="HEAD").status == 200, "HEAD")


@clause("9110 14.2", "MAY", "a range that is not valid, of another unit, or one of several: all of it")
def ranges_ignored(s):
    for value in ("bytes=4-2", "bytes=a-b", "lines=0-1", "bytes=0-1,4-5", "bytes", "bytes="):
        r = s.file("/a.txt", "Range: " + value)
        require(r.status == 200 and r.body == b"0123456789", "%d for %s", r.status, value)


@clause("9110 15.5.17", "SHOULD", "a range that is not there: 416 with Content-Range: bytes */LENGTH")
def range_none(s):
    for value in ("bytes=10-", "bytes=-0", "bytes=99999999999999999999-"):
        r = s.file("/a.txt", "Range: " + value)
        require(r.status == 416 and r.get("Content-Range") == "bytes */10", "%d for %s", r.status, value)


@clause("9110 13.1.5", "MUST", "If-Range that does not match (strongly): Range is ignored")
def if_range(s):
    r = s.file("/a.txt")
    for value, status in ((r.get("ETag"), 206), ("W/" + r.get("ETag"), 200), ('"x"', 200),
                          (r.get("Last-Modified"), 206), ("Sat, 01 Jan 2000 00:00:00 GMT", 200)):
        got = s.file("/a.txt", "Range: bytes=0-1", "If-Range: " + value)
        require(got.status == status, "%d for %s", got.status, value)


@clause("9110 15.3.7", "MUST", "206 has the fields that 200 would have had: Date, ETag, Vary")
def partial_fields(s):
    r = s.file("/p.js", "Range: bytes=0-1")
    require(r.status == 206 and r.get("ETag") and r.get("Vary"), "%r", r.fields)


@clause("9110 15.4.5", "MUST", "304 has the fields that 200 would have had: Date, ETag, Vary")
def not_modified_fields(s):
    r = s.file("/p.js", "If-None-Match: *")
    require(r.status == 304 and r.get("ETag") and r.get("Vary"), "%r", r.fields)


@clause("9110 17.3", "SHOULD", "no path leads out of the folder, whatever its spelling")
def traversal(s):
    for path in ("/../secret", "/%2e%2e/secret", "/sub/../../secret", "/..%2fsecret", "/out",
                 "//etc/passwd", "/.hidden", "/%00", "/./a.txt", "/a.txt/"):
        r = s.file(path)
        require(r.status == 404 and b"secret" not in r.body, "%d for %s", r.status, path)


OTHERS = [
    ("9110 5.6.1", "MUST", "empty elements are ignored in Transfer-Encoding too", "refused, knowingly: of two other servers one takes `, chunked` for chunked and one does not (tests/server/differential), and that is how requests are smuggled. No sender writes it"),
    ("9112 2.2", "MUST NOT", "no whitespace is sent before the first field", "every response of every test is held against the grammar (wire.py)"),
    ("9112 3.2", "MUST NOT", "clauses on what a client or proxy sends", "the server sends no requests"),
    ("9112 6.1", "MUST NOT", "no Transfer-Encoding unless the request says HTTP/1.1", "wire.py checks it on every response"),
    ("9112 6.2", "MUST NOT", "never both Transfer-Encoding and Content-Length", "wire.py checks it on every response"),
    ("9112 6.3", "MAY", "a request body without a length: 411", "nothing needs one: a request without framing has no body"),
    ("9112 7.1.2", "MAY", "trailers are kept or merged into the header", "dropped: nothing that comes behind a body may change what was decided before it"),
    ("9112 7.3", "MUST", "TE and the choice of transfer codings", "chunked alone is sent, and needs no TE"),
    ("9112 9.5", "SHOULD", "idle connections are closed after a time, gracefully", "tests of the core (timeouts by configuration)"),
    ("9112 9.7", "MUST", "TLS connections", "the parser takes https targets when the connection is TLS (test_parse); there is no TLS of the server's own"),
    ("9110 7.6", "MUST", "forwarding: Connection's options, Via, Max-Forwards", "an origin server forwards nothing"),
    ("9110 7.8", "MAY", "Upgrade", "ignored, as a server may; pail_set_header() refuses it"),
    ("9110 9.3.6", "MAY", "CONNECT", "an origin server need not have it: 501"),
    ("9110 9.3.8", "SHOULD", "TRACE reflects the request", "not offered: 405 by the folder, plug-ins decide for themselves"),
    ("9110 10.2.3", "MAY", "Retry-After in a 503", "tests of the core (busy buckets)"),
    ("9110 11", "MUST", "authentication: 401 with WWW-Authenticate", "a matter of plug-ins"),
    ("9110 14.6", "MAY", "multipart/byteranges", "not offered: several ranges get the whole file"),
    ("9112 3.2", "SHOULD", "400 to characters that a query may not hold", "[ ] { } | ^ ` \\ and a bare % are taken in a query, since browsers send them so (URL standard); no framing hangs on them. In a path they are 400"),
]
