"""Thrift: of the ways that a network can go, the fastest whose memory there is.

A network that knows several ways says so by a method `ways(work, device) -> tuple[str, ...]`, fastest first, and takes
one as a third argument of its `forward(x, t, way)`. All are the same function to rounding, and "plain" is what
`forward(x, t)` does. One that may keep weights in a lower precision once it learns no more has a method `lower`.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch

from ddmkit import arithmetic
from ddmkit.errors import OutOfMemoryError
from ddmkit.footprint import Work, footprint, without_memory
from ddmkit.memory import free, used
from ddmkit.sizes import proposed, sides_of, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_log = logging.getLogger(__name__)

_PLENTY = 2**16
"""Bytes a voxel, those of 16,384 channels in float32: where there are so many, nothing needs to be counted."""


@runtime_checkable
class Thrifty(Protocol):
    """A network with several ways."""

    def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
        """Return the ways that `forward` can go, fastest first."""
        ...


@runtime_checkable
class Lowerable(Protocol):
    """A network that is only evaluated, and need not keep all of its weights in float32."""

    def lower(self, precision: torch.dtype) -> None:
        """Keep in a lower precision those weights that are only ever used in it; no answer in it changes."""
        ...


class Way(NamedTuple):
    """A way to evaluate a network, and what it takes."""

    name: str | None
    """None for a network that knows only one."""
    work: Work
    peak: int
    """Bytes beyond what was there before."""
    operations: int


class Thrift:
    """Chooses ways for one network on one device.

    Args:
        network: on the device.
        device: where it runs.
        precision: arithmetic.
        limit: bytes that the process may use of the device's memory (of the machine's, for a CPU); None: what is free.
        sharing: processes that share what is free.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, precision: torch.dtype, limit: int | None, sharing: int = 1
    ) -> None:
        self._network, self._device, self._precision, self._limit = network, device, precision, limit
        self._sharing = sharing
        self._chosen: dict[tuple[tuple[int, ...], bool], str | None] = {}
        self._examples: dict[tuple[tuple[int, ...], int, int], int] = {}

    def way(self, shape: tuple[int, ...], *, training: bool, more: int = 0) -> str | None:
        """Return the way for inputs of a shape, the same for the same shape.

        Args:
            shape: (N, in_channels, X, Y, Z).
            training: whether gradients will be taken.
            more: bytes that will be needed beside the evaluation.

        Raises:
            OutOfMemoryError: a limit was given, and no way keeps to it.
        """
        key = shape, training
        if key not in self._chosen:
            self._chosen[key] = self._choose(shape, more, training=training)
        return self._chosen[key]

    def examples(self, shape: tuple[int, ...], most: int, beside: int) -> int:
        """Return how many examples can be evaluated at once by the way that one alone goes, at least 1.

        The same for the same shape, whatever is free later.

        Args:
            shape: of one: (in_channels, X, Y, Z).
            most: how many there are.
            beside: bytes that each needs beside its evaluation.

        Raises:
            OutOfMemoryError: a limit was given, and no way keeps to it with one.
        """
        key = shape, most, beside
        if key not in self._examples:
            self._examples[key] = self._most(shape, most, beside)
        return self._examples[key]

    def _most(self, shape: tuple[int, ...], most: int, beside: int) -> int:
        room = self._room()
        if room is None:
            return 1
        way = self.way((1, *shape), training=False, more=beside)

        def exceeds(count: int) -> bool:
            if self._plenty(count * math.prod(shape[1:])) + count * beside <= room:
                return False
            work = Work((count, *shape), self._precision, training=False, way=way)
            return footprint(self._network, work, self._device).peak + count * beside > room

        return max(1, bisect_left(range(1, most + 1), True, key=exceeds))  # noqa: FBT003 - what is looked for

    def advice(self, shape: tuple[int, ...], *, training: bool) -> str:
        """Say what to do where memory does not suffice."""
        return advice(self._network, Work(shape, self._precision, training), self._device, self._room())

    def _choose(self, shape: tuple[int, ...], more: int, *, training: bool) -> str | None:
        work = Work(shape, self._precision, training)
        names, room = ways_of(self._network, work, self._device), self._room()
        if room is None or (self._limit is None and len(names) == 1):
            return names[0]
        members, _, *sides = shape
        if self._limit is None and self._plenty(members * math.prod(sides)) + more <= room:
            return names[0]
        if any(self._holds(known, (shape, training)) and name == names[0] for known, name in self._chosen.items()):
            return names[0]  # which went with a larger volume, so that there is nothing to count
        leanest: Way | None = None
        for way in ways(self._network, work, self._device):
            if way.peak + more <= room:
                return way.name
            leanest = way if leanest is None or way.peak < leanest.peak else leanest
        assert leanest is not None  # noqa: S101 - a network goes at least one way
        self._refuse(leanest, more)
        return leanest.name

    def _plenty(self, voxels: int) -> int:
        """Return more bytes than any network that there is would take for voxels, with the gradients of its weights."""
        weights = sum(parameter.nbytes for parameter in self._network.parameters())
        return voxels * _PLENTY + 2 * weights

    @staticmethod
    def _holds(known: tuple[tuple[int, ...], bool], asked: tuple[tuple[int, ...], bool]) -> bool:
        return known[1] == asked[1] and all(side >= other for side, other in zip(known[0], asked[0], strict=True))

    def _room(self) -> int | None:
        if self._limit is not None:
            return self._limit - used(self._device)
        unused = free(self._device)
        return None if unused is None else unused // self._sharing

    def _refuse(self, leanest: Way, more: int) -> None:
        taken = used(self._device) + more
        sides = sides_of(leanest.work.shape[2:])
        what = f"{'a training step' if leanest.work.training else 'an evaluation'} on {sides} voxels"
        if self._limit is None:
            needed = proposed(more + leanest.peak)
            _log.warning(
                "%s may need another %s, more than %s has free; ddmkit plan says what would fit.",
                what.capitalize(),
                needed,
                self._device,
            )
            return
        least = proposed(taken + leanest.peak)
        msg = (
            f"engine.memory={written(self._limit)} is too little: {what} needs at least {least}. Type "
            f"-o engine.memory={least}, or {advice(self._network, leanest.work, self._device, self._limit - taken)}."
        )
        raise OutOfMemoryError(msg)


