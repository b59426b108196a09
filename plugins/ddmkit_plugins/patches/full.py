"""The whole volume at full resolution: FullRes of Bieder et al. (2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Patch, Window

if TYPE_CHECKING:
    import numpy as np

    from ddmkit import Shape


class Full(Patch):
    """The whole volume at full resolution; takes eight times the memory of windows of half its sides."""

    name: ClassVar[str] = "full"

    @override
    def size(self, frame: Shape) -> Shape:
        return frame

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window.whole(frame)
