"""Two sets of scores, compared case by case."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from ddmkit.comparison import COMPARISON_DEFINITION, compare, unpaired
from ddmkit.scoring import Score
from ddmkit.summary import interval_of_mean


def scores(*dices: float, region: str = "whole") -> list[Score]:
    """Make scores whose HD95 falls and whose surface Dice rises with Dice."""
    return [Score(f"case {i}", region, dice, 100 * (1 - dice), dice / 2, None) for i, dice in enumerate(dices)]


def signed_rank_p(differences: list[float]) -> float:
    """Count, over all signs, how often the sum of positive ranks is as far from its middle as it is."""
    kept = [value for value in differences if value]
    ranks = rankdata([abs(value) for value in kept])
    middle = ranks.sum() / 2
    seen = abs(sum(rank for rank, value in zip(ranks, kept, strict=True) if value > 0) - middle)
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product((0, 1), repeat=len(kept))
    ]
    extreme: int = sum(abs(total - middle) >= seen - 1e-9 for total in sums)
    return extreme / len(sums)


def test_differences_are_counted_by_what_is_better() -> None:
    row = compare(scores(0.9, 0.8, 0.5, 0.4), scores(0.7, 0.8, 0.6, 0.3))["whole"]
    assert row["n"] == 4
    for difference in (row["dice"], row["hd95"], row["surface_dice"]):
        assert (difference["better"], difference["equal"], difference["worse"]) == (2, 1, 1)
    assert row["dice"]["mean"] == pytest.approx(0.05)
    assert row["hd95"]["mean"] == pytest.approx(-5)
    assert row["surface_dice"]["mean"] == pytest.approx(0.025)


def test_the_interval_is_of_the_paired_differences() -> None:
    one, other = (0.9, 0.8, 0.5, 0.4, 0.75), (0.7, 0.8, 0.6, 0.3, 0.5)
    differences = [a - b for a, b in zip(one, other, strict=True)]
    assert compare(scores(*one), scores(*other))["whole"]["dice"]["interval"] == interval_of_mean(differences)


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        [0.1, -0.2, 0.3, 0.4, -0.15, 0.6, 0.05],
        [0.1, -0.1, 0.1, 0.2, 0.2, 0.2, -0.3],  # ties
        [0.0, 0.1, 0.25, -0.2, 0.0, 0.3, 0.4, 0.35],  # zeros
        [0.1, 0.2, 0.3, -0.1] * 3 + [-0.2],  # as many as are counted
        [0.1, -0.1] * 3,  # as near the middle as can be
    ],
)
def test_p_is_the_share_of_all_signs_that_are_as_extreme(differences: list[float]) -> None:
    row = compare(scores(*(0.5 + value / 2 for value in differences)), scores(*(0.5 for _ in differences)))["whole"]
    assert row["dice"]["p"] == pytest.approx(signed_rank_p(differences))


@pytest.mark.parametrize(("count", "tied"), [(13, False), (14, False), (9, True), (14, True)])
def test_p_is_scipy_s_however_many_differences_are_counted(count: int, *, tied: bool) -> None:
    values = [(-1) ** (i // 3) * (i // (2 if tied else 1) + 1) / 50 for i in range(count)]
    row = compare(scores(*(0.5 + value for value in values)), scores(*(0.5 for _ in values)))["whole"]
    assert row["dice"]["p"] == pytest.approx(wilcoxon(values).pvalue, rel=1e-12)


def test_too_few_differences_have_no_p() -> None:
    assert (
        compare(scores(0.9, 0.9, 0.9, 0.9, 0.9, 0.5), scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.5))["whole"]["dice"]["p"]
        is None
    )


def test_equal_scores_differ_by_nothing() -> None:
    same = scores(0.9, 0.8, 0.7)
    difference = compare(same, same)["whole"]["dice"]
    assert difference == {"mean": 0, "interval": [0, 0], "p": None, "better": 0, "equal": 3, "worse": 0}


def test_rounding_is_no_difference() -> None:
    row = compare(scores(0.1 + 0.2, 0.5), scores(0.3, 0.5))["whole"]
    assert row["dice"]["equal"] == 2


def test_swapping_the_sides_turns_the_signs() -> None:
    one, other = scores(0.9, 0.8, 0.5, 0.4, 0.6, 0.7, 0.2), scores(0.7, 0.8, 0.6, 0.3, 0.1, 0.2, 0.1)
    there, back = (compare(*sides)["whole"]["hd95"] for sides in ((one, other), (other, one)))
    assert (there["better"], there["worse"]) == (back["worse"], back["better"])
    assert there["p"] == pytest.approx(back["p"])
    assert there["mean"] == pytest.approx(-back["mean"])


def test_regions_are_compared_apart_and_what_has_no_partner_is_named() -> None:
    one, other = [*scores(0.9, 0.8), *scores(0.5, region="core")], scores(0.7, 0.6, 0.5)
    assert list(compare(one, other)) == ["whole"]
    assert unpaired(one, other) == [("case 0", "core"), ("case 2", "whole")]
    assert unpaired(one, one) == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.3, 0.9, 1.0])] * 2), min_size=1, max_size=20))
def test_a_comparison_of_any_scores_is_json_without_nan(pairs: list[tuple[float, float]]) -> None:
    one, other = (scores(*side) for side in zip(*pairs, strict=True))
    row = compare(one, other)["whole"]
    json.dumps(row, allow_nan=False)
    assert row["dice"]["better"] + row["dice"]["equal"] + row["dice"]["worse"] == len(pairs)


def test_the_definition_says_what_becomes_of_zeros_and_few_cases() -> None:
    assert "that are not 0" in COMPARISON_DEFINITION["p"]
    assert "null for fewer than 6" in COMPARISON_DEFINITION["p"]
