"""Stages: a network in parts that follow one another, each of which may live on a device of its own.

A network that can be cut has what `Divisible` asks for::

    class Chain(nn.Module):
        '''Convolutions one after the other; blind to time.'''

        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__()
            self.in_channels = in_channels
            self.layers = nn.ModuleList([nn.Conv3d(in_channels, 8, 1), nn.Conv3d(8, out_channels, 1)])

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            (answer,) = self.part(range(self.depth()))((x, t))
            return answer

        def depth(self) -> int:
            return len(self.layers)

        def part(self, layers: range) -> nn.Module:
            return Links(self, layers)

    class Links(nn.Module):
        def __init__(self, chain: Chain, layers: range) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({str(index): chain.layers[index] for index in layers})

        def forward(self, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            h = state[0]
            for layer in self.layers.values():
                h = layer(h)
            return (h,)
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from ddmkit.footprint import Footprint, Work, calculating, count, countable, given_to, without_memory
from ddmkit.thrift import Lowerable, ways_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

State: TypeAlias = tuple[Tensor, ...]
"""What goes from one layer to the next."""

_SIDE = 128
"""Voxels of the volume that is planned for, where activations far outweigh weights, as in all that needs cutting."""
_FEW = 16
"""Layers of which every cut can be tried."""


@runtime_checkable
class Divisible(Protocol):
    """A network that can be cut between its layers."""

    in_channels: int

    def depth(self) -> int:
        """Return how many layers there are."""
        ...

    def part(self, layers: range) -> nn.Module:
        """Return some of the layers, a module from the state before them to the state after them.

        A state is a tuple of tensors, floating and of shape (N, …): (x, t) at the very beginning, (answer,) at the end,
        between as the network likes, though no bare weight. A part of no layers hands on the state as it is. The
        part's weights are the network's own, under the names that they have there. If the network has several ways
        (see `ddmkit.thrift`), so has each part: `forward(state, way)`. A state that comes as a list may be emptied, by
        which the part is the only one to hold it.
        """
        ...


class Stage(nn.Module):
    """Layers of a network that are worked on in one place.

    Args:
        network: all of it; its other layers are forgotten.
        layers: which.
        held: micro-batches that have gone through at most, and have not come back yet.
        checkpointing: keep nothing of a layer but what it is given, and do it again on the way back.
    """

    def __init__(self, network: Divisible, layers: range, *, held: int = 1, checkpointing: bool = False) -> None:
        super().__init__()
        self.part = network.part(layers)
        self._first, self._last = layers.start == 0, layers.stop == network.depth()
        self._held = held
        # In tuples, where torch does not look for weights: these are the part's once more, or without memory.
        self._singly = tuple(network.part(range(layer, layer + 1)) for layer in layers) if checkpointing else ()
        self._before = (without_memory(network.part(range(layers.start))),)

    @override
    def forward(self, state: Sequence[Tensor], way: str | None = None) -> State:
        """Return the state after these layers; one that comes in as a list may be emptied."""
        if not (self._singly and torch.is_grad_enabled()):
            return _through(self.part, state, way)
        for layer in self._singly:
            state = checkpoint(partial(_through, layer, way=way), tuple(state), use_reentrant=False)
        return tuple(state)

    def lower(self, precision: torch.dtype) -> None:
        """Keep weights in a lower precision that are only ever used in it, if the network has such."""
        if isinstance(self.part, Lowerable):
            self.part.lower(precision)

    def ways(self, work: Work, device: torch.device) -> tuple[str | None, ...]:
        """Return the ways to go where the whole network is given some work, fastest first."""
        return ways_of(self.part, work, device)

    def footprint(self, work: Work, device: torch.device) -> Footprint:
        """Count what these layers take where the whole network is given some work, with what they get from others."""
        stage, entering = countable(self, work), self._entering(work, device)

        def came(entrance: Entrance) -> Sequence[Tensor]:
            if self._first:
                return entering
            state = [torch.empty_like(tensor) for tensor in entering]
            return entrance(state) if work.training else state

        def forward() -> tuple[Tensor, Entrance]:
            entrance = Entrance()
            with calculating(work, device):
                after: State = stage(came(entrance), work.way)
                if not work.training:
                    return after[-1], entrance
                if self._last:
                    return after[0].float().square().mean(), entrance
                # What is sent stays until it has arrived, which may be as late as this.
                return leave(after, lambda index: torch.empty_like(after[index])), entrance

        def run() -> None:
            held = [forward() for _ in range(self._held if work.training else 1)]
            if work.training:
                held[-1][0].backward()  # type: ignore[no-untyped-call]  # torch leaves it so

        return count(run, device, [*(entering if self._first else ()), *stage.parameters(), *stage.buffers()])

    def _entering(self, work: Work, device: torch.device) -> State:
        """Return the state that comes in, without memory."""
        state: State = given_to(work)
        evaluated = work._replace(training=False)
        before = countable(self._before[0], evaluated)

        def run() -> None:
            nonlocal state
            with calculating(evaluated, device):
                state = _through(before, state, work.way)

        if not self._first:
            count(run, device)  # for the device that tensors without memory stand for meanwhile
        return state


class Entrance:
    """Where a state comes in from another stage, which will want its gradients.

    The tensors of the state are let go of as soon as the layers have done with them.
    """

    def __init__(self) -> None:
        self.gradients: dict[int, Tensor] = {}
        """By the tensor's place in the state, once a way back has been gone; one may be missing that nothing used."""

    def __call__(self, state: Sequence[Tensor]) -> list[Tensor]:
        """Return the state with a way back to here; the caller should forget the one it gave."""
        anchor = torch.zeros((), requires_grad=True)
        return [
            _Entered.apply(anchor, self.gradients, index, tensor)  # type: ignore[no-untyped-call]  # torch leaves it so
            for index, tensor in enumerate(state)
        ]


