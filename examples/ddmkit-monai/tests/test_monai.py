"""MONAI's parts keep ddmkit's promises, and do what MONAI or the formulas do."""

from __future__ import annotations

from math import sqrt
from typing import Literal

import pytest
import torch
from monai.networks.schedulers.ddim import DDIMScheduler

from ddmkit import Component, ConfigurationError, Registry
from ddmkit.assembly import make
from ddmkit.testing import Gaussian, check, order_of
from ddmkit_monai.backbone import MonaiUNet
from ddmkit_monai.network import PaddedUNet
from ddmkit_monai.samplers import MonaiDdim, MonaiDdpm, MonaiPndm, visited
from ddmkit_plugins.samplers.ddpm import Ddpm

SMALL = MonaiUNet(channels=(4, 8), attention_levels=(False, True), blocks=1, head_channels=4, groups=4)
ALPHAS_BAR = torch.cat([torch.ones(1), (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)]).double()


@pytest.mark.parametrize(
    "component",
    [
        SMALL,
        MonaiUNet(channels=(4, 4, 8), attention_levels=(False, False, False), blocks=1, head_channels=8, groups=2),
        MonaiDdim(),
        MonaiDdpm(),
        MonaiDdpm(variance="fixed_large"),
        MonaiPndm(),
    ],
)
def test_each_part_keeps_its_promises(component: Component) -> None:
    check(component)


def test_pndm_converges_faster_than_ddim() -> None:
    assert order_of(MonaiPndm()) > 1.75 > order_of(MonaiDdim()) > 0.75


def test_ddim_in_as_many_steps_as_times_is_monais_own_loop() -> None:
    noise = torch.randn(2, 1, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    denoise = Gaussian().denoise(ALPHAS_BAR)
    scheduler = DDIMScheduler(1000, clip_sample=False, prediction_type="sample", beta_start=1e-4, beta_end=0.02)
    x = noise
    for t in range(999, -1, -1):
        x, _ = scheduler.step(denoise(x, t + 1), t, x)
    found = MonaiDdim(steps=1000).sample(denoise, noise, ALPHAS_BAR, lambda _: noise)
    assert torch.allclose(found, x, atol=1e-4)


def test_a_step_of_ddim_is_that_of_the_formula() -> None:
    noise = torch.randn(1, 1, 2, 2, 2)
    levels = ALPHAS_BAR.tolist()
    estimates = {1000: torch.full_like(noise, 0.25), 500: torch.full_like(noise, -0.5)}
    eps = (noise - sqrt(levels[1000]) * estimates[1000]) / sqrt(1 - levels[1000])
    middle = sqrt(levels[500]) * estimates[1000] + sqrt(1 - levels[500]) * eps
    seen: list[torch.Tensor] = []

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        seen.append(x)
        return estimates[t]

    found = MonaiDdim(steps=2).sample(denoise, noise, ALPHAS_BAR, lambda _: noise)
    assert torch.allclose(seen[1], middle, atol=1e-6)
    assert torch.allclose(found, estimates[500], atol=1e-6)


@pytest.mark.parametrize("sampler", [MonaiDdim(steps=7), MonaiDdpm(steps=7), MonaiPndm(steps=7), MonaiPndm(steps=1)])
def test_a_sampler_asks_as_often_as_it_says(sampler: MonaiDdim | MonaiDdpm | MonaiPndm) -> None:
    noise, asked = torch.randn(1, 1, 2, 2, 2), []

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        asked.append(t)
        return x / 2

    sampler.sample(denoise, noise, ALPHAS_BAR, lambda _: noise)
    assert len(asked) == sampler.evaluations
    assert asked[0] == 1000


def test_times_rise_evenly_to_the_last_and_are_not_more_than_there_are() -> None:
    assert visited(4, 1000) == [250, 500, 750, 1000]
    with pytest.raises(ConfigurationError, match=r"11 sampling steps .* 10 timesteps .* type -o sampler\.steps=10"):
        visited(11, 10)


def test_padding_does_not_change_what_needs_none() -> None:
    network = SMALL.build(2, 1).eval()
    assert isinstance(network, PaddedUNet)
    for weight in network.parameters():  # of which the last layer's begin at zero
        torch.nn.init.normal_(weight, std=0.1)
    x, t = torch.randn(1, 2, 8, 6, 4), torch.tensor([3.0])
    with torch.no_grad():
        assert torch.equal(network(x, t), network.unet(x, t))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"channels": [32, 64]}, r"names 2 levels and attention_levels 3: give as many .*_levels=false,true\."),
        ({"groups": 5}, r"groups=5 does not divide channels=32; .* groups may be 1, 2, 4, 8, 16, 32"),
        ({"groups": 5}, r"as in -o backbone\.groups=4\."),
        ({"head_channels": 48}, r"head_channels=48 does not divide channels=128, where there is attention"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        make(MonaiUNet, "backbone", settings)


@pytest.mark.parametrize(
    ("channels", "attention", "fits"), [((48, 64), (True, True), 16), ((32, 48, 40), (True, False, True), 8)]
)
def test_the_head_channels_that_are_named_divide_all_that_attends(
    channels: tuple[int, ...], attention: tuple[bool, ...], fits: int
) -> None:
    settings = {"channels": channels, "attention_levels": attention, "groups": 8}
    for refused in (32, 48, 64):
        with pytest.raises(ConfigurationError, match=rf"-o backbone\.head_channels={fits}\."):
            make(MonaiUNet, "backbone", {**settings, "head_channels": refused})
    make(MonaiUNet, "backbone", {**settings, "head_channels": fits})


@pytest.mark.parametrize(("monais", "ours"), [("fixed_small", "posterior"), ("fixed_large", "forward")])
@pytest.mark.parametrize("steps", [1, 50, 1000])
def test_ddpm_draws_what_ddmkits_own_draws_from_the_same_noise(
    monais: Literal["fixed_small", "fixed_large"], ours: Literal["posterior", "forward"], steps: int
) -> None:
    noise = torch.randn(2, 1, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    denoise = Gaussian().denoise(ALPHAS_BAR)

    def draw(number: int) -> torch.Tensor:
        return torch.randn(noise.shape, generator=torch.Generator().manual_seed(number + 1))

    expected = Ddpm(steps=steps, variance=ours).sample(denoise, noise, ALPHAS_BAR, draw)
    found = MonaiDdpm(steps=steps, variance=monais).sample(denoise, noise, ALPHAS_BAR, draw)
    assert torch.allclose(found, expected, atol=1e-4)


def test_ddmkit_finds_all_of_them_once_they_are_installed() -> None:
    import ddmkit_monai

    registry = Registry(ddmkit_monai)
    assert [component.name for component in registry.components()] == [
        "monai-unet",
        "monai-ddim",
        "monai-ddpm",
        "monai-pndm",
    ]
