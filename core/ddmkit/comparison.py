"""Two sets of scores of the same cases, compared case by case; never NaN."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, TypedDict

from ddmkit.summary import CONFIDENCE, DECIMALS, by_region, interval_of_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddmkit.scoring import Score

_FEWEST = 6
"""Differences with which a two-sided signed-rank test can fall below 0.05: 2 / 2^6 = 0.03."""
_COUNTED = 13
"""Differences of which all signs are tried; with ties SciPy takes no more than these for an exact p either."""
COMPARISON_DEFINITION: dict[str, str] = {
    "difference": "A - B of the same case and region, A the predictions, B those that they are compared against; for "
    f"dice and surface_dice more is better, for hd95 less; mean over cases and its {CONFIDENCE:.0%} bootstrap interval",
    "p": "Wilcoxon signed-rank test, two-sided, of the differences that are not 0 (Wilcoxon's own treatment of zeros): "
    f"exact for up to 50 without ties and up to {_COUNTED} with, else by the normal approximation; null for fewer than "
    f"{_FEWEST}, which cannot fall below 0.05; not corrected for testing several regions and scores",
    "better": f"number of cases where A is better, equal (to {DECIMALS} decimals) or worse",
}
"""What a comparison's numbers mean, in words."""


class Difference(TypedDict):
    """How one score differs over cases: A - B."""

    mean: float
    interval: list[float] | None
    """Low and high; None for one case."""
    p: float | None
    better: int
    """Cases where A is better."""
    equal: int
    worse: int


class Comparison(TypedDict):
    """How the scores of one region differ over the cases that both sides have."""

    n: int
    dice: Difference
    hd95: Difference
    surface_dice: Difference


def compare(scores: Sequence[Score], others: Sequence[Score]) -> dict[str, Comparison]:
    """Compare A with B in each region that is scored in one case on both sides, in A's order.

    Args:
        scores: A's.
        others: B's. What has no partner is left out: `unpaired` names it.
    """
    partners = {(score.case, score.region): score for score in others}
    paired = [score for score in scores if (score.case, score.region) in partners]
    return {
        region: _comparison(members, [partners[score.case, region] for score in members])
        for region, members in by_region(paired).items()
    }


def unpaired(scores: Sequence[Score], others: Sequence[Score]) -> list[tuple[str, str]]:
    """Return case and region of the scores that only one side has, sorted."""
    one, other = ({(score.case, score.region) for score in side} for side in (scores, others))
    return sorted(one ^ other)


def _comparison(scores: Sequence[Score], others: Sequence[Score]) -> Comparison:
    pairs = list(zip(scores, others, strict=True))
    return Comparison(
        n=len(pairs),
        dice=_difference([a.dice - b.dice for a, b in pairs], sign=1),
        hd95=_difference([a.hd95 - b.hd95 for a, b in pairs], sign=-1),
        surface_dice=_difference([a.surface_dice - b.surface_dice for a, b in pairs], sign=1),
    )


def _difference(values: Sequence[float], *, sign: int) -> Difference:
    """Summarise differences; `sign` is -1 where less is better."""
    rounded = [round(value, DECIMALS) for value in values]
    return Difference(
        mean=fmean(values),
        interval=interval_of_mean(values),
        p=_signed_rank_p([value for value in rounded if value]),
        better=sum(sign * value > 0 for value in rounded),
        equal=sum(value == 0 for value in rounded),
        worse=sum(sign * value < 0 for value in rounded),
    )


def _signed_rank_p(differences: Sequence[float]) -> float | None:
    if len(differences) < _FEWEST:
        return None
    if len(differences) <= _COUNTED:
        return _counted_p(differences)
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences, method="auto").pvalue)


def _counted_p(differences: Sequence[float]) -> float:
    """Count how many of all signs make the sum of positive ranks as extreme; SciPy takes seconds for it with ties."""
    import numpy as np
    from scipy.stats import rankdata

    values = np.array(differences)
    ranks = rankdata(np.abs(values))  # multiples of 1/2, whose sums are exact
    signs = np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks)) & 1
    sums, seen = signs @ ranks, ranks[values > 0].sum()
    return min(1.0, 2 * float(min(np.mean(sums <= seen), np.mean(sums >= seen))))
