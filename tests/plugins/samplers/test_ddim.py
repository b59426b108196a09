"""DDIM, beside its closed forms and beside diffusers."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.plugins.samplers.walking import ALPHAS_BAR, PEER_NAMES, SHAPE, draw, network, no_draw
from torch import Tensor

from ddmkit import ConfigurationError
from ddmkit.diffusion import Diffusion
from ddmkit.randomness import normal
from ddmkit.testing import Gaussian, check
from ddmkit_plugins.samplers.ddim import Ddim
from ddmkit_plugins.samplers.ddpm import Ddpm
from ddmkit_plugins.schedules.cosine import Cosine
from ddmkit_plugins.schedules.linear import Linear


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_it_keeps_its_promises(eta: float) -> None:
    check(Ddim(eta=eta))


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=lambda schedule: schedule.name)
def test_on_a_gaussian_it_converges_to_the_exact_flow_at_first_order(schedule: Linear | Cosine) -> None:
    alphas_bar, truth = schedule.alphas_bar(), Gaussian(mean=0.4, deviation=0.5)
    noise = normal((1, 1, 8, 8, 8), 0, "start").double()
    exact = truth.flow(noise, float(alphas_bar[-1]))

    def error(steps: int) -> float:
        sample = Ddim(steps=steps).sample(truth.denoise(alphas_bar), noise, alphas_bar, no_draw)
        return float((sample - exact).abs().max())

    errors = [error(steps) for steps in (125, 250, 500, 1000)]
    assert errors[-1] < 0.01
    assert [coarse / fine for coarse, fine in pairwise(errors)] == pytest.approx([2] * 3, abs=0.08)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_it_walks_the_same_times_to_the_same_sample_as_diffusers(
    *, spacing: Literal["leading", "trailing"], clipped: bool, eta: float, prediction: Literal["eps", "x0", "v"]
) -> None:
    peer = DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample=clipped,
        set_alpha_to_one=True,
        timestep_spacing=spacing,
        prediction_type=PEER_NAMES[prediction],
    )
    peer.set_timesteps(20)
    times: list[int] = peer.timesteps.tolist()
    expected = noise = normal(SHAPE, 0, "start")
    for number, t in enumerate(times):
        fresh = draw(number) if eta > 0 else None
        expected = peer.step(
            network(expected, t + 1),
            t,
            expected,
            eta,
            use_clipped_model_output=True,
            variance_noise=fresh,
            return_dict=False,
        )[0]

    def denoise(x: Tensor, t: int) -> Tensor:
        estimate = Diffusion(prediction=prediction).estimate(network(x, t), x, ALPHAS_BAR[t, None])
        return estimate.clamp(-1, 1) if clipped else estimate

    # diffusers counts times from 0 and our t from 1; its stride below its time 0 is our t = 0.
    strides = [(t + 1, max(0, t + 1 - 50)) for t in times]
    sample = Ddim(eta=eta).walk(denoise, noise, ALPHAS_BAR, draw, strides)
    assert float((sample - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


def test_its_own_times_are_those_of_diffusers_trailing_spacing() -> None:
    peer = DDIMScheduler(timestep_spacing="trailing")
    peer.set_timesteps(20)
    asked: list[int] = []

    def denoise(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return network(x, t)

    Ddim(steps=20).sample(denoise, normal(SHAPE, 0, "start"), ALPHAS_BAR, no_draw)
    assert asked == [t + 1 for t in peer.timesteps.tolist()]


def test_with_all_fresh_noise_it_is_ancestral_sampling() -> None:
    noise = normal(SHAPE, 0, "start")
    ddim = Ddim(eta=1, steps=40).sample(network, noise, ALPHAS_BAR, draw)
    ddpm = Ddpm(variance="posterior", steps=40).sample(network, noise, ALPHAS_BAR, draw)
    assert torch.allclose(ddim, ddpm, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 20, 1000])
def test_the_sample_is_the_last_estimate_of_x0_to_the_bit(steps: int) -> None:
    answers: list[Tensor] = []

    def denoise(x: Tensor, t: int) -> Tensor:
        answers.append(network(x, t))
        return answers[-1].clone()

    sample = Ddim(steps=steps).sample(denoise, normal(SHAPE, 0, "start"), ALPHAS_BAR, no_draw)
    assert torch.equal(sample, answers[-1])
    assert len(answers) == steps


@given(
    rest=st.lists(st.floats(1e-38, 1 - 1e-15), min_size=1, max_size=5, unique=True),
    eta=st.floats(0, 1) | st.just(1.0),
)
def test_whatever_the_schedule_a_bounded_estimate_gives_a_finite_sample(rest: list[float], eta: float) -> None:
    alphas_bar = torch.tensor([1.0, *sorted(rest, reverse=True)], dtype=torch.float64)
    sample = Ddim(eta=eta, steps=len(rest)).sample(network, normal(SHAPE, 0, "start"), alphas_bar, draw)
    assert bool(sample.isfinite().all())


def test_more_steps_than_the_schedule_has_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"type -o sampler\.steps=10 or fewer"):
        Ddim(steps=20).sample(network, normal(SHAPE, 0, "start"), Linear(timesteps=10).alphas_bar(), draw)


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_is_a_share(eta: float) -> None:
    with pytest.raises(ValidationError, match="eta"):
        Ddim(eta=eta)
