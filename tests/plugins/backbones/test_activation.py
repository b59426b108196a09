"""Normalization and SiLU by slabs are those of the network's modules, forward and back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from ddmkit.randomness import normal
from ddmkit_plugins.backbones import slabs
from ddmkit_plugins.backbones.activation import Moments, activation, moments_of, needs_moments
from ddmkit_plugins.backbones.normalization import ChannelNorm, GroupNorm
from ddmkit_plugins.backbones.slabs import Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit_plugins.backbones.normalization import Norm

    Size: TypeAlias = tuple[int, int, int]

LAST = torch.channels_last_3d
SIZES: list[Size] = [(1, 1, 1), (1, 2, 3), (7, 5, 4), (4, 1, 6)]

each_norm = pytest.mark.parametrize(
    "make",
    [partial(GroupNorm, 3, 6), partial(GroupNorm, 6, 6), partial(GroupNorm, 1, 6), partial(ChannelNorm, 6)],
    ids=["groups of two", "groups of one", "one group", "channel"],
)
each_size = pytest.mark.parametrize("size", SIZES)


def scattered(norm: Norm) -> Norm:
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def volume(size: Size, name: str = "x", dtype: torch.dtype = torch.float64, channels: int = 6) -> Tensor:
    return (2 + 3 * normal((1, channels, *size), 0, name)).to(dtype).contiguous(memory_format=LAST)


def moments(norm: Norm, x: Tensor) -> Moments | None:
    return moments_of(Held(x)) if needs_moments(norm) else None


def by_slabs(norm: Norm, x: Tensor) -> Tensor:
    """Normalize and activate a volume plane by plane."""
    act, out = activation(norm, moments(norm, x)), torch.empty_like(x)
    for plane in range(x.shape[2]):
        act(x[:, :, plane : plane + 1], out[:, :, plane : plane + 1])
    return out


@pytest.fixture(autouse=True)
def _thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(slabs.SLAB_BYTES, "cpu", 1)


@each_norm
@each_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activation_by_slabs_is_that_of_the_modules(make: Callable[[], Norm], size: Size, dtype: torch.dtype) -> None:
    norm, x = scattered(make()).to(dtype), volume(size, dtype=dtype)
    before = x.clone()
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    if size == (1, 1, 1):
        tolerance *= 100  # a variance of zero enlarges rounding by 1 / sqrt(1e-5), in torch as well
    expected = functional.silu(norm(x.contiguous()))
    torch.testing.assert_close(by_slabs(norm, x), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(x, before)


@each_norm
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_bfloat16_is_calculated_with_in_float32_and_rounded_twice(
    make: Callable[[], Norm], weights: torch.dtype
) -> None:
    norm, x = scattered(make()).to(weights), volume((9, 8, 7), dtype=torch.bfloat16)
    exact = functional.silu(norm.double()(x.double()))
    found = by_slabs(norm.to(weights), x)
    assert found.dtype == torch.bfloat16
    # Half a unit in bfloat16's last place is at most 1/256 of the value; SiLU's slope is 1.1 at most.
    rounded = 1.1 * norm.double()(x.double()).abs() / 256
    assert ((found.double() - exact).abs() <= rounded + exact.abs() / 256 + 1e-5).all()


def exact_moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each group, for each of its channels, in float64."""
    grouped = x.double().reshape(groups, -1)
    variances, means = torch.var_mean(grouped, dim=1, correction=0)
    repeats = x.shape[1] // groups
    return means.repeat_interleave(repeats), variances.repeat_interleave(repeats)


