"""Counts of several workers: added up, and right when one of them is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

from erp.serving.metrics import FOLDER

WORKER = """
import os, sys
from erp.serving.metrics import Metrics
counts = Metrics(sys.argv[1])
counts.watch("erp_lost", "Lines", lambda: 2.0)
counts.decisions.labels("small", "routed").inc(3)
counts.overhead.observe(0.004)
counts.active.inc()
print(counts.text().decode())
os.kill(os.getpid(), int(sys.argv[2]))
"""


def test_the_counts_of_workers_are_added_up_and_those_of_the_dead_stay(tmp_path):
    def worker(ends_by):
        command = [sys.executable, "-c", WORKER, str(tmp_path), str(int(ends_by))]
        environment = {**os.environ, FOLDER: str(tmp_path), "PYTHONUNBUFFERED": "1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    def counted(text):
        return {name: float(value) for name, value in re.findall(r"^(erp_[^ ]+) (.*)$", text, re.MULTILINE)}

    one = counted(worker(signal.SIGKILL))
    two = counted(worker(signal.SIGTERM))
    for name, times in {
        'erp_decisions_total{member="small",path="routed"}': 3,
        "erp_overhead_seconds_count": 1,
        'erp_overhead_seconds_bucket{le="0.005"}': 1,
        "erp_lost": 2,
    }.items():
        assert (one[name], two[name]) == (times, 2 * times)
    assert (one["erp_active"], two["erp_active"]) == (1, 1)  # nobody who was killed is still answering
