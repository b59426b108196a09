"""What a backbone owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.core.testing.networks import Pointwise, PointwiseNetwork
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone, ConfigurationError
from ddmkit.backbone import Prediction
from ddmkit.testing import check


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


class Placed(nn.Module):
    """Adds what it learned about each of eight places along an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(8, 8, 8))

    @override
    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[2], : x.shape[3], : x.shape[4]]


class Looking(nn.Conv3d):
    """A convolution that is scaled by the sum of its weights."""

    def __init__(self) -> None:
        super().__init__(2, 2, 1)
        self.scale = float(self.weight.detach().sum())


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
        (lambda: Apply(lambda x: x + torch.rand_like(x)), "answers one question in two ways"),
        (
            lambda: Apply(lambda x: x * torch.ones(1)),
            r"taken to meta, raises RuntimeError: .*make its tensors where its",
        ),
        (lambda: Apply(lambda x: x - x.mean(0)), "mixes the members of a batch"),
        (lambda: Apply(lambda x: x.detach().requires_grad_()), r"first\.weight gets no finite gradient"),
        (lambda: nn.BatchNorm3d(2), "mixes the members of a batch in training, as BatchNorm does"),
        (
            lambda: Apply(lambda x: x if torch.is_grad_enabled() else x * float("nan")),
            "with numbers that are not finite, in evaluation",
        ),
        (
            Placed,
            r"given inputs of shape \(2, 3, 1, 2, 66\), raises RuntimeError: .*, where \(2, 2, 1, 2, 66\) is prom",
        ),
        (Looking, r"built on the device meta, .* raises RuntimeError: .*; look at no value of a weight in build"),
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


def test_a_network_that_writes_into_its_input_is_caught(refuses: Callable[..., None]) -> None:
    class Writing(PointwiseNetwork):
        @override
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return super().forward(nn.functional.relu_(x), t)

    refuses(Pointwise, "writes into the volume, or the times,", build=lambda _, one, other: Writing(one, other))


def test_a_network_of_other_channels_than_asked_for_is_caught(refuses: Callable[..., None]) -> None:
    sentence = r"given inputs of shape \(2, 1, 1, 2, 3\), raises RuntimeError: .*, where \(2, 1, 1, 2, 3\) is promised"
    refuses(Pointwise, sentence, build=lambda *_: PointwiseNetwork(3, 2))


class Forgetting(PointwiseNetwork):
    """Drops half of what it is given, in training."""

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, training=self.training), t)


def test_a_network_that_drops_something_in_training_passes() -> None:
    class Dropping(Pointwise):
        """Builds such a network."""

        name: ClassVar[str] = "dropping"

        @override
        def build(self, in_channels: int, out_channels: int) -> nn.Module:
            return Forgetting(in_channels, out_channels)

    check(Dropping)


class Choosy(PointwiseNetwork):
    """Goes with some kinds of prediction only."""

    def __init__(self, in_channels: int, out_channels: int, *kinds: Prediction) -> None:
        super().__init__(in_channels, out_channels)
        self.kinds = kinds

    def set_diffusion(self, alphas_bar: Tensor, prediction: Prediction) -> None:
        del alphas_bar
        if prediction not in self.kinds:
            msg = f"It does not go with {prediction}."
            raise ConfigurationError(msg)


def choosing(*kinds: Prediction) -> Backbone:
    class Choosing(Pointwise):
        """Builds such a network."""

        name: ClassVar[str] = "choosing"

        @override
        def build(self, in_channels: int, out_channels: int) -> nn.Module:
            return Choosy(in_channels, out_channels, *kinds)

    return Choosing()


@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_a_network_for_one_kind_of_prediction_is_checked_by_that(kind: Prediction) -> None:
    check(choosing(kind))


def test_a_network_for_no_kind_of_prediction_is_caught(refuses: Callable[..., None]) -> None:
    said = "network goes with no kind of prediction: It does not go with eps. It does not go with x0. It does not go"
    refuses(choosing(), said)


def test_what_a_build_cannot_do_is_told_in_a_sentence(refuses: Callable[..., None]) -> None:
    said = r"Broken's check ends with ZeroDivisionError: .* \(in .*test_backbone\.py, line \d+\)\.$"
    refuses(Pointwise, said, build=lambda *_: 1 / 0)
