"""Windows from anywhere, each start as likely as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Patch
from ddmkit_plugins.patches.sides import Sides, anywhere, side_lengths

if TYPE_CHECKING:
    import numpy as np

    from ddmkit import Shape, Window


class Uniform(Patch):
    """Windows drawn evenly from the whole volume."""

    name: ClassVar[str] = "uniform"
    sides: Sides = None

    @override
    def size(self, frame: Shape) -> Shape:
        return side_lengths(self.sides, frame)

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return anywhere(frame, self.size(frame), random)
