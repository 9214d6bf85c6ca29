#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_aarch64.py FOLDER SOURCE...: builds the server, what its tests load, and
fuzz targets for aarch64 in FOLDER, and runs them under qemu-user. Skipped (77)
with a word where the cross compiler, qemu or a library for aarch64 is missing."""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "core"))
import harness  # noqa: E402  (the folder of the core's tests)
from harness import SOURCE, Closed, Server  # noqa: E402

CC = "aarch64-linux-gnu-gcc"
ROOT = os.environ.get("PAIL_AARCH64_ROOT", "/usr/local/aarch64-linux-gnu")
INIH = f"{ROOT}/usr/lib/aarch64-linux-gnu/libinih.a"
SECCOMP = f"{ROOT}/usr/lib/aarch64-linux-gnu/libseccomp.a"
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
WRAP = [QEMU, "-L", "/usr/aarch64-linux-gnu"]
FLAGS = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", '-DPAIL_VERSION="test"', f"-I{SOURCE}", f"-I{SOURCE}/include", f"-I{ROOT}/usr/include",
         "-Wall", "-Wextra", "-Werror", "-fPIC", "-fstack-clash-protection", "-fno-omit-frame-pointer", "-ftls-model=initial-exec"]
MALLOC = ["-fno-builtin-" + name for name in
          "malloc free calloc realloc strdup strndup aligned_alloc posix_memalign memalign".split()]
FUZZED = {
    "arena": ["tests/base/sequence.c"],
    "http": ["tests/server/transcript.c"],
    "units": [],
}
FOLDER = SOURCES = None

CONF = """
[server]
cpu_deadline = 500ms
wall_deadline = 120s
threads = 1
image = 256M
[bucket main]
size = 512K
count = 8
"""
# Dividing by zero is no fault on this processor.
FAULTS = {
    "/eat": (500, "oversize"),
    "/huge": (500, "oversize"),
    "/segv": (500, "segv"),
    "/wild": (500, "segv"),
    "/ill": (500, ("ill", "trap")),
    "/abort": (500, "abort"),
    "/assert": (500, "assert"),
    "/exit": (500, "exit"),
    "/recurse": (500, "stack-overflow"),
    "/leap?bytes=100000": (500, "stack-overflow"),
    "/sort-eat": (500, "oversize"),
    "/sort-fall": (500, "segv"),
    "/big-stack?bytes=1500000": (500, "stack-overflow"),
    "/overrun": (500, "segv"),
    "/defer?segv=1": (500, "segv"),
    "/loop": (504, "deadline-cpu"),
    "/loop-libc": (504, "deadline-cpu"),
}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def compile_one(source, more=()):
    target = f"{FOLDER}/{os.path.basename(source)}.o"
    run(CC, *FLAGS, *more, "-c", source, "-o", target)
    return target


def build():
    native = [name for name in os.listdir(f"{SOURCE}/server/request") if name.startswith("switch_") and name.endswith(".S")]
    sources = [s for s in SOURCES if os.path.basename(s) not in native] + [f"{SOURCE}/server/request/switch_aarch64.S"]
    plugins = {name: f"{SOURCE}/tests/server/core/{name}.c" for name in ("faults", "talk", "snapshot")}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {s: pool.submit(compile_one, s, MALLOC if "/server/" in s else ()) for s in sources}
        for name, source in plugins.items():
            jobs[name] = pool.submit(run, CC, "-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", f"-I{SOURCE}/include", "-w", "-fPIC", "-shared",
                                     "-fstack-clash-protection", source, "-o", f"{FOLDER}/{name}.so")
        objects = {s: jobs[s].result() for s in sources}
        for name in plugins:
            jobs[name].result()
    run(CC, *objects.values(), INIH, SECCOMP, f"-Wl,--dynamic-list={SOURCE}/server/server.symbols", "-Wl,-z,now", "-pie", "-ldl", "-lpthread", "-lm",
        "-o", f"{FOLDER}/pail-server")
    library = [o for s, o in objects.items() if "/base/" in s or os.path.basename(s).startswith(("parse", "date", "mime", "negotiate", "response"))]
    for name, more in FUZZED.items():
        run(CC, *FLAGS, f"{SOURCE}/tests/fuzz/fuzz_{name}.c", f"{SOURCE}/tests/fuzz/corpus.c", *(f"{SOURCE}/{m}" for m in more),
            *library, INIH, "-lm", "-o", f"{FOLDER}/fuzz_{name}")
    run(CC, *FLAGS, "-frounding-math", "-Wno-infinite-recursion", f"{SOURCE}/tests/server/aarch64/check_switch.c", objects[f"{SOURCE}/server/request/switch_aarch64.S"], "-lm",
        "-o", f"{FOLDER}/check_switch")


def server(app):
    return Server(f"{FOLDER}/{app}.so" if ":" not in app and "/" not in app else app, CONF, wrap=WRAP)


class Aarch64(unittest.TestCase):
    maxDiff = None

    def test_changes_of_stack(self):
        self.assertEqual(run(*WRAP, f"{FOLDER}/check_switch"), "fine\n")

    def test_arena_parser_and_units_on_their_seeds(self):
        for name in FUZZED:
            folder = f"{SOURCE}/tests/fuzz/{name}"
            seeds = [f"{folder}/{seed}" for seed in os.listdir(folder) if seed.endswith(".seed")]
            self.assertIn("inputs", run(*WRAP, f"{FOLDER}/fuzz_{name}", *seeds))

    def test_a_fault_costs_one_request(self):
        with server("faults") as running, running.client() as client:
            for target, (status, _) in FAULTS.items():
                with self.subTest(target=target):
                    self.assertEqual(client.ask("GET", target).status, status)
                    self.assertEqual(client.ask("GET", "/ok").body, b"ok\n")
            lines = [line for line in running.wait_lines(2 * len(FAULTS)) if line["path"] != "/ok"]
            for line, (target, (_, cause)) in zip(lines, FAULTS.items()):
                self.assertIn(line["cause"], cause if isinstance(cause, tuple) else (cause,), target)
            line = next(line for line in lines if line["path"] == "/recurse")
            self.assertGreater(line["stack_peak_bytes"], 60000)

    def test_many_faults_in_a_row(self):
        with server("faults") as running, running.client() as client:
            client.ask("GET", "/ok")
            before = running.descriptors()
            for target in ("/recurse", "/segv", "/eat"):
                for _ in range(150):
                    self.assertEqual(client.ask("GET", target).status, 500)
            self.assertEqual(running.descriptors(), before)

    def test_conversations(self):
        with server("talk") as running:
            with running.client() as client:
                body = os.urandom(100000)
                self.assertEqual(client.ask("POST", "/echo", body=body).body, body)
                answer = client.ask("GET", "/stream?bytes=100000&piece=3000")
                self.assertEqual((answer.status, len(answer.body)), (200, 100000))
                self.assertEqual(client.ask("GET", "/sleep?ms=30").status, 200)
                client.send(client.request("GET", "/x") * 10)
                self.assertEqual([client.read().status for _ in range(10)], [200] * 10)
                client.send("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
                self.assertEqual(client.read().status, 400)

    def test_fresh_state_for_each_request(self):
        with server("snapshot") as running, running.client() as client:
            first = client.ask("GET", "/").body
            self.assertTrue(first.startswith(b"fresh 1 1"), first)
            self.assertEqual(client.ask("GET", "/die").status, 500)
            for _ in range(20):
                self.assertEqual(client.ask("GET", "/").body, first)

    def test_a_response_that_has_begun_is_cut_off(self):
        with server("faults") as running, running.client() as client:
            with self.assertRaises(Closed):
                client.ask("GET", "/late")


def main():
    global FOLDER, SOURCES
    FOLDER, SOURCES = sys.argv[1], sys.argv[2:]
    for what, there, cure in ((CC, shutil.which(CC), "install gcc-aarch64-linux-gnu"), ("qemu-aarch64-static", QEMU, "install qemu-user-static"),
                              ("libinih and libseccomp for aarch64", os.path.exists(INIH) and os.path.exists(SECCOMP), "run scripts/aarch64-root")):
        if not there:
            print(f"skipped: {what} is not here ({cure})")
            return 77
    os.makedirs(FOLDER, exist_ok=True)
    build()
    harness.SERVER = f"{FOLDER}/pail-server"
    unittest.main(argv=sys.argv[:1], verbosity=2)


if __name__ == "__main__":
    sys.exit(main())
