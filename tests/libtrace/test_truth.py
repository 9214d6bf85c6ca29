#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whose an allocation is, end to end, in servers of every build.

    test_truth.py PAIL TRACE_OPS VICTIM NAME

Each request K allocates blocks of a size that only it has, before and between
its waits, while 16 connections are served at once. Every one of them must be
found in the trace with its request, and every request must be there once.
"""
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers  # noqa: E402  pylint: disable=wrong-import-position

TRACE_OPS, VICTIM = map(os.path.abspath, sys.argv[2:4])
NAME = sys.argv[4]
# Models of tests/victims/models.c, and what they must be recorded with.
MODELS = {"thread": [], "fork": [], "epoll": [], "deferred": [], "writes": [], "frees": ["--handoff=condvar"],
          "silent": ["--handoff=condvar"], "marked": [], "followed": []}
CONNECTIONS, SHARE, BLOCKS, TAG = 16, 12, 6, 7000000

COMMON = """
import asyncio, ctypes, random, sys
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]

def block(k):
    libc.free(libc.malloc(7000000 + 16 * k))

async def inner(k):
    block(k)
    await asyncio.sleep(random.random() / 100)
    block(k)

def job(k):
    block(k)

async def work(k):
    block(k)
    await asyncio.sleep(random.random() / 100)
    block(k)
    await asyncio.gather(asyncio.create_task(inner(k)),
                         asyncio.get_running_loop().run_in_executor(None, job, k))
    await asyncio.sleep(0)
    block(k)
    return b"ok %d" % k
"""

ASYNCIO = COMMON + """
async def serve(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except asyncio.IncompleteReadError:
            break
        body = await work(int(head.split()[1].rsplit(b"/", 1)[1]))
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
        await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""

AIOHTTP = COMMON + """
from aiohttp import web
async def handle(request):
    body = await work(int(request.match_info["k"]))
    if request.match_info["how"] == "stream":
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(body)
        await asyncio.sleep(0.001)
        await answer.write_eof()
        return answer
    return web.Response(body=body)
app = web.Application()
app.add_routes([web.get("/{how}/{k}", handle)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""

NODE = """
const http = require('http');
const pause = () => new Promise(done => setTimeout(done, Math.random() * 10));
const held = [];
function block(k) { // never collected while the test runs
	held.push(Buffer.allocUnsafeSlow(7000000 + 16 * k));
}
async function inner(k) { block(k); await pause(); block(k); }
http.createServer(async (request, response) => {
	const k = Number(request.url.split('/')[2]);
	block(k);
	await pause();
	block(k);
	await inner(k);
	await new Promise(done => setImmediate(done));
	await Promise.resolve();
	block(k);
	process.nextTick(() => { block(k); response.end('ok ' + k); });
}).listen(Number(process.argv[2]), '127.0.0.1');
"""


def send(port, how):
    """Request K once for each K, over CONNECTIONS connections at once."""
    problems = []

    def one(first):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            for k in range(first, first + SHARE):
                connection.request("GET", f"/{how}/{k}")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or body != b"ok %d" % k:
                    problems.append((k, answer.status, body))
            connection.close()
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)

    threads = [threading.Thread(target=one, args=(i * SHARE,)) for i in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:5]


def check(r, hows):
    """Every request once, and every tagged block with its own."""
    done = subprocess.run([TRACE_OPS, r.trace], capture_output=True, text=True, check=True)
    seen = {}
    right = wrong = 0
    for line in done.stdout.splitlines():
        _, target, _, sizes = line.split("\t")
        how, k = target[1:].split("/")
        tags = [int(size) for size in sizes.split() if TAG <= int(size) < TAG + 16 * 1024]
        right += tags.count(TAG + 16 * int(k))
        wrong += len(tags) - tags.count(TAG + 16 * int(k))
        astray = [(tag - TAG) // 16 for tag in tags if tag != TAG + 16 * int(k)]
        if astray:
            print(f"{target} has blocks of {astray}")
        assert (how, int(k)) not in seen, f"{target} is there twice"
        seen[how, int(k)] = len(tags)
    total = CONNECTIONS * SHARE
    assert len(seen) == total * len(hows), f"{len(seen)} requests, sent {total * len(hows)}"
    asked = BLOCKS * total * len(hows)
    print(f"{len(seen)} requests; of {asked} tagged blocks {right} with their request,"
          f" {wrong} with another, {asked - right - wrong} with none")
    surest = r.rows("SELECT confidence, count(*) FROM request GROUP BY 1")
    print(surest)
    return asked, right, wrong


def main():
    folder = tempfile.mkdtemp(prefix=f"pail-{NAME}-")
    port = servers.free_port()
    env, hows, options = {"PYTHONMALLOC": "malloc"}, ["work"], MODELS.get(NAME, [])
    marked = not NAME.startswith("bare-")
    name = NAME.removeprefix("bare-")
    path = os.path.join(folder, "app")
    if name not in MODELS and marked:
        options = ["--adapter", "node" if name == "node" else "python"]
    if name == "node":
        command = [servers.need("node"), path, str(port)]
    elif name in MODELS:
        command, env, marked = [VICTIM, name, str(port)], {}, True
    else:
        command = [servers.python_with("aiohttp" if name == "aiohttp" else "asyncio"), path,
                   str(port)]
    if name == "aiohttp":
        hows.append("stream")
    with open(path, "w", encoding="ascii") as f:
        f.write({"asyncio": ASYNCIO, "aiohttp": AIOHTTP, "node": NODE}.get(name, ""))
    try:
        with servers.Recording(folder, command, port, env=env, options=options) as r:
            for how in hows:
                send(port, how)
        asked, right, wrong = check(r, hows)
        # without the adapter it is the sums alone that can be trusted
        assert not marked or (right, wrong) == (asked, 0), r.text()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
