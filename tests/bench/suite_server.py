# SPDX-License-Identifier: MIT
"""The server beside its peers; see suite.py. Everything by HTTP over loopback, the
server on processor 0, the load on the last; what is compared is the CPU time of all
the server's threads, in microseconds for a request."""
import functools
import re
import resource
import signal
import socket
import subprocess
import tempfile

import peers
from harness import Client
from measure import Meter, compare, grow
from peers import BUILD, CLIENT_CPU, Group

MANY = 20000
HELLO = ("/",)
NEA_CLIENTS, NEA_REQUESTS = 4, 40000
PIPELINED = 16
# 52 points in 760 bytes, as the CSV of Nea's benchmark has.
CSV = "".join(f"{n * 7919 % 900000 + 100000}, {n * 613 % 900000 + 100000 if n > 20 else n * 613 % 90000 + 10000}\n" for n in range(1, 53))
# wrk asks for the targets in turn, and says when it has had so many answers; it
# can't stop by itself before its time is up.
COUNTED = """
local targets, sent, done = {{{targets}}}, 0, 0
local requests = {{}}
init = function() for i, t in ipairs(targets) do requests[i] = wrk.format({method}, t, nil, {body}) end end
request = function() sent = sent + 1 return requests[(sent - 1) % #targets + 1] end
response = function() done = done + 1 if done == {count} then
  io.stdout:write("counted\\n") io.stdout:flush() wrk.thread:stop() end end
"""
LUA = {
    "varying-allocations": """
local n = tonumber(ngx.var.uri:sub(2))
local block = string.rep("\\170", n * 1024)
ngx.print(tostring(#block))
""",
    # The generator and the model of server/content/builtin_csv.c, in Lua.
    "csv-svg-path": """
local csv
if ngx.req.get_method() == "POST" then
  ngx.req.read_body()
  csv = ngx.req.get_body_data()
else
  local state, lines = 52, {}
  for i = 1, 52 do
    local x = (state * 1664525 + 1013904223) % 4294967296
    state = (x * 1664525 + 1013904223) % 4294967296
    lines[i] = string.format("%d, %d\\n", math.floor(x / 256) % 1000000, math.floor(state / 256) % 1000000)
  end
  csv = table.concat(lines)
end
local path = {"M 0 0 L"}
for x, y in csv:gmatch("(%d+), (%d+)\\n") do
  path[#path + 1] = " " .. tonumber(x) .. " " .. tonumber(y)
end
ngx.header["Content-Type"] = "image/svg+xml"
ngx.print('<svg width="100" height="100" xmlns="http://www.w3.org/2000/svg">\\n    <path d="', table.concat(path),
          '" stroke="black" fill="transparent"/>\\n</svg>\\n')
""",
    "send-static-file": """
ngx.header["Content-Type"] = "text/html; charset=utf-8"
ngx.print([[<!doctype html>
<html lang="en">
<title>pail</title>
<p>A bucket for each request, and none is ever larger.</p>
</html>
]])
""",
}


