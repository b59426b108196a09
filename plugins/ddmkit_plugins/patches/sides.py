"""What windows that have room to move share: their side lengths and where they may start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from ddmkit import Window
from ddmkit.window import thrice

if TYPE_CHECKING:
    import numpy as np

    from ddmkit import Shape

Side: TypeAlias = Annotated[int, Field(ge=1)]
Sides: TypeAlias = Annotated[
    tuple[Side, Side, Side] | None,
    BeforeValidator(thrice),
    Field(
        description="Side lengths of a window in voxels, X,Y,Z or one for all; left out: half the volume's, rounded up."
    ),
]


def side_lengths(sides: Shape | None, frame: Shape) -> Shape:
    """Return the sides asked for, or half of the frame's, rounded up (Bieder et al. 2023: 128 of 256)."""
    x, y, z = sides or (-(-side // 2) for side in frame)
    return x, y, z


def last_starts(frame: Shape, size: Shape) -> Shape:
    """Return the last admissible start of a window along each axis; the first is 0.

    Raises:
        ValueError: the window is larger than the frame, which the caller should have padded.
    """
    x, y, z = (whole - side for whole, side in zip(frame, size, strict=True))
    if min(x, y, z) < 0:
        msg = f"A window of {size} voxels does not fit in a volume of {frame}: pad the volume first."
        raise ValueError(msg)
    return x, y, z


def anywhere(frame: Shape, size: Shape, random: np.random.Generator) -> Window:
    """Return a window, each start as likely as any other."""
    x, y, z = (int(random.integers(last, endpoint=True)) for last in last_starts(frame, size))
    return Window((x, y, z), size, frame)
