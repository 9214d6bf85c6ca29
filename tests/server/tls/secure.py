# SPDX-License-Identifier: MIT
"""A pail-server that speaks TLS, and clients of it; certificates are made here."""
import os
import re
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "core"))

import harness  # noqa: E402

folder = tempfile.TemporaryDirectory()


def certificate(name):
    """cert, key: two files, made once for each name."""
    cert, key = f"{folder.name}/{name}.pem", f"{folder.name}/{name}.key"
    if not os.path.exists(cert):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
             "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"],
            check=True, capture_output=True)
    return cert, key


def section(name="one", more=""):
    cert, key = certificate(name)
    return f"\n[tls]\nlisten = 127.0.0.1:0\ncert = {cert}\nkey = {key}\n{more}\n"


def context(name="one"):
    made = ssl.create_default_context(cafile=certificate(name)[0])
    made.check_hostname = False
    return made


class Client(harness.Client):
    def __init__(self, port, timeout=harness.PATIENCE, using=None):
        super().__init__(port, timeout)
        try:
            self.socket = (using or context()).wrap_socket(self.socket)
        except BaseException:
            self.socket.close()
            raise

    def more(self):
        try:
            super().more()
        except ssl.SSLError as error:  # cut off without "close notify"
            raise harness.Closed(str(error)) from error

    def ended(self, within=harness.PATIENCE):
        try:
            return super().ended(within)
        except ssl.SSLError:
            return True


class Server(harness.Server):
    def __init__(self, app, conf="", more="", **words):
        super().__init__(app, "[server]\nimage = 32M\n" + section(more=more) + conf.replace("[server]", "", 1)
                         if "[server]" not in conf else conf.replace("[server]", "[server]\nimage = 32M", 1) + section(more=more),
                         **words)
        self.plain_port = self.port
        # The port file may be there before this is said.
        self.port = int(harness.wait_until(lambda: re.search(r":(\d+) with TLS", self.errors()), "the address of TLS").group(1))

    def client(self):
        return Client(self.port)
