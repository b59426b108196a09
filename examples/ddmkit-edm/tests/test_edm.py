"""Schedule and preconditioning keep ddmkit's promises and follow the formulas of Karras et al. (2022)."""

from __future__ import annotations

from math import log, sqrt
from typing import ClassVar, Self

import pytest
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone, Component, ConfigurationError, Registry, hookimpl
from ddmkit.assembly import make
from ddmkit.testing import check
from ddmkit_edm.backbone import EdmUNet3d
from ddmkit_edm.network import Preconditioned, Scales
from ddmkit_edm.schedule import Edm

SMALL = EdmUNet3d(settings={"width": 4, "multipliers": [1, 2], "blocks": 1})


@pytest.mark.parametrize(
    "component",
    [
        Edm(),
        Edm(spacing="log"),
        Edm(timesteps=1),
        Edm(sigma_min=0.01, sigma_max=20, rho=1, timesteps=30),
        SMALL,
        EdmUNet3d(inner="unet3d-concat", settings={"width": 4, "multipliers": [1]}, sigma_data=1, time_scale=10),
    ],
)
def test_each_part_keeps_its_promises(component: Component) -> None:
    check(component)


def test_sigmas_are_those_of_equation_5_from_the_other_end() -> None:
    sigmas = Edm(timesteps=18).sigmas().tolist()
    paper = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert sigmas == pytest.approx(paper[::-1], rel=1e-12)
    assert Edm(spacing="log", timesteps=3).sigmas().tolist() == pytest.approx([0.002, sqrt(0.002 * 80), 80])


def test_alpha_bar_is_what_noise_over_signal_says() -> None:
    schedule = Edm(timesteps=5)
    levels = schedule.alphas_bar()
    assert levels[0] == 1
    assert ((1 - levels[1:]) / levels[1:]).sqrt().tolist() == pytest.approx(schedule.sigmas().tolist())


def test_scales_are_those_of_table_1() -> None:
    scales = Scales.of(torch.tensor([0.5, 3.0], dtype=torch.float64), 0.5)
    assert scales.skip.tolist() == pytest.approx([0.5, 0.25 / 9.25])
    assert scales.out.tolist() == pytest.approx([0.25 / sqrt(0.5), 1.5 / sqrt(9.25)])
    assert scales.into.tolist() == pytest.approx([1 / sqrt(0.5), 1 / sqrt(9.25)])
    assert scales.noise.tolist() == pytest.approx([log(0.5) / 4, log(3) / 4])


