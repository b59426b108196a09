"""The layers of the U-Nets, and what holds for the network whatever its skips."""

from __future__ import annotations

import copy
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from ddmkit_plugins.backbones.normalization import ChannelNorm, GroupNorm, Norm
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat
from ddmkit_plugins.backbones.unet3d_network import ResidualBlock, TimeEmbedding, UNet3d, Upsample, sinusoids

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

TIMES = torch.tensor([1.0, 640.0])
SMALL: dict[str, Any] = {"width": 4, "multipliers": (1, 2, 2), "blocks": 1}
BACKBONES: list[UNet3dSettings] = [
    UNet3dAverage(**SMALL),
    UNet3dConcat(**SMALL),
    UNet3dAverage(**SMALL, normalization="channel"),
    UNet3dConcat(**SMALL, normalization="channel"),
]
each_backbone = pytest.mark.parametrize(
    "backbone", BACKBONES, ids=[f"{backbone.name}-{backbone.normalization}" for backbone in BACKBONES]
)


def scattered(module: nn.Module) -> nn.Module:
    """Give every weight a value, those that begin at zero too."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def awake(backbone: UNet3dSettings) -> nn.Module:
    return scattered(backbone.build(3, 2))


@pytest.mark.parametrize("width", [6, 8, 128])
def test_sinusoids_are_those_of_diffusers_with_the_cosines_first(width: int) -> None:
    times = torch.tensor([0.0, 1.0, 12.5, 999.0])
    expected = get_timestep_embedding(times, width, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoids(times, width), expected, atol=1e-4, rtol=1e-5)


def test_sinusoids_of_an_odd_width_end_in_a_zero() -> None:
    times = torch.tensor([0.0, 3.0, 999.0])
    odd = sinusoids(times, 29)
    assert torch.equal(odd[:, :28], sinusoids(times, 28))
    assert odd[:, 28].tolist() == [0, 0, 0]


def test_the_first_time_is_the_official_networks_time_zero() -> None:
    embed = TimeEmbedding(4)
    waves = torch.tensor([[1.0, 1.0, 0.0, 0.0]])  # cos 0 and sin 0
    expected = functional.silu(embed.mix(functional.silu(embed.widen(waves))))
    torch.testing.assert_close(embed(torch.ones(1)), expected)


def test_neighbouring_late_times_differ_in_a_bfloat16_network() -> None:
    embed = scattered(TimeEmbedding(8)).to(torch.bfloat16)
    first, second = embed(torch.tensor([998.0, 999.0]))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("given", [4, 6])
def test_a_residual_block_is_its_formula(given: int) -> None:
    block = ResidualBlock(4, given, 5, partial(GroupNorm, 2))
    scattered(block)
    x, embedding = torch.randn(2, 4, 5, 3, 4), torch.randn(2, 5)
    weights = dict(block.named_parameters())

    def normalized(h: Tensor, name: str) -> Tensor:
        return functional.group_norm(h, 2, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def convolved(h: Tensor, name: str, padding: int = 1) -> Tensor:
        return functional.conv3d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    h = convolved(functional.silu(normalized(x, "normalize_first")), "first")
    time = embedding @ weights["time.weight"].T + weights["time.bias"]
    h = h + time.view(2, given, 1, 1, 1)
    h = convolved(functional.silu(normalized(h, "normalize_second")), "second")
    shortcut = x if given == 4 else convolved(x, "shortcut", padding=0)
    torch.testing.assert_close(block(x, embedding), h + shortcut)
    with torch.no_grad():
        torch.testing.assert_close(block(x, embedding), h + shortcut)


@pytest.mark.parametrize("normalize", [partial(GroupNorm, 2), ChannelNorm], ids=["group", "channel"])
def test_a_residual_blocks_gradients_are_those_of_finite_differences(normalize: Callable[[int], Norm]) -> None:
    block = scattered(ResidualBlock(2, 4, 3, normalize).double())
    x = torch.randn(1, 2, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    embedding = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x, embedding))


def test_a_fresh_residual_block_is_its_shortcut() -> None:
    x = torch.randn(1, 4, 3, 3, 3)
    assert torch.equal(ResidualBlock(4, 4, 5, ChannelNorm)(x, torch.randn(1, 5)), x)


@each_backbone
def test_a_fresh_network_answers_zero(backbone: UNet3dSettings) -> None:
    assert not backbone.build(3, 2)(torch.randn(2, 3, 5, 4, 3), TIMES).any()


@pytest.mark.parametrize("size", [(1, 2, 3), (6, 5, 4), (7, 8, 9), (301, 1, 1), (1, 512, 257)])
def test_upsampling_repeats_every_voxel_and_cuts_to_the_size_of_the_skip(size: tuple[int, int, int]) -> None:
    halves = [(side + 1) // 2 for side in size]
    x = torch.randn(1, 2, *halves)
    x_size, y_size, z_size = size
    repeated = (
        x.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)[:, :, :x_size, :y_size, :z_size]
    )
    layer = Upsample(2)
    torch.testing.assert_close(layer(x, torch.Size(size)), layer.convolution(repeated))


@each_backbone
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 2, 3), (7, 5, 9), (8, 12, 4)])
def test_volumes_of_any_size_are_answered_and_learned_from(
    backbone: UNet3dSettings, size: tuple[int, int, int], members: int
) -> None:
    network = awake(backbone)
    answer = network(torch.randn(members, 3, *size), TIMES[:members])
    assert answer.shape == (members, 2, *size)
    answer.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@each_backbone
def test_every_weight_learns_once_the_zeros_have_moved(backbone: UNet3dSettings) -> None:
    # A zero convolution hides from the gradient what stands before it: the answer's, then each block's second one.
    network = backbone.build(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, target = torch.randn(2, 3, 8, 8, 8), torch.randn(2, 2, 8, 8, 8)
    for _ in range(3):
        optimizer.zero_grad()
        (network(x, TIMES) - target).square().mean().backward()
        optimizer.step()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@each_backbone
def test_an_answer_is_the_same_with_and_without_gradients_and_leaves_its_inputs_alone(
    backbone: UNet3dSettings,
) -> None:
    network, x, t = awake(backbone), torch.randn(2, 3, 5, 6, 7), TIMES.clone()
    before = x.clone()
    answer = network(x, t)
    with torch.no_grad():
        assert torch.equal(network(x, t), answer)
    with torch.inference_mode():
        assert torch.equal(network(x, t), answer)
    assert torch.equal(x, before)
    assert torch.equal(t, TIMES)


@each_backbone
def test_the_same_seed_gives_the_same_network_and_the_same_gradients(backbone: UNet3dSettings) -> None:
    x = torch.randn(2, 3, 6, 6, 6)

    def gradients() -> list[Tensor]:
        torch.manual_seed(3)
        network = awake(backbone)
        return list(torch.autograd.grad(network(x, TIMES).square().sum(), list(network.parameters())))

    assert all(torch.equal(first, second) for first, second in zip(gradients(), gradients(), strict=True))


@each_backbone
def test_bfloat16_weights_answer_nearly_as_float32_ones(backbone: UNet3dSettings) -> None:
    network, x = awake(backbone), torch.randn(2, 3, 8, 7, 6)
    expected = network(x, TIMES)
    answer = copy.deepcopy(network).to(torch.bfloat16)(x.bfloat16(), TIMES)
    assert answer.dtype == torch.bfloat16
    assert (answer.float() - expected).norm() < 0.05 * expected.norm()


@each_backbone
def test_autocast_answers_nearly_as_float32_and_gives_float32_gradients(backbone: UNet3dSettings) -> None:
    network, x = awake(backbone), torch.randn(2, 3, 8, 7, 6)
    expected = network(x, TIMES)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(x, TIMES)
    assert answer.dtype == torch.bfloat16
    assert (answer.float() - expected).norm() < 0.05 * expected.norm()
    answer.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@each_backbone
def test_the_memory_layout_does_not_change_the_answer(backbone: UNet3dSettings) -> None:
    network, x = awake(backbone), torch.randn(2, 3, 6, 5, 8)
    expected = network(x, TIMES)
    last = torch.channels_last_3d
    # Module.to() is typed without layouts for five dimensions.
    answer = network.to(memory_format=last)(x.contiguous(memory_format=last), TIMES)  # type: ignore[call-overload]
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-4)
    assert answer.is_contiguous(memory_format=last)


@each_backbone
def test_shapes_can_be_asked_for_without_any_memory(backbone: UNet3dSettings) -> None:
    with torch.device("meta"):
        answer = backbone.build(8, 1)(torch.empty(1, 8, 255, 256, 257), torch.ones(1))
    assert answer.is_meta
    assert answer.shape == (1, 1, 255, 256, 257)


@each_backbone
def test_without_gradients_a_skip_is_let_go_as_soon_as_it_is_used(backbone: UNet3dSettings) -> None:
    network = awake(backbone)
    assert isinstance(network, UNet3d)
    skips: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    for layer in network.encoder:
        layer.register_forward_hook(lambda *call: skips.append(weakref.ref(call[2])))
    for layer in network.decoder:
        if isinstance(layer, ResidualBlock):
            layer.register_forward_pre_hook(lambda *_: alive.append(sum(skip() is not None for skip in skips)))
    with torch.no_grad():
        network(torch.randn(1, 3, 8, 8, 8), torch.ones(1))
    assert alive == list(reversed(range(len(network.encoder))))


def interior_difference(backbone: UNet3dSettings) -> float:
    """Return how much the middle of a window's answer differs from the whole volume's; 32 voxels see no border."""
    network = scattered(backbone.build(2, 1)).double()
    volume = torch.randn(1, 2, 112, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        whole = network(volume, torch.ones(1))
        window = network(volume[:, :, 16:96], torch.ones(1))
    return float((whole[:, :, 48:64] - window[:, :, 32:48]).abs().max() / whole.std())


def test_with_channel_normalization_a_windows_interior_is_the_whole_volumes() -> None:
    backbone = UNet3dAverage(width=4, multipliers=(1, 2), blocks=1, normalization="channel")
    assert interior_difference(backbone) < 1e-12


def test_with_group_normalization_it_is_not() -> None:
    assert interior_difference(UNet3dAverage(width=4, multipliers=(1, 2), blocks=1)) > 0.01
