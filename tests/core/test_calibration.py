"""Calibration after the fact: against the closed form of isotonic regression, and distortions that are known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.core.test_reliability import counted, drawn

from ddmkit import ConfigurationError, DataError
from ddmkit.calibration import (
    Calibration,
    Curve,
    calibrated,
    deciding,
    fit,
    on_other_halves,
    read_calibration,
    write_calibration,
)
from ddmkit.reliability import Counts, together

MADE_BY: dict[str, Any] = {
    "run": "here",
    "weights": "abc",
    "seed": 3,
    "ensemble": 15,
    "sampler": {"name": "ddim", "steps": 20},
    "task": {"name": "brats", "output": "whole", "images": ("t1", "t2")},
}
CALIBRATION = Calibration(
    made_by=deciding(MADE_BY), cases=("a", "b"), curves={"whole": Curve(mean=(0.1, 0.9), probability=(0.2, 0.4))}
)


def ece(counts: Counts) -> float:
    found = counts.reliability()["ece"]
    assert found is not None
    return found


def min_max(shares: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return isotonic regression by its closed form: the largest, over starts, of the least mean, over ends."""

    def mean(start: int, end: int) -> float:
        return float(np.average(shares[start : end + 1], weights=weights[start : end + 1]))

    count = len(shares)
    return [max(min(mean(start, end) for end in range(at, count)) for start in range(at + 1)) for at in range(count)]


def test_the_fit_is_the_closed_form_of_isotonic_regression() -> None:
    random = np.random.default_rng(1)
    means = np.sort(random.choice(np.arange(5, 1500), 40, replace=False)) / 1500
    voxels = random.integers(1, 30, 40)
    probability = np.repeat(means, voxels).astype(np.float32)
    truth = random.uniform(0, 1, len(probability)) < probability
    shares = np.array([of_bin.mean() for of_bin in np.split(truth, np.cumsum(voxels)[:-1])])
    found = fit(Counts.of(probability, truth)).of(means.astype(np.float32))
    np.testing.assert_allclose(found, min_max(shares, voxels), atol=1e-6)


def test_a_fit_by_hand() -> None:
    curve = fit(counted([0.2, 0.2, 0.5, 0.8, 0.8, 0.8], [0, 1, 0, 1, 1, 0]))
    assert curve.mean == pytest.approx((0.2, 0.5, 0.8))
    assert curve.probability == pytest.approx((1 / 3, 1 / 3, 2 / 3))  # 1/2 and 0 come to one level
    means = np.array([0, 0.35, 0.65, 1], np.float32)
    np.testing.assert_allclose(curve.of(means), [1 / 3, 1 / 3, 1 / 2, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize("distortion", [3, 1 / 3])
def test_a_distortion_is_repaired_on_cases_that_the_fit_does_not_know(distortion: float) -> None:
    curve = fit(Counts.of(*drawn((200_000,), seed=1, distortion=distortion)))
    mean, truth = drawn((200_000,), seed=2, distortion=distortion)
    before, after = ece(Counts.of(mean, truth)), ece(Counts.of(curve.of(mean), truth, mean))
    assert before > 0.2
    assert after < 0.01
    inside = (mean > 0.02) & (mean < 0.98)
    np.testing.assert_allclose(curve.of(mean)[inside], mean[inside] ** (1 / distortion), atol=0.05)


def test_counts_that_are_moved_come_to_what_moved_maps_come_to() -> None:
    curve = fit(Counts.of(*drawn((50_000,), seed=1, distortion=3)))
    mean, truth = drawn((50_000,), seed=2, distortion=3)
    moved, exact = calibrated(Counts.of(mean, truth), curve), Counts.of(curve.of(mean), truth, mean)
    assert moved.reliability()["voxels"] == exact.reliability()["voxels"]
    for field in ("ece", "brier", "ece_volume"):
        assert moved.reliability()[field] == pytest.approx(exact.reliability()[field], abs=1e-3)


def test_half_of_the_cases_are_judged_by_the_curve_of_the_other_half() -> None:
    """Of two cases that contradict each other, a curve of both is right on the whole, and a curve of one never."""
    mean = np.full(100, 0.5, np.float32)
    cases = [Counts.of(mean, np.arange(100) < inside) for inside in (10, 90)]
    assert ece(calibrated(together(cases), fit(together(cases)))) == pytest.approx(0)
    row = on_other_halves(cases)
    assert row is not None
    assert (row["cases"], row["voxels"]) == (2, 200)
    assert row["ece"] == pytest.approx(0.8)
    assert row["brier"] == pytest.approx(0.9 * 0.9**2 + 0.1 * 0.1**2)
    assert on_other_halves(cases[:1]) is None


def test_a_curve_never_falls_and_stays_within_0_and_1() -> None:
    curve = fit(Counts.of(*drawn((5000,), seed=4)))
    found = curve.of(np.linspace(-1, 2, 1001, dtype=np.float32).reshape(-1, 1, 1))
    assert (np.diff(found.ravel()) >= 0).all()
    assert (found.min() >= 0, found.max() <= 1) == (True, True)
    for mean, probability in (((0.5, 0.5), (0, 1)), ((0, 1), (0.5, 0.4)), ((0, 1), (0, 1.1)), ((0, 1), (0,)), ((), ())):
        with pytest.raises(ValidationError):
            Curve(mean=mean, probability=probability)


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_calibration(tmp_path / "calibration.json", CALIBRATION, {"run": "here"})
    assert read_calibration(tmp_path / "calibration.json") == CALIBRATION
    assert json.loads((tmp_path / "calibration.json").read_text())["run"] == "here"


def test_what_does_not_decide_the_means_may_differ() -> None:
    CALIBRATION.check({**MADE_BY, "run": "elsewhere", "seed": 4, "combine": "vote"})


@pytest.mark.parametrize(
    "other",
    [
        {"ensemble": 5},
        {"weights": "abd"},
        {"sampler": {"name": "ddim", "steps": 10}},
        {"task": {"name": "brats", "output": "classes"}},
        {"ensemble": "auto", "tolerance": 0.01, "most": 15},
    ],
)
def test_answers_that_are_sampled_otherwise_are_refused(other: dict[str, Any]) -> None:
    what, now = next(iter(other.items()))
    with pytest.raises(ConfigurationError, match=re.escape(f"({what} was {CALIBRATION.made_by[what]}, now {now})")):
        CALIBRATION.check({**MADE_BY, **other})


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"calibration": {"curves": 3}}'])
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "calibration.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"Cannot read the calibration .*ddmkit calibrate ANSWERS"):
        read_calibration(path)
