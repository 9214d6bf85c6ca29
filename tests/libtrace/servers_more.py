#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real servers under the recorder, as servers.py: those that speak TLS, FastCGI,
the protocols of redis and memcached, and those that need an adapter.

    servers_more.py PAIL SERVER ADAPTERS
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers  # noqa: E402  pylint: disable=wrong-import-position
from servers import (Recording, both, check, check_all, documents, free_port,  # noqa: E402
                     need, send)  # pylint: disable=wrong-import-position

ADAPTERS = os.path.abspath(sys.argv[3])


def certificate(folder):
    subprocess.run([need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", f"{folder}/key.pem", "-out",
                    f"{folder}/cert.pem"], check=True, stderr=subprocess.DEVNULL)


def no_blind_tls(r):
    assert r.rows("SELECT value FROM meta WHERE key = 'tls_connections'") == [("0",)]


def nginx_tls(folder):
    program, port, www = need("nginx"), free_port(), documents(folder)
    certificate(folder)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
        f.write(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{ access_log off; {paths} types {{ text/plain txt; }}
 server {{ listen 127.0.0.1:{port} ssl; root {www}; gzip on; gzip_types text/plain;
  gzip_min_length 100; ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem; }} }}""")
    with Recording(folder, [program, "-c", f"{folder}/nginx.conf"], port) as r:
        both(port, "/a.txt", tls=True)
        both(port, "/big.txt", headers={"Accept-Encoding": "gzip"}, tls=True)
    check(r, "/a.txt", least=3)
    _, zipped = check(r, "/big.txt", least=8)
    assert zipped > 300000, zipped
    check_all(r, 4 * 160)
    no_blind_tls(r)


def http2(folder):
    """nginx, over TLS and by prior knowledge: a connection is one request, and it is said."""
    program, curl, www = need("nginx"), need("curl"), documents(folder)
    port, plain = free_port(), free_port()
    if "HTTP2" not in subprocess.run([curl, "--version"], capture_output=True, text=True,
                                     check=True).stdout:
        print("curl is built without HTTP/2")
        sys.exit(77)
    certificate(folder)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
        f.write(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{ access_log off; {paths} types {{ text/plain txt; }} root {www};
 server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem; }}
 server {{ listen 127.0.0.1:{plain} http2; }} }}""")

    def fetch(count, base, option):
        done = subprocess.run([curl, "-sk", "-m", "20", option, *[f"{base}/big.txt"] * count,
                               *["-o", "/dev/null"] * count, "-w",
                               "%{http_version} %{http_code},"],
                              capture_output=True, text=True, check=True)
        assert done.stdout == "2 200," * count, done.stdout

    with Recording(folder, [program, "-c", f"{folder}/nginx.conf"], port) as r:
        for _ in range(3):
            fetch(5, f"https://127.0.0.1:{port}", "--http2")
            fetch(1, f"http://127.0.0.1:{plain}", "--http2-prior-knowledge")
        send(port, "/a.txt", 16, 4, tls=True)
    print(r.rows("SELECT route, count(*), min(allocations) FROM request GROUP BY 1"))
    assert routes(r) == {"HTTP/2 connection": 6, "GET /a.txt": 16}, routes(r)
    assert r.rows("SELECT value FROM meta WHERE key = 'http2_connections'") == [("6",)]
    assert "6 HTTP/2 connections count as one request each" in r.text(), r.text()
    told = subprocess.run([servers.PAIL, "report", r.trace], capture_output=True, text=True,
                          check=True).stdout
    assert "HTTP/2: 6 connections count as one request each" in told, told
    check_all(r, 6 + 16)
    no_blind_tls(r)


