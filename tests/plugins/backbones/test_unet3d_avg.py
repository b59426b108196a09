"""The U-Net with averaged skips."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ddmkit.testing import check
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_network import UNet3d, Upsample, average


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
    h = up_0((h + d) / 2, embedding)
    h = up_1((h + c) / 2, embedding)
    doubled = h.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    h = double.convolution(doubled)
    h = up_2((h + b) / 2, embedding)
    h = up_3((h + a) / 2, embedding)
    answer: Tensor = network.answer(functional.silu(network.normalize(h)))
    return answer


@pytest.mark.parametrize(("in_channels", "parameters"), [(8, 24_260_299), (5, 24_257_950)])
def test_the_defaults_have_the_official_number_of_parameters(in_channels: int, parameters: int) -> None:
    with torch.device("meta"):
        network = UNet3dAverage().build(in_channels, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert len(network.state_dict()) == 412


@pytest.mark.parametrize("normalization", ["group", "channel"])
def test_it_keeps_the_promises_of_a_backbone(normalization: str) -> None:
    check(UNet3dAverage.model_validate({"width": 4, "multipliers": (1, 2, 3), "normalization": normalization}))


def test_each_skip_is_averaged_with_what_comes_up_to_it() -> None:
    network = UNet3dAverage(width=4, multipliers=(1, 2), blocks=1).build(2, 3)
    assert isinstance(network, UNet3d)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, t = torch.randn(2, 2, 6, 4, 8), torch.tensor([1.0, 400.0])
    torch.testing.assert_close(network(x, t), by_hand(network, x, t))


def test_the_average_overwrites_only_where_no_gradient_is_recorded() -> None:
    h, skip = torch.tensor([1.0, -4.0]), torch.tensor([2.0, 6.0])
    assert average(h, skip).tolist() == [1.5, 1.0]
    assert h.tolist() == [1.0, -4.0]
    with torch.no_grad():
        assert average(h, skip) is h
    assert h.tolist() == [1.5, 1.0]
    assert skip.tolist() == [2.0, 6.0]


def test_a_first_multiplier_other_than_one_still_ends_at_full_width() -> None:
    network = UNet3dAverage(width=3, multipliers=(2, 4), blocks=1).build(1, 2)
    assert network(torch.zeros(1, 1, 5, 4, 3), torch.ones(1)).shape == (1, 2, 5, 4, 3)
