#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""request_instructions.py: how many instructions of its own code the server takes for
a request of builtin:send-static-file, by callgrind: repeatable where times are not.

One client, no log; requests one after the other, and 16 in one write. Of two runs
the difference by the difference of their requests, so the start is not in it.

PAIL_BUILD=build PAIL_SOURCE=.
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "server", "core"))
from harness import SERVER  # noqa: E402

# Valgrind's own memory is a part of the process, hence the image.
CONF = "[server]\nconnections = 64\nimage = 2G\n[bucket main]\nsize = 256K\ncount = 8\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
START_S = 60


def talk(port, batches, size):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(START_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(REQUEST)
        answer_bytes = len(client.recv(65536))
        for _ in range(batches):
            client.sendall(REQUEST * size)
            left = answer_bytes * size
            while left > 0:
                got = len(client.recv(min(left, 65536)))
                assert got, "the server has closed"
                left -= got


def instructions(batches, size):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/conf", "w", encoding="ascii") as file:
            file.write(CONF)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", SERVER, "-c", f"{folder}/conf", "--app",
                   "builtin:send-static-file", "--listen", "127.0.0.1:0", "--port-file", f"{folder}/port", "--no-supervisor"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
            try:
                until = time.monotonic() + START_S
                while not (os.path.exists(f"{folder}/port") and os.path.getsize(f"{folder}/port")):
                    assert server.poll() is None and time.monotonic() < until, f"it does not start: {server.stderr.read()}"
                    time.sleep(0.02)
                with open(f"{folder}/port", encoding="ascii") as file:
                    talk(int(file.read()), batches, size)
            finally:
                server.terminate()
            server.communicate(timeout=START_S)
        with open(f"{folder}/out", encoding="utf-8", errors="replace") as file:
            return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M).group(1))


def main():
    if subprocess.run(["which", "valgrind"], capture_output=True, check=False).returncode:
        print("valgrind is not installed")
        return 77
    for name, size, batches in ("one after the other", 1, 4000), ("16 in one write", 16, 500):
        few, many = instructions(batches, size), instructions(2 * batches, size)
        print(f"{name:20} {(many - few) / (batches * size):8.0f} instructions for a request", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
