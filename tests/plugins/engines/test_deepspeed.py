"""Several processes: that they learn, go on and answer as one does, on the CPU over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.plugins.engines.in_processes import CHECKED, LEARNED, TRAINING

ROUNDING = 1e-5


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


def all_near(found: dict[str, Any], expected: dict[str, Any], split: str) -> None:
    """Compare tensors by name, each with its largest value, and all of them with the largest there is."""
    assert found.keys() == expected.keys(), split
    for name, values in expected.items():
        assert near(found[name], values, 10 * ROUNDING), f"{split}: {name}"
    whole, wanted = (np.concatenate([one[name] for name in expected]) for one in (found, expected))
    assert near(whole, wanted), split


def test_it_learns_what_one_process_learns() -> None:
    learned = results("learn", *LEARNED)
    alone = learned.pop("single")
    assert list(learned) == list(LEARNED)
    for split, shared in learned.items():
        assert len(shared["losses"]) == TRAINING.steps
        assert shared["losses"][-1] < shared["losses"][0] / 2
        for loss, expected in zip(shared["losses"], alone["losses"], strict=True):
            assert loss == pytest.approx(expected, rel=ROUNDING), split
        all_near(shared["model"], alone["model"], split)
        assert shared["training"].keys() == alone["training"].keys()


def test_it_keeps_the_promises_of_an_engine() -> None:
    assert results("check", *CHECKED) == dict.fromkeys(CHECKED, "")


def test_examples_of_several_sizes_need_not_be_as_many_as_there_are_rows() -> None:
    learned = results("uneven", "data parallel", "ZeRO 2", "ZeRO 3", "two stages")
    alone = learned.pop("single")
    assert len(learned) == 4
    for split, shared in learned.items():
        assert near(shared["losses"], alone["losses"]), split
        all_near(shared["model"], alone["model"], split)


def test_it_answers_with_weights_that_another_engine_saved() -> None:
    answers = results("predict", "data parallel", "two stages")
    alone = answers.pop("single")
    assert len(answers) == 2
    for split, shared in answers.items():
        assert all(near(found, expected) for found, expected in zip(shared, alone, strict=True)), split


def test_it_learns_in_bfloat16_as_one_process_does() -> None:
    learned = results("lowered", "data parallel", "two stages")
    alone = learned.pop("single")
    assert len(learned) == 2
    for split, shared in learned.items():
        assert near(shared, alone, 0.03), split
