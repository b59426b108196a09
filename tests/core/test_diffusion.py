"""The forward process, the three predictions and the loss."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import Literal

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from pydantic import ValidationError
from torch import Tensor

from ddmkit.diffusion import Diffusion
from ddmkit.randomness import normal

SHAPE = (3, 2, 4, 5, 6)
LEVELS = torch.tensor([0.9999, 0.5, 4e-5], dtype=torch.float64)
PREDICTIONS: list[Literal["eps", "x0", "v"]] = ["eps", "x0", "v"]


def pair() -> tuple[Tensor, Tensor]:
    return normal(SHAPE, 0, "x0"), normal(SHAPE, 0, "noise")


def test_a_noisy_voxel_is_as_computed_by_hand() -> None:
    x0, noise = torch.full((1, 1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1, 1), -1.0)
    noisy = Diffusion().noisy(x0, noise, torch.tensor([0.64], dtype=torch.float64))
    assert noisy.item() == pytest.approx(0.8 * 2 - 0.6)


@pytest.mark.parametrize("alpha_bar", [0.99, 0.5, 0.01])
def test_noisy_values_have_the_mean_and_variance_of_the_forward_process(alpha_bar: float) -> None:
    count, x0 = 100_000, 0.7
    noise = normal((count, 1, 1, 1, 1), 0, "noise")
    noisy = Diffusion().noisy(torch.full_like(noise, x0), noise, torch.full((count,), alpha_bar, dtype=torch.float64))
    variance = 1 - alpha_bar
    # Five standard errors of a normal sample's mean and variance.
    assert float(noisy.mean()) == pytest.approx(sqrt(alpha_bar) * x0, abs=5 * sqrt(variance / count))
    assert float(noisy.var()) == pytest.approx(variance, rel=5 * sqrt(2 / count))


def test_each_example_has_its_own_level() -> None:
    x0, noise = pair()
    together = Diffusion().noisy(x0, noise, LEVELS)
    alone = [Diffusion().noisy(x0[i, None], noise[i, None], LEVELS[i, None]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_without_noise_nothing_changes() -> None:
    x0, noise = pair()
    assert torch.equal(Diffusion().noisy(x0, noise, torch.ones(3, dtype=torch.float64)), x0)


def test_noisy_and_v_agree_with_diffusers() -> None:
    peer = DDPMScheduler(beta_start=1e-4, beta_end=0.02)
    x0, noise = pair()
    times = torch.IntTensor([0, 400, 999])
    levels = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[times]
    assert torch.allclose(Diffusion().noisy(x0, noise, levels), peer.add_noise(x0, noise, times), atol=1e-5)
    velocity = Diffusion(prediction="v").target(x0, noise, levels)
    assert torch.allclose(velocity, peer.get_velocity(x0, noise, times), atol=1e-5)


def test_the_target_is_what_the_prediction_is_named_after() -> None:
    x0, noise = pair()
    assert torch.equal(Diffusion(prediction="eps").target(x0, noise, LEVELS), noise)
    assert torch.equal(Diffusion(prediction="x0").target(x0, noise, LEVELS), x0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_answer_gives_x0_back(prediction: Literal["eps", "x0", "v"]) -> None:
    diffusion = Diffusion(prediction=prediction)
    x0, noise = (value.double() for value in pair())
    noisy = diffusion.noisy(x0, noise, LEVELS)
    answer = diffusion.target(x0, noise, LEVELS)
    assert torch.allclose(diffusion.estimate(answer, noisy, LEVELS), x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_in_float32_a_perfect_answer_loses_no_more_than_its_rounding(prediction: Literal["eps", "x0", "v"]) -> None:
    diffusion = Diffusion(prediction=prediction)
    x0, noise = pair()
    noisy = diffusion.noisy(x0, noise, LEVELS)
    estimate = diffusion.estimate(diffusion.target(x0, noise, LEVELS), noisy, LEVELS)
    # eps is divided by the signal: what is rounded in x_t, of size 4 or so, grows by one over its square root.
    bound = 4 * 4 * torch.finfo(torch.float32).eps / (LEVELS.sqrt() if prediction == "eps" else torch.ones(3))
    assert bool(((estimate - x0).abs().amax((1, 2, 3, 4)) <= bound).all())


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_bfloat16_answer_gives_a_float32_estimate(prediction: Literal["eps", "x0", "v"]) -> None:
    x0, noise = pair()
    assert Diffusion(prediction=prediction).estimate(x0.bfloat16(), noise, LEVELS).dtype == torch.float32


def test_levels_are_rounded_once_from_float64() -> None:
    # 1 - alpha-bar would be 0 if alpha-bar were rounded to float32 first.
    level = torch.tensor([1 - 1e-10], dtype=torch.float64)
    zero, one = torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1)
    assert Diffusion().noisy(zero, one, level).item() == pytest.approx(1e-5, rel=1e-5)


def test_the_loss_is_the_mean_of_squares_in_float32() -> None:
    output = torch.tensor([1.0, 2.0, 4.0], dtype=torch.bfloat16).reshape(1, 1, 1, 1, 3)
    loss = Diffusion().loss(output, torch.tensor([0.0, 2.0, 1.0]).reshape(1, 1, 1, 1, 3))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(10 / 3)


def test_another_prediction_is_refused() -> None:
    with pytest.raises(ValidationError, match="'eps', 'x0' or 'v'"):
        Diffusion.model_validate({"prediction": "noise"})


def test_uniform_times_are_drawn_alike_and_all_of_them() -> None:
    levels = torch.linspace(1, 0.1, 5, dtype=torch.float64)
    random = np.random.default_rng(0)
    counts = Counter(Diffusion().draw_time(levels, random) for _ in range(4000))
    assert sorted(counts) == [1, 2, 3, 4]
    assert all(abs(count - 1000) < 5 * sqrt(4000 * 0.25 * 0.75) for count in counts.values())


@pytest.mark.parametrize(
    ("prediction", "weights"),
    # Signal-to-noise ratios 9, 1 and 1/4, of which 5 count at most: over 1, over themselves, over themselves and 1.
    [("x0", [5, 1, 0.25]), ("eps", [5 / 9, 1, 1]), ("v", [0.5, 0.5, 0.2])],
)
def test_min_snr_draws_times_by_the_weights_of_hang_et_al(
    prediction: Literal["eps", "x0", "v"], weights: list[float]
) -> None:
    levels = torch.tensor([1, 0.9, 0.5, 0.2], dtype=torch.float64)
    diffusion, random, draws = Diffusion(prediction=prediction, weighting="min-snr"), np.random.default_rng(0), 10_000
    counts = Counter(diffusion.draw_time(levels, random) for _ in range(draws))
    for t, weight in enumerate(weights, start=1):
        share = weight / sum(weights)
        assert abs(counts[t] - draws * share) < 5 * sqrt(draws * share * (1 - share))
