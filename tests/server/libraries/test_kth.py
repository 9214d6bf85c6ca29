#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_kth.py LIBRARY [--debug-escapes]: the k-th allocation of a request fails, for every k, and
all after it, or it alone; then a plain request must be as ever. No hang, no
crash, nothing kept: no descriptors, no blocks outside of the bucket, and what
the last request left in the bucket is garbage before the next one begins."""
import http.server
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "core"))
import harness  # noqa: E402  (the folder of the core's tests)
from harness import BUILD, Server  # noqa: E402

harness.SERVER = f"{BUILD}/tests/server/libraries/pail-server-kth"
FOLDER = f"{BUILD}/tests/server/libraries"

CONF = """
[server]
cpu_deadline = 3s
wall_deadline = 8s
image = 64M
[bucket main]
size = 2M
count = 1
[on_oom]
{on_oom}
"""
NULL, UNWIND = "null", "unwind"
# The library that malloc is asked by, and the policies that it lives with, the
# one to be recommended first. Left out: Duktape's and libxml2's ways out of no
# memory have faults of their own.
LIBRARIES = {
    "sqlite": ("libsqlite3", (NULL, UNWIND)),
    "jansson": ("libjansson", (NULL, UNWIND)),
    "cjson": ("libcjson", (NULL, UNWIND)),
    "lua": ("liblua5.4", (NULL, UNWIND)),
    "zlib": ("libz", (NULL, UNWIND)),
    "curl": ("libcurl", (NULL, UNWIND)),
    "yaml": ("libyaml-0", (NULL, UNWIND)),
    "pcre2": ("libpcre2-8", (NULL, UNWIND)),
    "expat": ("libexpat", (NULL, UNWIND)),
    "libxml2": ("libxml2", (UNWIND,)),
    "openssl": ("libcrypto", (UNWIND, NULL)),
    "duktape": ("libduktape", (UNWIND,)),
    "cxx": ("libstdc++", (NULL, UNWIND)),
}
LAST = 20000
# A single failure leaves what OpenSSL then looks up in its table for ever.
NOT_ONCE = {("openssl", NULL)}
# Signatures have a random length, and so have their allocations.
NEED_VARIES = {"openssl", "curl"}


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self):
        try:
            super().handle()
        except OSError:  # a client that was left by a jump
            pass

    def do_GET(self):
        body = b"a page\n" * 20
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def sweep(name, policy, once, more, options):
    """(allocations, failed requests, causes): asserts on the way."""
    conf = CONF.format(on_oom=f"{LIBRARIES[name][0]} = {policy}")
    with Server(f"{FOLDER}/{name}.so", conf, options=options) as server:
        client = server.client()

        def ask(query):
            nonlocal client
            try:
                return client.ask("GET", f"/?{query}{more}")
            except harness.Closed:  # a response that had begun was cut off
                client.socket.close()
                client = server.client()
                return None

        plain = ask("k=0")
        assert plain.status == 200 and plain.body, (plain, server.errors())
        ask("k=0")
        descriptors, statuses = server.descriptors(), []
        for k in range(1, LAST):
            answer = ask(f"k={k}&once={once}")
            statuses.append(answer.status if answer else 0)
            again = ask("k=0")
            assert again and (again.status, again.body) == (200, plain.body), (
                f"k={k}: {answer} then {again}; plain {plain}; {server.lines()[-2:]} {server.errors()}")
            if answer and answer.status == 200 and answer.headers["x-failed"] == "0":
                break
        else:
            raise AssertionError(f"no end of allocations: {statuses[-5:]}")
        client.socket.close()
        assert server.descriptors() <= descriptors, (server.descriptors(), descriptors)
        lines = server.wait_lines(2 + 2 * len(statuses))
        told = [line for line in server.errors().splitlines() if "escape:" in line]
        assert not told, f"{len(told)} escapes: {told[:3]}"
    # The first request, and the first that fails, have libc set itself up.
    left = [line for line in lines[4:] if "system_blocks_left" in line]
    assert not left, f"{len(left)} requests left blocks outside of their bucket: {left[:3]}"
    needs = {line["need_bytes"] for line in lines[3::2]}
    assert len(needs) == 1 or name in NEED_VARIES, f"the same work has the needs {needs}"
    causes = {}
    for line in lines:
        if line.get("cause"):
            causes[line["cause"]] = causes.get(line["cause"], 0) + 1
    return len(statuses) - 1, len([s for s in statuses if s != 200]), causes


def main():
    name = sys.argv[1]
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    page.daemon_threads = True
    threading.Thread(target=page.serve_forever, daemon=True).start()
    more = f"&port={page.server_port}" if name == "curl" else ""
    failed = False
    for policy in LIBRARIES[name][1]:
        for once in (0, 1):
            if once and (name, policy) in NOT_ONCE:
                continue
            which = f"{name}, {policy}, {'one fails' if once else 'that and all after it'}"
            try:
                count, bad, causes = sweep(name, policy, once, more, sys.argv[2:])
            except AssertionError as error:
                print(f"FAILED  {which}: {error}")
                failed = True
                continue
            print(f"{which}: {count} allocations, {bad} requests failed; causes {causes}", flush=True)
            if not 0 < bad <= count:
                print(f"FAILED  {which}: none failed")
                failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
