"""Streamed mean and variance of an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ddmkit.ensemble import Ensemble

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUES = st.floats(-1e6, 1e6, width=32)
MEMBERS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.just(2), st.just(2), st.just(1), st.just(3)), elements=VALUES
)


def streamed(members: NDArray[np.float32], cuts: list[int]) -> Ensemble:
    """Add members in batches that end at `cuts`."""
    ensemble = Ensemble()
    for batch in np.split(members, cuts):
        ensemble.add(torch.from_numpy(batch))
    return ensemble


@settings(deadline=None)
@given(members=MEMBERS)
def test_mean_and_variance_are_those_of_all_members_at_once(members: NDArray[np.float32]) -> None:
    ensemble = streamed(members, [])
    exact = members.astype(np.longdouble)
    scale = float(np.abs(exact).max())
    tiniest = 1e-44  # a few of the smallest float32 numbers
    assert ensemble.count == len(members)
    np.testing.assert_allclose(ensemble.mean(), exact.mean(axis=0), rtol=2**-23, atol=scale * 1e-14 + tiniest)
    np.testing.assert_allclose(ensemble.variance(), exact.var(axis=0), rtol=2**-23, atol=scale**2 * 1e-14 + tiniest)


@settings(deadline=None)
@given(members=MEMBERS, cuts=st.lists(st.integers(0, 9), max_size=4).map(sorted))
def test_batches_of_any_size_give_the_same_bits(members: NDArray[np.float32], cuts: list[int]) -> None:
    batched, single = streamed(members, cuts), streamed(members, list(range(1, len(members))))
    assert batched.count == single.count
    assert torch.equal(batched.mean(), single.mean())
    assert torch.equal(batched.variance(), single.variance())


def test_small_differences_between_large_numbers_are_not_lost() -> None:
    members = 1e6 + np.random.default_rng(0).integers(-8, 8, (15, 1, 10, 10, 10)).astype(np.float32) / 16
    ensemble = streamed(members.astype(np.float32), [4, 5])
    exact = members.astype(np.longdouble)
    np.testing.assert_array_equal(ensemble.mean(), exact.mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(ensemble.variance(), exact.var(axis=0), rtol=1e-6)


def test_one_member_has_variance_zero() -> None:
    member = torch.randn(1, 1, 2, 3, 4)
    ensemble = Ensemble()
    ensemble.add(member)
    assert torch.equal(ensemble.mean(), member[0])
    assert torch.equal(ensemble.variance(), torch.zeros(1, 2, 3, 4))


def test_equal_members_have_variance_zero() -> None:
    ensemble = Ensemble()
    ensemble.add(torch.full((7, 1, 1, 1, 1), 0.1))
    assert ensemble.mean().item() == pytest.approx(0.1, rel=1e-7)
    assert ensemble.variance().item() == 0


def test_half_precision_members_are_summed_in_full() -> None:
    members = torch.full((300, 1, 1, 1, 1), 0.1, dtype=torch.bfloat16)
    members[::2] = 1.5
    ensemble = Ensemble()
    ensemble.add(members)
    assert ensemble.mean().dtype == torch.float32
    assert ensemble.mean().item() == pytest.approx(members.double().mean().item(), rel=1e-7)
    assert ensemble.variance().item() == pytest.approx(members.double().var(correction=0).item(), rel=1e-7)


def test_what_was_added_and_returned_may_be_overwritten() -> None:
    ensemble, member = Ensemble(), torch.ones(1, 1, 1, 1, 1)
    ensemble.add(member)
    member.zero_()
    ensemble.mean().zero_()
    assert ensemble.mean().item() == 1


def test_no_members_have_no_mean() -> None:
    with pytest.raises(ValueError, match="without members"):
        Ensemble().mean()
    with pytest.raises(ValueError, match="without members"):
        Ensemble().variance()


def test_members_of_different_shapes_are_refused_not_broadcast() -> None:
    ensemble = Ensemble()
    ensemble.add(torch.zeros(1, 1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 2\) does not fit an ensemble of \(1, 2, 2, 2\)"):
        ensemble.add(torch.zeros(1, 1, 1, 2, 2))
