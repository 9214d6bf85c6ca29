#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo itself, short: it holds its promises, and a stop leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
from processes import processes_that_name  # noqa: E402  pylint: disable=wrong-import-position

SOURCE, BUILD = os.environ["PAIL_SOURCE"], os.environ["PAIL_BUILD"]


class Demo(unittest.TestCase):
    def start(self, out, **environment):
        return subprocess.Popen([sys.executable, "-B", os.path.join(SOURCE, "demo", "demo.py"), BUILD, out],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=dict(os.environ, **environment))

    def test_a_short_run_holds_its_promises(self):
        """With so little data only a mild target can be promised."""
        with tempfile.TemporaryDirectory() as out:
            child = self.start(out, DEMO_SECONDS="5", DEMO_TARGET="0.025", DEMO_SEED="2")
            text, messages = child.communicate(timeout=150)
            self.assertEqual(child.returncode, 0, text + messages)
            with open(os.path.join(out, "demo.json"), encoding="utf-8") as file:
                told = json.load(file)
            self.assertEqual(processes_that_name(out), [])
        plain, plain_hungry, pail, pail_hungry = told["servers"]
        self.assertGreater(pail_hungry["hungry"], 0)
        self.assertEqual(pail_hungry["hungry_500"] + pail_hungry["hungry_503"], pail_hungry["hungry"])
        self.assertGreater(pail_hungry["hungry_500"], 0)
        # A 503 may come before what would have been a 500.
        for run in (pail, pail_hungry):
            self.assertAlmostEqual(run["observed_500"], run["predicted_500"], delta=run["observed_503"] + run["predicted_503"])
        self.assertGreater(pail_hungry["predicted_500"], pail["predicted_500"], "the hungry ones were foretold")
        self.assertLessEqual(pail_hungry["peak_bytes"], pail_hungry["bound_bytes"])
        # The ordinary server pays for the hungry ones, pail does not.
        self.assertGreater(plain_hungry["peak_bytes"], 5 * plain["peak_bytes"])
        self.assertLess(pail_hungry["peak_bytes"], 1.1 * pail["peak_bytes"])
        self.assertIn("What came of it", text)

    def test_a_stop_ends_every_process(self):
        with tempfile.TemporaryDirectory() as out:
            child = self.start(out, DEMO_SECONDS="60")
            # the recorder, the recorded service, and the driver
            for _ in range(1000):
                if len(processes_that_name(out)) >= 3:
                    break
                time.sleep(0.01)
            else:
                self.fail("the recording did not start")
            time.sleep(1)
            child.send_signal(signal.SIGINT)
            _, messages = child.communicate(timeout=60)
            self.assertEqual(child.returncode, 130, messages)
            self.assertEqual(processes_that_name(out), [])
            self.assertEqual(processes_that_name(os.path.join(BUILD, "demo", "service")), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
