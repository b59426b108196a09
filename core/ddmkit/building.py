"""What the store's files hold, and how they are made from a case: once, whole, whoever else asks for them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from contextlib import contextmanager
from glob import escape
from itertools import count, product
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
from filelock import FileLock, Timeout

from ddmkit.errors import DataError, StorageError
from ddmkit.files import whole_file
from ddmkit.grid import Grid
from ddmkit.nifti import files_of
from ddmkit.normalisation import box_of, foreground, normalise
from ddmkit.randomness import generator
from ddmkit.rules import shown
from ddmkit.volume import case_header, check_labels_inside, image_of, read_images, read_labels
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from threading import Event

    from numpy.typing import NDArray

    from ddmkit.dataset import Case

_log = logging.getLogger(__name__)

FORMAT = 3
"""Part of every key: a file written by another version of this module is never read."""
LEVELS = 1000
"""Intensities are stored as whole numbers up to this, rounded: an error of 0.0005 at most."""
LOCATIONS = 256
"""Voxels of each class that are kept apart, so that a window can be drawn around one without reading all labels."""
_CHUNK = 32
"""Side of a chunk in voxels."""
_LOCK_DIGITS = 2
"""Last digits of a key that name its lock: 256 small files, however many cases a store holds."""
_PATIENCE = 0.5
"""Seconds between two looks whether waiting for a lock still makes sense."""
_SILENT = 20
"""Looks before it is said what is waited for."""


class Recipe(NamedTuple):
    """What happens to a case on its way into the store; together with its files, all that a store's file depends on."""

    modalities: tuple[str, ...]
    orientation: str | None
    spacing: tuple[float, float, float] | None
    percentiles: tuple[float, float]


def key(case: Case, recipe: Recipe) -> str:
    """Return the name of all that a case's file in the store depends on: another one as soon as any of it changes.

    Raises:
        DataError: a file of the case is not there.
    """
    images = [image_of(case, modality) for modality in recipe.modalities]
    files = [image.path for image in images] + ([case.reference] if case.reference else [])
    volumes = [image.volume for image in images]
    facts = [FORMAT, list(map(_identity, files)), volumes, sorted(case.labels.items()), recipe]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def _identity(image: Path) -> list[tuple[str, int, int, int]]:
    """Return what changes when an image's bytes do: who sets a file's times back cannot set back when that was done."""
    try:
        files = [file.resolve(strict=True) for file in files_of(image)]
        stats = [(str(file), file.stat()) for file in files]
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        msg = f"Cannot read {shown(image)}: {error}; put the file there, or mend the link."
        raise DataError(msg) from error
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats]


class Facts(NamedTuple):
    """What a store's file says of its case beside voxels."""

    grid: Grid
    box: Window
    """What of the seen volume is stored; all other voxels are background."""
    brain: Window
    """The smallest box around the brain, in the seen volume."""
    classes: tuple[str, ...]
    """What the labels mean; the first is "background"."""
    labelled: bool

    def text(self) -> str:
        """Return the facts as JSON."""
        return json.dumps(self._asdict())

    @classmethod
    def of(cls, text: str | bytes) -> Facts:
        """Read what `text` wrote.

        Raises:
            ValueError, KeyError, TypeError: it was not written by `text`.
        """
        grid, box, brain, classes, labelled = json.loads(text).values()
        return cls(Grid.of(*grid), _window(box), _window(brain), tuple(classes), labelled)


def _window(fields: list[Any]) -> Window:
    start, size, frame, factor = fields
    return Window(tuple(start), tuple(size), tuple(frame), factor)


class Prepared(NamedTuple):
    """A case in memory as the store keeps it."""

    facts: Facts
    images: NDArray[np.uint16]
    """(modalities, *facts.box.size): intensities in 1 / LEVELS."""
    labels: NDArray[np.uint8] | None
    """facts.box.size: indices into `facts.classes`."""
    locations: NDArray[np.int32]
    """(K, 3): voxels of the seen volume that are no background, of each class as many."""


