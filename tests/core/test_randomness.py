"""Random numbers as a function of their key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from ddmkit.randomness import generator, normal

COUNT = 100_000


def numbers(seed: int, *key: str | int) -> list[int]:
    return [int(value) for value in generator(seed, *key).integers(0, 2**63, 4)]


def test_the_same_key_gives_the_same_numbers_whatever_was_drawn_between() -> None:
    first = numbers(3, "window", 5, 0)
    generator(3, "window", 5, 1).standard_normal(1000)
    assert numbers(3, "window", 5, 0) == first


def test_drawing_leaves_the_global_generators_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002 - the global one
    normal((10,), 0, "noise")
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert str(np.random.get_state()) == numpy_before  # noqa: NPY002 - the global one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "a", 1), (1, "a", 1)),
        ((0, "a", 1), (0, "a1")),
        ((0, "a", 1), (0, "a", "1")),
        ((0, "a", "b"), (0, "b", "a")),
        ((0, "ab", "c"), (0, "a", "bc")),
        ((0, "a"), (0, "a", 0)),
        ((0,), (0, 0)),
        ((1, "a", 12), (11, "a", 2)),
        ((0, "a"), (2**32, "a")),
    ],
)
def test_different_seeds_and_keys_give_different_numbers(
    one: tuple[int, str | int], other: tuple[int, str | int]
) -> None:
    assert numbers(*one) != numbers(*other)


def test_ten_thousand_steps_have_ten_thousand_first_numbers() -> None:
    assert len({numbers(0, "window", step)[0] for step in range(10_000)}) == 10_000


def test_normal_noise_is_standard_normal() -> None:
    noise = normal((COUNT,), 0, "noise").numpy().astype(float)
    assert stats.kstest(noise, "norm").pvalue > 0.001
    assert abs(noise.mean()) < 5 / COUNT**0.5
    assert abs(noise.var() - 1) < 5 * (2 / COUNT) ** 0.5


def test_noise_has_the_shape_asked_for_in_float32_on_the_cpu() -> None:
    noise = normal((2, 1, 3, 4, 5), 0, "noise")
    assert noise.shape == (2, 1, 3, 4, 5)
    assert noise.dtype == torch.float32
    assert noise.device.type == "cpu"


def test_neighbouring_keys_and_seeds_are_not_correlated() -> None:
    rows = [normal((COUNT,), seed, "noise", step).numpy() for seed in (0, 1) for step in (0, 1)]
    correlations = np.corrcoef(rows)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / COUNT**0.5


def test_the_first_numbers_over_steps_are_uniform() -> None:
    first = [generator(0, "window", step).random() for step in range(5000)]
    assert stats.kstest(first, "uniform").pvalue > 0.001
