"""An ensemble has enough members once more of them leave its labels as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddmkit.settling import Settling, change


def row(*labels: int) -> Tensor:
    return torch.tensor(labels, dtype=torch.uint8)[:, None, None]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (row(0, 0, 0), row(0, 0, 0), 0),
        (row(1, 1, 0), row(1, 1, 0), 0),
        (row(1, 0, 0), row(0, 0, 0), 1),  # all of a class is gone
        (row(1, 1, 0), row(1, 0, 0), 1 - 2 / 3),
        (row(1, 1, 0, 2), row(1, 1, 2, 2), 1 - 2 / 3),  # the second class changes most
        (row(1, 1, 1, 2), row(1, 1, 1, 3), 1),  # which is another class, though the foreground is the same
    ],
)
def test_a_change_is_that_of_the_class_that_changes_most(before: Tensor, after: Tensor, expected: float) -> None:
    assert change(before, after) == pytest.approx(expected)
    assert change(after, before) == pytest.approx(expected)


def answers(labels: list[Tensor], tolerance: float) -> list[bool]:
    settling = Settling(tolerance)
    return [settling.settled(one) for one in labels]


def test_three_additions_in_a_row_have_to_change_nothing() -> None:
    one, other = row(1, 1, 0), row(1, 0, 0)
    assert answers([one] * 5, 0) == [False, False, False, True, True]
    assert answers([one, one, one, other, other, other, other], 0) == [False] * 6 + [True]


def test_what_changes_by_no_more_than_the_tolerance_counts_as_settled() -> None:
    labels = [row(1, 1, 0), row(1, 0, 0)] * 2
    assert answers(labels, 0.34)[-1]
    assert not answers(labels, 0.33)[-1]