def prepare(case: Case, recipe: Recipe, warn: Callable[[str], None] = _log.warning) -> Prepared:
    """Read a case, one image at a time, and normalise it.

    Raises:
        DataError: the case's files are unreadable or contradict each other.
    """
    header = case_header(case, recipe.modalities, lambda _: None)  # whoever found the case was told
    grid = Grid.of(header.shape, header.affine, recipe.orientation, recipe.spacing)
    brain = np.zeros(header.shape, dtype=bool)
    images = np.empty((len(recipe.modalities), *grid.seen_shape), dtype=np.uint16)
    for channel, image in enumerate(read_images(case, recipe.modalities, warn)):
        inside = foreground(image)
        brain |= inside
        images[channel] = np.rint(grid.enter(normalise(image, inside, recipe.percentiles)) * LEVELS)
    inside = grid.enter_labels(brain.view(np.uint8)) > 0
    labels = None
    if case.reference is not None:
        own = read_labels(case.reference, case.labels, warn)
        check_labels_inside(case.reference, own, brain, warn)
        labels = grid.enter_labels(own)
    box = _box_of_all(inside, images, labels)
    facts = Facts(grid, box, box_of(inside), case.classes, labels is not None)
    locations = np.empty((0, 3), np.int32) if labels is None else _locations(labels)
    return Prepared(facts, images[:, *box.slices], None if labels is None else labels[box.slices], locations)


def _locations(labels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Draw voxels of each class, evenly and with replacement, so that rare classes have as many as others."""
    random = generator(0, "locations")
    voxels = (np.flatnonzero(labels == index) for index in np.unique(labels[labels > 0]))
    chosen = [random.choice(of_class, LOCATIONS) for of_class in voxels]
    flat = np.concatenate([np.empty(0, np.intp), *chosen])
    return np.stack(np.unravel_index(flat, labels.shape), axis=1).astype(np.int32)


def _box_of_all(inside: NDArray[np.bool_], images: NDArray[np.uint16], labels: NDArray[np.uint8] | None) -> Window:
    """Return the box outside of which there is nothing; interpolation may carry an image out of the brain."""
    for image in images:
        inside = inside | (image > 0)
    return box_of(inside if labels is None else inside | (labels > 0))


def content(prepared: Prepared) -> memoryview:
    """Return the bytes of a case's file: HDF5 that meets a full disk itself takes the whole process down."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="latest") as file:
        _write(file, "images", prepared.images)
        if prepared.labels is not None:
            _write(file, "labels", prepared.labels)
        if len(locations := prepared.locations):
            file.create_dataset("locations", data=locations, chunks=locations.shape, fletcher32=True)
        file.attrs["facts"] = np.bytes_(prepared.facts.text())  # HDF5 checks no sums over strings of variable length
    return stream.getbuffer()


def _write(file: Any, name: str, array: NDArray[Any]) -> None:  # noqa: ANN401 - h5py ships no types
    """Write an array (..., X, Y, Z) in compressed chunks with checksums; chunks that hold nothing take no room."""
    sides = [min(_CHUNK, side) for side in array.shape[-3:]]
    chunks = (*array.shape[:-3], *sides)
    fast = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    data = file.create_dataset(name, array.shape, array.dtype, chunks=chunks, fletcher32=True, compression=fast)
    starts = (range(0, whole, side) for whole, side in zip(array.shape[-3:], sides, strict=True))
    for corner in product(*starts):
        x, y, z = (slice(start, start + side) for start, side in zip(corner, sides, strict=True))
        if array[..., x, y, z].any():
            data[..., x, y, z] = array[..., x, y, z]


def build(case: Case, recipe: Recipe, path: Path) -> None:
    """Make the store's file of a case.

    Raises:
        DataError: the case's files are unreadable or contradict each other.
        StorageError: it cannot be written.
    """
    prepared = prepare(case, recipe)
    with whole_file(path) as temporary:
        for leftover in path.parent.glob(f".*-{escape(path.name)}"):  # of a process that was killed: we hold the lock
            leftover.unlink(missing_ok=True)
        temporary.write_bytes(content(prepared))


@contextmanager
def alone(path: Path, stopped: Event | None = None) -> Generator[None]:
    """Hold the lock under which a store's file is made; a process that dies lets go of it.

    Args:
        path: the file.
        stopped: once it is set, nobody waits any longer.

    Raises:
        StorageError: the store's folder cannot be written, or cannot hold locks.
    """
    folder = path.parent / "locks"
    lock = FileLock(folder / f"{path.stem[-_LOCK_DIGITS:]}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _wait_for(lock, path, stopped)
    except (OSError, NotImplementedError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        msg = f"Cannot lock {path}: {reason}. Set DDMKIT_CACHE to a folder on a local disk that you may write to."
        raise StorageError(msg) from error
    try:
        yield
    finally:
        lock.release()


def _wait_for(lock: FileLock, path: Path, stopped: Event | None) -> None:
    for waited in count():
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            if stopped is not None and stopped.is_set():
                raise
            if waited == _SILENT:
                _log.warning("Waiting for another process that is making %s.", path)
        else:
            return
