"""STAPLE against the probabilities that it is to find, and against the paper's formulas voxel by voxel."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from ddmkit.staple import Staple, estimate

CLASSES = 3
"""Background among them."""
MEMBERS = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.just(3), st.just(2)), elements=st.integers(0, CLASSES - 1)
)
Said = NDArray[np.uint8]
"""(voxels, members)."""
Voxels = NDArray[np.int64]
Likely = NDArray[np.float64]


def staple_of(members: NDArray[np.uint8], classes: int) -> Staple:
    """Take in members one by one; classes are those beside background."""
    staple = Staple(classes)
    for member in members:
        staple.add(torch.from_numpy(member))
    return staple


def textbook(said: Said, classes: int, rounds: int) -> tuple[Likely, Likely]:
    """Return truth (voxels, classes) and performance (members, s', s) after some rounds, formula by formula."""
    voxels, members = said.shape
    frequency = [(said == s).mean() for s in range(classes)]
    theta = np.full((members, classes, classes), (1 - 0.99999) / (classes - 1))
    theta[:, range(classes), range(classes)] = 0.99999

    def expected() -> Likely:
        truth = np.empty((voxels, classes))
        for i, s in product(range(voxels), range(classes)):
            truth[i, s] = frequency[s] * prod(theta[j, said[i, j], s] for j in range(members))
        shares: Likely = truth / truth.sum(axis=1, keepdims=True)
        return shares

    for _ in range(rounds):
        truth = expected()
        for j, told, s in product(range(members), range(classes), range(classes)):
            if truth[:, s].sum() > 0:
                theta[j, told, s] = truth[said[:, j] == told, s].sum() / truth[:, s].sum()
    return expected(), theta


def proportional(right: tuple[float, ...], classes: int) -> tuple[Said, Voxels, Likely]:
    """Return all patterns, how many voxels of each raters come to who are right so often, and the truth behind each.

    Classes are equally frequent and no rater prefers one, so that what raters say is as frequent as the truth.
    """
    patterns = np.array(list(product(range(classes), repeat=len(right))), dtype=np.uint8)
    wrong = [(1 - rate) / (classes - 1) for rate in right]
    likely = np.array(
        [
            [prod(r if d == s else w for d, r, w in zip(said, right, wrong, strict=True)) for s in range(classes)]
            for said in patterns
        ]
    )
    voxels = np.rint(10**6 * likely.sum(axis=1)).astype(np.int64)
    return patterns, voxels, likely / likely.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("right", [(0.9, 0.8, 0.7), (0.9, 0.6, 0.8, 0.7)])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_rates_behind_exactly_proportional_counts_are_found(right: tuple[float, ...], classes: int) -> None:
    patterns, voxels, truth = proportional(right, classes)
    found = estimate(patterns, voxels, classes)
    for rate, performance in zip(right, found.performance, strict=True):
        expected = np.full((classes, classes), (1 - rate) / (classes - 1))
        np.fill_diagonal(expected, rate)
        assert np.allclose(performance, expected, atol=1e-4)
    assert np.allclose(found.truth, truth, atol=1e-3)


def test_simulated_raters_of_known_sensitivity_and_specificity_are_recovered_and_outdone() -> None:
    random = np.random.default_rng(0)
    x, y, z = np.indices((40, 40, 30))
    truth = (x - 20) ** 2 + (y - 18) ** 2 + (z - 15) ** 2 < 100
    rates = [(0.97, 0.999), (0.7, 0.9), (0.6, 0.95), (0.65, 0.92), (0.75, 0.9)]
    drawn = [random.random(truth.shape) for _ in rates]
    raters = np.array(
        [
            np.where(truth, draw < sensitivity, draw < 1 - specificity)
            for draw, (sensitivity, specificity) in zip(drawn, rates, strict=True)
        ]
    )
    staple = staple_of(raters.astype(np.uint8), 1)
    # How frequent a class is, is told by the raters, who are wrong at times; that moves the rates a little.
    found = staple.estimate().performance
    assert np.allclose(found[:, 1, 1], [sensitivity for sensitivity, _ in rates], atol=0.04)
    assert np.allclose(found[:, 0, 0], [specificity for _, specificity in rates], atol=0.005)
    wrong = np.count_nonzero(staple.labels().numpy() != truth)
    assert wrong < np.count_nonzero((raters.sum(axis=0) > 2) != truth) / 2


@settings(max_examples=20, deadline=None)
@given(members=MEMBERS)
def test_a_few_rounds_are_those_of_the_papers_formulas(members: NDArray[np.uint8]) -> None:
    said = members.reshape(len(members), -1).T
    truth, performance = textbook(said, CLASSES, rounds=3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ddmkit.staple._MOST", 3)
        patched.setattr("ddmkit.staple._CHANGE", 0)
        found = estimate(said, np.ones(len(said), dtype=np.int64), CLASSES)
    assert np.allclose(found.performance, performance, atol=1e-9)
    assert np.allclose(found.truth, truth, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(members=MEMBERS)
def test_voxels_of_one_pattern_may_be_counted_together(members: NDArray[np.uint8]) -> None:
    staple = staple_of(members, CLASSES - 1)
    said = members.reshape(len(members), -1).T
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ddmkit.staple._MOST", 3)  # after many rounds, rounding may decide between two answers
        apart = estimate(said, np.ones(len(said), dtype=np.int64), CLASSES)
        together, labels = staple.estimate(), staple.labels()
    assert np.allclose(together.performance, apart.performance, atol=1e-9)
    assert labels.dtype == torch.uint8
    likely = apart.truth[np.arange(len(said)), labels.numpy().ravel()]
    assert np.allclose(likely, apart.truth.max(axis=1), atol=1e-9)  # of equals rounding decides


def test_a_single_member_is_the_truth() -> None:
    member = np.random.default_rng(0).integers(0, CLASSES, (4, 5, 6), dtype=np.uint8)
    assert np.array_equal(staple_of(member[None], CLASSES - 1).labels(), member)


@pytest.mark.parametrize("label", [0, 2])
def test_members_that_agree_everywhere_are_the_truth(label: int) -> None:
    members = np.full((5, 3, 3, 3), label, dtype=np.uint8)
    assert np.array_equal(staple_of(members, CLASSES - 1).labels(), members[0])
