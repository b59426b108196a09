"""Normalization, then SiLU, slab by slab: what a convolution of the U-Net sees of the volume before it.

Arithmetic is in float32 or finer whatever the dtype of a slab; what stands between two operations has the slab's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from ddmkit_plugins.backbones.normalization import EPSILON, ChannelNorm, GroupNorm, Norm
from ddmkit_plugins.backbones.slabs import Reader, empty, rows, slabs

if TYPE_CHECKING:
    from collections.abc import Callable


class Moments:
    """Mean and variance of each channel over the voxels of one volume, gathered slab by slab.

    Sums are float32 within a slab and float64 over slabs. They are taken around the first slab's means: where a mean is
    far from zero, its square would leave nothing of the variance in float32.
    """

    def __init__(self) -> None:
        self.count = 0
        self._around = torch.empty(0)
        self._sums: Tensor | None = None

    def add(self, slab: Tensor) -> None:
        """Take in the voxels of a slab."""
        channels, side = slab.shape[1], slab.shape[-1]
        if self._sums is None:
            means = rows(slab).mean(0, dtype=widened(slab.dtype)).view(side, channels).mean(0)
            self._around, self._sums = means, means.new_zeros((2, channels), dtype=torch.float64)
        wide = rows(slab) - self._around.repeat(side)
        sums = torch.stack([wide.sum(0), wide.square_().sum(0)])
        self._sums += sums.view(2, side, channels).sum(1, dtype=torch.float64)
        self.count += slab[0, 0].numel()

    def grouped(self, groups: int) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each group, for each of its channels: shape (C,), float64."""
        assert self._sums is not None  # noqa: S101 - a volume has voxels
        beside, squares = self._sums / self.count
        around = self._around.double()
        means = (around + beside).view(groups, -1).mean(1)
        squares = (squares + 2 * around * beside + around.square()).view(groups, -1).mean(1)
        variances = (squares - means.square()).clamp(min=0)
        repeats = len(around) // groups
        return means.repeat_interleave(repeats), variances.repeat_interleave(repeats)


def moments_of(reader: Reader) -> Moments:
    """Read a volume to its end for its moments alone."""
    moments = Moments()
    for _, slab in slabs(reader):
        moments.add(slab)
    return moments


def activation(norm: Norm, moments: Moments | None = None) -> Activation:
    """Return SiLU behind a normalization, as a function of slabs alone.

    Args:
        norm: whose weights are used.
        moments: of the volume; only a GroupNorm needs them.
    """
    if isinstance(norm, ChannelNorm):
        return _ByVoxel(norm)
    assert moments is not None  # noqa: S101 - asked for by `needs_moments`
    return _ByChannel(norm, moments)


def needs_moments(norm: Norm) -> bool:
    """Tell whether a normalization depends on more than the voxel it normalizes."""
    return isinstance(norm, GroupNorm)


def watching(norm: Norm) -> Moments | None:
    """Return moments to be gathered for a normalization, if it asks for any."""
    return Moments() if needs_moments(norm) else None


