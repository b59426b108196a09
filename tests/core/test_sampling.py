"""Whole volumes answered: the same members however they are batched."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.knowing import FromFunction

from ddmkit.combination import Combine
from ddmkit.randomness import normal
from ddmkit.sampling import Answer, Model, answer_case, denoiser, enlarge, given_inputs, sample_members
from ddmkit.settling import STEADY, change
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


def same(one: Answer, other: Answer, atol: float = 0.0) -> None:
    """Check that two answers are equal, their numbers to a rounding."""
    assert one.members == other.members
    assert np.array_equal(one.labels, other.labels)
    assert np.allclose(one.mean, other.mean, rtol=0, atol=atol)
    assert np.allclose(one.variance, other.variance, rtol=0, atol=atol)


AUTO = "sampling.most=15", "sampling.tolerance=0.02", "sampler.fresh=0.3", "diffusion.prediction=x0"


def doubtful(configuration: Configuration) -> Model:
    """Return a model whose members are an image with a little noise: they differ where that is near the threshold."""
    return Model(configuration, FromFunction(lambda inputs, _: inputs[:, 1:2] + 0.15 * inputs[:, -1:]))


@pytest.mark.parametrize("combine", get_args(Combine))
def test_auto_gives_the_answer_of_an_ensemble_of_as_many_members_as_it_took(
    setting: Callable[..., Setting], combine: str
) -> None:
    configuration, (case, _) = setting(*AUTO, f"sampling.combine={combine}")
    model = doubtful(configuration)
    found = answer_case(model, case, ensemble="auto", seed=3)
    assert STEADY + 1 < found.members < 15
    assert found.settled
    same(answer_case(model, case, ensemble=found.members, seed=3), found)
    labels = [answer_case(model, case, ensemble=n, seed=3).labels for n in range(1, found.members + 1)]
    changes = [change(*map(torch.from_numpy, pair)) for pair in pairwise(labels)]
    assert max(changes[-STEADY:]) <= 0.02
    assert all(max(changes[n - STEADY : n]) > 0.02 for n in range(STEADY, len(changes)))


@pytest.mark.parametrize("at_once", [2, 3, 15])
def test_auto_takes_as_many_members_however_many_are_sampled_at_once(
    setting: Callable[..., Setting], at_once: int
) -> None:
    alone, together = setting(*AUTO), setting(*AUTO, f"sampling.members_at_once={at_once}")
    one, other = (answer_case(doubtful(made), cases[0], ensemble="auto", seed=3) for made, cases in (alone, together))
    same(one, other, atol=1e-6)


def test_auto_that_does_not_settle_says_so_and_ends_with_the_most_members(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("sampling.most=5", "sampling.members_at_once=2", "sampling.tolerance=0")
    found = answer_case(tiny_model(configuration), case, ensemble="auto", seed=0)
    assert (found.members, found.settled) == (5, False)


def test_progress_ends_where_no_more_members_are_needed(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("sampling.most=9", "sampling.tolerance=1")
    told: list[tuple[int, int]] = []
    answer_case(
        tiny_model(configuration),
        case,
        ensemble="auto",
        seed=0,
        progress=lambda done, total: told.append((done, total)),
    )
    calls = 3 * (STEADY + 1)
    assert told == [*((done, 27) for done in range(1, calls + 1)), (calls, calls)]


def test_each_member_is_shown_once_in_order(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("sampling.members_at_once=2")
    kept: dict[int, np.ndarray] = {}
    found = answer_case(
        tiny_model(configuration), case, ensemble=3, seed=0, keep=lambda number, member: kept.update({number: member})
    )
    assert list(kept) == [0, 1, 2]
    assert np.allclose(np.mean(list(kept.values()), axis=0), found.mean, atol=1e-6)


def test_as_many_members_are_sampled_at_once_as_the_session_has_memory_for(setting: Callable[..., Setting]) -> None:
    configuration, (case, _) = setting("sampling.members_at_once=auto")
    model = tiny_model(configuration)
    assert isinstance(model.session, FromFunction)
    asked: list[tuple[tuple[int, ...], int, int]] = []

    def two(shape: tuple[int, ...], most: int, beside: int) -> int:
        asked.append((shape, most, beside))
        return 2

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(model.session, "members_at_once", two)
        found = answer_case(model, case, ensemble=3, seed=3)
    assert asked == [((4, *SHAPE), 3, 4 * (4 + 4) * math.prod(SHAPE))]
    assert model.session.batches == [2, 2, 2, 1, 1, 1]
    same(found, answer_case(model, case, ensemble=3, seed=3), atol=1e-6)  # of which the session knows nothing: alone
    assert model.session.batches[6:] == [1] * 9


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
