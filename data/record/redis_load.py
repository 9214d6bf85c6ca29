#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redis_load.py PORT SECONDS SEED: open-loop load for redis. Commands of each kind
arrive as a Poisson process of their own, on one of 32 connections, whether or
not earlier ones were answered; a batch goes out in one write (pipelined)."""
import asyncio
import heapq
import random
import sys

CONNECTIONS = 32
KINDS = (  # rate, batch, words
    (250, 1, lambda r: ("SET", f"key:{r.randrange(500)}", "x" * r.choice((16, 100, 900)))),
    (500, 1, lambda r: ("GET", f"key:{r.randrange(500)}")),
    (20, 8, lambda r: ("INCR", f"counter:{r.randrange(20)}")),
    (40, 1, lambda r: ("LPUSH", "queue", "y" * 64)),
    (40, 1, lambda r: ("RPOP", "queue")),
    (20, 1, lambda r: ("ZADD", "scores", str(r.randrange(1000)), f"member:{r.randrange(200)}")),
    (10, 1, lambda r: ("ZRANGE", "scores", "0", "50")),
    (2, 1, lambda r: ("SET", f"blob:{r.randrange(4)}", "z" * r.randrange(20000, 120000))),
)


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)


async def drain(reader):
    while await reader.read(1 << 16):
        pass


async def main(port, seconds, seed):
    source = random.Random(seed)
    pipes = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    readers = [asyncio.create_task(drain(reader)) for reader, _ in pipes]
    due = [(source.expovariate(rate), index) for index, (rate, _, _) in enumerate(KINDS)]
    heapq.heapify(due)
    clock, sent = asyncio.get_running_loop().time, 0
    begin = clock()
    while due[0][0] < seconds:
        at, index = heapq.heappop(due)
        rate, batch, words = KINDS[index]
        heapq.heappush(due, (at + source.expovariate(rate), index))
        if (wait := begin + at - clock()) > 0:
            await asyncio.sleep(wait)
        pipes[source.randrange(CONNECTIONS)][1].write(b"".join(encode(words(source)) for _ in range(batch)))
        sent += batch
    for _, writer in pipes:
        await writer.drain()
    await asyncio.sleep(0.5)
    for _, writer in pipes:
        writer.close()
    await asyncio.wait(readers, timeout=10)
    print(f"sent {sent} commands in {seconds} s")


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