class Recorder(nn.Module):
    """Answers with what it was told to, and keeps what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Tensor, Tensor]] = []

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.asked.append((x, t))
        return self.answer


def test_the_inner_network_sees_and_answers_unit_variance_at_every_noise_level() -> None:
    schedule, random = Edm(timesteps=9), torch.Generator().manual_seed(0)
    levels = schedule.alphas_bar()
    x0 = 0.5 * torch.randn(9, 1, 16, 16, 16, generator=random)
    eps = torch.randn(x0.shape, generator=random)
    shaped = levels[1:].float().reshape(9, 1, 1, 1, 1)
    noisy = shaped.sqrt() * x0 + (1 - shaped).sqrt() * eps
    inner = Recorder(torch.zeros_like(x0))
    network = Preconditioned(SMALL, inner, 1)
    network.set_diffusion(levels, "x0")
    skipped = network(torch.cat([torch.ones_like(x0), noisy], dim=1), torch.arange(1.0, 10.0))
    ((seen, times),) = inner.asked
    assert torch.equal(seen[:, :1], torch.ones_like(x0))
    assert seen[:, 1:].std(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1] * 9, abs=0.03)
    assert times.tolist() == pytest.approx([100 * log(sigma) / 4 for sigma in schedule.sigmas().tolist()], rel=1e-4)
    # What the inner network has to answer for the whole to be x_0 (eq. 8).
    owed = (x0 - skipped) / Scales.of(schedule.sigmas().float(), 0.5).out.reshape(9, 1, 1, 1, 1)
    assert owed.std(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1] * 9, abs=0.05)
    inner.answer = owed
    found = network(torch.cat([torch.ones_like(x0), noisy], dim=1), torch.arange(1.0, 10.0))
    assert torch.allclose(found, x0, atol=1e-3)


def test_between_whole_times_the_logarithm_of_the_noise_is_linear() -> None:
    network = SMALL.build(2, 1)
    assert isinstance(network, Preconditioned)
    network.set_diffusion(Edm(spacing="log", timesteps=3).alphas_bar(), "x0")
    expected = [0.002, (0.002**3 * 80) ** 0.25, 80, 80]
    assert network.sigma(torch.tensor([1.0, 1.5, 3.0, 9.0])).tolist() == pytest.approx(expected, rel=1e-4)


def test_another_prediction_than_x0_is_refused_in_a_sentence() -> None:
    network = SMALL.build(2, 1)
    assert isinstance(network, Preconditioned)
    with pytest.raises(
        ConfigurationError, match=r"'edm-unet3d' answers with x_0, .*=eps .* -o diffusion\.prediction=x0"
    ):
        network.set_diffusion(Edm().alphas_bar(), "eps")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner": "unet"}, r"No backbone is named 'unet'"),
        ({"inner": "edm-unet3d"}, r"would stand in itself: name another"),
        (
            {"settings": {"widht": 4}},
            r"^backbone\.settings=\{widht: …\} is no setting of unet3d-avg\. Did you mean 'width'",
        ),
        ({"settings": {"width": 0}}, r"^backbone\.settings=\{width: 0\}: .* greater than or equal to"),
    ],
)
def test_an_inner_backbone_that_cannot_be_is_refused_in_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        make(EdmUNet3d, "backbone", settings).build(2, 1)


class Particular(Backbone):
    """Says what to type."""

    name: ClassVar[str] = "particular"
    width: int = Field(default=1, description="Channels.")
    levels: tuple[bool, ...] = Field(default=(), description="Which attend.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width == 3:
            msg = "width=3 is odd: type -o backbone.width=4"
            raise ValueError(msg)
        return self

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        msg = f"It has {self.width} levels: type -o backbone.levels=false,true; or --backbone unet3d-avg."
        raise ConfigurationError(msg)


def test_what_the_inner_backbone_advises_is_what_can_be_typed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def ddmkit_components(self) -> list[type[Component]]:
            return [Particular]

    monkeypatch.setattr("ddmkit_edm.backbone.Registry", lambda: Registry(Plugin()))
    with pytest.raises(
        ConfigurationError, match=r"^backbone\.settings: width=3 is odd: type -o 'backbone\.settings=\{width: 4\}'\.$"
    ):
        EdmUNet3d(inner="particular", settings={"width": 3}).build(2, 1)
    advice = (
        r"^It has 2 levels: type -o 'backbone\.settings=\{width: 2, levels: \[false,true\]\}'; "
        r"or -o backbone\.inner=unet3d-avg\.$"
    )
    with pytest.raises(ConfigurationError, match=advice):
        EdmUNet3d(inner="particular", settings={"width": 2}).build(2, 1)


def test_a_network_that_was_not_told_the_noise_says_what_to_call() -> None:
    with pytest.raises(ConfigurationError, match=r"'edm-unet3d' does not know how noisy .* call its set_diffusion\("):
        SMALL.build(2, 1)(torch.zeros(1, 2, 8, 8, 8), torch.ones(1))


def test_labels_of_minus_one_and_one_are_scaled_to_unit_size_by_their_root_mean_square() -> None:
    schedule, random = Edm(timesteps=9), torch.Generator().manual_seed(0)
    levels = schedule.alphas_bar()
    x0 = torch.where(torch.rand(9, 1, 16, 16, 16, generator=random) < 0.05, 1.0, -1.0)  # of which the mean is -0.9
    eps = torch.randn(x0.shape, generator=random)
    shaped = levels[1:].float().reshape(9, 1, 1, 1, 1)
    inner = Recorder(torch.zeros_like(x0))
    network = Preconditioned(EdmUNet3d(sigma_data=1), inner, 1)
    network.set_diffusion(levels, "x0")
    network(shaped.sqrt() * x0 + (1 - shaped).sqrt() * eps, torch.arange(1.0, 10.0))
    ((seen, _),) = inner.asked
    assert seen.square().mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1] * 9, abs=0.06)


def test_noise_that_does_not_grow_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        ConfigurationError, match=r"sigma_min 3 is not below sigma_max 2, .*: raise schedule\.sigma_max"
    ):
        make(Edm, "schedule", {"sigma_min": 3, "sigma_max": 2})
