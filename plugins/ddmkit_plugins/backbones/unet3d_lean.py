"""The U-Net evaluated without gradients in bounded memory: the function of `UNet3d.forward`, to rounding.

A layer is a reader of the one before it (see `slabs`), and a volume is only held where it must be: where a group
normalization needs the moments of all of it, where the decoder will need it again as a skip, and between levels. With
`recompute` the skips of the finest level, most of the memory, are read anew from the network's input when the decoder
asks for them: by then all moments are known, so that it costs arithmetic alone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from ddmkit.footprint import stood_for
from ddmkit_plugins.backbones.activation import Moments, activation, moments_of
from ddmkit_plugins.backbones.slabs import (
    Added,
    Averaged,
    Concatenated,
    Convolved,
    Held,
    Kernel,
    Repeated,
    Shared,
    beside,
    hold,
    kernel_of,
)
from ddmkit_plugins.backbones.unet3d_network import ResidualBlock, average, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ddmkit_plugins.backbones.slabs import Prologue, Reader, Size
    from ddmkit_plugins.backbones.unet3d_network import Layers, State, Upsample

    Through: TypeAlias = Callable[[Reader], Reader]
    """A layer: from what reads its input to what reads its output."""


class Volume:
    """A volume that is held, or that can be read from what others hold.

    Args:
        size: its sides.
        read: returns a reader at the first plane.
        into: where it may be held: a volume whose planes, once read for this one, are not needed again.
    """

    def __init__(self, size: Size, read: Callable[[], Reader], into: Tensor | None = None) -> None:
        self.size, self.read, self.into = size, read, into
        self.moments: Moments | None = None
        """Of a held volume, if they were asked for."""
        self._tensor: Tensor | None = None

    @classmethod
    def held(cls, tensor: Tensor) -> Volume:
        """Return one that is held already."""
        volume = cls(Held(tensor).size, partial(Held, tensor))
        volume._tensor = tensor
        return volume

    def hold(self, *, watched: bool) -> Tensor:
        """Read it into memory, if it is not there, and let go of what it was read from."""
        if self._tensor is None:
            self.moments = Moments() if watched else None
            self._tensor = hold(self.read(), self.into, self.moments.add if self.moments else None)
            self.read, self.into = partial(Held, self._tensor), None
        elif watched and self.moments is None:
            self.moments = moments_of(self.read())
        return self._tensor


def go(layers: Layers, state: Sequence[Tensor], dtype: torch.dtype, *, recompute: bool) -> State:
    """Return what `layers.go(state, "plain")` does, one member after the other.

    Args:
        layers: whose weights are used.
        state: with volumes of any dtype and memory layout.
        dtype: arithmetic of the convolutions.
        recompute: hold no skips of the finest level; they still leave a network that is cut there.
    """
    with torch.no_grad(), torch.autocast(stood_for(state[0].device).type, enabled=False):
        embedding, skips, h = layers.enter(state)
        # Each member is taken out of what came in, so that the last one's volumes are no one's but its own.
        waiting = [[skip[place] for skip in (*skips, h)] for place in _members(h)]
        del skips, h
        members = []
        for one in embedding:
            evaluation = _Evaluation(layers, one[None], dtype, recompute=recompute)
            members.append(evaluation.go(waiting.pop(0)))
        after, *left = members[0] if len(members) == 1 else map(torch.cat, zip(*members, strict=True))
        return layers.leave(embedding, left, after)


def _members(x: Tensor) -> list[slice]:
    return [slice(member, member + 1) for member in range(len(x))]


class _Evaluation:
    """One evaluation for one member; `embedding`, shape (1, channels), is that of its time."""

    def __init__(self, layers: Layers, embedding: Tensor, dtype: torch.dtype, *, recompute: bool) -> None:
        self._layers, self._embedding, self._dtype = layers, embedding, dtype
        self._global = layers.normalizes_together
        self._recomputes = recompute and layers.time_embedding is not None
        # Of the finest level, how the decoder will come by what h is: read from the network's input.
        self._again: Volume | None = None

    def go(self, given: list[Tensor]) -> list[Tensor]:
        """Return h after the layers, then the skips that are left; `given`, skips and h before, is emptied."""
        layers = self._layers
        *skips, h = map(self._entered, given)
        given.clear()
        if skips and layers.enters_encoder:
            h = skips[-1]
        self._again = h if self._recomputes else None
        h = walk(layers, self, skips, h)
        if layers.answer is None or layers.normalize is None:
            return [volume.hold(watched=False) for volume in (h, *skips)]
        if self._global:
            h.hold(watched=True)
        prologue = activation(layers.normalize, h.moments)
        return [hold(Convolved(h.read(), kernel_of(layers.answer, self._dtype), prologue))]

    def _entered(self, tensor: Tensor) -> Volume:
        """Return a volume that came in; that of the network's own input is read as it is."""
        within = self._layers.time_embedding is None
        return Volume.held(tensor.to(dtype=self._dtype, memory_format=torch.channels_last_3d) if within else tensor)

    def encode(self, layer: nn.Module, h: Volume) -> tuple[Volume, Volume]:
        h, through = self._after(layer, h)
        if self._again is not None and h.size == self._again.size:
            self._again = _through(through, self._again, h.size)
            return h, self._again
        self._again = None
        h.hold(watched=self._global)
        return h, h

    def residual(self, block: ResidualBlock, h: Volume) -> Volume:
        return self._after_block(block, h)[0]

    def upsample(self, layer: Upsample, h: Volume, skip: Volume) -> Volume:
        kernel, size = kernel_of(layer.convolution, self._dtype), skip.size
        h.hold(watched=self._global)
        return Volume(size, lambda: Convolved(Repeated(h.read(), size), kernel))

    def merge(self, h: Volume, skip: Volume) -> Volume:
        """Merge; nobody knows the volume before it, which is overwritten."""
        if self._layers.merge is average:
            return Volume(h.size, lambda: Averaged(h.read(), skip.read()), into=h.into)
        return Volume(h.size, lambda: Concatenated(h.read(), skip.read()))

    def _after(self, layer: nn.Module, h: Volume) -> tuple[Volume, Through]:
        """Return what a layer that keeps or halves the size makes of h, not held yet, and the layer by itself."""
        if isinstance(layer, ResidualBlock):
            return self._after_block(layer, h)
        assert isinstance(layer, nn.Conv3d)  # noqa: S101 - there is nothing else
        through: Through = partial(Convolved, kernel=kernel_of(layer, self._dtype))
        return _through(through, h, through(h.read()).size), through

    def _after_block(self, block: ResidualBlock, h: Volume) -> tuple[Volume, Through]:
        first = kernel_of(block.first, self._dtype, block.time(self._embedding)[0])
        second, shortcut = kernel_of(block.second, self._dtype), partial(beside, block.shortcut, dtype=self._dtype)
        if not self._global:
            prologues = activation(block.normalize_first), activation(block.normalize_second)
            through: Through = partial(_residual, kernels=(first, second), prologues=prologues, shortcut=shortcut)
            return _through(through, h, h.size), through
        h.hold(watched=True)
        before = activation(block.normalize_first, h.moments)
        moments = Moments()
        middle = hold(Convolved(h.read(), first, before), watch=moments.add)
        between = activation(block.normalize_second, moments)
        after = Volume(h.size, lambda: Added(Convolved(Held(middle), second, between), shortcut(h.read())), into=middle)
        return after, partial(_residual, kernels=(first, second), prologues=(before, between), shortcut=shortcut)


def _through(layer: Through, volume: Volume, size: Size) -> Volume:
    return Volume(size, lambda: layer(volume.read()))


def _residual(
    reader: Reader, kernels: tuple[Kernel, Kernel], prologues: tuple[Prologue, Prologue], shortcut: Through
) -> Reader:
    """Read a residual block's output where both its normalizations are known beforehand."""
    shared = Shared(reader)
    straight, past = shared.tap(), shared.tap()
    for kernel, prologue in zip(kernels, prologues, strict=True):
        straight = Convolved(straight, kernel, prologue)
    return Added(straight, shortcut(past))
