# SPDX-License-Identifier: MIT
"""Ports of the loopback that a test's servers can have.

A port that the kernel chose (bind to 0) is one of those that it gives to clients,
too: of many tests at once another's client may have it before the server binds.
So it is one below that range, and the name of an abstract socket, which goes when
the test ends, keeps other tests from choosing the same.
"""
import random
import socket

_ours = []  # open as long as the test runs


def _below_the_clients():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
            first = int(f.read().split()[0])
    except OSError:
        first = 32768
    return range(max(first - 16000, 1024), first)


def free_port():
    candidates = _below_the_clients()
    for port in random.sample(candidates, min(len(candidates), 1000)):
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name.bind(f"\0pail-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            continue
        _ours.append(name)
        return port
    with socket.socket() as probe:  # all of them are clients'
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
