"""Members combined: three ways to labels, one mean and variance."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from tests.core.knowing import Parts
from torch import Tensor

from ddmkit.combination import Combination, Combine, held

EDEMA, CORE = (1.0, 0.0), (0.0, 1.0)


def members(*voxels: list[tuple[float, float]]) -> Tensor:
    """Return members of shape (N, 2, X, 1, 1) from what each voxel's read-outs are, member by member."""
    return torch.tensor(voxels).permute(1, 2, 0)[..., None, None]


def combined(combine: Combine, given: Tensor) -> Combination:
    combination = Combination(Parts(), combine)
    for member in given:
        combination.add(member)
    return combination


@pytest.mark.parametrize(
    ("voxel", "mean", "vote"),
    [
        ([EDEMA, EDEMA, CORE], 1, 1),
        ([(0.6, 0.0), (0.6, 0.0), (0.0, 0.0)], 0, 1),  # two just think so: the mean is 0.4
        ([(1.0, 0.0), (0.4, 0.0), (0.4, 0.0)], 1, 0),  # one is sure: the mean is 0.6
        ([EDEMA, CORE, (0.0, 0.0)], 0, 0),  # all differ
    ],
)
def test_mean_and_vote_as_worked_out_by_hand(voxel: list[tuple[float, float]], mean: int, vote: int) -> None:
    given = members(voxel)
    assert combined("mean", given).labels().item() == mean
    assert combined("vote", given).labels().item() == vote


def test_staple_trusts_the_member_that_agrees_with_what_is_known() -> None:
    """Eight voxels each of both classes on which two members agree, and the third says the opposite throughout."""
    agreed = [EDEMA] * 8 + [CORE] * 8
    given = members(*([one, one, CORE if one == EDEMA else EDEMA] for one in agreed))
    assert combined("staple", given).labels().ravel().tolist() == [1] * 8 + [2] * 8
    disputed = members(*([one, one, CORE if one == EDEMA else EDEMA] for one in agreed), [(0.0, 0.0), EDEMA, CORE])
    assert combined("staple", disputed).labels().ravel().tolist()[:16] == [1] * 8 + [2] * 8


@pytest.mark.parametrize("combine", get_args(Combine))
def test_mean_and_variance_do_not_depend_on_how_labels_are_made(combine: Combine) -> None:
    given = torch.randn((5, 2, 3, 4, 2), generator=torch.Generator().manual_seed(0))
    combination = combined(combine, given)
    assert combination.members == 5
    assert np.allclose(combination.mean(), given.mean(0), atol=1e-6)
    assert np.allclose(combination.variance(), given.var(0, correction=0), atol=1e-6)


@pytest.mark.parametrize("combine", get_args(Combine))
def test_a_single_member_is_its_own_answer(combine: Combine) -> None:
    given = torch.rand((1, 2, 3, 4, 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(combined(combine, given).labels(), Parts().answer(given[0]))


def test_what_is_held_is_said() -> None:
    assert {combine: held(combine, 3) for combine in get_args(Combine)} == {"mean": 0, "vote": 3, "staple": 4}
