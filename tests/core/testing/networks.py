"""Small networks and their backbones, for the tests of the backbone's check."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone
from ddmkit.footprint import Work


class Pointwise(Backbone):
    """One 1x1x1 convolution that starts at zero, and a bias for each moment."""

    name: ClassVar[str] = "pointwise"

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        network = PointwiseNetwork(in_channels, out_channels)
        nn.init.zeros_(network.last.weight)
        return network


class PointwiseNetwork(nn.Module):
    """What `Pointwise` builds."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(in_channels, 4, 1)
        self.moment = nn.Linear(1, 4)
        self.last = nn.Conv3d(4, out_channels, 1)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        hidden = self.first(x) + self.moment(t[:, None] / 1000)[:, :, None, None, None]
        answer: Tensor = self.last(hidden.sigmoid())
        return answer


class WaysNetwork(PointwiseNetwork):
    """Its way "doubled" goes over twice its weights and halves what comes out."""

    def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
        del work, device
        return "doubled", "plain"

    @override
    def forward(self, x: Tensor, t: Tensor, way: str = "plain") -> Tensor:
        answer = super().forward(x, t)
        return answer if way == "plain" else self.other((answer + answer) / 2)

    def other(self, answer: Tensor) -> Tensor:
        """Return what the way "doubled" makes of the plain answer."""
        return answer


class Ways(Pointwise):
    """The same, with two ways."""

    name: ClassVar[str] = "ways"

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        return WaysNetwork(in_channels, out_channels)


class _Steeper(torch.autograd.Function):
    """The identity, with a wrong gradient."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - torch takes any
        return 1.01 * gradient


def steeper(answer: Tensor) -> Tensor:
    wrong: Tensor = _Steeper.apply(answer)  # type: ignore[no-untyped-call]  # torch leaves it so
    return wrong
