"""The U-Net with concatenated skips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ddmkit.testing import check
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat
from ddmkit_plugins.backbones.unet3d_network import UNet3d, Upsample


def by_hand(network: UNet3d, x: Tensor, t: Tensor) -> Tensor:
    """The network of two levels with one residual block each, written out; for even sides."""
    assert network.time_embedding is not None
    assert network.normalize is not None
    assert network.answer is not None
    embedding = network.time_embedding(t)
    stem, block, down, deep_block = network.encoder
    up_0, up_1, double, up_2, up_3 = network.decoder
    assert isinstance(double, Upsample)
    a = stem(x)
    b = block(a, embedding)
    c = down(b)
    d = deep_block(c, embedding)
    middle_0, middle_1 = network.middle
    h = middle_1(middle_0(d, embedding), embedding)
    h = up_0(torch.cat([h, d], 1), embedding)
    h = up_1(torch.cat([h, c], 1), embedding)
    doubled = h.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    h = double.convolution(doubled)
    h = up_2(torch.cat([h, b], 1), embedding)
    h = up_3(torch.cat([h, a], 1), embedding)
    answer: Tensor = network.answer(functional.silu(network.normalize(h)))
    return answer


def block_parameters(taken: int, given: int, embedding: int) -> int:
    convolutions = 27 * taken * given + given + 27 * given * given + given
    shortcut = taken * given + given if taken != given else 0
    return 2 * taken + 2 * given + convolutions + embedding * given + given + shortcut


def test_a_small_network_has_as_many_parameters_as_counted_by_hand() -> None:
    network = UNet3dConcat(width=4, multipliers=(1, 2), blocks=1).build(3, 2)
    blocks = [(4, 4), (4, 8), (8, 8), (8, 8), (16, 8), (12, 8), (12, 4), (8, 4)]
    counted = sum(block_parameters(taken, given, 16) for taken, given in blocks)
    counted += (27 * 3 * 4 + 4) + (27 * 4 * 4 + 4) + (27 * 8 * 8 + 8)  # stem, down, up
    counted += (4 * 16 + 16) + (16 * 16 + 16) + 2 * 4 + (27 * 4 * 2 + 2)  # time, last normalization, answer
    assert sum(parameter.numel() for parameter in network.parameters()) == counted


def test_the_defaults_have_as_many_parameters_as_the_official_code_without_additive_skips() -> None:
    with torch.device("meta"):
        network = UNet3dConcat().build(8, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == 32_331_927


@pytest.mark.parametrize("normalization", ["group", "channel"])
def test_it_keeps_the_promises_of_a_backbone(normalization: str) -> None:
    check(UNet3dConcat.model_validate({"width": 4, "multipliers": (1, 2, 3), "normalization": normalization}))


def test_each_skip_is_appended_to_what_comes_up_to_it() -> None:
    network = UNet3dConcat(width=4, multipliers=(1, 2), blocks=1).build(2, 3)
    assert isinstance(network, UNet3d)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, t = torch.randn(2, 2, 6, 4, 8), torch.tensor([1.0, 400.0])
    torch.testing.assert_close(network(x, t), by_hand(network, x, t))


def test_a_first_multiplier_other_than_one_is_taken() -> None:
    network = UNet3dConcat(width=3, multipliers=(2, 4), blocks=1).build(1, 2)
    assert network(torch.zeros(1, 1, 5, 4, 3), torch.ones(1)).shape == (1, 2, 5, 4, 3)
