"""Patch strategies: which window of a volume a training step sees, and at which resolution.

A complete strategy::

    class Slab(Patch):
        '''A slab across Z.'''

        name: ClassVar[str] = "slab"
        height: int = Field(default=8, ge=1, description="Voxels along Z.")

        def size(self, frame: Shape) -> Shape:
            return (frame[0], frame[1], self.height)

        def window(self, frame: Shape, random: np.random.Generator) -> Window:
            z = int(random.integers(frame[2] - self.height + 1))
            return Window((0, 0, z), self.size(frame), frame)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from ddmkit.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ddmkit.window import Shape, Window


class Patch(Component):
    """A way to choose training windows."""

    kind: ClassVar[str] = "patch"
    factor: ClassVar[int] = 1
    """Voxels of the volume per voxel the network sees, in training and in sampling."""

    @property
    def covers(self) -> bool:
        """Whether every voxel is shown now and then; False for a strategy that is meant to leave some out."""
        return True

    @abstractmethod
    def size(self, frame: Shape) -> Shape:
        """Return the side lengths of a window of `frame`, in full-resolution voxels.

        A side may be longer than the frame's: such volumes are padded with background up to it.
        """

    @abstractmethod
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        """Draw a window that lies inside `frame`, whose sides are at least `size(frame)`."""

    def window_of(
        self, frame: Shape, random: np.random.Generator, locations: Callable[[], NDArray[np.integer]]
    ) -> Window:
        """Draw a window of a case that is learned from; by default, by `window`, whatever is labelled there.

        Args:
            frame: sides of the volume.
            random: where the draw comes from.
            locations: reads some labelled voxels of the case: shape (K, 3), in voxels of `frame`, of each class as
                many, but for those outside of it; K is 0 for a case where nothing is labelled.
        """
        del locations
        return self.window(frame, random)