def marker(folder):
    """nginx, its requests told by two of its functions: what is said on the wire does
    not count, and each is there once and needs the same."""
    program, port, www = need("nginx"), free_port(), documents(folder)
    if os.getuid() != 0 or not os.path.exists("/sys/bus/event_source/devices/uprobe/type"):
        print("uprobes want root and a kernel that has them")
        sys.exit(77)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
        f.write(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{ access_log off; {paths} types {{ text/plain txt; }}
 server {{ listen 127.0.0.1:{port}; root {www}; }} }}""")
    marks = ["--split=marker", f"--begin={program}:ngx_http_create_request",
             f"--end={program}:ngx_http_free_request"]
    r = Recording(folder, [program, "-c", f"{folder}/nginx.conf"], port, options=marks)
    try:
        with r:
            both(port, "/a.txt")
    except SystemExit:
        if "the kernel cannot watch" not in r.text():
            raise
        print(r.text())
        sys.exit(77)
    rows = r.rows("SELECT route, allocations, need_bump_bytes, confidence, count(*) FROM request"
                  " GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC")
    print(rows)
    assert rows[0][0] == "ngx_http_create_request", rows
    assert rows[0][3] == "exact" and rows[0][4] >= 300 and rows[0][1] >= 2, rows
    check_all(r, 320)


def gnutls(folder):
    """gnutls-serv: GnuTLS, one connection per request."""
    program, port = need("gnutls-serv"), free_port()
    certificate(folder)
    with Recording(folder, [program, "--http", "--port", str(port), "--x509certfile",
                            f"{folder}/cert.pem", "--x509keyfile", f"{folder}/key.pem", "-q"],
                   port) as r:
        both(port, "/", 48, keep=False, tls=True)
    # All connections are served by one loop around select(), which gives many at
    # once: that cannot be narrowed as epoll's is. So of two that come together one may
    # have what is the other's, and only what they need together is sure.
    together = {}
    for c in (1, 16):
        rows = r.rows("SELECT need_bump_bytes, status, requested_bytes FROM request"
                      " WHERE target = ? ORDER BY 1", f"/?c={c}")
        together[c] = sum(row[2] for row in rows)
        print(c, rows[0], rows[24], rows[47], together[c])
        assert len(rows) == 48 and all(row[1] == 200 for row in rows)
    assert abs(together[1] - together[16]) <= 0.1 * together[1], together
    check_all(r, 96)
    no_blind_tls(r)


def apache(folder, mpm):
    program, port, tls, www = need("apache2"), free_port(), free_port(), documents(folder)
    certificate(folder)
    modules = "/usr/lib/apache2/modules"
    load = "".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n"
                   for name in (f"mpm_{mpm}", "authz_core", "deflate", "filter", "mime", "alias",
                                "ssl", "autoindex"))
    os.mkdir(f"{folder}/run")
    os.mkdir(f"{www}/many", 0o755)
    for i in range(100):
        with open(f"{www}/many/file-{i:03}.bin", "wb") as f:
            f.write(b"x" * i)
    with open(f"{folder}/apache.conf", "w", encoding="ascii") as f:
        f.write(f"""
{load}
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}/run
PidFile {folder}/run/pid
ErrorLog {folder}/errors
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{tls}
DocumentRoot {www}
TypesConfig /dev/null
AddType text/plain .txt
AddOutputFilterByType DEFLATE text/plain
MaxKeepAliveRequests 0
KeepAliveTimeout 20
StartServers {20 if mpm == "prefork" else 1}
{"MinSpareServers 20" if mpm == "prefork" else ""}
{"MaxSpareServers 40" if mpm == "prefork" else ""}
IndexOptions FancyIndexing
<Directory {www}>
 Options +Indexes
 Require all granted
</Directory>
<VirtualHost 127.0.0.1:{tls}>
 SSLEngine on
 SSLCertificateFile {folder}/cert.pem
 SSLCertificateKeyFile {folder}/key.pem
 Alias /tls {www}
