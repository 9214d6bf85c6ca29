# SPDX-License-Identifier: MIT
"""The server beside its peers; see suite.py. Everything by HTTP over loopback, the
server on processor 0, wrk on the last; what is compared is the CPU time of all
the server's threads, in microseconds for a request."""
import functools
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile

from bench_http import BUILD, CLIENT_CPU, NGINX, Peer, pail
from harness import Client
from suite import in_turns

MANY = 20000
NEA_CLIENTS, NEA_REQUESTS = 4, 40000
# wrk asks for the targets in turn, and says when it has had so many answers; it
# can't stop by itself before its time is up.
COUNTED = """
local targets, sent, done = {{{targets}}}, 0, 0
local requests = {{}}
init = function() for i, t in ipairs(targets) do requests[i] = wrk.format("GET", t) end end
request = function() sent = sent + 1 return requests[(sent - 1) % #targets + 1] end
response = function() done = done + 1 if done == {count} then
  io.stdout:write("counted\\n") io.stdout:flush() wrk.thread:stop() end end
"""
LUA_CONF = """load_module {modules}/ndk_http_module.so; load_module {modules}/ngx_http_lua_module.so;
worker_processes 1; daemon off; pid {{folder}}/pid; error_log /dev/null; events {{{{ worker_connections 2000; }}}}
http {{{{ access_log off; keepalive_requests 1000000000; default_type text/plain; client_body_temp_path {{folder}}/a;
proxy_temp_path {{folder}}/b; fastcgi_temp_path {{folder}}/c; uwsgi_temp_path {{folder}}/d; scgi_temp_path {{folder}}/e;
server {{{{ listen 127.0.0.1:{{port}}; location / {{{{ content_by_lua_file {file}; }}}} }}}} }}}}
"""
LUA = {
    "varying-allocations": """
local n = tonumber(ngx.var.uri:sub(2))
local block = string.rep("\\170", n * 1024)
ngx.print(tostring(#block))
""",
    # The generator and the model of server/content/builtin_csv.c, in Lua.
    "csv-svg-path": """
local state, lines = 52, {}
for i = 1, 52 do
  local x = (state * 1664525 + 1013904223) % 4294967296
  state = (x * 1664525 + 1013904223) % 4294967296
  lines[i] = string.format("%d, %d\\n", math.floor(x / 256) % 1000000, math.floor(state / 256) % 1000000)
end
local path = {"M 0 0 L"}
for x, y in table.concat(lines):gmatch("(%d+), (%d+)\\n") do
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
H2O = """listen: {{ port: {port}, host: 127.0.0.1 }}
num-threads: 1
hosts: {{ default: {{ paths: {{ "/": {{ file.dir: {folder} }} }} }} }}
"""
HAPROXY = """global
  nbthread 1
  maxconn 3000
defaults
  mode http
  timeout client 60s
frontend f
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/html string {body}
"""


def library(name):
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"):
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    return None


def there(command):
    return any(os.access(f"{folder}/{command}", os.X_OK) for folder in (*os.environ["PATH"].split(":"), "/usr/sbin"))


class Group:
    """with Group([...]) as peers: all are stopped, also if one does not start."""

    def __init__(self, makers):
        self.makers, self.peers = makers, []

    def __enter__(self):
        try:
            for make in self.makers:
                self.peers.append(make())
        except BaseException:
            self.__exit__()
            raise
        return self.peers

    def __exit__(self, *_):
        for peer in self.peers:
            peer.stop()


def load(peer, count, targets=("/",), connections=64):
    """Microseconds of the server's CPU for a request, over `count` of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(COUNTED.format(targets=", ".join(f'"{target}"' for target in targets), count=count))
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
        raise RuntimeError(f"{peer.name}: {out}")
    return used / done / 1000


def compare(makers, count, rounds, **more):
    with Group(makers) as peers:
        for peer in peers:
            load(peer, max(count // 10, 100), **more)
        values = in_turns({peer.name: (lambda peer=peer: load(peer, count, **more)) for peer in peers}, rounds)
    return {"peers": values, "reference": peers[0].name, "rounds": rounds}


def body_of(peer, target):
    with Client(peer.port) as client:
        return client.ask("GET", target).body


# -- hello, beside everybody -----------------------------------------------------------


def hello_peers():
    makers = [lambda: Peer("trivial epoll loop", [f"{BUILD}/tests/bench/trivial_epoll", "{port}"]),
              lambda: pail("builtin:send-static-file")]
    if there("nginx"):
        makers.append(lambda: Peer("nginx", ["nginx", "-c", "{folder}/conf"], NGINX))
    if os.path.exists(f"{BUILD}/tests/bench/mhd_builtin"):
        makers.append(lambda: Peer("libmicrohttpd", [f"{BUILD}/tests/bench/mhd_builtin", "{port}", "send-static-file"]))
    if there("h2o"):
        makers.append(h2o)
    if there("haproxy"):
        makers.append(lambda: Peer("haproxy", ["haproxy", "-db", "-f", "{folder}/conf"], HAPROXY))
    return makers


def h2o():
    """It serves a file, so it is not quite the same: it holds it open and sends it."""
    peer = Peer("h2o (a file)", ["h2o", "-c", "{folder}/conf"], H2O)  # the answer that shows it is up is a 404
    with open(f"{peer.folder.name}/index.html", "w", encoding="ascii") as file:
        file.write("x" * 125)
    os.chmod(peer.folder.name, 0o755)  # it serves as nobody
    return peer


# -- Nea's workloads ------------------------------------------------------------------------


def nea_requests(suite):
    return suite.requests or (2000 if suite.quick else NEA_REQUESTS)


def nea(suite, name, targets):
    command = [f"{BUILD}/tests/bench/mhd_builtin", "{port}", name]
    makers = [lambda: Peer("libmicrohttpd, glibc", command), lambda: pail(f"builtin:{name}")]
    for allocator in ("libmimalloc.so.2", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"):
        path = library(allocator)
        if path:
            makers.append(lambda path=path, allocator=allocator: Peer(
                f"libmicrohttpd, {allocator[3:].partition('.so')[0]}", command, environment={"LD_PRELOAD": path}.items()))
    modules = "/usr/lib/nginx/modules"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(LUA[name])
        file.flush()
        os.chmod(file.name, 0o644)
        if os.path.exists(f"{modules}/ngx_http_lua_module.so"):
            makers.append(lambda: Peer("nginx+Lua", ["nginx", "-c", "{folder}/conf"], LUA_CONF.format(modules=modules, file=file.name)))
        with Group(makers) as peers:  # the same work is told by the same answer
            answers = {peer.name: [body_of(peer, target) for target in targets] for peer in peers}
            if len({tuple(bodies) for bodies in answers.values()}) != 1:
                raise RuntimeError(f"they answer differently: { {name: str(bodies)[:60] for name, bodies in answers.items()} }")
        return compare(makers, nea_requests(suite), suite.rounds, targets=targets, connections=NEA_CLIENTS)


# -- as it grows --------------------------------------------------------------------------------


def conf(connections, size="64K", count=64, more=""):
    return f"[server]\nconnections = {connections}\nimage = 64M\nidle_timeout = 10m\n[bucket main]\nsize = {size}\ncount = {count}\n{more}"


def series(makers, xs, measure):
    """{name: [[x, y]...]}, y the median of three rounds in turns, in one set of servers."""
    with Group(makers) as peers:
        result = {peer.name: [] for peer in peers}
        for x in xs:
            values = in_turns({peer.name: (lambda peer=peer, x=x: measure(peer, x)) for peer in peers}, 3)
            for name, ys in values.items():
                result[name].append([x, sorted(ys)[1]])
        return {"series": result, "rounds": 3}


def connections(suite):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(10000, limit[1] - 300)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    makers = [lambda: Peer("trivial epoll loop", [f"{BUILD}/tests/bench/trivial_epoll", "{port}"]),
              lambda: pail("builtin:send-static-file", conf(most + 200))]
    if there("nginx"):
        makers.append(lambda: Peer("nginx", ["nginx", "-c", "{folder}/conf"], NGINX.replace("2000", str(most + 200))))
    return series(makers, [1, 100] if suite.quick else [1, 10, 100, 1000, most],
                  lambda peer, x: load(peer, max(2000 if suite.quick else MANY, 2 * x), connections=x))


def requests(suite):
    makers = [lambda: Peer("trivial epoll loop", [f"{BUILD}/tests/bench/trivial_epoll", "{port}"]), lambda: pail("builtin:send-static-file")]
    return series(makers, [1000, 10000] if suite.quick else [10000, 100000, 300000], load)


def buckets(suite):
    result = {"pail": []}
    for count in [8, 64] if suite.quick else [8, 64, 512, 2048, 8192]:
        with Group([lambda count=count: pail("builtin:varying-allocations", conf(1024, "16K", count, "[stack]\nsize = 32K\n"))]) as (peer,):
            load(peer, 1000, ("/1",))
            values = [load(peer, 2000 if suite.quick else MANY, ("/1",)) for _ in range(3)]
        result["pail"].append([count, sorted(values)[1]])
    return {"series": result, "rounds": 3}


def idle_bytes(suite):
    """Resident memory for an idle connection beyond what was there before."""
    from bench_http import memory
    count = 200 if suite.quick else 5000
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    values = {}
    makers = [lambda: pail("builtin:send-static-file", conf(count + 100)),
              lambda: Peer("nginx", ["nginx", "-c", "{folder}/conf"], NGINX.replace("2000", str(count + 100)))]
    with Group(makers if there("nginx") else makers[:1]) as peers:
        for peer in peers:
            pid, clients = peer.serving(), []
            before = memory(pid)
            for _ in range(count):
                client = socket.create_connection(("127.0.0.1", peer.port))
                clients.append(client)
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                client.recv(1000)
            values[peer.name] = [(memory(pid) - before) / count]
            for client in clients:
                client.close()
    return {"peers": values, "reference": "nginx" if "nginx" in values else "pail", "rounds": 1}


# -- without HTTP -----------------------------------------------------------------------------------


@functools.cache
def arena_output():
    return subprocess.run([f"{BUILD}/tests/bench/bench_arena"], capture_output=True, text=True, check=True, timeout=300).stdout


def arena(workload):
    def work():
        out = arena_output()
        block = out[out.index(workload):].split("\n")[1:]
        summary = {}
        for line in block:
            match = re.match(r"  (\w+) +([\d.]+) ns/\w+ +\(([\d.]+)\.\.([\d.]+)\)", line)
            if not match:
                break
            summary[match.group(1)] = [float(match.group(i)) for i in (2, 3, 4)]
        return {"summary": summary, "reference": "glibc", "rounds": 41}
    return work


def switch():
    out = subprocess.run([f"{BUILD}/tests/bench/bench_switch"], capture_output=True, text=True, check=True, timeout=300).stdout
    rows = re.findall(r"^(.*?) +([\d.]+) ns  \(([\d.]+) to ([\d.]+), (\d+) rounds\)", out, re.M)
    summary = {name.strip(): [float(a), float(b), float(c)] for name, a, b, c, _ in rows}
    return {"summary": summary, "reference": next(name for name in summary if "swapcontext" in name), "rounds": int(rows[0][4])}


def run(suite):
    count = 2000 if suite.quick else 40000
    cpu = {"unit": "us of server CPU for a request", "better": "less"}
    suite.run("server", "hello", "A constant page, 64 connections, keep-alive", lambda: compare(hello_peers(), count, suite.rounds), **cpu,
              command="wrk -t1 -c64")
    for name, targets, title in (("send-static-file", ("/",), "a constant page"),
                                 ("csv-svg-path", ("/",), "52 points of CSV become an SVG path"),
                                 ("varying-allocations", ("/1", "/10", "/50"), "1, 10 and 50 KiB allocated and filled, a third each")):
        suite.run("server", f"nea-{name}", f"Nea's {name}: {title}; {NEA_CLIENTS} clients, {nea_requests(suite)} requests",
                  lambda name=name, targets=targets: nea(suite, name, targets), **cpu, command=f"wrk -t1 -c{NEA_CLIENTS}")
    nanoseconds = {"unit": "ns", "better": "less"}
    for name, workload in (("arena-100", "100 x malloc 16..4096, write, free in order"), ("arena-touch", "the same, 16 bytes of each written"),
                           ("arena-pair", "malloc and free of one block"), ("arena-churn", "churn of 300 small blocks")):
        suite.run("server", name, f"The bucket's allocator: {workload}", arena(workload), **nanoseconds, command="build/tests/bench/bench_arena")
    suite.run("server", "switch", "A change of stack, there and back", switch, **nanoseconds, command="build/tests/bench/bench_switch")
    suite.run("server", "idle", "Memory for an idle keep-alive connection, beyond what is mapped at start", lambda: idle_bytes(suite),
              unit="bytes", better="less", command="")
    suite.run("server", "grow-connections", "As connections grow", lambda: connections(suite), x="connections", **cpu, command="wrk -t1")
    suite.run("server", "grow-requests", "As requests grow", lambda: requests(suite), x="requests", **cpu, command="wrk -t1 -c64")
    suite.run("server", "grow-buckets", "As buckets grow", lambda: buckets(suite), x="buckets", **cpu, command="wrk -t1 -c64")
