"""Processes that come together, or do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_process_that_does_not_begin_is_mourned_at_once() -> None:
    program = Path(__file__).with_name("beginning.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    silent, word, other, gone = map(json.loads, done.stdout.splitlines())
    assert silent.startswith("DeviceError: Process 1 of 2 did not start: error: no such device.")
    assert word == "OutOfMemoryError: The memory of cuda:1 does not suffice."
    assert "Process 0 works on cpu and process 1 on cuda: type -o engine.device=cpu" in other
    assert gone.startswith("DeviceError: Process 1 of 2 did not start: it said nothing. Its log is ")
