"""STAPLE: Warfield, Zou & Wells (2004), https://doi.org/10.1109/TMI.2004.828354, for any number of classes.

Every member is a rater that says the true class s as s' with a probability of its own, θ(s', s). Truth and θ are
estimated together, by expectation and maximization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_BEGINNING = 0.99999
"""How often all raters are right at first (the paper, section II-D)."""
_CHANGE, _MOST = 1e-7, 1000
"""Iterations end once no θ changes by more than this, or after so many."""


class Staple:
    """What members say at each voxel, and the truth that is most likely behind it.

    Voxels of which each member says the same are alike to STAPLE. They are kept, and estimated, as one pattern with a
    count, which is exact: 4 bytes a voxel are held however many the members are, and the time goes into the few
    voxels on which they disagree. Pattern 0 is where all say background.

    Args:
        classes: how many there are beside background.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes + 1
        self._pattern: NDArray[np.int32] = np.zeros(0, np.int32)
        self._said: NDArray[np.uint8] = np.zeros((1, 0), np.uint8)
        self._voxels: NDArray[np.int64] = np.zeros(1, np.int64)

    def add(self, labels: Tensor) -> None:
        """Take in what a member says: shape (X, Y, Z), uint8, on the CPU."""
        said = labels.numpy()
        if self._pattern.size == 0:
            self._pattern = np.zeros(said.shape, np.int32)
        marked = (self._pattern > 0) | (said > 0)
        keys = self._pattern[marked].astype(np.int64) * self._classes + said[marked]
        keys, pattern, voxels = np.unique(keys, return_inverse=True, return_counts=True)
        self._pattern[marked] = pattern + 1
        self._voxels = np.array([said.size - voxels.sum(), *voxels])
        earlier, last = np.divmod(np.array([0, *keys]), self._classes)
        self._said = np.column_stack([self._said[earlier], last.astype(np.uint8)])

    def labels(self) -> Tensor:
        """Return the most likely class of each voxel, of equals the first: shape (X, Y, Z), uint8."""
        truth = np.zeros(len(self._voxels), np.uint8)
        truth[self._voxels > 0] = self.estimate().truth.argmax(1)
        return torch.from_numpy(truth[self._pattern])

    def estimate(self) -> Estimate:
        """Return what the members so far come to, for the patterns that there are: the first may be nowhere."""
        there = self._voxels > 0
        return estimate(self._said[there], self._voxels[there], self._classes)


class Estimate(NamedTuple):
    """What STAPLE makes of patterns."""

    truth: NDArray[np.float64]
    """(patterns, classes): how likely each class is the true one."""
    performance: NDArray[np.float64]
    """(members, classes, classes): θ(s', s), how likely a member says s' where the truth is s."""


def estimate(said: NDArray[np.uint8], voxels: NDArray[np.int64], classes: int) -> Estimate:
    """Estimate truth and performance by expectation and maximization (the paper's multi-category form, section III).

    Args:
        said: (patterns, members): what each member says in each pattern.
        voxels: (patterns,): how many voxels have each pattern.
        classes: how many there are, background among them. How frequent each is beforehand is how often the
            members say it.
    """
    frequency = np.mean([_by_class(one, voxels, classes) for one in said.T], axis=0) / voxels.sum()
    wrong = (1 - _BEGINNING) / max(1, classes - 1)
    first = np.where(np.eye(classes, dtype=bool), _BEGINNING, wrong)
    performance = np.repeat(first[None], said.shape[1], axis=0)
    for _ in range(_MOST):
        truth = _expected(said, frequency, performance)
        before, performance = performance, _most_likely(said, voxels, truth, performance)
        if np.abs(performance - before).max() <= _CHANGE:
            break
    return Estimate(_expected(said, frequency, performance), performance)


def _expected(
    said: NDArray[np.uint8], frequency: NDArray[np.float64], performance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how likely each class is the true one, in each pattern."""
    with np.errstate(divide="ignore"):  # of what never happens the logarithm is -inf
        logarithm = np.tile(np.log(frequency), (len(said), 1))
        for one, known in zip(said.T, np.log(performance), strict=True):
            logarithm += known[one]
    likelihood = np.exp(logarithm - logarithm.max(axis=1, keepdims=True))
    share: NDArray[np.float64] = likelihood / likelihood.sum(axis=1, keepdims=True)
    return share


def _most_likely(
    said: NDArray[np.uint8],
    voxels: NDArray[np.int64],
    truth: NDArray[np.float64],
    before: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return each member's performance given the truth; as it was before for classes that are nowhere true."""
    weights = voxels[:, None] * truth
    total = weights.sum(axis=0)
    found = np.stack([[_by_class(one, weight, len(total)) for weight in weights.T] for one in said.T]).swapaxes(1, 2)
    performance = before.copy()
    np.divide(found, total, out=performance, where=total > 0)
    return performance


def _by_class(said: NDArray[np.uint8], weights: NDArray[np.float64 | np.int64], classes: int) -> NDArray[np.float64]:
    """Add up the weights of the patterns in which a member says each class."""
    total: NDArray[np.float64] = np.bincount(said, weights=weights, minlength=classes).astype(np.float64)
    return total
