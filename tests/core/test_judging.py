"""Which checkpoint is the best follows from the first figure, whichever way it is better."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_a_figure_says_its_name_unit_and_value() -> None:
    assert (DICE.key, DICE.heading, DICE.text(0.5)) == ("dice_mean", "Dice", "0.500")
    assert (DISTANCE.key, DISTANCE.heading, DISTANCE.text(None)) == ("distance", "distance [mm]", "–")
