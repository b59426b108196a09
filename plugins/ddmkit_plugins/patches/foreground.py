"""Windows around what is labelled, as nnU-Net has them: Isensee et al. (2021), doi:10.1038/s41592-020-01008-z."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from ddmkit import Patch, Window
from ddmkit_plugins.patches.sides import Sides, anywhere, last_starts, side_lengths

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ddmkit import Shape


class Foreground(Patch):
    """Windows from anywhere, but a share of them around a labelled voxel, of each class as often.

    A window around a voxel has it in its middle, as far as the borders of the volume allow. For classes that are small
    in large volumes.
    """

    name: ClassVar[str] = "foreground"
    sides: Sides = None
    share: float = Field(
        default=1 / 3, ge=0, le=1, description="Share of the windows that are drawn around a labelled voxel, 0 to 1."
    )

    @override
    def size(self, frame: Shape) -> Shape:
        return side_lengths(self.sides, frame)

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return anywhere(frame, self.size(frame), random)

    @override
    def window_of(
        self, frame: Shape, random: np.random.Generator, locations: Callable[[], NDArray[np.integer]]
    ) -> Window:
        if random.random() >= self.share or not len(found := locations()):
            return self.window(frame, random)
        size = self.size(frame)
        middle = found[random.integers(len(found))].tolist()
        x, y, z = (
            min(max(place - side // 2, 0), last)
            for place, side, last in zip(middle, size, last_starts(frame, size), strict=True)
        )
        return Window((x, y, z), size, frame)
