"""What a sampler owes is checked, and the Gaussian it is checked on is right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import ClassVar, TypeAlias

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from typing_extensions import override

from ddmkit import Denoise, Draw, Sampler
from ddmkit.testing import Gaussian, Mixture, check
from ddmkit.testing.sampler import Known

Vector: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Straight(Sampler):
    """Straight lines between whole multiples of T / steps."""

    name: ClassVar[str] = "straight"

    @override
    def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
        last, x = len(alphas_bar) - 1, noise
        for left in range(self.steps, 0, -1):
            t, t_next = last * left // self.steps, last * (left - 1) // self.steps
            x = self.step(x, denoise(x, t), float(alphas_bar[t]), float(alphas_bar[t_next]))
        return x

    def step(self, x: Tensor, x0: Tensor, here: float, there: float) -> Tensor:
        return sqrt(there) * x0 + sqrt((1 - there) / (1 - here)) * (x - sqrt(here) * x0)


def test_a_sampler_that_keeps_its_promises_passes() -> None:
    check(Straight)


class Thresholding(Straight):
    """Looks at values, which tells nothing of where it makes its tensors."""

    name: ClassVar[str] = "thresholding"

    @override
    def step(self, x: Tensor, x0: Tensor, here: float, there: float) -> Tensor:
        return super().step(x, x0 / max(1.0, float(x0.abs().max()) / 1000), here, there)


def test_a_sampler_that_looks_at_values_passes() -> None:
    check(Thresholding)


def ends_early(self: Straight, x: Tensor, x0: Tensor, here: float, there: float) -> Tensor:
    return Straight.step(self, x, x0, here, min(there, 0.9999))


def damped(self: Straight, x: Tensor, x0: Tensor, here: float, there: float) -> Tensor:
    return Straight.step(self, x, x0, here, there) * (1 if there == 1 else 0.99)


def writes(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise.mul_(0.5), 1)


def first_guess(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise, 1000)


def time_zero(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise, 0)


def in_double(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise.double(), 1)


def double_answer(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise, 1).double()


def one_member(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise[:1], 1)


def mixed(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(noise - noise.mean(0), 1)


def own_noise(_self: Sampler, denoise: Denoise, noise: Tensor, *_rest: object) -> Tensor:
    return denoise(torch.randn_like(noise), 1)


def too_noisy(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    sample = Straight.sample(self, denoise, noise, alphas_bar, draw)
    return denoise(sample + 2 * draw(0), 200)


def levels_of_its_own(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    betas = torch.linspace(1e-4, 0.02, len(alphas_bar) - 1, dtype=torch.float64)
    own = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    return Straight.sample(self, denoise, noise, own, draw)


def thousand_times(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, _: Draw) -> Tensor:
    x, times = noise, [1000 * left // self.steps for left in range(self.steps, -1, -1)]
    for t, t_next in pairwise(times):
        x = self.step(x, denoise(x, t), *(float(alphas_bar[min(time, len(alphas_bar) - 1)]) for time in (t, t_next)))
    return x


def into_levels(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    alphas_bar[-1] = alphas_bar[-1].clamp(min=1e-3)
    return Straight.sample(self, denoise, noise, alphas_bar, draw)


def seeding(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    torch.manual_seed(0)
    return Straight.sample(self, denoise, noise, alphas_bar, draw)


def on_the_processor(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    sample = torch.zeros(noise.shape)
    sample += Straight.sample(self, denoise, noise, alphas_bar, draw)
    return sample


def mask_on_the_processor(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    return Straight.sample(self, denoise, noise, alphas_bar, draw) * torch.ones(noise.shape)


def undefined(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    return Straight.sample(self, denoise, noise, alphas_bar, draw) * float("nan")


def not_for_one_time(self: Straight, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    between = float(alphas_bar[len(alphas_bar) // 2 + 1])
    return Straight.sample(self, denoise, noise, alphas_bar, draw) * between / between


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"sample": writes}, "writes into the noise"),
        ({"sample": time_zero}, "asks for t = 0, not for a whole number from 1 to T"),
        ({"sample": in_double}, r"hands x_t over as torch\.float64"),
        ({"sample": double_answer}, r"returns torch\.float64"),
        ({"sample": one_member}, r"turns shape \(2, 1, 3, 5, 4\) into \(1, 1, 3, 5, 4\)"),
        ({"sample": mixed}, "mixes the members of a batch"),
        ({"sample": own_noise}, "gives two samples for the same arguments"),
        ({"step": ends_early}, r"told x_0, misses it by 0\.0.*does its last step end at alpha-bar 1"),
        ({"sample": first_guess}, "from the exact flow in 20 steps and still"),
        ({"step": damped}, "from the exact flow in 20 steps and still"),
        ({"sample": too_noisy}, "mean and deviation are off by"),
        (
            {"order": 2},
            r"is of order 1\.0, not 2 as it says: its error falls by a factor of 2 from 80 steps to 160, where 3\.4 is",
        ),
        (
            {"evaluations": property(lambda self: 2 * self.steps)},
            r"asks 1 times in 1 steps over T = 1, not 2 times as its evaluations say",
        ),
        ({"sample": levels_of_its_own}, r"from the exact flow in T = 600 steps, where 0\.05 is allowed; does it"),
        ({"sample": thousand_times}, "asks for t = 1000, not for a whole number from 1 to T = 600"),
        ({"sample": into_levels}, "writes into the alphas_bar it is given"),
        ({"sample": seeding}, "Broken changes torch's global random generator"),
        ({"sample": on_the_processor}, "given tensors on another device, answers on cpu; make its tensors where the"),
        (
            {"sample": mask_on_the_processor},
            "given tensors on another device, raises RuntimeError: .* make its tensors",
        ),
        ({"sample": undefined}, "returns numbers that are not finite"),
        ({"sample": not_for_one_time}, r"Broken's check ends with IndexError: .*test_sampler\.py, line \d+"),
    ],
)
def test_a_broken_sampler_is_caught(methods: dict[str, object], sentence: str, refuses: Callable[..., None]) -> None:
    refuses(Straight, sentence, **methods)


@pytest.mark.parametrize("truth", [Gaussian(mean=0.4, deviation=0.5), Mixture()], ids=["gaussian", "mixture"])
def test_the_exact_flow_is_what_an_ode_solver_finds(truth: Known) -> None:
    alpha_bar = 0.01
    start = np.array([-1.5, 0.0, 0.7])

    # Song et al. (2021, DDIM), eq. 14: d(x / sqrt(alpha-bar)) = eps d(sigma), where sigma is noise over signal.
    def slope(sigma: float, scaled: Vector) -> Vector:
        level = 1 / (1 + sigma**2)
        x = torch.from_numpy(scaled * sqrt(level))
        estimate: Vector = truth.denoise(torch.tensor([level], dtype=torch.float64))(x, 0).numpy()
        return (scaled - estimate) / sigma

    sigma = sqrt((1 - alpha_bar) / alpha_bar)
    solved = solve_ivp(slope, (sigma, 1e-5), start / sqrt(alpha_bar), rtol=1e-10, atol=1e-10).y[:, -1]
    assert truth.flow(torch.from_numpy(start), alpha_bar).tolist() == pytest.approx(solved.tolist(), abs=1e-7)


@pytest.mark.parametrize(
    ("truth", "kinds"),
    [
        (Gaussian(mean=0.4, deviation=0.5), [(1.0, 0.4, 0.5)]),
        (Mixture((0.2, 0.8), (Gaussian(1.0, 0.3), Gaussian(-0.5, 0.6))), [(0.2, 1.0, 0.3), (0.8, -0.5, 0.6)]),
    ],
    ids=["gaussian", "mixture"],
)
def test_the_estimate_is_the_mean_of_x0_given_x(truth: Known, kinds: list[tuple[float, float, float]]) -> None:
    alpha_bar, x = 0.3, -0.8
    x0 = np.linspace(-6, 6, 100_001)
    prior = sum(share / width * np.exp(-((x0 - mean) ** 2) / (2 * width**2)) for share, mean, width in kinds)
    weight = prior * np.exp(-((x - sqrt(alpha_bar) * x0) ** 2) / (2 * (1 - alpha_bar)))
    expected = float((weight * x0).sum() / weight.sum())
    levels = torch.tensor([1, alpha_bar], dtype=torch.float64)
    answer = truth.denoise(levels)(torch.tensor([x], dtype=torch.float64), 1)
    assert answer.item() == pytest.approx(expected, rel=1e-9)
