"""Gradients of convolutions: in their weights, from a few planes of a volume at a time, and in what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ddmkit.arithmetic import multiplies_tiles

if TYPE_CHECKING:
    from ddmkit_plugins.backbones.slabs import Kernel

_ROWS, _CHANNELS = 32, 16
"""What products in tiles are best made multiples of; of other numbers of rows oneDNN 3.12 reads beyond the last."""
_SMALL = 20480
"""Elements of channels, X and Y up to which torch leaves oneDNN for something ten times slower, if they are alone."""


def weight_gradient(x: Tensor, gradient: Tensor, stride: int = 1) -> Tensor:
    """Return the gradient in the weights of a 3x3x3 convolution with padding 1 along Y and Z.

    Args:
        x: what was convolved, with its padding along X: shape (1, in_channels, stride (P - 1) + 3, Y, Z).
        gradient: in what came out, shape (1, out_channels, P, Y / stride, Z / stride), sides rounded up.
        stride: of the convolution.
    """
    if x.is_cpu and x.dtype == torch.bfloat16 and multiplies_tiles():
        return _by_products(x, gradient, stride)
    if x.is_cpu and x.dtype == torch.float32 and x[..., 0].numel() <= _SMALL:
        x, gradient = (torch.cat([tensor, torch.zeros_like(tensor)]) for tensor in (x, gradient))
    weight = x.new_empty((gradient.shape[1], x.shape[1], 3, 3, 3))
    transposed, only_weight = False, [False, True, False]
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 3, (0, 1, 1), [1] * 3, transposed, [0] * 3, 1, only_weight
    )
    return gradients[1]


def pointwise_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient in the weights of a 1x1x1 convolution, shape (out_channels, in_channels).

    Args:
        x: what was convolved, shape (1, in_channels, X, Y, Z).
        gradient: in what came out, shape (1, out_channels, X, Y, Z).
    """
    x, gradient = (tensor.permute(0, 2, 3, 4, 1).reshape(-1, tensor.shape[1]) for tensor in (x, gradient))
    missing = -len(x) % _ROWS
    if missing and x.dtype == torch.bfloat16:
        x, gradient = (functional.pad(tensor, (0, 0, 0, missing)) for tensor in (x, gradient))
    return gradient.T @ x


def input_gradient(x: Tensor, gradient: Tensor, kernel: Kernel) -> Tensor:
    """Return the gradient in what a 3x3x3 convolution with padding 1 was given, of x's shape and dtype.

    Args:
        x: what was convolved, shape (N, in_channels, X, Y, Z).
        gradient: in what came out, shape (N, out_channels, X / stride, Y / stride, Z / stride), sides rounded up.
        kernel: in x's dtype.
    """
    ones, transposed, only_input = [1] * 3, False, [True, False, False]
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, kernel.weight, None, [kernel.stride] * 3, ones, ones, transposed, [0] * 3, 1, only_input
    )
    return gradients[0]


def _by_products(x: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """Return the gradient as nine products of matrices, one for each shift along X and Y.

    On CPUs that multiply in tiles (AMX), the gradient that oneDNN 3.12 (torch 2.13) has for this is wrong, or crashes,
    from some thousand voxels a plane on. Both tensors are laid out as rows of one voxel each on the same grid, x with
    its neighbours along Z beside it and a padded Y, so that a shift along X and Y is one of rows.
    """
    _, channels, planes, y, z = x.shape
    answers = gradient.shape[1]
    width, height = _multiple(channels, _CHANNELS), _multiple(answers, _CHANNELS)
    line, shifts = z, (y + 2) * z
    used = _multiple((planes - 2) * shifts, _ROWS)
    padded = x.new_zeros((planes, y, z + 2, width))
    padded[:, :, 1:-1, :channels] = x[0].permute(1, 2, 3, 0)
    rows = x.new_empty((used + 2 * (shifts + line), 3 * width))
    rows[planes * shifts :] = 0
    grid = rows[: planes * shifts].view(planes, y + 2, z, 3 * width)
    grid[:, 0] = grid[:, -1] = 0
    # A voxel of the padded volume and its next two lie side by side, and so do those of the voxel after it.
    along_y, along_z = padded.stride()[1:3]
    grid[:, 1:-1] = padded.as_strided((planes, y, z, 3 * width), (y * along_y, along_y, along_z, 1))

    columns = x.new_zeros((height, used))
    spread = columns[:answers, : (planes - 2) * shifts].view(answers, planes - 2, y + 2, z)
    spread[:, ::stride, :y:stride, ::stride] = gradient[0]

    weight = x.new_empty((3, 3, height, 3, width))
    for shift_x in range(3):
        for shift_y in range(3):
            first = shift_x * shifts + shift_y * line
            weight[shift_x, shift_y] = (columns @ rows[first : first + used]).view(height, 3, width)
    return weight.permute(2, 4, 0, 1, 3)[:answers, :channels]


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of
