# SPDX-License-Identifier: MIT
"""The servers that are compared, each with its configuration in a folder of its own
and on processor 0; the load comes from the last. Each is ended by its pid, also
when something fails, and one that does not start is named and left out.

    with Group({"pail": lambda: pail("builtin:send-static-file"), "h2o": h2o}) as (peers, skipped): ...
"""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "server", "core"))
from bench_server import children, cpu_ns  # noqa: E402
from harness import BUILD, SERVER  # noqa: E402
from measure import leave_out  # noqa: E402

SERVER_CPU, CLIENT_CPU = "0", str(os.cpu_count() - 1)
STARTS_WITHIN = 30  # seconds
BODY = "x" * 125
NGINX = """worker_processes 1; daemon off; pid {folder}/pid; error_log /dev/null; events {{ worker_connections {connections}; }}
http {{ access_log off; keepalive_requests 1000000000; default_type text/html; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }} }}
"""
LUA_CONF = """load_module {modules}/ndk_http_module.so; load_module {modules}/ngx_http_lua_module.so;
worker_processes 1; daemon off; pid {folder}/pid; error_log /dev/null; events {{ worker_connections {connections}; }}
http {{ access_log off; keepalive_requests 1000000000; default_type text/plain; client_body_temp_path {folder}/a;
proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
client_body_buffer_size 16k;
server {{ listen 127.0.0.1:{port}; location / {{ content_by_lua_file {folder}/handler.lua; }} }} }}
"""
H2O = """listen: {{ port: {port}, host: 127.0.0.1 }}
num-threads: 1
max-connections: {connections}
http1-request-timeout: 75
hosts: {{ default: {{ paths: {{ "/": {{ file.dir: {folder} }} }} }} }}
"""
HAPROXY = """global
  nbthread 1
  maxconn {connections}
defaults
  mode http
  timeout client 75s
frontend f
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/html string {body}
"""
# What it caches comes from the trivial loop, once.
VARNISH = """vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_recv {{ return (hash); }}
sub vcl_backend_response {{ set beresp.ttl = 1d; return (deliver); }}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def library(name):
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"):
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    raise RuntimeError(f"no {name} is installed")


def program(name):
    """A peer's command; Debian keeps some where only root looks."""
    for folder in (*os.environ["PATH"].split(":"), "/usr/sbin"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    raise RuntimeError(f"no {name} is installed")


class Peer:
    """A server that answers. {port}, {folder}, {body} and `words` stand in its command and conf."""

    def __init__(self, name, command, conf="", environment=(), files=(), **words):
        self.name, self.port, self.folder = name, free_port(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        words = {"port": self.port, "folder": self.folder.name, "body": BODY, "connections": 2000} | words
        os.chmod(self.folder.name, 0o755)  # some give up root
        for path, text in (*dict(files).items(), *([("conf", conf.format(**words))] if conf else [])):
            with open(f"{self.folder.name}/{path}", "w", encoding="ascii") as file:
                file.write(text)
        with open(f"{self.folder.name}/said", "wb") as said:
            self.process = subprocess.Popen(["taskset", "-c", SERVER_CPU, *(word.format(**words) for word in command)],
                                            env={**os.environ, **dict(environment)}, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        deadline = time.monotonic() + STARTS_WITHIN
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(f"{self.folder.name}/said", encoding="utf-8", errors="replace") as file:
                    said = file.read().strip()[-160:]
                how = "does not answer" if self.process.poll() is None else f"ended with {self.process.returncode}"
                raise RuntimeError(f"{how}: {said}")
            time.sleep(0.01)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), STARTS_WITHIN) as client:
                client.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
                return bool(client.recv(100))  # a supervisor may only hold the socket yet
        except OSError:
            return False

    def cpu(self):
        return cpu_ns(self.process.pid)

    def processes(self):
        return [self.process.pid, *children(self.process.pid)]

    def serving(self):
        return self.processes()[-1]

    def memory(self):
        """Bytes resident, what is shared counted in parts."""
        return sum(pss(pid) for pid in self.processes())

    def stop(self):
        """By pid, and whatever it does."""
        if self.process.poll() is None:
            under = children(self.process.pid)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                for pid in (*under, self.process.pid):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait(20)
        self.folder.cleanup()


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1)) * 1024


def pail(app, conf="", *words, name="pail"):
    # A limit as far off as those that the peers have not.
    conf = conf or "[server]\nconnections = 1024\n[bucket main]\nsize = 256K\ncount = 128\n"
    return Peer(name, [SERVER, "-c", "{folder}/conf", "--app", app, "--listen", "127.0.0.1:{port}", *words], conf)


def epoll():
    return Peer("trivial epoll loop", [f"{BUILD}/tests/bench/trivial_epoll", "{port}"])


def nginx(connections=2000):
    return Peer("nginx", [program("nginx"), "-c", "{folder}/conf"], NGINX, connections=connections)


def nginx_lua(script):
    modules = "/usr/lib/nginx/modules"
    if not os.path.exists(f"{modules}/ngx_http_lua_module.so"):
        raise RuntimeError("no Lua module of nginx is installed")
    return Peer("nginx+Lua", [program("nginx"), "-c", "{folder}/conf"], LUA_CONF, files={"handler.lua": script}, modules=modules)


def microhttpd(name, handler, allocator=None):
    environment = {"LD_PRELOAD": library(allocator)} if allocator else {}
    path = f"{BUILD}/tests/bench/mhd_builtin"
    if not os.path.exists(path):
        raise RuntimeError("built without libmicrohttpd")
    return Peer(name, [path, "{port}", handler], environment=environment)


def h2o(connections=2000):
    """It serves a file, so it is not quite the same: it holds it open and sends it."""
    return Peer("h2o (a file)", [program("h2o"), "-c", "{folder}/conf"], H2O, files={"index.html": BODY}, connections=connections)


def haproxy(connections=2000):
    return Peer("haproxy", [program("haproxy"), "-db", "-f", "{folder}/conf"], HAPROXY, connections=connections)


class Varnish(Peer):
    """A cache, whose answer it has got once from the server behind it."""

    def __init__(self, name="varnish (a cached page)"):
        self.origin = epoll()
        try:
            super().__init__(name, [program("varnishd"), "-F", "-f", "{folder}/conf", "-n", "{folder}/work", "-a", "127.0.0.1:{port}",
                                    "-T", "none", "-s", "malloc,16m", "-p", "thread_pools=1", "-p", "timeout_idle=75"],
                             VARNISH, origin=self.origin.port)
        except BaseException:
            self.origin.stop()
            raise

    def answers(self):
        """With what is cached; a child that is only starting refuses, or knows no page."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), STARTS_WITHIN) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                return client.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def stop(self):
        try:
            super().stop()
        finally:
            self.origin.stop()


class Group:
    """All are stopped at the end, also if one does not start, which is left out."""

    def __init__(self, makers, skipped=None):
        self.makers, self.peers, self.skipped = makers, {}, {} if skipped is None else skipped

    def __enter__(self):
        try:
            for name, make in self.makers.items():
                try:
                    self.peers[name] = make()
                except Exception as error:
                    leave_out(self.skipped, name, error)
        except BaseException:
            self.__exit__()
            raise
        return self.peers, self.skipped

    def __exit__(self, *_):
        for peer in self.peers.values():
            try:
                peer.stop()
            except Exception as error:
                print(f"bench: {peer.name} could not be stopped: {error}", file=sys.stderr)
