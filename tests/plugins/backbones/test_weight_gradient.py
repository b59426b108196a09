"""Gradients of convolutions are autograd's, whichever way they are come by."""

from __future__ import annotations

from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ddmkit.arithmetic import multiplies_tiles
from ddmkit.randomness import normal
from ddmkit_plugins.backbones import weight_gradient as module
from ddmkit_plugins.backbones.slabs import Kernel
from ddmkit_plugins.backbones.weight_gradient import input_gradient, pointwise_gradient, weight_gradient

Size: TypeAlias = tuple[int, int, int]

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
each_dtype = pytest.mark.parametrize("dtype", list(TOLERANCES))
each_way = pytest.mark.parametrize("tiles", [False, True], ids=["convolution", "products"])


def volume(channels: int, size: Size, name: str, dtype: torch.dtype) -> Tensor:
    return normal((1, channels, *size), 0, name).to(dtype).contiguous(memory_format=torch.channels_last_3d)


def expected_weight_gradient(x: Tensor, back: Tensor, stride: int) -> Tensor:
    weight = torch.zeros(back.shape[1], x.shape[1], 3, 3, 3, dtype=torch.float64, requires_grad=True)
    outcome = functional.conv3d(x.double(), weight, stride=stride, padding=(0, 1, 1))
    (expected,) = torch.autograd.grad((outcome * back.double()).sum(), weight)
    return expected


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    assert (found.double() - expected).norm() <= TOLERANCES[dtype] * expected.norm()


@each_dtype
@each_way
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "channels"), [((1, 1, 1), 1), ((1, 5, 4), 3), ((2, 4, 7), 17), ((3, 40, 40), 4)])
def test_the_gradient_in_the_weights_is_autograds(
    *, size: Size, channels: int, stride: int, tiles: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if multiplies_tiles() and dtype == torch.bfloat16 and not tiles:
        pytest.skip("torch's own gradient is wrong on this processor")
    monkeypatch.setattr(module, "multiplies_tiles", lambda: tiles)
    planes, y, z = size
    x = volume(channels, (stride * (planes - 1) + 3, y, z), "x", dtype)
    back = volume(2, (planes, -(-y // stride), -(-z // stride)), "back", dtype)
    assert_close(weight_gradient(x, back, stride), expected_weight_gradient(x, back, stride), dtype)


@pytest.mark.parametrize(("given", "answers", "side"), [(29, 29, 128), (64, 1, 128), (29, 87, 64)])
def test_large_planes_in_bfloat16_are_right_on_any_processor(given: int, answers: int, side: int) -> None:
    """On CPUs with AMX, oneDNN's own gradient for these sizes is wrong, crashes or never ends (torch 2.13)."""
    x = volume(given, (4, side, side), "x", torch.bfloat16)
    back = volume(answers, (2, side, side), "back", torch.bfloat16)
    assert_close(weight_gradient(x, back), expected_weight_gradient(x.float(), back.float(), 1), torch.bfloat16)


@each_dtype
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 5, 7), (4, 8, 4)])
def test_the_gradient_in_a_pointwise_convolution_is_autograds(size: Size, dtype: torch.dtype) -> None:
    x, back = volume(3, size, "x", dtype), volume(2, size, "back", dtype)
    expected = torch.einsum("noxyz,ncxyz->oc", back.double(), x.double())
    assert_close(pointwise_gradient(x, back), expected, dtype)


@each_dtype
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 5, 1), (6, 5, 4), (20, 33, 40)])
def test_the_gradient_in_what_is_convolved_is_autograds(size: Size, stride: int, dtype: torch.dtype) -> None:
    x = volume(3, size, "x", dtype)
    weight = normal((4, 3, 3, 3, 3), 0, "weight").to(dtype)
    wide = x.double().requires_grad_()
    outcome = functional.conv3d(wide, weight.double(), stride=stride, padding=1)
    back = volume(4, (outcome.shape[2], outcome.shape[3], outcome.shape[4]), "back", dtype)
    (expected,) = torch.autograd.grad((outcome * back.double()).sum(), wide)
    assert_close(input_gradient(x, back, Kernel(weight, None, stride)), expected, dtype)
