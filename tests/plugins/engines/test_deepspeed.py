"""Several processes: that they learn, go on and answer as one does, on the CPU over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.plugins.engines.in_processes import CHECKED, LEARNED, TRAINING

ROUNDING = 1e-5


@cache
def results(*task: str) -> dict[str, Any]:
    """Return what the program of `in_processes` says for a task and its ways."""
    program = Path(__file__).with_name("in_processes.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, *task],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def near(found: Any, expected: Any, tolerance: float = ROUNDING) -> bool:  # noqa: ANN401 - numbers, lists of them
    """Compare with the largest that there should be."""
    wanted = np.asarray(expected)
    return bool(np.abs(np.asarray(found) - wanted).max() <= tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("split", LEARNED)
def test_it_learns_what_one_process_learns(split: str) -> None:
    alone, shared = (results("learn", *LEARNED)[name] for name in ("single", split))
    assert len(shared["losses"]) == TRAINING.steps
    assert shared["losses"][-1] < shared["losses"][0] / 2
    for loss, expected in zip(shared["losses"], alone["losses"], strict=True):
        assert loss == pytest.approx(expected, rel=ROUNDING)
    for file in ("model", "training"):
        assert shared[file].keys() == alone[file].keys()
        assert all(near(shared[file][name], alone[file][name], 10 * ROUNDING) for name in alone[file])
    found, expected = (np.concatenate([one["model"][name] for name in alone["model"]]) for one in (shared, alone))
    assert near(found, expected)


@pytest.mark.parametrize("split", CHECKED)
def test_it_keeps_the_promises_of_an_engine(split: str) -> None:
    assert not results("check", *CHECKED)[split]


UNEVEN = ("data parallel", "ZeRO 2", "ZeRO 3", "two stages")


@pytest.mark.parametrize("split", UNEVEN)
def test_examples_of_several_sizes_need_not_be_as_many_as_there_are_rows(split: str) -> None:
    alone, shared = (results("uneven", *UNEVEN)[name] for name in ("single", split))
    assert near(shared["losses"], alone["losses"])
    assert all(near(shared["model"][name], alone["model"][name], 10 * ROUNDING) for name in alone["model"])


ANSWERING = ("data parallel", "two stages")


@pytest.mark.parametrize("split", ANSWERING)
def test_it_answers_with_weights_that_another_engine_saved(split: str) -> None:
    alone, shared = (results("predict", *ANSWERING)[name] for name in ("single", split))
    for found, expected in zip(shared, alone, strict=True):
        assert near(found, expected)


LOWERED = ("data parallel", "two stages")


@pytest.mark.parametrize("split", LOWERED)
def test_it_learns_in_bfloat16_as_one_process_does(split: str) -> None:
    alone, shared = (results("lowered", *LOWERED)[name] for name in ("single", split))
    assert near(shared, alone, 0.03)
