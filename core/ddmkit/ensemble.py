"""Mean and variance of an ensemble, streamed: members are seen once and none is kept."""

from __future__ import annotations

import torch
from torch import Tensor


class Ensemble:
    """A running mean and variance, voxel by voxel (Welford 1962).

    The sums are float64 in the host's memory, 16 bytes a voxel (143 MB for a BraTS volume) while a member is added 24:
    little beside one evaluation of the network, none of it on the GPU, and so exact that nothing is lost where members
    are large and hardly differ. A batch is taken member by member: the same members in the same order give the
    same bits however they were batched.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.empty(0)
        self._squares = torch.empty(0)

    @property
    def count(self) -> int:
        """Number of members seen."""
        return self._count

    def add(self, members: Tensor) -> None:
        """Take in members of shape (N, C, X, Y, Z), any N, any floating dtype, any device.

        Raises:
            ValueError: the shape of a member differs from that of the ones before.
        """
        for member in members:
            self._add_one(member.detach().cpu())

    def _add_one(self, member: Tensor) -> None:
        if self._count == 0:
            self._mean = torch.zeros(member.shape, dtype=torch.float64)
            self._squares = torch.zeros_like(self._mean)
        if member.shape != self._mean.shape:
            msg = f"A member of shape {tuple(member.shape)} does not fit an ensemble of {tuple(self._mean.shape)}."
            raise ValueError(msg)
        self._count += 1
        deviation = member - self._mean  # float64: the only temporary of a volume's size
        self._mean.add_(deviation, alpha=1 / self._count)
        self._squares.addcmul_(deviation, deviation, value=1 - 1 / self._count)

    def mean(self) -> Tensor:
        """Return the mean of the members: shape (C, X, Y, Z), float32, on the CPU."""
        self._need_members()
        return self._mean.float()

    def variance(self) -> Tensor:
        """Return the population variance (the mean squared deviation): shape (C, X, Y, Z), float32, on the CPU.

        One member has the variance 0.
        """
        self._need_members()
        return (self._squares / self._count).float()

    def _need_members(self) -> None:
        if self._count == 0:
            msg = "An ensemble without members has neither mean nor variance."
            raise ValueError(msg)
