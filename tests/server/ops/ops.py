# SPDX-License-Identifier: MIT
"""A pail-server with an admin address, and a Chromium that looks at it."""
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "core"))
from harness import BUILD, SANITIZED, SERVER, SOURCE, Client, Closed, Server, plugin  # noqa: E402,F401

PATIENCE = 60  # seconds that a crowded machine may take for anything


def until(condition, what, within=PATIENCE):
    """What the condition gives, once it is true."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"in {within} s it did not come to this: {what}")


class Ops(Server):
    """with Ops("talk", "[server]\\n...") as server: server.admin("/metrics")"""

    def __init__(self, app, conf="", **more):
        if "[server]" not in conf:
            conf = "[server]\n" + conf
        if not re.search(r"^admin\s*=", conf, re.M):
            conf = conf.replace("[server]\n", "[server]\nadmin = 127.0.0.1:0\n", 1)
        super().__init__(app, conf, **more)
        found = until(lambda: re.search(r"admin address http://127\.0\.0\.1:(\d+)/", self.errors()), "an admin address")
        self.admin_port = int(found.group(1))

    def admin(self, target, method="GET", **more):
        with Client(self.admin_port, PATIENCE) as client:
            return client.ask(method, target, **more)

    def stats(self):
        answer = self.admin("/stats")
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def metrics(self):
        return parse_metrics(self.admin("/metrics").body.decode())


# -- Prometheus' text format, as strictly as promtool reads it ------------------

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"labels: {text!r}"
        assert match.group(1) not in labels
        labels[match.group(1)] = match.group(2).replace('\\"', '"').replace("\\\\", "\\")
        at = match.end()
    return labels


class Metrics(dict):
    """(name, frozenset of labels) -> value"""

    def of(self, name, **labels):
        return self[(name, frozenset(labels.items()))]


def parse_metrics(text):
    """Asserts what the format demands: each family once and in one piece, with
    its type in front, each series once, histograms that rise to their count."""
    types, order, metrics, helped = {}, [], Metrics(), set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in helped, f"{name}: two HELP lines"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types and name in helped, name
            assert kind in ("counter", "gauge", "histogram")
            assert kind != "counter" or name.endswith("_total"), name
            types[name] = kind
            order.append(name)
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
            assert family == order[-1], f"{line}: not below its TYPE"
            key = (name, frozenset(parse_labels(labels or "").items()))
            assert key not in metrics, f"twice: {line}"
            metrics[key] = float(value)
    for family in (name for name in order if types[name] == "histogram"):
        series = {}
        for (name, labels), value in metrics.items():
            if name == family + "_bucket":
                labels = dict(labels)
                edge = float(labels.pop("le"))
                series.setdefault(frozenset(labels.items()), []).append((edge, value))
        for labels, buckets in series.items():
            assert buckets == sorted(buckets) and buckets[-1][0] == float("inf"), (family, buckets)
            assert [count for _, count in buckets] == sorted(count for _, count in buckets), (family, buckets)
            assert buckets[-1][1] == metrics[(family + "_count", labels)]
            assert (family + "_sum", labels) in metrics
    return metrics


# -- Chromium, by its debugging pipe ----------------------------------------------


class ChromiumPage:
    def __init__(self, process, to_browser, from_browser):
        self.process, self.to_browser, self.from_browser = process, to_browser, from_browser
        self.input, self.number, self.session, self.events = b"", 0, None, []

    def message(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.input:
            ready, _, _ = select.select([self.from_browser], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.from_browser, 1 << 16) if ready else b""
            assert data, "Chromium says nothing more"
            self.input += data
        text, _, self.input = self.input.partition(b"\0")
        return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(request).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            if "method" in message:
                self.events.append(message)

    def open(self, url, width, height):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        self.call("Page.navigate", url=url)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def wait(self, expression):
        until(lambda: self.value(expression), expression)

    def problems(self):
        """Errors and warnings of the page, however they were told."""
        self.call("Runtime.evaluate", expression="0")
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        found = [event["params"] for event in self.events if event["method"] in kinds]
        return found + [event["params"] for event in self.events
                        if event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning", "assert")]

    def requested(self):
        urls = [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return {urllib.parse.urlparse(url).path for url in urls if not url.startswith(("data:", "about:"))}


@contextlib.contextmanager
def chromium_dom(port, width=390, height=844, words=()):
    """A page of that size (a phone's) at the admin address."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, open(f"{folder}/stderr", "wb") as errors:
        def plumb():
            a, b = os.dup(to_read), os.dup(from_write)  # out of the way of 3 and 4
            high_a, high_b = os.dup2(a, 100), os.dup2(b, 101)
            os.dup2(high_a, 3)
            os.dup2(high_b, 4)

        process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-extensions", "--no-proxy-server", f"--user-data-dir={folder}/profile",
             "--remote-debugging-pipe", *words, "about:blank"],
            preexec_fn=plumb, close_fds=False, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        os.close(to_read)
        os.close(from_write)
        page = ChromiumPage(process, to_write, from_read)
        try:
            page.open(f"http://127.0.0.1:{port}/", width, height)
            yield page
        finally:
            with contextlib.suppress(Exception):
                page.session = None
                page.call("Browser.close")
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)  # its own group, made above
                process.wait()
            os.close(to_write)
            os.close(from_read)
