"""The class that most members of an ensemble say, voxel by voxel, streamed: no member is kept."""

from __future__ import annotations

import torch
from torch import Tensor

_COUNTS = (torch.uint8, torch.int16, torch.int32)
"""The smallest that holds the number of members is taken: a byte a voxel and class up to 255 members."""


class Votes:
    """How many members say each class at each voxel.

    The class with most votes wins. Of equals the first does, background before all others: what the members do not
    agree on is not marked, as a mean of exactly one half is not, and the members' order plays no part.

    Args:
        classes: how many there are beside background.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._members = 0
        self._votes = torch.empty(0)

    def add(self, labels: Tensor) -> None:
        """Take in what a member says: shape (X, Y, Z), uint8, on the CPU."""
        if self._members == 0:
            self._votes = torch.zeros((self._classes, *labels.shape), dtype=_COUNTS[0])
        self._members += 1
        self._votes = self._votes.to(next(count for count in _COUNTS if self._members <= torch.iinfo(count).max))
        for index in range(self._classes):
            self._votes[index] += labels == index + 1

    def labels(self) -> Tensor:
        """Return what most members say: shape (X, Y, Z), uint8."""
        background = self._members - self._votes.sum(0, dtype=torch.int32)
        most, which = self._votes.max(0)  # of equals the first
        return torch.where(most > background, which + 1, 0).to(torch.uint8)
