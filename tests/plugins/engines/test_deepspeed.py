"""Several processes: that they learn, go on and answer as one does, on the CPU over gloo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.program import environment, fork
from tests.plugins.engines.in_processes import ANSWERING, CHECKED, LEARNED, LOWERED, TRAINING, UNEVEN

ROUNDING = 1e-5
ROOT = Path(__file__).parents[3]


def results(folder: Path, *tasks: str) -> dict[str, dict[str, Any]]:
    """Return what the program of `in_processes` finds, by task and way."""
    variables = {**environment(folder), "PYTHONPATH": str(ROOT)}
    done = fork("in_processes", folder, *tasks, variables=variables, imports=["deepspeed"], seconds=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = {task: {} for task in tasks}
    for task, split, result in map(json.loads, done.stdout.splitlines()):
        found[task][split] = result
    return found


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


def test_two_processes_learn_and_answer_as_one_does(tmp_path: Path) -> None:
    found = results(tmp_path, "learn", "uneven", "predict", "lower")
    alone = {task: by_split.pop("single") for task, by_split in found.items()}
    assert [list(by_split) for by_split in found.values()] == [*map(list, (LEARNED, UNEVEN, ANSWERING, LOWERED))]
    for split, learned in found["learn"].items():
        compare_losses(split, learned["losses"], alone["learn"]["losses"])
        all_near(learned["model"], alone["learn"]["model"], split)
        assert learned["training"].keys() == alone["learn"]["training"].keys()
    for split, learned in found["uneven"].items():  # windows of several sizes, not as many of each as there are rows
        assert near(learned["losses"], alone["uneven"]["losses"]), split
        all_near(learned["model"], alone["uneven"]["model"], split)
    for split, answers in found["predict"].items():  # with weights that another engine saved
        assert all(near(answer, expected) for answer, expected in zip(answers, alone["predict"], strict=True)), split
    for split, losses in found["lower"].items():  # in bfloat16
        assert near(losses, alone["lower"], 0.03), split


def compare_losses(split: str, losses: list[float], expected: list[float]) -> None:
    assert len(losses) == TRAINING.steps
    assert losses[-1] < losses[0] / 2
    for loss, truth in zip(losses, expected, strict=True):
        assert loss == pytest.approx(truth, rel=ROUNDING), split


def test_it_keeps_the_promises_of_an_engine(tmp_path: Path) -> None:
    assert results(tmp_path, "check") == {"check": dict.fromkeys(CHECKED, "")}
