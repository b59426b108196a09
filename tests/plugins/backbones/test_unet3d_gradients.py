"""With gradients, the lean ways learn as the plain forward does."""

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
from torch import Tensor, nn

from ddmkit.randomness import normal
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat

if TYPE_CHECKING:
    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

    Size: TypeAlias = tuple[int, int, int]

# A deepest level of one voxel, a group each channel, has no variance and enlarges rounding 300 times and more.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-11}


def gradients(network: nn.Module, x: Tensor, way: str) -> list[Tensor]:
    """Return the answer, then the gradients of its product with noise in the inputs and in every weight."""
    answer: Tensor = network(x, TIMES[: len(x)], way)
    noise = normal(tuple(answer.shape), 0, "noise").to(answer.dtype)
    sources = [tensor for tensor in (x, *network.parameters()) if tensor.requires_grad]
    return [answer.detach(), *torch.autograd.grad((answer * noise).sum(), sources)]


def assert_alike(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Compare on one scale: what vanishes but for rounding, as a bias before a normalization, has none of its own."""
    scale = max(float(tensor.abs().max()) for tensor in expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert float((one - other).abs().max()) <= tolerance * scale


@each_backbone
@pytest.mark.parametrize("size", [(9, 5, 6), (1, 2, 3), (5, 1, 1)], ids=str)
@each_arithmetic
def test_both_ways_learn_what_the_plain_forward_does(
    backbone: UNet3dSettings, size: Size, dtype: torch.dtype, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin(monkeypatch, slab_bytes)
    network, x = awake(backbone, dtype), volumes(size, dtype=dtype).requires_grad_()
    expected = gradients(network, x, "plain")
    for way in WAYS:
        assert_alike(gradients(network, x, way), expected, TOLERANCES[dtype])


@each_way
@pytest.mark.parametrize("merged", [UNet3dAverage, UNet3dConcat])
@pytest.mark.parametrize("normalization", ["group", "channel"])
def test_gradients_are_those_of_finite_differences(
    merged: type[UNet3dSettings], normalization: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin(monkeypatch, 1)
    settings = {"width": 2, "multipliers": (1, 2), "blocks": 1, "normalization": normalization}
    network = awake(merged.model_validate(settings), torch.float64, in_channels=2)
    x = volumes((3, 2, 1), dtype=torch.float64, channels=2).requires_grad_()
    _, *found = gradients(network, x, way)
    sources, scale = [x, *network.parameters()], float(torch.cat([part.flatten() for part in found]).norm())
    for number in range(3):
        direction = [normal(tuple(source.shape), number, "direction", index) for index, source in enumerate(sources)]
        along = sum(float((gradient * part).sum()) for gradient, part in zip(found, direction, strict=True))
        assert along == pytest.approx(_slope(network, x, direction), abs=1e-6 * scale)


def _slope(network: nn.Module, x: Tensor, direction: list[Tensor], step: float = 1e-4) -> float:
    """Return how fast the answers, weighted as in `gradients`, rise along a direction, from five points' four."""
    sources = [x, *network.parameters()]
    starts = [source.detach().clone() for source in sources]

    def value(shift: float) -> float:
        for source, start, part in zip(sources, starts, direction, strict=True):
            source.copy_(start + shift * part)
        answer: Tensor = network(x, TIMES[: len(x)], "plain")
        return float((answer * normal(tuple(answer.shape), 0, "noise")).sum())

    with torch.no_grad():
        near, far = value(step) - value(-step), value(2 * step) - value(-2 * step)
        value(0)  # as it was
    return (8 * near - far) / (12 * step)


@each_way
def test_weights_that_changed_before_the_way_back_are_refused(way: str) -> None:
    network, x = awake(BACKBONES[0]), volumes((4, 4, 4))
    found = network(x, TIMES, way)
    with torch.no_grad():
        network.get_submodule("middle").get_parameter("0.second.weight").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.sum().backward()

    others = {name: 2 * weight for name, weight in network.named_parameters()}
    found = torch.func.functional_call(network, others, (x, TIMES, way))
    with pytest.raises(RuntimeError, match="weights were exchanged between an evaluation and its way back"):
        found.sum().backward()


@each_backbone
@each_way
def test_an_autocast_around_the_way_back_changes_nothing(backbone: UNet3dSettings, way: str) -> None:
    network, x = awake(backbone), volumes((6, 5, 4))
    answer: Tensor = network(x, TIMES, way)
    noise = normal(tuple(answer.shape), 0, "noise")
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(answer, list(network.parameters()), noise)
    expected = gradients(network, x, way)[1:]
    # The embedding of times is torch's own layers.
    ours = [number for number, (name, _) in enumerate(network.named_parameters()) if "time" not in name]
    assert_alike([found[number] for number in ours], [expected[number] for number in ours], 1e-6)


def lowered(network: nn.Module, x: Tensor, way: str) -> Tensor:
    """Return all gradients in weights, end to end, of one loss in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        found = gradients(network, x, way)[1:]
    assert {gradient.dtype for gradient in found} == {torch.float32}
    return torch.cat([gradient.flatten() for gradient in found])


@each_backbone
@each_way
def test_bfloat16_gradients_are_no_further_from_float32s_than_autocasts(backbone: UNet3dSettings, way: str) -> None:
    network, x = awake(backbone), volumes((13, 10, 9))
    exact = torch.cat([gradient.flatten() for gradient in gradients(network, x, "plain")[1:]])
    plain, found = lowered(network, x, "plain"), lowered(network, x, way)
    assert (found - exact).norm() <= 1.2 * (plain - exact).norm()


@each_backbone
@each_way
def test_learning_leaves_weights_and_inputs_as_they_were(backbone: UNet3dSettings, way: str) -> None:
    network, x = awake(backbone), volumes((6, 5, 4))
    before, x_before = [weight.detach().clone() for weight in network.parameters()], x.clone()
    gradients(network, x, way)
    assert all(torch.equal(weight, other) for weight, other in zip(network.parameters(), before, strict=True))
    assert torch.equal(x, x_before)


@each_way
def test_gradients_add_up_as_autograds_do(way: str) -> None:
    network, x = awake(BACKBONES[1]), volumes((6, 5, 4))
    network(x, TIMES, way).sum().backward()
    once = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    answer = network(x, TIMES, way).sum()
    answer.backward(retain_graph=True)
    answer.backward()
    for weight, gradient in zip(network.parameters(), once, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, 3 * gradient)


@each_way
def test_frozen_weights_get_no_gradient_and_do_not_change_those_of_others(way: str) -> None:
    network, x = awake(BACKBONES[0]), volumes((6, 5, 4))
    for number, weight in enumerate(network.parameters()):
        weight.requires_grad_(number % 3 > 0)
    assert_alike(gradients(network, x, way), gradients(network, x, "plain"), 2e-5)


@each_way
def test_an_answer_with_and_without_gradients_is_the_same(way: str) -> None:
    network, x = awake(BACKBONES[2]), volumes((6, 5, 4))
    with torch.no_grad():
        expected = network(x, TIMES, way)
    assert error(network(x, TIMES, way).detach(), expected) < 1e-6


@each_way
def test_gradients_of_gradients_are_refused_and_not_wrong(way: str) -> None:
    network, x = awake(BACKBONES[0]), volumes((3, 2, 4)).requires_grad_()
    gradient: Any = torch.autograd.grad(network(x, TIMES, way).square().sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def kept(network: nn.Module, x: Tensor, way: str) -> int:
    """Return the bytes of volumes that wait for the way back."""
    storages: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        answer = network(x, TIMES, way)
    del answer
    return sum(storages.values())


@each_backbone
def test_the_leaner_a_way_the_less_is_kept_for_the_way_back(backbone: UNet3dSettings) -> None:
    network, x = awake(backbone), volumes((12, 12, 12))
    plain, slabs, recompute = (kept(network, x, way) for way in ("plain", *WAYS))
    assert slabs < 0.6 * plain
    assert recompute < 0.8 * slabs


@each_way
def test_gradients_can_be_had_in_shape_without_any_memory(way: str) -> None:
    with torch.device("meta"):
        network = BACKBONES[0].build(8, 1)
        network(torch.empty(2, 8, 15, 16, 17), torch.ones(2), way).sum().backward()
    for weight in network.parameters():
        assert weight.grad is not None
        assert weight.grad.is_meta
        assert weight.grad.dtype == torch.float32