@settings(deadline=None)
@given(st.data(), st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4)), st.sampled_from([1, 2, 3, 6]))
def test_moments_are_torchs_whatever_the_slabs(data: st.DataObject, size: Size, groups: int) -> None:
    x, found = volume(size), Moments()
    left = x
    while left.shape[2]:
        planes = data.draw(st.integers(1, left.shape[2]), "planes")
        found.add(left[:, :, :planes])
        left = left[:, :, planes:]
    assert found.count == size[0] * size[1] * size[2]
    torch.testing.assert_close(found.grouped(groups), exact_moments(x, groups), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0, 100, -10_000])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_float32_moments_survive_a_mean_far_from_zero(offset: int, groups: int) -> None:
    x = (offset + normal((1, 4, 20, 32, 32), 0, "x")).contiguous(memory_format=LAST)
    found, expected = moments_of(Held(x)).grouped(groups), exact_moments(x, groups)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=0)


def test_moments_of_channels_with_means_far_apart_are_those_of_their_group() -> None:
    x = normal((1, 4, 6, 5, 4), 0, "x") + torch.tensor([0.0, 300.0, -7.0, 0.0]).view(-1, 1, 1, 1)
    found = moments_of(Held(x.contiguous(memory_format=LAST))).grouped(2)
    torch.testing.assert_close(found, exact_moments(x, 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_a_constant_volume_is_normalized_to_the_bias(value: float) -> None:
    norm, x = scattered(GroupNorm(2, 4)), torch.full((1, 4, 5, 4, 3), value).contiguous(memory_format=LAST)
    expected = functional.silu(norm.bias).view(1, 4, 1, 1, 1).expand(x.shape)
    torch.testing.assert_close(by_slabs(norm, x), expected, rtol=0, atol=1e-3)


def test_only_a_group_normalization_needs_moments() -> None:
    assert needs_moments(GroupNorm(2, 4))
    assert not needs_moments(ChannelNorm(4))


def applied(norm: Norm, x: Tensor, *weights: Tensor) -> Tensor:
    answer: Tensor = _BySlabs.apply(norm, x, *weights)  # type: ignore[no-untyped-call]  # torch leaves it so
    return answer


class _BySlabs(torch.autograd.Function):
    """SiLU behind a normalization, whose gradients are put together as the network's layers do it."""

    @staticmethod
    @override
    def forward(ctx: Any, norm: Norm, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.norm = norm
        ctx.save_for_backward(x)
        return by_slabs(norm, x)

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] - torch takes any
        (x,) = ctx.saved_tensors
        act, gradient = activation(ctx.norm, moments(ctx.norm, x)), gradient.contiguous(memory_format=LAST)
        pairs = list(zip(torch.split(x, 2, dim=2), torch.split(gradient, 2, dim=2), strict=True))
        normalized = [act.gradient(slab, part)[1] for slab, part in pairs]
        back = act.finish()
        to_x = torch.cat([back.through(part, slab) for part, (slab, _) in zip(normalized, pairs, strict=True)], dim=2)
        return None, to_x, back.weight.to(x.dtype), back.bias.to(x.dtype)


@each_norm
@each_size
def test_gradients_by_slabs_are_those_of_finite_differences(make: Callable[[], Norm], size: Size) -> None:
    norm, x = scattered(make()).double(), volume(size).requires_grad_()
    inputs = (x, norm.weight, norm.bias)
    assert torch.autograd.gradcheck(partial(applied, norm), inputs, fast_mode=True)


@each_norm
@each_size
def test_gradients_by_slabs_are_autograds(make: Callable[[], Norm], size: Size) -> None:
    norm, x, back = scattered(make()).double(), volume(size).requires_grad_(), volume(size, "back")
    inputs = (x, norm.weight, norm.bias)
    expected = torch.autograd.grad(functional.silu(norm(x)), inputs, back)
    found = torch.autograd.grad(applied(norm, *inputs), inputs, back)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@each_norm
def test_the_way_back_tells_the_activation_too(make: Callable[[], Norm]) -> None:
    norm, x = scattered(make()), volume((3, 4, 5), dtype=torch.float32)
    activated, _ = activation(norm, moments(norm, x)).gradient(x, torch.ones_like(x))
    torch.testing.assert_close(activated, by_slabs(norm, x))
