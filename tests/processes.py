# SPDX-License-Identifier: MIT
"""Processes that a test may have left behind."""
import os


def processes_that_name(text):
    """Pids of running processes with `text` on their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if text.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found
