"""Whether probabilities keep what they promise: voxels counted by what they were given, and what the counts come to.

Counts of cases add up, so that no map is held longer than it takes to count it.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ddmkit.measures import Mask

BINS = 15
"""Of a reliability diagram, of equal width, as Guo et al. (2017) take."""
FLOOR = 0.01
"""Mean up to which a voxel is certain background and does not count."""
_FINE = 100 * BINS
"""Bins that are counted into; the floor is an edge of them."""
_ROUNDING = 1e-3
"""Share of such a bin by which its edge may be exceeded: means of 15 members lie on the edges, but for rounding."""
RELIABILITY_DEFINITION: dict[str, str] = {
    "probability": "of a voxel: the ensemble's mean, clipped to 0 to 1 (map mean), or what a calibration makes of it "
    "(map prob); each channel of x_0 by itself, against its own mask in the reference",
    "counted": f"the voxels, over all cases together, where the ensemble's mean exceeds {FLOOR:g}: those that are "
    "certain background would hide all others. The reference has no part in the choice, so that probabilities that are "
    "right stay right",
    "ece": f"expected calibration error (Naeini et al. 2015; Guo et al. 2017) of the foreground: the counted voxels in "
    f"{BINS} bins of equal width; |mean probability - share of foreground| of each bin, weighed by its voxels",
    "mce": "maximum calibration error: the largest of these differences, however few voxels a bin has",
    "brier": "mean of (probability - reference)^2 over the counted voxels, the reference 0 or 1",
    "ece_volume": "the ece over all voxels of the volumes",
    "unseen": "voxels of the reference's foreground that are not counted, since the mean says certain background",
}
"""What the numbers mean, in words."""


class Bin(TypedDict):
    """The voxels whose probability is above `low` and up to `high`."""

    low: float
    high: float
    voxels: int
    confidence: float
    """Their mean probability."""
    frequency: float
    """Their share of foreground."""


class Reliability(TypedDict):
    """How far the probabilities of one channel can be trusted."""

    cases: int
    voxels: int
    """That count."""
    foreground: int
    """Of these, in the reference."""
    ece: float | None
    """None where no voxel counts, and so below."""
    mce: float | None
    brier: float | None
    ece_volume: float
    unseen: int
    bins: list[Bin]
    """Those that hold voxels."""


class Bins(NamedTuple):
    """Voxels counted by probability into bins of equal width: (low, high], and 0 in the first; shape (_FINE,)."""

    voxels: NDArray[np.int64]
    foreground: NDArray[np.int64]
    probability: NDArray[np.float64]
    """Sums over the voxels."""
    error: NDArray[np.float64]
    """Sums of (probability - reference)^2."""

    @classmethod
    def of(cls, probability: NDArray[np.float32], truth: Mask) -> Bins:
        """Count voxels.

        Args:
            probability: 0 to 1, any shape.
            truth: where the foreground is, of the same shape.
        """
        probability, truth = probability.ravel(), truth.ravel()
        places = _places(probability)
        return cls(
            np.bincount(places, minlength=_FINE),
            np.bincount(places[truth], minlength=_FINE),
            _sums(places, probability),
            _sums(places, (probability - truth) ** 2),
        )

    def plus(self, other: Bins) -> Bins:
        """Count both together."""
        return Bins(
            self.voxels + other.voxels,
            self.foreground + other.foreground,
            self.probability + other.probability,
            self.error + other.error,
        )

    def confidence(self) -> NDArray[np.float64]:
        """Return the mean probability of each bin, 0 for an empty one."""
        return np.divide(self.probability, self.voxels, out=np.zeros(len(self.voxels)), where=self.voxels > 0)

    def moved(self, probability: NDArray[np.float64]) -> Bins:
        """Return what there would be if all voxels of a bin had another probability, shape (_FINE,)."""
        voxels, foreground = self.voxels, self.foreground
        error = voxels * probability**2 - 2 * foreground * probability + foreground
        places = _places(probability)
        return Bins(
            _sums(places, voxels).astype(np.int64),
            _sums(places, foreground).astype(np.int64),
            _sums(places, voxels * probability),
            _sums(places, error),
        )


class Counts(NamedTuple):
    """What is counted of the maps of one channel, of one case or of several."""

    cases: int
    counted: Bins
    certain: Bins
    """The voxels where the mean says certain background."""

    @classmethod
    def of(cls, probability: NDArray[np.float32], truth: Mask, mean: NDArray[np.float32] | None = None) -> Counts:
        """Count the voxels of one case.

        Args:
            probability: shape (X, Y, Z); what is beyond 0 to 1 counts as the nearer of them.
            truth: where the foreground is.
            mean: of the ensemble, which decides what counts; None: it is the probability itself.
        """
        probability = np.clip(probability, 0, 1, dtype=np.float32)
        above = (probability if mean is None else mean) > FLOOR
        return cls(1, Bins.of(probability[above], truth[above]), Bins.of(probability[~above], truth[~above]))

    def plus(self, other: Counts) -> Counts:
        """Count the cases of both together."""
        return Counts(self.cases + other.cases, self.counted.plus(other.counted), self.certain.plus(other.certain))

    def everywhere(self) -> Bins:
        """Return the counts of all voxels."""
        return self.counted.plus(self.certain)

    def reliability(self) -> Reliability:
        """Return what the counts come to."""
        bins, voxels = _diagram(self.counted), int(self.counted.voxels.sum())
        return Reliability(
            cases=self.cases,
            voxels=voxels,
            foreground=int(self.counted.foreground.sum()),
            ece=expected_error(self.counted),
            mce=max(map(_gap, bins), default=None),
            brier=float(self.counted.error.sum() / voxels) if voxels else None,
            ece_volume=expected_error(self.everywhere()) or 0.0,
            unseen=int(self.certain.foreground.sum()),
            bins=bins,
        )


def together(counts: Iterable[Counts]) -> Counts:
    """Count the cases of all together; there is one at least."""
    return reduce(Counts.plus, counts)


def expected_error(bins: Bins) -> float | None:
    """Return the expected calibration error; None where there is no voxel."""
    total = int(bins.voxels.sum())
    return sum(_gap(row) * row["voxels"] for row in _diagram(bins)) / total if total else None


def _places(probability: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bin of each probability."""
    last: NDArray[np.float32] = np.ceil(probability.astype(np.float32) * np.float32(_FINE) - np.float32(_ROUNDING))
    return np.clip(last.astype(np.int64) - 1, 0, _FINE - 1)


def _sums(places: NDArray[np.int64], weights: NDArray[Any]) -> NDArray[np.float64]:
    return np.bincount(places, weights, _FINE).astype(np.float64, copy=False)


def _diagram(bins: Bins) -> list[Bin]:
    """Return the bins of a reliability diagram that hold voxels."""
    voxels, foreground, probability = (
        np.asarray(number).reshape(BINS, -1).sum(axis=1) for number in (bins.voxels, bins.foreground, bins.probability)
    )
    return [
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            voxels=int(voxels[place]),
            confidence=float(probability[place] / voxels[place]),
            frequency=float(foreground[place] / voxels[place]),
        )
        for place in np.flatnonzero(voxels).tolist()
    ]


def _gap(row: Bin) -> float:
    return abs(row["confidence"] - row["frequency"])
