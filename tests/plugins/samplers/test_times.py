"""The times that samplers visit."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.plugins.samplers.walking import ALPHAS_BAR

from ddmkit import ConfigurationError
from ddmkit.testing import check
from ddmkit_plugins.samplers.ddim import Ddim
from ddmkit_plugins.samplers.dpm_solver import DpmSolver
from ddmkit_plugins.samplers.heun import Heun
from ddmkit_plugins.samplers.times import GridSampler, Stride, noise_over_signal
from ddmkit_plugins.schedules.cosine import Cosine


def even_strides(timesteps: int, steps: int) -> list[Stride]:
    return Ddim(steps=steps).strides(torch.linspace(1, 0.5, timesteps + 1, dtype=torch.float64))


def test_twenty_of_a_thousand_are_strides_of_fifty_that_end_at_zero() -> None:
    assert even_strides(1000, 20) == [(t, t - 50) for t in range(1000, 0, -50)]


def test_as_many_steps_as_times_visit_every_time() -> None:
    assert even_strides(4, 4) == [(4, 3), (3, 2), (2, 1), (1, 0)]


def test_one_step_goes_all_the_way() -> None:
    assert even_strides(1000, 1) == [(1000, 0)]


@given(data=st.data(), timesteps=st.integers(1, 3000))
def test_strides_join_up_from_the_last_time_to_zero_and_differ_by_one_at_most(
    data: st.DataObject, timesteps: int
) -> None:
    steps = data.draw(st.integers(1, timesteps))
    strides = even_strides(timesteps, steps)
    lengths = {t - t_next for t, t_next in strides}
    assert len(strides) == steps
    assert strides[0][0] == timesteps
    assert strides[-1][1] == 0
    assert all(before[1] == after[0] for before, after in pairwise(strides))
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


def test_more_steps_than_times_are_refused_with_the_fix() -> None:
    with pytest.raises(ConfigurationError, match=r"type -o sampler\.steps=10 or fewer"):
        even_strides(10, 20)


def test_quadratic_times_are_shares_of_squares() -> None:
    strides = Ddim(steps=4, times="quadratic").strides(ALPHAS_BAR)
    assert strides == [(1000, 562), (562, 250), (250, 62), (62, 0)]


@pytest.mark.parametrize("rho", [3.0, 7.0])
def test_karras_times_are_nearest_to_the_papers_levels(rho: float) -> None:
    times = [t for t, _ in Ddim(steps=10, times="karras", rho=rho).strides(ALPHAS_BAR)]
    spreads = [noise_over_signal(level) for level in ALPHAS_BAR.tolist()]
    most, least = spreads[1000], spreads[1]
    for number, t in enumerate(times[1:-1], start=1):
        # eq. 5, and no other time is nearer
        wished = (most ** (1 / rho) + number / 9 * (least ** (1 / rho) - most ** (1 / rho))) ** rho
        others = (abs(spreads[other] - wished) for other in range(1, 1001) if other not in times)
        assert abs(spreads[t] - wished) <= min(others)
    assert (times[0], times[-1]) == (1000, 1)


@given(
    data=st.data(),
    timesteps=st.integers(1, 300),
    times=st.sampled_from(["uniform", "quadratic", "karras"]),
    rho=st.floats(2, 20),
)
def test_every_grid_joins_up_from_the_last_time_to_zero(
    data: st.DataObject, timesteps: int, times: str, rho: float
) -> None:
    steps = data.draw(st.integers(1, timesteps))
    sampler = Ddim.model_validate({"steps": steps, "times": times, "rho": rho})
    strides = sampler.strides(Cosine(timesteps=timesteps).alphas_bar())
    assert len(strides) == steps
    assert (strides[0][0], strides[-1][1]) == (timesteps, 0)
    assert all(t > t_next for t, t_next in strides)
    assert all(before[1] == after[0] for before, after in pairwise(strides))


@pytest.mark.parametrize("rho", [2, 100])
@pytest.mark.parametrize("last", [1e-38, 1 - 1e-9])
def test_any_exponent_serves_any_schedule(rho: float, last: float) -> None:
    alphas_bar = torch.tensor([1.0, 1 - 1e-12, last], dtype=torch.float64)
    assert Ddim(steps=2, times="karras", rho=rho).strides(alphas_bar) == [(2, 1), (1, 0)]


@pytest.mark.parametrize("rho", [0, 0.01, 1e300])
def test_exponents_that_no_number_can_bear_are_refused(rho: float) -> None:
    with pytest.raises(ValidationError, match="rho"):
        Ddim(times="karras", rho=rho)


@pytest.mark.parametrize(("sampler", "rho"), [(Heun, 2), (Heun, 100), (DpmSolver, 2), (Ddim, 2)])
def test_a_sampler_keeps_its_promises_at_the_ends_of_the_range_of_rho(sampler: type[GridSampler], rho: float) -> None:
    check(sampler(times="karras", rho=rho))


def test_an_exponent_that_leaves_too_much_to_the_last_steps_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        Heun(times="karras", rho=1)
