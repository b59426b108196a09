"""That a network's parts are the network is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from tests.core.testing.networks import Pointwise, PointwiseNetwork, WaysNetwork, steeper
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone
from ddmkit.stages import State
from ddmkit.testing import check


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
