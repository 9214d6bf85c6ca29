#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same bytes to this server and to others: node (llhttp) and libmicrohttpd.
Every connection ends in a sentinel request; what each server took for a request
is written down, and where two differ, EXPLAINED must say why that is right.

    differential.py --server PATH --echo PLUGIN [--mhd PROGRAM] [--rounds N] [--seed N]

Differences are of four kinds: "stricter" (only this server refuses: its own
reason is the key), "laxer" (only the other refuses), "later" (both refuse,
this one after more answers), "differs" (both take it, and do not agree on what it
was: none is allowed)."""

import argparse
import collections
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conformance"))
from conformance import Running  # noqa: E402

H = b"Host: a\r\n"
SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
QUIET_S = 0.5


def cases():
    """Requests that servers are known to read differently."""
    lines = [b"GET / HTTP/1.1", b"GET /a?b HTTP/1.1", b"get / HTTP/1.1", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ",
             b"GET\t/ HTTP/1.1", b" GET / HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/1.2", b"GET / HTTP/2.0",
             b"GET / HTTP/0.9", b"GET /", b"GET / http/1.1", b"GET / HTTP/1.", b"GET / HTTP/1.11", b"FOO / HTTP/1.1",
             b"GET http://b/c HTTP/1.1", b"GET http:///c HTTP/1.1", b"GET http://u@b/ HTTP/1.1", b"GET * HTTP/1.1",
             b"OPTIONS * HTTP/1.1", b"GET a HTTP/1.1", b"GET /%zz HTTP/1.1", b"GET /\x80 HTTP/1.1", b"GET /# HTTP/1.1",
             b"GET /< HTTP/1.1", b"GET /?[] HTTP/1.1", b"GET /a\x00b HTTP/1.1", b"CONNECT a:1 HTTP/1.1"]
    for line in lines:
        yield line + b"\r\n" + H + b"\r\n"
    for start in (b"\r\n", b"\r\n\r\n", b"\n", b"\r\n\r\n\r\n\r\n", b"\x00"):
        yield start + b"GET / HTTP/1.1\r\n" + H + b"\r\n"
    hosts = [b"", H + H, b"Host:\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a:b\r\n", b"Host: a@b\r\n"]
    fields = [b"X : y", b"X\t: y", b" X: y", b"X: a\r\n b", b"X: a\r\n\tb", b": y", b"X", b"X y: z", b"X(: y", b"X: a\x00b",
              b"X: a\x01b", b"X: a\rb", b"X: a\r\r", b"X: \x80\xff", b"X: a\x7fb", b"X:", b"\x80: y", b"X: a\nY: b",
              b"Expect: 100-continue", b"Expect: pony", b"Connection: close", b"Connection: keep-alive, close", b"Upgrade: x"]
    for host in hosts:
        yield b"GET / HTTP/1.1\r\n" + host + b"\r\n"
    for field in fields:
        yield b"GET / HTTP/1.1\r\n" + H + field + b"\r\n\r\n"
    lengths = [b"3", b"0", b"03", b" 3 ", b"+3", b"-3", b"3a", b"0x3", b"3,3", b"3, 4", b"3 3", b"", b"3.0", b"9" * 30,
               b"3\r\nContent-Length: 3", b"3\r\nContent-Length: 4", b"\x0b3", b"3\x00"]
    for value in lengths:
        yield b"POST / HTTP/1.1\r\n" + H + b"Content-Length: " + value + b"\r\n\r\nabc"
    codings = [b"chunked", b"CHUNKED", b"chunked, chunked", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"xchunked",
               b", chunked", b"chunked,", b"chunked;a=b", b"\"chunked\"", b"", b"\x0bchunked", b"chunked\r\nTransfer-Encoding: x",
               b"x\r\nTransfer-Encoding: chunked", b"chunked\r\nContent-Length: 3", b"chunked\r\nContent-Length: 0", b"cow"]
    for value in codings:
        yield b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: " + value + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    yield b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    yield b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding : chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    yield b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    bodies = [b"3\r\nabc\r\n0\r\n\r\n", b"003\r\nabc\r\n0000\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\n\r\n", b"3;a=\"b;\"\r\nabc\r\n0\r\n\r\n",
              b"3 \r\nabc\r\n0\r\n\r\n", b" 3\r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n",
              b"3\r\nabcd\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3;\r\nabc\r\n0\r\n\r\n",
              b"3;a\nb\r\nabc\r\n0\r\n\r\n", b"3\rabc\r\n0\r\n\r\n", b"\r\nabc\r\n0\r\n\r\n", b"10000000000000003\r\nabc\r\n0\r\n\r\n",
              b"3\r\nabc\r\n0\r\nX: y\r\n\r\n", b"3\r\nabc\r\n0\r\nX : y\r\n\r\n", b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
              b"3\r\nabc\r\n0\r\nX\r\n\r\n", b"3\r\nabc\r\n0\n\n", b"3\r\nabc\r\n0\r\n\n", b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
              b"3;a b\r\nabc\r\n0\r\n\r\n", b"3g\r\nabc\r\n0\r\n\r\n", b"-1\r\nabc\r\n0\r\n\r\n"]
    for body in bodies:
        yield b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + body


def mutated(rounds, seed):
    choose = random.Random(seed)
    base = list(cases())
    odd = [b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b";", b"0", b"a", b"\x0b", b"\x80", b"%", b"/", b"\""]
    for _ in range(rounds):
        data = choose.choice(base)
        for _ in range(choose.randint(1, 2)):
            at = choose.randrange(len(data))
            data = data[:at] + choose.choice(odd) + data[at + choose.randint(0, 1):]
        yield data


def exchange(port, data):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(QUIET_S)
        received = b""
        try:
            connection.sendall(data + SENTINEL)
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except socket.timeout:
            received += b"<WAITS>"
        except (ConnectionResetError, BrokenPipeError):
            pass
    return received


def requests_of(received):
    """["GET /a BODY", ..., 400 or "waits"], and the reason line of this server."""
    seen, reason = [], ""
    while received.startswith(b"HTTP/1."):
        head, _, rest = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status < 200:
            received = rest
            continue
        length = re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.I)
        chunked = re.search(rb"\r\ntransfer-encoding: *chunked", head, re.I)
        if chunked:
            body, rest = b"", rest
            while True:
                size, _, rest = rest.partition(b"\r\n")
                size = int(size or b"0", 16)
                body, rest = body + rest[:size], rest[size + 2:]
                if not size:
                    break
        else:
            size = int(length[1]) if length else len(rest)
            body, rest = rest[:size], rest[size:]
        if status == 200:
            # An absolute target is told by some as it came, by some as a path.
            seen.append(re.sub(r" http://[^/? ]*([?/]?)", lambda m: " " + (m[1] or "/"), body.decode("latin-1"), count=1))
        else:
            seen.append("refused")
            reason = reason or body.decode("latin-1").strip()
            break
        received = rest
    if received.startswith(b"<WAITS>"):
        seen.append("waits")
    if not seen:
        seen.append("refused")  # closed without a word
    return seen, reason


# Of "stricter", the pattern is of this server's reason; else of the bytes.
EXPLAINED = [
    # Only this server refuses.
    ("stricter", "*", r"two spaces|no request line|HTTP version|method that is no token",
     "request lines are taken as RFC 9112, 3 writes them; its leniency is a MAY"),
    ("stricter", "*", r"empty lines|no request line", "at most two empty lines before a request (RFC 9112, 2.2)"),
    ("stricter", "*", r"percent|non-ASCII|'\*'|neither a path|control or",
     "targets must match the grammar: SHOULD be 400 (RFC 9112, 3.2)"),
    ("stricter", "*", r"[Hh]ost", "Host: exactly one, valid: MUST be 400 (RFC 9112, 3.2)"),
    ("stricter", "*", r"CR without LF|LF without CR|control character",
     "bare CR and LF, NUL and controls are invalid (RFC 9112, 2.2; RFC 9110, 5.5)"),
    ("stricter", "*", r"whitespace before the colon", "MUST be 400 (RFC 9112, 5.1)"),
    ("stricter", "*", r"starts with whitespace", "obs-fold and space before the first field: MUST be refused (RFC 9112, 5.2, 2.2)"),
    ("stricter", "*", r"without a name|name that is no token", "field names are tokens (RFC 9110, 5.1)"),
    ("stricter", "*", r"Content-Length", "framing that two could read differently is refused (RFC 9112, 6.1 to 6.3)"),
    ("stricter", "*", r"Transfer-Encoding|transfer coding", "framing that two could read differently is refused (RFC 9112, 6.1 to 6.3)"),
    ("stricter", "*", r"expectation", "an unknown expectation may be 417 (RFC 9110, 10.1.1)"),
    ("stricter", "*", r"CONNECT", "an origin server need not have CONNECT (RFC 9110, 9.3.6)"),
    ("stricter", "*", r"^Bad Request|chunk|trailer", "chunks and trailers are taken as RFC 9112, 7.1 writes them"),
    ("stricter", "*", r"[Mm]ethod longer|Not Implemented", "a method of more than 32 bytes: SHOULD be 501 (RFC 9112, 3)"),
    ("stricter", "*", r"HTTP/1.0 and HTTP/1.1|Version Not", "another major version: SHOULD be 505 (RFC 9110, 15.6.6)"),
    # Only the other refuses.
    ("laxer", "node", r"(?:HTTP/1\.0\r\n|Connection:[^\r\n]*close).*GET /sentinel",
     "node answers 400 to what follows a request that ends the connection, and loses the answer; here it is ignored"),
    ("laxer", "node", r"^(?:\r\n)*(?!GET|POST|OPTIONS|HEAD|PUT|CONNECT)[A-Za-z0-9!#$%&'*+.^_`|~-]+ ",
     "llhttp has a list of methods; any token is one here (RFC 9110, 9.1)"),
    ("laxer", "node", r"\r\n(?:\r\n)*(?!GET|POST)[A-Za-z0-9]+GET /sentinel", "the same, of the request behind a body that is longer than told"),
    ("laxer", "node", r"HTTP/1\.[2-9]", "a later 1.x is read as 1.1 (RFC 9110, 2.5)"),
    ("laxer", "node", r"\r\n0\r\nContent-Length", "a trailer of that name is read over, as the RFC wants; llhttp takes it for a header field"),
    ("laxer", "libmicrohttpd", r"Expect: 100-continue", "libmicrohttpd closes on an expectation without a body"),
    ("laxer", "libmicrohttpd", r"Content-Length:[ \t]*[0-9]+[ \t]+\r", "libmicrohttpd does not take the whitespace off the value's end"),
    ("laxer", "libmicrohttpd", r"HTTP/1\.[2-9]", "a later 1.x is read as 1.1 (RFC 9110, 2.5)"),
    # Both refuse, but not from the same request on.
    ("later", "node", r"", "node loses the answers that are due when what comes behind them is bad"),
]


def explain(kind, name, reason, data, ours, theirs):
    for wanted_kind, wanted_name, pattern, text in EXPLAINED:
        if wanted_kind == kind and wanted_name in (name, "*"):
            subject = reason if kind == "stricter" else (data + SENTINEL).decode("latin-1")
            if re.search(pattern, subject, re.S):
                return text
    return None


def kind_of(ours, theirs):
    if ours == theirs:
        return None
    ours_no, theirs_no = "refused" in ours, "refused" in theirs
    if ours_no and theirs_no and ours[:-1] == theirs[:-1]:
        return None
    if ours_no and theirs[:len(ours) - 1] == ours[:-1]:
        return "stricter"
    if theirs_no and ours[:len(theirs) - 1] == theirs[:-1]:
        return "later" if ours_no else "laxer"
    return "differs"


def compare(data, ports):
    results = {name: requests_of(exchange(port, data)) for name, port in ports.items()}
    ours, reason = results["pail"]
    for name, (theirs, _) in results.items():
        kind = name != "pail" and kind_of(ours, theirs)
        if kind:
            yield kind, name, reason, data, ours, theirs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--echo", required=True)
    parser.add_argument("--mhd")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="also print what is explained")
    args = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    others = {}
    if shutil.which("node"):
        others["node"] = ["node", os.path.join(here, "node.js")]
    if args.mhd:
        others["libmicrohttpd"] = [args.mhd]
    if not others:
        print("neither node nor libmicrohttpd is there: nothing to compare with")
        return 77
    with tempfile.TemporaryDirectory() as root:
        pail = Running(args.server, root, "echo", args.echo, None, "describe")
        processes = {n: subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for n, c in others.items()}
        ports = {"pail": pail.port}
        ports.update({n: int(p.stdout.readline()) for n, p in processes.items()})
        data = list(dict.fromkeys(list(cases()) + list(mutated(args.rounds, args.seed))))
        with ThreadPoolExecutor(16) as pool:
            found = [d for ds in pool.map(lambda d: list(compare(d, ports)), data) for d in ds]
        for process in processes.values():
            process.terminate()
            process.wait()
        status = pail.stop()
    counts, unexplained = collections.Counter(), 0
    for kind, name, reason, bytes_, ours, theirs in found:
        text = explain(kind, name, reason, bytes_, ours, theirs)
        counts[(kind, name, text or "NOT EXPLAINED")] += 1
        if not text or args.all:
            unexplained += not text
            print("%s %s: %r\n    pail: %r %s\n    %s: %r" % (kind, name, bytes_, ours, reason, name, theirs))
    for (kind, name, text), count in sorted(counts.items()):
        print("%5d  %-8s than %-13s  %s" % (count, kind, name, text))
    print("%d connections, %d servers, %d differences, %d not explained" %
          (len(data), len(ports), len(found), unexplained))
    return 1 if unexplained or status else 0


if __name__ == "__main__":
    sys.exit(main())