</VirtualHost>
""")
    user = {"APACHE_RUN_USER": "www-data"}
    with Recording(folder, [program, "-f", f"{folder}/apache.conf", "-DFOREGROUND"], port,
                   env=user) as r:
        for _ in range(2):
            send(port, "/a.txt", 96, 16)  # every worker has its pools
            send(tls, "/tls/a.txt", 96, 16, tls=True)
        both(port, "/many/", 96)
        both(port, "/big.txt", 96, headers={"Accept-Encoding": "gzip"})
        both(tls, "/tls/big.txt", 96, headers={"Accept-Encoding": "gzip"}, tls=True)
    # What lists a folder is in pools: 48 blocks of a file, of 35 KB from malloc. The
    # target of the second has one byte more, in some blocks of each request. Whether a
    # request has to wait for its head, and a block for that, is by chance: the middle one of
    # 130 may have one less.
    count, listed = check(r, "/many/", 96, least=4000, slack=0.002, count_slack=0.05)
    assert count < 10000 and 500000 < listed < 1500000, (count, listed)
    _, zipped = check(r, "/big.txt", 96, least=100, slack=0.005, count_slack=0.05)
    assert zipped > 300000, zipped
    _, zipped_tls = check(r, "/tls/big.txt", 96, least=5, slack=0.005, count_slack=0.05)
    assert zipped_tls > 300000, zipped_tls
    check_all(r, 10 * 96)
    no_blind_tls(r)
    # What a request's pool held is gone before the connection's next request: all that
    # outlives one is a word of the connection's. (Not asked of prefork where the answer
    # is held back until the next request has its pool: /many/ and TLS.)
    for target in ("/big.txt?c=1",) if mpm == "prefork" else ("/many/?c=1", "/big.txt?c=1"):
        escapes = sorted(row[0] for row in r.rows(
            "SELECT escapes FROM request WHERE target = ? AND sequence > 1", target))
        print(target, "escapes", escapes[0], escapes[47], escapes[85])
        assert escapes[85] <= 2, escapes


def event(folder):
    apache(folder, "event")


def prefork(folder):
    apache(folder, "prefork")


def talk(port, messages, count, answer):
    """Sends all messages at once, and waits for all answers; so often."""
    text = b"".join(messages)
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        for _ in range(count):
            s.sendall(text)
            left = answer
            while left > 0:
                got = s.recv(65536)
                assert got
                left -= len(got)
            assert left == 0


def at_once(port, messages, count, answer, connections):
    threads = [threading.Thread(target=talk, args=(port, messages, count, answer))
               for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def routes(r):
    return dict(r.rows("SELECT route, count(*) FROM request GROUP BY 1"))


def middle(r, route):
    return r.rows("SELECT allocations, requested_bytes, count(*) FROM request WHERE route = ?"
                  " GROUP BY 1, 2 ORDER BY 3 DESC", route)


def resp(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def pipelined(folder):
    """redis: single, then as many as fit one read and more, and cut anywhere."""
    program, port = need("redis-server"), free_port()
    ping, put = resp(b"PING"), resp(b"SET", b"k", b"value")
    large = resp(b"SET", b"large", b"x" * 50000)
    with Recording(folder, [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                            "--dir", folder], port) as r:
        at_once(port, [put], 50, 5, 1)
        at_once(port, [put] * 20, 20, 5 * 20, 16)
        at_once(port, [ping] * 3000, 1, 7 * 3000, 4)  # 42,000 bytes: cut by reads
        at_once(port, [put, large, ping], 5, 5 + 5 + 7, 4)
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            for i in range(0, len(put), 3):  # and by the client
                s.sendall(put[i:i + 3])
            s.sendall(b"ECHO inline\r\n")
            left = 5 + 12
            while left > 0:
                left -= len(s.recv(100))
    count = routes(r)
    print(count, middle(r, "SET")[:4], middle(r, "PING")[:4], sep="\n")
    assert count == {"SET": 50 + 20 * 20 * 16 + 2 * 20 + 1, "PING": 3000 * 4 + 20, "ECHO": 1}, count
    # What one SET allocates, it allocates as one of twenty.
    single = r.rows("SELECT allocations FROM request WHERE route = 'SET' AND confidence = 'exact'"
                    " GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
    among = middle(r, "SET")
    # (redis keeps the array of words from the one before)
    assert single[0][0] - among[0][0] in (0, 1) and among[0][2] > 6000, (single, among[:5])
    check_all(r, sum(count.values()))


def split(folder):
    """redis's connections as requests; and HTTP where it is not asked for."""
    program, port, www = need("redis-server"), free_port(), documents(folder)
    put = resp(b"SET", b"k", b"value")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with Recording(folder, command, port, options=["--split=connection"]) as r:
        at_once(port, [put], 50, 5, 1)
        at_once(port, [put, put], 10, 10, 16)
    # and the one that looked whether it was there
    rows = r.rows("SELECT bytes_in, bytes_out, allocations, confidence, ended_by FROM request"
                  " WHERE route = 'connection' ORDER BY bytes_in")
    print(len(rows), rows[0], rows[1], rows[-1])
    assert [row[:2] for row in rows] == [(0, 0)] + [(20 * len(put), 20 * 5)] * 16 + \
        [(50 * len(put), 50 * 5)], [row[:2] for row in rows]
    # inferred: redis's timer had something to do while there was one connection
    assert all(row[3] != "ambiguous" and row[4] == "close" for row in rows), rows
    middle_20 = sorted(row[2] for row in rows[1:17])[8]  # of 20 commands; the last: of 50
    assert 2 * middle_20 < rows[-1][2] < 3 * middle_20, rows
    check_all(r, 18)
    os.unlink(r.trace)
    with open(f"{folder}/lighttpd.conf", "w", encoding="ascii") as f:
        f.write(f'server.port = {port}\nserver.bind = "127.0.0.1"\n'
                f'server.document-root = "{www}"\nmimetype.assign = (".txt" => "text/plain")\n')
    with Recording(folder, [need("lighttpd"), "-D", "-f", f"{folder}/lighttpd.conf"], port,
                   options=["--split=message"]) as r:
        both(port, "/a.txt")
    # what is read after an answer, whatever it says
    rows = r.rows("SELECT route, target, count(*), min(bytes_in), max(status) FROM request"
                  " GROUP BY 1, 2")
    print(rows)
    assert [row[:3] for row in rows] == [("message", "", 320)] and rows[0][3] > 40, rows
    check_all(r, 320)


