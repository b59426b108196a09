"""Ancestral sampling, beside its closed forms and beside diffusers."""

from __future__ import annotations

from math import sqrt
from typing import Literal

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from tests.plugins.samplers.walking import ALPHAS_BAR, PEER_NAMES, SHAPE, draw, network
from torch import Tensor

from ddmkit.diffusion import Diffusion
from ddmkit.randomness import normal
from ddmkit.testing import Gaussian, check
from ddmkit_plugins.samplers.ddpm import Ddpm


@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_it_keeps_its_promises(variance: Literal["posterior", "forward"]) -> None:
    check(Ddpm(variance=variance))


@pytest.mark.parametrize(
    ("steps", "variance", "peer_variance"),
    [(20, "posterior", "fixed_small"), (1000, "posterior", "fixed_small"), (1000, "forward", "fixed_large")],
)
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_it_arrives_at_the_same_sample_as_diffusers(
    *,
    steps: int,
    variance: Literal["posterior", "forward"],
    peer_variance: Literal["fixed_small", "fixed_large"],
    clipped: bool,
    prediction: Literal["eps", "x0", "v"],
) -> None:
    peer = DDPMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        clip_sample=clipped,
        timestep_spacing="trailing",
        prediction_type=PEER_NAMES[prediction],
        variance_type=peer_variance,
    )
    peer.set_timesteps(steps)
    injected = torch.Generator().manual_seed(3)
    draws = [torch.randn(SHAPE, generator=injected) for _ in range(steps)]
    injected.manual_seed(3)
    expected = noise = normal(SHAPE, 0, "start")
    for t in peer.timesteps.tolist():
        expected = peer.step(network(expected, t + 1), t, expected, generator=injected, return_dict=False)[0]

    def denoise(x: Tensor, t: int) -> Tensor:
        estimate = Diffusion(prediction=prediction).estimate(network(x, t), x, ALPHAS_BAR[t, None])
        return estimate.clamp(-1, 1) if clipped else estimate

    sample = Ddpm(steps=steps, variance=variance).sample(denoise, noise, ALPHAS_BAR, draws.__getitem__)
    # diffusers keeps alpha-bar in float32, which a thousand steps make visible.
    tolerance = 1e-5 if steps == 20 else 5e-5
    assert float((sample - expected).abs().max()) < tolerance * max(1.0, float(expected.abs().max()))


def test_a_stride_has_the_mean_and_variance_of_the_forward_process_given_its_ends() -> None:
    here, there, x0, x = float(ALPHAS_BAR[300]), float(ALPHAS_BAR[200]), 0.7, -0.4
    # Bayes for a line of Gaussians: precisions add up, means are weighted by them.
    prior, kept = 1 / (1 - there), here / there
    likelihood = kept / (1 - kept)
    precision = prior + likelihood
    mean = (prior * sqrt(there) * x0 + likelihood * x / sqrt(kept)) / precision

    def step(fresh: float) -> float:
        shape = (1, 1, 1, 1, 1)
        start = torch.full(shape, x, dtype=torch.float64)
        answer = torch.full(shape, x0, dtype=torch.float64)
        full = torch.full(shape, fresh, dtype=torch.float64)
        return float(Ddpm().walk(lambda _x, _t: answer, start, ALPHAS_BAR, lambda _number: full, [(300, 200)]))

    assert step(0.0) == pytest.approx(mean, rel=1e-12)
    assert step(1.0) - step(0.0) == pytest.approx(sqrt(1 / precision), rel=1e-12)


@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_samples_of_a_gaussian_have_its_mean_and_deviation(variance: Literal["posterior", "forward"]) -> None:
    truth, shape = Gaussian(mean=-0.3, deviation=0.6), (1, 1, 32, 32, 16)
    sample = Ddpm(steps=1000, variance=variance).sample(
        truth.denoise(ALPHAS_BAR),
        normal(shape, 0, "start"),
        ALPHAS_BAR,
        lambda number: normal(shape, 0, "fresh", number),
    )
    # Five standard errors of 16,384 voxels, and one per cent for the width of a step.
    assert float(sample.mean()) == pytest.approx(truth.mean, abs=5 * truth.deviation / 128)
    assert float(sample.std()) == pytest.approx(truth.deviation, rel=5 / sqrt(2 * 16384) + 0.01)


def test_forward_variance_keeps_unit_noise_at_unit_deviation_where_posterior_variance_shrinks_it() -> None:
    shape = (1, 1, 32, 32, 16)
    unit = Gaussian(mean=0, deviation=1)

    def deviation(variance: Literal["posterior", "forward"]) -> float:
        noise = normal(shape, 0, "start")
        sampler = Ddpm(steps=10, variance=variance)
        walked = sampler.walk(
            unit.denoise(ALPHAS_BAR),
            noise,
            ALPHAS_BAR,
            lambda number: normal(shape, 0, "fresh", number),
            [(t, t - 100) for t in range(1000, 100, -100)],
        )
        return float(walked.std())

    assert deviation("forward") == pytest.approx(1, rel=5 / sqrt(2 * 16384))
    assert deviation("posterior") < 0.9


@pytest.mark.parametrize("variance", ["posterior", "forward"])
@pytest.mark.parametrize("steps", [1, 20])
def test_the_sample_is_the_last_estimate_of_x0_to_the_bit(
    variance: Literal["posterior", "forward"], steps: int
) -> None:
    answers: list[Tensor] = []

    def denoise(x: Tensor, t: int) -> Tensor:
        answers.append(network(x, t))
        return answers[-1].clone()

    sample = Ddpm(steps=steps, variance=variance).sample(denoise, normal(SHAPE, 0, "start"), ALPHAS_BAR, draw)
    assert torch.equal(sample, answers[-1])
