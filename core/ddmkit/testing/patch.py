"""What a patch strategy owes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ddmkit.testing.promises import in_a_sentence, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ddmkit.patch import Patch
    from ddmkit.window import Shape, Window


_DRAWS = 2000
"""Windows that have to get everywhere."""
_PLACES = np.array([(0, 1 / 4), (7 / 16, 9 / 16), (3 / 4, 1)])
"""Parts of each axis, as shares of it; each box of one for each axis has to be met."""


@in_a_sentence
def check_patch(patch: Patch) -> None:
    """Check that windows have the promised size, lie inside, follow from their random generator and get everywhere.

    So must windows of cases where nothing is labelled. A strategy whose `covers` is False need not get everywhere.

    Raises:
        AssertionError: it breaks a promise.
    """
    for frame in _frames(patch):
        nothing, corner = np.empty((0, 3), np.int64), np.array([[side - 1 for side in frame]])
        several = np.array([np.subtract(frame, 1) // share for share in (1, 2, 3, 4)])
        _check_draws(patch, "", frame, partial(patch.window, frame))
        for labelled in (nothing, corner, several):
            whose = f"window_of, where {len(labelled)} voxels are labelled,"
            draw = partial(_drawn_of, patch, frame, labelled)
            _check_draws(patch, whose, frame, draw, everywhere=len(labelled) == 0)


def _drawn_of(patch: Patch, frame: Shape, labelled: NDArray[np.int64], random: np.random.Generator) -> Window:
    return patch.window_of(frame, random, labelled.copy)


def _check_draws(
    patch: Patch, whose: str, frame: Shape, draw: Callable[[np.random.Generator], Window], *, everywhere: bool = True
) -> None:
    title, size = f"{type(patch).__qualname__}{whose and f'.{whose}'}", patch.size(frame)
    random = np.random.default_rng(0)
    windows = [draw(random) for _ in range(_DRAWS if everywhere and patch.covers else 100)]
    again = draw(np.random.default_rng(0))
    require(again == windows[0], f"{title} draws from elsewhere than the generator it is given.")
    for window in windows:
        require(window.frame == frame, f"{title} gives a window of frame {window.frame} for {frame}.")
        require(window.size == size, f"{title} gives {window.size} in {frame}, where size promises {size}.")
        require(window.factor == patch.factor, f"{title} gives factor {window.factor}, not {patch.factor}.")
        require(_inside(window), f"{title} leaves the frame: {window}.")
    reached = not (everywhere and patch.covers) or _get_everywhere(windows)
    require(reached, f"{title} never shows some voxels of {frame}; if that is meant, say so by `covers`.")


def _get_everywhere(windows: Sequence[Window]) -> bool:
    """Tell whether windows of one size reach the ends of each axis, and boxes all over the frame."""
    starts, size = np.array([window.start for window in windows]), np.array(windows[0].size)
    frame = np.array(windows[0].frame)
    free = frame - size
    # Far ends may be rare in a large frame, so there a sixteenth of the way from them will do.
    ends = (starts.min(0) <= free // 16).all() and (starts.max(0) >= free - free // 16).all()
    low, high = (_PLACES[:, end, None] * frame for end in (0, 1))
    met = (starts[:, None] < np.maximum(high, low + 1)) & (starts[:, None] + size > low)
    x, y, z = np.moveaxis(met, -1, 0).astype(int)
    return bool(ends and np.einsum("ni,nj,nk->ijk", x, y, z).all())


def _frames(patch: Patch) -> list[Shape]:
    """Return frames in which a window has much room or some, if it ever has any, and frames as small as can be."""
    large, small = (24, 20, 28), (3, 5, 4)
    wide = [max(side, 3 * width) for side, width in zip(large, patch.size(large), strict=True)]
    roomy = [max(side, width + side // 2) for side, width in zip(large, patch.size(large), strict=True)]
    tight = [max(side, width) for side, width in zip(small, patch.size(small), strict=True)]
    single = patch.size((1, 1, 1))  # what a volume of one voxel is padded to
    frames = ((frame[0], frame[1], frame[2]) for frame in (wide, roomy, tight, single))
    return list(dict.fromkeys(frames))


def _inside(window: Window) -> bool:
    return all(
        first >= 0 and first + size <= side
        for first, size, side in zip(window.start, window.size, window.frame, strict=True)
    )
