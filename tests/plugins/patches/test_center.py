"""Windows that prefer the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from ddmkit import Shape
from ddmkit_plugins.patches.center import Center

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDES = st.tuples(*[st.integers(1, 300)] * 3)
UNLIKELY = 0.001
"""With a fixed seed, a sample from the right distribution stays above this once and for all."""


def starts(patch: Center, frame: Shape, count: int) -> NDArray[np.int64]:
    """Draw windows and return their starts along all axes, one after the other."""
    random = np.random.default_rng(0)
    return np.array([patch.window(frame, random).start for _ in range(count)]).ravel()


def below(places: NDArray[np.float64], narrow: float, wide: float) -> NDArray[np.float64]:
    """Return the probability of X + Y < place, X ~ U[-narrow, narrow], Y ~ U[-wide, wide]: a trapezoidal density."""
    reach = narrow + wide
    return np.asarray(stats.trapezoid.cdf(places, narrow / reach, wide / reach, loc=-reach, scale=2 * reach))


@pytest.mark.parametrize(("narrow", "wide"), [(1 / 3, 2 / 3), (1 / 4, 3 / 4), (0.1, 0.4)])
def test_places_follow_the_trapezoidal_density_of_the_paper(narrow: float, wide: float) -> None:
    last = 10**9  # so many starts that they are as good as continuous, and no volume is needed
    drawn = starts(Center(sides=(1, 1, 1), narrow=narrow, wide=wide), (last + 1, last + 1, last + 1), 4000)
    assert stats.kstest(below(2 * drawn / last - 1, narrow, wide), "uniform").pvalue > UNLIKELY


def test_each_start_is_as_likely_as_its_share_of_the_density() -> None:
    drawn = starts(Center(), (16, 16, 16), 4000)
    shares = np.diff(below(np.linspace(-1, 1, 10), 1 / 3, 2 / 3))
    observed = np.bincount(drawn, minlength=9)
    assert stats.chisquare(observed, shares * len(drawn)).pvalue > UNLIKELY


def test_mirrored_starts_are_equally_likely() -> None:
    drawn = starts(Center(), (31, 31, 31), 4000)
    assert stats.ks_2samp(drawn, 15 - drawn).pvalue > UNLIKELY


def test_both_borders_are_reached_even_by_a_window_with_little_room() -> None:
    assert set(starts(Center(sides=(4, 4, 4)), (6, 6, 6), 300)) == {0, 1, 2}


def test_the_official_codes_draw_of_two_integers_is_a_setting_away() -> None:
    drawn = starts(Center(narrow=0.25, wide=0.75), (256, 256, 256), 4000)
    official = np.convolve(np.full(33, 1 / 33), np.full(97, 1 / 97))  # 0 ... 32 plus 0 ... 96
    expected = np.add.reduceat(official, np.arange(0, 129, 8))
    observed = np.bincount(drawn // 8)
    assert stats.chisquare(observed, expected * len(drawn)).pvalue > UNLIKELY


def test_axes_are_drawn_apart() -> None:
    drawn = starts(Center(), (256, 256, 256), 2000).reshape(-1, 3)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.1


def test_without_shares_every_window_is_the_middle_one() -> None:
    assert set(starts(Center(sides=(3, 3, 3), narrow=0, wide=0), (9, 9, 9), 5)) == {3}


@pytest.mark.parametrize(("frame", "size"), [((256, 256, 256), (128, 128, 128)), ((5, 1, 240), (3, 1, 120))])
def test_a_window_has_half_the_volumes_sides_rounded_up(frame: Shape, size: Shape) -> None:
    assert Center().size(frame) == size


def test_sides_asked_for_may_exceed_the_volume_for_the_caller_to_pad() -> None:
    assert Center(sides=(64, 64, 64)).size((240, 240, 20)) == (64, 64, 64)


@given(frame=SIDES, seed=st.integers(0, 2**32), narrow=st.floats(0, 1))
def test_windows_lie_inside_the_volume(frame: Shape, seed: int, narrow: float) -> None:
    window = Center(narrow=narrow, wide=1 - narrow).window(frame, np.random.default_rng(seed))
    assert window.frame == frame
    assert window.factor == 1
    for start, side, whole in zip(window.start, window.size, frame, strict=True):
        assert type(start) is int
        assert 0 <= start <= whole - side


def test_the_generator_alone_decides() -> None:
    first, again = (Center().window((99, 98, 97), np.random.default_rng(7)) for _ in range(2))
    assert first == again
    assert first != Center().window((99, 98, 97), np.random.default_rng(8))


def test_windows_that_would_leave_the_volume_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"narrow 0.5 \+ wide 0.6 is more than 1.*lower one"):
        Center(narrow=0.5, wide=0.6)


def test_one_side_stands_for_three() -> None:
    assert Center.model_validate({"sides": 32}).sides == (32, 32, 32)


@pytest.mark.parametrize("sides", [(0, 8, 8), (8, 8), (8.5, 8, 8), 0, 8.5, True])
def test_sides_are_three_whole_positive_numbers(sides: object) -> None:
    with pytest.raises(ValidationError):
        Center.model_validate({"sides": sides})


def test_a_volume_that_was_not_padded_is_a_bug_not_a_crooked_window() -> None:
    with pytest.raises(ValueError, match="pad the volume first"):
        Center(sides=(8, 8, 8)).window((8, 7, 8), np.random.default_rng(0))