def memcached(folder):
    program, port = need("memcached"), free_port()
    user = ["-u", "root"] if os.getuid() == 0 else []
    put, get = b"set k 0 0 5\r\nvalue\r\n", b"get k\r\n"
    stored, value = len(b"STORED\r\n"), len(b"VALUE k 0 5\r\nvalue\r\nEND\r\n")
    header = b"\x80\x0a" + b"\0" * 22  # noop
    with Recording(folder, [program, "-l", "127.0.0.1", "-p", str(port), "-t", "2", *user],
                   port) as r:
        at_once(port, [put], 60, stored, 1)
        at_once(port, [get], 60, value, 1)
        at_once(port, [get], 20, value, 16)
        at_once(port, [put, get, get], 20, stored + 2 * value, 16)
        at_once(port, [header], 10, 24, 2)
    count = routes(r)
    get, put = middle(r, "get"), middle(r, "set")
    print(count, get, put, sep="\n")
    assert count == {"set": 60 + 320, "get": 60 + 320 + 640, "noop": 20}, count
    # It has its items in slabs: nothing is allocated, over one connection or sixteen, but
    # where a slab or a buffer is new.
    assert get[0][:2] == put[0][:2] == (0, 0) and get[0][2] >= 1010 and put[0][2] >= 370
    check_all(r, 380 + 1020 + 20)


def php(folder):
    """php-fpm behind nginx; php alone is recorded."""
    fpm = next((f"/usr/sbin/{name}" for name in sorted(os.listdir("/usr/sbin"))
                if name.startswith("php-fpm")), None)
    nginx = need("nginx")
    if fpm is None:
        print("php-fpm is not installed")
        sys.exit(77)
    port, front, www = free_port(), free_port(), documents(folder)
    with open(f"{www}/small.php", "w", encoding="ascii") as f:
        f.write("<?php echo 'ok';")
    with open(f"{www}/large.php", "w", encoding="ascii") as f:
        f.write("<?php for ($i = 0; $i < 2000; $i++) { $a[] = \"line $i \"; }"
                " echo implode($a); flush(); usleep(2000); echo implode($a);")
    # opcache keeps no script that is younger than two seconds: it would be compiled
    # for each request until then, and for none after (4056 blocks, then 4028).
    for name in ("small.php", "large.php"):
        os.utime(f"{www}/{name}", (1000000000, 1000000000))
    with open(f"{folder}/fpm.conf", "w", encoding="ascii") as f:
        f.write(f"""[global]
error_log = {folder}/fpm.log
daemonize = no
[www]
listen = 127.0.0.1:{port}
user = {"www-data" if os.getuid() == 0 else ""}
pm = static
pm.max_children = 2
clear_env = no
""" if os.getuid() == 0 else f"""[global]
error_log = {folder}/fpm.log
daemonize = no
[www]
listen = 127.0.0.1:{port}
pm = static
pm.max_children = 2
clear_env = no
""")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
        f.write(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{ access_log off; {paths}
 server {{ listen 127.0.0.1:{front}; root {www};
  location / {{ fastcgi_pass 127.0.0.1:{port}; fastcgi_buffering off;
   fastcgi_param SCRIPT_FILENAME {www}$uri; fastcgi_param SCRIPT_NAME $uri;
   fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri;
   fastcgi_param QUERY_STRING $query_string; }} }} }}""")
    with Recording(folder, [fpm, "-y", f"{folder}/fpm.conf", "-F"] +
                   (["-R"] if os.getuid() == 0 else []), port, env={"USE_ZEND_ALLOC": "0"}) as r:
        proxy = subprocess.Popen([nginx, "-c", f"{folder}/nginx.conf"],
                                 stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            servers.wait_for(front)
            send(front, "/small.php", 32, 1)
            send(front, "/large.php", 32, 1)
            both(front, "/small.php", 64)
            both(front, "/large.php", 64)
        finally:
            proxy.terminate()
            proxy.wait(10)
    check(r, "/small.php", 64, least=20)
    check(r, "/large.php", 64, least=2000)
    check_all(r, 64 + 4 * 64)


def haproxy(folder):
    program, port, upstream, www = need("haproxy"), free_port(), free_port(), documents(folder)
    with open(f"{folder}/haproxy.conf", "w", encoding="ascii") as f:
        f.write(f"""
