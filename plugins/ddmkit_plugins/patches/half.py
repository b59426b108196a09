"""The whole volume at half resolution: HalfRes of Bieder et al. (2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Patch, Window

if TYPE_CHECKING:
    import numpy as np

    from ddmkit import Shape


class Half(Patch):
    """The whole volume at half its resolution, in training and in sampling; answers are scaled back up."""

    name: ClassVar[str] = "half"
    factor: ClassVar[int] = 2

    @override
    def size(self, frame: Shape) -> Shape:
        return frame

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window.whole(frame, self.factor)
