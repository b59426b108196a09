"""Group and channel normalization."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ddmkit_plugins.backbones.normalization import ChannelNorm, GroupNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def scattered(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter)


def in_layout(x: Tensor, layout: torch.memory_format) -> Tensor:
    return x.contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_group_normalization_is_torchs(layout: torch.memory_format) -> None:
    norm = GroupNorm(3, 6)
    scattered(norm)
    x = in_layout(torch.randn(2, 6, 3, 4, 5), layout)
    expected = functional.group_norm(x, 3, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float32])
def test_group_normalization_takes_float32_statistics_of_bfloat16(
    layout: torch.memory_format, weights: torch.dtype
) -> None:
    norm = GroupNorm(2, 4).to(weights)
    x = in_layout((50 + torch.randn(1, 4, 16, 16, 16)).bfloat16(), layout)  # a sum in bfloat16 would stop at 256
    expected = functional.group_norm(x.float(), 2).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), expected, atol=0.01, rtol=0.01)


def test_group_normalization_of_a_single_value_is_its_bias() -> None:
    norm = GroupNorm(4, 4)
    scattered(norm)
    torch.testing.assert_close(norm(torch.randn(1, 4, 1, 1, 1)).flatten(), norm.bias, atol=1e-3, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channel_normalization_is_torchs_rms_norm_over_channels_and_a_shift(layout: torch.memory_format) -> None:
    norm = ChannelNorm(5)
    scattered(norm)
    x = in_layout(3 * torch.randn(2, 5, 3, 4, 6), layout)
    expected = functional.rms_norm(x.movedim(1, -1), (5,), norm.weight, 1e-5).movedim(-1, 1)
    torch.testing.assert_close(norm(x), expected + norm.bias.view(-1, 1, 1, 1))
    assert norm(x).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channel_normalizations_gradients_are_those_of_finite_differences(layout: torch.memory_format) -> None:
    norm = ChannelNorm(3).double()
    scattered(norm)
    x = in_layout(torch.randn(2, 3, 2, 1, 2, dtype=torch.float64), layout).requires_grad_()

    def shifted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        answer: Tensor = torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))
        return answer

    # Statistics are float64 for float64, or these differences would drown in rounding.
    assert torch.autograd.gradcheck(shifted, (x, norm.weight, norm.bias))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float32])
def test_channel_normalization_takes_float32_statistics_of_bfloat16(
    layout: torch.memory_format, weights: torch.dtype
) -> None:
    norm = ChannelNorm(1024).to(weights)  # a sum of so many squares in bfloat16 would stop far too soon
    x = in_layout(torch.randn(1, 1024, 2, 2, 2).bfloat16(), layout)
    expected = functional.rms_norm(x.float().movedim(1, -1), (1024,), eps=1e-5).movedim(-1, 1).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), expected, atol=0.01, rtol=0.01)


def test_channel_normalization_of_a_black_voxel_is_its_bias() -> None:
    norm = ChannelNorm(3)
    scattered(norm)
    x = torch.zeros(1, 3, 1, 1, 1, requires_grad=True)
    y = norm(x)
    assert torch.equal(y.flatten(), norm.bias)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_channel_normalization_keeps_no_second_copy_for_the_backward_pass() -> None:
    norm, x = ChannelNorm(16), torch.randn(1, 16, 4, 4, 4, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        norm(x)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() == x.numel()] == [x.data_ptr()]