global
 nbthread 1
defaults
 mode http
 timeout client 20s
 timeout server 20s
 timeout connect 5s
frontend f
 bind 127.0.0.1:{port}
 default_backend b
backend b
 server s 127.0.0.1:{upstream}
""")
    origin = subprocess.Popen([sys.executable, "-c", ORIGIN, str(upstream), www],
                              stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        servers.wait_for(upstream)
        with Recording(folder, [program, "-dMno-cache,no-global,no-merge", "-db", "-f",
                                f"{folder}/haproxy.conf"], port) as r:
            both(port, "/a.txt")
            both(port, "/big.txt")
    finally:
        origin.terminate()
        origin.wait(10)
    check(r, "/a.txt", least=5, slack=0.02)
    # A buffer is taken whenever bytes come from upstream, and given back when they
    # are on their way: how often hangs on how they come.
    check(r, "/big.txt", least=5, slack=0.3)
    check_all(r, 640)


ORIGIN = """
import http.server, os, sys
os.chdir(sys.argv[2])
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

AIOHTTP = """
import asyncio, ssl, sys
from aiohttp import web
async def small(request): return web.Response(text="ok")
async def many(request):
    rows = [{"i": i, "s": str(i) * 3} for i in range(100)]
    await asyncio.sleep(0.001)
    rows += [{"i": i, "s": str(i) * 3} for i in range(200)]
    return web.json_response(rows)
app = web.Application()
app.add_routes([web.get("/small", small), web.get("/list", many)])
context = None
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None,
            ssl_context=context)
"""


def aiohttp(folder, tls=False):
    program, port = servers.python_with("aiohttp"), free_port()
    small, large = (64, 64) if tls else (160, 64)
    if tls:
        certificate(folder)
    with open(f"{folder}/app.py", "w", encoding="ascii") as f:
        f.write(AIOHTTP)
    with Recording(folder, [program, "app.py", str(port), *(["tls"] if tls else [])], port,
                   env={"PYTHONMALLOC": "malloc", "PYTHONPATH": f"{ADAPTERS}/python"}) as r:
        for _ in range(2):
            send(port, "/small", 32, 1, tls=tls)
            send(port, "/list", 32, 1, tls=tls)
        both(port, "/small", small, tls=tls)
        both(port, "/list", large, tls=tls)
    # The interpreter's free lists are shared, so what one request finds in them
    # another need not allocate.
    check(r, "/small", small, least=100, slack=0.1)
    check(r, "/list", large, least=500, slack=0.1)
    check_all(r, 128 + 2 * (small + large))
    no_blind_tls(r)


def aiohttp_tls(folder):
    """TLS through memory: which socket a session is on is not asked, but seen."""
    aiohttp(folder, True)


NODE = """
require('http').createServer((request, response) => {
	const b = Buffer.allocUnsafeSlow(100000);
	setTimeout(() => {
		Buffer.allocUnsafeSlow(50000);
		response.end(b.subarray(0, 1000));
	}, 1);
}).listen(Number(process.argv[2]), '127.0.0.1');
"""


def node(folder):
    program, port = need("node"), free_port()
    with open(f"{folder}/app.js", "w", encoding="ascii") as f:
        f.write(NODE)
    with Recording(folder, [program, "--require", f"{ADAPTERS}/node/mark.js", "app.js",
                            str(port)], port) as r:
        send(port, "/x", 64, 4)
        both(port, "/small")
    check(r, "/small", least=2, slack=0.1)
    check_all(r, 64 + 320)


def main():
    name = sys.argv[2]
    folder = tempfile.mkdtemp(prefix=f"pail-{name}-")
    os.chmod(folder, 0o755)
    try:
        {"nginx_tls": nginx_tls, "http2": http2, "marker": marker, "gnutls": gnutls, "event": event, "prefork": prefork,
         "pipelined": pipelined, "split": split, "memcached": memcached, "php": php, "haproxy": haproxy,
         "aiohttp": aiohttp, "aiohttp_tls": aiohttp_tls, "node": node}[name](folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
