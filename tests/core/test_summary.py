"""Means, spreads and intervals over cases."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from ddmkit.definition import Scoring
from ddmkit.scoring import Score, Segmentation, score_case
from ddmkit.summary import Summary, interval_of_mean, summarise

BINARY = ("background", "whole")
WHOLE = {"whole": frozenset({"whole"})}


def score(case: str, dice: float, hd95: float, surface_dice: float, region: str = "whole") -> Score:
    return Score(case, region, dice, hd95, surface_dice, None)


def masks(*sides: int) -> list[Score]:
    """Score a case of two voxels, of which each side has none or the first."""
    prediction, reference = (Segmentation(np.array([[[side]], [[0]]], np.uint8), BINARY) for side in sides)
    return score_case(f"{sides}", prediction, reference, WHOLE, (1.0, 1.0, 1.0), Scoring())


def test_a_summary_is_mean_and_sample_deviation_of_each_region() -> None:
    summary = summarise([score("a", 0.9, 2, 0.5), score("b", 0.7, 6, 0.5), score("a", 0.5, 1, 0.25, "core")])
    assert list(summary) == ["whole", "core"]
    whole = summary["whole"]
    assert (whole["n"], whole["missed"]) == (2, 0)
    assert (whole["dice_mean"], whole["dice_std"]) == pytest.approx((0.8, 0.02**0.5))
    assert (whole["hd95_mean"], whole["hd95_std"]) == pytest.approx((4, 8**0.5))
    assert (whole["surface_dice_mean"], whole["surface_dice_std"]) == (0.5, 0)
    assert (whole["dice_interval"], whole["surface_dice_interval"]) == ([0.7, 0.9], [0.5, 0.5])


def test_one_case_has_no_interval() -> None:
    assert summarise([score("a", 0.5, 1, 0.25)])["whole"] == Summary(
        n=1,
        dice_mean=0.5,
        dice_std=0,
        dice_interval=None,
        hd95_mean=1,
        hd95_std=0,
        hd95_interval=None,
        surface_dice_mean=0.25,
        surface_dice_std=0,
        surface_dice_interval=None,
        missed=0,
    )


@pytest.mark.parametrize("value", [0.8, 1.1, 373.128664, 1e-3])
def test_values_that_differ_by_rounding_alone_are_alike(value: float) -> None:
    others = [math.nextafter(value, 0), value, math.nextafter(value, 1e9), value]
    assert interval_of_mean(others) == pytest.approx([value, value])


def test_missed_cases_count_in_the_mean_and_are_told() -> None:
    scores = [s for sides in itertools.product([1, 0], repeat=2) for s in masks(*sides)]
    apart = score("4", 0.0, 9.0, 0.0)  # both found something, but nowhere the same
    summary = summarise([*scores, apart])["whole"]
    assert summary["n"] == 5
    assert summary["missed"] == 2
    assert summary["dice_mean"] == summary["surface_dice_mean"] == pytest.approx(2 / 5)


def test_results_are_json_without_nan() -> None:
    scores = masks(0, 0)
    document = {
        "definition": Scoring().definition(),
        "cases": [s._asdict() for s in scores],
        "summary": summarise(scores),
    }
    read = json.loads(json.dumps(document, allow_nan=False))
    assert set(read["cases"][0]) == {"case", "region", "dice", "hd95", "surface_dice", "note"}
    assert set(read["summary"]["whole"]) == set(Summary.__annotations__)


def test_no_scores_have_no_summary() -> None:
    assert summarise([]) == {}


def test_the_interval_of_many_normal_values_is_students() -> None:
    values = np.random.default_rng(5).normal(10, 2, 300)
    truth = t.interval(0.95, 299, values.mean(), values.std(ddof=1) / 300**0.5)
    assert interval_of_mean(values.tolist()) == pytest.approx(truth, abs=0.03)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).beta(8, 2, (60, 40))
    intervals = [interval_of_mean(sample) for sample in samples.tolist()]
    covered = sum(found is not None and found[0] <= 0.8 <= found[1] for found in intervals)
    assert 53 <= covered <= 60  # 57 expected; fewer than 53 would be a chance in 100


def test_the_same_scores_have_the_same_interval() -> None:
    values = [0.1, 0.5, 0.8, 0.85, 0.9]
    assert interval_of_mean(values) == interval_of_mean(list(values))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0.0, 1e-12, 0.3, 0.30000000000000004, 0.9, 1.0, 373.1]), min_size=2, max_size=12))
def test_an_interval_of_any_scores_is_finite_and_among_them(values: list[float]) -> None:
    found = interval_of_mean(values)
    assert found is not None
    low, high = found
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
