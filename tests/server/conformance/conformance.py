#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs every clause against a running server, and keeps docs/http-conformance.md
equal to the list of clauses.

    conformance.py --server PATH --echo PLUGIN --docs FILE   (what ctest runs)
    conformance.py --server PATH --echo PLUGIN --tls         (all of it by TLS)
    conformance.py --write FILE                              (writes the table)
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from clauses import CLAUSES, OTHERS, Server  # noqa: E402
from wire import Connection, Wrong  # noqa: E402

CONFIG = """[server]
listen = 127.0.0.1:0
threads = 1
connections = 64
head = 16K
[bucket main]
size = 256K
count = 8
"""
TLS = """[tls]
listen = 127.0.0.1:0
cert = {root}/cert.pem
key = {root}/key.pem
connections = 64
"""
START_S = 20


def make_certificate(root):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", root + "/key.pem", "-out",
                    root + "/cert.pem", "-days", "2", "-subj", "/CN=test"], check=True, capture_output=True)


def make_folder(root):
    folder = os.path.join(root, "folder")
    os.makedirs(os.path.join(folder, "sub"))
    content = {"a.txt": "0123456789", "index.html": "<p>index", "sub/index.html": "<p>sub",
               "p.js": "plain javascript " * 20, "p.js.gz": "gzip", "p.js.br": "br",
               ".hidden": "secret", "future.txt": "later", "../secret": "secret"}
    for name, text in content.items():
        path = os.path.join(folder, name)
        with open(path, "w") as out:
            out.write(text)
        when = time.time() + (86400 if name == "future.txt" else -86400)
        os.utime(path, (when, when))
    os.symlink("../secret", os.path.join(folder, "out"))
    return folder


class Running:
    """One server process, on a port that the kernel chose."""

    def __init__(self, program, root, name, app, tls, *words):
        config, port_file = os.path.join(root, name + ".conf"), os.path.join(root, name + ".port")
        errors = os.path.join(root, name + ".errors")
        with open(config, "w") as out:
            out.write(CONFIG + (TLS.format(root=root) if tls else ""))
        with open(errors, "wb") as stderr:
            self.process = subprocess.Popen([program, "-c", config, "--app", app, "--port-file", port_file,
                                             "--", *words], stderr=stderr)
        deadline = time.monotonic() + START_S
        while not (os.path.exists(port_file) and os.path.getsize(port_file)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                sys.exit("the server did not start: %s --app %s" % (program, app))
            time.sleep(0.02)
        with open(port_file) as text:
            self.port = int(text.read())
        while tls:
            with open(errors) as text:
                found = re.search(r"listening on 127\.0\.0\.1:(\d+) with TLS", text.read())
            if found:
                self.port = int(found[1])
                break
            if time.monotonic() > deadline:
                self.stop()
                sys.exit("the server does not listen with TLS")
            time.sleep(0.02)

    def stop(self):
        """Its exit status, after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def table():
    rows = [(s, level, text, "`%s`" % f.__name__) for s, level, text, f in CLAUSES]
    rows += [(s, level, text, reason) for s, level, text, reason in OTHERS]
    rows.sort(key=lambda r: (-int(r[0].split()[0]), [int(n) for n in r[0].split()[1].split(".")]))
    rows.sort(key=lambda r: r[0].split()[0] != "9112")
    lines = ["# HTTP/1.1, clause by clause", "",
             "What RFC 9112 and RFC 9110 ask of an origin server. A name in the last column is the",
             "function of tests/server/conformance/clauses.py that shows the clause on a running",
             "server; a sentence says why there is nothing to show. This table is written by",
             "`tests/server/conformance/conformance.py --write docs/http-conformance.md`, and a test",
             "holds it against that list.", "", "| RFC | level | clause | shown by |",
             "| --- | --- | --- | --- |"]
    for section, level, text, shown in rows:
        cells = ["RFC " + section.replace(" ", ", "), level, text, shown]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def run_clauses(server, only, skip):
    failed = 0
    for section, level, text, function in CLAUSES:
        if (only and only not in function.__name__) or function.__name__ == skip:
            continue
        try:
            function(server)
        except Exception as wrong:  # whatever it is, the clause is not shown
            failed += 1
            wrong = wrong if isinstance(wrong, Wrong) else repr(wrong)
            print("RFC %s, %s, %s (%s):\n    %s" % (section, level, text, function.__name__, wrong))
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server")
    parser.add_argument("--echo")
    parser.add_argument("--docs")
    parser.add_argument("--write")
    parser.add_argument("--skip", help="the clause of that function is not shown")
    parser.add_argument("--only", help="clauses whose function has this in its name")
    parser.add_argument("--tls", action="store_true", help="speak TLS to it")
    args = parser.parse_args()
    if args.write:
        with open(args.write, "w") as out:
            out.write(table())
        return 0
    if args.docs:
        with open(args.docs) as text:
            if text.read() != table():
                sys.exit("%s is not what --write writes: write it again" % args.docs)
    with tempfile.TemporaryDirectory() as root:
        folder = make_folder(root)
        Connection.tls = args.tls
        if args.tls:
            make_certificate(root)
        echo = Running(args.server, root, "echo", args.echo, args.tls)
        files = Running(args.server, root, "files", folder, args.tls)
        try:
            failed = run_clauses(Server(echo.port, files.port, folder), args.only, args.skip)
        finally:
            statuses = [echo.stop(), files.stop()]
    if statuses != [0, 0]:
        failed += 1
        print("the servers ended with %r, not 0" % statuses)
    print("%d clauses, %d failed" % (len(CLAUSES), failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
