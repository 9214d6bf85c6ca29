#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A folder of files on a running server: they are sent by sendfile and not through a bucket, with
what caches and resumed downloads need, and nothing outside of the folder ever is."""
import email.utils
import os
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

from ops import Closed, Server, until

# Buckets for all that are at it at a time: while others wait for one, who reads slowly is ended.
CONF = "[server]\n[bucket main]\nsize = 128K\ncount = 8\n"
BIG = 3 << 20


class Static(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = f"{cls.folder.name}/root"
        os.makedirs(f"{cls.root}/sub")
        cls.big = os.urandom(BIG)
        for name, data in (("big.bin", cls.big), ("a.txt", b"0123456789"), ("sub/index.html", b"<p>sub"),
                           ("page.html", b"<p>plain" * 50), ("page.html.gz", b"gzip"), ("page.html.br", b"brotli"),
                           ("page.html.zst", b"zstd"), ("../secret", b"secret")):
            with open(f"{cls.root}/{name}", "wb") as file:
                file.write(data)
            os.utime(f"{cls.root}/{name}", (1700000000, 1700000000))
        os.symlink("../secret", f"{cls.root}/out")
        os.symlink(f"{cls.folder.name}", f"{cls.root}/up")
        cls.server = Server(cls.root, CONF)

    @classmethod
    def tearDownClass(cls):
        code, text = cls.server.stop(), cls.server.errors()
        cls.server.end()
        cls.folder.cleanup()
        assert code == 0, text

    def ask(self, target, *headers, method="GET"):
        with self.server.client() as client:
            return client.ask(method, target, headers)

    def test_a_file_larger_than_its_bucket_is_sent_whole(self):
        answer = self.ask("/big.bin")
        self.assertEqual((answer.status, answer.headers["content-length"]), (200, str(BIG)))
        self.assertTrue(answer.body == self.big)
        line = until(lambda: [line for line in self.server.lines() if line["path"] == "/big.bin"], "its line")[0]
        self.assertEqual(line["bytes_out"], BIG)
        self.assertLess(line["need_bytes"], 32 << 10)

    @unittest.skipUnless(shutil.which("strace") and os.geteuid() == 0, "no strace here, or not allowed")
    def test_it_is_sent_by_sendfile(self):
        with tempfile.NamedTemporaryFile("r") as out:
            tracer = subprocess.Popen(["strace", "-f", "-e", "trace=sendfile,read,pread64", "-o", out.name, "-p", str(self.server.pid)],
                                      stderr=subprocess.PIPE)
            try:
                if b"attached" not in tracer.stderr.readline():
                    self.skipTest("strace may not attach")
                self.assertTrue(self.ask("/big.bin").body == self.big)
            finally:
                tracer.terminate()
                tracer.communicate(timeout=60)
            calls = out.read()
        sent = sum(int(count) for count in re.findall(r"sendfile(?:64)?\(.*\) = (\d+)$", calls, re.M))
        sent += sum(int(count) for count in re.findall(r"sendfile resumed>.*\) = (\d+)$", calls, re.M))
        self.assertEqual(sent, BIG, calls[-500:])

    def test_a_client_that_reads_slowly_gets_all_of_it(self):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
            slow.settimeout(60)
            slow.connect(("127.0.0.1", self.server.port))
            slow.sendall(b"GET /big.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            data = slow.recv(1000)
            self.assertEqual(self.ask("/a.txt").body, b"0123456789")  # others are served meanwhile
            while piece := slow.recv(50000):
                data += piece
        self.assertTrue(data.partition(b"\r\n\r\n")[2] == self.big)

    def test_dates_and_tags_are_the_file_s(self):
        answer = self.ask("/a.txt")
        modified, tag = answer.headers["last-modified"], answer.headers["etag"]
        self.assertEqual(email.utils.parsedate_to_datetime(modified).timestamp(), 1700000000)
        self.assertRegex(tag, r'^"[^"]+"$')
        earlier, later = (email.utils.formatdate(1700000000 + more, usegmt=True) for more in (-1, 1))
        for field, value, status in (("If-Modified-Since", modified, 304), ("If-Modified-Since", later, 304),
                                     ("If-Modified-Since", earlier, 200), ("If-Modified-Since", "no date", 200),
                                     ("If-None-Match", tag, 304), ("If-None-Match", f'"x", W/{tag}', 304),
                                     ("If-None-Match", "*", 304), ("If-None-Match", '"x"', 200),
                                     ("If-Match", tag, 200), ("If-Match", '"x"', 412), ("If-Unmodified-Since", earlier, 412)):
            answer = self.ask("/a.txt", (field, value))
            self.assertEqual(answer.status, status, (field, value))
            self.assertEqual(answer.body, b"0123456789" if status == 200 else answer.body)
            if status == 304:
                self.assertEqual((answer.headers["etag"], answer.body), (tag, b""))
        # The tag comes before the date (RFC 9110, 13.2.2).
        self.assertEqual(self.ask("/a.txt", ("If-None-Match", '"x"'), ("If-Modified-Since", later)).status, 200)

    def test_ranges_and_what_they_are_asked_of(self):
        answer = self.ask("/a.txt")
        modified, tag = answer.headers["last-modified"], answer.headers["etag"]
        self.assertEqual(answer.headers["accept-ranges"], "bytes")
        for asked, status, body, span in (("0-3", 206, b"0123", "bytes 0-3/10"), ("7-", 206, b"789", "bytes 7-9/10"),
                                          ("-2", 206, b"89", "bytes 8-9/10"), ("5-500", 206, b"56789", "bytes 5-9/10"),
                                          ("10-", 416, None, "bytes */10"), ("x-", 200, b"0123456789", None)):
            answer = self.ask("/a.txt", ("Range", f"bytes={asked}"))
            self.assertEqual((answer.status, answer.headers.get("content-range")), (status, span), asked)
            if body is not None:
                self.assertEqual(answer.body, body)
        for validator, status in ((tag, 206), (modified, 206), ('"other"', 200), (f"W/{tag}", 200),
                                  (email.utils.formatdate(1700000001, usegmt=True), 200), ("nonsense", 200)):
            answer = self.ask("/a.txt", ("Range", "bytes=2-4"), ("If-Range", validator))
            self.assertEqual((answer.status, answer.body), (206, b"234") if status == 206 else (200, b"0123456789"), validator)
        # A large one, from the middle, by the same way.
        answer = self.ask("/big.bin", ("Range", f"bytes={BIG // 3}-{BIG - 7}"))
        self.assertTrue(answer.body == self.big[BIG // 3:BIG - 6])

    def test_a_download_goes_on_only_with_the_same_file(self):
        path = f"{self.root}/changing.bin"
        with open(path, "wb") as file:
            file.write(b"a" * 1000)
        os.utime(path, (1700000000, 1700000000))
        tag = self.ask("/changing.bin").headers["etag"]
        with open(path + ".new", "wb") as file:
            file.write(b"b" * 1000)
        os.utime(path + ".new", ns=(1700000000 * 10**9, 1700000000 * 10**9 + 1))  # of the same length and second
        os.rename(path + ".new", path)
        answer = self.ask("/changing.bin", ("Range", "bytes=500-"), ("If-Range", tag))
        self.assertEqual((answer.status, answer.body), (200, b"b" * 1000))
        self.assertNotEqual(answer.headers["etag"], tag)

    def test_files_that_change_while_they_are_sent(self):
        path = f"{self.root}/moving.bin"

        def begin():
            with open(path, "wb") as file:
                file.write(self.big)
            client = self.server.client()
            self.addCleanup(client.socket.close)
            client.send(client.request("GET", "/moving.bin"))
            client.more()
            return client
        client = begin()
        with open(path + ".new", "wb") as file:
            file.write(b"other")
        os.rename(path + ".new", path)
        self.assertTrue(client.read().body == self.big)  # the one that was opened
        self.assertEqual(self.ask("/moving.bin").body, b"other")
        client = begin()
        os.truncate(path, 10)
        self.assertRaises(Closed, client.read)  # not a byte that the file did not have
        until(lambda: [line for line in self.server.lines() if line.get("cause") == "short-file"], "it is in the log")

    def test_compressed_neighbours_and_types(self):
        for accepts, encoding, body in (("gzip", "gzip", b"gzip"), ("br", "br", b"brotli"), ("zstd", "zstd", b"zstd"),
                                        ("gzip;q=0, br;q=0, zstd;q=0", None, b"<p>plain" * 50), ("identity", None, b"<p>plain" * 50)):
            answer = self.ask("/page.html", ("Accept-Encoding", accepts))
            self.assertEqual((answer.headers.get("content-encoding"), answer.body), (encoding, body), accepts)
            self.assertIn("accept-encoding", answer.headers["vary"].lower())
            self.assertTrue(answer.headers["content-type"].startswith("text/html"))
        self.assertEqual(self.ask("/page.html", method="HEAD").headers["content-length"], "400")
        self.assertTrue(self.ask("/a.txt").headers["content-type"].startswith("text/plain"))
        self.assertEqual(self.ask("/sub/").body, b"<p>sub")
        self.assertEqual(self.ask("/sub").headers["location"], "/sub/")

    def test_nothing_outside_is_reached(self):
        for target in ("/../secret", "/%2e%2e/secret", "/sub/../../secret", "/sub/..%2f..%2fsecret", "/out", "/up/secret", "/up/root/a.txt",
                       "/..%5csecret", "/a.txt%00", "//secret", "/./../secret", "/%252e%252e/secret", f"/{self.folder.name}/secret"):
            answer = self.ask(target)
            self.assertIn(answer.status, (400, 403, 404), target)
            self.assertNotIn(b"secret", answer.body.replace(target.encode(), b""), target)


if __name__ == "__main__":
    unittest.main(verbosity=2)
