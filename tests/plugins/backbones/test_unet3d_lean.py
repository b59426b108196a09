"""Without gradients, the lean ways answer as the plain forward does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import torch
from tests.plugins.backbones.lean import (
    BACKBONES,
    TIMES,
    WAYS,
    awake,
    each_arithmetic,
    each_backbone,
    each_way,
    error,
    thin,
    volumes,
)
from torch import Tensor

from ddmkit.thrift import Lowerable
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

    Size: TypeAlias = tuple[int, int, int]

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}
each_size = pytest.mark.parametrize("size", [(16, 16, 16), (13, 7, 9), (1, 2, 3), (5, 1, 1), (1, 1, 1)], ids=str)


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@each_backbone
@each_size
@each_arithmetic
def test_both_ways_answer_as_the_plain_forward(
    backbone: UNet3dSettings, size: Size, dtype: torch.dtype, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin(monkeypatch, slab_bytes)
    network, x = awake(backbone, dtype), volumes(size, dtype=dtype)
    expected = network(x, TIMES)
    for way in WAYS:
        found = network(x, TIMES, way)
        assert (found.shape, found.dtype) == (expected.shape, dtype)
        assert error(found, expected) < TOLERANCES[dtype], way


@each_way
@pytest.mark.parametrize("merged", [UNet3dAverage, UNet3dConcat])
@pytest.mark.parametrize(
    "settings",
    [
        {"multipliers": (1,)},
        {"multipliers": (1,), "normalization": "channel"},
        {"multipliers": (2, 1), "blocks": 1},
        {"multipliers": (2, 1), "blocks": 1, "normalization": "channel"},
        {"multipliers": (1, 2, 2, 2), "blocks": 3, "groups": 1},
    ],
    ids=str,
)
def test_networks_of_other_depths_and_widths_do_too(
    merged: type[UNet3dSettings], settings: dict[str, Any], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin(monkeypatch, 1)
    network, x = awake(merged.model_validate({"width": 4, **settings}), torch.float64), volumes((7, 6, 5)).double()
    assert error(network(x, TIMES, way), network(x, TIMES)) < 1e-12


def test_the_papers_network_answers_within_a_ten_thousandth() -> None:
    network, x = awake(UNet3dAverage(), in_channels=8), volumes((64, 32, 32), members=1, channels=8)
    expected = network(x, TIMES[1:])
    assert expected.std() > 0.1
    for way in WAYS:
        assert (network(x, TIMES[1:], way) - expected).abs().max() < 1e-4, way


def lowered(network: nn.Module, x: Tensor, way: str) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        answer: Tensor = network(x, TIMES, way)
    return answer


@each_backbone
@each_way
@pytest.mark.parametrize("size", [(16, 16, 16), (13, 7, 9)], ids=str)
def test_bfloat16_is_no_further_from_float32_than_autocasts(backbone: UNet3dSettings, size: Size, way: str) -> None:
    network, x = awake(backbone), volumes(size)
    exact, plain, found = network(x, TIMES), lowered(network, x, "plain"), lowered(network, x, way)
    assert found.dtype == plain.dtype == torch.bfloat16
    assert (found - exact).norm() <= 1.1 * (plain - exact).norm()


@each_backbone
@pytest.mark.parametrize("way", ["plain", *WAYS])
def test_lowered_weights_answer_the_same_to_the_bit_in_half_the_memory(backbone: UNet3dSettings, way: str) -> None:
    network, x = awake(backbone), volumes((9, 6, 7))
    expected = lowered(network, x, way)
    before = sum(weight.nbytes for weight in network.parameters())
    assert isinstance(network, Lowerable)
    network.lower(torch.bfloat16)
    assert torch.equal(lowered(network, x, way), expected)
    assert sum(weight.nbytes for weight in network.parameters()) < 0.55 * before


@each_backbone
@each_way
def test_an_evaluation_leaves_weights_and_inputs_as_they_were(backbone: UNet3dSettings, way: str) -> None:
    network, x, t = awake(backbone), volumes((9, 6, 7)), TIMES.clone()
    before, x_before = {name: weight.clone() for name, weight in network.state_dict().items()}, x.clone()
    network(x, t, way)
    lowered(network, x, way)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert torch.equal(x, x_before)
    assert torch.equal(t, TIMES)


@each_way
def test_a_member_is_answered_the_same_alone(way: str) -> None:
    network, x = awake(BACKBONES[0]), volumes((6, 5, 4))
    alone = [network(x[one : one + 1], TIMES[one : one + 1], way) for one in (0, 1)]
    assert error(network(x, TIMES, way), torch.cat(alone)) < 1e-6


@each_way
def test_inputs_may_be_laid_out_and_typed_in_any_way(way: str) -> None:
    network, x = awake(BACKBONES[0]), volumes((6, 5, 4)).bfloat16()
    expected = network(x.float(), TIMES)
    layouts = [x, x.double(), x.contiguous(memory_format=torch.channels_last_3d), x.mT.contiguous().mT]
    for given in [*layouts, torch.cat([x, x], dim=1)[:, :4]]:
        found = network(given, TIMES, way)
        assert found.dtype == torch.float32
        assert error(found, expected) < 1e-5


@each_way
def test_inference_mode_gives_the_same(way: str) -> None:
    network, x = awake(BACKBONES[1]), volumes((6, 5, 4))
    expected = network(x, TIMES, way)
    with torch.inference_mode():
        assert torch.equal(network(x, TIMES, way), expected)


@each_way
def test_shapes_can_be_asked_for_without_any_memory(way: str) -> None:
    with torch.device("meta"):
        network = BACKBONES[0].build(8, 1)
        answer = network(torch.empty(1, 8, 63, 64, 65), torch.ones(1), way)
    assert answer.is_meta
    assert answer.shape == (1, 1, 63, 64, 65)
    assert answer.dtype == torch.float32
