# SPDX-License-Identifier: MIT
"""What the notebooks share: the command, the traces of data/, and the look of plots.

    PAIL   the command; else build/bin/pail of this checkout, else the one in PATH
"""
import atexit
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile

import matplotlib.pyplot as plt

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
_built = os.path.join(HERE, "..", "build", "bin", "pail")
PAIL = os.environ.get("PAIL") or (_built if os.path.exists(_built) else shutil.which("pail"))
FOLDER = tempfile.mkdtemp(prefix="pail-notebook-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

plt.rcParams.update({
    "figure.figsize": (8, 4), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlelocation": "left", "legend.frameon": False, "font.size": 10,
})


def pail(*words, ok=(0,)):
    """Runs pail with these words. With --json its document, else what it printed."""
    words = [str(word) for word in words]
    done = subprocess.run([PAIL, *words], capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise RuntimeError(f"pail {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout) if "--json" in words else done.stdout


def trace(name):
    """The path of data/NAME.db.zst, unpacked."""
    path = os.path.join(FOLDER, f"{name}.db")
    if not os.path.exists(path):
        subprocess.run(["zstd", "-q", "-d", os.path.join(DATA, f"{name}.db.zst"), "-o", path], check=True)
    return path


def rows(path, query, *values):
    """The rows of an SQL query on a trace."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
        return base.execute(query, values).fetchall()


def in_folder(name):
    """A path for a file that goes when the notebook ends."""
    return os.path.join(FOLDER, name)


def size(value):
    """Bytes as people say them: 24 KiB."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
