"""What a backbone owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone
from ddmkit.footprint import Work
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


def test_a_network_whose_ways_are_one_function_passes() -> None:
    check(Ways)


def test_a_way_that_is_only_for_evaluations_need_not_learn() -> None:
    class Evaluating(WaysNetwork):
        @override
        def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
            return ("plain",) if work.training else ("doubled", "plain")

        @override
        def other(self, answer: Tensor) -> Tensor:
            return answer.detach()

    class OneLearns(Ways):
        """Its network learns in one way only."""

        @override
        def build(self, in_channels: int, out_channels: int) -> nn.Module:
            return Evaluating(in_channels, out_channels)

    check(OneLearns)


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


SAID = r"way 'doubled' answers inputs of shape \(2, 3, 1, 2, 3\) otherwise than its plain forward"


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            lambda answer: answer[:, :, :, :1],
            r"way 'doubled' maps inputs of shape \(2, 3, 1, 2, 3\) to shape \(2, 2, 1, 1, 3\)",
        ),
        (lambda answer: answer.bfloat16(), r"way 'doubled' answers float32 with torch\.bfloat16"),
        (lambda answer: answer * 1.001, SAID),
        (lambda answer: answer if torch.is_grad_enabled() else answer + 0.001, SAID),
        (lambda answer: answer + 0.001 if torch.is_grad_enabled() else answer, SAID),
        (lambda answer: answer.detach(), f"{SAID}: without gradients"),
        (steeper, r"way 'doubled' has another gradient in \S+ than its plain forward"),
    ],
)
def test_a_way_that_is_another_function_is_caught(
    other: Callable[[Tensor], Tensor], sentence: str, refuses: Callable[..., None]
) -> None:
    class BrokenNetwork(WaysNetwork):
        @override
        def other(self, answer: Tensor) -> Tensor:
            return other(answer)

    refuses(Ways, sentence, build=lambda _self, one, two: BrokenNetwork(one, two))


def test_a_network_that_names_no_way_is_caught(refuses: Callable[..., None]) -> None:
    class Lost(WaysNetwork):
        @override
        def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
            return ()

    refuses(Ways, "names no way for inputs", build=lambda _self, one, two: Lost(one, two))
