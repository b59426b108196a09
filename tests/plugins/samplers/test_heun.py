"""Heun's method, beside its paper's step written out and beside exact flows."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from pydantic import ValidationError
from tests.plugins.samplers.walking import ALPHAS_BAR, SHAPE, network, no_draw
from torch import Tensor

from ddmkit.randomness import normal
from ddmkit.testing import Gaussian, Mixture, check, order_of
from ddmkit.testing.sampler import Known
from ddmkit_plugins.samplers.heun import Heun


@pytest.mark.parametrize("s_churn", [0.0, 20.0])
def test_it_keeps_its_promises(s_churn: float) -> None:
    check(Heun(s_churn=s_churn, times="karras"))


@pytest.mark.parametrize("truth", [Gaussian(), Mixture()], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("times", ["uniform", "quadratic", "karras"])
def test_it_is_of_second_order(times: str, truth: Known) -> None:
    assert order_of(Heun.model_validate({"times": times}), truth) == pytest.approx(2, abs=0.1)


def test_a_step_is_algorithm_1_in_the_papers_variables() -> None:
    sigma = [sqrt((1 - level) / level) for level in ALPHAS_BAR.tolist()]
    start = normal(SHAPE, 0, "start").double()

    def denoised(x: Tensor, t: int) -> Tensor:  # D(x; sigma) of the paper, whose x is x_t / sqrt(alpha-bar)
        return network(x * sqrt(ALPHAS_BAR[t]), t)

    x = start / sqrt(ALPHAS_BAR[1000])
    for t, t_next in ((1000, 400), (400, 100), (100, 0)):
        d = (x - denoised(x, t)) / sigma[t]
        moved = x + (sigma[t_next] - sigma[t]) * d
        if sigma[t_next] > 0:
            d_ahead = (moved - denoised(moved, t_next)) / sigma[t_next]
            moved = x + (sigma[t_next] - sigma[t]) * (d / 2 + d_ahead / 2)
        x = moved
    found = Heun().walk(network, start, ALPHAS_BAR, no_draw, [(1000, 400), (400, 100), (100, 0)])
    assert torch.allclose(found, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_it_calls_the_network_as_often_as_it_says(steps: int) -> None:
    asked: list[int] = []

    def denoise(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return network(x, t)

    sampler = Heun(steps=steps)
    sampler.sample(denoise, normal(SHAPE, 0, "start"), ALPHAS_BAR, no_draw)
    assert len(asked) == sampler.evaluations == 2 * steps - 1
    assert all(1 <= t <= 1000 for t in asked)


def test_new_noise_is_as_much_as_it_is_called_and_between_its_limits() -> None:
    drawn: list[int] = []

    def draw(number: int) -> Tensor:
        drawn.append(number)
        return normal(SHAPE, 0, "fresh", number)

    strides = [(900, 600), (600, 300), (300, 0)]
    sigma = [sqrt((1 - level) / level) for level in ALPHAS_BAR.tolist()]
    asked: list[int] = []

    def denoise(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x)

    sampler = Heun(steps=3, s_churn=3 * 0.2, s_tmin=sigma[500], s_tmax=sigma[700])
    sampler.walk(denoise, normal(SHAPE, 0, "start"), ALPHAS_BAR, draw, strides)
    assert drawn == [1]
    raised = asked[2]
    assert sigma[raised] == pytest.approx(1.2 * sigma[600], rel=0.01)
    # x_t of pure noise stays pure noise of the level that it is raised to
    start = sqrt(1 - ALPHAS_BAR[600]) * normal((1, 1, 32, 32, 32), 1, "start")
    seen: list[Tensor] = []

    def keep(x: Tensor, t: int) -> Tensor:
        del t
        seen.append(x)
        return torch.zeros_like(x)

    sampler.walk(keep, start, ALPHAS_BAR, lambda number: normal((1, 1, 32, 32, 32), 2, "fresh", number), [(600, 0)])
    assert float(seen[0].std()) == pytest.approx(sqrt(1 - ALPHAS_BAR[raised]), rel=0.02)


def test_limits_of_new_noise_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"type -o sampler\.s_tmin=0\.5 -o sampler\.s_tmax=2\.0"):
        Heun(s_churn=1, s_tmin=2, s_tmax=0.5)
