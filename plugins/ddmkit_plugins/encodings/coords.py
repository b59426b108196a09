"""The Cartesian coordinate grid of Bieder et al. (2023), section 3, https://arxiv.org/abs/2303.15288."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Encoding

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit import Window


class Coords(Encoding):
    """Three channels that say where each voxel lies: one per axis, from -1 at its first voxel to 1 at its last.

    Voxel i of n has the coordinate -1 + 2 i / (n - 1), an axis of one voxel has 0. At reduced resolution a
    voxel has the coordinate of its own centre; the last one may stick out of the volume, and then past 1.
    """

    name: ClassVar[str] = "coords"
    channels: ClassVar[int] = 3

    @override
    def encode(self, window: Window) -> Tensor:
        import torch

        axes = [_coordinates(window, axis) for axis in range(3)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _coordinates(window: Window, axis: int) -> Tensor:
    """Return the coordinates along one axis, shape (window.shape[axis],), float32.

    Whole numbers until the one division, so that a voxel's coordinate does not depend on the window it is in.
    """
    import torch

    last = window.frame[axis] - 1
    first_centre = 2 * window.start[axis] + window.factor - 1  # in half voxels, so that it is a whole number
    centres = first_centre + 2 * window.factor * torch.arange(window.shape[axis])
    if last == 0:
        return torch.zeros(len(centres))
    return (centres - last).float() / last
