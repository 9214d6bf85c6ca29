#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""builtin:replay on a running server needs, to the byte, what base/replay says:
requests that fit their bucket are 200 with that need in the log, those that do
not are 500; and it takes the recorded time."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PAGE = 4096


class Server:
    def __init__(self, program, root, policy, size):
        self.log = os.path.join(root, "log")
        port_file, config = os.path.join(root, "port"), os.path.join(root, "conf")
        for path in (self.log, port_file):
            if os.path.exists(path):
                os.remove(path)
        with open(config, "w") as out:
            out.write("[server]\nthreads = 1\npolicy = %s\n[bucket main]\nsize = %d\ncount = 8\n" % (policy, size))
        self.process = subprocess.Popen(
            [program, "-c", config, "--app", "builtin:replay", "--listen", "127.0.0.1:0", "--log", self.log,
             "--port-file", port_file, "--", "--replay", os.path.join(root, "replay")], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not (os.path.exists(port_file) and os.path.getsize(port_file)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                sys.exit("the server did not start")
            time.sleep(0.02)
        with open(port_file) as text:
            self.port = int(text.read())
        atexit.register(self.end)

    def end(self):
        """A test that failed must not leave it behind."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def ask(self, number):
        """Status and seconds."""
        start = time.monotonic()
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/replay/%d" % (self.port, number), timeout=20) as r:
                status = r.status
        except urllib.error.HTTPError as error:
            status = error.code
        return status, time.monotonic() - start

    def needs(self):
        """Stops it; {request: need} as logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, "the server ended badly"
        with open(self.log) as lines:
            return {int(e["path"].split("/")[-1]): e["need_bytes"] for e in map(json.loads, lines) if e.get("status") == 200}


def check(program, root, policy, requests, size):
    server = Server(program, root, policy, size)
    expected = {}
    for number, need, service_s in requests:
        status, seconds = server.ask(number)
        assert status == (200 if need <= size else 500), "%s: request %d needs %d of %d and got %d" % (
            policy, number, need, size, status)
        if status == 200:
            expected[number] = need
        # one that does not fit holds its bucket as long
        assert seconds >= service_s, "request %d took %f s, not %f" % (number, seconds, service_s)
    assert server.ask(999)[0] == 404
    logged = server.needs()
    assert logged == expected, "%s: logged %r, expected %r" % (policy, logged, expected)


def at_once(program, root, requests):
    """Eight at a time hold no more and no less than alone."""
    server = Server(program, root, "reuse", 1 << 20)
    threads = [threading.Thread(target=server.ask, args=(n,)) for n, _, _ in requests]
    for first in range(0, len(threads), 8):
        for thread in threads[first:first + 8]:
            thread.start()
        for thread in threads[first:first + 8]:
            thread.join()
    assert server.needs() == {n: need for n, need, _ in requests}


def main():
    program, sample = sys.argv[1:]
    with tempfile.TemporaryDirectory() as root:
        lines = subprocess.run([sample, os.path.join(root, "replay")], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.split("\n")[:-1]
        rows = [[int(word) for word in line.split()] for line in lines]
        for policy, column in (("bump", 1), ("reuse", 2)):
            requests = [(r[0], r[column], r[3] / 1e9) for r in rows]
            # The page that one of them just fits, and the one before it.
            middle = sorted(need for _, need, _ in requests)[len(requests) // 2]
            fits = -(-middle // PAGE) * PAGE
            for size in (1 << 20, fits, fits - PAGE):
                check(program, root, policy, requests, max(size, PAGE))
        at_once(program, root, [(r[0], r[2], 0) for r in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
