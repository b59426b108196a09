"""Windows that prefer the centre, after Bieder et al. (2023), https://arxiv.org/abs/2303.15288."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddmkit import Patch, Window
from ddmkit_plugins.patches.sides import Sides, last_starts, side_lengths

if TYPE_CHECKING:
    import numpy as np

    from ddmkit import Shape


class Center(Patch):
    """Windows drawn more often from the middle of the volume than from its borders (the paper's).

    With the admissible starts of an axis stretched over [-1, 1], a start is X + Y with X uniform on
    [-narrow, narrow] and Y uniform on [-wide, wide]. The official code's draw is narrow 0.25, wide 0.75.
    """

    name: ClassVar[str] = "center"
    sides: Sides = None
    narrow: float = Field(
        default=1 / 3, ge=0, le=1, description="Half-width of the first uniform part of a start, 0 to 1; see wide."
    )
    wide: float = Field(
        default=2 / 3,
        ge=0,
        le=1,
        description="Half-width of the second uniform part of a start, 0 to 1; narrow + wide is how far windows go: "
        "1 reaches the borders of the volume, 0 never leaves its centre.",
    )

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if not self.narrow + self.wide <= 1:
            msg = (
                f"narrow {self.narrow:g} + wide {self.wide:g} is more than 1, so windows would leave the volume: "
                "lower one of them until their sum is 1 or less"
            )
            raise ValueError(msg)
        return self

    @property
    @override
    def covers(self) -> bool:
        return self.narrow + self.wide == 1

    @override
    def size(self, frame: Shape) -> Shape:
        return side_lengths(self.sides, frame)

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        size = self.size(frame)
        places = random.uniform(-self.narrow, self.narrow, 3) + random.uniform(-self.wide, self.wide, 3)
        x, y, z = (_start(float(place), last) for place, last in zip(places, last_starts(frame, size), strict=True))
        return Window((x, y, z), size, frame)


def _start(place: float, last: int) -> int:
    """Return the start, 0 ... last, whose share of [-1, 1] holds `place`; all shares are equal.

    Rounding to the nearest start instead would halve the shares of the first and the last.
    """
    return min(int((place + 1) / 2 * (last + 1)), last)