def load(peer, count, targets=HELLO, connections=64, body=None):
    """Microseconds of the server's CPU for a request, over `count` of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(COUNTED.format(targets=", ".join(f'"{target}"' for target in targets), count=count,
                                    method='"POST"' if body else '"GET"', body=f"[[\n{body}]]" if body else "nil"))
        script.flush()
        before = peer.cpu()
        process = subprocess.Popen(["taskset", "-c", CLIENT_CPU, "wrk", "-t1", f"-c{connections}", "-d900s", "--timeout", "30s", "-s",
                                    script.name, f"http://127.0.0.1:{peer.port}/"], stdout=subprocess.PIPE, text=True)
        try:
            out = ""
            while not out.endswith("counted\n"):
                line = process.stdout.readline()
                if not line:
                    break  # its time was up
                out += line
            used = peer.cpu() - before
            process.send_signal(signal.SIGINT)
            out += process.communicate(timeout=60)[0]
        finally:
            process.kill()
            process.wait()
    done = int(re.search(r"(\d+) requests in", out).group(1))
    if "Non-2xx" in out or done < count:
        raise RuntimeError(" ".join(out.split()))
    return used / done / 1000


def pipelined(peer, count):
    """The same, with so many requests of each connection on their way at once."""
    before = peer.cpu()
    out = subprocess.run(["taskset", "-c", CLIENT_CPU, "h2load", "--h1", "-t1", "-c64", f"-m{PIPELINED}", f"-n{count}",
                          f"http://127.0.0.1:{peer.port}/"], capture_output=True, text=True, check=True, timeout=3600).stdout
    used = peer.cpu() - before
    if f" {count} succeeded" not in out:
        raise RuntimeError(re.search(r"requests: .*", out).group(0))
    return used / count / 1000


def side_by_side(group, count, plan, reference, skipped=None, **more):
    """Warmed up, then in turns; who does not start or fails is left out."""
    with Group(group, skipped) as (there, skipped):
        def work(peer):
            return lambda: load(peer, count, **more)

        for peer in list(there.values()):
            try:
                load(peer, max(count // 10, 100), **more)
            except Exception:  # in_turns will say it
                pass
        return compare({name: work(peer) for name, peer in there.items()}, plan, reference, skipped)


# -- hello, beside everybody -----------------------------------------------------------


def everybody():
    return {
        "trivial epoll loop": peers.epoll,
        "pail": lambda: peers.pail("builtin:send-static-file"),
        "nginx": peers.nginx,
        "libmicrohttpd": lambda: peers.microhttpd("libmicrohttpd", "send-static-file"),
        "h2o (a file)": peers.h2o,
        "haproxy": peers.haproxy,
        "varnish (a cached page)": peers.Varnish,
    }


def hello(plan):
    return side_by_side(everybody(), 2000 if plan.quick else 40000, plan, "trivial epoll loop")


def memory(plan):
    """KiB resident, what processes share counted once, after some work at 64 connections."""
    with Group({name: make for name, make in everybody().items() if name != "trivial epoll loop"}) as (there, skipped):
        def work(peer):
            def measure():
                load(peer, 1000 if plan.quick else MANY)
                return peer.memory() / 1024
            return measure
        return compare({name: work(peer) for name, peer in there.items()}, plan, "pail", skipped)


# -- Nea's workloads ------------------------------------------------------------------------


def nea_requests(suite):
    return suite.requests or (2000 if suite.quick else NEA_REQUESTS)


def nea(plan, name, targets, body=None):
    group = {"libmicrohttpd, glibc": lambda: peers.microhttpd("libmicrohttpd, glibc", name), "pail": lambda: peers.pail(f"builtin:{name}")}
    for allocator in ("libmimalloc.so.2", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"):
        full = f"libmicrohttpd, {allocator[3:].partition('.so')[0]}"
        group[full] = lambda full=full, allocator=allocator: peers.microhttpd(full, name, allocator)
    group["nginx+Lua"] = lambda: peers.nginx_lua(LUA[name])
    skipped = {}
    with Group(group, skipped) as (there, _):  # the same work is told by the same answer
        answers = {peer.name: [answer(peer, target, body) for target in targets] for peer in there.values()}
        if len({tuple(bodies) for bodies in answers.values()}) != 1:
            raise RuntimeError(f"they answer differently: { {name: str(bodies)[:60] for name, bodies in answers.items()} }")
    return side_by_side({full: make for full, make in group.items() if full not in skipped}, nea_requests(plan), plan, "libmicrohttpd, glibc",
                        skipped, targets=targets, connections=NEA_CLIENTS, body=body)


def answer(peer, target, body):
    with Client(peer.port) as client:
        got = client.ask("POST" if body else "GET", target, body=body.encode()) if body else client.ask("GET", target)
        if got.status != 200:
            raise RuntimeError(f"{peer.name}: {got!r}")
        return got.body


# -- as it grows --------------------------------------------------------------------------------


def conf(connections, size="64K", count=64, more=""):
    return f"[server]\nconnections = {connections}\nimage = 64M\nidle_timeout = 10m\n[bucket main]\nsize = {size}\ncount = {count}\n{more}"


def descriptors(wanted):
    """As many as the machine lets us have; how many connections that makes."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    return min(wanted, limit[1] - 300) if limit[1] != resource.RLIM_INFINITY else wanted


def connections(plan):
    sizes = [1, 100] if plan.quick else [1, 10, 100, 1000, descriptors(10000)]
    room = sizes[-1] + 200
    with Group({"trivial epoll loop": peers.epoll, "pail": lambda: peers.pail("builtin:send-static-file", conf(room)),
                "nginx": lambda: peers.nginx(room)}) as (there, skipped):
        def count(size):
            return 2000 if plan.quick else MANY // 4 if size == 1 else max(MANY, 2 * size)

        def work(peer):
            return lambda size: load(peer, count(size), connections=size)
        return grow({name: work(peer) for name, peer in there.items()}, sizes, plan, skipped, effort=count, thrice=6)


def requests(plan):
    """The largest are pipelined: one at a time they would take a quarter of an hour."""
    sizes = [1000, 10000] if plan.quick else [10 ** n for n in range(4, 9)]
    with Group({"trivial epoll loop": peers.epoll, "pail": lambda: peers.pail("builtin:send-static-file")}) as (there, skipped):
        works = {name: (lambda size, peer=peer: load(peer, size)) for name, peer in there.items()}
        if "pail" in there:
            works[f"pail, pipelined by {PIPELINED}"] = lambda size: pipelined(there["pail"], size)
        return grow(works, sizes, plan, skipped, dict.fromkeys(there, sizes[-1] if plan.left() > 2000 else 10 ** 6))


def buckets(plan):
    more = "[stack]\nsize = 32K\n"

    def work(count):
        with Group({"pail": lambda: peers.pail("builtin:varying-allocations", conf(1024, "16K", count, more))}) as (there, skipped):
            if skipped:
                raise RuntimeError(skipped["pail"])
            load(there["pail"], 1000, ("/1",))
            return load(there["pail"], 1000 if plan.quick else MANY, ("/1",))
    return grow({"pail": work}, [8, 64] if plan.quick else [8, 64, 512, 2048, 8192], plan, effort=lambda _: 1, thrice=6)


