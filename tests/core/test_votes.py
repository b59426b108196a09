"""What most members say, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from ddmkit.votes import Votes

CLASSES = 3
MEMBERS = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.just(2), st.just(3), st.just(2)),
    elements=st.integers(0, CLASSES),
)


def voted(members: NDArray[np.uint8], classes: int = CLASSES) -> NDArray[np.uint8]:
    votes = Votes(classes)
    for member in members:
        votes.add(torch.from_numpy(member))
    labels = votes.labels()
    assert labels.dtype == torch.uint8
    return labels.numpy()


@given(members=MEMBERS)
def test_each_voxel_is_what_most_members_say_and_of_equals_the_first(members: NDArray[np.uint8]) -> None:
    for place, winner in np.ndenumerate(voted(members)):
        said = members[:, *place].tolist()
        assert winner == max(range(CLASSES + 1), key=said.count)  # the first of equals


@given(members=MEMBERS, seed=st.integers(0, 9))
def test_the_order_of_the_members_plays_no_part(members: NDArray[np.uint8], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(members)
    assert np.array_equal(voted(members), voted(shuffled))


@pytest.mark.parametrize("members", [255, 256, 300])
def test_more_members_than_a_byte_counts_are_counted(members: int) -> None:
    """One voxel is marked by all, one by all but one, one by half, one by none."""
    marked = [members, members - 1, members // 2, 0]
    said = np.arange(members)[:, None] < np.array(marked)
    labels = voted(said.astype(np.uint8)[:, :, None, None], classes=1)
    assert labels.ravel().tolist() == [1, 1, 0, 0]


def test_what_was_added_may_be_overwritten() -> None:
    votes, member = Votes(1), torch.ones(1, 1, 1, dtype=torch.uint8)
    votes.add(member)
    member.zero_()
    assert votes.labels().item() == 1