def widened(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to calculate in."""
    return torch.promote_types(dtype, torch.float32)


class Activation(ABC):
    """SiLU behind a normalization whose statistics are known: what each voxel becomes by itself."""

    def __call__(self, slab: Tensor, out: Tensor) -> None:
        """Write the activation of a slab."""
        torch.ops.aten.silu.out(self._normalized(slab), out=out)

    def gradient(self, slab: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Go back through SiLU.

        Args:
            slab: what the normalization saw.
            gradient: of the loss in the activation, same shape and dtype.

        Returns:
            The activation, and the gradient in the normalized slab; both of slab's shape and dtype.
        """
        normalized = self._normalized(slab)
        back: Tensor = torch.ops.aten.silu_backward(gradient, normalized)
        self._learn(slab, back)
        return functional.silu(normalized, inplace=True), back

    @abstractmethod
    def _normalized(self, slab: Tensor) -> Tensor:
        """Return the normalized slab, fresh."""

    @abstractmethod
    def _learn(self, slab: Tensor, gradient: Tensor) -> None:
        """Add up what `finish` needs; the gradient is that in the normalized slab."""

    @abstractmethod
    def finish(self) -> Back:
        """Return what is left to do once all slabs went back through SiLU."""


class Back(NamedTuple):
    """The way back through a normalization."""

    weight: Tensor
    """Gradient in the normalization's weight, shape (C,)."""
    bias: Tensor
    """Gradient in its bias, shape (C,)."""
    through: Callable[[Tensor, Tensor], Tensor]
    """(gradient in the normalized slab, the slab) -> gradient in the slab, fresh."""


class _ByChannel(Activation):
    """SiLU of a group normalization of known moments, which is a batch normalization of channels with these."""

    def __init__(self, norm: GroupNorm, moments: Moments) -> None:
        self._norm, self.count = norm, moments.count
        self._means, variances = moments.grouped(norm.num_groups)
        self._variances = variances + EPSILON
        self._sums = torch.zeros((2, len(self._means)), dtype=torch.float64, device=self._means.device)

    @override
    def _normalized(self, slab: Tensor) -> Tensor:
        return _scaled_and_shifted(slab, self._means, self._variances, self._norm.weight, self._norm.bias)

    @override
    def _learn(self, slab: Tensor, gradient: Tensor) -> None:
        means, variances, weight = _widened(slab, self._means, self._variances, self._norm.weight)
        evaluated, only_weights = False, [False, True, True]
        _, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, slab, weight, means, variances, None, None, evaluated, 0.0, only_weights
        )
        self._sums += torch.stack([to_weight, to_bias])

    @override
    def finish(self) -> Back:
        # With g the gradient in the normalized x, w the weight, m mean, r reciprocal deviation, and means < > over
        # a group: the gradient in x is r (w g - <w g> - (x - m) r <w g (x - m) r>), which is linear in g and x.
        weight, bias = self._sums
        reciprocals, learned = self._variances.rsqrt(), self._norm.weight.detach().double()
        slope, mean = (self._group_mean(learned * sums) for sums in (weight, bias))
        nothing, one = torch.zeros_like(mean), torch.ones_like(mean)

        def through(gradient: Tensor, slab: Tensor) -> Tensor:
            along = _scaled_and_shifted(slab, self._means, one, -reciprocals.square() * slope, -reciprocals * mean)
            return along.add_(_scaled_and_shifted(gradient, nothing, one, reciprocals * learned, nothing))

        return Back(weight, bias, through)

    def _group_mean(self, sums: Tensor) -> Tensor:
        """Return a group's mean, over voxels and channels, of sums over voxels; one a channel, shape (C,)."""
        means = sums.view(self._norm.num_groups, -1).mean(1) / self.count
        return means.repeat_interleave(len(sums) // len(means))


class _ByVoxel(Activation):
    """SiLU of a channel norm."""

    def __init__(self, norm: ChannelNorm) -> None:
        self._weight, self._bias = norm.weight.detach(), norm.bias.detach()
        self._sums = torch.zeros((2, len(self._weight)), dtype=torch.float64, device=self._weight.device)

    @override
    def _normalized(self, slab: Tensor) -> Tensor:
        weight, bias = _tiled(slab, self._weight, self._bias)
        scaled = self._scaled(slab)[0]
        return _as_slab(torch.addcmul(bias, scaled, weight, out=scaled), slab)

    @override
    def _learn(self, slab: Tensor, gradient: Tensor) -> None:
        wide = rows(gradient).to(widened(slab.dtype))
        sums = torch.stack([wide.sum(0), (wide * self._scaled(slab)[0]).sum(0)])
        self._sums += sums.view(2, slab.shape[-1], -1).sum(1, dtype=torch.float64)

    @override
    def finish(self) -> Back:
        bias, weight = self._sums
        return Back(weight, bias, self._through)

    def _through(self, gradient: Tensor, slab: Tensor) -> Tensor:
        # With y = x r the gradient in x is r (w g - y <w g y>), the mean < > over the channels of a voxel.
        (weight,) = _tiled(slab, self._weight)
        y, reciprocals = self._scaled(slab)
        wide = rows(gradient).to(y.dtype) * weight
        along = _channel_means((wide * y).view(-1, slab.shape[1])).view_as(y)
        return _as_slab(wide.addcmul_(along, y, value=-1).mul_(reciprocals), slab)

    def _scaled(self, slab: Tensor) -> tuple[Tensor, Tensor]:
        """Return x r and r = 1 / sqrt(mean of x^2 over channels + epsilon), as wide rows."""
        wide = rows(slab).to(widened(slab.dtype))
        squares = wide.square().view(-1, slab.shape[1])
        reciprocals = _channel_means(squares).view_as(wide).add_(EPSILON).rsqrt_()
        return wide * reciprocals, reciprocals


def _scaled_and_shifted(slab: Tensor, means: Tensor, variances: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return (x - mean) / sqrt(variance) weight + bias, calculated in the wide dtype, by channel; fresh."""
    means, variances, weight, bias = _widened(slab, means, variances, weight, bias)
    return functional.batch_norm(slab, means, variances, weight, bias, eps=0.0)


def _widened(slab: Tensor, *values: Tensor) -> list[Tensor]:
    return [value.detach().to(widened(slab.dtype)) for value in values]


def _channel_means(voxels: Tensor) -> Tensor:
    """Return each voxel's mean over its channels, beside each of them: shape (voxels, C) for (voxels, C)."""
    channels = voxels.shape[1]
    # A product with a constant matrix lays the mean out at once; so few numbers are no work for a reduction.
    return voxels @ voxels.new_full((channels, channels), 1 / channels)


def _tiled(slab: Tensor, *values: Tensor) -> list[Tensor]:
    """Return values per channel, shape (C,), for each element of a row."""
    return [value.to(widened(slab.dtype)).repeat(slab.shape[-1]) for value in values]


def _as_slab(wide: Tensor, like: Tensor) -> Tensor:
    slab = empty(tuple(like.shape), like.dtype, like.device)
    rows(slab).copy_(wide)
    return slab