def idle_bytes(plan):
    """Resident memory for an idle connection beyond what was there before."""
    count = 200 if plan.quick else 5000
    room = descriptors(count + 300)
    group = {"pail": lambda: peers.pail("builtin:send-static-file", conf(room)), "nginx": lambda: peers.nginx(room),
             "h2o (a file)": lambda: peers.h2o(room), "haproxy": lambda: peers.haproxy(room), "varnish (a cached page)": peers.Varnish}
    with Group(group) as (there, skipped):
        works = {name: (lambda peer=peer: idle_of(peer, count)) for name, peer in there.items()}
        plan.rounds = plan.least = 1  # once it has grown it does not shrink
        return compare(works, plan, "nginx", skipped)


def idle_of(peer, count):
    clients, before = [], peer.memory()
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", peer.port), 30)
            clients.append(client)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if not client.recv(1000).startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"refused at connection {len(clients)}")
        return (peer.memory() - before) / count
    finally:
        for client in clients:
            client.close()


# -- without HTTP -----------------------------------------------------------------------------------


@functools.cache
def arena_output():
    """Of all its workloads, and what else the machine did meanwhile."""
    meter = Meter()
    out = subprocess.run([f"{BUILD}/tests/bench/bench_arena"], capture_output=True, text=True, check=True, timeout=300).stdout
    return out, meter.read()


def arena(workload):
    def work(_):
        out, beside = arena_output()
        block = out[out.index(workload):].split("\n")[1:]
        summary = {}
        for line in block:
            match = re.match(r"  (\w+) +([\d.]+) ns/\w+ +\(([\d.]+)\.\.([\d.]+)\)", line)
            if not match:
                break
            summary[match.group(1)] = [float(match.group(i)) for i in (2, 3, 4)]
        return {"summary": summary, "reference": "glibc", "rounds": 41} | beside
    return work


def switch(_):
    out = subprocess.run([f"{BUILD}/tests/bench/bench_switch"], capture_output=True, text=True, check=True, timeout=300).stdout
    rows = re.findall(r"^(.*?) +([\d.]+) ns  \(([\d.]+) to ([\d.]+), (\d+) rounds\)", out, re.M)
    summary = {name.strip(): [float(a), float(b), float(c)] for name, a, b, c, _ in rows}
    return {"summary": summary, "reference": next(name for name in summary if "swapcontext" in name), "rounds": int(rows[0][4])}


def run(suite):
    cpu = {"unit": "us of server CPU for a request", "better": "less"}
    suite.run("server", "hello", "A constant page, 64 connections, keep-alive", hello, 35, **cpu, command="wrk -t1 -c64")
    count = nea_requests(suite)
    for name, workload, targets, body, title in (
            ("send-static-file", "send-static-file", HELLO, None, "a constant page"),
            ("csv-svg-path", "csv-svg-path", HELLO, None, "the handler makes a CSV of 52 points, and of it an SVG path"),
            ("csv-svg-path-sent", "csv-svg-path", HELLO, CSV, f"a CSV of 52 points in {len(CSV)} bytes is sent, and becomes an SVG path"),
            ("varying-allocations", "varying-allocations", ("/1", "/10", "/50"), None, "1, 10 and 50 KiB allocated and filled, a third each")):
        suite.run("server", f"nea-{name}", f"Nea's {workload}: {title}; {NEA_CLIENTS} clients, {count:,} requests",
                  lambda plan, name=workload, targets=targets, body=body: nea(plan, name, targets, body), 32, **cpu,
                  command=f"wrk -t1 -c{NEA_CLIENTS}")
    nanoseconds = {"unit": "ns", "better": "less"}
    for name, workload in (("arena-100", "100 x malloc 16..4096, write, free in order"), ("arena-touch", "the same, 16 bytes of each written"),
                           ("arena-pair", "malloc and free of one block"), ("arena-churn", "churn of 300 small blocks")):
        suite.run("server", name, f"The bucket's allocator: {workload}", arena(workload), 12 if name == "arena-100" else 1, **nanoseconds,
                  command="build/tests/bench/bench_arena")
    suite.run("server", "switch", "A change of stack, there and back", switch, 3, **nanoseconds, command="build/tests/bench/bench_switch")
    suite.run("server", "memory", "Memory, as configured here, after 20,000 requests at 64 connections", memory, 6, unit="KiB resident",
              better="less", command="wrk -t1 -c64")
    suite.run("server", "idle", "Memory for an idle keep-alive connection, beyond what is mapped at start", idle_bytes, 10,
              unit="bytes", better="less", command="")
    suite.run("server", "grow-connections", "As connections grow", connections, 45, x="connections", **cpu, command="wrk -t1")
    suite.run("server", "grow-requests", "As requests grow", requests, 300, x="requests", **cpu, command="wrk -t1 -c64; h2load --h1 -c64")
    suite.run("server", "grow-buckets", "As buckets grow", buckets, 30, x="buckets", **cpu, command="wrk -t1 -c64")
