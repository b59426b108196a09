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
from ddmkit_plugins.backbones.activation import Moments, activation, needs_moments
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
from ddmkit_plugins.backbones.unet3d_network import ResidualBlock, UNet3d, Upsample, average

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit_plugins.backbones.slabs import Prologue, Reader, Size

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
        self._held = False

    def hold(self, *, watched: bool) -> Volume:
        """Read it into memory, if it is not there, and let go of what it was read from."""
        if not self._held:
            self.moments = Moments() if watched else None
            tensor = hold(self.read(), self.into, self.moments.add if self.moments else None)
            self.read, self.into, self._held = partial(Held, tensor), None, True
        return self


def evaluate(network: UNet3d, x: Tensor, t: Tensor, dtype: torch.dtype, *, recompute: bool) -> Tensor:
    """Return what `network(x, t)` does, one member after the other.

    Args:
        network: whose weights are used.
        x: shape (N, in_channels, X, Y, Z), any dtype and memory layout.
        t: times from 1 to T, shape (N,).
        dtype: arithmetic of the convolutions.
        recompute: hold no skips of the finest level.
    """
    with torch.no_grad(), torch.autocast(stood_for(x.device).type, enabled=False):
        evaluations = [_Evaluation(network, one[None], dtype, recompute=recompute) for one in network.time_embedding(t)]
        answers = [one.answer(x[member : member + 1]) for member, one in enumerate(evaluations)]
        return answers[0] if len(answers) == 1 else torch.cat(answers)


class _Evaluation:
    """One evaluation for one member; `embedding`, shape (1, channels), is that of its time."""

    def __init__(self, network: UNet3d, embedding: Tensor, dtype: torch.dtype, *, recompute: bool) -> None:
        self._network, self._embedding, self._dtype, self._recompute = network, embedding, dtype, recompute
        self._global = needs_moments(network.normalize)

    def answer(self, x: Tensor) -> Tensor:
        network = self._network
        given = Volume(Held(x).size, lambda: Held(x))
        # h is what the network goes on with, again how the decoder will come by the same.
        h = again = given
        skips: list[Volume] = []
        for layer in network.encoder:
            h, through = self._after(layer, h)
            if self._recompute and h.size == given.size:
                again = _through(through, again, h.size)
            else:
                h = again = h.hold(watched=self._global)
            skips.append(again)
        for layer in network.middle:
            h, _ = self._after(layer, h)
        for layer in network.decoder:
            if isinstance(layer, Upsample):
                h = self._upsampled(layer, h.hold(watched=self._global), skips[-1].size)
            else:
                h = self._merged(h, skips.pop())  # and nobody knows the volume before it, which is overwritten
                h, _ = self._after(layer, h)
        if self._global:
            h.hold(watched=True)
        return hold(
            Convolved(h.read(), kernel_of(network.answer, self._dtype), activation(network.normalize, h.moments))
        )

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

    def _upsampled(self, layer: Upsample, h: Volume, size: Size) -> Volume:
        kernel = kernel_of(layer.convolution, self._dtype)
        return Volume(size, lambda: Convolved(Repeated(h.read(), size), kernel))

    def _merged(self, h: Volume, skip: Volume) -> Volume:
        if self._network.merge is average:
            return Volume(h.size, lambda: Averaged(h.read(), skip.read()), into=h.into)
        return Volume(h.size, lambda: Concatenated(h.read(), skip.read()))


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
