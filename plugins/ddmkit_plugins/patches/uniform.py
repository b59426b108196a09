"""Windows from anywhere, each start as likely as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Patch, Window
from ddmkit_plugins.patches.sides import Sides, last_starts, side_lengths

if TYPE_CHECKING:
    import numpy as np

    from ddmkit import Shape


class Uniform(Patch):
    """Windows drawn evenly from the whole volume."""

    name: ClassVar[str] = "uniform"
    sides: Sides = None

    @override
    def size(self, frame: Shape) -> Shape:
        return side_lengths(self.sides, frame)

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        size = self.size(frame)
        x, y, z = (int(random.integers(last, endpoint=True)) for last in last_starts(frame, size))
        return Window((x, y, z), size, frame)
