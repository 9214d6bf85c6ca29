# SPDX-License-Identifier: MIT
"""A headless Chromium, driven by its DevTools protocol over a pipe.

Nothing but Python's standard library. What a page said on the console, threw,
or asked the network for is kept, so that a test can ask whether it was nothing.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 90


class Browser:
    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="pail-browser-", ignore_cleanup_errors=True)
        there, self.write_end = os.pipe()
        self.read_end, back = os.pipe()

        def inherit():  # the protocol is on descriptors 3 and 4
            here, away = os.dup(there), os.dup(back)
            os.dup2(here, 3)
            os.dup2(away, 4)

        self.errors = open(os.path.join(self.profile.name, "stderr"), "wb")
        self.process = subprocess.Popen(
            [PROGRAM, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu",
             "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", "--disable-extensions",
             "--force-color-profile=srgb", "--hide-scrollbars", f"--user-data-dir={self.profile.name}", "about:blank"],
            preexec_fn=inherit, close_fds=False, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors,
            env=dict(os.environ, HOME=self.profile.name, XDG_CONFIG_HOME=self.profile.name))
        os.close(there)
        os.close(back)
        self.number, self.answers, self.events, self.rest = 0, {}, [], b""

    def close(self):
        """Ends the browser that was started here, and what it started."""
        try:
            self.call("Browser.close", patience=10)
        except (OSError, TimeoutError, RuntimeError):
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)
        self.errors.close()
        self.profile.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def pump(self, until):
        left = until - time.monotonic()
        if left <= 0 or not select.select([self.read_end], [], [], left)[0]:
            raise TimeoutError("the browser did not answer")
        got = os.read(self.read_end, 1 << 20)
        if not got:
            raise RuntimeError("the browser ended")
        *whole, self.rest = (self.rest + got).split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.append(message)

    def call(self, method, session=None, patience=PATIENCE_S, **parameters):
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + patience
        while number not in self.answers:
            self.pump(until)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, path, width=1280, height=900, dark=False):
        return Page(self, path, width, height, dark)


class Page:
    """A file, loaded; `said` is all that it complained of, `asked` what it fetched."""

    def __init__(self, browser, path, width, height, dark):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url="file://" + os.path.abspath(path))
        until = time.monotonic() + PATIENCE_S
        while not self.seen("Page.loadEventFired"):
            browser.pump(until)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def call(self, method, **parameters):
        return self.browser.call(method, session=self.session, **parameters)

    def seen(self, *methods):
        return [event["params"] for event in self.browser.events
                if event.get("sessionId") == self.session and event["method"] in methods]

    @property
    def said(self):
        return self.seen("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")

    @property
    def asked(self):
        return [event["request"]["url"] for event in self.seen("Network.requestWillBeSent")]

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
                           userGesture=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def click(self, selector):
        """A click of the mouse in the middle of what the selector finds."""
        x, y = self.run(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2]; }})()""")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name, code=0, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code,
                      text=text if kind == "keyDown" else "")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def shoot(self, path, selector=None, whole=False):
        """A PNG of the window, of one element, or of the whole page."""
        options = {}
        if selector:
            x, y, w, h = self.run(f"""(() => {{ const b = document.querySelector({json.dumps(selector)})
                .getBoundingClientRect(); return [b.x + scrollX, b.y + scrollY, b.width, b.height]; }})()""")
            options["clip"] = {"x": x, "y": y, "width": w, "height": h, "scale": 1}
        if whole or selector:
            options["captureBeyondViewport"] = True
        if whole:
            w, h = self.run("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
            options["clip"] = {"x": 0, "y": 0, "width": w, "height": h, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", **options)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
