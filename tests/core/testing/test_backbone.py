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
from ddmkit.stages import State
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
        (lambda: Apply(lambda x: x + torch.rand_like(x)), "answers one question in two ways"),
        (
            lambda: Apply(lambda x: x * torch.ones(1)),
            r"taken to meta, raises RuntimeError: .*make its tensors where its",
        ),
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


class DividedNetwork(PointwiseNetwork):
    """The same, which can be cut behind its first convolution and behind the sigmoid."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.in_channels = in_channels

    def depth(self) -> int:
        return 3

    def part(self, layers: range) -> nn.Module:
        return DividedPart(self, layers)


class DividedPart(nn.Module):
    """Some of its layers."""

    def __init__(self, network: DividedNetwork, layers: range) -> None:
        super().__init__()
        self.of = layers
        if 0 in layers:
            self.first, self.moment = network.first, network.moment
        if 2 in layers:
            self.last = network.last

    @override
    def forward(self, state: State) -> State:
        if 0 in self.of:
            x, t = state
            state = (self.first(x) + self.moment(t[:, None] / 1000)[:, :, None, None, None],)
        if 1 in self.of:
            state = (state[0].sigmoid(),)
        if 2 in self.of:
            state = (self.last(state[0]),)
        return state


class Divided(Pointwise):
    """Builds a network that can be cut."""

    name: ClassVar[str] = "divided"
    divisible: ClassVar[bool] = True

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        return DividedNetwork(in_channels, out_channels)


def test_a_network_whose_parts_are_itself_passes() -> None:
    check(Divided)


@pytest.mark.parametrize(
    ("backbone", "other", "said"),
    [(Divided, PointwiseNetwork, "can be cut"), (Pointwise, DividedNetwork, "cannot be cut")],
)
def test_a_backbone_that_builds_another_network_than_it_says_is_caught(
    backbone: type[Backbone], other: Callable[[int, int], nn.Module], said: str, refuses: Callable[..., None]
) -> None:
    sentence = rf"says that its network {said} \(divisible\), and builds another"
    refuses(backbone, sentence, build=lambda _self, one, two: other(one, two))


class Renamed(DividedPart):
    """A part whose weights have other names."""

    def __init__(self, network: DividedNetwork, layers: range) -> None:
        super().__init__(network, layers)
        if 2 in layers:
            self.final = self.last
            del self.last


class Greedy(DividedPart):
    """A part with the weights of all others."""

    def __init__(self, network: DividedNetwork, layers: range) -> None:
        super().__init__(network, range(3))
        self.of = layers


class Otherwise(DividedPart):
    """A part that does something else at its end."""

    @staticmethod
    def end(h: Tensor) -> Tensor:
        """Return what is made of what the part would leave."""
        return h * 1.01

    @override
    def forward(self, state: State) -> State:
        return tuple(map(self.end, super().forward(state)))


class Steep(Otherwise):
    """A part with the right answer and wrong gradients."""

    @staticmethod
    @override
    def end(h: Tensor) -> Tensor:
        return steeper(h)


class Deaf(Otherwise):
    """A part that learns nothing."""

    @staticmethod
    @override
    def end(h: Tensor) -> Tensor:
        return h.detach().requires_grad_() * 1


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (Renamed, "layers do not share out its weights by its names"),
        (Greedy, "layers do not share out its weights by its names"),
        (Otherwise, r"cut before layer 1, answers otherwise than in one"),
        (Steep, r"cut before layer 1, has another gradient in \S+ than in one"),
        (Deaf, r"cut before layer 1, has another gradient in first\.weight than in one"),
    ],
)
def test_a_part_that_is_not_the_networks_own_is_caught(
    part: Callable[[DividedNetwork, range], nn.Module], sentence: str, refuses: Callable[..., None]
) -> None:
    class BrokenNetwork(DividedNetwork):
        @override
        def part(self, layers: range) -> nn.Module:
            return part(self, layers)

    refuses(Divided, sentence, build=lambda _self, one, two: BrokenNetwork(one, two))


def test_a_part_that_is_wrong_behind_a_later_cut_only_is_caught(refuses: Callable[..., None]) -> None:
    class BrokenNetwork(DividedNetwork):
        @override
        def part(self, layers: range) -> nn.Module:
            return Otherwise(self, layers) if layers.start == 2 else super().part(layers)

    sentence = "cut before layer 2, answers otherwise than in one"
    refuses(Divided, sentence, build=lambda _self, one, two: BrokenNetwork(one, two))


def test_a_network_that_says_other_channels_than_it_was_built_for_is_caught(refuses: Callable[..., None]) -> None:
    class BrokenNetwork(DividedNetwork):
        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__(in_channels, out_channels)
            self.in_channels += 1

    sentence = r"has in_channels=4, and was built for 3\."
    refuses(Divided, sentence, build=lambda _self, one, two: BrokenNetwork(one, two))


class DividedWaysNetwork(DividedNetwork, WaysNetwork):
    """A network that can be cut, and has two ways."""

    @override
    def part(self, layers: range) -> nn.Module:
        return DividedWaysPart(self, layers)


class DividedWaysPart(DividedPart):
    """Some of its layers, with the same ways."""

    @override
    def forward(self, state: State, way: str = "plain") -> State:
        after = super().forward(state)
        return after if way == "plain" else tuple((h + h) / 2 for h in after)


class DividedWays(Divided):
    """Builds a network that can be cut, and has two ways."""

    name: ClassVar[str] = "divided-ways"

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        return DividedWaysNetwork(in_channels, out_channels)


def test_parts_that_go_the_networks_ways_pass() -> None:
    check(DividedWays)


def test_a_part_whose_way_is_another_function_is_caught(refuses: Callable[..., None]) -> None:
    class BrokenPart(DividedWaysPart):
        @override
        def forward(self, state: State, way: str = "plain") -> State:
            after = super().forward(state, way)
            return after if way == "plain" else tuple(h * 1.01 for h in after)

    class BrokenNetwork(DividedWaysNetwork):
        @override
        def part(self, layers: range) -> nn.Module:
            return BrokenPart(self, layers)

    sentence = "cut before layer 1 and gone through by 'doubled', answers otherwise than in one"
    refuses(DividedWays, sentence, build=lambda _self, one, two: BrokenNetwork(one, two))
