"""Which checkpoint is the best follows from the first figure, whichever way it is better."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
from tests.core.judges import Difference

from ddmkit import Figure
from ddmkit.judging import decisive, goodness

DICE = Figure("dice", "Dice", higher_is_better=True, by_case=True)
DISTANCE = Figure("distance", "distance", higher_is_better=False, unit="mm", decimals=1)


def test_the_decisive_figure_is_the_mean_over_all_cases_of_all_rows() -> None:
    summary = {"whole": {"n": 3, "dice_mean": 0.9}, "core": {"n": 1, "dice_mean": 0.5}}
    assert decisive(summary, [DICE, DISTANCE]) == pytest.approx((3 * 0.9 + 0.5) / 4)


@pytest.mark.parametrize("summary", [{}, {"all": {"n": 2, "distance": None}}, {"all": {"n": 0, "distance": 1.0}}])
def test_a_figure_that_nobody_could_work_out_decides_nothing(summary: dict[str, Any]) -> None:
    assert decisive(summary, [DISTANCE]) is None


def test_better_is_higher_or_lower_and_unknown_is_worst() -> None:
    assert goodness(0.9, DICE) > goodness(0.8, DICE) > goodness(None, DICE)
    assert goodness(0.8, DISTANCE) > goodness(0.9, DISTANCE) > goodness(None, DISTANCE)


def test_each_case_counts_once_however_many_members_it_has() -> None:
    judge, blank = Difference(), np.zeros((1, 2, 2, 2), dtype=np.float32)
    assert judge.summary() == {
        "all": {"n": 0, **{f"{name}_{what}": None for name in ("mae", "mean") for what in ("mean", "std", "interval")}}
    }
    for case, error in (("a", 1), ("a", 3), ("b", 5)):
        judge.add(case, judge.measure(blank, blank + error))
    assert judge.by_case() == {"a": {"mae": 2, "mean": 0}, "b": {"mae": 5, "mean": 0}}
    row = judge.summary()["all"]
    assert (row["n"], row["mae_mean"], row["mae_std"]) == (2, 3.5, pytest.approx(statistics.stdev([2, 5])))
    assert 2 <= row["mae_interval"][0] <= 3.5 <= row["mae_interval"][1] <= 5
    assert decisive(judge.summary(), judge.figures) == 3.5


def test_a_figure_says_its_name_unit_and_value() -> None:
    assert (DICE.key, DICE.heading, DICE.text(0.5)) == ("dice_mean", "Dice", "0.500")
    assert (DISTANCE.key, DISTANCE.heading, DISTANCE.text(None)) == ("distance", "distance [mm]", "–")
