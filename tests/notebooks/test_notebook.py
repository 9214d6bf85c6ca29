#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_notebook.py NAME.ipynb: it runs headless without an error, and what is kept in
the repository was run too, in order and without one. Exit 77: no nbconvert."""
import json
import os
import subprocess
import sys
import tempfile

SOURCE, BUILD = os.environ["PAIL_SOURCE"], os.environ["PAIL_BUILD"]
CONVERT = "/usr/bin/jupyter-nbconvert"  # Debian's, with the kernel that belongs to it


def cells(path):
    with open(path, encoding="utf-8") as file:
        return [cell for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]


def check(path):
    for number, cell in enumerate(cells(path), 1):
        assert cell["execution_count"] == number, f"cell {number} was run as {cell['execution_count']}"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output
            assert output.get("name") != "stderr", output["text"]


def main(name):
    if not os.path.exists(CONVERT):
        print("jupyter-nbconvert is not installed")
        return 77
    path = os.path.join(SOURCE, "notebooks", name)
    check(path)
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, PAIL=f"{BUILD}/bin/pail", PYDEVD_DISABLE_FILE_VALIDATION="1",
                           IPYTHONDIR=folder, JUPYTER_CONFIG_DIR=folder, JUPYTER_RUNTIME_DIR=folder,
                           MPLCONFIGDIR=folder, PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run([CONVERT, "--to", "notebook", "--execute", "--output-dir", folder, path,
                               "--ExecutePreprocessor.timeout=250"],
                              env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr[-4000:])
            return 1
        check(os.path.join(folder, name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
