"""The times that samplers visit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddmkit import ConfigurationError
from ddmkit_plugins.samplers.times import even_strides


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
