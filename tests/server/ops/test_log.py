#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The log makes nobody wait: a pipe that nobody reads fills, lines are dropped and
counted, and those that get through are whole."""
import json
import os
import signal
import subprocess
import tempfile
import unittest

from ops import SERVER, Client, Server, plugin, until


class Log(unittest.TestCase):
    def test_a_pipe_that_is_full_stops_no_worker(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/conf", "w", encoding="ascii") as file:
                file.write("[server]\nthreads = 2\nadmin = 127.0.0.1:0\n[bucket main]\nsize = 64K\ncount = 4\n")
            process = subprocess.Popen([SERVER, "-c", f"{folder}/conf", "--app", plugin("talk"), "--listen", "127.0.0.1:0",
                                        "--port-file", f"{folder}/port", "--log", "-"], stderr=subprocess.PIPE)
            try:
                text = b""
                while b"listening on" not in text or not text.endswith(b"\n"):
                    text += os.read(process.stderr.fileno(), 4096)
                admin = int(text.split(b"admin address http://127.0.0.1:")[1].split(b"/")[0])
                with open(f"{folder}/port", encoding="ascii") as file:
                    port = int(file.read())
                asked, batch = 0, 200
                with Client(port, 60) as client:
                    def dropped():
                        with Client(admin, 60) as other:
                            return json.loads(other.ask("GET", "/stats").body)["log"]["dropped"]
                    while not dropped():  # the pipe, then the buffer
                        client.send(client.request("GET", "/x") * batch)
                        for _ in range(batch):
                            self.assertEqual(client.read().status, 200)
                        asked += batch
                        self.assertLess(asked, 100000)
                    lost = dropped()
                    process.send_signal(signal.SIGTERM)
                    client.ended(20)
                seen, told, rest = 0, 0, process.stderr.read()
                self.assertEqual(process.wait(60), 0)
                for line in rest.decode().splitlines():
                    record = json.loads(line)  # each is whole
                    seen += "start_ns" in record
                    told += record.get("dropped_lines", 0)
                self.assertGreater(seen, 100)
                self.assertGreaterEqual(asked - seen, lost)
                self.assertGreaterEqual(lost, told)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(60)
                process.stderr.close()

    def test_it_is_opened_anew_when_asked(self):
        with Server("talk") as server:
            for number, sign in enumerate((signal.SIGUSR1, signal.SIGHUP)):
                server.get("/x")
                server.wait_lines(1)
                os.rename(server.log_path, f"{server.log_path}.{number}")
                server.process.send_signal(sign)
                until(lambda: os.path.exists(server.log_path), "a new log")
                server.get("/y")
                self.assertEqual(server.wait_lines(1)[0]["path"], "/y")


if __name__ == "__main__":
    unittest.main(verbosity=2)
