"""What a backbone owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone
from ddmkit.testing import check


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


def test_a_backbone_that_keeps_its_promises_passes() -> None:
    check(Pointwise)


class HalfScale(nn.Module):
    """Halve and double, which loses odd sides."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x[:, :, ::2, ::2, ::2], scale_factor=2)


class Unseeded(nn.Conv3d):
    """Weights from a source of their own."""

    @override
    def reset_parameters(self) -> None:
        super().reset_parameters()
        shape = tuple(self.weight.shape)
        self.weight.data = torch.from_numpy(np.random.default_rng().normal(size=shape).astype(np.float32))


class Unused(nn.Conv3d):
    """A weight that nothing reads."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1)
        self.spare = nn.Parameter(torch.zeros(1))


class Apply(nn.Module):
    """Any function, as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (HalfScale, r"maps a volume of \(1, 2, 3\) to shape \(2, 2, 2, 2, 4\)"),
        (lambda: Unseeded(2, 2, 1), r"draws after\.weight from elsewhere"),
        (lambda: Unused(2), r"after\.spare gets no finite gradient"),
        (lambda: Apply(lambda x: x / 0), "numbers that are not finite"),
        (lambda: Apply(lambda x: x.bfloat16()), r"answers float32 with torch\.bfloat16"),
        (lambda: Apply(lambda x: x - x.mean(0)), "mixes the members of a batch"),
        (lambda: Apply(lambda x: x.detach().requires_grad_()), r"first\.weight gets no finite gradient"),
    ],
)
def test_a_broken_backbone_is_caught(
    layer: Callable[[], nn.Module], sentence: str, refuses: Callable[..., None]
) -> None:
    class BrokenNetwork(PointwiseNetwork):
        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__(in_channels, out_channels)
            self.after = layer()

        @override
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            answer: Tensor = self.after(super().forward(x, t))
            return answer

    refuses(Pointwise, sentence, build=lambda _self, one, other: BrokenNetwork(one, other))
