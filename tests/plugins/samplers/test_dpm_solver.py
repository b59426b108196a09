"""DPM-Solver++(2M), beside diffusers and beside exact flows."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from tests.plugins.samplers.walking import ALPHAS_BAR, PEER_NAMES, SHAPE, network, no_draw
from torch import Tensor

from ddmkit.diffusion import Diffusion
from ddmkit.randomness import normal
from ddmkit.testing import Gaussian, Mixture, check, order_of
from ddmkit.testing.sampler import Known
from ddmkit_plugins.samplers.dpm_solver import DpmSolver


@pytest.mark.parametrize("times", ["uniform", "karras"])
def test_it_keeps_its_promises(times: str) -> None:
    check(DpmSolver.model_validate({"times": times}))


@pytest.mark.parametrize("truth", [Gaussian(), Mixture()], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("times", ["uniform", "quadratic", "karras"])
def test_it_is_of_second_order(times: str, truth: Known) -> None:
    assert order_of(DpmSolver.model_validate({"times": times}), truth) == pytest.approx(2, abs=0.25)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of how diffusers asks numpy
@pytest.mark.parametrize(("steps", "spacing"), [(20, "leading"), (50, "leading"), (1000, "trailing")])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_it_walks_the_same_times_to_the_same_sample_as_diffusers(
    prediction: Literal["eps", "x0", "v"], steps: int, spacing: Literal["leading", "trailing"]
) -> None:
    peer = DPMSolverMultistepScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        timestep_spacing=spacing,
        final_sigmas_type="zero",
        prediction_type=PEER_NAMES[prediction],
    )
    peer.set_timesteps(steps)
    times: list[int] = peer.timesteps.tolist()
    expected = noise = normal(SHAPE, 0, "start")
    for t in times:
        expected = peer.step(network(expected, t + 1), t, expected, return_dict=False)[0]

    def denoise(x: Tensor, t: int) -> Tensor:
        return Diffusion(prediction=prediction).estimate(network(x, t), x, ALPHAS_BAR[t, None])

    # diffusers counts times from 0 and our t from 1; after its last time comes our t = 0.
    ours = [t + 1 for t in times]
    sample = DpmSolver().walk(denoise, noise, ALPHAS_BAR, no_draw, zip(ours, [*ours[1:], 0], strict=True))
    assert float((sample - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("steps", [1, 7])
def test_the_sample_is_the_last_estimate_of_x0_to_the_bit(steps: int) -> None:
    answers: list[Tensor] = []

    def denoise(x: Tensor, t: int) -> Tensor:
        answers.append(network(x, t))
        return answers[-1].clone()

    sampler = DpmSolver(steps=steps)
    sample = sampler.sample(denoise, normal(SHAPE, 0, "start"), ALPHAS_BAR, no_draw)
    assert torch.equal(sample, answers[-1])
    assert len(answers) == steps == sampler.evaluations
