"""Windows from anywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ddmkit import Shape
from ddmkit_plugins.patches.uniform import Uniform


def test_every_start_is_equally_likely() -> None:
    random = np.random.default_rng(0)
    drawn = np.array([Uniform().window((16, 16, 16), random).start for _ in range(3000)])
    for axis in range(3):
        observed = np.bincount(drawn[:, axis])
        assert len(observed) == 9
        assert stats.chisquare(observed).pvalue > 0.001


def test_axes_are_drawn_apart() -> None:
    random = np.random.default_rng(0)
    drawn = np.array([Uniform().window((40, 40, 40), random).start for _ in range(2000)])
    correlation = np.corrcoef(drawn.T) - np.eye(3)
    assert np.abs(correlation).max() < 0.1


@given(frame=st.tuples(*[st.integers(1, 300)] * 3), seed=st.integers(0, 2**32))
def test_windows_lie_inside_the_volume(frame: Shape, seed: int) -> None:
    window = Uniform().window(frame, np.random.default_rng(seed))
    assert window.size == Uniform().size(frame)
    for start, side, whole in zip(window.start, window.size, frame, strict=True):
        assert type(start) is int
        assert 0 <= start <= whole - side


def test_the_generator_alone_decides() -> None:
    first, again = (Uniform(sides=(5, 6, 7)).window((99, 98, 97), np.random.default_rng(7)) for _ in range(2))
    assert first == again
    assert first.size == (5, 6, 7)