class _Entered(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, anchor: Tensor, gradients: dict[int, Tensor], index: int, tensor: Tensor) -> Tensor:
        del anchor
        ctx.gradients, ctx.index = gradients, index
        return tensor.detach()

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.gradients[ctx.index] = gradient
        return None, None, None, None


def leave(state: State, fetch: Callable[[int], Tensor]) -> Tensor:
    """Return a number whose `backward()` goes back through a state that was handed to another stage.

    Args:
        state: with gradients to be taken; nothing of it is kept.
        fetch: returns the gradient in the tensor at a place of the state, which the caller then owns. It is called
            once for each tensor that has a gradient, not before the way back needs it: for those that no other one
            depends on first, for what was made first last.
    """
    reached: set[_Edge] = set()
    ends: list[int] = []
    for index in reversed(range(len(state))):
        tensor = state[index]
        if tensor.grad_fn is None:
            continue
        if (tensor.grad_fn, tensor.output_nr) in reached:  # the way back will pass here by itself
            tensor.register_hook(partial(_joined, fetch, index))  # type: ignore[no-untyped-call]  # as above
        else:
            ends.append(index)
            reached |= _edges(tensor)
    if not ends:
        return torch.zeros((), requires_grad=True)
    end: Tensor = _Left.apply(fetch, ends, *(state[index] for index in ends))  # type: ignore[no-untyped-call]  # as above
    return end


class _Left(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, fetch: Callable[[int], Tensor], indices: list[int], *tensors: Tensor) -> Tensor:
        ctx.fetch, ctx.indices = fetch, indices
        return tensors[0].new_zeros(())

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        del gradient
        return None, None, *(ctx.fetch(index) for index in ctx.indices)


def _joined(fetch: Callable[[int], Tensor], index: int, gradient: Tensor) -> Tensor:
    return fetch(index).add_(gradient)


_Edge: TypeAlias = tuple[torch.autograd.graph.Node, int]
"""A step of calculation and the place among what it answers."""


def _edges(tensor: Tensor) -> set[_Edge]:
    """Return all that a tensor was calculated from."""
    found: set[_Edge] = set()
    coming = [(tensor.grad_fn, tensor.output_nr)]
    while coming:
        node, number = coming.pop()
        if node is None or (node, number) in found:
            continue
        found.add((node, number))
        coming += node.next_functions
    return found


def _through(part: nn.Module, state: Sequence[Tensor], way: str | None) -> State:
    after: State = part(state) if way is None else part(state, way)
    return after


def cut(
    network: Divisible, stages: int, held: Callable[[int], int], precision: torch.dtype, device: torch.device
) -> tuple[int, ...]:
    """Return the layers that the stages but the first begin with, so that the largest stage takes least in training.

    Args:
        network: with or without memory.
        stages: how many; at most as many as there are layers.
        held: of each stage, the micro-batches that have gone through it at most, and have not come back yet.
        precision: arithmetic.
        device: where it will run; it need not be there.
    """
    work = Work((1, network.in_channels, _SIDE, _SIDE, _SIDE), precision, training=True)

    def peak(layers: range, number: int) -> int:
        # By the plain way, which is counted soonest: what suits it suits the others.
        return Stage(network, layers, held=held(number)).footprint(work, device).peak

    return balanced(network.depth(), stages, peak)


def balanced(depth: int, stages: int, peak: Callable[[range, int], int]) -> tuple[int, ...]:
    """Return the layers that the stages but the first begin with, so that the largest peak is least.

    Of many layers not all cuts are tried: the largest peak may be a little above the least where one layer takes much
    of a stage's share by itself.

    Args:
        depth: layers in all.
        stages: how many.
        peak: of some layers as the stage of a number; the more layers, the higher.
    """
    peak = cache(peak)

    @cache
    def best(start: int, stage: int) -> tuple[int, tuple[int, ...]]:
        """Return the largest peak, and where to cut, of the layers from a start by this stage and all after it."""
        after = stages - 1 - stage
        if after == 0:
            return peak(range(start, depth), stage), ()
        places = range(start + 1, depth - after + 1)
        # A later cut gives more to this stage and less to those after it: the best is where they cross, or just before.
        crossing = bisect_left(places, x=True, key=lambda at: peak(range(start, at), stage) >= best(at, stage + 1)[0])
        found = []
        for place in places if depth <= _FEW else places[max(0, crossing - 1) : crossing + 1]:
            rest, cuts = best(place, stage + 1)
            found.append((max(peak(range(start, place), stage), rest), (place, *cuts)))
        return min(found)

    return best(0, 0)[1]


def layers_of(cuts: tuple[int, ...], depth: int) -> list[range]:
    """Return the layers of each stage."""
    return [range(*ends) for ends in zip((0, *cuts), (*cuts, depth), strict=True)]
