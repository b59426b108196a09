"""Whole volumes answered: the same members however they are batched."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.knowing import FromFunction

from ddmkit.randomness import normal
from ddmkit.sampling import Model, answer_case, denoiser, enlarge, given_inputs, sample_members
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]

SHAPE = (7, 9, 6)


class Setting(NamedTuple):
    """A configuration and its cases in the store."""

    configuration: Configuration
    cases: list[StoredCase]


@pytest.fixture
def setting(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> Callable[..., Setting]:
    root = write_cases(tmp_path / "data", count=2, shape=SHAPE)

    def make(*options: str) -> Setting:
        configuration = configured(*options)
        store = Store(configuration)
        return Setting(configuration, [store.open(case) for case in configuration.dataset.cases(root)])

    return make


def tiny_model(configuration: Configuration) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = configuration.backbone.build(configuration.in_channels, configuration.out_channels)
    return Model(configuration, FromFunction(network))


@pytest.mark.parametrize("fresh", [0.0, 0.3])
def test_members_batched_or_one_by_one_agree(setting: Callable[..., Setting], fresh: float) -> None:
    """Up to the rounding of a convolution over a batch of another size: 1e-6 of numbers up to 1."""
    found = []
    for at_once in (1, 2, 5):
        configuration, cases = setting(f"sampling.members_at_once={at_once}", f"sampler.fresh={fresh}")
        model = tiny_model(configuration)
        found.append(answer_case(model, cases[0], ensemble=5, seed=3))
        assert isinstance(model.session, FromFunction)
        assert model.session.batches == [n for n in {1: [1] * 5, 2: [2, 2, 1], 5: [5]}[at_once] for _ in range(3)]
    for one in found[1:]:
        assert np.array_equal(found[0].labels, one.labels)
        assert np.allclose(found[0].mean, one.mean, rtol=0, atol=1e-6)
        assert np.allclose(found[0].variance, one.variance, rtol=0, atol=1e-6)
    assert found[0].variance.max() > 1e-4


@pytest.mark.parametrize("fresh", [0.0, 0.3])
def test_a_member_is_its_own_whoever_else_is_sampled(setting: Callable[..., Setting], fresh: float) -> None:
    configuration, (case, _) = setting(f"sampler.fresh={fresh}")
    model = tiny_model(configuration)
    inputs = given_inputs(model, case.read(case.whole()), 3)
    together = sample_members(model, inputs, case.name, range(1, 4), seed=0)
    alone = sample_members(model, inputs[:1], case.name, range(2, 3), seed=0)
    assert torch.allclose(together[1:2], alone, rtol=0, atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_an_answer_does_not_depend_on_the_order_of_cases(setting: Callable[..., Setting]) -> None:
    configuration, cases = setting("sampler.fresh=0.3")
    model = tiny_model(configuration)
    forwards = [answer_case(model, case, ensemble=2, seed=0) for case in cases]
    backwards = [answer_case(model, case, ensemble=2, seed=0) for case in reversed(cases)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.mean, other.mean)
        assert np.array_equal(one.variance, other.variance)
    assert not np.array_equal(forwards[0].mean, forwards[1].mean)


def test_another_seed_gives_other_members(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting()
    model = tiny_model(configuration)
    assert not np.allclose(
        answer_case(model, case, ensemble=1, seed=0).mean, answer_case(model, case, ensemble=1, seed=1).mean, atol=1e-2
    )


def test_a_single_member_has_no_variance(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting()
    assert not answer_case(tiny_model(configuration), case, ensemble=1, seed=0).variance.any()


def test_the_network_is_given_condition_encoding_and_noise_in_this_order(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("sampler.steps=1")
    seen: list[tuple[Tensor, Tensor]] = []

    def look(inputs: Tensor, times: Tensor) -> Tensor:
        seen.append((inputs.clone(), times))
        return inputs[:, -1:]

    answer_case(Model(configuration, FromFunction(look)), case, ensemble=1, seed=7)
    ((inputs, times),) = seen
    example = case.read(case.whole())
    assert torch.equal(inputs[0, :2], example.images)
    assert torch.equal(inputs[0, 2:3], configuration.encoding.encode(example.window))
    assert torch.equal(inputs[0, 3:], normal((1, *SHAPE), 7, "start", case.name, 0))
    assert times.tolist() == [50.0]
    assert (inputs.dtype, times.dtype) == (torch.float32, torch.float32)


def test_estimates_are_clipped_to_the_tasks_range(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("diffusion.prediction=x0")
    model = Model(configuration, FromFunction(lambda inputs, _: 5 * inputs[:, -1:]))
    denoise = denoiser(model, given_inputs(model, case.read(case.whole()), 2), configuration.schedule.alphas_bar())
    noisy = normal((2, 1, *SHAPE), 0, "x")
    assert torch.equal(denoise(noisy, 10), (5 * noisy).clamp(-1, 1))


def test_progress_counts_the_calls_of_the_network(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("sampling.members_at_once=2")
    told: list[tuple[int, int]] = []
    answer_case(
        tiny_model(configuration), case, ensemble=3, seed=0, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(done, 6) for done in range(1, 7)]


@given(
    factor=st.integers(1, 4),
    coarse=st.tuples(*[st.integers(1, 4)] * 3),
    cut=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_enlarging_keeps_coarse_voxels_in_place_and_is_linear_between(
    factor: int, coarse: tuple[int, int, int], cut: tuple[int, int, int]
) -> None:
    x, y, z = (factor * side - min(less, factor - 1) for side, less in zip(coarse, cut, strict=True))
    values = normal((2, 3, *coarse), 0, "coarse").double()
    fine = enlarge(values, factor, (x, y, z))
    assert fine.shape == (2, 3, x, y, z)
    assert torch.allclose(fine[..., ::factor, ::factor, ::factor], values)
    expected = values.numpy()
    for axis, side in zip((2, 3, 4), (x, y, z), strict=True):
        places = np.minimum(np.arange(side) / factor, coarse[axis - 2] - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, coarse[axis - 2] - 1)
        share = (places - low).reshape([-1 if n == axis else 1 for n in range(5)])
        expected = expected.take(low, axis) * (1 - share) + expected.take(high, axis) * share
    assert np.allclose(fine, expected)
