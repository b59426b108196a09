"""Curves are read as they were written, and averaged as the definition says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ddmkit import Figure
from ddmkit.run.folder import RunFolder
from ddmkit_plugins.trackers.curves import read_curves, running_mean, thin
from ddmkit_plugins.trackers.drawing import draw_curves

if TYPE_CHECKING:
    from pathlib import Path


def test_curves_hold_the_steps_and_the_validations_and_nothing_else(tmp_path: Path) -> None:
    summary = {"whole": {"dice_mean": 0.5, "dice_std": 0.1}, "core": {"dice_mean": 0.25}}
    figure = Figure("dice", "Dice", higher_is_better=True, by_case=True)
    records = [
        {"kind": "step", "step": 1, "loss": 0.5, "seconds": 1.0},
        {"kind": "step", "step": 2, "loss": 0.125},
        {"kind": "validation", "step": 2, "summary": summary, "figures": [figure._asdict()]},
        {"kind": "test", "step": 2, "summary": summary},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"kind": "st', encoding="utf-8")
    curves = read_curves(RunFolder(tmp_path))
    assert curves.steps.tolist() == [1, 2]
    assert curves.losses.tolist() == [0.5, 0.125]
    assert curves.validated == [2]
    assert curves.figure == figure
    assert curves.values == {"whole": [0.5], "core": [0.25]}


def test_a_region_that_a_validation_says_nothing_of_has_a_gap_there(tmp_path: Path) -> None:
    figure = Figure("dice", "Dice", higher_is_better=True, by_case=True)
    folder = RunFolder(tmp_path)
    for step, told in ((10, {"whole": 0.5}), (20, {"whole": 0.75, "core": 0.25}), (30, {"core": None})):
        summary = {region: {"dice_mean": value} for region, value in told.items()}
        folder.append_metrics({"kind": "validation", "step": step, "summary": summary, "figures": [figure._asdict()]})
    curves = read_curves(folder)
    assert list(curves.values) == ["whole", "core"]
    assert curves.values["whole"] == pytest.approx([0.5, 0.75, np.nan], nan_ok=True)
    assert curves.values["core"] == pytest.approx([np.nan, 0.25, np.nan], nan_ok=True)
    draw_curves(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


def test_a_run_without_metrics_has_empty_curves(tmp_path: Path) -> None:
    curves = read_curves(RunFolder(tmp_path))
    assert len(curves.steps) == len(curves.losses) == len(curves.validated) == len(curves.values) == 0


@pytest.mark.parametrize("width", [1, 3, 7])
def test_the_running_mean_is_that_of_the_values_up_to_each_and_of_no_others(width: int) -> None:
    values = np.random.default_rng(0).random(7)
    expected = [values[end - width : end].mean() for end in range(width, 8)]
    assert running_mean(values, width) == pytest.approx(expected)


def test_thinned_values_are_the_means_of_equal_blocks_and_of_what_is_left() -> None:
    assert thin(np.array([1.0, 3.0, 5.0, 9.0, 4.0]), 2).tolist() == [2, 7, 4]
    assert thin(np.array([1.0, 3.0]), 1).tolist() == [1, 3]
