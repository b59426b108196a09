"""Readers of gradients: the way back through the U-Net's layers, slab by slab (see `slabs`).

Each hands out, in order, planes of the gradient in what a layer was given, and adds up the gradients in its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit_plugins.backbones.activation import widened
from ddmkit_plugins.backbones.slabs import (
    Convolved,
    Held,
    Kernel,
    Pointwise,
    Reader,
    Repeated,
    Windows,
    kernel_of,
    rows,
)
from ddmkit_plugins.backbones.weight_gradient import pointwise_gradient, weight_gradient

if TYPE_CHECKING:
    from ddmkit_plugins.backbones.activation import Activation
    from ddmkit_plugins.backbones.unet3d_network import ResidualBlock


class _Learning(Reader):
    """A reader of gradients that adds up those in a convolution's weights on its way."""

    def __init__(self, kernel: Kernel) -> None:
        weight = kernel.weight
        self.weight = torch.zeros(weight.shape, dtype=widened(weight.dtype), device=weight.device)
        self.bias = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
        self.dtype, self.device = weight.dtype, weight.device


class ConvolutionBack(_Learning):
    """The gradient in what a convolution of any stride made, which goes no further."""

    def __init__(self, gradient: Held, kernel: Kernel, given: Held) -> None:
        super().__init__(kernel)
        self._gradient, self._stride = gradient, kernel.stride
        self._windows = Windows(given, given.dtype, kernel.stride)
        self.channels, self.size = gradient.channels, gradient.size
        self.plane = max(gradient.plane, kernel.stride * given.plane)

    @override
    def take(self, planes: int) -> Tensor:
        gradient = self._gradient.take(planes)
        self.weight += weight_gradient(self._windows.take(planes), gradient, self._stride)
        self.bias += _channel_sums(gradient)
        return gradient


class _Turned(_Learning):
    """A reader that goes back through a convolution of stride 1."""

    def __init__(self, gradient: Reader, kernel: Kernel) -> None:
        super().__init__(kernel)
        turned = kernel.weight.flip(2, 3, 4).transpose(0, 1).contiguous()
        self._convolved = Convolved(gradient, Kernel(turned))

    def _learn(self, given: Tensor) -> None:
        """Add what the planes last gone back through say, beside what the convolution was given there."""
        # Both gradients need the outer planes of the same tensor if gradient and input change places in this one.
        seen = self._convolved.seen
        weight = weight_gradient(seen, given)
        self.weight += weight.transpose(0, 1).flip(2, 3, 4)
        self.bias += _channel_sums(seen[:, :, 1:-1])


class ActivatedBack(_Turned):
    """The way back through a convolution and SiLU to the gradient in what was normalized."""

    def __init__(self, gradient: Reader, kernel: Kernel, prologue: Activation, given: Reader) -> None:
        super().__init__(gradient, kernel)
        self._prologue, self._given = prologue, given
        self.channels, self.size = given.channels, given.size
        self.plane = max(given.plane, self._convolved.plane)

    @override
    def take(self, planes: int) -> Tensor:
        gradient = self._convolved.take(planes)
        activated, back = self._prologue.gradient(self._given.take(planes), gradient)
        self._learn(activated)
        return back


class UpsampledBack(_Turned):
    """The way back through a convolution to the gradient in the voxels that were repeated for it."""

    def __init__(self, gradient: Reader, kernel: Kernel, given: Held) -> None:
        super().__init__(gradient, kernel)
        self._repeated = Repeated(given, gradient.size)
        self._left = gradient.size[0]
        self.channels, self.size = given.channels, given.size
        self.plane = 2 * self._convolved.plane

    @override
    def take(self, planes: int) -> Tensor:
        fine = min(2 * planes, self._left)
        self._left -= fine
        gradient = self._convolved.take(fine)
        self._learn(self._repeated.take(fine))
        return _pooled(gradient)


class ShortcutBack(Reader):
    """The way back beside the convolutions of a residual block."""

    def __init__(self, block: ResidualBlock, gradient: Held, given: Held) -> None:
        self._gradient, self._given, self._turned = gradient, given, None
        self.weight: Tensor | None = None
        if isinstance(block.shortcut, nn.Conv3d):
            kernel = kernel_of(block.shortcut, given.dtype)
            self._turned = Kernel(kernel.weight.transpose(0, 1).contiguous())
            self.weight = torch.zeros(kernel.weight.shape, dtype=widened(given.dtype), device=given.device)
        self.channels, self.size, self.dtype, self.device = given.channels, given.size, given.dtype, given.device
        self.plane = max(gradient.plane, given.plane)

    @override
    def take(self, planes: int) -> Tensor:
        gradient, given = self._gradient.take(planes), self._given.take(planes)
        if self._turned is None or self.weight is None:
            return gradient
        self.weight += pointwise_gradient(given, gradient).view_as(self.weight)
        return Pointwise(Held(gradient), self._turned).take(planes)


def _pooled(slab: Tensor) -> Tensor:
    """Return the sums of each 2x2x2 voxels; those of an odd side's last are alone."""
    wide = slab.to(widened(slab.dtype))
    for dimension in (2, 3, 4):
        side = wide.shape[dimension]
        pairs = torch.unflatten(wide.narrow(dimension, 0, side - side % 2), dimension, (-1, 2))
        pooled = pairs.sum(dimension + 1)
        wide = torch.cat([pooled, wide.narrow(dimension, side - 1, 1)], dimension) if side % 2 else pooled
    return wide.to(slab.dtype, memory_format=torch.channels_last_3d)


def _channel_sums(slab: Tensor) -> Tensor:
    wide = rows(slab).to(widened(slab.dtype)).sum(0)
    return wide.view(slab.shape[-1], -1).sum(0, dtype=torch.float64)
