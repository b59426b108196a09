"""Networks that can be cut, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit.footprint import Work
from ddmkit.stages import State

C = TypeVar("C", bound=nn.Module)


class Embed(nn.Module):
    """From (x, t) to (time, spare, a); nothing will use the spare one."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Linear(1, 2)
        self.convolution = nn.Conv3d(3, 2, 1)
        self.spare = nn.Conv3d(2, 2, 1)

    @override
    def forward(self, state: State) -> State:
        x, t = state
        a = self.convolution(x)
        return self.time(t[:, None])[:, :, None, None, None], self.spare(a), a


class Widen(nn.Module):
    """From (time, spare, a) to (time, spare, a, b)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(2, 2, 1)

    @override
    def forward(self, state: State) -> State:
        time, spare, a = state
        return time, spare, a, (self.convolution(a) + time).tanh()


class Twice(nn.Module):
    """From (time, spare, a, b) to the same, for which b is used twice, and a not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(2, 2, 1)

    @override
    def forward(self, state: State) -> State:
        time, spare, a, b = state
        return time, spare, a, self.convolution(b) * b + time


class Join(nn.Module):
    """From (time, spare, a, b) to (answer,)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(2, 1, 1)

    @override
    def forward(self, state: State) -> State:
        time, _, a, b = state
        return (self.convolution(a * b + time),)


class Chain(nn.Module):
    """Layers from state to state."""

    def __init__(self, in_channels: int, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.layers = nn.ModuleList(layers)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        answer: Tensor = self.part(range(self.depth()))((x, t))[0]
        return answer

    def depth(self) -> int:
        return len(self.layers)

    def part(self, layers: range) -> nn.Module:
        return Links(self, layers)


class Links(nn.Module):
    """Some layers of a chain."""

    def __init__(self, chain: Chain, layers: range) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(index): chain.layers[index] for index in layers})

    @override
    def forward(self, state: State) -> State:
        for layer in self.layers.values():
            state = layer(state)
        return state


class Winding(Chain):
    """The same with two ways, which notes where it was gone through and how."""

    def __init__(self) -> None:
        super().__init__(3, knots())
        self.gone: list[tuple[tuple[str, ...], str]] = []

    def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
        return "plain", f"{'there and back' if work.training else 'there'} on {device}"

    @override
    def part(self, layers: range) -> nn.Module:
        return Bends(self, layers)


class Bends(Links):
    """Some layers of a winding chain."""

    def __init__(self, chain: Winding, layers: range) -> None:
        super().__init__(chain, layers)
        self.ways = chain.ways
        self.gone = chain.gone

    @override
    def forward(self, state: State, way: str = "plain") -> State:
        self.gone.append((tuple(self.layers), way))
        return super().forward(state)


def knots() -> list[nn.Module]:
    return [Embed(), Widen(), Twice(), Join()]


def knotted() -> Chain:
    return seeded(lambda: Chain(3, knots()))


def winding() -> Winding:
    return seeded(Winding)


def seeded(make: Callable[[], C]) -> C:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double()


class Mix(nn.Module):
    """Channels mixed voxel by voxel; to know the gradient in its weights it keeps what it is given, nothing else."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(in_channels, out_channels, 1, bias=False)

    @override
    def forward(self, state: State) -> State:
        return (self.convolution(state[0]),)


def mixing(*channels: int) -> Chain:
    return Chain(channels[0], [Mix(one, other) for one, other in pairwise(channels)])
