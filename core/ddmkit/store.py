"""The store: every case normalised once into one HDF5 file, of which a window is read without its volume."""

from __future__ import annotations

import hashlib
import io
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import h5py
import numpy as np
import torch

from ddmkit.errors import DataError
from ddmkit.files import whole_file
from ddmkit.task import Example
from ddmkit.volume import read_volume, spacing_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from ddmkit.configuration import Configuration
    from ddmkit.dataset import Case
    from ddmkit.volume import Volume
    from ddmkit.window import Shape, Window

_FORMAT = 1
"""Part of every key: a file written by another version of this module is never read."""
_CHUNK = 32
"""Side of a chunk in voxels."""
_DAMAGED = (OSError, KeyError, RuntimeError, ValueError)
"""What h5py raises about a file that is not there, cut short or changed."""


def cache_folder() -> Path:
    """Return where stores live: $DDMKIT_CACHE, or ddmkit in the user's cache folder."""
    chosen = os.environ.get("DDMKIT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddmkit"


class StoredCase(NamedTuple):
    """A case in the store; opening it again for every window keeps no file open."""

    name: str
    path: Path
    shape: Shape
    """Of the case's own grid."""
    frame: Shape
    """Of the padded volume that windows are taken from."""
    classes: tuple[str, ...]
    labelled: bool
    affine: tuple[tuple[float, ...], ...]
    """Four rows of four: voxel indices of its own grid to millimetres."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides in mm."""
        return spacing_of(np.asarray(self.affine))

    def read(self, window: Window) -> Example:
        """Read one window of the frame; what lies outside the case is background.

        Raises:
            DataError: the store's file is gone or damaged.
        """
        with self._file() as file:
            images = self._cut(file["images"], window).astype(np.float32)
            labels = self._cut(file["labels"], window) if self.labelled else None
        factor = window.factor
        if factor > 1:
            images = _pooled(images, factor)
            labels = None if labels is None else np.ascontiguousarray(labels[::factor, ::factor, ::factor])
        return Example(
            torch.from_numpy(images), None if labels is None else torch.from_numpy(labels), self.classes, window
        )

    def labels(self) -> np.ndarray | None:
        """Read the whole reference on the case's own grid: (X, Y, Z), uint8 indices into `classes`.

        Raises:
            DataError: the store's file is gone or damaged.
        """
        if not self.labelled:
            return None
        with self._file() as file:
            return np.asarray(file["labels"])

    def unpad(self, array: np.ndarray) -> np.ndarray:
        """Cut an array over the frame, (..., X, Y, Z), back to the case's own grid."""
        x, y, z = (slice(o, o + n) for o, n in zip(self.offset, self.shape, strict=True))
        cut: np.ndarray = array[..., x, y, z]
        return cut

    @property
    def offset(self) -> Shape:
        """Voxels of padding before the case's first; the odd one goes behind."""
        x, y, z = ((whole - own) // 2 for whole, own in zip(self.frame, self.shape, strict=True))
        return x, y, z

    @contextmanager
    def _file(self) -> Generator[Any]:
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except _DAMAGED as error:
            msg = (
                f"Cannot read {self.path}, which ddmkit made from case {self.name}: {_reason(error)}. "
                "Delete it if it is there and type the same command again, which makes it anew."
            )
            raise DataError(msg) from error

    def _cut(self, data: Any, window: Window) -> np.ndarray:  # noqa: ANN401 - h5py ships no types
        """Return data (..., X, Y, Z) over the window, zeros where the frame is padding."""
        cut = np.zeros((*data.shape[:-3], *window.size), dtype=data.dtype)
        source: list[slice] = []
        target: list[slice] = []
        for start, size, offset, own in zip(window.start, window.size, self.offset, self.shape, strict=True):
            low, high = max(start - offset, 0), min(start + size - offset, own)
            if low >= high:
                return cut
            source.append(slice(low, high))
            target.append(slice(low + offset - start, high + offset - start))
        x, y, z = target
        cut[..., x, y, z] = data[..., *source]
        return cut


class Store:
    """Cases as the network sees them, made on first use and shared by all runs with the same preprocessing.

    A file's key holds the identity of its source files and every setting, so an edited file or a changed setting
    is never served stale.

    Args:
        configuration: says which modalities, what the labels mean, how to normalise and to pad.
        folder: where the files go; by default, the user's cache.
    """

    def __init__(self, configuration: Configuration, folder: Path | None = None) -> None:
        self._configuration = configuration
        self._modalities = configuration.task.modalities
        self._labels = configuration.dataset.labels
        self._percentiles = configuration.preprocessing.percentiles
        self._folder = folder or cache_folder() / "store"

    def open(self, case: Case) -> StoredCase:
        """Return a case of the store, building its file if it is not there or cannot be read.

        Raises:
            DataError: the case's files are unreadable or contradict each other.
            StorageError: the store's file cannot be written.
        """
        path = self._folder / f"{case.name}-{self._key(case)}.h5"
        stored = self._describe(case, path)
        if stored is None:
            volume = read_volume(case, self._modalities, self._labels)
            content = _content(volume, self._percentiles)
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
            stored = self._describe(case, path)
            assert stored is not None  # noqa: S101 - it was just written
        return stored

    def _describe(self, case: Case, path: Path) -> StoredCase | None:
        try:
            with h5py.File(path, "r") as opened:
                file = cast("Any", opened)  # h5py's types leave open what a name holds
                x, y, z = file["images"].shape[1:]
                affine = tuple(map(tuple, file.attrs["affine"].tolist()))
                frame = self._configuration.frame_of((x, y, z))
                classes = tuple(json.loads(file.attrs["classes"]))
                return StoredCase(case.name, path, (x, y, z), frame, classes, "labels" in file, affine)
        except _DAMAGED:  # build it again
            return None

    def _key(self, case: Case) -> str:
        files = [case.images.get(modality) for modality in self._modalities] + [case.labels]
        identity = [
            (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
            for path in files
            if path is not None and path.exists()
        ]
        facts = [_FORMAT, identity, self._modalities, sorted(self._labels.items()), self._percentiles]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def normalise(image: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """Map the foreground's percentiles to 0 and 1, clip, and set the background to 0.

    Background is whatever the volume's corners hold (their median).

    Args:
        image: (X, Y, Z), float32.
        percentiles: lower and upper, in percent.

    Returns:
        (X, Y, Z), float32 in [0, 1]; all 0 where the foreground is empty or constant.
    """
    foreground = image != np.median(image[:: max(image.shape[0] - 1, 1), :: max(image.shape[1] - 1, 1)][..., [0, -1]])
    if not foreground.any():
        return np.zeros_like(image)
    low, high = np.percentile(image[foreground], percentiles)
    if high <= low:
        return np.zeros_like(image)
    scaled = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.where(foreground, scaled, np.float32(0))


def _content(volume: Volume, percentiles: tuple[float, float]) -> memoryview:
    """Return the bytes of a case's file: HDF5 that meets a full disk itself takes the whole process down."""
    chunk = tuple(min(_CHUNK, side) for side in volume.images.shape[1:])
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        images = file.create_dataset(
            "images", volume.images.shape, "f2", chunks=(len(volume.images), *chunk), compression="lzf", shuffle=True
        )
        for channel, image in enumerate(volume.images):
            images[channel] = normalise(image, percentiles)
        if volume.labels is not None:
            file.create_dataset("labels", data=volume.labels, chunks=chunk, compression="lzf")
        file.attrs["affine"] = volume.affine
        file.attrs["classes"] = json.dumps(volume.classes)
    return content.getbuffer()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _pooled(images: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of factor³ voxels; a side that does not divide is filled up with background."""
    padding = [(0, 0), *((0, -side % factor) for side in images.shape[1:])]
    padded = np.pad(images, padding)
    channels, x, y, z = padded.shape
    blocks = padded.reshape(channels, x // factor, factor, y // factor, factor, z // factor, factor)
    pooled: np.ndarray = blocks.mean(axis=(2, 4, 6), dtype=np.float32)
    return pooled
