"""Scores over cases: means, spreads and how sure the means are; never NaN."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ddmkit.scoring import Score

RESAMPLES = 9999
CONFIDENCE = 0.95
DECIMALS = 9
"""Beyond which differences between values are rounding."""
SUMMARY_DEFINITION: dict[str, str] = {
    "std": "sample standard deviation over cases (divided by n - 1), 0 for one case",
    "interval": f"{CONFIDENCE:.0%} bootstrap interval of the mean (Efron's BCa, {RESAMPLES} resamples of the cases, "
    "seed 0; cases count as independent), null for one case",
    "missed": "number of cases where exactly one of P and R is empty; they count in every mean",
}
"""What a summary's numbers mean, in words."""


class Summary(TypedDict):
    """Scores of one region over all cases."""

    n: int
    """Cases."""
    dice_mean: float
    dice_std: float
    dice_interval: list[float] | None
    """Low and high; None for one case, which says nothing about others."""
    hd95_mean: float
    hd95_std: float
    hd95_interval: list[float] | None
    surface_dice_mean: float
    surface_dice_std: float
    surface_dice_interval: list[float] | None
    missed: int
    """Cases of which exactly one side is empty."""


class Spread(NamedTuple):
    """Mean, sample standard deviation (0 for one value), and the mean's interval."""

    mean: float
    std: float
    interval: list[float] | None


def summarise(scores: Iterable[Score]) -> dict[str, Summary]:
    """Return mean, spread and interval over the cases of each region, in order of first appearance."""
    return {region: _summary(members) for region, members in by_region(scores).items()}


def by_region(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Return the scores of each region, in order of first appearance."""
    regions: dict[str, list[Score]] = {}
    for score in scores:
        regions.setdefault(score.region, []).append(score)
    return regions


def interval_of_mean(values: Sequence[float]) -> list[float] | None:
    """Return how far the mean of such values may be off, as low and high ends; None for fewer than two.

    The same values give the same interval.
    """
    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return None
    values = [round(value, DECIMALS) for value in values]
    if min(values) == max(values):
        return [values[0], values[0]]
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=999,  # which bounds memory
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return [float(found.low), float(found.high)]


def _summary(scores: Sequence[Score]) -> Summary:
    dice = spread([score.dice for score in scores])
    hd95 = spread([score.hd95 for score in scores])
    surface_dice = spread([score.surface_dice for score in scores])
    return Summary(
        n=len(scores),
        dice_mean=dice.mean,
        dice_std=dice.std,
        dice_interval=dice.interval,
        hd95_mean=hd95.mean,
        hd95_std=hd95.std,
        hd95_interval=hd95.interval,
        surface_dice_mean=surface_dice.mean,
        surface_dice_std=surface_dice.std,
        surface_dice_interval=surface_dice.interval,
        missed=sum(score.missed for score in scores),
    )


def spread(values: Sequence[float]) -> Spread:
    """Return mean, spread and interval of one value at least."""
    return Spread(fmean(values), stdev(values) if len(values) > 1 else 0.0, interval_of_mean(values))
