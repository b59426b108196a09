"""A case in the store, of which a window is read without its volume."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import h5py
import numpy as np
import torch

from ddmkit.building import LEVELS, Facts, Recipe, alone, build, key
from ddmkit.errors import DataError, one_line
from ddmkit.preprocessing import centred
from ddmkit.task import Example
from ddmkit.volume import read_labels, spacing_of
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from ddmkit.dataset import Case

Slices: TypeAlias = "tuple[slice, slice, slice]"

_log = logging.getLogger(__name__)
T = TypeVar("T")

DAMAGED = (OSError, KeyError, RuntimeError, ValueError, TypeError)
"""What h5py and JSON raise about a file that is not there, cut short or changed; HDF5 checks sums over all it holds."""


def read_facts(path: Path) -> Facts | None:
    """Return what a store's file says of its case, or None where it is not there or cannot be read."""
    try:
        with h5py.File(path, "r") as opened:
            file = cast("Any", opened)  # h5py ships no types
            return Facts.of(file.attrs["facts"])
    except DAMAGED:
        return None


@dataclass(frozen=True)
class StoredCase:
    """A case of the store; its file is opened for each window, so that any number of cases keeps none open."""

    case: Case
    recipe: Recipe
    path: Path
    facts: Facts
    region: Window
    """What windows are taken from, in the frame that gives them their place."""

    @property
    def name(self) -> str:
        """Of the case."""
        return self.case.name

    @property
    def affine(self) -> tuple[tuple[float, ...], ...]:
        """Four rows of four: voxel indices of the case's own grid to millimetres."""
        return self.facts.grid.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides of the case's own grid in mm."""
        return spacing_of(np.asarray(self.affine))

    def whole(self, factor: int = 1) -> Window:
        """Return the window that shows all there is to see."""
        return self.region._replace(factor=factor)

    def read(self, window: Window, modalities: tuple[str, ...] | None = None) -> Example:
        """Read a window of the frame; what lies outside the brain is background.

        A damaged file is made anew.

        Args:
            window: what is read.
            modalities: which images, in this order; None: all of the store's file.

        Raises:
            DataError: the store's file is damaged, and the case's own files are not what they were.
            StorageError: the store cannot be written.
        """
        images, labels = self._mended(partial(self._read, window))
        if (factor := window.factor) > 1:
            images = _pooled(images, factor)
            labels = None if labels is None else labels[::factor, ::factor, ::factor].contiguous()
        if modalities is not None and modalities != self.recipe.modalities:
            images = images[[self.recipe.modalities.index(modality) for modality in modalities]]
        return Example(images, labels, self.facts.classes, window)

    def locations(self) -> NDArray[np.int64]:
        """Read where labelled voxels are, in voxels of the region: (K, 3); none without labels.

        Each class has as many, less those that lie outside the region.

        A damaged file is made anew.

        Raises:
            DataError, StorageError: as `read`.
        """
        found = self._mended(self._read_locations)
        own = centred(Window.whole(self.facts.grid.seen_shape), self.region.frame)
        moved = found.astype(np.int64) + np.subtract(own.start, self.region.start)
        return moved[np.all((moved >= 0) & (moved < self.region.size), axis=1)]

    def reference(self) -> NDArray[np.uint8] | None:
        """Read the whole reference from the case's own file: (X, Y, Z), indices into `case.classes`.

        Raises:
            DataError: the file cannot be read.
        """
        return None if self.case.reference is None else read_labels(self.case.reference, self.case.labels)

    def leave(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Take an array over the region, (..., x, y, z), to the case's own grid; 0 where the region does not reach."""
        grid = self.facts.grid
        own = centred(Window.whole(grid.seen_shape), self.region.frame)
        seen = np.zeros((*array.shape[:-3], *grid.seen_shape), dtype=np.float32)
        source, target = _overlap(self.region, own)
        seen[..., *target] = array[..., *source]
        return grid.leave(seen)

    def _read(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """Return the window's images, float32, and labels, uint8, at full resolution."""
        # NumPy asks for huge pages, torch does not: half of the time went into faults of small ones.
        images = torch.from_numpy(np.zeros((len(self.recipe.modalities), *window.size), dtype=np.float32))
        labels = torch.zeros(window.size, dtype=torch.uint8) if self.facts.labelled else None
        source, target = _overlap(centred(self.facts.box, self.region.frame), window)
        if all(part.start < part.stop for part in source):
            with h5py.File(self.path, "r") as opened:
                file = cast("Any", opened)
                images[:, *target].copy_(torch.from_numpy(file["images"][:, *source])).div_(LEVELS)
                if labels is not None:
                    labels[target] = torch.from_numpy(file["labels"][source])
        return images, labels

    def _read_locations(self) -> NDArray[np.int32]:
        with h5py.File(self.path, "r") as opened:
            file = cast("Any", opened)
            return np.array(file["locations"]) if "locations" in file else np.empty((0, 3), np.int32)

    def _mended(self, read: Callable[[], T]) -> T:
        """Read, and once more from a file that is made anew where this one is damaged."""
        try:
            return read()
        except DAMAGED as error:
            self._mend(error)
            return read()

    def _mend(self, reason: Exception) -> None:
        with alone(self.path):
            if self._is_whole():  # another thread or process has been quicker
                return
            said = one_line(reason) or type(reason).__name__
            if not self.path.stem.endswith(key(self.case, self.recipe)):
                msg = (
                    f"The store's file of case {self.name} is damaged ({said}), and the case's own files are not those "
                    "that it was made of; type the same command again to use them as they are now."
                )
                raise DataError(msg) from reason
            _log.warning("The store's file of case %s is damaged (%s): made anew.", self.name, said)
            build(self.case, self.recipe, self.path)

    def _is_whole(self) -> bool:
        if read_facts(self.path) != self.facts:
            return False
        try:
            self._read(self.whole())
            self._read_locations()
        except DAMAGED:
            return False
        return True


def _overlap(one: Window, other: Window) -> tuple[Slices, Slices]:
    """Return where two boxes of a frame meet, as slices of the one's array and of the other's."""
    starts = [max(pair) for pair in zip(one.start, other.start, strict=True)]
    stops = [
        min(first + size, second + other_size)
        for first, size, second, other_size in zip(one.start, one.size, other.start, other.size, strict=True)
    ]
    return _slices(starts, stops, one), _slices(starts, stops, other)


def _slices(starts: list[int], stops: list[int], box: Window) -> Slices:
    x, y, z = (slice(start - first, stop - first) for start, stop, first in zip(starts, stops, box.start, strict=True))
    return x, y, z


def _pooled(images: Tensor, factor: int) -> Tensor:
    """Average blocks of factor³ voxels; a side that does not divide is filled up with background."""
    padding = [filling for side in reversed(images.shape[1:]) for filling in (0, -side % factor)]
    return torch.nn.functional.avg_pool3d(torch.nn.functional.pad(images, padding), factor)
