"""Where a piece of a volume lies in its whole."""

from __future__ import annotations

from typing import NamedTuple

Shape = tuple[int, int, int]
"""Side lengths, or a place, in voxels along the axes (X, Y, Z)."""


class Window(NamedTuple):
    """A box of voxels in a frame, seen at full or at reduced resolution.

    All lengths are voxels of the frame at full resolution, axes (X, Y, Z).
    """

    start: Shape
    """First voxel of the box; start + size never passes `frame`."""
    size: Shape
    """Side lengths of the box."""
    frame: Shape
    """Side lengths of the whole volume."""
    factor: int = 1
    """Voxels of the frame per voxel of the array, along each axis."""

    @classmethod
    def whole(cls, frame: Shape, factor: int = 1) -> Window:
        """Return the window that is the whole frame."""
        return cls((0, 0, 0), frame, frame, factor)

    @property
    def shape(self) -> Shape:
        """Side lengths of the array that shows this window: size / factor, rounded up."""
        x, y, z = (-(-side // self.factor) for side in self.size)
        return x, y, z

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Where the box is in an array over the frame at full resolution."""
        x, y, z = (slice(start, start + size) for start, size in zip(self.start, self.size, strict=True))
        return x, y, z

    def within(self, region: Window) -> Window:
        """Return this window, whose frame is the box of `region`, as a window of the region's own frame."""
        x, y, z = (own + outer for own, outer in zip(self.start, region.start, strict=True))
        return Window((x, y, z), self.size, region.frame, self.factor)


def thrice(value: object) -> object:
    """Take a single number, as it is typed after -o, for all three axes; whatever else it is stays as it is."""
    return (value,) * 3 if isinstance(value, int | float) and not isinstance(value, bool) else value


def enclosing(one: Shape, other: Shape) -> Shape:
    """Return the smallest shape that holds both."""
    x, y, z = (max(sides) for sides in zip(one, other, strict=True))
    return x, y, z
