"""The two normalizations of the U-Net; both take their statistics in float32 (or finer) whatever the tensor's dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

EPSILON = 1e-5


class GroupNorm(nn.GroupNorm):
    """Group normalization (Wu & He 2018) that also takes the single voxel of a deepest level."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Return the input, shape (N, C, X, Y, Z), normalized over all voxels and each group of channels."""
        # torch's kernel takes float32 statistics of a bfloat16 tensor without a float32 copy of it. The checked
        # functional.group_norm would refuse one value a group, and on a GPU autocast returns float32.
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps).to(input.dtype)


class ChannelNorm(nn.Module):
    """Divide each voxel by the root mean square of its channels (Zhang & Sennrich 2019), then scale and shift.

    No voxel knows of another, so a window is normalized as it would be within its volume.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return x, shape (N, C, X, Y, Z), each voxel normalized by itself."""
        parameters = self.weight.to(x.dtype), self.bias.to(x.dtype)
        normalized: Tensor = _ChannelNorm.apply(x, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it so
        return normalized


class _ChannelNorm(torch.autograd.Function):
    """y = x r w + b with r = 1 / sqrt(mean of x^2 over channels + epsilon).

    Composed of torch's operations it would keep x r too for the backward pass, a third more memory for the network.
    """

    @staticmethod
    @override
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        reciprocal = torch.rsqrt(_mean_square(x) + EPSILON).to(x.dtype)
        ctx.save_for_backward(x, weight, reciprocal)
        y = x * reciprocal
        return torch.addcmul(_per_channel(bias), y, _per_channel(weight), out=y)

    @staticmethod
    @override
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator makes ctx positional
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        x, weight, reciprocal = ctx.saved_tensors
        scale = _per_channel(weight)
        aligned = (gradient * x).mul_(reciprocal)
        to_weight = aligned.sum((0, 2, 3, 4))
        # With g = gradient w: r g less the part of it that lies along x, x r^3 mean(g x).
        along = aligned.mul_(scale).mean(1, keepdim=True).mul_(reciprocal)
        to_x = (gradient * scale).addcmul_(x, along, value=-1).mul_(reciprocal)
        return to_x, to_weight, gradient.sum((0, 2, 3, 4))


Norm: TypeAlias = GroupNorm | ChannelNorm


def _mean_square(x: Tensor) -> Tensor:
    """Return the mean of x^2 over channels, shape (N, 1, X, Y, Z)."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if x.is_cpu and x.is_contiguous():
        # Here torch's norm over a strided dimension is several times slower than squares and their mean.
        return x.to(dtype).square().mean(1, keepdim=True)
    norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
    return norm.square_().div_(x.shape[1])


def _per_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