def weight_bytes(network: nn.Module, precision: torch.dtype) -> int:
    """Return what the weights take of a network that is only evaluated, in a precision."""
    bare = without_memory(network)
    if isinstance(bare, Lowerable) and precision != torch.float32:
        bare.lower(precision)
    return sum(parameter.nbytes for parameter in bare.parameters())


def bfloat16_fault(network: nn.Module, device: torch.device, *, training: bool) -> str | None:
    """Say what keeps a network from bfloat16 on a device, if anything does."""
    if not arithmetic.multiplies_bfloat16(device.type):
        return f"{device} does not calculate in bfloat16"
    # A network with ways of its own has gradients of its own.
    if training and device.type == "cpu" and arithmetic.multiplies_tiles() and not isinstance(network, Thrifty):
        return "torch's gradients of bfloat16 convolutions cannot be trusted on this processor (AMX)"
    return None


def ways_of(network: nn.Module, work: Work, device: torch.device) -> tuple[str | None, ...]:
    """Return the names of a network's ways, fastest first; None alone for one that knows no others."""
    return network.ways(work, device) if isinstance(network, Thrifty) else (None,)


def ways(network: nn.Module, work: Work, device: torch.device) -> Iterator[Way]:
    """Yield every way to do some work, counted one by one, fastest first."""
    for name in ways_of(network, work, device):
        asked = work._replace(way=name)
        yield Way(name, asked, *footprint(network, asked, device))


def leanest(network: nn.Module, work: Work, device: torch.device) -> Way:
    """Return the way that takes least memory."""
    return min(ways(network, work, device), key=lambda way: way.peak)


def advice(network: nn.Module, work: Work, device: torch.device, room: int | None) -> str:
    """Say what to do so that some work, or less of it, fits into the room there is (bytes)."""
    spared = leanest(network, work, device)
    if room is not None and spared.peak <= room and spared.name != ways_of(network, work, device)[0]:
        limit = proposed(used(device) + spared.peak)
        return f"type -o engine.memory={limit}, with which the network goes a leaner way"
    lowers = bfloat16_fault(network, device, training=work.training) is None
    lowered = work._replace(precision=torch.bfloat16) if lowers else work
    if lowered != work:
        least = leanest(network, lowered, device).peak
        if room is None or least <= room:
            return f"type -o engine.precision=bfloat16, with which the network needs {written(least)}"
    if not work.training:
        if work.shape[0] > 1:
            return "type -o sampling.members_at_once=1"
        return "train a network at a coarser preprocessing.spacing, or with a smaller backbone.width"
    for share in (7, 6, 5, 4, 3, 2, 1):
        sides = [max(1, side * share // 8) for side in work.shape[2:]]
        smaller = lowered._replace(shape=(*work.shape[:2], *sides))
        least = leanest(network, smaller, device).peak
        if room is None or least <= room:
            typed = ",".join(map(str, sides)) + (" -o engine.precision=bfloat16" if lowers else "")
            return f"type --patch center -o patch.sides={typed}, with which the network needs {written(least)}"
    return "type -o backbone.width=… with a smaller one"
